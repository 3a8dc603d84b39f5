// What threads may and may not share, through the public ABI. Where a test needs another thread to
// be inside a call, it is inside a callback, held by a latch: nothing here depends on timing.
#include <atomic>
#include <latch>
#include <mutex>
#include <set>
#include <thread>

#include "api/refusal.h"

namespace mill_test {
namespace {

// A custom op whose forward says that it has begun and goes on when told.
struct Gate {
  std::latch inside{1};
  std::latch go{1};
  mill_exec* other = nullptr;  // an exec to use meanwhile
  std::atomic<mill_status> reentry{MILL_E_INTERNAL};
};

mill_status gated_forward(void* user, mill_exec* exec, mill_tensor* const* inputs, uint32_t,
                          mill_tensor** outputs, uint32_t, mill_error* err) {
  auto* gate = static_cast<Gate*>(user);
  gate->inside.count_down();
  gate->go.wait();
  mill_tensor* twice = nullptr;
  gate->reentry = mill_add(exec, inputs[0], inputs[0], &twice, err);
  mill_tensor_release(twice);
  return mill_copy(exec, inputs[0], &outputs[0], err);
}

int32_t register_gated(Fixture& f, Gate& gate) {
  mill_custom_op op{};
  op.size = sizeof op;
  op.type = MILL_STRUCT_CUSTOM_OP;
  op.name = "test.gated";
  op.n_inputs = 1;
  op.n_outputs = 1;
  op.forward = gated_forward;
  op.user = &gate;
  int32_t number = 0;
  EXPECT_EQ(mill_op_register(f.context(), &op, &number, f.err()), MILL_OK) << f.message();
  return number;
}

// Two execs record on one tape while a third thread resets it. Nobody knows who comes first; every
// call must work or be refused.
TEST(Threads, ATapeUsedByManyThreadsIsBusyNeverBroken) {
  Fixture f;
  mill_tensor* weight = nullptr;
  ASSERT_EQ(mill_group_param(f.built_group(), 0, &weight, f.err()), MILL_OK);
  f.own(weight);
  mill_tape* const tape = f.made<mill_tape>();
  std::atomic<int> recorders{2};
  std::atomic<int> wrong{0};
  const auto record = [&] {
    mill_exec* exec = nullptr;
    wrong += mill_exec_create(f.context(), 0, nullptr, &exec, nullptr) != MILL_OK ? 1 : 0;
    wrong += mill_exec_set_tape(exec, tape, nullptr) != MILL_OK ? 1 : 0;
    for (int i = 0; i < 3000; ++i) {
      mill_tensor* out = nullptr;
      const mill_status status = mill_mul(exec, weight, weight, &out, nullptr);
      wrong += status != MILL_OK && status != MILL_E_BUSY ? 1 : 0;
      mill_tensor_release(out);
    }
    mill_exec_release(exec);
    --recorders;
  };
  std::thread first(record);
  std::thread second(record);
  while (recorders > 0) {
    const mill_status status = mill_tape_reset(tape, nullptr);
    wrong += status != MILL_OK && status != MILL_E_BUSY ? 1 : 0;
  }
  first.join();
  second.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Threads, AnExecInUseIsBusyForOthersAndOpenToItsOwnCallback) {
  Gate gate;
  Fixture f;
  const int32_t op = register_gated(f, gate);
  mill_tensor* const x = f.tensor({2, 3});
  mill_tape* const tape = f.made<mill_tape>();
  mill_generator* const generator = f.made<mill_generator>();
  mill_tensor* result = nullptr;
  mill_status status = MILL_E_INTERNAL;
  std::thread inside(
      [&] { status = mill_op_invoke(f.exec(), op, &x, 1, nullptr, 0, &result, 1, nullptr); });
  gate.inside.wait();
  mill_tensor* out = nullptr;
  float host[6] = {};
  double value = 0;
  const int64_t dims[] = {2};
  expect_refused(f, mill_neg(f.exec(), x, &out, f.err()), MILL_E_BUSY, {"neg", "exec"});
  expect_refused(f, mill_tensor_create(f.exec(), MILL_F32, dims, 1, &out, f.err()), MILL_E_BUSY,
                 {});
  expect_refused(f, mill_tensor_read(f.exec(), x, host, 24, f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_tensor_write(f.exec(), x, host, 24, f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_tensor_item(f.exec(), x, &value, f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_exec_set_tape(f.exec(), tape, f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_exec_set_generator(f.exec(), generator, f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_exec_set_tag(f.exec(), "t", f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_exec_set_order(f.exec(), 0, f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_exec_set_deterministic(f.exec(), 0, f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_scope_begin(f.exec(), f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_trace_step(f.exec(), f.err()), MILL_E_BUSY, {});
  expect_refused(f, mill_generator_set_state(f.exec(), generator, 1, 1, f.err()), MILL_E_BUSY, {});
  EXPECT_EQ(out, nullptr);
  // Another exec of the context is free.
  mill_exec* second = nullptr;
  ASSERT_EQ(mill_exec_create(f.context(), 0, nullptr, &second, f.err()), MILL_OK);
  EXPECT_EQ(mill_neg(second, x, &out, f.err()), MILL_OK) << f.message();
  mill_tensor_release(out);
  mill_exec_release(second);
  gate.go.count_down();
  inside.join();
  EXPECT_EQ(status, MILL_OK);
  EXPECT_EQ(gate.reentry.load(), MILL_OK);
  EXPECT_EQ(mill_tensor_count(result), 6);
  mill_tensor_release(result);
  out = nullptr;
  EXPECT_EQ(mill_neg(f.exec(), x, &out, f.err()), MILL_OK) << f.message();
  mill_tensor_release(out);
}

mill_status gated_hook(void* user, mill_exec*, mill_group*, uint32_t, mill_error*) {
  auto* gate = static_cast<Gate*>(user);
  gate->inside.count_down();
  gate->go.wait();
  return MILL_OK;
}

TEST(Threads, ATapeAndAGroupInABackwardAreBusy) {
  Gate gate;
  Fixture f;
  mill_tape* const tape = f.recorded_tape();
  mill_group* const group = f.built_group();
  mill_optimizer* const optimizer = f.made<mill_optimizer>();
  ASSERT_EQ(mill_tape_on_gradient(tape, gated_hook, &gate, nullptr, f.err()), MILL_OK);
  mill_exec* second = nullptr;
  ASSERT_EQ(mill_exec_create(f.context(), 0, nullptr, &second, f.err()), MILL_OK);
  f.own(second);
  // Another tape over the same group.
  mill_tape* const other = f.made<mill_tape>();
  mill_tensor* weight = nullptr;
  ASSERT_EQ(mill_group_param(group, 0, &weight, f.err()), MILL_OK);
  f.own(weight);
  ASSERT_EQ(mill_exec_set_tape(second, other, f.err()), MILL_OK);
  mill_tensor** const sum = f.slot<mill_tensor>();
  ASSERT_EQ(mill_sum(second, weight, nullptr, 0, 0, sum, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(second, nullptr, f.err()), MILL_OK);
  mill_status status = MILL_E_INTERNAL;
  std::thread inside(
      [&] { status = mill_tape_backward(tape, f.exec(), f.loss(), nullptr, 0, nullptr); });
  gate.inside.wait();
  uint64_t nodes = 7;
  mill_tensor* gradient = nullptr;
  expect_refused(f, mill_tape_count(tape, &nodes, f.err()), MILL_E_BUSY, {"tape"});
  expect_refused(f, mill_tape_reset(tape, f.err()), MILL_E_BUSY, {"tape"});
  expect_refused(f, mill_tape_watch(tape, f.loss(), f.err()), MILL_E_BUSY, {"tape"});
  expect_refused(f, mill_tape_backward(tape, second, f.loss(), nullptr, 0, f.err()), MILL_E_BUSY,
                 {"tape"});
  expect_refused(f, mill_tape_gradient_of(tape, weight, &gradient, f.err()), MILL_E_BUSY, {"tape"});
  expect_refused(f, mill_tape_on_gradient(tape, nullptr, nullptr, nullptr, f.err()), MILL_E_BUSY,
                 {"tape"});
  expect_refused(f, mill_tape_backward(other, second, *sum, nullptr, 0, f.err()), MILL_E_BUSY,
                 {"group"});
  expect_refused(f, mill_optimizer_step(optimizer, second, f.err()), MILL_E_BUSY, {"group"});
  expect_refused(f, mill_group_clear_gradients(group, f.err()), MILL_E_BUSY, {"group"});
  gate.go.count_down();
  inside.join();
  EXPECT_EQ(status, MILL_OK);
  // The refused backward left its tape as it was.
  EXPECT_EQ(mill_tape_backward(other, second, *sum, nullptr, 0, f.err()), MILL_OK) << f.message();
  ASSERT_EQ(mill_group_gradient(group, 0, &gradient, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, gradient),
            std::vector<float>(6, 1.5f));  // 0.5 of the product, 1 of the sum
  mill_tensor_release(gradient);
}

template <class Body>
void in_threads(int n, Body&& body) {
  std::latch begin(n);
  std::vector<std::thread> threads;
  for (int k = 0; k < n; ++k) {
    threads.emplace_back([&, k] {
      begin.arrive_and_wait();
      body(k);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Threads, ExecsOfOneContextComputeInParallel) {
  Fixture f(2);
  mill_tensor* const shared = f.tensor({64, 64}, MILL_F32, 2);
  std::atomic<int> right{0};
  in_threads(4, [&](int k) {
    mill_exec* exec = nullptr;
    if (mill_exec_create(f.context(), 0, nullptr, &exec, nullptr) != MILL_OK) return;
    const int64_t dims[] = {64, 64};
    for (int round = 0; round < 50; ++round) {
      mill_tensor *own = nullptr, *product = nullptr, *sum = nullptr;
      double value = 0;
      mill_fill(exec, dims, 2, MILL_F32, k + 1, &own, nullptr);
      mill_matmul(exec, shared, own, &product, nullptr);
      mill_sum(exec, product, nullptr, 0, 0, &sum, nullptr);
      mill_tensor_item(exec, sum, &value, nullptr);
      right += value == 64.0 * 64 * 64 * 2 * (k + 1) ? 1 : 0;
      mill_tensor_release(own);
      mill_tensor_release(product);
      mill_tensor_release(sum);
    }
    mill_exec_release(exec);
  });
  EXPECT_EQ(right.load(), 200);
}

TEST(Threads, TapesOfTheirOwnTrainInParallel) {
  Fixture f(2);
  std::atomic<int> right{0};
  in_threads(4, [&](int k) {
    Fixture own;  // a context of its own, too
    for (int round = 0; round < 10; ++round) {
      mill_tape* tape = nullptr;
      mill_tape_create(own.context(), &tape, nullptr);
      mill_tensor* const x = own.tensor({8}, MILL_F32, k + 1);
      mill_tape_watch(tape, x, nullptr);
      mill_exec_set_tape(own.exec(), tape, nullptr);
      mill_tensor *square = nullptr, *sum = nullptr, *gradient = nullptr;
      mill_mul(own.exec(), x, x, &square, nullptr);
      mill_sum(own.exec(), square, nullptr, 0, 0, &sum, nullptr);
      mill_exec_set_tape(own.exec(), nullptr, nullptr);
      mill_tape_backward(tape, own.exec(), sum, nullptr, 0, nullptr);
      mill_tape_gradient_of(tape, x, &gradient, nullptr);
      right += gradient && read_all<float>(own, gradient) ==
                               std::vector<float>(8, 2.0f * static_cast<float>(k + 1));
      mill_tensor_release(square);
      mill_tensor_release(sum);
      mill_tensor_release(gradient);
      mill_tape_release(tape);
    }
  });
  EXPECT_EQ(right.load(), 40);
}

TEST(Threads, HandlesAreReleasedFromAnyThread) {
  Fixture f;
  const uint64_t before = f.in_use();
  std::vector<mill_tensor*> tensors(400);
  for (mill_tensor*& tensor : tensors) tensor = f.unowned<mill_tensor>();
  in_threads(4, [&](int k) {
    for (size_t at = static_cast<size_t>(k); at < tensors.size(); at += 4)
      mill_tensor_release(tensors[at]);
  });
  for (mill_tensor* tensor : tensors) EXPECT_EQ(mill_tensor_count(tensor), 0);
  mill_tensor* const last = f.tensor();  // what other threads cached is still accounted for
  EXPECT_GT(f.in_use(), before);
  EXPECT_EQ(read_all<float>(f, last), std::vector<float>(6, 0.5f));
}

TEST(Threads, RetainAndReleaseAreAtomic) {
  Fixture f;
  mill_tensor* const tensor = f.unowned<mill_tensor>();
  mill_exec_retain(f.exec());
  in_threads(4, [&](int) {
    for (int k = 0; k < 5000; ++k) {
      mill_tensor_retain(tensor);
      mill_exec_retain(f.exec());
      mill_context_retain(f.context());
      mill_tensor_release(tensor);
      mill_exec_release(f.exec());
      mill_context_release(f.context());
    }
  });
  mill_exec_release(f.exec());
  EXPECT_EQ(read_all<float>(f, tensor), std::vector<float>(6, 0.5f));
  mill_tensor_release(tensor);
  EXPECT_EQ(mill_tensor_count(tensor), 0);
}

TEST(Threads, ContextsComeAndGoInParallel) {
  std::atomic<int> right{0};
  in_threads(4, [&](int k) {
    for (int round = 0; round < 8; ++round) {
      Fixture f(2);
      mill_tensor* const x = f.tensor({300000}, MILL_F32, k);
      mill_tensor* const y = f.tensor({300000}, MILL_F32, 1);
      mill_tensor** const out = f.slot<mill_tensor>();
      mill_tensor** const sum = f.slot<mill_tensor>();
      double value = -1;
      mill_add(f.exec(), x, y, out, nullptr);
      mill_sum(f.exec(), *out, nullptr, 0, 0, sum, nullptr);
      mill_tensor_item(f.exec(), *sum, &value, nullptr);
      right += value == 300000.0 * (k + 1) ? 1 : 0;
    }
  });
  EXPECT_EQ(right.load(), 32);
}

TEST(Threads, ALoaderGivesEachBatchOnceOrIsBusy) {
  Fixture f;
  std::vector<int64_t> rows(96);
  for (size_t k = 0; k < rows.size(); ++k) rows[k] = static_cast<int64_t>(k);
  mill_tensor* const column = upload<int64_t>(f, {96}, rows);
  mill_loader_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.batch = 3;
  opts.flags = MILL_LOADER_SHUFFLE;
  mill_loader* loader = nullptr;
  ASSERT_EQ(mill_loader_create(f.context(), &column, 1, &opts, &loader, f.err()), MILL_OK);
  std::mutex mutex;
  std::multiset<int64_t> seen;
  std::atomic<int> wrong{0};
  std::atomic<bool> ended{false};
  in_threads(3, [&](int) {
    mill_exec* exec = nullptr;
    mill_exec_create(f.context(), 0, nullptr, &exec, nullptr);
    while (!ended) {
      mill_tensor* batch = nullptr;
      const mill_status status = mill_loader_next(loader, exec, &batch, 1, nullptr);
      if (status == MILL_END) {
        ended = true;
      } else if (status == MILL_OK) {
        int64_t values[3] = {};
        mill_tensor_read(exec, batch, values, sizeof values, nullptr);
        const std::lock_guard<std::mutex> lock(mutex);
        seen.insert(values, values + 3);
      } else if (status != MILL_E_BUSY) {
        ++wrong;
      }
      mill_tensor_release(batch);
    }
    mill_exec_release(exec);
  });
  EXPECT_EQ(wrong.load(), 0);
  // A thread that was still taking when another met the end may have begun the next epoch.
  EXPECT_GE(seen.size(), rows.size());
  for (const int64_t row : rows) EXPECT_GE(seen.count(row), 1u) << row;
  mill_loader_release(loader);
}

TEST(Threads, AGeneratorCountsEveryCallOnce) {
  Fixture f;
  mill_generator* const generator = f.made<mill_generator>();
  std::atomic<uint64_t> drawn{0};
  std::atomic<int> wrong{0};
  in_threads(4, [&](int) {
    mill_exec* exec = nullptr;
    mill_exec_create(f.context(), 0, nullptr, &exec, nullptr);
    for (int k = 0; k < 200; ++k) {
      mill_tensor* key = nullptr;
      const mill_status status = mill_generator_next(exec, generator, &key, nullptr);
      if (status == MILL_OK) ++drawn;
      if (status != MILL_OK && (status != MILL_E_BUSY || key)) ++wrong;
      mill_tensor_release(key);
    }
    mill_exec_release(exec);
  });
  uint64_t seed = 0;
  uint64_t calls = 0;
  ASSERT_EQ(mill_generator_get_state(generator, &seed, &calls, f.err()), MILL_OK);
  EXPECT_EQ(calls, drawn.load());
  EXPECT_EQ(seed, 7u);
  EXPECT_EQ(wrong.load(), 0);
}

TEST(Threads, TheTraceIsDrainedWhileOthersTrain) {
  Fixture f(2);
  ASSERT_EQ(mill_trace_set_mask(f.context(), MILL_TRACE_RECORDS | MILL_TRACE_OP_STATS, f.err()),
            MILL_OK);
  std::atomic<int> left{3};
  std::atomic<uint64_t> adds{0};
  uint64_t records = 0;
  uint64_t lost_all = 0;
  int wrong = 0;
  std::vector<std::thread> threads;
  for (int k = 0; k < 3; ++k) {
    threads.emplace_back([&] {
      mill_exec* exec = nullptr;
      mill_exec_create(f.context(), 0, nullptr, &exec, nullptr);
      const int64_t dims[] = {64};
      for (int round = 0; round < 300; ++round) {
        mill_tensor *a = nullptr, *b = nullptr;
        mill_fill(exec, dims, 1, MILL_F32, 1, &a, nullptr);
        if (mill_add(exec, a, a, &b, nullptr) == MILL_OK) ++adds;
        mill_tensor_release(a);
        mill_tensor_release(b);
        mill_trace_step(exec, nullptr);
      }
      mill_exec_release(exec);
      --left;
    });
  }
  std::vector<mill_trace_record> taken(512);
  const auto drain = [&] {
    uint32_t count = 0;
    uint64_t lost = 0;
    const mill_status status =
        mill_trace_drain(f.context(), taken.data(), 512, &count, &lost, nullptr);
    if (status < 0) ++wrong;
    for (uint32_t k = 0; k < count; ++k) {
      if (taken[k].version != MILL_RECORD_VERSION || taken[k].kind < 1 ||
          taken[k].kind > MILL_RECORD_MARK)
        ++wrong;
      records += taken[k].kind == MILL_RECORD_OP && taken[k].op == MILL_OP_ADD ? 1 : 0;
    }
    lost_all += lost;
    mill_trace_op_row rows[8];
    mill_trace_op_stats(f.context(), rows, 8, &count, nullptr);
    return status;
  };
  while (left > 0) drain();
  for (std::thread& thread : threads) thread.join();
  while (drain() == MILL_INCOMPLETE) {
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(adds.load(), 900u);
  EXPECT_LE(records, adds.load());
  EXPECT_GE(records + lost_all, adds.load());
  uint64_t counted = 0;
  mill_trace_op_row rows[64];
  uint32_t n = 0;
  ASSERT_GE(mill_trace_op_stats(f.context(), rows, 64, &n, f.err()), MILL_OK);
  for (uint32_t k = 0; k < n && k < 64; ++k)
    counted += rows[k].op == MILL_OP_ADD ? rows[k].calls : 0;
  EXPECT_EQ(counted, 900u);
}

TEST(Threads, AnEventIsAwaitedByManyThreads) {
  Fixture f;
  mill_event* const event = f.made<mill_event>();
  mill_stream* const stream = f.made<mill_stream>();
  ASSERT_EQ(mill_event_record(event, stream, f.err()), MILL_OK);
  std::atomic<int> ready{0};
  in_threads(4, [&](int) {
    for (int k = 0; k < 200; ++k)
      ready += mill_event_wait(event, UINT64_MAX, nullptr) == MILL_OK ? 1 : 0;
  });
  EXPECT_EQ(ready.load(), 800);
}

}  // namespace
}  // namespace mill_test
