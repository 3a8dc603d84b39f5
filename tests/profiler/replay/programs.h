// Rows by when they begin, and a program that several tests re-time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "profiler/replay/replay.h"
#include "schedule.h"

namespace mill::prof::test {

// Row of Work, or of Calls, that begins at `start`.
inline uint32_t work_at(const Timeline& timeline, Ns start) {
  const auto& starts = timeline.trace().work.start;
  return static_cast<uint32_t>(std::find(starts.begin(), starts.end(), start) - starts.begin());
}
inline uint32_t call_at(const Timeline& timeline, Ns start) {
  const auto& starts = timeline.trace().calls.start;
  return static_cast<uint32_t>(std::find(starts.begin(), starts.end(), start) - starts.begin());
}

// n steps of one stream: a copy of `copy`, then a kernel of `kernel`. The host asks for everything
// in the first microseconds.
inline Timeline serial_steps(int n, Ns copy, Ns kernel) {
  Builder b;
  Ns host = 0;
  Ns device = 10 * us;
  for (int k = 0; k < n; ++k) {
    b.copy(CopyKind::host_to_device, Memory::pinned, 1 << 20, host, host + 10, device,
           device + copy);
    b.kernel("k", host + 20, device + copy, device + copy + kernel, 10);
    host += 20;
    device += copy + kernel;
  }
  return plain_timeline_of(b.trace);
}

inline Plan prefetch_all(const Timeline& timeline, uint32_t depth) {
  Plan plan;
  const Work& work = timeline.trace().work;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.copy_kind[row] == static_cast<uint8_t>(CopyKind::host_to_device))
      plan.prefetch.emplace_back(row, depth);
  }
  return plan;
}

}  // namespace mill::prof::test
