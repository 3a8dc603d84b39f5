// What the checked flavour found, in words and lines.
#pragma once

#include <cstddef>

#include "gpu/runtime/sim/grid.h"

namespace mill::sim {

// Fills site and other from the code addresses, where lines can be found. Not for a lane's stack.
void find_lines(GridReport* report);

// The sentence for the kinds of fault that only the checked flavour finds.
void describe_access(const GridReport& report, const char* kernel, char* text, size_t bytes);

}  // namespace mill::sim
