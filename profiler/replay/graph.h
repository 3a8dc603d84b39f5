// What replay/ keeps between its files: the graph of a recording and the drafts that it is made
// from. Times are relative to the beginning of the timeline's window.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/replay/replay.h"

namespace mill::prof::replay {

inline constexpr uint32_t kNone = UINT32_MAX;
// Rows further away than this from the window are not in the graph: sums of times stay in range.
inline constexpr Ns kFar = Ns{1} << 60;
inline constexpr Ns kNever = -(Ns{1} << 61);
inline constexpr Ns kLongest = Ns{1} << 52;  // 52 days: of a time that a plan gives
// By so much the clocks of host and device, and rounded times, may disagree about an order.
inline constexpr Ns kSlack = 2000;

enum class NodeKind : uint8_t {
  root,    // where a line of host time begins: `own` is the time
  gap,     // host time in which nothing is known to happen
  loader,  // waiting for a batch, or making one
  op,      // an op of a CPU device
  wait,    // a wait that the engine saw and no call explains
  call,
  work,
  join  // all work of a device up to a point
};
inline bool is_segment(NodeKind kind) {
  return kind < NodeKind::work;
}
// A plan's HostTime changes these.
inline bool is_host_time(NodeKind kind) {
  return kind >= NodeKind::gap && kind <= NodeKind::wait;
}

enum NodeFlags : uint8_t {
  kLaunches = 1,  // the call asks for kernels
  kKernel = 2,    // the work is a kernel
  kWaitsOwn = 4,  // the call waits for work that it asked for itself
  kFixed = 8,     // nothing is known to hold the work back: it starts when it did, at `offset`
  kAsked = 16     // the work has a point on the host at which it was asked for
};

struct Node {
  Ns own = 0;         // its duration, of a segment without what it waits for
  Ns offset = 0;      // of work: how far into its segment it was asked for
  Ns host_lag = 0;    // of work: from there to its start; of a segment: from the other thread's end
  Ns device_lag = 0;  // of work: after what it waits for on the device; of a segment: to its return
  uint32_t previous = kNone;  // the segment before this one, or before the one that asks
  uint32_t segment = kNone;   // of work: the segment that asks
  uint32_t before = kNone;    // of work: what its stream does before; of a segment: what it waits
                              // for; of a join: the join before
  uint32_t other = kNone;     // of work: what its engine does before; of a segment: the segment of
                              // another thread that hands over to it
  uint32_t extra = 0;         // of work and joins: in Graph::extras
  uint32_t extras = 0;
  NodeKind kind = NodeKind::root;
  uint8_t flags = 0;
};

// Of an entry of Graph::extras: the edge is there because of the default stream, ...
inline constexpr uint32_t kLegacyEdge = uint32_t{1} << 31;
// ... because both are of one stream.
inline constexpr uint32_t kStreamEdge = uint32_t{1} << 30;
inline constexpr uint32_t kEdgeFlags = kLegacyEdge | kStreamEdge;

// A point on the host: inside a segment, or past its end.
struct Anchor {
  uint32_t node = kNone;  // kNone: `offset` is the time
  Ns offset = 0;
  bool inside = false;
};

struct StepAnchor {
  Anchor begin;
  Anchor end;
  Ns host_begin = 0;
  Ns host_end = 0;
  uint32_t work = 0;  // in Graph::step_work: the last of each stream
  uint32_t works = 0;
  Ns begin_rest = 0;  // what the timeline found beyond these
  Ns end_rest = 0;
  bool in_window = false;
};

struct Graph {
  std::vector<Node> nodes;  // each after all that it waits for
  std::vector<uint32_t> extras;
  std::vector<uint32_t> step_work;
  std::vector<StepAnchor> steps;

  // Lines of host time: threads that never run at the same time share one.
  std::vector<uint32_t> line_of_thread;
  std::vector<uint32_t> line_first;  // of the segments: begins with the root; one more than lines
  std::vector<Ns> segment_begin;
  std::vector<Ns> segment_end;
  std::vector<uint32_t> segment_node;

  std::vector<uint32_t> node_of_work;  // by row
  std::vector<uint32_t> call_first;    // by row: its segments, with those of calls inside it
  std::vector<uint32_t> call_last;
  std::vector<uint32_t> works_of_call;   // by row: how many
  std::vector<uint32_t> stream_of_work;  // by row
  std::vector<uint32_t> engine_of_work;  // by row
  std::vector<uint32_t> call_of_work;    // by row
  std::vector<Ns> asked;                 // by row of Work: when
  std::vector<uint32_t> call_name;       // by row
  std::vector<uint32_t> call_line;       // by row

  Ns origin = 0;
  Ns begin = 0;  // of the earliest node
  Ns end = 0;    // of the last one, as it was recorded
  Ns measured = 0;
  Ns replayed = 0;
  Ns rest = 0;   // of the span: what lies outside of the nodes, where there are no steps
  Ns holes = 0;  // of the span: what was not recorded
  Ns copy_lag = 0;
  uint64_t dropped_edges = 0;
};

// The step that the host was in; an index into Graph::steps, or kNone.
uint32_t step_at(const std::vector<StepAnchor>& steps, Ns t);

Graph build(const Timeline& timeline);
ReplayResult run(const Graph& graph, const Plan& plan);

// ---- drafts -------------------------------------------------------------------------------------

struct Segment {
  Ns begin = 0;
  Ns end = 0;
  uint32_t row = kNone;  // of the table that the kind says
  NodeKind kind = NodeKind::gap;
  uint32_t fill = kNone;  // of a loader's wait: the segment that ends with the batch
};

struct Lines {
  std::vector<Segment> segments;
  std::vector<uint32_t> first;  // one more than lines
  std::vector<uint32_t> line_of_thread;
  std::vector<uint32_t> call_first;
  std::vector<uint32_t> call_last;
  std::vector<uint32_t> sync_segments;  // kind wait, of Syncs
  std::vector<uint32_t> copy_segments;  // kind wait, of Copies

  // The segment in which a time lies, ends included; never a root unless there is nothing else.
  uint32_t at(uint32_t line, Ns t) const;
  uint32_t line(uint32_t thread) const {
    return thread < line_of_thread.size() ? line_of_thread[thread] : kNone;
  }
};

// Times of a row relative to the origin; false when it cannot be in the graph.
class Clock {
 public:
  explicit Clock(Ns origin) : origin_(origin) {}
  bool take(Ns start, Ns end, Ns* from, Ns* to) const {
    if (end < start || !near(start) || !near(end)) return false;
    *from = start - origin_;
    *to = end - origin_;
    return true;
  }
  bool near(Ns t) const {
    Ns distance = 0;
    return !__builtin_sub_overflow(t, origin_, &distance) && distance >= -kFar && distance <= kFar;
  }
  Ns of(Ns t) const { return t - origin_; }

 private:
  Ns origin_;
};

Lines make_lines(const Timeline& timeline, const Clock& clock);

struct DraftWork {
  Ns start = 0;
  Ns end = 0;
  Ns asked = 0;            // order of submission
  bool submitted = false;  // without a call, but it says when it was asked for
  uint32_t row = 0;
  uint32_t call = kNone;    // usable ones only
  uint32_t stream = 0;      // dense
  uint32_t device = 0;      // dense
  uint32_t engine = kNone;  // dense
  uint32_t stream_before = kNone;
  uint32_t engine_before = kNone;
  Ns device_ready = kNever;  // the last end of what it waits for on the device
  bool has_device_edge = false;
};

struct DraftEdge {
  uint32_t to = 0;
  uint32_t from = 0;
  bool legacy = false;
};

struct DraftJoin {
  uint32_t before = kNone;
  uint32_t first = 0;  // in join_work
  uint32_t count = 0;
  Ns end = kNever;
  Ns key = kNever;
};

// Something on the host that waits for the device.
struct DraftWait {
  uint32_t segment = kNone;
  uint32_t work = kNone;  // exactly one of the two
  uint32_t join = kNone;
  uint32_t name = 0;  // what calls of the same kind share
  bool own = false;
};

struct Device {
  std::vector<DraftWork> works;  // by start
  std::vector<uint32_t> work_of_row;
  std::vector<DraftEdge> edges;
  std::vector<DraftJoin> joins;
  std::vector<uint32_t> join_work;
  std::vector<DraftWait> waits;
  std::vector<uint32_t> idle_calls;  // waits for the device that had nothing to wait for
  std::vector<uint32_t> by_end;
  uint32_t streams = 0;
  uint32_t devices = 0;
  bool knows_events = false;
  uint64_t dropped = 0;
};

// Device work with its streams, engines, events and default streams, and who waits for it.
Device make_device(const Timeline& timeline, const Clock& clock, const Lines& lines);
void order_by_submission(const Trace& trace, const Clock& clock, const Lines& lines, Device* out);
void order_by_execution(const Trace& trace, Device* out);

}  // namespace mill::prof::replay
