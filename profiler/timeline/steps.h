// Where the steps of a linked trace lie on the host, and what each of them was made of.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/timeline/timeline.h"

namespace mill::prof {

// A step as the host saw it. In order of begin.
struct HostStep {
  Ns begin = 0;
  Ns end = 0;
  int64_t number = 0;
  uint32_t thread = kNoRow;
};

// From marks, else ranges, else a period of the launched kernels (of the computing ops, where
// there is no device work at all). Steps that were not recorded as a whole are left out.
std::vector<HostStep> find_host_steps(const Trace& trace, const IntervalSet& recorded,
                                      bool find_period, StepSource* source);

// Ends each step with its device work and splits it into its parts.
std::vector<Step> make_steps(const Trace& trace, const std::vector<HostStep>& host);

// What a CPU device computes, by start; all threads. An op that says how many bytes or operations
// it takes is one piece with all that is inside it; of the others those that have no op in them.
std::vector<uint32_t> computing_ops(const Trace& trace);

inline bool usable_work(const Work& work, uint32_t row) {
  return (work.flags[row] & kExcluded) == 0 && work.start[row] <= work.end[row];
}
inline bool usable_call(const Calls& calls, uint32_t row) {
  return (calls.flags[row] & kExcluded) == 0 && calls.start[row] <= calls.end[row];
}

}  // namespace mill::prof
