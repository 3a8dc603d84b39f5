// Lines of host time. Each is cut into segments without holes: calls, loader waits, ops of a CPU
// device, and the gaps between them, whose length is taken as given.
//
// Threads that never run at the same time are one line: a framework that hands its backward pass to
// a thread of its own and waits for it has one order of events, not two, and a plan that shortens
// the one must move the other.
#include <algorithm>
#include <utility>

#include "profiler/base/intervals.h"
#include "profiler/replay/graph.h"
#include "profiler/timeline/batches.h"
#include "profiler/timeline/steps.h"

namespace mill::prof::replay {

namespace {

constexpr size_t kMostShared = 8;  // threads that are tried as part of the main one's line
constexpr size_t kDeepest = 32;    // calls inside calls; so that naming every call stays linear

struct Item {
  Ns start;
  Ns end;
  uint32_t row;
  NodeKind kind;
  bool copy = false;  // of kind wait: a row of Copies
  bool fill = false;  // of kind loader: a batch is made
  bool operator<(const Item& other) const {
    if (start != other.start) return start < other.start;
    if (end != other.end) return end > other.end;
    if (kind != other.kind) return kind < other.kind;
    return row < other.row;
  }
};

struct ThreadItems {
  std::vector<Item> items;
  Ns begin = INT64_MAX;
  Ns end = INT64_MIN;
  bool fills = false;
  bool syncs = false;
};

bool waits_by_name(uint8_t kind) {
  return kind == static_cast<uint8_t>(CallKind::sync_event) ||
         kind == static_cast<uint8_t>(CallKind::sync_stream) ||
         kind == static_cast<uint8_t>(CallKind::sync_device);
}

class LineCollector {
 public:
  LineCollector(const Trace& trace, const Clock& clock)
      : trace_(trace), clock_(clock), threads_(trace.threads.size()) {}

  std::vector<ThreadItems> take() && {
    calls();
    ops();
    loader();
    waits();
    extend(trace_.marked_steps);
    extend(trace_.ranges);
    return std::move(threads_);
  }

 private:
  ThreadItems* at(uint32_t thread, Ns start, Ns end, Ns* from, Ns* to) {
    if (thread >= threads_.size() || !clock_.take(start, end, from, to)) return nullptr;
    ThreadItems& items = threads_[thread];
    items.begin = std::min(items.begin, *from);
    items.end = std::max(items.end, *to);
    return &items;
  }

  void calls() {
    const Calls& calls = trace_.calls;
    for (uint32_t row = 0; row < calls.size(); ++row) {
      Ns from = 0;
      Ns to = 0;
      if (calls.flags[row] & kExcluded) continue;
      ThreadItems* items = at(calls.thread[row], calls.start[row], calls.end[row], &from, &to);
      if (!items) continue;
      items->items.push_back({from, to, row, NodeKind::call});
      items->syncs |= waits_by_name(calls.kind[row]);
    }
  }

  void ops() {
    const Ops& ops = trace_.ops;
    extend(ops);
    const bool some_cpu =
        std::any_of(trace_.devices.begin(), trace_.devices.end(),
                    [](const DeviceInfo& d) { return d.kind == DeviceKind::cpu; });
    if (!some_cpu) return;
    for (const uint32_t row : computing_ops(trace_)) {
      const uint32_t device = ops.device[row];
      if (device >= trace_.devices.size() || trace_.devices[device].kind != DeviceKind::cpu)
        continue;
      Ns from = 0;
      Ns to = 0;
      if (ThreadItems* items = at(ops.thread[row], ops.start[row], ops.end[row], &from, &to))
        items->items.push_back({from, to, row, NodeKind::op});
    }
  }

  void loader() {
    const Loader& loader = trace_.loader;
    for (uint32_t row = 0; row < loader.size(); ++row) {
      Ns from = 0;
      Ns to = 0;
      ThreadItems* items = at(loader.thread[row], loader.start[row], loader.end[row], &from, &to);
      if (!items) continue;
      const bool fill = loader.kind[row] == static_cast<uint8_t>(LoaderKind::fill);
      // The wait comes first; what is left of the call is done with the batch in hand.
      if (!fill) to = clock_.of(wait_end(loader, row));
      items->fills |= fill;
      if (from < to) items->items.push_back({from, to, row, NodeKind::loader, false, fill});
    }
  }

  void waits() {
    const Syncs& syncs = trace_.syncs;
    for (uint32_t row = 0; row < syncs.size(); ++row) {
      Ns from = 0;
      Ns to = 0;
      ThreadItems* items = at(syncs.thread[row], syncs.start[row], syncs.end[row], &from, &to);
      if (items && !items->syncs && from < to)
        items->items.push_back({from, to, row, NodeKind::wait});
    }
    const Copies& copies = trace_.copies;
    for (uint32_t row = 0; row < copies.size(); ++row) {
      Ns from = 0;
      Ns to = 0;
      ThreadItems* items = at(copies.thread[row], copies.start[row], copies.end[row], &from, &to);
      const uint32_t work = copies.work[row];
      if (items && (copies.flags[row] & kBlocking) && from < to && work < trace_.work.size() &&
          trace_.work.call[work] == kNoRow)
        items->items.push_back({from, to, row, NodeKind::wait, true});
    }
  }

  template <class T>
  void extend(const T& table) {
    Ns from = 0;
    Ns to = 0;
    for (uint32_t row = 0; row < table.size(); ++row)
      at(table.thread[row], table.start[row], table.end[row], &from, &to);
  }

  const Trace& trace_;
  const Clock& clock_;
  std::vector<ThreadItems> threads_;
};

IntervalSet busy(const std::vector<Item>& items) {
  std::vector<Interval> intervals;
  intervals.reserve(items.size());
  for (const Item& item : items) intervals.push_back({item.start, item.end});
  return IntervalSet(std::move(intervals));
}

// Threads of the main thread's process that take turns with it.
std::vector<uint32_t> sharing_threads(const Trace& trace, const std::vector<ThreadItems>& threads,
                                      uint32_t main) {
  std::vector<uint32_t> shared;
  if (main >= threads.size() || threads[main].fills) return shared;
  std::vector<uint32_t> others;
  for (uint32_t thread = 0; thread < threads.size(); ++thread) {
    if (thread != main && !threads[thread].items.empty() && !threads[thread].fills &&
        trace.threads[thread].process == trace.threads[main].process)
      others.push_back(thread);
  }
  std::stable_sort(others.begin(), others.end(), [&](uint32_t a, uint32_t b) {
    return threads[a].items.size() > threads[b].items.size();
  });
  if (others.size() > kMostShared) others.resize(kMostShared);
  IntervalSet taken = busy(threads[main].items);
  for (const uint32_t thread : others) {
    const std::vector<Item>& items = threads[thread].items;
    size_t clashes = 0;
    for (const Item& item : items) {
      if (taken.overlap({item.start, item.end}) > kSlack) ++clashes;
    }
    if (clashes * 100 > items.size()) continue;
    shared.push_back(thread);
    taken = taken.united(busy(items));
  }
  return shared;
}

class LineWriter {
 public:
  LineWriter(Lines& lines, std::vector<Item> items, Ns begin, Ns end)
      : lines_(lines), items_(std::move(items)), t_(begin) {
    std::sort(items_.begin(), items_.end());
    lines_.segments.push_back({begin, begin, kNone, NodeKind::root});
    for (uint32_t k = 0; k < items_.size(); ++k) {
      const Ns start = items_[k].start;
      while (!open_.empty() && items_[open_.back()].end <= start) close(items_[open_.back()].end);
      // Neither before nor inside: the earlier one gives way.
      while (!open_.empty() && items_[open_.back()].end < items_[k].end) close(start);
      if (open_.size() >= kDeepest) continue;
      write(start, open_.empty() ? kNone : open_.back(), false);
      open_.push_back(k);
    }
    while (!open_.empty()) close(items_[open_.back()].end);
    write(end, kNone, false);
  }

 private:
  void close(Ns at) {
    const Item& item = items_[open_.back()];
    const bool unseen = item.kind == NodeKind::call && lines_.call_first[item.row] == kNone;
    write(at, open_.back(), unseen);
    if (item.kind == NodeKind::call)
      lines_.call_last[item.row] = static_cast<uint32_t>(lines_.segments.size() - 1);
    open_.pop_back();
  }

  void write(Ns until, uint32_t owner, bool even_if_empty) {
    if (until <= t_ && !even_if_empty) return;
    Segment segment;
    segment.begin = t_;
    segment.end = std::max(t_, until);
    t_ = segment.end;
    const auto position = static_cast<uint32_t>(lines_.segments.size());
    if (owner != kNone) {
      const Item& item = items_[owner];
      segment.kind = item.kind;
      segment.row = item.row;
      if (item.kind == NodeKind::wait)
        (item.copy ? lines_.copy_segments : lines_.sync_segments).push_back(position);
    }
    lines_.segments.push_back(segment);
    // Calls that hold this one begin here too, if they have had no segment yet.
    for (auto open = open_.rbegin(); open != open_.rend(); ++open) {
      const Item& item = items_[*open];
      if (item.kind != NodeKind::call) continue;
      if (lines_.call_first[item.row] != kNone) break;
      lines_.call_first[item.row] = position;
    }
  }

  Lines& lines_;
  std::vector<Item> items_;
  std::vector<uint32_t> open_;
  Ns t_;
};

// A wait for a batch ends when a worker has made it, if that is close to its end.
void hand_over(const Trace& trace, const Clock& clock, Lines& lines) {
  const Loader& loader = trace.loader;
  const std::vector<uint32_t> makers = batch_makers(loader);
  for (uint32_t line = 0; line + 1 < lines.first.size(); ++line) {
    for (uint32_t k = lines.first[line]; k < lines.first[line + 1]; ++k) {
      Segment& segment = lines.segments[k];
      const uint32_t fill = segment.kind == NodeKind::loader ? makers[segment.row] : kNoRow;
      Ns from = 0;
      Ns made = 0;
      if (fill == kNoRow || !clock.take(loader.start[fill], loader.end[fill], &from, &made))
        continue;
      const uint32_t worker = lines.line(loader.thread[fill]);
      const Ns late = segment.end - made;
      if (worker == kNone || worker == line || late < 0 || made <= segment.begin ||
          late > std::max<Ns>(100'000, (segment.end - segment.begin) / 4))
        continue;
      segment.fill = lines.at(worker, made);
    }
  }
}

// A worker that is ahead waits until the program takes a batch, which gives back the memory for the
// next one; and where there are fewer processors than threads, until the program leaves it one.
// Either way it begins when the thread that takes the batches lets it; as it does with the first
// one, which that thread asks for.
void hand_back(const Trace& trace, const Clock& clock, Lines& lines) {
  const Loader& loader = trace.loader;
  struct Next {
    Ns begin;
    uint32_t line;
  };
  std::vector<Next> nexts;
  for (uint32_t row = 0; row < loader.size(); ++row) {
    Ns from = 0;
    Ns to = 0;
    if (loader.kind[row] == static_cast<uint8_t>(LoaderKind::next) &&
        clock.take(loader.start[row], loader.end[row], &from, &to) &&
        lines.line(loader.thread[row]) != kNone)
      nexts.push_back({from, lines.line(loader.thread[row])});
  }
  if (nexts.empty()) return;
  std::sort(nexts.begin(), nexts.end(), [](const Next& a, const Next& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.line < b.line;
  });
  for (uint32_t row = 0; row < loader.size(); ++row) {
    Ns begin = 0;
    Ns to = 0;
    if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::fill) ||
        !clock.take(loader.start[row], loader.end[row], &begin, &to))
      continue;
    const uint32_t line = lines.line(loader.thread[row]);
    if (line == kNone) continue;
    const auto after = std::upper_bound(nexts.begin(), nexts.end(), begin,
                                        [](Ns t, const Next& next) { return t < next.begin; });
    if (after == nexts.begin()) continue;
    const Next& next = *std::prev(after);
    if (next.line == line) continue;
    // What ends where the batch begins: a pause, or nothing, of a worker that then does its first.
    const uint32_t root = lines.first[line];
    const bool first = lines.segments[root].begin == begin;
    Segment& held = lines.segments[first ? root : lines.at(line, begin)];
    if (!first && (held.kind != NodeKind::gap || held.end != begin)) continue;
    // What the other thread had behind it by then: strictly, since among nodes of one time the
    // order is that of the lines.
    uint32_t from = lines.at(next.line, begin);
    while (lines.segments[from].end >= begin && from > lines.first[next.line]) --from;
    if (first || lines.segments[from].end >= held.begin) held.fill = from;
  }
}

}  // namespace

uint32_t Lines::at(uint32_t line, Ns t) const {
  const auto begin = segments.begin() + first[line];
  const auto end = segments.begin() + first[line + 1];
  // The root lies at the beginning; the first segment that ends at t or later holds t.
  const auto found =
      std::lower_bound(begin + 1, end, t, [](const Segment& s, Ns at) { return s.end < at; });
  const auto position = found == end ? end - 1 : found;
  return static_cast<uint32_t>(position - segments.begin());
}

Lines make_lines(const Timeline& timeline, const Clock& clock) {
  const Trace& trace = timeline.trace();
  std::vector<ThreadItems> threads = LineCollector(trace, clock).take();
  Lines lines;
  lines.line_of_thread.assign(threads.size(), kNone);
  lines.call_first.assign(trace.calls.size(), kNone);
  lines.call_last.assign(trace.calls.size(), kNone);
  const uint32_t main = timeline.main_thread();
  std::vector<uint32_t> shared = sharing_threads(trace, threads, main);
  for (const uint32_t thread : shared) {
    ThreadItems& from = threads[thread];
    ThreadItems& to = threads[main];
    to.items.insert(to.items.end(), from.items.begin(), from.items.end());
    to.begin = std::min(to.begin, from.begin);
    to.end = std::max(to.end, from.end);
  }
  // Workers that make batches come first: what ends at the same time is ordered by its line.
  std::vector<uint32_t> order;
  for (uint32_t thread = 0; thread < threads.size(); ++thread) order.push_back(thread);
  std::stable_partition(order.begin(), order.end(),
                        [&](uint32_t thread) { return threads[thread].fills; });
  for (const uint32_t thread : order) {
    ThreadItems& items = threads[thread];
    if (items.begin > items.end || std::find(shared.begin(), shared.end(), thread) != shared.end())
      continue;
    lines.line_of_thread[thread] = static_cast<uint32_t>(lines.first.size());
    lines.first.push_back(static_cast<uint32_t>(lines.segments.size()));
    LineWriter(lines, std::move(items.items), items.begin, items.end);
  }
  lines.first.push_back(static_cast<uint32_t>(lines.segments.size()));
  for (const uint32_t thread : shared) lines.line_of_thread[thread] = lines.line_of_thread[main];
  hand_over(trace, clock, lines);
  hand_back(trace, clock, lines);
  return lines;
}

}  // namespace mill::prof::replay
