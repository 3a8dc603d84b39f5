// Trigonometric, hyperbolic and rounding functions. Gradients of the former are sequences of ops:
// they are called too seldom to be worth kernels of their own.
#include <numbers>

#include "ops/rules.h"

namespace mill::ops {

namespace {

void times(GradCall& c, const TensorRef& slope) {
  c.set(0, op::mul(c.exec, c.gradient(), slope.get()));
}

// scale * x^2 + shift, and 1 / sqrt of it.
TensorRef square_plus(GradCall& c, mill_tensor* x, double scale, double shift) {
  const TensorRef square = op::mul(c.exec, x, x);
  return op::affine(c.exec, square.get(), scale, shift);
}
TensorRef inverse_root(GradCall& c, double scale, double shift) {
  const TensorRef inside = square_plus(c, c.in(0), scale, shift);
  return op::rsqrt(c.exec, inside.get());
}

void gradient_sin(GradCall& c) {
  times(c, op::cos(c.exec, c.in(0)));
}
void gradient_cos(GradCall& c) {
  const TensorRef sine = op::sin(c.exec, c.in(0));
  times(c, op::neg(c.exec, sine.get()));
}
void gradient_tan(GradCall& c) {
  times(c, square_plus(c, c.out(0), 1, 1));
}
void gradient_asin(GradCall& c) {
  times(c, inverse_root(c, -1, 1));
}
void gradient_acos(GradCall& c) {
  const TensorRef slope = inverse_root(c, -1, 1);
  times(c, op::neg(c.exec, slope.get()));
}
void gradient_atan(GradCall& c) {
  const TensorRef below = square_plus(c, c.in(0), 1, 1);
  c.set(0, op::div(c.exec, c.gradient(), below.get()));
}
void gradient_sinh(GradCall& c) {
  times(c, op::cosh(c.exec, c.in(0)));
}
void gradient_cosh(GradCall& c) {
  times(c, op::sinh(c.exec, c.in(0)));
}
void gradient_asinh(GradCall& c) {
  times(c, inverse_root(c, 1, 1));
}
void gradient_acosh(GradCall& c) {
  times(c, inverse_root(c, 1, -1));
}
void gradient_atanh(GradCall& c) {
  const TensorRef below = square_plus(c, c.in(0), -1, 1);
  c.set(0, op::div(c.exec, c.gradient(), below.get()));
}
void gradient_erf(GradCall& c) {
  const TensorRef exponent = square_plus(c, c.in(0), -1, 0);
  const TensorRef bell = op::exp(c.exec, exponent.get());
  times(c, op::affine(c.exec, bell.get(), 2 * std::numbers::inv_sqrtpi, 0));
}
void gradient_expm1(GradCall& c) {
  times(c, op::affine(c.exec, c.out(0), 1, 1));
}
void gradient_log1p(GradCall& c) {
  const TensorRef below = op::affine(c.exec, c.in(0), 1, 1);
  c.set(0, op::div(c.exec, c.gradient(), below.get()));
}
void gradient_reciprocal(GradCall& c) {
  times(c, square_plus(c, c.out(0), -1, 0));
}

constexpr uint32_t kX = 1;
constexpr uint32_t kY = 1;

}  // namespace

extern const OpRules rules_sin = {.gradient = gradient_sin, .saved_inputs = kX};
extern const OpRules rules_cos = {.gradient = gradient_cos, .saved_inputs = kX};
extern const OpRules rules_tan = {.gradient = gradient_tan, .saved_outputs = kY};
extern const OpRules rules_asin = {.gradient = gradient_asin, .saved_inputs = kX};
extern const OpRules rules_acos = {.gradient = gradient_acos, .saved_inputs = kX};
extern const OpRules rules_atan = {.gradient = gradient_atan, .saved_inputs = kX};
extern const OpRules rules_sinh = {.gradient = gradient_sinh, .saved_inputs = kX};
extern const OpRules rules_cosh = {.gradient = gradient_cosh, .saved_inputs = kX};
extern const OpRules rules_asinh = {.gradient = gradient_asinh, .saved_inputs = kX};
extern const OpRules rules_acosh = {.gradient = gradient_acosh, .saved_inputs = kX};
extern const OpRules rules_atanh = {.gradient = gradient_atanh, .saved_inputs = kX};
extern const OpRules rules_erf = {.gradient = gradient_erf, .saved_inputs = kX};
extern const OpRules rules_expm1 = {.gradient = gradient_expm1, .saved_outputs = kY};
extern const OpRules rules_log1p = {.gradient = gradient_log1p, .saved_inputs = kX};
extern const OpRules rules_floor = {};
extern const OpRules rules_ceil = {};
extern const OpRules rules_round = {};
extern const OpRules rules_trunc = {};
extern const OpRules rules_reciprocal = {.gradient = gradient_reciprocal, .saved_outputs = kY};

}  // namespace mill::ops
