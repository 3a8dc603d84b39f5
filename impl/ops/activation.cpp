// Activations with a fused gradient each, and clamp.
#include <cmath>

#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_clamp(OpCall& call) {
  for (uint32_t k = 0; k < 2; ++k) {
    if (std::isnan(call.real(k)))
      fail(MILL_E_ARG, "%s is NaN, it must be a number or infinite", k == 0 ? "low" : "high");
  }
  infer_pointwise(call);
}

void gradient_silu(GradCall& c) {
  c.set(0, op::silu_backward(c.exec, c.gradient(), c.in(0)));
}
void gradient_leaky_relu(GradCall& c) {
  c.set(0, op::leaky_relu_backward(c.exec, c.gradient(), c.in(0), c.attr[0].f));
}
void gradient_elu(GradCall& c) {
  c.set(0, op::elu_backward(c.exec, c.gradient(), c.in(0), c.attr[0].f));
}
void gradient_clamp(GradCall& c) {
  c.set(0, op::clamp_backward(c.exec, c.gradient(), c.in(0), c.attr[0].f, c.attr[1].f));
}

// The fused gradients are linear in g, so their derivative by g is the same function of the
// incoming gradient.

// By x: the second derivative s (1 - s) (2 + x (1 - 2 s)).
void gradient_silu_backward(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, op::silu_backward(c.exec, c.gradient(), c.in(1)));
  if (!c.wanted(1)) return;
  const TensorRef gg = op::mul(c.exec, c.gradient(), c.in(0));
  const TensorRef s = op::sigmoid(c.exec, c.in(1));
  const TensorRef slope = op::sigmoid_backward(c.exec, gg.get(), s.get());
  const TensorRef bend = op::affine(c.exec, s.get(), -2, 1);
  const TensorRef pull = op::mul(c.exec, c.in(1), bend.get());
  const TensorRef factor = op::affine(c.exec, pull.get(), 1, 2);
  set_reduced(c, 1, op::mul(c.exec, slope.get(), factor.get()));
}

void gradient_leaky_relu_backward(GradCall& c) {
  if (c.wanted(0))
    set_reduced(c, 0, op::leaky_relu_backward(c.exec, c.gradient(), c.in(1), c.attr[0].f));
}

// By x: alpha e^x below 0, which is the first derivative there, and 0 above.
void gradient_elu_backward(GradCall& c) {
  const double alpha = c.attr[0].f;
  if (c.wanted(0)) set_reduced(c, 0, op::elu_backward(c.exec, c.gradient(), c.in(1), alpha));
  if (!c.wanted(1)) return;
  const TensorRef gg = op::mul(c.exec, c.gradient(), c.in(0));
  const TensorRef zero = scalar(c.exec, c.in(1)->dtype(), 0);
  const TensorRef below = compare(c.exec, c.in(1), zero.get(), MILL_COMPARE_LE, c.in(1)->dtype());
  const TensorRef slope = op::elu_backward(c.exec, gg.get(), c.in(1), alpha);
  set_reduced(c, 1, op::mul(c.exec, slope.get(), below.get()));
}

void gradient_clamp_backward(GradCall& c) {
  if (c.wanted(0))
    set_reduced(c, 0, op::clamp_backward(c.exec, c.gradient(), c.in(1), c.attr[0].f, c.attr[1].f));
}

constexpr uint32_t kIn0 = 1;
constexpr uint32_t kIn1 = 2;

}  // namespace

extern const OpRules rules_silu = {.gradient = gradient_silu, .saved_inputs = kIn0};
extern const OpRules rules_silu_backward = {.gradient = gradient_silu_backward,
                                            .saved_inputs = kIn0 | kIn1};
extern const OpRules rules_leaky_relu = {.gradient = gradient_leaky_relu, .saved_inputs = kIn0};
extern const OpRules rules_leaky_relu_backward = {.gradient = gradient_leaky_relu_backward,
                                                  .saved_inputs = kIn1};
extern const OpRules rules_elu = {.gradient = gradient_elu, .saved_inputs = kIn0};
extern const OpRules rules_elu_backward = {.gradient = gradient_elu_backward,
                                           .saved_inputs = kIn0 | kIn1};
extern const OpRules rules_clamp = {
    .infer = infer_clamp, .gradient = gradient_clamp, .saved_inputs = kIn0};
extern const OpRules rules_clamp_backward = {
    .infer = infer_clamp, .gradient = gradient_clamp_backward, .saved_inputs = kIn1};

}  // namespace mill::ops
