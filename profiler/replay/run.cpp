#include <algorithm>

#include "profiler/replay/changes.h"

namespace mill::prof::replay {

namespace {

// Times that a plan could drive out of range stop here.
constexpr Ns kEnd = Ns{1} << 61;

// `done` is when whatever comes after a node on its stream may begin; `end` is when it ended
// itself. They differ for work that is dropped or has left its stream.
struct Times {
  std::vector<Ns> done;
  std::vector<Ns> end;  // empty for a plan that drops and moves nothing
  // When the host, waiting for a node's stream, goes on: copies that left the stream are waited for
  // too. Empty where no copy did.
  std::vector<Ns> seen;
};

Ns latest_extra(const Graph& graph, const Node& node, const std::vector<Ns>& done) {
  Ns latest = kNever;
  for (uint32_t k = node.extra; k < node.extra + node.extras; ++k)
    latest = std::max(latest, done[graph.extras[k] & ~kEdgeFlags]);
  return latest;
}

Ns asked_at(const Node& node, const std::vector<Ns>& done, const Changes& changes) {
  Ns at = done[node.previous];
  if (node.segment != kNone) {
    const Ns before = changes.before.empty() ? 0 : changes.before[node.segment];
    at += std::min(before + node.offset, changes.own[node.segment]);
  }
  return at + node.host_lag;
}

// With an empty plan.
void run_plain(const Graph& graph, Times& times) {
  std::vector<Ns>& done = times.done;
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    const Node& node = graph.nodes[k];
    Ns t = kNever;
    if (node.kind == NodeKind::work) {
      if (node.flags & kAsked) {
        t = done[node.previous] + node.host_lag;
        if (node.segment != kNone) t += std::min(node.offset, graph.nodes[node.segment].own);
      }
      Ns ready = kNever;
      if (node.before != kNone) ready = done[node.before];
      if (node.other != kNone) ready = std::max(ready, done[node.other]);
      if (node.extras > 0) ready = std::max(ready, latest_extra(graph, node, done));
      if (ready != kNever) t = std::max(t, ready + node.device_lag);
      if (node.flags & kFixed) t = node.offset;
      t += node.own;
    } else if (node.kind == NodeKind::join) {
      if (node.before != kNone) t = done[node.before];
      t = std::max(t, latest_extra(graph, node, done));
    } else {
      t = node.own;
      if (node.previous != kNone) t += done[node.previous];
      // What is done when the call comes is not waited for.
      if (node.before != kNone && done[node.before] > done[node.previous])
        t = std::max(t, done[node.before] + node.device_lag);
      if (node.other != kNone) t = std::max(t, done[node.other] + node.host_lag);
    }
    done[k] = std::min(t, kEnd);
  }
}

class Runner {
 public:
  Runner(const Graph& graph, const Changes& changes, Times& times)
      : graph_(graph),
        changes_(changes),
        done_(times.done),
        end_(times.end),
        seen_(times.seen),
        limits_(changes.limits.size(), kNever),
        limit_known_(changes.limits.size(), 0) {}

  void run() {
    for (uint32_t k = 0; k < graph_.nodes.size(); ++k) {
      const Node& node = graph_.nodes[k];
      if (node.kind == NodeKind::work) {
        work(k, node);
        if (!seen_.empty()) {
          seen_[k] = std::max(done_[k], node.before != kNone ? seen_[node.before] : kNever);
          if (changes_.flags[k] & kOwnStream) seen_[k] = std::max(seen_[k], end_[k]);
        }
        continue;
      }
      const Ns t = node.kind == NodeKind::join ? join(node) : segment(k, node);
      done_[k] = end_[k] = std::min(t, kEnd);
      if (seen_.empty()) continue;
      seen_[k] = done_[k];
      if (node.kind == NodeKind::join)
        seen_[k] = std::min(std::max(node.before != kNone ? seen_[node.before] : kNever,
                                     latest_extra(graph_, node, seen_)),
                            kEnd);
    }
  }

 private:
  Ns join(const Node& node) const {
    const Ns before = node.before != kNone ? done_[node.before] : kNever;
    return std::max(before, latest_extra(graph_, node, done_));
  }

  Ns segment(uint32_t k, const Node& node) const {
    Ns t = changes_.own[k];
    if (node.previous != kNone) t += done_[node.previous];
    const uint8_t flags = changes_.flags[k];
    if (flags & kUnblocked) return t;
    const bool later = (flags & kDeferred) != 0;
    const uint32_t wait = later ? changes_.instead[k] : node.before;
    if (wait != kNone) {
      const std::vector<Ns>& all = seen_.empty() ? done_ : seen_;
      const Ns done = (node.flags & kWaitsOwn) ? end_[wait] : all[wait];
      // What is done when the call comes is not waited for.
      if (done > done_[node.previous])
        t = std::max(t, done + (later ? std::max<Ns>(0, node.device_lag) : node.device_lag));
    }
    if (node.other != kNone) t = std::max(t, done_[node.other] + node.host_lag);
    return t;
  }

  // What the stream, events and default streams hold it back to.
  Ns stream_ready(uint32_t k, const Node& node) const {
    Ns ready = node.before != kNone ? done_[node.before] : kNever;
    const bool freed = (changes_.flags[k] & kFreed) != 0;
    for (uint32_t at = node.extra; at < node.extra + node.extras; ++at) {
      const uint32_t from = graph_.extras[at] & ~kEdgeFlags;
      const bool legacy = (graph_.extras[at] & kLegacyEdge) != 0;
      if (legacy && (freed || (changes_.flags[from] & kFreed))) continue;
      ready = std::max(ready, done_[from]);
      // An event is about the copy itself, on whichever stream it is.
      const bool left = (changes_.flags[from] & (kOwnStream | kDropped)) == kOwnStream;
      if (left && (graph_.extras[at] & kEdgeFlags) == 0) ready = std::max(ready, end_[from]);
    }
    return ready;
  }

  // The last that stays in the engine's order, up to `from`.
  uint32_t staying(uint32_t from) const {
    if (from == kNone || (changes_.flags[from] & kAhead) == 0) return from;
    return changes_.ahead[changes_.ahead_of[from]].stays;
  }

  // Copies that go ahead follow each other, and take no place in the order of the others.
  Ns engine_ready(uint32_t from) const {
    if (from == kNone) return kNever;
    const uint32_t stays = staying(from);
    return stays == kNone ? end_[from] : std::max(end_[from], end_[stays]);
  }

  void work(uint32_t k, const Node& node) {
    const uint8_t flags = changes_.flags[k];
    const Ns stream = stream_ready(k, node);
    if (flags & kDropped) {
      done_[k] = stream;
      end_[k] = engine_ready(node.other);
      return;
    }
    if (flags & kAhead) {
      end_[k] = std::min(ahead(k, node), kEnd);
      done_[k] = std::max(stream, end_[k]);
      return;
    }
    Ns t = (node.flags & kAsked) ? asked_at(node, done_, changes_) : kNever;
    const Ns ready = std::max(stream, engine_ready(node.other));
    if (ready > kNever) t = std::max(t, ready + node.device_lag);
    // Where all that it waited for is gone, it was at least not done before the recording.
    if (t <= kNever) t = (node.flags & kFixed) ? node.offset : graph_.begin;
    end_[k] = std::min(t + changes_.own[k], kEnd);
    done_[k] = (flags & kOwnStream) ? stream : end_[k];
  }

  Ns ahead(uint32_t k, const Node& node) {
    const Ahead& ahead = changes_.ahead[changes_.ahead_of[k]];
    const Node& source = graph_.nodes[ahead.source];
    const uint32_t stays = staying(source.other);
    Ns ready = stays != kNone ? end_[stays] : kNever;
    if (ahead.before != kNone) ready = std::max(ready, end_[ahead.before]);
    if (ahead.limit != kNone) ready = std::max(ready, limit(ahead.limit, k));
    Ns t = graph_.begin;
    if (source.flags & kAsked) t = asked_at(source, done_, changes_);
    if (ready > kNever) t = std::max(t, ready + std::min(node.device_lag, graph_.copy_lag));
    return t + changes_.own[k];
  }

  Ns limit(uint32_t index, uint32_t k) {
    if (limit_known_[index]) return limits_[index];
    limit_known_[index] = 1;
    const Limit& limit = changes_.limits[index];
    for (uint32_t at = limit.first; at < limit.first + limit.count; ++at) {
      // What ran later in the recording was not waited for there either.
      const uint32_t node = changes_.limit_nodes[at];
      if (node < k) limits_[index] = std::max(limits_[index], done_[node]);
    }
    return limits_[index];
  }

  const Graph& graph_;
  const Changes& changes_;
  std::vector<Ns>& done_;
  std::vector<Ns>& end_;
  std::vector<Ns>& seen_;
  std::vector<Ns> limits_;
  std::vector<uint8_t> limit_known_;
};

Ns time_of(const Graph& graph, const Anchor& anchor, const std::vector<Ns>& done) {
  if (anchor.node == kNone) return anchor.offset;
  if (!anchor.inside) return done[anchor.node] + anchor.offset;
  const Ns begin = done[graph.nodes[anchor.node].previous];
  return std::min(begin + anchor.offset, done[anchor.node]);
}

ReplayResult result_of(const Graph& graph, const std::vector<Ns>& done) {
  ReplayResult result;
  if (graph.steps.empty()) {
    Ns last = graph.begin;
    for (const Ns t : done) last = std::max(last, t);
    result.span = std::max<Ns>(0, last - graph.begin + graph.rest - graph.holes);
    return result;
  }
  Ns device_end = kNever;
  Ns window_begin = 0;
  Ns window_end = kNever;
  bool first = true;
  for (const StepAnchor& step : graph.steps) {
    const Ns begin = std::max(time_of(graph, step.begin, done), device_end) + step.begin_rest;
    device_end = kNever;
    for (uint32_t k = step.work; k < step.work + step.works; ++k)
      device_end = std::max(device_end, done[graph.step_work[k]]);
    const Ns end = std::max(time_of(graph, step.end, done), device_end) + step.end_rest;
    if (!step.in_window) continue;
    if (first) window_begin = begin;
    first = false;
    window_end = std::max(window_end, end);
    result.steps.push_back(std::max<Ns>(0, end - begin));
  }
  result.span = std::max<Ns>(0, window_end - window_begin - graph.holes);
  return result;
}

}  // namespace

ReplayResult run(const Graph& graph, const Plan& plan) {
  Times times;
  times.done.assign(graph.nodes.size(), kNever);
  if (plan.empty()) {
    run_plain(graph, times);
  } else {
    times.end.assign(graph.nodes.size(), kNever);
    const Changes changes = changes_of(graph, plan);
    if (changes.own_streams) times.seen.assign(graph.nodes.size(), kNever);
    Runner(graph, changes, times).run();
  }
  return result_of(graph, times.seen.empty() ? times.done : times.seen);
}

}  // namespace mill::prof::replay
