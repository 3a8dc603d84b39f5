#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "programs.h"

namespace mill::prof::test {
namespace {

TEST(Replay, PrefetchingOneAheadHidesACopyUnderTheKernelBefore) {
  // The recurrence with two buffers: C(i) = max(C(i-1), K(i-2)) + 300, K(i) = max(K(i-1), C(i)) +
  // 500, from 10: C0 310, K0 810, C1 610, K1 1310, C2 = max(610, 810) + 300 = 1110, K2 1810, ...:
  // each step adds 500. 10 + 300 + 10 * 500 = 5,310 us; it took 10 + 10 * 800 = 8,010 us.
  const Timeline timeline = serial_steps(10, 300 * us, 500 * us);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 8010 * us);
  EXPECT_EQ(replay.error(), 0);
  EXPECT_EQ(replay.run(prefetch_all(timeline, 1)).span, 5310 * us);
  EXPECT_EQ(replay.saving(prefetch_all(timeline, 1)), 2700 * us);
  // Copies all run under kernels already.
  EXPECT_EQ(replay.run(prefetch_all(timeline, 2)).span, 5310 * us);
}

TEST(Replay, PrefetchingCopiesThatTakeLongerThanKernelsIsBoundByTheEngine) {
  // C(i) = C(i-1) + 500 as long as a buffer is free, which it always is: the last copy ends at
  // 10 + 10 * 500 = 5,010 us and its kernel 300 us later.
  const Timeline timeline = serial_steps(10, 500 * us, 300 * us);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 8010 * us);
  EXPECT_EQ(replay.run(prefetch_all(timeline, 1)).span, 5310 * us);
}

TEST(Replay, ASecondStepAheadHidesMoreWhereStepsDiffer) {
  // Copies of 100 us, but the third of 900 us; kernels of 400 us; all asked for at the beginning.
  // As it was: 5 * 400 + 4 * 100 + 900 + 10 = 3,310.
  // One ahead, C(i) = max(C(i-1), K(i-2)) + c(i), K(i) = max(K(i-1), C(i)) + 400, from 10:
  //   C0 110, K0 510; C1 210, K1 910; C2 = max(210, 510) + 900 = 1410, K2 1810;
  //   C3 = max(1410, 910) + 100 = 1510, K3 2210; C4 = max(1510, 1810) + 100 = 1910, K4 2610.
  // Two ahead, C(i) = max(C(i-1), K(i-3)) + c(i):
  //   C0 110, K0 510; C1 210, K1 910; C2 = 210 + 900 = 1110, K2 1510; C3 1210, K3 1910;
  //   C4 = max(1210, 910) + 100 = 1310, K4 2310.
  Builder b;
  Ns host = 0;
  Ns device = 10 * us;
  for (int k = 0; k < 5; ++k) {
    const Ns copy = (k == 2 ? 900 : 100) * us;
    b.copy(CopyKind::host_to_device, Memory::pinned, 1 << 20, host, host + 10, device,
           device + copy);
    b.kernel("k", host + 20, device + copy, device + copy + 400 * us, 10);
    host += 20;
    device += copy + 400 * us;
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 3310 * us);
  EXPECT_EQ(replay.run(prefetch_all(timeline, 1)).span, 2610 * us);
  EXPECT_EQ(replay.run(prefetch_all(timeline, 2)).span, 2310 * us);
}

TEST(Replay, PrefetchedCopiesOfOneStepAreOneBundle) {
  // 6 steps of two copies of 100 us and a kernel of 300 us: 10 + 6 * 500 = 3,010. One ahead both
  // copies of a step run under the kernel before: 10 + 200 + 6 * 300 = 2,010.
  Builder b;
  Ns host = 0;
  Ns device = 10 * us;
  for (int k = 0; k < 6; ++k) {
    b.step(k, host, host + 30);
    for (int copy = 0; copy < 2; ++copy) {
      b.copy(CopyKind::host_to_device, Memory::pinned, 1 << 20, host, host + 10, device,
             device + 100 * us);
      host += 10;
      device += 100 * us;
    }
    b.kernel("k", host + 10, device, device + 300 * us, 10);
    host += 10;
    device += 300 * us;
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  ASSERT_EQ(timeline.window_steps(), 6u);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 3010 * us);
  EXPECT_EQ(replay.error(), 0);
  const ReplayResult ahead = replay.run(prefetch_all(timeline, 1));
  EXPECT_EQ(ahead.span, 2010 * us);
  ASSERT_EQ(ahead.steps.size(), 6u);
  EXPECT_EQ(ahead.steps[5], 300 * us);
}

TEST(Replay, DroppingACopyThatIsHiddenSavesNothing) {
  // Kernels fill stream 7 from 20 us to 1,020 us; beside them, copies of 150 us on stream 8 whose
  // results nobody waits for. The naive answer is their 900 us.
  Builder b;
  std::vector<Ns> copies;
  Ns host = 0;
  for (int k = 0; k < 10; ++k) {
    b.on(0, 7).kernel("k", host + 1 * us, 20 * us + 100 * us * k, 120 * us + 100 * us * k, 1 * us);
    host += 1 * us;
  }
  Ns naive = 0;
  for (int k = 0; k < 6; ++k) {
    b.on(0, 8).copy(CopyKind::host_to_device, Memory::pinned, 1 << 20, host, host + 1 * us,
                    20 * us + 150 * us * k, 170 * us + 150 * us * k);
    copies.push_back(20 * us + 150 * us * k);
    host += 1 * us;
    naive += 150 * us;
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 1020 * us);
  Plan plan;
  const Work& work = timeline.trace().work;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.kind[row] == static_cast<uint8_t>(WorkKind::copy)) plan.drop_work.push_back(row);
  }
  EXPECT_EQ(plan.drop_work.size(), 6u);
  EXPECT_EQ(naive, 900 * us);
  EXPECT_EQ(replay.saving(plan), 0);
}

TEST(Replay, DroppingACopyInFrontOfAKernelSavesItsLengthAndItsCall) {
  // call 0 - 10, copy 10 - 110; launch 10 - 20, kernel 110 - 210: without the copy and its call the
  // launch is at 0 - 10 and the kernel at 10 - 110.
  Builder b;
  b.copy(CopyKind::host_to_device, Memory::pinned, 1, 0, 10 * us, 10 * us, 110 * us);
  b.kernel("k", 20 * us, 110 * us, 210 * us, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan plan;
  plan.drop_work.push_back(work_at(timeline, 10 * us));
  EXPECT_EQ(replay.run(plan).span, 110 * us);
}

TEST(Replay, StreamsThatOverlapStayOverlapped) {
  // Kernels of 100 us on two streams side by side: half as long, both end at 10 + 50.
  Builder b;
  b.on(0, 7).kernel("a", 5 * us, 10 * us, 110 * us);
  b.on(0, 8).kernel("b", 10 * us, 10 * us, 110 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan plan;
  plan.kernel_scale = 0.5;
  EXPECT_EQ(replay.run(plan).span, 60 * us);
}

TEST(Replay, AnEventHoldsAStreamBack) {
  // Stream 8's kernel waits for stream 7's, 10 - 210, by an event; it runs 210 - 310. Half of the
  // first: 110 - 210. With the second at half: 210 - 260.
  Builder b;
  b.on(0, 7).kernel("a", 10 * us, 10 * us, 210 * us, 10 * us);
  const uint32_t record = b.call(CallKind::event_record, "cudaEventRecord", 10 * us, 11 * us);
  b.on(0, 8);
  const uint32_t wait = b.call(CallKind::event_wait, "cudaStreamWaitEvent", 11 * us, 12 * us);
  b.trace.calls.waits_for[wait] = b.trace.calls.correlation[record];
  b.kernel("b", 20 * us, 210 * us, 310 * us, 8 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan first;
  first.work_duration.emplace_back(work_at(timeline, 10 * us), 100 * us);
  EXPECT_EQ(replay.run(first).span, 210 * us);
  Plan second;
  second.work_duration.emplace_back(work_at(timeline, 210 * us), 50 * us);
  EXPECT_EQ(replay.run(second).span, 260 * us);
  // Both together: less than the sum of 100 and 50 only if they overlap; in a chain they add up.
  first.merge(second);
  EXPECT_EQ(replay.run(first).span, 160 * us);
}

TEST(Replay, AnEventCarriesOnWhatItsStreamWaitsFor) {
  // Stream 8 waits for stream 7 and does nothing; stream 9 waits for stream 8.
  Builder b;
  b.on(0, 7).kernel("a", 10 * us, 10 * us, 210 * us, 10 * us);
  const uint32_t first = b.call(CallKind::event_record, "record", 10 * us, 11 * us);
  b.on(0, 8);
  const uint32_t wait = b.call(CallKind::event_wait, "wait", 11 * us, 12 * us);
  b.trace.calls.waits_for[wait] = b.trace.calls.correlation[first];
  const uint32_t second = b.call(CallKind::event_record, "record", 12 * us, 13 * us);
  b.on(0, 9);
  const uint32_t last = b.call(CallKind::event_wait, "wait", 13 * us, 14 * us);
  b.trace.calls.waits_for[last] = b.trace.calls.correlation[second];
  b.kernel("b", 20 * us, 210 * us, 310 * us, 6 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  Plan plan;
  plan.work_duration.emplace_back(work_at(timeline, 10 * us), 100 * us);
  EXPECT_EQ(Replay(timeline).run(plan).span, 210 * us);
}

TEST(Replay, AStreamWhoseEventsNobodyWroteDownFollowsWhatEndedJustBefore) {
  // As above without events: the kernel of stream 8, asked for at 20 us, starts when stream 7's
  // ends.
  Builder b;
  b.on(0, 7).kernel("a", 10 * us, 10 * us, 210 * us, 10 * us);
  b.on(0, 8).kernel("b", 20 * us, 211 * us, 311 * us, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  Plan plan;
  plan.work_duration.emplace_back(work_at(timeline, 10 * us), 100 * us);
  EXPECT_EQ(Replay(timeline).run(plan).span, 211 * us);
}

TEST(Replay, TheDefaultStreamHoldsOthersBackUntilItIsFreed) {
  // Stream 7: 10 - 110; default stream: 110 - 130; stream 7 again: 130 - 230; all asked for at the
  // beginning. Without the default stream's order, stream 7 runs 10 - 210.
  Builder b;
  b.on(0, 0);
  b.trace.streams[b.trace.stream(0, 0)].legacy_default = true;
  b.on(0, 7).kernel("a", 2 * us, 10 * us, 110 * us, 1 * us);
  b.on(0, 0).kernel("d", 4 * us, 110 * us, 130 * us, 1 * us);
  b.on(0, 7).kernel("a", 6 * us, 130 * us, 230 * us, 1 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan faster;
  faster.work_duration.emplace_back(work_at(timeline, 110 * us), 5 * us);
  EXPECT_EQ(replay.saving(faster), 15 * us);
  Plan freed;
  freed.free_stream.push_back(work_at(timeline, 110 * us));
  // From the first call at 1 us to 210.
  EXPECT_EQ(replay.measured(), 229 * us);
  EXPECT_EQ(replay.run(freed).span, 209 * us);
}

TEST(Replay, StreamsThatRanBesideTheDefaultStreamDoNotWaitForIt) {
  Builder b;
  b.on(0, 0);
  b.trace.streams[b.trace.stream(0, 0)].legacy_default = true;
  b.on(0, 7).kernel("a", 1 * us, 10 * us, 100 * us, 1 * us);
  b.on(0, 0).kernel("d", 2 * us, 50 * us, 150 * us, 1 * us);  // beside it
  b.on(0, 7).kernel("a", 3 * us, 100 * us, 200 * us, 1 * us);
  b.on(0, 7).kernel("a", 4 * us, 200 * us, 300 * us, 1 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  Plan plan;
  plan.work_duration.emplace_back(work_at(timeline, 50 * us), 500 * us);
  // The default stream's kernel ends at 550, the others where they did.
  EXPECT_EQ(Replay(timeline).run(plan).span, 550 * us);
}

TEST(Replay, CopiesOfOneDirectionShareAnEngine) {
  // Two copies on two streams, 10 - 110 and 110 - 210, both asked for before 10 us. The first at
  // half: the second 60 - 160. Opposite directions run side by side.
  Builder b;
  b.on(0, 7).copy(CopyKind::host_to_device, Memory::pinned, 1, 0, 2 * us, 10 * us, 110 * us);
  b.on(0, 8).copy(CopyKind::host_to_device, Memory::pinned, 1, 2 * us, 4 * us, 110 * us, 210 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  Plan plan;
  plan.work_duration.emplace_back(work_at(timeline, 10 * us), 50 * us);
  EXPECT_EQ(Replay(timeline).run(plan).span, 160 * us);
}

TEST(Replay, OneCopyEngineServesBothDirections) {
  for (const uint32_t engines : {1u, 2u}) {
    Builder b;
    b.trace.devices[0].copy_engines = engines;
    b.on(0, 7).copy(CopyKind::host_to_device, Memory::pinned, 1, 0, 2 * us, 10 * us, 110 * us);
    b.on(0, 8).copy(CopyKind::device_to_host, Memory::pinned, 1, 2 * us, 4 * us, 118 * us,
                    218 * us);
    const Timeline timeline = plain_timeline_of(b.trace);
    Plan plan;
    plan.work_duration.emplace_back(work_at(timeline, 10 * us), 50 * us);
    // With one engine the second starts 8 us after the first; with two, its start is the host's.
    EXPECT_EQ(Replay(timeline).run(plan).span, engines == 1 ? 168 * us : 218 * us);
  }
}

TEST(Replay, TwoFixesThatOverlapSaveLessTogetherThanTheirSum) {
  // A kernel of 100 us and a copy of 80 us side by side from 10 us; then, after an event, 50 us.
  // Kernel to 20: the copy decides, 20 less. Copy to 0: nothing. Both: 80 less.
  // The other way round, two fixes of the same 100 us: the kernel to 60, and its launch at half.
  Builder b;
  b.kernel("k", 100 * us, 100 * us, 200 * us, 100 * us);
  b.call(CallKind::sync_device, "cudaDeviceSynchronize", 100 * us, 200 * us);
  b.op("host", 200 * us, 250 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan unblock;
  for (uint32_t row = 0; row < timeline.trace().calls.size(); ++row) {
    if (timeline.trace().calls.kind[row] == static_cast<uint8_t>(CallKind::sync_device))
      unblock.unblock.push_back(row);
  }
  Plan shorter;
  shorter.work_duration.emplace_back(0, 20 * us);
  // Alone: the host's 50 us run beside the kernel, 250 -> 200; and 250 -> 170.
  EXPECT_EQ(replay.saving(unblock), 50 * us);
  EXPECT_EQ(replay.saving(shorter), 80 * us);
  // Together: the launch's 100, then 50 beside 20.
  Plan both = unblock;
  both.merge(shorter);
  EXPECT_EQ(replay.saving(both), 100 * us);
  EXPECT_LT(replay.saving(both), replay.saving(unblock) + replay.saving(shorter));
}

TEST(Replay, ScalesKernelsAndLaunches) {
  // Launch-bound: 10 launches of 20 us with kernels of 5 us: 200 + 5. At half the launch cost, 105.
  Builder b;
  for (int k = 0; k < 10; ++k)
    b.kernel("k", 20 * us * (k + 1), 20 * us * (k + 1), 20 * us * (k + 1) + 5 * us, 20 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan plan;
  plan.launch_scale = 0.5;
  EXPECT_EQ(replay.run(plan).span, 105 * us);
  plan.kernel_scale = 0.2;
  EXPECT_EQ(replay.run(plan).span, 101 * us);
  // One call named on its own takes the shorter of both times: 9 of 10 us and one of 2.
  plan.call_duration.emplace_back(3, 2 * us);
  EXPECT_EQ(replay.run(plan).span, 93 * us);
  plan.call_duration.emplace_back(3, 15 * us);
  EXPECT_EQ(replay.run(plan).span, 93 * us);
}

TEST(Replay, OpsOfACpuDeviceAreItsKernels) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.op("outer", 0, 100 * us);
  b.op("inner", 20 * us, 60 * us);
  b.op("leaf", 100 * us, 160 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 160 * us);
  Plan plan;
  plan.kernel_scale = 0.5;  // the two leaves: 20 + 30 less
  EXPECT_EQ(replay.run(plan).span, 110 * us);
}

TEST(Replay, ExcludedRowsAreNotThere) {
  Builder b;
  const uint32_t bad = b.kernel("bad", 5 * us, 900 * us, 5000 * us);
  b.trace.work.flags[bad] |= kExcluded;
  b.kernel("k", 15 * us, 15 * us, 115 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan plan;
  plan.kernel_scale = 0.5;
  EXPECT_EQ(replay.measured(), 115 * us);
  EXPECT_EQ(replay.saving(plan), 50 * us);
}

}  // namespace
}  // namespace mill::prof::test
