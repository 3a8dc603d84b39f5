// Edges that follow from the order in which work ran: streams, engines and default streams are
// queues. As in submission.cpp, edges that the times contradict are left out and counted.
#include <algorithm>
#include <utility>

#include "profiler/replay/graph.h"

namespace mill::prof::replay {

namespace {

constexpr int kLookBack = 8;  // on a stream or engine, for a predecessor that fits

class Execution {
 public:
  Execution(const Trace& trace, Device& out) : trace_(trace), out_(out) {}

  void run() {
    queues();
    default_streams();
    // Edges that the times allow, to work that comes later in the order of starts.
    const auto wrong = [&](const DraftEdge& edge) {
      const DraftWork& from = out_.works[edge.from];
      return edge.from >= edge.to || from.end > out_.works[edge.to].start + kSlack;
    };
    const auto kept = std::remove_if(out_.edges.begin(), out_.edges.end(), wrong);
    out_.dropped += static_cast<uint64_t>(out_.edges.end() - kept);
    out_.edges.erase(kept, out_.edges.end());
    for (uint32_t k = 0; k < out_.works.size(); ++k) {
      DraftWork& draft = out_.works[k];
      for (const uint32_t from : {draft.stream_before, draft.engine_before}) {
        if (from != kNone) ready(draft, from);
      }
    }
    for (const DraftEdge& edge : out_.edges) ready(out_.works[edge.to], edge.from);
  }

 private:
  void ready(DraftWork& draft, uint32_t from) {
    draft.device_ready = std::max(draft.device_ready, out_.works[from].end);
    draft.has_device_edge = true;
  }

  // The nearest before `k` on its queue that had ended.
  uint32_t ended_before(const std::vector<uint32_t>& chain, uint32_t from, uint32_t k) {
    const Ns limit = out_.works[k].start + kSlack;
    for (int back = 0; back < kLookBack && from != kNone; ++back) {
      if (out_.works[from].end <= limit) return from;
      ++out_.dropped;
      from = chain[from];
    }
    return kNone;
  }

  void queues() {
    const auto n = static_cast<uint32_t>(out_.works.size());
    std::vector<uint32_t> last_of_stream(out_.streams, kNone);
    std::vector<uint32_t> latest_of_stream(out_.streams, kNone);
    std::vector<uint32_t> last_of_engine(size_t{out_.devices} * 2, kNone);
    std::vector<uint32_t> stream_chain(n, kNone);
    std::vector<uint32_t> engine_chain(n, kNone);
    for (uint32_t k = 0; k < n; ++k) {
      DraftWork& draft = out_.works[k];
      stream_chain[k] = std::exchange(last_of_stream[draft.stream], k);
      draft.stream_before = ended_before(stream_chain, stream_chain[k], k);
      // Where work of one stream ran at the same time, as nodes of a graph do, what follows waits
      // for what ended last.
      uint32_t& latest = latest_of_stream[draft.stream];
      if (latest != kNone && draft.stream_before != kNone && latest != draft.stream_before &&
          out_.works[latest].end > out_.works[draft.stream_before].end &&
          out_.works[latest].end <= draft.start + kSlack)
        out_.edges.push_back({k, latest, false});
      if (latest == kNone || draft.end >= out_.works[latest].end) latest = k;
      if (draft.engine == kNone) continue;
      engine_chain[k] = std::exchange(last_of_engine[draft.engine], k);
      draft.engine_before = ended_before(engine_chain, engine_chain[k], k);
    }
  }

  bool is_legacy(uint32_t stream) const {
    return stream < trace_.streams.size() && trace_.streams[stream].legacy_default;
  }

  // Streams that ran beside their device's default stream were made not to wait for it.
  std::vector<bool> independent_streams(const std::vector<bool>& has_default) const {
    std::vector<bool> independent(out_.streams, false);
    using Running = std::pair<Ns, uint32_t>;                  // end, stream
    std::vector<std::vector<Running>> running(out_.devices);  // heaps, the first end on top
    std::vector<Ns> default_end(out_.devices, kNever);
    const auto later = [](const Running& a, const Running& b) { return a > b; };
    for (const DraftWork& draft : out_.works) {
      if (!has_default[draft.device]) continue;
      if (!is_legacy(draft.stream)) {
        if (independent[draft.stream]) continue;
        if (default_end[draft.device] > draft.start + kSlack) {
          independent[draft.stream] = true;
          continue;
        }
        running[draft.device].push_back({draft.end, draft.stream});
        std::push_heap(running[draft.device].begin(), running[draft.device].end(), later);
        continue;
      }
      auto& heap = running[draft.device];
      while (!heap.empty() && heap.front().first <= draft.start + kSlack) {
        std::pop_heap(heap.begin(), heap.end(), later);
        heap.pop_back();
      }
      if (draft.end > draft.start) {
        for (const Running& other : heap) independent[other.second] = true;
        heap.clear();
      }
      default_end[draft.device] = std::max(default_end[draft.device], draft.end);
    }
    return independent;
  }

  void default_streams() {
    std::vector<bool> has_default(out_.devices, false);
    bool any = false;
    for (const DraftWork& draft : out_.works) {
      if (!is_legacy(draft.stream)) continue;
      has_default[draft.device] = true;
      any = true;
    }
    if (!any) return;
    const std::vector<bool> independent = independent_streams(has_default);
    std::vector<uint32_t> last_default(out_.devices, kNone);
    std::vector<uint32_t> last_of_stream(out_.streams, kNone);  // since the last default work
    std::vector<uint32_t> served(out_.streams,
                                 kNone);  // the default work that it waits for already
    std::vector<std::vector<uint32_t>> active(out_.devices);
    for (uint32_t k = 0; k < out_.works.size(); ++k) {
      const DraftWork& draft = out_.works[k];
      if (!has_default[draft.device]) continue;
      uint32_t& last = last_default[draft.device];
      if (is_legacy(draft.stream)) {
        for (const uint32_t stream : active[draft.device]) {
          out_.edges.push_back({k, last_of_stream[stream], true});
          last_of_stream[stream] = kNone;
        }
        active[draft.device].clear();
        last = k;
        continue;
      }
      if (independent[draft.stream]) continue;
      if (last != kNone && served[draft.stream] != last) {
        served[draft.stream] = last;
        out_.edges.push_back({k, last, true});
      }
      if (last_of_stream[draft.stream] == kNone) active[draft.device].push_back(draft.stream);
      last_of_stream[draft.stream] = k;
    }
  }

  const Trace& trace_;
  Device& out_;
};

}  // namespace

void order_by_execution(const Trace& trace, Device* out) {
  Execution(trace, *out).run();
}

}  // namespace mill::prof::replay
