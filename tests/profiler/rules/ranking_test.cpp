#include <gtest/gtest.h>

#include <algorithm>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

// Per step: the loader 60, launch 5, kernel 100 for which the host waits, 40 on the host.
Trace two_faults() {
  Builder b;
  const Ns period = 205 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.loader_wait(t, t + 60 * us);
    b.kernel("work", t + 65 * us, t + 65 * us, t + 165 * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 65 * us, t + 165 * us);
    b.step(k, t, t + period);
  }
  return std::move(b.trace);
}

Finding with_plan(const RuleCase& c, Ns length) {
  Finding finding;
  finding.rule = RuleId::I1;
  // The loader's wait of every step takes 60 us less `length`.
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = c.timeline().steps()[static_cast<size_t>(k)].begin;
    finding.plan.host_time.push_back({0, {t, t + 60 * us}, 60 * us - length});
  }
  finding.saving.upper = 1000 * us;
  return finding;
}

// The window is ten times 205 us.
TEST(Estimate, SeverityFollowsTheShareOfTheWindow) {
  RuleCase c(two_faults());
  const auto severity = [&](Ns per_step) {
    Finding finding = with_plan(c, per_step);
    estimate(c.input(), finding);
    EXPECT_NEAR(static_cast<double>(finding.saving.expected), static_cast<double>(10 * per_step),
                1.0);
    return finding.severity;
  };
  EXPECT_EQ(severity(20600), Severity::major);     // 10.05 %
  EXPECT_EQ(severity(20400), Severity::moderate);  // 9.95 %
  EXPECT_EQ(severity(6200), Severity::moderate);   // 3.02 %
  EXPECT_EQ(severity(6100), Severity::minor);      // 2.98 %
  EXPECT_EQ(severity(1030), Severity::minor);      // 0.502 %
  EXPECT_EQ(severity(1020), Severity::info);       // 0.498 %
  EXPECT_EQ(severity(0), Severity::info);
}

TEST(Estimate, KeepsTheThreeFiguresInOrder) {
  RuleCase c(two_faults());
  Finding finding = with_plan(c, 30 * us);
  finding.saving.upper = 100 * us;
  finding.plan_lower = with_plan(c, 20 * us).plan;
  estimate(c.input(), finding);
  EXPECT_EQ(finding.saving.upper, 100 * us);
  EXPECT_EQ(finding.saving.expected, 100 * us) << "300 by replay, but no more than the upper bound";
  EXPECT_EQ(finding.saving.lower, 100 * us);

  finding = with_plan(c, 30 * us);
  finding.plan_lower = with_plan(c, 20 * us).plan;
  finding.saving.upper = INT64_MAX;
  estimate(c.input(), finding);
  EXPECT_EQ(finding.saving.upper, c.timeline().window().length());
  EXPECT_EQ(finding.saving.expected, 300 * us);
  EXPECT_EQ(finding.saving.lower, 200 * us);
}

TEST(Estimate, ConfidenceIsNoBetterThanTheHealth) {
  RuleCase c(two_faults());
  Finding finding = with_plan(c, 30 * us);
  estimate(c.input(), finding);
  EXPECT_EQ(finding.confidence, Confidence::high);
  c.health.verdict = Confidence::medium;
  finding = with_plan(c, 30 * us);
  estimate(c.input(), finding);
  EXPECT_EQ(finding.confidence, Confidence::medium);
  EXPECT_EQ(finding.saving.expected, 300 * us);
}

TEST(Estimate, WithholdsFiguresFromABadRecording) {
  RuleCase c(two_faults());
  c.health.verdict = Confidence::low;
  Finding finding = with_plan(c, 30 * us);
  estimate(c.input(), finding);
  EXPECT_TRUE(finding.withheld);
  EXPECT_EQ(finding.saving.expected, 0);
  EXPECT_EQ(finding.saving.upper, 0);
  EXPECT_EQ(finding.confidence, Confidence::low);
  EXPECT_LE(finding.severity, Severity::minor);
  EXPECT_TRUE(says(show_gain(c.input(), finding), "withheld"));
}

TEST(Estimate, GainIsShownPerStep) {
  RuleCase c(two_faults());
  Finding finding = with_plan(c, 30 * us);
  estimate(c.input(), finding);
  EXPECT_EQ(show_gain(c.input(), finding),
            "Expected gain 30.0 us per step (14.6 %), between 30.0 us and 100 us.");
}

TEST(RunRules, RanksByExpectedSaving) {
  RuleCase c(two_faults());
  const auto findings = run_rules(c.input());
  ASSERT_GE(findings.size(), 2u);
  for (size_t k = 0; k < findings.size(); ++k) {
    EXPECT_EQ(findings[k].rank, k + 1);
    if (k == 0) continue;
    EXPECT_LE(findings[k].saving.expected, findings[k - 1].saving.expected);
  }
  // Without the wait for the device a step takes 105, without the loader's 145.
  EXPECT_EQ(findings[0].rule, RuleId::S1);
  EXPECT_EQ(findings[1].rule, RuleId::I1);
}

// Without both a step takes the kernel's 100: 1,050 are won, not 1,000 + 600.
TEST(RunRules, JointSavingIsThatOfTheReplayNotTheSum) {
  RuleCase c(two_faults());
  const auto findings = run_rules(c.input());
  const Finding* wait = find_rule(findings, RuleId::S1);
  const Finding* loader = find_rule(findings, RuleId::I1);
  ASSERT_NE(wait, nullptr);
  ASSERT_NE(loader, nullptr);
  EXPECT_EQ(wait->joint_rank, 1u);
  EXPECT_EQ(loader->joint_rank, 2u);
  const auto one = static_cast<double>(joint_saving(c.input(), findings, 1));
  const auto both = static_cast<double>(joint_saving(c.input(), findings, 2));
  EXPECT_GT(both, one);
  EXPECT_LT(both, static_cast<double>(wait->saving.expected + loader->saving.expected) * 0.9);
  EXPECT_EQ(joint_saving(c.input(), findings, 0), 0);
}

// The second largest alone is the same fault again: it adds nothing to the first.
TEST(RunRules, WhatAddsNothingHasNoJointRank) {
  RuleCase c(two_faults());
  const auto findings = run_rules(c.input());
  for (const Finding& finding : findings) {
    if (finding.plan.empty() || finding.severity == Severity::info) {
      EXPECT_EQ(finding.joint_rank, 0u) << finding.title;
    }
  }
  const auto none = run_rules(c.input(), 0);
  EXPECT_TRUE(std::all_of(none.begin(), none.end(),
                          [](const Finding& finding) { return finding.joint_rank == 0; }));
}

TEST(RunRules, RefuseMeansNoFindings) {
  RuleCase c(two_faults());
  c.health.verdict = Confidence::refuse;
  EXPECT_TRUE(run_rules(c.input()).empty());
}

TEST(RunRules, LowMeansNoFigures) {
  RuleCase c(two_faults());
  c.health.verdict = Confidence::low;
  const auto findings = run_rules(c.input());
  ASSERT_FALSE(findings.empty());
  for (const Finding& finding : findings) {
    EXPECT_TRUE(finding.withheld) << finding.title;
    EXPECT_EQ(finding.saving.expected, 0);
    EXPECT_EQ(finding.saving.upper, 0);
    EXPECT_EQ(finding.joint_rank, 0u);
  }
}

TEST(RunRules, AnEmptyTraceHasNoFindings) {
  RuleCase c{Trace()};
  EXPECT_TRUE(run_rules(c.input()).empty());
}

// Shifted by an hour, everything is the same.
TEST(RunRules, TimesMayBeginAnywhere) {
  RuleCase plain(two_faults());
  Trace trace = two_faults();
  const Ns shift = Ns{3600} * 1000 * ms;
  for_each_table(trace, [&](const char*, auto& table) {
    std::remove_reference_t<decltype(table)>::visit(
        table, [&](const ColumnInfo& info, auto& column) {
          using Value = typename std::remove_reference_t<decltype(column)>::value_type;
          const std::string_view name = info.name;
          if constexpr (std::is_same_v<Value, int64_t>) {
            if (name == "start" || name == "end" || name == "submit") {
              for (auto& value : column) value += shift;
            }
          }
        });
  });
  RuleCase shifted(std::move(trace));
  const auto a = run_rules(plain.input());
  const auto b = run_rules(shifted.input());
  ASSERT_EQ(a.size(), b.size());
  for (size_t k = 0; k < a.size(); ++k) {
    EXPECT_EQ(a[k].rule, b[k].rule);
    EXPECT_EQ(a[k].saving.expected, b[k].saving.expected);
    EXPECT_EQ(a[k].saving.upper, b[k].saving.upper);
  }
}

// A program without faults: the host is ahead, nothing waits, one long wait at the end.
TEST(RunRules, NothingAboveInfoForAHealthyProgram) {
  Builder b;
  Ns host = 0;
  Ns device = 5 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns begin = host;
    for (int i = 0; i < 8; ++i) {
      host += 5 * us;
      device = std::max(device, host);
      b.kernel(i % 2 == 0 ? "matmul" : "bias", host, device, device + 50 * us);
      device += 50 * us;
    }
    b.step(k, begin, host);
  }
  b.call(CallKind::sync_device, "cudaDeviceSynchronize", host, device);
  RuleCase c(std::move(b.trace));
  for (const Finding& finding : run_rules(c.input()))
    EXPECT_EQ(finding.severity, Severity::info) << finding.title;
}

}  // namespace
}  // namespace mill::prof::test
