/* A small classifier and everything that trains it: loader, dropout, AdamW, clipping, schedule. */
#ifndef MILL_TESTS_ABI_TRAIN_H
#define MILL_TESTS_ABI_TRAIN_H

#include "api.h"

enum { TRAIN_ROWS = 64, TRAIN_BATCH = 16 };

struct training {
  const struct api* m;
  mill_context* context;
  mill_exec* exec;
  mill_generator* generator;
  mill_tape* tape;
  mill_group* group;
  mill_optimizer* optimizer;
  mill_loader* loader;
  mill_tensor* params[4];
  mill_error* err;
  mill_status status; /* of the first call that failed */
};

static int train_ok(struct training* t, mill_status status) {
  if (status < 0 && t->status == MILL_OK) {
    t->status = status;
    printf("training: %s\n", t->m->mill_error_message(t->err));
  }
  return t->status == MILL_OK;
}

static mill_tensor* train_data(struct training* t, int32_t width) {
  static float values[TRAIN_ROWS * 256];
  const int64_t dims[2] = {TRAIN_ROWS, width};
  uint32_t state = 12345;
  mill_tensor* out = NULL;
  int32_t k;
  for (k = 0; k < TRAIN_ROWS * width; ++k) {
    state = state * 1664525u + 1013904223u;
    values[k] = (float)(state >> 8) / 16777216.0f - 0.5f;
  }
  train_ok(
      t, t->m->mill_tensor_from_host(t->exec, MILL_F32, dims, 2, values,
                                     (uint64_t)(TRAIN_ROWS * width) * sizeof(float), &out, t->err));
  return out;
}

static mill_tensor* train_labels(struct training* t) {
  int64_t labels[TRAIN_ROWS];
  const int64_t dims[1] = {TRAIN_ROWS};
  mill_tensor* out = NULL;
  int32_t k;
  for (k = 0; k < TRAIN_ROWS; ++k) labels[k] = (k * 7) % 4;
  train_ok(t, t->m->mill_tensor_from_host(t->exec, MILL_I64, dims, 1, labels, sizeof labels, &out,
                                          t->err));
  return out;
}

/* width: of the input, at most 256. */
static int train_begin(struct training* t, const struct api* m, uint32_t threads, int32_t gemm,
                       uint64_t seed, int32_t width, int32_t hidden) {
  const int64_t w1[2] = {hidden, width};
  const int64_t b1[1] = {hidden};
  const int64_t w2[2] = {4, hidden};
  const int64_t b2[1] = {4};
  mill_context_opts context_opts;
  mill_loader_opts loader_opts;
  mill_tensor* columns[2];
  uint32_t k;
  memset(t, 0, sizeof *t);
  t->m = m;
  memset(&context_opts, 0, sizeof context_opts);
  context_opts.size = sizeof context_opts;
  context_opts.type = MILL_STRUCT_CONTEXT_OPTS;
  context_opts.threads = threads;
  context_opts.gemm = gemm;
  memset(&loader_opts, 0, sizeof loader_opts);
  loader_opts.size = sizeof loader_opts;
  loader_opts.type = MILL_STRUCT_LOADER_OPTS;
  loader_opts.seed = seed;
  loader_opts.batch = TRAIN_BATCH;
  loader_opts.flags = MILL_LOADER_SHUFFLE;
  m->mill_error_create(&t->err);
  if (!train_ok(t, m->mill_context_create(&context_opts, &t->context, t->err))) return 0;
  if (!train_ok(t, m->mill_exec_create(t->context, 0, NULL, &t->exec, t->err))) return 0;
  train_ok(t, m->mill_generator_create(t->exec, seed, &t->generator, t->err));
  train_ok(t, m->mill_exec_set_generator(t->exec, t->generator, t->err));
  train_ok(t, m->mill_tape_create(t->context, &t->tape, t->err));
  train_ok(t, m->mill_group_create(t->context, MILL_F32, &t->group, t->err));
  train_ok(t, m->mill_group_add(t->group, "w1", w1, 2, NULL, t->err));
  train_ok(t, m->mill_group_add(t->group, "b1", b1, 1, NULL, t->err));
  train_ok(t, m->mill_group_add(t->group, "w2", w2, 2, NULL, t->err));
  train_ok(t, m->mill_group_add(t->group, "b2", b2, 1, NULL, t->err));
  if (!train_ok(t, m->mill_group_build(t->group, t->exec, t->err))) return 0;
  for (k = 0; k < 4; ++k) {
    train_ok(t, m->mill_group_param(t->group, k, &t->params[k], t->err));
    if (k % 2 == 0)
      train_ok(t, m->mill_group_init(t->group, t->exec, k, MILL_INIT_KAIMING, 1, t->err));
  }
  train_ok(t, m->mill_optimizer_create_adamw(t->exec, t->group, 0.01, 0.9, 0.999, 1e-8, 0.01,
                                             &t->optimizer, t->err));
  if (t->status != MILL_OK) return 0;
  train_ok(
      t, m->mill_optimizer_set_schedule(t->optimizer, MILL_SCHEDULE_COSINE, 5, 1000, 0.1, t->err));
  train_ok(t, m->mill_optimizer_set_clip_norm(t->optimizer, 1.0, t->err));
  columns[0] = train_data(t, width);
  columns[1] = train_labels(t);
  train_ok(t, m->mill_loader_create(t->context, columns, 2, &loader_opts, &t->loader, t->err));
  m->mill_tensor_release(columns[0]);
  m->mill_tensor_release(columns[1]);
  return t->status == MILL_OK;
}

/* One step; the loss of its batch. */
static float train_step(struct training* t) {
  const struct api* m = t->m;
  mill_tensor* batch[2] = {NULL, NULL};
  mill_tensor *h = NULL, *a = NULL, *d = NULL, *y = NULL, *loss = NULL, *lse = NULL;
  mill_future* future = NULL;
  const void* data = NULL;
  uint64_t bytes = 0;
  float value = -1;
  mill_status status = m->mill_loader_next(t->loader, t->exec, batch, 2, t->err);
  if (status == MILL_END) status = m->mill_loader_next(t->loader, t->exec, batch, 2, t->err);
  if (!train_ok(t, status)) return value;
  train_ok(t, m->mill_exec_set_tape(t->exec, t->tape, t->err));
  (void)(train_ok(t, m->mill_linear(t->exec, batch[0], t->params[0], t->params[1], &h, t->err)) &&
         train_ok(t, m->mill_gelu(t->exec, h, 0, &a, t->err)) &&
         train_ok(t, m->mill_dropout(t->exec, a, NULL, 0.1, &d, t->err)) &&
         train_ok(t, m->mill_linear(t->exec, d, t->params[2], t->params[3], &y, t->err)) &&
         train_ok(t, m->mill_cross_entropy(t->exec, y, batch[1], MILL_REDUCE_MEAN, 0, -100, &loss,
                                           &lse, t->err)) &&
         train_ok(t, m->mill_tape_backward(t->tape, t->exec, loss, NULL, 0, t->err)) &&
         train_ok(t, m->mill_optimizer_step(t->optimizer, t->exec, t->err)));
  m->mill_exec_set_tape(t->exec, NULL, NULL);
  if (t->status == MILL_OK &&
      train_ok(t, m->mill_tensor_read_async(t->exec, loss, &future, t->err)) &&
      train_ok(t, m->mill_future_wait(future, UINT64_MAX, t->err)) &&
      train_ok(t, m->mill_future_data(future, &data, &bytes, t->err)) && bytes == sizeof value) {
    memcpy(&value, data, sizeof value);
  }
  m->mill_future_release(future);
  m->mill_tensor_release(batch[0]);
  m->mill_tensor_release(batch[1]);
  m->mill_tensor_release(h);
  m->mill_tensor_release(a);
  m->mill_tensor_release(d);
  m->mill_tensor_release(y);
  m->mill_tensor_release(loss);
  m->mill_tensor_release(lse);
  m->mill_trace_step(t->exec, NULL);
  return value;
}

static void train_end(struct training* t) {
  const struct api* m = t->m;
  int k;
  m->mill_loader_release(t->loader);
  m->mill_optimizer_release(t->optimizer);
  for (k = 0; k < 4; ++k) m->mill_tensor_release(t->params[k]);
  m->mill_group_release(t->group);
  m->mill_tape_release(t->tape);
  m->mill_generator_release(t->generator);
  m->mill_exec_release(t->exec);
  m->mill_context_release(t->context);
  m->mill_error_release(t->err);
}

#endif
