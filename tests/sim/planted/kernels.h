// The planted kernels as the test sees them.
#pragma once

#include <cstddef>

#include "gpu/facade.h"

namespace mill::sim::test {

// Operands: inputs of 64 written f32 values; outputs of 64 f32 values, and of 15 zeroed i32 values;
// a workspace of 4 KiB.
struct PlantedKernel {
  const char* name;
  mill_status (*launch)(const mill_kernel_args* args);
};

struct PlantedList {
  const PlantedKernel* kernels;
  size_t count;
};

}  // namespace mill::sim::test

namespace mill::sim_ {
mill::sim::test::PlantedList planted_kernels();
}
namespace mill::sim_check_ {
mill::sim::test::PlantedList planted_kernels();
}
