#include <gtest/gtest.h>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

// A step: launch 5, kernel 100, a read of `bytes` whose copy takes 2 and for which a synchronise
// that begins `delay` after the copy's call waits, then `host` on the host; times in us.
struct ReadStep {
  uint64_t bytes = 4;
  Ns delay = 0;
  Ns host = 300;
  int reads = 1;
  // Kernels of 200 us on another stream keep the device busy.
  bool other_work = false;
};

Trace read_back(const ReadStep& what) {
  Builder b;
  // launch 5 + call 5 + wait until 107 + host
  const Ns period = (107 + what.host) * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.on(0, 7);
    b.kernel("work", t + 5 * us, t + 5 * us, t + 105 * us);
    b.copy(CopyKind::device_to_host, Memory::pinned, what.bytes, t + 5 * us, t + 10 * us,
           t + 105 * us, t + 107 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 10 * us + what.delay, t + 107 * us);
    if (what.other_work) b.on(0, 8).work(WorkKind::kernel, "other", t, t + period, kNoRow);
    b.step(k, t, t + period);
  }
  return std::move(b.trace);
}

// Without the wait a step takes what the host needs: 5 + 5 + 300 = 310 instead of 407. The device
// idles 407 - 102 = 305 between two steps; saving all of that would be the naive answer.
TEST(ScalarReadBack, SavesTheWaitWhereTheHostHasMoreToDo) {
  RuleCase c(read_back({}));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::T7);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 970e3, 9.7e3);
  EXPECT_EQ(found->saving.upper, 9 * 305 * us);
  EXPECT_EQ(fact(*found, "reads"), 10);
  EXPECT_EQ(fact(*found, "reads_per_step"), 1);
  EXPECT_EQ(fact(*found, "blocked_ns"), 970e3);  // ten times 10 to 107
  EXPECT_EQ(fact(*found, "idle_ns"), 2745e3);
  EXPECT_EQ(fact(*found, "bytes"), 40);
  EXPECT_EQ(found->severity, Severity::major);  // 970 of 4070
  EXPECT_EQ(found->plan.defer.size(), 10u);
  EXPECT_STREQ(found->fix.knob, "defer_read");
  EXPECT_TRUE(says(found->advice, "one step late"));
  EXPECT_EQ(find_rule(findings, RuleId::S1), nullptr) << "the same wait must not be blamed twice";
}

// With 93 on the host, device (102) and host (103) are about even. Nine gaps of 98 us are all that
// can be won: the blocked time of 970 would be the naive answer.
TEST(ScalarReadBack, NeverSavesMoreThanTheDeviceIdled) {
  RuleCase c(read_back({.host = 93}));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::T7);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->saving.upper, 9 * 98 * us);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 882e3, 8.8e3);
  EXPECT_LT(static_cast<double>(found->saving.expected), fact(*found, "blocked_ns"));
}

TEST(ScalarReadBack, IsSilentWhereTheDeviceHasOtherWork) {
  RuleCase c(read_back({.other_work = true}));
  EXPECT_TRUE(c.run(find_waits).empty());
}

TEST(ScalarReadBack, EndsAtTheLargestScalar) {
  RuleCase at(read_back({.bytes = 1024}));
  EXPECT_NE(find_rule(at.run(find_waits), RuleId::T7), nullptr);
  RuleCase above(read_back({.bytes = 1025}));
  const auto findings = above.run(find_waits);
  EXPECT_EQ(find_rule(findings, RuleId::T7), nullptr);
  EXPECT_NE(find_rule(findings, RuleId::S1), nullptr) << "then it is a plain wait";
}

TEST(ScalarReadBack, BelongsToAWaitThatFollowsSoon) {
  RuleCase at(read_back({.delay = 50 * us}));
  EXPECT_NE(find_rule(at.run(find_waits), RuleId::T7), nullptr);
  RuleCase above(read_back({.delay = 50 * us + 1}));
  const auto findings = above.run(find_waits);
  EXPECT_EQ(find_rule(findings, RuleId::T7), nullptr);
  EXPECT_NE(find_rule(findings, RuleId::S1), nullptr);
}

// Three blocking reads per step, each blocking for 3 of 10,000 us: 0.09 % of the step.
Trace cheap_reads(int reads) {
  Builder b;
  const Ns period = 10 * ms;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.kernel("work", t + 5 * us, t + 5 * us, t + 1000 * us);
    for (int r = 0; r < reads; ++r) {
      const Ns at = t + 2000 * us + r * 1000 * us;
      b.copy(CopyKind::device_to_host, Memory::pageable, 4, at, at + 3 * us, at + 1 * us,
             at + 2 * us, false);
    }
    b.kernel("more", t + 9000 * us, t + 9000 * us, t + 9900 * us);
    b.step(k, t, t + period);
  }
  return std::move(b.trace);
}

TEST(ScalarReadBack, FiresByCountFromThreePerStep) {
  RuleCase three(cheap_reads(3));
  const auto findings = three.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::T7);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(fact(*found, "reads_per_step"), 3);
  EXPECT_EQ(found->severity, Severity::info) << "it costs next to nothing";
  RuleCase two(cheap_reads(2));
  EXPECT_EQ(find_rule(two.run(find_waits), RuleId::T7), nullptr);
}

TEST(ScalarReadBack, NamesTheOpThatMadeTheValue) {
  Trace trace = read_back({});
  // The engine's record of each copy, with the op that made the tensor.
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 407 * us;
    const uint32_t op = trace.ops.add();
    trace.ops.start[op] = t;
    trace.ops.end[op] = t + 5 * us;
    trace.ops.name[op] = trace.strings.intern("mean_squared_error");
    trace.ops.instance[op] = static_cast<uint64_t>(k) + 1;
    trace.ops.kind[op] = static_cast<uint8_t>(OpKind::op);
    trace.ops.device[op] = 0;
    trace.ops.tensor[op] = 77;
    const uint32_t copy = trace.copies.add();
    trace.copies.start[copy] = t + 5 * us;
    trace.copies.end[copy] = t + 10 * us;
    trace.copies.from_device[copy] = 0;
    trace.copies.bytes[copy] = 4;
    trace.copies.tensor[copy] = 77;
    trace.copies.instance[copy] = static_cast<uint64_t>(k) + 1;
  }
  RuleCase c(std::move(trace));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::T7);
  ASSERT_NE(found, nullptr);
  EXPECT_TRUE(says(found->advice, "mean_squared_error")) << found->advice;
}

// The engine alone says that a value was waited for.
TEST(ScalarReadBack, IsSeenInTheEnginesOwnRecords) {
  Builder b;
  const Ns period = 400 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.kernel("work", t + 5 * us, t + 5 * us, t + 105 * us);
    const uint32_t sync = b.trace.syncs.add();
    b.trace.syncs.start[sync] = t + 10 * us;
    b.trace.syncs.end[sync] = t + 105 * us;
    b.trace.syncs.kind[sync] = static_cast<uint8_t>(SyncKind::read);
    b.trace.syncs.bytes[sync] = 8;
    b.trace.syncs.scope[sync] = b.trace.strings.intern("train/loss");
    b.step(k, t, t + period);
  }
  RuleCase c(std::move(b.trace));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::T7);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->saving.upper, 9 * 300 * us);  // from 105 to 405
  EXPECT_TRUE(says(found->advice, "train/loss")) << found->advice;
}

// ---- S1 -----------------------------------------------------------------------------------------

// launch 5, kernel 100, wait from `waited` to its end, `host` on the host.
Trace plain_waits(Ns host, Ns waited = 5, Ns kernel = 100) {
  Builder b;
  const Ns done = std::max(5 + kernel, waited + 1);
  const Ns period = (done + host) * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.kernel("work", t + 5 * us, t + 5 * us, t + (5 + kernel) * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + waited * us, t + done * us);
    b.step(k, t, t + period);
  }
  return std::move(b.trace);
}

// Without it a step takes 5 + 300 instead of 405, all but the last, whose wait nothing follows. The
// device idles 305 between two kernels; nine of those would be the naive answer.
TEST(CostlyWait, SavesTheTimeThatTheHostStood) {
  RuleCase c(plain_waits(300));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::S1);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 900e3, 9e3);
  EXPECT_EQ(found->saving.upper, 9 * 305 * us);
  EXPECT_EQ(fact(*found, "waits"), 10);
  EXPECT_EQ(fact(*found, "costly_waits"), 9) << "nothing follows the last one";
  EXPECT_EQ(fact(*found, "blocked_ns"), 1000e3);
  EXPECT_EQ(found->plan.unblock.size(), 9u);
  EXPECT_TRUE(says(found->advice, "cudaDeviceSynchronize"));
  EXPECT_TRUE(says(found->advice, "event"));
}

TEST(CostlyWait, IsSilentOnADeviceThatIsIdleAlready) {
  RuleCase c(plain_waits(300, 150));
  EXPECT_TRUE(c.run(find_waits).empty());
}

TEST(CostlyWait, IsSilentWhereNothingFollows) {
  Builder b;
  b.kernel("work", 5 * us, 5 * us, 1005 * us);
  b.call(CallKind::sync_device, "cudaDeviceSynchronize", 5 * us, 1005 * us);
  RuleCase c(std::move(b.trace));
  EXPECT_TRUE(c.run(find_waits).empty());
}

// The device idles 5 + host after each wait; gaps under 10 us never count.
TEST(CostlyWait, LeavesShortGapsAlone) {
  RuleCase under(plain_waits(4));
  EXPECT_TRUE(under.run(find_waits).empty());
  RuleCase at(plain_waits(5));
  EXPECT_NE(find_rule(at.run(find_waits), RuleId::S1), nullptr);
}

// Nine gaps of 10 us are 90 us, at a limit of 1 % of ten steps.
TEST(CostlyWait, FiresAboveItsShareOfTheWindow) {
  // A step of 890 + 15: 90 of 9050 us are 0.994 %.
  RuleCase under(plain_waits(5, 5, 895));
  EXPECT_TRUE(under.run(find_waits).empty());
  // A step of 870 + 15: 90 of 8850 us are 1.017 %.
  RuleCase above(plain_waits(5, 5, 875));
  EXPECT_NE(find_rule(above.run(find_waits), RuleId::S1), nullptr);
}

// A thread waits for the kernels of another one. Where it makes batches for that one it holds up
// nobody: who waits for its batches is I1's to say.
TEST(CostlyWait, WorkersOfALoaderWaitForThemselves) {
  for (const bool makes_batches : {false, true}) {
    Builder b;
    const uint32_t other = b.thread(2);
    for (int k = 0; k < kSteps; ++k) {
      const Ns t = k * 405 * us;
      b.by(0).kernel("work", t + 5 * us, t + 5 * us, t + 105 * us);
      b.by(other).call(CallKind::sync_device, "cudaDeviceSynchronize", t + 10 * us, t + 105 * us);
      b.by(0).step(k, t, t + 405 * us);
      if (!makes_batches) continue;
      b.loader_wait(t + 106 * us, t + 107 * us);
      const uint32_t fill = b.trace.loader.add();
      b.trace.loader.start[fill] = t;
      b.trace.loader.end[fill] = t + 105 * us;
      b.trace.loader.thread[fill] = other;
      b.trace.loader.kind[fill] = static_cast<uint8_t>(LoaderKind::fill);
    }
    RuleCase c(std::move(b.trace));
    EXPECT_EQ(find_rule(c.run(find_waits), RuleId::S1) == nullptr, makes_batches);
  }
}

// Two threads wait for the same kernel: one gap, counted once.
TEST(CostlyWait, CountsAGapOnce) {
  Builder b;
  const uint32_t other = b.thread(2);
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 405 * us;
    b.by(0).kernel("work", t + 5 * us, t + 5 * us, t + 105 * us);
    b.by(0).call(CallKind::sync_device, "cudaDeviceSynchronize", t + 5 * us, t + 105 * us);
    b.by(other).call(CallKind::sync_device, "cudaDeviceSynchronize", t + 6 * us, t + 105 * us);
    b.by(0).step(k, t, t + 405 * us);
  }
  RuleCase c(std::move(b.trace));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::S1);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->saving.upper, 9 * 305 * us);
}

// ---- S4 -----------------------------------------------------------------------------------------

// Kernel a from 5 to 105 on stream 7; `second` on stream 0, asked for at 10, runs alone from 105 to
// 205; the host waits for both and rests 20.
Trace two_streams(bool legacy, bool second_is_copy, bool event_between = false) {
  Builder b;
  const Ns period = 225 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.on(0, 7).kernel("a", t + 5 * us, t + 5 * us, t + 105 * us);
    b.on(0, 0);
    if (event_between) b.call(CallKind::event_wait, "cudaStreamWaitEvent", t + 5 * us, t + 6 * us);
    if (second_is_copy) {
      b.copy(CopyKind::host_to_device, Memory::pinned, 1000000, t + 7 * us, t + 10 * us,
             t + 105 * us, t + 205 * us);
    } else {
      b.kernel("b", t + 10 * us, t + 105 * us, t + 205 * us, 3 * us);
    }
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 10 * us, t + 205 * us);
    b.step(k, t, t + period);
  }
  Trace trace = std::move(b.trace);
  for (StreamInfo& stream : trace.streams) stream.legacy_default = legacy && stream.number == 0;
  return trace;
}

// Free of each other, the second piece runs from 10 to 110, and a step takes 130 instead of 225.
TEST(DefaultStream, SavesTheTimeThatBothWereReady) {
  RuleCase c(two_streams(true, true));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::S4);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(fact(*found, "delayed"), 10);
  EXPECT_EQ(fact(*found, "delay_ns"), 950e3);  // from 10 to 105, ten times
  EXPECT_EQ(found->saving.upper, 950 * us);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 950e3, 9.5e3);
  EXPECT_EQ(found->saving.lower, found->saving.expected);
}

TEST(DefaultStream, PromisesNothingForCertainBetweenKernels) {
  RuleCase c(two_streams(true, false));
  const auto findings = c.run(find_waits);
  const Finding* found = find_rule(findings, RuleId::S4);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 950e3, 9.5e3);
  EXPECT_EQ(found->saving.lower, 0);
}

TEST(DefaultStream, IsSilentWhereNoStreamIsTheDefault) {
  RuleCase c(two_streams(false, true));
  EXPECT_EQ(find_rule(c.run(find_waits), RuleId::S4), nullptr);
}

TEST(DefaultStream, IsSilentWhereAnEventExplainsTheDelay) {
  RuleCase c(two_streams(true, true, true));
  EXPECT_EQ(find_rule(c.run(find_waits), RuleId::S4), nullptr);
}

}  // namespace
}  // namespace mill::prof::test
