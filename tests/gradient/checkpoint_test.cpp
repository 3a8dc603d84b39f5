// Segments that run again in backward.
#include <gtest/gtest.h>

#include "gradient/net.h"

namespace mill_test {
namespace {

using Doubles = std::vector<double>;
using Body =
    std::function<mill_status(mill_exec*, mill_tensor* const*, mill_tensor**, mill_error*)>;

struct Work {
  Body body;
  int runs = 0;
  int destroys = 0;

  static mill_status run(void* user, mill_exec* exec, mill_tensor* const* in, uint32_t,
                         mill_tensor** out, uint32_t, mill_error* err) {
    auto& work = *static_cast<Work*>(user);
    ++work.runs;
    return work.body(exec, in, out, err);
  }
  static void destroy(void* user) { ++static_cast<Work*>(user)->destroys; }
};

class CheckpointTest : public testing::Test {
 protected:
  mill_status call(Work& work, std::vector<mill_tensor*> in, std::vector<Tensor>& out, uint32_t m) {
    std::vector<mill_tensor*> made(m);
    const mill_status status =
        mill_tape_checkpoint(w_.exec(), Work::run, &work, Work::destroy, in.data(),
                             static_cast<uint32_t>(in.size()), made.data(), m, w_.error());
    out.clear();
    for (mill_tensor* one : made) out.emplace_back(one);
    return status;
  }
  Tensor one(Work& work, std::vector<mill_tensor*> in) {
    std::vector<Tensor> out;
    w_.ok(call(work, std::move(in), out, 1));
    return std::move(out[0]);
  }
  static Body cube() {
    return [](mill_exec* exec, mill_tensor* const* in, mill_tensor** out, mill_error* err) {
      mill_tensor* square = nullptr;
      const mill_status status = mill_mul(exec, in[0], in[0], &square, err);
      return status < 0 ? status : mill_mul(exec, square, in[0], &out[0], err);
    };
  }
  Tensor x3() { return f64(w_, {3}, {1, 2, -3}); }

  World& w_ = world();
};

TEST_F(CheckpointTest, IsOneNodeAndRunsAgainInBackward) {
  Recording tape(w_);
  Work work{cube()};
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, one(work, {x.get()}));
  EXPECT_EQ(tape.count(), 2u);
  EXPECT_EQ(work.runs, 1);
  w_.ok(tape.backward(y));
  EXPECT_EQ(work.runs, 2);
  EXPECT_EQ(work.destroys, 1);
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 27}));
}

TEST_F(CheckpointTest, BackwardWithKeepRunsItEachTime) {
  Recording tape(w_);
  Work work{cube()};
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, one(work, {x.get()}));
  tape.off();
  for (int round = 0; round < 2; ++round) {
    w_.ok(tape.backward(y, MILL_BACKWARD_KEEP));
    EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 27}));
  }
  EXPECT_EQ(work.runs, 3);
  EXPECT_EQ(work.destroys, 0);
  w_.ok(mill_tape_reset(tape.get(), w_.error()));
  EXPECT_EQ(work.destroys, 1);
}

TEST_F(CheckpointTest, WithoutATapeItRunsAndIsDestroyed) {
  Work work{cube()};
  const Tensor x = x3();
  const Tensor y = one(work, {x.get()});
  EXPECT_EQ(doubles(w_, y), (Doubles{1, 8, -27}));
  EXPECT_EQ(work.destroys, 1);
}

TEST_F(CheckpointTest, NothingTrackedIsNotRecorded) {
  Recording tape(w_);
  Work work{cube()};
  const Tensor x = x3();
  const Tensor y = one(work, {x.get()});
  EXPECT_EQ(tape.count(), 0u);
  EXPECT_EQ(work.destroys, 1);
}

TEST_F(CheckpointTest, GradientsHaveTheSameBits) {
  Net::Bits bits[2];
  for (const bool checkpointed : {false, true}) {
    Net net(w_, 4, 4, 8);
    Recording tape(w_);
    // Twice: the second backward adds.
    for (int round = 0; round < 2; ++round) {
      const Tensor loss(net.forward(checkpointed));
      w_.ok(tape.backward(loss));
    }
    bits[checkpointed ? 1 : 0] = net.gradients();
  }
  for (const auto& one : bits[0]) EXPECT_FALSE(one.empty());
  EXPECT_EQ(bits[0], bits[1]);
}

TEST_F(CheckpointTest, GradientsHaveTheSameBitsUnderAutocast) {
  Net::Bits bits[2];
  for (const bool checkpointed : {false, true}) {
    Net net(w_, 2, 4, 8);
    Recording tape(w_);
    w_.ok(mill_exec_set_autocast(w_.exec(), MILL_BF16, w_.error()));
    const Tensor loss(net.forward(checkpointed));
    w_.ok(mill_exec_set_autocast(w_.exec(), MILL_DTYPE_NONE, w_.error()));
    // The backward's own ops follow the exec as it is then; the segment's what it was.
    w_.ok(tape.backward(loss));
    bits[checkpointed ? 1 : 0] = net.gradients();
  }
  EXPECT_EQ(bits[0], bits[1]);
}

TEST_F(CheckpointTest, PeakMemoryIsOneBlockAndTheInputs) {
  uint64_t peaks[2];
  for (const bool checkpointed : {false, true}) {
    Net net(w_, 12, 64, 64);
    Recording tape(w_);
    w_.ok(tape.backward(Tensor(net.forward(checkpointed))));
    peaks[checkpointed ? 1 : 0] = peak_of(w_, [&] {
      Tensor loss(net.forward(checkpointed));
      w_.ok(tape.backward(loss));
    });
  }
  // About 4 kept activations a block against 1.
  EXPECT_LT(peaks[1], peaks[0] / 2);
}

TEST_F(CheckpointTest, AParameterInsideAndOutsideAnInputUsedTwiceAndOutputsUnused) {
  Net::Bits bits[2];
  for (const bool checkpointed : {false, true}) {
    const Parameters params(w_, MILL_F32, {{"a", {3, 3}}, {"b", {3}}});
    const Tensor ids = make<int64_t>(w_, {2}, {2, 0});
    Recording tape(w_);
    const Tensor x = op::matmul(w_, params[0], params[0]);
    // Two uses of each input, two of a parameter, a second output that nobody uses, an integer one.
    Work work{[&](mill_exec* exec, mill_tensor* const* in, mill_tensor** out, mill_error* err) {
      mill_tensor *rows = nullptr, *product = nullptr, *both = nullptr;
      mill_status s = mill_embedding(exec, in[0], in[2], &rows, err);
      if (s == MILL_OK)
        s = mill_linear(exec, rows, params[0].get(), params[1].get(), &product, err);
      if (s == MILL_OK) s = mill_matmul(exec, product, in[1], &both, err);
      if (s == MILL_OK) s = mill_exp(exec, product, &out[1], err);
      if (s == MILL_OK) s = mill_argmax(exec, both, -1, 0, &out[2], err);
      if (s == MILL_OK) s = mill_tanh(exec, both, &out[0], err);
      return s;
    }};
    std::vector<Tensor> out;
    if (checkpointed) {
      w_.ok(call(work, {x.get(), x.get(), ids.get()}, out, 3));
    } else {
      mill_tensor* in[] = {x.get(), x.get(), ids.get()};
      mill_tensor* made[3] = {};
      w_.ok(mill_scope_begin(w_.exec(), w_.error()));
      w_.ok(work.body(w_.exec(), in, made, w_.error()));
      for (mill_tensor* one : made) w_.ok(mill_scope_keep(w_.exec(), one, w_.error()));
      w_.ok(mill_scope_end(w_.exec(), w_.error()));
      for (mill_tensor* one : made) out.emplace_back(one);
    }
    const Tensor after = op::add(w_, op::matmul(w_, out[0], params[0]), op::matmul(w_, out[0], x));
    w_.ok(tape.backward(op::sum(w_, after)));
    for (uint32_t k = 0; k < 2; ++k) {
      Tensor gradient;
      w_.ok(mill_group_gradient(params.get(), k, gradient.out(), w_.error()));
      ASSERT_TRUE(gradient);
      bits[checkpointed ? 1 : 0].push_back(read_bytes(w_, gradient.get()));
    }
  }
  EXPECT_EQ(bits[0], bits[1]);
}

TEST_F(CheckpointTest, FunctionalGradientsByInputsAndParameters) {
  const Parameters params(w_, MILL_F64, {{"a", {3}}});
  params.get();
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  Work work{[&](mill_exec* exec, mill_tensor* const* in, mill_tensor** out, mill_error* err) {
    return mill_mul(exec, in[0], params[0].get(), &out[0], err);
  }};
  const Tensor y = op::sum(w_, one(work, {x.get()}));
  tape.off();
  mill_tensor* by[] = {x.get(), params[0].get()};
  mill_tensor* made[2] = {};
  w_.ok(mill_tape_gradient(tape.get(), w_.exec(), y.get(), nullptr, by, 2, made, w_.error()));
  const Tensor first(made[0]), second(made[1]);
  EXPECT_EQ(doubles(w_, first), params.values(0));
  EXPECT_EQ(doubles(w_, second), (Doubles{1, 2, -3}));
  EXPECT_FALSE(params.fresh(0));
}

TEST_F(CheckpointTest, ARecordedBackwardIsRefusedBeforeItBegins) {
  Recording tape(w_);
  Work work{cube()};
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, one(work, {x.get()}));
  EXPECT_EQ(tape.backward(y, MILL_BACKWARD_KEEP), MILL_E_NO_GRADIENT);
  EXPECT_NE(w_.message().find("segment"), std::string::npos);
  EXPECT_EQ(tape.count(), 2u);
  w_.ok(tape.backward(y));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 27}));
}

TEST_F(CheckpointTest, SegmentsNest) {
  Recording tape(w_);
  Work inner{cube()};
  Work outer{[&](mill_exec* exec, mill_tensor* const* in, mill_tensor** out, mill_error* err) {
    mill_tensor* made = nullptr;
    const mill_status status =
        mill_tape_checkpoint(exec, Work::run, &inner, Work::destroy, in, 1, &made, 1, err);
    return status < 0 ? status : mill_mul(exec, made, in[0], &out[0], err);
  }};
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, one(outer, {x.get()}));
  EXPECT_EQ(tape.count(), 2u);
  w_.ok(tape.backward(y));
  EXPECT_EQ(outer.runs, 2);
  EXPECT_EQ(inner.runs, 3) << "in the forward, in the second run, and in that one's backward";
  EXPECT_EQ(inner.destroys, 2);
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{4, 32, -108}));
}

TEST_F(CheckpointTest, ATrackedTensorFromOutsideIsRefused) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor z = op::mul(w_, x, x);
  Work work{[&](mill_exec* exec, mill_tensor* const* in, mill_tensor** out, mill_error* err) {
    return mill_mul(exec, in[0], z.get(), &out[0], err);
  }};
  std::vector<Tensor> out;
  EXPECT_EQ(call(work, {x.get()}, out, 1), MILL_E_STATE);
  EXPECT_NE(w_.message().find("not among its inputs"), std::string::npos) << w_.message();
  EXPECT_EQ(work.destroys, 1);
  EXPECT_EQ(tape.count(), 1u);
}

TEST_F(CheckpointTest, WhatFailsInsideFailsTheCall) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  Work work{[](mill_exec*, mill_tensor* const*, mill_tensor**, mill_error* err) {
    mill_error_set(err, -1400, "not today");
    return mill_status{-1400};
  }};
  std::vector<Tensor> out;
  EXPECT_EQ(call(work, {x.get()}, out, 1), -1400);
  EXPECT_NE(w_.message().find("not today"), std::string::npos);
  work.body = [](mill_exec*, mill_tensor* const*, mill_tensor**, mill_error*) {
    return mill_status{MILL_OK};
  };
  EXPECT_EQ(call(work, {x.get()}, out, 1), MILL_E_STATE) << "no output";
  work.body = cube();
  const Tensor y = op::sum(w_, one(work, {x.get()}));
  work.body = [](mill_exec*, mill_tensor* const*, mill_tensor**, mill_error*) {
    return mill_status{-1401};
  };
  EXPECT_EQ(tape.backward(y), -1401);
  EXPECT_EQ(tape.count(), 0u);
  EXPECT_EQ(work.destroys, 3);
}

TEST_F(CheckpointTest, OverwrittenInputsAreStale) {
  Recording tape(w_);
  Work work{cube()};
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, one(work, {x.get()}));
  tape.off();
  const double other[] = {7, 7, 7};
  w_.ok(mill_tensor_write(w_.exec(), x.get(), other, sizeof other, w_.error()));
  EXPECT_EQ(tape.backward(y), MILL_E_STALE_SAVED);
  EXPECT_NE(w_.message().find("checkpoint"), std::string::npos) << w_.message();
}

TEST_F(CheckpointTest, HooksPackTheInputs) {
  Recording tape(w_);
  int packs = 0;
  w_.ok(mill_tape_on_saved(
      tape.get(),
      [](void* user, mill_exec*, mill_tensor* tensor, void** out, mill_error*) -> mill_status {
        ++*static_cast<int*>(user);
        mill_tensor_retain(tensor);
        *out = tensor;
        return MILL_OK;
      },
      [](void*, mill_exec* exec, void* packed, mill_tensor** out, mill_error* err) {
        return mill_copy(exec, static_cast<mill_tensor*>(packed), out, err);
      },
      [](void*, void* packed) { mill_tensor_release(static_cast<mill_tensor*>(packed)); }, &packs,
      nullptr, w_.error()));
  Work work{cube()};
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, one(work, {x.get()}));
  EXPECT_EQ(packs, 1);
  w_.ok(tape.backward(y));
  EXPECT_EQ(packs, 1) << "a segment's own tape has no hooks";
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 27}));
}

TEST_F(CheckpointTest, GradientHooksHearOfParametersInside) {
  const Parameters params(w_, MILL_F64, {{"a", {3}}, {"b", {3}}});
  Recording tape(w_);
  std::vector<uint32_t> heard;
  w_.ok(mill_tape_on_gradient(
      tape.get(),
      [](void* user, mill_exec*, mill_group*, uint32_t param, mill_error*) -> mill_status {
        static_cast<std::vector<uint32_t>*>(user)->push_back(param);
        return MILL_OK;
      },
      &heard, nullptr, w_.error()));
  const Tensor first = op::mul(w_, params[0], params[0]);
  Work work{[&](mill_exec* exec, mill_tensor* const* in, mill_tensor** out, mill_error* err) {
    return mill_mul(exec, in[0], params[1].get(), &out[0], err);
  }};
  const Tensor y = op::sum(w_, one(work, {first.get()}));
  w_.ok(tape.backward(y));
  EXPECT_EQ(heard, (std::vector<uint32_t>{1, 0}));
}

}  // namespace
}  // namespace mill_test
