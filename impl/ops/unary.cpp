// Elementwise functions of one tensor and the fused forms of their gradients.
#include <numbers>

#include "ops/rules.h"

namespace mill::ops {

namespace {

using std::numbers::inv_sqrtpi;
using std::numbers::sqrt2;

void gradient_neg(GradCall& c) {
  c.set(0, op::neg(c.exec, c.gradient()));
}
void gradient_exp(GradCall& c) {
  c.set(0, op::mul(c.exec, c.gradient(), c.out(0)));
}
void gradient_log(GradCall& c) {
  c.set(0, op::div(c.exec, c.gradient(), c.in(0)));
}

void gradient_sqrt(GradCall& c) {
  const TensorRef half = op::affine(c.exec, c.gradient(), 0.5, 0);
  c.set(0, op::div(c.exec, half.get(), c.out(0)));
}

void gradient_rsqrt(GradCall& c) {
  const TensorRef square = op::mul(c.exec, c.out(0), c.out(0));
  const TensorRef cube = op::mul(c.exec, square.get(), c.out(0));
  const TensorRef g = op::affine(c.exec, c.gradient(), -0.5, 0);
  c.set(0, op::mul(c.exec, g.get(), cube.get()));
}

void gradient_tanh(GradCall& c) {
  c.set(0, op::tanh_backward(c.exec, c.gradient(), c.out(0)));
}
void gradient_sigmoid(GradCall& c) {
  c.set(0, op::sigmoid_backward(c.exec, c.gradient(), c.out(0)));
}
void gradient_relu(GradCall& c) {
  c.set(0, op::relu_backward(c.exec, c.gradient(), c.out(0)));
}
void gradient_gelu(GradCall& c) {
  c.set(0, op::gelu_backward(c.exec, c.gradient(), c.in(0), c.attr[0].i != 0));
}

void gradient_abs(GradCall& c) {
  const TensorRef sign = op::sign(c.exec, c.in(0));
  c.set(0, op::mul(c.exec, c.gradient(), sign.get()));
}

void gradient_affine(GradCall& c) {
  c.set(0, op::affine(c.exec, c.gradient(), c.attr[0].f, 0));
}

// Both fused gradients below are linear in g, so their derivative by g is the same function of the
// incoming gradient.
void gradient_tanh_backward(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, op::tanh_backward(c.exec, c.gradient(), c.in(1)));
  if (!c.wanted(1)) return;
  const TensorRef gg = op::mul(c.exec, c.gradient(), c.in(0));
  const TensorRef ggy = op::mul(c.exec, gg.get(), c.in(1));
  set_reduced(c, 1, op::affine(c.exec, ggy.get(), -2, 0));
}

void gradient_sigmoid_backward(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, op::sigmoid_backward(c.exec, c.gradient(), c.in(1)));
  if (!c.wanted(1)) return;
  const TensorRef gg = op::mul(c.exec, c.gradient(), c.in(0));
  const TensorRef slope = op::affine(c.exec, c.in(1), -2, 1);
  set_reduced(c, 1, op::mul(c.exec, gg.get(), slope.get()));
}

void gradient_relu_backward(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, op::relu_backward(c.exec, c.gradient(), c.in(1)));
}

// phi(x) * (2 - x^2), phi the normal density.
TensorRef gelu_curvature(Exec& exec, mill_tensor* x) {
  const TensorRef square = op::mul(exec, x, x);
  const TensorRef exponent = op::affine(exec, square.get(), -0.5, 0);
  const TensorRef bell = op::exp(exec, exponent.get());
  const TensorRef rest =
      op::affine(exec, square.get(), -inv_sqrtpi / sqrt2, 2 * inv_sqrtpi / sqrt2);
  return op::mul(exec, bell.get(), rest.get());
}

// Second derivative of x (1 + tanh u) / 2 with u = k (x + a x^3):
// (1 - t^2) u' + x / 2 ((1 - t^2) u'' - 2 t (1 - t^2) u'^2).
TensorRef gelu_tanh_curvature(Exec& exec, mill_tensor* x) {
  constexpr double k = 2 * inv_sqrtpi / sqrt2;
  constexpr double a = 0.044715;
  const TensorRef square = op::mul(exec, x, x);
  const TensorRef poly = op::affine(exec, square.get(), k * a, k);
  const TensorRef u = op::mul(exec, poly.get(), x);
  const TensorRef t = op::tanh(exec, u.get());
  const TensorRef slope = op::affine(exec, square.get(), 3 * k * a, k);  // u'
  const TensorRef bend = op::affine(exec, square.get(), 3 * k * a, 0);   // x u'' / 2
  const TensorRef tt = op::mul(exec, t.get(), t.get());
  const TensorRef sech = op::affine(exec, tt.get(), -1, 1);
  const TensorRef xt = op::mul(exec, x, t.get());
  const TensorRef slope2 = op::mul(exec, slope.get(), slope.get());
  const TensorRef pull = op::mul(exec, xt.get(), slope2.get());
  const TensorRef sum = op::add(exec, slope.get(), bend.get());
  const TensorRef inner = op::sub(exec, sum.get(), pull.get());
  return op::mul(exec, sech.get(), inner.get());
}

void gradient_gelu_backward(GradCall& c) {
  const bool tanh_form = c.attr[0].i != 0;
  if (c.wanted(0)) set_reduced(c, 0, op::gelu_backward(c.exec, c.gradient(), c.in(1), tanh_form));
  if (!c.wanted(1)) return;
  const TensorRef gg = op::mul(c.exec, c.gradient(), c.in(0));
  const TensorRef curve =
      tanh_form ? gelu_tanh_curvature(c.exec, c.in(1)) : gelu_curvature(c.exec, c.in(1));
  set_reduced(c, 1, op::mul(c.exec, gg.get(), curve.get()));
}

constexpr uint32_t kIn0 = 1;
constexpr uint32_t kIn1 = 2;
constexpr uint32_t kOut0 = 1;

}  // namespace

extern const OpRules rules_neg = {.gradient = gradient_neg};
extern const OpRules rules_exp = {.gradient = gradient_exp, .saved_outputs = kOut0};
extern const OpRules rules_log = {.gradient = gradient_log, .saved_inputs = kIn0};
extern const OpRules rules_sqrt = {.gradient = gradient_sqrt, .saved_outputs = kOut0};
extern const OpRules rules_rsqrt = {.gradient = gradient_rsqrt, .saved_outputs = kOut0};
extern const OpRules rules_tanh = {.gradient = gradient_tanh, .saved_outputs = kOut0};
extern const OpRules rules_sigmoid = {.gradient = gradient_sigmoid, .saved_outputs = kOut0};
extern const OpRules rules_relu = {.gradient = gradient_relu, .saved_outputs = kOut0};
extern const OpRules rules_gelu = {.gradient = gradient_gelu, .saved_inputs = kIn0};
extern const OpRules rules_abs = {.gradient = gradient_abs, .saved_inputs = kIn0};
extern const OpRules rules_sign = {};
extern const OpRules rules_affine = {.gradient = gradient_affine};
extern const OpRules rules_tanh_backward = {.gradient = gradient_tanh_backward,
                                            .saved_inputs = kIn0 | kIn1};
extern const OpRules rules_sigmoid_backward = {.gradient = gradient_sigmoid_backward,
                                               .saved_inputs = kIn0 | kIn1};
extern const OpRules rules_relu_backward = {.gradient = gradient_relu_backward,
                                            .saved_inputs = kIn1};
extern const OpRules rules_gelu_backward = {.gradient = gradient_gelu_backward,
                                            .saved_inputs = kIn0 | kIn1};

}  // namespace mill::ops
