// Running sums along an axis.
#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_cumsum(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank == 0) fail_argument(MILL_E_SHAPE, 0, "x is [], cumsum needs at least one axis");
  call.attr[0].i = normal_axis(call.integer(0), x.rank, "axis");
  call.set_like(0, 0);
}

// An element is part of every sum from its own on: the same sum of the gradient from the end.
void gradient_cumsum(GradCall& c) {
  c.set(0, op::cumsum(c.exec, c.gradient(), c.attr[0].i, c.attr[1].i != 0, c.attr[2].i == 0));
}

}  // namespace

extern const OpRules rules_cumsum = {.infer = infer_cumsum, .gradient = gradient_cumsum};

}  // namespace mill::ops
