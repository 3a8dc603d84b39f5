// C1 and O1.
#include <gtest/gtest.h>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

// Ten steps of 100 us on a CPU with four threads: add for `add` us and `bytes`, the rest matmul.
Trace cpu_steps(Ns add, uint64_t bytes) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.trace.devices[0].host_threads = 4;
  for (int k = 0; k < 10; ++k) {
    const Ns t = k * 100 * us;
    const uint32_t row = b.op("add", t, t + add);
    b.trace.ops.bytes[row] = bytes;
    const uint32_t rest = b.op("matmul", t + add, t + 100 * us);
    b.trace.ops.bytes[rest] = 1000;
    b.step(k, t, t + 100 * us);
  }
  return std::move(b.trace);
}

void count(Trace& trace, const char* name, Ns time, double value) {
  const uint32_t row = trace.counters.add();
  trace.counters.time[row] = time;
  trace.counters.name[row] = trace.strings.intern(name);
  trace.counters.value[row] = value;
}

// 160,000 bytes in 10 us are 16 GB/s: exactly 80 % of 20 GB/s.
TEST(MemoryBound, BeginsAtItsShareOfTheBandwidth) {
  RuleCase at(cpu_steps(10 * us, 160000));
  at.links.stream_bytes_per_s = 20e9;
  const auto findings = at.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].rule, RuleId::C1);
  EXPECT_NEAR(fact(findings[0], "bytes_per_s"), 16e9, 1);
  EXPECT_EQ(fact(findings[0], "share"), 0.1);
  EXPECT_EQ(findings[0].severity, Severity::info);
  EXPECT_EQ(findings[0].saving.expected, 0);
  EXPECT_TRUE(says(findings[0].advice, "add")) << findings[0].advice;
  RuleCase under(cpu_steps(10 * us, 159000));
  under.links.stream_bytes_per_s = 20e9;
  EXPECT_TRUE(under.run(find_cpu).empty());
}

TEST(MemoryBound, IsMoreThanANoteOnlyInLargeOps) {
  RuleCase large(cpu_steps(31 * us, 31 * 16000));
  large.links.stream_bytes_per_s = 20e9;
  auto findings = large.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::minor);
  RuleCase small(cpu_steps(30 * us, 30 * 16000));
  small.links.stream_bytes_per_s = 20e9;
  findings = small.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::info);
}

// add moves 16 GB/s in 31 % of the time; matmul, at 14 MB/s, waits for no memory that there is.
TEST(MemoryBound, WithoutAFigureSaysThatNothingIsKnown) {
  RuleCase c(cpu_steps(31 * us, 31 * 16000));
  const auto findings = c.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  const Finding& note = findings[0];
  EXPECT_EQ(note.severity, Severity::info);
  EXPECT_EQ(note.saving.upper, 0);
  EXPECT_EQ(note.evidence_total, 10u);
  EXPECT_EQ(fact(note, "stream_bytes_per_s"), -1) << "there is none";
  EXPECT_NEAR(fact(note, "share"), 0.31, 1e-9);
  EXPECT_TRUE(says(note.title, "not known")) << note.title;
  EXPECT_TRUE(says(note.advice, "add at 16.0 GB/s)")) << note.advice;
  EXPECT_TRUE(says(note.advice, "millrace prof calibrate")) << note.advice;
  EXPECT_FALSE(says(note.advice, "speed of memory"));
  // Less of the time is not worth a note.
  RuleCase little(cpu_steps(29 * us, 29 * 16000));
  EXPECT_TRUE(little.run(find_cpu).empty());
  // Nor are ops whose bytes are not known, or that move less than any memory gives: 1.6 GB/s.
  RuleCase unknown(cpu_steps(31 * us, 0));
  EXPECT_TRUE(unknown.run(find_cpu).empty());
  RuleCase slow(cpu_steps(31 * us, 31 * 1599));
  EXPECT_TRUE(slow.run(find_cpu).empty());
}

// 23 GB/s where the memory gives 20: the data was in a cache, and the memory held nothing up.
TEST(MemoryBound, WhatIsFasterThanTheMemoryDoesNotWaitForIt) {
  RuleCase at(cpu_steps(10 * us, 220000));
  at.links.stream_bytes_per_s = 20e9;
  EXPECT_EQ(at.run(find_cpu).size(), 1u);
  RuleCase cached(cpu_steps(10 * us, 230000));
  cached.links.stream_bytes_per_s = 20e9;
  EXPECT_TRUE(cached.run(find_cpu).empty());
}

// Two threads at 8 GB/s each want 16 of the 20 GB/s that the memory gives both.
TEST(MemoryBound, OpsSideBySideShareTheMemory) {
  Builder b;
  b.trace = cpu_steps(10 * us, 80000);
  b.by(b.thread(2));
  for (int k = 0; k < 10; ++k) {
    const uint32_t row = b.op("add", k * 100 * us, k * 100 * us + 10 * us);
    b.trace.ops.bytes[row] = 80000;
  }
  RuleCase c(std::move(b.trace));
  c.links.stream_bytes_per_s = 20e9;
  const auto findings = c.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_NEAR(fact(findings[0], "bytes_per_s"), 16e9, 1);
  EXPECT_EQ(fact(findings[0], "share"), 0.1);
}

// An op that only calls another has that one's bytes, not its own time.
TEST(MemoryBound, CountsInnerOpsOnly) {
  Trace trace = cpu_steps(10 * us, 160000);
  for (int k = 0; k < 10; ++k) {
    const uint32_t outer = trace.ops.add();
    trace.ops.start[outer] = k * 100 * us;
    trace.ops.end[outer] = k * 100 * us + 10 * us;
    trace.ops.kind[outer] = static_cast<uint8_t>(OpKind::op);
    trace.ops.name[outer] = trace.strings.intern("residual");
    trace.ops.device[outer] = 0;
    trace.ops.bytes[outer] = 160000;
  }
  // Inner ops begin a little later, so that they lie in the outer ones.
  for (uint32_t op = 0; op < 20; op += 2) trace.ops.start[op] += 1;
  RuleCase c(std::move(trace));
  c.links.stream_bytes_per_s = 20e9;
  const auto findings = c.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_TRUE(says(findings[0].title, "add")) << findings[0].title;
}

// 1,000 us; four threads; a minor fault counts as 0.25 us: 324 of them are 81 us, over four threads
// 20.25, that is, 2.025 %.
TEST(PageFaults, FireAboveTheirShareOfTheTime) {
  Trace trace = cpu_steps(10 * us, 0);
  count(trace, "minor_faults", 0, 1000);
  count(trace, "minor_faults", 999 * us, 1324);
  RuleCase above(std::move(trace));
  const auto findings = above.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(fact(findings[0], "minor_faults"), 324);
  EXPECT_EQ(findings[0].saving.expected, 20250);
  EXPECT_EQ(findings[0].saving.upper, 81000);
  EXPECT_EQ(findings[0].saving.lower, 10125);
  EXPECT_EQ(findings[0].severity, Severity::minor);

  Trace few = cpu_steps(10 * us, 0);
  count(few, "minor_faults", 0, 1000);
  count(few, "minor_faults", 999 * us, 1320);
  RuleCase at(std::move(few));
  EXPECT_TRUE(at.run(find_cpu).empty());
}

// What a start touches is not the steps': 100,000 faults before the first step, 100 in the steps.
TEST(PageFaults, BeforeTheWindowAreNotTheWindows) {
  Trace trace = cpu_steps(10 * us, 0);
  count(trace, "minor_faults", -5000 * us, 0);
  count(trace, "minor_faults", 1 * us, 100000);
  count(trace, "minor_faults", 999 * us, 100100);
  RuleCase c(std::move(trace));
  EXPECT_TRUE(c.run(find_cpu).empty());
  // One value in the window tells nothing.
  Trace one = cpu_steps(10 * us, 0);
  count(one, "minor_faults", -5000 * us, 0);
  count(one, "minor_faults", 500 * us, 100000);
  RuleCase unknown(std::move(one));
  EXPECT_TRUE(unknown.run(find_cpu).empty());
}

TEST(PageFaults, MajorOnesCostMore) {
  Trace trace = cpu_steps(10 * us, 0);
  count(trace, "major_faults", 0, 7);
  count(trace, "major_faults", 999 * us, 9);
  RuleCase c(std::move(trace));
  const auto findings = c.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].saving.expected, 25000);  // two of 50 us over four threads
}

// Four threads for 1,000 us: 4,000,000 ns of CPU time.
TEST(IdlePool, FiresAboveItsShare) {
  Trace busy = cpu_steps(10 * us, 0);
  count(busy, "cpu_time_ns", 0, 0);
  count(busy, "cpu_time_ns", 1000 * us, 2.81e6);
  RuleCase under(std::move(busy));
  EXPECT_TRUE(under.run(find_cpu).empty());

  Trace idle = cpu_steps(10 * us, 0);
  count(idle, "cpu_time_ns", 0, 0);
  count(idle, "cpu_time_ns", 1000 * us, 2.79e6);
  RuleCase above(std::move(idle));
  const auto findings = above.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_NEAR(fact(findings[0], "idle_share"), 0.3025, 1e-9);
  EXPECT_EQ(findings[0].severity, Severity::info);
}

// 1 ms of CPU time and 1.81 ms of waiting for a processor leave less than 30 % of 4 ms idle.
TEST(IdlePool, AThreadThatWaitsForAProcessorIsNotIdle) {
  for (const double delay : {1.81e6, 1.79e6}) {
    Trace trace = cpu_steps(10 * us, 0);
    count(trace, "cpu_time_ns", 0, 0);
    count(trace, "cpu_time_ns", 1000 * us, 1e6);
    count(trace, "run_delay_ns", 0, 7e9);
    count(trace, "run_delay_ns", 1000 * us, 7e9 + delay);
    RuleCase c(std::move(trace));
    EXPECT_EQ(c.run(find_cpu).empty(), delay > 1.8e6) << delay;
  }
}

// 4 threads, 1 ms: 1 ms of CPU time leaves three quarters idle, and 240 us of them the other three
// wait for a batch that one makes.
TEST(IdlePool, NothingToDoUntilABatchIsThereIsNotItsFault) {
  const auto idle = [](Ns waited) {
    Builder b;
    b.trace = cpu_steps(10 * us, 0);
    if (waited > 0) b.loader_wait(10 * us, 10 * us + waited);
    count(b.trace, "cpu_time_ns", 0, 0);
    count(b.trace, "cpu_time_ns", 1000 * us, 1e6);
    RuleCase c(std::move(b.trace));
    const auto findings = c.run(find_cpu);
    return findings.empty() ? -1.0 : fact(findings[0], "idle_share");
  };
  EXPECT_NEAR(idle(0), 0.75, 1e-9);
  EXPECT_NEAR(idle(240 * us), 0.75 - 0.24 * 3 / 4, 0.01);
  EXPECT_EQ(idle(700 * us), -1) << "I1 has it";
}

// One thread leaves no others waiting.
TEST(IdlePool, OfOneThreadIsNoPool) {
  Trace trace = cpu_steps(10 * us, 0);
  trace.devices[0].host_threads = 1;
  count(trace, "cpu_time_ns", 0, 0);
  count(trace, "cpu_time_ns", 1000 * us, 0.1e6);
  RuleCase c(std::move(trace));
  EXPECT_TRUE(c.run(find_cpu).empty());
}

// 0.2 ms of CPU time in the 500 us between two values; what came before is not counted.
TEST(IdlePool, ComparesWithTheTimeBetweenTheValues) {
  Trace trace = cpu_steps(10 * us, 0);
  count(trace, "cpu_time_ns", -5000 * us, 0);
  count(trace, "cpu_time_ns", 5 * us, 20e6);
  count(trace, "cpu_time_ns", 505 * us, 20.2e6);
  RuleCase c(std::move(trace));
  const auto findings = c.run(find_cpu);
  ASSERT_EQ(findings.size(), 1u);
  // 0.2 of 4 x 0.5 ms.
  EXPECT_NEAR(fact(findings[0], "idle_share"), 0.9, 1e-9);
  // Values from 100 us of 1,000 tell nothing of the rest.
  Trace few = cpu_steps(10 * us, 0);
  count(few, "cpu_time_ns", 0, 0);
  count(few, "cpu_time_ns", 100 * us, 1e3);
  RuleCase unknown(std::move(few));
  EXPECT_TRUE(unknown.run(find_cpu).empty());
}

TEST(IdlePool, IsNoFaultOfAHostThatFeedsADevice) {
  Trace trace = cpu_steps(10 * us, 0);
  count(trace, "cpu_time_ns", 0, 0);
  count(trace, "cpu_time_ns", 1000 * us, 1e6);
  Builder b;
  b.trace = std::move(trace);
  b.on(b.device(1)).work(WorkKind::kernel, "work", 0, 900 * us, kNoRow);
  RuleCase c(std::move(b.trace));
  EXPECT_TRUE(c.run(find_cpu).empty());
}

// ---- O1 -----------------------------------------------------------------------------------------

TEST(OwnCost, MeasuredCostIsComparedWithTheBudget) {
  RuleCase above(cpu_steps(10 * us, 0));
  above.own_cost = 0.02;
  const auto findings = above.run(find_overhead);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].rule, RuleId::O1);
  // 1,000 with recording are 980.39 without and 2 % of that.
  EXPECT_EQ(findings[0].saving.expected, 19607);
  EXPECT_EQ(findings[0].severity, Severity::minor);
  RuleCase at(cpu_steps(10 * us, 0));
  at.own_cost = 0.01;
  EXPECT_TRUE(at.run(find_overhead).empty());
}

// Steps differ anyway: 2 % that may as well be 0.5 % are no more than a note.
TEST(OwnCost, IsNoMoreThanANoteWhereItMayBeChance) {
  RuleCase c(cpu_steps(10 * us, 0));
  c.own_cost = 0.02;
  c.own_cost_low = 0.005;
  auto findings = c.run(find_overhead);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::info);
  EXPECT_EQ(findings[0].saving.lower, 4975);  // 0.5 % of 995.02
  EXPECT_EQ(findings[0].saving.expected, 19607);
  EXPECT_TRUE(says(findings[0].title, "may cost")) << findings[0].title;
  EXPECT_FALSE(findings[0].fix.engine_can_apply);
  c.own_cost_low = 0.011;
  findings = c.run(find_overhead);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::minor);
  EXPECT_EQ(findings[0].saving.lower, 10880);
}

// The tool says that it took 10 us of each step of 100, twice, at the same time.
TEST(OwnCost, RecordedOverheadCountsOnce) {
  Trace trace = cpu_steps(10 * us, 0);
  for (int k = 0; k < 20; ++k) {
    const uint32_t row = trace.overheads.add();
    trace.overheads.start[row] = (k / 2) * 100 * us;
    trace.overheads.end[row] = (k / 2) * 100 * us + 10 * us;
    trace.overheads.thread[row] = 0;
    trace.overheads.kind[row] = static_cast<uint8_t>(OverheadKind::profiler);
  }
  RuleCase c(std::move(trace));
  const auto findings = c.run(find_overhead);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(fact(findings[0], "cost_share"), 0.1);
  EXPECT_EQ(findings[0].saving.upper, 100 * us);
  EXPECT_NEAR(static_cast<double>(findings[0].saving.expected), 100e3, 1e3);
}

TEST(OwnCost, IsSilentWhereNothingIsKnown) {
  RuleCase c(cpu_steps(10 * us, 0));
  EXPECT_TRUE(c.run(find_overhead).empty());
}

}  // namespace
}  // namespace mill::prof::test
