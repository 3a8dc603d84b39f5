#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "programs.h"

namespace mill::prof::test {
namespace {

// Each step: the host works 100 us, launches a kernel of 300 us, and reads its result back with a
// blocking copy of 10 us.
struct ReadBack {
  Builder b;
  std::vector<Ns> reads;  // when they were called
};
ReadBack read_back_steps(int n) {
  ReadBack out;
  Ns t = 0;
  // What a copy call costs before its copy starts, where the device is idle: 5 us.
  out.b.copy(CopyKind::device_to_host, Memory::pageable, 4, t, 20 * us, 5 * us, 15 * us, false);
  t = 20 * us;
  for (int k = 0; k < n; ++k) {
    const Ns begin = t;
    t += 100 * us;
    out.b.kernel("k", t + 5 * us, t + 5 * us, t + 305 * us);
    t += 5 * us;
    out.reads.push_back(t);
    out.b.copy(CopyKind::device_to_host, Memory::pageable, 4, t, t + 315 * us, t + 300 * us,
               t + 310 * us, false);
    t += 315 * us;
    out.b.step(k, begin, t);
  }
  return out;
}

TEST(Replay, AReadBackThatNoLongerWaitsOverlapsHostAndDevice) {
  // A step takes 100 + 5 + 300 + 10 + 5 = 420 us. Without the wait the host needs 100 + 5 + 5 = 110
  // us a step and the device 310: the device decides. Of 10 steps from the first launch, which
  // starts 105 us into the window: 105 + 10 * 310 = 3,205; nobody waits for the last.
  ReadBack program = read_back_steps(10);
  const Timeline timeline = plain_timeline_of(program.b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 4200 * us);
  EXPECT_EQ(replay.error(), 0);
  Plan plan;
  for (const Ns t : program.reads) plan.unblock.push_back(call_at(timeline, t));
  EXPECT_EQ(replay.run(plan).span, 3205 * us);
}

TEST(Replay, ADeferredReadBackWaitsForTheStepBefore) {
  // The host may be one step ahead of the device, no more: the same length here, as the device
  // decides. But with kernels of a tenth, host time decides: 110 us a step against 40, and 5 us of
  // return latency stay inside the host's 5 of the call.
  ReadBack program = read_back_steps(10);
  const Timeline timeline = plain_timeline_of(program.b.trace);
  const Replay replay(timeline);
  Plan plan;
  for (const Ns t : program.reads) plan.defer.push_back(call_at(timeline, t));
  // The host ends step k at copy(k - 1) + 5; copy(k) = 105 + 310 * (k + 1). The last step ends
  // with its device work: 105 + 3,100.
  EXPECT_EQ(replay.run(plan).span, 3205 * us);
  plan.kernel_scale = 0.1;
  // Host: 110 a step; the last copy ends 105 + 9 * 110 + 30 + 10 = 1,135 us after the beginning.
  EXPECT_EQ(replay.run(plan).span, 1135 * us);
  // The host passes the read of step k when the copy of step k - 1 is done, so no step can be
  // shorter than its device work: with kernels of 1,000 us, 105 + 10 * 1,010.
  Plan slow;
  slow.defer = plan.defer;
  const Work& work = timeline.trace().work;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.kind[row] == static_cast<uint8_t>(WorkKind::kernel))
      slow.work_duration.emplace_back(row, 1000 * us);
  }
  EXPECT_EQ(replay.run(slow).span, 10205 * us);
}

TEST(Replay, ASyncOnAnIdleDeviceCostsWhatTheCallCostsAndNoWait) {
  // The kernel ends at 50 us, the host works until 100 us, waits for nothing for 5 us, and launches
  // again.
  Builder b;
  b.kernel("k", 10 * us, 10 * us, 50 * us, 10 * us);
  b.call(CallKind::sync_device, "cudaDeviceSynchronize", 100 * us, 105 * us);
  b.kernel("k", 115 * us, 115 * us, 155 * us, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  Plan plan;
  plan.unblock.push_back(call_at(timeline, 100 * us));
  EXPECT_EQ(replay.saving(plan), 0);
  // It would wait if the kernel took 200 us: until 10 + 200, and then 10 + 40 us more.
  Plan slow;
  slow.work_duration.emplace_back(work_at(timeline, 10 * us), 200 * us);
  EXPECT_EQ(replay.run(slow).span, 260 * us);
  slow.unblock = plan.unblock;
  // Without the wait, the second kernel follows the first on the stream: 210 + 40.
  EXPECT_EQ(replay.run(slow).span, 250 * us);
}

TEST(Replay, ASyncThatDrainsTheDeviceCostsTheIdleTimeAfterIt) {
  // Each of 4 rounds: launch 10, kernel 100 from the launch's end, sync to the kernel's end, host
  // 50. A round is 160 us; without the wait the device is busy after the first 10 us as long as
  // the host's 60 us a round stay under the kernel's 100: 10 + 4 * 100 = 410 of 640.
  Builder b;
  std::vector<Ns> syncs;
  Ns t = 0;
  for (int k = 0; k < 4; ++k) {
    b.kernel("k", t + 10 * us, t + 10 * us, t + 110 * us, 10 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 10 * us, t + 110 * us);
    syncs.push_back(t + 10 * us);
    b.op("host", t + 110 * us, t + 160 * us);
    t += 160 * us;
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 640 * us);
  Plan plan;
  for (const Ns at : syncs) {
    for (uint32_t row = 0; row < timeline.trace().calls.size(); ++row) {
      if (timeline.trace().calls.start[row] == at &&
          timeline.trace().calls.kind[row] == static_cast<uint8_t>(CallKind::sync_stream))
        plan.unblock.push_back(row);
    }
  }
  ASSERT_EQ(plan.unblock.size(), 4u);
  EXPECT_EQ(replay.run(plan).span, 410 * us);
  EXPECT_EQ(replay.saving(plan), 230 * us);
}

TEST(Replay, HostTimeThatIsTakenAwayMovesWhatFollows) {
  // Wait for a batch 0 - 200 us, launch 200 - 210, kernel to 310, sync to 310; twice.
  Builder b;
  Ns t = 0;
  std::vector<Interval> waits;
  for (int k = 0; k < 2; ++k) {
    b.loader_wait(t, t + 200 * us);
    waits.push_back({t, t + 200 * us});
    b.kernel("k", t + 210 * us, t + 210 * us, t + 310 * us, 10 * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 210 * us, t + 310 * us);
    t += 310 * us;
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 620 * us);
  Plan plan;
  for (const Interval wait : waits) plan.host_time.push_back({0, wait, 0});
  EXPECT_EQ(replay.run(plan).span, 220 * us);
  // The same twice is the same; half of one of them, 100 less.
  Plan twice = plan;
  twice.merge(plan);
  EXPECT_EQ(replay.run(twice).span, 220 * us);
  Plan half;
  half.host_time.push_back({0, waits[0], 100 * us});
  EXPECT_EQ(replay.run(half).span, 520 * us);
  // A quarter of the wait only: 50 us of it taken away.
  Plan quarter;
  quarter.host_time.push_back({0, {50 * us, 100 * us}, 0});
  EXPECT_EQ(replay.run(quarter).span, 570 * us);
}

TEST(Replay, AWaitForABatchEndsWhenTheWorkerHasMadeIt) {
  // The worker makes batches of 300 us one after the other; the program needs 100 us a step, and
  // waits 200. Without the program's 100 us the worker still decides; without the wait, it does
  // not.
  Builder b;
  const uint32_t worker = b.thread(2);
  Plan shorter;
  Plan gone;
  for (int k = 0; k < 5; ++k) {
    const Ns begin = 300 * us * k;
    b.by(worker).loader_wait(begin, begin + 300 * us);
    b.trace.loader.kind.back() = static_cast<uint8_t>(LoaderKind::fill);
    b.by(0);
    if (k > 0) {
      b.op("work", begin, begin + 100 * us);
      shorter.host_time.push_back({0, {begin, begin + 100 * us}, 0});
    }
    const Ns wait = k > 0 ? begin + 100 * us : begin;
    b.loader_wait(wait, begin + 300 * us);
    gone.host_time.push_back({0, {wait, begin + 300 * us}, 0});
  }
  b.op("work", 1500 * us, 1600 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 1600 * us);
  EXPECT_EQ(replay.saving(shorter), 0);
  // The worker's own line still ends at 1,500.
  EXPECT_EQ(replay.run(gone).span, 1500 * us);
}

TEST(Replay, ThreadsThatTakeTurnsMoveTogether) {
  // The main thread works 100 us and launches; a second thread launches while the first waits for
  // it; the main thread goes on. Without the 100 us everything is 100 us earlier.
  Builder b;
  const uint32_t second = b.thread(2);
  Plan plan;
  Ns t = 0;
  for (int k = 0; k < 5; ++k) {
    b.by(0).op("decode", t, t + 100 * us);
    plan.host_time.push_back({0, {t, t + 100 * us}, 0});
    b.by(0).kernel("forward", t + 110 * us, t + 110 * us, t + 150 * us, 10 * us);
    b.by(0).kernel("forward", t + 120 * us, t + 150 * us, t + 200 * us, 10 * us);
    b.by(second).kernel("backward", t + 140 * us, t + 200 * us, t + 260 * us, 10 * us);
    b.by(0).call(CallKind::sync_device, "cudaDeviceSynchronize", t + 150 * us, t + 260 * us);
    t += 260 * us;
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 1300 * us);
  EXPECT_EQ(replay.saving(plan), 500 * us);
}

TEST(Replay, CallsInsideCallsAreOneCall) {
  // A driver call inside a runtime call; both are named as blocking. Dropping the outer one drops
  // both: 100 us.
  Builder b;
  b.kernel("k", 10 * us, 10 * us, 110 * us, 10 * us);
  b.call(CallKind::sync_stream, "cudaStreamSynchronize", 10 * us, 112 * us);
  b.call(CallKind::sync_stream, "cuStreamSynchronize", 11 * us, 111 * us);
  b.op("host", 112 * us, 200 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.error(), 0);
  Plan plan;
  for (uint32_t row = 0; row < timeline.trace().calls.size(); ++row) {
    if (timeline.trace().calls.end[row] == 112 * us) plan.drop_call.push_back(row);
  }
  ASSERT_EQ(plan.drop_call.size(), 1u);
  // 10 + 88 of the host; the kernel ends at 110.
  EXPECT_EQ(replay.run(plan).span, 110 * us);
}

TEST(Replay, ACallThatReturnsJustBeforeItsPageableCopyEndsWaitsForIt) {
  // As drivers do: the copy 110 - 310 us, its call 100 - 300, then a launch 300 - 310 and a kernel
  // of 100 us. At half the length the call returns at 200.
  Builder b;
  b.copy(CopyKind::host_to_device, Memory::pageable, 1 << 20, 100 * us, 300 * us, 110 * us,
         310 * us);
  b.kernel("k", 310 * us, 310 * us, 410 * us, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.error(), 0);
  Plan plan;
  plan.work_duration.emplace_back(work_at(timeline, 110 * us), 100 * us);
  EXPECT_EQ(replay.saving(plan), 100 * us);
}

TEST(Replay, ACopyThatStartsALittleBeforeItsCallIsAskedForThere) {
  // The clocks of host and device differ by a microsecond: the copy 99 - 299 us, its call 100 -
  // 300, then a launch 300 - 310 and a kernel of 100 us. At half the length the copy ends at 199
  // and its call returns at 200.
  Builder b;
  b.op("host", 0, 100 * us);
  b.copy(CopyKind::host_to_device, Memory::pageable, 1 << 20, 100 * us, 300 * us, 99 * us,
         299 * us);
  b.kernel("k", 310 * us, 310 * us, 410 * us, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 410 * us);
  EXPECT_EQ(replay.run({}).span, 410 * us);
  Plan plan;
  plan.work_duration.emplace_back(work_at(timeline, 99 * us), 100 * us);
  EXPECT_EQ(replay.run(plan).span, 310 * us);
  EXPECT_EQ(replay.saving(plan), 100 * us);
}

TEST(Replay, AnAsynchronousPinnedCopyHoldsNobodyUp) {
  // Its call is slow, and longer than the copy, but not because of it.
  Builder b;
  b.copy(CopyKind::host_to_device, Memory::pinned, 1 << 20, 100 * us, 320 * us, 110 * us, 310 * us);
  b.kernel("k", 330 * us, 330 * us, 430 * us, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  Plan plan;
  plan.work_duration.emplace_back(work_at(timeline, 110 * us), 100 * us);
  EXPECT_EQ(Replay(timeline).saving(plan), 0);
}

TEST(Replay, ALaunchIntoAFullQueueWaitsForTheDevice) {
  // 300 launches of 1 us fill the queue with kernels of 100 us; each of the next 300 returns when
  // a kernel has ended. The device decides: 1 + 600 * 100 us; half as long with kernels of 50.
  Builder b;
  Ns host = 0;
  Ns device = 1 * us;
  for (int k = 0; k < 600; ++k) {
    const Ns begin = host;
    host = k < 300 ? host + 1 * us : std::max(host + 1 * us, 1 * us + Ns{k - 299} * 100 * us);
    b.kernel("k", host, device, device + 100 * us, host - begin);
    device += 100 * us;
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 60'001 * us);
  EXPECT_EQ(replay.error(), 0);
  Plan plan;
  plan.kernel_scale = 0.5;
  EXPECT_EQ(replay.run(plan).span, 30'001 * us);
}

}  // namespace
}  // namespace mill::prof::test
