#include "profiler/replay/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "programs.h"

namespace mill::prof::test {
namespace {

TEST(Replay, PlansThatNameRowsThatAreNotThereChangeNothing) {
  const Timeline timeline = serial_steps(4, 100 * us, 100 * us);
  const Replay replay(timeline);
  Plan plan;
  const uint32_t far = 1'000'000;
  plan.work_duration = {{far, 0}, {kNoRow, 5}};
  plan.call_duration = {{far, 0}, {kNoRow, 5}};
  plan.drop_work = plan.drop_call = plan.unblock = plan.defer = plan.free_stream =
      plan.own_stream = {far, kNoRow};
  plan.prefetch = {{far, 1}, {kNoRow, 3}, {0, 0}};
  plan.host_time = {{far, {0, 10}, 0},
                    {0, {10, 5}, 0},
                    {0, {INT64_MIN, INT64_MAX}, 5},
                    {0, {INT64_MAX - 1, INT64_MAX}, INT64_MIN}};
  plan.kernel_scale = std::numeric_limits<double>::quiet_NaN();
  plan.launch_scale = -1;
  EXPECT_EQ(replay.run(plan).span, replay.measured());
}

TEST(Replay, ScalingAllTimesScalesWhatIsSaved) {
  std::vector<Act> program;
  for (int k = 0; k < 20; ++k) {
    program.push_back({Do::compute, 0, 30 * us});
    program.push_back({Do::to_device, 0, 200 * us});
    program.push_back({Do::kernel, 0, 300 * us});
    program.push_back({Do::read, 0, 10 * us});
    program.push_back({Do::step});
  }
  const auto savings = [&](Ns shift, Ns scale) {
    const Schedule schedule = simulate(program, {}, shift, scale);
    const Timeline timeline = plain_timeline_of(schedule.builder.trace);
    const Replay replay(timeline);
    EXPECT_EQ(replay.error(), 0);
    Plan plan = prefetch_all(timeline, 1);
    Plan other;
    for (uint32_t row = 0; row < timeline.trace().calls.size(); ++row) {
      if (timeline.trace().calls.flags[row] & kBlocking) other.unblock.push_back(row);
    }
    Plan faster;
    faster.kernel_scale = 0.5;
    Plan all = plan;
    all.merge(other);
    all.merge(faster);
    return std::vector<Ns>{replay.saving(plan), replay.saving(other), replay.saving(faster),
                           replay.saving(all)};
  };
  const std::vector<Ns> once = savings(0, 1);
  for (const Ns saving : once) EXPECT_GT(saving, 0);
  std::vector<Ns> doubled = once;
  for (Ns& saving : doubled) saving *= 2;
  EXPECT_EQ(savings(0, 2), doubled);
  EXPECT_EQ(savings(1'700'000'000'000'000'000, 1), once);
  EXPECT_EQ(savings(-5'000'000, 1), once);
}

TEST(Replay, TheOrderOfRowsChangesNothing) {
  std::vector<Act> program;
  for (int k = 0; k < 30; ++k) {
    program.push_back({Do::to_device, static_cast<uint32_t>(k % 3), Ns{100 + 7 * k} * us});
    program.push_back({Do::kernel, static_cast<uint32_t>(k % 2), Ns{150 + 3 * k} * us});
    if (k % 5 == 4) program.push_back({Do::sync_stream, 1});
  }
  const Schedule schedule = simulate(program);
  const auto result = [](const Trace& trace) {
    const Timeline timeline = plain_timeline_of(trace);
    Plan plan;
    plan.kernel_scale = 0.5;
    for (uint32_t row = 0; row < timeline.trace().work.size(); ++row) {
      if (timeline.trace().work.correlation[row] % 3 == 0)
        plan.work_duration.emplace_back(row, 20 * us);
    }
    return Replay(timeline).run(plan).span;
  };
  const Ns straight = result(schedule.builder.trace);
  std::mt19937 random(7);
  for (int k = 0; k < 5; ++k) {
    Trace trace = schedule.builder.trace;
    std::vector<uint32_t> order(trace.work.size());
    for (uint32_t row = 0; row < order.size(); ++row) order[row] = row;
    std::shuffle(order.begin(), order.end(), random);
    trace.work.permute(order);
    order.resize(trace.calls.size());
    for (uint32_t row = 0; row < order.size(); ++row) order[row] = row;
    std::shuffle(order.begin(), order.end(), random);
    trace.calls.permute(order);
    EXPECT_EQ(result(trace), straight);
  }
}

TEST(Replay, AScaleThatOnlyOneOfTwoMergedPlansHasIsKept) {
  // 10 + 4 * (100 + 100): with kernels of 200 us 1,210, of 50 us 610.
  const Timeline timeline = serial_steps(4, 100 * us, 100 * us);
  const Replay replay(timeline);
  const auto both = [&](double one, double other) {
    Plan plan;
    plan.kernel_scale = one;
    Plan more;
    more.kernel_scale = other;
    plan.merge(more);
    return replay.run(plan).span;
  };
  EXPECT_EQ(both(1, 1), 810 * us);
  EXPECT_EQ(both(2, 1), 1210 * us);
  EXPECT_EQ(both(1, 2), 1210 * us);
  EXPECT_EQ(both(0.5, 1), 610 * us);
  EXPECT_EQ(both(0.5, 2), 610 * us);  // the shorter time
}

TEST(Replay, WhatWasNotRecordedIsNoPartOfTheWindow) {
  // Steps of 100 us: launch 10, kernel 80, host 10. Two were recorded, then 9.8 ms were not, then
  // two. With kernels of 40 us a step takes 60.
  for (const bool marked : {true, false}) {
    Builder b;
    b.trace.recorded = {{0, 200 * us}, {10'000 * us, 10'200 * us}};
    for (int k = 0; k < 4; ++k) {
      const Ns t = (k < 2 ? 0 : 9'800 * us) + Ns{k} * 100 * us;
      if (marked) b.step(k, t, t + 100 * us);
      b.kernel("k", t + 10 * us, t + 10 * us, t + 90 * us, 10 * us);
      b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 10 * us, t + 90 * us);
      b.op("host", t + 90 * us, t + 100 * us);
    }
    const Timeline timeline = plain_timeline_of(b.trace);
    ASSERT_EQ(timeline.window().length(), 10'200 * us);
    ASSERT_EQ(timeline.analysed().length(), 400 * us);
    const Replay replay(timeline);
    EXPECT_EQ(replay.measured(), 400 * us);
    EXPECT_EQ(replay.replayed(), 400 * us);
    EXPECT_EQ(replay.error(), 0);
    Plan plan;
    plan.kernel_scale = 0.5;
    const ReplayResult result = replay.run(plan);
    EXPECT_EQ(result.span, 240 * us);
    EXPECT_EQ(replay.saving(plan), 160 * us);
    EXPECT_EQ(result.steps, std::vector<Ns>(marked ? 4 : 0, 60 * us));
  }
}

TEST(Replay, RunsFromManyThreadsAtOnce) {
  const Timeline timeline = serial_steps(200, 30 * us, 50 * us);
  const Replay replay(timeline);
  const Ns expected = replay.saving(prefetch_all(timeline, 1));
  std::vector<std::thread> threads;
  std::vector<Ns> found(4);
  for (size_t k = 0; k < found.size(); ++k) {
    threads.emplace_back([&, k] {
      for (int round = 0; round < 20; ++round) found[k] = replay.saving(prefetch_all(timeline, 1));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ns saving : found) EXPECT_EQ(saving, expected);
}

TEST(Replay, AnEmptyTraceHasNothingToSay) {
  const Timeline timeline = plain_timeline_of(Trace{});
  const Replay replay(timeline);
  Plan plan;
  plan.kernel_scale = 0.5;
  EXPECT_EQ(replay.measured(), 0);
  EXPECT_EQ(replay.error(), 0);
  EXPECT_EQ(replay.saving(plan), 0);
}

// ---- hostile rows -------------------------------------------------------------------------------

Ns any_time(std::mt19937_64& random) {
  constexpr Ns kOdd[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
  switch (random() % 8) {
    case 0: return kOdd[random() % 7];
    case 1: return static_cast<Ns>(random());
    default: return static_cast<Ns>(random() % 100'000);
  }
}

TEST(Replay, AnyRowsGiveAnAnswer) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 300; ++round) {
    Builder b;
    b.device(1);
    b.thread(2);
    b.thread(3);
    for (int k = 0; k < 60; ++k) {
      b.on(static_cast<uint32_t>(random() % 2), random() % 4)
          .by(static_cast<uint32_t>(random() % 3));
      const uint32_t c = b.call(static_cast<CallKind>(random() % 18), random() % 2 ? "a" : "bAsync",
                                any_time(random), any_time(random), random() % 40);
      b.trace.calls.waits_for[c] = random() % 40;
      b.trace.calls.flags[c] = static_cast<uint8_t>(random());
      if (random() % 4 == 0) b.trace.calls.stream[c] = kNoRow;
      if (random() % 4 == 0) b.trace.calls.device[c] = kNoRow;
      const uint32_t w = b.work(static_cast<WorkKind>(random() % 5), "w", any_time(random),
                                any_time(random), random() % 3 ? c : kNoRow);
      b.trace.work.submit[w] = any_time(random);
      b.trace.work.copy_kind[w] = static_cast<uint8_t>(random() % 6);
      b.trace.work.host_memory[w] = static_cast<uint8_t>(random() % 5);
      b.trace.work.bytes[w] = random();
      b.trace.work.flags[w] = static_cast<uint8_t>(random() % 2);
      if (random() % 5 == 0) b.trace.work.stream[w] = kNoRow;
      if (random() % 3 == 0) b.op("op", any_time(random), any_time(random), random() % 9);
      if (random() % 9 == 0) b.step(k, any_time(random), any_time(random));
      if (random() % 9 == 0) {
        const uint32_t l = b.loader_wait(0, 0);
        b.trace.loader.start[l] = any_time(random);
        b.trace.loader.end[l] = any_time(random);
        b.trace.loader.wait[l] = any_time(random);
        b.trace.loader.kind[l] = static_cast<uint8_t>(random() % 3);
      }
    }
    if (random() % 2) b.trace.streams[0].legacy_default = true;
    if (random() % 2) b.trace.devices[1].kind = DeviceKind::cpu;
    for (uint8_t& flags : b.trace.calls.flags) flags &= static_cast<uint8_t>(~kExcluded);
    const Timeline timeline = plain_timeline_of(b.trace);
    const Replay replay(timeline);
    Plan plan;
    for (int k = 0; k < 20; ++k) {
      const auto row = static_cast<uint32_t>(random() % 64);
      switch (random() % 11) {
        case 0: plan.work_duration.emplace_back(row, any_time(random)); break;
        case 1: plan.call_duration.emplace_back(row, any_time(random)); break;
        case 2: plan.drop_work.push_back(row); break;
        case 3: plan.drop_call.push_back(row); break;
        case 4: plan.unblock.push_back(row); break;
        case 5: plan.defer.push_back(row); break;
        case 6: plan.prefetch.emplace_back(row, static_cast<uint32_t>(random() % 4)); break;
        case 7:
          plan.host_time.push_back({static_cast<uint32_t>(random() % 4),
                                    {any_time(random), any_time(random)},
                                    any_time(random)});
          break;
        case 8: plan.own_stream.push_back(row); break;
        case 9: plan.before_ask.emplace_back(row, any_time(random)); break;
        default: plan.free_stream.push_back(row); break;
      }
    }
    EXPECT_GE(replay.run(plan).span, 0);
    WhatIf what;
    what.pinned = what.no_loader_wait = what.other_device = true;
    what.to_device_bytes_per_s = static_cast<double>(random() % 3) * 1e9;
    what.prefetch_depth = static_cast<uint32_t>(random() % 4);
    what.kernel_speed = 1e-300;
    plan.merge(plan_of(what, timeline, LinkModel::of(timeline.trace(), nullptr)));
    EXPECT_GE(replay.run(plan).span, 0);
    EXPECT_GE(replay.error(), 0);
  }
}

}  // namespace
}  // namespace mill::prof::test
