#pragma once

namespace mill::prof {

// How many processors this process may use: by the affinity of the thread that asks, and by the
// quota of its control group (version 2) and those that it is in. At least a little above 0.
double usable_processors();

// How long the threads that this process has now wanted a processor and had none, all together,
// without the thread of that id; negative where the system does not say.
double run_delay_ns(int without);

}  // namespace mill::prof
