// The math vocabulary of kernels/functors/ for one 64-bit integer; compilers vectorise the loops
// over it.
#pragma once

#include "cpu/simd.h"

namespace mill::cpu::MILL_TARGET {

// T is int64_t or uint64_t. Arithmetic wraps, as it does after truncation to a narrower type.
template <class T>
struct IntMath {
  using V = T;
  using M = bool;

  static MILL_INLINE T set(double value) { return static_cast<T>(static_cast<int64_t>(value)); }
  static MILL_INLINE T add(T a, T b) { return wrap(bits(a) + bits(b)); }
  static MILL_INLINE T sub(T a, T b) { return wrap(bits(a) - bits(b)); }
  static MILL_INLINE T mul(T a, T b) { return wrap(bits(a) * bits(b)); }
  static MILL_INLINE T neg(T a) { return wrap(0 - bits(a)); }
  static MILL_INLINE T abs(T a) { return a < 0 ? neg(a) : a; }
  // Toward zero. Kernels refuse a zero divisor before they begin.
  static MILL_INLINE T div(T a, T b) {
    if (b == 0) return 0;
    if (b == static_cast<T>(-1) && static_cast<T>(-1) < T{0}) return neg(a);
    return static_cast<T>(a / b);
  }
  static MILL_INLINE bool lt(T a, T b) { return a < b; }
  static MILL_INLINE bool le(T a, T b) { return a <= b; }
  static MILL_INLINE bool gt(T a, T b) { return a > b; }
  static MILL_INLINE bool eq(T a, T b) { return a == b; }
  static MILL_INLINE bool is_nan(T) { return false; }
  static MILL_INLINE T select(bool mask, T yes, T no) { return mask ? yes : no; }
  static MILL_INLINE T maximum(T a, T b) { return a > b ? a : b; }
  static MILL_INLINE T minimum(T a, T b) { return a < b ? a : b; }

 private:
  static MILL_INLINE uint64_t bits(T a) { return static_cast<uint64_t>(a); }
  static MILL_INLINE T wrap(uint64_t a) { return static_cast<T>(a); }
};

}  // namespace mill::cpu::MILL_TARGET
