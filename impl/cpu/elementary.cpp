// Kernels of the elementary family: trigonometric, hyperbolic and rounding functions.
#include "kernels/functors/elementary.h"

#include "cpu/functor_loops.h"
#include "cpu/kernels.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

namespace fn = mill::functors;

template <class F>
struct Costly {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 1>(args, F(), kCostlyGrain);
  }
};

template <class F>
struct Cheap {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<F, C, 1>(args, F(), kCheapGrain);
  }
};

constexpr KernelEntry kEntries[] = {
    MILL_FLOATING(MILL_OP_SIN, Costly<fn::Sin>),
    MILL_FLOATING(MILL_OP_COS, Costly<fn::Cos>),
    MILL_FLOATING(MILL_OP_TAN, Costly<fn::Tan>),
    MILL_FLOATING(MILL_OP_ASIN, Costly<fn::Asin>),
    MILL_FLOATING(MILL_OP_ACOS, Costly<fn::Acos>),
    MILL_FLOATING(MILL_OP_ATAN, Costly<fn::Atan>),
    MILL_FLOATING(MILL_OP_SINH, Costly<fn::Sinh>),
    MILL_FLOATING(MILL_OP_COSH, Costly<fn::Cosh>),
    MILL_FLOATING(MILL_OP_ASINH, Costly<fn::Asinh>),
    MILL_FLOATING(MILL_OP_ACOSH, Costly<fn::Acosh>),
    MILL_FLOATING(MILL_OP_ATANH, Costly<fn::Atanh>),
    MILL_FLOATING(MILL_OP_ERF, Costly<fn::Erf>),
    MILL_FLOATING(MILL_OP_EXPM1, Costly<fn::Expm1>),
    MILL_FLOATING(MILL_OP_LOG1P, Costly<fn::Log1p>),
    MILL_FLOATING(MILL_OP_FLOOR, Cheap<fn::Floor>),
    MILL_FLOATING(MILL_OP_CEIL, Cheap<fn::Ceil>),
    MILL_FLOATING(MILL_OP_ROUND, Cheap<fn::Round>),
    MILL_FLOATING(MILL_OP_TRUNC, Cheap<fn::Trunc>),
    MILL_FLOATING(MILL_OP_RECIPROCAL, Cheap<fn::Reciprocal>),
};

}  // namespace

KernelList elementary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
