// The kernels of the updates on every SIMD target: each dtype, with and without each state, master
// and clip factor, out of place, in place and skipped, on one thread and several.
#include <functional>

#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(update)

constexpr double kRate = 0.125;
constexpr double kClip = 0.75;
constexpr double kDecay = 0.1;

// One element of a step.
struct Element {
  double p;  // the weights: master's where there is one
  double g;  // times the clip factor
  double s[3];
};

struct Rule {
  const char* name;
  int32_t op;
  uint32_t states;  // inputs 2 and on
  uint32_t absent;  // bit k: state k is left out
  bool steps;       // a step count follows the rate
  std::vector<mill_attr> attrs;
  std::function<void(Element&, int64_t)> update;
};

std::vector<Rule> rules() {
  std::vector<Rule> out;
  for (const bool decoupled : {false, true}) {
    for (const bool largest : {false, true}) {
      out.push_back({"adam",
                     MILL_OP_ADAM_STEP,
                     3,
                     largest ? 0u : 4u,
                     true,
                     {float_attr(0.9), float_attr(0.99), float_attr(1e-8), float_attr(kDecay),
                      int_attr(decoupled)},
                     [=](Element& e, int64_t t) {
                       const double g = decoupled ? e.g : e.g + kDecay * e.p;
                       e.s[0] = 0.9 * e.s[0] + (1 - 0.9) * g;
                       e.s[1] = 0.99 * e.s[1] + (1 - 0.99) * g * g;
                       e.s[2] = std::max(e.s[2], e.s[1]);
                       const double at = static_cast<double>(t);
                       const double m = e.s[0] / (1 - std::pow(0.9, at));
                       const double v = (largest ? e.s[2] : e.s[1]) / (1 - std::pow(0.99, at));
                       e.p = e.p * (decoupled ? 1 - kRate * kDecay : 1) -
                             kRate * m / (std::sqrt(v) + 1e-8);
                     }});
    }
  }
  for (const uint32_t absent : {0u, 2u, 4u, 6u}) {
    const double momentum = (absent & 4) != 0 ? 0 : 0.5;
    out.push_back({"rmsprop",
                   MILL_OP_RMSPROP_STEP,
                   3,
                   absent,
                   false,
                   {float_attr(0.9), float_attr(1e-6), float_attr(momentum), float_attr(kDecay)},
                   [=](Element& e, int64_t) {
                     const double g = e.g + kDecay * e.p;
                     e.s[0] = 0.9 * e.s[0] + (1 - 0.9) * g * g;
                     e.s[1] = 0.9 * e.s[1] + (1 - 0.9) * g;
                     const double spread = (absent & 2) != 0 ? e.s[0] : e.s[0] - e.s[1] * e.s[1];
                     e.s[2] = momentum * e.s[2] + g / (std::sqrt(spread) + 1e-6);
                     e.p -= kRate * e.s[2];
                     if ((absent & 4) != 0) e.s[2] = 0;
                   }});
  }
  out.push_back({"adagrad",
                 MILL_OP_ADAGRAD_STEP,
                 1,
                 0,
                 true,
                 {float_attr(0.25), float_attr(1e-6), float_attr(kDecay)},
                 [](Element& e, int64_t t) {
                   const double g = e.g + kDecay * e.p;
                   e.s[0] += g * g;
                   e.p -= kRate / (1 + 0.25 * static_cast<double>(t - 1)) * g /
                          (std::sqrt(e.s[0]) + 1e-6);
                 }});
  out.push_back({"lion",
                 MILL_OP_LION_STEP,
                 1,
                 0,
                 false,
                 {float_attr(0.9), float_attr(0.99), float_attr(kDecay)},
                 [](Element& e, int64_t) {
                   const double way = 0.9 * e.s[0] + (1 - 0.9) * e.g;
                   e.p = e.p * (1 - kRate * kDecay) - kRate * ((way > 0) - (way < 0));
                   e.s[0] = 0.99 * e.s[0] + (1 - 0.99) * e.g;
                 }});
  for (const bool nesterov : {false, true}) {
    const double dampening = nesterov ? 0 : 0.25;
    out.push_back({"momentum",
                   MILL_OP_MOMENTUM_STEP,
                   1,
                   0,
                   true,
                   {float_attr(0.5), float_attr(dampening), float_attr(kDecay), int_attr(nesterov)},
                   [=](Element& e, int64_t t) {
                     const double g = e.g + kDecay * e.p;
                     e.s[0] = t == 1 ? g : 0.5 * e.s[0] + (1 - dampening) * g;
                     e.p -= kRate * (nesterov ? g + 0.5 * e.s[0] : e.s[0]);
                   }});
  }
  return out;
}

// The tensors of one launch.
struct Operands {
  Tensor param, grad, state[3], master;

  Operands(int32_t dtype, int64_t n)
      : param(dtype, {n}),
        grad(dtype, {n}),
        state{Tensor(stat_dtype(dtype), {n}), Tensor(stat_dtype(dtype), {n}),
              Tensor(stat_dtype(dtype), {n})},
        master(stat_dtype(dtype), {n}) {}
};

class Launches {
 public:
  Launches(const Target& target, const Rule& rule, int32_t dtype, int64_t n, bool master,
           int64_t step, double clip)
      : target_(target),
        rule_(rule),
        dtype_(dtype),
        master_(master),
        before_(dtype, n),
        rate_(Tensor::of(stat_dtype(dtype), {1}, {kRate})),
        clip_(Tensor::of(stat_dtype(dtype), {1}, {clip})),
        step_(MILL_I64, {1}),
        clips_(clip != 1) {
    step_.set(0, static_cast<double>(step));
    before_.param.fill(1);
    before_.grad.fill(2);
    before_.state[0].fill(3, 1.2, 2);  // a positive square, an m
    before_.state[1].fill(4, 0.1, 0.9);
    before_.state[2].fill(5, 0.1, 1);
    before_.master.fill(6);
    if (rule.op == MILL_OP_LION_STEP) before_.state[0].fill(3);
  }

  void run() {
    const int64_t n = before_.param.numel();
    Operands out(dtype_, n);
    launch_into(before_, out, 2);
    if (clip_[0] < 0) {
      EXPECT_TRUE(out.param.same_bits(before_.param)) << label();
      for (uint32_t k = 0; k < rule_.states; ++k) {
        if (has(k)) {
          EXPECT_TRUE(out.state[k].same_bits(before_.state[k])) << label();
        }
      }
      if (master_) {
        EXPECT_TRUE(out.master.same_bits(before_.master)) << label();
      }
    } else {
      compare(out);
    }
    Operands same = before_;
    launch_into(same, same, 0);
    EXPECT_TRUE(same.param.same_bits(out.param)) << label();
    for (uint32_t k = 0; k < rule_.states; ++k) {
      if (has(k)) {
        EXPECT_TRUE(same.state[k].same_bits(out.state[k])) << label();
      }
    }
    if (master_) {
      EXPECT_TRUE(same.master.same_bits(out.master)) << label();
    }
  }

 private:
  bool has(uint32_t k) const { return (rule_.absent >> k & 1) == 0; }
  std::string label() const {
    return std::string(target_.name) + " " + rule_.name + " " + std::to_string(dtype_) +
           (master_ ? " master" : "");
  }
  void launch_into(Operands& in, Operands& out, uint32_t threads) {
    std::vector<Tensor*> from = {&in.param, &in.grad};
    std::vector<Tensor*> to = {&out.param};
    for (uint32_t k = 0; k < rule_.states; ++k) {
      from.push_back(has(k) ? &in.state[k] : nullptr);
      to.push_back(has(k) ? &out.state[k] : nullptr);
    }
    from.push_back(&rate_);
    if (rule_.steps) from.push_back(&step_);
    from.push_back(clips_ ? &clip_ : nullptr);
    from.push_back(master_ ? &in.master : nullptr);
    to.push_back(master_ ? &out.master : nullptr);
    ASSERT_EQ(launch_list(from, to, threads), MILL_OK) << label();
  }
  mill_status launch_list(const std::vector<Tensor*>& from, const std::vector<Tensor*>& to,
                          uint32_t threads) {
    const std::vector<const Tensor*> in(from.begin(), from.end());
    return launch(target_.list, rule_.op, in, to, rule_.attrs, threads).status;
  }
  void compare(const Operands& out) {
    const double unit = dtype_ == MILL_F64 ? 0x1p-53 : 0x1p-24;
    const double clip = clips_ ? clip_[0] : 1;
    const auto step = static_cast<int64_t>(step_[0]);
    for (int64_t i = 0; i < before_.param.numel(); ++i) {
      Element e{master_ ? before_.master[i] : before_.param[i], before_.grad[i] * clip, {}};
      for (uint32_t k = 0; k < rule_.states; ++k) e.s[k] = has(k) ? before_.state[k][i] : 0;
      rule_.update(e, step);
      for (uint32_t k = 0; k < rule_.states; ++k) {
        if (has(k)) {
          ASSERT_TRUE(close(out.state[k][i], e.s[k], 16 * unit, 16 * unit)) << label();
        }
      }
      const double room = 64 * unit;
      ASSERT_TRUE(close(out.param[i], e.p, 1.01 * epsilon_of(dtype_), room))
          << label() << ": " << out.param[i] << " for " << e.p;
      if (master_) {
        ASSERT_TRUE(close(out.master[i], e.p, 4 * unit, room)) << label();
      }
    }
  }

  const Target& target_;
  const Rule& rule_;
  int32_t dtype_;
  bool master_;
  Operands before_;
  Tensor rate_;
  Tensor clip_;
  Tensor step_;
  bool clips_;
};

TEST(Updates, FollowTheirFormulas) {
  const std::vector<Rule> all = rules();
  for (const Target& target : update_targets()) {
    for (const Rule& rule : all) {
      for (const int32_t dtype : float_dtypes()) {
        for (const int64_t n : {0, 1, 5, 16, 1000, 20011}) {
          for (const bool master : {false, true}) {
            for (const int64_t step : {1, 7}) {
              for (const double clip : {1.0, kClip, -1.0}) {
                // Several threads once is enough.
                if (n > 1000 && (step == 1 || clip == 1)) continue;
                Launches(target, rule, dtype, n, master, step, clip).run();
                if (HasFatalFailure()) return;
              }
            }
          }
        }
      }
    }
  }
}

TEST(ClampGradient, KeepsNanAndWithAScaleInfinity) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Target& target : update_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const bool scaled : {false, true}) {
        const std::vector<double> values = {0, -0.25, 0.5, 0.75, -9, inf, -inf, nan, 2, -2.5, 3};
        const auto n = static_cast<int64_t>(values.size());
        const Tensor grad = Tensor::of(dtype, {n}, values);
        const Tensor scale = Tensor::of(stat_dtype(dtype), {1}, {4});
        Tensor out(dtype, {n});
        ASSERT_EQ(launch(target.list, MILL_OP_CLAMP_GRADIENT, {&grad, scaled ? &scale : nullptr},
                         {&out}, {float_attr(0.5)})
                      .status,
                  MILL_OK);
        const double limit = scaled ? 2 : 0.5;
        for (int64_t i = 0; i < n; ++i) {
          const double g = values[static_cast<size_t>(i)];
          if (std::isnan(g)) {
            EXPECT_TRUE(std::isnan(out[i]));
          } else if (scaled && std::isinf(g)) {
            EXPECT_EQ(out[i], g);
          } else {
            EXPECT_EQ(out[i], std::max(-limit, std::min(limit, g))) << target.name;
          }
        }
      }
    }
  }
}

TEST(AverageStep, FollowsTheFormula) {
  for (const Target& target : update_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const bool warm : {false, true}) {
        for (const double clip : {1.0, -1.0}) {
          const int64_t n = 1003;
          const int32_t stat = stat_dtype(dtype);
          Tensor param(dtype, {n}), average(stat, {n}), out(stat, {n}), step(MILL_I64, {1});
          param.fill(1);
          average.fill(2);
          step.set(0, 8);
          const Tensor factor = Tensor::of(stat, {1}, {clip});
          ASSERT_EQ(launch(target.list, MILL_OP_AVERAGE_STEP, {&param, &average, &step, &factor},
                           {&out}, {float_attr(0.75), int_attr(warm)})
                        .status,
                    MILL_OK);
          const double unit = dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
          const double d = clip < 0 ? 1 : warm ? 0.5 : 0.75;
          for (int64_t i = 0; i < n; ++i) {
            ASSERT_TRUE(close(out[i], d * average[i] + (1 - d) * param[i], 4 * unit, 4 * unit));
          }
        }
      }
    }
  }
}

// A cycle that doubles past the largest count ends there.
TEST(RateSchedule, StaysFiniteAtTheEndOfTime) {
  for (const Target& target : update_targets()) {
    for (int64_t shape = 0; shape <= 8; ++shape) {
      for (const int64_t t : {int64_t{0}, int64_t{1}, int64_t{1} << 53}) {
        Tensor step(MILL_I64, {1});
        step.set(0, static_cast<double>(t));
        const Tensor base = Tensor::of(MILL_F64, {1}, {2});
        Tensor out(MILL_F64, {1});
        ASSERT_EQ(launch(target.list, MILL_OP_RATE_SCHEDULE, {&step, &base}, {&out},
                         {int_attr(shape), int_attr(3), int_attr(10), float_attr(0.25),
                          float_attr(0.5), int_attr(INT64_MAX / 3), float_attr(1 << 20)})
                      .status,
                  MILL_OK);
        EXPECT_TRUE(std::isfinite(out[0])) << "shape " << shape << " step " << t;
        EXPECT_GE(out[0], 0);
      }
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
