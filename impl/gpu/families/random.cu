// Random tensors and dropout. The key lies in device memory: kernels read it.
#include <cmath>

#include "gpu/families/common.h"
#include "kernels/functors/philox.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/circle.inl"
//
#include "kernels/block/random.inl"

// What ten rounds for four words cost an element, in operations of one lane.
constexpr uint64_t kDrawFlops = 20;

template <class F, class S>
mill_status draw_into(const mill_kernel_args* args, const F& f, uint64_t flops_each) {
  const mill_kernel_tensor* out = args->out[0];
  auto* to = data_of<S>(out);
  const auto* key = data_of<const int64_t>(args->in[0]);
  const shape grid{blocks_for(ceil_div(out->numel, kDrawn<S>)), kThreads};
  const cost c{bytes_of(out), (kDrawFlops + flops_each) * static_cast<uint64_t>(out->numel)};
  if (aligned(to, 16)) {
    return launch<draw_elements<kThreads, true, F, S>>(args, grid, c, f, out->numel, key, to);
  }
  return launch<draw_elements<kThreads, false, F, S>>(args, grid, c, f, out->numel, key, to);
}

// ---- uniform ------------------------------------------------------------------------------------

// One step down in the order of the values: bits of a finite float, of the sign's type.
template <class Bits>
Bits step_down(Bits bits) {
  constexpr Bits kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  if (bits == 0 || bits == kSign) return static_cast<Bits>(kSign | 1);
  return static_cast<Bits>((bits & kSign) != 0 ? bits + 1 : bits - 1);
}

// The largest S below `high`, as S computes. The vocabulary's conversions are the device's own.
double largest_below(double high, double) {
  return std::bit_cast<double>(step_down(std::bit_cast<uint64_t>(high)));
}
float largest_below(double high, float) {
  const auto value = static_cast<float>(high);
  if (static_cast<double>(value) < high) return value;
  return std::bit_cast<float>(step_down(std::bit_cast<uint32_t>(value)));
}
float largest_below(double high, bf16) {
  const bf16 value = mill::to_bf16(static_cast<float>(high));
  if (static_cast<double>(mill::to_float(value)) < high) return mill::to_float(value);
  return mill::to_float(bf16{step_down(value.bits)});
}
float largest_below(double high, f16) {
  const f16 value = mill::to_f16(static_cast<float>(high));
  if (static_cast<double>(mill::to_float(value)) < high) return mill::to_float(value);
  return mill::to_float(f16{step_down(value.bits)});
}

template <class S>
mill_status uniform_as(const mill_kernel_args* args, double low, double high) {
  if constexpr (std::is_integral_v<S>) {
    constexpr bool kSigned = std::is_signed_v<S>;
    // One past the largest value: a power of two, so exact.
    constexpr double kHalf = static_cast<double>(uint64_t{1} << (8 * sizeof(S) - 1));
    const double end = kSigned ? kHalf : 2 * kHalf;
    const double limit = larger(largest_below(smaller(high, end), double()), low);
    return draw_into<uniform_integer<S>, S>(args, {low, high - low, limit}, 4);
  } else {
    using C = acc_t<S>;
    const auto from = static_cast<C>(low);
    const C limit = larger(largest_below(high, S()), from);
    return draw_into<uniform_float<S>, S>(args, {from, static_cast<C>(high - low), limit}, 4);
  }
}

mill_status uniform(const mill_kernel_args* args) {
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  const double low = args->attr[2].f;
  const double high = args->attr[3].f;
  const mill_status status =
      with_numeric(out->dtype, [&]<class S>() { return uniform_as<S>(args, low, high); });
  if (status != MILL_E_UNSUPPORTED) return status;
  return refuse(args, MILL_E_DTYPE,
                "there are no uniform values of dtype number %d; use a float or integer dtype",
                out->dtype);
}

// ---- normal -------------------------------------------------------------------------------------

mill_status normal(const mill_kernel_args* args) {
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  const double mean = args->attr[2].f;
  const double deviation = args->attr[3].f;
  const mill_status status = with_float(out->dtype, [&]<class S>() {
    using C = acc_t<S>;
    return draw_into<normal_values<S>, S>(args, {static_cast<C>(mean), static_cast<C>(deviation)},
                                          30);
  });
  if (status != MILL_E_UNSUPPORTED) return status;
  return refuse(args, MILL_E_DTYPE,
                "there are no normal values of dtype number %d; use a float dtype", out->dtype);
}

// ---- dropout and keys ---------------------------------------------------------------------------

mill_status dropout(const mill_kernel_args* args) {
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  const double p = args->attr[0].f;
  // k 2^-24 >= p is k >= ceil(2^24 p), with no rounding on the way; k is the upper 24 bits of a
  // word, so that p = 1 keeps none.
  const auto threshold = static_cast<uint32_t>(larger(0.0, std::ceil(p * 0x1p24)));
  const auto* key = data_of<const int64_t>(args->in[1]);
  return with_float(out->dtype, [&]<class S>() {
    const auto* x = data_of<const S>(args->in[0]);
    auto* to = data_of<S>(out);
    const auto scale = static_cast<acc_t<S>>(1 / (1 - p));
    const shape grid{blocks_for(ceil_div(out->numel, larger(kDrawn<S>, 4))), kThreads};
    const cost c{2 * bytes_of(out), (kDrawFlops + 2) * static_cast<uint64_t>(out->numel)};
    if (aligned(x, 16) && aligned(to, 16)) {
      return launch<dropout_elements<kThreads, true, S>>(args, grid, c, out->numel, threshold,
                                                         scale, key, x, to);
    }
    return launch<dropout_elements<kThreads, false, S>>(args, grid, c, out->numel, threshold, scale,
                                                        key, x, to);
  });
}

mill_status rng_next(const mill_kernel_args* args) {
  return launch<advance_key<kWarp>>(args, {1, kWarp}, cost{48}, data_of<const int64_t>(args->in[0]),
                                    data_of<int64_t>(output(args, 0)),
                                    data_of<int64_t>(output(args, 1)));
}

// uniform and normal are found by their key's dtype; what they make is the output's.
constexpr KernelEntry kEntries[] = {
    {MILL_OP_UNIFORM, mill::dtype_bit(MILL_I64), {uniform, nullptr}},
    {MILL_OP_NORMAL, mill::dtype_bit(MILL_I64), {normal, nullptr}},
    {MILL_OP_DROPOUT, kFloatBits, {dropout, nullptr}},
    {MILL_OP_RNG_NEXT, mill::dtype_bit(MILL_I64), {rng_next, nullptr}},
};

}  // namespace

KernelList random_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
