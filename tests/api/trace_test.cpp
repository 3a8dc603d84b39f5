// The trace: what its header promises.
#include <cstring>
#include <fstream>
#include <iterator>

#include "api/refusal.h"

namespace mill_test {
namespace {

struct TraceApi : testing::Test {
  std::vector<mill_trace_record> drain() {
    std::vector<mill_trace_record> out;
    mill_trace_record some[64];
    mill_status status = MILL_INCOMPLETE;
    while (status == MILL_INCOMPLETE) {
      uint32_t count = 0;
      uint64_t lost = 0;
      status = mill_trace_drain(f.context(), some, 64, &count, &lost, f.err());
      EXPECT_GE(status, MILL_OK) << f.message();
      EXPECT_EQ(lost, 0u);
      out.insert(out.end(), some, some + count);
    }
    return out;
  }
  std::string text(uint32_t id) {
    uint64_t size = 0;
    EXPECT_EQ(mill_trace_string(f.context(), id, nullptr, 0, &size, f.err()), MILL_INCOMPLETE);
    std::string out(size, '?');
    EXPECT_EQ(mill_trace_string(f.context(), id, out.data(), size, nullptr, f.err()), MILL_OK);
    EXPECT_EQ(out.back(), '\0');
    out.pop_back();
    return out;
  }
  void on(uint64_t mask) {
    ASSERT_EQ(mill_trace_set_mask(f.context(), mask, f.err()), MILL_OK) << f.message();
  }
  Fixture f;
};

TEST_F(TraceApi, IsOffUntilAMaskIsSet) {
  f.tensor();
  EXPECT_TRUE(drain().empty());
  on(MILL_TRACE_OPS);
  f.tensor();
  on(0);
  f.tensor();
  EXPECT_EQ(drain().size(), 1u) << "what is in the rings stays";
}

TEST_F(TraceApi, AnOpsRecordSaysWhatItDid) {
  mill_tensor* const a = f.tensor({4, 8});
  mill_tensor* const b = f.tensor({8, 2});
  on(MILL_TRACE_OPS);
  uint64_t before = 0;
  uint64_t after = 0;
  ASSERT_EQ(mill_trace_clock(f.context(), &before, f.err()), MILL_OK);
  mill_tensor** const out = f.slot<mill_tensor>();
  ASSERT_EQ(mill_matmul(f.exec(), a, b, out, f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_clock(f.context(), &after, f.err()), MILL_OK);
  const auto records = drain();
  ASSERT_EQ(records.size(), 1u);
  const mill_trace_record& r = records[0];
  EXPECT_EQ(r.version, static_cast<uint32_t>(MILL_RECORD_VERSION));
  EXPECT_EQ(r.kind, MILL_RECORD_OP);
  EXPECT_EQ(r.op, MILL_OP_MATMUL);
  EXPECT_EQ(r.status, MILL_OK);
  EXPECT_GT(r.instance, 0u);
  EXPECT_EQ(r.forward, 0u);
  EXPECT_EQ(r.flops, 2u * 4 * 8 * 2);
  EXPECT_EQ(r.bytes, 4u * (32 + 16 + 8));
  EXPECT_EQ(r.dtypes & 255, static_cast<uint32_t>(MILL_F32));
  EXPECT_EQ((r.dtypes >> 8) & 255, static_cast<uint32_t>(MILL_F32));
  EXPECT_GT(r.exec_id, 0u);
  EXPECT_GE(r.start_ns + 1000, before);
  EXPECT_LE(r.start_ns + r.duration_ns, after + 1000);
}

TEST_F(TraceApi, AFailedOpIsRecordedWithItsStatus) {
  mill_tensor* const a = f.tensor({4, 8});
  on(MILL_TRACE_OPS);
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_matmul(f.exec(), a, a, &out, f.err()), MILL_E_SHAPE);
  const auto records = drain();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].status, MILL_E_SHAPE);
}

TEST_F(TraceApi, ScopesNestInPathsAndStepsCount) {
  // Opened before the mask is set: found open.
  ASSERT_EQ(mill_trace_scope_begin(f.exec(), "outer", MILL_NTS, f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_step(f.exec(), f.err()), MILL_OK);
  on(MILL_TRACE_OPS | MILL_TRACE_SCOPES | MILL_TRACE_STEPS);
  ASSERT_EQ(mill_trace_scope_begin(f.exec(), "inner part", 5, f.err()), MILL_OK);
  f.tensor();
  ASSERT_EQ(mill_trace_mark(f.exec(), "here", MILL_NTS, f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_scope_end(f.exec(), f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_step(f.exec(), f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_scope_end(f.exec(), f.err()), MILL_OK);
  int seen = 0;
  for (const mill_trace_record& r : drain()) {
    if (r.kind == MILL_RECORD_OP) {
      EXPECT_EQ(text(r.scope), "outer/inner");
      EXPECT_EQ(r.step, 1u);
      ++seen;
    }
    if (r.kind == MILL_RECORD_MARK) {
      EXPECT_EQ(text(r.detail), "here");
      EXPECT_EQ(r.duration_ns, 0u);
      ++seen;
    }
    if (r.kind == MILL_RECORD_STEP) ++seen;
  }
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(text(0), "");
}

TEST_F(TraceApi, BackwardOpsNameTheirForwardOp) {
  mill_tape* const tape = f.made<mill_tape>();
  mill_tensor* const x = f.tensor();
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  on(MILL_TRACE_OPS | MILL_TRACE_BACKWARD);
  ASSERT_EQ(mill_exp(f.exec(), x, y, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  ASSERT_EQ(mill_tape_backward(tape, f.exec(), *y, f.tensor(), 0, f.err()), MILL_OK);
  uint64_t forward = 0;
  int pointing = 0;
  int passes = 0;
  for (const mill_trace_record& r : drain()) {
    if (r.kind == MILL_RECORD_OP && r.op == MILL_OP_EXP) forward = r.instance;
    if (r.kind == MILL_RECORD_OP && r.forward != 0) {
      EXPECT_EQ(r.forward, forward);
      ++pointing;
    }
    passes += r.kind == MILL_RECORD_BACKWARD ? 1 : 0;
  }
  EXPECT_GE(pointing, 1);
  EXPECT_EQ(passes, 1);
}

TEST_F(TraceApi, CapacityZeroCountsAndTakesNothing) {
  on(MILL_TRACE_OPS);
  for (int k = 0; k < 3; ++k) f.tensor();
  uint32_t count = 0;
  EXPECT_EQ(mill_trace_drain(f.context(), nullptr, 0, &count, nullptr, f.err()), MILL_INCOMPLETE);
  EXPECT_EQ(count, 3u);
  mill_trace_record one;
  EXPECT_EQ(mill_trace_drain(f.context(), &one, 1, &count, nullptr, f.err()), MILL_INCOMPLETE);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(drain().size(), 2u);
  EXPECT_EQ(mill_trace_drain(f.context(), nullptr, 0, &count, nullptr, f.err()), MILL_OK);
  EXPECT_EQ(count, 0u);
}

TEST_F(TraceApi, AFullRingDropsAndCounts) {
  on(MILL_TRACE_SCOPES);
  constexpr uint64_t kMarks = 70000;
  for (uint64_t k = 0; k < kMarks; ++k)
    ASSERT_EQ(mill_trace_mark(f.exec(), "m", 1, f.err()), MILL_OK);
  std::vector<mill_trace_record> records(kMarks);
  uint32_t count = 0;
  uint64_t lost = 0;
  EXPECT_EQ(mill_trace_drain(f.context(), records.data(), kMarks, &count, &lost, f.err()),
            MILL_LOST);
  EXPECT_EQ(count, 65536u);
  EXPECT_EQ(count + lost, kMarks);
}

TEST_F(TraceApi, TotalsPerOpNeedNoRing) {
  on(MILL_TRACE_OP_STATS);
  mill_tensor* const a = f.tensor({4, 8});
  mill_tensor** const out = f.slot<mill_tensor>();
  for (int k = 0; k < 5; ++k) {
    ASSERT_EQ(mill_neg(f.exec(), a, out, f.err()), MILL_OK);
    f.clear_slots();
  }
  EXPECT_TRUE(drain().empty());
  mill_trace_op_row rows[8];
  uint32_t count = 0;
  ASSERT_EQ(mill_trace_op_stats(f.context(), rows, 8, &count, f.err()), MILL_OK);
  ASSERT_EQ(count, 2u);
  double share = 0;
  uint64_t calls = 0;
  for (uint32_t k = 0; k < count; ++k) {
    share += rows[k].share;
    if (rows[k].op == MILL_OP_NEG) calls = rows[k].calls;
  }
  EXPECT_EQ(calls, 5u);
  EXPECT_NEAR(share, 1, 1e-9);
  EXPECT_GE(rows[0].time_ns, rows[1].time_ns);
  EXPECT_EQ(mill_trace_op_stats(f.context(), rows, 1, &count, f.err()), MILL_INCOMPLETE);
  EXPECT_EQ(count, 2u);
  ASSERT_EQ(mill_trace_reset_op_stats(f.context(), f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_op_stats(f.context(), rows, 8, &count, f.err()), MILL_OK);
  EXPECT_EQ(count, 0u);
}

TEST_F(TraceApi, TheTimelineIsAWholeFile) {
  on(MILL_TRACE_RECORDS);
  f.tensor();
  const auto records = drain();
  const char* const path = f.path("timeline.json");
  ASSERT_EQ(mill_trace_write_chrome(f.context(), records.data(),
                                    static_cast<uint32_t>(records.size()), path, MILL_NTS, f.err()),
            MILL_OK)
      << f.message();
  std::ifstream in(path);
  const std::string json{std::istreambuf_iterator<char>(in), {}};
  EXPECT_NE(json.find("\"fill\""), std::string::npos);
  int depth = 0;
  for (const char c : json) depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
  EXPECT_EQ(depth, 0);
}

}  // namespace
}  // namespace mill_test
