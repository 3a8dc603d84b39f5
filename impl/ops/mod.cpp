// What division leaves. The quotient steps and is flat between: a gradient by the divisor is minus
// the quotient.
#include "ops/rules.h"

namespace mill::ops {

namespace {

void gradient_rest(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, share(c.gradient()));
  if (!c.wanted(1)) return;
  const TensorRef taken = op::sub(c.exec, c.in(0), c.out(0));
  const TensorRef quotient = op::div(c.exec, taken.get(), c.in(1));
  const TensorRef whole = op::round(c.exec, quotient.get());
  const TensorRef product = op::mul(c.exec, c.gradient(), whole.get());
  set_reduced(c, 1, op::neg(c.exec, product.get()));
}

}  // namespace

extern const OpRules rules_remainder = {
    .gradient = gradient_rest, .saved_inputs = 3, .saved_outputs = 1};
extern const OpRules rules_fmod = {
    .gradient = gradient_rest, .saved_inputs = 3, .saved_outputs = 1};

}  // namespace mill::ops
