/* A steady training step calls neither the heap nor the system for memory: all heap functions are
 * replaced and counted, over all threads of the process. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "train.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REPLACED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define REPLACED 0
#else
#define REPLACED 1
#endif
#else
#define REPLACED 1
#endif

static uint64_t heap_calls;

#if REPLACED
/* glibc's own names for what is replaced. */
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t n, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);
void* __libc_memalign(size_t align, size_t bytes);
void __libc_free(void* block);

static void count(void) {
  __atomic_fetch_add(&heap_calls, 1, __ATOMIC_RELAXED);
}

void* malloc(size_t bytes) {
  count();
  return __libc_malloc(bytes);
}
void* calloc(size_t n, size_t bytes) {
  count();
  return __libc_calloc(n, bytes);
}
void* realloc(void* block, size_t bytes) {
  count();
  return __libc_realloc(block, bytes);
}
void* memalign(size_t align, size_t bytes) {
  count();
  return __libc_memalign(align, bytes);
}
void* aligned_alloc(size_t align, size_t bytes) {
  count();
  return __libc_memalign(align, bytes);
}
int posix_memalign(void** out, size_t align, size_t bytes) {
  count();
  *out = __libc_memalign(align, bytes);
  return *out ? 0 : ENOMEM;
}
void free(void* block) {
  if (block) count();
  __libc_free(block);
}
#endif

static uint64_t calls_now(void) {
  return __atomic_load_n(&heap_calls, __ATOMIC_RELAXED);
}

static void stats_of(const struct api* m, mill_context* context, mill_memory_stats* out) {
  memset(out, 0, sizeof *out);
  out->size = sizeof *out;
  out->type = MILL_STRUCT_MEMORY_STATS;
  CHECK_STATUS(m->mill_memory_stats_query(context, 0, out, NULL), MILL_OK);
}

/* Runs step(data) to warm up and then 50 times, in which nothing may be allocated. */
static void expect_steady(const struct api* m, mill_context* context, const char* what,
                          void (*step)(void*), void* data) {
  mill_memory_stats before, after;
  uint64_t calls;
  int k;
  for (k = 0; k < 20; ++k) step(data);
  stats_of(m, context, &before);
  calls = calls_now();
  for (k = 0; k < 50; ++k) step(data);
  calls = calls_now() - calls;
  stats_of(m, context, &after);
  printf("%s: %llu heap calls, %llu source calls, %llu allocations in 50 steps\n", what,
         (unsigned long long)calls, (unsigned long long)(after.source_calls - before.source_calls),
         (unsigned long long)(after.allocations - before.allocations));
  CHECK(calls == 0);
  CHECK(after.source_calls == before.source_calls);
  CHECK(after.growths == before.growths);
  CHECK(after.allocations > before.allocations);
  CHECK(after.in_use_bytes == before.in_use_bytes);
}

static void one_training_step(void* data) {
  train_step(data);
}

/* oneDNN allocates in each product that it computes: MILL_GEMM_AUTO is steady for networks whose
 * products are too small for it, MILL_GEMM_OWN for all. */
static void training(const struct api* m, uint32_t threads, int32_t gemm, int32_t width,
                     int32_t hidden, uint64_t trace_mask) {
  struct training t;
  char what[96];
  CHECK(train_begin(&t, m, threads, gemm, 7, width, hidden));
  if (t.status == MILL_OK) {
    CHECK_STATUS(m->mill_trace_set_mask(t.context, trace_mask, NULL), MILL_OK);
    snprintf(what, sizeof what, "training, %u threads, gemm %s, %d-%d-4, trace %llu", threads,
             gemm == MILL_GEMM_OWN ? "own" : "auto", width, hidden, (unsigned long long)trace_mask);
    expect_steady(m, t.context, what, one_training_step, &t);
    CHECK(t.status == MILL_OK);
  }
  train_end(&t);
}

struct product {
  const struct api* m;
  mill_exec* exec;
  mill_tape* tape;
  mill_tensor* x;
};

static void one_product(void* data) {
  struct product* p = data;
  const struct api* m = p->m;
  mill_tensor *y = NULL, *sum = NULL, *gradient = NULL;
  double value = 0;
  CHECK_STATUS(m->mill_tape_watch(p->tape, p->x, NULL), MILL_OK);
  CHECK_STATUS(m->mill_exec_set_tape(p->exec, p->tape, NULL), MILL_OK);
  CHECK_STATUS(m->mill_mul(p->exec, p->x, p->x, &y, NULL), MILL_OK);
  CHECK_STATUS(m->mill_sum(p->exec, y, NULL, 0, 0, &sum, NULL), MILL_OK);
  CHECK_STATUS(m->mill_tape_backward(p->tape, p->exec, sum, NULL, 0, NULL), MILL_OK);
  CHECK_STATUS(m->mill_exec_set_tape(p->exec, NULL, NULL), MILL_OK);
  CHECK_STATUS(m->mill_tape_gradient_of(p->tape, p->x, &gradient, NULL), MILL_OK);
  CHECK_STATUS(m->mill_tensor_item(p->exec, sum, &value, NULL), MILL_OK);
  CHECK(value == 9.0 * 1000);
  m->mill_tensor_release(y);
  m->mill_tensor_release(sum);
  m->mill_tensor_release(gradient);
}

static void product(const struct api* m) {
  const int64_t dims[1] = {1000};
  struct product p;
  mill_context* context = NULL;
  memset(&p, 0, sizeof p);
  p.m = m;
  CHECK_STATUS(m->mill_context_create(NULL, &context, NULL), MILL_OK);
  CHECK_STATUS(m->mill_exec_create(context, 0, NULL, &p.exec, NULL), MILL_OK);
  CHECK_STATUS(m->mill_tape_create(context, &p.tape, NULL), MILL_OK);
  CHECK_STATUS(m->mill_fill(p.exec, dims, 1, MILL_F32, 3, &p.x, NULL), MILL_OK);
  expect_steady(m, context, "mul, sum and backward", one_product, &p);
  m->mill_tensor_release(p.x);
  m->mill_tape_release(p.tape);
  m->mill_exec_release(p.exec);
  m->mill_context_release(context);
}

int main(void) {
  struct api m;
#define X(name) m.name = name;
  ABI_FUNCTIONS(X)
#undef X
  if (!REPLACED) {
    printf("skipped: a sanitizer owns the heap\n");
    return 77;
  }
  {
    const uint64_t calls = calls_now();
    void* volatile block = malloc(10);
    free(block);
    CHECK(calls_now() == calls + 2);
  }
  product(&m);
  training(&m, 1, MILL_GEMM_AUTO, 8, 16, 0);
  training(&m, 2, MILL_GEMM_AUTO, 8, 16, 0);
  training(&m, 2, MILL_GEMM_AUTO, 256, 128, 0);
  training(&m, 2, MILL_GEMM_OWN, 256, 512, 0);
  training(&m, 2, MILL_GEMM_AUTO, 8, 16, MILL_TRACE_RECORDS | MILL_TRACE_OP_STATS);
  return failures != 0;
}
