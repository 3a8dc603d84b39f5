// Gradients in parameter groups: who assigns, who adds, what is fresh, what a failure leaves, and
// when the hook is called.
#include <gtest/gtest.h>

#include <limits>

#include "gradient/model.h"

namespace mill_test {
namespace {

using Doubles = std::vector<double>;

class GroupGradient : public testing::Test {
 protected:
  void backward(const Tensor& loss) {
    w_.ok(mill_tape_backward(tape_->get(), w_.exec(), loss.get(), nullptr, 0, w_.error()));
  }
  void spoil(const Parameters& p, uint32_t k) {
    // Puts NaN where the gradient will be written.
    Tensor gradient;
    w_.ok(mill_group_gradient(p.get(), k, gradient.out(), w_.error()));
    ASSERT_TRUE(gradient);
    void* data = nullptr;
    w_.ok(mill_tensor_data(gradient.get(), 1, &data, w_.error()));
    for (int64_t i = 0; i < mill_tensor_count(gradient.get()); ++i)
      static_cast<double*>(data)[i] = std::numeric_limits<double>::quiet_NaN();
  }
  Doubles times(const Doubles& x, double factor) {
    Doubles out = x;
    for (double& value : out) value *= factor;
    return out;
  }
  static void expect_near(const Doubles& a, const Doubles& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-13 * (1 + std::fabs(b[i])));
  }

  World& w_ = world();
  std::unique_ptr<Recording> tape_ = std::make_unique<Recording>(w_);
};

// The three ways into a gradient buffer: a matrix product, a sum and a copy.
Tensor model(World& w, const Parameters& p) {
  const Tensor ids = make<int64_t>(w, {3}, {0, 2, 2});
  return op::sum(w, op::tanh(w, op::linear(w, op::embedding(w, p[0], ids), p[1], p[2])));
}
std::vector<NamedDims> model_parameters() {
  return {{"table", {4, 3}}, {"weight", {2, 3}}, {"bias", {2}}};
}

TEST_F(GroupGradient, IsNotReadyBeforeBackward) {
  Parameters p(w_, MILL_F64, model_parameters());
  Doubles out;
  EXPECT_EQ(p.gradient(0, out), MILL_NOT_READY);
  EXPECT_TRUE(out.empty());
}

TEST_F(GroupGradient, FirstWriteAssignsAndLaterOnesAdd) {
  Parameters p(w_, MILL_F64, model_parameters());
  backward(model(w_, p));
  std::vector<Doubles> once;
  for (uint32_t k = 0; k < 3; ++k) once.push_back(p.gradient(k));
  backward(model(w_, p));
  backward(model(w_, p));
  for (uint32_t k = 0; k < 3; ++k) expect_near(p.gradient(k), times(once[k], 3));
  for (uint32_t k = 0; k < 3; ++k) spoil(p, k);
  w_.ok(mill_group_clear_gradients(p.get(), w_.error()));
  for (uint32_t k = 0; k < 3; ++k) EXPECT_FALSE(p.fresh(k));
  backward(model(w_, p));
  for (uint32_t k = 0; k < 3; ++k)
    EXPECT_EQ(p.gradient(k), once[k]) << "what was there before must not matter";
}

TEST_F(GroupGradient, AStepMakesTheNextBackwardAssign) {
  Parameters p(w_, MILL_F64, model_parameters());
  Optimizer sgd;
  // A rate of 0 keeps the parameters, so the same gradients come again.
  w_.ok(mill_optimizer_create_sgd(w_.exec(), p.get(), 0, 0, 0, 0, sgd.out(), w_.error()));
  backward(model(w_, p));
  const Doubles once = p.gradient(1);
  for (uint32_t k = 0; k < 3; ++k) spoil(p, k);
  const Doubles before = p.values(1);
  w_.ok(mill_group_clear_gradients(p.get(), w_.error()));
  backward(model(w_, p));
  w_.ok(mill_optimizer_step(sgd.get(), w_.exec(), w_.error()));
  EXPECT_EQ(p.values(1), before);
  for (uint32_t k = 0; k < 3; ++k) EXPECT_FALSE(p.fresh(k));
  backward(model(w_, p));
  EXPECT_EQ(p.gradient(1), once);
}

TEST_F(GroupGradient, AWeightUsedTwiceGetsTheSum) {
  Parameters p(w_, MILL_F64, {{"w", {3, 3}}});
  const Tensor x = f64(w_, {2, 3}, random_values(1, 6));
  const auto loss = [&](const Tensor& first, const Tensor& second) {
    return op::sum(w_, op::matmul(w_, op::tanh(w_, op::matmul(w_, x, first)), second));
  };
  backward(loss(p[0], p[0]));
  const Doubles both = p.gradient(0);
  w_.ok(mill_group_clear_gradients(p.get(), w_.error()));
  Tensor constant;
  w_.ok(mill_tensor_detach(p[0].get(), constant.out(), w_.error()));
  backward(loss(p[0], constant));
  backward(loss(constant, p[0]));
  expect_near(p.gradient(0), both);
}

TEST_F(GroupGradient, AParameterThatIsNotUsedStaysNotReady) {
  Parameters p(w_, MILL_F64, {{"used", {2}}, {"unused", {2}}});
  backward(op::sum(w_, p[0]));
  EXPECT_TRUE(p.fresh(0));
  EXPECT_FALSE(p.fresh(1));
}

TEST_F(GroupGradient, GradientOfAParameterIsTheGroups) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  backward(op::sum(w_, op::mul(w_, p[0], p[0])));
  EXPECT_EQ(doubles(w_, tape_->gradient_of(p[0])), p.gradient(0));
}

TEST_F(GroupGradient, TheFunctionalFormLeavesGroupsAlone) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  const Doubles a = p.values(0);
  const Tensor g = tape_->gradient(op::sum(w_, op::mul(w_, p[0], p[0])), p[0]);
  expect_near(doubles(w_, g), times(a, 2));
  EXPECT_FALSE(p.fresh(0));
}

TEST_F(GroupGradient, SecondDerivativesByAParameter) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  const Doubles a = p.values(0);
  const Tensor y = op::sum(w_, op::mul(w_, op::mul(w_, p[0], p[0]), p[0]));
  const Tensor first = tape_->gradient(y, p[0]);
  // Gradient penalty: the loss is made of first derivatives.
  backward(op::sum(w_, op::mul(w_, first, first)));
  Doubles want;
  for (const double x : a) want.push_back(2 * (3 * x * x) * 6 * x);
  expect_near(p.gradient(0), want);
}

TEST_F(GroupGradient, TwoTapesAddIntoOneGroup) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  Tape other;
  w_.ok(mill_tape_create(w_.context(), other.out(), w_.error()));
  const Tensor first = op::sum(w_, p[0]);
  w_.ok(mill_exec_set_tape(w_.exec(), other.get(), w_.error()));
  const Tensor second = op::sum(w_, op::add(w_, p[0], p[0]));
  w_.ok(mill_tape_backward(other.get(), w_.exec(), second.get(), nullptr, 0, w_.error()));
  tape_->on();
  backward(first);
  EXPECT_EQ(p.gradient(0), (Doubles{3, 3}));
}

TEST_F(GroupGradient, TwoGroupsOnOneTape) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  Parameters q(w_, MILL_F32, {{"b", {2}}});
  backward(op::sum(w_, op::mul(w_, p[0], q[0])));
  EXPECT_EQ(p.gradient(0), q.values(0));
  for (size_t i = 0; i < 2; ++i)
    EXPECT_FLOAT_EQ(static_cast<float>(q.gradient(0)[i]), static_cast<float>(p.values(0)[i]));
}

TEST_F(GroupGradient, WritingAParameterIsRefusedWhileRecordingAndAllowedOtherwise) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  const Doubles before = p.values(0);
  mill_tensor* out = p[0].get();
  EXPECT_EQ(mill_neg(w_.exec(), p[0].get(), &out, w_.error()), MILL_E_STATE);
  EXPECT_EQ(p.values(0), before);
  tape_->off();
  w_.ok(mill_neg(w_.exec(), p[0].get(), &out, w_.error()));
  EXPECT_EQ(p.values(0), times(before, -1));
}

TEST_F(GroupGradient, AnUpdateBetweenForwardAndBackwardIsDetected) {
  Parameters p(w_, MILL_F64, {{"a", {2}}, {"b", {2}}});
  Optimizer sgd;
  w_.ok(mill_optimizer_create_sgd(w_.exec(), p.get(), 0.1, 0, 0, 0, sgd.out(), w_.error()));
  backward(op::sum(w_, p[1]));
  const Tensor loss = op::sum(w_, op::mul(w_, p[0], p[0]));
  w_.ok(mill_optimizer_step(sgd.get(), w_.exec(), w_.error()));
  EXPECT_EQ(tape_->backward(loss), MILL_E_STALE_SAVED);
  EXPECT_NE(w_.message().find("mul"), std::string::npos) << w_.message();
}

TEST_F(GroupGradient, AFailedCheckLeavesGroupsAsTheyWere) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  backward(op::sum(w_, p[0]));
  const Tensor b = f64(w_, {2}, {3, 4});
  const Tensor stale = op::sum(w_, op::mul(w_, p[0], b));
  tape_->off();
  const double values[] = {0, 0};
  w_.ok(mill_tensor_write(w_.exec(), b.get(), values, sizeof values, w_.error()));
  EXPECT_EQ(tape_->backward(stale), MILL_E_STALE_SAVED);
  EXPECT_EQ(p.gradient(0), (Doubles{1, 1}));
  tape_->on();
  w_.ok(mill_tape_reset(tape_->get(), w_.error()));
  backward(op::sum(w_, p[0]));
  EXPECT_EQ(p.gradient(0), (Doubles{2, 2}));
}

TEST_F(GroupGradient, ATapeKeepsItsGroupsAlive) {
  auto p = std::make_unique<Parameters>(w_, MILL_F64, std::vector<NamedDims>{{"a", {2}}});
  const Tensor loss = op::sum(w_, op::mul(w_, (*p)[0], (*p)[0]));
  p.reset();
  EXPECT_EQ(tape_->backward(loss), MILL_OK) << w_.message();
}

TEST_F(GroupGradient, AParameterOutlivesItsGroupAsAnOrdinaryTensor) {
  Tensor kept;
  {
    Parameters p(w_, MILL_F64, {{"a", {2}}});
    w_.ok(mill_group_param(p.get(), 0, kept.out(), w_.error()));
  }
  const Tensor y = op::sum(w_, kept);
  EXPECT_EQ(tape_->count(), 0u);
}

// ---- the hook -----------------------------------------------------------------------------------

struct Seen {
  World* w;
  std::vector<uint32_t> order;
  std::vector<Doubles> gradients;
  mill_status answer = MILL_OK;
  int destroyed = 0;
  mill_group* group = nullptr;
};

mill_status remember(void* user, mill_exec* exec, mill_group* group, uint32_t param,
                     mill_error* err) {
  auto* seen = static_cast<Seen*>(user);
  seen->order.push_back(param);
  seen->group = group;
  mill_tensor* gradient = nullptr;
  const mill_status status = mill_group_gradient(group, param, &gradient, err);
  if (status != MILL_OK) return status;
  Doubles values(static_cast<size_t>(mill_tensor_count(gradient)));
  const mill_status read =
      mill_tensor_read(exec, gradient, values.data(), values.size() * sizeof(double), err);
  mill_tensor_release(gradient);
  seen->gradients.push_back(values);
  if (seen->answer < 0) mill_error_set(err, seen->answer, "the hook says no");
  return read < 0 ? read : seen->answer;
}

void count_destroy(void* user) {
  ++static_cast<Seen*>(user)->destroyed;
}

class Hook : public GroupGradient {
 protected:
  void set_hook() {
    w_.ok(mill_tape_on_gradient(tape_->get(), remember, &seen_, count_destroy, w_.error()));
  }
  // The tape's hook must not outlive what it points to.
  void TearDown() override { tape_.reset(); }
  Seen seen_{&w_, {}, {}, MILL_OK, 0, nullptr};
};

TEST_F(Hook, IsCalledOnceForEachParameterWhenItsGradientIsFinal) {
  Parameters p(w_, MILL_F64, {{"first", {2, 2}}, {"second", {2, 2}}, {"third", {2, 2}}});
  set_hook();
  const Tensor x = f64(w_, {2, 2}, random_values(3, 4));
  // The first parameter is used again at the end: it is final only after both uses.
  const Tensor one = op::tanh(w_, op::matmul(w_, x, p[0]));
  const Tensor two = op::tanh(w_, op::matmul(w_, one, p[1]));
  const Tensor three = op::matmul(w_, op::matmul(w_, two, p[2]), p[0]);
  backward(op::sum(w_, three));
  EXPECT_EQ(seen_.order, (std::vector<uint32_t>{2, 1, 0}));
  ASSERT_EQ(seen_.gradients.size(), 3u);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(seen_.gradients[i], p.gradient(seen_.order[i])) << "final when it was called";
  EXPECT_EQ(seen_.group, p.get());
}

TEST_F(Hook, IsCalledForAParameterThatOneOpUsesTwice) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  set_hook();
  backward(op::sum(w_, op::mul(w_, p[0], p[0])));
  EXPECT_EQ(seen_.order, (std::vector<uint32_t>{0}));
  EXPECT_EQ(seen_.gradients[0], times(p.values(0), 2));
}

TEST_F(Hook, IsNotCalledForUnusedParametersNorByTheFunctionalForm) {
  Parameters p(w_, MILL_F64, {{"a", {2}}, {"unused", {2}}});
  set_hook();
  const Tensor loss = op::sum(w_, op::mul(w_, p[0], p[0]));
  tape_->gradient(loss, p[0]);
  EXPECT_TRUE(seen_.order.empty());
  backward(loss);
  EXPECT_EQ(seen_.order, (std::vector<uint32_t>{0}));
}

TEST_F(Hook, IsNotCalledForWhatAnEarlierBackwardLeft) {
  Parameters p(w_, MILL_F64, {{"a", {2}}, {"b", {2}}});
  backward(op::sum(w_, p[1]));
  set_hook();
  const Tensor off_the_way = op::mul(w_, p[1], p[1]);
  backward(op::sum(w_, p[0]));
  EXPECT_EQ(seen_.order, (std::vector<uint32_t>{0}));
  EXPECT_EQ(p.gradient(1), (Doubles{1, 1}));
}

TEST_F(Hook, IsCalledForAParameterWhoseFirstUseIsOffTheWay) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  set_hook();
  const Tensor off_the_way = op::mul(w_, p[0], p[0]);
  backward(op::sum(w_, p[0]));
  EXPECT_EQ(seen_.order, (std::vector<uint32_t>{0}));
}

TEST_F(Hook, ItsErrorStopsBackwardAndNoGradientIsFresh) {
  Parameters p(w_, MILL_F64, {{"a", {2}}, {"b", {2}}});
  set_hook();
  seen_.answer = MILL_E_USER - 5;
  const Tensor loss = op::sum(w_, op::mul(w_, op::tanh(w_, p[0]), p[1]));
  EXPECT_EQ(tape_->backward(loss), MILL_E_USER - 5);
  EXPECT_NE(w_.message().find("the hook says no"), std::string::npos) << w_.message();
  EXPECT_EQ(seen_.order.size(), 1u);
  EXPECT_FALSE(p.fresh(0));
  EXPECT_FALSE(p.fresh(1));
  seen_.answer = MILL_OK;
  w_.ok(mill_tape_reset(tape_->get(), w_.error()));
  backward(op::sum(w_, p[0]));
  EXPECT_EQ(p.gradient(0), (Doubles{1, 1})) << "the group is usable again";
}

TEST_F(Hook, MayRunOps) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  struct State {
    int calls = 0;
  } state;
  w_.ok(mill_tape_on_gradient(
      tape_->get(),
      [](void* user, mill_exec* exec, mill_group* group, uint32_t param,
         mill_error* err) -> mill_status {
        ++static_cast<State*>(user)->calls;
        mill_tensor* gradient = nullptr;
        mill_status status = mill_group_gradient(group, param, &gradient, err);
        if (status != MILL_OK) return status;
        mill_tensor* out = gradient;
        status = mill_affine(exec, gradient, 0.5, 0, &out, err);
        mill_tensor_release(gradient);
        return status;
      },
      &state, nullptr, w_.error()));
  backward(op::sum(w_, p[0]));
  EXPECT_EQ(state.calls, 1);
  EXPECT_EQ(p.gradient(0), (Doubles{0.5, 0.5}));
}

TEST_F(Hook, ItsUserDataIsDestroyedOnce) {
  set_hook();
  EXPECT_EQ(seen_.destroyed, 0);
  set_hook();
  EXPECT_EQ(seen_.destroyed, 1) << "replaced";
  w_.ok(mill_tape_on_gradient(tape_->get(), nullptr, nullptr, nullptr, w_.error()));
  EXPECT_EQ(seen_.destroyed, 2) << "removed";
  set_hook();
  tape_.reset();
  EXPECT_EQ(seen_.destroyed, 3) << "the tape ended";
  EXPECT_EQ(mill_tape_on_gradient(nullptr, remember, &seen_, count_destroy, w_.error()),
            MILL_E_ARG);
  EXPECT_EQ(seen_.destroyed, 4) << "the call failed";
}

}  // namespace
}  // namespace mill_test
