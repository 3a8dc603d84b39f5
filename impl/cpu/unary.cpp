// Kernels of the unary family: one tensor in, one out, and their gradients.
#include "kernels/functors/unary.h"

#include "cpu/functor_loops.h"
#include "cpu/kernels.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

namespace fn = mill::functors;

// Each gives a launch function for a compute type C as run<C>.
template <class F>
struct Cheap {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 1>(args, F(), kCheapGrain);
  }
};

template <class F>
struct Costly {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 1>(args, F(), kCostlyGrain);
  }
};

template <class F>
struct Backward {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 2>(args, F(), kCheapGrain);
  }
};

struct Affine {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<fn::Affine, C, 1>(args, fn::Affine{args->attr[0].f, args->attr[1].f}, kCheapGrain);
  }
};

struct Gelu {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    if (args->attr[0].i != 0) return apply<fn::GeluTanh, C, 1>(args, fn::GeluTanh(), kCostlyGrain);
    return apply<fn::GeluErf, C, 1>(args, fn::GeluErf(), kCostlyGrain);
  }
};

struct GeluBackward {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    if (args->attr[0].i != 0)
      return apply<fn::GeluTanhBackward, C, 2>(args, fn::GeluTanhBackward(), kCostlyGrain);
    return apply<fn::GeluErfBackward, C, 2>(args, fn::GeluErfBackward(), kCostlyGrain);
  }
};

constexpr KernelEntry kEntries[] = {
    MILL_NUMERIC(MILL_OP_NEG, Cheap<fn::Neg>),
    MILL_NUMERIC(MILL_OP_ABS, Cheap<fn::Abs>),
    MILL_NUMERIC(MILL_OP_SIGN, Cheap<fn::Sign>),
    MILL_NUMERIC(MILL_OP_RELU, Cheap<fn::Relu>),
    MILL_FLOATING(MILL_OP_EXP, Costly<fn::Exp>),
    MILL_FLOATING(MILL_OP_LOG, Costly<fn::Log>),
    MILL_FLOATING(MILL_OP_SQRT, Costly<fn::Sqrt>),
    MILL_FLOATING(MILL_OP_RSQRT, Costly<fn::Rsqrt>),
    MILL_FLOATING(MILL_OP_TANH, Costly<fn::Tanh>),
    MILL_FLOATING(MILL_OP_SIGMOID, Costly<fn::Sigmoid>),
    MILL_FLOATING(MILL_OP_GELU, Gelu),
    MILL_FLOATING(MILL_OP_AFFINE, Affine),
    MILL_FLOATING(MILL_OP_TANH_BACKWARD, Backward<fn::TanhBackward>),
    MILL_FLOATING(MILL_OP_SIGMOID_BACKWARD, Backward<fn::SigmoidBackward>),
    MILL_FLOATING(MILL_OP_RELU_BACKWARD, Backward<fn::ReluBackward>),
    MILL_FLOATING(MILL_OP_GELU_BACKWARD, GeluBackward),
};

}  // namespace

KernelList unary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
