#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_sin(RefCall<A>& c) {
  pointwise(c, [](A x) { return sin(x); });
}
template <class A>
void ref_cos(RefCall<A>& c) {
  pointwise(c, [](A x) { return cos(x); });
}
template <class A>
void ref_tan(RefCall<A>& c) {
  pointwise(c, [](A x) { return tan(x); });
}
template <class A>
void ref_asin(RefCall<A>& c) {
  pointwise(c, [](A x) { return asin(x); });
}
template <class A>
void ref_acos(RefCall<A>& c) {
  pointwise(c, [](A x) { return acos(x); });
}
template <class A>
void ref_atan(RefCall<A>& c) {
  pointwise(c, [](A x) { return atan(x); });
}
template <class A>
void ref_sinh(RefCall<A>& c) {
  pointwise(c, [](A x) { return sinh(x); });
}
template <class A>
void ref_cosh(RefCall<A>& c) {
  pointwise(c, [](A x) { return cosh(x); });
}
template <class A>
void ref_asinh(RefCall<A>& c) {
  pointwise(c, [](A x) { return asinh(x); });
}
template <class A>
void ref_acosh(RefCall<A>& c) {
  pointwise(c, [](A x) { return acosh(x); });
}
template <class A>
void ref_atanh(RefCall<A>& c) {
  pointwise(c, [](A x) { return atanh(x); });
}
template <class A>
void ref_erf(RefCall<A>& c) {
  pointwise(c, [](A x) { return erf(x); });
}
template <class A>
void ref_expm1(RefCall<A>& c) {
  pointwise(c, [](A x) { return expm1(x); });
}
template <class A>
void ref_log1p(RefCall<A>& c) {
  pointwise(c, [](A x) { return log1p(x); });
}
template <class A>
void ref_floor(RefCall<A>& c) {
  pointwise(c, [](A x) { return floor(x); });
}
template <class A>
void ref_ceil(RefCall<A>& c) {
  pointwise(c, [](A x) { return ceil(x); });
}
template <class A>
void ref_round(RefCall<A>& c) {
  pointwise(c, [](A x) { return nearbyint(x); });
}
template <class A>
void ref_trunc(RefCall<A>& c) {
  pointwise(c, [](A x) { return trunc(x); });
}
template <class A>
void ref_reciprocal(RefCall<A>& c) {
  pointwise(c, [](A x) { return A(1) / x; });
}

MILL_INSTANTIATE_REFERENCE(sin)
MILL_INSTANTIATE_REFERENCE(cos)
MILL_INSTANTIATE_REFERENCE(tan)
MILL_INSTANTIATE_REFERENCE(asin)
MILL_INSTANTIATE_REFERENCE(acos)
MILL_INSTANTIATE_REFERENCE(atan)
MILL_INSTANTIATE_REFERENCE(sinh)
MILL_INSTANTIATE_REFERENCE(cosh)
MILL_INSTANTIATE_REFERENCE(asinh)
MILL_INSTANTIATE_REFERENCE(acosh)
MILL_INSTANTIATE_REFERENCE(atanh)
MILL_INSTANTIATE_REFERENCE(erf)
MILL_INSTANTIATE_REFERENCE(expm1)
MILL_INSTANTIATE_REFERENCE(log1p)
MILL_INSTANTIATE_REFERENCE(floor)
MILL_INSTANTIATE_REFERENCE(ceil)
MILL_INSTANTIATE_REFERENCE(round)
MILL_INSTANTIATE_REFERENCE(trunc)
MILL_INSTANTIATE_REFERENCE(reciprocal)

}  // namespace mill_test
