// Who made the batch that somebody waited for.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/timeline/trace.h"

namespace mill::prof {

// Per row of kind `next`: the row of the fill that made its batch, by the loader's numbers. Where
// the trace has none: the last that was done when the wait ended. kNoRow: none; no such row; times
// that no clock can have said. Threads and times of `loader` are link()'s.
std::vector<uint32_t> batch_makers(const Loader& loader);

// By index of a thread: whether it makes batches for others.
std::vector<bool> filling_threads(const Trace& trace);

// When the wait of a row of kind `next` was over; what follows it hands the batch over.
Ns wait_end(const Loader& loader, uint32_t row);

}  // namespace mill::prof
