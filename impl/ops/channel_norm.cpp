// Normalisation over channels: batch norm and group norm. Their gradients are one fused op each,
// unless backward is recorded or a gradient arrives by the statistics: then they are written in
// plain ops of x, which can be differentiated again.
#include <cmath>

#include "ops/hyperparameters.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

void expect_channels(const OpCall& call, uint32_t x) {
  if (call.shape(x).rank >= 2) return;
  fail_argument(MILL_E_SHAPE, static_cast<int32_t>(x),
                "%s is %s, it must be [batch, channels, any spatial axes]", call.row.inputs[x].name,
                format_dims(*call.in[x]).text);
}

// Inputs `first` to `last` have an element for each channel of input x where they are given.
void expect_per_channel(const OpCall& call, uint32_t x, uint32_t first, uint32_t last) {
  for (uint32_t k = first; k <= last; ++k) {
    if (call.in[k]) expect_dims(call, k, call.shape(x).dims + 1, 1);
  }
}

void expect_elements(const OpCall& call, uint32_t x, int64_t statistics, const char* what) {
  if (statistics == 0 || call.shape(x).numel > 0) return;
  fail_argument(MILL_E_SHAPE, static_cast<int32_t>(x),
                "%s is %s, the statistics of a %s without elements do not exist",
                call.row.inputs[x].name, format_dims(*call.in[x]).text, what);
}

void set_parameters(OpCall& call, uint32_t x, uint32_t first) {
  call.set_dims(first, call.shape(x).dims + 1, 1);
  call.set_dims(first + 1, call.shape(x).dims + 1, 1);
}

void set_in_order(OpCall& call, uint32_t x) {
  call.set_like(0, x);
  strides_like(call.out[0], call.shape(x));
}

void infer_batch_norm(OpCall& call) {
  expect_channels(call, 0);
  expect_not_negative(call, 0);
  expect_per_channel(call, 0, 1, 2);
  expect_elements(call, 0, call.shape(0).dims[1], "channel");
  set_in_order(call, 0);
  set_parameters(call, 0, 1);
}

void infer_batch_norm_backward(OpCall& call) {
  expect_channels(call, 1);
  expect_not_negative(call, 0);
  expect_like(call, 0, 1);
  expect_per_channel(call, 1, 2, 4);
  expect_elements(call, 1, call.shape(1).dims[1], "channel");
  set_in_order(call, 1);
  set_parameters(call, 1, 1);
}

void infer_batch_norm_apply(OpCall& call) {
  expect_channels(call, 0);
  expect_not_negative(call, 0);
  expect_per_channel(call, 0, 1, 4);
  set_in_order(call, 0);
}

int64_t groups_of(const OpCall& call, uint32_t x) {
  expect_channels(call, x);
  const int64_t groups = call.integer(0);
  const int64_t channels = call.shape(x).dims[1];
  if (groups < 1 || channels % groups != 0) {
    fail(MILL_E_ARG, "groups is %lld, it must divide the %lld channels",
         static_cast<long long>(groups), static_cast<long long>(channels));
  }
  expect_elements(call, x, call.shape(x).dims[0], "group");
  return groups;
}

void infer_group_norm(OpCall& call) {
  const int64_t dims[2] = {call.shape(0).rank > 0 ? call.shape(0).dims[0] : 0, groups_of(call, 0)};
  expect_not_negative(call, 1);
  expect_per_channel(call, 0, 1, 2);
  call.set_like(0, 0);
  call.set_dims(1, dims, 2);
  call.set_dims(2, dims, 2);
}

void infer_group_norm_backward(OpCall& call) {
  const int64_t dims[2] = {call.shape(1).rank > 0 ? call.shape(1).dims[0] : 0, groups_of(call, 1)};
  expect_like(call, 0, 1);
  expect_per_channel(call, 1, 2, 2);
  expect_dims(call, 3, dims, 2);
  expect_dims(call, 4, dims, 2);
  call.set_like(0, 1);
  set_parameters(call, 1, 1);
}

void infer_running_update(OpCall& call) {
  for (uint32_t k = 1; k < 4; ++k) {
    expect_like(call, k, 0);
    if (call.in[k]->dtype() == call.in[0]->dtype()) continue;
    fail_argument(MILL_E_DTYPE, static_cast<int32_t>(k), "%s is %s, running_mean is %s",
                  call.row.inputs[k].name, dtype_name(call.in[k]->dtype()),
                  dtype_name(call.in[0]->dtype()));
  }
  const double momentum = call.real(0);
  if (!(momentum >= 0 && momentum <= 1))
    fail(MILL_E_ARG, "momentum is %g, it must be in [0, 1]", momentum);
  const int64_t count = call.integer(1);
  if (count < 0 || count == 1) {
    fail(MILL_E_ARG, "count is %lld, it must be 0 or at least 2", static_cast<long long>(count));
  }
  call.set_like(0, 0);
  call.set_like(1, 0);
}

// ---- gradients ----------------------------------------------------------------------------------

// What both norms do in plain ops: x as [.., statistics, ..] of `dims`, normalised over `axes`.
struct Plain {
  GradCall& c;
  mill_tensor* weight;  // may be null
  double eps;
  int64_t dims[MILL_MAX_RANK];
  int32_t rank;
  int64_t axes[MILL_MAX_RANK];
  uint32_t n_axes = 0;
  double count = 1;

  TensorRef centred;
  TensorRef rstd;  // with axes of one element, as all statistics here
  TensorRef x_hat;

  Plain(GradCall& call, mill_tensor* w, double epsilon) : c(call), weight(w), eps(epsilon) {}

  void over(int64_t axis) {
    axes[n_axes++] = axis;
    count *= static_cast<double>(dims[axis]);
  }
  TensorRef mean(mill_tensor* t) const { return op::mean(c.exec, t, axes, n_axes, true); }

  void normalise() {
    Exec& exec = c.exec;
    const TensorRef x = reshape(exec, c.in(0), dims, rank);
    const TensorRef middle = mean(x.get());
    centred = op::sub(exec, x.get(), middle.get());
    const TensorRef square = op::mul(exec, centred.get(), centred.get());
    const TensorRef variance = mean(square.get());
    const TensorRef shifted = op::affine(exec, variance.get(), 1, eps);
    rstd = op::rsqrt(exec, shifted.get());
    x_hat = op::mul(exec, centred.get(), rstd.get());
  }

  // rstd (w - mean(w) - x_hat mean(w x_hat)) with w = g * weight, as `dims`.
  TensorRef by_result(mill_tensor* g) const {
    Exec& exec = c.exec;
    TensorRef w = share(g);
    if (weight) {
      int64_t kept[MILL_MAX_RANK];
      for (int32_t i = 0; i < c.input(0).rank; ++i) kept[i] = i == 1 ? c.input(0).dims[1] : 1;
      const TensorRef wide = reshape(exec, weight, kept, c.input(0).rank);
      w = op::mul(exec, g, wide.get());
    }
    w = reshape(exec, w.get(), dims, rank);
    const TensorRef w_mean = mean(w.get());
    const TensorRef wx = op::mul(exec, w.get(), x_hat.get());
    const TensorRef wx_mean = mean(wx.get());
    const TensorRef pull = op::mul(exec, x_hat.get(), wx_mean.get());
    const TensorRef less = op::sub(exec, w.get(), w_mean.get());
    const TensorRef inner = op::sub(exec, less.get(), pull.get());
    return op::mul(exec, inner.get(), rstd.get());
  }

  // A gradient that arrives at a statistic, times `factor`, over the elements it came from.
  TensorRef spread(mill_tensor* g, double factor) const {
    int64_t kept[MILL_MAX_RANK];
    for (int32_t i = 0; i < rank; ++i) kept[i] = dims[i];
    for (uint32_t j = 0; j < n_axes; ++j) kept[axes[j]] = 1;
    const TensorRef narrow = cast(c.exec, g, c.in(0)->dtype());
    const TensorRef wide = reshape(c.exec, narrow.get(), kept, rank);
    const TensorRef scaled = op::affine(c.exec, wide.get(), factor, 0);
    return op::expand(c.exec, scaled.get(), dims, static_cast<uint32_t>(rank));
  }

  // Sum of what arrives by out, by the mean and, times slope, by the other statistic.
  void finish(mill_tensor* g_spread, const TensorRef& slope, double factor) {
    Exec& exec = c.exec;
    mill_tensor* g = c.gradient(0);
    TensorRef dx = g ? by_result(g) : nullptr;
    if (mill_tensor* g_mean = c.gradient(1)) {
      TensorRef part = spread(g_mean, 1 / count);
      dx = dx ? op::add(exec, dx.get(), part.get()) : part;
    }
    if (g_spread) {
      const TensorRef wide = spread(g_spread, factor / count);
      TensorRef part = op::mul(exec, wide.get(), slope.get());
      dx = dx ? op::add(exec, dx.get(), part.get()) : part;
    }
    if (c.wanted(0) && dx) c.set(0, reshape_like(exec, dx.get(), c.input(0)));
    if (!g) return;
    int64_t others[MILL_MAX_RANK];
    uint32_t n = 0;
    for (int32_t i = 0; i < c.input(0).rank; ++i) {
      if (i != 1) others[n++] = i;
    }
    if (c.wanted(1)) {
      const TensorRef normal = reshape_like(exec, x_hat.get(), c.input(0));
      const TensorRef product = op::mul(exec, g, normal.get());
      c.set(1, op::sum(exec, product.get(), others, n, false));
    }
    if (c.wanted(2)) c.set(2, op::sum(exec, g, others, n, false));
  }
};

void set_all(GradCall& c, TensorRef (&out)[3]) {
  for (uint32_t k = 0; k < 3; ++k) {
    if (c.wanted(k)) c.set(k, out[k]);
  }
}

// d mean / dx = 1 / n, d variance / dx = 2 (x - mean) / n.
void gradient_batch_norm(GradCall& c) {
  mill_tensor* g = c.gradient(0);
  if (!g && !c.gradient(1) && !c.gradient(2)) return;
  if (!c.exec.recorder && !c.gradient(1) && !c.gradient(2)) {
    TensorRef out[3];
    op::batch_norm_backward(c.exec, g, c.in(0), c.in(1), c.out(1), c.out(2), c.attr[0].f, out);
    set_all(c, out);
    return;
  }
  Plain k(c, c.in(1), c.attr[0].f);
  k.rank = c.input(0).rank;
  for (int32_t i = 0; i < k.rank; ++i) k.dims[i] = c.input(0).dims[i];
  for (int32_t i = 0; i < k.rank; ++i) {
    if (i != 1) k.over(i);
  }
  k.normalise();
  k.finish(c.gradient(2), k.centred, 2);
}

// d rstd / dx = -rstd^2 x_hat / n.
void gradient_group_norm(GradCall& c) {
  mill_tensor* g = c.gradient(0);
  if (!g && !c.gradient(1) && !c.gradient(2)) return;
  if (!c.exec.recorder && !c.gradient(1) && !c.gradient(2)) {
    TensorRef out[3];
    op::group_norm_backward(c.exec, g, c.in(0), c.in(1), c.out(1), c.out(2), c.attr[0].i, out);
    set_all(c, out);
    return;
  }
  Plain k(c, c.in(1), c.attr[1].f);
  k.rank = 3;
  k.dims[0] = c.input(0).dims[0];
  k.dims[1] = c.attr[0].i;
  k.dims[2] = c.input(0).dims[1] / c.attr[0].i;
  for (int32_t i = 2; i < c.input(0).rank; ++i) k.dims[2] *= c.input(0).dims[i];
  k.over(2);
  k.normalise();
  TensorRef slope;
  if (c.gradient(2)) {
    slope = op::mul(c.exec, k.rstd.get(), k.x_hat.get());
    slope = op::mul(c.exec, slope.get(), k.rstd.get());
  }
  k.finish(c.gradient(2), slope, -1);
}

// A line along the channels, for tensors of this rank.
TensorRef along_channels(Exec& exec, mill_tensor* line, int32_t rank) {
  int64_t dims[MILL_MAX_RANK];
  for (int32_t i = 0; i < rank; ++i) dims[i] = i == 1 ? line->view.dims[0] : 1;
  return reshape(exec, line, dims, rank);
}

// In the dtype of the statistics: out = (x - mean) scale + bias with scale = weight rstd.
void gradient_batch_norm_apply(GradCall& c) {
  Exec& exec = c.exec;
  const SavedValue& x = c.input(0);
  const int32_t wide = c.in(1)->dtype();
  int64_t others[MILL_MAX_RANK];
  uint32_t n = 0;
  for (int32_t i = 0; i < x.rank; ++i) {
    if (i != 1) others[n++] = i;
  }
  const TensorRef g = cast(exec, c.gradient(), wide);
  const TensorRef shifted = op::affine(exec, c.in(2), 1, c.attr[0].f);
  const TensorRef rstd = op::rsqrt(exec, shifted.get());
  TensorRef scale = rstd;
  TensorRef weight;
  if (c.in(3)) {
    weight = cast(exec, c.in(3), wide);
    scale = op::mul(exec, rstd.get(), weight.get());
  }
  if (c.wanted(0)) {
    const TensorRef factor = along_channels(exec, scale.get(), x.rank);
    const TensorRef dx = op::mul(exec, g.get(), factor.get());
    c.set(0, cast(exec, dx.get(), x.dtype));
  }
  const TensorRef sum = op::sum(exec, g.get(), others, n, false);
  if (c.wanted(1)) {
    const TensorRef pulled = op::mul(exec, sum.get(), scale.get());
    c.set(1, op::neg(exec, pulled.get()));
  }
  if (c.wanted(4)) c.set(4, cast(exec, sum.get(), c.input(4).dtype));
  if (!c.wanted(2) && !c.wanted(3)) return;
  const TensorRef values = cast(exec, c.in(0), wide);
  const TensorRef middle = along_channels(exec, c.in(1), x.rank);
  const TensorRef centred = op::sub(exec, values.get(), middle.get());
  const TensorRef weighted = op::mul(exec, g.get(), centred.get());
  const TensorRef moment = op::sum(exec, weighted.get(), others, n, false);
  const TensorRef normal = op::mul(exec, moment.get(), rstd.get());
  if (c.wanted(3)) c.set(3, cast(exec, normal.get(), c.input(3).dtype));
  if (!c.wanted(2)) return;
  // d rstd / d variance = -rstd^3 / 2
  const TensorRef square = op::mul(exec, rstd.get(), rstd.get());
  const TensorRef slope = op::mul(exec, normal.get(), square.get());
  const TensorRef scaled = weight ? op::mul(exec, slope.get(), weight.get()) : slope;
  c.set(2, op::affine(exec, scaled.get(), -0.5, 0));
}

template <uint32_t X, uint64_t Each>
uint64_t flops_norm(const OpCall& call) {
  return Each * static_cast<uint64_t>(call.shape(X).numel);
}

}  // namespace

extern const OpRules rules_batch_norm = {.infer = infer_batch_norm,
                                         .gradient = gradient_batch_norm,
                                         .flops = flops_norm<0, 8>,
                                         .saved_inputs = 3,
                                         .saved_outputs = 6};
extern const OpRules rules_batch_norm_backward = {.infer = infer_batch_norm_backward,
                                                  .flops = flops_norm<1, 12>};
extern const OpRules rules_batch_norm_apply = {.infer = infer_batch_norm_apply,
                                               .gradient = gradient_batch_norm_apply,
                                               .flops = flops_norm<0, 4>,
                                               .saved_inputs = 15};
extern const OpRules rules_group_norm = {.infer = infer_group_norm,
                                         .gradient = gradient_group_norm,
                                         .flops = flops_norm<0, 8>,
                                         .saved_inputs = 3,
                                         .saved_outputs = 6};
extern const OpRules rules_group_norm_backward = {.infer = infer_group_norm_backward,
                                                  .flops = flops_norm<1, 12>};
extern const OpRules rules_running_update = {.infer = infer_running_update};

}  // namespace mill::ops
