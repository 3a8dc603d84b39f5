// Recordings that would take hours if anything looked at all rows for each row.
#include <gtest/gtest.h>

#include "programs.h"

namespace mill::prof::test {
namespace {

constexpr int kMany = 100'000;

TEST(ReplayLarge, EverythingAtOneInstant) {
  Builder b;
  for (int k = 0; k < kMany; ++k) {
    b.on(0, 7 + static_cast<uint64_t>(k % 3)).kernel("k", 10, 10, 10 + k % 2, 0);
    b.loader_wait(10, 10 + k % 2);
    b.call(CallKind::sync_device, "sync", 10, 11);
  }
  const Timeline timeline = plain_timeline_of(std::move(b.trace));
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 1);
  EXPECT_LE(replay.run(prefetch_all(timeline, 1)).span, 1);
}

TEST(ReplayLarge, EventsThatStreamsWaitForAgainAndAgain) {
  // Two streams wait for each other without end; a third one waits and never works.
  Builder b;
  Ns t = 0;
  uint64_t record = 0;
  for (int k = 0; k < kMany / 4; ++k) {
    for (const uint64_t stream : {7, 8, 9}) {
      b.on(0, stream);
      if (stream != 9) b.kernel("k", t + 2, t + 5, t + 6, 1);
      if (record != 0) {
        const uint32_t wait = b.call(CallKind::event_wait, "wait", t + 2, t + 3);
        b.trace.calls.waits_for[wait] = record;
      }
      const uint32_t call = b.call(CallKind::event_record, "record", t + 3, t + 4);
      record = b.trace.calls.correlation[call];
      t += 10;
    }
  }
  const Timeline timeline = plain_timeline_of(std::move(b.trace));
  const Replay replay(timeline);
  EXPECT_EQ(replay.error(), 0);
  Plan plan;
  plan.kernel_scale = 2;
  EXPECT_GE(replay.run(plan).span, replay.measured());
}

TEST(ReplayLarge, CallsInsideCallsAndStairs) {
  Builder b;
  for (int k = 0; k < kMany; ++k) {
    const uint32_t outer = b.call(CallKind::sync_device, "outer", k, 3 * kMany - k);
    b.trace.calls.flags[outer] |= kBlocking;
  }
  b.by(b.thread(2));
  for (int k = 0; k < kMany; ++k) b.kernel("stair", kMany + k, kMany + k, 2 * kMany + k, kMany);
  const Timeline timeline = plain_timeline_of(std::move(b.trace));
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 3 * kMany);
  Plan plan;
  for (uint32_t row = 0; row < timeline.trace().calls.size(); ++row) {
    plan.defer.push_back(row);
    plan.call_duration.emplace_back(row, 1);
    plan.before_ask.emplace_back(row, 1);
    plan.host_time.push_back({0, {Ns{row}, Ns{row} + 5}, 3});
  }
  EXPECT_GE(replay.run(plan).span, 0);
}

TEST(ReplayLarge, ManyBatchesOfManyWorkers) {
  Builder b;
  for (int worker = 0; worker < 50; ++worker) {
    const uint32_t thread = b.thread(2 + static_cast<uint64_t>(worker));
    for (int k = 0; k < kMany / 50; ++k) {
      const Ns start = 1000 * Ns{k} + worker;
      b.by(thread).loader_wait(start, start + 900);
      b.trace.loader.kind.back() = static_cast<uint8_t>(LoaderKind::fill);
      b.by(0).loader_wait(start, start + 1);
    }
  }
  const Timeline timeline = plain_timeline_of(std::move(b.trace));
  const Replay replay(timeline);
  EXPECT_EQ(replay.error(), 0);
  WhatIf what;
  what.no_loader_wait = true;
  EXPECT_LE(replay.run(plan_of(what, timeline, {})).span, replay.measured());
}

}  // namespace
}  // namespace mill::prof::test
