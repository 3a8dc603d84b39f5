// The recording of another profiler's authors whose step table they published.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "profiler/import/import.h"
#include "profiler/timeline/timeline.h"

namespace mill::prof {
namespace {

constexpr Ns us = 1000;

class StepTable : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("MILL_TEST_DATA");
    if (folder == nullptr) GTEST_SKIP() << "MILL_TEST_DATA names no folder of recorded traces";
    const std::string path = std::string(folder) + "/traces/kineto_resnet50_workers0.json.gz";
    std::string why;
    ASSERT_EQ(import_file(path, {}, &trace_, &why), ImportStatus::ok) << why;
    counts_ = link(trace_);
  }
  Trace trace_;
  LinkCounts counts_;
};

TEST_F(StepTable, IsThePublishedOneToTheMicrosecond) {
  const Timeline t(std::move(trace_), counts_);
  // Steps 5 to 10; figures from the trace's README, which has them from the publisher.
  const Ns total[] = {187948, 175153, 179733, 174564, 182172, 165983};
  const Ns kernel[] = {98598, 98570, 98596, 98623, 98504, 98641};
  const Ns loader[] = {69317, 57669, 61257, 56453, 62690, 48185};
  ASSERT_EQ(t.steps().size(), 6u);
  Step sum;
  for (size_t k = 0; k < 6; ++k) {
    const Step& s = t.steps()[k];
    EXPECT_EQ(s.number, static_cast<int64_t>(k) + 5);
    EXPECT_EQ(s.end - s.begin, total[k] * us) << k;
    EXPECT_EQ(s.kernel, kernel[k] * us) << k;
    EXPECT_EQ(s.loader, loader[k] * us) << k;
    EXPECT_EQ(s.kernel + s.copy + s.fill + s.call + s.loader + s.host + s.other, s.end - s.begin);
    EXPECT_FALSE(s.warm_up);
    sum.end += s.end - s.begin;
    sum.kernel += s.kernel;
    sum.copy += s.copy;
    sum.fill += s.fill;
    sum.call += s.call;
    sum.loader += s.loader;
    sum.host += s.host;
    sum.other += s.other;
  }
  // Averages, rounded to the microsecond as they were published.
  const auto average = [](Ns length) { return (length + 3 * us) / (6 * us); };
  EXPECT_EQ(average(sum.end), 177592);
  EXPECT_EQ(average(sum.kernel), 98589);
  EXPECT_EQ(average(sum.copy), 1915);
  EXPECT_EQ(average(sum.fill), 89);
  EXPECT_EQ(average(sum.call), 2908);
  EXPECT_EQ(average(sum.loader), 59262);
  EXPECT_EQ(average(sum.host), 13674);
  EXPECT_EQ(average(sum.other), 1156);
}

TEST_F(StepTable, EveryPieceOfWorkHasItsCallAndOperator) {
  // 8,772 kernels, 312 fills, 12 copies.
  EXPECT_EQ(counts_.work, 9096u);
  EXPECT_EQ(counts_.launches, 9096u);
  EXPECT_EQ(counts_.launches_without_work, 0u);
  EXPECT_EQ(counts_.work_without_call, 0u);
  EXPECT_EQ(counts_.work_without_op, 0u);
}

TEST_F(StepTable, GapsAddUpToWhatTheDeviceWasIdle) {
  const Timeline t(std::move(trace_), counts_);
  // Six steps of 1,065,553 us together; the device had 591,532 us of kernels, 11,492 of copies and
  // 534 of fills, all on one stream.
  ASSERT_EQ(t.devices().size(), 1u);
  EXPECT_EQ(t.window().length(), 1065553 * us);
  EXPECT_EQ(t.devices()[0].busy.length(), 603558 * us);
  Ns idle = 0;
  Ns loader = 0;
  for (const Gap& gap : find_gaps(t, 0)) {
    idle += gap.end - gap.begin;
    loader += gap.causes[static_cast<int>(GapCause::loader)];
  }
  EXPECT_EQ(idle, (1065553 - 603558) * us);
  EXPECT_GT(loader, idle / 2);  // input bound
}

TEST_F(StepTable, WithoutItsMarksThePeriodOfTheKernelsGivesTheSameSteps) {
  trace_.ranges.clear();
  trace_.marked_steps.clear();
  const Timeline t(std::move(trace_), counts_);
  EXPECT_EQ(t.step_source(), StepSource::period);
  // The last of six has no end that is known.
  const Ns kernel[] = {98598, 98570, 98596, 98623, 98504};
  ASSERT_EQ(t.steps().size(), 5u);
  for (size_t k = 0; k < 5; ++k) EXPECT_EQ(t.steps()[k].kernel, kernel[k] * us) << k;
}

}  // namespace
}  // namespace mill::prof
