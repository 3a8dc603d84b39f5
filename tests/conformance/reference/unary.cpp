#include <numbers>

#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

template <class A>
A sign_of(A x) {
  return x > A(0) ? A(1) : x < A(0) ? A(-1) : x;
}

// The normal distribution function and its density.
template <class A>
A phi(A x) {
  return A(0.5L) * (A(1) + erf(x / sqrt(A(2))));
}
template <class A>
A density(A x) {
  return exp(-(x * x) / A(2)) / sqrt(A(2.0L * std::numbers::pi_v<long double>));
}

constexpr long double kRootTwoOverPi = 0.797884560802865355879892119868763737L;
constexpr long double kCubic = 0.044715L;

template <class A>
A gelu_inner(A x) {
  return A(kRootTwoOverPi) * (x + A(kCubic) * x * x * x);
}

}  // namespace

template <class A>
void ref_neg(RefCall<A>& c) {
  pointwise(c, [](A x) { return -x; });
}
template <class A>
void ref_exp(RefCall<A>& c) {
  pointwise(c, [](A x) { return exp(x); });
}
template <class A>
void ref_log(RefCall<A>& c) {
  pointwise(c, [](A x) { return log(x); });
}
template <class A>
void ref_sqrt(RefCall<A>& c) {
  pointwise(c, [](A x) { return sqrt(x); });
}
template <class A>
void ref_rsqrt(RefCall<A>& c) {
  pointwise(c, [](A x) { return A(1) / sqrt(x); });
}
template <class A>
void ref_tanh(RefCall<A>& c) {
  pointwise(c, [](A x) { return tanh(x); });
}
template <class A>
void ref_sigmoid(RefCall<A>& c) {
  pointwise(c, [](A x) { return A(1) / (A(1) + exp(-x)); });
}
template <class A>
void ref_relu(RefCall<A>& c) {
  pointwise(c, [](A x) { return x > A(0) ? x : A(0); });
}
template <class A>
void ref_gelu(RefCall<A>& c) {
  if (c.integer(0) != 0) {
    pointwise(c, [](A x) { return x / A(2) * (A(1) + tanh(gelu_inner(x))); });
  } else {
    pointwise(c, [](A x) { return x * phi(x); });
  }
}
template <class A>
void ref_abs(RefCall<A>& c) {
  pointwise(c, [](A x) { return x < A(0) ? -x : x; });
}
template <class A>
void ref_sign(RefCall<A>& c) {
  pointwise(c, [](A x) { return sign_of(x); });
}
template <class A>
void ref_affine(RefCall<A>& c) {
  const A scale(c.real(0));
  const A shift(c.real(1));
  pointwise(c, [=](A x) { return x * scale + shift; });
}
template <class A>
void ref_tanh_backward(RefCall<A>& c) {
  pointwise2(c, [](A g, A y) { return g * (A(1) - y * y); });
}
template <class A>
void ref_sigmoid_backward(RefCall<A>& c) {
  pointwise2(c, [](A g, A y) { return g * y * (A(1) - y); });
}
template <class A>
void ref_relu_backward(RefCall<A>& c) {
  pointwise2(c, [](A g, A y) { return y > A(0) ? g : A(0); });
}
template <class A>
void ref_gelu_backward(RefCall<A>& c) {
  if (c.integer(0) == 0) {
    pointwise2(c, [](A g, A x) { return g * (phi(x) + x * density(x)); });
    return;
  }
  pointwise2(c, [](A g, A x) {
    const A t = tanh(gelu_inner(x));
    const A slope = A(kRootTwoOverPi) * (A(1) + A(3 * kCubic) * x * x);
    return g * ((A(1) + t) / A(2) + x / A(2) * (A(1) - t * t) * slope);
  });
}

MILL_INSTANTIATE_REFERENCE(neg)
MILL_INSTANTIATE_REFERENCE(exp)
MILL_INSTANTIATE_REFERENCE(log)
MILL_INSTANTIATE_REFERENCE(sqrt)
MILL_INSTANTIATE_REFERENCE(rsqrt)
MILL_INSTANTIATE_REFERENCE(tanh)
MILL_INSTANTIATE_REFERENCE(sigmoid)
MILL_INSTANTIATE_REFERENCE(relu)
MILL_INSTANTIATE_REFERENCE(gelu)
MILL_INSTANTIATE_REFERENCE(abs)
MILL_INSTANTIATE_REFERENCE(sign)
MILL_INSTANTIATE_REFERENCE(affine)
MILL_INSTANTIATE_REFERENCE(tanh_backward)
MILL_INSTANTIATE_REFERENCE(sigmoid_backward)
MILL_INSTANTIATE_REFERENCE(relu_backward)
MILL_INSTANTIATE_REFERENCE(gelu_backward)

}  // namespace mill_test
