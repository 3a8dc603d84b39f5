#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

template <class A>
A sigmoid_of(A x) {
  return A(1) / (A(1) + exp(-x));
}

}  // namespace

template <class A>
void ref_silu(RefCall<A>& c) {
  pointwise(c, [](A x) { return x * sigmoid_of(x); });
}
template <class A>
void ref_silu_backward(RefCall<A>& c) {
  pointwise2(c, [](A g, A x) {
    const A s = sigmoid_of(x);
    return g * (s + x * s * (A(1) - s));
  });
}
template <class A>
void ref_leaky_relu(RefCall<A>& c) {
  const A slope(c.real(0));
  pointwise(c, [=](A x) { return x > A(0) ? x : slope * x; });
}
template <class A>
void ref_leaky_relu_backward(RefCall<A>& c) {
  const A slope(c.real(0));
  pointwise2(c, [=](A g, A x) { return x > A(0) ? g : slope * g; });
}
template <class A>
void ref_elu(RefCall<A>& c) {
  const A alpha(c.real(0));
  pointwise(c, [=](A x) { return x > A(0) ? x : alpha * (exp(x) - A(1)); });
}
template <class A>
void ref_elu_backward(RefCall<A>& c) {
  const A alpha(c.real(0));
  pointwise2(c, [=](A g, A x) { return x > A(0) ? g : g * alpha * exp(x); });
}
template <class A>
void ref_clamp(RefCall<A>& c) {
  const A low(c.real(0));
  const A high(c.real(1));
  pointwise(c, [=](A x) {
    const A above = x < low ? low : x;
    return above > high ? high : above;
  });
}
template <class A>
void ref_clamp_backward(RefCall<A>& c) {
  const A low(c.real(0));
  const A high(c.real(1));
  pointwise2(c, [=](A g, A x) { return x < low || x > high ? A(0) : g; });
}

MILL_INSTANTIATE_REFERENCE(silu)
MILL_INSTANTIATE_REFERENCE(silu_backward)
MILL_INSTANTIATE_REFERENCE(leaky_relu)
MILL_INSTANTIATE_REFERENCE(leaky_relu_backward)
MILL_INSTANTIATE_REFERENCE(elu)
MILL_INSTANTIATE_REFERENCE(elu_backward)
MILL_INSTANTIATE_REFERENCE(clamp)
MILL_INSTANTIATE_REFERENCE(clamp_backward)

}  // namespace mill_test
