// What a kernel body may say, on CUDA: the members of the simulator's file of the same name, which
// says what each means. docs/gpu-kernels.md is the manual.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/dtype.h"
#include "base/half.h"
#include "gpu/facade.h"
#include "kernels/functors/vocabulary.h"

#define MILL_FLAVOUR mill::cuda_

// Both bounds: with the first alone ptxas spills to win blocks that nobody asked for.
#define MILL_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define MILL_DEVICE __device__ __forceinline__
#define MILL_PARAM(...) const __grid_constant__ __VA_ARGS__
#define MILL_SHARED(t, Type, name) __shared__ Type name
#define MILL_UNROLL _Pragma("unroll")

namespace MILL_FLAVOUR {

using mill::bf16;
using mill::f16;
using mill::f8e4m3;
using mill::f8e5m2;
using mill::gpu::cost;
using mill::gpu::fault_slot;
using mill::gpu::KernelEntry;
using mill::gpu::KernelList;
using mill::gpu::shape;
using mill::gpu::unit;

inline constexpr int kWarp = 32;

// ---- types --------------------------------------------------------------------------------------

template <class T>
struct accumulator {
  using type = T;
};
template <>
struct accumulator<bf16> {
  using type = float;
};
template <>
struct accumulator<f16> {
  using type = float;
};
template <class T>
using acc_t = typename accumulator<T>::type;

MILL_DEVICE float up(bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
MILL_DEVICE float up(f16 x) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x.bits));
  return out;
}
template <class T>
MILL_DEVICE T up(T x) {
  return x;
}

// To nearest, ties to even.
MILL_DEVICE bf16 to_bf16(float x) {
  bf16 out;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
  return out;
}
MILL_DEVICE f16 to_f16(float x) {
  f16 out;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
  return out;
}

template <class T, class A>
MILL_DEVICE T down(A x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return to_bf16(static_cast<float>(x));
  } else if constexpr (std::is_same_v<T, f16>) {
    return to_f16(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

template <class To, class From>
MILL_DEVICE To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, x);
}

// ---- memory -------------------------------------------------------------------------------------

template <class T, int N>
struct alignas(sizeof(T) * N) vec {
  T v[N];
  MILL_DEVICE T& operator[](int i) { return v[i]; }
  MILL_DEVICE const T& operator[](int i) const { return v[i]; }
};

// The type that one access instruction moves. Structs of small members would be split: PTX vectors
// have four elements at most.
template <int Bytes>
struct word_of;
template <>
struct word_of<1> {
  using type = uint8_t;
};
template <>
struct word_of<2> {
  using type = uint16_t;
};
template <>
struct word_of<4> {
  using type = uint32_t;
};
template <>
struct word_of<8> {
  using type = uint2;
};
template <>
struct word_of<16> {
  using type = uint4;
};

template <int N, class T>
MILL_DEVICE vec<T, N> load(const T* p) {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0);
  // A local first: bits copied through a reference to memory are read byte by byte.
  const auto word = *reinterpret_cast<const typename word_of<sizeof(T) * N>::type*>(p);
  return bits_as<vec<T, N>>(word);
}

template <class T, int N>
MILL_DEVICE void store(T* p, const vec<T, N>& x) {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0);
  // One scalar of 16 bytes: the members of a uint4 are stored one by one where the compiler loses
  // their common alignment.
  using Word = std::conditional_t<sizeof(T) * N == 16, unsigned __int128,
                                  typename word_of<sizeof(T) * N>::type>;
  *reinterpret_cast<Word*>(p) = bits_as<Word>(x);
}

template <class T, int N>
MILL_DEVICE void store_streaming(T* p, const vec<T, N>& x) {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0);
  using Word = typename word_of<sizeof(T) * N>::type;
  __stcs(reinterpret_cast<Word*>(p), bits_as<Word>(x));
}

// The hardware's 64-bit atomics take unsigned long long; sums wrap alike for either sign.
template <class T>
MILL_DEVICE T atomic_add(T* p, T x) {
  if constexpr (std::is_integral_v<T> && sizeof(T) == 8) {
    return static_cast<T>(
        atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(x)));
  } else {
    return atomicAdd(p, x);
  }
}
template <class T>
MILL_DEVICE T atomic_max(T* p, T x) {
  static_assert(std::is_integral_v<T>);
  if constexpr (sizeof(T) == 8 && std::is_signed_v<T>) {
    return static_cast<T>(atomicMax(reinterpret_cast<long long*>(p), static_cast<long long>(x)));
  } else if constexpr (sizeof(T) == 8) {
    return static_cast<T>(
        atomicMax(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(x)));
  } else {
    return atomicMax(p, x);
  }
}
MILL_DEVICE uint32_t atomic_cas(uint32_t* p, uint32_t expected, uint32_t desired) {
  return atomicCAS(p, expected, desired);
}

// Said of a pointer that came out of memory, of which the compiler knows no address space.
template <class T>
MILL_DEVICE T* in_global(T* p) {
  __builtin_assume(__isGlobal(p));
  return p;
}

// ---- position -----------------------------------------------------------------------------------

class Flat {
 public:
  MILL_DEVICE int tid() const { return static_cast<int>(threadIdx.x); }
  MILL_DEVICE int64_t bid() const { return static_cast<int64_t>(blockIdx.x); }
  MILL_DEVICE int block_dim() const { return static_cast<int>(blockDim.x); }
  MILL_DEVICE int64_t grid_dim() const { return static_cast<int64_t>(gridDim.x); }
  MILL_DEVICE int64_t global_id() const { return bid() * block_dim() + tid(); }
  MILL_DEVICE int64_t global_size() const { return grid_dim() * block_dim(); }
  MILL_DEVICE int lane() const { return static_cast<int>(threadIdx.x % kWarp); }
  MILL_DEVICE int warp() const { return static_cast<int>(threadIdx.x / kWarp); }
  template <class T>
  MILL_DEVICE T* address(T* p) const {
    return in_global(p);
  }
};

class Block : public Flat {
 public:
  template <class T>
  MILL_DEVICE T* dynamic() const {
    extern __shared__ __align__(128) unsigned char dynamic_shared[];
    return reinterpret_cast<T*>(dynamic_shared);
  }

  MILL_DEVICE void barrier() const { __syncthreads(); }
  MILL_DEVICE void warp_sync() const { __syncwarp(); }

  template <class T>
  MILL_DEVICE T shfl(T value, int from, int width = kWarp) const {
    return by_words(value, [=](auto word) { return __shfl_sync(kAll, word, from, width); });
  }
  // A lane whose partner is outside its group keeps its own value: on hardware lanes of earlier
  // groups can be read, so the mask is dropped there.
  template <class T>
  MILL_DEVICE T shfl_xor(T value, int mask, int width = kWarp) const {
    const int inside = (mask & ~(width - 1)) != 0 ? 0 : mask;
    return by_words(value, [=](auto word) { return __shfl_xor_sync(kAll, word, inside); });
  }
  template <class T>
  MILL_DEVICE T shfl_down(T value, int delta, int width = kWarp) const {
    return by_words(value, [=](auto word) {
      return __shfl_down_sync(kAll, word, static_cast<unsigned>(delta), width);
    });
  }
  template <class T>
  MILL_DEVICE T shfl_up(T value, int delta, int width = kWarp) const {
    return by_words(value, [=](auto word) {
      return __shfl_up_sync(kAll, word, static_cast<unsigned>(delta), width);
    });
  }
  MILL_DEVICE uint32_t ballot(bool yes) const { return __ballot_sync(kAll, yes); }
  template <class T, class Op>
  MILL_DEVICE T warp_reduce(T value, Op op, int width = kWarp) const {
    MILL_UNROLL
    for (int mask = width / 2; mask > 0; mask /= 2) value = op(value, shfl_xor(value, mask, width));
    return value;
  }

 private:
  static constexpr unsigned kAll = 0xffffffffu;

  // Shuffles move 32 bits; larger values go in parts.
  template <class T, class Move>
  MILL_DEVICE static T by_words(const T& value, Move move) {
    if constexpr (sizeof(T) < 4) {
      using Word = typename word_of<sizeof(T)>::type;
      return bits_as<T>(static_cast<Word>(move(static_cast<uint32_t>(bits_as<Word>(value)))));
    } else {
      static_assert(sizeof(T) % 4 == 0);
      struct Words {
        uint32_t at[sizeof(T) / 4];
      };
      Words words = bits_as<Words>(value);
      MILL_UNROLL
      for (auto& word : words.at) word = move(word);
      return bits_as<T>(words);
    }
  }
};

template <class T>
struct dptr {
  T* raw;
  template <class Position>
  MILL_DEVICE T* get(const Position& t) const {
    return t.address(raw);
  }
};

// The slot is host memory: its words are written one by one, and the fence makes them visible
// before the state that announces them.
MILL_DEVICE void raise_fault(fault_slot* slot, int32_t op, int32_t argument, int64_t position,
                             int64_t value, int64_t low, int64_t high) {
  slot = in_global(slot);
  if (atomicCAS(&slot->state, 0u, 1u) != 0) return;
  volatile fault_slot* out = slot;
  out->op = op;
  out->argument = argument;
  out->position = position;
  out->value = value;
  out->low = low;
  out->high = high;
  __threadfence_system();
  out->state = 2;
}

// ---- math ---------------------------------------------------------------------------------------

MILL_DEVICE float exp_(float x) {
  return expf(x);
}
MILL_DEVICE double exp_(double x) {
  return exp(x);
}
MILL_DEVICE float log_(float x) {
  return logf(x);
}
MILL_DEVICE double log_(double x) {
  return log(x);
}
MILL_DEVICE float log1p_(float x) {
  return log1pf(x);
}
MILL_DEVICE double log1p_(double x) {
  return log1p(x);
}
MILL_DEVICE float tanh_(float x) {
  return tanhf(x);
}
MILL_DEVICE double tanh_(double x) {
  return tanh(x);
}
MILL_DEVICE float erfc_(float x) {
  return erfcf(x);
}
MILL_DEVICE double erfc_(double x) {
  return erfc(x);
}
// x / pi, less the multiple of 2 that changes no sine or cosine. The toolkit's own reduction keeps
// a table in local memory; this one has 1 / pi in two parts and loses the angle only where a double
// has no digits behind the point.
MILL_DEVICE double half_turns(double x) {
  constexpr double kHigh = 0x1.45f306dc9c883p-2;
  constexpr double kLow = -0x1.6b01ec5417056p-56;
  const double q = __dmul_rn(x, kHigh);
  const double tail = __fma_rn(x, kLow, __fma_rn(x, kHigh, -q));
  return q - 2 * rint(0.5 * q) + tail;
}
MILL_DEVICE double cos_(double x) {
  return cospi(half_turns(x));
}
MILL_DEVICE double sin_(double x) {
  return sinpi(half_turns(x));
}
MILL_DEVICE float cos_(float x) {
  return static_cast<float>(cos_(static_cast<double>(x)));
}
MILL_DEVICE float sin_(float x) {
  return static_cast<float>(sin_(static_cast<double>(x)));
}
// As cos_ and sin_: the toolkit's own reduction keeps a table in local memory.
MILL_DEVICE double tan_(double x) {
  const double turns = half_turns(x);
  return sinpi(turns) / cospi(turns);
}
MILL_DEVICE float tan_(float x) {
  return static_cast<float>(tan_(static_cast<double>(x)));
}
MILL_DEVICE float asin_(float x) {
  return asinf(x);
}
MILL_DEVICE double asin_(double x) {
  return asin(x);
}
MILL_DEVICE float acos_(float x) {
  return acosf(x);
}
MILL_DEVICE double acos_(double x) {
  return acos(x);
}
MILL_DEVICE float atan_(float x) {
  return atanf(x);
}
MILL_DEVICE double atan_(double x) {
  return atan(x);
}
MILL_DEVICE float sinh_(float x) {
  return sinhf(x);
}
MILL_DEVICE double sinh_(double x) {
  return sinh(x);
}
MILL_DEVICE float cosh_(float x) {
  return coshf(x);
}
MILL_DEVICE double cosh_(double x) {
  return cosh(x);
}
MILL_DEVICE float asinh_(float x) {
  return asinhf(x);
}
MILL_DEVICE double asinh_(double x) {
  return asinh(x);
}
MILL_DEVICE float acosh_(float x) {
  return acoshf(x);
}
MILL_DEVICE double acosh_(double x) {
  return acosh(x);
}
MILL_DEVICE float atanh_(float x) {
  return atanhf(x);
}
MILL_DEVICE double atanh_(double x) {
  return atanh(x);
}
MILL_DEVICE float erf_(float x) {
  return erff(x);
}
MILL_DEVICE double erf_(double x) {
  return erf(x);
}
MILL_DEVICE float expm1_(float x) {
  return expm1f(x);
}
MILL_DEVICE double expm1_(double x) {
  return expm1(x);
}
MILL_DEVICE float floor_(float x) {
  return floorf(x);
}
MILL_DEVICE double floor_(double x) {
  return floor(x);
}
MILL_DEVICE float ceil_(float x) {
  return ceilf(x);
}
MILL_DEVICE double ceil_(double x) {
  return ceil(x);
}
MILL_DEVICE float round_(float x) {
  return rintf(x);
}
MILL_DEVICE double round_(double x) {
  return rint(x);
}
MILL_DEVICE float trunc_(float x) {
  return truncf(x);
}
MILL_DEVICE double trunc_(double x) {
  return trunc(x);
}
MILL_DEVICE float fmod_(float x, float y) {
  return fmodf(x, y);
}
MILL_DEVICE double fmod_(double x, double y) {
  return fmod(x, y);
}
MILL_DEVICE float pow_(float x, float y) {
  return powf(x, y);
}
MILL_DEVICE double pow_(double x, double y) {
  return pow(x, y);
}
MILL_DEVICE float sqrt_(float x) {
  return __fsqrt_rn(x);
}
MILL_DEVICE double sqrt_(double x) {
  return __dsqrt_rn(x);
}
MILL_DEVICE float rsqrt_(float x) {
  return rsqrtf(x);
}
MILL_DEVICE double rsqrt_(double x) {
  return rsqrt(x);
}
MILL_DEVICE float abs_(float x) {
  return fabsf(x);
}
MILL_DEVICE double abs_(double x) {
  return fabs(x);
}
MILL_DEVICE float fma_(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}
MILL_DEVICE double fma_(double a, double b, double c) {
  return __fma_rn(a, b, c);
}
MILL_DEVICE double fused_(double a, double b, double c) {
  return __fma_rn(a, b, c);
}
// The intrinsics are never fused with what follows.
MILL_DEVICE float mul_(float a, float b) {
  return __fmul_rn(a, b);
}
MILL_DEVICE double mul_(double a, double b) {
  return __dmul_rn(a, b);
}
MILL_DEVICE bool is_nan_(float x) {
  return x != x;
}
MILL_DEVICE bool is_nan_(double x) {
  return x != x;
}

}  // namespace MILL_FLAVOUR

#include "gpu/families/math.h"
#include "gpu/runtime/cuda/fragment.h"
