// How a recording is re-timed.
//
// build() makes a graph of it, once, in O(n log n):
//   lines.cpp       host time, cut into segments: calls, loader waits, ops of CPU devices, gaps. A
//                   gap takes as long as it took. Threads that take turns are one line.
//   device.cpp      pieces of device work,
//   submission.cpp  what follows from the order in which they were asked for (edges d and e),
//   execution.cpp   ... and from the order in which they ran (c, f, and the default stream),
//   host.cpp        the host's own part of calls that wait, the point at which work was asked for
//                   (b),
//   build.cpp       lags, and one order of all nodes in which each comes after what it waits for,
//   index.cpp       where a row is in it, and a step.
// run() walks the nodes once in that order: a segment ends at the later of
//     end of the segment before + its own part
//     end of what it waits for + the recorded time to return
// and work starts at the later of
//     when it was asked for + launch latency
//     end of all that it waits for on the device + the recorded lag
// changes.cpp says what a plan makes of durations and edges, ahead.cpp what a prefetched copy waits
// for (g). Work that is dropped or that leaves its stream hands on what it waited for, so that what
// came after it on the stream still waits for what came before.
//
// Edges that are not there in a recording are not invented, with three exceptions, each by a
// pattern in the times that is unlikely by chance: threads that never run at once (lines.cpp), a
// start just after another stream's work where no recorded edge explains it (host.cpp), and a
// launch that returns when the device takes work out of a full queue (submission.cpp).
#include "profiler/replay/replay.h"

#include <cmath>

#include "profiler/replay/graph.h"

namespace mill::prof {

struct Replay::Graph {
  replay::Graph graph;
};

bool Plan::empty() const {
  return work_duration.empty() && call_duration.empty() && before_ask.empty() &&
         drop_work.empty() && drop_call.empty() && unblock.empty() && defer.empty() &&
         prefetch.empty() && host_time.empty() && free_stream.empty() && own_stream.empty() &&
         kernel_scale == 1 && launch_scale == 1;
}

namespace {

// 1 says nothing; of two that say something the shorter times.
double merged_scale(double one, double other) {
  if (other == 1) return one;
  return one == 1 ? other : std::fmin(one, other);
}

}  // namespace

void Plan::merge(const Plan& other) {
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(work_duration, other.work_duration);
  append(call_duration, other.call_duration);
  append(before_ask, other.before_ask);
  append(drop_work, other.drop_work);
  append(drop_call, other.drop_call);
  append(unblock, other.unblock);
  append(defer, other.defer);
  append(prefetch, other.prefetch);
  append(host_time, other.host_time);
  append(free_stream, other.free_stream);
  append(own_stream, other.own_stream);
  kernel_scale = merged_scale(kernel_scale, other.kernel_scale);
  launch_scale = merged_scale(launch_scale, other.launch_scale);
}

Replay::Replay(const Timeline& timeline)
    : graph_(std::make_unique<const Graph>(Graph{replay::build(timeline)})) {}
Replay::~Replay() = default;

Ns Replay::measured() const {
  return graph_->graph.measured;
}
Ns Replay::replayed() const {
  return graph_->graph.replayed;
}

double Replay::error() const {
  if (measured() <= 0) return replayed() == measured() ? 0.0 : 1.0;
  return std::fabs(static_cast<double>(replayed()) - static_cast<double>(measured())) /
         static_cast<double>(measured());
}

uint64_t Replay::contradictions() const {
  return graph_->graph.dropped_edges;
}

ReplayResult Replay::run(const Plan& plan) const {
  return replay::run(graph_->graph, plan);
}

Ns Replay::saving(const Plan& plan) const {
  return replayed() - run(plan).span;
}

}  // namespace mill::prof
