// How a family of CPU kernels hands its launch functions to the device. Every file
// impl/cpu/<family>.cpp is compiled once per SIMD target with MILL_TARGET set to baseline, avx2 or
// avx512, and defines one list in that namespace.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/families.gen.h"
#include "millrace/plugin.h"

namespace mill::cpu {

struct KernelEntry {
  int32_t op;       // MILL_OP_...
  uint32_t dtypes;  // bit d set: runs when its lead dtype is d. Lead = first input present, else
                    // first output.
  mill_kernel kernel;
};

struct KernelList {
  const KernelEntry* entries;
  size_t count;
};

#define MILL_CPU_DECLARE(family) KernelList family##_kernels();
namespace baseline {
MILL_CPU_FAMILIES(MILL_CPU_DECLARE)
}
namespace avx2 {
MILL_CPU_FAMILIES(MILL_CPU_DECLARE)
}
namespace avx512 {
MILL_CPU_FAMILIES(MILL_CPU_DECLARE)
}
#undef MILL_CPU_DECLARE

}  // namespace mill::cpu
