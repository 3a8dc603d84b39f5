// Kernels of the unary family: one tensor in, one out, and their gradients.
#include "kernels/functors/unary.h"

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/elementwise.inl"

#include "gpu/families/elementwise.h"

namespace fn = mill::functors;

using Numeric = one_of<fn::Neg, fn::Abs, fn::Sign, fn::Relu>;
using Floating = one_of<fn::Neg, fn::Abs, fn::Sign, fn::Relu, fn::Exp, fn::Log, fn::Sqrt, fn::Rsqrt,
                        fn::Tanh, fn::Sigmoid, fn::GeluErf, fn::GeluTanh, fn::Affine>;
using Backward = one_of<fn::TanhBackward, fn::SigmoidBackward, fn::ReluBackward,
                        fn::GeluErfBackward, fn::GeluTanhBackward>;

template <class F>
mill_status floating(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return map1<T, kHalfVector<T>>(args, F(), Floating{Floating::index<F>(), 0, 0}, 1);
  });
}
template <class F>
mill_status numeric(const mill_kernel_args* args) {
  if (!is_integer(args->in[0]->dtype)) return floating<F>(args);
  return with_integer(args->in[0]->dtype, [&]<class T>() {
    const Numeric any{Numeric::index<F>(), 0, 0};
    return map1<T, kVector<T>>(args, any, any, 1);
  });
}
template <class F>
mill_status backward(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return map2<T, kHalfVector<T>>(args, F(), Backward{Backward::index<F>(), 0, 0}, 4);
  });
}
// Functors with two variants, chosen by the op's first attribute.
template <class Zero, class Other>
mill_status either(const mill_kernel_args* args) {
  return args->attr[0].i == 0 ? floating<Zero>(args) : floating<Other>(args);
}
template <class Zero, class Other>
mill_status either_backward(const mill_kernel_args* args) {
  return args->attr[0].i == 0 ? backward<Zero>(args) : backward<Other>(args);
}

mill_status affine(const mill_kernel_args* args) {
  const fn::Affine f{args->attr[0].f, args->attr[1].f};
  const Floating any{Floating::index<fn::Affine>(), f.scale, f.shift};
  return with_float(args->in[0]->dtype,
                    [&]<class T>() { return map1<T, kHalfVector<T>>(args, f, any, 2); });
}

constexpr uint32_t kNumericBits = kFloatBits | kIntegerBits;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_NEG, kNumericBits, {numeric<fn::Neg>, nullptr}},
    {MILL_OP_ABS, kNumericBits, {numeric<fn::Abs>, nullptr}},
    {MILL_OP_SIGN, kNumericBits, {numeric<fn::Sign>, nullptr}},
    {MILL_OP_RELU, kNumericBits, {numeric<fn::Relu>, nullptr}},
    {MILL_OP_EXP, kFloatBits, {floating<fn::Exp>, nullptr}},
    {MILL_OP_LOG, kFloatBits, {floating<fn::Log>, nullptr}},
    {MILL_OP_SQRT, kFloatBits, {floating<fn::Sqrt>, nullptr}},
    {MILL_OP_RSQRT, kFloatBits, {floating<fn::Rsqrt>, nullptr}},
    {MILL_OP_TANH, kFloatBits, {floating<fn::Tanh>, nullptr}},
    {MILL_OP_SIGMOID, kFloatBits, {floating<fn::Sigmoid>, nullptr}},
    {MILL_OP_GELU, kFloatBits, {either<fn::GeluErf, fn::GeluTanh>, nullptr}},
    {MILL_OP_AFFINE, kFloatBits, {affine, nullptr}},
    {MILL_OP_TANH_BACKWARD, kFloatBits, {backward<fn::TanhBackward>, nullptr}},
    {MILL_OP_SIGMOID_BACKWARD, kFloatBits, {backward<fn::SigmoidBackward>, nullptr}},
    {MILL_OP_RELU_BACKWARD, kFloatBits, {backward<fn::ReluBackward>, nullptr}},
    {MILL_OP_GELU_BACKWARD,
     kFloatBits,
     {either_backward<fn::GeluErfBackward, fn::GeluTanhBackward>, nullptr}},
};

}  // namespace

KernelList unary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
