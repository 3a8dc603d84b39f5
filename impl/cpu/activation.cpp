// Kernels of the activation family and of their gradients.
#include "kernels/functors/activation.h"

#include <type_traits>

#include "cpu/functor_loops.h"
#include "cpu/kernels.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

namespace fn = mill::functors;

// No attribute, one or two.
template <class F>
F functor_of(const mill_kernel_args* args) {
  if constexpr (std::is_empty_v<F>) {
    return F();
  } else {
    return F{args->attr[0].f, args->n_attr > 1 ? args->attr[1].f : 0};
  }
}

template <class F>
struct Unary {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 1>(args, functor_of<F>(args), kCheapGrain);
  }
};

template <class F>
struct CostlyUnary {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 1>(args, functor_of<F>(args), kCostlyGrain);
  }
};

template <class F>
struct Binary {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 2>(args, functor_of<F>(args), kCheapGrain);
  }
};

template <class F>
struct CostlyBinary {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 2>(args, functor_of<F>(args), kCostlyGrain);
  }
};

constexpr KernelEntry kEntries[] = {
    MILL_FLOATING(MILL_OP_SILU, CostlyUnary<fn::Silu>),
    MILL_FLOATING(MILL_OP_SILU_BACKWARD, CostlyBinary<fn::SiluBackward>),
    MILL_FLOATING(MILL_OP_LEAKY_RELU, Unary<fn::LeakyRelu>),
    MILL_FLOATING(MILL_OP_LEAKY_RELU_BACKWARD, Binary<fn::LeakyReluBackward>),
    MILL_FLOATING(MILL_OP_ELU, CostlyUnary<fn::Elu>),
    MILL_FLOATING(MILL_OP_ELU_BACKWARD, CostlyBinary<fn::EluBackward>),
    MILL_FLOATING(MILL_OP_CLAMP, Unary<fn::Clamp>),
    MILL_FLOATING(MILL_OP_CLAMP_BACKWARD, Binary<fn::ClampBackward>),
};

}  // namespace

KernelList activation_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
