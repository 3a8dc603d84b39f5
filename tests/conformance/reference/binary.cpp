#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_add(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) { return a + b; });
}
template <class A>
void ref_sub(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) { return a - b; });
}
template <class A>
void ref_mul(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) { return a * b; });
}
template <class A>
void ref_div(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) { return a / b; });
}
template <class A>
void ref_pow(RefCall<A>& c) {
  if constexpr (std::is_same_v<A, Number<Integer>>) {
    // Wraps at every step, as only the low bits are looked at.
    pointwise2(c, [](A a, A b) {
      if (b < A(0)) return a == A(1) ? A(1) : a == A(-1) ? A(b.value() % 2 == 0 ? 1 : -1) : A(0);
      uint64_t power = 1;
      for (int64_t i = 0; i < b.value(); ++i) power *= static_cast<uint64_t>(a.value());
      return A(static_cast<int64_t>(power));
    });
  } else {
    pointwise2(c, [](A a, A b) { return pow(a, b); });
  }
}
template <class A>
void ref_maximum(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) { return a > b ? a : b; });
}
template <class A>
void ref_minimum(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) { return a < b ? a : b; });
}

template <class A>
void ref_compare(RefCall<A>& c) {
  const int64_t relation = c.integer(0);
  const Operand<A>& a = c.in[0];
  const Operand<A>& b = c.in[1];
  std::vector<int64_t>& out = c.make_whole(0, broadcast_dims(a.dims, b.dims));
  each_position(c.out[0].dims, [&](const Dims& at, size_t i) {
    const A x = a.v[broadcast_index(at, a.dims)];
    const A y = b.v[broadcast_index(at, b.dims)];
    const bool holds[] = {x == y, x != y, x<y, x <= y, x> y, x >= y};
    out[i] = holds[relation] ? 1 : 0;
  });
}

template <class A>
void ref_where(RefCall<A>& c) {
  const Dims dims = broadcast_dims(c.in[0].dims, broadcast_dims(c.in[1].dims, c.in[2].dims));
  std::vector<A>& out = c.make(0, dims);
  each_position(dims, [&](const Dims& at, size_t i) {
    const bool first = c.in[0].i[broadcast_index(at, c.in[0].dims)] != 0;
    const Operand<A>& from = first ? c.in[1] : c.in[2];
    out[i] = from.v[broadcast_index(at, from.dims)];
  });
}

MILL_INSTANTIATE_REFERENCE(add)
MILL_INSTANTIATE_REFERENCE(sub)
MILL_INSTANTIATE_REFERENCE(mul)
MILL_INSTANTIATE_REFERENCE(div)
MILL_INSTANTIATE_REFERENCE(pow)
MILL_INSTANTIATE_REFERENCE(maximum)
MILL_INSTANTIATE_REFERENCE(minimum)
MILL_INSTANTIATE_REFERENCE(compare)
MILL_INSTANTIATE_REFERENCE(where)

}  // namespace mill_test
