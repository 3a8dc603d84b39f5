// A repetition in a sequence, such as the names of launched kernels: what a step looks like when
// nobody marked it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mill::prof {

// names[i] == names[i + length] for all of first <= i < first + (count - 1) * length.
struct Period {
  size_t first = 0;
  size_t length = 0;  // 0: none found
  size_t count = 0;   // whole periods
};

// The shortest period of at least two names, not all the same, that repeats at least three times
// and covers at least half of the sequence in one piece; what comes before and after it may be
// anything. In linear time.
Period find_period(std::span<const uint32_t> names);

}  // namespace mill::prof
