// The losses of a training, which arrive some steps late: no step waits for the value of its own.
#ifndef SAMPLES_LOSSES_H
#define SAMPLES_LOSSES_H

#include <millrace/millrace.h>

#include "options.h"
#include "progress.h"

enum { LOSSES_PENDING = 16 };

typedef struct {
  mill_future* waiting[LOSSES_PENDING];
  int64_t asked, taken;
  float* values;
  double mean;  // of the last hundred or so
} losses;

static inline void losses_start(losses* l, int64_t steps) {
  l->values = malloc((size_t)steps * sizeof *l->values);
  if (!l->values) die("out of memory", "");
}

// Takes what has arrived until `leave` are still on their way.
static inline void losses_take(losses* l, int64_t leave) {
  for (; l->asked - l->taken > leave; l->taken++) {
    mill_future* future = l->waiting[l->taken % LOSSES_PENDING];
    const void* data;
    uint64_t bytes;
    check(mill_future_wait(future, UINT64_MAX, err));
    check(mill_future_data(future, &data, &bytes, err));
    const float loss = *(const float*)data;
    mill_future_release(future);
    l->values[l->taken] = loss;
    l->mean += ((double)loss - l->mean) / (l->taken < 100 ? (double)(l->taken + 1) : 100);
  }
}

static inline void losses_ask(losses* l, mill_exec* exec, mill_tensor* loss) {
  losses_take(l, LOSSES_PENDING - 1);
  mill_future* future;
  check(mill_tensor_read_async(exec, loss, &future, err));
  mill_future_retain(future);  // it outlives the step's scope
  l->waiting[l->asked++ % LOSSES_PENDING] = future;
}

// As CSV; the first is of step first + 1.
static inline void losses_write(const losses* l, const char* path, int64_t first) {
  FILE* file = fopen(path, "w");
  if (!file) die("cannot write ", path);
  fprintf(file, "step,loss\n");
  for (int64_t k = 0; k < l->taken; k++)
    fprintf(file, "%lld,%.9g\n", (long long)(first + k + 1), (double)l->values[k]);
  if (fclose(file) != 0) die("cannot write ", path);
}

#endif
