#include <gtest/gtest.h>

#include <vector>

#include "profiler/builder.h"

namespace mill::prof {
namespace {

using test::Builder;

void expect_parts_add_up(const Timeline& timeline) {
  for (const Step& s : timeline.steps()) {
    EXPECT_EQ(s.kernel + s.copy + s.fill + s.call + s.loader + s.host + s.other, s.end - s.begin);
  }
}

TEST(Steps, AStepEndsWithItsDeviceWorkAndTheNextBeginsThere) {
  Builder b;
  for (int64_t k = 0; k < 3; ++k) b.step(k, k * 100, (k + 1) * 100);
  b.kernel("a", 20, 30, 130, 10);    // called at 10, so step 0 lasts to 130
  b.kernel("b", 120, 140, 180, 10);  // ends before the host does
  const Timeline t = timeline_of(b);
  ASSERT_EQ(t.steps().size(), 3u);
  EXPECT_EQ(t.step_source(), StepSource::marks);
  EXPECT_EQ(t.steps()[0].begin, 0);
  EXPECT_EQ(t.steps()[0].end, 130);
  EXPECT_EQ(t.steps()[1].begin, 130);
  EXPECT_EQ(t.steps()[1].end, 200);
  EXPECT_EQ(t.steps()[2].begin, 200);
  EXPECT_EQ(t.steps()[2].end, 300);
  // [0, 130): kernel from 30 on, call from 10 to 20, so 20 of nothing.
  EXPECT_EQ(t.steps()[0].kernel, 100);
  EXPECT_EQ(t.steps()[0].call, 10);
  EXPECT_EQ(t.steps()[0].other, 20);
  // [130, 200): the call of b lies before it.
  EXPECT_EQ(t.steps()[1].kernel, 40);
  EXPECT_EQ(t.steps()[1].call, 0);
  EXPECT_EQ(t.steps()[1].other, 30);
  EXPECT_EQ(t.steps()[2].other, 100);
  EXPECT_EQ(t.window(), (Interval{0, 300}));
  EXPECT_EQ(t.window_steps(), 3u);
  EXPECT_EQ(t.step_length(), 100);
  expect_parts_add_up(t);
}

TEST(Steps, EveryInstantCountsOnceInTheOrderOfTheParts) {
  Builder b;
  b.step(0, 0, 100);
  b.work(WorkKind::kernel, "k", 0, 10, kNoRow);
  b.work(WorkKind::copy, "c", 5, 20, kNoRow);
  b.work(WorkKind::fill, "f", 15, 30, kNoRow);
  b.call(CallKind::query, "q", 25, 40);
  b.loader_wait(35, 50);
  b.op("o", 45, 60);
  const Timeline t = timeline_of(b);
  ASSERT_EQ(t.steps().size(), 1u);
  const Step& s = t.steps()[0];
  EXPECT_EQ(s.kernel, 10);
  EXPECT_EQ(s.copy, 10);
  EXPECT_EQ(s.fill, 10);
  EXPECT_EQ(s.call, 10);
  EXPECT_EQ(s.loader, 10);
  EXPECT_EQ(s.host, 10);
  EXPECT_EQ(s.other, 40);
}

TEST(Steps, PartsAreUnionsNotSums) {
  Builder b;
  const uint32_t second = b.device(1);
  b.step(0, 0, 100);
  b.on(0).work(WorkKind::kernel, "k", 0, 60, kNoRow);
  b.on(second).work(WorkKind::kernel, "k", 40, 80, kNoRow);
  const Timeline t = timeline_of(b);
  // 60 + 40 would be the whole step; 20 of it overlaps.
  EXPECT_EQ(t.steps()[0].kernel, 80);
  EXPECT_EQ(t.steps()[0].other, 20);
}

TEST(Steps, OtherThreadsOfTheProcessCountOtherProcessesDoNot) {
  Builder b;
  b.step(0, 0, 100);
  b.by(b.thread(2)).op("mine", 10, 20);
  b.by(b.trace.thread(2, 1));
  b.op("theirs", 30, 50);
  b.call(CallKind::query, "theirs", 50, 60);
  b.loader_wait(60, 70);
  b.kernel("theirs", 75, 80, 200, 5);  // and ends no step of ours
  const Timeline t = timeline_of(b);
  const Step& s = t.steps()[0];
  EXPECT_EQ(s.end, 100);
  EXPECT_EQ(s.host, 10);
  EXPECT_EQ(s.call, 0);
  EXPECT_EQ(s.loader, 0);
  EXPECT_EQ(s.kernel, 20);  // the device is shared
  EXPECT_EQ(s.other, 70);
}

TEST(Steps, ABatchThatAWorkerMakesKeepsNobodyWaiting) {
  Builder b;
  b.step(0, 0, 100);
  const uint32_t here = b.loader_wait(10, 30);
  b.trace.loader.kind[here] = static_cast<uint8_t>(LoaderKind::fill);
  b.by(b.thread(2));
  const uint32_t there = b.loader_wait(50, 90);
  b.trace.loader.kind[there] = static_cast<uint8_t>(LoaderKind::fill);
  const Timeline t = timeline_of(b);
  EXPECT_EQ(t.steps()[0].loader, 20);
}

TEST(Steps, RangesOfKindStepAreStepsAndOtherRangesAreHostTime) {
  Builder b;
  const auto range = [&](const char* name, RangeKind kind, Ns start, Ns end) {
    const uint32_t row = b.trace.ranges.add();
    b.trace.ranges.start[row] = start;
    b.trace.ranges.end[row] = end;
    b.trace.ranges.name[row] = b.trace.strings.intern(name);
    b.trace.ranges.kind[row] = static_cast<uint8_t>(kind);
  };
  range("ProfilerStep#12", RangeKind::step, 0, 100);
  range("ProfilerStep#13", RangeKind::step, 100, 200);
  range("work", RangeKind::user, 20, 50);
  const Timeline t = timeline_of(b);
  EXPECT_EQ(t.step_source(), StepSource::ranges);
  ASSERT_EQ(t.steps().size(), 2u);
  EXPECT_EQ(t.steps()[0].number, 12);
  EXPECT_EQ(t.steps()[1].number, 13);
  EXPECT_EQ(t.steps()[0].host, 30);
  EXPECT_EQ(t.steps()[0].other, 70);
}

TEST(Steps, TheLoopWithTheMostStepsIsTheOne) {
  Builder b;
  b.by(b.thread(2)).step(7, 0, 1000);
  b.by(0).step(0, 0, 100);
  b.step(1, 100, 200);
  b.trace.marked_steps.exec[b.step(9, 10, 20)] = 3;  // another exec
  const Timeline t = timeline_of(b);
  ASSERT_EQ(t.steps().size(), 2u);
  EXPECT_EQ(t.steps()[1].number, 1);
  EXPECT_EQ(t.steps()[1].thread, 0u);
}

TEST(Steps, StepsInsideStepsAndWithoutLengthAreLeftOut) {
  Builder b;
  b.step(0, 0, 100);
  b.step(1, 20, 80);
  b.step(2, 100, 100);
  b.step(3, 90, 190);
  b.step(4, 500, 300);
  const Timeline t = timeline_of(b);
  ASSERT_EQ(t.steps().size(), 2u);
  EXPECT_EQ(t.steps()[1].number, 3);
  EXPECT_EQ(t.steps()[1].begin, 100);
  EXPECT_EQ(t.steps()[1].end, 190);
}

Builder steps_of_lengths(const std::vector<Ns>& lengths) {
  Builder b;
  Ns at = 0;
  for (size_t k = 0; k < lengths.size(); ++k) {
    b.step(static_cast<int64_t>(k), at, at + lengths[k]);
    at += lengths[k];
  }
  return b;
}

uint32_t warm_up_of(const std::vector<Ns>& lengths, int64_t wanted = -1) {
  Builder b = steps_of_lengths(lengths);
  TimelineOptions options;
  options.warm_up_steps = wanted;
  const Timeline t = timeline_of(b, options);
  uint32_t out = 0;
  for (const Step& step : t.steps()) out += step.warm_up;
  EXPECT_EQ(t.window_steps() + out, t.steps().size());
  EXPECT_EQ(t.window().begin, t.steps()[out].begin);
  EXPECT_EQ(t.window().end, t.steps().back().end);
  return out;
}

TEST(Steps, WarmUpIsWhereHalfOfTheFirstStepsTakeOverOneAndAHalfTimesTheMedian) {
  EXPECT_EQ(warm_up_of({10, 10, 10, 10, 10, 10}), 0u);
  EXPECT_EQ(warm_up_of({100, 10, 10, 10, 10, 10}), 1u);
  EXPECT_EQ(warm_up_of({10, 100, 10, 10, 10, 10}), 2u);
  EXPECT_EQ(warm_up_of({10, 10, 100, 10, 10, 10}), 0u);
  EXPECT_EQ(warm_up_of({15, 10, 10, 10, 10, 10}), 0u);  // exactly 1.5 times
  EXPECT_EQ(warm_up_of({16, 10, 10, 10, 10, 10}), 1u);
  EXPECT_EQ(warm_up_of({100, 10, 10}), 1u);
  EXPECT_EQ(warm_up_of({100, 10}), 0u);
  EXPECT_EQ(warm_up_of({100}), 0u);
  // Half of them are: a warm-up with a short step in it. Fewer are stragglers.
  EXPECT_EQ(warm_up_of({100, 10, 10, 100, 10, 10, 10, 10, 10, 10, 10, 10}), 4u);
  EXPECT_EQ(warm_up_of({10, 10, 10, 100, 10, 10, 10, 10, 10, 10, 10, 10}), 0u);
  EXPECT_EQ(warm_up_of({100, 10, 10, 10, 100, 10, 10, 10, 10, 10, 10, 10, 10, 10, 16}), 1u);
  // A third of them, and none later.
  EXPECT_EQ(warm_up_of({100, 10, 10, 10, 100, 10, 10, 10, 10, 10, 10, 10, 10, 10, 15}), 5u);
}

TEST(Steps, WarmUpCanBeGivenButOneStepStays) {
  EXPECT_EQ(warm_up_of({10, 10, 10, 10}, 2), 2u);
  EXPECT_EQ(warm_up_of({100, 10, 10, 10}, 0), 0u);
  EXPECT_EQ(warm_up_of({10, 10, 10}, 99), 2u);
  EXPECT_EQ(warm_up_of({10, 10}, 1), 1u);
}

TEST(Steps, HolesInTheRecordingTakeTheirStepsWithThem) {
  Builder b;
  b.trace.recorded = {{0, 200}, {300, 500}};
  b.step(0, 0, 100);
  b.step(1, 100, 200);
  b.step(2, 250, 350);
  b.step(3, 350, 450);
  b.kernel("a", 10, 10, 60, 10);
  b.kernel("in the hole", 260, 260, 290, 10);
  b.kernel("d", 360, 360, 400, 10);
  const Timeline t = timeline_of(b);
  ASSERT_EQ(t.steps().size(), 3u);
  EXPECT_EQ(t.steps()[2].number, 3);
  EXPECT_EQ(t.window(), (Interval{0, 450}));
  EXPECT_EQ(t.analysed().length(), 300);
  EXPECT_EQ(t.step_length(), 100);
  ASSERT_EQ(t.devices().size(), 1u);
  EXPECT_EQ(t.devices()[0].busy.length(), 90);
  EXPECT_EQ(t.devices()[0].work.size(), 2u);
  Ns idle = 0;
  for (const Gap& gap : find_gaps(t, 0)) idle += gap.end - gap.begin;
  EXPECT_EQ(idle, 300 - 90);
}

TEST(Steps, TimeBetweenStepsIsAnalysedToo) {
  Builder b;
  b.step(0, 0, 100);
  b.step(1, 150, 250);
  const Timeline t = timeline_of(b);
  EXPECT_EQ(t.analysed().length(), 250);
  EXPECT_EQ(t.step_length(), 125);
  EXPECT_EQ(t.step_at(99), 0u);
  EXPECT_EQ(t.step_at(100), kNoRow);
  EXPECT_EQ(t.step_at(150), 1u);
  EXPECT_EQ(t.step_at(250), kNoRow);
  EXPECT_EQ(t.step_at(-1), kNoRow);
}

TEST(Steps, ALastStepWhoseWorkWasNeverSeenIsNotWhole) {
  Builder b;
  b.step(0, 0, 100);
  b.step(1, 100, 200);
  b.kernel("a", 10, 20, 30, 5);
  b.call(CallKind::launch, "cudaLaunchKernel", 150, 160);
  Builder cut = b;
  cut.trace.cut_off = true;
  EXPECT_EQ(timeline_of(b).steps().size(), 2u);
  EXPECT_EQ(timeline_of(cut).steps().size(), 1u);
}

// Names launched 100 apart, each kernel 50 long and 20 after its call.
Builder launches(const std::vector<const char*>& names) {
  Builder b;
  for (size_t k = 0; k < names.size(); ++k) {
    const Ns at = static_cast<Ns>(k) * 100;
    b.kernel(names[k], at + 10, at + 20, at + 70, 10);
  }
  return b;
}

TEST(Steps, AreFoundByTheRepetitionOfKernels) {
  Builder b = launches({"init", "a", "b", "c", "a", "b", "c", "a", "b", "c", "end"});
  const Timeline t = timeline_of(b);
  EXPECT_EQ(t.step_source(), StepSource::period);
  ASSERT_EQ(t.steps().size(), 3u);
  // The calls of the first kernels are at 100, 400 and 700; that of the end at 1000.
  EXPECT_EQ(t.steps()[0].begin, 100);
  EXPECT_EQ(t.steps()[1].begin, 400);
  EXPECT_EQ(t.steps()[2].begin, 700);
  EXPECT_EQ(t.steps()[2].end, 1000);
  EXPECT_EQ(t.steps()[2].kernel, 150);
  TimelineOptions options;
  options.find_period = false;
  const Timeline none = timeline_of(b, options);
  EXPECT_EQ(none.step_source(), StepSource::none);
  EXPECT_EQ(none.window(), none.span());
  EXPECT_EQ(none.window_steps(), 0u);
  EXPECT_EQ(none.step_length(), none.span().length());
}

TEST(Steps, NobodyKnowsWhereTheLastPeriodEndsIfNothingFollows) {
  Builder b = launches({"a", "b", "a", "b", "a", "b", "a", "b"});
  EXPECT_EQ(timeline_of(b).steps().size(), 3u);
}

TEST(Steps, OfACpuDeviceAreFoundByTheRepetitionOfOps) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  for (Ns k = 0; k < 4; ++k) {
    b.op("matmul", k * 100, k * 100 + 40);
    b.op("relu", k * 100 + 40, k * 100 + 60);
  }
  const Timeline t = timeline_of(b);
  EXPECT_EQ(t.step_source(), StepSource::period);
  ASSERT_EQ(t.steps().size(), 3u);
  EXPECT_EQ(t.steps()[1].begin, 100);
  EXPECT_EQ(t.steps()[1].kernel, 60);
  EXPECT_EQ(t.steps()[1].host, 0);
  EXPECT_EQ(t.steps()[1].other, 40);
}

TEST(Steps, OpsOfACpuDeviceAreItsKernels) {
  // What the ops do themselves is compute; what is around them in a backward pass or a named part
  // of the program is the host's.
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.step(0, 0, 1000);
  b.op("matmul", 100, 300);
  b.op("backward", 400, 800);
  b.op("matmul_backward", 420, 600);
  b.op("add", 550, 750);  // begins before the other one ends
  const uint32_t range = b.trace.ranges.add();
  b.trace.ranges.start[range] = 0;
  b.trace.ranges.end[range] = 350;
  b.trace.ranges.kind[range] = static_cast<uint8_t>(RangeKind::scope);
  b.by(b.thread(2)).op("beside it", 200, 310);
  const Timeline t = timeline_of(b);
  ASSERT_EQ(t.steps().size(), 1u);
  const Step& s = t.steps()[0];
  // [100, 310) and [420, 750).
  EXPECT_EQ(s.kernel, 210 + 330);
  // [0, 100), [310, 350), [400, 420), [750, 800).
  EXPECT_EQ(s.host, 100 + 40 + 20 + 50);
  EXPECT_EQ(s.other, 50 + 200);
  // The device did as much.
  ASSERT_EQ(t.devices().size(), 1u);
  EXPECT_EQ(t.devices()[0].busy.length(), s.kernel);
  expect_parts_add_up(t);
}

TEST(Steps, OpsThatMakeABatchAreTheLoadersAndThoseOfOtherProcessesNobodys) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  const auto fill = [&](Ns start, Ns end) {
    b.trace.loader.kind[b.loader_wait(start, end)] = static_cast<uint8_t>(LoaderKind::fill);
  };
  b.step(0, 0, 1000);
  fill(0, 100);  // on the thread of the step itself
  b.op("decode", 10, 90);
  b.loader_wait(200, 400);
  b.op("matmul", 400, 700);
  b.by(b.thread(2));
  fill(150, 390);
  b.op("decode", 160, 380);
  b.op("augment", 380, 390);
  b.by(b.trace.thread(2, 1)).op("theirs", 800, 900);
  const Timeline t = timeline_of(b);
  ASSERT_EQ(t.steps().size(), 1u);
  const Step& s = t.steps()[0];
  EXPECT_EQ(s.kernel, 300);
  EXPECT_EQ(s.loader, 100 + 200);
  EXPECT_EQ(s.host, 40);  // the worker's [160, 200), before anybody waited for it
  EXPECT_EQ(s.other, 1000 - 300 - 300 - 40);
}

TEST(Steps, OpsOfAnAcceleratorAreHostTimeBesideACpuDevice) {
  Builder b;
  const uint32_t cpu = b.device(1);
  b.trace.devices[cpu].kind = DeviceKind::cpu;
  b.step(0, 0, 1000);
  b.on(0).op("matmul", 0, 100);
  b.kernel("matmul", 50, 100, 500, 40);
  b.on(cpu).op("sum", 450, 600);
  const Timeline t = timeline_of(b);
  const Step& s = t.steps().at(0);
  EXPECT_EQ(s.kernel, 500);  // [100, 600)
  EXPECT_EQ(s.call, 40);
  EXPECT_EQ(s.host, 60);
  EXPECT_EQ(s.other, 400);
}

TEST(Steps, ACpuDeviceWhoseSourceWroteItsWorkDownHasThat) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.step(0, 0, 1000);
  b.op("matmul", 100, 500);
  b.work(WorkKind::kernel, "gemm", 200, 400, kNoRow);
  const Timeline t = timeline_of(b);
  EXPECT_EQ(t.steps().at(0).kernel, 200);
  EXPECT_EQ(t.steps().at(0).host, 200);
}

}  // namespace
}  // namespace mill::prof
