// A linked trace, cut into steps, with what each device did as sets of time. Immutable.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/base/intervals.h"
#include "profiler/timeline/link.h"
#include "profiler/timeline/trace.h"

namespace mill::prof {

enum class StepSource : uint8_t {
  none,    // none found: the whole span is one window
  marks,   // MarkedSteps
  ranges,  // ranges of kind step
  period   // the launched kernels repeat; a step lasts until the next begins to be launched
};

// One step. Begins at max(host begin, end of the last step's device work) and ends at max(host end,
// end of the device work launched in it). The parts count every instant once, in the order in which
// they are listed, and add up to end - begin. Device parts are of all devices, but of CPU devices
// only what the step's process ran; host parts are of all threads of that process.
struct Step {
  Ns begin = 0;
  Ns end = 0;
  int64_t number = 0;
  uint32_t thread = kNoRow;
  bool warm_up = false;  // outside the analysed window
  Ns host_begin = 0;     // on its thread, without the device
  Ns host_end = 0;
  Ns kernel = 0;  // of a CPU device: its computing ops, but those that make a batch
  Ns copy = 0;
  Ns fill = 0;
  Ns call = 0;    // in the device's runtime
  Ns loader = 0;  // waiting for, or on the step's thread making, a batch
  Ns host = 0;    // in other ops or ranges
  Ns other = 0;
};

// What an analysis asks of one device. Rows are of Work, by start, those that reach into what is
// analysed; excluded ones are left out; sets are cut to it. A CPU device has no rows: its kernels
// are its computing ops (steps.h).
struct DeviceView {
  uint32_t device = 0;
  std::vector<uint32_t> work;  // all kinds
  std::vector<uint32_t> kernels;
  std::vector<uint32_t> copies;
  IntervalSet busy;  // kernels, copies and fills
  IntervalSet kernel;
  IntervalSet copy;       // all directions
  IntervalSet to_device;  // copies by direction
  IntervalSet to_host;
  IntervalSet fill;
};

struct TimelineOptions {
  // Steps at the beginning that are left out of the window (one always stays); -1: as many as
  // differ from the rest, that is, all up to the last one of the first third of the steps that
  // takes over 1.5 times the median; none of fewer than 3.
  int64_t warm_up_steps = -1;
  bool find_period = true;
};

class Timeline {
 public:
  // Links the trace. health::examine has not been called yet: it takes a linked trace, so sources
  // go through analyse() (session/analysis.h), which does these in order.
  Timeline(Trace trace, LinkCounts counts, const TimelineOptions& options = {});

  const Trace& trace() const { return trace_; }
  const LinkCounts& links() const { return links_; }
  // All that was recorded, from the first start to the last end.
  Interval span() const { return span_; }
  // What is analysed: from the first step after warm-up to the end of the last complete one; the
  // span where there are no steps.
  Interval window() const { return window_; }
  StepSource step_source() const { return step_source_; }
  const std::vector<Step>& steps() const { return steps_; }
  uint32_t window_steps() const { return window_steps_; }  // how many; 0: no steps
  // The window without the holes in the recording, in which nothing is known.
  const IntervalSet& analysed() const { return analysed_; }
  // Length of what is analysed by its steps, or all of it.
  Ns step_length() const {
    return window_steps_ > 0 ? analysed_.length() / window_steps_ : analysed_.length();
  }
  // Devices that did something, busiest first.
  const std::vector<DeviceView>& devices() const { return devices_; }
  const DeviceView* device(uint32_t device) const;
  // The thread that launches most of the work, or runs most ops; kNoRow: no thread.
  uint32_t main_thread() const { return main_thread_; }
  // Rows of Calls, of Ops (outermost first), of a thread, by start, without those whose times are
  // impossible. Empty for no such thread.
  const std::vector<uint32_t>& calls_of(uint32_t thread) const;
  const std::vector<uint32_t>& ops_of(uint32_t thread) const;
  // The number of the step that an instant lies in, as an index into steps(); kNoRow: in none.
  uint32_t step_at(Ns t) const;

 private:
  Trace trace_;
  LinkCounts links_;
  Interval span_;
  Interval window_;
  IntervalSet analysed_;
  StepSource step_source_ = StepSource::none;
  std::vector<Step> steps_;
  uint32_t window_steps_ = 0;
  std::vector<DeviceView> devices_;
  std::vector<uint32_t> view_of_;  // by device
  uint32_t main_thread_ = kNoRow;
  std::vector<std::vector<uint32_t>> calls_of_;
  std::vector<std::vector<uint32_t>> ops_of_;
};

// Why a device was idle, in the order in which an instant is given to a cause.
enum class GapCause : uint8_t {
  profiler,     // the profiler's own overhead
  module_load,  // kernels loaded or compiled; first uses (first_use.h)
  allocation,   // an allocating or freeing call of the runtime
  sync,         // a blocking wait that ended in the gap
  copy_wait,    // a blocking copy that ended in the gap
  loader,       // waiting for a batch
  queue_full,
  launch,   // the call that launched what ends the gap was still running
  latency,  // from that call's end to the start
  host_op,  // an op, or a named range, on the launching thread
  unknown,
  count
};
inline constexpr int kGapCauses = static_cast<int>(GapCause::count);
const char* gap_cause_name(GapCause cause);

struct Gap {
  uint32_t device = 0;
  Ns begin = 0;
  Ns end = 0;
  uint32_t step = kNoRow;      // index into steps(): the one that it ends in
  uint32_t next = kNoRow;      // the row of Work that ends it; none on a CPU device
  uint32_t op = kNoRow;        // the op in which most of it went by on the host,
  Ns op_ns = 0;                // ... and how much
  Ns causes[kGapCauses] = {};  // add up to end - begin exactly
};

// Times of at least `shortest` in which a device did nothing, inside what is analysed, with causes.
// With steps they reach from edge to edge, so that all of them and `busy` add up to what is
// analysed; without, what comes after a device's last piece of work is no gap. Of the kGapDevices
// busiest devices. An overhead counts on whatever thread it was; the rest only on the thread that
// launched `next` (else the main one), and only until that launch.
inline constexpr uint32_t kGapDevices = 256;
std::vector<Gap> find_gaps(const Timeline& timeline, Ns shortest);

}  // namespace mill::prof
