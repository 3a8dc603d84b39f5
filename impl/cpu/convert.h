// Conversion of strided runs between every storage type and the few types that kernels compute in.
//
// Rules: to nearest even; a float becomes an integer by truncation, held at the type's bounds, NaN
// becomes 0; integers wrap; anything but zero is true; a complex number loses its imaginary part on
// the way to a real type.
#pragma once

#include "base/dtype.h"
#include "cpu/simd.h"

namespace mill::cpu::MILL_TARGET {

struct Bool {
  uint8_t bits;
};
struct Complex64 {
  float re;
  float im;
};
struct Complex128 {
  double re;
  double im;
};

#define MILL_CPU_STORAGE(X) \
  X(MILL_BOOL, Bool)        \
  X(MILL_U8, uint8_t)       \
  X(MILL_I8, int8_t)        \
  X(MILL_U16, uint16_t)     \
  X(MILL_I16, int16_t)      \
  X(MILL_U32, uint32_t)     \
  X(MILL_I32, int32_t)      \
  X(MILL_U64, uint64_t)     \
  X(MILL_I64, int64_t)      \
  X(MILL_F16, f16)          \
  X(MILL_BF16, bf16)        \
  X(MILL_F32, float)        \
  X(MILL_F64, double)       \
  X(MILL_F8E4M3, f8e4m3)    \
  X(MILL_F8E5M2, f8e5m2)    \
  X(MILL_C64, Complex64)    \
  X(MILL_C128, Complex128)

template <class A, class B>
inline constexpr bool kSame = false;
template <class A>
inline constexpr bool kSame<A, A> = true;

template <class T>
inline constexpr bool kFloatingForm = kSame<T, float> || kSame<T, double>;
template <class T>
inline constexpr bool kIntegerStorage =
    kSame<T, uint8_t> || kSame<T, int8_t> || kSame<T, uint16_t> || kSame<T, int16_t> ||
    kSame<T, uint32_t> || kSame<T, int32_t> || kSame<T, uint64_t> || kSame<T, int64_t>;
template <class T>
inline constexpr bool kSmallFloat =
    kSame<T, f16> || kSame<T, bf16> || kSame<T, f8e4m3> || kSame<T, f8e5m2>;

// ---- storage to a compute type -----------------------------------------------------------------

template <class C, class S>
MILL_INLINE C value_of(S v) {
  if constexpr (kSame<C, Complex128>) {
    if constexpr (kSame<S, Complex64> || kSame<S, Complex128>) {
      return {v.re, v.im};
    } else {
      return {value_of<double>(v), 0.0};
    }
  } else if constexpr (kSame<S, Bool>) {
    return static_cast<C>(v.bits != 0);
  } else if constexpr (kSame<S, f16> || kSame<S, bf16>) {
    return static_cast<C>(float_of(v));
  } else if constexpr (kSame<S, f8e4m3> || kSame<S, f8e5m2>) {
    return static_cast<C>(to_float(v));
  } else if constexpr (kSame<S, Complex64> || kSame<S, Complex128>) {
    return static_cast<C>(v.re);
  } else {
    return static_cast<C>(v);
  }
}

// ---- compute type to storage -------------------------------------------------------------------

// Rounds to odd: rounding the result once more, to fewer than 23 bits, is then as good as rounding
// once.
MILL_INLINE float odd_float(double v) {
  const float near = static_cast<float>(v);
  if (static_cast<double>(near) == v || v != v) return near;
  uint32_t bits = std::bit_cast<uint32_t>(near);
  const bool away = __builtin_fabs(static_cast<double>(near)) > __builtin_fabs(v);
  bits = (bits - (away ? 1u : 0u)) | 1u;
  return std::bit_cast<float>(bits);
}
MILL_INLINE float odd_float(float v) {
  return v;
}
// Eleven low bits go into one that sticks, so that the double below is exact.
template <class I>
MILL_INLINE float odd_float_of_integer(I v) {
  constexpr I kLow = 0x7ff;
  const bool wide =
      v > (I{1} << 52) || (static_cast<I>(-1) < I{0} && v < static_cast<I>(0) - (I{1} << 52));
  const I kept =
      wide && (v & kLow) != 0 ? static_cast<I>((v & static_cast<I>(~kLow)) | (kLow + 1)) : v;
  return odd_float(static_cast<double>(kept));
}

template <class I, class F>
MILL_INLINE I saturated(F v) {
  constexpr bool kSigned = static_cast<I>(-1) < I{0};
  constexpr int kBits = static_cast<int>(sizeof(I)) * 8 - (kSigned ? 1 : 0);
  constexpr I kMost = static_cast<I>(~uint64_t{0} >> (64 - kBits));
  constexpr I kLeast = kSigned ? static_cast<I>(-kMost - 1) : I{0};
  // 2^kBits, exact in every floating type.
  constexpr F kLimit = static_cast<F>(uint64_t{1} << (kBits - 1)) * 2;
  if (v != v) return 0;
  if (v >= kLimit) return kMost;
  if (v <= (kSigned ? -kLimit : F{0})) return kLeast;
  return static_cast<I>(v);
}

template <class S>
MILL_INLINE S small_float(float v) {
  if constexpr (kSame<S, f16>) {
    return f16_of(v);
  } else if constexpr (kSame<S, bf16>) {
    return bf16_of(v);
  } else if constexpr (kSame<S, f8e4m3>) {
    return to_f8e4m3(v);
  } else {
    return to_f8e5m2(v);
  }
}

template <class S, class C>
MILL_INLINE S storage_of(C v) {
  if constexpr (kSame<S, C>) {
    return v;
  } else if constexpr (kSame<C, Complex128>) {
    if constexpr (kSame<S, Complex64>) {
      return {static_cast<float>(v.re), static_cast<float>(v.im)};
    } else if constexpr (kSame<S, Bool>) {
      return {static_cast<uint8_t>(v.re != 0 || v.im != 0)};
    } else {
      return storage_of<S>(v.re);
    }
  } else if constexpr (kSame<S, Complex64>) {
    return {static_cast<float>(v), 0.0f};
  } else if constexpr (kSame<S, Complex128>) {
    return {static_cast<double>(v), 0.0};
  } else if constexpr (kSame<S, Bool>) {
    return {static_cast<uint8_t>(v != 0)};
  } else if constexpr (kSmallFloat<S>) {
    if constexpr (kFloatingForm<C>) {
      return small_float<S>(odd_float(v));
    } else {
      return small_float<S>(odd_float_of_integer(v));
    }
  } else if constexpr (kIntegerStorage<S> && kFloatingForm<C>) {
    return saturated<S>(v);
  } else {
    return static_cast<S>(v);
  }
}

// ---- strided runs ------------------------------------------------------------------------------

// n elements of storage, `stride` elements apart, become a contiguous run of a compute type; the
// reverse.
using ReadFn = void (*)(const void* from, int64_t stride, int64_t n, void* to);
using WriteFn = void (*)(const void* from, int64_t n, void* to, int64_t stride);

template <class S, class C>
void read_strided(const void* from, int64_t stride, int64_t n, void* to) {
  const S* source = static_cast<const S*>(from);
  C* target = static_cast<C*>(to);
  if (stride == 1) {
    if constexpr (kSame<S, C>) {
      std::memcpy(target, source, static_cast<size_t>(n) * sizeof(S));
    } else if constexpr (kSame<C, float> && (kSame<S, f16> || kSame<S, bf16>)) {
      read_run(source, target, n);
    } else {
      for (int64_t i = 0; i < n; ++i) target[i] = value_of<C>(source[i]);
    }
  } else if (stride == 0) {
    const C value = value_of<C>(*source);
    for (int64_t i = 0; i < n; ++i) target[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) target[i] = value_of<C>(source[i * stride]);
  }
}

template <class C, class S>
void write_strided(const void* from, int64_t n, void* to, int64_t stride) {
  const C* source = static_cast<const C*>(from);
  S* target = static_cast<S*>(to);
  if (stride == 1) {
    if constexpr (kSame<S, C>) {
      std::memcpy(target, source, static_cast<size_t>(n) * sizeof(S));
    } else if constexpr (kSame<C, float> && (kSame<S, f16> || kSame<S, bf16>)) {
      write_run(source, target, n);
    } else {
      for (int64_t i = 0; i < n; ++i) target[i] = storage_of<S>(source[i]);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) target[i * stride] = storage_of<S>(source[i]);
  }
}

// Raw elements, for kernels that only move them.
struct Bytes16 {
  uint64_t low;
  uint64_t high;
};

template <int32_t kSize>
struct RawOf;
template <>
struct RawOf<1> {
  using type = uint8_t;
};
template <>
struct RawOf<2> {
  using type = uint16_t;
};
template <>
struct RawOf<4> {
  using type = uint32_t;
};
template <>
struct RawOf<8> {
  using type = uint64_t;
};
template <>
struct RawOf<16> {
  using type = Bytes16;
};

}  // namespace mill::cpu::MILL_TARGET
