// matmul and linear as one batch of column-major products, which is what a BLAS takes. Knows no
// vendor, so that it is tested without one.
#pragma once

#include <cstdint>

#include "millrace/plugin.h"

namespace mill::cuda {

// As it lies in memory: columns of `rows` elements, each `ld` after the one before.
struct GemmMatrix {
  int64_t rows;
  int64_t cols;
  int64_t ld;
  int64_t batch_stride;
  bool transposed;
};

// d [m, n] = op(a) [m, k] op(b) [k, n]. `swapped`: a is the op's second input, b its first, because
// the op's result is row-major: its transpose is computed. A bias then is one value per row of d.
struct GemmShape {
  int64_t m, n, k, batch;
  GemmMatrix a, b, d;
  bool swapped;
};

// Reads sizes and strides only. NULL, or in words why this cannot be one call.
const char* shape_gemm(int32_t op, const mill_kernel_args* args, GemmShape* out);

}  // namespace mill::cuda
