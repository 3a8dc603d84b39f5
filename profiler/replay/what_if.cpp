#include <algorithm>
#include <cmath>

#include "profiler/replay/replay.h"
#include "profiler/timeline/steps.h"

namespace mill::prof {

namespace {

bool positive(double value) {
  return std::isfinite(value) && value > 0;
}

Ns whole_ns(double ns) {
  constexpr double kMost = 1e15;
  return ns >= kMost ? static_cast<Ns>(kMost) : std::max<Ns>(0, std::llround(ns));
}

// How much longer a kernel takes on the other device. A kernel is bound by its operations or by the
// memory; where nobody says which, by what makes it take longer.
double kernel_factor(const WhatIf& what, uint64_t flops, uint64_t bytes) {
  const double by_flops = positive(what.flops_ratio) ? 1 / what.flops_ratio : 1;
  const double by_bytes =
      positive(what.memory_bandwidth_ratio) ? 1 / what.memory_bandwidth_ratio : 1;
  if (flops == 0 && bytes != 0) return by_bytes;
  if (flops != 0 && bytes == 0) return by_flops;
  return std::max(by_flops, by_bytes);
}

class CopyPlanner {
 public:
  CopyPlanner(const WhatIf& what, const Timeline& timeline, const LinkModel& links, Plan& plan)
      : what_(what), trace_(timeline.trace()), links_(links), plan_(plan) {}

  void add(uint32_t row) {
    const Work& work = trace_.work;
    const auto kind = static_cast<CopyKind>(work.copy_kind[row]);
    const bool to_device = kind == CopyKind::host_to_device;
    if (!to_device && kind != CopyKind::device_to_host) return;
    const auto memory = static_cast<Memory>(work.host_memory[row]);
    const Ns length = work.end[row] - work.start[row];
    const bool pin = what_.pinned && memory == Memory::pageable;
    const double rate = to_device ? what_.to_device_bytes_per_s : what_.to_host_bytes_per_s;
    if (positive(rate)) {
      const LinkLine& used = line(row, kind, pin ? Memory::pinned : memory);
      const double alpha = std::min(used.alpha_ns, static_cast<double>(length));
      plan_.work_duration.emplace_back(
          row, whole_ns(alpha + static_cast<double>(work.bytes[row]) / rate * 1e9));
    } else if (pin) {
      const double ns = line(row, kind, Memory::pinned).time_ns(work.bytes[row]);
      if (ns >= 0 && whole_ns(ns) < length) plan_.work_duration.emplace_back(row, whole_ns(ns));
    }
    const uint32_t call = work.call[row];
    if (pin && call < trace_.calls.size() && (trace_.calls.flags[call] & kAsyncForm))
      plan_.unblock.push_back(call);  // it asks for a copy and goes on, as its name says
    if (to_device && what_.prefetch_depth > 0)
      plan_.prefetch.emplace_back(row, what_.prefetch_depth);
  }

 private:
  // Lines are few and copies many: each is looked up once.
  const LinkLine& line(uint32_t row, CopyKind kind, Memory memory) {
    const uint32_t device = trace_.work.device[row];
    for (const Known& one : known_) {
      if (one.device == device && one.line.kind == kind && one.line.memory == memory)
        return one.line;
    }
    known_.insert(known_.begin(), {device, links_.line(trace_, device, kind, memory)});
    if (known_.size() > kMostKnown) known_.pop_back();
    return known_.front().line;
  }

  struct Known {
    uint32_t device;
    LinkLine line;
  };
  static constexpr size_t kMostKnown = 64;

  const WhatIf& what_;
  const Trace& trace_;
  const LinkModel& links_;
  Plan& plan_;
  std::vector<Known> known_;
};

}  // namespace

Plan plan_of(const WhatIf& what, const Timeline& timeline, const LinkModel& links) {
  Plan plan;
  const Trace& trace = timeline.trace();
  const Work& work = trace.work;
  const double speed = positive(what.kernel_speed) ? what.kernel_speed : 1;
  const bool by_kernel = what.other_device;
  if (!by_kernel) plan.kernel_scale = 1 / speed;
  if (positive(what.launch_speed)) plan.launch_scale = 1 / what.launch_speed;
  CopyPlanner copies(what, timeline, links, plan);
  for (uint32_t row = 0; row < work.size(); ++row) {
    if ((work.flags[row] & kExcluded) || work.end[row] < work.start[row]) continue;
    switch (static_cast<WorkKind>(work.kind[row])) {
      case WorkKind::copy: copies.add(row); break;
      case WorkKind::kernel:
        if (by_kernel) {
          const double factor = kernel_factor(what, work.flops[row], work.bytes[row]) / speed;
          plan.work_duration.emplace_back(
              row, whole_ns(static_cast<double>(work.end[row] - work.start[row]) * factor));
        }
        break;
      default: break;
    }
  }
  // Beside an accelerator, that is the device that is meant.
  if (by_kernel && work.empty()) {
    const Ops& ops = trace.ops;
    for (const uint32_t row : computing_ops(trace)) {
      const uint32_t device = ops.device[row];
      if (device == kNoRow || trace.devices[device].kind != DeviceKind::cpu) continue;
      const double factor = kernel_factor(what, ops.flops[row], ops.bytes[row]) / speed;
      const Interval time{ops.start[row], ops.end[row]};
      plan.host_time.push_back(
          {ops.thread[row], time, whole_ns(static_cast<double>(time.length()) * factor)});
    }
  }
  if (what.no_loader_wait) {
    const Loader& loader = trace.loader;
    for (uint32_t row = 0; row < loader.size(); ++row) {
      if (loader.kind[row] == static_cast<uint8_t>(LoaderKind::fill)) continue;
      const Ns wait = std::min(loader.wait[row], loader.end[row] - loader.start[row]);
      if (wait > 0)
        plan.host_time.push_back(
            {loader.thread[row], {loader.start[row], loader.start[row] + wait}, 0});
    }
  }
  return plan;
}

}  // namespace mill::prof
