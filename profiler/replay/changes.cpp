#include "profiler/replay/changes.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace mill::prof::replay {

namespace {

Ns cut(Ns length) {
  return std::clamp<Ns>(length, 0, kLongest);
}

double usable(double scale) {
  return std::isfinite(scale) && scale >= 0 ? scale : 1.0;
}

Ns scaled(Ns length, double scale) {
  const double result = static_cast<double>(length) * scale;
  return result >= static_cast<double>(kLongest) ? kLongest : std::max<Ns>(0, std::llround(result));
}

// One entry a row, the shortest; rows that are not in `rows` left out.
std::vector<std::pair<uint32_t, Ns>> shortest(const Plan::PerRow<Ns>& list, size_t rows) {
  std::vector<std::pair<uint32_t, Ns>> sorted;
  for (const auto& [row, length] : list) {
    if (row < rows) sorted.emplace_back(row, cut(length));
  }
  std::sort(sorted.begin(), sorted.end());
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  sorted.erase(std::unique(sorted.begin(), sorted.end(), same), sorted.end());
  return sorted;
}

class Planner {
 public:
  Planner(const Graph& graph, const Plan& plan) : graph_(graph), plan_(plan) {}

  Changes run() {
    out_.own.resize(graph_.nodes.size());
    for (size_t k = 0; k < out_.own.size(); ++k) out_.own[k] = graph_.nodes[k].own;
    out_.flags.assign(graph_.nodes.size(), 0);
    scale();
    work_lengths();
    call_lengths();
    before_ask();
    host_times();
    for (const uint32_t row : plan_.unblock) flag_call(row, kUnblocked);
    defer();
    for (const uint32_t row : plan_.drop_call) drop_call(row);
    drop_work();
    for (const uint32_t row : plan_.free_stream) {
      if (const uint32_t node = node_of(row); node != kNone) out_.flags[node] |= kFreed;
    }
    for (const uint32_t row : plan_.own_stream) {
      const uint32_t node = node_of(row);
      if (node == kNone || graph_.engine_of_work[row] == kNone) continue;
      out_.flags[node] |= kOwnStream;
      out_.own_streams = true;
    }
    go_ahead(graph_, plan_, &out_);
    return std::move(out_);
  }

 private:
  uint32_t node_of(uint32_t work) const {
    return work < graph_.node_of_work.size() ? graph_.node_of_work[work] : kNone;
  }
  bool known_call(uint32_t row) const {
    return row < graph_.call_first.size() && graph_.call_first[row] != kNone;
  }
  // f(node) for the segments of a call, calls inside it included.
  template <class F>
  void each_segment(uint32_t row, F&& f) {
    if (!known_call(row)) return;
    for (uint32_t k = graph_.call_first[row]; k <= graph_.call_last[row]; ++k)
      f(graph_.segment_node[k]);
  }

  void scale() {
    const double kernels = usable(plan_.kernel_scale);
    const double launches = usable(plan_.launch_scale);
    if (kernels == 1 && launches == 1) return;
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const Node& node = graph_.nodes[k];
      const bool kernel = (node.flags & kKernel) != 0 || node.kind == NodeKind::op;
      if (kernel && kernels != 1) out_.own[k] = scaled(node.own, kernels);
      if ((node.flags & kLaunches) && launches != 1) out_.own[k] = scaled(node.own, launches);
    }
  }

  void work_lengths() {
    const bool all_scaled = usable(plan_.kernel_scale) != 1;
    for (const auto& [row, length] : shortest(plan_.work_duration, graph_.node_of_work.size())) {
      const uint32_t node = node_of(row);
      if (node == kNone) continue;
      const bool both = all_scaled && (graph_.nodes[node].flags & kKernel);
      out_.own[node] = both ? std::min(out_.own[node], length) : length;
    }
  }

  void call_lengths() {
    const bool all_scaled = usable(plan_.launch_scale) != 1;
    for (const auto& [row, length] : shortest(plan_.call_duration, graph_.call_first.size())) {
      Ns total = 0;
      Ns now = 0;
      bool launches = false;
      each_segment(row, [&](uint32_t node) {
        total += graph_.nodes[node].own;
        now += out_.own[node];
        launches |= (graph_.nodes[node].flags & kLaunches) != 0;
      });
      const Ns wanted = all_scaled && launches ? std::min(length, now) : length;
      Ns before = 0;
      Ns given = 0;
      each_segment(row, [&](uint32_t node) {
        // In proportion; the last one takes what rounding left.
        before += graph_.nodes[node].own;
        const auto until =
            total > 0 ? static_cast<Ns>(static_cast<__int128>(wanted) * before / total) : wanted;
        out_.own[node] = until - given;
        given = until;
      });
    }
  }

  void before_ask() {
    if (plan_.before_ask.empty()) return;
    out_.before.assign(graph_.nodes.size(), 0);
    for (const auto& [row, length] : shortest(plan_.before_ask, graph_.call_first.size())) {
      if (!known_call(row)) continue;
      const uint32_t node = graph_.segment_node[graph_.call_first[row]];
      out_.own[node] += length;
      out_.before[node] += length;
    }
  }

  void flag_call(uint32_t row, uint8_t flag) {
    each_segment(row, [&](uint32_t node) { out_.flags[node] |= flag; });
  }

  void drop_call(uint32_t row) {
    each_segment(row, [&](uint32_t node) {
      out_.own[node] = 0;
      out_.flags[node] |= kUnblocked;
    });
  }

  // A call goes when all that it asked for is gone.
  void drop_work() {
    std::vector<uint32_t> calls;
    for (const uint32_t row : plan_.drop_work) {
      const uint32_t node = node_of(row);
      if (node == kNone || (out_.flags[node] & kDropped)) continue;
      out_.flags[node] |= kDropped;
      if (graph_.call_of_work[row] != kNone) calls.push_back(graph_.call_of_work[row]);
    }
    std::sort(calls.begin(), calls.end());
    for (size_t k = 0; k < calls.size();) {
      size_t end = k;
      while (end < calls.size() && calls[end] == calls[k]) ++end;
      if (end - k >= graph_.works_of_call[calls[k]]) drop_call(calls[k]);
      k = end;
    }
  }

  void host_times() {
    struct Change {
      uint32_t line;
      Interval interval;
      Ns length;
    };
    std::vector<Change> changes;
    for (const Plan::HostTime& one : plan_.host_time) {
      if (one.thread >= graph_.line_of_thread.size()) continue;
      const uint32_t line = graph_.line_of_thread[one.thread];
      Ns begin = 0;
      Ns end = 0;
      if (line == kNone || one.interval.end <= one.interval.begin ||
          !Clock(graph_.origin).take(one.interval.begin, one.interval.end, &begin, &end))
        continue;
      changes.push_back({line, {begin, end}, cut(one.length)});
    }
    std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
      return std::tie(a.line, a.interval.begin, b.interval.end, a.length) <
             std::tie(b.line, b.interval.begin, a.interval.end, b.length);
    });
    uint32_t line = kNone;
    Ns done = kNever;
    for (Change& change : changes) {
      if (change.line != line) done = kNever;
      line = change.line;
      // What another change has dealt with is left as that has it.
      const Ns whole = change.interval.length();
      change.interval.begin = std::max(change.interval.begin, done);
      if (change.interval.length() <= 0) continue;
      done = change.interval.end;
      change.length =
          static_cast<Ns>(static_cast<__int128>(change.length) * change.interval.length() / whole);
      host_time(change.line, change.interval, change.length);
    }
  }

  // f(node, overlap) for the host time of a line in an interval.
  template <class F>
  void each_host_time(uint32_t line, Interval interval, F&& f) const {
    const auto first = graph_.segment_end.begin() + graph_.line_first[line];
    const auto last = graph_.segment_end.begin() + graph_.line_first[line + 1];
    auto at = std::upper_bound(first, last, interval.begin);
    for (auto k = static_cast<size_t>(at - graph_.segment_end.begin());
         k < graph_.line_first[line + 1] && graph_.segment_begin[k] < interval.end; ++k) {
      const uint32_t node = graph_.segment_node[k];
      if (!is_host_time(graph_.nodes[node].kind)) continue;
      const Ns begin = std::max(interval.begin, graph_.segment_begin[k]);
      const Ns end = std::min(interval.end, graph_.segment_end[k]);
      if (begin < end) f(node, end - begin, graph_.segment_end[k] - graph_.segment_begin[k]);
    }
  }

  void host_time(uint32_t line, Interval interval, Ns length) {
    Ns total = 0;
    each_host_time(line, interval, [&](uint32_t, Ns overlap, Ns) { total += overlap; });
    if (total == 0) return;
    Ns before = 0;
    Ns given = 0;
    each_host_time(line, interval, [&](uint32_t node, Ns overlap, Ns whole) {
      before += overlap;
      const auto until = static_cast<Ns>(static_cast<__int128>(length) * before / total);
      const Ns now = until - given;
      given = until;
      const Node& base = graph_.nodes[node];
      const bool waits = base.before != kNone || base.other != kNone;
      if (waits && overlap * 2 >= whole) {
        out_.flags[node] |= kUnblocked;
        out_.own[node] = now;
      } else {
        out_.own[node] = std::max<Ns>(0, out_.own[node] - overlap + now);
      }
    });
  }

  // The segment in which a call waits.
  uint32_t waiting_segment(uint32_t row) {
    uint32_t found = kNone;
    each_segment(row, [&](uint32_t node) {
      if (found == kNone && graph_.nodes[node].before != kNone) found = node;
    });
    return found;
  }

  void defer() {
    if (plan_.defer.empty()) return;
    struct Wait {
      uint32_t line;
      uint32_t name;
      Ns begin;
      uint32_t row;
      uint32_t node;
      uint32_t step;
    };
    std::vector<Wait> waits;
    for (const uint32_t row : plan_.defer) {
      const uint32_t node = known_call(row) ? waiting_segment(row) : kNone;
      if (node == kNone) continue;
      const Ns begin = graph_.segment_begin[graph_.call_first[row]];
      waits.push_back({graph_.call_line[row], graph_.call_name[row], begin, row, node,
                       step_at(graph_.steps, begin)});
    }
    std::sort(waits.begin(), waits.end(), [](const Wait& a, const Wait& b) {
      return std::tie(a.line, a.name, a.begin, a.row) < std::tie(b.line, b.name, b.begin, b.row);
    });
    const auto same = [](const Wait& a, const Wait& b) { return a.row == b.row; };
    waits.erase(std::unique(waits.begin(), waits.end(), same), waits.end());
    out_.instead.assign(graph_.nodes.size(), kNone);
    const auto together = [](const Wait& a, const Wait& b) {
      return a.line == b.line && a.name == b.name && a.step == b.step && a.step != kNone;
    };
    // The calls of one step that look alike are matched with those of the next, in order.
    size_t last_first = 0;
    size_t last_count = 0;
    for (size_t k = 0; k < waits.size();) {
      size_t end = k + 1;
      while (end < waits.size() && together(waits[k], waits[end])) ++end;
      const bool follows = last_count > 0 && waits[last_first].line == waits[k].line &&
                           waits[last_first].name == waits[k].name;
      for (size_t at = k; at < end; ++at) {
        const Wait& wait = waits[at];
        out_.flags[wait.node] |= kDeferred;
        if (follows) {
          const size_t match = last_first + std::min(at - k, last_count - 1);
          out_.instead[wait.node] = graph_.nodes[waits[match].node].before;
        }
      }
      last_first = k;
      last_count = end - k;
      k = end;
    }
  }

  const Graph& graph_;
  const Plan& plan_;
  Changes out_;
};

}  // namespace

Changes changes_of(const Graph& graph, const Plan& plan) {
  return Planner(graph, plan).run();
}

}  // namespace mill::prof::replay
