// Functors of the unary family. Gradients take the incoming gradient g and the saved input x or
// output y.
#pragma once

#include "kernels/functors/vocabulary.h"

namespace mill::functors {

#define MILL_UNARY(Name, expression)                             \
  struct Name {                                                  \
    template <class M>                                           \
    MILL_FN typename M::V operator()(M, typename M::V x) const { \
      return expression;                                         \
    }                                                            \
  }

MILL_UNARY(Neg, M::neg(x));
MILL_UNARY(Abs, M::abs(x));
MILL_UNARY(Exp, M::exp(x));
MILL_UNARY(Log, M::log(x));
MILL_UNARY(Sqrt, M::sqrt(x));
MILL_UNARY(Rsqrt, M::rsqrt(x));
MILL_UNARY(Tanh, M::tanh(x));
MILL_UNARY(Sigmoid, M::sigmoid(x));
// A NaN fails the comparison and stays.
MILL_UNARY(Relu, M::select(M::le(x, M::set(0)), M::set(0), x));
// Adding 0 keeps NaN and makes -0 a 0.
MILL_UNARY(Sign, M::select(M::gt(x, M::set(0)), M::set(1),
                           M::select(M::lt(x, M::set(0)), M::set(-1), M::add(x, M::set(0)))));

#undef MILL_UNARY

struct Affine {
  double scale;
  double shift;
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    return M::mul_add(x, M::set(scale), M::set(shift));
  }
};

struct TanhBackward {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V y) const {
    // (1 - y)(1 + y): 1 - y^2 would lose digits near |y| = 1.
    return M::mul(g, M::mul(M::sub(M::set(1), y), M::add(M::set(1), y)));
  }
};

struct SigmoidBackward {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V y) const {
    return M::mul(g, M::mul(y, M::sub(M::set(1), y)));
  }
};

struct ReluBackward {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V y) const {
    return M::select(M::gt(y, M::set(0)), g, M::set(0));
  }
};

// Beyond 40 in size x * Phi(x) is x or 0 and its derivative 1 or 0 in every precision; the bound
// keeps infinity from meeting zero. A NaN stays.
template <class M>
MILL_FN typename M::V gelu_above(typename M::V x) {
  return M::at_least(x, M::set(-40));
}
template <class M>
MILL_FN typename M::V gelu_within(typename M::V x) {
  return M::at_most(gelu_above<M>(x), M::set(40));
}

struct GeluErf {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    return M::mul(gelu_above<M>(x), M::normal_cdf(x));
  }
};

struct GeluErfBackward {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V x) const {
    const typename M::V within = gelu_within<M>(x);
    typename M::V bell;
    const typename M::V phi = M::normal_cdf(within, &bell);
    const typename M::V density =
        M::mul(bell, M::set(0.398942280401432677939946));  // 1 / sqrt(2 pi)
    return M::mul(g, M::mul_add(within, density, phi));
  }
};

// x / 2 (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3), which loses no digits
// for negative x.
struct GeluTanh {
  static constexpr double kCubic = 0.044715;
  static constexpr double kTwiceRoot = 1.59576912160573071175978;  // 2 sqrt(2 / pi)

  template <class M>
  MILL_FN static typename M::V gate(typename M::V x) {
    const typename M::V inner =
        M::mul_add(M::mul(x, x), M::set(kCubic * kTwiceRoot), M::set(kTwiceRoot));
    return M::sigmoid(M::mul(x, inner));
  }

  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    const typename M::V bounded = gelu_above<M>(x);
    return M::mul(bounded, gate<M>(bounded));
  }
};

struct GeluTanhBackward {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V x) const {
    const typename M::V within = gelu_within<M>(x);
    const typename M::V s = GeluTanh::gate<M>(within);
    const typename M::V slope =
        M::mul_add(M::mul(within, within), M::set(3 * GeluTanh::kCubic * GeluTanh::kTwiceRoot),
                   M::set(GeluTanh::kTwiceRoot));
    const typename M::V bend = M::mul(M::mul(within, slope), M::mul(s, M::sub(M::set(1), s)));
    return M::mul(g, M::add(s, bend));
  }
};

}  // namespace mill::functors
