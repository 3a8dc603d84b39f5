#include "profiler/export/html_events.h"

#include <algorithm>
#include <unordered_map>

namespace mill::prof::html {

namespace {

constexpr int64_t kFarthest = int64_t{1} << 50;
constexpr uint32_t kMostLanes = 4000;
constexpr uint32_t kDeepest = 16;

// Sections of a thread's track and of a device's, from the top.
enum Section : uint32_t {
  kRanges,
  kOps,
  kLoader,
  kCalls,
  kWaits,
  kEngineCopies,
  kOverheads,
  kStreams,
  kManaged,
  kGaps
};

Look call_look(CallKind kind) {
  switch (kind) {
    case CallKind::launch:
    case CallKind::graph_launch: return Look::launch;
    case CallKind::copy:
    case CallKind::fill: return Look::transfer_call;
    case CallKind::sync_event:
    case CallKind::sync_stream:
    case CallKind::sync_device: return Look::wait;
    case CallKind::allocate:
    case CallKind::free:
    case CallKind::host_allocate:
    case CallKind::host_free: return Look::allocation;
    default: return Look::other_call;
  }
}

Look work_look(WorkKind kind, CopyKind copy) {
  switch (kind) {
    case WorkKind::kernel: return Look::kernel;
    case WorkKind::fill: return Look::fill;
    case WorkKind::host_function: return Look::host_function;
    case WorkKind::copy:
      return copy == CopyKind::host_to_device   ? Look::to_device
             : copy == CopyKind::device_to_host ? Look::to_host
                                                : Look::other_copy;
    default: return Look::other;
  }
}

class SceneBuilder {
 public:
  SceneBuilder(const Analysis& analysis, Scene& scene) : trace_(analysis.trace()), scene_(scene) {}

  Events& table(const char* name, TableId evidence, size_t rows) {
    Events& events = scene_.tables.emplace_back();
    events.name = name;
    events.evidence = evidence;
    events.start.reserve(rows);
    events.length.reserve(rows);
    events.lane.reserve(rows);
    events.look.reserve(rows);
    events.label.reserve(rows);
    events.pinned.assign(rows, false);
    stacks_.clear();
    return events;
  }

  // The next row. It goes to the first lane of its owner that is free at its start, so that what
  // nests lies below what holds it.
  void add(Events& events, Ns start, Ns end, TrackKind kind, uint32_t index, uint32_t section,
           uint32_t owner, uint8_t look, uint32_t label, bool drawn = true) {
    const int64_t from = scene_.since_origin(start);
    const int64_t to = std::max(scene_.since_origin(end), from);
    events.start.push_back(from);
    events.length.push_back(to - from);
    events.look.push_back(look);
    events.label.push_back(label);
    events.lane.push_back(drawn ? lane(from, to, kind, index, section, owner) : kNoRow);
  }

 private:
  struct Stack {
    std::vector<uint32_t> lanes;
    std::vector<int64_t> ends;
  };

  uint32_t track(TrackKind kind, uint32_t index) {
    const size_t known = kind == TrackKind::thread ? trace_.threads.size() : trace_.devices.size();
    if (index >= std::min<size_t>(known, kMostNamed)) index = kNoRow;
    const uint64_t key = uint64_t{index} << 8 | static_cast<uint64_t>(kind);
    const auto [found, added] = tracks_.try_emplace(key, scene_.tracks.size());
    if (added) scene_.tracks.push_back({kind, index, 0});
    return static_cast<uint32_t>(found->second);
  }

  uint32_t lane(int64_t from, int64_t to, TrackKind kind, uint32_t index, uint32_t section,
                uint32_t owner) {
    const uint32_t track_index = track(kind, index);
    ++scene_.tracks[track_index].events;
    ++scene_.drawable;
    const auto key = [&] { return uint64_t{track_index} << 32 | owner; };
    const bool full = scene_.lanes.size() >= kMostLanes;
    if (full && section == kStreams && !stacks_.contains(key())) owner = kNoRow;
    Stack& stack = stacks_[key()];
    size_t depth = 0;
    while (depth < stack.ends.size() && stack.ends[depth] > from) ++depth;
    const bool shares = depth >= kDeepest || (full && !stack.lanes.empty());
    if (depth == stack.ends.size() && shares) depth = stack.ends.size() - 1;
    if (depth == stack.ends.size()) {
      stack.ends.push_back(to);
      stack.lanes.push_back(static_cast<uint32_t>(scene_.lanes.size()));
      scene_.lanes.push_back(
          {track_index, section, owner, static_cast<uint32_t>(depth), lane_name(section, owner)});
    } else {
      stack.ends[depth] = std::max(stack.ends[depth], to);
    }
    return stack.lanes[depth];
  }

  std::string lane_name(uint32_t section, uint32_t owner) const {
    switch (section) {
      case kRanges: return "ranges";
      case kOps: return "ops";
      case kLoader: return "loader";
      case kCalls: return "calls";
      case kWaits: return "waits";
      case kEngineCopies: return "copy requests";
      case kOverheads: return "overhead";
      case kManaged: return "managed pages";
      case kGaps: return "idle, by cause";
      default: break;
    }
    if (owner >= trace_.streams.size())
      return scene_.lanes.size() >= kMostLanes ? "other streams" : "no stream";
    const StreamInfo& stream = trace_.streams[owner];
    const std::string number = std::to_string(stream.number);
    if (stream.name.empty()) return "stream " + number;
    const std::string name = clip(stream.name, 40);
    return name.find(number) != std::string::npos ? name : name + " (" + number + ")";
  }

  const Trace& trace_;
  Scene& scene_;
  std::unordered_map<uint64_t, size_t> tracks_;
  std::unordered_map<uint64_t, Stack> stacks_;  // of the table being filled
};

uint32_t row_thread(const Trace& trace, uint32_t thread) {
  return thread < trace.threads.size() ? thread : kNoRow;
}

void add_host_tables(const Trace& trace, SceneBuilder& builder) {
  const Ops& ops = trace.ops;
  Events& op_events = builder.table("ops", TableId::ops, ops.size());
  for (uint32_t r = 0; r < ops.size(); ++r) {
    const bool backward =
        ops.kind[r] == static_cast<uint8_t>(OpKind::backward_pass) || ops.forward[r] != 0;
    builder.add(op_events, ops.start[r], ops.end[r], TrackKind::thread,
                row_thread(trace, ops.thread[r]), kOps, 0,
                static_cast<uint8_t>(backward ? Look::backward : Look::op), ops.name[r]);
  }
  const Calls& calls = trace.calls;
  Events& call_events = builder.table("calls", TableId::calls, calls.size());
  for (uint32_t r = 0; r < calls.size(); ++r) {
    builder.add(call_events, calls.start[r], calls.end[r], TrackKind::thread,
                row_thread(trace, calls.thread[r]), kCalls, 0,
                static_cast<uint8_t>(call_look(static_cast<CallKind>(calls.kind[r]))),
                calls.name[r], (calls.flags[r] & kExcluded) == 0);
  }
  const Copies& copies = trace.copies;
  Events& copy_events = builder.table("copies", TableId::copies, copies.size());
  for (uint32_t r = 0; r < copies.size(); ++r) {
    builder.add(copy_events, copies.start[r], copies.end[r], TrackKind::thread,
                row_thread(trace, copies.thread[r]), kEngineCopies, 0,
                static_cast<uint8_t>(Look::engine_copy), copies.scope[r]);
  }
  const Syncs& syncs = trace.syncs;
  Events& sync_events = builder.table("syncs", TableId::syncs, syncs.size());
  for (uint32_t r = 0; r < syncs.size(); ++r) {
    builder.add(sync_events, syncs.start[r], syncs.end[r], TrackKind::thread,
                row_thread(trace, syncs.thread[r]), kWaits, 0, static_cast<uint8_t>(Look::wait),
                syncs.scope[r]);
  }
  const Loader& loader = trace.loader;
  Events& loader_events = builder.table("loader", TableId::loader, loader.size());
  for (uint32_t r = 0; r < loader.size(); ++r) {
    builder.add(loader_events, loader.start[r], loader.end[r], TrackKind::thread,
                row_thread(trace, loader.thread[r]), kLoader, 0, static_cast<uint8_t>(Look::loader),
                0);
  }
  const Ranges& ranges = trace.ranges;
  Events& range_events = builder.table("ranges", TableId::none, ranges.size());
  for (uint32_t r = 0; r < ranges.size(); ++r) {
    builder.add(range_events, ranges.start[r], ranges.end[r], TrackKind::thread,
                row_thread(trace, ranges.thread[r]), kRanges, 0, static_cast<uint8_t>(Look::range),
                ranges.name[r]);
  }
  const Overheads& overheads = trace.overheads;
  Events& overhead_events = builder.table("overheads", TableId::overheads, overheads.size());
  for (uint32_t r = 0; r < overheads.size(); ++r) {
    builder.add(overhead_events, overheads.start[r], overheads.end[r], TrackKind::thread,
                row_thread(trace, overheads.thread[r]), kOverheads, 0,
                static_cast<uint8_t>(Look::overhead), overheads.name[r]);
  }
}

void add_device_tables(const Analysis& analysis, SceneBuilder& builder) {
  const Trace& trace = analysis.trace();
  const Work& work = trace.work;
  Events& work_events = builder.table("work", TableId::work, work.size());
  for (uint32_t r = 0; r < work.size(); ++r) {
    const Look look =
        work_look(static_cast<WorkKind>(work.kind[r]), static_cast<CopyKind>(work.copy_kind[r]));
    builder.add(work_events, work.start[r], work.end[r], TrackKind::device, work.device[r],
                kStreams, work.stream[r], static_cast<uint8_t>(look), work.name[r],
                (work.flags[r] & kExcluded) == 0);
  }
  const Managed& managed = trace.managed;
  Events& managed_events = builder.table("managed", TableId::managed, managed.size());
  for (uint32_t r = 0; r < managed.size(); ++r) {
    builder.add(managed_events, managed.start[r], managed.end[r], TrackKind::device,
                managed.device[r], kManaged, 0, static_cast<uint8_t>(Look::managed), 0);
  }
  const std::vector<Gap>& gaps = analysis.gaps;
  Events& gap_events = builder.table("gaps", TableId::gaps, gaps.size());
  for (const Gap& gap : gaps) {
    const auto cause = std::max_element(gap.causes, gap.causes + kGapCauses) - gap.causes;
    builder.add(gap_events, gap.begin, gap.end, TrackKind::device, gap.device, kGaps, 0,
                static_cast<uint8_t>(kGapLook + cause), 0);
  }
}

// Nothing of the evidence is merged away.
void pin_evidence(const Analysis& analysis, Scene& scene) {
  for (const Finding& finding : analysis.findings) {
    for (const Evidence& evidence : finding.evidence) {
      for (Events& events : scene.tables) {
        if (events.evidence == evidence.table && evidence.row < events.pinned.size()) {
          events.pinned[evidence.row] = true;
        }
      }
    }
  }
}

}  // namespace

std::string look_name(uint8_t look) {
  static constexpr const char* kNames[] = {"other",
                                           "kernel",
                                           "copy to device",
                                           "copy to host",
                                           "other copy",
                                           "fill",
                                           "host function",
                                           "launch call",
                                           "copy or fill call",
                                           "waiting call",
                                           "allocation call",
                                           "other call",
                                           "op",
                                           "backward op",
                                           "loader",
                                           "range",
                                           "copy request",
                                           "overhead",
                                           "managed pages",
                                           "several kinds"};
  static_assert(std::size(kNames) == kGapLook);
  if (look < kGapLook) return kNames[look];
  return std::string("idle: ") + gap_cause_name(static_cast<GapCause>(look - kGapLook));
}

const Events* Scene::table(TableId id) const {
  if (id == TableId::none) return nullptr;
  for (const Events& events : tables) {
    if (events.evidence == id) return &events;
  }
  return nullptr;
}

int64_t Scene::since_origin(Ns t) const {
  int64_t difference = 0;
  if (__builtin_sub_overflow(t, origin, &difference))
    difference = t < origin ? -kFarthest : kFarthest;
  return std::clamp(difference, -kFarthest, kFarthest);
}

Scene make_scene(const Analysis& analysis) {
  Scene scene;
  const Interval span = analysis.timeline->span();
  scene.origin = span.begin;
  scene.length = std::max<int64_t>(scene.since_origin(span.end), 0);
  SceneBuilder builder(analysis, scene);
  add_host_tables(analysis.trace(), builder);
  add_device_tables(analysis, builder);
  pin_evidence(analysis, scene);
  return scene;
}

}  // namespace mill::prof::html
