#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_fmod(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) { return A(std::fmod(a.real(), b.real())); });
}

template <class A>
void ref_remainder(RefCall<A>& c) {
  pointwise2(c, [](A a, A b) {
    const A rest(std::fmod(a.real(), b.real()));
    const bool other = rest.value() != 0 && (rest.value() < 0) != (b.value() < 0);
    return other ? rest + b : rest;
  });
}

MILL_INSTANTIATE_REFERENCE(fmod)
MILL_INSTANTIATE_REFERENCE(remainder)

}  // namespace mill_test
