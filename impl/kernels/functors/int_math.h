// The math vocabulary (vocabulary.h) for one integer, on every device.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/functors/vocabulary.h"

namespace mill::functors {

// Arithmetic wraps, as it does after truncation to a narrower type. Division goes toward zero; by
// zero it is 0: some kernels refuse a zero divisor only when they have run.
template <class T>
struct IntMath {
  using V = T;
  using M = bool;

  MILL_FN static T set(double value) { return static_cast<T>(static_cast<int64_t>(value)); }
  MILL_FN static T add(T a, T b) { return wrap(bits(a) + bits(b)); }
  MILL_FN static T sub(T a, T b) { return wrap(bits(a) - bits(b)); }
  MILL_FN static T mul(T a, T b) { return wrap(bits(a) * bits(b)); }
  MILL_FN static T neg(T a) { return wrap(0 - bits(a)); }
  MILL_FN static T abs(T a) {
    if constexpr (std::is_signed_v<T>) return a < 0 ? neg(a) : a;
    return a;
  }
  MILL_FN static T div(T a, T b) {
    if (b == 0) return 0;
    // The one quotient that does not fit wraps.
    if constexpr (std::is_signed_v<T>) {
      if (b == static_cast<T>(-1)) return neg(a);
    }
    return static_cast<T>(a / b);
  }
  MILL_FN static T fmod(T a, T b) {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == static_cast<T>(-1)) return 0;
    }
    return static_cast<T>(a % b);
  }
  MILL_FN static bool lt(T a, T b) { return a < b; }
  MILL_FN static bool le(T a, T b) { return a <= b; }
  MILL_FN static bool gt(T a, T b) { return a > b; }
  MILL_FN static bool eq(T a, T b) { return a == b; }
  MILL_FN static bool is_nan(T) { return false; }
  MILL_FN static T select(bool mask, T yes, T no) { return mask ? yes : no; }
  MILL_FN static T maximum(T a, T b) { return a > b ? a : b; }
  MILL_FN static T minimum(T a, T b) { return a < b ? a : b; }

 private:
  MILL_FN static uint64_t bits(T a) { return static_cast<uint64_t>(a); }
  MILL_FN static T wrap(uint64_t a) { return static_cast<T>(a); }
};

}  // namespace mill::functors
