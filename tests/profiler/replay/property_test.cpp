#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "profiler/replay/replay.h"
#include "schedule.h"

namespace mill::prof::test {
namespace {

std::vector<Act> random_program(uint32_t seed, bool with_steps) {
  std::mt19937 random(seed);
  const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  std::vector<Act> program;
  const uint32_t streams = 1 + pick(4);
  const uint32_t steps = 3 + pick(6);
  const Ns kernel = Ns{1 + pick(200)} * us;
  // What a call costs that has nothing to wait for is known from those that had not.
  uint32_t events = 1;
  program.push_back({Do::record, 0, 0, 1});
  program.push_back({Do::sync_event, 0, 0, 1});
  program.push_back({Do::sync_stream});
  program.push_back({Do::sync_device});
  if (with_steps) program.push_back({Do::step});
  for (uint32_t step = 0; step < steps; ++step) {
    const uint32_t acts = 10 + pick(30);
    for (uint32_t k = 0; k < acts; ++k) {
      const uint32_t stream = pick(streams);
      const Ns length = us + Ns{pick(1000)} * kernel / 500;
      switch (pick(14)) {
        case 0:
        case 1: program.push_back({Do::compute, 0, Ns{1 + pick(60)} * us}); break;
        case 2:
        case 3: program.push_back({Do::to_device, stream, length}); break;
        case 4: program.push_back({Do::to_host, stream, length}); break;
        case 5:
          if (pick(3) == 0) program.push_back({Do::read, stream, length / 8 + us});
          break;
        case 6:
          program.push_back({Do::record, stream, 0, ++events});
          program.push_back({Do::wait, pick(streams), 0, 1 + pick(events)});
          break;
        case 7:
          if (pick(4) == 0) program.push_back({Do::sync_stream, stream});
          break;
        case 8:
          if (pick(6) == 0) program.push_back({Do::sync_device});
          break;
        case 9:
          if (pick(3) == 0) program.push_back({Do::sync_event, 0, 0, 1 + pick(events)});
          break;
        default: program.push_back({Do::kernel, stream, length}); break;
      }
    }
    if (with_steps) program.push_back({Do::step});
  }
  return program;
}

bool is_copy(const Act& act) {
  return act.what == Do::to_device || act.what == Do::to_host || act.what == Do::read;
}

std::vector<uint32_t> all_of(const Schedule& schedule, const Trace& trace, bool copies) {
  return rows_after_link(schedule, trace, copies ? schedule.copies : schedule.kernels);
}

TEST(ReplayProperties, UnchangedSchedulesGiveBackTheMeasuredSpan) {
  for (uint32_t seed = 1; seed <= 500; ++seed) {
    const Schedule schedule = simulate(random_program(seed, seed % 2 == 0));
    const Timeline timeline = plain_timeline_of(schedule.builder.trace);
    const Replay replay(timeline);
    ASSERT_GT(replay.measured(), 0) << seed;
    ASSERT_LT(replay.error(), 1e-9) << seed;
    ASSERT_EQ(replay.run({}).span, replay.measured()) << seed;
    // A plan that says what is true already runs the other way through the graph.
    Plan same;
    for (uint32_t row = 0; row < timeline.trace().work.size(); ++row) {
      same.work_duration.emplace_back(
          row, timeline.trace().work.end[row] - timeline.trace().work.start[row]);
    }
    ASSERT_EQ(replay.run(same).span, replay.measured()) << seed;
  }
}

TEST(ReplayProperties, StepsInTheWindowAddUpToIt) {
  for (uint32_t seed = 2; seed <= 60; seed += 2) {
    const Schedule schedule = simulate(random_program(seed, true));
    const Timeline timeline = plain_timeline_of(schedule.builder.trace);
    const Replay replay(timeline);
    const ReplayResult result = replay.run({});
    ASSERT_EQ(result.steps.size(), timeline.window_steps()) << seed;
    for (size_t k = 0; k < result.steps.size(); ++k)
      EXPECT_EQ(result.steps[k], timeline.steps()[k].end - timeline.steps()[k].begin) << seed;
  }
}

// What a plan predicts against a recording of the changed program.
void expect_within(const std::vector<Act>& before, const std::vector<Act>& after,
                   const std::function<Plan(const Schedule&, const Trace&)>& plan, double share,
                   uint32_t seed, int* misses) {
  const Schedule schedule = simulate(before);
  const Timeline timeline = plain_timeline_of(schedule.builder.trace);
  const Replay replay(timeline);
  const Timeline changed = plain_timeline_of(simulate(after).builder.trace);
  // A step that ends before the device work of the one before does is not told apart from it.
  if (changed.window_steps() != timeline.window_steps()) return;
  const Ns predicted = replay.run(plan(schedule, timeline.trace())).span;
  const Ns truth = changed.window().length();
  const double off = std::abs(static_cast<double>(predicted - truth)) / static_cast<double>(truth);
  if (off > share) ++*misses;
  EXPECT_LE(off, share) << "seed " << seed << ": " << predicted << " for " << truth << ", was "
                        << replay.measured();
}

TEST(ReplayProperties, HalvedCopiesEqualARecordingWithHalvedCopies) {
  int misses = 0;
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    std::vector<Act> program = random_program(seed, seed % 2 == 0);
    for (Act& act : program) act.length -= act.length % 2;
    std::vector<Act> halved = program;
    for (Act& act : halved) {
      if (is_copy(act)) act.length /= 2;
    }
    expect_within(
        program, halved,
        [](const Schedule& schedule, const Trace& trace) {
          Plan plan;
          for (const uint32_t row : all_of(schedule, trace, true))
            plan.work_duration.emplace_back(row, (trace.work.end[row] - trace.work.start[row]) / 2);
          return plan;
        },
        0.01, seed, &misses);
  }
  EXPECT_EQ(misses, 0);
}

TEST(ReplayProperties, FasterKernelsEqualARecordingWithFasterKernels) {
  int misses = 0;
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    const std::vector<Act> program = random_program(seed, seed % 2 == 0);
    std::vector<Act> faster = program;
    for (Act& act : faster) {
      if (act.what == Do::kernel) act.length /= 4;
    }
    expect_within(
        program, faster,
        [](const Schedule&, const Trace&) {
          Plan plan;
          plan.kernel_scale = 0.25;
          return plan;
        },
        0.01, seed, &misses);
  }
  EXPECT_EQ(misses, 0);
}

TEST(ReplayProperties, SlowerKernelsEqualARecordingWithSlowerKernels) {
  int misses = 0;
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    const std::vector<Act> program = random_program(seed, seed % 2 == 0);
    std::vector<Act> slower = program;
    for (Act& act : slower) {
      if (act.what == Do::kernel) act.length *= 3;
    }
    expect_within(
        program, slower,
        [](const Schedule&, const Trace&) {
          Plan plan;
          plan.kernel_scale = 3;
          return plan;
        },
        0.01, seed, &misses);
  }
  EXPECT_EQ(misses, 0);
}

}  // namespace
}  // namespace mill::prof::test
