#include <gtest/gtest.h>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

// Wait for a batch, launch 5, kernel 100, for which the host waits.
Trace waiting(Ns wait) {
  Builder b;
  const Ns period = wait + 105 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    if (wait > 0) b.loader_wait(t, t + wait);
    b.kernel("work", t + wait + 5 * us, t + wait + 5 * us, t + period);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + wait + 5 * us, t + period);
    b.step(k, t, t + period);
  }
  return std::move(b.trace);
}

TEST(InputBound, SavesTheWait) {
  RuleCase c(waiting(60 * us));
  const auto findings = c.run(find_input);
  const Finding* found = find_rule(findings, RuleId::I1);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 600e3, 6e3);
  EXPECT_EQ(found->saving.lower, found->saving.expected) << "one batch ahead hides all of it";
  EXPECT_EQ(found->saving.upper, 600 * us);
  EXPECT_NEAR(fact(*found, "input_share"), 60.0 / 165, 1e-9);
  EXPECT_EQ(fact(*found, "loader_wait_ns"), 600e3);
  EXPECT_EQ(found->severity, Severity::major);
  EXPECT_TRUE(says(found->advice, "1 worker")) << found->advice;
}

// A wait of 200 and 105 of other work: a worker that is one batch ahead is still 95 late.
TEST(InputBound, HasALowerSavingForOneWorker) {
  RuleCase c(waiting(200 * us));
  const auto findings = c.run(find_input);
  const Finding* found = find_rule(findings, RuleId::I1);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(static_cast<double>(found->saving.expected), 2000e3, 20e3);
  EXPECT_NEAR(static_cast<double>(found->saving.lower), 1050e3, 10.5e3);
  EXPECT_EQ(found->fix.value, 2) << "200 of filling in 105 of other work needs two workers";
}

// 5.5 of 110.5 are 4.98 %; 5.6 of 110.6 are 5.06 %. 26.2 of 131.2 are 19.97 %, 26.3 are 20.03 %.
TEST(InputBound, HasTwoClasses) {
  RuleCase none(waiting(5500));
  EXPECT_TRUE(none.run(find_input).empty());
  RuleCase moderate(waiting(5600));
  auto findings = moderate.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::moderate);
  RuleCase still(waiting(26200));
  findings = still.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::moderate);
  RuleCase high(waiting(26300));
  findings = high.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::major);
}

// The host waits for the next batch while the device computes: the loader's own sum says 57 %.
TEST(InputBound, IsSilentWhereTheDeviceHasWork) {
  Builder b;
  const Ns period = 105 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.kernel("work", t + 5 * us, t + 5 * us, t + 105 * us);
    b.loader_wait(t + 5 * us, t + 65 * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 65 * us, t + 105 * us);
    b.step(k, t, t + period);
  }
  RuleCase c(std::move(b.trace));
  EXPECT_TRUE(c.run(find_input).empty());
}

// Wait 60, copy 20 before the kernel of 100, and a batch filled in `filling` by a worker or by the
// thread that asks.
Trace filled(Ns filling, bool by_worker) {
  Builder b;
  const uint32_t worker = b.thread(2);
  const Ns period = 200 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.by(0).loader_wait(t, t + 60 * us);
    b.copy(CopyKind::host_to_device, Memory::pinned, 100000, t + 60 * us, t + 65 * us, t + 65 * us,
           t + 85 * us);
    b.kernel("work", t + 70 * us, t + 85 * us, t + 185 * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 70 * us, t + 185 * us);
    b.step(k, t, t + period);
    const uint32_t fill = b.trace.loader.add();
    b.trace.loader.start[fill] = t;
    b.trace.loader.end[fill] = t + filling;
    b.trace.loader.thread[fill] = by_worker ? worker : b.trace.loader.thread[fill - 1];
    b.trace.loader.kind[fill] = static_cast<uint8_t>(LoaderKind::fill);
  }
  return std::move(b.trace);
}

TEST(InputBound, SplitsWaitingFromCopyingFromFilling) {
  RuleCase c(filled(150 * us, true));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  const Finding& found = findings[0];
  EXPECT_EQ(fact(found, "loader_wait_ns"), 600e3);
  EXPECT_EQ(fact(found, "exposed_copy_ns"), 200e3);
  // From the batch at 60 to the copy at 65, where the gap before it is known from its beginning:
  // at least in the nine steps after the first.
  EXPECT_GE(fact(found, "handing_over_ns"), 45e3);
  EXPECT_LE(fact(found, "handing_over_ns"), 50e3);
  EXPECT_EQ(fact(found, "fill_ns"), 1500e3);
  EXPECT_EQ(fact(found, "workers"), 1);
  // 1,500 of filling in 2,000 - 600 of other work.
  EXPECT_EQ(found.fix.value, 2);
  EXPECT_TRUE(says(found.advice, "With 2 they would keep up")) << found.advice;
}

// 140 of filling in 140 of other work: one worker is enough, two would not help.
TEST(InputBound, WorkersThatAreFastEnoughShouldWorkFurtherAhead) {
  RuleCase enough(filled(140 * us, true));
  auto findings = enough.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_STREQ(findings[0].fix.knob, "prefetch_depth");
  EXPECT_TRUE(says(findings[0].advice, "further ahead")) << findings[0].advice;
  RuleCase late(filled(141 * us, true));
  findings = late.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_STREQ(findings[0].fix.knob, "loader_workers");
  EXPECT_EQ(findings[0].fix.value, 2);
}

// On a CPU device: work of 540, then a wait of 60 for a batch that takes 50, which its worker
// begins `late` after it last did something.
Trace starving(Ns late, bool on_cpu = true) {
  Builder b;
  if (on_cpu) b.trace.devices[0].kind = DeviceKind::cpu;
  const uint32_t worker = b.thread(2);
  const Ns period = 600 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    if (on_cpu) {
      b.by(0).op("work", t, t + 540 * us);
    } else {
      b.by(0).kernel("work", t + 5 * us, t + 5 * us, t + 540 * us);
    }
    b.by(0).loader_wait(t + 540 * us, t + 600 * us);
    b.step(k, t, t + period);
    const auto fill = [&](Ns begin, Ns end) {
      const uint32_t row = b.trace.loader.add();
      b.trace.loader.start[row] = begin;
      b.trace.loader.end[row] = end;
      b.trace.loader.thread[row] = worker;
      b.trace.loader.kind[row] = static_cast<uint8_t>(LoaderKind::fill);
    };
    if (late < 550 * us) fill(t + 545 * us - late, t + 550 * us - late);
    fill(t + 550 * us, t + 600 * us);
  }
  return std::move(b.trace);
}

// A loader gives a batch at once, another takes 60 of the 165: only that one is slow, and only its
// worker counts.
TEST(InputBound, EachLoaderIsJudgedByItself) {
  Trace trace = filled(150 * us, true);
  Loader& loader = trace.loader;
  const auto rows = static_cast<uint32_t>(loader.size());
  for (uint32_t row = 0; row < rows; ++row) loader.loader[row] = 3;
  trace.threads.push_back({});
  const auto other = static_cast<uint32_t>(trace.threads.size() - 1);
  for (uint32_t row = 0; row < rows; ++row) {
    const uint32_t quick = loader.add();
    const bool fill = loader.kind[row] == static_cast<uint8_t>(LoaderKind::fill);
    loader.start[quick] = fill ? loader.start[row] + 70 * us : loader.start[row];
    loader.end[quick] = fill ? loader.start[quick] + us : loader.start[row];
    loader.thread[quick] = fill ? other : loader.thread[row];
    loader.kind[quick] = loader.kind[row];
    loader.loader[quick] = 4;
  }
  RuleCase c(std::move(trace));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(fact(findings[0], "loader"), 3);
  EXPECT_EQ(fact(findings[0], "workers"), 1);
  EXPECT_EQ(fact(findings[0], "fills"), 10);
  EXPECT_EQ(findings[0].fix.value, 2);
}

// A wait of 9,000 beside 105 of other work: 87 workers would do.
TEST(InputBound, NoMoreWorkersThanALoaderCanHave) {
  for (const bool engine : {true, false}) {
    Trace trace = waiting(9000 * us);
    trace.dialect = engine ? "millrace" : "kineto";
    RuleCase c(std::move(trace));
    const auto findings = c.run(find_input);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].fix.value, engine ? 64 : 86);
  }
}

// Where all processors compute there is none that could have worked ahead.
TEST(InputBound, AWaitForAWorkerWithoutAProcessorSavesNothing) {
  RuleCase c(starving(550 * us));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::info);
  EXPECT_EQ(findings[0].saving.expected, 0);
  // Each but the first, of which nobody knows when the one before was taken.
  EXPECT_EQ(findings[0].saving.upper, kSteps * 60 * us);
  EXPECT_EQ(fact(findings[0], "no_processor_ns"), 60e3 * (kSteps - 1));
  EXPECT_TRUE(says(findings[0].title, "no processor")) << findings[0].title;
  EXPECT_STREQ(findings[0].fix.knob, "");
}

// 20 late of a wait of 60 are a third: where the threads of the program waited for processors for
// longer than it waited for batches, workers had none in the middle of a batch either.
TEST(InputBound, WhereEveryThreadWaitsForAProcessorWorkersDoToo) {
  for (const Ns delay : {-1 * us, kSteps * 59 * us, kSteps * 61 * us}) {
    for (const Ns late : {0 * us, 20 * us}) {
      Trace trace = starving(late);
      for (const Ns time : {0 * us, kSteps * 600 * us}) {
        if (delay < 0) break;
        const uint32_t row = trace.counters.add();
        trace.counters.name[row] = trace.strings.intern("run_delay_ns");
        trace.counters.device[row] = kNoRow;
        trace.counters.time[row] = time;
        trace.counters.value[row] = time == 0 ? 5e9 : 5e9 + static_cast<double>(delay);
      }
      RuleCase c(std::move(trace));
      const auto findings = c.run(find_input);
      ASSERT_EQ(findings.size(), 1u);
      const bool none = delay > kSteps * 60 * us && late > 0;
      EXPECT_EQ(findings[0].severity, none ? Severity::info : Severity::moderate)
          << delay << " " << late;
    }
  }
}

// 30 late make 30 of the wait, which is half of it; one more is most of it.
TEST(InputBound, AWorkerThatBeganInTimeIsNotStarved) {
  for (const Ns late : {0 * us, 30 * us, 40 * us}) {
    RuleCase c(starving(late));
    const auto findings = c.run(find_input);
    ASSERT_EQ(findings.size(), 1u) << late;
    const bool starved = late == 40 * us;
    EXPECT_EQ(findings[0].severity, starved ? Severity::info : Severity::moderate) << late;
    EXPECT_EQ(findings[0].saving.expected > 0, !starved) << late;
  }
}

// Another worker was done 5 before the wait ended, and had begun in time: it made another batch.
TEST(InputBound, TheBatchThatWasWaitedForIsKnownByItsNumber) {
  for (const bool numbered : {false, true}) {
    Trace trace = starving(550 * us);
    Loader& loader = trace.loader;
    const auto rows = static_cast<uint32_t>(loader.size());
    trace.threads.push_back({});
    const auto other = static_cast<uint32_t>(trace.threads.size() - 1);
    uint64_t asked = 0;
    uint64_t made = 0;
    for (uint32_t row = 0; row < rows; ++row) {
      const bool fill = loader.kind[row] == static_cast<uint8_t>(LoaderKind::fill);
      if (numbered) loader.loader[row] = 7;
      if (numbered) loader.batch[row] = fill ? ++made : ++asked;
      if (!fill) continue;
      loader.end[row] -= 10 * us;  // the wait is over 10 later
      const uint32_t beside = loader.add();
      loader.start[beside] = loader.start[row] - 555 * us;  // at once after its last
      loader.end[beside] = loader.end[row] + 5 * us;
      loader.thread[beside] = other;
      loader.kind[beside] = loader.kind[row];
      if (numbered) loader.loader[beside] = 7;
      if (numbered) loader.batch[beside] = 1000 + made;
    }
    RuleCase c(std::move(trace));
    const auto findings = c.run(find_input);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].severity, numbered ? Severity::info : Severity::moderate);
  }
}

// The host of an accelerator may get one more processor.
TEST(InputBound, BesideAnAcceleratorTheWaitCanBeSaved) {
  RuleCase c(starving(550 * us, false));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].severity, Severity::moderate);
}

// 60 of filling by the thread that waits for it.
TEST(InputBound, AThreadThatFillsItsOwnBatchesHasNoWorker) {
  RuleCase c(filled(60 * us, false));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(fact(findings[0], "workers"), 0);
  EXPECT_STREQ(findings[0].fix.knob, "loader_workers");
  EXPECT_EQ(findings[0].fix.value, 1);
  EXPECT_TRUE(says(findings[0].advice, "No worker")) << findings[0].advice;
}

TEST(InputBound, OnACpuEveryWaitCounts) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 100 * us;
    b.loader_wait(t, t + 30 * us);
    b.op("matmul", t + 30 * us, t + 100 * us);
    b.step(k, t, t + 100 * us);
  }
  RuleCase c(std::move(b.trace));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_NEAR(fact(findings[0], "input_share"), 0.30, 1e-9);
  EXPECT_NEAR(static_cast<double>(findings[0].saving.expected), 300e3, 3e3);
}

// Seen from 100 us on, the first batch had been waited for since 60 us, for 60 us: 20 us of that
// are in the window, and the 40 us up to 160 us are the handing over.
TEST(InputBound, AWaitThatBeganBeforeTheWindowEndsWhereItEnded) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  for (int k = 1; k < kSteps; ++k) {
    const Ns t = k * 100 * us;
    b.op("matmul", t + 60 * us, t + 100 * us);
    b.step(k, t, t + 100 * us);
  }
  const uint32_t row = b.loader_wait(60 * us, 160 * us);
  b.trace.loader.wait[row] = 60 * us;
  RuleCase c(std::move(b.trace));
  c.limits.i1_moderate = 0.0;
  c.limits.min_saving_share = 0.0;
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(fact(findings[0], "loader_wait_raw_ns"), 20e3);
}

// The longest waits come first, and of all that there are a thousand are named.
// Steps 3 to 6 were not recorded, and of step 7 the end of its wait only: 60 of 165 in each of what
// is known, however long the wait that ends there was.
TEST(InputBound, WhatWasNotRecordedIsNoWait) {
  Builder b;
  const Ns period = 165 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period;
    b.step(k, t, t + period);
    if (k >= 3 && k < 7) continue;
    if (k == 7) {
      b.loader_wait(4 * period, t + 60 * us);
    } else {
      b.loader_wait(t, t + 60 * us);
    }
    b.kernel("work", t + 65 * us, t + 65 * us, t + period);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 65 * us, t + period);
  }
  b.trace.recorded = {{0, 3 * period}, {7 * period + 50 * us, 10 * period}};
  RuleCase c(std::move(b.trace));
  const auto findings = c.run(find_input);
  const Finding* found = find_rule(findings, RuleId::I1);
  ASSERT_NE(found, nullptr);
  EXPECT_NEAR(fact(*found, "input_share"), 60.0 / 165, 1e-9);
  EXPECT_EQ(fact(*found, "loader_wait_ns"), 5 * 60e3);
  EXPECT_EQ(fact(*found, "loader_wait_raw_ns"), 5 * 60e3);
  EXPECT_FALSE(says(found->advice, "given up")) << found->advice;
}

TEST(InputBound, TheLongestWaitsAreTheEvidence) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  for (int k = 0; k < 1500; ++k) {
    const Ns t = k * 100 * us;
    b.loader_wait(t, t + 30 * us + k);
    b.op("matmul", t + 40 * us, t + 100 * us);
    b.step(k, t, t + 100 * us);
  }
  RuleCase c(std::move(b.trace));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].evidence_total, 1500u);
  ASSERT_EQ(findings[0].evidence.size(), 1000u);
  EXPECT_EQ(findings[0].evidence.front().row, 1499u);
  EXPECT_EQ(findings[0].evidence.back().row, 500u);
}

TEST(InputBound, TheEngineCanApplyItInItsOwnProgramsOnly) {
  RuleCase own(waiting(60 * us));
  EXPECT_TRUE(own.run(find_input).at(0).fix.engine_can_apply);
  Trace trace = waiting(60 * us);
  trace.dialect = "kineto";
  RuleCase other(std::move(trace));
  EXPECT_FALSE(other.run(find_input).at(0).fix.engine_can_apply);
}

TEST(InputBound, IsSilentWithoutALoader) {
  RuleCase c(waiting(0));
  EXPECT_TRUE(c.run(find_input).empty());
}

}  // namespace
}  // namespace mill::prof::test
