// Tensors from nothing and conversions: fill, arange, cast, copy, contiguous.
#include <cmath>

#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_fill(OpCall& call) {
  set_dims_from_attr(call, 0, 0);
}

void infer_arange(OpCall& call) {
  const int64_t count = call.integer(0);
  if (count < 0)
    fail(MILL_E_SHAPE, "count is %lld, it must not be negative", static_cast<long long>(count));
  if (!std::isfinite(call.real(1)) || !std::isfinite(call.real(2))) {
    fail(MILL_E_ARG, "start is %g and step is %g, both must be finite", call.real(1), call.real(2));
  }
  call.set_dims(0, &count, 1);
}

// Keeps the stride order of x, so that a channels-last tensor stays one.
void infer_like(OpCall& call) {
  call.set_like(0, 0);
  const mill_kernel_tensor& x = call.shape(0);
  if (call.in[0]->dense || call.row.number == MILL_OP_CONTIGUOUS) return;
  int64_t stride = 1;
  OutputSpec& spec = call.out[0];
  bool used[MILL_MAX_RANK] = {};
  for (int32_t n = 0; n < x.rank; ++n) {
    int32_t next = -1;
    for (int32_t i = x.rank - 1; i >= 0; --i) {
      if (!used[i] && (next < 0 || x.strides[i] < x.strides[next])) next = i;
    }
    used[next] = true;
    spec.strides[next] = stride;
    stride *= x.dims[next] > 0 ? x.dims[next] : 1;
  }
  spec.strided = true;
}

TensorRef view_contiguous(OpCall&, mill_tensor* x) {
  if (!x->dense) return nullptr;
  return make_view(x->storage.get(), x->dtype(), x->view.dims, x->view.strides, x->rank(),
                   x->offset);
}

void gradient_cast(GradCall& c) {
  if (is_compute_float(c.input(0).dtype)) c.set(0, cast(c.exec, c.gradient(), c.input(0).dtype));
}

void gradient_copy(GradCall& c) {
  c.set(0, share(c.gradient()));
}

}  // namespace

extern const OpRules rules_fill = {.infer = infer_fill};
extern const OpRules rules_arange = {.infer = infer_arange};
extern const OpRules rules_cast = {.infer = infer_like, .gradient = gradient_cast};
extern const OpRules rules_copy = {.infer = infer_like, .gradient = gradient_copy};
extern const OpRules rules_contiguous = {
    .infer = infer_like, .view = view_contiguous, .gradient = gradient_copy};

}  // namespace mill::ops
