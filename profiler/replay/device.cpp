// Which device work there is. What it waits for, and what on the host waits for it, is found in two
// passes: submission.cpp and execution.cpp.
#include <algorithm>

#include "profiler/replay/graph.h"

namespace mill::prof::replay {

namespace {

class DeviceCollector {
 public:
  DeviceCollector(const Timeline& timeline, const Clock& clock, const Lines& lines, Device& out)
      : trace_(timeline.trace()), clock_(clock), lines_(lines), out_(out) {}

  void run() {
    const Work& work = trace_.work;
    out_.devices = static_cast<uint32_t>(trace_.devices.size()) + 1;
    out_.streams = static_cast<uint32_t>(trace_.streams.size()) + out_.devices;
    out_.works.reserve(work.size());
    for (uint32_t row = 0; row < work.size(); ++row) add(row);
    const auto before = [&](const DraftWork& a, const DraftWork& b) {
      if (a.start != b.start) return a.start < b.start;
      if (a.end != b.end) return a.end < b.end;
      if (a.asked != b.asked) return a.asked < b.asked;
      return work.correlation[a.row] != work.correlation[b.row]
                 ? work.correlation[a.row] < work.correlation[b.row]
                 : a.row < b.row;
    };
    std::sort(out_.works.begin(), out_.works.end(), before);
    out_.work_of_row.assign(work.size(), kNone);
    for (uint32_t k = 0; k < out_.works.size(); ++k) out_.work_of_row[out_.works[k].row] = k;
    out_.by_end.resize(out_.works.size());
    for (uint32_t k = 0; k < out_.by_end.size(); ++k) out_.by_end[k] = k;
    std::stable_sort(out_.by_end.begin(), out_.by_end.end(),
                     [&](uint32_t a, uint32_t b) { return out_.works[a].end < out_.works[b].end; });
  }

 private:
  void add(uint32_t row) {
    const Work& work = trace_.work;
    DraftWork draft;
    if ((work.flags[row] & kExcluded) ||
        !clock_.take(work.start[row], work.end[row], &draft.start, &draft.end))
      return;
    draft.row = row;
    draft.device = std::min(work.device[row], out_.devices - 1);
    draft.stream = work.stream[row] < trace_.streams.size()
                       ? work.stream[row]
                       : static_cast<uint32_t>(trace_.streams.size()) + draft.device;
    const uint32_t call = work.call[row];
    draft.asked = draft.start;
    draft.submitted = false;
    if (call < trace_.calls.size() && lines_.call_first[call] != kNone) {
      draft.call = call;
      draft.asked = clock_.of(trace_.calls.start[call]);
    } else if (work.submit[row] != 0 && clock_.near(work.submit[row]) &&
               work.submit[row] <= work.start[row]) {
      draft.asked = clock_.of(work.submit[row]);
      draft.submitted = true;
    }
    if (static_cast<WorkKind>(work.kind[row]) == WorkKind::copy) {
      const auto copy = static_cast<CopyKind>(work.copy_kind[row]);
      // One engine per direction, unless the device says that it has only one.
      const bool one = work.device[row] < trace_.devices.size() &&
                       trace_.devices[work.device[row]].copy_engines == 1;
      if (copy == CopyKind::host_to_device) draft.engine = draft.device * 2;
      if (copy == CopyKind::device_to_host) draft.engine = draft.device * 2 + (one ? 0 : 1);
    }
    out_.works.push_back(draft);
  }

  const Trace& trace_;
  const Clock& clock_;
  const Lines& lines_;
  Device& out_;
};

}  // namespace

Device make_device(const Timeline& timeline, const Clock& clock, const Lines& lines) {
  Device device;
  DeviceCollector(timeline, clock, lines, device).run();
  order_by_submission(timeline.trace(), clock, lines, &device);
  order_by_execution(timeline.trace(), &device);
  return device;
}

}  // namespace mill::prof::replay
