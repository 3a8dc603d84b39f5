#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_rotary(RefCall<A>& c) {
  const Operand<A>& x = c.in[0];
  const int64_t features = x.dims.back();
  const int64_t width = c.integer(1) == -1 ? features : c.integer(1);
  std::vector<A>& out = c.make(0, x.dims);
  each_position(x.dims, [&](const Dims& at, size_t i) {
    const int64_t f = at.back();
    if (f >= width) {
      out[i] = x.v[i];
      return;
    }
    const bool neighbours = c.integer(2) != 0;
    const bool first = neighbours ? f % 2 == 0 : f < width / 2;
    const int64_t pair = neighbours ? f / 2 : f % (width / 2);
    const int64_t step = neighbours ? 1 : width / 2;
    int64_t position = at[at.size() - 2];
    if (c.in[1].present) {
      const bool each = c.in[1].dims.size() == 2;
      const int64_t row = each ? at[0] * c.in[1].dims[1] + position : position;
      position = c.in[1].i[static_cast<size_t>(row)];
    }
    const A power(-2 * static_cast<double>(pair) / static_cast<double>(width));
    A angle = A(position) * pow(A(c.real(0)), power);
    if (c.integer(3) != 0) angle = -angle;
    const A other = x.v[static_cast<size_t>(static_cast<int64_t>(i) + (first ? step : -step))];
    out[i] =
        first ? x.v[i] * cos(angle) - other * sin(angle) : other * sin(angle) + x.v[i] * cos(angle);
  });
}

MILL_INSTANTIATE_REFERENCE(rotary)

}  // namespace mill_test
