#include "profiler/timeline/first_use.h"

#include <algorithm>
#include <cstddef>

#include "profiler/timeline/steps.h"

namespace mill::prof {

namespace {

constexpr Ns kLong = 1'000'000;
constexpr Ns kLongAlone = 10'000'000;
constexpr Ns kTimesMedian = 50;

bool may_be_first_use(uint8_t kind) {
  switch (static_cast<CallKind>(kind)) {
    case CallKind::copy:
    case CallKind::sync_event:
    case CallKind::sync_stream:
    case CallKind::sync_device:
    case CallKind::event_wait: return false;
    default: return true;
  }
}

Ns median(std::vector<Ns>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::vector<bool> find_first_uses(const Trace& trace) {
  const Calls& calls = trace.calls;
  const auto length = [&](uint32_t row) { return calls.end[row] - calls.start[row]; };
  std::vector<bool> first_use(calls.size());

  std::vector<uint32_t> rows;
  bool any_long = false;
  for (uint32_t row = 0; row < calls.size(); ++row) {
    if (!usable_call(calls, row) || !may_be_first_use(calls.kind[row])) continue;
    rows.push_back(row);
    any_long |= length(row) >= kLong;
  }
  if (!any_long) return first_use;
  std::stable_sort(rows.begin(), rows.end(),
                   [&](uint32_t a, uint32_t b) { return calls.name[a] < calls.name[b]; });
  std::vector<Ns> others;
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin;
    others.clear();
    for (; end < rows.size() && calls.name[rows[end]] == calls.name[rows[begin]]; ++end) {
      if (end > begin) others.push_back(length(rows[end]));
    }
    const Ns first = length(rows[begin]);
    if (others.empty() ? first >= kLongAlone
                       : first >= kLong && first / kTimesMedian >= median(others)) {
      first_use[rows[begin]] = true;
    }
    begin = end;
  }

  const Work& work = trace.work;
  std::vector<uint32_t> launches;
  std::vector<Ns> lengths;
  for (const uint32_t row : rows) {
    if (calls.kind[row] != static_cast<uint8_t>(CallKind::launch) || calls.work[row] == kNoRow)
      continue;
    launches.push_back(row);
    lengths.push_back(length(row));
  }
  if (launches.empty()) return first_use;
  const Ns usual = median(lengths);
  std::sort(launches.begin(), launches.end());
  std::vector<bool> seen(trace.strings.size());
  for (const uint32_t row : launches) {
    const uint32_t name = work.name[calls.work[row]];
    if (name >= seen.size() || seen[name]) continue;
    seen[name] = true;
    if (length(row) >= kLong && length(row) / kTimesMedian >= usual) first_use[row] = true;
  }
  return first_use;
}

}  // namespace mill::prof
