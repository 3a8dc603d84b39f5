// Copies that go to a stream of their own.
#include <gtest/gtest.h>

#include "programs.h"

namespace mill::prof::test {
namespace {

Plan own_stream(const Timeline& timeline, Ns copy_start) {
  Plan plan;
  plan.own_stream.push_back(work_at(timeline, copy_start));
  return plan;
}

// On one stream, all asked for in the first 6 us: a kernel 10 - 110 us, a copy to the host of
// `copy`, a kernel of 100 us.
Builder kernel_copy_kernel(Ns copy) {
  Builder b;
  b.kernel("first", 2 * us, 10 * us, 110 * us, 2 * us);
  b.copy(CopyKind::device_to_host, Memory::pinned, 1 << 20, 2 * us, 4 * us, 110 * us,
         110 * us + copy);
  b.kernel("second", 6 * us, 110 * us + copy, 210 * us + copy, 2 * us);
  return b;
}

TEST(ReplayOwnStream, WhatComesAfterTheCopyNoLongerWaitsForIt) {
  // The second kernel follows the first: 110 - 210, the copy beside it 110 - 160.
  const Timeline timeline = plain_timeline_of(kernel_copy_kernel(50 * us).trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 260 * us);
  const Plan plan = own_stream(timeline, 110 * us);
  EXPECT_EQ(replay.run(plan).span, 210 * us);
  // The copy still waits for the kernel before it: 10 - 310, copy 310 - 360, kernel 310 - 410.
  Plan slower = plan;
  slower.work_duration.emplace_back(work_at(timeline, 10 * us), 300 * us);
  EXPECT_EQ(replay.run(slower).span, 410 * us);
}

TEST(ReplayOwnStream, ACopyThatIsLongerThanWhatItRunsBesideEndsLast) {
  // Copy 110 - 510, kernel 110 - 210: 510 of 610.
  const Timeline timeline = plain_timeline_of(kernel_copy_kernel(400 * us).trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 610 * us);
  EXPECT_EQ(replay.run(own_stream(timeline, 110 * us)).span, 510 * us);
}

TEST(ReplayOwnStream, WaitsOfTheHostForTheStreamOrTheDeviceWaitForTheCopyToo) {
  // The host waits until 610 us and then works for 100 us. With the copy beside the kernel it waits
  // for the copy, until 510.
  for (const CallKind kind : {CallKind::sync_stream, CallKind::sync_device}) {
    Builder b = kernel_copy_kernel(400 * us);
    b.call(kind, "synchronize", 6 * us, 610 * us);
    b.op("host", 610 * us, 710 * us);
    const Timeline timeline = plain_timeline_of(b.trace);
    const Replay replay(timeline);
    EXPECT_EQ(replay.measured(), 710 * us);
    EXPECT_EQ(replay.error(), 0);
    EXPECT_EQ(replay.run(own_stream(timeline, 110 * us)).span, 610 * us);
  }
}

TEST(ReplayOwnStream, StepsEndWithTheCopiesThatTheyAskedFor) {
  // Of a single step, marked until 10 us: until the copy ends at 510.
  Builder b = kernel_copy_kernel(400 * us);
  b.step(0, 0, 10 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 610 * us);
  const ReplayResult result = replay.run(own_stream(timeline, 110 * us));
  EXPECT_EQ(result.span, 510 * us);
  ASSERT_EQ(result.steps.size(), 1u);
  EXPECT_EQ(result.steps[0], 510 * us);
}

TEST(ReplayOwnStream, CopiesThatLeftStillFollowEachOtherOnTheirEngine) {
  // Kernel 10 - 110, copies 110 - 210 and 210 - 310, kernel 310 - 410. Both copies on streams of
  // their own: kernel 110 - 210, the copies as they were, the last until 310.
  Builder b;
  b.kernel("first", 2 * us, 10 * us, 110 * us, 2 * us);
  b.copy(CopyKind::device_to_host, Memory::pinned, 1, 2 * us, 3 * us, 110 * us, 210 * us);
  b.copy(CopyKind::device_to_host, Memory::pinned, 1, 3 * us, 4 * us, 210 * us, 310 * us);
  b.kernel("second", 6 * us, 310 * us, 410 * us, 2 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 410 * us);
  Plan plan = own_stream(timeline, 110 * us);
  plan.merge(own_stream(timeline, 210 * us));
  EXPECT_EQ(replay.run(plan).span, 310 * us);
  // Only the second: the first kernel, its copy, the second kernel 210 - 310 beside the other copy.
  EXPECT_EQ(replay.run(own_stream(timeline, 210 * us)).span, 310 * us);
}

TEST(ReplayOwnStream, AnotherStreamThatWaitsForTheCopyByAnEventStillDoes) {
  // Stream 7: kernel 10 - 110, copy 110 - 210, an event, kernel 210 - 260. Stream 8 waits for the
  // event: kernel 210 - 310. On a stream of its own the copy no longer holds up stream 7, but what
  // stream 8 needs is the copy: all ends at 310 as before, and at 260 with a copy of 50 us.
  Builder b;
  b.on(0, 7).kernel("first", 2 * us, 10 * us, 110 * us, 2 * us);
  b.copy(CopyKind::device_to_host, Memory::pinned, 1, 2 * us, 3 * us, 110 * us, 210 * us);
  const uint32_t record = b.call(CallKind::event_record, "cudaEventRecord", 3 * us, 4 * us);
  b.kernel("second", 6 * us, 210 * us, 260 * us, 2 * us);
  b.on(0, 8);
  const uint32_t wait = b.call(CallKind::event_wait, "cudaStreamWaitEvent", 6 * us, 7 * us);
  b.trace.calls.waits_for[wait] = b.trace.calls.correlation[record];
  b.kernel("third", 9 * us, 210 * us, 310 * us, 2 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 310 * us);
  Plan plan;
  const Work& work = timeline.trace().work;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.kind[row] == static_cast<uint8_t>(WorkKind::copy)) plan.own_stream.push_back(row);
  }
  ASSERT_EQ(plan.own_stream.size(), 1u);
  EXPECT_EQ(replay.run(plan).span, 310 * us);
  plan.work_duration.emplace_back(plan.own_stream[0], 50 * us);
  EXPECT_EQ(replay.run(plan).span, 260 * us);
}

TEST(ReplayOwnStream, OnlyCopiesBetweenHostAndDeviceCanLeave) {
  const Timeline timeline = plain_timeline_of(kernel_copy_kernel(50 * us).trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.run(own_stream(timeline, 10 * us)).span, replay.measured());
}

}  // namespace
}  // namespace mill::prof::test
