// Elements in order along an axis. A gradient goes back to where its element came from.
#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

int64_t line_axis(OpCall& call, uint32_t k) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank == 0)
    fail_argument(MILL_E_SHAPE, 0, "x is [], %s needs at least one axis", call.row.name);
  return call.attr[k].i = normal_axis(call.integer(k), x.rank, "axis");
}

void infer_sort(OpCall& call) {
  line_axis(call, 0);
  call.set_like(0, 0);
  call.set_like(1, 0);
}

void infer_topk(OpCall& call) {
  const int64_t axis = line_axis(call, 1);
  const mill_kernel_tensor& x = call.shape(0);
  const int64_t k = call.integer(0);
  if (k < 0 || k > x.dims[axis]) {
    fail(MILL_E_ARG, "k is %lld, it must be 0 to %lld, the size of x along axis %lld",
         static_cast<long long>(k), static_cast<long long>(x.dims[axis]),
         static_cast<long long>(axis));
  }
  int64_t dims[MILL_MAX_RANK];
  for (int32_t i = 0; i < x.rank; ++i) dims[i] = i == axis ? k : x.dims[i];
  call.set_dims(0, dims, x.rank);
  call.set_dims(1, dims, x.rank);
}

void scatter_back(GradCall& c, int64_t axis) {
  mill_tensor* g = c.gradient(0);
  if (!g) return;
  const SavedValue& x = c.input(0);
  const TensorRef zeros = op::fill(c.exec, x.dims, static_cast<uint32_t>(x.rank), g->dtype());
  c.set(0, op::scatter_elements(c.exec, zeros.get(), c.out(1), g, axis, MILL_SCATTER_ADD));
}

void gradient_sort(GradCall& c) {
  scatter_back(c, c.attr[0].i);
}
void gradient_topk(GradCall& c) {
  scatter_back(c, c.attr[1].i);
}

}  // namespace

extern const OpRules rules_sort = {
    .infer = infer_sort, .gradient = gradient_sort, .saved_outputs = 2};
extern const OpRules rules_topk = {
    .infer = infer_topk, .gradient = gradient_topk, .saved_outputs = 2};

}  // namespace mill::ops
