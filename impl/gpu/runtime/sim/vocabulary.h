// What a kernel body may say, on the simulated accelerator. The CUDA build has a file of the same
// name with the same members; the build picks one by its include path. docs/gpu-kernels.md is the
// manual.
//
// The files are compiled twice, once with every access instrumented. What bodies call lies in the
// flavour's namespace or is always inlined: the linker would otherwise keep one copy for both.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "base/dtype.h"
#include "base/half.h"
#include "gpu/facade.h"
#include "gpu/runtime/sim/lane.h"
#include "kernels/functors/vocabulary.h"

#if defined(MILL_SIM_CHECKED)
#define MILL_FLAVOUR mill::sim_check_
#define MILL_CHECKED 1
#else
#define MILL_FLAVOUR mill::sim_
#define MILL_CHECKED 0
#endif

// A kernel: threads of a block, blocks that should fit a multiprocessor together.
#define MILL_KERNEL(threads, blocks) inline void
// A function that kernels call. Builds for tests leave it to the compiler what to inline and
// unroll: that takes a quarter of its time.
#if defined(MILL_QUICK_BUILD)
#define MILL_DEVICE inline
#define MILL_UNROLL
#else
#define MILL_DEVICE [[gnu::always_inline]] inline
#define MILL_UNROLL _Pragma("GCC unroll 16")
#endif
// A struct as a kernel's parameter.
#define MILL_PARAM(...) const __VA_ARGS__&
// The kernel's one shared-memory struct: first statement, one per kernel.
#define MILL_SHARED(t, Type, name) Type& name = (t).template shared<Type>()

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
using mill::sim::Site;

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
// What arithmetic on T happens in.
template <class T>
using acc_t = typename accumulator<T>::type;

MILL_DEVICE float up(bf16 x) {
  return mill::to_float(x);
}
MILL_DEVICE float up(f16 x) {
  return mill::to_float(x);
}
template <class T>
MILL_DEVICE T up(T x) {
  return x;
}

template <class T, class A>
MILL_DEVICE T down(A x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return mill::to_bf16(static_cast<float>(x));
  } else if constexpr (std::is_same_v<T, f16>) {
    return mill::to_f16(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

template <class To, class From>
MILL_DEVICE To bits_as(From x) {
  return std::bit_cast<To>(x);
}

// ---- memory -------------------------------------------------------------------------------------

// N values that move together: N * sizeof(T) is 1, 2, 4, 8 or 16 bytes, and aligned to that.
template <class T, int N>
struct alignas(sizeof(T) * N) vec {
  T v[N];
  MILL_DEVICE T& operator[](int i) { return v[i]; }
  MILL_DEVICE const T& operator[](int i) const { return v[i]; }
};

template <int N, class T>
MILL_DEVICE vec<T, N> load(const T* p, const char* file = __builtin_FILE(),
                           int line = __builtin_LINE()) {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0);
  if ((reinterpret_cast<uintptr_t>(p) & (sizeof(T) * N - 1)) != 0) [[unlikely]]
    mill::sim::lane_fail(mill::sim::LaneFault::misaligned, {file, line},
                         reinterpret_cast<uintptr_t>(p), sizeof(T) * N);
  vec<T, N> out;
  for (int i = 0; i < N; ++i) out.v[i] = p[i];
  return out;
}

template <class T, int N>
MILL_DEVICE void store(T* p, const vec<T, N>& x, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE()) {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0);
  if ((reinterpret_cast<uintptr_t>(p) & (sizeof(T) * N - 1)) != 0) [[unlikely]]
    mill::sim::lane_fail(mill::sim::LaneFault::misaligned, {file, line},
                         reinterpret_cast<uintptr_t>(p), sizeof(T) * N);
  for (int i = 0; i < N; ++i) p[i] = x.v[i];
}

// Past the caches where the device can: for results that nobody reads soon.
template <class T, int N>
MILL_DEVICE void store_streaming(T* p, const vec<T, N>& x, const char* file = __builtin_FILE(),
                                 int line = __builtin_LINE()) {
  store(p, x, file, line);
}

// The two halves of an atomic operation, which no other lane comes between. The checked flavour
// would take plain ones for ordinary accesses.
template <class T>
MILL_DEVICE T atomic_begin(const T* p) {
  if constexpr (MILL_CHECKED != 0) {
    T value;
    mill::sim::lane_atomic(p, &value, sizeof value);
    return value;
  } else {
    return *p;
  }
}
template <class T>
MILL_DEVICE void atomic_end(T* p, T value) {
  if constexpr (MILL_CHECKED != 0) {
    mill::sim::lane_atomic_store(p, &value, sizeof value);
  } else {
    *p = value;
  }
}

// Adds and returns what was there. f32, f64, i32, u32, u64. Float atomics make the result depend on
// timing: only for kernels that are asked for without MILL_KERNEL_DETERMINISTIC.
template <class T>
MILL_DEVICE T atomic_add(T* p, T x) {
  const T old = atomic_begin(p);
  atomic_end(p, static_cast<T>(old + x));
  return old;
}
template <class T>
MILL_DEVICE T atomic_max(T* p, T x) {
  const T old = atomic_begin(p);
  if (x > old) atomic_end(p, x);
  return old;
}
MILL_DEVICE uint32_t atomic_cas(uint32_t* p, uint32_t expected, uint32_t desired) {
  const uint32_t old = atomic_begin(p);
  if (old == expected) atomic_end(p, desired);
  return old;
}

// ---- position -----------------------------------------------------------------------------------

// The first parameter of a kernel whose lanes do not cooperate: no barrier, no shuffle, no shared
// memory. On the simulator such a kernel is a plain loop.
class Flat {
 public:
  MILL_DEVICE Flat(int tid, const mill::sim::BlockState* block) : tid_(tid), block_(block) {}
  MILL_DEVICE int tid() const { return tid_; }
  MILL_DEVICE int64_t bid() const { return block_->bid; }
  MILL_DEVICE int block_dim() const { return block_->block_dim; }
  MILL_DEVICE int64_t grid_dim() const { return block_->grid_dim; }
  MILL_DEVICE int64_t global_id() const { return bid() * block_dim() + tid_; }
  MILL_DEVICE int64_t global_size() const { return grid_dim() * block_dim(); }
  MILL_DEVICE int lane() const { return tid_ % kWarp; }
  MILL_DEVICE int warp() const { return tid_ / kWarp; }
  // The address behind a pointer that was read from memory or from a struct.
  template <class T>
  MILL_DEVICE T* address(T* p) const {
    return static_cast<T*>(mill::sim::device_address(*block_, p));
  }

 private:
  int tid_;
  const mill::sim::BlockState* block_;
};

// The first parameter of a kernel whose lanes cooperate.
class Block {
 public:
  MILL_DEVICE explicit Block(mill::sim::Lane* lane) : self_(lane) {}
  MILL_DEVICE int tid() const { return self_->tid; }
  MILL_DEVICE int64_t bid() const { return self_->block->bid; }
  MILL_DEVICE int block_dim() const { return self_->block->block_dim; }
  MILL_DEVICE int64_t grid_dim() const { return self_->block->grid_dim; }
  MILL_DEVICE int64_t global_id() const { return bid() * block_dim() + tid(); }
  MILL_DEVICE int64_t global_size() const { return grid_dim() * block_dim(); }
  MILL_DEVICE int lane() const { return self_->tid % kWarp; }
  MILL_DEVICE int warp() const { return self_->tid / kWarp; }
  template <class T>
  MILL_DEVICE T* address(T* p) const {
    return static_cast<T*>(mill::sim::device_address(*self_->block, p));
  }

  template <class T>
  MILL_DEVICE T& shared(const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
    static_assert(std::is_trivially_default_constructible_v<T> && alignof(T) <= 128);
    return *static_cast<T*>(mill::sim::lane_shared(self_, sizeof(T), {file, line}));
  }
  // The launch's dynamic shared memory, aligned to 128 bytes.
  template <class T>
  MILL_DEVICE T* dynamic() const {
    return reinterpret_cast<T*>(self_->block->shared);
  }

  MILL_DEVICE void barrier(const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
    mill::sim::lane_barrier(self_, {file, line});
  }
  // Orders the warp's accesses to shared memory. A shuffle does not.
  MILL_DEVICE void warp_sync(const char* file = __builtin_FILE(),
                             int line = __builtin_LINE()) const {
    mill::sim::lane_warp(self_, mill::sim::LaneWait::warp_sync, {file, line});
  }

  // The value of lane `from` of this lane's group of `width` lanes.
  template <class T>
  MILL_DEVICE T shfl(T value, int from, int width = kWarp, const char* file = __builtin_FILE(),
                     int line = __builtin_LINE()) const {
    const int base = lane() & ~(width - 1);
    return swap(value, base + (from & (width - 1)), {file, line});
  }
  template <class T>
  MILL_DEVICE T shfl_xor(T value, int mask, int width = kWarp, const char* file = __builtin_FILE(),
                         int line = __builtin_LINE()) const {
    const int from = lane() ^ mask;
    const bool inside = (from & ~(width - 1)) == (lane() & ~(width - 1));
    return swap(value, inside ? from : lane(), {file, line});
  }
  // Of the lane `delta` further up; its own beyond the group's end.
  template <class T>
  MILL_DEVICE T shfl_down(T value, int delta, int width = kWarp,
                          const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
    const int at = (lane() & (width - 1)) + delta;
    return swap(value, at < width ? lane() + delta : lane(), {file, line});
  }
  template <class T>
  MILL_DEVICE T shfl_up(T value, int delta, int width = kWarp, const char* file = __builtin_FILE(),
                        int line = __builtin_LINE()) const {
    const int at = (lane() & (width - 1)) - delta;
    return swap(value, at >= 0 ? lane() - delta : lane(), {file, line});
  }
  // Bit i: what lane i of the warp says.
  MILL_DEVICE uint32_t ballot(bool yes, const char* file = __builtin_FILE(),
                              int line = __builtin_LINE()) const {
    auto& slots = turn();
    slots[lane()][0] = static_cast<unsigned char>(yes);
    if (mill::sim::lane_warp(self_, mill::sim::LaneWait::ballot, {file, line})) {
      uint32_t folded = 0;
      for (int i = 0; i < kWarp; ++i) folded |= static_cast<uint32_t>(slots[i][0]) << i;
      __builtin_memcpy(slots[0] + 8, &folded, sizeof folded);
    }
    uint32_t all;
    __builtin_memcpy(&all, slots[0] + 8, sizeof all);
    return all;
  }
  // op over groups of `width` neighbouring lanes, in butterfly order; every lane gets the result.
  template <class T, class Op>
  MILL_DEVICE T warp_reduce(T value, Op op, int width = kWarp, const char* file = __builtin_FILE(),
                            int line = __builtin_LINE()) const {
    static_assert(sizeof(T) <= mill::sim::kSlotBytes);
    auto& slots = turn();
    __builtin_memcpy(slots[lane()], &value, sizeof value);
    if (mill::sim::lane_warp(self_, mill::sim::LaneWait::reduce, {file, line})) {
      T all[kWarp];
      T next[kWarp];
      for (int i = 0; i < kWarp; ++i) __builtin_memcpy(&all[i], slots[i], sizeof(T));
      for (int mask = width / 2; mask > 0; mask /= 2) {
        for (int i = 0; i < kWarp; ++i) next[i] = op(all[i], all[i ^ mask]);
        for (int i = 0; i < kWarp; ++i) all[i] = next[i];
      }
      for (int i = 0; i < kWarp; ++i) __builtin_memcpy(slots[i], &all[i], sizeof(T));
    }
    T out;
    __builtin_memcpy(&out, slots[lane()], sizeof out);
    return out;
  }
  // Simulator only, for fragment.h: every lane brings up to 64 bytes and sees those of the whole
  // warp, lane i's at i * 64, until the next warp operation but one.
  MILL_DEVICE const unsigned char* exchange(const void* mine, int bytes,
                                            const char* file = __builtin_FILE(),
                                            int line = __builtin_LINE()) const {
    auto& slots = turn();
    __builtin_memcpy(slots[lane()], mine, static_cast<size_t>(bytes));
    mill::sim::lane_warp(self_, mill::sim::LaneWait::exchange, {file, line});
    return slots[0];
  }

  // The same; the last lane to come calls fold(slots) before any goes on.
  template <class Fold>
  MILL_DEVICE void exchange_fold(const void* mine, int bytes, Fold fold,
                                 const char* file = __builtin_FILE(),
                                 int line = __builtin_LINE()) const {
    auto& slots = turn();
    __builtin_memcpy(slots[lane()], mine, static_cast<size_t>(bytes));
    if (mill::sim::lane_warp(self_, mill::sim::LaneWait::exchange, {file, line}))
      fold(static_cast<const unsigned char*>(slots[0]));
  }

 private:
  using Slots = unsigned char[kWarp][mill::sim::kSlotBytes];

  MILL_DEVICE Slots& turn() const {
    const int set = self_->turn;
    self_->turn = static_cast<uint8_t>(set ^ 1);
    return self_->block->slots[warp()].bytes[set];
  }
  template <class T>
  MILL_DEVICE T swap(const T& value, int from, Site site) const {
    static_assert(sizeof(T) <= mill::sim::kSlotBytes);
    auto& slots = turn();
    __builtin_memcpy(slots[lane()], &value, sizeof value);
    mill::sim::lane_warp(self_, mill::sim::LaneWait::shuffle, site);
    T out;
    __builtin_memcpy(&out, slots[from], sizeof out);
    return out;
  }

  mill::sim::Lane* self_;
};

// A device pointer inside a struct or a table; 8 bytes. t.address reads it.
template <class T>
struct dptr {
  T* raw;
  template <class Position>
  MILL_DEVICE T* get(const Position& t) const {
    return t.address(raw);
  }
};

// A value read from a tensor is not in [low, high): waits on the stream report it, the kernel goes
// on with something harmless. slot comes from faults_of(args).
MILL_DEVICE void raise_fault(fault_slot* slot, int32_t op, int32_t argument, int64_t position,
                             int64_t value, int64_t low, int64_t high) {
  mill::sim::note_fault(slot, op, argument, position, value, low, high);
}

// ---- math ---------------------------------------------------------------------------------------

MILL_DEVICE float exp_(float x) {
  return __builtin_expf(x);
}
MILL_DEVICE double exp_(double x) {
  return __builtin_exp(x);
}
MILL_DEVICE float log_(float x) {
  return __builtin_logf(x);
}
MILL_DEVICE double log_(double x) {
  return __builtin_log(x);
}
MILL_DEVICE float log1p_(float x) {
  return __builtin_log1pf(x);
}
MILL_DEVICE double log1p_(double x) {
  return __builtin_log1p(x);
}
MILL_DEVICE float tanh_(float x) {
  return __builtin_tanhf(x);
}
MILL_DEVICE double tanh_(double x) {
  return __builtin_tanh(x);
}
MILL_DEVICE float erfc_(float x) {
  return __builtin_erfcf(x);
}
MILL_DEVICE double erfc_(double x) {
  return __builtin_erfc(x);
}
MILL_DEVICE float cos_(float x) {
  return __builtin_cosf(x);
}
MILL_DEVICE double cos_(double x) {
  return __builtin_cos(x);
}
MILL_DEVICE float sin_(float x) {
  return __builtin_sinf(x);
}
MILL_DEVICE double sin_(double x) {
  return __builtin_sin(x);
}
MILL_DEVICE float tan_(float x) {
  return __builtin_tanf(x);
}
MILL_DEVICE double tan_(double x) {
  return __builtin_tan(x);
}
MILL_DEVICE float asin_(float x) {
  return __builtin_asinf(x);
}
MILL_DEVICE double asin_(double x) {
  return __builtin_asin(x);
}
MILL_DEVICE float acos_(float x) {
  return __builtin_acosf(x);
}
MILL_DEVICE double acos_(double x) {
  return __builtin_acos(x);
}
MILL_DEVICE float atan_(float x) {
  return __builtin_atanf(x);
}
MILL_DEVICE double atan_(double x) {
  return __builtin_atan(x);
}
MILL_DEVICE float sinh_(float x) {
  return __builtin_sinhf(x);
}
MILL_DEVICE double sinh_(double x) {
  return __builtin_sinh(x);
}
MILL_DEVICE float cosh_(float x) {
  return __builtin_coshf(x);
}
MILL_DEVICE double cosh_(double x) {
  return __builtin_cosh(x);
}
MILL_DEVICE float asinh_(float x) {
  return __builtin_asinhf(x);
}
MILL_DEVICE double asinh_(double x) {
  return __builtin_asinh(x);
}
MILL_DEVICE float acosh_(float x) {
  return __builtin_acoshf(x);
}
MILL_DEVICE double acosh_(double x) {
  return __builtin_acosh(x);
}
MILL_DEVICE float atanh_(float x) {
  return __builtin_atanhf(x);
}
MILL_DEVICE double atanh_(double x) {
  return __builtin_atanh(x);
}
MILL_DEVICE float erf_(float x) {
  return __builtin_erff(x);
}
MILL_DEVICE double erf_(double x) {
  return __builtin_erf(x);
}
MILL_DEVICE float expm1_(float x) {
  return __builtin_expm1f(x);
}
MILL_DEVICE double expm1_(double x) {
  return __builtin_expm1(x);
}
MILL_DEVICE float floor_(float x) {
  return __builtin_floorf(x);
}
MILL_DEVICE double floor_(double x) {
  return __builtin_floor(x);
}
MILL_DEVICE float ceil_(float x) {
  return __builtin_ceilf(x);
}
MILL_DEVICE double ceil_(double x) {
  return __builtin_ceil(x);
}
MILL_DEVICE float round_(float x) {
  return __builtin_rintf(x);
}
MILL_DEVICE double round_(double x) {
  return __builtin_rint(x);
}
MILL_DEVICE float trunc_(float x) {
  return __builtin_truncf(x);
}
MILL_DEVICE double trunc_(double x) {
  return __builtin_trunc(x);
}
MILL_DEVICE float fmod_(float x, float y) {
  return __builtin_fmodf(x, y);
}
MILL_DEVICE double fmod_(double x, double y) {
  return __builtin_fmod(x, y);
}
MILL_DEVICE float pow_(float x, float y) {
  return __builtin_powf(x, y);
}
MILL_DEVICE double pow_(double x, double y) {
  return __builtin_pow(x, y);
}
MILL_DEVICE float sqrt_(float x) {
  return __builtin_sqrtf(x);
}
MILL_DEVICE double sqrt_(double x) {
  return __builtin_sqrt(x);
}
MILL_DEVICE float rsqrt_(float x) {
  return 1 / __builtin_sqrtf(x);
}
MILL_DEVICE double rsqrt_(double x) {
  return 1 / __builtin_sqrt(x);
}
MILL_DEVICE float abs_(float x) {
  return __builtin_fabsf(x);
}
MILL_DEVICE double abs_(double x) {
  return __builtin_fabs(x);
}
// a * b + c, rounded once where the device has it in one instruction.
MILL_DEVICE float fma_(float a, float b, float c) {
  return a * b + c;
}
MILL_DEVICE double fma_(double a, double b, double c) {
  return a * b + c;
}
// The same, rounded once on every device.
MILL_DEVICE double fused_(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
// a * b, rounded before anything is added to it: results that devices share bit for bit need it.
// The simulator's files are compiled without contraction.
MILL_DEVICE float mul_(float a, float b) {
  return a * b;
}
MILL_DEVICE double mul_(double a, double b) {
  return a * b;
}
MILL_DEVICE bool is_nan_(float x) {
  return x != x;
}
MILL_DEVICE bool is_nan_(double x) {
  return x != x;
}

}  // namespace MILL_FLAVOUR

#include "gpu/families/math.h"
#include "gpu/runtime/sim/fragment.h"
