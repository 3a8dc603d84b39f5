// Kernels of the binary family: arithmetic on two tensors, pow, comparisons, where.
#include "kernels/functors/binary.h"

#include "gpu/families/common.h"
#include "kernels/functors/mod.h"
#include "millrace/ops.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/convert.inl"
#include "kernels/block/binary.inl"
#include "kernels/block/zero_divisor.inl"

#include "gpu/families/elementwise.h"
#include "gpu/families/zero_divisor.h"
// clang-format on

namespace fn = mill::functors;

using Any = one_of<fn::Add, fn::Sub, fn::Mul, fn::Div, fn::Maximum, fn::Minimum>;

template <class F>
mill_status arithmetic(const mill_kernel_args* args) {
  const Any any{Any::index<F>(), 0, 0};
  const int32_t dtype = args->in[0]->dtype;
  if (is_integer(dtype)) {
    return with_integer(dtype,
                        [&]<class T>() { return map2<T, kHalfVector<T>>(args, any, any, 1); });
  }
  return with_float(dtype, [&]<class T>() { return map2<T, kVector<T>>(args, F(), any, 1); });
}

// ---- division -----------------------------------------------------------------------------------

mill_status divide(const mill_kernel_args* args) {
  const mill_status status = refuse_zeros(args, MILL_OP_DIV);
  return status == MILL_OK ? arithmetic<fn::Div>(args) : status;
}

// Two at a time: it is arithmetic that takes the time, and code is long.
mill_status power(const mill_kernel_args* args) {
  const int32_t dtype = args->in[0]->dtype;
  if (is_integer(dtype)) {
    const fn::PowOfIntegers whole;
    return with_integer(dtype, [&]<class T>() { return map2<T, 1>(args, whole, whole, 30); });
  }
  return with_float(dtype, [&]<class T>() {
    return map2 < T, sizeof(T) == 8 ? 1 : 2 > (args, Pow(), Pow(), 30);
  });
}

// ---- compare ------------------------------------------------------------------------------------

template <class S>
mill_status compare_as(const mill_kernel_args* args, int32_t relation) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& a = *args->in[0];
  const mill_kernel_tensor& b = *args->in[1];
  if (out.numel == 0) return MILL_OK;
  const walk<3> w(out, {&out, &a, &b});
  auto* to = static_cast<uint8_t*>(out.data);
  const auto* in0 = static_cast<const S*>(a.data);
  const auto* in1 = static_cast<const S*>(b.data);
  const cost c{bytes_of(&out) + distinct_bytes(a) + distinct_bytes(b)};
  constexpr int W = larger<int>(static_cast<int>(16 / sizeof(S)), 4);
  return each_unit<W>(w, layout<3>{{to, in0, in1}, {1, sizeof(S), sizeof(S)}},
                      [&]<int U>(const geometry<3>& g, uint32_t splat, const int64_t(&o)[3]) {
                        return launch<compare_units<kThreads, U, S>>(
                            args, shape_for(g.count), share_of(c, int64_t{g.count} * U, out.numel),
                            relation, g, splat, to + o[0], in0 + o[1], in1 + o[2]);
                      });
}

mill_status compare(const mill_kernel_args* args) {
  const int64_t relation = args->attr[0].i;
  const int32_t dtype = args->in[0]->dtype;
  const bool ordered = mill::dtype_kind(dtype) != mill::Kind::complex;
  const int64_t last = ordered ? MILL_COMPARE_GE : MILL_COMPARE_NE;
  if (relation < MILL_COMPARE_EQ || relation > last) {
    return refuse(args, MILL_E_ARG, "relation is %lld, must be 0 to %lld%s",
                  static_cast<long long>(relation), static_cast<long long>(last),
                  ordered ? "" : " for complex values");
  }
  switch (dtype) {
#define MILL_CASE(number, S) \
  case number: return compare_as<S>(args, static_cast<int32_t>(relation));
    MILL_EACH_STORAGE(MILL_CASE)
#undef MILL_CASE
    default: break;
  }
  return refuse(args, MILL_E_DTYPE, "a has dtype number %d, which cannot be compared", dtype);
}

// ---- where --------------------------------------------------------------------------------------

template <class T>
mill_status where_as(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& condition = *args->in[0];
  const mill_kernel_tensor& a = *args->in[1];
  const mill_kernel_tensor& b = *args->in[2];
  const walk<4> w(out, {&out, &condition, &a, &b});
  auto* to = static_cast<T*>(out.data);
  const auto* choice = static_cast<const uint8_t*>(condition.data);
  const auto* in0 = static_cast<const T*>(a.data);
  const auto* in1 = static_cast<const T*>(b.data);
  const cost c{bytes_of(&out) + distinct_bytes(condition) + distinct_bytes(a) + distinct_bytes(b)};
  constexpr int W = larger<int>(static_cast<int>(16 / sizeof(T)), 4);
  return each_unit<W>(w, layout<4>{{to, choice, in0, in1}, {sizeof(T), 1, sizeof(T), sizeof(T)}},
                      [&]<int U>(const geometry<4>& g, uint32_t splat, const int64_t(&o)[4]) {
                        return launch<where_units<kThreads, U, T>>(
                            args, shape_for(g.count), share_of(c, int64_t{g.count} * U, out.numel),
                            g, splat, to + o[0], choice + o[1], in0 + o[2], in1 + o[3]);
                      });
}

mill_status where(const mill_kernel_args* args) {
  if (args->out[0]->numel == 0) return MILL_OK;
  switch (mill::dtype_size(args->out[0]->dtype)) {
    case 1: return where_as<uint8_t>(args);
    case 2: return where_as<uint16_t>(args);
    case 4: return where_as<uint32_t>(args);
    case 8: return where_as<uint64_t>(args);
    default: return where_as<complex128>(args);
  }
}

constexpr uint32_t kNumericBits = kFloatBits | kIntegerBits;
constexpr uint32_t kAny = (1U << MILL_DTYPE_COUNT) - 2U;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_ADD, kNumericBits, {arithmetic<fn::Add>, nullptr}},
    {MILL_OP_SUB, kNumericBits, {arithmetic<fn::Sub>, nullptr}},
    {MILL_OP_MUL, kNumericBits, {arithmetic<fn::Mul>, nullptr}},
    {MILL_OP_DIV, kNumericBits, {divide, nullptr}},
    {MILL_OP_POW, kNumericBits, {power, nullptr}},
    {MILL_OP_MAXIMUM, kNumericBits, {arithmetic<fn::Maximum>, nullptr}},
    {MILL_OP_MINIMUM, kNumericBits, {arithmetic<fn::Minimum>, nullptr}},
    {MILL_OP_COMPARE, kAny, {compare, nullptr}},
    {MILL_OP_WHERE, mill::dtype_bit(MILL_BOOL), {where, nullptr}},
};

}  // namespace

KernelList binary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
