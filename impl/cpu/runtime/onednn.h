// oneDNN, opened when the first product wants it and never linked. Included by files compiled for
// any SIMD target, so nothing here may become a function of its own.
#pragma once

#include <cstdint>

namespace mill::cpu {

// One two-dimensional product: c[m, n] (+)= a[m, k] b[k, n] (+ bias[n]). Strides in elements; c's
// columns are adjacent, and so is one of the two axes of a and of b; the bias is contiguous.
struct OneDnnProduct {
  int32_t dtype;
  bool add;
  int64_t m, n, k;
  const void* a;
  int64_t a_row, a_col;
  const void* b;
  int64_t b_row, b_col;
  void* c;
  int64_t c_row;
  const void* bias;  // NULL: none
  int64_t part;      // which of the parts computed at the same time; each has its own caches
};

class OneDnn {
 public:
  OneDnn();
  ~OneDnn();  // no product may be running
  OneDnn(const OneDnn&) = delete;
  OneDnn& operator=(const OneDnn&) = delete;

  // Whether products of this dtype can be computed. The first call opens the library, which takes
  // some 20 ms.
  bool supports(int32_t dtype) noexcept;
  // One sentence: the version in use, or why there is none. Opens the library like supports().
  const char* description() noexcept;

  // Computes one product on the calling thread, and on no other: OpenMP's thread count is one
  // during the call and what it was before afterwards. Several threads may call at once. False if
  // oneDNN refuses or memory is short; c is then unchanged. Nothing is allocated here but
  // for sizes and layouts that the caches have not seen lately; oneDNN itself allocates in every
  // f32 product.
  bool multiply(const OneDnnProduct& product) noexcept;

 private:
  struct Library;
  Library* opened() noexcept;

  struct State;
  State* state_;
};

}  // namespace mill::cpu
