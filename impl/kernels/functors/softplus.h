// Functor of softplus.
#pragma once

#include "kernels/functors/vocabulary.h"

namespace mill::functors {

struct Softplus {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    using V = typename M::V;
    // max(x, 0) + log(1 + e^-|x|): the exponential cannot overflow.
    const V small = M::exp(M::neg(M::abs(x)));
    const V above = M::add(M::set(1), small);
    // log(1 + y) = y log(u) / (u - 1) with u the rounded 1 + y, whose rounding then cancels
    // (Goldberg, 1991, theorem 4).
    const V ratio = M::div(M::mul(small, M::log(above)), M::sub(above, M::set(1)));
    const V log1p = M::select(M::eq(above, M::set(1)), small, ratio);
    return M::add(M::maximum(x, M::set(0)), log1p);
  }
};

}  // namespace mill::functors
