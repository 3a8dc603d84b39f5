// What a second thread gets while a backward runs: the busy status for everything that is in use,
// and no harm otherwise.
#include <gtest/gtest.h>

#include <thread>

#include "gradient/model.h"

namespace mill_test {
namespace {

using Doubles = std::vector<double>;

// Runs on another thread, from inside the gradient hook of a backward: its statuses.
struct Intruder {
  World* w;
  Parameters* p;
  mill_tape* busy_tape;
  mill_tape* own_tape;
  mill_exec* own_exec;
  mill_tensor* own_loss;
  mill_tensor* busy_loss;
  mill_optimizer* optimizer;
  bool called = false;
  mill_status backward_of_the_group = 0;
  mill_status step = 0;
  mill_status clear = 0;
  mill_status same_tape = 0;
  mill_status same_exec = 0;
  std::string text;
};

void intrude(Intruder& in, mill_exec* busy_exec) {
  Error error;
  mill_error_create(error.out());
  in.backward_of_the_group = mill_tape_backward(in.own_tape, in.own_exec, in.own_loss, nullptr,
                                                MILL_BACKWARD_KEEP, error.get());
  in.text = mill_error_message(error.get());
  in.step = mill_optimizer_step(in.optimizer, in.own_exec, error.get());
  in.clear = mill_group_clear_gradients(in.p->get(), error.get());
  in.same_tape =
      mill_tape_backward(in.busy_tape, in.own_exec, in.busy_loss, nullptr, 0, error.get());
  mill_tensor* out = nullptr;
  in.same_exec = mill_neg(busy_exec, in.own_loss, &out, error.get());
  mill_tensor_release(out);
}

mill_status call_intruder(void* user, mill_exec* exec, mill_group*, uint32_t, mill_error*) {
  auto* in = static_cast<Intruder*>(user);
  if (in->called) return MILL_OK;
  in->called = true;
  std::thread thread([&] { intrude(*in, exec); });
  thread.join();
  return MILL_OK;
}

TEST(BusyGroup, ASecondThreadIsRefusedDuringABackward) {
  World& w = world();
  Parameters p(w, MILL_F64, {{"a", {2}}, {"b", {2}}});
  Optimizer sgd;
  w.ok(mill_optimizer_create_sgd(w.exec(), p.get(), 0.1, 0, 0, 0, sgd.out(), w.error()));
  Exec other;
  w.ok(mill_exec_create(w.context(), 0, nullptr, other.out(), w.error()));
  Tape second;
  w.ok(mill_tape_create(w.context(), second.out(), w.error()));
  w.ok(mill_exec_set_tape(other.get(), second.get(), w.error()));
  Tensor loss;
  w.ok(mill_sum(other.get(), p[0].get(), nullptr, 0, 0, loss.out(), w.error()));

  const Doubles a = p.values(0);
  const Doubles b = p.values(1);
  Recording tape(w);
  const Tensor y = op::sum(w, op::mul(w, p[0], p[1]));
  Intruder in{
      &w, &p, tape.get(), second.get(), other.get(), loss.get(), y.get(), sgd.get(), false, 0, 0, 0,
      0,  0,  ""};
  w.ok(mill_tape_on_gradient(tape.get(), call_intruder, &in, nullptr, w.error()));
  w.ok(tape.backward(y));
  ASSERT_TRUE(in.called);
  EXPECT_EQ(in.backward_of_the_group, MILL_E_BUSY) << in.text;
  EXPECT_EQ(in.step, MILL_E_BUSY);
  EXPECT_EQ(in.clear, MILL_E_BUSY);
  EXPECT_EQ(in.same_tape, MILL_E_BUSY);
  EXPECT_EQ(in.same_exec, MILL_E_BUSY);
  EXPECT_EQ(p.gradient(0), b) << "the refused calls changed nothing";
  EXPECT_EQ(p.gradient(1), a);
  // Afterwards the other thread's backward runs.
  w.ok(mill_tape_backward(second.get(), other.get(), loss.get(), nullptr, 0, w.error()));
  EXPECT_EQ(p.gradient(0), (Doubles{b[0] + 1, b[1] + 1}));
}

TEST(BusyGroup, ABackwardInsideTheHookOfTheSameGroupIsRefused) {
  World& w = world();
  Parameters p(w, MILL_F64, {{"a", {2}}});
  struct State {
    mill_optimizer* optimizer;
    mill_status step;
  };
  Optimizer sgd;
  w.ok(mill_optimizer_create_sgd(w.exec(), p.get(), 0.1, 0, 0, 0, sgd.out(), w.error()));
  State state{sgd.get(), 0};
  Recording tape(w);
  w.ok(mill_tape_on_gradient(
      tape.get(),
      [](void* user, mill_exec* exec, mill_group*, uint32_t, mill_error*) -> mill_status {
        auto* s = static_cast<State*>(user);
        s->step = mill_optimizer_step(s->optimizer, exec, nullptr);
        return MILL_OK;
      },
      &state, nullptr, w.error()));
  w.ok(tape.backward(op::sum(w, p[0])));
  EXPECT_EQ(state.step, MILL_E_BUSY);
}

// Each thread with its own exec and tape, all on one group of parameters that they only read, and a
// group of their own.
TEST(ParallelBackward, ThreadsWithTheirOwnTapesGetTheGradientsOfOneThread) {
  World& w = world(2);
  Parameters shared(w, MILL_F64, {{"a", {64, 64}}});
  const Tensor x = f64(w, {8, 64}, random_values(1, 512));
  constexpr int kThreads = 4;
  std::vector<Doubles> gradients(kThreads + 1);
  std::vector<std::string> failures(kThreads + 1);
  const auto run = [&](size_t slot) {
    Error error;
    mill_error_create(error.out());
    const auto ok = [&](mill_status status) {
      if (status < 0 && failures[slot].empty()) failures[slot] = mill_error_message(error.get());
    };
    Exec exec;
    Tape tape;
    ok(mill_exec_create(w.context(), 0, nullptr, exec.out(), error.get()));
    ok(mill_tape_create(w.context(), tape.out(), error.get()));
    ok(mill_exec_set_tape(exec.get(), tape.get(), error.get()));
    for (int round = 0; round < 20; ++round) {
      Tensor product, bent, loss, gradient;
      ok(mill_matmul(exec.get(), x.get(), shared[0].get(), product.out(), error.get()));
      ok(mill_tanh(exec.get(), product.get(), bent.out(), error.get()));
      ok(mill_sum(exec.get(), bent.get(), nullptr, 0, 0, loss.out(), error.get()));
      mill_tensor* in = shared[0].get();
      ok(mill_tape_gradient(tape.get(), exec.get(), loss.get(), nullptr, &in, 1, gradient.out(),
                            error.get()));
      gradients[slot].resize(64 * 64);
      if (gradient)
        ok(mill_tensor_read(exec.get(), gradient.get(), gradients[slot].data(),
                            gradients[slot].size() * sizeof(double), error.get()));
      ok(mill_tape_reset(tape.get(), error.get()));
    }
  };
  run(kThreads);
  std::vector<std::thread> threads;
  for (size_t k = 0; k < kThreads; ++k) threads.emplace_back(run, k);
  for (std::thread& thread : threads) thread.join();
  for (size_t k = 0; k <= kThreads; ++k) {
    EXPECT_EQ(failures[k], "");
    EXPECT_EQ(gradients[k], gradients[kThreads]);
  }
}

}  // namespace
}  // namespace mill_test
