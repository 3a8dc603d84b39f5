// Kernels of the activation family and of their gradients.
#include "kernels/functors/activation.h"

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/elementwise.inl"

#include "gpu/families/elementwise.h"

namespace fn = mill::functors;

using Forward = one_of<fn::Silu, fn::LeakyRelu, fn::Elu, fn::Clamp>;
using Backward =
    one_of<fn::SiluBackward, fn::LeakyReluBackward, fn::EluBackward, fn::ClampBackward>;

// The functor's one or two parameters are the op's attributes.
template <class Any, class F>
Any any_of(const mill_kernel_args* args) {
  return {Any::template index<F>(), args->n_attr > 0 ? args->attr[0].f : 0,
          args->n_attr > 1 ? args->attr[1].f : 0};
}
template <class F, class Any>
F functor_of(const Any& any) {
  if constexpr (std::is_empty_v<F>) {
    return F();
  } else {
    return F{any.first, any.second};
  }
}

template <class F>
mill_status forward(const mill_kernel_args* args) {
  const Forward any = any_of<Forward, F>(args);
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return map1<T, kHalfVector<T>>(args, functor_of<F>(any), any, 4);
  });
}
template <class F>
mill_status backward(const mill_kernel_args* args) {
  const Backward any = any_of<Backward, F>(args);
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return map2<T, kHalfVector<T>>(args, functor_of<F>(any), any, 6);
  });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_SILU, kFloatBits, {forward<fn::Silu>, nullptr}},
    {MILL_OP_SILU_BACKWARD, kFloatBits, {backward<fn::SiluBackward>, nullptr}},
    {MILL_OP_LEAKY_RELU, kFloatBits, {forward<fn::LeakyRelu>, nullptr}},
    {MILL_OP_LEAKY_RELU_BACKWARD, kFloatBits, {backward<fn::LeakyReluBackward>, nullptr}},
    {MILL_OP_ELU, kFloatBits, {forward<fn::Elu>, nullptr}},
    {MILL_OP_ELU_BACKWARD, kFloatBits, {backward<fn::EluBackward>, nullptr}},
    {MILL_OP_CLAMP, kFloatBits, {forward<fn::Clamp>, nullptr}},
    {MILL_OP_CLAMP_BACKWARD, kFloatBits, {backward<fn::ClampBackward>, nullptr}},
};

}  // namespace

KernelList activation_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
