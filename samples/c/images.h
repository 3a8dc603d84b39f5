// Images with labels, as the files of MNIST hold them.
#ifndef SAMPLES_IMAGES_H
#define SAMPLES_IMAGES_H

#include <millrace/millrace.h>

#include "options.h"
#include "progress.h"

typedef struct {
  mill_tensor *inputs, *labels;  // u8 [n, ...] and u8 [n]
} dataset;

// Reads DIR/SET-KIND-ubyte under the first of the usual names under which there is a file, plain or
// .gz. sets: names, NULL behind the last.
static inline mill_tensor* read_idx(mill_context* context, const char* dir, const char* const* sets,
                                    const char* content, int rank) {
  static const char* forms[] = {"%s/%s-%s-idx%d-ubyte.gz", "%s/%s-%s-idx%d-ubyte",
                                "%s/%s-%s.idx%d-ubyte"};
  char path[4096];
  for (int s = 0; sets[s]; s++) {
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
      snprintf(path, sizeof path, forms[f], dir, sets[s], content, rank);
      FILE* file = fopen(path, "rb");
      if (!file) continue;
      fclose(file);
      mill_tensor* tensor;
      check(mill_idx_read(context, path, MILL_NTS, &tensor, err));
      return tensor;
    }
  }
  die("no such file as ", path);
  return NULL;
}

static inline dataset read_mnist(mill_context* context, const char* dir, const char* const* sets) {
  const dataset set = {read_idx(context, dir, sets, "images", 3),
                       read_idx(context, dir, sets, "labels", 1)};
  return set;
}

static const char* const mnist_train[] = {"train", NULL};
static const char* const mnist_test[] = {"t10k", "t3k", "test", NULL};

static inline void release_dataset(const dataset* set) {
  mill_tensor_release(set->inputs);
  mill_tensor_release(set->labels);
}

#endif
