// Layer normalisation. Its gradient is one fused op, unless backward is recorded: then it is
// written in plain ops of x, which can be differentiated again.
#include <cmath>

#include "ops/rules.h"

namespace mill::ops {

namespace {

int32_t normalised_axes(const OpCall& call, uint32_t x) {
  const int64_t axes = call.integer(0);
  if (axes < 1 || axes > call.shape(x).rank) {
    fail(MILL_E_ARG, "axes is %lld, x %s has %d", static_cast<long long>(axes),
         format_dims(*call.in[x]).text, call.shape(x).rank);
  }
  return static_cast<int32_t>(axes);
}

void infer_layer_norm(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const int32_t axes = normalised_axes(call, 0);
  const double eps = call.real(1);
  if (!(eps >= 0) || !std::isfinite(eps))
    fail(MILL_E_ARG, "eps is %g, it must be finite and not negative", eps);
  const int32_t lead = x.rank - axes;
  if (call.in[1]) expect_dims(call, 1, x.dims + lead, axes);
  if (call.in[2]) expect_dims(call, 2, x.dims + lead, axes);
  call.set_like(0, 0);
  call.set_dims(1, x.dims, lead);
  call.set_dims(2, x.dims, lead);
}

void infer_layer_norm_backward(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(1);
  const int32_t axes = normalised_axes(call, 1);
  const int32_t lead = x.rank - axes;
  expect_like(call, 0, 1);
  if (call.in[2]) expect_dims(call, 2, x.dims + lead, axes);
  expect_dims(call, 3, x.dims, lead);
  expect_dims(call, 4, x.dims, lead);
  call.set_like(0, 1);
  call.set_dims(1, x.dims + lead, axes);
  call.set_dims(2, x.dims + lead, axes);
}

struct Axes {
  int64_t inner[MILL_MAX_RANK];
  uint32_t n_inner;
  int64_t outer[MILL_MAX_RANK];
  uint32_t n_outer;
};

Axes split_axes(const GradCall& c) {
  Axes axes{};
  const int32_t rank = c.input(0).rank;
  const auto n = static_cast<int32_t>(c.attr[0].i);
  for (int32_t i = 0; i < rank; ++i) {
    if (i < rank - n) {
      axes.outer[axes.n_outer++] = i;
    } else {
      axes.inner[axes.n_inner++] = i;
    }
  }
  return axes;
}

// The reciprocal standard deviation and the normalised x as functions of x alone.
struct Normalised {
  TensorRef rstd;
  TensorRef x_hat;
};

Normalised normalise(GradCall& c, const Axes& axes) {
  Exec& exec = c.exec;
  mill_tensor* x = c.in(0);
  const TensorRef mean = op::mean(exec, x, axes.inner, axes.n_inner, true);
  const TensorRef centred = op::sub(exec, x, mean.get());
  const TensorRef square = op::mul(exec, centred.get(), centred.get());
  const TensorRef variance = op::mean(exec, square.get(), axes.inner, axes.n_inner, true);
  const TensorRef shifted = op::affine(exec, variance.get(), 1, c.attr[1].f);
  TensorRef rstd = op::rsqrt(exec, shifted.get());
  TensorRef x_hat = op::mul(exec, centred.get(), rstd.get());
  return {std::move(rstd), std::move(x_hat)};
}

TensorRef sum_outer(GradCall& c, mill_tensor* x, const Axes& axes) {
  if (axes.n_outer == 0) return share(x);
  return op::sum(c.exec, x, axes.outer, axes.n_outer, false);
}

// dx = rstd (w - mean(w) - x_hat mean(w x_hat)) with w = g * weight (Ba et al., 2016,
// differentiated).
TensorRef plain_dx(GradCall& c, const Normalised& n, const Axes& axes) {
  Exec& exec = c.exec;
  mill_tensor* g = c.gradient(0);
  const TensorRef w = c.in(1) ? op::mul(exec, g, c.in(1)) : share(g);
  const TensorRef w_mean = op::mean(exec, w.get(), axes.inner, axes.n_inner, true);
  const TensorRef wx = op::mul(exec, w.get(), n.x_hat.get());
  const TensorRef wx_mean = op::mean(exec, wx.get(), axes.inner, axes.n_inner, true);
  const TensorRef pull = op::mul(exec, n.x_hat.get(), wx_mean.get());
  const TensorRef centred = op::sub(exec, w.get(), w_mean.get());
  const TensorRef inner = op::sub(exec, centred.get(), pull.get());
  return op::mul(exec, inner.get(), n.rstd.get());
}

// Gradients that arrive by the kept statistics: d mean / dx = 1 / n, d rstd / dx = -rstd^2 x_hat /
// n.
TensorRef statistics_dx(GradCall& c, const Normalised& n, const Axes& axes) {
  Exec& exec = c.exec;
  const int32_t dtype = c.in(0)->dtype();
  double count = 1;
  int64_t kept[MILL_MAX_RANK];
  const int32_t rank = c.input(0).rank;
  for (int32_t i = 0; i < rank; ++i) kept[i] = c.input(0).dims[i];
  for (uint32_t j = 0; j < axes.n_inner; ++j) {
    count *= static_cast<double>(kept[axes.inner[j]]);
    kept[axes.inner[j]] = 1;
  }
  TensorRef sum;
  if (c.gradient(1)) {
    const TensorRef narrow = cast(exec, c.gradient(1), dtype);
    const TensorRef wide = reshape(exec, narrow.get(), kept, rank);
    const TensorRef scaled = op::affine(exec, wide.get(), 1 / count, 0);
    sum = expand_like(exec, scaled.get(), c.input(0));
  }
  if (c.gradient(2)) {
    const TensorRef narrow = cast(exec, c.gradient(2), dtype);
    const TensorRef wide = reshape(exec, narrow.get(), kept, rank);
    // rstd^2 of a row with little variance overflows f16, so one rstd comes first and one last.
    const TensorRef slope = op::mul(exec, n.rstd.get(), n.x_hat.get());
    const TensorRef scaled = op::affine(exec, slope.get(), -1 / count, 0);
    const TensorRef weighted = op::mul(exec, scaled.get(), wide.get());
    TensorRef part = op::mul(exec, weighted.get(), n.rstd.get());
    sum = sum ? op::add(exec, sum.get(), part.get()) : part;
  }
  return sum;
}

void gradient_layer_norm(GradCall& c) {
  Exec& exec = c.exec;
  const Axes axes = split_axes(c);
  const bool statistics = c.gradient(1) || c.gradient(2);
  if (!exec.recorder && !statistics) {
    TensorRef out[3];
    op::layer_norm_backward(exec, c.gradient(0), c.in(0), c.in(1), c.out(1), c.out(2), c.attr[0].i,
                            out);
    if (c.wanted(0)) c.set(0, out[0]);
    if (c.wanted(1)) c.set(1, out[1]);
    if (c.wanted(2)) c.set(2, out[2]);
    return;
  }
  const Normalised n = normalise(c, axes);
  TensorRef dx = statistics ? statistics_dx(c, n, axes) : nullptr;
  if (mill_tensor* g = c.gradient(0)) {
    const TensorRef part = plain_dx(c, n, axes);
    dx = dx ? op::add(exec, dx.get(), part.get()) : part;
    if (c.wanted(1)) {
      const TensorRef product = op::mul(exec, g, n.x_hat.get());
      c.set(1, sum_outer(c, product.get(), axes));
    }
    if (c.wanted(2)) c.set(2, sum_outer(c, g, axes));
  }
  if (c.wanted(0)) c.set(0, dx);
}

uint64_t flops_norm(const OpCall& call) {
  return 8 * static_cast<uint64_t>(call.shape(0).numel);
}

}  // namespace

extern const OpRules rules_layer_norm = {.infer = infer_layer_norm,
                                         .gradient = gradient_layer_norm,
                                         .flops = flops_norm,
                                         .saved_inputs = 3,
                                         .saved_outputs = 6};
extern const OpRules rules_layer_norm_backward = {.infer = infer_layer_norm_backward,
                                                  .flops = flops_norm};

}  // namespace mill::ops
