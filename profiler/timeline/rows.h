// What linking, steps and gaps share: which times can be used, and rows by thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "profiler/timeline/trace.h"

namespace mill::prof {

// link() brings every time between these, so that the difference of two never overflows.
inline constexpr Ns kLastTime = (Ns{1} << 62) - 1;
inline constexpr Ns kFirstTime = -kLastTime;

// Whether such a call hands work to a device.
inline bool asks_for_work(CallKind kind) {
  switch (kind) {
    case CallKind::launch:
    case CallKind::copy:
    case CallKind::fill:
    case CallKind::graph_launch:
    case CallKind::host_function: return true;
    default: return false;
  }
}

// False for what no clock can have said.
inline bool possible(Ns start, Ns end) {
  return start <= end && start > kFirstTime && end < kLastTime;
}

// Whether a time of 0 among these starts means that the record was never filled in. A virtual clock
// may start at 0, and so may a file whose times are relative; then other rows lie near 0 too. So 0
// is far when the 5th percentile of the other starts is over a second away from it, and further
// than half of what lies between the 5th and the 95th. From at most 100,000 of the rows.
bool zero_is_far(std::initializer_list<std::span<const Ns>> starts);

// Rows of each thread, in the order of the table.
std::vector<std::vector<uint32_t>> rows_by_thread(const std::vector<uint32_t>& thread_of,
                                                  size_t threads);

// The innermost op of one thread at a time that only grows. Ops may overlap without nesting: the
// innermost is the one that began last.
class InnermostOp {
 public:
  InnermostOp(const Ops& ops, const std::vector<uint32_t>& rows) : ops_(ops), rows_(rows) {}

  uint32_t at(Ns t) {
    for (; next_ < rows_.size() && ops_.start[rows_[next_]] <= t; ++next_) {
      const uint32_t row = rows_[next_];
      if (ops_.end[row] > t && possible(ops_.start[row], ops_.end[row])) open_.push_back(row);
    }
    while (!open_.empty() && ops_.end[open_.back()] <= t) open_.pop_back();
    return open_.empty() ? kNoRow : open_.back();
  }

 private:
  const Ops& ops_;
  const std::vector<uint32_t>& rows_;
  size_t next_ = 0;
  std::vector<uint32_t> open_;
};

}  // namespace mill::prof
