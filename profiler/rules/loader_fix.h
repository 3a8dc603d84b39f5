// What would make a loader keep up, and what of it the processors allow.
#pragma once

#include <cstdint>

#include "profiler/rules/loader_times.h"
#include "profiler/rules/rules.h"

namespace mill::prof::rule {

struct LoaderFix {
  bool none = false;      // neither workers nor batches ahead are of use
  bool deeper = false;    // further ahead; else more workers, or the first
  uint32_t restarts = 0;  // see LoaderQueue
  bool enough = false;    // the workers there are make batches as fast as they are asked for
  double workers = 0;     // that it should have
  double wanted = 0;      // that it should have if a loader could have any number
  double depth_now = 0;   // batches ahead at most, as seen; 0 where the recording does not say
  double depth = 0;       // that it should be ahead
  // What the program computes on all its threads keeps its processors busy for so long: it cannot
  // become shorter than that. 0 where the recording does not say.
  double processors = 0;
  double busy_ns = 0;            // CPU time divided by processors, of the analysed window
  bool crowded = false;          // with as many as wanted, some wait for a processor
  bool processor_bound = false;  // less is gained for it
  Plan plan;
  Plan plan_lower;
};

// waits and fills are those of the loader `number`.
LoaderFix loader_fix(const RuleInput& input, uint64_t number, const LoaderWaits& waits,
                     const LoaderFills& fills);

}  // namespace mill::prof::rule
