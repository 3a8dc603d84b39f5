// Kernel of softplus.
#include "kernels/functors/softplus.h"

#include "cpu/functor_loops.h"
#include "cpu/kernels.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

struct Softplus {
  template <class C>
  static mill_status run(const mill_kernel_args* args) {
    return apply<functors::Softplus, C, 1>(args, functors::Softplus(), kCostlyGrain);
  }
};

constexpr KernelEntry kEntries[] = {MILL_FLOATING(MILL_OP_SOFTPLUS, Softplus)};

}  // namespace

KernelList softplus_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
