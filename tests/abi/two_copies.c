/* Two copies of the library in one process, as two plugins might bring them: both work, and neither
 * takes the other's handles. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train.h"

static int copy_file(const char* from, const char* to) {
  char buffer[1 << 16];
  const int in = open(from, O_RDONLY);
  const int out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0700);
  ssize_t n = -1;
  while (in >= 0 && out >= 0 && (n = read(in, buffer, sizeof buffer)) > 0) {
    if (write(out, buffer, (size_t)n) != n) {
      n = -1;
      break;
    }
  }
  if (in >= 0) close(in);
  if (out >= 0) close(out);
  return n == 0;
}

static void open_copy(const char* path, struct api* m) {
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
}

static void refuses(struct training* mine, struct training* theirs) {
  const struct api* m = mine->m;
  mill_tensor* out = NULL;
  mill_exec* exec = NULL;
  mill_tensor* batch[2] = {NULL, NULL};
  uint32_t count = 0;
  char text[256];
#define REFUSED(call) CHECK_STATUS(call, MILL_E_BAD_HANDLE)
  REFUSED(m->mill_device_count(theirs->context, &count, mine->err));
  REFUSED(m->mill_exec_create(theirs->context, 0, NULL, &exec, mine->err));
  REFUSED(m->mill_exec_wait(theirs->exec, mine->err));
  REFUSED(m->mill_neg(theirs->exec, mine->params[0], &out, mine->err));
  REFUSED(m->mill_neg(mine->exec, theirs->params[0], &out, mine->err));
  REFUSED(m->mill_exec_set_tape(mine->exec, theirs->tape, mine->err));
  REFUSED(m->mill_exec_set_generator(mine->exec, theirs->generator, mine->err));
  REFUSED(m->mill_tape_backward(theirs->tape, mine->exec, mine->params[0], NULL, 0, mine->err));
  REFUSED(m->mill_optimizer_step(theirs->optimizer, mine->exec, mine->err));
  REFUSED(m->mill_group_count(theirs->group, &count, mine->err));
  REFUSED(m->mill_loader_next(theirs->loader, mine->exec, batch, 2, mine->err));
#undef REFUSED
  CHECK(out == NULL && exec == NULL);
  /* An error object of the other copy is not written. */
  theirs->m->mill_exec_wait(NULL, theirs->err);
  snprintf(text, sizeof text, "%s", theirs->m->mill_error_message(theirs->err));
  CHECK_STATUS(m->mill_device_count(mine->context, NULL, theirs->err), MILL_E_ARG);
  CHECK(strcmp(theirs->m->mill_error_message(theirs->err), text) == 0);
  CHECK(m->mill_tensor_count(theirs->params[0]) == 0);
  /* Nor does a release reach it. */
  m->mill_tensor_release(theirs->params[0]);
  m->mill_exec_release(theirs->exec);
  m->mill_context_release(theirs->context);
}

int main(int argc, char** argv) {
  static struct api first, second;
  static struct training a, b;
  char folder[] = "/tmp/millrace-copies-XXXXXX";
  char path[2][64];
  float losses[2][5];
  int k;
  if (argc < 2 || !mkdtemp(folder)) return 2;
  for (k = 0; k < 2; ++k) {
    snprintf(path[k], sizeof path[k], "%s/copy%d.so", folder, k);
    CHECK(copy_file(argv[1], path[k]));
  }
  open_copy(path[0], &first);
  open_copy(path[1], &second);
  for (k = 0; k < 2; ++k) unlink(path[k]);
  rmdir(folder);
  CHECK(first.mill_context_create != second.mill_context_create);
  CHECK(train_begin(&a, &first, 2, MILL_GEMM_AUTO, 11, 256, 512));
  CHECK(train_begin(&b, &second, 2, MILL_GEMM_AUTO, 11, 256, 512));
  refuses(&a, &b);
  refuses(&b, &a);
  for (k = 0; k < 5; ++k) {
    losses[0][k] = train_step(&a);
    losses[1][k] = train_step(&b);
  }
  CHECK(a.status == MILL_OK && b.status == MILL_OK);
  CHECK(memcmp(losses[0], losses[1], sizeof losses[0]) == 0);
  train_end(&a);
  train_end(&b);
  return failures != 0;
}
