// Functors of the elementary family: functions of mathematics that networks call seldom.
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

MILL_UNARY(Sin, M::sin(x));
MILL_UNARY(Cos, M::cos(x));
MILL_UNARY(Tan, M::tan(x));
MILL_UNARY(Asin, M::asin(x));
MILL_UNARY(Acos, M::acos(x));
MILL_UNARY(Atan, M::atan(x));
MILL_UNARY(Sinh, M::sinh(x));
MILL_UNARY(Cosh, M::cosh(x));
MILL_UNARY(Asinh, M::asinh(x));
MILL_UNARY(Acosh, M::acosh(x));
MILL_UNARY(Atanh, M::atanh(x));
MILL_UNARY(Erf, M::erf(x));
MILL_UNARY(Expm1, M::expm1(x));
MILL_UNARY(Log1p, M::log1p(x));
MILL_UNARY(Floor, M::floor(x));
MILL_UNARY(Ceil, M::ceil(x));
MILL_UNARY(Round, M::round(x));
MILL_UNARY(Trunc, M::trunc(x));
MILL_UNARY(Reciprocal, M::div(M::set(1), x));

#undef MILL_UNARY

}  // namespace mill::functors
