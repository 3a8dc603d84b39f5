#include "profiler/timeline/timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "profiler/builder.h"

namespace mill::prof {
namespace {

using test::Builder;
using test::timeline_of;

TEST(Timeline, OfNothing) {
  const Timeline t = timeline_of(Trace{});
  EXPECT_EQ(t.span(), (Interval{0, 0}));
  EXPECT_TRUE(t.devices().empty());
  EXPECT_TRUE(t.steps().empty());
  EXPECT_EQ(t.main_thread(), kNoRow);
  EXPECT_EQ(t.device(0), nullptr);
  EXPECT_TRUE(t.calls_of(0).empty());
  EXPECT_TRUE(t.ops_of(kNoRow).empty());
  EXPECT_TRUE(find_gaps(t, 0).empty());
}

TEST(Timeline, OverlappingKernelsCountOnce) {
  Builder b;
  b.on(0, 7).work(WorkKind::kernel, "a", 0, 10, kNoRow);
  b.on(0, 8).work(WorkKind::kernel, "b", 5, 15, kNoRow);
  b.on(0, 9).work(WorkKind::kernel, "c", 5, 5, kNoRow);
  const Timeline t = timeline_of(b.trace);
  ASSERT_EQ(t.devices().size(), 1u);
  const DeviceView& view = t.devices()[0];
  EXPECT_EQ(view.kernel.length(), 15);  // their sum is 20
  EXPECT_EQ(view.busy.length(), 15);
  EXPECT_EQ(view.kernels.size(), 3u);
  EXPECT_LE(view.busy.length(), t.window().length());
}

TEST(Timeline, CopiesByDirection) {
  Builder b;
  b.copy(CopyKind::host_to_device, Memory::pinned, 1, 0, 5, 10, 30);
  b.copy(CopyKind::device_to_host, Memory::pinned, 1, 6, 9, 20, 50);
  b.copy(CopyKind::on_device, Memory::unknown, 1, 9, 10, 60, 65);
  b.kernel("k", 11, 40, 100, 1);
  b.work(WorkKind::fill, "f", 100, 110, kNoRow);
  b.work(WorkKind::host_function, "h", 110, 190, kNoRow);
  const Timeline t = timeline_of(b.trace);
  const DeviceView& view = t.devices()[0];
  EXPECT_EQ(view.to_device.length(), 20);
  EXPECT_EQ(view.to_host.length(), 30);
  EXPECT_EQ(view.copy.length(), 45);  // [10, 50) and [60, 65)
  EXPECT_EQ(view.fill.length(), 10);
  EXPECT_EQ(view.busy.length(), 100);  // [10, 110)
  EXPECT_EQ(view.work.size(), 6u);
  EXPECT_EQ(view.copies.size(), 3u);
  // Hidden under the kernel [40, 100): [40, 50) and [60, 65).
  EXPECT_EQ(view.copy.intersected(view.kernel).length(), 15);
  EXPECT_EQ(view.copy.minus(view.kernel).length(), 30);
}

TEST(Timeline, ViewsAreCutToTheWindowAndExcludedRowsLeftOut) {
  Builder b;
  b.step(0, 100, 200);
  b.work(WorkKind::kernel, "before", 0, 50, kNoRow);
  b.work(WorkKind::kernel, "into", 80, 130, kNoRow);
  b.work(WorkKind::kernel, "inside", 150, 160, kNoRow);
  b.work(WorkKind::kernel, "at the end", 200, 200, kNoRow);
  const uint32_t bad = b.work(WorkKind::kernel, "bad", 170, 180, kNoRow);
  b.trace.work.flags[bad] |= kExcluded;
  const Timeline t = timeline_of(b.trace);
  EXPECT_EQ(t.window(), (Interval{100, 200}));
  const DeviceView& view = t.devices()[0];
  EXPECT_EQ(view.kernels.size(), 2u);
  EXPECT_EQ(view.kernel.length(), 40);
}

TEST(Timeline, DevicesComeBusiestFirst) {
  Builder b;
  const uint32_t second = b.device(1);
  b.device(2);  // does nothing
  b.on(0).kernel("a", 10, 20, 30, 5);
  b.on(second).kernel("b", 10, 20, 80, 5);
  const Timeline t = timeline_of(b.trace);
  ASSERT_EQ(t.devices().size(), 2u);
  EXPECT_EQ(t.devices()[0].device, second);
  EXPECT_EQ(t.device(0)->busy.length(), 10);
  EXPECT_EQ(t.device(2), nullptr);
}

TEST(Timeline, ACpuDeviceWorksWhereItsInnermostOpsRun) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.op("backward", 0, 100);
  b.op("a", 10, 30);
  b.op("b", 50, 60);
  b.by(b.thread(2)).op("c", 20, 40);
  const Timeline t = timeline_of(b.trace);
  ASSERT_EQ(t.devices().size(), 1u);
  const DeviceView& view = t.devices()[0];
  // [10, 40) and [50, 60).
  EXPECT_EQ(view.kernel.length(), 40);
  EXPECT_EQ(view.busy.length(), 40);
  EXPECT_TRUE(view.work.empty());
  EXPECT_TRUE(view.kernels.empty());
  EXPECT_EQ(t.main_thread(), 0u);
}

// A dropout draws its numbers in an op of its own, and computes before and after that.
TEST(Timeline, AnOpThatCountsItsBytesComputesForAllItsTime) {
  Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.op("backward", 0, 100);
  const uint32_t outer = b.op("dropout", 10, 50);
  const uint32_t inner = b.op("rng_next", 20, 22);
  const uint32_t deeper = b.op("philox", 20, 21);
  b.op("add", 60, 70);
  for (const uint32_t row : {outer, inner, deeper}) b.trace.ops.bytes[row] = 48;
  const Timeline t = timeline_of(b.trace);
  ASSERT_EQ(t.devices().size(), 1u);
  EXPECT_EQ(t.devices()[0].kernel.length(), 40 + 10);
}

TEST(Timeline, TheMainThreadLaunchesMost) {
  Builder b;
  b.op("a", 0, 1);
  b.op("b", 1, 2);
  b.kernel("k", 10, 20, 30, 5);
  const uint32_t second = b.thread(2);
  b.by(second).kernel("k", 110, 120, 130, 5);
  b.kernel("k", 210, 220, 230, 5);
  EXPECT_EQ(timeline_of(b.trace).main_thread(), second);
}

TEST(Timeline, RowsOfAThreadAreInOrderWithoutImpossibleOnes) {
  Builder b;
  b.op("inner", 10, 20);
  b.op("outer", 10, 90);
  b.op("backwards", 50, 40);
  b.call(CallKind::launch, "late", 70, 71);
  b.call(CallKind::launch, "early", 15, 16);
  b.call(CallKind::launch, "backwards", 30, 20);
  const Timeline t = timeline_of(b.trace);
  ASSERT_EQ(t.ops_of(0).size(), 2u);
  EXPECT_EQ(t.trace().ops.end[t.ops_of(0)[0]], 90);
  ASSERT_EQ(t.calls_of(0).size(), 2u);
  EXPECT_EQ(t.trace().calls.start[t.calls_of(0)[0]], 15);
}

TEST(Timeline, ARecordThatWasNeverFilledInDoesNotStretchTheSpan) {
  Builder b;
  const Ns epoch = 1'600'000'000'000'000'000;
  b.op("zero", 0, epoch + 5);
  for (Ns k = 0; k < 30; ++k) b.op("a", epoch + k * 10, epoch + k * 10 + 10);
  EXPECT_EQ(timeline_of(b.trace).span(), (Interval{epoch, epoch + 300}));
}

TEST(Timeline, ATraceMayBeginAtZero) {
  Builder b;
  for (Ns k = 0; k < 30; ++k) b.op("a", k * test::ms * 1000, k * test::ms * 1000 + 10);
  EXPECT_EQ(timeline_of(b.trace).span().begin, 0);
}

// ---- properties ---------------------------------------------------------------------------------

// A program of three threads and two devices, with everything that a gap can be blamed on. All
// starts of a table differ.
Trace random_trace(uint32_t seed, Ns shift, bool shuffled) {
  std::mt19937 random(seed);
  const auto below = [&](Ns n) { return static_cast<Ns>(random() % static_cast<uint64_t>(n)); };
  Builder b;
  b.device(1);
  b.thread(2);
  b.thread(3);
  Ns at = shift + 1'000'000;
  for (int64_t step = 0; step < 12; ++step) {
    const Ns began = at;
    b.by(0);
    if (below(2) == 0) b.loader_wait(at + 1, at + 1 + below(900));
    for (int k = 0; k < 20; ++k) {
      at += 50 + below(200);
      b.by(static_cast<uint32_t>(below(3)))
          .on(static_cast<uint32_t>(below(2)), 7 + static_cast<uint64_t>(below(3)));
      b.op("op" + std::to_string(k), at - 20, at + 20 + below(100));
      const Ns device_at = at + below(400);
      switch (below(6)) {
        case 0:
          b.copy(below(2) == 0 ? CopyKind::host_to_device : CopyKind::device_to_host,
                 Memory::pageable, 64, at, at + 7, device_at, device_at + below(300),
                 below(2) == 0);
          break;
        case 1:
          b.work(WorkKind::fill, "fill", device_at, device_at + below(50),
                 b.call(CallKind::fill, "cudaMemsetAsync", at, at + 3));
          break;
        case 2: b.call(CallKind::sync_stream, "sync", at, at + below(300)); break;
        case 3: b.call(CallKind::allocate, "cudaMalloc", at, at + below(200)); break;
        default:
          b.kernel("k" + std::to_string(k), at + 5, device_at, device_at + below(300));
          break;
      }
      if (below(10) == 0) {
        const uint32_t row = b.trace.overheads.add();
        b.trace.overheads.start[row] = at - 30;
        b.trace.overheads.end[row] = at - 30 + below(100);
        b.trace.overheads.kind[row] = static_cast<uint8_t>(1 + below(3));
      }
    }
    b.by(0).step(step, began, at);
    at += below(50);
  }
  if (shuffled) {
    for_each_table(b.trace, [&](const char*, auto& table) {
      std::vector<uint32_t> order(table.size());
      for (uint32_t k = 0; k < order.size(); ++k) order[k] = k;
      std::shuffle(order.begin(), order.end(), random);
      table.permute(order);
    });
  }
  return b.trace;
}

void expect_same(const Timeline& a, const Timeline& b, Ns shift) {
  ASSERT_EQ(a.steps().size(), b.steps().size());
  for (size_t k = 0; k < a.steps().size(); ++k) {
    const Step& x = a.steps()[k];
    const Step& y = b.steps()[k];
    ASSERT_EQ(x.begin + shift, y.begin);
    ASSERT_EQ(x.end + shift, y.end);
    ASSERT_EQ(x.warm_up, y.warm_up);
    ASSERT_EQ((std::vector<Ns>{x.kernel, x.copy, x.fill, x.call, x.loader, x.host, x.other}),
              (std::vector<Ns>{y.kernel, y.copy, y.fill, y.call, y.loader, y.host, y.other}));
  }
  ASSERT_EQ(a.window().begin + shift, b.window().begin);
  ASSERT_EQ(a.main_thread(), b.main_thread());
  ASSERT_EQ(a.devices().size(), b.devices().size());
  for (size_t k = 0; k < a.devices().size(); ++k) {
    ASSERT_EQ(a.devices()[k].device, b.devices()[k].device);
    ASSERT_EQ(a.devices()[k].busy.length(), b.devices()[k].busy.length());
    ASSERT_EQ(a.devices()[k].work, b.devices()[k].work);
  }
  const std::vector<Gap> gaps = find_gaps(a, 1);
  const std::vector<Gap> others = find_gaps(b, 1);
  ASSERT_EQ(gaps.size(), others.size());
  for (size_t k = 0; k < gaps.size(); ++k) {
    ASSERT_EQ(gaps[k].begin + shift, others[k].begin);
    ASSERT_EQ(gaps[k].next, others[k].next);
    ASSERT_EQ(gaps[k].op, others[k].op);
    for (int cause = 0; cause < kGapCauses; ++cause)
      ASSERT_EQ(gaps[k].causes[cause], others[k].causes[cause]) << cause;
  }
}

TEST(TimelineProperties, SetsAndGapsAddUp) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const Timeline t = timeline_of(random_trace(seed, 0, false));
    ASSERT_GE(t.steps().size(), 9u);
    for (const Step& s : t.steps()) {
      ASSERT_EQ(s.kernel + s.copy + s.fill + s.call + s.loader + s.host + s.other, s.end - s.begin);
    }
    ASSERT_EQ(t.devices().size(), 2u);
    std::vector<Gap> gaps = find_gaps(t, 0);
    for (const DeviceView& view : t.devices()) {
      Ns sum = 0;
      for (const uint32_t row : view.work)
        sum += t.trace().work.end[row] - t.trace().work.start[row];
      ASSERT_LE(view.busy.length(), sum);
      ASSERT_LE(view.busy.length(), t.window().length());
      ASSERT_EQ(view.copy.intersected(view.kernel).length() + view.copy.minus(view.kernel).length(),
                view.copy.length());
      Ns idle = 0;
      for (const Gap& gap : gaps) {
        if (gap.device != view.device) continue;
        idle += gap.end - gap.begin;
        Ns causes = 0;
        for (const Ns cause : gap.causes) {
          ASSERT_GE(cause, 0);
          causes += cause;
        }
        ASSERT_EQ(causes, gap.end - gap.begin);
      }
      ASSERT_EQ(idle + view.busy.length(), t.analysed().length());
    }
  }
}

TEST(TimelineProperties, MovingAllTimesChangesNothing) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const Ns shift = 1'623'142'623'460'016'000;
    expect_same(timeline_of(random_trace(seed, 0, false)),
                timeline_of(random_trace(seed, shift, false)), shift);
  }
}

TEST(TimelineProperties, TheOrderOfTheRowsChangesNothing) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    expect_same(timeline_of(random_trace(seed, 0, false)), timeline_of(random_trace(seed, 0, true)),
                0);
  }
}

// ---- rows that no clock and no program made -----------------------------------------------------

TEST(TimelineHostile, AnyRowsAreSurvived) {
  const Ns times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, 1000, 2000, INT64_MAX - 1, INT64_MAX};
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    Trace trace;
    if (seed % 3 != 0) {
      trace.device(0);
      trace.thread(1, 1);
      trace.stream(0, 7);
    }
    for_each_table(trace, [&](const char*, auto& table) {
      for (int k = 0; k < 60; ++k) {
        const uint32_t row = table.add();
        std::remove_reference_t<decltype(table)>::visit(
            table, [&](const ColumnInfo& info, auto& column) {
              using Value = typename std::remove_reference_t<decltype(column)>::value_type;
              if constexpr (std::is_same_v<Value, int64_t>) {
                column[row] = times[random() % std::size(times)];
              } else if (info.unit != Unit::none || random() % 2 == 0) {
                column[row] = static_cast<Value>(random() % (random() % 4 == 0 ? 300 : 4));
              }
            });
      }
    });
    trace.recorded = {{INT64_MIN / 4, INT64_MAX / 4}};
    const Timeline t = timeline_of(std::move(trace));
    for (const Gap& gap : find_gaps(t, 0)) {
      Ns causes = 0;
      for (const Ns cause : gap.causes) causes += cause;
      ASSERT_EQ(causes, gap.end - gap.begin);
    }
    for (const Step& s : t.steps()) ASSERT_LT(s.begin, s.end);
  }
}

TEST(TimelineHostile, AMillionRowsAtOneInstant) {
  Builder b;
  const Ns at = 5000;
  b.trace.ops.reserve(400'000);
  for (uint32_t k = 0; k < 200'000; ++k) {
    b.op("zero", at, at);
    b.op("one", at, at + 1);
    const uint32_t call = b.call(CallKind::launch, "launch", at, at + 1, 1);
    b.work(WorkKind::kernel, "zero", at, at, call);
    b.work(WorkKind::kernel, "one", at, at + 1, call);
  }
  const Timeline t = timeline_of(std::move(b.trace));
  EXPECT_EQ(t.devices().at(0).busy.length(), 1);
  EXPECT_EQ(t.devices().at(0).work.size(), 400'000u);
  EXPECT_TRUE(find_gaps(t, 1).empty());
}

TEST(TimelineHostile, AsManyDevicesAsAFileCanName) {
  Builder b;
  for (uint32_t k = 0; k < 5000; ++k) {
    b.on(b.device(k)).kernel("k", 1000 * k + 10, 1000 * k + 20, 1000 * k + 30, 10);
    b.op("op", 1000 * k, 1000 * k + 900);
    const uint32_t row = b.trace.overheads.add();
    b.trace.overheads.start[row] = 1000 * k + 500;
    b.trace.overheads.end[row] = 1000 * k + 510;
  }
  const Timeline t = timeline_of(std::move(b.trace));
  EXPECT_EQ(t.devices().size(), 5000u);
  EXPECT_EQ(t.device(4999)->busy.length(), 10);
  // One before each device's only kernel.
  EXPECT_EQ(find_gaps(t, 1).size(), kGapDevices);
}

TEST(TimelineHostile, OverlappingStairsAndDeepNests) {
  Builder b;
  const Ns n = 100'000;
  for (Ns k = 0; k < n; ++k) {
    b.op("stair", k, n + k);
    b.call(CallKind::launch, "launch", k, n + k, 1 + static_cast<uint64_t>(k) % 3);
    const uint32_t row = b.trace.copies.add();
    b.trace.copies.start[row] = k;
    b.trace.copies.end[row] = 3 * n - k;
  }
  b.by(b.thread(2));
  for (Ns k = 0; k < n; ++k) b.op("nest", k, 3 * n - k);
  b.work(WorkKind::kernel, "k", n, n + 1, 0);
  b.work(WorkKind::kernel, "k", 2 * n, 2 * n + 1, 1);
  const Timeline t = timeline_of(std::move(b.trace));
  ASSERT_EQ(t.devices().size(), 1u);
  EXPECT_EQ(t.devices()[0].busy.length(), 2);
}

}  // namespace
}  // namespace mill::prof
