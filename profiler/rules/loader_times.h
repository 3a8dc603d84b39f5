// What a loader's records say: who waited for batches, who made them, and who could not.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof::rule {

struct LoaderWaits {
  std::map<uint32_t, std::vector<Interval>> of_thread;
  std::vector<uint32_t> rows;
  double raw_ns = 0;  // as the loader counted, under running kernels too
};
// Of the thread that runs the steps; of all where that one never asks. loader: its number, 0 where
// the recording has none; nullptr: of all loaders.
LoaderWaits loader_waits(const RuleInput& input, const uint64_t* loader = nullptr);

struct LoaderFills {
  uint64_t count = 0;
  double ns = 0;  // of all workers together
  std::map<uint32_t, std::vector<Interval>> of_thread;
  std::vector<uint32_t> workers;  // threads that fill for others, and did so until the end
};
LoaderFills loader_fills(const RuleInput& input, uint64_t loader);

// Waits of the main thread for a batch that its worker began late, as far as that made them. A
// worker has memory for a batch at the latest when the one before is taken: from then on, or from
// the end of what it made before, it could have worked.
Ns starved_length(const RuleInput& input, uint64_t loader);

}  // namespace mill::prof::rule
