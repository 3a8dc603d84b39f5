// From an address in a kernel's code to the line of the body it was compiled from.
#pragma once

#include <cstdint>

#include "gpu/runtime/sim/lane.h"

namespace mill::sim {

// The line of the call that returns to `code`: the innermost frame, inlined ones included, that is
// not the vocabulary's own. False where the plugin has no debug lines or was built without the
// reader.
bool line_of(uintptr_t code, Site* out);

// Files whose lines tell nothing about a body.
bool is_vocabulary(const char* file);

}  // namespace mill::sim
