// The checked flavour's instance of a kernel.
#pragma once

#include "gpu/runtime/sim/grid.h"

namespace mill::sim {

// Looked for by name once per kernel; null if there is none.
const KernelInfo* checked_twin(const KernelInfo& kernel);

// Null if this plugin has a checked flavour, else why not.
const char* no_checked_flavour();

}  // namespace mill::sim
