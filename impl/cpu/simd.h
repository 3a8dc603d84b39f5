// The SIMD layer of the CPU kernels: vector tags, loads and stores of whole and partial vectors,
// conversion of contiguous runs between storage and compute types. Elementary functions are in
// simd_math.h.
//
// A kernel file is compiled once per target with MILL_TARGET set to baseline, avx2 or avx512.
// Everything it emits must carry the target in its name, because the linker keeps one copy of a
// shared inline function and could keep the one that older processors cannot run. So: define things
// in namespace mill::cpu::MILL_TARGET, mark small helpers MILL_INLINE, and use no function template
// of the standard library.
#pragma once

#if defined(__x86_64__) && !defined(__AVX2__)
// Plain x86-64 has no Highway target between scalar and SSSE3, and its 128-bit emulation is blocked
// on GCC before 12.3.
#define HWY_COMPILE_ONLY_SCALAR
#else
#define HWY_COMPILE_ONLY_STATIC
#endif

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wsign-conversion"
#pragma clang diagnostic ignored "-Wconversion"
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"
#endif
#include <hwy/highway.h>
#if defined(__clang__)
#pragma clang diagnostic pop
#else
#pragma GCC diagnostic pop
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "millrace/types.h"

#ifndef MILL_TARGET
#error "compile with -DMILL_TARGET=baseline, avx2 or avx512"
#endif

#define MILL_INLINE inline __attribute__((always_inline))

namespace mill::cpu::MILL_TARGET {

namespace hn = hwy::HWY_NAMESPACE;

#define MILL_STRING2(x) #x
#define MILL_STRING(x) MILL_STRING2(x)
inline constexpr char kTargetName[] = MILL_STRING(MILL_TARGET);
#undef MILL_STRING
#undef MILL_STRING2
// Flags and name must agree: the device picks a list by name and trusts it.
static_assert(sizeof(kTargetName) != sizeof("avx2") || HWY_TARGET == HWY_AVX2,
              "avx2 needs -march=haswell -maes");
static_assert(sizeof(kTargetName) != sizeof("avx512") || HWY_TARGET == HWY_AVX3,
              "avx512 needs -march=skylake-avx512 -maes");

template <class T>
using Tag = hn::ScalableTag<T>;  // as many lanes as a register holds
template <class T>
using OneTag = hn::CappedTag<T, 1>;  // the same code on one element
template <class D>
using Vec = hn::Vec<D>;
template <class D>
using Mask = hn::Mask<D>;
template <class D>
using Lane = hn::TFromD<D>;
using F32 = Tag<float>;
using F64 = Tag<double>;

// A constant, since no target here has vectors of unknown length.
template <class D>
inline constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(D()));

// Elements that a staged kernel converts at a time: small enough for the first-level cache with
// four operands.
inline constexpr int64_t kTile = 512;

template <class T>
MILL_INLINE constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
MILL_INLINE constexpr T larger(T a, T b) {
  return a < b ? b : a;
}

// ---- loads and stores --------------------------------------------------------------------------

template <class D>
MILL_INLINE Vec<D> load(D d, const Lane<D>* from) {
  return hn::LoadU(d, from);
}

template <class D>
MILL_INLINE void store(D d, Vec<D> v, Lane<D>* to) {
  hn::StoreU(v, d, to);
}

// How far ahead of its use the input of a long loop is fetched. The processor's own prefetch stops
// at page ends and looks less far ahead while a loop computes.
inline constexpr int64_t kPrefetchBytes = 4096;

// Begins to load what lies `bytes` after `from`. There need not be anything.
MILL_INLINE void prefetch(const void* from, int64_t bytes = kPrefetchBytes) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) +
                                                   static_cast<uintptr_t>(bytes)));
}

// The first n elements, 1 <= n <= kLanes<D>; the other lanes are zero. Touches no memory beyond
// them.
template <class D>
MILL_INLINE Vec<D> load_first(D d, const Lane<D>* from, int64_t n) {
  static_assert(sizeof(Lane<D>) >= 4, "narrower lanes have no masked load");
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n)), d, from);
}

template <class D>
MILL_INLINE void store_first(D d, Vec<D> v, Lane<D>* to, int64_t n) {
  static_assert(sizeof(Lane<D>) >= 4, "narrower lanes have no masked store");
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(n)), d, to);
}

// ---- one element -------------------------------------------------------------------------------

MILL_INLINE float float_of(bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

MILL_INLINE bf16 bf16_of(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return {static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded)};
}

MILL_INLINE float float_of(f16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = value.bits & 0x7fffu;
  // 2^112 moves f16's exponent bias to f32's and makes its subnormals normal; infinity and NaN need
  // all exponent bits.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t special =
      magnitude >= 0x7c00u ? 0x7f800000u | (magnitude << 13) : std::bit_cast<uint32_t>(scaled);
  return std::bit_cast<float>(sign | special);
}

MILL_INLINE f16 f16_of(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t result = 0;
  if (magnitude > 0x7f800000u) {
    result = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {
    result = 0x7c00u;  // rounds to 65536 or more
  } else if (magnitude < 0x38800000u) {
    // Adding 0.5 puts the last bit at 2^-24, f16's smallest step, so the float unit does the
    // rounding.
    result = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    result = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  }
  return {static_cast<uint16_t>(sign | result)};
}

// ---- vectors of two-byte floats ----------------------------------------------------------------

// load_float: kLanes<D> elements of S in memory as a vector of f32. store_float: the reverse, to
// nearest even.

template <class D>
MILL_INLINE Vec<D> load_float(D d, const float* from) {
  return hn::LoadU(d, from);
}

template <class D>
MILL_INLINE void store_float(D d, Vec<D> v, float* to) {
  hn::StoreU(v, d, to);
}

template <class D>
MILL_INLINE Vec<D> load_float(D d, const bf16* from) {
#if HWY_TARGET == HWY_SCALAR
  (void)d;
  return hn::Set(d, float_of(*from));
#else
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
#endif
}

template <class D>
MILL_INLINE void store_float(D d, Vec<D> v, bf16* to) {
  (void)d;
#if HWY_TARGET == HWY_SCALAR
  *to = bf16_of(hn::GetLane(v));
#else
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<uint32_t, D> d32;
  const hn::Rebind<int32_t, D> d32i;
  const auto bits = hn::BitCast(d32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(d32, 0x7fffu)), odd));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(d32, 0x40u));
  const auto chosen = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(v)), quiet, rounded);
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(d32i, chosen)), d16, reinterpret_cast<uint16_t*>(to));
#endif
}

template <class D>
MILL_INLINE Vec<D> load_float(D d, const f16* from) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(d, float_of(*from));
#else
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
#endif
}

template <class D>
MILL_INLINE void store_float(D d, Vec<D> v, f16* to) {
  (void)d;
#if HWY_TARGET == HWY_SCALAR
  *to = f16_of(hn::GetLane(v));
#else
  const hn::Rebind<hwy::float16_t, D> d16;
  hn::StoreU(hn::DemoteTo(d16, v), d16, reinterpret_cast<hwy::float16_t*>(to));
#endif
}

// ---- contiguous runs ---------------------------------------------------------------------------
// read_run: n elements of storage type S as compute type C; write_run: the reverse. The two runs do
// not overlap. A run of the same type is a copy. Integers convert as C converts them.

template <class T>
MILL_INLINE void read_run(const T* from, T* to, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

template <class S, class C>
MILL_INLINE void read_run(const S* from, C* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<C>(from[i]);
}

template <class S>
MILL_INLINE void read_half_run(const S* from, float* to, int64_t n) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes<F32> <= n; i += kLanes<F32>) hn::StoreU(load_float(d, from + i), d, to + i);
  for (; i < n; ++i) to[i] = float_of(from[i]);
}
MILL_INLINE void read_run(const bf16* from, float* to, int64_t n) {
  read_half_run(from, to, n);
}
MILL_INLINE void read_run(const f16* from, float* to, int64_t n) {
  read_half_run(from, to, n);
}

template <class T>
MILL_INLINE void write_run(const T* from, T* to, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

template <class S>
MILL_INLINE void write_run(const int64_t* from, S* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<S>(from[i]);
}

MILL_INLINE void write_run(const float* from, bf16* to, int64_t n) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes<F32> <= n; i += kLanes<F32>) store_float(d, hn::LoadU(d, from + i), to + i);
  for (; i < n; ++i) to[i] = bf16_of(from[i]);
}

MILL_INLINE void write_run(const float* from, f16* to, int64_t n) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes<F32> <= n; i += kLanes<F32>) store_float(d, hn::LoadU(d, from + i), to + i);
  for (; i < n; ++i) to[i] = f16_of(from[i]);
}

// The type that kernels compute in for a storage type.
template <class S>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <class S>
using Compute = typename ComputeOf<S>::type;

}  // namespace mill::cpu::MILL_TARGET
