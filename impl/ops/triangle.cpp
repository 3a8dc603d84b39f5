// Triangles of matrices, and indices as rows of ones and zeros.
#include <algorithm>

#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_one_hot(OpCall& call) {
  const mill_kernel_tensor& index = call.shape(0);
  const int64_t depth = call.integer(0);
  if (depth < 0)
    fail(MILL_E_ARG, "depth is %lld, it must not be negative", static_cast<long long>(depth));
  if (index.rank == MILL_MAX_RANK) {
    fail_argument(MILL_E_SHAPE, 0, "index is of rank %d, the result's rank passes the limit %d",
                  index.rank, MILL_MAX_RANK);
  }
  const int32_t rank = index.rank + 1;
  const int64_t axis = call.attr[1].i = normal_axis(call.integer(1), rank, "axis");
  int64_t dims[MILL_MAX_RANK];
  for (int32_t i = 0; i < rank; ++i) {
    dims[i] = i < axis ? index.dims[i] : i == axis ? depth : index.dims[i - 1];
  }
  checked_count(dims, rank, call.out[0].dtype);
  call.set_dims(0, dims, rank);
}

void infer_triangle(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank < 2) {
    fail_argument(MILL_E_SHAPE, 0, "x is %s, it must have rows and columns",
                  format_dims(*call.in[0]).text);
  }
  // Beyond the corners all diagonals are alike, and kernels may then add to it.
  const int64_t rows = x.dims[x.rank - 2];
  const int64_t columns = x.dims[x.rank - 1];
  call.attr[0].i = std::clamp(call.integer(0), -rows - 1, columns + 1);
  call.set_like(0, 0);
}

void gradient_tril(GradCall& c) {
  c.set(0, op::tril(c.exec, c.gradient(), c.attr[0].i));
}
void gradient_triu(GradCall& c) {
  c.set(0, op::triu(c.exec, c.gradient(), c.attr[0].i));
}

}  // namespace

extern const OpRules rules_one_hot = {.infer = infer_one_hot};
extern const OpRules rules_tril = {.infer = infer_triangle, .gradient = gradient_tril};
extern const OpRules rules_triu = {.infer = infer_triangle, .gradient = gradient_triu};

}  // namespace mill::ops
