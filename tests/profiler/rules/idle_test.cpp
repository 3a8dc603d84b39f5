#include <gtest/gtest.h>

#include <numeric>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

// A kernel of `busy` in each step of `period`; the host waits for a batch in between.
Trace gaps_of(Ns busy, Ns period) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.kernel("work", t + 5 * us, t + 5 * us, t + 5 * us + busy);
    b.loader_wait(t + 5 * us + busy, t + period);
    b.step(k, t, t + period);
  }
  return std::move(b.trace);
}

double sum_of_causes(const Finding& finding) {
  double sum = 0;
  for (const char* cause :
       {"profiler_ns", "module_load_ns", "allocation_ns", "sync_ns", "copy_wait_ns", "loader_ns",
        "queue_full_ns", "launch_ns", "latency_ns", "host_op_ns", "unknown_ns"})
    sum += fact(finding, cause);
  return sum;
}

// Idle: 9 gaps of 100 between kernels, and at most 5 and 95 at the two ends.
TEST(IdleGaps, CausesAddUpToTheIdleTime) {
  RuleCase c(gaps_of(100 * us, 200 * us));
  const auto findings = c.run(find_idle);
  const Finding* found = find_rule(findings, RuleId::G1);
  ASSERT_NE(found, nullptr);
  const double idle = fact(*found, "idle_ns");
  EXPECT_GE(idle, 900e3);
  EXPECT_LE(idle, 1000e3);
  EXPECT_EQ(sum_of_causes(*found), idle);
  EXPECT_GE(fact(*found, "loader_ns"), 9 * 95e3);  // from a kernel's end to the next step's launch
  EXPECT_TRUE(says(found->advice, "I1")) << found->advice;
}

TEST(IdleGaps, PromiseNothingThemselves) {
  RuleCase c(gaps_of(100 * us, 200 * us));
  const auto findings = c.run(find_idle);
  const Finding* found = find_rule(findings, RuleId::G1);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->saving.expected, 0);
  EXPECT_EQ(static_cast<double>(found->saving.upper), fact(*found, "idle_ns"));
  EXPECT_EQ(found->severity, Severity::info);
}

// Gaps of 9.999 us do not count, however many.
TEST(IdleGaps, ShorterThanTheLimitDoNotCount) {
  RuleCase under(gaps_of(10 * us, 19999));
  EXPECT_EQ(find_rule(under.run(find_idle), RuleId::G1), nullptr);
  RuleCase at(gaps_of(10 * us, 20000));
  EXPECT_NE(find_rule(at.run(find_idle), RuleId::G1), nullptr);
}

// Of 10,000 us in ten steps: gaps of 60 make 5.4 to 6 %, of 45 at most 4.5 %.
TEST(IdleGaps, FireFromTheirShareOfTheWindow) {
  RuleCase above(gaps_of(940 * us, 1000 * us));
  EXPECT_NE(find_rule(above.run(find_idle), RuleId::G1), nullptr);
  RuleCase under(gaps_of(955 * us, 1000 * us));
  EXPECT_EQ(find_rule(under.run(find_idle), RuleId::G1), nullptr);
}

// ---- G2 -----------------------------------------------------------------------------------------

// 30 windows of 100 us. In the first ten two streams are each busy for 30 us of 100, at the same
// time: 30 %, though the durations add up to 60 %. In the rest the device is busy.
TEST(LowWindows, UseTheUnionNotTheSum) {
  Builder b;
  for (int k = 0; k < 10; ++k) {
    b.on(0, 7).work(WorkKind::kernel, "a", k * 100 * us, k * 100 * us + 30 * us, kNoRow);
    b.on(0, 8).work(WorkKind::kernel, "b", k * 100 * us, k * 100 * us + 30 * us, kNoRow);
  }
  b.on(0, 7).work(WorkKind::kernel, "c", 1000 * us, 3000 * us, kNoRow);
  RuleCase c(std::move(b.trace), {.find_period = false});
  const auto findings = c.run(find_idle);
  const Finding* found = find_rule(findings, RuleId::G2);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(fact(*found, "stretches"), 1) << "neighbours are merged";
  EXPECT_EQ(fact(*found, "low_ns"), 1000e3);
  EXPECT_NEAR(fact(*found, "worst_utilisation"), 0.30, 1e-9);
  EXPECT_EQ(found->window, (Interval{0, 1000 * us}));
  EXPECT_EQ(found->severity, Severity::info);
}

Trace half_busy(Ns busy) {
  Builder b;
  for (int k = 0; k < 30; ++k)
    b.work(WorkKind::kernel, "a", k * 100 * us, k * 100 * us + busy, kNoRow);
  b.work(WorkKind::kernel, "end", 3000 * us - 1, 3000 * us, kNoRow);
  return std::move(b.trace);
}

TEST(LowWindows, BeginBelowTheLimit) {
  RuleCase at(half_busy(50 * us), {.find_period = false});
  EXPECT_EQ(find_rule(at.run(find_idle), RuleId::G2), nullptr);
  RuleCase under(half_busy(50 * us - 1000), {.find_period = false});
  const auto findings = under.run(find_idle);
  ASSERT_NE(find_rule(findings, RuleId::G2), nullptr);
  EXPECT_LE(fact(*find_rule(findings, RuleId::G2), "low_share"), 1.0);
}

// ---- first use ----------------------------------------------------------------------------------

// cudaMalloc: `first` once, then nine times 10 us; a kernel of 100 us after each.
Trace slow_first_call(Ns first, CallKind kind = CallKind::allocate) {
  Builder b;
  Ns t = 0;
  for (int k = 0; k < 10; ++k) {
    const Ns length = k == 0 ? first : 10 * us;
    b.call(kind, "cudaMalloc", t, t + length);
    t += length;
    b.kernel("work", t + 5 * us, t + 5 * us, t + 105 * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 5 * us, t + 105 * us);
    t += 105 * us;
  }
  return std::move(b.trace);
}

// 2,000 us instead of the usual 10: 1,990 are won.
TEST(FirstUse, SavesWhatTheCallTookAboveTheUsual) {
  RuleCase c(slow_first_call(2000 * us), {.find_period = false});
  const auto findings = c.run(find_idle);
  ASSERT_FALSE(findings.empty());
  const Finding& found = findings.front();
  ASSERT_EQ(found.rule, RuleId::G1);
  EXPECT_STREQ(found.fix.knob, "warm_up");
  EXPECT_NEAR(static_cast<double>(found.saving.expected), 1990e3, 19.9e3);
  EXPECT_EQ(found.saving.upper, 1990 * us);
  EXPECT_EQ(found.severity, Severity::major);
  EXPECT_TRUE(says(found.title, "First-use")) << found.title;
  EXPECT_TRUE(says(found.advice, "cudaMalloc")) << found.advice;
}

bool tells_of_first_use(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    if (std::string_view(finding.fix.knob) == "warm_up") return true;
  }
  return false;
}

TEST(FirstUse, BeginsAtAMillisecond) {
  RuleCase at(slow_first_call(1000 * us), {.find_period = false});
  EXPECT_TRUE(tells_of_first_use(at.run(find_idle)));
  RuleCase under(slow_first_call(1000 * us - 1), {.find_period = false});
  EXPECT_FALSE(tells_of_first_use(under.run(find_idle)));
}

TEST(FirstUse, IsNotAWaitForTheDevice) {
  RuleCase c(slow_first_call(2000 * us, CallKind::sync_stream), {.find_period = false});
  EXPECT_FALSE(tells_of_first_use(c.run(find_idle)));
}

TEST(FirstUse, IsNotACallThatTheDeviceWorkedUnder) {
  Trace trace = slow_first_call(2000 * us);
  Builder b;
  b.trace = std::move(trace);
  b.on(0, 9).work(WorkKind::kernel, "long", 0, 1500 * us, kNoRow);
  RuleCase c(std::move(b.trace), {.find_period = false});
  EXPECT_FALSE(tells_of_first_use(c.run(find_idle)));
}

}  // namespace
}  // namespace mill::prof::test
