// Losses and adaptive pooling against their formulas, on the device under test.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "conformance/problem.h"

namespace mill_test {
namespace {

class Losses : public testing::Test {
 protected:
  using Pair = std::function<double(double x, double t)>;

  static constexpr int64_t kReductions[] = {MILL_REDUCE_MEAN, MILL_REDUCE_SUM, MILL_REDUCE_NONE};

  void expect_near(const Tensor& out, const std::vector<double>& want) {
    const std::vector<double> got = values_of<double>(w_, out.get());
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
  }
  static std::vector<double> reduce(std::vector<double> losses, int64_t reduction, double weight) {
    if (reduction == MILL_REDUCE_NONE) return losses;
    double sum = 0;
    for (const double x : losses) sum += x;
    return {reduction == MILL_REDUCE_SUM ? sum : sum / weight};
  }

  // run(x, target, reduction, out)
  void check(
      const std::vector<double>& x, const std::vector<double>& t, const Pair& loss,
      const std::function<mill_status(mill_tensor*, mill_tensor*, int64_t, mill_tensor**)>& run) {
    const Tensor a = make<double>(w_, {2, static_cast<int64_t>(x.size()) / 2}, x);
    const Tensor b = make<double>(w_, {2, static_cast<int64_t>(t.size()) / 2}, t);
    std::vector<double> losses;
    for (size_t i = 0; i < x.size(); ++i) losses.push_back(loss(x[i], t[i]));
    for (const int64_t reduction : kReductions) {
      Tensor out;
      w_.ok(run(a.get(), b.get(), reduction, out.out()));
      expect_near(out, reduce(losses, reduction, static_cast<double>(x.size())));
    }
  }

  World& w_ = world();
};

const std::vector<double> kX = {0.5, -1.5, 2, 0, 30, -40};
const std::vector<double> kT = {0.25, 1, 2, 0, 1, 0.5};

TEST_F(Losses, OfDifferences) {
  mill_exec* e = w_.exec();
  check(
      kX, kT, [](double x, double t) { return (x - t) * (x - t); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_mse_loss(e, a, b, r, out, w_.error());
      });
  check(
      kX, kT, [](double x, double t) { return std::fabs(x - t); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_l1_loss(e, a, b, r, out, w_.error());
      });
  const auto huber = [](double d, double delta) {
    return d <= delta ? d * d / 2 : delta * (d - delta / 2);
  };
  check(
      kX, kT, [&](double x, double t) { return huber(std::fabs(x - t), 1.5); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_huber_loss(e, a, b, 1.5, r, out, w_.error());
      });
  check(
      kX, kT, [&](double x, double t) { return huber(std::fabs(x - t), 0.5) / 0.5; },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_smooth_l1_loss(e, a, b, 0.5, r, out, w_.error());
      });
  check(
      kX, kT, [](double x, double t) { return std::fabs(x - t); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_smooth_l1_loss(e, a, b, 0, r, out, w_.error());
      });
}

TEST_F(Losses, AParabolaTooNarrowForTheDtypeIsNone) {
  for (const mill_dtype dtype : {MILL_F16, MILL_BF16, MILL_F32, MILL_F64}) {
    const Tensor wide = make<double>(w_, {3}, {1, -2, 0}), none = make<double>(w_, {3}, {0, 0, 0});
    Tensor x, target;
    w_.ok(mill_cast(w_.exec(), wide.get(), dtype, x.out(), w_.error()));
    w_.ok(mill_cast(w_.exec(), none.get(), dtype, target.out(), w_.error()));
    for (const double beta : {1e-7, 1e-40, 1e-310}) {
      Tensor loss, out;
      w_.ok(mill_smooth_l1_loss(w_.exec(), x.get(), target.get(), beta, MILL_REDUCE_NONE,
                                loss.out(), w_.error()));
      w_.ok(mill_cast(w_.exec(), loss.get(), MILL_F64, out.out(), w_.error()));
      const std::vector<double> got = values_of<double>(w_, out.get());
      const std::vector<double> want = {1, 2, 0};
      for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-6) << dtype << beta;
    }
  }
}

TEST_F(Losses, OfProbabilities) {
  mill_exec* e = w_.exec();
  const auto softplus = [](double x) {
    return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
  };
  check(
      kX, kT, [&](double x, double t) { return (1 - t) * x + softplus(-x); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_bce_with_logits_loss(e, a, b, nullptr, r, out, w_.error());
      });
  const Tensor three = make<double>(w_, {1}, {3});
  check(
      kX, kT, [&](double x, double t) { return (1 - t) * x + (1 + 2 * t) * softplus(-x); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_bce_with_logits_loss(e, a, b, three.get(), r, out, w_.error());
      });
  check(
      kX, kT, [](double x, double t) { return t == 0 ? 0 : t * (std::log(t) - x); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_kl_div_loss(e, a, b, 0, r, out, w_.error());
      });
  check(
      kX, kT, [](double x, double t) { return std::exp(t) * (t - x); },
      [&](auto a, auto b, int64_t r, auto out) {
        return mill_kl_div_loss(e, a, b, 1, r, out, w_.error());
      });
}

TEST_F(Losses, OfLabels) {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> x = {-1, -2, -3, -0.5, -infinity, -4, -2, -1, -0.25, -3, -2, -1};
  const Tensor log_probs = make<double>(w_, {2, 2, 3}, x);
  const Tensor labels = make<int32_t>(w_, {2, 2}, {2, -1, 1, 0});
  const Tensor weight = make<double>(w_, {3}, {1, 2, 0.5});
  for (const int64_t reduction : kReductions) {
    Tensor out;
    w_.ok(mill_nll_loss(w_.exec(), log_probs.get(), labels.get(), weight.get(), reduction, -1,
                        out.out(), w_.error()));
    expect_near(out, reduce({1.5, 0, 2, 3}, reduction, 3.5));
    w_.ok(mill_nll_loss(w_.exec(), log_probs.get(), labels.get(), nullptr, reduction, -1, out.out(),
                        w_.error()));
    expect_near(out, reduce({3, 0, 1, 3}, reduction, 3));
  }
}

TEST_F(Losses, AdaptivePooling) {
  std::vector<double> x(static_cast<size_t>(2 * 3 * 7 * 6));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i * 37 % 101);
  const Tensor t = make<double>(w_, {2, 3, 7, 6}, x);
  for (const Dims& size : {Dims{3, 4}, Dims{7, 3}, Dims{1, 1}, Dims{9, 6}}) {
    Tensor out;
    w_.ok(mill_adaptive_avg_pool(w_.exec(), t.get(), size.data(), 2, out.out(), w_.error()));
    std::vector<double> want;
    for (int64_t plane = 0; plane < 6; ++plane) {
      for (int64_t y = 0; y < size[0]; ++y) {
        for (int64_t c = 0; c < size[1]; ++c) {
          double sum = 0;
          int64_t count = 0;
          for (int64_t i = y * 7 / size[0]; i < ((y + 1) * 7 + size[0] - 1) / size[0]; ++i) {
            for (int64_t j = c * 6 / size[1]; j < ((c + 1) * 6 + size[1] - 1) / size[1]; ++j) {
              sum += x[static_cast<size_t>((plane * 7 + i) * 6 + j)];
              ++count;
            }
          }
          want.push_back(sum / static_cast<double>(count));
        }
      }
    }
    EXPECT_EQ(dims_of(out.get()), (Dims{2, 3, size[0], size[1]}));
    expect_near(out, want);
  }
}

}  // namespace
}  // namespace mill_test
