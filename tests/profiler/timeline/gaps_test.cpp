#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "profiler/builder.h"

namespace mill::prof {
namespace {

using test::Builder;
using test::ms;

using Causes = std::map<GapCause, Ns>;

Causes causes_of(const Gap& gap) {
  Causes causes;
  Ns sum = 0;
  for (int k = 0; k < kGapCauses; ++k) {
    if (gap.causes[k] != 0) causes[static_cast<GapCause>(k)] = gap.causes[k];
    sum += gap.causes[k];
  }
  EXPECT_EQ(sum, gap.end - gap.begin);
  return causes;
}

// Two kernels with the device idle from 1000 to 2000. The second is launched by a call from 1900 to
// 1950, so 50 of the gap are the call and 50 what follows it; 900 are to be explained.
class OneGap : public ::testing::Test {
 protected:
  OneGap() {
    b.kernel("a", 100, 100, 1000, 50);
    b.kernel("b", 1950, 2000, 3000, 50);
  }
  Gap gap() {
    const Timeline t = timeline_of(b);
    for (const Gap& one : find_gaps(t, 1)) {
      if (one.begin == 1000) return one;
    }
    ADD_FAILURE() << "no gap";
    return {};
  }
  void expect(Causes expected) {
    expected[GapCause::launch] += 50;
    expected[GapCause::latency] += 50;
    EXPECT_EQ(causes_of(gap()), expected);
  }
  void overhead(OverheadKind kind, Ns start, Ns end) {
    const uint32_t row = b.trace.overheads.add();
    b.trace.overheads.start[row] = start;
    b.trace.overheads.end[row] = end;
    b.trace.overheads.kind[row] = static_cast<uint8_t>(kind);
    b.trace.overheads.thread[row] = b.thread(99);
  }
  Builder b;
};

TEST_F(OneGap, WithNothingToBlame) {
  expect({{GapCause::unknown, 900}});
  const Gap one = gap();
  EXPECT_EQ(one.end, 2000);
  EXPECT_EQ(one.device, 0u);
  EXPECT_EQ(one.next, 1u);
  EXPECT_EQ(one.op, kNoRow);
  EXPECT_EQ(one.step, kNoRow);
}

TEST_F(OneGap, TheProfiler) {
  overhead(OverheadKind::profiler, 1200, 1500);
  expect({{GapCause::profiler, 300}, {GapCause::unknown, 600}});
}

TEST_F(OneGap, TheProfilerEvenDuringTheLaunchAndAfter) {
  overhead(OverheadKind::profiler, 1800, 5000);
  EXPECT_EQ(causes_of(gap()), (Causes{{GapCause::profiler, 200}, {GapCause::unknown, 800}}));
}

TEST_F(OneGap, OverheadsOfAnotherDeviceAreNotToBlame) {
  overhead(OverheadKind::profiler, 1200, 1500);
  b.trace.overheads.device[0] = b.device(1);
  expect({{GapCause::unknown, 900}});
}

TEST_F(OneGap, KernelsThatAreLoaded) {
  overhead(OverheadKind::module_load, 1000, 1100);
  b.call(CallKind::module_load, "cuModuleLoad", 1100, 1200);
  b.call(CallKind::create, "cudaStreamCreate", 1300, 1350);
  expect({{GapCause::module_load, 250}, {GapCause::unknown, 650}});
}

TEST_F(OneGap, Allocations) {
  b.call(CallKind::allocate, "cudaMalloc", 1000, 1100);
  b.call(CallKind::free, "cudaFree", 1150, 1200);
  b.call(CallKind::host_allocate, "cudaHostAlloc", 1200, 1300);
  b.call(CallKind::host_free, "cudaFreeHost", 1300, 1301);
  for (const AllocHow how : {AllocHow::hit, AllocHow::growth}) {
    const uint32_t row = b.trace.allocations.add();
    b.trace.allocations.start[row] = how == AllocHow::growth ? 1400 : 1500;
    b.trace.allocations.end[row] = b.trace.allocations.start[row] + 30;
    b.trace.allocations.how[row] = static_cast<uint8_t>(how);
  }
  // 100 + 50 + 100 + 1 + 30; the cache hit is none.
  expect({{GapCause::allocation, 281}, {GapCause::unknown, 619}});
}

TEST_F(OneGap, AWaitThatEndedInIt) {
  b.call(CallKind::sync_stream, "cudaStreamSynchronize", 500, 1300);
  expect({{GapCause::sync, 300}, {GapCause::unknown, 600}});
}

TEST_F(OneGap, AWaitThatEndedWhenItBeganIsNotToBlame) {
  b.call(CallKind::sync_stream, "cudaStreamSynchronize", 500, 1000);
  expect({{GapCause::unknown, 900}});
}

TEST_F(OneGap, AWaitOnAnotherThreadIsNotToBlame) {
  b.by(b.thread(2)).call(CallKind::sync_device, "cudaDeviceSynchronize", 500, 1300);
  expect({{GapCause::unknown, 900}});
}

TEST_F(OneGap, AWaitOfTheEngine) {
  for (const SyncKind kind : {SyncKind::event, SyncKind::read}) {
    const uint32_t row = b.trace.syncs.add();
    b.trace.syncs.start[row] = kind == SyncKind::event ? 900 : 1300;
    b.trace.syncs.end[row] = b.trace.syncs.start[row] + 200;
    b.trace.syncs.kind[row] = static_cast<uint8_t>(kind);
  }
  expect({{GapCause::sync, 100}, {GapCause::copy_wait, 200}, {GapCause::unknown, 600}});
}

TEST_F(OneGap, ABlockingCopyThatEndedInIt) {
  const uint32_t blocking = b.call(CallKind::copy, "cudaMemcpy", 700, 1200);
  b.trace.calls.flags[blocking] |= kBlocking;
  b.call(CallKind::copy, "cudaMemcpyAsync", 1300, 1400);
  expect({{GapCause::copy_wait, 200}, {GapCause::unknown, 700}});
}

TEST_F(OneGap, TheDataLoader) {
  b.loader_wait(900, 1850);
  expect({{GapCause::loader, 850}, {GapCause::unknown, 50}});
}

TEST_F(OneGap, AFullQueue) {
  overhead(OverheadKind::queue_full, 1920, 1940);
  EXPECT_EQ(causes_of(gap()), (Causes{{GapCause::queue_full, 20},
                                      {GapCause::launch, 30},
                                      {GapCause::latency, 50},
                                      {GapCause::unknown, 900}}));
}

TEST_F(OneGap, OperatorsByTheInnermostName) {
  b.op("outer", 1100, 1700);
  b.op("inner", 1150, 1600);
  expect({{GapCause::host_op, 600}, {GapCause::unknown, 300}});
  const Gap one = gap();
  ASSERT_NE(one.op, kNoRow);
  EXPECT_EQ(b.trace.strings.text(b.trace.ops.name[one.op]), "inner");  // 450 against 150
}

TEST_F(OneGap, ANamedRangeButNotAStep) {
  for (const RangeKind kind : {RangeKind::user, RangeKind::step}) {
    const uint32_t row = b.trace.ranges.add();
    b.trace.ranges.start[row] = 1300;
    b.trace.ranges.end[row] = kind == RangeKind::user ? 1400 : 2500;
    b.trace.ranges.kind[row] = static_cast<uint8_t>(kind);
  }
  const Timeline t = [&] {
    const LinkCounts counts = link(b.trace);
    Trace trace = b.trace;
    return Timeline(std::move(trace), counts, {});
  }();
  Ns host = 0;
  for (const Gap& one : find_gaps(t, 1)) host += one.causes[static_cast<int>(GapCause::host_op)];
  EXPECT_EQ(host, 100);
}

TEST_F(OneGap, EveryInstantHasTheFirstOfItsCauses) {
  overhead(OverheadKind::profiler, 1000, 1100);
  b.call(CallKind::create, "cudaEventCreate", 1050, 1200);
  b.call(CallKind::free, "cudaFree", 1150, 1300);
  b.call(CallKind::sync_device, "cudaDeviceSynchronize", 900, 1400);
  const uint32_t copy = b.call(CallKind::copy, "cudaMemcpy", 1000, 1500);
  b.trace.calls.flags[copy] |= kBlocking;
  b.loader_wait(1000, 1600);
  overhead(OverheadKind::queue_full, 1000, 1700);
  b.op("op", 1000, 1800);
  expect({{GapCause::profiler, 100},
          {GapCause::module_load, 100},
          {GapCause::allocation, 100},
          {GapCause::sync, 100},
          {GapCause::copy_wait, 100},
          {GapCause::loader, 100},
          {GapCause::queue_full, 100},
          {GapCause::host_op, 100},
          {GapCause::unknown, 100}});
}

TEST(Gaps, WhatAThreadDidAfterTheLaunchHeldNothingUp) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 50);
  b.kernel("b", 200, 2000, 3000, 50);  // launched long before, and still late
  b.loader_wait(300, 2500);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1000);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(causes_of(gaps[0]), (Causes{{GapCause::latency, 1000}}));
}

TEST(Gaps, ALaunchThatBeganBeforeTheGap) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 50);
  b.kernel("b", 1100, 2000, 3000, 200);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1000);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(causes_of(gaps[0]), (Causes{{GapCause::launch, 100}, {GapCause::latency, 900}}));
}

TEST(Gaps, ALaunchThatIsStillRunningWhenItsKernelStarts) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 50);
  b.kernel("b", 2500, 2000, 3000, 700);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1000);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(causes_of(gaps[0]), (Causes{{GapCause::launch, 200}, {GapCause::unknown, 800}}));
}

TEST(Gaps, WithoutCallsTheSubmitTimeSaysWhenItWasLaunched) {
  Builder b;
  b.work(WorkKind::kernel, "a", 0, 1000, kNoRow);
  const uint32_t row = b.work(WorkKind::kernel, "b", 2000, 3000, kNoRow);
  b.trace.work.submit[row] = 1700;
  b.op("op", 1500, 5000);  // the only thread
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(causes_of(gaps[0]),
            (Causes{{GapCause::host_op, 200}, {GapCause::latency, 300}, {GapCause::unknown, 500}}));
}

// A thread that makes batches copies one ahead at 2000, which ends the gap: what held the device up
// is the program, which waited for it from 1200 to 1500 and then ran an op until 1900. That it
// launches less than the other does not make it the lesser one.
TEST(Gaps, ACopyThatGoesAheadOnlyEndsOne) {
  Builder b;
  const uint32_t worker = b.thread(9);
  b.by(0).kernel("a", 100, 100, 1000, 50);
  b.loader_wait(1200, 1500);
  b.op("augment", 1500, 1900);
  b.by(worker);
  for (int k = 0; k < 3; ++k)
    b.copy(CopyKind::host_to_device, Memory::pinned, 64, 1990 + 100 * k, 1995 + 100 * k,
           2000 + 100 * k, 2050 + 100 * k);
  const uint32_t fill = b.trace.loader.add();
  b.trace.loader.start[fill] = 1000;
  b.trace.loader.end[fill] = 1990;
  b.trace.loader.thread[fill] = worker;
  b.trace.loader.kind[fill] = static_cast<uint8_t>(LoaderKind::fill);
  const Timeline t = timeline_of(b);
  EXPECT_EQ(t.main_thread(), 0u);
  for (const Gap& gap : find_gaps(t, 1)) {
    if (gap.begin != 1000) continue;
    EXPECT_EQ(gap.end, 2000);
    EXPECT_EQ(
        causes_of(gap),
        (Causes{{GapCause::loader, 300}, {GapCause::host_op, 400}, {GapCause::unknown, 300}}));
    return;
  }
  ADD_FAILURE() << "no gap";
}

TEST(Gaps, TheThreadIsTheOneThatLaunched) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 50);
  b.kernel("c", 3100, 3200, 3300, 50);
  b.kernel("d", 3300, 3400, 3500, 50);
  b.loader_wait(1000, 1900);
  b.by(b.thread(2)).kernel("b", 1950, 2000, 3000, 50);
  b.op("elsewhere", 1200, 1300);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1000);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(causes_of(gaps[0]), (Causes{{GapCause::host_op, 100},
                                        {GapCause::launch, 50},
                                        {GapCause::latency, 50},
                                        {GapCause::unknown, 800}}));
}

TEST(Gaps, OnlyThoseLongEnough) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 1);
  b.kernel("b", 100, 1010, 1020, 1);
  b.kernel("c", 100, 1031, 1040, 1);
  const Timeline t = timeline_of(b);
  EXPECT_EQ(find_gaps(t, 10).size(), 2u);
  EXPECT_EQ(find_gaps(t, 11).size(), 1u);
  EXPECT_EQ(find_gaps(t, 12).size(), 0u);
}

TEST(Gaps, WorkOfAnyKindOnAnyStreamFillsThem) {
  Builder b;
  b.on(0, 7).kernel("a", 100, 100, 1000, 50);
  b.on(0, 8).copy(CopyKind::host_to_device, Memory::pinned, 1, 100, 110, 900, 1500);
  b.on(0, 9).work(WorkKind::fill, "f", 1500, 1600, kNoRow);
  b.on(0, 9).work(WorkKind::kernel, "nothing", 1700, 1700, kNoRow);
  b.on(0, 7).kernel("b", 1000, 2000, 3000, 50);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 60);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(gaps[0].begin, 1600);
  EXPECT_EQ(gaps[0].end, 2000);
}

TEST(Gaps, OfEachDevice) {
  Builder b;
  const uint32_t second = b.device(1);
  b.on(0).kernel("a", 100, 100, 1000, 50);
  b.on(second).kernel("b", 150, 150, 2000, 50);
  b.on(0).kernel("c", 1950, 2000, 3000, 50);
  b.on(second).kernel("d", 2450, 2500, 3000, 50);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 500);
  ASSERT_EQ(gaps.size(), 2u);
  EXPECT_EQ(gaps[0].device, second);  // the busier one first
  EXPECT_EQ(gaps[0].end - gaps[0].begin, 500);
  EXPECT_EQ(gaps[1].device, 0u);
  EXPECT_EQ(gaps[1].end - gaps[1].begin, 1000);
}

TEST(Gaps, OfStepsReachFromEdgeToEdge) {
  Builder b;
  b.step(0, 0, 1000);
  b.step(1, 1000, 2000);
  b.kernel("a", 300, 400, 600, 50);
  b.kernel("b", 1300, 1400, 1600, 50);
  b.loader_wait(0, 200);
  b.loader_wait(1000, 1200);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1);
  ASSERT_EQ(gaps.size(), 3u);
  EXPECT_EQ(gaps[0].begin, 0);
  EXPECT_EQ(gaps[0].step, 0u);
  EXPECT_EQ(causes_of(gaps[0])[GapCause::loader], 200);
  EXPECT_EQ(gaps[1].begin, 600);
  EXPECT_EQ(gaps[1].end, 1400);
  EXPECT_EQ(gaps[1].step, 1u);
  EXPECT_EQ(causes_of(gaps[1])[GapCause::loader], 200);
  EXPECT_EQ(gaps[2].begin, 1600);
  EXPECT_EQ(gaps[2].end, 2000);
  EXPECT_EQ(gaps[2].next, kNoRow);
}

TEST(Gaps, WithoutStepsTheEndOfTheProgramIsNone) {
  Builder b;
  b.kernel("a", 100, 200, 1000, 50);
  b.op("teardown", 1000, 9000);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1);
  ASSERT_EQ(gaps.size(), 1u);  // until the first kernel
  EXPECT_EQ(causes_of(gaps[0]), (Causes{{GapCause::launch, 50}, {GapCause::latency, 100}}));
}

TEST(Gaps, OfACpuDeviceLieBetweenItsLeafOps) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.op("a", 0, 100);
  b.loader_wait(100, 400);
  b.op("backward", 500, 900);
  b.op("b", 600, 800);
  b.op("c", 1000, 1100);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, 1);
  ASSERT_EQ(gaps.size(), 2u);
  EXPECT_EQ(gaps[0].next, kNoRow);
  EXPECT_EQ(causes_of(gaps[0]),
            (Causes{{GapCause::loader, 300}, {GapCause::host_op, 100}, {GapCause::unknown, 100}}));
  EXPECT_EQ(causes_of(gaps[1]), (Causes{{GapCause::host_op, 100}, {GapCause::unknown, 100}}));
  EXPECT_EQ(b.trace.strings.text(b.trace.ops.name[gaps[1].op]), "backward");
}

// ---- first uses ---------------------------------------------------------------------------------

TEST(FirstUse, TheFirstCallOfANameThatTookFarLongerThanTheOthers) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 50);
  b.call(CallKind::free, "cudaFree", 1000, 1000 + 5 * ms);  // makes the context
  b.call(CallKind::free, "cudaFree", 6 * ms, 6 * ms + 1000);
  b.call(CallKind::free, "cudaFree", 7 * ms, 7 * ms + 1000);
  b.kernel("b", 8 * ms, 8 * ms, 9 * ms, 0);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, ms);
  ASSERT_EQ(gaps.size(), 1u);
  const Causes causes = causes_of(gaps[0]);
  EXPECT_EQ(causes.at(GapCause::module_load), 5 * ms);
  EXPECT_EQ(causes.at(GapCause::allocation), 2000);
}

TEST(FirstUse, NotWhereTheOthersTakeAsLong) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 50);
  b.call(CallKind::allocate, "cudaMalloc", 1 * ms, 3 * ms);
  b.call(CallKind::allocate, "cudaMalloc", 4 * ms, 6 * ms);
  b.kernel("b", 8 * ms, 8 * ms, 9 * ms, 0);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, ms);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(causes_of(gaps[0]).at(GapCause::allocation), 4 * ms);
}

TEST(FirstUse, TheFirstLaunchOfAKernelLoadsIt) {
  Builder b;
  for (Ns k = 0; k < 5; ++k) b.kernel("a", k * 1000 + 100, k * 1000 + 100, k * 1000 + 1100, 50);
  b.kernel("new", 4 * ms, 4 * ms, 5 * ms, 3 * ms);
  b.kernel("new", 9 * ms, 9 * ms, 10 * ms, 2 * ms);  // slow again: not the loading
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, ms);
  ASSERT_EQ(gaps.size(), 2u);
  EXPECT_EQ(causes_of(gaps[0]).at(GapCause::module_load), 3 * ms);
  EXPECT_EQ(causes_of(gaps[1]).count(GapCause::module_load), 0u);
  EXPECT_EQ(causes_of(gaps[1]).at(GapCause::launch), 2 * ms);
}

TEST(FirstUse, WaitsNeverAre) {
  Builder b;
  b.kernel("a", 100, 100, 1000, 50);
  b.call(CallKind::sync_device, "cudaDeviceSynchronize", 500, 50 * ms);
  b.kernel("b", 60 * ms, 60 * ms, 61 * ms, 0);
  const Timeline t = timeline_of(b);
  const std::vector<Gap> gaps = find_gaps(t, ms);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(causes_of(gaps[0]).at(GapCause::sync), 50 * ms - 1000);
}

TEST(Gaps, EveryCauseHasAName) {
  for (int k = 0; k < kGapCauses; ++k)
    EXPECT_STRNE(gap_cause_name(static_cast<GapCause>(k)), "") << k;
  EXPECT_STREQ(gap_cause_name(GapCause::count), "");
}

}  // namespace
}  // namespace mill::prof
