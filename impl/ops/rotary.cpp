// Rotary position embedding. The gradient of a rotation is the one back.
#include <cmath>

#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_rotary(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank < 2) {
    fail_argument(MILL_E_SHAPE, 0, "x is %s, it must have positions and features",
                  format_dims(*call.in[0]).text);
  }
  const double base = call.real(0);
  if (!(base > 0) || std::isinf(base))
    fail(MILL_E_ARG, "base is %g, it must be positive and finite", base);
  const int64_t features = x.dims[x.rank - 1];
  int64_t& width = call.attr[1].i;
  if (width == -1) {
    width = features;
    if (width % 2 != 0) {
      fail_argument(MILL_E_SHAPE, 0, "x is %s, its %lld features do not make pairs",
                    format_dims(*call.in[0]).text, static_cast<long long>(features));
    }
  }
  if (width < 0 || width > features || width % 2 != 0) {
    fail(MILL_E_ARG, "width is %lld, it must be even and 0 to %lld, or -1 for all",
         static_cast<long long>(width), static_cast<long long>(features));
  }
  if (call.in[1]) {
    const mill_kernel_tensor& positions = call.shape(1);
    const int64_t length = x.dims[x.rank - 2];
    const bool one = positions.rank == 1 && positions.dims[0] == length;
    const bool each = positions.rank == 2 && x.rank > 2 && positions.dims[0] == x.dims[0] &&
                      positions.dims[1] == length;
    if (!one && !each) {
      const int64_t dims[2] = {x.dims[0], length};
      fail_argument(MILL_E_SHAPE, 1, "positions is %s, it must be %s%s%s",
                    format_dims(*call.in[1]).text, format_dims(dims + 1, 1).text,
                    x.rank > 2 ? " or " : "", x.rank > 2 ? format_dims(dims, 2).text : "");
    }
  }
  call.set_like(0, 0);
}

void gradient_rotary(GradCall& c) {
  mill_tensor* positions = c.input(1).present ? c.in(1) : nullptr;
  c.set(0, op::rotary(c.exec, c.gradient(), positions, c.attr[0].f, c.attr[1].i, c.attr[2].i != 0,
                      c.attr[3].i == 0));
}

}  // namespace

extern const OpRules rules_rotary = {
    .infer = infer_rotary, .gradient = gradient_rotary, .saved_inputs = 2};

}  // namespace mill::ops
