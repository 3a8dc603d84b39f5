// Joining along an axis, and the reverse of a slice.
#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_concat(OpCall& call) {
  const mill_kernel_tensor& first = call.shape(0);
  if (first.rank == 0)
    fail_argument(MILL_E_SHAPE, 0, "xs[0] is [], concat needs at least one axis");
  const int64_t axis = normal_axis(call.integer(0), first.rank, "axis");
  call.attr[0].i = axis;
  call.set_like(0, 0);
  int64_t total = 0;
  for (uint32_t k = 0; k < call.n_in; ++k) {
    const mill_kernel_tensor& x = call.shape(k);
    bool fits = x.rank == first.rank;
    for (int32_t i = 0; fits && i < x.rank; ++i) fits = i == axis || x.dims[i] == first.dims[i];
    if (!fits) {
      fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k),
                    "xs[%u] is %s, xs[0] is %s: they differ off axis %lld", k,
                    format_dims(*call.in[k]).text, format_dims(*call.in[0]).text,
                    static_cast<long long>(axis));
    }
    if (__builtin_add_overflow(total, x.dims[axis], &total))
      fail(MILL_E_SHAPE, "the joined axis overflows int64");
  }
  call.out[0].dims[axis] = total;
}

void gradient_concat(GradCall& c) {
  const int64_t axis = c.attr[0].i;
  int64_t at = 0;
  for (uint32_t k = 0; k < c.n_in; ++k) {
    const int64_t size = c.input(k).dims[axis];
    if (c.wanted(k)) c.set(k, op::slice(c.exec, c.gradient(), axis, at, at + size, 1));
    at += size;
  }
}

void infer_slice_backward(OpCall& call) {
  const mill_kernel_tensor& g = call.shape(0);
  set_dims_from_attr(call, 0, 0);
  const OutputSpec& out = call.out[0];
  if (out.rank == 0 || g.rank != out.rank) {
    fail_argument(MILL_E_SHAPE, 0, "g is %s, dims are %s: their ranks must agree",
                  format_dims(*call.in[0]).text, format_dims(out.dims, out.rank).text);
  }
  const int64_t axis = normal_axis(call.integer(1), out.rank, "axis");
  const int64_t start = call.integer(2);
  const int64_t step = call.integer(3);
  call.attr[1].i = axis;
  bool fits = start >= 0 && step >= 1;
  for (int32_t i = 0; fits && i < out.rank; ++i) fits = i == axis || g.dims[i] == out.dims[i];
  if (fits && g.dims[axis] > 0) {
    fits = start < out.dims[axis] && (g.dims[axis] - 1) <= (out.dims[axis] - 1 - start) / step;
  }
  if (!fits) {
    fail_argument(MILL_E_SHAPE, 0,
                  "g is %s, which does not fit dims %s at axis %lld from %lld in steps of %lld",
                  format_dims(*call.in[0]).text, format_dims(out.dims, out.rank).text,
                  static_cast<long long>(axis), static_cast<long long>(start),
                  static_cast<long long>(step));
  }
}

void gradient_slice_backward(GradCall& c) {
  const int64_t axis = c.attr[1].i;
  const int64_t start = c.attr[2].i;
  const int64_t step = c.attr[3].i;
  const int64_t n = c.input(0).dims[axis];
  const int64_t stop = n == 0 ? start : start + (n - 1) * step + 1;
  c.set(0, op::slice(c.exec, c.gradient(), axis, start, stop, step));
}

}  // namespace

extern const OpRules rules_concat = {.infer = infer_concat, .gradient = gradient_concat};
extern const OpRules rules_slice_backward = {.infer = infer_slice_backward,
                                             .gradient = gradient_slice_backward};

}  // namespace mill::ops
