#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_cumsum(RefCall<A>& c) {
  const Operand<A>& x = c.in[0];
  const size_t axis = axis_of(c.integer(0), x.dims.size());
  const Dims strides = strides_of(x.dims);
  const int64_t n = x.dims[axis];
  std::vector<A>& out = c.make(0, x.dims);
  each_position(x.dims, [&](const Dims& at, size_t i) {
    const int64_t here = at[axis];
    const bool reverse = c.integer(2) != 0;
    A sum(0);
    // From the end it starts at, so that a naive sum rounds as one that goes on does.
    for (int64_t k = 0; k < n; ++k) {
      const int64_t other = reverse ? n - 1 - k : k;
      const bool past = reverse ? other < here : other > here;
      if (past || (other == here && c.integer(1) != 0)) break;
      sum += x.v[i - static_cast<size_t>((here - other) * strides[axis])];
    }
    out[i] = sum;
  });
}

MILL_INSTANTIATE_REFERENCE(cumsum)

}  // namespace mill_test
