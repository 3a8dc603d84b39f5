// Joins the host's lines and the device's work into one graph, in an order in which everything
// comes after what it waits for.
//
// Lags. The recorded start of a piece of work is explained by the latest of its edges; what is left
// is that edge's lag: the latency of the hardware, or whatever else nobody wrote down. Edges that
// were served earlier may decide in a plan, and then need a lag too: the lowest decile of those
// that did decide elsewhere, as far as the recorded start allows it. So the unchanged graph gives
// back every recorded time exactly, as long as no edge is contradicted by the times.
#include <algorithm>
#include <iterator>
#include <utility>

#include "profiler/replay/build.h"

namespace mill::prof::replay {

namespace {

class Builder {
 public:
  explicit Builder(Drafts& drafts)
      : drafts_(drafts),
        trace_(drafts.timeline.trace()),
        lines_(drafts.lines),
        device_(drafts.device),
        host_(drafts.host),
        rank_(drafts.rank) {}

  Graph run() {
    order();
    fill_segments();
    fill_work();
    fill_joins();
    return std::move(graph_);
  }

 private:
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
    keys.reserve(size_t{drafts_.works()} + drafts_.segments() + drafts_.joins());
    for (uint32_t k = 0; k < drafts_.works(); ++k) keys.push_back({device_.works[k].start, 1, k});
    const size_t middle = keys.size();
    for (uint32_t k = 0; k < drafts_.segments(); ++k)
      keys.push_back({lines_.segments[k].end, 0, drafts_.id_of_segment(k)});
    for (uint32_t k = 0; k < drafts_.joins(); ++k)
      keys.push_back({device_.joins[k].key, 2, drafts_.id_of_join(k)});
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
        const uint32_t rank = rank_[drafts_.id_of_segment(k)];
        Node& node = graph_.nodes[rank];
        node.kind = segment.kind;
        if (segment.kind == NodeKind::root) {
          node.own = segment.begin;
          if (segment.fill != kNone) hold_root(segment, rank, node);
          continue;
        }
        node.own = host_.own[k];
        node.previous = rank_[drafts_.id_of_segment(k - 1)];
        if (segment.kind == NodeKind::call) {
          if (launches_kernels(static_cast<CallKind>(trace_.calls.kind[segment.row])))
            node.flags |= kLaunches;
        }
        if (host_.wait_of[k] != kNone) {
          const DraftWait& wait = device_.waits[host_.wait_of[k]];
          node.before = edge(wait.work != kNone ? wait.work : drafts_.id_of_join(wait.join), rank);
          node.device_lag = host_.return_lag[k];
          if (wait.own) node.flags |= kWaitsOwn;
          if (node.before == kNone) node.own = segment.end - segment.begin;
        }
        if (segment.fill != kNone) {
          node.other = edge(drafts_.id_of_segment(segment.fill), rank);
          node.host_lag = segment.end - lines_.segments[segment.fill].end;
          if (node.other != kNone) node.own = 0;
        }
      }
    }
  }

  // A thread that another one starts, or holds until then, begins no earlier than that one's line.
  void hold_root(const Segment& root, uint32_t rank, Node& node) {
    node.other = edge(drafts_.id_of_segment(root.fill), rank);
    if (node.other == kNone) return;
    node.host_lag = root.begin - lines_.segments[root.fill].end;
    const auto line = std::upper_bound(lines_.first.begin(), lines_.first.end(), root.fill);
    node.own = std::min(root.begin, lines_.segments[*std::prev(line)].begin);
  }

  void fill_work() {
    // Edges by what they lead to.
    std::vector<uint32_t> first(size_t{drafts_.works()} + 1, 0);
    for (const DraftEdge& edge : device_.edges) ++first[edge.to + 1];
    for (uint32_t k = 0; k < drafts_.works(); ++k) first[k + 1] += first[k];
    std::vector<uint32_t> sorted(device_.edges.size());
    std::vector<uint32_t> next(first.begin(), first.end() - 1);
    for (uint32_t k = 0; k < device_.edges.size(); ++k) sorted[next[device_.edges[k].to]++] = k;

    Typical from_host;
    Typical from_device;
    for (uint32_t k = 0; k < drafts_.works(); ++k) {
      const DraftWork& work = device_.works[k];
      if (!host_.asked[k].derived && host_.asked[k].time > work.device_ready)
        from_host.add_to_any(trace_.work.kind[work.row], work.start - host_.asked[k].time);
    }
    from_host.settle(0.1);
    // The host decides where its latency reaches further than what the device had to do.
    const auto by_host = [&](uint32_t k) {
      const DraftWork& work = device_.works[k];
      if (host_.asked[k].segment == kNone) return false;
      const Ns lag =
          host_.asked[k].with_latency ? 0 : from_host.of_or_any(trace_.work.kind[work.row]);
      return host_.asked[k].time + std::min(lag, work.start - host_.asked[k].time) >
             work.device_ready;
    };
    for (uint32_t k = 0; k < drafts_.works(); ++k) {
      const DraftWork& work = device_.works[k];
      if (work.has_device_edge && !by_host(k))
        from_device.add_to_any(trace_.work.kind[work.row], work.start - work.device_ready);
    }
    from_device.settle(0.1);
    graph_.copy_lag = from_device.of_or_any(static_cast<uint64_t>(WorkKind::copy));

    for (uint32_t k = 0; k < drafts_.works(); ++k) {
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
      const DraftAsk& host = host_.asked[k];
      if (host.segment != kNone) {
        node.flags |= kAsked;
        const Segment& segment = lines_.segments[host.segment];
        const bool root = segment.kind == NodeKind::root;
        node.previous = rank_[drafts_.id_of_segment(root ? host.segment : host.segment - 1)];
        node.segment = root ? kNone : rank_[drafts_.id_of_segment(host.segment)];
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
    for (uint32_t k = 0; k < drafts_.joins(); ++k) {
      const DraftJoin& join = device_.joins[k];
      const uint32_t rank = rank_[drafts_.id_of_join(k)];
      Node& node = graph_.nodes[rank];
      node.kind = NodeKind::join;
      if (join.before != kNone) node.before = edge(drafts_.id_of_join(join.before), rank);
      node.extra = static_cast<uint32_t>(graph_.extras.size());
      for (uint32_t at = join.first; at < join.first + join.count; ++at)
        graph_.extras.push_back(rank_[device_.join_work[at]]);
      node.extras = join.count;
    }
  }

  Drafts& drafts_;
  const Trace& trace_;
  const Lines& lines_;
  Device& device_;
  const Host& host_;
  std::vector<uint32_t>& rank_;
  Graph graph_;
};

Graph make_graph(const Timeline& timeline) {
  Drafts drafts(timeline);
  Graph graph = Builder(drafts).run();
  index_graph(drafts, &graph);
  return graph;
}

}  // namespace

Graph build(const Timeline& timeline) {
  Graph graph = make_graph(timeline);
  // What lies outside of the graph, such as an allocation before the first call.
  if (graph.steps.empty()) graph.rest = graph.measured + graph.holes - (graph.end - graph.begin);
  graph.replayed = run(graph, {}).span;
  return graph;
}

}  // namespace mill::prof::replay
