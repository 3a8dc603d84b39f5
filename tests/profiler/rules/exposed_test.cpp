#include <gtest/gtest.h>

#include "profiler/rules/transfer_setup.h"

namespace mill::prof::test {
namespace {

// Each step, on one stream: a pinned copy of `copy`, a kernel of `kernel`, a wait for it. Two calls
// of 5 us come first.
Builder serial_steps(Ns copy, Ns kernel, uint64_t bytes = 4 * MB) {
  Builder b;
  const Ns period = 5 * us + copy + kernel;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period + ms;
    b.step(k, t, t + period);
    b.copy(CopyKind::host_to_device, Memory::pinned, bytes, t, t + 5 * us, t + 5 * us,
           t + 5 * us + copy);
    b.kernel("matmul", t + 10 * us, t + 5 * us + copy, t + period);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 10 * us, t + period);
  }
  return b;
}

TEST(Exposed, PrefetchingHidesAllButTheFirstCopy) {
  const Scene scene(serial_steps(400 * us, 600 * us));
  const std::vector<Finding> found = scene.find(find_exposed);
  ASSERT_EQ(found.size(), 1u);
  const Finding& t3 = found[0];
  EXPECT_EQ(t3.rule, RuleId::T3);
  EXPECT_EQ(t3.evidence_total, 10u);
  EXPECT_DOUBLE_EQ(fact(t3, "exposed_ns"), 10 * 400e3);
  EXPECT_EQ(t3.saving.upper, 10 * 400 * us);
  // Steps of 1,005 us become 10 us of calls and 600 us of kernel, but the first: 9 x 395 us. The
  // naive answer is all that is exposed, 10 x 400 us.
  EXPECT_NEAR(static_cast<double>(t3.saving.expected), 9 * 395e3, 9 * 3.95e3);
  EXPECT_LT(static_cast<double>(t3.saving.expected), 0.95 * fact(t3, "exposed_ns"));
  EXPECT_DOUBLE_EQ(fact(t3, "extra_bytes"), 4e6);
  EXPECT_TRUE(says(t3, "400 us of every 1.00 ms step"));
  EXPECT_TRUE(says(t3, "4.00 MB of device memory"));
  EXPECT_TRUE(says(t3, "Two steps ahead"));
}

TEST(Exposed, WhatIsLongerThanTheKernelsCannotBeHiddenBehindThem) {
  const Scene scene(serial_steps(600 * us, 400 * us));
  const std::vector<Finding> found = scene.find(find_exposed, RuleId::T3);
  ASSERT_EQ(found.size(), 1u);
  // The copies follow each other: 5 + 10 x 600 + 400 us instead of 10 x 1,005. That hides nine
  // kernels of 400 us and nine starts of 5 us.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 9 * 405e3, 9 * 4.05e3);
  EXPECT_LT(static_cast<double>(found[0].saving.expected), 0.65 * 10 * 600e3);
}

TEST(Exposed, CopiesUnderKernelsAreSilent) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 1000 * us + ms;
    b.step(k, t, t + 1000 * us);
    b.on(0, 7).kernel("matmul", t + 5 * us, t + 5 * us, t + 1000 * us);
    b.on(0, 8).copy(CopyKind::host_to_device, Memory::pinned, MB, t + 10 * us, t + 15 * us,
                    t + 20 * us, t + 900 * us);
    b.on(0, 7).call(CallKind::sync_stream, "cudaStreamSynchronize", t + 15 * us, t + 1000 * us);
  }
  EXPECT_TRUE(Scene(std::move(b)).find(find_exposed).empty());
}

// The host is needed to move them, so that they are another rule's; their time is named all the
// same.
TEST(Exposed, PageableCopiesAreLeftOutAndNamed) {
  Builder b = serial_steps(400 * us, 600 * us);
  const std::vector<Finding> without = Scene(b).find(find_exposed, RuleId::T3);
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 1005 * us + ms;
    // 250 us without a kernel, 50 us under one.
    b.on(0, 8).copy(CopyKind::device_to_host, Memory::pageable, MB, t + 10 * us, t + 460 * us,
                    t + 155 * us, t + 455 * us);
  }
  const std::vector<Finding> found = Scene(std::move(b)).find(find_exposed, RuleId::T3);
  ASSERT_EQ(without.size(), 1u);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_DOUBLE_EQ(fact(found[0], "exposed_ns"), fact(without[0], "exposed_ns"));
  EXPECT_DOUBLE_EQ(fact(found[0], "exposed_pageable_ns"), 10 * 250e3);
  EXPECT_TRUE(says(found[0], "pageable memory, 250 us per step more, are left out"))
      << found[0].advice;
  EXPECT_FALSE(says(without[0], "pageable")) << without[0].advice;
}

TEST(Exposed, TheEngineCanApplyItWhereItsLoaderFeedsTheDevice) {
  const auto fix_of = [](Builder b) {
    const std::vector<Finding> found = Scene(std::move(b)).find(find_exposed, RuleId::T3);
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Fix{} : found[0].fix;
  };
  Builder b = serial_steps(400 * us, 600 * us);
  EXPECT_STREQ(fix_of(b).knob, "prefetch_depth");
  EXPECT_FALSE(fix_of(b).engine_can_apply) << "no loader is known";
  b.loader_wait(ms, ms + us);
  EXPECT_TRUE(fix_of(b).engine_can_apply);
  b.trace.dialect = "kineto";
  EXPECT_FALSE(fix_of(b).engine_can_apply);
  // Nothing can go ahead to the host.
  Builder down = serial_steps(400 * us, 600 * us);
  for (uint8_t& kind : down.trace.work.copy_kind) {
    if (kind != 0) kind = static_cast<uint8_t>(CopyKind::device_to_host);
  }
  down.loader_wait(ms, ms + us);
  EXPECT_STREQ(fix_of(down).knob, "copy_streams");
  EXPECT_FALSE(fix_of(down).engine_can_apply);
}

// Steps 0 to 2 and 7 to 9 were recorded: the share is that of what is known.
TEST(Exposed, HolesInTheRecordingAreNoTimeOfItsSteps) {
  Builder b;
  const Ns period = 1005 * us;
  for (int k = 0; k < kSteps; ++k) {
    if (k >= 3 && k < 7) continue;
    const Ns t = k * period + ms;
    b.step(k, t, t + period);
    b.copy(CopyKind::host_to_device, Memory::pinned, 4 * MB, t, t + 5 * us, t + 5 * us,
           t + 405 * us);
    b.kernel("matmul", t + 10 * us, t + 405 * us, t + period);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 10 * us, t + period);
  }
  b.trace.recorded = {{ms, ms + 3 * period}, {ms + 7 * period, ms + 10 * period}};
  Scene scene(std::move(b));
  scene.limits.t3_min_share = 0.39;
  const std::vector<Finding> found = scene.find(find_exposed, RuleId::T3);
  ASSERT_EQ(found.size(), 1u) << "400 of 1,005 us are 39.8 %";
  EXPECT_DOUBLE_EQ(fact(found[0], "exposed_share"), 400.0 / 1005.0);
  EXPECT_TRUE(says(found[0], "400 us of every 1.00 ms step")) << found[0].advice;
}

TEST(Exposed, FiresAboveItsShareOnly) {
  // 1/32 of a step of 3,200 us is 100 us.
  Scene at(serial_steps(100 * us, 3095 * us));
  at.limits.t3_min_share = 0.03125;
  EXPECT_TRUE(at.find(find_exposed).empty());
  Scene above(serial_steps(100 * us + 1, 3095 * us - 1));
  above.limits.t3_min_share = 0.03125;
  EXPECT_EQ(above.find(find_exposed).size(), 1u);
}

TEST(Exposed, CopiesThatOverlapEachOtherAreCountedOnce) {
  Builder b = serial_steps(400 * us, 600 * us);
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 1005 * us + ms;
    b.on(0, 8).copy(CopyKind::device_to_host, Memory::pinned, 4 * MB, t + 10 * us, t + 10 * us,
                    t + 105 * us, t + 505 * us);
  }
  const Scene scene(std::move(b));
  const std::vector<Finding> found = scene.find(find_exposed, RuleId::T3);
  ASSERT_EQ(found.size(), 1u);
  // To the device from 5 to 405 us, to the host from 105 to 505 us, a kernel from 405 us on: 400 us
  // of the 800 us of copies are exposed.
  EXPECT_DOUBLE_EQ(fact(found[0], "exposed_ns"), 10 * 400e3);
  EXPECT_DOUBLE_EQ(fact(found[0], "exposed_to_host_ns"), 10 * 300e3);
  EXPECT_DOUBLE_EQ(fact(found[0], "copy_ns"), 10 * 500e3);
}

// One stream: 300 us to the device, 300 us back, again and again; the host is far ahead.
Builder turns(uint32_t engines, Ns down = 300 * us) {
  Builder b;
  b.trace.devices[0].copy_engines = engines;
  for (int k = 0; k < kSteps; ++k) {
    const Ns host = ms + k * 10 * us;
    const Ns t = ms + 100 * us + k * (300 * us + down);
    b.copy(CopyKind::host_to_device, Memory::pinned, 3 * MB, host, host + 5 * us, t, t + 300 * us);
    b.copy(CopyKind::device_to_host, Memory::pinned, 3 * MB, host + 5 * us, host + 10 * us,
           t + 300 * us, t + 300 * us + down);
  }
  const Ns end = ms + 100 * us + kSteps * (300 * us + down);
  b.call(CallKind::sync_stream, "cudaStreamSynchronize", ms + 100 * us, end);
  return b;
}

TEST(TakingTurns, DirectionsThatNeverOverlapCould) {
  const Scene scene(turns(2));
  const std::vector<Finding> found = scene.find(find_exposed, RuleId::T8);
  ASSERT_EQ(found.size(), 1u);
  // Uploads follow each other and each download runs beside the next upload: 11 x 300 us instead of
  // 20 x 300. The naive answer is the shorter direction, 10 x 300 us.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 9 * 300e3, 9 * 3e3);
  EXPECT_EQ(found[0].saving.upper, 10 * 300 * us);
  EXPECT_TRUE(says(found[0], "2 copy engines"));
  EXPECT_TRUE(says(found[0], "stream 7"));
}

// The host moves pageable memory itself: it cannot do both at once, and T1 says what helps.
TEST(TakingTurns, PageableCopiesAreLeftToT1) {
  Builder b = turns(2);
  for (uint8_t& memory : b.trace.work.host_memory) memory = static_cast<uint8_t>(Memory::pageable);
  EXPECT_TRUE(Scene(std::move(b)).find(find_exposed, RuleId::T8).empty());
  // Its own streams are the program's to make.
  EXPECT_FALSE(Scene(turns(2)).find(find_exposed, RuleId::T8).at(0).fix.engine_can_apply);
}

TEST(TakingTurns, OneCopyEngineCannotDoBoth) {
  EXPECT_TRUE(Scene(turns(1)).find(find_exposed, RuleId::T8).empty());
  EXPECT_EQ(Scene(turns(0)).find(find_exposed, RuleId::T8).size(), 1u);
}

TEST(TakingTurns, BothDirectionsMustBeBusyForMoreThanTheShare) {
  // 10 x 20 us down of 100 us before the first copy and 10 x 320 us: 3,300 us.
  Scene at(turns(2, 20 * us));
  at.limits.t8_min_share = 200.0 / 3300.0;
  EXPECT_TRUE(at.find(find_exposed, RuleId::T8).empty());
  at.limits.t8_min_share = 199.0 / 3300.0;
  EXPECT_EQ(at.find(find_exposed, RuleId::T8).size(), 1u);
}

TEST(TakingTurns, DirectionsThatOverlapAreSilent) {
  Builder b = turns(2);
  b.on(0, 8).copy(CopyKind::device_to_host, Memory::pinned, MB, ms, ms + 5 * us, ms + 150 * us,
                  ms + 200 * us);
  EXPECT_TRUE(Scene(std::move(b)).find(find_exposed, RuleId::T8).empty());
}

}  // namespace
}  // namespace mill::prof::test
