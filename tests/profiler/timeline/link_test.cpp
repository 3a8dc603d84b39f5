#include "profiler/timeline/link.h"

#include <gtest/gtest.h>

#include <random>

#include "profiler/builder.h"
#include "profiler/timeline/rows.h"

namespace mill::prof {
namespace {

using test::Builder;

// Rows move when a trace is linked; these find them again by what they are.
uint32_t row_of(const Trace& trace, const Ops& table, const char* name) {
  for (uint32_t row = 0; row < table.size(); ++row) {
    if (trace.strings.text(table.name[row]) == name) return row;
  }
  return kNoRow;
}
uint32_t op_row(const Trace& trace, const char* name) {
  return row_of(trace, trace.ops, name);
}
uint32_t call_at(const Trace& trace, Ns start) {
  for (uint32_t row = 0; row < trace.calls.size(); ++row) {
    if (trace.calls.start[row] == start) return row;
  }
  return kNoRow;
}
uint32_t work_at(const Trace& trace, Ns start) {
  for (uint32_t row = 0; row < trace.work.size(); ++row) {
    if (trace.work.start[row] == start) return row;
  }
  return kNoRow;
}

TEST(Link, WorkFindsItsCallAndTheCallItsWork) {
  Builder b;
  b.kernel("late", 200, 300, 400, 10);
  b.kernel("early", 20, 30, 40, 10);
  const LinkCounts counts = link(b.trace);
  const Trace& t = b.trace;
  EXPECT_EQ(t.work.start[0], 30);
  EXPECT_EQ(t.calls.start[t.work.call[0]], 10);
  EXPECT_EQ(t.calls.start[t.work.call[1]], 190);
  EXPECT_EQ(t.calls.work[t.work.call[0]], 0u);
  EXPECT_EQ(t.calls.work[t.work.call[1]], 1u);
  EXPECT_EQ(counts.launches, 2u);
  EXPECT_EQ(counts.work, 2u);
  EXPECT_EQ(counts.launches_without_work, 0u);
  EXPECT_EQ(counts.work_without_call, 0u);
  EXPECT_EQ(counts.work_without_op, 2u);
}

TEST(Link, FunctionsOnTheHostAreOnlyMissedWhereTheSourceShowsSome) {
  // Some device tracers keep no record of them at all.
  for (const bool shown : {false, true}) {
    Builder b;
    b.kernel("k", 20, 30, 40, 10);
    b.call(CallKind::host_function, "cudaLaunchHostFunc", 50, 60);
    if (shown) {
      const uint32_t call = b.call(CallKind::host_function, "cudaLaunchHostFunc", 70, 80);
      b.work(WorkKind::host_function, "f", 90, 95, call);
    }
    const LinkCounts counts = link(b.trace);
    EXPECT_EQ(counts.launches, shown ? 3u : 1u);
    EXPECT_EQ(counts.launches_without_work, shown ? 1u : 0u);
  }
}

TEST(Link, RecordedSpansAreBroughtIntoRangeToo) {
  Builder b;
  b.op("a", 100, 200);
  b.trace.recorded = {{INT64_MIN, INT64_MAX}};
  link(b.trace);
  EXPECT_EQ(b.trace.recorded[0], (Interval{kFirstTime, kLastTime}));
}

TEST(Link, WorkIsSortedByDeviceThenStart) {
  Builder b;
  const uint32_t second = b.device(5);
  b.on(second).kernel("x", 1, 2, 3, 1);
  b.on(0).kernel("y", 100, 110, 120, 1);
  b.on(0).kernel("z", 50, 60, 70, 1);
  link(b.trace);
  EXPECT_EQ(b.trace.work.start, (std::vector<Ns>{60, 110, 2}));
  EXPECT_EQ(b.trace.work.device, (std::vector<uint32_t>{0, 0, second}));
}

TEST(Link, AGraphLaunchHasManyPiecesAndPointsAtTheFirst) {
  Builder b;
  const uint32_t call = b.call(CallKind::graph_launch, "cudaGraphLaunch", 0, 10);
  b.work(WorkKind::kernel, "two", 40, 50, call);
  b.work(WorkKind::kernel, "one", 20, 30, call);
  b.work(WorkKind::kernel, "three", 60, 70, call);
  link(b.trace);
  EXPECT_EQ(b.trace.work.call, (std::vector<uint32_t>{0, 0, 0}));
  EXPECT_EQ(b.trace.calls.work[0], 0u);
  EXPECT_EQ(b.trace.work.start[0], 20);
}

TEST(Link, TheFirstPieceMayBeOnALaterDevice) {
  Builder b;
  const uint32_t second = b.device(1);
  const uint32_t call = b.call(CallKind::graph_launch, "cudaGraphLaunch", 0, 10);
  b.trace.calls.device[call] = kNoRow;
  b.on(0).work(WorkKind::kernel, "late", 40, 50, call);
  b.on(second).work(WorkKind::kernel, "early", 20, 30, call);
  link(b.trace);
  EXPECT_EQ(b.trace.work.start[b.trace.calls.work[0]], 20);
}

TEST(Link, ACorrelationThatComesAgainMeansTheLastCallBeforeTheWorkEnds) {
  Builder b;
  for (const Ns at : {1000, 2000, 3000}) {
    const uint32_t call = b.call(CallKind::launch, "cudaLaunchKernel", at, at + 10, 7);
    b.work(WorkKind::kernel, "k", at + 100, at + 200, call);
  }
  link(b.trace);
  for (uint32_t row = 0; row < 3; ++row)
    EXPECT_EQ(b.trace.calls.start[b.trace.work.call[row]], b.trace.work.start[row] - 100);
}

TEST(Link, WorkBeforeEveryCallOfItsNumberBelongsToTheFirst) {
  Builder b;
  b.call(CallKind::launch, "cudaLaunchKernel", 1000, 1010, 7);
  const uint32_t call = b.call(CallKind::launch, "cudaLaunchKernel", 2000, 2010, 7);
  b.work(WorkKind::kernel, "k", 100, 200, call);
  link(b.trace);
  EXPECT_EQ(b.trace.calls.start[b.trace.work.call[0]], 1000);
}

TEST(Link, CorrelationsOfOtherDevicesDoNotMatchButUnknownOnesDo) {
  Builder b;
  const uint32_t second = b.device(1);
  const uint32_t call = b.on(second).call(CallKind::launch, "launch", 0, 10, 7);
  b.on(0).work(WorkKind::kernel, "k", 20, 30, call);
  Trace unknown = b.trace;
  unknown.calls.device[0] = kNoRow;
  const LinkCounts counts = link(b.trace);
  EXPECT_EQ(b.trace.work.call[0], kNoRow);
  EXPECT_EQ(counts.work_without_call, 1u);
  EXPECT_EQ(counts.launches_without_work, 1u);
  link(unknown);
  EXPECT_EQ(unknown.work.call[0], 0u);
}

TEST(Link, NumberZeroIsNoNumber) {
  Builder b;
  b.call(CallKind::launch, "launch", 0, 10);
  b.trace.calls.correlation[0] = 0;
  b.work(WorkKind::kernel, "k", 20, 30, kNoRow);
  const LinkCounts counts = link(b.trace);
  EXPECT_EQ(b.trace.work.call[0], kNoRow);
  EXPECT_EQ(counts.work_without_call, 1u);
}

TEST(Link, WithoutAnyCallsNoWorkIsWithoutItsCall) {
  Builder b;
  b.work(WorkKind::kernel, "k", 20, 30, kNoRow);
  EXPECT_EQ(link(b.trace).work_without_call, 0u);
}

TEST(Link, ACallBelongsToTheInnermostOpAroundItsStart) {
  Builder b;
  b.op("outer", 0, 100);
  b.op("inner", 10, 50);
  b.call(CallKind::launch, "a", 5, 6);
  b.call(CallKind::launch, "b", 10, 60);                  // begins with inner
  b.call(CallKind::launch, "c", 50, 51);                  // inner has ended
  b.call(CallKind::launch, "d", 100, 101);                // all have ended
  b.by(b.thread(2)).call(CallKind::launch, "e", 20, 21);  // another thread
  link(b.trace);
  const Trace& t = b.trace;
  EXPECT_EQ(t.calls.op[call_at(t, 5)], op_row(t, "outer"));
  EXPECT_EQ(t.calls.op[call_at(t, 10)], op_row(t, "inner"));
  EXPECT_EQ(t.calls.op[call_at(t, 50)], op_row(t, "outer"));
  EXPECT_EQ(t.calls.op[call_at(t, 100)], kNoRow);
  EXPECT_EQ(t.calls.op[call_at(t, 20)], kNoRow);
}

TEST(Link, OpsThatOverlapWithoutNestingDoNotConfuseIt) {
  Builder b;
  b.op("first", 0, 100);
  b.op("second", 50, 150);
  b.op("short", 60, 70);
  b.call(CallKind::launch, "a", 65, 66);
  b.call(CallKind::launch, "b", 80, 81);
  b.call(CallKind::launch, "c", 120, 121);
  b.call(CallKind::launch, "d", 20, 21);
  link(b.trace);
  const Trace& t = b.trace;
  EXPECT_EQ(t.calls.op[call_at(t, 65)], op_row(t, "short"));
  EXPECT_EQ(t.calls.op[call_at(t, 80)], op_row(t, "second"));
  EXPECT_EQ(t.calls.op[call_at(t, 120)], op_row(t, "second"));
  EXPECT_EQ(t.calls.op[call_at(t, 20)], op_row(t, "first"));
  EXPECT_EQ(t.ops.parent[op_row(t, "second")], kNoRow);
  EXPECT_EQ(t.ops.parent[op_row(t, "short")], op_row(t, "second"));
}

TEST(Link, AnInstanceIsWorthMoreThanTheTime) {
  Builder b;
  b.op("around", 0, 100, 1);
  b.op("asked", 200, 300, 2);
  const uint32_t call = b.call(CallKind::launch, "a", 50, 60);
  b.trace.calls.instance[call] = 2;
  const uint32_t lost = b.call(CallKind::launch, "b", 70, 80);
  b.trace.calls.instance[lost] = 99;  // of an op that was not recorded
  link(b.trace);
  EXPECT_EQ(b.trace.calls.op[call_at(b.trace, 50)], op_row(b.trace, "asked"));
  EXPECT_EQ(b.trace.calls.op[call_at(b.trace, 70)], op_row(b.trace, "around"));
}

TEST(Link, WorkHasTheOpOfItsCallElseOfItsInstance) {
  Builder b;
  b.op("a", 0, 100, 1);
  b.op("b", 200, 300, 2);
  b.kernel("launched", 50, 400, 500, 10);
  const uint32_t row = b.work(WorkKind::kernel, "named", 600, 700, kNoRow);
  b.trace.work.instance[row] = 2;
  b.work(WorkKind::kernel, "neither", 800, 900, kNoRow);
  const LinkCounts counts = link(b.trace);
  EXPECT_EQ(b.trace.work.op[work_at(b.trace, 400)], op_row(b.trace, "a"));
  EXPECT_EQ(b.trace.work.op[work_at(b.trace, 600)], op_row(b.trace, "b"));
  EXPECT_EQ(b.trace.work.op[work_at(b.trace, 800)], kNoRow);
  EXPECT_EQ(counts.work_without_op, 1u);
}

TEST(Link, OpsNest) {
  Builder b;
  b.op("leaf", 20, 30);
  b.op("middle", 10, 50);
  b.op("outer", 0, 100);
  b.op("twin", 10, 50);
  b.op("next", 100, 200);
  b.by(b.thread(2)).op("elsewhere", 20, 30);
  link(b.trace);
  const Trace& t = b.trace;
  EXPECT_EQ(t.ops.parent[op_row(t, "outer")], kNoRow);
  EXPECT_EQ(t.ops.parent[op_row(t, "next")], kNoRow);
  EXPECT_EQ(t.ops.parent[op_row(t, "elsewhere")], kNoRow);
  // Of two ops with the same times, one is in the other and the leaf in that one.
  const uint32_t inner = t.ops.parent[op_row(t, "leaf")];
  const uint32_t around = t.ops.parent[inner];
  EXPECT_EQ(t.ops.start[inner], 10);
  EXPECT_EQ(t.ops.start[around], 10);
  EXPECT_NE(inner, around);
  EXPECT_EQ(t.ops.parent[around], op_row(t, "outer"));
}

TEST(Link, TheLongerOfTwoOpsThatBeginTogetherComesFirst) {
  Builder b;
  b.op("short", 0, 10);
  b.op("long", 0, 100);
  link(b.trace);
  EXPECT_EQ(op_row(b.trace, "long"), 0u);
  EXPECT_EQ(b.trace.ops.parent[1], 0u);
}

TEST(Link, ABackwardOpKnowsItsForwardOp) {
  Builder b;
  b.op("matmul", 0, 10, 5);
  const uint32_t row = b.op("matmul backward", 50, 60, 6);
  b.trace.ops.forward[row] = 5;
  const uint32_t self = b.op("odd", 70, 80, 7);
  b.trace.ops.forward[self] = 7;
  link(b.trace);
  EXPECT_EQ(b.trace.ops.forward_op[op_row(b.trace, "matmul backward")], op_row(b.trace, "matmul"));
  EXPECT_EQ(b.trace.ops.forward_op[op_row(b.trace, "matmul")], kNoRow);
  EXPECT_EQ(b.trace.ops.forward_op[op_row(b.trace, "odd")], kNoRow);
}

TEST(Link, AllocationsBelongToTheOpTheyHappenedIn) {
  Builder b;
  b.op("a", 0, 100, 1);
  const uint32_t row = b.trace.allocations.add();
  b.trace.allocations.start[row] = 50;
  b.trace.allocations.end[row] = 55;
  link(b.trace);
  EXPECT_EQ(b.trace.allocations.op[0], 0u);
}

uint32_t engine_copy(Builder& b, Memory from, Memory to, uint64_t bytes, Ns start, Ns end) {
  Copies& copies = b.trace.copies;
  const uint32_t row = copies.add();
  copies.start[row] = start;
  copies.end[row] = end;
  copies.from[row] = static_cast<uint8_t>(from);
  copies.to[row] = static_cast<uint8_t>(to);
  copies.bytes[row] = bytes;
  return row;
}

TEST(Link, ACopyOfTheEngineFindsTheWorkOfTheCallInsideIt) {
  Builder b;
  const uint32_t row = engine_copy(b, Memory::pinned, Memory::device, 64, 100, 200);
  b.trace.copies.tensor[row] = 11;
  b.trace.copies.tensor_version[row] = 3;
  b.trace.copies.storage[row] = 12;
  b.kernel("k", 120, 121, 122, 5);  // no copy
  b.copy(CopyKind::host_to_device, Memory::pinned, 64, 130, 140, 150, 250);
  b.copy(CopyKind::host_to_device, Memory::pinned, 64, 160, 170, 260, 300);  // not the first
  link(b.trace);
  const Trace& t = b.trace;
  const uint32_t piece = t.copies.work[0];
  ASSERT_NE(piece, kNoRow);
  EXPECT_EQ(t.work.start[piece], 150);
  EXPECT_EQ(t.work.copy[piece], 0u);
  EXPECT_EQ(t.work.tensor[piece], 11u);
  EXPECT_EQ(t.work.tensor_version[piece], 3u);
  EXPECT_EQ(t.work.storage[piece], 12u);
  EXPECT_EQ(t.work.copy[work_at(t, 260)], kNoRow);
  EXPECT_EQ(t.copies.op[0], kNoRow);  // nothing left a device
}

TEST(Link, ACopyOfOtherBytesOrAnotherThreadOrTimeIsNotIt) {
  Builder b;
  engine_copy(b, Memory::pinned, Memory::device, 64, 100, 200);
  b.copy(CopyKind::host_to_device, Memory::pinned, 65, 130, 140, 150, 250);
  b.copy(CopyKind::host_to_device, Memory::pinned, 64, 200, 210, 300, 350);
  b.copy(CopyKind::host_to_device, Memory::pinned, 64, 99, 110, 360, 370);
  b.by(b.thread(2)).copy(CopyKind::host_to_device, Memory::pinned, 64, 150, 160, 400, 450);
  link(b.trace);
  EXPECT_EQ(b.trace.copies.work[0], kNoRow);
}

TEST(Link, WhatTheSourceSaidOfATensorStays) {
  Builder b;
  const uint32_t row = engine_copy(b, Memory::pinned, Memory::device, 64, 100, 200);
  b.trace.copies.tensor[row] = 11;
  const uint32_t piece = b.copy(CopyKind::host_to_device, Memory::pinned, 64, 130, 140, 150, 250);
  b.trace.work.tensor[piece] = 77;
  link(b.trace);
  EXPECT_EQ(b.trace.work.tensor[0], 77u);
}

TEST(Link, AReadBackKnowsTheOpThatMadeWhatItReads) {
  Builder b;
  const auto op = [&](const char* name, Ns at, uint64_t storage, uint64_t tensor) {
    const uint32_t row = b.op(name, at, at + 10, static_cast<uint64_t>(at));
    b.trace.ops.storage[row] = storage;
    b.trace.ops.tensor[row] = tensor;
  };
  op("loss of before", 100, 5, 1);
  op("loss", 200, 5, 1);
  op("other", 300, 6, 2);
  op("later", 500, 5, 1);
  const uint32_t read = engine_copy(b, Memory::device, Memory::pageable, 4, 400, 450);
  b.trace.copies.storage[read] = 5;
  const uint32_t by_tensor = engine_copy(b, Memory::device, Memory::pageable, 4, 460, 470);
  b.trace.copies.tensor[by_tensor] = 2;
  const uint32_t itself = engine_copy(b, Memory::device, Memory::pageable, 4, 505, 506);
  b.trace.copies.storage[itself] = 5;
  b.trace.copies.instance[itself] = 500;
  link(b.trace);
  EXPECT_EQ(b.trace.copies.op[0], op_row(b.trace, "loss"));
  EXPECT_EQ(b.trace.copies.op[1], op_row(b.trace, "other"));
  EXPECT_EQ(b.trace.copies.op[2], op_row(b.trace, "loss"));
}

TEST(Link, LaunchesUnderWayAtTheEndAndFailedOnesMissNothing) {
  Builder b;
  b.call(CallKind::launch, "a", 0, 10);
  b.call(CallKind::launch, "b", 20, 30);
  b.call(CallKind::launch, "c", 40, 50);
  b.call(CallKind::event_record, "no launch", 60, 70);
  b.trace.calls.flags[1] |= kUnfinished;
  b.trace.calls.status[2] = 700;
  const LinkCounts counts = link(b.trace);
  EXPECT_EQ(counts.launches, 3u);
  EXPECT_EQ(counts.launches_without_work, 1u);
}

TEST(Link, WorkThatTheDeviceHadNotFinishedIsNotMissing) {
  Builder b;
  b.call(CallKind::launch, "a", 0, 10);
  b.call(CallKind::launch, "b", 20, 30);
  b.trace.unfinished = 1;
  EXPECT_EQ(link(b.trace).launches_without_work, 1u);
}

TEST(Link, ADriverCallInsideARuntimeCallIsTheSameLaunch) {
  Builder b;
  b.call(CallKind::launch, "cudaLaunchKernel", 0, 100);
  const uint32_t inner = b.call(CallKind::launch, "cuLaunchKernel", 10, 90);
  b.work(WorkKind::kernel, "k", 200, 300, inner);
  const LinkCounts counts = link(b.trace);
  EXPECT_EQ(counts.launches, 1u);
  EXPECT_EQ(counts.launches_without_work, 0u);
}

TEST(Link, WhatIsNowhereGetsAThreadAndADevice) {
  Builder b;
  const uint32_t op = b.op("a", 0, 10);
  b.trace.ops.thread[op] = 1234;
  b.trace.ops.device[op] = 99;
  b.kernel("k", 20, 30, 40, 5);
  b.trace.work.device[0] = kNoRow;
  b.trace.work.stream[0] = 77;
  const uint32_t at_stream = b.kernel("by its stream", 120, 130, 140, 5);
  b.trace.work.device[at_stream] = kNoRow;
  link(b.trace);
  const Trace& t = b.trace;
  ASSERT_EQ(t.threads.size(), 2u);
  EXPECT_EQ(t.ops.thread[0], 1u);
  EXPECT_EQ(t.ops.device[0], kNoRow);
  ASSERT_EQ(t.devices.size(), 2u);
  EXPECT_EQ(t.devices[1].name, "unknown device");
  EXPECT_EQ(t.work.device[work_at(t, 30)], 1u);
  EXPECT_EQ(t.work.stream[work_at(t, 30)], kNoRow);
  EXPECT_EQ(t.work.device[work_at(t, 130)], 0u);
}

TEST(Link, LinkingAgainChangesNothing) {
  Builder b;
  b.op("a", 0, 100, 1);
  b.kernel("k", 50, 60, 70, 5);
  b.kernel("l", 40, 80, 90, 5);
  link(b.trace);
  const Trace once = b.trace;
  link(b.trace);
  EXPECT_EQ(b.trace.work.call, once.work.call);
  EXPECT_EQ(b.trace.calls.op, once.calls.op);
  EXPECT_EQ(b.trace.calls.work, once.calls.work);
}

TEST(Link, TimesAreBroughtToWhereTheyCanBeSubtracted) {
  Builder b;
  b.op("a", INT64_MIN, INT64_MAX);
  b.work(WorkKind::kernel, "k", INT64_MAX, INT64_MIN, kNoRow);
  link(b.trace);
  // 2^62 - 1 and its negative: their difference is 2^63 - 2.
  EXPECT_EQ(b.trace.ops.end[0] - b.trace.ops.start[0], INT64_MAX - 1);
  EXPECT_EQ(b.trace.work.start[0], (Ns{1} << 62) - 1);
}

TEST(Link, NoChainOfParentsIsDeeperThanPeopleNest) {
  Builder b;
  for (Ns k = 0; k < 5000; ++k) b.op("nested", k, 20000 - k);
  link(b.trace);
  uint32_t steps = 0;
  for (uint32_t row = 4999; row != kNoRow; row = b.trace.ops.parent[row]) ++steps;
  EXPECT_GT(steps, 500u);
  EXPECT_LE(steps, 513u);
}

}  // namespace
}  // namespace mill::prof
