// Kernels of the binary family: arithmetic on two tensors, pow, comparisons, where.
#include "kernels/functors/binary.h"

#include <math.h>
#include <stdio.h>

#include "cpu/functor_loops.h"
#include "cpu/kernels.h"
#include "cpu/zero_divisor.h"
#include "kernels/functors/mod.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

namespace fn = mill::functors;

template <class F>
struct Arithmetic {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 2>(args, F(), kCheapGrain);
  }
};

// ---- division ----------------------------------------------------------------------------------

struct Divide {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    if constexpr (kIsInteger<C>) {
      const mill_status status = refuse_zero_divisor(args);
      if (status != MILL_OK) return status;
    }
    return apply<fn::Div, C, 2>(args, fn::Div(), kCheapGrain);
  }
};

// ---- pow ---------------------------------------------------------------------------------------

// a ^ b of values that came from f32 or narrower, as e^(b log|a|) in f64: the error of the
// exponent, at most 150 * 2^-51, vanishes in the rounding to f32. The special cases are C's (C11
// F.10.4.4).
struct PowOfFloats {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V a, typename M::V b) const {
    using V = typename M::V;
    const V zero = M::set(0);
    const V one = M::set(1);
    const V size = M::abs(a);
    V result = M::exp(M::mul(b, M::log(size)));
    result = hn::IfThenElse(hn::And(M::eq(size, one), hn::Not(M::is_nan(b))), one, result);
    const auto whole = M::eq(hn::Trunc(b), b);
    const V half = M::mul(b, M::set(0.5));
    const auto odd = hn::And(whole, hn::Not(M::eq(hn::Trunc(half), half)));
    // The sign bit, since -0 counts as negative here. A finite negative base needs a whole
    // exponent.
    const auto negative = M::lt(hn::CopySign(one, a), zero);
    const V infinity = M::set(__builtin_huge_val());
    const auto no_result = hn::And(hn::And(M::lt(a, zero), M::lt(size, infinity)), hn::Not(whole));
    result = hn::IfThenElse(hn::And(negative, odd), M::neg(result), result);
    result = hn::IfThenElse(no_result, M::set(__builtin_nan("")), result);
    result = hn::IfThenElse(M::is_nan(a), a, result);
    return hn::IfThenElse(hn::Or(M::eq(b, zero), M::eq(a, one)), one, result);
  }
};

void pow_run(const void*, const Run& run) {
  const double* a = static_cast<const double*>(run.in[0]);
  const double* b = static_cast<const double*>(run.in[1]);
  double* out = static_cast<double*>(run.out);
  for (int64_t i = 0; i < run.n; ++i) out[i] = ::pow(a[i * run.step[0]], b[i * run.step[1]]);
}

struct Pow {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    if constexpr (kIsInteger<C>) {
      return apply<fn::PowOfIntegers, C, 2>(args, fn::PowOfIntegers(), kCostlyGrain);
    } else if constexpr (kSame<C, float>) {
      return apply<PowOfFloats, double, 2>(args, PowOfFloats(), kCostlyGrain);
    } else {
      // The exponent's error is what matters in f64, and libm's pow carries the logarithm in extra
      // precision.
      if (args->out[0]->numel == 0) return MILL_OK;
      Pointwise job;
      job.inputs = 2;
      job.run = &pow_run;
      job.read[0] = job.read[1] = &read_strided<double, double>;
      job.write = &write_strided<double, double>;
      run_pointwise(args, &job, false, sizeof(double), sizeof(double), kCostlyGrain / 4);
      return MILL_OK;
    }
  }
};

// ---- compare -----------------------------------------------------------------------------------

enum Relation { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kRelations };

template <int kRelation, class C>
MILL_INLINE bool holds(C a, C b) {
  if constexpr (kSame<C, Complex128>) {
    const bool equal = a.re == b.re && a.im == b.im;
    return kRelation == kEqual ? equal : !equal;
  } else {
    switch (kRelation) {
      case kEqual: return a == b;
      case kNotEqual: return a != b;
      case kLess: return a < b;
      case kLessEqual: return a <= b;
      case kGreater: return a > b;
      default: return a >= b;
    }
  }
}

template <int kRelation, class C>
void compare_run(const void*, const Run& run) {
  const C* a = static_cast<const C*>(run.in[0]);
  const C* b = static_cast<const C*>(run.in[1]);
  uint8_t* __restrict out = static_cast<uint8_t*>(run.out);  // compare never runs in place
  if (run.step[0] != 0 && run.step[1] != 0) {
    for (int64_t i = 0; i < run.n; ++i) out[i] = holds<kRelation, C>(a[i], b[i]);
  } else if (run.step[0] != 0) {
    const C value = *b;
    for (int64_t i = 0; i < run.n; ++i) out[i] = holds<kRelation, C>(a[i], value);
  } else {
    const C value = *a;
    for (int64_t i = 0; i < run.n; ++i) out[i] = holds<kRelation, C>(value, b[i * run.step[1]]);
  }
}

template <class C>
inline constexpr int32_t kComplexNative = kSame<C, Complex128> ? int32_t{MILL_C128} : kNative<C>;

struct Compare {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    const int64_t relation = args->attr[0].i;
    const bool ordered = !kSame<C, Complex128>;
    if (relation < 0 || relation >= kRelations || (!ordered && relation > kNotEqual)) {
      snprintf(args->error->text, sizeof(args->error->text), "relation is %lld, must be 0 to %d%s",
               static_cast<long long>(relation), ordered ? kRelations - 1 : 1,
               ordered ? "" : " for complex values");
      return MILL_E_ARG;
    }
    if (args->out[0]->numel == 0) return MILL_OK;
    Pointwise job;
    job.inputs = 2;
    if constexpr (kSame<C, Complex128>) {
      job.run = relation == kEqual ? &compare_run<kEqual, C> : &compare_run<kNotEqual, C>;
    } else {
      constexpr RunFn kRuns[] = {&compare_run<kEqual, C>,   &compare_run<kNotEqual, C>,
                                 &compare_run<kLess, C>,    &compare_run<kLessEqual, C>,
                                 &compare_run<kGreater, C>, &compare_run<kGreaterEqual, C>};
      job.run = kRuns[relation];
    }
    const int32_t dtype = args->in[0]->dtype;
    job.read[0] = job.read[1] = reader_to<C>(dtype);
    job.write = &write_strided<uint8_t, uint8_t>;
    run_pointwise(args, &job, dtype != kComplexNative<C>, sizeof(C), 1, kCheapGrain);
    return MILL_OK;
  }
};

// ---- where -------------------------------------------------------------------------------------

template <class T>
void where_run(const void*, const Run& run) {
  const uint8_t* condition = static_cast<const uint8_t*>(run.in[0]);
  const T* a = static_cast<const T*>(run.in[1]);
  const T* b = static_cast<const T*>(run.in[2]);
  T* out = static_cast<T*>(run.out);
  if (run.step[0] != 0 && run.step[1] != 0 && run.step[2] != 0) {
    for (int64_t i = 0; i < run.n; ++i) {
      const T yes = a[i];
      const T no = b[i];
      out[i] = condition[i] != 0 ? yes : no;
    }
  } else {
    for (int64_t i = 0; i < run.n; ++i) {
      const T yes = a[i * run.step[1]];
      const T no = b[i * run.step[2]];
      out[i] = condition[i * run.step[0]] != 0 ? yes : no;
    }
  }
}

template <int32_t kSize>
void where_job(Pointwise* job) {
  using T = typename RawOf<kSize>::type;
  job->run = &where_run<T>;
  job->read[1] = job->read[2] = &read_strided<T, T>;
  job->write = &write_strided<T, T>;
}

mill_status where(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  Pointwise job;
  job.inputs = 3;
  job.read[0] = &read_strided<uint8_t, uint8_t>;
  const int32_t size = dtype_size(out.dtype);
  switch (size) {
    case 1: where_job<1>(&job); break;
    case 2: where_job<2>(&job); break;
    case 4: where_job<4>(&job); break;
    case 8: where_job<8>(&job); break;
    default: where_job<16>(&job); break;
  }
  run_pointwise(args, &job, false, size, size, kCheapGrain);
  return MILL_OK;
}

constexpr uint32_t kComplex = dtype_bit(MILL_C64) | dtype_bit(MILL_C128);
constexpr uint32_t kF8 = dtype_bit(MILL_F8E4M3) | dtype_bit(MILL_F8E5M2);

constexpr KernelEntry kEntries[] = {
    MILL_NUMERIC(MILL_OP_ADD, Arithmetic<fn::Add>),
    MILL_NUMERIC(MILL_OP_SUB, Arithmetic<fn::Sub>),
    MILL_NUMERIC(MILL_OP_MUL, Arithmetic<fn::Mul>),
    MILL_NUMERIC(MILL_OP_DIV, Divide),
    MILL_NUMERIC(MILL_OP_POW, Pow),
    MILL_NUMERIC(MILL_OP_MAXIMUM, Arithmetic<fn::Maximum>),
    MILL_NUMERIC(MILL_OP_MINIMUM, Arithmetic<fn::Minimum>),
    MILL_NUMERIC(MILL_OP_COMPARE, Compare),
    {MILL_OP_COMPARE, kF8, {&Compare::run<float>, nullptr}},
    {MILL_OP_COMPARE, dtype_bit(MILL_BOOL), {&Compare::run<int64_t>, nullptr}},
    {MILL_OP_COMPARE, kComplex, {&Compare::run<Complex128>, nullptr}},
    {MILL_OP_WHERE, dtype_bit(MILL_BOOL), {&where, nullptr}},
};

}  // namespace

KernelList binary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
