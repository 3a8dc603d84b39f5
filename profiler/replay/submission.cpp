// Edges that follow from the order in which work was asked for: events and waits of the host speak
// of "what was asked for before". An edge that the recorded times contradict by more than kSlack is
// left out and counted: the work was not ordered so, or the times are wrong; either way it cannot
// be relied on.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "profiler/replay/graph.h"

namespace mill::prof::replay {

namespace {

constexpr int kLookBackEnd = 64;   // among the work that ended before a wait did
constexpr size_t kMostWaits = 16;  // that an event carries on from its stream
// A launch that takes so much longer than others, with so much work ahead of it, waits for room in
// the queue; drivers take about a thousand launches.
constexpr Ns kLongLaunch = 20'000;
constexpr Ns kTimesLonger = 8;
constexpr size_t kFullQueue = 256;

CallKind kind_of(const Calls& calls, uint32_t row) {
  return static_cast<CallKind>(calls.kind[row]);
}

class Submission {
 public:
  Submission(const Trace& trace, const Clock& clock, const Lines& lines, Device& out)
      : trace_(trace), clock_(clock), lines_(lines), out_(out) {}

  void run() {
    last_.assign(out_.streams, kNone);
    pending_.assign(out_.streams, false);
    pending_streams_.resize(out_.devices);
    waits_of_stream_.resize(out_.streams);
    ends_of_stream_.resize(out_.streams);
    last_join_.assign(out_.devices, kNone);
    latest_end_.assign(out_.devices, kNever);
    last_of_thread_.assign(trace_.threads.size(), kNone);
    collect_events();
    for (const Event& event : events_) {
      switch (event.type) {
        case Event::work: submit(event.index); break;
        case Event::call: call(event.index); break;
        case Event::sync: engine_wait(event.index); break;
      }
    }
    for (const uint32_t segment : lines_.copy_segments) own_copy(segment);
  }

 private:
  struct Event {
    enum Type : uint32_t { work, call, sync };
    Ns time;
    uint32_t order;  // the row of the call, where there is one
    Type type;
    uint32_t index;
    bool operator<(const Event& other) const {
      if (time != other.time) return time < other.time;
      if (order != other.order) return order < other.order;
      if (type != other.type) return type < other.type;
      return index < other.index;
    }
  };

  void collect_events() {
    const Calls& calls = trace_.calls;
    work_of_call_.assign(calls.size(), kNone);
    const Ns long_launch = std::max(kLongLaunch, kTimesLonger * median_launch());
    for (uint32_t k = 0; k < out_.works.size(); ++k) {
      const DraftWork& draft = out_.works[k];
      events_.push_back({draft.asked, draft.call, Event::work, k});
      if (draft.call == kNone) continue;
      uint32_t& last = work_of_call_[draft.call];
      if (last == kNone || draft.end >= out_.works[last].end) last = k;
    }
    for (uint32_t row = 0; row < calls.size(); ++row) {
      if (lines_.call_first[row] == kNone) continue;
      const CallKind kind = kind_of(calls, row);
      const bool launch = kind == CallKind::launch || kind == CallKind::graph_launch;
      const bool plain = launch || kind == CallKind::query || kind == CallKind::unknown;
      const bool is_long = launch && calls.end[row] - calls.start[row] > long_launch;
      if (plain && !is_long && (calls.flags[row] & kBlocking) == 0) continue;
      events_.push_back({clock_.of(calls.start[row]), row, Event::call, row});
    }
    for (const uint32_t segment : lines_.sync_segments)
      events_.push_back({lines_.segments[segment].begin, kNone, Event::sync, segment});
    std::sort(events_.begin(), events_.end());
  }

  Ns median_launch() const {
    const Calls& calls = trace_.calls;
    std::vector<Ns> lengths;
    for (uint32_t row = 0; row < calls.size(); ++row) {
      if (lines_.call_first[row] != kNone && kind_of(calls, row) == CallKind::launch)
        lengths.push_back(std::min(calls.end[row] - calls.start[row], kLongest));
    }
    if (lengths.empty()) return 0;
    const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 2);
    std::nth_element(lengths.begin(), middle, lengths.end());
    return *middle;
  }

  void submit(uint32_t k) {
    const DraftWork& draft = out_.works[k];
    ends_of_stream_[draft.stream].push_back(k);
    for (const uint32_t from : waits_of_stream_[draft.stream]) {
      if (from != k) out_.edges.push_back({k, from, false});
    }
    waits_of_stream_[draft.stream].clear();
    uint32_t& last = last_[draft.stream];
    if (last == kNone || draft.end >= out_.works[last].end) last = k;
    if (!pending_[draft.stream]) {
      pending_[draft.stream] = true;
      pending_streams_[draft.device].push_back(draft.stream);
    }
    latest_end_[draft.device] = std::max(latest_end_[draft.device], draft.end);
    if (draft.call != kNone) last_of_thread_[trace_.calls.thread[draft.call]] = k;
  }

  uint32_t last_of(uint32_t stream) const { return stream < last_.size() ? last_[stream] : kNone; }

  void call(uint32_t row) {
    const Calls& calls = trace_.calls;
    const uint32_t stream = calls.stream[row] < trace_.streams.size() ? calls.stream[row] : kNone;
    switch (kind_of(calls, row)) {
      case CallKind::event_record: {
        // A record whose stream nobody wrote down mostly follows what it is about.
        const uint32_t work =
            stream != kNone ? last_of(stream) : last_of_thread_[calls.thread[row]];
        if (calls.correlation[row] != 0) record(calls.correlation[row], work, stream);
        return;
      }
      case CallKind::event_wait: {
        const auto found = recorded_.find(calls.waits_for[row]);
        if (stream == kNone || calls.waits_for[row] == 0 || found == recorded_.end()) return;
        out_.knows_events = true;
        const auto [first, count] = found->second;
        for (uint32_t k = 0; k < count; ++k)
          waits_of_stream_[stream].push_back(record_work_[first + k]);
        return;
      }
      case CallKind::sync_event: {
        const auto found = recorded_.find(calls.waits_for[row]);
        if (calls.waits_for[row] != 0 && found != recorded_.end()) {
          const auto [first, count] = found->second;
          uint32_t last = kNone;
          for (uint32_t k = first; k < first + count; ++k) {
            const uint32_t work = record_work_[k];
            if (last == kNone || out_.works[work].end > out_.works[last].end) last = work;
          }
          wait_or_idle(row, last);
        } else {
          wait_for_work(row, ended_in(row));
        }
        return;
      }
      case CallKind::sync_stream:
        if (stream != kNone) {
          wait_or_idle(row, last_of(stream));
        } else {
          wait_for_work(row, ended_in(row));
        }
        return;
      case CallKind::sync_device: {
        const uint32_t device = device_of(row);
        if (device == kNone) {
          wait_for_work(row, ended_in(row));
        } else {
          wait_for_device(row, device);
        }
        return;
      }
      case CallKind::launch:
      case CallKind::graph_launch:
        if ((calls.flags[row] & kBlocking) == 0) {
          wait_for_room(row);
          return;
        }
        other_call(row);
        return;
      default: other_call(row); return;
    }
  }

  // A launch into a full queue returns when the oldest work in it is done.
  void wait_for_room(uint32_t row) {
    const uint32_t own = work_of_call_[row];
    if (own == kNone) return;
    const Ns start = clock_.of(trace_.calls.start[row]);
    const Ns end = clock_.of(trace_.calls.end[row]);
    const std::vector<uint32_t>& queue = ends_of_stream_[out_.works[own].stream];
    const auto after = std::upper_bound(queue.begin(), queue.end(), end,
                                        [&](Ns t, uint32_t k) { return t < out_.works[k].end; });
    if (after == queue.begin() || static_cast<size_t>(queue.end() - after) < kFullQueue) return;
    const Ns freed = out_.works[*std::prev(after)].end;
    if (freed > start && end - freed <= kLongLaunch) add_wait(row, *std::prev(after), kNone, false);
  }

  // An event is done when the last work before it is, and so is what its stream was told to wait
  // for since.
  void record(uint64_t correlation, uint32_t work, uint32_t stream) {
    const auto first = static_cast<uint32_t>(record_work_.size());
    if (work != kNone) record_work_.push_back(work);
    if (stream != kNone) {
      const std::vector<uint32_t>& waits = waits_of_stream_[stream];
      const size_t some = std::min(waits.size(), kMostWaits);
      record_work_.insert(record_work_.end(), waits.end() - static_cast<std::ptrdiff_t>(some),
                          waits.end());
    }
    recorded_[correlation] = {first, static_cast<uint32_t>(record_work_.size()) - first};
  }

  void other_call(uint32_t row) {
    const Calls& calls = trace_.calls;
    const Work& work = trace_.work;
    const Ns start = clock_.of(calls.start[row]);
    const Ns end = clock_.of(calls.end[row]);
    const uint32_t own = work_of_call_[row];
    const bool says_so = (calls.flags[row] & kBlocking) != 0;
    if (own != kNone) {
      const DraftWork& draft = out_.works[own];
      // A driver that copies pageable memory through a buffer of its own returns when the last
      // piece is in that, a little before the copy's end; so nine tenths are enough.
      const Ns covered = std::min(end, draft.end) - std::max(start, draft.start);
      const Ns length = draft.end - draft.start;
      const bool covers =
          end + kSlack >= draft.end || (covered > 0 && covered >= length - length / 10);
      if (!covers || draft.start + kSlack < start) return;
      const uint32_t copy = work.copy[draft.row];
      const bool engine_says =
          copy < trace_.copies.size() && (trace_.copies.flags[copy] & kBlocking) != 0;
      const bool is_copy = kind_of(calls, row) == CallKind::copy ||
                           static_cast<WorkKind>(work.kind[draft.row]) == WorkKind::copy;
      const bool pageable = static_cast<Memory>(work.host_memory[draft.row]) == Memory::pageable;
      const bool synchronous = (calls.flags[row] & kAsyncForm) == 0;
      if (says_so || engine_says || (is_copy && (pageable || synchronous)))
        add_wait(row, own, kNone, true);
      return;
    }
    const uint32_t device = device_of(row);
    if (device == kNone) return;
    if (says_so) {
      wait_for_device(row, device);
      return;
    }
    switch (kind_of(calls, row)) {
      case CallKind::allocate:
      case CallKind::free:
      case CallKind::host_allocate:
      case CallKind::host_free:
      case CallKind::module_load: {
        // These may drain the device. One that returns just as the device falls idle has.
        const Ns drained = latest_end_[device];
        if (drained > start && drained <= end &&
            end - drained <= std::max<Ns>(50'000, (end - start) / 10))
          wait_for_device(row, device);
        return;
      }
      default: return;
    }
  }

  void engine_wait(uint32_t segment) {
    const Segment& wait = lines_.segments[segment];
    const uint32_t work = ended_before(wait.begin, wait.end, kNone);
    if (work == kNone) return;
    out_.waits.push_back({segment, work, kNone,
                          name_of_sync(static_cast<uint32_t>(trace_.syncs.kind[wait.row])), false});
  }

  void own_copy(uint32_t segment) {
    const Segment& wait = lines_.segments[segment];
    const uint32_t row = trace_.copies.work[wait.row];
    const uint32_t work = row < out_.work_of_row.size() ? out_.work_of_row[row] : kNone;
    if (work == kNone || out_.works[work].end > wait.end + kSlack) return;
    out_.waits.push_back({segment, work, kNone, name_of_sync(UINT8_MAX), true});
  }

  // Beyond the ids of names.
  uint32_t name_of_sync(uint32_t kind) const { return trace_.strings.size() + kind; }

  uint32_t device_of(uint32_t row) const {
    const uint32_t device = trace_.calls.device[row];
    if (device < trace_.devices.size()) return device;
    return trace_.devices.size() == 1 ? 0 : kNone;
  }

  uint32_t ended_in(uint32_t row) const {
    return ended_before(clock_.of(trace_.calls.start[row]), clock_.of(trace_.calls.end[row]),
                        device_of(row));
  }

  // Of the work asked for before `start`, what ended last before `end`.
  uint32_t ended_before(Ns start, Ns end, uint32_t device) const {
    auto at = std::upper_bound(out_.by_end.begin(), out_.by_end.end(), end,
                               [&](Ns t, uint32_t k) { return t < out_.works[k].end; });
    for (int k = 0; k < kLookBackEnd && at != out_.by_end.begin(); ++k) {
      --at;
      const DraftWork& draft = out_.works[*at];
      if (draft.asked < start && (device == kNone || draft.device == device)) return *at;
    }
    return kNone;
  }

  void add_wait(uint32_t row, uint32_t work, uint32_t join, bool own) {
    // Of a call with calls inside it, the longest part of its own is where it waits.
    uint32_t segment = kNone;
    Ns longest = -1;
    for (uint32_t k = lines_.call_first[row]; k <= lines_.call_last[row]; ++k) {
      const Segment& part = lines_.segments[k];
      const bool mine = part.kind == NodeKind::call && part.row == row;
      if (mine && part.end - part.begin > longest) {
        longest = part.end - part.begin;
        segment = k;
      }
    }
    if (segment == kNone) return;
    const Ns end = lines_.segments[segment].end;
    if (!own && (work != kNone ? out_.works[work].end : out_.joins[join].end) > end + kSlack) {
      ++out_.dropped;
      return;
    }
    out_.waits.push_back({segment, work, join, trace_.calls.name[row], own});
  }

  void wait_for_work(uint32_t row, uint32_t work) {
    if (work != kNone) add_wait(row, work, kNone, false);
  }

  void wait_or_idle(uint32_t row, uint32_t work) {
    wait_for_work(row, work);
    if (work == kNone) out_.idle_calls.push_back(row);
  }

  void wait_for_device(uint32_t row, uint32_t device) {
    const Ns until = clock_.of(trace_.calls.end[row]) + kSlack;
    DraftJoin join;
    join.before = last_join_[device];
    if (join.before != kNone) {
      join.end = out_.joins[join.before].end;
      join.key = out_.joins[join.before].key;
    }
    join.first = static_cast<uint32_t>(out_.join_work.size());
    for (const uint32_t stream : pending_streams_[device]) {
      pending_[stream] = false;
      const uint32_t work = last_[stream];
      if (work == kNone) continue;
      const DraftWork& draft = out_.works[work];
      if (draft.end > until) {
        ++out_.dropped;
        continue;
      }
      out_.join_work.push_back(work);
      join.end = std::max(join.end, draft.end);
      join.key = std::max(join.key, draft.start);
    }
    pending_streams_[device].clear();
    join.count = static_cast<uint32_t>(out_.join_work.size()) - join.first;
    if (join.count > 0) {
      last_join_[device] = static_cast<uint32_t>(out_.joins.size());
      out_.joins.push_back(join);
    }
    if (last_join_[device] != kNone) add_wait(row, kNone, last_join_[device], false);
  }

  const Trace& trace_;
  const Clock& clock_;
  const Lines& lines_;
  Device& out_;
  std::vector<Event> events_;
  std::vector<uint32_t> work_of_call_;
  std::vector<uint32_t> last_;  // asked for, of each stream
  std::vector<bool> pending_;   // something since the last join
  std::vector<std::vector<uint32_t>> pending_streams_;
  std::vector<std::vector<uint32_t>> waits_of_stream_;
  std::vector<std::vector<uint32_t>> ends_of_stream_;  // all that was asked for, in order
  std::vector<uint32_t> last_join_;
  std::vector<Ns> latest_end_;
  std::vector<uint32_t> last_of_thread_;
  std::vector<uint32_t> record_work_;
  // Correlation of a record -> first and count in record_work_.
  std::unordered_map<uint64_t, std::pair<uint32_t, uint32_t>> recorded_;
};

}  // namespace

void order_by_submission(const Trace& trace, const Clock& clock, const Lines& lines, Device* out) {
  Submission(trace, clock, lines, *out).run();
}

}  // namespace mill::prof::replay
