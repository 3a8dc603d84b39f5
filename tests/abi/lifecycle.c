/* What opening, closing, forking and leaving do to a process that only ever calls dlopen.
 *
 *   lifecycle LIBRARY          all checks
 *   lifecycle LIBRARY leak     (called by itself) makes one of everything and returns from main
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "train.h"

extern char** environ;

static void* open_library(const char* path, struct api* m) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    printf("%s\n", dlerror());
    exit(1);
  }
#define X(name)                             \
  {                                         \
    void* found = dlsym(library, #name);    \
    CHECK(found != NULL);                   \
    memcpy(&m->name, &found, sizeof found); \
  }
  ABI_FUNCTIONS(X)
#undef X
  return library;
}

/* ---- what a library may not touch ----------------------------------------------------------- */

struct process_state {
  uint32_t mxcsr;
  uint16_t x87;
  int rounding;
  char locale[256];
  sigset_t mask;
  struct sigaction handlers[65];
  char directory[1024];
  uint64_t environment;
  mode_t umask_bits;
  int threads;
  int files;
};

static int entries_in(const char* folder) {
  DIR* dir = opendir(folder);
  int n = 0;
  if (!dir) return -1;
  while (readdir(dir)) ++n;
  closedir(dir);
  return n;
}

static void look(struct process_state* s) {
  char** entry;
  int k;
  memset(s, 0, sizeof *s);
#if defined(__x86_64__)
  s->mxcsr = _mm_getcsr() & ~0x3fu; /* without the flags of past exceptions */
  __asm__ volatile("fnstcw %0" : "=m"(s->x87));
#endif
  s->rounding = fegetround();
  snprintf(s->locale, sizeof s->locale, "%s", setlocale(LC_ALL, NULL));
  pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
  for (k = 1; k <= 64; ++k) sigaction(k, NULL, &s->handlers[k]);
  CHECK(getcwd(s->directory, sizeof s->directory) != NULL);
  s->environment = 1469598103934665603u;
  for (entry = environ; *entry; ++entry) {
    const char* c;
    for (c = *entry; *c; ++c)
      s->environment = (s->environment ^ (unsigned char)*c) * 1099511628211u;
  }
  s->umask_bits = umask(0);
  umask(s->umask_bits);
  s->threads = entries_in("/proc/self/task");
  s->files = entries_in("/proc/self/fd");
}

static int same_set(const sigset_t* a, const sigset_t* b) {
  int k;
  for (k = 1; k <= 64; ++k) {
    if (sigismember(a, k) != sigismember(b, k)) return 0;
  }
  return 1;
}

static void same(const struct process_state* a, const struct process_state* b, int counts) {
  int k;
  CHECK(a->mxcsr == b->mxcsr);
  CHECK(a->x87 == b->x87);
  CHECK(a->rounding == b->rounding);
  CHECK(strcmp(a->locale, b->locale) == 0);
  CHECK(same_set(&a->mask, &b->mask));
  for (k = 1; k <= 64; ++k) {
    CHECK(a->handlers[k].sa_handler == b->handlers[k].sa_handler);
    CHECK(a->handlers[k].sa_flags == b->handlers[k].sa_flags);
    CHECK(same_set(&a->handlers[k].sa_mask, &b->handlers[k].sa_mask));
  }
  CHECK(strcmp(a->directory, b->directory) == 0);
  CHECK(a->environment == b->environment);
  CHECK(a->umask_bits == b->umask_bits);
  if (!counts) return;
  CHECK(a->threads == b->threads);
  CHECK(a->files == b->files);
}

/* Waits for threads that were told to end to be gone from /proc. */
static void settle(int threads) {
  int k;
  for (k = 0; k < 2000 && entries_in("/proc/self/task") != threads; ++k) usleep(1000);
}

static void changes_no_process_state(const char* path, struct api* m) {
  struct process_state before, opened, made, used, ended;
  struct training t;
  mill_context* context = NULL;
  int k;
  look(&before);
  open_library(path, m);
  look(&opened);
  same(&before, &opened, 1);
  CHECK_STATUS(m->mill_context_create(NULL, &context, NULL), MILL_OK);
  look(&made);
  same(&before, &made, 1); /* no thread and no file for a context that does nothing */
  m->mill_context_release(context);
  CHECK(train_begin(&t, m, 2, MILL_GEMM_AUTO, 1, 256, 512));
  for (k = 0; k < 5; ++k) train_step(&t);
  look(&used);
  same(&before, &used, 0);
  CHECK(used.threads > before.threads); /* the pool's and the loader's */
  train_end(&t);
  settle(before.threads);
  look(&ended);
  same(&before, &ended, 0);
  CHECK(ended.threads == before.threads);
}

/* ---- threads that compute while others do something ---------------------------------------------
 */

struct worker {
  const struct api* m;
  pthread_t thread;
  int stop;
  int rounds;
  int wrong;
};

static void* work(void* data) {
  struct worker* w = data;
  const struct api* m = w->m;
  const int64_t dims[2] = {32, 32};
  mill_context* context = NULL;
  mill_exec* exec = NULL;
  mill_tensor* a = NULL;
  if (m->mill_context_create(NULL, &context, NULL) != MILL_OK ||
      m->mill_exec_create(context, 0, NULL, &exec, NULL) != MILL_OK ||
      m->mill_fill(exec, dims, 2, MILL_F32, 1, &a, NULL) != MILL_OK) {
    __atomic_store_n(&w->wrong, 1, __ATOMIC_RELAXED);
  }
  while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
    mill_tensor *product = NULL, *sum = NULL;
    double value = 0;
    m->mill_matmul(exec, a, a, &product, NULL);
    m->mill_sum(exec, product, NULL, 0, 0, &sum, NULL);
    m->mill_tensor_item(exec, sum, &value, NULL);
    m->mill_tensor_release(product);
    m->mill_tensor_release(sum);
    if (value != 32.0 * 32 * 32) __atomic_store_n(&w->wrong, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->rounds, 1, __ATOMIC_RELAXED);
  }
  m->mill_tensor_release(a);
  m->mill_exec_release(exec);
  m->mill_context_release(context);
  return NULL;
}

static void start(struct worker* w, const struct api* m) {
  memset(w, 0, sizeof *w);
  w->m = m;
  CHECK(pthread_create(&w->thread, NULL, work, w) == 0);
  while (__atomic_load_n(&w->rounds, __ATOMIC_RELAXED) == 0 &&
         !__atomic_load_n(&w->wrong, __ATOMIC_RELAXED))
    usleep(100);
}

static void finish(struct worker* w) {
  const int rounds = __atomic_load_n(&w->rounds, __ATOMIC_RELAXED);
  while (__atomic_load_n(&w->rounds, __ATOMIC_RELAXED) == rounds &&
         !__atomic_load_n(&w->wrong, __ATOMIC_RELAXED))
    usleep(100); /* it still gets on */
  __atomic_store_n(&w->stop, 1, __ATOMIC_RELAXED);
  pthread_join(w->thread, NULL);
  CHECK(w->wrong == 0);
}

static int compute_once(const struct api* m) {
  struct training t;
  float loss = -1;
  int k;
  if (train_begin(&t, m, 2, MILL_GEMM_AUTO, 3, 256, 512)) {
    for (k = 0; k < 3; ++k) loss = train_step(&t);
  }
  train_end(&t);
  return t.status == MILL_OK && loss > 0;
}

static void reopens_with_threads_alive(const char* path) {
  struct api first, second;
  struct worker w;
  int round;
  void* library = open_library(path, &first);
  start(&w, &first);
  for (round = 0; round < 5; ++round) {
    CHECK(compute_once(&first));
    CHECK(dlclose(library) == 0);
    library = open_library(path, &second);
    CHECK(second.mill_context_create == first.mill_context_create);
    CHECK(compute_once(&second));
  }
  finish(&w);
}

/* ---- fork
 * --------------------------------------------------------------------------------------------- */

static int child_status(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

/* In a process of its own, where no context has been made yet. */
static void fork_before_any_context(const struct api* m) {
  const pid_t child = fork();
  if (child == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(compute_once(m) ? 0 : 1);
    _exit(child_status(grandchild) == 0 && compute_once(m) ? 0 : 1);
  }
  CHECK(child_status(child) == 0);
}

static int refused_in_child(struct training* t, mill_tensor* tensor, mill_stream* stream,
                            mill_event* event, mill_future* future) {
  const struct api* m = t->m;
  mill_tensor* out = NULL;
  mill_tensor* batch[2] = {NULL, NULL};
  mill_tape* tape = NULL;
  mill_exec* exec = NULL;
  uint32_t count = 0;
  uint64_t nodes = 0;
  int64_t steps = 0;
  double value = 0;
#define REFUSED(call) CHECK_STATUS(call, MILL_E_FORKED)
  REFUSED(m->mill_device_count(t->context, &count, NULL));
  REFUSED(m->mill_exec_create(t->context, 0, NULL, &exec, NULL));
  REFUSED(m->mill_exec_wait(t->exec, NULL));
  REFUSED(m->mill_neg(t->exec, tensor, &out, NULL));
  REFUSED(m->mill_tensor_item(t->exec, tensor, &value, NULL));
  REFUSED(m->mill_stream_wait(stream, NULL));
  REFUSED(m->mill_event_query(event, NULL));
  REFUSED(m->mill_future_wait(future, UINT64_MAX, NULL));
  REFUSED(m->mill_tape_create(t->context, &tape, NULL));
  REFUSED(m->mill_tape_count(t->tape, &nodes, NULL));
  REFUSED(m->mill_group_count(t->group, &count, NULL));
  REFUSED(m->mill_optimizer_step(t->optimizer, t->exec, NULL));
  REFUSED(m->mill_optimizer_steps(t->optimizer, &steps, NULL));
  REFUSED(m->mill_loader_next(t->loader, t->exec, batch, 2, NULL));
  REFUSED(m->mill_generator_get_state(t->generator, &nodes, &nodes, NULL));
#undef REFUSED
  CHECK(out == NULL && tape == NULL && exec == NULL && batch[0] == NULL);
  return failures;
}

static void fork_with_a_context(const struct api* m) {
  struct training t;
  mill_tensor* tensor = NULL;
  mill_stream* stream = NULL;
  mill_event* event = NULL;
  mill_future* future = NULL;
  const int64_t dims[1] = {3};
  float before;
  pid_t child;
  CHECK(train_begin(&t, m, 2, MILL_GEMM_AUTO, 5, 256, 512));
  before = train_step(&t);
  CHECK_STATUS(m->mill_fill(t.exec, dims, 1, MILL_F32, 2, &tensor, NULL), MILL_OK);
  CHECK_STATUS(m->mill_stream_create(t.context, 0, &stream, NULL), MILL_OK);
  CHECK_STATUS(m->mill_event_create(stream, &event, NULL), MILL_OK);
  CHECK_STATUS(m->mill_tensor_read_async(t.exec, tensor, &future, NULL), MILL_OK);
  child = fork();
  if (child == 0) {
    failures = 0;
    refused_in_child(&t, tensor, stream, event, future);
    CHECK(compute_once(m));
    m->mill_tensor_release(tensor);
    m->mill_stream_release(stream);
    m->mill_event_release(event);
    m->mill_future_release(future);
    train_end(&t);
    CHECK(compute_once(m));
    _exit(failures != 0);
  }
  CHECK(child_status(child) == 0);
  CHECK(before > 0 && train_step(&t) > 0);
  m->mill_tensor_release(tensor);
  m->mill_stream_release(stream);
  m->mill_event_release(event);
  m->mill_future_release(future);
  train_end(&t);
}

static void fork_while_others_compute(const struct api* m) {
  struct worker w[2];
  int k;
  start(&w[0], m);
  start(&w[1], m);
  for (k = 0; k < 20; ++k) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      _exit(compute_once(m) ? 0 : 1);
    }
    CHECK(child_status(child) == 0);
  }
  finish(&w[0]);
  finish(&w[1]);
}

/* ---- exit and output
 * ------------------------------------------------------------------------------------ */

static int leak(const char* path) {
  static struct api m;
  static struct training t;
  static struct worker w;
  mill_tensor* tensor = NULL;
  mill_future* future = NULL;
  const int64_t dims[1] = {3};
  open_library(path, &m);
  if (!train_begin(&t, &m, 2, MILL_GEMM_AUTO, 1, 256, 512)) return 1;
  train_step(&t);
  m.mill_fill(t.exec, dims, 1, MILL_F32, 1, &tensor, NULL);
  m.mill_tensor_read_async(t.exec, tensor, &future, NULL);
  start(&w, &m); /* and one thread in the middle of something */
  return failures != 0 || t.status != MILL_OK;
}

static void leaves_silently(const char* self, const char* path) {
  int pipes[2];
  char text[4096];
  ssize_t n;
  pid_t child;
  CHECK(pipe(pipes) == 0);
  child = fork();
  if (child == 0) {
    dup2(pipes[1], 1);
    dup2(pipes[1], 2);
    close(pipes[0]);
    close(pipes[1]);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the leaks are the point */
    execl(self, self, path, "leak", (char*)NULL);
    _exit(99);
  }
  close(pipes[1]);
  n = read(pipes[0], text, sizeof text - 1);
  text[n > 0 ? n : 0] = 0;
  if (n != 0) printf("the leaking program printed: %s\n", text);
  CHECK(n == 0);
  close(pipes[0]);
  CHECK(child_status(child) == 0);
}

static void bad_input_prints_nothing(const struct api* m) {
  char name[] = "/tmp/millrace-output-XXXXXX";
  const int file = mkstemp(name);
  const int out = dup(1);
  const int err = dup(2);
  struct stat st;
  struct training t;
  mill_tensor* result = NULL;
  mill_file* opened = NULL;
  mill_context* context = NULL;
  mill_context_opts opts;
  const int64_t dims[2] = {-1, 3};
  int32_t op = 0;
  memset(&opts, 0, sizeof opts);
  CHECK(file >= 0);
  unlink(name);
  CHECK(train_begin(&t, m, 2, MILL_GEMM_AUTO, 1, 8, 16));
  fflush(stdout);
  dup2(file, 1);
  dup2(file, 2);
  m->mill_context_create(&opts, &context, NULL);
  m->mill_context_create(NULL, NULL, NULL);
  m->mill_fill(t.exec, dims, 2, MILL_F32, 0, &result, NULL);
  m->mill_fill(NULL, dims, 2, MILL_F32, 0, &result, NULL);
  m->mill_matmul(t.exec, t.params[0], t.params[1], &result, t.err);
  m->mill_matmul(t.exec, (mill_tensor*)t.exec, t.params[1], &result, t.err);
  m->mill_tape_backward(t.tape, t.exec, t.params[0], NULL, 0, t.err);
  m->mill_file_open(t.context, "/nonexistent", MILL_NTS, &opened, t.err);
  m->mill_idx_read(t.context, "/dev/null", MILL_NTS, &result, t.err);
  m->mill_op_find(t.context, "no such op", &op, t.err);
  m->mill_trace_set_mask(t.context, UINT64_MAX, t.err);
  m->mill_tensor_release((mill_tensor*)t.exec);
  train_end(&t);
  fflush(stdout);
  CHECK(fstat(file, &st) == 0);
  dup2(out, 1);
  dup2(err, 2);
  close(out);
  close(err);
  close(file);
  CHECK(st.st_size == 0);
}

int main(int argc, char** argv) {
  static struct api m;
  char self[1024];
  ssize_t n;
  if (argc < 2) return 2;
  if (argc > 2) return leak(argv[1]);
  n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0) return 2;
  self[n] = 0;
  setvbuf(stdout, NULL, _IONBF, 0);
  {
    static struct api fresh;
    const pid_t child = fork();
    if (child == 0) {
      open_library(argv[1], &fresh);
      fork_before_any_context(&fresh);
      _exit(failures != 0);
    }
    CHECK(child_status(child) == 0);
  }
  changes_no_process_state(argv[1], &m);
  reopens_with_threads_alive(argv[1]);
  fork_with_a_context(&m);
  fork_while_others_compute(&m);
  leaves_silently(self, argv[1]);
  bad_input_prints_nothing(&m);
  return failures != 0;
}
