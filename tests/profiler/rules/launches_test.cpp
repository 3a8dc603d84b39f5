#include <gtest/gtest.h>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

constexpr int kKernels = 20;

// Launches of 5 us one after the other, each with a kernel of `kernel` that starts at its end, and
// `rest` without launches at the end of a step.
Trace launches(Ns kernel, Ns rest = 0) {
  Builder b;
  Ns t = 0;
  Ns free = 0;
  for (int k = 0; k < kSteps; ++k) {
    const Ns begin = t;
    for (int i = 0; i < kKernels; ++i) {
      t += 5 * us;
      const Ns start = std::max(t, free);
      free = start + kernel;
      b.kernel("small", t, start, free);
    }
    t += rest;
    b.step(k, begin, t);
  }
  return std::move(b.trace);
}

// 200 kernels of 2 us: 1,002 us as it is; launched in 1 us each, the device needs 1 + 400.
TEST(LaunchBound, SavesDownToTheLengthOfTheKernels) {
  RuleCase c(launches(2 * us));
  const auto findings = c.run(find_launches);
  const Finding* found = find_rule(findings, RuleId::L1);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 601e3, 6e3);
  EXPECT_EQ(found->saving.upper, 602 * us) << "idle: 1,002 - 400; shorter launches would save 800";
  EXPECT_EQ(fact(*found, "kernels_per_step"), kKernels);
  EXPECT_EQ(fact(*found, "median_kernel_ns"), 2000);
  EXPECT_EQ(fact(*found, "starved_share"), 1);
  EXPECT_EQ(fact(*found, "launch_ns"), 1000e3);
  EXPECT_TRUE(says(found->advice, "graph")) << found->advice;
  EXPECT_TRUE(says(found->advice, "Nothing that was recorded stands in the way"));
}

// Of 20 kernels of 2 us in a step one is left, launched in 5 us, or 10: 52 or 502 of 1,002 us.
TEST(LaunchBound, SaysWhatFusingGainsWhereThatIsMoreThanAGraph) {
  RuleCase c(launches(2 * us));
  const auto findings = c.run(find_launches);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].fix.knob, std::string("graph_capture"));
  EXPECT_NEAR(fact(findings[0], "fused_saving_ns"), 950e3, 9.5e3);
  EXPECT_NEAR(fact(findings[0], "fused_saving_lower_ns"), 500e3, 5e3);
  EXPECT_TRUE(says(findings[0].advice, "with one for each series")) << findings[0].advice;
  // 3 us are no longer mostly fixed cost.
  RuleCase longer(launches(3 * us));
  const auto others = longer.run(find_launches);
  ASSERT_EQ(others.size(), 1u);
  EXPECT_FALSE(says(others[0].advice, "each series")) << others[0].advice;
}

// Two microseconds per item are the pessimistic figure: as long as a kernel, 2 + 400.
TEST(LaunchBound, HasALowerSavingForSlowerGraphs) {
  RuleCase c(launches(1 * us));
  const auto findings = c.run(find_launches);
  const Finding* found = find_rule(findings, RuleId::L1);
  ASSERT_NE(found, nullptr);
  // 1,001 as it is; 200 + 1 expected; 400 + 1 at 2 us per item.
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 800e3, 8e3);
  EXPECT_NEAR(static_cast<double>(found->saving.lower), 600e3, 6e3);
}

// The host is ahead: the device never waits for it.
TEST(LaunchBound, IsSilentWhereTheDeviceIsBehind) {
  RuleCase c(launches(6 * us));
  EXPECT_EQ(find_rule(c.run(find_launches), RuleId::L1), nullptr);
}

TEST(LaunchBound, IsSilentForLongKernels) {
  Builder b;
  for (int k = 0; k < 100; ++k) {
    const Ns t = k * 20 * us;
    b.kernel("work", t + 8 * us, t + 8 * us, t + 18 * us, 8 * us);
  }
  b.step(0, 0, 2000 * us);
  RuleCase at(std::move(b.trace));
  EXPECT_EQ(find_rule(at.run(find_launches), RuleId::L1), nullptr);

  Builder shorter;
  for (int k = 0; k < 100; ++k) {
    const Ns t = k * 20 * us;
    shorter.kernel("work", t + 8 * us, t + 8 * us, t + 18 * us - 1, 8 * us);
  }
  shorter.step(0, 0, 2000 * us);
  RuleCase under(std::move(shorter.trace));
  EXPECT_NE(find_rule(under.run(find_launches), RuleId::L1), nullptr);
}

// 100 us of launches in a step of 667 are 14.99 %, in one of 660 15.15 %.
TEST(LaunchBound, FiresAboveItsShareOfTheStep) {
  RuleCase under(launches(2 * us, 567 * us));
  EXPECT_EQ(find_rule(under.run(find_launches), RuleId::L1), nullptr);
  RuleCase above(launches(2 * us, 560 * us));
  EXPECT_NE(find_rule(above.run(find_launches), RuleId::L1), nullptr);
}

TEST(LaunchBound, CountsWhatCannotBeCaptured) {
  Trace trace = launches(2 * us);
  for (int k = 0; k < kSteps; ++k) {
    const uint32_t call = trace.calls.add();
    trace.calls.start[call] = k * 100 * us;
    trace.calls.end[call] = k * 100 * us;
    trace.calls.kind[call] = static_cast<uint8_t>(CallKind::query);
    trace.calls.correlation[call] = 100000 + static_cast<uint64_t>(k);
  }
  RuleCase c(std::move(trace));
  const auto findings = c.run(find_launches);
  ASSERT_NE(find_rule(findings, RuleId::L1), nullptr);
  EXPECT_TRUE(says(find_rule(findings, RuleId::L1)->advice, "1 waits or queries"));
}

// ---- L2 -----------------------------------------------------------------------------------------

Trace queue_full(Ns blocked) {
  Builder b;
  b.work(WorkKind::kernel, "work", 0, 1000 * us, kNoRow);
  const uint32_t row = b.trace.overheads.add();
  b.trace.overheads.start[row] = 100 * us;
  b.trace.overheads.end[row] = 100 * us + blocked;
  b.trace.overheads.kind[row] = static_cast<uint8_t>(OverheadKind::queue_full);
  return std::move(b.trace);
}

TEST(QueueFull, IsToldAboveItsShareAndPromisesNothing) {
  RuleCase above(queue_full(11 * us));
  const auto findings = above.run(find_launches);
  const Finding* found = find_rule(findings, RuleId::L2);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->severity, Severity::info);
  EXPECT_EQ(found->saving.upper, 0);
  EXPECT_NEAR(fact(*found, "blocked_share"), 0.011, 1e-9);
  RuleCase at(queue_full(10 * us));
  EXPECT_EQ(find_rule(at.run(find_launches), RuleId::L2), nullptr);
}

// 1,100 launches of 1 us at once; the device takes 10 us for each. From the 1,000th on a call
// waits until a kernel is done.
TEST(QueueFull, IsInferredFromLongLaunchesOntoAFullQueue) {
  Builder b;
  Ns t = 0;
  for (int k = 0; k < 2000; ++k) {
    const Ns start = 1 * us + k * 10 * us;
    // Once 1,024 are queued, a launch ends when the one 1,024 before it starts.
    const Ns end = std::max(t + 1 * us, k >= 1024 ? 1 * us + (k - 1024) * 10 * us : 0);
    const uint32_t call = b.call(CallKind::launch, "cudaLaunchKernel", t, end);
    b.work(WorkKind::kernel, "work", start, start + 10 * us, call);
    t = end;
  }
  RuleCase c(std::move(b.trace), {.find_period = false});
  const auto findings = c.run(find_launches);
  const Finding* found = find_rule(findings, RuleId::L2);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(find_rule(findings, RuleId::L1), nullptr);
  EXPECT_GT(fact(*found, "blocked_share"), 0.3);
}

// `tiny` kernels of 1 us after a large one, all launched while that runs: the device hardly waits.
// One for all of them is shorter by all but one; one for each two by half of them.
Trace busy_with_little(int tiny, Ns large, Ns each = 1 * us) {
  Builder b;
  const Ns period = large + tiny * each;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    Ns launched = t;
    b.kernel("gemm", launched += 100, t + 100, t + large, 100);
    for (int n = 0; n < tiny; ++n) {
      const Ns start = t + large + n * each;
      b.kernel("relu", launched += 100, start, start + each, 100);
    }
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", launched, t + period);
    b.step(k, t, t + period);
  }
  return std::move(b.trace);
}

TEST(TinyKernels, OneForEachSeriesSavesTheRest) {
  RuleCase c(busy_with_little(10, 10 * us));
  const auto findings = c.run(find_launches);
  const Finding* found = find_rule(findings, RuleId::L1);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), kSteps * 9e3, kSteps * 90);
  EXPECT_NEAR(static_cast<double>(found->saving.lower), kSteps * 5e3, kSteps * 50);
  EXPECT_EQ(fact(*found, "tiny_kernels_per_step"), 10);
  EXPECT_EQ(fact(*found, "mean_tiny_ns"), 1000);
  EXPECT_NEAR(fact(*found, "tiny_share"), 0.5, 1e-9);
  EXPECT_STREQ(found->fix.knob, "fuse");
  EXPECT_EQ(found->severity, Severity::major);
  EXPECT_TRUE(says(found->advice, "relu (100)")) << found->advice;
}

// 10 of 50 are a fifth, 10 of 49 more; kernels of 3 us are not tiny; a single one is no series.
TEST(TinyKernels, SayNothingBelowTheirShareOrAboveTheirLength) {
  RuleCase at(busy_with_little(10, 40 * us));
  EXPECT_EQ(find_rule(at.run(find_launches), RuleId::L1), nullptr);
  RuleCase above(busy_with_little(10, 39 * us));
  EXPECT_NE(find_rule(above.run(find_launches), RuleId::L1), nullptr);
  RuleCase longer(busy_with_little(10, 10 * us, 3 * us));
  EXPECT_EQ(find_rule(longer.run(find_launches), RuleId::L1), nullptr);
  RuleCase shorter(busy_with_little(10, 10 * us, 2999));
  EXPECT_NE(find_rule(shorter.run(find_launches), RuleId::L1), nullptr);
  RuleCase one(busy_with_little(1, 1 * us));
  one.limits.l1_tiny_ns = 500;
  EXPECT_EQ(find_rule(one.run(find_launches), RuleId::L1), nullptr);
}

}  // namespace
}  // namespace mill::prof::test
