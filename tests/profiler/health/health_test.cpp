#include "profiler/health/health.h"

#include <gtest/gtest.h>

#include <string>

#include "profiler/builder.h"

namespace mill::prof {
namespace {

using test::Builder;
using test::ms;
using test::us;

constexpr Ns kEpoch = 1'600'000'000'000'000'000;

Health health_of(Trace& trace, const HealthLimits& limits = {}) {
  const LinkCounts counts = link(trace);
  return examine(trace, counts, limits);
}

const HealthItem* find(const Health& health, HealthCode code) {
  for (const HealthItem& item : health.items) {
    if (item.code == code) return &item;
  }
  return nullptr;
}

// n kernels in a row, 10 us apart, launched 2 us ahead.
Builder kernels(uint32_t n, Ns at = kEpoch) {
  Builder b;
  for (uint32_t k = 0; k < n; ++k) {
    const Ns start = at + 10 * us * k;
    b.kernel("k", start - 2 * us, start, start + 8 * us, 1 * us);
  }
  return b;
}

TEST(Health, OfAGoodTraceIsHighWithNothingToSay) {
  Builder b = kernels(100);
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::high);
  EXPECT_TRUE(h.items.empty());
  EXPECT_EQ(h.excluded, 0u);
  EXPECT_EQ(h.summary, "");
}

TEST(Health, NothingRecordedIsRefused) {
  Trace trace;
  const Health h = health_of(trace);
  EXPECT_EQ(h.verdict, Confidence::refuse);
  ASSERT_NE(find(h, HealthCode::empty), nullptr);
  EXPECT_EQ(h.summary, "No advice: Nothing was recorded.");
  Trace elsewhere;
  elsewhere.other_clock = 12;
  const Health other = examine(elsewhere, {});
  EXPECT_EQ(other.verdict, Confidence::refuse);
  EXPECT_NE(other.summary.find("All 12 records are of devices that another clock times"),
            std::string::npos)
      << other.summary;
}

TEST(Health, MovedAndZeroedKernelsAreCountedToTheRecord) {
  // 2 % of 5,000 before their launch, 1 % without times.
  Builder b = kernels(5000);
  for (uint32_t k = 0; k < 5000; ++k) {
    if (k % 50 == 7) {
      b.trace.work.start[k] -= 20 * ms;
      b.trace.work.end[k] -= 20 * ms;
    }
    if (k % 100 == 3) b.trace.work.start[k] = b.trace.work.end[k] = 0;
  }
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::low);
  ASSERT_NE(find(h, HealthCode::before_launch), nullptr);
  EXPECT_EQ(find(h, HealthCode::before_launch)->count, 100u);
  EXPECT_EQ(find(h, HealthCode::before_launch)->total, 5000u);
  EXPECT_EQ(find(h, HealthCode::before_launch)->effect, Confidence::low);
  // Launched 3 us before they start, so 19,997 us before the launch.
  EXPECT_EQ(find(h, HealthCode::before_launch)->text,
            "100 of 5,000 kernels and copies start before their own launch, by 19.9 ms in the "
            "middle.");
  ASSERT_NE(find(h, HealthCode::bad_times), nullptr);
  EXPECT_EQ(find(h, HealthCode::bad_times)->count, 50u);
  EXPECT_EQ(find(h, HealthCode::bad_times)->effect, Confidence::high);  // not over 1 %
  EXPECT_EQ(h.excluded, 150u);
  uint32_t flagged = 0;
  for (const uint8_t flags : b.trace.work.flags) flagged += (flags & kExcluded) != 0;
  EXPECT_EQ(flagged, 150u);
  EXPECT_EQ(h.summary.rfind("Confidence is low: 100 of 5,000 ", 0), 0u) << h.summary;
}

TEST(Health, OneMoreThanOnePercentOfBadTimesIsLow) {
  for (const uint32_t bad : {10u, 11u}) {
    Builder b = kernels(1000);
    for (uint32_t k = 0; k < bad; ++k) b.trace.work.end[k * 7] = b.trace.work.start[k * 7] - 1;
    const Health h = health_of(b.trace);
    EXPECT_EQ(h.verdict, bad == 10 ? Confidence::high : Confidence::low);
    EXPECT_EQ(find(h, HealthCode::bad_times)->count, bad);
    EXPECT_EQ(h.excluded, bad);
  }
}

TEST(Health, EveryKindOfImpossibleTimeIsSeen) {
  Builder b = kernels(100);
  Work& work = b.trace.work;
  work.start[1] = 0;
  work.end[2] = 0;
  work.start[3] = work.end[3] = 0;
  work.end[4] = work.start[4] - 1;
  work.start[5] = INT64_MIN;
  work.end[6] = INT64_MAX;
  work.end[7] = work.start[7];  // that is possible
  const Health h = health_of(b.trace);
  EXPECT_EQ(find(h, HealthCode::bad_times)->count, 6u);
}

TEST(Health, AVirtualClockMayBeginAtZero) {
  Builder b;
  b.work(WorkKind::kernel, "first", 0, 8 * us, kNoRow);
  for (Ns k = 1; k < 100; ++k)
    b.work(WorkKind::kernel, "k", k * 10 * us, k * 10 * us + 8 * us, kNoRow);
  EXPECT_EQ(health_of(b.trace).excluded, 0u);
}

TEST(Health, ALongFileOfRelativeTimesMayBeginAtZero) {
  Builder b;
  for (Ns k = 0; k < 1000; ++k)
    b.work(WorkKind::kernel, "k", k * 100 * ms, k * 100 * ms + 8 * us, kNoRow);
  EXPECT_EQ(health_of(b.trace).excluded, 0u);
}

TEST(Health, NeitherTimeIsBadEvenWhereTheClockBeginsAtZero) {
  Builder b;
  for (Ns k = 1; k < 100; ++k) b.work(WorkKind::kernel, "k", k * 10, k * 10 + 8, kNoRow);
  b.work(WorkKind::kernel, "never filled in", 0, 0, kNoRow);
  EXPECT_EQ(health_of(b.trace).excluded, 1u);
}

TEST(Health, CallsWithImpossibleTimesAreExcludedToo) {
  Builder b = kernels(1000);
  b.trace.calls.start[5] = 0;
  b.trace.calls.end[6] = b.trace.calls.start[6] - 1;
  b.trace.calls.end[7] = 0;
  b.trace.calls.flags[7] |= kUnfinished;  // had not returned: no fault
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.excluded, 3u);
  ASSERT_NE(find(h, HealthCode::bad_times), nullptr);
  EXPECT_EQ(find(h, HealthCode::bad_times)->count, 2u);
  EXPECT_EQ(find(h, HealthCode::bad_times)->total, 1000u);
  EXPECT_EQ(h.verdict, Confidence::high);
}

TEST(Health, OpsWithImpossibleTimesAreCountedAndLowerTheTrustWhereTheyAreTheWork) {
  for (const uint32_t bad : {10u, 11u}) {
    Builder b;
    b.trace.devices[0].kind = DeviceKind::cpu;
    for (uint32_t k = 0; k < 1000; ++k) {
      const Ns start = kEpoch + 10 * us * k;
      b.op("matmul", start, k < bad ? start - 1 : start + 8 * us);
    }
    const Health h = health_of(b.trace);
    EXPECT_EQ(h.verdict, bad == 10 ? Confidence::high : Confidence::low);
    ASSERT_NE(find(h, HealthCode::bad_times), nullptr);
    EXPECT_EQ(find(h, HealthCode::bad_times)->text,
              std::to_string(bad) +
                  " of 1,000 operators have impossible times (an end before the start, or a time "
                  "that no clock has).");
    EXPECT_EQ(find(h, HealthCode::bad_times)->count, bad);
    EXPECT_EQ(find(h, HealthCode::bad_times)->total, 1000u);
    EXPECT_EQ(h.excluded, bad);
  }
  // Beside a device they say where on the host its work came from, no more.
  Builder b = kernels(1000);
  for (uint32_t k = 0; k < 10; ++k) b.op("matmul", kEpoch + k, kEpoch + k + (k < 5 ? -1 : 1));
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::high);
  ASSERT_NE(find(h, HealthCode::bad_times), nullptr);
  EXPECT_EQ(find(h, HealthCode::bad_times)->count, 5u);
  EXPECT_EQ(h.excluded, 5u);
}

TEST(Health, SlackAndShareOfWorkBeforeItsLaunch) {
  const auto with_early = [](uint32_t n, Ns by) {
    Builder b = kernels(2000);
    for (uint32_t k = 0; k < n; ++k) {
      const uint32_t row = 100 + 5 * k;
      b.trace.work.start[row] = b.trace.calls.start[row] - by;
    }
    return health_of(b.trace);
  };
  EXPECT_EQ(find(with_early(9, 2 * us), HealthCode::before_launch), nullptr);
  const Health two = with_early(2, 2 * us + 1);  // 0.1 % exactly
  EXPECT_EQ(two.verdict, Confidence::high);
  EXPECT_EQ(find(two, HealthCode::before_launch)->count, 2u);
  EXPECT_EQ(two.excluded, 2u);
  EXPECT_EQ(with_early(3, 2 * us + 1).verdict, Confidence::low);
}

TEST(Health, ClocksThatDifferAreLowAndLeaveTheWorkIn) {
  Builder b = kernels(1000);
  for (uint32_t k = 0; k < 1000; ++k) {
    b.trace.work.start[k] -= 500 * us;
    b.trace.work.end[k] -= 500 * us;
  }
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::low);
  EXPECT_EQ(find(h, HealthCode::before_launch)->count, 1000u);
  EXPECT_EQ(h.excluded, 0u);
  EXPECT_NE(h.summary.find("the clocks of host and device differ"), std::string::npos);
}

TEST(Health, OverlapOnOneStream) {
  const auto with_overlaps = [](uint32_t n, Ns by, bool graph) {
    Builder b = kernels(2000);
    for (uint32_t k = 0; k < n; ++k) {
      const uint32_t row = 100 + 5 * k;
      b.trace.work.end[row] = b.trace.work.start[row + 1] + by;
      if (graph) b.trace.work.graph_node[row] = b.trace.work.graph_node[row + 1] = 5;
    }
    return health_of(b.trace);
  };
  EXPECT_TRUE(with_overlaps(9, 1 * us, false).items.empty());
  const Health two = with_overlaps(2, 1 * us + 1, false);
  EXPECT_EQ(two.verdict, Confidence::high);
  EXPECT_EQ(find(two, HealthCode::overlap_on_stream)->count, 2u);
  EXPECT_EQ(with_overlaps(3, 1 * us + 1, false).verdict, Confidence::medium);
  EXPECT_TRUE(with_overlaps(3, 1 * us + 1, true).items.empty());
}

TEST(Health, WorkOfOtherStreamsMayOverlap) {
  Builder b;
  b.on(0, 7).kernel("a", kEpoch, kEpoch, kEpoch + 1 * ms, 1);
  b.on(0, 8).kernel("b", kEpoch, kEpoch, kEpoch + 1 * ms, 1);
  EXPECT_TRUE(health_of(b.trace).items.empty());
}

TEST(Health, LaunchesWithoutWork) {
  const auto with = [](uint32_t missing) {
    Builder b = kernels(1000 - missing);
    for (uint32_t k = 0; k < missing; ++k)
      b.call(CallKind::launch, "cudaLaunchKernel", kEpoch + k, kEpoch + k + 1);
    return health_of(b.trace);
  };
  EXPECT_EQ(with(10).verdict, Confidence::high);
  EXPECT_EQ(with(11).verdict, Confidence::medium);
  EXPECT_EQ(with(200).verdict, Confidence::medium);
  const Health h = with(201);
  EXPECT_EQ(h.verdict, Confidence::low);
  EXPECT_EQ(h.summary, "Confidence is low: 201 of 1,000 launches have no device work on record.");
  EXPECT_EQ(with(1).items.at(0).text, "1 of 1,000 launches has no device work on record.");
}

TEST(Health, WorkWithoutLaunch) {
  Builder b = kernels(1000);
  for (uint32_t k = 0; k < 11; ++k) b.trace.work.correlation[k] = 1'000'000 + k;
  const Health h = health_of(b.trace);
  EXPECT_EQ(find(h, HealthCode::work_without_launch)->count, 11u);
  EXPECT_EQ(find(h, HealthCode::work_without_launch)->effect, Confidence::medium);
}

TEST(Health, LostRecords) {
  const auto with = [](uint64_t lost) {
    Builder b = kernels(500);  // 1,000 rows
    b.trace.losses.push_back({"engine rings", lost});
    return health_of(b.trace);
  };
  // 1 of 1,001 is 0.0999 %, 2 of 1,002 0.1996 %; 52 of 1,052 is 4.94 %, 53 of 1,053 5.03 %.
  EXPECT_EQ(with(0).items.size(), 0u);
  EXPECT_EQ(with(1).verdict, Confidence::high);
  EXPECT_EQ(with(2).verdict, Confidence::medium);
  EXPECT_EQ(with(52).verdict, Confidence::medium);
  const Health h = with(53);
  EXPECT_EQ(h.verdict, Confidence::refuse);
  EXPECT_EQ(h.summary, "No advice: 53 of 1,053 records were lost (engine rings).");
}

TEST(Health, OfManyPlacesWithLossesAFewAreNamed) {
  Builder b = kernels(500);
  for (int k = 0; k < 1000; ++k) b.trace.losses.push_back({"ring " + std::to_string(k), 1});
  b.trace.losses[2].where.assign(1'000'000, 'x');
  const Health h = health_of(b.trace);
  const HealthItem* item = find(h, HealthCode::lost_records);
  ASSERT_NE(item, nullptr);
  EXPECT_EQ(item->text,
            "1,000 of 2,000 records were lost (ring 0, ring 1, ring 3, ring 4 and 996 more).");
  b.trace.losses = {{std::string(101, 'x'), 1}, {std::string(101, 'y'), 1}};
  const Health long_names = health_of(b.trace);
  EXPECT_EQ(find(long_names, HealthCode::lost_records)->text,
            "2 of 1,002 records were lost (2 places).");
}

TEST(Health, AHugeLossDoesNotWrapAround) {
  Builder b = kernels(10);
  b.trace.losses.push_back({"device 0", UINT64_MAX});
  b.trace.losses.push_back({"device 1", UINT64_MAX});
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::refuse);
  EXPECT_EQ(find(h, HealthCode::lost_records)->count, UINT64_MAX);
}

TEST(Health, WhatTheStoreGaveUpAndWhatAnotherClockTimedIsSaid) {
  Builder b = kernels(500);
  b.trace.losses = {{"store", 9000}, {"other clock", 2}};
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::high);
  ASSERT_NE(find(h, HealthCode::store_full), nullptr);
  EXPECT_EQ(find(h, HealthCode::store_full)->effect, Confidence::high);
  EXPECT_EQ(find(h, HealthCode::store_full)->text,
            "9,000 of 10,000 records were given up because the store was full.");
  EXPECT_EQ(find(h, HealthCode::mixed_clocks)->effect, Confidence::high);
  EXPECT_EQ(find(h, HealthCode::lost_records), nullptr);
}

TEST(Health, WhatTheSourceSaysOfItself) {
  Builder b = kernels(500);
  b.trace.cut_off = true;
  b.trace.whole_graphs = true;
  b.trace.skipped = 60;
  b.trace.unfinished = 6;
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::low);
  EXPECT_EQ(h.items.front().code, HealthCode::skipped_events);  // 60 of 1,060 is over 5 %
  EXPECT_EQ(find(h, HealthCode::cut_off)->effect, Confidence::medium);
  EXPECT_EQ(find(h, HealthCode::whole_graphs)->effect, Confidence::medium);
  EXPECT_EQ(find(h, HealthCode::unfinished)->effect, Confidence::medium);  // 6 of 506
  EXPECT_EQ(find(h, HealthCode::unfinished)->total, 506u);
}

TEST(Health, StepsAndWaitsWithImpossibleTimesAreCounted) {
  Builder b = kernels(500);
  for (uint32_t k = 0; k < 200; ++k) b.step(k, kEpoch + k * us, kEpoch + (k + 1) * us);
  b.trace.marked_steps.end[7] = b.trace.marked_steps.start[7] - 1;
  b.trace.marked_steps.end[9] = INT64_MAX;
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::high);  // 1 % and not more
  ASSERT_NE(find(h, HealthCode::bad_times), nullptr);
  EXPECT_EQ(find(h, HealthCode::bad_times)->count, 2u);
  EXPECT_EQ(find(h, HealthCode::bad_times)->total, 200u);
  EXPECT_EQ(h.excluded, 2u);

  b.trace.marked_steps.end[11] = b.trace.marked_steps.start[11] - 1;
  EXPECT_EQ(health_of(b.trace).verdict, Confidence::low);
}

TEST(Health, WhereMostCouldNotBeReadThereIsNoAdvice) {
  for (const uint64_t skipped : {1000u, 1001u}) {
    Builder b = kernels(500);
    b.trace.skipped = skipped;  // beside 500 kernels and 500 calls
    EXPECT_EQ(health_of(b.trace).verdict, skipped == 1000 ? Confidence::low : Confidence::refuse);
  }
}

TEST(Health, AClockThatStandsStillIsSeen) {
  struct Case {
    uint32_t same;  // of 1,000 that follow another one
    Confidence verdict;
  };
  for (const auto& [same, verdict] :
       {Case{0, Confidence::high}, Case{10, Confidence::high}, Case{11, Confidence::medium},
        Case{200, Confidence::medium}, Case{201, Confidence::low}, Case{1000, Confidence::low}}) {
    Builder b;
    Ns start = kEpoch;
    for (uint32_t k = 0; k < 1001; ++k) {
      if (k > same) start += 10 * us;
      b.kernel("k", start - 1 * us, start, start + 500, 100);
    }
    const Health h = health_of(b.trace);
    EXPECT_EQ(h.verdict, verdict) << same;
    const HealthItem* const item = find(h, HealthCode::standing_clock);
    ASSERT_EQ(item != nullptr, same > 0) << same;
    if (item == nullptr) continue;
    EXPECT_EQ(item->count, same);
    EXPECT_EQ(item->total, 1000u);
  }
}

TEST(Health, AFewPiecesSayNothingOfAClock) {
  Builder b;
  for (uint32_t k = 0; k < 16; ++k) b.kernel("k", kEpoch - 1 * us, kEpoch, kEpoch + 500, 100);
  EXPECT_EQ(health_of(b.trace).verdict, Confidence::high);
}

TEST(Health, KernelsThatTakeNoTimeAreDoubted) {
  for (const uint32_t none : {10u, 11u, 200u, 201u}) {
    Builder b = kernels(1000);
    for (uint32_t k = 0; k < none; ++k) b.trace.work.end[k] = b.trace.work.start[k];
    EXPECT_EQ(health_of(b.trace).verdict, none == 10    ? Confidence::high
                                          : none <= 200 ? Confidence::medium
                                                        : Confidence::low)
        << none;
  }
}

// 50 kernels that begin together are possible in a graph, and not for one launch.
TEST(Health, OneLaunchIsOneKernel) {
  for (const CallKind kind : {CallKind::graph_launch, CallKind::launch}) {
    Builder b;
    for (uint32_t step = 0; step < 10; ++step) {
      const Ns start = kEpoch + step * 100 * us;
      const uint32_t call = b.call(kind, "launch", start - 5 * us, start - 1 * us);
      for (uint32_t k = 0; k < 50; ++k) b.work(WorkKind::kernel, "k", start, start + 20 * us, call);
    }
    EXPECT_EQ(health_of(b.trace).verdict,
              kind == CallKind::launch ? Confidence::low : Confidence::high);
  }
}

// Ops inside others begin with them on a coarse clock; one after the other they do not.
TEST(Health, NestedOpsMayBeginTogether) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  for (uint32_t k = 0; k < 100; ++k) {
    const Ns start = kEpoch + k * 100 * us;
    b.op("linear", start, start + 50 * us);
    b.op("addmm", start, start + 40 * us);
  }
  EXPECT_EQ(health_of(b.trace).verdict, Confidence::high);
}

TEST(Health, OpsOfOneTimeAreNoRecording) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  for (uint32_t k = 0; k < 100; ++k) b.op("matmul", kEpoch, kEpoch + 10 * us);
  const Health h = health_of(b.trace);
  EXPECT_EQ(h.verdict, Confidence::low);
  EXPECT_EQ(
      h.summary,
      "Confidence is low: 98 of 98 operators begin at the same time as the one before: the clock "
      "is coarse, or stood still.");
}

// A clock of whole milliseconds gives ops of 200 us the same start five at a time.
TEST(Health, ACoarseClockOfOpsIsDoubted) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  for (uint32_t k = 0; k < 100; ++k) {
    b.op("matmul", kEpoch + k / 5 * ms, kEpoch + (k + 1) / 5 * ms);
  }
  EXPECT_EQ(health_of(b.trace).verdict, Confidence::low);
}

TEST(Health, LaunchesOfOneCorrelationAreAGuess) {
  Builder b = kernels(1000);
  const Health good = health_of(b.trace);
  EXPECT_EQ(good.verdict, Confidence::high);
  for (const uint32_t shared : {2u, 10u, 11u, 200u, 201u}) {
    Builder some = kernels(1000);
    for (uint32_t k = 1; k < shared; ++k) {
      some.trace.calls.correlation[k] = some.trace.calls.correlation[0];
      some.trace.work.correlation[k] = some.trace.work.correlation[0];
    }
    const Health h = health_of(some.trace);
    const HealthItem* const item = find(h, HealthCode::shared_numbers);
    ASSERT_NE(item, nullptr) << shared;
    EXPECT_EQ(item->count, shared);
    EXPECT_EQ(item->total, 1000u);
    EXPECT_EQ(item->effect, shared <= 10    ? Confidence::high
                            : shared <= 200 ? Confidence::medium
                                            : Confidence::low)
        << shared;
  }
}

TEST(Health, NoDeviceDataIsNeverAllFine) {
  Builder launches;
  launches.call(CallKind::launch, "cudaLaunchKernel", kEpoch, kEpoch + 10);
  const Health launched = health_of(launches.trace);
  EXPECT_EQ(launched.verdict, Confidence::refuse);
  EXPECT_EQ(launched.summary,
            "No advice: 1 of 1 host calls asks for device work, and not one kernel or copy is on "
            "record.");

  launches.trace.unfinished = 1;
  EXPECT_NE(health_of(launches.trace).summary.find("none of it was done when the recording ended"),
            std::string::npos);

  Builder ops;
  ops.op("matmul", kEpoch, kEpoch + 10);
  const Health on_device = health_of(ops.trace);
  EXPECT_EQ(on_device.verdict, Confidence::refuse);
  EXPECT_EQ(on_device.items.at(0).code, HealthCode::no_device_data);

  Builder bad;
  bad.work(WorkKind::kernel, "k", kEpoch, kEpoch - 5, kNoRow);
  EXPECT_EQ(health_of(bad.trace).verdict, Confidence::refuse);

  Builder nowhere;
  nowhere.trace.ops.device[nowhere.op("import", kEpoch, kEpoch + 10)] = kNoRow;
  EXPECT_EQ(health_of(nowhere.trace).verdict, Confidence::low);
}

TEST(Health, ACpuDeviceNeedsNoDeviceWork) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.op("matmul", kEpoch, kEpoch + 10);
  EXPECT_EQ(health_of(b.trace).verdict, Confidence::high);
}

TEST(Health, ItemsComeWorstFirstAndLaterOnesCanWorsenIt) {
  Health h;
  add_item(h, {HealthCode::no_steps, Confidence::high, 0, 0, "No steps were found."});
  EXPECT_EQ(h.verdict, Confidence::high);
  EXPECT_EQ(h.summary, "");
  add_item(h, {HealthCode::lost_records, Confidence::refuse, 1, 2, "1 of 2 records was lost."});
  add_item(h, {HealthCode::cut_off, Confidence::medium, 0, 0, "The file ends."});
  EXPECT_EQ(h.verdict, Confidence::refuse);
  ASSERT_EQ(h.items.size(), 3u);
  EXPECT_EQ(h.items[0].code, HealthCode::lost_records);
  EXPECT_EQ(h.items[1].code, HealthCode::cut_off);
  EXPECT_EQ(h.items[2].code, HealthCode::no_steps);
  EXPECT_EQ(h.summary, "No advice: 1 of 2 records was lost.");
}

// 100 kernels, 100 launches: 2 of 200 sizes are 1 %, 3 are more. 2^50 is a size, however large.
TEST(Health, SizesThatNoMachineHasAreUnknown) {
  for (uint32_t bad : {0u, 2u, 3u}) {
    Builder b = kernels(100);
    for (uint32_t k = 0; k < 100; ++k)
      b.trace.work.bytes[k] = (uint64_t{1} << 50) + (k < bad ? 1 : 0);
    const Health h = health_of(b.trace);
    for (uint32_t k = 0; k < 100; ++k)
      EXPECT_EQ(b.trace.work.bytes[k], k < bad ? 0 : uint64_t{1} << 50);
    EXPECT_EQ(h.verdict, bad == 3 ? Confidence::low : Confidence::high);
    const HealthItem* const item = find(h, HealthCode::bad_sizes);
    ASSERT_EQ(item != nullptr, bad > 0);
    if (item == nullptr) continue;
    EXPECT_EQ(item->count, bad);
    EXPECT_EQ(item->total, 200u);
  }
}

TEST(Health, EverythingHasAName) {
  for (int k = 0; k <= static_cast<int>(HealthCode::bad_sizes); ++k)
    EXPECT_STRNE(health_code_name(static_cast<HealthCode>(k)), "");
  EXPECT_STREQ(health_code_name(static_cast<HealthCode>(200)), "");
  EXPECT_STREQ(confidence_name(Confidence::refuse), "refuse");
  EXPECT_STREQ(confidence_name(static_cast<Confidence>(9)), "");
}

TEST(Health, LimitsCanBeSet) {
  Builder b = kernels(1000);
  b.trace.work.end[5] = b.trace.work.start[5] - 1;
  HealthLimits limits;
  limits.bad_times_low = 0;
  EXPECT_EQ(health_of(b.trace, limits).verdict, Confidence::low);
}

}  // namespace
}  // namespace mill::prof
