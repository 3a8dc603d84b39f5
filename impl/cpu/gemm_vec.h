// The few vector operations of the matrix product, and the conversions between storage types and
// the type that sums are kept in. Included by kernels of products only, once per SIMD target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"

#if defined(__x86_64__) && !defined(__AVX2__)
// Highway has nothing between scalar and SSSE3, and this file needs no more than the compiler's own
// vectors then.
#define MILL_GEMM_PLAIN_VECTORS 1
#define MILL_ALIGN alignas(16)
#else
#include <hwy/highway.h>
#define MILL_GEMM_PLAIN_VECTORS 0
#define MILL_ALIGN HWY_ALIGN
#endif

#define MILL_INLINE inline __attribute__((always_inline))

// Loops over registers must disappear: an accumulator array indexed at run time lives in memory.
#if defined(__clang__)
#define MILL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MILL_UNROLL _Pragma("GCC unroll 32")
#endif

namespace mill::cpu::MILL_TARGET {
namespace {
namespace gemm {

#if MILL_GEMM_PLAIN_VECTORS

using FloatVec = float __attribute__((vector_size(16)));
using DoubleVec = double __attribute__((vector_size(16)));
template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  using Type = FloatVec;
};
template <>
struct VecOf<double> {
  using Type = DoubleVec;
};
template <class T>
using Vec = typename VecOf<T>::Type;
template <class T>
inline constexpr int64_t kLanes = static_cast<int64_t>(16 / sizeof(T));

template <class T>
MILL_INLINE Vec<T> zero() {
  return Vec<T>{};
}
MILL_INLINE FloatVec splat(float value) {
  return FloatVec{value, value, value, value};
}
MILL_INLINE DoubleVec splat(double value) {
  return DoubleVec{value, value};
}
MILL_INLINE FloatVec load(const float* from) {
  FloatVec value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
MILL_INLINE DoubleVec load(const double* from) {
  DoubleVec value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
MILL_INLINE void store(FloatVec value, float* to) {
  std::memcpy(to, &value, sizeof(value));
}
MILL_INLINE void store(DoubleVec value, double* to) {
  std::memcpy(to, &value, sizeof(value));
}
template <class V>
MILL_INLINE V plus(V a, V b) {
  return a + b;
}
template <class V>
MILL_INLINE V mul_add(V a, V b, V c) {
  return a * b + c;
}
MILL_INLINE float sum_of(FloatVec v) {
  return (v[0] + v[2]) + (v[1] + v[3]);
}
MILL_INLINE double sum_of(DoubleVec v) {
  return v[0] + v[1];
}

#else

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
using Vec = hn::Vec<Tag<T>>;
template <class T>
inline constexpr int64_t kLanes = static_cast<int64_t>(HWY_LANES(T));

template <class T>
MILL_INLINE Vec<T> zero() {
  return hn::Zero(Tag<T>());
}
template <class T>
MILL_INLINE Vec<T> splat(T value) {
  return hn::Set(Tag<T>(), value);
}
MILL_INLINE Vec<float> load(const float* from) {
  return hn::LoadU(Tag<float>(), from);
}
MILL_INLINE Vec<double> load(const double* from) {
  return hn::LoadU(Tag<double>(), from);
}
MILL_INLINE void store(Vec<float> value, float* to) {
  hn::StoreU(value, Tag<float>(), to);
}
MILL_INLINE void store(Vec<double> value, double* to) {
  hn::StoreU(value, Tag<double>(), to);
}
template <class V>
MILL_INLINE V plus(V a, V b) {
  return hn::Add(a, b);
}
template <class V>
MILL_INLINE V mul_add(V a, V b, V c) {
  return hn::MulAdd(a, b, c);
}
template <class V>
MILL_INLINE auto sum_of(V v) {
  return hn::GetLane(hn::SumOfLanes(hn::DFromV<V>(), v));
}

#endif

// What products of S are summed in.
template <class S>
struct SumOf {
  using Type = float;
};
template <>
struct SumOf<double> {
  using Type = double;
};
template <class S>
using Sum = typename SumOf<S>::Type;
template <class S>
inline constexpr bool kNarrow = sizeof(S) == 2;

template <class To, class From>
MILL_INLINE To bits_of(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &value, sizeof(to));
  return to;
}

// The conversions of base/half.h, but private to this target: a shared inline function may be
// emitted with instructions that the machine lacks.
MILL_INLINE float widen(float value) {
  return value;
}
MILL_INLINE double widen(double value) {
  return value;
}
MILL_INLINE float widen(bf16 value) {
  return bits_of<float>(static_cast<uint32_t>(value.bits) << 16);
}
MILL_INLINE float widen(f16 value) {
  const uint32_t sign = (value.bits & 0x8000u) << 16;
  const uint32_t rest = value.bits & 0x7fffu;
  // The exponent's bias goes from 15 to 127 by a multiplication, which is right for subnormals too.
  const float scaled = bits_of<float>(rest << 13) * 0x1p112f;
  const uint32_t special = rest >= 0x7c00u ? 0x7f800000u : 0u;
  return bits_of<float>(bits_of<uint32_t>(scaled) | special | sign);
}

MILL_INLINE void narrow(float value, float* out) {
  *out = value;
}
MILL_INLINE void narrow(double value, double* out) {
  *out = value;
}
MILL_INLINE void narrow(float value, bf16* out) {
  const uint32_t bits = bits_of<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40u;
  out->bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}
MILL_INLINE void narrow(float value, f16* out) {
  const uint32_t bits = bits_of<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t size = bits & 0x7fffffffu;
  uint32_t result;
  if (size > 0x7f800000u) {
    result = 0x7e00u | ((size >> 13) & 0x3ffu);
  } else if (size >= 0x477ff000u) {
    result = 0x7c00u;  // rounds to 65536 or more
  } else if (size < 0x38800000u) {
    // Below 2^-14: adding 0.5 puts the result's last place at 2^-24, and the addition rounds.
    result = bits_of<uint32_t>(bits_of<float>(size) + 0.5f) - 0x3f000000u;
  } else {
    result = (size + 0xfffu + ((size >> 13) & 1u) - 0x38000000u) >> 13;
  }
  out->bits = static_cast<uint16_t>(sign | result);
}

// Element by element: what the compiler cannot turn into vectors by itself is below.
template <class S>
MILL_INLINE Vec<float> load_each(const S* from) {
  MILL_ALIGN float wide[kLanes<float>];
  for (int64_t i = 0; i < kLanes<float>; ++i) wide[i] = widen(from[i]);
  return load(wide);
}
template <class S>
MILL_INLINE void store_each(Vec<float> value, S* to) {
  MILL_ALIGN float wide[kLanes<float>];
  store(value, wide);
  for (int64_t i = 0; i < kLanes<float>; ++i) narrow(wide[i], to + i);
}

MILL_INLINE Vec<float> load(const bf16* from) {
#if MILL_GEMM_PLAIN_VECTORS
  return load_each(from);
#else
  const hn::RebindToUnsigned<Tag<float>> d32;
  const hn::Rebind<uint16_t, Tag<float>> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(Tag<float>(), hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
#endif
}
MILL_INLINE void store(Vec<float> value, bf16* to) {
#if MILL_GEMM_PLAIN_VECTORS
  store_each(value, to);
#else
  const hn::RebindToUnsigned<Tag<float>> d32;
  const hn::RebindToSigned<Tag<float>> signed32;
  const hn::Rebind<uint16_t, Tag<float>> d16;
  const auto bits = hn::BitCast(d32, value);
  const auto high = hn::ShiftRight<16>(bits);
  const auto half = hn::Add(hn::Set(d32, 0x7fffu), hn::And(high, hn::Set(d32, 1u)));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, half));
  const auto quiet = hn::Or(high, hn::Set(d32, 0x40u));
  const auto result = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(value)), quiet, rounded);
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(signed32, result)), d16,
             reinterpret_cast<uint16_t*>(to));
#endif
}

MILL_INLINE Vec<float> load(const f16* from) {
#if MILL_GEMM_PLAIN_VECTORS
  return load_each(from);
#else
  const hn::Rebind<hwy::float16_t, Tag<float>> d16;
  return hn::PromoteTo(Tag<float>(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
#endif
}
MILL_INLINE void store(Vec<float> value, f16* to) {
#if MILL_GEMM_PLAIN_VECTORS
  store_each(value, to);
#else
  const hn::Rebind<hwy::float16_t, Tag<float>> d16;
  hn::StoreU(hn::DemoteTo(d16, value), d16, reinterpret_cast<hwy::float16_t*>(to));
#endif
}

// The first `count` lanes, count < lanes; the others read as zero or stay as they are in memory.
#if MILL_GEMM_PLAIN_VECTORS
template <class T>
MILL_INLINE Vec<T> load_some(const T* from, int64_t count) {
  Vec<T> value = zero<T>();
  for (int64_t i = 0; i < count; ++i) value[i] = from[i];
  return value;
}
template <class T>
MILL_INLINE void store_some(Vec<T> value, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = value[i];
}
#else
template <class T>
MILL_INLINE Vec<T> load_some(const T* from, int64_t count) {
  const Tag<T> d;
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, from);
}
template <class T>
MILL_INLINE void store_some(Vec<T> value, int64_t count, T* to) {
  const Tag<T> d;
  hn::BlendedStore(value, hn::FirstN(d, static_cast<size_t>(count)), d, to);
}
#endif
template <class S>
MILL_INLINE Vec<float> load_some_each(const S* from, int64_t count) {
  MILL_ALIGN float wide[kLanes<float>] = {};
  for (int64_t i = 0; i < count; ++i) wide[i] = widen(from[i]);
  return load(wide);
}
template <class S>
MILL_INLINE void store_some_each(Vec<float> value, int64_t count, S* to) {
  MILL_ALIGN float wide[kLanes<float>];
  store(value, wide);
  for (int64_t i = 0; i < count; ++i) narrow(wide[i], to + i);
}
MILL_INLINE Vec<float> load_some(const bf16* from, int64_t count) {
  return load_some_each(from, count);
}
MILL_INLINE Vec<float> load_some(const f16* from, int64_t count) {
  return load_some_each(from, count);
}
MILL_INLINE void store_some(Vec<float> value, int64_t count, bf16* to) {
  store_some_each(value, count, to);
}
MILL_INLINE void store_some(Vec<float> value, int64_t count, f16* to) {
  store_some_each(value, count, to);
}

// to[c * to_row + r] = rows[r][c] for r < lanes, c < count. Works in blocks of 16 bytes: each
// vector collects one block from every fourth (f64: second) row, then the blocks are transposed in
// place.
#if MILL_GEMM_PLAIN_VECTORS
template <class T>
MILL_INLINE void transpose_block(const T* const* rows, int64_t c, T* to, int64_t to_row) {
  MILL_UNROLL
  for (int64_t i = 0; i < kLanes<T>; ++i) {
    MILL_UNROLL
    for (int64_t r = 0; r < kLanes<T>; ++r) to[i * to_row + r] = rows[r][c + i];
  }
}
#else
// 16 bytes, from column c on, of every fourth row (f64: every second), lowest row first.
template <class D, class T>
MILL_INLINE hn::Vec<D> gather_blocks(D d, const T* const* rows, int64_t c) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) <= 16) {
    return hn::LoadU(d, rows[0] + c);
  } else {
    constexpr int kHalf = static_cast<int>(hn::MaxLanes(D()) / 2);
    const hn::Half<D> half;
    return hn::Combine(d, gather_blocks(half, rows + kHalf, c), gather_blocks(half, rows, c));
  }
}

MILL_INLINE void transpose_block(const float* const* rows, int64_t c, float* to, int64_t to_row) {
  const Tag<float> d;
  const hn::RepartitionToWide<Tag<float>> wide;
  const auto in0 = gather_blocks(d, rows, c);
  const auto in1 = gather_blocks(d, rows + 1, c);
  const auto in2 = gather_blocks(d, rows + 2, c);
  const auto in3 = gather_blocks(d, rows + 3, c);
  const auto low01 = hn::BitCast(wide, hn::InterleaveLower(d, in0, in1));
  const auto low23 = hn::BitCast(wide, hn::InterleaveLower(d, in2, in3));
  const auto high01 = hn::BitCast(wide, hn::InterleaveUpper(d, in0, in1));
  const auto high23 = hn::BitCast(wide, hn::InterleaveUpper(d, in2, in3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, low01, low23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, low01, low23)), d, to + to_row);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, high01, high23)), d, to + 2 * to_row);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, high01, high23)), d, to + 3 * to_row);
}
MILL_INLINE void transpose_block(const double* const* rows, int64_t c, double* to, int64_t to_row) {
  const Tag<double> d;
  const auto in0 = gather_blocks(d, rows, c);
  const auto in1 = gather_blocks(d, rows + 1, c);
  hn::StoreU(hn::InterleaveLower(d, in0, in1), d, to);
  hn::StoreU(hn::InterleaveUpper(d, in0, in1), d, to + to_row);
}
#endif

}  // namespace gemm
}  // namespace
}  // namespace mill::cpu::MILL_TARGET
