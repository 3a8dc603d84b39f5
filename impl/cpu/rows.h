// What the row kernels (reductions, softmax, losses, normalisation, optimizers) share on top of
// simd.h: loops whose body is written once for whole and partial vectors, sums with a fixed order
// and a small error, access to elements whose dtype is known only at run time, parallel loops,
// scratch memory and error texts.
//
// Order of summation: vectors accumulate within blocks of kBlock elements, block sums of f32 add up
// in f64. The order depends on shapes and the SIMD target alone, never on threads or timing.
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "base/half.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_math.h"
#include "millrace/op_numbers.h"
#include "millrace/plugin.h"
#include "millrace/types.h"

namespace mill::cpu::MILL_TARGET {

// On a lambda: the loop helpers below call bodies from several places, and vectors must not pass
// through memory.
#define MILL_LAMBDA_INLINE __attribute__((always_inline))

// ---- the launch ---------------------------------------------------------------------------------

// Elements worth a second thread: below this, waking it costs more than it saves.
inline constexpr int64_t kParallelElements = 16384;

// body(begin, end) over [0, n), on several threads where that pays.
template <class F>
MILL_INLINE void parallel(const mill_kernel_args* args, int64_t n, int64_t grain, F&& body) {
  if (n <= 0) return;
  using Body = std::remove_reference_t<F>;
  // One copy of the body, whichever way it is called.
  const auto run = [](void* data, int64_t begin, int64_t end) __attribute__((noinline)) {
    (*static_cast<Body*>(data))(begin, end);
  };
  void* data = const_cast<void*>(static_cast<const void*>(&body));
  const mill_host_services* host = args->host;
  if (n <= grain || host == nullptr || host->threads <= 1) {
    run(data, 0, n);
  } else {
    host->parallel_for(host->self, n, grain, run, data);
  }
}

MILL_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Items of `width` elements each that make a task worth a thread.
MILL_INLINE constexpr int64_t grain_of(int64_t width) {
  return larger<int64_t>(1, ceil_div(kParallelElements, larger<int64_t>(1, width)));
}

__attribute__((format(printf, 3, 4))) static inline mill_status refuse(const mill_kernel_args* args,
                                                                       mill_status status,
                                                                       const char* format, ...) {
  if (args->error != nullptr) {
    va_list values;
    va_start(values, format);
    std::vsnprintf(args->error->text, MILL_ERROR_TEXT, format, values);
    va_end(values);
  }
  return status;
}

static inline mill_status refuse_workspace(const mill_kernel_args* args, uint64_t needed) {
  return refuse(args, MILL_E_INTERNAL, "the kernel needs %llu bytes of workspace and got %llu",
                static_cast<unsigned long long>(needed),
                static_cast<unsigned long long>(args->workspace_bytes));
}

MILL_INLINE const mill_kernel_tensor* input(const mill_kernel_args* args, uint32_t k) {
  return k < args->n_in ? args->in[k] : nullptr;
}
MILL_INLINE const mill_kernel_tensor* output(const mill_kernel_args* args, uint32_t k) {
  return k < args->n_out ? args->out[k] : nullptr;
}

// Product of the dims [begin, end).
MILL_INLINE int64_t product(const mill_kernel_tensor* t, int32_t begin, int32_t end) {
  int64_t n = 1;
  for (int32_t i = begin; i < end; ++i) n *= t->dims[i];
  return n;
}

MILL_INLINE constexpr int32_t dtype_bytes(int32_t dtype) {
  constexpr int32_t kBytes[MILL_DTYPE_COUNT] = {0, 1, 1, 1, 2, 2, 4, 4, 8,
                                                8, 2, 2, 4, 8, 1, 1, 8, 16};
  return kBytes[dtype];
}

MILL_INLINE constexpr uint32_t bit(int32_t dtype) {
  return 1u << static_cast<uint32_t>(dtype);
}

inline constexpr uint32_t kFloatBits =
    bit(MILL_F16) | bit(MILL_BF16) | bit(MILL_F32) | bit(MILL_F64);

// ---- one element --------------------------------------------------------------------------------

template <class C>
struct WideOf {
  using type = C;
};
template <>
struct WideOf<float> {
  using type = double;
};
// What sums of C are collected in across blocks.
template <class C>
using Wide = typename WideOf<C>::type;

MILL_INLINE float element(float v) {
  return v;
}
MILL_INLINE double element(double v) {
  return v;
}
MILL_INLINE float element(bf16 v) {
  return float_of(v);
}
MILL_INLINE float element(f16 v) {
  return float_of(v);
}
MILL_INLINE int64_t element(uint8_t v) {
  return v;
}
MILL_INLINE int64_t element(int8_t v) {
  return v;
}
MILL_INLINE int64_t element(int16_t v) {
  return v;
}
MILL_INLINE int64_t element(int32_t v) {
  return v;
}
MILL_INLINE int64_t element(int64_t v) {
  return v;
}

template <class S, class C>
MILL_INLINE S stored(C value) {
  if constexpr (std::is_same_v<S, bf16>) {
    return bf16_of(static_cast<float>(value));
  } else if constexpr (std::is_same_v<S, f16>) {
    return f16_of(static_cast<float>(value));
  } else {
    return static_cast<S>(value);
  }
}

// A learning rate or factor: one element of f32 or f64.
MILL_INLINE double read_stat(const mill_kernel_tensor* t, int64_t i = 0) {
  return t->dtype == MILL_F64 ? static_cast<const double*>(t->data)[i]
                              : static_cast<double>(static_cast<const float*>(t->data)[i]);
}
MILL_INLINE void write_stat(const mill_kernel_tensor* t, int64_t i, double value) {
  if (t->dtype == MILL_F64) {
    static_cast<double*>(t->data)[i] = value;
  } else {
    static_cast<float*>(t->data)[i] = static_cast<float>(value);
  }
}

MILL_INLINE int64_t read_index(const mill_kernel_tensor* t, int64_t i) {
  switch (t->dtype) {
    case MILL_U8: return static_cast<const uint8_t*>(t->data)[i];
    case MILL_I8: return static_cast<const int8_t*>(t->data)[i];
    case MILL_I16: return static_cast<const int16_t*>(t->data)[i];
    case MILL_I32: return static_cast<const int32_t*>(t->data)[i];
    default: return static_cast<const int64_t*>(t->data)[i];
  }
}

// Position of the first id outside [0, limit), or -1. `exempt`, where there is one, counts as
// inside.
template <class T>
static inline int64_t first_outside_of(const T* ids, int64_t n, int64_t limit,
                                       const int64_t* exempt) {
  constexpr int64_t kGroup = 256;
  const bool any_exempt = exempt != nullptr;
  const int64_t allowed = any_exempt ? *exempt : 0;
  for (int64_t begin = 0; begin < n; begin += kGroup) {
    const int64_t end = smaller(begin + kGroup, n);
    // Without an early exit, so that the compiler can use vectors.
    uint32_t outside = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t id = ids[i];
      outside |= static_cast<uint32_t>(static_cast<uint64_t>(id) >= static_cast<uint64_t>(limit)) &
                 static_cast<uint32_t>(!(any_exempt & (id == allowed)));
    }
    if (outside == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t id = ids[i];
      if ((id < 0 || id >= limit) && !(any_exempt && id == allowed)) return i;
    }
  }
  return -1;
}

// MILL_OK, or MILL_E_INDEX with a text such as "id 9 at position 2 is outside [0, 7)".
static inline mill_status check_indices(const mill_kernel_args* args, const mill_kernel_tensor* t,
                                        int64_t limit, const int64_t* exempt, const char* noun) {
  int64_t at = -1;
  switch (t->dtype) {
    case MILL_U8:
      at = first_outside_of(static_cast<const uint8_t*>(t->data), t->numel, limit, exempt);
      break;
    case MILL_I8:
      at = first_outside_of(static_cast<const int8_t*>(t->data), t->numel, limit, exempt);
      break;
    case MILL_I16:
      at = first_outside_of(static_cast<const int16_t*>(t->data), t->numel, limit, exempt);
      break;
    case MILL_I32:
      at = first_outside_of(static_cast<const int32_t*>(t->data), t->numel, limit, exempt);
      break;
    case MILL_I64:
      at = first_outside_of(static_cast<const int64_t*>(t->data), t->numel, limit, exempt);
      break;
    default:
      return refuse(args, MILL_E_DTYPE,
                    "the %ss have dtype number %d; u8, i8, i16, i32 and i64 are read", noun,
                    t->dtype);
  }
  if (at < 0) return MILL_OK;
  return refuse(args, MILL_E_INDEX, "%s %lld at position %lld is outside [0, %lld)", noun,
                static_cast<long long>(read_index(t, at)), static_cast<long long>(at),
                static_cast<long long>(limit));
}

// ---- vectors of any float storage ---------------------------------------------------------------

struct Full {};  // all lanes
struct Part {
  int64_t n;  // the first n lanes, 1 <= n < lanes
};

template <class D>
MILL_INLINE Vec<D> get(D d, const double* from, Full) {
  return hn::LoadU(d, from);
}
template <class D, class S>
MILL_INLINE Vec<D> get(D d, const S* from, Full) {
  return load_float(d, from);
}
template <class D>
MILL_INLINE Vec<D> get(D d, const float* from, Part part) {
  return load_first(d, from, part.n);
}
template <class D>
MILL_INLINE Vec<D> get(D d, const double* from, Part part) {
  return load_first(d, from, part.n);
}
template <class D, class S>
MILL_INLINE Vec<D> get(D d, const S* from, Part part) {
  S lanes[kLanes<D>] = {};
  for (int64_t i = 0; i < part.n; ++i) lanes[i] = from[i];
  return load_float(d, lanes);
}

template <class D>
MILL_INLINE void put(D d, Vec<D> v, double* to, Full) {
  hn::StoreU(v, d, to);
}
template <class D, class S>
MILL_INLINE void put(D d, Vec<D> v, S* to, Full) {
  store_float(d, v, to);
}
template <class D>
MILL_INLINE void put(D d, Vec<D> v, float* to, Part part) {
  store_first(d, v, to, part.n);
}
template <class D>
MILL_INLINE void put(D d, Vec<D> v, double* to, Part part) {
  store_first(d, v, to, part.n);
}
template <class D, class S>
MILL_INLINE void put(D d, Vec<D> v, S* to, Part part) {
  S lanes[kLanes<D>];
  store_float(d, v, lanes);
  for (int64_t i = 0; i < part.n; ++i) to[i] = lanes[i];
}

// v, with the lanes beyond a partial vector replaced.
template <class D>
MILL_INLINE Vec<D> keep(D, Vec<D> v, Full, Vec<D>) {
  return v;
}
template <class D>
MILL_INLINE Vec<D> keep(D d, Vec<D> v, Part part, Vec<D> other) {
  return hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(part.n)), v, other);
}

// body(i, Full or Part) for the vectors of [0, n).
template <class D, class F>
MILL_INLINE void each_vector(D, int64_t n, F&& body) {
  constexpr int64_t kStep = kLanes<D>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) body(i, Full{});
  if (i < n) body(i, Part{n - i});
}

// ---- sums ---------------------------------------------------------------------------------------

// Enough to hide the latency of an addition.
inline constexpr int kAccumulators = 4;
// Elements of a block: each lane of each accumulator adds up 64 of them, which bounds the error.
template <class D>
inline constexpr int64_t kBlock = 64 * kAccumulators* kLanes<D>;

// Sum of term(i, Full or Part) over the vectors of [begin, end); lanes of term beyond a Part are
// ignored.
template <class D, class F>
MILL_INLINE Vec<D> sum_vectors(D d, int64_t begin, int64_t end, F&& term) {
  constexpr int64_t kStep = kLanes<D>;
  Vec<D> a = hn::Zero(d);
  Vec<D> b = a;
  Vec<D> c = a;
  Vec<D> e = a;
  int64_t i = begin;
  for (; i + kAccumulators * kStep <= end; i += kAccumulators * kStep) {
    a = hn::Add(a, term(i, Full{}));
    b = hn::Add(b, term(i + kStep, Full{}));
    c = hn::Add(c, term(i + 2 * kStep, Full{}));
    e = hn::Add(e, term(i + 3 * kStep, Full{}));
  }
  for (; i + kStep <= end; i += kStep) a = hn::Add(a, term(i, Full{}));
  if (i < end) {
    const Part part{end - i};
    b = hn::Add(b, keep(d, term(i, part), part, hn::Zero(d)));
  }
  return hn::Add(hn::Add(a, b), hn::Add(c, e));
}

template <class D>
MILL_INLINE Lane<D> lanes_sum(D d, Vec<D> v) {
  return hn::GetLane(hn::SumOfLanes(d, v));
}
template <class D>
MILL_INLINE Lane<D> lanes_max(D d, Vec<D> v) {
  return hn::GetLane(hn::MaxOfLanes(d, v));
}

// Sum over [0, n), blocks collected in the wide type.
template <class D, class F>
MILL_INLINE Wide<Lane<D>> sum_terms(D d, int64_t n, F&& term) {
  if (n <= kBlock<D>) return lanes_sum(d, sum_vectors(d, 0, n, term));
  Wide<Lane<D>> total = 0;
  for (int64_t i = 0; i < n; i += kBlock<D>) {
    total += lanes_sum(d, sum_vectors(d, i, smaller(i + kBlock<D>, n), term));
  }
  return total;
}

// Two sums in one pass: term(i, Full or Part, &a, &b) sets the vectors to add to each.
template <class D, class F>
MILL_INLINE void sum_pairs(D d, int64_t n, Wide<Lane<D>>* first, Wide<Lane<D>>* second, F&& term) {
  using V = Vec<D>;
  constexpr int64_t kStep = kLanes<D>;
  Wide<Lane<D>> totals[2] = {0, 0};
  for (int64_t begin = 0; begin < n; begin += kBlock<D>) {
    const int64_t end = smaller(begin + kBlock<D>, n);
    V a0 = hn::Zero(d);
    V b0 = a0;
    V a1 = a0;
    V b1 = a0;
    V a;
    V b;
    int64_t i = begin;
    for (; i + 2 * kStep <= end; i += 2 * kStep) {
      term(i, Full{}, &a, &b);
      a0 = hn::Add(a0, a);
      b0 = hn::Add(b0, b);
      term(i + kStep, Full{}, &a, &b);
      a1 = hn::Add(a1, a);
      b1 = hn::Add(b1, b);
    }
    for (; i + kStep <= end; i += kStep) {
      term(i, Full{}, &a, &b);
      a0 = hn::Add(a0, a);
      b0 = hn::Add(b0, b);
    }
    if (i < end) {
      const Part part{end - i};
      term(i, part, &a, &b);
      a1 = hn::Add(a1, keep(d, a, part, hn::Zero(d)));
      b1 = hn::Add(b1, keep(d, b, part, hn::Zero(d)));
    }
    totals[0] += lanes_sum(d, hn::Add(a0, a1));
    totals[1] += lanes_sum(d, hn::Add(b0, b1));
  }
  *first = totals[0];
  *second = totals[1];
}

// Largest of n >= 1 elements. With a NaN among them the result is some element or NaN: callers let
// the NaN itself poison what follows.
template <class D, class S>
MILL_INLINE Lane<D> largest(D d, const S* x, int64_t n) {
  constexpr int64_t kStep = kLanes<D>;
  const Vec<D> low = hn::Set(d, -static_cast<Lane<D>>(__builtin_huge_val()));
  Vec<D> a = low;
  Vec<D> b = low;
  int64_t i = 0;
  for (; i + 2 * kStep <= n; i += 2 * kStep) {
    a = hn::Max(a, get(d, x + i, Full{}));
    b = hn::Max(b, get(d, x + i + kStep, Full{}));
  }
  for (; i + kStep <= n; i += kStep) a = hn::Max(a, get(d, x + i, Full{}));
  if (i < n) {
    const Part part{n - i};
    b = hn::Max(b, keep(d, get(d, x + i, part), part, low));
  }
  return lanes_max(d, hn::Max(a, b));
}

// e^v for v that is not positive or NaN.
template <class D>
MILL_INLINE Vec<D> exp_below_zero(D d, Vec<D> v) {
  const Vec<D> least = hn::Set(d, MathConstants<Lane<D>>::kExpMin);
  return Math<D>::exp_nonpositive(Math<D>::at_least(v, least));
}

}  // namespace mill::cpu::MILL_TARGET
