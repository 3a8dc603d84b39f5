// Random tensors and dropout. The key is an ordinary input, so backward can draw the same values
// again.
#include <cmath>

#include "ops/rules.h"

namespace mill::ops {

namespace {

void expect_key(const OpCall& call, uint32_t k) {
  const int64_t two = 2;
  expect_dims(call, k, &two, 1);
}

void infer_uniform(OpCall& call) {
  expect_key(call, 0);
  const double low = call.real(2);
  const double high = call.real(3);
  if (!(low < high) || !std::isfinite(low) || !std::isfinite(high) || !std::isfinite(high - low)) {
    fail(MILL_E_ARG, "low is %g and high is %g, low must be less, and both and high - low finite",
         low, high);
  }
  set_dims_from_attr(call, 0, 0);
}

void infer_normal(OpCall& call) {
  expect_key(call, 0);
  const double std = call.real(3);
  if (!(std >= 0) || !std::isfinite(std) || !std::isfinite(call.real(2))) {
    fail(MILL_E_ARG, "mean is %g and std is %g, both must be finite and std not negative",
         call.real(2), std);
  }
  set_dims_from_attr(call, 0, 0);
}

void infer_dropout(OpCall& call) {
  expect_key(call, 1);
  const double p = call.real(0);
  if (!(p >= 0 && p <= 1)) fail(MILL_E_ARG, "p is %g, it must be in [0, 1]", p);
  call.set_like(0, 0);
}

void infer_rng_next(OpCall& call) {
  expect_key(call, 0);
  call.set_like(0, 0);
  call.set_like(1, 0);
}

void gradient_dropout(GradCall& c) {
  c.set(0, op::dropout(c.exec, c.gradient(), c.in(1), c.attr[0].f));
}

}  // namespace

extern const OpRules rules_uniform = {.infer = infer_uniform};
extern const OpRules rules_normal = {.infer = infer_normal};
extern const OpRules rules_dropout = {
    .infer = infer_dropout, .gradient = gradient_dropout, .saved_inputs = 2};
extern const OpRules rules_rng_next = {.infer = infer_rng_next};

}  // namespace mill::ops
