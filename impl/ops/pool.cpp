// Pooling over windows: shapes, and gradients that are ops of the same family.
#include <algorithm>

#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

constexpr uint32_t kMostAxes = 3;

// Attributes that describe windows, from `at` on: kernel, stride, padding, dilation, ceil_mode.
struct Windows {
  uint32_t axes;
  const int64_t* kernel;
  const int64_t* stride;
  const int64_t* padding;  // all before, then all behind
  const int64_t* dilation;
  bool ceil_mode;
};

// Attribute k with a value for each of n axes, in scratch from `slot` on; absent values are
// `usual`, or those of `other` where that is given.
const int64_t* settle(OpCall& call, uint32_t k, uint32_t n, uint32_t slot, int64_t least,
                      int64_t usual, const int64_t* other) {
  const char* name = call.row.attrs[k].name;
  const uint32_t given = call.n_ints(k);
  if (given != 0 && given != n) {
    fail(MILL_E_ARG, "%s has %u values, there %s %u spatial %s", name, given, n == 1 ? "is" : "are",
         n, n == 1 ? "axis" : "axes");
  }
  int64_t* to = call.scratch + slot;
  for (uint32_t i = 0; i < n; ++i) {
    to[i] = given != 0 ? call.ints(k)[i] : other ? other[i] : usual;
    constexpr int64_t kMost = int64_t{1} << 40;
    if (to[i] < least || to[i] > kMost) {
      fail(MILL_E_ARG, "%s[%u] is %lld, it must be at least %lld", name, i,
           static_cast<long long>(to[i]), static_cast<long long>(least));
    }
  }
  call.attr[k].p = to;
  call.attr[k].n = n;
  return to;
}

const int64_t* settle_padding(OpCall& call, uint32_t k, uint32_t n, uint32_t slot) {
  const uint32_t given = call.n_ints(k);
  if (given != 0 && given != n && given != 2 * n)
    fail(MILL_E_ARG, "padding has %u values, it takes %u or %u", given, n, 2 * n);
  int64_t* to = call.scratch + slot;
  for (uint32_t i = 0; i < 2 * n; ++i) {
    to[i] = given == 0 ? 0 : call.ints(k)[i % given];
    constexpr int64_t kMost = int64_t{1} << 40;
    if (to[i] < 0 || to[i] > kMost)
      fail(MILL_E_ARG, "padding[%u] is %lld, it must not be negative", i % given,
           static_cast<long long>(to[i]));
  }
  call.attr[k].p = to;
  call.attr[k].n = 2 * n;
  return to;
}

Windows settle_windows(OpCall& call, uint32_t at, int32_t rank, uint32_t argument) {
  if (rank < 3 || rank > static_cast<int32_t>(kMostAxes) + 2) {
    fail_argument(MILL_E_SHAPE, static_cast<int32_t>(argument),
                  "%s has rank %d, it must be 3 to 5: batch, channels and 1 to 3 spatial axes",
                  call.row.inputs[argument].name, rank);
  }
  Windows w;
  w.axes = static_cast<uint32_t>(rank - 2);
  if (call.n_ints(at) == 0) fail(MILL_E_ARG, "kernel has no values, there are %u axes", w.axes);
  w.kernel = settle(call, at, w.axes, 0, 1, 1, nullptr);
  w.stride = settle(call, at + 1, w.axes, kMostAxes, 1, 1, w.kernel);
  w.padding = settle_padding(call, at + 2, w.axes, 2 * kMostAxes);
  w.dilation = settle(call, at + 3, w.axes, 4 * kMostAxes, 1, 1, nullptr);
  w.ceil_mode = call.integer(at + 4) != 0;
  return w;
}

// Windows along one axis of n elements; each must see one of them.
int64_t windows_along(const Windows& w, uint32_t axis, int64_t n) {
  const int64_t low = w.padding[axis];
  const int64_t padded = n + low + w.padding[w.axes + axis];
  const int64_t reach = (w.kernel[axis] - 1) * w.dilation[axis] + 1;
  const int64_t stride = w.stride[axis];
  if (reach > padded) {
    fail(MILL_E_SHAPE,
         "along spatial axis %u the kernel reaches over %lld elements, the padded input has %lld",
         axis, static_cast<long long>(reach), static_cast<long long>(padded));
  }
  int64_t count = (padded - reach + (w.ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (w.ceil_mode && (count - 1) * stride >= n + low) --count;
  for (int64_t o = 0; o < count; ++o) {
    // The first element of the input at or after the window's start that a tap of it falls on.
    const int64_t start = o * stride - low;
    const int64_t skipped = start < 0 ? (-start + w.dilation[axis] - 1) / w.dilation[axis] : 0;
    if (skipped < w.kernel[axis] && start + skipped * w.dilation[axis] < n) {
      // From here to the end of the input every window starts inside of it.
      if (start >= 0) o = std::max(o, (n - 1 + low) / stride - 1);
      continue;
    }
    fail(MILL_E_SHAPE,
         "window %lld along spatial axis %u of %lld elements lies in the padding alone",
         static_cast<long long>(o), axis, static_cast<long long>(n));
  }
  return count;
}

void set_pooled(OpCall& call, uint32_t k, const Windows& w, const mill_kernel_tensor& x) {
  int64_t dims[MILL_MAX_RANK] = {x.dims[0], x.dims[1]};
  for (uint32_t i = 0; i < w.axes; ++i) dims[2 + i] = windows_along(w, i, x.dims[2 + i]);
  call.set_dims(k, dims, x.rank);
  strides_like(call.out[k], x);
}

void infer_max_pool(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const Windows w = settle_windows(call, 0, x.rank, 0);
  set_pooled(call, 0, w, x);
  set_pooled(call, 1, w, x);
}
void infer_avg_pool(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  set_pooled(call, 0, settle_windows(call, 0, x.rank, 0), x);
}

// Attribute 0: the dims of x.
void infer_backward(OpCall& call) {
  const mill_kernel_tensor& g = call.shape(0);
  const Windows w = settle_windows(call, 1, g.rank, 0);
  if (call.n_ints(0) != static_cast<uint32_t>(g.rank)) {
    fail(MILL_E_SHAPE, "dims has %u values, g has rank %d", call.n_ints(0), g.rank);
  }
  const int64_t* dims = call.ints(0);
  set_dims_from_attr(call, 0, 0);
  for (int32_t i = 0; i < g.rank; ++i) {
    const int64_t wanted =
        i < 2 ? dims[i] : windows_along(w, static_cast<uint32_t>(i - 2), dims[i]);
    if (g.dims[i] == wanted) continue;
    fail_argument(MILL_E_SHAPE, 0, "g is %s, along axis %d pooling gives %lld",
                  format_dims(*call.in[0]).text, i, static_cast<long long>(wanted));
  }
  strides_like(call.out[0], g);
}
void infer_max_pool_backward(OpCall& call) {
  expect_like(call, 1, 0);
  infer_backward(call);
  // As x was: g may come from where the order of axes was lost.
  strides_like(call.out[0], call.shape(1));
}

// ---- gradients ----------------------------------------------------------------------------------

// Lists of a rule's attributes as the C++ calls take them.
struct List {
  const int64_t* values;
  uint32_t n;
};
List list(const GradCall& c, uint32_t k) {
  return {static_cast<const int64_t*>(c.attr[k].p), static_cast<uint32_t>(c.attr[k].n)};
}

// The spatial axes of [batch, channels, ...] as one.
TensorRef flat(Exec& exec, mill_tensor* x) {
  int64_t dims[3] = {x->view.dims[0], x->view.dims[1], 1};
  for (int32_t i = 2; i < x->rank(); ++i) dims[2] *= x->view.dims[i];
  return reshape(exec, x, dims, 3);
}

void gradient_max_pool(GradCall& c) {
  const SavedValue& x = c.input(0);
  const auto rank = static_cast<uint32_t>(x.rank);
  mill_tensor* g = c.gradient(0);
  if (!g) return;
  if (!c.exec.recorder) {
    const List k = list(c, 0), s = list(c, 1), p = list(c, 2), d = list(c, 3);
    c.set(0, op::max_pool_backward(c.exec, g, c.out(1), x.dims, rank, k.values, k.n, s.values, s.n,
                                   p.values, p.n, d.values, d.n, c.attr[4].i != 0));
    return;
  }
  // As a scatter, which can be differentiated.
  int64_t dims[3] = {x.dims[0], x.dims[1], 1};
  for (int32_t i = 2; i < x.rank; ++i) dims[2] *= x.dims[i];
  const TensorRef zeros = op::fill(c.exec, dims, 3, static_cast<mill_dtype>(x.dtype), 0);
  const TensorRef index = flat(c.exec, c.out(1));
  const TensorRef updates = flat(c.exec, g);
  const TensorRef sums =
      op::scatter_elements(c.exec, zeros.get(), index.get(), updates.get(), 2, MILL_SCATTER_ADD);
  c.set(0, reshape_like(c.exec, sums.get(), x));
}

void gradient_avg_pool(GradCall& c) {
  const SavedValue& x = c.input(0);
  const List k = list(c, 0), s = list(c, 1), p = list(c, 2), d = list(c, 3);
  c.set(0, op::avg_pool_backward(c.exec, c.gradient(), x.dims, static_cast<uint32_t>(x.rank),
                                 k.values, k.n, s.values, s.n, p.values, p.n, d.values, d.n,
                                 c.attr[4].i != 0, c.attr[5].i != 0));
}

void gradient_avg_pool_backward(GradCall& c) {
  const List k = list(c, 1), s = list(c, 2), p = list(c, 3), d = list(c, 4);
  c.set(0, op::avg_pool(c.exec, c.gradient(), k.values, k.n, s.values, s.n, p.values, p.n, d.values,
                        d.n, c.attr[5].i != 0, c.attr[6].i != 0));
}

}  // namespace

extern const OpRules rules_max_pool = {
    .infer = infer_max_pool, .gradient = gradient_max_pool, .saved_outputs = 2};
extern const OpRules rules_max_pool_backward = {.infer = infer_max_pool_backward};
extern const OpRules rules_avg_pool = {.infer = infer_avg_pool, .gradient = gradient_avg_pool};
extern const OpRules rules_avg_pool_backward = {.infer = infer_backward,
                                                .gradient = gradient_avg_pool_backward};

}  // namespace mill::ops
