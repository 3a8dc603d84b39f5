// Kernels of the mod family: what division leaves.
#include "kernels/functors/mod.h"

#include "cpu/functor_loops.h"
#include "cpu/kernels.h"
#include "cpu/zero_divisor.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

namespace fn = mill::functors;

template <class F>
struct Rest {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    if constexpr (kIsInteger<C>) {
      const mill_status status = refuse_zero_divisor(args);
      if (status != MILL_OK) return status;
    }
    return apply<F, C, 2>(args, F(), kCostlyGrain);
  }
};

constexpr KernelEntry kEntries[] = {
    MILL_NUMERIC(MILL_OP_REMAINDER, Rest<fn::Remainder>),
    MILL_NUMERIC(MILL_OP_FMOD, Rest<fn::Fmod>),
};

}  // namespace

KernelList mod_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
