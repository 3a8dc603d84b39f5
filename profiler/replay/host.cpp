// What the host did for the device: its own part of calls that wait, and the point at which work
// was asked for.
#include <algorithm>

#include "profiler/replay/build.h"

namespace mill::prof::replay {

namespace {

constexpr Ns kUnexplained = 10'000;  // a later start than this asks for a reason
constexpr Ns kNear = 5'000;          // ... such as work of another stream that ended just before

class HostCollector {
 public:
  HostCollector(const Timeline& timeline, const Clock& clock, const Lines& lines, Device& device,
                Host& out)
      : timeline_(timeline),
        trace_(timeline.trace()),
        clock_(clock),
        lines_(lines),
        device_(device),
        out_(out) {}

  void run() {
    out_.own.resize(lines_.segments.size());
    for (size_t k = 0; k < out_.own.size(); ++k)
      out_.own[k] = lines_.segments[k].end - lines_.segments[k].begin;
    out_.asked.resize(device_.works.size());
    find_waits();
    ask();
    explain_late_starts();
  }

 private:
  CallKind call_kind(uint32_t row) const { return static_cast<CallKind>(trace_.calls.kind[row]); }

  Ns end_of(const DraftWait& wait) const {
    return wait.work != kNone ? device_.works[wait.work].end : device_.joins[wait.join].end;
  }

  // ---- the host's own part of what it waits in ----------------------------------------------

  void find_waits() {
    out_.wait_of.assign(lines_.segments.size(), kNone);
    own_wait_of_call_.assign(trace_.calls.size(), kNone);
    for (uint32_t k = 0; k < device_.waits.size(); ++k) {
      const DraftWait& wait = device_.waits[k];
      out_.wait_of[wait.segment] = k;
      const Segment& segment = lines_.segments[wait.segment];
      if (wait.own && segment.kind == NodeKind::call) own_wait_of_call_[segment.row] = wait.segment;
    }
    Typical call_length;  // of calls that do not wait, by kind
    Typical before_copy;  // from the call to its own copy, where the device was free, by name
    Typical idle_wait;    // of waits for what was done already, by name
    Typical to_return;    // from the end of what is waited for, by name
    for (uint32_t k = 0; k < lines_.segments.size(); ++k) {
      const Segment& segment = lines_.segments[k];
      if (segment.kind == NodeKind::call && out_.wait_of[k] == kNone)
        call_length.add(static_cast<uint64_t>(call_kind(segment.row)), out_.own[k]);
    }
    for (const DraftWait& wait : device_.waits) {
      const Segment& segment = lines_.segments[wait.segment];
      if (wait.own) {
        const DraftWork& work = device_.works[wait.work];
        if (work.device_ready <= segment.begin && work.start >= segment.begin)
          before_copy.add(wait.name, work.start - segment.begin);
      } else if (end_of(wait) <= segment.begin) {
        idle_wait.add(wait.name, out_.own[wait.segment]);
      }
      if (end_of(wait) > segment.begin)
        to_return.add_to_any(wait.name, std::max<Ns>(0, segment.end - end_of(wait)));
    }
    for (const uint32_t row : device_.idle_calls) {
      if (lines_.call_first[row] == lines_.call_last[row])
        idle_wait.add(trace_.calls.name[row], out_.own[lines_.call_first[row]]);
    }
    call_length.settle(0.5);
    before_copy.settle(0.1);
    idle_wait.settle(0.5);
    to_return.settle(0.5);

    out_.return_lag.assign(lines_.segments.size(), 0);
    with_latency_.assign(lines_.segments.size(), 0);
    for (const DraftWait& wait : device_.waits) {
      const Segment& segment = lines_.segments[wait.segment];
      const Ns length = segment.end - segment.begin;
      const Ns late = segment.end - end_of(wait);
      Ns& own = out_.own[wait.segment];
      if (end_of(wait) <= segment.begin) {
        // It did not wait. It may, in a plan.
        out_.return_lag[wait.segment] = std::min(to_return.of_or_any(wait.name), late);
        continue;
      }
      out_.return_lag[wait.segment] = late;
      if (wait.own) {
        const DraftWork& work = device_.works[wait.work];
        own = std::clamp<Ns>(work.start - segment.begin, 0, length);
        if (work.device_ready <= segment.begin) continue;
        Ns typical = before_copy.of(wait.name);
        with_latency_[wait.segment] = typical >= 0;
        if (typical < 0) typical = call_length.of(static_cast<uint64_t>(CallKind::copy));
        if (typical < 0) typical = call_length.of(static_cast<uint64_t>(CallKind::launch));
        own = std::min(own, std::max<Ns>(typical, 0));
      } else {
        // Without a call of the kind that did not wait: what of the call the wait does not explain.
        Ns typical = idle_wait.of(wait.name);
        if (typical < 0 && segment.kind == NodeKind::call &&
            launches_kernels(call_kind(segment.row)))
          typical = call_length.of(static_cast<uint64_t>(call_kind(segment.row)));
        own = std::min(length, typical >= 0 ? typical : std::max<Ns>(late, 0));
      }
    }
  }

  // ---- call -> work -------------------------------------------------------------------------

  void ask() {
    for (uint32_t k = 0; k < device_.works.size(); ++k) {
      const DraftWork& work = device_.works[k];
      if (work.call != kNone) {
        ask_by_call(k);
      } else if (work.submitted) {
        ask_at(k, lines_.line(thread_of(work.row)), work.asked);
      }
    }
  }

  void ask_by_call(uint32_t k) {
    const DraftWork& work = device_.works[k];
    const Ns begin = clock_.of(trace_.calls.start[work.call]);
    const Ns end = clock_.of(trace_.calls.end[work.call]);
    if (work.start < begin - kSlack) {
      ++device_.dropped;
      return;
    }
    const uint32_t line = lines_.line(trace_.calls.thread[work.call]);
    if (const uint32_t at = own_wait_of_call_[work.call]; at != kNone) {
      // It asks, then waits.
      const Segment& segment = lines_.segments[at];
      if (work.start < segment.begin) {
        // By the other clock a little before: what the host did until then asks.
        ask_at(k, line, work.start);
        out_.asked[k].derived = true;
        return;
      }
      const Ns offset = std::clamp<Ns>(work.start - segment.begin, 0, out_.own[at]);
      out_.asked[k] = {at, offset, segment.begin + offset, true, with_latency_[at] != 0};
      return;
    }
    Ns asked = std::min(end, work.start);
    const Ns submit = trace_.work.submit[work.row];
    if (submit != 0 && clock_.near(submit) && clock_.of(submit) >= begin &&
        clock_.of(submit) <= asked)
      asked = clock_.of(submit);
    ask_at(k, line, asked);
  }

  void ask_at(uint32_t k, uint32_t line, Ns t) {
    if (line == kNone || t < lines_.segments[lines_.first[line]].begin) return;
    const uint32_t at = lines_.at(line, t);
    const Segment& segment = lines_.segments[at];
    if (t > segment.end) return;
    const Ns offset = std::clamp<Ns>(t - segment.begin, 0, out_.own[at]);
    out_.asked[k] = {at, offset, segment.begin + offset, false, false};
  }

  uint32_t thread_of(uint32_t row) const {
    const uint32_t op = trace_.work.op[row];
    if (op < trace_.ops.size()) return trace_.ops.thread[op];
    const uint32_t copy = trace_.work.copy[row];
    if (copy < trace_.copies.size()) return trace_.copies.thread[copy];
    return timeline_.main_thread();
  }

  // Where nobody wrote down which event a stream waits for, the end of another stream's work just
  // before a late start says it.
  void explain_late_starts() {
    if (device_.knows_events) return;
    for (uint32_t k = 0; k < device_.works.size(); ++k) {
      DraftWork& work = device_.works[k];
      const Ns explained = std::max(work.device_ready, out_.asked[k].time);
      if (explained == kNever || work.start - explained < kUnexplained) continue;
      auto at =
          std::upper_bound(device_.by_end.begin(), device_.by_end.end(), work.start,
                           [&](Ns t, uint32_t other) { return t < device_.works[other].end; });
      for (int back = 0; back < 8 && at != device_.by_end.begin(); ++back) {
        --at;
        const DraftWork& other = device_.works[*at];
        if (work.start - other.end > kNear) break;
        if (other.stream == work.stream || other.device != work.device || *at >= k) continue;
        device_.edges.push_back({k, *at, false});
        work.device_ready = std::max(work.device_ready, other.end);
        work.has_device_edge = true;
        break;
      }
    }
  }

  const Timeline& timeline_;
  const Trace& trace_;
  const Clock& clock_;
  const Lines& lines_;
  Device& device_;
  Host& out_;
  std::vector<uint8_t> with_latency_;       // of segments: `own` reaches to the start of the work
  std::vector<uint32_t> own_wait_of_call_;  // the segment in which a call waits for its own work
};

}  // namespace

Host make_host(const Timeline& timeline, const Clock& clock, const Lines& lines, Device* device) {
  Host host;
  HostCollector(timeline, clock, lines, *device, host).run();
  return host;
}

}  // namespace mill::prof::replay
