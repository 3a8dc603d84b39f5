#include "profiler/rules/host_waits.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "profiler/rules/rule_help.h"
#include "profiler/timeline/batches.h"

namespace mill::prof::rule {

namespace {

// A wait's end and the end of the work it waited for come from two clocks.
constexpr Ns kClockSlack = 2000;
// Calls that one wait of the engine is made of, at most; bounds the work on odd traces.
constexpr size_t kCallsOfSync = 16;

bool waits_for_device(uint8_t kind) {
  return kind == static_cast<uint8_t>(CallKind::sync_event) ||
         kind == static_cast<uint8_t>(CallKind::sync_stream) ||
         kind == static_cast<uint8_t>(CallKind::sync_device);
}

class Collector {
 public:
  explicit Collector(const RuleInput& input)
      : input_(input),
        trace_(input.timeline.trace()),
        window_(input.timeline.window()),
        for_others_(filling_threads(input.timeline.trace())) {
    for (const DeviceView& view : input.timeline.devices()) {
      if (is_accelerator(trace_, view.device)) {
        busiest_ = view.device;
        break;
      }
    }
  }

  std::vector<HostWait> collect() {
    if (busiest_ == kNoRow) return {};
    for (uint32_t thread = 0; thread < trace_.threads.size(); ++thread) {
      const size_t first = waits_.size();
      // What makes batches ahead waits for its own copies, and holds up nobody who is not named by
      // I1.
      if (!for_others_[thread]) from_calls(thread);
      ends_.push_back({first, waits_.size()});
    }
    from_syncs();
    std::sort(waits_.begin(), waits_.end(), [](const HostWait& a, const HostWait& b) {
      return std::tie(a.device, a.time.begin, a.time.end, a.thread, a.call, a.sync) <
             std::tie(b.device, b.time.begin, b.time.end, b.thread, b.call, b.sync);
    });
    measure();
    return std::move(waits_);
  }

 private:
  struct Pending {
    uint32_t work;
    Ns call_end;
  };

  uint32_t device_of(uint32_t device) const {
    return is_accelerator(trace_, device) ? device : busiest_;
  }

  // The row of Work of a small copy to the host, kNoRow for any other call.
  uint32_t small_read(uint32_t call) const {
    if (trace_.calls.kind[call] != static_cast<uint8_t>(CallKind::copy)) return kNoRow;
    const uint32_t row = trace_.calls.work[call];
    const Work& work = trace_.work;
    if (row >= work.size() || (work.flags[row] & kExcluded) != 0 ||
        work.copy_kind[row] != static_cast<uint8_t>(CopyKind::device_to_host) ||
        static_cast<double>(work.bytes[row]) > input_.limits.t7_max_bytes)
      return kNoRow;
    return row;
  }

  // An async form too returns after the work where the target is pageable, as its documentation
  // says; the times tell whether it did.
  bool copy_blocks(uint32_t call, uint32_t row) const {
    const uint8_t flags = trace_.calls.flags[call];
    if ((flags & kBlocking) != 0 || (flags & kAsyncForm) == 0) return true;
    return trace_.work.host_memory[row] == static_cast<uint8_t>(Memory::pageable) &&
           trace_.calls.end[call] >= trace_.work.end[row];
  }

  void from_calls(uint32_t thread) {
    const Calls& calls = trace_.calls;
    std::vector<Pending> pending;
    for (const uint32_t call : input_.timeline.calls_of(thread)) {
      const Ns begin = calls.start[call];
      const Ns end = calls.end[call];
      if ((calls.flags[call] & kExcluded) != 0 || !inside(begin, end, window_)) continue;
      if (const uint32_t row = small_read(call); row != kNoRow) {
        if (copy_blocks(call, row)) {
          HostWait wait = make({begin, end}, thread, calls.device[call]);
          wait.call = call;
          wait.reads.push_back(row);
          waits_.push_back(std::move(wait));
        } else {
          pending.push_back({row, end});
        }
      } else if (waits_for_device(calls.kind[call])) {
        HostWait wait = make({begin, end}, thread, calls.device[call]);
        wait.call = call;
        for (const Pending& one : pending) {
          const bool soon = begin >= one.call_end && static_cast<double>(begin - one.call_end) <=
                                                         input_.limits.t7_max_delay_ns;
          if (soon && trace_.work.end[one.work] <= end + kClockSlack)
            wait.reads.push_back(one.work);
        }
        pending.clear();
        waits_.push_back(std::move(wait));
      }
    }
  }

  // The engine's own word. A wait that the runtime's calls show as well is the same wait.
  void from_syncs() {
    const Syncs& syncs = trace_.syncs;
    std::vector<size_t> cursors;
    cursors.reserve(ends_.size());
    for (const auto& [first, last] : ends_) cursors.push_back(first);
    for (uint32_t row = 0; row < syncs.size(); ++row) {
      const Ns begin = syncs.start[row];
      const Ns end = syncs.end[row];
      if (!inside(begin, end, window_)) continue;
      const bool read = syncs.kind[row] == static_cast<uint8_t>(SyncKind::read) &&
                        static_cast<double>(syncs.bytes[row]) <= input_.limits.t7_max_bytes;
      const uint32_t thread = syncs.thread[row];
      if (thread < for_others_.size() && for_others_[thread]) continue;
      bool known = false;
      if (thread < ends_.size()) {
        size_t& k = cursors[thread];
        while (k < ends_[thread].second && waits_[k].time.end < begin) ++k;
        const size_t last = std::min(ends_[thread].second, k + kCallsOfSync);
        for (size_t j = k; j < last && waits_[j].time.begin <= end; ++j) {
          waits_[j].sync = row;
          waits_[j].value_read |= read;
          known = true;
        }
      }
      if (known) continue;
      HostWait wait = make({begin, end}, thread, kNoRow);
      wait.sync = row;
      wait.value_read = read;
      waits_.push_back(std::move(wait));
    }
  }

  HostWait make(Interval time, uint32_t thread, uint32_t device) const {
    HostWait wait;
    wait.time = time;
    wait.thread = thread;
    wait.device = device_of(device);
    return wait;
  }

  // The device's work on streams that run kernels; all of it where none does. What a loader brings
  // ahead on a stream of its own neither keeps the device from running dry nor ends that.
  void take_streams(const DeviceView& view) {
    const Work& work = trace_.work;
    std::unordered_set<uint32_t> streams;
    for (const uint32_t row : view.kernels) streams.insert(work.stream[row]);
    std::vector<Interval> times;
    stream_work_.clear();
    for (const uint32_t row : view.work) {
      if (!streams.empty() && streams.count(work.stream[row]) == 0) continue;
      stream_work_.push_back(row);
      times.push_back({work.start[row], work.end[row]});
    }
    busy_ = IntervalSet(std::move(times));
  }

  // idle = first device start after the wait - when the device ran dry, in the wait.
  void measure() {
    const DeviceView* view = nullptr;
    for (size_t k = 0; k < waits_.size(); ++k) {
      if (k == 0 || waits_[k].device != waits_[k - 1].device) {
        if (view != nullptr) give_gaps();
        view = input_.timeline.device(waits_[k].device);
        if (view != nullptr) take_streams(*view);
      }
      if (view == nullptr) continue;
      const Interval time = waits_[k].time;
      const Ns until = busy_.end_of(time.end);
      if (until - time.end > kClockSlack) continue;  // it had other work
      const Ns dry = until > time.end ? until : busy_.last_end(time.end);
      if (dry <= time.begin) continue;  // it had been idle before
      const Ns next = busy_.next(until);
      if (next == std::numeric_limits<Ns>::max()) continue;  // nothing followed
      const Interval gap{dry, next};
      if (input_.timeline.analysed().overlap(gap) != gap.length()) continue;  // unknown in between
      gaps_.push_back({k, next, gap.length()});
    }
    if (view != nullptr) give_gaps();
  }

  struct Dry {
    size_t wait;
    Ns next;
    Ns length;
  };

  void give_gaps() {
    // Stable: among waits of one kind the first.
    std::stable_sort(gaps_.begin(), gaps_.end(), [&](const Dry& a, const Dry& b) {
      if (a.next != b.next) return a.next < b.next;
      return waits_[a.wait].is_read() && !waits_[b.wait].is_read();
    });
    for (size_t k = 0; k < gaps_.size(); ++k) {
      if (k > 0 && gaps_[k].next == gaps_[k - 1].next) continue;
      HostWait& wait = waits_[gaps_[k].wait];
      wait.idle = gaps_[k].length;
      const auto found =
          std::lower_bound(stream_work_.begin(), stream_work_.end(), gaps_[k].next,
                           [&](uint32_t row, Ns t) { return trace_.work.start[row] < t; });
      if (found != stream_work_.end()) wait.gap_end = *found;
    }
    gaps_.clear();
  }

  const RuleInput& input_;
  const Trace& trace_;
  Interval window_;
  std::vector<bool> for_others_;  // by thread: it makes batches
  uint32_t busiest_ = kNoRow;
  std::vector<HostWait> waits_;
  std::vector<std::pair<size_t, size_t>> ends_;  // of each thread, in waits_
  std::vector<Dry> gaps_;
  std::vector<uint32_t> stream_work_;  // of the device that is measured
  IntervalSet busy_;
};

}  // namespace

std::vector<HostWait> host_waits(const RuleInput& input) {
  return Collector(input).collect();
}

void plan_wait(const HostWait& wait, std::vector<uint32_t>& rows, Plan& plan) {
  if (wait.call != kNoRow) {
    rows.push_back(wait.call);
  } else {
    plan.host_time.push_back({wait.thread, wait.time, 0});
  }
}

}  // namespace mill::prof::rule
