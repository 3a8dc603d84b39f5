#include <gtest/gtest.h>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

constexpr Ns kPeriod = 160 * us;

// launch 5, kernel 50 (5 to 55); cudaMalloc from 5 to 105; launch to 110, kernel 50 (110 to 160),
// for which the host waits.
Trace with_malloc(bool malloc, bool steps = true) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * kPeriod;
    b.kernel("first", t + 5 * us, t + 5 * us, t + 55 * us);
    if (malloc) {
      const uint32_t c = b.call(CallKind::allocate, "cudaMalloc", t + 5 * us, t + 105 * us);
      b.trace.calls.bytes[c] = 1 << 20;
    }
    b.kernel("second", t + 110 * us, t + 110 * us, t + 160 * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 110 * us, t + 160 * us);
    if (steps) b.step(k, t, t + kPeriod);
  }
  return std::move(b.trace);
}

// Without the call the second launch ends at 10 and its kernel runs from 55 to 105: a step takes
// 105 instead of 160. The length of the calls, 1000, would be the naive answer.
TEST(AllocationStall, SavesWhatTheDeviceWaitedFor) {
  RuleCase c(with_malloc(true));
  const auto findings = c.run(find_allocations);
  const Finding* found = find_rule(findings, RuleId::S3);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 550e3, 5.5e3);
  // Idle: 5 at the very start, 55 in each step, 5 between steps: 5 + 550 + 45.
  EXPECT_EQ(found->saving.upper, 600 * us);
  EXPECT_LT(static_cast<double>(found->saving.expected), fact(*found, "host_ns"));
  EXPECT_EQ(fact(*found, "host_ns"), 1000e3);
  EXPECT_EQ(fact(*found, "calls_per_step"), 1);
  EXPECT_EQ(fact(*found, "bytes"), 10.0 * (1 << 20));
  EXPECT_EQ(found->severity, Severity::major);
  EXPECT_TRUE(says(found->advice, "cudaMalloc")) << found->advice;
  EXPECT_TRUE(says(found->advice, "1.05 MB")) << found->advice;
  EXPECT_TRUE(says(found->advice, "pool")) << found->advice;
}

// The only step is the one in which memory is found; without steps nothing says what warms up.
TEST(AllocationStall, IsSilentAboutTheOnlyStep) {
  Builder b;
  b.step(0, 0, 160 * us);
  b.kernel("first", 5 * us, 5 * us, 55 * us);
  b.call(CallKind::allocate, "cudaMalloc", 5 * us, 105 * us);
  b.kernel("second", 110 * us, 110 * us, 160 * us);
  Trace two = b.trace;
  EXPECT_TRUE(RuleCase(std::move(b.trace)).run(find_allocations).empty());
  Builder c;
  c.trace = std::move(two);
  c.step(1, 160 * us, 320 * us);
  EXPECT_FALSE(RuleCase(std::move(c.trace)).run(find_allocations).empty());
}

TEST(AllocationStall, IsSilentWithoutAllocations) {
  RuleCase c(with_malloc(false));
  EXPECT_TRUE(c.run(find_allocations).empty());
}

TEST(AllocationStall, IsSilentWhereNoStepsTellWarmUpFromTheRest) {
  RuleCase c(with_malloc(true, false), {.find_period = false});
  EXPECT_TRUE(c.run(find_allocations).empty());
}

TEST(AllocationStall, IsSilentInWarmUp) {
  Builder b;
  // A first step of 300 with an allocation, then nine of 100 without.
  b.kernel("first", 5 * us, 5 * us, 55 * us);
  b.call(CallKind::allocate, "cudaMalloc", 55 * us, 290 * us);
  b.step(0, 0, 300 * us);
  for (int k = 1; k < kSteps; ++k) {
    const Ns t = 300 * us + (k - 1) * 100 * us;
    b.kernel("first", t + 5 * us, t + 5 * us, t + 95 * us);
    b.step(k, t, t + 100 * us);
  }
  RuleCase c(std::move(b.trace));
  ASSERT_EQ(c.timeline().window().begin, 300 * us);
  EXPECT_TRUE(c.run(find_allocations).empty());
}

// The engine's allocator tells of growth; the runtime's calls are not known.
Trace with_growth(AllocHow how) {
  Trace trace = with_malloc(false);
  for (int k = 0; k < kSteps; ++k) {
    const uint32_t row = trace.allocations.add();
    trace.allocations.start[row] = k * kPeriod + 5 * us;
    trace.allocations.end[row] = k * kPeriod + 105 * us;
    trace.allocations.kind[row] = static_cast<uint8_t>(AllocKind::allocate);
    trace.allocations.how[row] = static_cast<uint8_t>(how);
    trace.allocations.device[row] = 0;
    trace.allocations.bytes[row] = 4096;
  }
  return trace;
}

TEST(AllocationStall, IsSeenInTheEnginesOwnRecords) {
  RuleCase c(with_growth(AllocHow::growth));
  const auto findings = c.run(find_allocations);
  const Finding* stall = find_rule(findings, RuleId::S3);
  ASSERT_NE(stall, nullptr);
  EXPECT_NEAR(static_cast<double>(stall->saving.expected), 550e3, 5.5e3);
  const Finding* churn = find_rule(findings, RuleId::A1);
  ASSERT_NE(churn, nullptr);
  EXPECT_EQ(fact(*churn, "device_allocations_per_step"), 1);
  EXPECT_EQ(churn->saving.expected, 0) << "the time is S3's";
  EXPECT_EQ(churn->severity, Severity::info);
}

TEST(AllocationStall, SaysThatMemoryHadToBeGivenBackFirst) {
  RuleCase c(with_growth(AllocHow::reclaim));
  const auto findings = c.run(find_allocations);
  const Finding* stall = find_rule(findings, RuleId::S3);
  ASSERT_NE(stall, nullptr);
  EXPECT_TRUE(says(stall->advice, "fragmented")) << stall->advice;
}

TEST(AllocatorChurn, IsSilentWhereTheAllocatorServesFromWhatItHolds) {
  RuleCase c(with_growth(AllocHow::hit));
  EXPECT_TRUE(c.run(find_allocations).empty());
}

Trace with_reserve(double reserved, double used) {
  Trace trace = with_malloc(false);
  for (const auto& [name, value] : {std::pair("reserved_bytes", reserved), {"used_bytes", used}}) {
    const uint32_t row = trace.counters.add();
    trace.counters.time[row] = 5 * us;
    trace.counters.name[row] = trace.strings.intern(name);
    trace.counters.device[row] = 0;
    trace.counters.value[row] = value;
  }
  return trace;
}

TEST(AllocatorChurn, TellsOfMemoryThatIsHeldForNothing) {
  RuleCase above(with_reserve(1000e6, 799e6));
  const auto findings = above.run(find_allocations);
  const Finding* found = find_rule(findings, RuleId::A1);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(fact(*found, "unused_bytes"), 201e6);
  EXPECT_NEAR(fact(*found, "unused_share"), 0.201, 1e-9);
  RuleCase under(with_reserve(1000e6, 801e6));
  EXPECT_TRUE(under.run(find_allocations).empty());
}

}  // namespace
}  // namespace mill::prof::test
