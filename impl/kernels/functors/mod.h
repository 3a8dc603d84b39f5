// What division leaves, and powers of integers.
#pragma once

#include <type_traits>

#include "kernels/functors/vocabulary.h"

namespace mill::functors {

struct Fmod {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V a, typename M::V b) const {
    return M::fmod(a, b);
  }
};

// The divisor's sign: where the rest has the other one, a divisor more.
struct Remainder {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V a, typename M::V b) const {
    using V = typename M::V;
    const V zero = M::set(0);
    const V rest = M::fmod(a, b);
    const V moved = M::add(rest, b);
    const V below = M::select(M::gt(b, zero), moved, rest);
    const V above = M::select(M::lt(b, zero), moved, rest);
    return M::select(M::lt(rest, zero), below, M::select(M::gt(rest, zero), above, rest));
  }
};

// By squaring, wrapping; what a negative exponent gives is truncated. One integer at a time.
struct PowOfIntegers {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V a, typename M::V b) const {
    using V = typename M::V;
    if constexpr (std::is_signed_v<V>) {
      if (b < 0) {
        if (a == static_cast<V>(-1)) return static_cast<V>((b & 1) != 0 ? -1 : 1);
        return static_cast<V>(a == 1 ? 1 : 0);
      }
    }
    V power = 1;
    while (true) {
      if ((b & 1) != 0) power = M::mul(power, a);
      b = static_cast<V>(b >> 1);
      if (b == 0) return power;
      a = M::mul(a, a);
    }
  }
};

}  // namespace mill::functors
