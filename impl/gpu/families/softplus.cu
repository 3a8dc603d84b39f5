// Kernel of softplus.
#include "kernels/functors/softplus.h"

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/elementwise.inl"

#include "gpu/families/elementwise.h"

mill_status softplus(const mill_kernel_args* args) {
  using F = mill::functors::Softplus;
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return map1<T, kHalfVector<T>>(args, F(), one_of<F>{0, 0, 0}, 4);
  });
}

constexpr KernelEntry kEntries[] = {{MILL_OP_SOFTPLUS, kFloatBits, {softplus, nullptr}}};

}  // namespace

KernelList softplus_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
