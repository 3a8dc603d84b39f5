// Turns a functor of kernels/functors/ into a launch: the loop over runs for each compute type, and
// the choice of path.
#pragma once

#include "cpu/pointwise.h"
#include "cpu/simd_math.h"
#include "kernels/functors/int_math.h"

namespace mill::cpu::MILL_TARGET {

// Its functions are always inlined, so its name needs no target. Compilers vectorise the loops.
using mill::functors::IntMath;

// The dtype whose storage is the compute type C.
template <class C>
inline constexpr int32_t kNative = MILL_DTYPE_NONE;
template <>
inline constexpr int32_t kNative<float> = MILL_F32;
template <>
inline constexpr int32_t kNative<double> = MILL_F64;
template <>
inline constexpr int32_t kNative<int64_t> = MILL_I64;
template <>
inline constexpr int32_t kNative<uint64_t> = MILL_U64;

template <class C>
inline constexpr bool kIsInteger = kSame<C, int64_t> || kSame<C, uint64_t>;

// An input of a vector loop: memory, or one value throughout.
template <class D, bool kMoves>
struct Source {
  const Lane<D>* data;
  Vec<D> value;

  explicit MILL_INLINE Source(const void* from)
      : data(static_cast<const Lane<D>*>(from)), value(hn::Set(D(), kMoves ? Lane<D>{} : *data)) {}
  MILL_INLINE Vec<D> at(int64_t i) const {
    if constexpr (kMoves) {
      prefetch(data + i);
      return hn::LoadU(D(), data + i);
    } else {
      return value;
    }
  }
  MILL_INLINE Vec<D> first(int64_t i, int64_t n) const {
    if constexpr (kMoves) {
      return load_first(D(), data + i, n);
    } else {
      return value;
    }
  }
};

template <class F, class C>
void run_one(const void* functor, const Run& run) {
  const F& f = *static_cast<const F*>(functor);
  C* out = static_cast<C*>(run.out);
  const C* in = static_cast<const C*>(run.in[0]);
  if constexpr (kIsInteger<C>) {
    if (run.step[0] == 0) {
      const C value = f(IntMath<C>(), *in);
      for (int64_t i = 0; i < run.n; ++i) out[i] = value;
    } else {
      for (int64_t i = 0; i < run.n; ++i) out[i] = f(IntMath<C>(), in[i]);
    }
  } else {
    using D = Tag<C>;
    constexpr int64_t kN = kLanes<D>;
    const D d;
    if (run.step[0] == 0) {
      const C value = hn::GetLane(f(Math<D>(), hn::Set(d, *in)));
      for (int64_t i = 0; i < run.n; ++i) out[i] = value;
      return;
    }
    int64_t i = 0;
    for (; i + kN <= run.n; i += kN) {
      prefetch(in + i);
      store(d, f(Math<D>(), load(d, in + i)), out + i);
    }
    if (i < run.n)
      store_first(d, f(Math<D>(), load_first(d, in + i, run.n - i)), out + i, run.n - i);
  }
}

template <class F, class C, bool kMoves0, bool kMoves1>
MILL_INLINE void run_two_steps(const F& f, const Run& run) {
  C* out = static_cast<C*>(run.out);
  if constexpr (kIsInteger<C>) {
    const C* a = static_cast<const C*>(run.in[0]);
    const C* b = static_cast<const C*>(run.in[1]);
    for (int64_t i = 0; i < run.n; ++i)
      out[i] = f(IntMath<C>(), a[kMoves0 ? i : 0], b[kMoves1 ? i : 0]);
  } else {
    using D = Tag<C>;
    constexpr int64_t kN = kLanes<D>;
    const D d;
    const Source<D, kMoves0> a(run.in[0]);
    const Source<D, kMoves1> b(run.in[1]);
    int64_t i = 0;
    for (; i + kN <= run.n; i += kN) store(d, f(Math<D>(), a.at(i), b.at(i)), out + i);
    if (i < run.n) {
      const int64_t n = run.n - i;
      store_first(d, f(Math<D>(), a.first(i, n), b.first(i, n)), out + i, n);
    }
  }
}

template <class F, class C>
void run_two(const void* functor, const Run& run) {
  const F& f = *static_cast<const F*>(functor);
  if (run.step[0] != 0 && run.step[1] != 0) {
    run_two_steps<F, C, true, true>(f, run);
  } else if (run.step[0] != 0) {
    run_two_steps<F, C, true, false>(f, run);
  } else if (run.step[1] != 0) {
    run_two_steps<F, C, false, true>(f, run);
  } else {
    // In C's storage one element stands for all; the loop below still writes each.
    run_two_steps<F, C, false, false>(f, run);
  }
}

// A lone element needs no loop nest: this is what an add of two scalars costs.
template <class F, class C, int kInputs>
MILL_INLINE void run_lone(const F& f, const mill_kernel_args* args) {
  const C* a = static_cast<const C*>(args->in[0]->data);
  C* out = static_cast<C*>(args->out[0]->data);
  if constexpr (kIsInteger<C>) {
    if constexpr (kInputs == 1) {
      *out = f(IntMath<C>(), *a);
    } else {
      *out = f(IntMath<C>(), *a, *static_cast<const C*>(args->in[1]->data));
    }
  } else {
    using D = OneTag<C>;
    const D d;
    if constexpr (kInputs == 1) {
      hn::StoreU(f(Math<D>(), hn::LoadU(d, a)), d, out);
    } else {
      hn::StoreU(
          f(Math<D>(), hn::LoadU(d, a), hn::LoadU(d, static_cast<const C*>(args->in[1]->data))), d,
          out);
    }
  }
}

// Which storage types pass through the compute type C.
template <class C, class S>
inline constexpr bool kStaged = kSame<C, S> || (kSame<C, float> && kSmallFloat<S>) ||
                                (kSame<C, double> && (kSmallFloat<S> || kSame<S, float>)) ||
                                (kSame<C, int64_t> &&
                                 ((kIntegerStorage<S> && !kSame<S, uint64_t>) || kSame<S, Bool>)) ||
                                (kSame<C, Complex128> && kSame<S, Complex64>);

template <class C>
ReadFn reader_to(int32_t dtype) {
  switch (dtype) {
#define MILL_CASE(number, S)                                 \
  case number:                                               \
    if constexpr (kStaged<C, S>) return &read_strided<S, C>; \
    break;
    MILL_CPU_STORAGE(MILL_CASE)
#undef MILL_CASE
    default: break;
  }
  return nullptr;
}

template <class C>
WriteFn writer_from(int32_t dtype) {
  switch (dtype) {
#define MILL_CASE(number, S)                                  \
  case number:                                                \
    if constexpr (kStaged<C, S>) return &write_strided<C, S>; \
    break;
    MILL_CPU_STORAGE(MILL_CASE)
#undef MILL_CASE
    default: break;
  }
  return nullptr;
}

// Runs f on the operands, all of one dtype, in compute type C.
template <class F, class C, int kInputs>
mill_status apply(const mill_kernel_args* args, const F& f, int64_t grain) {
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  constexpr RunFn kRun = [] {
    if constexpr (kInputs == 1) return &run_one<F, C>;
    if constexpr (kInputs == 2) return &run_two<F, C>;
  }();
  const bool native = out.dtype == kNative<C>;
  if (native) {
    if (out.numel == 1) {
      run_lone<F, C, kInputs>(f, args);
      return MILL_OK;
    }
    bool contiguous = out.numel <= grain && dense(out);
    for (int k = 0; k < kInputs; ++k) contiguous = contiguous && dense(*args->in[k]);
    if (contiguous) {
      Run run{};
      for (int k = 0; k < kInputs; ++k) {
        run.in[k] = args->in[k]->data;
        run.step[k] = 1;
      }
      run.out = out.data;
      run.n = out.numel;
      kRun(&f, run);
      return MILL_OK;
    }
  }
  Pointwise job;
  job.inputs = kInputs;
  job.run = kRun;
  job.functor = &f;
  for (int k = 0; k < kInputs; ++k) job.read[k] = reader_to<C>(out.dtype);
  job.write = writer_from<C>(out.dtype);
  run_pointwise(args, &job, !native, sizeof(C), sizeof(C), grain);
  return MILL_OK;
}

// ---- lists of kernels --------------------------------------------------------------------------

inline constexpr uint32_t kFloats =
    dtype_bit(MILL_F32) | dtype_bit(MILL_F16) | dtype_bit(MILL_BF16);
inline constexpr uint32_t kIntegers =
    dtype_bit(MILL_U8) | dtype_bit(MILL_I8) | dtype_bit(MILL_U16) | dtype_bit(MILL_I16) |
    dtype_bit(MILL_U32) | dtype_bit(MILL_I32) | dtype_bit(MILL_I64);

// Entries of an op whose launch functions are Launch::run<compute type>.
#define MILL_FLOATING(op, Launch)                                         \
  KernelEntry{op, kFloats, {&Launch::run<float>, nullptr}}, KernelEntry { \
    op, dtype_bit(MILL_F64), {                                            \
      &Launch::run<double>, nullptr                                       \
    }                                                                     \
  }
#define MILL_NUMERIC(op, Launch)                                                           \
  MILL_FLOATING(op, Launch), KernelEntry{op, kIntegers, {&Launch::run<int64_t>, nullptr}}, \
      KernelEntry {                                                                        \
    op, dtype_bit(MILL_U64), {                                                             \
      &Launch::run<uint64_t>, nullptr                                                      \
    }                                                                                      \
  }

}  // namespace mill::cpu::MILL_TARGET
