#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

// A real number as an element of the output: an integer dtype truncates.
template <class A>
void put(RefCall<A>& c, size_t i, double value) {
  if (c.out[0].whole) {
    c.out[0].i[i] = static_cast<int64_t>(value);
  } else {
    c.out[0].v[i] = A(value);
  }
}

template <class A>
void make_any(RefCall<A>& c, const Dims& dims) {
  if (is_float(c.dtype)) {
    c.make(0, dims);
  } else {
    c.make_whole(0, dims);
  }
}

}  // namespace

template <class A>
void ref_fill(RefCall<A>& c) {
  const Dims dims = c.ints(0);
  make_any(c, dims);
  for (size_t i = 0; i < static_cast<size_t>(elements(dims)); ++i) put(c, i, c.real(2));
}

template <class A>
void ref_arange(RefCall<A>& c) {
  make_any(c, {c.integer(0)});
  for (int64_t i = 0; i < c.integer(0); ++i) {
    put(c, static_cast<size_t>(i), c.real(1) + static_cast<double>(i) * c.real(2));
  }
}

template <class A>
void ref_cast(RefCall<A>& c) {
  make_any(c, c.in[0].dims);
  for (size_t i = 0; i < c.in[0].size(); ++i) {
    const A x = c.in[0].v[i];
    if (c.out[0].whole) {
      c.out[0].i[i] = c.dtype == MILL_BOOL ? (x != A(0) ? 1 : 0) : static_cast<int64_t>(x.value());
    } else {
      c.out[0].v[i] = x;
    }
  }
}

template <class A>
void ref_copy(RefCall<A>& c) {
  pointwise(c, [](A x) { return x; });
}

MILL_INSTANTIATE_REFERENCE(fill)
MILL_INSTANTIATE_REFERENCE(arange)
MILL_INSTANTIATE_REFERENCE(cast)
MILL_INSTANTIATE_REFERENCE(copy)

}  // namespace mill_test
