#include <numbers>

#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(optim)

Tensor one_of(int32_t dtype, double value) {
  return Tensor::of(dtype, {1}, {value});
}

const std::vector<int64_t>& sizes() {
  static const std::vector<int64_t> all = {0, 1, 5, 16, 1000, 20011};
  return all;
}

TEST(Sgd, FollowsTheFormula) {
  for (const Target& target : optim_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      const int32_t stat = stat_dtype(dtype);
      for (const int64_t n : sizes()) {
        for (const int variant : {0, 1, 2, 3, 4, 5, 6, 7}) {
          const bool with_velocity = (variant & 1) != 0;
          const bool clipped = (variant & 2) != 0;
          const bool nesterov = (variant & 4) != 0;
          Tensor param(dtype, {n}), grad(dtype, {n}), velocity(stat, {n});
          param.fill(1);
          grad.fill(2);
          velocity.fill(3);
          const Tensor rate = one_of(stat, 0.125);
          const Tensor clip = one_of(stat, 0.75);
          Tensor param_out(dtype, {n}), velocity_out(stat, {n});
          const std::vector<mill_attr> attrs = {float_attr(0.9), float_attr(0.1),
                                                int_attr(nesterov)};
          ASSERT_EQ(launch(target.list, MILL_OP_SGD_STEP,
                           {&param, &grad, with_velocity ? &velocity : nullptr, &rate,
                            clipped ? &clip : nullptr},
                           {&param_out, with_velocity ? &velocity_out : nullptr}, attrs, 2)
                        .status,
                    MILL_OK);
          const double unit = dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
          for (int64_t i = 0; i < n; ++i) {
            const double g = grad[i] * (clipped ? 0.75 : 1) + 0.1 * param[i];
            const double v = with_velocity ? 0.9 * velocity[i] + g : g;
            const double direction = with_velocity && nesterov ? g + 0.9 * v : v;
            if (with_velocity) {
              ASSERT_TRUE(close(velocity_out[i], v, 4 * unit, 16 * unit));
            }
            ASSERT_TRUE(close(param_out[i], param[i] - 0.125 * direction, 1.01 * epsilon_of(dtype),
                              16 * unit))
                << label(target, dtype) << " variant " << variant;
          }
          Tensor p = param;
          Tensor v = velocity;
          ASSERT_EQ(
              launch(target.list, MILL_OP_SGD_STEP,
                     {&p, &grad, with_velocity ? &v : nullptr, &rate, clipped ? &clip : nullptr},
                     {&p, with_velocity ? &v : nullptr}, attrs)
                  .status,
              MILL_OK);
          ASSERT_TRUE(p.same_bits(param_out));
          if (with_velocity) {
            ASSERT_TRUE(v.same_bits(velocity_out));
          }
        }
      }
    }
  }
}

TEST(AdamW, FollowsTheFormula) {
  for (const Target& target : optim_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      const int32_t stat = stat_dtype(dtype);
      for (const int64_t n : sizes()) {
        for (const int64_t step : {1, 7, 100000}) {
          for (const bool clipped : {false, true}) {
            Tensor param(dtype, {n}), grad(dtype, {n}), m(stat, {n}), v(stat, {n});
            param.fill(1);
            grad.fill(2);
            m.fill(3, -0.1, 0.1);
            v.fill(4, 0, 0.1);
            const Tensor rate = one_of(stat, 0.01);
            const Tensor clip = one_of(stat, 0.5);
            Tensor at(MILL_I64, {1});
            at.set(0, static_cast<double>(step));
            Tensor param_out(dtype, {n}), m_out(stat, {n}), v_out(stat, {n});
            const std::vector<mill_attr> attrs = {float_attr(0.9), float_attr(0.999),
                                                  float_attr(1e-8), float_attr(0.1)};
            ASSERT_EQ(launch(target.list, MILL_OP_ADAMW_STEP,
                             {&param, &grad, &m, &v, &rate, &at, clipped ? &clip : nullptr},
                             {&param_out, &m_out, &v_out}, attrs, 2)
                          .status,
                      MILL_OK);
            const double unit = dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
            const double lr = rate[0];
            for (int64_t i = 0; i < n; ++i) {
              const double g = grad[i] * (clipped ? 0.5 : 1);
              const double first = 0.9 * m[i] + (1 - 0.9) * g;
              const double second = 0.999 * v[i] + (1 - 0.999) * g * g;
              const double correction1 = 1 - std::pow(0.9, static_cast<double>(step));
              const double correction2 = 1 - std::pow(0.999, static_cast<double>(step));
              const double update =
                  lr * (first / correction1) / (std::sqrt(second / correction2) + 1e-8);
              const double want = param[i] * (1 - lr * 0.1) - update;
              ASSERT_TRUE(close(m_out[i], first, 4 * unit, 0.5 * unit));
              ASSERT_TRUE(close(v_out[i], second, 4 * unit, 0));
              ASSERT_TRUE(close(param_out[i], want, 1.01 * epsilon_of(dtype),
                                8 * unit + 16 * unit * std::abs(update)))
                  << label(target, dtype) << ": " << param_out[i] << " for " << want;
            }
            ASSERT_EQ(launch(target.list, MILL_OP_ADAMW_STEP,
                             {&param, &grad, &m, &v, &rate, &at, clipped ? &clip : nullptr},
                             {&param, &m, &v}, attrs)
                          .status,
                      MILL_OK);
            ASSERT_TRUE(param.same_bits(param_out) && m.same_bits(m_out) && v.same_bits(v_out));
          }
        }
      }
    }
  }
}

// With a constant gradient both moments are (1 - beta^t) g and (1 - beta^t) g^2, so that the
// corrected step is g / (|g| + eps) at every t: the parameter has a closed form.
TEST(AdamW, WalksTheClosedFormTrajectoryOfAConstantGradient) {
  for (const Target& target : optim_targets()) {
    for (const int32_t dtype : {MILL_F32, MILL_F64}) {
      Tensor param = Tensor::of(dtype, {3}, {1, -2, 0.5});
      Tensor grad = Tensor::of(dtype, {3}, {0.25, -3, 0});
      Tensor m = Tensor::of(dtype, {3}, {0, 0, 0});
      Tensor v = m;
      const Tensor rate = one_of(dtype, 0.0625);
      double want[] = {1, -2, 0.5};
      Tensor step(MILL_I64, {1});
      for (int64_t t = 1; t <= 50; ++t) {
        step.set(0, static_cast<double>(t));
        ASSERT_EQ(launch(target.list, MILL_OP_ADAMW_STEP,
                         {&param, &grad, &m, &v, &rate, &step, nullptr}, {&param, &m, &v},
                         {float_attr(0.9), float_attr(0.999), float_attr(1e-8), float_attr(0.25)})
                      .status,
                  MILL_OK);
        for (int64_t i = 0; i < 3; ++i) {
          double& w = want[i];
          w = w * (1 - 0.0625 * 0.25) - 0.0625 * grad[i] / (std::abs(grad[i]) + 1e-8);
          ASSERT_NEAR(param[i], w, dtype == MILL_F64 ? 1e-12 : 1e-5)
              << target.name << " step " << t;
        }
      }
    }
  }
}

TEST(Steps, PropagateNaNOnlyWhereItIs) {
  for (const Target& target : optim_targets()) {
    Tensor param(MILL_F32, {40}), grad(MILL_F32, {40}), m(MILL_F32, {40}), v(MILL_F32, {40});
    param.fill(1);
    grad.fill(2);
    m.fill(3);
    v.fill(4, 0, 1);
    grad.set(17, NAN);
    const Tensor rate = one_of(MILL_F32, 0.1);
    Tensor step(MILL_I64, {1});
    step.set(0, 1);
    ASSERT_EQ(launch(target.list, MILL_OP_ADAMW_STEP,
                     {&param, &grad, &m, &v, &rate, &step, nullptr}, {&param, &m, &v},
                     {float_attr(0.9), float_attr(0.999), float_attr(1e-8), float_attr(0)})
                  .status,
              MILL_OK);
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(std::isnan(param[i]), i == 17);
  }
}

TEST(SquaredNorm, AddsTheSquaresOfAllTensors) {
  for (const Target& target : optim_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      Tensor a(dtype, {70001}), b(dtype, {0}), c(dtype, {3, 5}), e(dtype, {32768});
      a.fill(1);
      c.fill(2);
      e.fill(3);
      long double sum = 0;
      for (const Tensor* t : {&a, &b, &c, &e}) {
        for (int64_t i = 0; i < t->numel(); ++i) sum += (*t)[i] * (*t)[i];
      }
      const double want = static_cast<double>(sum);
      Tensor one(stat_dtype(dtype), {1});
      Tensor three = one;
      ASSERT_EQ(launch(target.list, MILL_OP_SQUARED_NORM, {&a, &b, &c, &e}, {&one}, {}, 1).status,
                MILL_OK);
      ASSERT_EQ(launch(target.list, MILL_OP_SQUARED_NORM, {&a, &b, &c, &e}, {&three}, {}, 3).status,
                MILL_OK);
      EXPECT_TRUE(close(one[0], want, dtype == MILL_F64 ? 1e-14 : 1e-6, 0)) << label(target, dtype);
      EXPECT_TRUE(one.same_bits(three));
      ASSERT_EQ(launch(target.list, MILL_OP_SQUARED_NORM, {&b}, {&one}).status, MILL_OK);
      EXPECT_EQ(one[0], 0);
    }
  }
}

TEST(ClipFactor, LimitsTheNorm) {
  for (const Target& target : optim_targets()) {
    for (const int32_t dtype : {MILL_F32, MILL_F64}) {
      const double cases[][2] = {
          {25, 5 / (5 + 1e-6) / 5}, {0.25, 1}, {0, 1}, {HUGE_VAL, 0}, {NAN, NAN}};
      for (const auto& [squared, want] : cases) {
        const Tensor x = one_of(dtype, squared);
        Tensor factor(dtype, {1}), norm(dtype, {1});
        ASSERT_EQ(launch(target.list, MILL_OP_CLIP_FACTOR, {&x}, {&factor, &norm}, {float_attr(1)})
                      .status,
                  MILL_OK);
        EXPECT_TRUE(close(factor[0], want, 1e-6, 0)) << squared << ": " << factor[0];
        EXPECT_TRUE(close(norm[0], std::sqrt(squared), 1e-6, 0)) << squared;
      }
    }
  }
}

double rate_at(const Target& target, int64_t step, int64_t shape, int64_t warmup, int64_t total,
               double floor) {
  Tensor at(MILL_I64, {1});
  at.set(0, static_cast<double>(step));
  const Tensor base = one_of(MILL_F64, 2);
  Tensor rate(MILL_F64, {1});
  EXPECT_EQ(launch(target.list, MILL_OP_SCHEDULE, {&at, &base}, {&rate},
                   {int_attr(shape), int_attr(warmup), int_attr(total), float_attr(floor)})
                .status,
            MILL_OK);
  return rate[0];
}

TEST(Schedule, WarmsUpThenStaysOrFollowsTheCosine) {
  for (const Target& target : optim_targets()) {
    EXPECT_DOUBLE_EQ(rate_at(target, 1, 0, 0, 0, 0), 2);
    EXPECT_DOUBLE_EQ(rate_at(target, 3, 0, 10, 0, 0), 0.6);
    EXPECT_DOUBLE_EQ(rate_at(target, 10, 0, 10, 0, 0), 2);
    EXPECT_DOUBLE_EQ(rate_at(target, 500, 0, 10, 0, 0), 2);
    EXPECT_DOUBLE_EQ(rate_at(target, 5, 1, 10, 110, 0.1), 1);
    EXPECT_DOUBLE_EQ(rate_at(target, 10, 1, 10, 110, 0.1), 2);
    EXPECT_DOUBLE_EQ(rate_at(target, 60, 1, 10, 110, 0.1), 2 * (0.1 + 0.9 * 0.5));
    EXPECT_NEAR(rate_at(target, 35, 1, 10, 110, 0.1),
                2 * (0.1 + 0.45 * (1 + std::numbers::sqrt2 / 2)), 1e-15);
    EXPECT_DOUBLE_EQ(rate_at(target, 110, 1, 10, 110, 0.1), 0.2);
    EXPECT_DOUBLE_EQ(rate_at(target, 999, 1, 10, 110, 0.1), 0.2);
    EXPECT_DOUBLE_EQ(rate_at(target, 5, 1, 0, 0, 0.5), 1);
  }
}

TEST(Increment, CountsInPlaceAndWraps) {
  for (const Target& target : optim_targets()) {
    Tensor x(MILL_I64, {4});
    for (int64_t i = 0; i < 4; ++i) x.data<int64_t>()[i] = i - 1;
    x.data<int64_t>()[3] = std::numeric_limits<int64_t>::max();
    ASSERT_EQ(launch(target.list, MILL_OP_INCREMENT, {&x}, {&x}).status, MILL_OK);
    EXPECT_EQ(x.data<int64_t>()[0], 0);
    EXPECT_EQ(x.data<int64_t>()[2], 2);
    EXPECT_EQ(x.data<int64_t>()[3], std::numeric_limits<int64_t>::min());
    Tensor none(MILL_I64, {0});
    EXPECT_EQ(launch(target.list, MILL_OP_INCREMENT, {&none}, {&none}).status, MILL_OK);
  }
}

}  // namespace
}  // namespace mill::cpu::test
