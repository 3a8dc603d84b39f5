// Copies that go ahead of their step on a stream of their own. The copies of a step are one bundle;
// with depth m bundle i is asked for when bundle i - m was, follows bundle i - 1 on the engine, and
// needs the buffer of bundle i - m - 1, so it waits for the consumers of that: one bundle is in use
// and m are ahead. In the terms of the recurrence for m' = m + 1 buffers: copy i starts at
// max(end of copy i - 1, end of the consumers of copy i - m'). The first bundle cannot go ahead of
// anything.
#include <algorithm>
#include <tuple>
#include <utility>

#include "profiler/replay/changes.h"

namespace mill::prof::replay {

namespace {

struct Copy {
  uint32_t engine;
  uint32_t node;
  uint32_t row;
  uint32_t depth;
  uint32_t bundle;
};

// The first work of a stream that needs a bundle.
struct User {
  uint32_t bundle;
  uint32_t stream;
  uint32_t node;
  bool operator<(const User& other) const {
    return std::tie(bundle, stream, node) < std::tie(other.bundle, other.stream, other.node);
  }
};

std::vector<Copy> copies_of(const Graph& graph, const Plan& plan) {
  std::vector<Copy> copies;
  for (const auto& [row, depth] : plan.prefetch) {
    if (row >= graph.node_of_work.size() || graph.node_of_work[row] == kNone || depth == 0)
      continue;
    if (graph.engine_of_work[row] == kNone) continue;
    copies.push_back({graph.engine_of_work[row], graph.node_of_work[row], row, depth, 0});
  }
  // Of two depths the larger.
  std::sort(copies.begin(), copies.end(), [](const Copy& a, const Copy& b) {
    return std::tie(a.engine, a.node, b.depth) < std::tie(b.engine, b.node, a.depth);
  });
  const auto same = [](const Copy& a, const Copy& b) { return a.node == b.node; };
  copies.erase(std::unique(copies.begin(), copies.end(), same), copies.end());
  return copies;
}

}  // namespace

void go_ahead(const Graph& graph, const Plan& plan, Changes* changes) {
  std::vector<Copy> copies = copies_of(graph, plan);
  if (copies.empty()) return;

  // Bundles count on from engine to engine; `first_bundle` says where each engine's begin.
  std::vector<uint32_t> first_copy;  // of each bundle
  std::vector<uint32_t> first_bundle;
  std::vector<uint32_t> bundle_of_node(graph.nodes.size(), kNone);
  uint32_t engine = kNone;
  uint32_t step = kNone;
  for (uint32_t k = 0; k < copies.size(); ++k) {
    Copy& copy = copies[k];
    const uint32_t now = step_at(graph.steps, graph.asked[copy.row]);
    const uint32_t before = graph.nodes[copy.node].before;
    bool together = k > 0 && copy.engine == engine && now == step;
    // Without steps, copies with no other work of their stream in between belong together.
    if (together && now == kNone)
      together = before != kNone && bundle_of_node[before] + 1 == first_copy.size();
    if (!together) {
      if (copy.engine != engine) first_bundle.push_back(static_cast<uint32_t>(first_copy.size()));
      first_copy.push_back(k);
    }
    engine = copy.engine;
    step = now;
    copy.bundle = static_cast<uint32_t>(first_copy.size()) - 1;
    bundle_of_node[copy.node] = copy.bundle;
  }
  first_copy.push_back(static_cast<uint32_t>(copies.size()));
  first_bundle.push_back(static_cast<uint32_t>(first_copy.size()) - 1);

  std::vector<User> users;
  users.reserve(copies.size());
  for (const Copy& copy : copies)
    users.push_back({copy.bundle, graph.stream_of_work[copy.row], copy.node});
  for (uint32_t row = 0; row < graph.node_of_work.size(); ++row) {
    const uint32_t node = graph.node_of_work[row];
    if (node == kNone || bundle_of_node[node] != kNone) continue;
    const Node& one = graph.nodes[node];
    for (uint32_t k = one.extra; k < one.extra + one.extras; ++k) {
      if (graph.extras[k] & kLegacyEdge) continue;
      const uint32_t bundle = bundle_of_node[graph.extras[k] & ~kEdgeFlags];
      if (bundle != kNone) users.push_back({bundle, graph.stream_of_work[row], node});
    }
  }
  std::sort(users.begin(), users.end());
  // What runs before the first user of bundle j on its stream are the consumers of all before j.
  changes->limits.resize(first_copy.size() - 1);
  for (size_t k = 0; k < users.size(); ++k) {
    const User& user = users[k];
    if (k > 0 && users[k - 1].bundle == user.bundle && users[k - 1].stream == user.stream) continue;
    Limit& limit = changes->limits[user.bundle];
    if (limit.count == 0) limit.first = static_cast<uint32_t>(changes->limit_nodes.size());
    if (graph.nodes[user.node].before == kNone) continue;
    changes->limit_nodes.push_back(graph.nodes[user.node].before);
    ++limit.count;
  }

  changes->ahead_of.assign(graph.nodes.size(), kNone);
  for (size_t e = 0; e + 1 < first_bundle.size(); ++e) {
    uint32_t before = kNone;
    for (uint32_t bundle = first_bundle[e]; bundle < first_bundle[e + 1]; ++bundle) {
      const uint32_t number = bundle - first_bundle[e];
      for (uint32_t k = first_copy[bundle]; k < first_copy[bundle + 1]; ++k) {
        const Copy& copy = copies[k];
        if (number > 0) {
          const uint32_t source_bundle = bundle - std::min(copy.depth, number);
          const uint32_t size = first_copy[source_bundle + 1] - first_copy[source_bundle];
          Ahead ahead;
          ahead.node = copy.node;
          ahead.source =
              copies[first_copy[source_bundle] + std::min(k - first_copy[bundle], size - 1)].node;
          ahead.before = before;
          if (copy.depth < number) ahead.limit = source_bundle;
          const uint32_t last = graph.nodes[copy.node].other;
          const bool follows = last != kNone && changes->ahead_of[last] != kNone;
          ahead.stays = follows ? changes->ahead[changes->ahead_of[last]].stays : last;
          changes->ahead_of[copy.node] = static_cast<uint32_t>(changes->ahead.size());
          changes->ahead.push_back(ahead);
          changes->flags[copy.node] |= kAhead;
        }
        before = copy.node;
      }
    }
  }
}

}  // namespace mill::prof::replay
