// What plans and results need besides the nodes of a graph: where a row's work and calls are, what
// each step begins and ends with, and the recording's own figures.
#include <algorithm>
#include <iterator>

#include "profiler/replay/build.h"

namespace mill::prof::replay {

namespace {

class Indexer {
 public:
  Indexer(const Drafts& drafts, Graph& graph)
      : drafts_(drafts),
        timeline_(drafts.timeline),
        trace_(drafts.timeline.trace()),
        clock_(drafts.clock),
        lines_(drafts.lines),
        device_(drafts.device),
        rank_(drafts.rank),
        graph_(graph) {}

  void run() {
    index_rows();
    anchor_steps();
  }

 private:
  void index_rows() {
    const uint32_t rows = trace_.work.size();
    graph_.node_of_work.assign(rows, kNone);
    graph_.asked.assign(rows, 0);
    graph_.call_of_work.assign(rows, kNone);
    graph_.stream_of_work.assign(rows, kNone);
    graph_.engine_of_work.assign(rows, kNone);
    graph_.works_of_call.assign(trace_.calls.size(), 0);
    for (uint32_t k = 0; k < drafts_.works(); ++k) {
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
    graph_.segment_begin.resize(drafts_.segments());
    graph_.segment_end.resize(drafts_.segments());
    graph_.segment_node.resize(drafts_.segments());
    for (uint32_t k = 0; k < drafts_.segments(); ++k) {
      graph_.segment_begin[k] = lines_.segments[k].begin;
      graph_.segment_end[k] = lines_.segments[k].end;
      graph_.segment_node[k] = rank_[drafts_.id_of_segment(k)];
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
    anchor.node = rank_[drafts_.id_of_segment(at)];
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
    for (uint32_t k = drafts_.works(); k-- > 0;) {
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

  const Drafts& drafts_;
  const Timeline& timeline_;
  const Trace& trace_;
  const Clock& clock_;
  const Lines& lines_;
  const Device& device_;
  const std::vector<uint32_t>& rank_;
  Graph& graph_;
};

}  // namespace

uint32_t step_at(const std::vector<StepAnchor>& steps, Ns t) {
  const auto after = std::upper_bound(steps.begin(), steps.end(), t,
                                      [](Ns at, const auto& step) { return at < step.host_begin; });
  if (after == steps.begin() || t >= std::prev(after)->host_end) return kNone;
  return static_cast<uint32_t>(std::prev(after) - steps.begin());
}

void index_graph(const Drafts& drafts, Graph* graph) {
  Indexer(drafts, *graph).run();
}

}  // namespace mill::prof::replay
