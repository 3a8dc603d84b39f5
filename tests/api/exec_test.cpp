// Execs, scopes, error objects, memory, generators and prepared calls: what their
// headers promise.
#include <cstring>

#include "api/refusal.h"

namespace mill_test {
namespace {

struct ExecApi : testing::Test {
  mill_memory_stats stats() {
    mill_memory_stats out{};
    out.size = sizeof out;
    out.type = MILL_STRUCT_MEMORY_STATS;
    EXPECT_EQ(mill_memory_stats_query(f.context(), 0, &out, f.err()), MILL_OK) << f.message();
    return out;
  }
  Fixture f;
};
using ScopeApi = ExecApi;
using ErrorApi = ExecApi;
using MemoryApi = ExecApi;
using GeneratorApi = ExecApi;
using CallApi = ExecApi;

TEST_F(ExecApi, GivesBackWhatItWasSetTo) {
  mill_context* context = nullptr;
  ASSERT_EQ(mill_exec_get_context(f.exec(), &context, f.err()), MILL_OK);
  EXPECT_EQ(context, f.context());
  mill_context_release(context);
  mill_tape* const tape = f.made<mill_tape>();
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  mill_tape* found = nullptr;
  ASSERT_EQ(mill_exec_get_tape(f.exec(), &found, f.err()), MILL_OK);
  EXPECT_EQ(found, tape);
  mill_tape_release(found);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_get_tape(f.exec(), &found, f.err()), MILL_OK);
  EXPECT_EQ(found, nullptr);
}

TEST_F(ExecApi, KeepsItsTapeAlive) {
  mill_tape* tape = f.unowned<mill_tape>();
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  mill_tape_release(tape);
  ASSERT_EQ(mill_exec_get_tape(f.exec(), &tape, f.err()), MILL_OK);
  uint64_t nodes = 7;
  EXPECT_EQ(mill_tape_count(tape, &nodes, f.err()), MILL_OK);
  EXPECT_EQ(nodes, 0u);
  mill_tape_release(tape);
}

TEST_F(ExecApi, RecordsOnlyWithATapeAndATrackedInput) {
  mill_tape* const tape = f.made<mill_tape>();
  mill_tensor* const x = f.tensor();
  mill_tensor** const out = f.slot<mill_tensor>();
  uint64_t nodes = 0;
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_neg(f.exec(), x, out, f.err()), MILL_OK);
  f.clear_slots();
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  ASSERT_EQ(mill_neg(f.exec(), f.tensor(), out, f.err()), MILL_OK);
  f.clear_slots();
  ASSERT_EQ(mill_tape_count(tape, &nodes, f.err()), MILL_OK);
  EXPECT_EQ(nodes, 0u);
  ASSERT_EQ(mill_neg(f.exec(), x, out, f.err()), MILL_OK);
  ASSERT_EQ(mill_tape_count(tape, &nodes, f.err()), MILL_OK);
  EXPECT_EQ(nodes, 1u);
  // Detached, it is not tracked.
  mill_tensor* free = nullptr;
  ASSERT_EQ(mill_tensor_detach(x, &free, f.err()), MILL_OK);
  mill_tensor** const other = f.slot<mill_tensor>();
  ASSERT_EQ(mill_neg(f.exec(), free, other, f.err()), MILL_OK);
  ASSERT_EQ(mill_tape_count(tape, &nodes, f.err()), MILL_OK);
  EXPECT_EQ(nodes, 1u);
  mill_tensor_release(free);
}

TEST_F(ScopeApi, ReleasesTensorsFuturesAndCallsAtItsEnd) {
  const uint64_t before = f.in_use();
  mill_tensor* const x = f.tensor();
  const uint64_t with_x = f.in_use();
  ASSERT_EQ(mill_scope_begin(f.exec(), f.err()), MILL_OK);
  mill_tensor* y = nullptr;
  mill_future* future = nullptr;
  mill_call* call = nullptr;
  mill_tensor* const in[] = {x, x};
  ASSERT_EQ(mill_neg(f.exec(), x, &y, f.err()), MILL_OK);
  ASSERT_EQ(mill_tensor_read_async(f.exec(), x, &future, f.err()), MILL_OK);
  ASSERT_EQ(mill_op_prepare(f.exec(), MILL_OP_ADD, in, 2, nullptr, 0, &call, f.err()), MILL_OK);
  mill_tensor* z = nullptr;
  ASSERT_EQ(mill_call_run(call, f.exec(), in, 2, &z, 1, f.err()), MILL_OK);
  EXPECT_GT(f.in_use(), with_x);
  ASSERT_EQ(mill_scope_end(f.exec(), f.err()), MILL_OK);
  EXPECT_EQ(f.in_use(), with_x);
  EXPECT_GT(with_x, before);
  EXPECT_EQ(mill_tensor_count(y), 0);
  EXPECT_EQ(mill_tensor_count(z), 0);
  EXPECT_EQ(mill_future_query(future, f.err()), MILL_E_BAD_HANDLE);
  EXPECT_EQ(mill_call_run(call, f.exec(), in, 2, &z, 1, f.err()), MILL_E_BAD_HANDLE);
  EXPECT_EQ(mill_tensor_count(x), 6) << "made before it began";
}

TEST_F(ScopeApi, NestsAndKeeps) {
  mill_tensor* const x = f.tensor();
  ASSERT_EQ(mill_scope_begin(f.exec(), f.err()), MILL_OK);
  mill_tensor* outer = nullptr;
  ASSERT_EQ(mill_neg(f.exec(), x, &outer, f.err()), MILL_OK);
  ASSERT_EQ(mill_scope_begin(f.exec(), f.err()), MILL_OK);
  mill_tensor* kept = nullptr;
  mill_tensor* lost = nullptr;
  ASSERT_EQ(mill_neg(f.exec(), outer, &kept, f.err()), MILL_OK);
  ASSERT_EQ(mill_neg(f.exec(), outer, &lost, f.err()), MILL_OK);
  ASSERT_EQ(mill_scope_keep(f.exec(), kept, f.err()), MILL_OK);
  ASSERT_EQ(mill_scope_end(f.exec(), f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_count(kept), 6);
  EXPECT_EQ(mill_tensor_count(lost), 0);
  EXPECT_EQ(mill_tensor_count(outer), 6);
  ASSERT_EQ(mill_scope_end(f.exec(), f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_count(outer), 0);
  EXPECT_EQ(read_all<float>(f, kept), std::vector<float>(6, 0.5f));
  mill_tensor_release(kept);
}

TEST_F(ScopeApi, AnOutputThatWasGivenIsNotItsOwn) {
  mill_tensor* given = f.unowned<mill_tensor>();
  ASSERT_EQ(mill_scope_begin(f.exec(), f.err()), MILL_OK);
  ASSERT_EQ(mill_neg(f.exec(), f.tensor(), &given, f.err()), MILL_OK);
  ASSERT_EQ(mill_scope_end(f.exec(), f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_count(given), 6);
  mill_tensor_release(given);
}

TEST(ScopeLife, AnExecThatEndsReleasesItsOpenScopes) {
  Fixture f;
  const uint64_t before = f.in_use();
  mill_exec* const exec = f.unowned<mill_exec>();
  ASSERT_EQ(mill_scope_begin(exec, f.err()), MILL_OK);
  mill_tensor* x = nullptr;
  ASSERT_EQ(mill_arange(exec, 100, 0, 1, MILL_F32, &x, f.err()), MILL_OK);
  mill_exec_release(exec);
  EXPECT_EQ(f.in_use(), before);
}

TEST_F(ErrorApi, IsEmptyUntilAFailureAndAfterClear) {
  mill_error* const err = f.made<mill_error>();
  const auto expect_empty = [&] {
    EXPECT_EQ(mill_error_status(err), MILL_OK);
    EXPECT_STREQ(mill_error_message(err), "");
    EXPECT_STREQ(mill_error_operation(err), "");
    EXPECT_EQ(mill_error_argument(err), -1);
    EXPECT_EQ(mill_error_native_code(err), 0);
    uint64_t a = 1, b = 1, c = 1;
    mill_error_memory(err, &a, &b, &c);
    EXPECT_EQ(a + b + c, 0u);
  };
  expect_empty();
  EXPECT_EQ(mill_device_count(f.context(), nullptr, err), MILL_E_ARG);
  EXPECT_EQ(mill_error_status(err), MILL_E_ARG);
  EXPECT_STREQ(mill_error_operation(err), "mill_device_count");
  EXPECT_EQ(mill_error_argument(err), 1);
  EXPECT_STREQ(mill_error_message(err), "mill_device_count: out_count is NULL");
  // A call that succeeds never touches it.
  uint32_t count = 0;
  EXPECT_EQ(mill_device_count(f.context(), &count, err), MILL_OK);
  EXPECT_EQ(mill_error_status(err), MILL_E_ARG);
  mill_error_clear(err);
  expect_empty();
}

TEST_F(ErrorApi, OfABadHandleSaysNothing) {
  for (const mill_error* bad :
       {static_cast<mill_error*>(nullptr), static_cast<mill_error*>(garbage_handle())}) {
    EXPECT_STREQ(mill_error_message(bad), "");
    EXPECT_STREQ(mill_error_operation(bad), "");
    EXPECT_EQ(mill_error_argument(bad), -1);
    uint64_t requested = 1;
    mill_error_memory(bad, &requested, nullptr, nullptr);
    EXPECT_EQ(requested, 0u);
  }
}

TEST_F(ErrorApi, LongTextsAreCutNotRunOver) {
  mill_error* const err = f.made<mill_error>();
  const std::string text(5000, 'x');
  ASSERT_EQ(mill_error_set(err, MILL_E_USER, text.c_str()), MILL_OK);
  EXPECT_LE(std::strlen(mill_error_message(err)), 1151u);
  EXPECT_GE(std::strlen(mill_error_message(err)), 1000u);
  int32_t op = 0;
  EXPECT_EQ(mill_op_find(f.context(), text.c_str(), &op, err), MILL_E_ARG);
  EXPECT_LE(std::strlen(mill_error_message(err)), 1151u);
}

TEST_F(MemoryApi, TheNumbersAddUp) {
  const mill_memory_stats before = stats();
  mill_tensor* const x = f.tensor({1000, 1000});
  const mill_memory_stats with = stats();
  EXPECT_GE(with.in_use_bytes - before.in_use_bytes, 4000000u);
  EXPECT_EQ(with.requested_bytes - before.requested_bytes, 4000000u);
  EXPECT_EQ(with.reserved_bytes, with.in_use_bytes + with.cached_bytes);
  EXPECT_EQ(with.allocations - before.allocations, 1u);
  EXPECT_GE(with.growths, 1u);
  mill_tensor_retain(x);
  mill_tensor_release(x);
  {
    mill_tensor* big = nullptr;
    const int64_t dims[] = {3000000};
    ASSERT_EQ(mill_tensor_create(f.exec(), MILL_F32, dims, 1, &big, f.err()), MILL_OK);
    mill_tensor_release(big);
  }
  const mill_memory_stats after = stats();
  EXPECT_EQ(after.in_use_bytes, with.in_use_bytes);
  EXPECT_GE(after.in_use_peak, with.in_use_bytes + 12000000u);
  EXPECT_GE(after.cached_bytes, 12000000u);
  EXPECT_EQ(after.allocations - after.frees, with.allocations - with.frees);
  ASSERT_EQ(mill_memory_reset_peak(f.context(), 0, f.err()), MILL_OK);
  EXPECT_EQ(stats().in_use_peak, after.in_use_bytes);
  uint64_t returned = 0;
  ASSERT_EQ(mill_memory_trim(f.context(), 0, &returned, f.err()), MILL_OK);
  EXPECT_GE(returned, 12000000u);
  EXPECT_EQ(stats().reserved_bytes, after.reserved_bytes - returned);
  EXPECT_EQ(stats().in_use_bytes, after.in_use_bytes);
}

TEST_F(MemoryApi, ReleasedMemoryIsUsedAgain) {
  const int64_t dims[] = {3000000};
  mill_tensor* x = nullptr;
  ASSERT_EQ(mill_tensor_create(f.exec(), MILL_F32, dims, 1, &x, f.err()), MILL_OK);
  mill_tensor_release(x);
  const mill_memory_stats before = stats();
  for (int k = 0; k < 10; ++k) {
    x = nullptr;
    ASSERT_EQ(mill_tensor_create(f.exec(), MILL_F32, dims, 1, &x, f.err()), MILL_OK);
    mill_tensor_release(x);
  }
  EXPECT_EQ(stats().source_calls, before.source_calls);
  EXPECT_EQ(stats().growths, before.growths);
}

TEST_F(MemoryApi, TagsCountWhatWasMadeUnderThem) {
  uint64_t bytes = 1;
  ASSERT_EQ(mill_memory_tag_query(f.context(), 0, "weights", &bytes, f.err()), MILL_OK);
  EXPECT_EQ(bytes, 0u);
  ASSERT_EQ(mill_exec_set_tag(f.exec(), "weights", f.err()), MILL_OK);
  f.tensor({1000});
  ASSERT_EQ(mill_exec_set_tag(f.exec(), nullptr, f.err()), MILL_OK);
  f.tensor({5000});
  ASSERT_EQ(mill_memory_tag_query(f.context(), 0, "weights", &bytes, f.err()), MILL_OK);
  EXPECT_GE(bytes, 4000u);
  EXPECT_LT(bytes, 20000u);
  uint64_t rest = 0;
  ASSERT_EQ(mill_memory_tag_query(f.context(), 0, "", &rest, f.err()), MILL_OK);
  EXPECT_EQ(bytes + rest, f.in_use());
}

TEST_F(MemoryApi, FailAtFailsTheKthAndOnlyIt) {
  ASSERT_EQ(mill_memory_fail_at(f.context(), 0, 2, f.err()), MILL_OK);
  mill_tensor** const a = f.slot<mill_tensor>();
  mill_tensor** const b = f.slot<mill_tensor>();
  mill_tensor** const c = f.slot<mill_tensor>();
  const int64_t dims[] = {2};
  EXPECT_EQ(mill_tensor_create(f.exec(), MILL_F32, dims, 1, a, f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_create(f.exec(), MILL_F32, dims, 1, b, f.err()), MILL_E_MEMORY);
  EXPECT_EQ(mill_tensor_create(f.exec(), MILL_F32, dims, 1, c, f.err()), MILL_OK);
  EXPECT_EQ(stats().failures, 1u);
}

TEST_F(GeneratorApi, ItsStateContinuesTheSequence) {
  mill_generator* const generator = f.made<mill_generator>();
  ASSERT_EQ(mill_exec_set_generator(f.exec(), generator, f.err()), MILL_OK);
  const int64_t dims[] = {5};
  const auto draw = [&] {
    mill_tensor* out = nullptr;
    EXPECT_EQ(mill_uniform(f.exec(), nullptr, dims, 1, MILL_F32, 0, 1, &out, f.err()), MILL_OK)
        << f.message();
    const std::vector<float> values = read_all<float>(f, out);
    mill_tensor_release(out);
    return values;
  };
  const std::vector<float> first = draw();
  uint64_t seed = 0;
  uint64_t calls = 0;
  ASSERT_EQ(mill_generator_get_state(generator, &seed, &calls, f.err()), MILL_OK);
  EXPECT_EQ(seed, 7u);
  EXPECT_EQ(calls, 1u);
  const std::vector<float> second = draw();
  EXPECT_NE(first, second);
  ASSERT_EQ(mill_generator_set_state(f.exec(), generator, seed, calls, f.err()), MILL_OK);
  EXPECT_EQ(draw(), second);
  for (const float v : second) EXPECT_TRUE(v >= 0 && v < 1);
}

TEST_F(GeneratorApi, AKeyGivesTheSameValuesToSeveralOps) {
  mill_generator* const generator = f.made<mill_generator>();
  mill_tensor** const key = f.slot<mill_tensor>();
  ASSERT_EQ(mill_generator_next(f.exec(), generator, key, f.err()), MILL_OK);
  EXPECT_EQ(read_all<int64_t>(f, *key), (std::vector<int64_t>{7, 0}));
  const int64_t dims[] = {5};
  mill_tensor** const a = f.slot<mill_tensor>();
  mill_tensor** const b = f.slot<mill_tensor>();
  ASSERT_EQ(mill_uniform(f.exec(), *key, dims, 1, MILL_F32, 0, 1, a, f.err()), MILL_OK);
  ASSERT_EQ(mill_uniform(f.exec(), *key, dims, 1, MILL_F32, 0, 1, b, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, *a), read_all<float>(f, *b));
  uint64_t seed = 0;
  uint64_t calls = 0;
  ASSERT_EQ(mill_generator_get_state(generator, &seed, &calls, f.err()), MILL_OK);
  EXPECT_EQ(calls, 1u);
}

TEST_F(CallApi, RunsAsTheOpAndIsRecorded) {
  mill_tensor* const x = f.tensor({2, 3}, MILL_F32, 3);
  mill_tensor* const in[] = {x, x};
  mill_call* call = nullptr;
  ASSERT_EQ(mill_op_prepare(f.exec(), MILL_OP_MUL, in, 2, nullptr, 0, &call, f.err()), MILL_OK);
  f.own(call);
  mill_tape* const tape = f.made<mill_tape>();
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_call_run(call, f.exec(), in, 2, y, 1, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, *y), std::vector<float>(6, 9));
  ASSERT_EQ(mill_tape_backward(tape, f.exec(), *y, f.tensor({2, 3}, MILL_F32, 1), 0, f.err()),
            MILL_OK)
      << f.message();
  mill_tensor** const g = f.slot<mill_tensor>();
  ASSERT_EQ(mill_tape_gradient_of(tape, x, g, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, *g), std::vector<float>(6, 6));
}

TEST_F(CallApi, TheSchemaListsWhatTheFlatFunctionsTake) {
  uint32_t count = 0;
  EXPECT_EQ(mill_op_list(f.context(), nullptr, 0, &count, f.err()), MILL_INCOMPLETE);
  std::vector<int32_t> ops(count);
  ASSERT_EQ(mill_op_list(f.context(), ops.data(), count, &count, f.err()), MILL_OK);
  for (size_t k = 1; k < ops.size(); ++k) EXPECT_LT(ops[k - 1], ops[k]);
  for (const int32_t op : ops) {
    mill_op_schema schema{};
    schema.size = sizeof schema;
    schema.type = MILL_STRUCT_OP_SCHEMA;
    ASSERT_EQ(mill_op_query(f.context(), op, &schema, f.err()), MILL_OK);
    int32_t found = 0;
    ASSERT_EQ(mill_op_find(f.context(), schema.name, &found, f.err()), MILL_OK);
    EXPECT_EQ(found, op);
    mill_attr_schema part{};
    part.size = sizeof part;
    part.type = MILL_STRUCT_ATTR_SCHEMA;
    for (uint32_t k = 0; k < schema.n_inputs; ++k) {
      ASSERT_EQ(mill_op_query_input(f.context(), op, k, &part, f.err()), MILL_OK);
      EXPECT_NE(part.dtypes, 0u) << schema.name;
    }
    for (uint32_t k = 0; k < schema.n_outputs; ++k) {
      ASSERT_EQ(mill_op_query_output(f.context(), op, k, &part, f.err()), MILL_OK);
      EXPECT_EQ(part.inplace >> schema.n_inputs, 0u) << schema.name;
      if (op == MILL_OP_COMPARE) {
        EXPECT_EQ(part.dtypes, 1u << MILL_BOOL);
      }
      if (op == MILL_OP_CAST) {
        EXPECT_EQ(part.dtypes, 0u);
      }
      if (op == MILL_OP_ADD) {
        EXPECT_EQ(part.inplace, 3u);
      }
    }
    for (uint32_t k = 0; k < schema.n_attrs; ++k) {
      ASSERT_EQ(mill_op_query_attr(f.context(), op, k, &part, f.err()), MILL_OK);
      EXPECT_GE(part.kind, MILL_ATTR_INT) << schema.name;
    }
    EXPECT_EQ(mill_op_query_attr(f.context(), op, schema.n_attrs, &part, f.err()), MILL_E_ARG);
    EXPECT_EQ(mill_op_query_input(f.context(), op, schema.n_inputs, &part, f.err()), MILL_E_ARG);
    EXPECT_EQ(mill_op_query_output(f.context(), op, schema.n_outputs, &part, f.err()), MILL_E_ARG);
  }
  EXPECT_EQ(mill_op_supports(f.context(), 0, MILL_OP_MATMUL, MILL_F32, f.err()), MILL_OK);
  expect_refused(f, mill_op_supports(f.context(), 0, MILL_OP_MATMUL, MILL_I64, f.err()),
                 MILL_E_UNSUPPORTED, {"matmul", "i64"});
}

}  // namespace
}  // namespace mill_test
