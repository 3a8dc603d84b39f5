#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

template <class A>
void triangle(RefCall<A>& c, bool lower) {
  const Operand<A>& x = c.in[0];
  std::vector<A>& out = c.make(0, x.dims);
  each_position(x.dims, [&](const Dims& at, size_t i) {
    const int64_t over = at.back() - at[at.size() - 2];
    if (lower ? over <= c.integer(0) : over >= c.integer(0)) out[i] = x.v[i];
  });
}

}  // namespace

template <class A>
void ref_tril(RefCall<A>& c) {
  triangle(c, true);
}
template <class A>
void ref_triu(RefCall<A>& c) {
  triangle(c, false);
}

template <class A>
void ref_one_hot(RefCall<A>& c) {
  const Operand<A>& index = c.in[0];
  Dims dims = index.dims;
  const size_t axis = axis_of(c.integer(1), dims.size() + 1);
  dims.insert(dims.begin() + static_cast<std::ptrdiff_t>(axis), c.integer(0));
  const bool real = is_float(c.dtype);
  if (real) {
    c.make(0, dims);
  } else {
    c.make_whole(0, dims);
  }
  each_position(dims, [&](const Dims& at, size_t i) {
    Dims rest = at;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(axis));
    const bool here = index.i[broadcast_index(rest, index.dims)] == at[axis];
    const double value = here ? c.real(3) : c.real(4);
    if (real) {
      c.out[0].v[i] = A(value);
    } else {
      c.out[0].i[i] = static_cast<int64_t>(value);
    }
  });
}

MILL_INSTANTIATE_REFERENCE(tril)
MILL_INSTANTIATE_REFERENCE(triu)
MILL_INSTANTIATE_REFERENCE(one_hot)

}  // namespace mill_test
