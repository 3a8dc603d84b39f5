// Optimizer trajectories against an implementation in double that is written here, step by step
// from the definitions: SGD as PyTorch's torch.optim.SGD, AdamW as Loshchilov and Hutter (2019)
// with bias correction, clipping by the joint norm, linear warm-up and cosine.
#include <gtest/gtest.h>

#include <numbers>

#include "gradient/model.h"

namespace mill_test {
namespace {

using Doubles = std::vector<double>;

constexpr int64_t kSteps = 20;

struct Settings {
  bool adamw = false;
  double rate = 0.1;
  double momentum = 0;
  double decay = 0;
  bool nesterov = false;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double clip = 0;
  int32_t shape = MILL_SCHEDULE_CONSTANT;
  int64_t warmup = 0;
  int64_t total = 0;
  double floor = 0;
};

double scheduled(const Settings& s, int64_t step) {
  if (s.warmup > 0 && step <= s.warmup)
    return s.rate * static_cast<double>(step) / static_cast<double>(s.warmup);
  if (s.shape == MILL_SCHEDULE_CONSTANT) return s.rate;
  const double done =
      std::min(1.0, static_cast<double>(step - s.warmup) / static_cast<double>(s.total - s.warmup));
  return s.rate * (s.floor + (1 - s.floor) * (1 + std::cos(std::numbers::pi * done)) / 2);
}

// One group of parameters; a parameter without a gradient is left alone, with all its state.
class Reference {
 public:
  Reference(const Settings& s, std::vector<Doubles> values) : s_(s), values_(std::move(values)) {
    for (const Doubles& v : values_) {
      first_.emplace_back(v.size(), 0.0);
      second_.emplace_back(v.size(), 0.0);
    }
  }
  void step(const std::vector<Doubles>& gradients) {
    ++step_;
    rate_ = scheduled(s_, step_);
    double squares = 0;
    for (const Doubles& g : gradients) {
      for (const double x : g) squares += x * x;
    }
    norm_ = std::sqrt(squares);
    const double factor = s_.clip > 0 ? std::min(1.0, s_.clip / (norm_ + 1e-6)) : 1;
    for (size_t k = 0; k < values_.size(); ++k) {
      for (size_t i = 0; i < gradients[k].size(); ++i) update(k, i, gradients[k][i] * factor);
    }
  }
  const Doubles& values(size_t k) const { return values_[k]; }
  double rate() const { return rate_; }
  double norm() const { return norm_; }

 private:
  void update(size_t k, size_t i, double g) {
    double& p = values_[k][i];
    if (s_.adamw) {
      double& m = first_[k][i];
      double& v = second_[k][i];
      p -= rate_ * s_.decay * p;
      m = s_.beta1 * m + (1 - s_.beta1) * g;
      v = s_.beta2 * v + (1 - s_.beta2) * g * g;
      const double m_hat = m / (1 - std::pow(s_.beta1, static_cast<double>(step_)));
      const double v_hat = v / (1 - std::pow(s_.beta2, static_cast<double>(step_)));
      p -= rate_ * m_hat / (std::sqrt(v_hat) + s_.eps);
      return;
    }
    g += s_.decay * p;
    double direction = g;
    if (s_.momentum > 0) {
      double& velocity = first_[k][i];
      velocity = s_.momentum * velocity + g;
      direction = s_.nesterov ? g + s_.momentum * velocity : velocity;
    }
    p -= rate_ * direction;
  }

  Settings s_;
  std::vector<Doubles> values_;
  std::vector<Doubles> first_;
  std::vector<Doubles> second_;
  int64_t step_ = 0;
  double rate_ = 0;
  double norm_ = 0;
};

Optimizer make_optimizer(World& w, const Parameters& p, const Settings& s) {
  Optimizer out;
  if (s.adamw) {
    w.ok(mill_optimizer_create_adamw(w.exec(), p.get(), s.rate, s.beta1, s.beta2, s.eps, s.decay,
                                     out.out(), w.error()));
  } else {
    w.ok(mill_optimizer_create_sgd(w.exec(), p.get(), s.rate, s.momentum, s.decay,
                                   s.nesterov ? 1 : 0, out.out(), w.error()));
  }
  w.ok(mill_optimizer_set_schedule(out.get(), s.shape, s.warmup, s.total, s.floor, w.error()));
  w.ok(mill_optimizer_set_clip_norm(out.get(), s.clip, w.error()));
  return out;
}

std::vector<NamedDims> three() {
  return {{"a", {3, 7}}, {"b", {5}}, {"c", {1}}};
}

// Where the parameters are heading, different in every step.
Doubles target(size_t k, int64_t step, size_t n) {
  return random_values(1000 * k + static_cast<uint64_t>(step), n, -2, 2);
}

// Parameter `idle` takes no part in steps 3, 4 and 5 of every seven.
bool takes_part(size_t k, size_t idle, int64_t step) {
  return k != idle || step % 7 < 3 || step % 7 > 5;
}

class Trajectory {
 public:
  Trajectory(mill_dtype dtype, const Settings& s, size_t idle = SIZE_MAX)
      : dtype_(dtype), s_(s), idle_(idle) {}

  // Walks both and compares after every step.
  void run(double tolerance) {
    Parameters p(w_, dtype_, three());
    std::vector<Doubles> start;
    for (uint32_t k = 0; k < 3; ++k) start.push_back(p.values(k));
    Reference reference(s_, start);
    const Optimizer optimizer = make_optimizer(w_, p, s_);
    for (int64_t step = 0; step < kSteps; ++step) {
      reference.step(backward(p, step));
      w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
      for (uint32_t k = 0; k < 3; ++k) {
        const Doubles have = p.values(k);
        for (size_t i = 0; i < have.size(); ++i) {
          ASSERT_NEAR(have[i], reference.values(k)[i], tolerance * (1 + std::fabs(have[i])))
              << "step " << step + 1 << " parameter " << k << " element " << i;
        }
        EXPECT_FALSE(p.fresh(k));
      }
      Tensor rate;
      w_.ok(mill_optimizer_rate(optimizer.get(), rate.out(), w_.error()));
      EXPECT_NEAR(item(w_, rate.get()), reference.rate(), 1e-7 * s_.rate);
      if (s_.clip > 0) {
        Tensor norm;
        w_.ok(mill_optimizer_norm(optimizer.get(), norm.out(), w_.error()));
        EXPECT_NEAR(item(w_, norm.get()), reference.norm(), 1e-5 * reference.norm());
      }
    }
    int64_t steps = 0;
    w_.ok(mill_optimizer_steps(optimizer.get(), &steps, w_.error()));
    EXPECT_EQ(steps, kSteps);
  }

 private:
  // The loss is half the squared distance to the step's target, so the gradient is known: p -
  // target.
  std::vector<Doubles> backward(const Parameters& p, int64_t step) {
    Recording tape(w_);
    Tensor loss;
    for (uint32_t k = 0; k < 3; ++k) {
      if (!takes_part(k, idle_, step)) continue;
      const size_t n = p.values(k).size();
      Tensor aim = f64(w_, dims_of(p[k].get()), target(k, step, n));
      if (dtype_ != MILL_F64) {
        Tensor narrow;
        w_.ok(mill_cast(w_.exec(), aim.get(), dtype_, narrow.out(), w_.error()));
        aim = std::move(narrow);
      }
      const Tensor distance = op::sub(w_, p[k], aim);
      Tensor half;
      const Tensor squares = op::sum(w_, op::mul(w_, distance, distance));
      w_.ok(mill_affine(w_.exec(), squares.get(), 0.5, 0, half.out(), w_.error()));
      loss = loss ? op::add(w_, loss, half) : std::move(half);
    }
    w_.ok(tape.backward(loss));
    std::vector<Doubles> gradients;
    for (uint32_t k = 0; k < 3; ++k) {
      gradients.emplace_back();
      EXPECT_EQ(p.gradient(k, gradients.back()),
                takes_part(k, idle_, step) ? MILL_OK : MILL_NOT_READY);
    }
    return gradients;
  }

  World& w_ = world();
  mill_dtype dtype_;
  Settings s_;
  size_t idle_;
};

Settings sgd(double momentum, double decay, bool nesterov) {
  Settings s;
  s.momentum = momentum;
  s.decay = decay;
  s.nesterov = nesterov;
  return s;
}

Settings adamw(double decay) {
  Settings s;
  s.adamw = true;
  s.rate = 0.05;
  s.decay = decay;
  return s;
}

Settings with_everything(Settings s) {
  s.clip = 2.5;
  s.shape = MILL_SCHEDULE_COSINE;
  s.warmup = 4;
  s.total = 16;
  s.floor = 0.1;
  return s;
}

TEST(OptimizerTrajectory, PlainSgd) {
  Trajectory(MILL_F64, sgd(0, 0, false)).run(1e-13);
}
TEST(OptimizerTrajectory, SgdWithDecay) {
  Trajectory(MILL_F64, sgd(0, 0.1, false)).run(1e-13);
}
TEST(OptimizerTrajectory, SgdWithMomentum) {
  Trajectory(MILL_F64, sgd(0.9, 0.01, false)).run(1e-12);
}
TEST(OptimizerTrajectory, SgdWithNesterovMomentum) {
  Trajectory(MILL_F64, sgd(0.9, 0.01, true)).run(1e-12);
}
TEST(OptimizerTrajectory, SgdWithClipCosineAndWarmUp) {
  Trajectory(MILL_F64, with_everything(sgd(0.9, 0.01, true))).run(1e-12);
}
TEST(OptimizerTrajectory, AdamW) {
  Trajectory(MILL_F64, adamw(0)).run(1e-12);
}
TEST(OptimizerTrajectory, AdamWWithDecay) {
  Trajectory(MILL_F64, adamw(0.1)).run(1e-12);
}
TEST(OptimizerTrajectory, AdamWWithClipCosineAndWarmUp) {
  Trajectory(MILL_F64, with_everything(adamw(0.05))).run(1e-12);
}
TEST(OptimizerTrajectory, WarmUpThenConstant) {
  Settings s = adamw(0);
  s.warmup = 7;
  Trajectory(MILL_F64, s).run(1e-12);
}
TEST(OptimizerTrajectory, SgdInF32) {
  Trajectory(MILL_F32, with_everything(sgd(0.9, 0.01, true))).run(5e-6);
}
TEST(OptimizerTrajectory, AdamWInF32) {
  Trajectory(MILL_F32, with_everything(adamw(0.05))).run(5e-6);
}
// The parameters themselves have 8 bits: each step rounds, by up to half a unit in the last place.
TEST(OptimizerTrajectory, AdamWInBf16) {
  Trajectory(MILL_BF16, adamw(0.05)).run(0.06);
}
TEST(OptimizerTrajectory, SgdSkipsAParameterWithoutGradient) {
  for (size_t idle = 0; idle < 3; ++idle)
    Trajectory(MILL_F64, with_everything(sgd(0.9, 0.1, false)), idle).run(1e-12);
}
TEST(OptimizerTrajectory, AdamWSkipsAParameterWithoutGradient) {
  for (size_t idle = 0; idle < 3; ++idle)
    Trajectory(MILL_F64, with_everything(adamw(0.1)), idle).run(1e-12);
}

// torch.optim.AdamW(lr=0.1, weight_decay=0.01) on x = 1 with the gradient 2 x, by its published
// formula with pencil and paper: the first step is x (1 - lr decay) - lr sign(g) up to eps.
TEST(OptimizerTrajectory, TheFirstAdamWStepIsTheSignOfTheGradient) {
  World& w = world();
  Parameters p(w, MILL_F64, {{"x", {2}}});
  p.set(0, {1, -3});
  Settings s;
  s.adamw = true;
  s.decay = 0.01;
  const Optimizer optimizer = make_optimizer(w, p, s);
  Recording tape(w);
  w.ok(tape.backward(op::sum(w, op::mul(w, p[0], p[0]))));
  w.ok(mill_optimizer_step(optimizer.get(), w.exec(), w.error()));
  const Doubles x = p.values(0);
  EXPECT_NEAR(x[0], 1 * (1 - 0.1 * 0.01) - 0.1, 1e-9);
  EXPECT_NEAR(x[1], -3 * (1 - 0.1 * 0.01) + 0.1, 1e-9);
}

class OptimizerState : public testing::Test {
 protected:
  void backward(const Tensor& loss) { w_.ok(tape_.backward(loss)); }
  World& w_ = world();
  Recording tape_{w_};
};

TEST_F(OptimizerState, AStepWithoutAnyFreshGradientChangesNothing) {
  Parameters p(w_, MILL_F64, {{"a", {2}}});
  const Optimizer optimizer = make_optimizer(w_, p, adamw(0.1));
  const Doubles before = p.values(0);
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  EXPECT_EQ(p.values(0), before);
  int64_t steps = -1;
  w_.ok(mill_optimizer_steps(optimizer.get(), &steps, w_.error()));
  EXPECT_EQ(steps, 0);
}

TEST_F(OptimizerState, ASkippedParameterKeepsItsBits) {
  Parameters p(w_, MILL_F32, {{"a", {5}}, {"b", {5}}, {"c", {5}}});
  const Optimizer optimizer = make_optimizer(w_, p, adamw(0.5));
  backward(op::sum(w_, op::mul(w_, p[0], p[2])));
  const auto before = p.bytes(1);
  const auto other = p.bytes(0);
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  EXPECT_EQ(p.bytes(1), before);
  EXPECT_NE(p.bytes(0), other);
}

TEST_F(OptimizerState, TheRateCanBeChangedBetweenSteps) {
  Parameters p(w_, MILL_F64, {{"a", {1}}});
  p.set(0, {0});
  const Optimizer optimizer = make_optimizer(w_, p, sgd(0, 0, false));
  backward(op::sum(w_, p[0]));
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  EXPECT_DOUBLE_EQ(p.values(0)[0], -0.1);
  w_.ok(mill_optimizer_set_rate(optimizer.get(), w_.exec(), 1, w_.error()));
  backward(op::sum(w_, p[0]));
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  EXPECT_DOUBLE_EQ(p.values(0)[0], -1.1);
}

TEST_F(OptimizerState, TheNormExistsOnlyWhileClippingIsOn) {
  Parameters p(w_, MILL_F64, {{"a", {4}}});
  Settings s = sgd(0, 0, false);
  const Optimizer off = make_optimizer(w_, p, s);
  mill_tensor* norm = nullptr;
  EXPECT_EQ(mill_optimizer_norm(off.get(), &norm, w_.error()), MILL_E_STATE);
  EXPECT_EQ(norm, nullptr);
  s.clip = 1;
  const Optimizer on = make_optimizer(w_, p, s);
  backward(op::sum(w_, p[0]));
  const Doubles before = p.values(0);
  w_.ok(mill_optimizer_step(on.get(), w_.exec(), w_.error()));
  Tensor value;
  w_.ok(mill_optimizer_norm(on.get(), value.out(), w_.error()));
  EXPECT_DOUBLE_EQ(item(w_, value.get()), 2);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(p.values(0)[i], before[i] - 0.1 * 0.5, 1e-6);
}

TEST_F(OptimizerState, ASmallGradientIsNotScaledUp) {
  Parameters p(w_, MILL_F64, {{"a", {1}}});
  p.set(0, {1});
  Settings s = sgd(0, 0, false);
  s.clip = 100;
  const Optimizer optimizer = make_optimizer(w_, p, s);
  backward(op::sum(w_, p[0]));
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  EXPECT_DOUBLE_EQ(p.values(0)[0], 0.9);
}

TEST_F(OptimizerState, GradientsOfSeveralBackwardsAccumulate) {
  Parameters p(w_, MILL_F64, {{"a", {1}}});
  p.set(0, {0});
  const Optimizer optimizer = make_optimizer(w_, p, sgd(0, 0, false));
  for (int k = 0; k < 4; ++k) backward(op::sum(w_, p[0]));
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  EXPECT_DOUBLE_EQ(p.values(0)[0], -0.4);
}

// More fresh ranges than one call of squared_norm takes inputs.
TEST_F(OptimizerState, ClippingSeesEveryParameterOfALargeGroup) {
  constexpr size_t kCount = 150;
  std::vector<NamedDims> list;
  for (size_t k = 0; k < kCount; ++k) list.push_back({"p" + std::to_string(k), {3}});
  Parameters p(w_, MILL_F64, list);
  Settings s = sgd(0, 0, false);
  s.clip = 1e9;
  const Optimizer optimizer = make_optimizer(w_, p, s);
  Tensor loss;
  size_t used = 0;
  for (uint32_t k = 0; k < kCount; k += 2, ++used) {
    Tensor part = op::sum(w_, p[k]);
    loss = loss ? op::add(w_, loss, part) : std::move(part);
  }
  backward(loss);
  const Doubles idle = p.values(1);
  const Doubles busy = p.values(kCount - 2);
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  Tensor norm;
  w_.ok(mill_optimizer_norm(optimizer.get(), norm.out(), w_.error()));
  EXPECT_NEAR(item(w_, norm.get()), std::sqrt(3.0 * static_cast<double>(used)), 1e-12);
  EXPECT_EQ(p.values(1), idle);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(p.values(kCount - 2)[i], busy[i] - 0.1, 1e-12);
}

TEST_F(OptimizerState, ElementsOfOddSizesAreUpdatedExactlyOnce) {
  // Sizes that leave gaps in the flat buffer: no element is updated twice or not at all.
  std::vector<NamedDims> list;
  for (int64_t n = 1; n <= 20; ++n) list.push_back({"p" + std::to_string(n), {n}});
  Parameters p(w_, MILL_F32, list);
  const Optimizer optimizer = make_optimizer(w_, p, sgd(0, 0, false));
  Tensor loss;
  for (uint32_t k = 0; k < p.count(); ++k) {
    Tensor part = op::sum(w_, p[k]);
    loss = loss ? op::add(w_, loss, part) : std::move(part);
  }
  backward(loss);
  std::vector<Doubles> before;
  for (uint32_t k = 0; k < p.count(); ++k) before.push_back(p.values(k));
  w_.ok(mill_optimizer_step(optimizer.get(), w_.exec(), w_.error()));
  for (uint32_t k = 0; k < p.count(); ++k) {
    const Doubles after = p.values(k);
    for (size_t i = 0; i < after.size(); ++i)
      EXPECT_NEAR(after[i], before[k][i] - 0.1, 1e-7) << k << " " << i;
  }
}

}  // namespace
}  // namespace mill_test
