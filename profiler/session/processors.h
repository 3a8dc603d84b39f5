#pragma once

namespace mill::prof {

// How many processors this process may use: by the affinity of the thread that asks, and by the
// quota of its control group (version 2) and those that it is in. At least a little above 0.
double usable_processors();

}  // namespace mill::prof
