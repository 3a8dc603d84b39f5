// Re-times a recording: what would the same work take if something about it were different? The
// graph of section 3.1 of the design notes: nodes are the host's calls and the time between them on
// each thread, and every piece of device work; edges are
//   (a) program order per thread            (b) call -> device work
//   (c) order within a stream               (d) event record -> stream wait
//   (e) device work -> end of a host call that blocks for it
//   (f) copy engine, in order per direction (g) reuse of a buffer
//   (h) between threads, where a loader hands over a batch
// and a node starts when all its edges have been served plus the lag that they had in the recording
// where no edge explains it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "profiler/timeline/link_model.h"
#include "profiler/timeline/timeline.h"

namespace mill::prof {

// What is different. Empty: nothing. Rows are of Work and Calls of the timeline's trace; a row that
// is named twice gets the shorter time.
struct Plan {
  template <class V>
  using PerRow = std::vector<std::pair<uint32_t, V>>;

  PerRow<Ns> work_duration;         // the device work takes so long
  PerRow<Ns> call_duration;         // the call's own part, without what it waits for, takes so long
  PerRow<Ns> before_ask;            // the call takes so much more, before it asks for its work
  std::vector<uint32_t> drop_work;  // is not done at all; neither is the call that asked for it
  std::vector<uint32_t> drop_call;  // is not made; work that it asked for stays
  std::vector<uint32_t> unblock;    // calls that no longer wait for the device
  // The host's wait goes where the value is used: calls that no longer wait at once, but whose work
  // must be done before the host passes the same point one step later.
  std::vector<uint32_t> defer;
  // Copies that go to a stream of their own, so many steps ahead: with depth m the copies of step i
  // start at the earliest after those of step i - 1, after the kernels that used what step i - m -
  // 1 brought, and when the host asked for those of step i - m. That takes m buffers more: m of
  // them are ahead and one is in use. depth 1: one ahead, double buffering.
  PerRow<uint32_t> prefetch;
  // Host time of a thread inside an interval takes so long instead (a loader's wait: 0).
  struct HostTime {
    uint32_t thread;
    Interval interval;
    Ns length;
  };
  std::vector<HostTime> host_time;
  // Device work that no longer waits for other streams by being on the default stream.
  std::vector<uint32_t> free_stream;
  // Copies between host and device that go to a stream of their own: they still wait for what came
  // before them in their stream, and the host's waits for that stream for them, as do streams that
  // wait for them by an event, but not the device work that comes after them there.
  std::vector<uint32_t> own_stream;
  double kernel_scale = 1;  // of every kernel's duration
  double launch_scale = 1;  // of every launching call's own part

  bool empty() const;
  // Both; where they differ on a row or on all kernels or launches, the shorter time.
  void merge(const Plan& other);
};

struct ReplayResult {
  Ns span = 0;  // of what was recorded of the timeline's window (its analysed()), re-timed
  std::vector<Ns> steps;  // of each step in the window: its length
};

class Replay {
 public:
  explicit Replay(const Timeline& timeline);
  ~Replay();
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  Ns measured() const;  // the window as it was, without holes in the recording
  Ns replayed() const;  // ... re-timed with an empty plan
  // |replayed - measured| / measured. Above 0.05 every estimate is of low confidence.
  double error() const;
  // Orders that streams, events and waits imply and the recorded times contradict: left out.
  uint64_t contradictions() const;
  // Thread safe. O(nodes).
  ReplayResult run(const Plan& plan) const;
  // replayed() - run(plan).span: negative when the plan makes it slower.
  Ns saving(const Plan& plan) const;

 private:
  struct Graph;
  std::unique_ptr<const Graph> graph_;
};

// ---- what-if by figures -------------------------------------------------------------------------

// Changes that a user asks about, not tied to a finding. 0 or false: as it was.
struct WhatIf {
  double to_device_bytes_per_s = 0;
  double to_host_bytes_per_s = 0;
  bool pinned = false;          // all copies from and to pageable memory use pinned memory
  uint32_t prefetch_depth = 0;  // all copies to the device go ahead on a stream of their own
  double kernel_speed = 0;      // 2: kernels take half as long
  double launch_speed = 0;
  bool no_loader_wait = false;
  // Another device: kernels by the larger of flops and bytes ratios, copies by its link. Of a
  // recording without device work, the ops of its CPU device.
  bool other_device = false;
  double flops_ratio = 1;  // of the other to this one
  double memory_bandwidth_ratio = 1;
};
Plan plan_of(const WhatIf& what, const Timeline& timeline, const LinkModel& links);

}  // namespace mill::prof
