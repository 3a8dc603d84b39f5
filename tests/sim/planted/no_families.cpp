// A device with none of the ops' kernels: the planted ones are launched by hand.
#include "gpu/facade.h"

namespace mill::sim_ {

#define MILL_EMPTY(family)                   \
  mill::gpu::KernelList family##_kernels();  \
  mill::gpu::KernelList family##_kernels() { \
    return {nullptr, 0};                     \
  }
MILL_GPU_FAMILIES(MILL_EMPTY)
#undef MILL_EMPTY

}  // namespace mill::sim_
