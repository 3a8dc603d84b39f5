// What the files that make the graph share: the host's draft, all drafts together, and typical
// values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "profiler/replay/graph.h"

namespace mill::prof::replay {

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
  static Ns quantile(std::vector<Ns>& values, double at) {
    if (values.empty()) return 0;
    const auto k = static_cast<std::ptrdiff_t>(at * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + k, values.end());
    return values[static_cast<size_t>(k)];
  }

  std::unordered_map<uint64_t, std::vector<Ns>> values_;
  std::unordered_map<uint64_t, Ns> settled_;
};

// Where on the host a piece of work was asked for.
struct DraftAsk {
  uint32_t segment = kNone;  // kNone: not known
  Ns offset = 0;
  Ns time = kNever;
  bool derived = false;  // from the start of work that a call waits for itself
  bool with_latency = false;
};

struct Host {
  std::vector<Ns> own;            // of segments: without what they wait for
  std::vector<Ns> return_lag;     // of segments: from the end of what they wait for
  std::vector<uint32_t> wait_of;  // of segments: in Device::waits
  std::vector<DraftAsk> asked;    // of work
};

// Adds the edges that late starts speak of to the device's.
Host make_host(const Timeline& timeline, const Clock& clock, const Lines& lines, Device* device);

// The kinds of calls that ask for kernels.
inline bool launches_kernels(CallKind kind) {
  return kind == CallKind::launch || kind == CallKind::graph_launch;
}

// All that a graph is made from. Work, segments and joins are numbered together: their ids.
struct Drafts {
  explicit Drafts(const Timeline& of)
      : timeline(of),
        clock(of.window().begin),
        lines(make_lines(of, clock)),
        device(make_device(of, clock, lines)),
        host(make_host(of, clock, lines, &device)) {}

  const Timeline& timeline;
  Clock clock;
  Lines lines;
  Device device;
  Host host;
  std::vector<uint32_t> rank;  // by id: the node

  uint32_t works() const { return static_cast<uint32_t>(device.works.size()); }
  uint32_t segments() const { return static_cast<uint32_t>(lines.segments.size()); }
  uint32_t joins() const { return static_cast<uint32_t>(device.joins.size()); }
  uint32_t id_of_segment(uint32_t k) const { return works() + k; }
  uint32_t id_of_join(uint32_t k) const { return works() + segments() + k; }
};

// Adds what plans and results need besides the nodes, which are there.
void index_graph(const Drafts& drafts, Graph* graph);

}  // namespace mill::prof::replay
