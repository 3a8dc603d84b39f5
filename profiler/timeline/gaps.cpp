#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "profiler/timeline/batches.h"
#include "profiler/timeline/first_use.h"
#include "profiler/timeline/rows.h"
#include "profiler/timeline/steps.h"
#include "profiler/timeline/timeline.h"

namespace mill::prof {

namespace {

constexpr Ns kLeastPart = 10;  // a tenth of a gap: an op with less does not stand for it

bool is_wait(CallKind kind) {
  return kind == CallKind::sync_event || kind == CallKind::sync_stream ||
         kind == CallKind::sync_device;
}

// Waits by their end, to find those that ended in a gap.
class Waits {
 public:
  void add(Ns begin, Ns end) {
    if (begin < end) waits_.push_back({begin, end});
  }
  void sort() {
    std::sort(waits_.begin(), waits_.end(), [](const Interval& a, const Interval& b) {
      return a.end != b.end ? a.end < b.end : a.begin < b.begin;
    });
  }
  IntervalSet ended_in(Interval gap) const {
    auto at = std::upper_bound(waits_.begin(), waits_.end(), gap.begin,
                               [](Ns t, const Interval& one) { return t < one.end; });
    std::vector<Interval> cut;
    for (; at != waits_.end() && at->end <= gap.end; ++at)
      cut.push_back({std::max(at->begin, gap.begin), at->end});
    return IntervalSet(std::move(cut));
  }

 private:
  std::vector<Interval> waits_;
};

// What one thread did, as a device may have had to wait for it.
struct ThreadWork {
  IntervalSet module_load;
  IntervalSet allocation;
  IntervalSet loader;
  IntervalSet host;
  Waits syncs;
  Waits copies;
  // The innermost op at every instant that has one, in order.
  struct Piece {
    Interval time;
    uint32_t op;
  };
  std::vector<Piece> pieces;
};

// Rows of each table by thread.
struct ByThread {
  explicit ByThread(const Trace& trace)
      : syncs(rows_by_thread(trace.syncs.thread, trace.threads.size())),
        copies(rows_by_thread(trace.copies.thread, trace.threads.size())),
        allocations(rows_by_thread(trace.allocations.thread, trace.threads.size())),
        loader(rows_by_thread(trace.loader.thread, trace.threads.size())),
        ranges(rows_by_thread(trace.ranges.thread, trace.threads.size())) {}
  std::vector<std::vector<uint32_t>> syncs;
  std::vector<std::vector<uint32_t>> copies;
  std::vector<std::vector<uint32_t>> allocations;
  std::vector<std::vector<uint32_t>> loader;
  std::vector<std::vector<uint32_t>> ranges;
};

std::vector<ThreadWork::Piece> innermost_pieces(const Ops& ops, const std::vector<uint32_t>& rows) {
  std::vector<Ns> changes;
  changes.reserve(2 * rows.size());
  for (const uint32_t row : rows) {
    changes.push_back(ops.start[row]);
    changes.push_back(ops.end[row]);
  }
  std::sort(changes.begin(), changes.end());
  changes.erase(std::unique(changes.begin(), changes.end()), changes.end());
  InnermostOp innermost(ops, rows);
  std::vector<ThreadWork::Piece> pieces;
  for (size_t k = 0; k + 1 < changes.size(); ++k) {
    const uint32_t op = innermost.at(changes[k]);
    if (op != kNoRow) pieces.push_back({{changes[k], changes[k + 1]}, op});
  }
  return pieces;
}

class Causes {
 public:
  explicit Causes(const Timeline& timeline)
      : timeline_(timeline),
        trace_(timeline.trace()),
        by_thread_(trace_),
        first_use_(find_first_uses(trace_)),
        threads_(trace_.threads.size()),
        overheads_of_(trace_.devices.size()) {
    std::vector<uint32_t> anywhere;
    for (uint32_t row = 0; row < trace_.overheads.size(); ++row) {
      const uint32_t device = trace_.overheads.device[row];
      (device < overheads_of_.size() ? overheads_of_[device] : anywhere).push_back(row);
    }
    anywhere_ = read_overheads(anywhere);
  }

  void choose_device(uint32_t device) { on_device_ = read_overheads(overheads_of_[device]); }

  // Splits a gap whose end `thread` brought about by a call [call.begin, call.end); has_call: false
  // where that is not known.
  void split(Gap* gap, uint32_t thread, bool has_call, Interval call) {
    const Interval all{gap->begin, gap->end};
    rest_.assign(1, all);
    take(gap, GapCause::profiler, anywhere_.profiler, all);
    take(gap, GapCause::profiler, on_device_.profiler, all);
    take(gap, GapCause::module_load, anywhere_.module_load, all);
    take(gap, GapCause::module_load, on_device_.module_load, all);
    // What a thread did after it had launched the work held nothing up.
    Interval before = all;
    if (has_call) before.end = std::clamp(call.end, all.begin, all.end);
    const ThreadWork* work = thread < threads_.size() ? &work_of(thread) : nullptr;
    if (work != nullptr) {
      take(gap, GapCause::module_load, work->module_load, before);
      take(gap, GapCause::allocation, work->allocation, before);
      take(gap, GapCause::sync, work->syncs.ended_in(all), before);
      take(gap, GapCause::copy_wait, work->copies.ended_in(all), before);
      take(gap, GapCause::loader, work->loader, before);
    }
    take(gap, GapCause::queue_full, anywhere_.queue_full, before);
    take(gap, GapCause::queue_full, on_device_.queue_full, before);
    if (has_call) {
      take(gap, GapCause::launch, IntervalSet({call}), all);
      take(gap, GapCause::latency, IntervalSet({{std::max(call.end, all.begin), all.end}}), all);
    }
    if (work != nullptr) {
      take(gap, GapCause::host_op, work->host, before);
      find_main_op(*work, before, gap);
    }
    Ns left = 0;
    for (const Interval& one : rest_) left += one.length();
    gap->causes[static_cast<int>(GapCause::unknown)] = left;
  }

 private:
  // Of any thread: runtimes and tools write their overheads down under threads of their own.
  struct OverheadSets {
    IntervalSet profiler;
    IntervalSet module_load;
    IntervalSet queue_full;
  };

  OverheadSets read_overheads(const std::vector<uint32_t>& rows) const {
    const Overheads& overheads = trace_.overheads;
    std::vector<Interval> profiler;
    std::vector<Interval> module_load;
    std::vector<Interval> queue_full;
    for (const uint32_t row : rows) {
      const Interval one{overheads.start[row], overheads.end[row]};
      if (!possible(one.begin, one.end)) continue;
      switch (static_cast<OverheadKind>(overheads.kind[row])) {
        case OverheadKind::profiler: profiler.push_back(one); break;
        case OverheadKind::module_load: module_load.push_back(one); break;
        case OverheadKind::queue_full: queue_full.push_back(one); break;
        default: break;
      }
    }
    return {IntervalSet(std::move(profiler)), IntervalSet(std::move(module_load)),
            IntervalSet(std::move(queue_full))};
  }

  // Gives the cause what is left of the gap in `set` and in `where`.
  void take(Gap* gap, GapCause cause, const IntervalSet& set, Interval where) {
    Ns length = 0;
    left_.clear();
    for (const Interval& one : rest_) {
      Ns at = one.begin;
      const Interval open{std::max(one.begin, where.begin), std::min(one.end, where.end)};
      auto part = open.begin < open.end
                      ? std::upper_bound(set.parts().begin(), set.parts().end(), open.begin,
                                         [](Ns t, const Interval& p) { return t < p.end; })
                      : set.parts().end();
      for (; part != set.parts().end() && part->begin < open.end; ++part) {
        const Interval cut{std::max(part->begin, open.begin), std::min(part->end, open.end)};
        if (at < cut.begin) left_.push_back({at, cut.begin});
        at = cut.end;
        length += cut.length();
      }
      if (at < one.end) left_.push_back({at, one.end});
    }
    rest_.swap(left_);
    gap->causes[static_cast<int>(cause)] += length;
  }

  // The op in which most of `time` went by. A gap that hardly any op was in has none.
  void find_main_op(const ThreadWork& work, Interval time, Gap* gap) {
    sums_.clear();
    auto piece = std::upper_bound(work.pieces.begin(), work.pieces.end(), time.begin,
                                  [](Ns t, const ThreadWork::Piece& p) { return t < p.time.end; });
    for (; piece != work.pieces.end() && piece->time.begin < time.end; ++piece) {
      const Interval both{std::max(piece->time.begin, time.begin),
                          std::min(piece->time.end, time.end)};
      sums_.push_back({piece->op, both.length()});
    }
    std::sort(sums_.begin(), sums_.end());
    uint32_t best = kNoRow;
    Ns most = 0;
    for (size_t begin = 0; begin < sums_.size();) {
      Ns sum = 0;
      size_t end = begin;
      for (; end < sums_.size() && sums_[end].first == sums_[begin].first; ++end)
        sum += sums_[end].second;
      if (sum > most) {
        best = sums_[begin].first;
        most = sum;
      }
      begin = end;
    }
    if (most <= (gap->end - gap->begin) / kLeastPart) return;
    gap->op = best;
    gap->op_ns = most;
  }

  const ThreadWork& work_of(uint32_t thread) {
    std::unique_ptr<ThreadWork>& work = threads_[thread];
    if (work == nullptr) work = std::make_unique<ThreadWork>(read(thread));
    return *work;
  }

  ThreadWork read(uint32_t thread) const {
    ThreadWork work;
    std::vector<Interval> module_load;
    std::vector<Interval> allocation;
    std::vector<Interval> loader;
    std::vector<Interval> host;
    const Calls& calls = trace_.calls;
    for (const uint32_t row : timeline_.calls_of(thread)) {
      const Interval one{calls.start[row], calls.end[row]};
      const auto kind = static_cast<CallKind>(calls.kind[row]);
      if (is_wait(kind)) work.syncs.add(one.begin, one.end);
      if (first_use_[row]) {
        module_load.push_back(one);
        continue;
      }
      switch (kind) {
        case CallKind::module_load:
        case CallKind::create: module_load.push_back(one); break;
        case CallKind::allocate:
        case CallKind::free:
        case CallKind::host_allocate:
        case CallKind::host_free: allocation.push_back(one); break;
        case CallKind::copy:
          if (calls.flags[row] & kBlocking) work.copies.add(one.begin, one.end);
          break;
        case CallKind::fill:
          if (calls.flags[row] & kBlocking) work.syncs.add(one.begin, one.end);
          break;
        default: break;
      }
    }
    read_engine(thread, &work, &allocation, &loader, &host);
    work.pieces = innermost_pieces(trace_.ops, timeline_.ops_of(thread));
    for (const ThreadWork::Piece& piece : work.pieces) host.push_back(piece.time);
    work.module_load = IntervalSet(std::move(module_load));
    work.allocation = IntervalSet(std::move(allocation));
    work.loader = IntervalSet(std::move(loader));
    work.host = IntervalSet(std::move(host));
    work.syncs.sort();
    work.copies.sort();
    return work;
  }

  // What the engine or a framework says of the thread.
  void read_engine(uint32_t thread, ThreadWork* work, std::vector<Interval>* allocation,
                   std::vector<Interval>* loader, std::vector<Interval>* host) const {
    const Syncs& syncs = trace_.syncs;
    for (const uint32_t row : by_thread_.syncs[thread]) {
      if (!possible(syncs.start[row], syncs.end[row])) continue;
      const bool read = syncs.kind[row] == static_cast<uint8_t>(SyncKind::read);
      (read ? work->copies : work->syncs).add(syncs.start[row], syncs.end[row]);
    }
    const Copies& copies = trace_.copies;
    for (const uint32_t row : by_thread_.copies[thread]) {
      if ((copies.flags[row] & kBlocking) && possible(copies.start[row], copies.end[row]))
        work->copies.add(copies.start[row], copies.end[row]);
    }
    const Allocations& allocations = trace_.allocations;
    for (const uint32_t row : by_thread_.allocations[thread]) {
      const auto how = static_cast<AllocHow>(allocations.how[row]);
      if ((how == AllocHow::growth || how == AllocHow::reclaim) &&
          possible(allocations.start[row], allocations.end[row]))
        allocation->push_back({allocations.start[row], allocations.end[row]});
    }
    const Loader& rows = trace_.loader;
    for (const uint32_t row : by_thread_.loader[thread]) {
      if (possible(rows.start[row], rows.end[row]))
        loader->push_back({rows.start[row], wait_end(rows, row)});
    }
    const Ranges& ranges = trace_.ranges;
    for (const uint32_t row : by_thread_.ranges[thread]) {
      if (ranges.kind[row] != static_cast<uint8_t>(RangeKind::step) &&
          possible(ranges.start[row], ranges.end[row]))
        host->push_back({ranges.start[row], ranges.end[row]});
    }
  }

  const Timeline& timeline_;
  const Trace& trace_;
  ByThread by_thread_;
  std::vector<bool> first_use_;
  std::vector<std::unique_ptr<ThreadWork>> threads_;
  std::vector<std::vector<uint32_t>> overheads_of_;  // by device
  OverheadSets anywhere_;
  OverheadSets on_device_;
  std::vector<Interval> rest_;
  std::vector<Interval> left_;
  std::vector<std::pair<uint32_t, Ns>> sums_;
};

// What can end a gap of a device, by start.
struct Item {
  Ns start;
  uint32_t row;  // of Work; of a CPU device, of Ops
};

std::vector<Item> items_of(const Timeline& timeline, const DeviceView& view,
                           const std::vector<uint32_t>& computing) {
  const Trace& trace = timeline.trace();
  std::vector<Item> items;
  for (const uint32_t row : view.work) {
    const auto kind = static_cast<WorkKind>(trace.work.kind[row]);
    const bool busy = kind == WorkKind::kernel || kind == WorkKind::copy || kind == WorkKind::fill;
    if (busy && trace.work.start[row] < trace.work.end[row])
      items.push_back({trace.work.start[row], row});
  }
  if (!view.work.empty()) return items;
  for (const uint32_t row : computing) {
    if (trace.ops.device[row] == view.device && trace.ops.start[row] < trace.ops.end[row])
      items.push_back({trace.ops.start[row], row});
  }
  return items;
}

}  // namespace

const char* gap_cause_name(GapCause cause) {
  static constexpr std::array<const char*, kGapCauses> kNames = {
      "profiler",   "module load", "allocation", "synchronisation", "copy wait",    "data loader",
      "queue full", "launch call", "latency",    "host operator",   "not explained"};
  const auto k = static_cast<size_t>(cause);
  return k < kNames.size() ? kNames[k] : "";
}

std::vector<Gap> find_gaps(const Timeline& timeline, Ns shortest) {
  const Trace& trace = timeline.trace();
  const std::vector<uint32_t> computing = computing_ops(trace);
  Causes causes(timeline);
  const std::vector<bool> fills = filling_threads(trace);
  std::vector<Gap> gaps;
  size_t devices = 0;
  for (const DeviceView& view : timeline.devices()) {
    if (view.busy.empty()) continue;
    // Each device looks at the same host once more; a file may name any number of devices.
    if (++devices > kGapDevices) break;
    const std::vector<Item> items = items_of(timeline, view, computing);
    causes.choose_device(view.device);
    const IntervalSet idle_times = timeline.analysed().minus(view.busy);
    for (const Interval& idle : idle_times.parts()) {
      if (idle.length() < std::max<Ns>(shortest, 1)) continue;
      const auto next = std::lower_bound(items.begin(), items.end(), idle.end,
                                         [](const Item& item, Ns t) { return item.start < t; });
      const bool ended = next != items.end() && next->start == idle.end;
      // Without steps, what comes after the last piece of work is the end of the program.
      if (!ended && timeline.window_steps() == 0) continue;
      Gap gap;
      gap.device = view.device;
      gap.begin = idle.begin;
      gap.end = idle.end;
      gap.step = timeline.step_at(idle.end - 1);
      uint32_t thread = timeline.main_thread();
      bool has_call = false;
      Interval call;
      if (ended && view.work.empty()) {
        thread = trace.ops.thread[next->row];
      } else if (ended) {
        gap.next = next->row;
        const uint32_t row = trace.work.call[next->row];
        const Ns submit = trace.work.submit[next->row];
        if (row != kNoRow) thread = trace.calls.thread[row];
        if (row != kNoRow && usable_call(trace.calls, row)) {
          call = {trace.calls.start[row], trace.calls.end[row]};
          has_call = true;
        } else if (submit != 0 && submit <= idle.end) {
          call = {submit, submit};
          has_call = true;
        }
      }
      // A copy that goes ahead ends a gap by chance: what the device waited for is the program.
      if (thread < fills.size() && fills[thread] && timeline.main_thread() != kNoRow) {
        thread = timeline.main_thread();
        has_call = false;
      }
      causes.split(&gap, thread, has_call, call);
      gaps.push_back(gap);
    }
  }
  return gaps;
}

}  // namespace mill::prof
