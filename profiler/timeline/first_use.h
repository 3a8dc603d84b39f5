// Calls that took long because they were the first of their kind: a context is made, a kernel is
// loaded. Runtimes do such work inside whichever call comes first.
#pragma once

#include <vector>

#include "profiler/timeline/trace.h"

namespace mill::prof {

// By row of Calls. The first call of a name, and the first launch of a kernel, counts if it took
// over 1 ms and over 50 times the median of the others of its kind; the only call of a name, if it
// took over 10 ms. Waits and copies never do: what they take says nothing of the runtime.
std::vector<bool> find_first_uses(const Trace& trace);

}  // namespace mill::prof
