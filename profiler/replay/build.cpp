// Joins the host's lines and the device's work into one graph, in an order in which everything
// comes after what it waits for.
//
// Lags. The recorded start of a piece of work is explained by the latest of its edges; what is left
// is that edge's lag: the latency of the hardware, or whatever else nobody wrote down. Edges that
// were served earlier may decide in a plan, and then need a lag too: the lowest decile of those
// that did decide elsewhere, as far as the recorded start allows it. So the unchanged graph gives
// back every recorded time exactly, as long as no edge is contradicted by the times.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "profiler/replay/graph.h"

namespace mill::prof::replay {

namespace {

constexpr Ns kUnexplained = 10'000;  // a later start than this asks for a reason
constexpr Ns kNear = 5'000;          // ... such as work of another stream that ended just before

Ns quantile(std::vector<Ns>& values, double at) {
  if (values.empty()) return 0;
  const auto k = static_cast<std::ptrdiff_t>(at * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + k, values.end());
  return values[static_cast<size_t>(k)];
}

// Values by what they belong to, and one quantile of each.
class Typical {
 public:
  static constexpr uint64_t kAny = UINT64_MAX;

  void add(uint64_t key, Ns value) { values_[key].push_back(value); }
  void add_to_any(uint64_t key, Ns value) {
    add(key, value);
    add(kAny, value);
  }
  void settle(double at) {
    for (auto& [key, values] : values_) settled_[key] = quantile(values, at);
  }
  // -1: no value of this kind.
  Ns of(uint64_t key) const {
    const auto found = settled_.find(key);
    return found == settled_.end() ? -1 : found->second;
  }
  // Of this kind, else of all, else 0.
  Ns of_or_any(uint64_t key) const {
    const Ns own = of(key);
    return std::max<Ns>(0, own >= 0 ? own : of(kAny));
  }

 private:
  std::unordered_map<uint64_t, std::vector<Ns>> values_;
  std::unordered_map<uint64_t, Ns> settled_;
};

class Builder {
 public:
  explicit Builder(const Timeline& timeline)
      : timeline_(timeline),
        trace_(timeline.trace()),
        clock_(timeline.window().begin),
        lines_(make_lines(timeline, clock_)),
        device_(make_device(timeline, clock_, lines_)) {}

  Graph run() {
    own_.resize(lines_.segments.size());
    for (size_t k = 0; k < own_.size(); ++k)
      own_[k] = lines_.segments[k].end - lines_.segments[k].begin;
    host_.resize(device_.works.size());
    find_waits();
    ask();
    explain_late_starts();
    order();
    fill_segments();
    fill_work();
    fill_joins();
    index();
    anchor_steps();
    return std::move(graph_);
  }

 private:
  // Where on the host work was asked for.
  struct Host {
    uint32_t segment = kNone;  // kNone: not known
    Ns offset = 0;
    Ns time = kNever;
    bool derived = false;  // from the start of work that a call waits for itself
    bool with_latency = false;
  };

  CallKind call_kind(uint32_t row) const { return static_cast<CallKind>(trace_.calls.kind[row]); }

  bool launches(uint32_t row) const {
    return call_kind(row) == CallKind::launch || call_kind(row) == CallKind::graph_launch;
  }

  Ns end_of(const DraftWait& wait) const {
    return wait.work != kNone ? device_.works[wait.work].end : device_.joins[wait.join].end;
  }

  // ---- the host's own part of what it waits in ----------------------------------------------

  void find_waits() {
    wait_of_.assign(lines_.segments.size(), kNone);
    own_wait_of_call_.assign(trace_.calls.size(), kNone);
    for (uint32_t k = 0; k < device_.waits.size(); ++k) {
      const DraftWait& wait = device_.waits[k];
      wait_of_[wait.segment] = k;
      const Segment& segment = lines_.segments[wait.segment];
      if (wait.own && segment.kind == NodeKind::call) own_wait_of_call_[segment.row] = wait.segment;
    }
    Typical call_length;  // of calls that do not wait, by kind
    Typical before_copy;  // from the call to its own copy, where the device was free, by name
    Typical idle_wait;    // of waits for what was done already, by name
    Typical to_return;    // from the end of what is waited for, by name
    for (uint32_t k = 0; k < lines_.segments.size(); ++k) {
      const Segment& segment = lines_.segments[k];
      if (segment.kind == NodeKind::call && wait_of_[k] == kNone)
        call_length.add(static_cast<uint64_t>(call_kind(segment.row)), own_[k]);
    }
    for (const DraftWait& wait : device_.waits) {
      const Segment& segment = lines_.segments[wait.segment];
      if (wait.own) {
        const DraftWork& work = device_.works[wait.work];
        if (work.device_ready <= segment.begin && work.start >= segment.begin)
          before_copy.add(wait.name, work.start - segment.begin);
      } else if (end_of(wait) <= segment.begin) {
        idle_wait.add(wait.name, own_[wait.segment]);
      }
      if (end_of(wait) > segment.begin)
        to_return.add_to_any(wait.name, std::max<Ns>(0, segment.end - end_of(wait)));
    }
    for (const uint32_t row : device_.idle_calls) {
      if (lines_.call_first[row] == lines_.call_last[row])
        idle_wait.add(trace_.calls.name[row], own_[lines_.call_first[row]]);
    }
    call_length.settle(0.5);
    before_copy.settle(0.1);
    idle_wait.settle(0.5);
    to_return.settle(0.5);

    return_lag_.assign(lines_.segments.size(), 0);
    with_latency_.assign(lines_.segments.size(), 0);
    for (const DraftWait& wait : device_.waits) {
      const Segment& segment = lines_.segments[wait.segment];
      const Ns length = segment.end - segment.begin;
      const Ns late = segment.end - end_of(wait);
      Ns& own = own_[wait.segment];
      if (end_of(wait) <= segment.begin) {
        // It did not wait. It may, in a plan.
        return_lag_[wait.segment] = std::min(to_return.of_or_any(wait.name), late);
        continue;
      }
      return_lag_[wait.segment] = late;
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
        if (typical < 0 && segment.kind == NodeKind::call && launches(segment.row))
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
      } else if (trace_.work.submit[work.row] != 0 && work.asked <= work.start) {
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
        host_[k].derived = true;
        return;
      }
      const Ns offset = std::clamp<Ns>(work.start - segment.begin, 0, own_[at]);
      host_[k] = {at, offset, segment.begin + offset, true, with_latency_[at] != 0};
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
    const Ns offset = std::clamp<Ns>(t - segment.begin, 0, own_[at]);
    host_[k] = {at, offset, segment.begin + offset, false, false};
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
      const Ns explained = std::max(work.device_ready, host_[k].time);
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

  // ---- order --------------------------------------------------------------------------------

  uint32_t works() const { return static_cast<uint32_t>(device_.works.size()); }
  uint32_t segments() const { return static_cast<uint32_t>(lines_.segments.size()); }
  uint32_t joins() const { return static_cast<uint32_t>(device_.joins.size()); }
  uint32_t id_of_segment(uint32_t k) const { return works() + k; }
  uint32_t id_of_join(uint32_t k) const { return works() + segments() + k; }

  // Work by its start, host time by its end: a segment's end may wait for work, and work for the
  // beginning of a segment.
  void order() {
    struct Key {
      Ns time;
      uint32_t type;
      uint32_t id;
      bool operator<(const Key& other) const {
        if (time != other.time) return time < other.time;
        return type != other.type ? type < other.type : id < other.id;
      }
    };
    std::vector<Key> keys;
    keys.reserve(size_t{works()} + segments() + joins());
    for (uint32_t k = 0; k < works(); ++k) keys.push_back({device_.works[k].start, 1, k});
    const size_t middle = keys.size();
    for (uint32_t k = 0; k < segments(); ++k)
      keys.push_back({lines_.segments[k].end, 0, id_of_segment(k)});
    for (uint32_t k = 0; k < joins(); ++k) keys.push_back({device_.joins[k].key, 2, id_of_join(k)});
    const auto split = keys.begin() + static_cast<std::ptrdiff_t>(middle);
    if (!std::is_sorted(split, keys.end())) std::sort(split, keys.end());
    std::inplace_merge(keys.begin(), split, keys.end());
    rank_.resize(keys.size());
    for (uint32_t rank = 0; rank < keys.size(); ++rank) rank_[keys[rank].id] = rank;
    graph_.nodes.resize(keys.size());
  }

  // The rank of what node `to` waits for; kNone if the order contradicts the edge.
  uint32_t edge(uint32_t from_id, uint32_t to_rank) {
    const uint32_t from = rank_[from_id];
    if (from < to_rank) return from;
    ++device_.dropped;
    return kNone;
  }

  void fill_segments() {
    for (uint32_t line = 0; line + 1 < lines_.first.size(); ++line) {
      for (uint32_t k = lines_.first[line]; k < lines_.first[line + 1]; ++k) {
        const Segment& segment = lines_.segments[k];
        const uint32_t rank = rank_[id_of_segment(k)];
        Node& node = graph_.nodes[rank];
        node.kind = segment.kind;
        if (segment.kind == NodeKind::root) {
          node.own = segment.begin;
          if (segment.fill != kNone) hold_root(segment, rank, node);
          continue;
        }
        node.own = own_[k];
        node.previous = rank_[id_of_segment(k - 1)];
        if (segment.kind == NodeKind::call) {
          if (launches(segment.row)) node.flags |= kLaunches;
        }
        if (wait_of_[k] != kNone) {
          const DraftWait& wait = device_.waits[wait_of_[k]];
          node.before = edge(wait.work != kNone ? wait.work : id_of_join(wait.join), rank);
          node.device_lag = return_lag_[k];
          if (wait.own) node.flags |= kWaitsOwn;
          if (node.before == kNone) node.own = segment.end - segment.begin;
        }
        if (segment.fill != kNone) {
          node.other = edge(id_of_segment(segment.fill), rank);
          node.host_lag = segment.end - lines_.segments[segment.fill].end;
          if (node.other != kNone) node.own = 0;
        }
      }
    }
  }

  // A thread that another one starts, or holds until then, begins no earlier than that one's line.
  void hold_root(const Segment& root, uint32_t rank, Node& node) {
    node.other = edge(id_of_segment(root.fill), rank);
    if (node.other == kNone) return;
    node.host_lag = root.begin - lines_.segments[root.fill].end;
    const auto line = std::upper_bound(lines_.first.begin(), lines_.first.end(), root.fill);
    node.own = std::min(root.begin, lines_.segments[*std::prev(line)].begin);
  }

  void fill_work() {
    // Edges by what they lead to.
    std::vector<uint32_t> first(size_t{works()} + 1, 0);
    for (const DraftEdge& edge : device_.edges) ++first[edge.to + 1];
    for (uint32_t k = 0; k < works(); ++k) first[k + 1] += first[k];
    std::vector<uint32_t> sorted(device_.edges.size());
    std::vector<uint32_t> next(first.begin(), first.end() - 1);
    for (uint32_t k = 0; k < device_.edges.size(); ++k) sorted[next[device_.edges[k].to]++] = k;

    Typical from_host;
    Typical from_device;
    for (uint32_t k = 0; k < works(); ++k) {
      const DraftWork& work = device_.works[k];
      if (!host_[k].derived && host_[k].time > work.device_ready)
        from_host.add_to_any(trace_.work.kind[work.row], work.start - host_[k].time);
    }
    from_host.settle(0.1);
    // The host decides where its latency reaches further than what the device had to do.
    const auto by_host = [&](uint32_t k) {
      const DraftWork& work = device_.works[k];
      if (host_[k].segment == kNone) return false;
      const Ns lag = host_[k].with_latency ? 0 : from_host.of_or_any(trace_.work.kind[work.row]);
      return host_[k].time + std::min(lag, work.start - host_[k].time) > work.device_ready;
    };
    for (uint32_t k = 0; k < works(); ++k) {
      const DraftWork& work = device_.works[k];
      if (work.has_device_edge && !by_host(k))
        from_device.add_to_any(trace_.work.kind[work.row], work.start - work.device_ready);
    }
    from_device.settle(0.1);
    graph_.copy_lag = from_device.of_or_any(static_cast<uint64_t>(WorkKind::copy));

    for (uint32_t k = 0; k < works(); ++k) {
      const DraftWork& work = device_.works[k];
      const uint32_t rank = rank_[k];
      Node& node = graph_.nodes[rank];
      node.kind = NodeKind::work;
      node.own = work.end - work.start;
      const uint64_t kind = trace_.work.kind[work.row];
      if (static_cast<WorkKind>(kind) == WorkKind::kernel) node.flags |= kKernel;
      if (work.stream_before != kNone) node.before = edge(work.stream_before, rank);
      if (work.engine_before != kNone) node.other = edge(work.engine_before, rank);
      node.extra = static_cast<uint32_t>(graph_.extras.size());
      for (uint32_t at = first[k]; at < first[k + 1]; ++at) {
        const DraftEdge& one = device_.edges[sorted[at]];
        const bool same_stream = device_.works[one.from].stream == work.stream;
        graph_.extras.push_back(rank_[one.from] | (one.legacy ? kLegacyEdge : 0) |
                                (same_stream ? kStreamEdge : 0));
      }
      node.extras = static_cast<uint32_t>(graph_.extras.size()) - node.extra;

      const Ns ready = work.device_ready;
      const Host& host = host_[k];
      if (host.segment != kNone) {
        node.flags |= kAsked;
        const Segment& segment = lines_.segments[host.segment];
        const bool root = segment.kind == NodeKind::root;
        node.previous = rank_[id_of_segment(root ? host.segment : host.segment - 1)];
        node.segment = root ? kNone : rank_[id_of_segment(host.segment)];
        node.offset = host.offset;
        node.host_lag = work.start - host.time;
        if (!by_host(k))
          node.host_lag =
              std::min(host.with_latency ? 0 : from_host.of_or_any(kind), node.host_lag);
      }
      if (work.has_device_edge) {
        node.device_lag = work.start - ready;
        if (by_host(k)) node.device_lag = std::min(from_device.of_or_any(kind), node.device_lag);
      }
      if (host.segment == kNone && !work.has_device_edge) {
        node.flags |= kFixed;
        node.offset = work.start;
      }
    }
  }

  void fill_joins() {
    for (uint32_t k = 0; k < joins(); ++k) {
      const DraftJoin& join = device_.joins[k];
      const uint32_t rank = rank_[id_of_join(k)];
      Node& node = graph_.nodes[rank];
      node.kind = NodeKind::join;
      if (join.before != kNone) node.before = edge(id_of_join(join.before), rank);
      node.extra = static_cast<uint32_t>(graph_.extras.size());
      for (uint32_t at = join.first; at < join.first + join.count; ++at)
        graph_.extras.push_back(rank_[device_.join_work[at]]);
      node.extras = join.count;
    }
  }

  // ---- what plans and results need ----------------------------------------------------------

  void index() {
    const uint32_t rows = trace_.work.size();
    graph_.node_of_work.assign(rows, kNone);
    graph_.asked.assign(rows, 0);
    graph_.call_of_work.assign(rows, kNone);
    graph_.stream_of_work.assign(rows, kNone);
    graph_.engine_of_work.assign(rows, kNone);
    graph_.works_of_call.assign(trace_.calls.size(), 0);
    for (uint32_t k = 0; k < works(); ++k) {
      const DraftWork& work = device_.works[k];
      graph_.node_of_work[work.row] = rank_[k];
      graph_.asked[work.row] = work.asked;
      graph_.call_of_work[work.row] = work.call;
      graph_.stream_of_work[work.row] = work.stream;
      graph_.engine_of_work[work.row] = work.engine;
      if (work.call != kNone) ++graph_.works_of_call[work.call];
    }
    graph_.call_name = trace_.calls.name;
    graph_.call_line.assign(trace_.calls.size(), kNone);
    for (uint32_t row = 0; row < trace_.calls.size(); ++row)
      graph_.call_line[row] = lines_.line(trace_.calls.thread[row]);
    graph_.segment_begin.resize(segments());
    graph_.segment_end.resize(segments());
    graph_.segment_node.resize(segments());
    for (uint32_t k = 0; k < segments(); ++k) {
      graph_.segment_begin[k] = lines_.segments[k].begin;
      graph_.segment_end[k] = lines_.segments[k].end;
      graph_.segment_node[k] = rank_[id_of_segment(k)];
    }
    graph_.line_first = lines_.first;
    graph_.line_of_thread = lines_.line_of_thread;
    graph_.call_first = lines_.call_first;
    graph_.call_last = lines_.call_last;
    bool any = false;
    for (const Node& node : graph_.nodes) {
      if (node.kind != NodeKind::root && (node.flags & kFixed) == 0) continue;
      if (node.kind == NodeKind::root && node.other != kNone) continue;  // no earlier than another
      const Ns t = node.kind == NodeKind::root ? node.own : node.offset;
      graph_.begin = any ? std::min(graph_.begin, t) : t;
      any = true;
    }
    graph_.end = graph_.begin;
    for (const DraftWork& work : device_.works) graph_.end = std::max(graph_.end, work.end);
    for (const Ns end : graph_.segment_end) graph_.end = std::max(graph_.end, end);
    graph_.origin = timeline_.window().begin;
    graph_.measured = timeline_.analysed().length();
    graph_.holes = timeline_.window().length() - graph_.measured;
    graph_.dropped_edges = device_.dropped;
  }

  Anchor anchor(uint32_t thread, Ns t) const {
    const uint32_t line = lines_.line(thread);
    Anchor anchor;
    anchor.offset = t;
    if (line == kNone || t < lines_.segments[lines_.first[line]].begin) return anchor;
    const uint32_t at = lines_.at(line, t);
    const Segment& segment = lines_.segments[at];
    anchor.node = rank_[id_of_segment(at)];
    anchor.inside = segment.kind != NodeKind::root && t < segment.end;
    anchor.offset = t - (anchor.inside ? segment.begin : segment.end);
    return anchor;
  }

  bool same_process(uint32_t call, uint32_t thread) const {
    if (call == kNone || thread >= trace_.threads.size()) return true;
    return trace_.threads[trace_.calls.thread[call]].process == trace_.threads[thread].process;
  }

  void anchor_steps() {
    // The work of each step, as the timeline takes it: asked for between the host's begin and end.
    const std::vector<Step>& steps = timeline_.steps();
    std::vector<Ns> device_end;
    std::vector<std::vector<uint32_t>> of_step;
    for (const Step& step : steps) {
      if (!clock_.near(step.begin) || !clock_.near(step.end)) continue;
      StepAnchor one;
      const bool known = step.host_begin < step.host_end && clock_.near(step.host_begin) &&
                         clock_.near(step.host_end);
      one.host_begin = clock_.of(known ? step.host_begin : step.begin);
      one.host_end = clock_.of(known ? step.host_end : step.end);
      const uint32_t thread = step.thread != kNoRow ? step.thread : timeline_.main_thread();
      one.begin = anchor(thread, one.host_begin);
      one.end = anchor(thread, one.host_end);
      one.in_window = !step.warm_up;
      one.begin_rest = clock_.of(step.begin);
      one.end_rest = clock_.of(step.end);
      graph_.steps.push_back(one);
    }
    device_end.assign(graph_.steps.size(), kNever);
    of_step.resize(graph_.steps.size());
    const uint32_t thread = steps.empty() ? kNoRow : steps.front().thread;
    std::vector<uint32_t> seen(device_.streams, kNone);
    // From the last to the first, so that the first of a stream that is met is its last. Work of
    // one stream mostly is asked for step after step; where it is not, it is listed again.
    for (uint32_t k = works(); k-- > 0;) {
      const DraftWork& work = device_.works[k];
      if (!same_process(work.call, thread)) continue;
      const uint32_t step = step_at(graph_.steps, work.asked);
      if (step == kNone) continue;
      const bool longest = work.end > device_end[step];
      device_end[step] = std::max(device_end[step], work.end);
      if (seen[work.stream] == step && !longest) continue;
      seen[work.stream] = step;
      of_step[step].push_back(rank_[k]);
    }
    for (uint32_t k = 0; k < graph_.steps.size(); ++k) {
      StepAnchor& one = graph_.steps[k];
      one.work = static_cast<uint32_t>(graph_.step_work.size());
      one.works = static_cast<uint32_t>(of_step[k].size());
      graph_.step_work.insert(graph_.step_work.end(), of_step[k].begin(), of_step[k].end());
      const Ns before = k > 0 ? device_end[k - 1] : kNever;
      one.begin_rest -= std::max(one.host_begin, before);
      one.end_rest -= std::max(one.host_end, device_end[k]);
    }
  }

 private:
  const Timeline& timeline_;
  const Trace& trace_;
  Clock clock_;
  Lines lines_;
  Device device_;
  std::vector<Ns> own_;                     // of segments
  std::vector<Ns> return_lag_;              // of segments
  std::vector<uint8_t> with_latency_;       // whether `own` reaches to the start of the work
  std::vector<uint32_t> wait_of_;           // of segments
  std::vector<uint32_t> own_wait_of_call_;  // the segment in which a call waits for its own work
  std::vector<Host> host_;                  // of work
  std::vector<uint32_t> rank_;
  Graph graph_;
};

}  // namespace

uint32_t step_at(const std::vector<StepAnchor>& steps, Ns t) {
  const auto after = std::upper_bound(steps.begin(), steps.end(), t,
                                      [](Ns at, const auto& step) { return at < step.host_begin; });
  if (after == steps.begin() || t >= std::prev(after)->host_end) return kNone;
  return static_cast<uint32_t>(std::prev(after) - steps.begin());
}

Graph build(const Timeline& timeline) {
  Graph graph = Builder(timeline).run();
  // What lies outside of the graph, such as an allocation before the first call.
  if (graph.steps.empty()) graph.rest = graph.measured + graph.holes - (graph.end - graph.begin);
  graph.replayed = run(graph, {}).span;
  return graph;
}

}  // namespace mill::prof::replay
