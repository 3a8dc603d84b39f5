// Joining along an axis, the reverse of a slice, and padding.
#include "millrace/ops.h"
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

// ---- pad ----------------------------------------------------------------------------------------

void infer_pad(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank == 0) fail_argument(MILL_E_SHAPE, 0, "x is [], pad needs at least one axis");
  const int64_t axis = call.attr[0].i = normal_axis(call.integer(0), x.rank, "axis");
  const int64_t low = call.integer(1);
  const int64_t high = call.integer(2);
  const int64_t mode = call.integer(3);
  const int64_t n = x.dims[axis];
  if (mode < MILL_PAD_CONSTANT || mode > MILL_PAD_WRAP) {
    fail(MILL_E_ARG, "mode is %lld, it must be %d to %d", static_cast<long long>(mode),
         MILL_PAD_CONSTANT, MILL_PAD_WRAP);
  }
  // How much of x there is to repeat on each side.
  int64_t most = INT64_MAX;
  if (mode == MILL_PAD_REFLECT) most = n > 0 ? n - 1 : 0;
  if (mode == MILL_PAD_WRAP) most = n;
  if (mode == MILL_PAD_EDGE && n == 0) most = 0;
  const int64_t least = mode == MILL_PAD_CONSTANT ? INT64_MIN : 0;
  for (const int64_t amount : {low, high}) {
    if (amount < least || amount > most) {
      fail(MILL_E_ARG,
           "%s is %lld, in this mode it must be %lld to %lld along axis %lld of size %lld",
           amount == low ? "low" : "high", static_cast<long long>(amount),
           static_cast<long long>(least), static_cast<long long>(most),
           static_cast<long long>(axis), static_cast<long long>(n));
    }
  }
  int64_t size = 0;
  if (__builtin_add_overflow(n, low, &size) || __builtin_add_overflow(size, high, &size) ||
      size < 0 || low < -n || high < -n) {
    fail(MILL_E_ARG, "low is %lld and high is %lld, axis %lld of size %lld has no size then",
         static_cast<long long>(low), static_cast<long long>(high), static_cast<long long>(axis),
         static_cast<long long>(n));
  }
  int64_t dims[MILL_MAX_RANK];
  for (int32_t i = 0; i < x.rank; ++i) dims[i] = i == axis ? size : x.dims[i];
  checked_count(dims, x.rank, call.out[0].dtype);
  call.set_dims(0, dims, x.rank);
}

// What a side of the padding adds to the gradient of x: the part of it, turned round where it was
// reflected, at the indices from `start` on.
TensorRef side_of(GradCall& c, int64_t axis, int64_t begin, int64_t count, int64_t start) {
  const SavedValue& x = c.input(0);
  const auto rank = static_cast<uint32_t>(x.rank);
  TensorRef part = op::slice(c.exec, c.gradient(), axis, begin, begin + count, 1);
  if (c.attr[3].i == MILL_PAD_EDGE) {
    part = sum_axis(c.exec, part.get(), axis);
  } else if (c.attr[3].i == MILL_PAD_REFLECT) {
    const TensorRef back = op::arange(c.exec, count, static_cast<double>(count - 1), -1, MILL_I64);
    part = op::gather(c.exec, part.get(), back.get(), axis);
  }
  return op::slice_backward(c.exec, part.get(), x.dims, rank, axis, start, 1);
}

void gradient_pad(GradCall& c) {
  const int64_t axis = c.attr[0].i;
  const int64_t low = c.attr[1].i;
  const int64_t high = c.attr[2].i;
  const int64_t mode = c.attr[3].i;
  const int64_t n = c.input(0).dims[axis];
  if (mode == MILL_PAD_CONSTANT) {
    // Padding taken back; what was cropped gets zeros.
    c.set(0, op::pad(c.exec, c.gradient(), axis, -low, -high));
    return;
  }
  TensorRef sum = op::slice(c.exec, c.gradient(), axis, low, low + n, 1);
  if (low > 0) {
    const int64_t start = mode == MILL_PAD_EDGE ? 0 : mode == MILL_PAD_REFLECT ? 1 : n - low;
    const TensorRef side = side_of(c, axis, 0, low, start);
    sum = op::add(c.exec, sum.get(), side.get());
  }
  if (high > 0) {
    const int64_t start = mode == MILL_PAD_EDGE      ? n - 1
                          : mode == MILL_PAD_REFLECT ? n - 1 - high
                                                     : 0;
    const TensorRef side = side_of(c, axis, low + n, high, start);
    sum = op::add(c.exec, sum.get(), side.get());
  }
  c.set(0, std::move(sum));
}

}  // namespace

extern const OpRules rules_pad = {.infer = infer_pad, .gradient = gradient_pad};
extern const OpRules rules_concat = {.infer = infer_concat, .gradient = gradient_concat};
extern const OpRules rules_slice_backward = {.infer = infer_slice_backward,
                                             .gradient = gradient_slice_backward};

}  // namespace mill::ops
