// The store of a session: what it keeps, and what records without an exec amount to.
#include "profiler/session/record_store.h"

#include <gtest/gtest.h>

#include <string>

namespace mill::prof {
namespace {

class Names final : public RecordNames {
 public:
  std::string engine_text(uint32_t id) override { return "text " + std::to_string(id); }
  std::string op_name(int32_t op) override { return "op " + std::to_string(op); }
  std::string thread_name(uint32_t thread) override { return "thread " + std::to_string(thread); }
};

mill_trace_record at(int32_t kind, uint64_t start, uint64_t length = 0, uint32_t text = 0) {
  mill_trace_record record{};
  record.kind = kind;
  record.start_ns = start;
  record.duration_ns = length;
  record.detail = text;
  record.scope = text;
  record.thread = 7;
  return record;
}

TEST(RecordStore, RangesOfAThreadNest) {
  Names names;
  RecordStore store(names, 1 << 20);
  store.add(at(MILL_RECORD_SCOPE_BEGIN, 10, 0, 1));
  store.add(at(MILL_RECORD_SCOPE_BEGIN, 20, 0, 2));
  store.add(at(MILL_RECORD_SCOPE_END, 30));
  store.add(at(MILL_RECORD_SCOPE_END, 40));
  store.add(at(MILL_RECORD_SCOPE_END, 50));  // one too many
  const Trace trace = store.copy(0).tables();
  ASSERT_EQ(trace.ranges.size(), 2u);
  EXPECT_EQ(trace.ranges.start[0], 20);
  EXPECT_EQ(trace.ranges.end[0], 30);
  EXPECT_EQ(trace.strings.text(trace.ranges.name[0]), "text 2");
  EXPECT_EQ(trace.ranges.start[1], 10);
  EXPECT_EQ(trace.ranges.end[1], 40);
}

// 300 deep: the innermost 44 are not kept, and their ends do not end others.
TEST(RecordStore, RangesBeyondTheDepthThatIsKeptEndNoOthers) {
  Names names;
  RecordStore store(names, 1 << 20);
  for (uint32_t k = 0; k < 300; ++k) store.add(at(MILL_RECORD_SCOPE_BEGIN, k, 0, k + 1));
  for (uint32_t k = 0; k < 300; ++k) store.add(at(MILL_RECORD_SCOPE_END, 1000 + k));
  const Trace trace = store.copy(0).tables();
  ASSERT_EQ(trace.ranges.size(), 256u);
  for (uint32_t k = 0; k < 256; ++k) {
    // The outermost begins at 0 and ends last, at 1,299.
    EXPECT_EQ(trace.ranges.start[k], 255 - k);
    EXPECT_EQ(trace.ranges.end[k], 1044 + k);
  }
}

// A session without an exec says where one step ends and the next begins.
TEST(RecordStore, StepMarksAreTheEdgesOfSteps) {
  Names names;
  RecordStore store(names, 1 << 20);
  for (const uint64_t t : {100, 250, 300}) store.add(at(MILL_RECORD_STEP, t));
  const Trace trace = store.copy(0).tables();
  ASSERT_EQ(trace.marked_steps.size(), 2u);
  EXPECT_EQ(trace.marked_steps.start[0], 100);
  EXPECT_EQ(trace.marked_steps.end[0], 250);
  EXPECT_EQ(trace.marked_steps.number[0], 0);
  EXPECT_EQ(trace.marked_steps.start[1], 250);
  EXPECT_EQ(trace.marked_steps.end[1], 300);
  EXPECT_EQ(trace.marked_steps.number[1], 1);
}

TEST(RecordStore, KeepsTheNewestAndCountsTheRest) {
  Names names;
  constexpr uint64_t kLimit = 1 << 20;
  RecordStore store(names, kLimit);
  constexpr uint64_t kRecords = 100000;
  EXPECT_EQ(store.kept_from(), INT64_MIN);
  for (uint64_t k = 0; k < kRecords; ++k) store.add(at(MILL_RECORD_OP, 10 * k, 10));
  const Trace trace = store.copy(5).tables();
  EXPECT_GT(trace.ops.size(), 0u);
  // It looks at its size every 1,024 rows.
  EXPECT_LE(store.bytes(), kLimit + 2 * 1024 * Ops::row_bytes());
  EXPECT_EQ(store.records(), kRecords);
  EXPECT_EQ(store.forgotten() + trace.ops.size(), kRecords);
  EXPECT_EQ(trace.ops.end[trace.ops.size() - 1], static_cast<Ns>(10 * kRecords));
  ASSERT_EQ(trace.losses.size(), 2u);
  EXPECT_EQ(trace.losses[0].lost, 5u);
  EXPECT_EQ(trace.losses[1].where, "store");
  EXPECT_EQ(trace.losses[1].lost, store.forgotten());
  // All that ended before this is gone, and only that.
  EXPECT_EQ(store.kept_from(), trace.ops.start[0]);
}

// A copy becomes tables while the store goes on and writes all of its memory anew, three times.
TEST(RecordStore, ACopyStaysAsItWas) {
  Names names;
  constexpr uint64_t kLimit = 1 << 20;
  RecordStore store(names, kLimit);
  uint64_t k = 0;
  const auto add = [&](uint64_t until) {
    for (; k < until; ++k) store.add(at(MILL_RECORD_OP, 10 * k, 10));
  };
  add(2500);
  RecordCopy part = store.copy(0);
  add(20000);
  RecordCopy full = store.copy(0);
  const uint64_t forgotten = store.forgotten();
  add(60000);
  const auto check = [](const Trace& trace, uint64_t first, uint64_t end) {
    ASSERT_EQ(trace.ops.size(), end - first);
    for (uint64_t n = first; n < end; ++n)
      ASSERT_EQ(trace.ops.start[n - first], static_cast<Ns>(10 * n));
  };
  check(part.tables(), 0, 2500);
  check(full.tables(), forgotten, 20000);
  check(store.copy(0).tables(), store.forgotten(), 60000);
}

TEST(RecordStore, RecordsOfAnotherClockAreCounted) {
  Names names;
  RecordStore store(names, 1 << 20);
  store.add(at(MILL_RECORD_OP, 10, 10));
  store.set_clock(3);
  store.add(at(MILL_RECORD_OP, 20, 10));
  mill_trace_record modelled = at(MILL_RECORD_OP, 5, 10);
  modelled.clock = 3;
  store.add(modelled);
  const Trace trace = store.copy(0).tables();
  EXPECT_EQ(trace.ops.size(), 1u);
  EXPECT_EQ(trace.other_clock, 2u);
}

}  // namespace
}  // namespace mill::prof
