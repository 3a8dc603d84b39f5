/* The same seed gives the same bits: two runs of 50 training steps, with one thread and with two.
 */
#include "train.h"

enum { STEPS = 50 };

static int run(const struct api* m, uint32_t threads, uint64_t seed, int32_t width, int32_t hidden,
               float* losses) {
  struct training t;
  int k;
  if (!train_begin(&t, m, threads, MILL_GEMM_AUTO, seed, width, hidden)) return 0;
  for (k = 0; k < STEPS; ++k) losses[k] = train_step(&t);
  train_end(&t);
  return t.status == MILL_OK;
}

int main(void) {
  static const int32_t widths[2] = {8, 256};
  static const int32_t hiddens[2] = {16, 512};
  struct api m;
  float first[STEPS];
  float again[STEPS];
  float other[STEPS];
  uint32_t threads;
  int size;
#define X(name) m.name = name;
  ABI_FUNCTIONS(X)
#undef X
  for (size = 0; size < 2; ++size) {
    for (threads = 1; threads <= 2; ++threads) {
      CHECK(run(&m, threads, 42, widths[size], hiddens[size], first));
      CHECK(run(&m, threads, 42, widths[size], hiddens[size], again));
      CHECK(run(&m, threads, 43, widths[size], hiddens[size], other));
      CHECK(memcmp(first, again, sizeof first) == 0);
      CHECK(memcmp(first, other, sizeof first) != 0);
      CHECK(first[0] > 0.5f && first[0] < 5.0f);
      CHECK(first[STEPS - 1] < first[0]);
    }
  }
  return failures != 0;
}
