// Softplus: its shape is its input's, its gradient sigmoid(x).
#include "ops/rules.h"

namespace mill::ops {

namespace {

void gradient_softplus(GradCall& c) {
  const TensorRef slope = op::sigmoid(c.exec, c.in(0));
  c.set(0, op::mul(c.exec, c.gradient(), slope.get()));
}

}  // namespace

extern const OpRules rules_softplus = {.gradient = gradient_softplus, .saved_inputs = 1};

}  // namespace mill::ops
