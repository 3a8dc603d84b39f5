// Convolutions: shapes, and gradients that are ops of the same family, so that they can be
// differentiated again.
#include "ops/rules.h"

namespace mill::ops {

namespace {

constexpr uint32_t kMostAxes = 3;
// No size or offset that is made of such values leaves an int64.
constexpr int64_t kMost = int64_t{1} << 30;

// Attributes stride, padding, dilation and groups, in this order.
struct Window {
  uint32_t axes;
  const int64_t* stride;
  const int64_t* padding;  // all before, then all behind
  const int64_t* dilation;
  int64_t groups;
};

// Attribute k with a value for each of n, in scratch from `slot` on; absent values are `usual`, n /
// 2 values stand for both ends where `ends` is set.
const int64_t* settle(OpCall& call, uint32_t k, uint32_t n, uint32_t slot, int64_t least,
                      int64_t usual, bool ends = false) {
  const char* name = call.row.attrs[k].name;
  const uint32_t given = call.n_ints(k);
  if (given != 0 && given != n && !(ends && 2 * given == n)) {
    if (ends) {
      fail(MILL_E_ARG, "%s has %u values, for %u spatial axes it takes %u or %u", name, given,
           n / 2, n / 2, n);
    }
    fail(MILL_E_ARG, "%s has %u values, for %u spatial axes it takes as many", name, given, n);
  }
  int64_t* to = call.scratch + slot;
  for (uint32_t i = 0; i < n; ++i) {
    to[i] = given == 0 ? usual : call.ints(k)[i % given];
    if (to[i] < least || to[i] > kMost) {
      fail(MILL_E_ARG, "%s[%u] is %lld, it must be %lld to %lld", name, given == 0 ? i : i % given,
           static_cast<long long>(to[i]), static_cast<long long>(least),
           static_cast<long long>(kMost));
    }
  }
  call.attr[k].p = to;
  call.attr[k].n = n;
  return to;
}

// The attributes from `at` on, for tensors of input k's rank.
Window settle_window(OpCall& call, uint32_t at, uint32_t k) {
  const int32_t rank = call.shape(k).rank;
  if (rank < 3 || rank > static_cast<int32_t>(kMostAxes) + 2) {
    fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k),
                  "%s is %s, its rank must be 3 to 5: batch, channels and 1 to 3 spatial axes",
                  call.row.inputs[k].name, format_dims(*call.in[k]).text);
  }
  Window w;
  w.axes = static_cast<uint32_t>(rank - 2);
  w.stride = settle(call, at, w.axes, 0, 1, 1);
  w.padding = settle(call, at + 1, 2 * w.axes, kMostAxes, 0, 0, true);
  w.dilation = settle(call, at + 2, w.axes, 3 * kMostAxes, 1, 1);
  w.groups = call.integer(at + 3);
  if (w.groups < 1) {
    fail(MILL_E_ARG, "groups is %lld, it must be at least 1", static_cast<long long>(w.groups));
  }
  return w;
}

void expect_groups(const Window& w, int64_t channels, const char* what) {
  if (channels % w.groups == 0) return;
  fail(MILL_E_SHAPE, "groups is %lld, it does not divide the %lld %s",
       static_cast<long long>(w.groups), static_cast<long long>(channels), what);
}

// A weight [channels of y, channels of x / groups, kernel]; `channels` are x's.
void expect_weight(const Window& w, const int64_t* weight, int32_t rank, int64_t channels) {
  if (rank != static_cast<int32_t>(w.axes) + 2) {
    fail(MILL_E_SHAPE, "the weight is %s, its rank must be %u for %u spatial axes",
         format_dims(weight, rank).text, w.axes + 2, w.axes);
  }
  expect_groups(w, channels, "channels of the input");
  expect_groups(w, weight[0], "channels of the output");
  if (weight[1] != channels / w.groups) {
    fail(MILL_E_SHAPE,
         "the weight is %s, its second size must be %lld: %lld channels in %lld groups",
         format_dims(weight, rank).text, static_cast<long long>(channels / w.groups),
         static_cast<long long>(channels), static_cast<long long>(w.groups));
  }
}

int64_t reach_along(const Window& w, uint32_t axis, int64_t kernel) {
  if (kernel < 1 || kernel > kMost) {
    fail(MILL_E_SHAPE, "along spatial axis %u the kernel has %lld elements, it must have 1 to %lld",
         axis, static_cast<long long>(kernel), static_cast<long long>(kMost));
  }
  return (kernel - 1) * w.dilation[axis] + 1;
}

// Size of the convolution's result along an axis of n elements.
int64_t size_along(const Window& w, uint32_t axis, int64_t n, int64_t kernel) {
  const int64_t reach = reach_along(w, axis, kernel);
  const int64_t padded = n + w.padding[axis] + w.padding[w.axes + axis];
  if (reach > padded) {
    fail(MILL_E_SHAPE,
         "along spatial axis %u the kernel reaches over %lld elements, the padded input has %lld",
         axis, static_cast<long long>(reach), static_cast<long long>(padded));
  }
  return (padded - reach) / w.stride[axis] + 1;
}

// y's dims from those of x and of the weight, which were checked.
void result_dims(const Window& w, const int64_t* x, const int64_t* weight, int64_t* y) {
  y[0] = x[0];
  y[1] = weight[0];
  for (uint32_t i = 0; i < w.axes; ++i) y[2 + i] = size_along(w, i, x[2 + i], weight[2 + i]);
}

void infer_conv(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const mill_kernel_tensor& weight = call.shape(1);
  const Window w = settle_window(call, 0, 0);
  expect_weight(w, weight.dims, weight.rank, x.dims[1]);
  if (call.in[2]) expect_dims(call, 2, weight.dims, 1);
  int64_t dims[MILL_MAX_RANK];
  result_dims(w, x.dims, weight.dims, dims);
  call.set_dims(0, dims, x.rank);
  strides_like(call.out[0], x);
}

// g must be what a convolution of x by weight gives.
void expect_result(const OpCall& call, const Window& w, const int64_t* x, const int64_t* weight) {
  int64_t dims[MILL_MAX_RANK];
  result_dims(w, x, weight, dims);
  expect_dims(call, 0, dims, static_cast<int32_t>(w.axes) + 2);
}

void expect_dims_attr(const OpCall& call, const Window& w) {
  if (call.n_ints(0) == w.axes + 2) return;
  fail(MILL_E_SHAPE, "dims has %u values, g has rank %u", call.n_ints(0), w.axes + 2);
}

void infer_conv_input_gradient(OpCall& call) {
  const mill_kernel_tensor& weight = call.shape(1);
  const Window w = settle_window(call, 1, 0);
  expect_dims_attr(call, w);
  set_dims_from_attr(call, 0, 0);
  const int64_t* dims = call.ints(0);
  expect_weight(w, weight.dims, weight.rank, dims[1]);
  expect_result(call, w, dims, weight.dims);
  strides_like(call.out[0], call.shape(0));
}

void infer_conv_weight_gradient(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(1);
  const Window w = settle_window(call, 1, 0);
  expect_rank(call, 1, call.shape(0).rank);
  expect_dims_attr(call, w);
  set_dims_from_attr(call, 0, 0);
  const int64_t* dims = call.ints(0);
  expect_weight(w, dims, static_cast<int32_t>(call.n_ints(0)), x.dims[1]);
  expect_result(call, w, x.dims, dims);
}

void infer_conv_transpose(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const mill_kernel_tensor& weight = call.shape(1);
  const Window w = settle_window(call, 0, 0);
  const int64_t* extra = settle(call, 4, w.axes, 4 * kMostAxes, 0, 0);
  expect_rank(call, 1, x.rank);
  if (weight.dims[0] != x.dims[1]) {
    fail(MILL_E_SHAPE, "x is %s and weight is %s: the channels %lld and %lld differ",
         format_dims(*call.in[0]).text, format_dims(*call.in[1]).text,
         static_cast<long long>(x.dims[1]), static_cast<long long>(weight.dims[0]));
  }
  expect_groups(w, x.dims[1], "channels of the input");
  int64_t dims[MILL_MAX_RANK] = {x.dims[0], weight.dims[1] * w.groups};
  for (uint32_t i = 0; i < w.axes; ++i) {
    if (extra[i] >= w.stride[i]) {
      fail(MILL_E_ARG, "output_padding[%u] is %lld, it must be less than the stride, %lld", i,
           static_cast<long long>(extra[i]), static_cast<long long>(w.stride[i]));
    }
    const int64_t reach = reach_along(w, i, weight.dims[2 + i]);
    if (x.dims[2 + i] > (int64_t{1} << 61) / w.stride[i]) {
      fail(MILL_E_SHAPE, "along spatial axis %u %lld elements with stride %lld are too many", i,
           static_cast<long long>(x.dims[2 + i]), static_cast<long long>(w.stride[i]));
    }
    const int64_t whole = (x.dims[2 + i] - 1) * w.stride[i] + extra[i] + reach;
    const int64_t padding = w.padding[i] + w.padding[w.axes + i];
    if (whole < padding || x.dims[2 + i] == 0) {
      fail(MILL_E_SHAPE,
           "along spatial axis %u x has %lld elements, which reach over %lld, padding takes away "
           "%lld",
           i, static_cast<long long>(x.dims[2 + i]),
           static_cast<long long>(x.dims[2 + i] == 0 ? 0 : whole), static_cast<long long>(padding));
    }
    dims[2 + i] = whole - padding;
  }
  if (call.in[2]) expect_dims(call, 2, dims + 1, 1);
  call.set_dims(0, dims, x.rank);
  strides_like(call.out[0], x);
}

// ---- gradients ----------------------------------------------------------------------------------

struct List {
  const int64_t* values;
  uint32_t n;
};

// The window of a recorded call, as the C++ calls take it.
struct Lists {
  List stride, padding, dilation;
  int64_t groups;

  Lists(const GradCall& c, uint32_t at)
      : stride(list(c, at)),
        padding(list(c, at + 1)),
        dilation(list(c, at + 2)),
        groups(c.attr[at + 3].i) {}

 private:
  static List list(const GradCall& c, uint32_t k) {
    return {static_cast<const int64_t*>(c.attr[k].p), static_cast<uint32_t>(c.attr[k].n)};
  }
};

TensorRef convolve(GradCall& c, const Lists& l, mill_tensor* x, mill_tensor* weight) {
  return op::conv(c.exec, x, weight, nullptr, l.stride.values, l.stride.n, l.padding.values,
                  l.padding.n, l.dilation.values, l.dilation.n, l.groups);
}

TensorRef input_gradient(GradCall& c, const Lists& l, mill_tensor* g, mill_tensor* weight,
                         const SavedValue& x) {
  return op::conv_input_gradient(c.exec, g, weight, x.dims, static_cast<uint32_t>(x.rank),
                                 l.stride.values, l.stride.n, l.padding.values, l.padding.n,
                                 l.dilation.values, l.dilation.n, l.groups);
}

// Hands in the gradient by input k, a weight; written where it belongs if that is allowed.
void set_weight_gradient(GradCall& c, uint32_t k, const Lists& l, mill_tensor* g, mill_tensor* x) {
  const SavedValue& weight = c.input(k);
  bool accumulate = false;
  mill_tensor* target = target_of(c, k, Autocast::low, &accumulate);
  if (accumulate) target = nullptr;
  TensorRef out = op::conv_weight_gradient(
      c.exec, g, x, weight.dims, static_cast<uint32_t>(weight.rank), l.stride.values, l.stride.n,
      l.padding.values, l.padding.n, l.dilation.values, l.dilation.n, l.groups, target);
  if (target) {
    c.set_written(k);
  } else {
    c.set(k, std::move(out));
  }
}

// g summed over everything but the channels.
void set_bias_gradient(GradCall& c, uint32_t k) {
  if (c.n_in <= k || !c.wanted(k)) return;
  int64_t axes[MILL_MAX_RANK] = {0};
  uint32_t n = 1;
  for (int32_t i = 2; i < c.gradient()->rank(); ++i) axes[n++] = i;
  c.set(k, op::sum(c.exec, c.gradient(), axes, n, false));
}

void gradient_conv(GradCall& c) {
  const Lists l(c, 0);
  if (c.wanted(0)) c.set(0, input_gradient(c, l, c.gradient(), c.in(1), c.input(0)));
  if (c.wanted(1)) set_weight_gradient(c, 1, l, c.gradient(), c.in(0));
  set_bias_gradient(c, 2);
}

// The op is linear in each input; with y = conv(x, w) it is the sum of y g over x's place.
void gradient_conv_input_gradient(GradCall& c) {
  const Lists l(c, 1);
  if (c.wanted(0)) c.set(0, convolve(c, l, c.gradient(), c.in(1)));
  if (c.wanted(1)) set_weight_gradient(c, 1, l, c.in(0), c.gradient());
}

void gradient_conv_weight_gradient(GradCall& c) {
  const Lists l(c, 1);
  if (c.wanted(0)) c.set(0, convolve(c, l, c.in(1), c.gradient()));
  if (c.wanted(1)) c.set(1, input_gradient(c, l, c.in(0), c.gradient(), c.input(1)));
}

void gradient_conv_transpose(GradCall& c) {
  const Lists l(c, 0);
  if (c.wanted(0)) c.set(0, convolve(c, l, c.gradient(), c.in(1)));
  if (c.wanted(1)) set_weight_gradient(c, 1, l, c.in(0), c.gradient());
  set_bias_gradient(c, 2);
}

// ---- cost ---------------------------------------------------------------------------------------

uint64_t count(const int64_t* dims, int32_t rank) {
  uint64_t n = 1;
  for (int32_t i = 0; i < rank; ++i) n *= static_cast<uint64_t>(dims[i]);
  return n;
}

// Each element of y takes a product with each element of the weight of its channel.
uint64_t flops_of(const int64_t* y, const int64_t* weight, int32_t rank) {
  return 2 * count(y, rank) * count(weight + 1, rank - 1);
}

uint64_t flops_conv(const OpCall& call) {
  return flops_of(call.out[0].dims, call.shape(1).dims, call.shape(0).rank);
}
uint64_t flops_input(const OpCall& call) {
  return flops_of(call.shape(0).dims, call.shape(1).dims, call.shape(0).rank);
}
uint64_t flops_weight(const OpCall& call) {
  return flops_of(call.shape(0).dims, call.out[0].dims, call.shape(0).rank);
}

}  // namespace

extern const OpRules rules_conv = {
    .infer = infer_conv, .gradient = gradient_conv, .flops = flops_conv, .saved_inputs = 3};
extern const OpRules rules_conv_input_gradient = {.infer = infer_conv_input_gradient,
                                                  .gradient = gradient_conv_input_gradient,
                                                  .flops = flops_input,
                                                  .saved_inputs = 3};
extern const OpRules rules_conv_weight_gradient = {.infer = infer_conv_weight_gradient,
                                                   .gradient = gradient_conv_weight_gradient,
                                                   .flops = flops_weight,
                                                   .saved_inputs = 3};
extern const OpRules rules_conv_transpose = {.infer = infer_conv_transpose,
                                             .gradient = gradient_conv_transpose,
                                             .flops = flops_input,
                                             .saved_inputs = 3};

}  // namespace mill::ops
