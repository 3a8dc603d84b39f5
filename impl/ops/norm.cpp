// Layer and RMS normalisation. Their gradients are one fused op each, unless backward is recorded:
// then they are written in plain ops of x, which can be differentiated again.
#include "ops/hyperparameters.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

int32_t normalised_axes(const OpCall& call, uint32_t x) {
  const int64_t axes = call.integer(0);
  if (axes < 1 || axes > call.shape(x).rank) {
    fail(MILL_E_ARG, "axes is %lld, it must be 1 to %d, the rank of x %s",
         static_cast<long long>(axes), call.shape(x).rank, format_dims(*call.in[x]).text);
  }
  return static_cast<int32_t>(axes);
}

// Of input 0 or what has its dims; weight and bias are inputs `weight` and `weight` + 1, mean and
// rstd outputs `mean` and `mean` + 1.
void infer_normal(OpCall& call, uint32_t weight, uint32_t mean) {
  const mill_kernel_tensor& x = call.shape(0);
  const int32_t axes = normalised_axes(call, 0);
  expect_not_negative(call, 1);
  const int32_t lead = x.rank - axes;
  if (call.in[weight]) expect_dims(call, weight, x.dims + lead, axes);
  if (call.in[weight + 1]) expect_dims(call, weight + 1, x.dims + lead, axes);
  call.set_like(0, 0);
  call.set_dims(mean, x.dims, lead);
  call.set_dims(mean + 1, x.dims, lead);
}

void infer_rms_norm(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const int32_t lead = x.rank - normalised_axes(call, 0);
  expect_not_negative(call, 1);
  if (call.in[1]) expect_dims(call, 1, x.dims + lead, x.rank - lead);
  call.set_like(0, 0);
  call.set_dims(1, x.dims, lead);
}

void infer_rms_norm_backward(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(1);
  const int32_t lead = x.rank - normalised_axes(call, 1);
  expect_like(call, 0, 1);
  if (call.in[2]) expect_dims(call, 2, x.dims + lead, x.rank - lead);
  expect_dims(call, 3, x.dims, lead);
  call.set_like(0, 1);
  call.set_dims(1, x.dims + lead, x.rank - lead);
}

void infer_layer_norm(OpCall& call) {
  infer_normal(call, 1, 1);
}

void infer_add_layer_norm(OpCall& call) {
  expect_like(call, 1, 0);
  infer_normal(call, 2, 2);
  call.set_like(1, 0);
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

// What the two forms of the op have in common: what is normalised, the parameters, and what came
// out of it with the gradients that arrive there.
struct Normal {
  mill_tensor* x;
  mill_tensor* weight;  // may be null
  mill_tensor* mean;
  mill_tensor* rstd;
  mill_tensor* g;  // may be null, as the next
  mill_tensor* g_mean;
  mill_tensor* g_rstd;
  uint32_t at;  // the input that weight is; bias is the next
};

// The reciprocal standard deviation and the normalised x as functions of x alone.
struct Normalised {
  TensorRef rstd;
  TensorRef x_hat;
};

Normalised normalise(GradCall& c, const Normal& k, const Axes& axes) {
  Exec& exec = c.exec;
  const TensorRef mean = op::mean(exec, k.x, axes.inner, axes.n_inner, true);
  const TensorRef centred = op::sub(exec, k.x, mean.get());
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
TensorRef plain_dx(Exec& exec, const Normal& k, const Normalised& n, const Axes& axes) {
  const TensorRef w = k.weight ? op::mul(exec, k.g, k.weight) : share(k.g);
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
TensorRef statistics_dx(GradCall& c, const Normal& k, const Normalised& n, const Axes& axes) {
  Exec& exec = c.exec;
  const int32_t dtype = k.x->dtype();
  double count = 1;
  int64_t kept[MILL_MAX_RANK];
  const int32_t rank = c.input(0).rank;
  for (int32_t i = 0; i < rank; ++i) kept[i] = c.input(0).dims[i];
  for (uint32_t j = 0; j < axes.n_inner; ++j) {
    count *= static_cast<double>(kept[axes.inner[j]]);
    kept[axes.inner[j]] = 1;
  }
  TensorRef sum;
  if (k.g_mean) {
    const TensorRef narrow = cast(exec, k.g_mean, dtype);
    const TensorRef wide = reshape(exec, narrow.get(), kept, rank);
    const TensorRef scaled = op::affine(exec, wide.get(), 1 / count, 0);
    sum = expand_like(exec, scaled.get(), c.input(0));
  }
  if (k.g_rstd) {
    const TensorRef narrow = cast(exec, k.g_rstd, dtype);
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

// Sets the gradients of weight and bias; returns that of x, null where none flows.
TensorRef gradient_normal(GradCall& c, const Normal& k) {
  Exec& exec = c.exec;
  const bool statistics = k.g_mean || k.g_rstd;
  if (!k.g && !statistics) return nullptr;
  const Axes axes = split_axes(c);
  if (!exec.recorder && !statistics) {
    TensorRef out[3];
    op::layer_norm_backward(exec, k.g, k.x, k.weight, k.mean, k.rstd, c.attr[0].i, out);
    if (c.wanted(k.at)) c.set(k.at, out[1]);
    if (c.wanted(k.at + 1)) c.set(k.at + 1, out[2]);
    return out[0];
  }
  const Normalised n = normalise(c, k, axes);
  TensorRef dx = statistics ? statistics_dx(c, k, n, axes) : nullptr;
  if (k.g) {
    const TensorRef part = plain_dx(exec, k, n, axes);
    dx = dx ? op::add(exec, dx.get(), part.get()) : part;
    if (c.wanted(k.at)) {
      const TensorRef product = op::mul(exec, k.g, n.x_hat.get());
      c.set(k.at, sum_outer(c, product.get(), axes));
    }
    if (c.wanted(k.at + 1)) c.set(k.at + 1, sum_outer(c, k.g, axes));
  }
  return dx;
}

void gradient_layer_norm(GradCall& c) {
  const TensorRef dx = gradient_normal(
      c, {c.in(0), c.in(1), c.out(1), c.out(2), c.gradient(0), c.gradient(1), c.gradient(2), 1});
  if (c.wanted(0)) c.set(0, dx);
}

// sum's own gradient goes to both terms, and so does what flows back through the norm of it.
void gradient_add_layer_norm(GradCall& c) {
  TensorRef dx = gradient_normal(
      c, {c.out(1), c.in(2), c.out(2), c.out(3), c.gradient(0), c.gradient(2), c.gradient(3), 2});
  if (mill_tensor* passed = c.gradient(1))
    dx = dx ? op::add(c.exec, dx.get(), passed) : share(passed);
  if (c.wanted(0)) c.set(0, dx);
  if (c.wanted(1)) c.set(1, dx);
}

// With n = x rstd: dx = rstd (w - n mean(w n)) where w = g weight arrives at n; d rstd / dx =
// -rstd^2 n / count.
void gradient_rms_norm(GradCall& c) {
  Exec& exec = c.exec;
  mill_tensor* g = c.gradient(0);
  mill_tensor* g_rstd = c.gradient(1);
  if (!g && !g_rstd) return;
  if (!exec.recorder && !g_rstd) {
    TensorRef out[2];
    op::rms_norm_backward(exec, g, c.in(0), c.in(1), c.out(1), c.attr[0].i, out);
    if (c.wanted(0)) c.set(0, out[0]);
    if (c.wanted(1)) c.set(1, out[1]);
    return;
  }
  const Axes axes = split_axes(c);
  const TensorRef square = op::mul(exec, c.in(0), c.in(0));
  const TensorRef mean = op::mean(exec, square.get(), axes.inner, axes.n_inner, true);
  const TensorRef shifted = op::affine(exec, mean.get(), 1, c.attr[1].f);
  Normalised n;
  n.rstd = op::rsqrt(exec, shifted.get());
  n.x_hat = op::mul(exec, c.in(0), n.rstd.get());
  TensorRef dx;
  if (g) {
    const TensorRef w = c.in(1) ? op::mul(exec, g, c.in(1)) : share(g);
    const TensorRef product = op::mul(exec, w.get(), n.x_hat.get());
    const TensorRef pull = op::mean(exec, product.get(), axes.inner, axes.n_inner, true);
    const TensorRef back = op::mul(exec, n.x_hat.get(), pull.get());
    const TensorRef inner = op::sub(exec, w.get(), back.get());
    dx = op::mul(exec, inner.get(), n.rstd.get());
    if (c.wanted(1)) {
      const TensorRef by_weight = op::mul(exec, g, n.x_hat.get());
      c.set(1, sum_outer(c, by_weight.get(), axes));
    }
  }
  if (g_rstd) {
    const Normal k = {c.in(0), c.in(1), nullptr, c.out(1), nullptr, nullptr, g_rstd, 1};
    const TensorRef part = statistics_dx(c, k, n, axes);
    dx = dx ? op::add(exec, dx.get(), part.get()) : part;
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
extern const OpRules rules_add_layer_norm = {.infer = infer_add_layer_norm,
                                             .gradient = gradient_add_layer_norm,
                                             .flops = flops_norm,
                                             .saved_inputs = 4,
                                             .saved_outputs = 14};
extern const OpRules rules_layer_norm_backward = {.infer = infer_layer_norm_backward,
                                                  .flops = flops_norm};

extern const OpRules rules_rms_norm = {.infer = infer_rms_norm,
                                       .gradient = gradient_rms_norm,
                                       .flops = flops_norm,
                                       .saved_inputs = 3,
                                       .saved_outputs = 2};
extern const OpRules rules_rms_norm_backward = {.infer = infer_rms_norm_backward,
                                                .flops = flops_norm};

}  // namespace mill::ops
