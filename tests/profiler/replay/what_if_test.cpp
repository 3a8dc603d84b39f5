#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "profiler/replay/replay.h"
#include "schedule.h"

namespace mill::prof::test {
namespace {

// One step: wait for a batch 100 us; a pageable copy to the device of 1,000,000 bytes that takes
// 200 us, its call until the end; a kernel of 300 us; at the end the host waits.
Timeline one_step() {
  Builder b;
  b.loader_wait(0, 100 * us);
  b.copy(CopyKind::host_to_device, Memory::pageable, 1'000'000, 100 * us, 310 * us, 110 * us,
         310 * us);
  b.kernel("k", 320 * us, 320 * us, 620 * us, 10 * us);
  b.call(CallKind::sync_device, "cudaDeviceSynchronize", 320 * us, 620 * us);
  return plain_timeline_of(b.trace);
}

LinkModel pinned_line(double bytes_per_s) {
  LinkModel links;
  LinkLine line;
  line.device = LinkModel::kAnyDevice;
  line.kind = CopyKind::host_to_device;
  line.memory = Memory::pinned;
  line.bytes_per_s = bytes_per_s;
  line.source = LinkSource::calibration;
  links.add(line);
  return links;
}

Ns span(const WhatIf& what, const LinkModel& links = {}) {
  const Timeline timeline = one_step();
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 620 * us);
  return replay.run(plan_of(what, timeline, links)).span;
}

TEST(WhatIf, NothingChangesNothing) {
  const Timeline timeline = one_step();
  EXPECT_TRUE(plan_of({}, timeline, {}).empty());
}

TEST(WhatIf, AFasterLink) {
  // 1 MB at 10 GB/s: 100 us instead of 200.
  WhatIf what;
  what.to_device_bytes_per_s = 10e9;
  EXPECT_EQ(span(what), 520 * us);
  what = {};
  what.to_host_bytes_per_s = 10e9;
  EXPECT_EQ(span(what), 620 * us);
  // A slower one, too: 400 us.
  what = {};
  what.to_device_bytes_per_s = 2.5e9;
  EXPECT_EQ(span(what), 820 * us);
}

TEST(WhatIf, PinnedMemory) {
  WhatIf what;
  what.pinned = true;
  // Nobody knows what pinned memory reaches: only the call goes on at once, after the 10 us that
  // it took to start the copy. The launch's 10 us run beside the copy, 310 + 300.
  EXPECT_EQ(span(what), 610 * us);
  // 1 MB at 20 GB/s: 50 us. Copy 110 - 160, launch 110 - 120, kernel 160 - 460.
  EXPECT_EQ(span(what, pinned_line(20e9)), 460 * us);
  // No copy gets slower by it.
  EXPECT_EQ(span(what, pinned_line(1e9)), 610 * us);
}

TEST(WhatIf, FasterKernelsAndLaunches) {
  WhatIf what;
  what.kernel_speed = 2;
  EXPECT_EQ(span(what), 470 * us);
  what = {};
  what.launch_speed = 2;
  EXPECT_EQ(span(what), 615 * us);
}

// 400 ms of warm-up go too: the window then begins 400 ms earlier, and is as long as its steps.
TEST(WhatIf, AWarmUpThatShrinksAddsNothingToTheWindow) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  Ns t = 0;
  for (int k = 0; k < 8; ++k) {
    const Ns length = k < 4 ? 100 * ms : 1 * ms;
    b.step(k, t, t + length);
    b.op("work", t, t + length);
    t += length;
  }
  TimelineOptions options;
  options.warm_up_steps = 4;
  const Timeline timeline = timeline_of(b, options);
  const Replay replay(timeline);
  ASSERT_EQ(replay.measured(), 4 * ms);
  WhatIf what;
  what.kernel_speed = 1000;
  EXPECT_EQ(replay.run(plan_of(what, timeline, {})).span, 4 * us);
}

TEST(WhatIf, NoWaitForBatches) {
  WhatIf what;
  what.no_loader_wait = true;
  EXPECT_EQ(span(what), 520 * us);
}

TEST(WhatIf, AnotherDevice) {
  // Twice the operations, three times the bandwidth: a kernel of which nothing is known takes half
  // as long, one that only moves bytes a third, one that only computes half.
  for (const int kind : {0, 1, 2}) {
    Builder b;
    const uint32_t k = b.kernel("k", 10 * us, 10 * us, 310 * us, 10 * us);
    if (kind == 1) b.trace.work.bytes[k] = 1000;
    if (kind == 2) b.trace.work.flops[k] = 1000;
    const Timeline timeline = plain_timeline_of(b.trace);
    WhatIf what;
    what.other_device = true;
    what.flops_ratio = 2;
    what.memory_bandwidth_ratio = 3;
    const Plan plan = plan_of(what, timeline, {});
    EXPECT_EQ(Replay(timeline).run(plan).span, kind == 1 ? 110 * us : 160 * us);
  }
}

TEST(WhatIf, AnotherDeviceWhereOpsAreTheWork) {
  // On a CPU device: 50 us of the host; an op that computes, 300 us; one that only moves bytes, 300
  // us, inside another one that takes 20 us more. Twice the operations, three times the bandwidth,
  // and kernels of twice the speed on top: 50 + 75 + 50 + 20.
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.trace.ops.flops[b.op("matmul", 50 * us, 350 * us)] = 1000;
  b.op("outer", 350 * us, 670 * us);
  b.trace.ops.bytes[b.op("copy", 360 * us, 660 * us)] = 1000;
  const uint32_t range = b.trace.ranges.add();
  b.trace.ranges.end[range] = 50 * us;
  const Timeline timeline = plain_timeline_of(b.trace);
  WhatIf what;
  what.other_device = true;
  what.flops_ratio = 2;
  what.memory_bandwidth_ratio = 3;
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 670 * us);
  EXPECT_EQ(replay.run(plan_of(what, timeline, {})).span, (50 + 150 + 100 + 20) * us);
  what.kernel_speed = 2;
  EXPECT_EQ(replay.run(plan_of(what, timeline, {})).span, (50 + 75 + 50 + 20) * us);
}

TEST(WhatIf, AnotherAcceleratorChangesNothingOnTheCpuBesideIt) {
  Builder b;
  const uint32_t cpu = b.device(1);
  b.trace.devices[cpu].kind = DeviceKind::cpu;
  b.on(cpu).op("load", 0, 100 * us);
  b.on(0).kernel("k", 110 * us, 110 * us, 310 * us, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  WhatIf what;
  what.other_device = true;
  what.flops_ratio = 2;
  what.memory_bandwidth_ratio = 2;
  EXPECT_EQ(Replay(timeline).run(plan_of(what, timeline, {})).span, 210 * us);
}

TEST(WhatIf, PrefetchingNamesEveryCopyToTheDevice) {
  const Timeline timeline = one_step();
  WhatIf what;
  what.prefetch_depth = 2;
  const Plan plan = plan_of(what, timeline, {});
  ASSERT_EQ(plan.prefetch.size(), 1u);
  EXPECT_EQ(plan.prefetch[0].second, 2u);
}

TEST(WhatIf, FiguresThatMakeNoSenseAreLeftOut) {
  const Timeline timeline = one_step();
  WhatIf what;
  what.kernel_speed = -1;
  what.launch_speed = std::numeric_limits<double>::quiet_NaN();
  what.to_device_bytes_per_s = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Replay(timeline).run(plan_of(what, timeline, {})).span, 620 * us);
}

}  // namespace
}  // namespace mill::prof::test
