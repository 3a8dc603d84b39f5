#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(norm)

double unit_of(int32_t dtype) {
  return dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
}

struct Row {
  double mean, rstd;
};

Row moments(const Tensor& x, int64_t row, int64_t n, double eps) {
  long double mean = 0, variance = 0;
  for (int64_t j = 0; j < n; ++j) mean += x[row * n + j];
  mean /= static_cast<long double>(n);
  for (int64_t j = 0; j < n; ++j) variance += (x[row * n + j] - mean) * (x[row * n + j] - mean);
  return {static_cast<double>(mean),
          static_cast<double>(1 / std::sqrt(variance / static_cast<long double>(n) + eps))};
}

TEST(LayerNorm, MatchesTheDoubleReference) {
  for (const Target& target : norm_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t rows : {0, 1, 5, 40}) {
        for (const int64_t n : {1, 2, 7, 16, 33, 768, 5001}) {
          for (const int presence : {0, 1, 2, 3}) {
            Tensor x(dtype, {rows, n});
            Tensor weight(dtype, {n});
            Tensor bias(dtype, {n});
            x.fill(1, 3, 7);  // away from zero: the mean must be taken off before squaring
            weight.fill(2);
            bias.fill(3);
            Tensor out(dtype, {rows, n});
            Tensor mean(stat_dtype(dtype), {rows});
            Tensor rstd(stat_dtype(dtype), {rows});
            const double eps = 1e-5;
            ASSERT_EQ(launch(target.list, MILL_OP_LAYER_NORM,
                             {&x, (presence & 1) != 0 ? &weight : nullptr,
                              (presence & 2) != 0 ? &bias : nullptr},
                             {&out, &mean, &rstd}, {int_attr(1), float_attr(eps)}, 2)
                          .status,
                      MILL_OK);
            for (int64_t r = 0; r < rows; ++r) {
              const Row want = moments(x, r, n, eps);
              const double unit = unit_of(dtype);
              ASSERT_TRUE(close(mean[r], want.mean, 8 * unit, 0)) << label(target, dtype);
              // For one element the variance is rounding alone.
              if (n > 1) {
                ASSERT_TRUE(close(rstd[r], want.rstd, 64 * unit, 0))
                    << label(target, dtype) << " n " << n;
              }
              for (int64_t j = 0; j < n; ++j) {
                const double w = (presence & 1) != 0 ? weight[j] : 1;
                const double b = (presence & 2) != 0 ? bias[j] : 0;
                const double value = (x[r * n + j] - want.mean) * want.rstd * w + b;
                ASSERT_TRUE(close(out[r * n + j], value, 1.01 * epsilon_of(dtype),
                                  64 * unit * (1 + want.rstd)))
                    << label(target, dtype) << " n " << n << ": " << out[r * n + j] << " for "
                    << value;
              }
            }
          }
        }
      }
    }
  }
}

TEST(LayerNorm, NormalisesSeveralAxesTogether) {
  for (const Target& target : norm_targets()) {
    Tensor x(MILL_F32, {2, 3, 4});
    x.fill(4);
    Tensor out(MILL_F32, {2, 3, 4});
    Tensor mean(MILL_F32, {2});
    Tensor rstd(MILL_F32, {2});
    ASSERT_EQ(launch(target.list, MILL_OP_LAYER_NORM, {&x, nullptr, nullptr}, {&out, &mean, &rstd},
                     {int_attr(2), float_attr(1e-3)})
                  .status,
              MILL_OK);
    for (int64_t r = 0; r < 2; ++r) {
      const Row want = moments(x, r, 12, 1e-3);
      for (int64_t j = 0; j < 12; ++j)
        EXPECT_NEAR(out[r * 12 + j], (x[r * 12 + j] - want.mean) * want.rstd, 1e-6);
    }
  }
}

TEST(LayerNorm, NaNStaysInItsRow) {
  for (const Target& target : norm_targets()) {
    Tensor x(MILL_F32, {3, 20});
    x.fill(4);
    x.set(25, NAN);
    Tensor out(MILL_F32, {3, 20});
    Tensor mean(MILL_F32, {3});
    Tensor rstd(MILL_F32, {3});
    ASSERT_EQ(launch(target.list, MILL_OP_LAYER_NORM, {&x, nullptr, nullptr}, {&out, &mean, &rstd},
                     {int_attr(1), float_attr(1e-5)})
                  .status,
              MILL_OK);
    for (int64_t i = 0; i < 60; ++i) EXPECT_EQ(std::isnan(out[i]), i / 20 == 1);
  }
}

TEST(LayerNormBackward, MatchesTheDoubleReference) {
  for (const Target& target : norm_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t rows : {0, 1, 3, 31, 70, 500}) {
        for (const int64_t n : {1, 5, 16, 300}) {
          for (const bool weighted : {false, true}) {
            Tensor g(dtype, {rows, n});
            Tensor x(dtype, {rows, n});
            Tensor weight(dtype, {n});
            Tensor mean(stat_dtype(dtype), {rows});
            Tensor rstd(stat_dtype(dtype), {rows});
            g.fill(1);
            x.fill(2);
            weight.fill(3);
            mean.fill(4, -0.5, 0.5);
            rstd.fill(5, 0.5, 2);
            Tensor dx(dtype, {rows, n});
            Tensor dweight(dtype, {n});
            Tensor dbias(dtype, {n});
            const std::vector<const Tensor*> in = {&g, &x, weighted ? &weight : nullptr, &mean,
                                                   &rstd};
            ASSERT_EQ(launch(target.list, MILL_OP_LAYER_NORM_BACKWARD, in, {&dx, &dweight, &dbias},
                             {int_attr(1)}, 2)
                          .status,
                      MILL_OK);
            const double unit = unit_of(dtype);
            std::vector<double> want_weight(static_cast<size_t>(n)),
                want_bias(static_cast<size_t>(n));
            for (int64_t r = 0; r < rows; ++r) {
              double sum = 0, slope = 0;
              for (int64_t j = 0; j < n; ++j) {
                const double normal = (x[r * n + j] - mean[r]) * rstd[r];
                const double gw = g[r * n + j] * (weighted ? weight[j] : 1);
                sum += gw / static_cast<double>(n);
                slope += gw * normal / static_cast<double>(n);
                want_weight[static_cast<size_t>(j)] += g[r * n + j] * normal;
                want_bias[static_cast<size_t>(j)] += g[r * n + j];
              }
              for (int64_t j = 0; j < n; ++j) {
                const double normal = (x[r * n + j] - mean[r]) * rstd[r];
                const double gw = g[r * n + j] * (weighted ? weight[j] : 1);
                const double want = rstd[r] * (gw - sum - normal * slope);
                ASSERT_TRUE(close(dx[r * n + j], want, 1.01 * epsilon_of(dtype), 400 * unit))
                    << label(target, dtype) << " n " << n << ": " << dx[r * n + j] << " for "
                    << want;
              }
            }
            const double slack = 32 * unit * static_cast<double>(rows + 1);
            expect_close(dweight, want_weight, 1.01 * epsilon_of(dtype), slack,
                         label(target, dtype, "dweight"));
            expect_close(dbias, want_bias, 1.01 * epsilon_of(dtype), slack,
                         label(target, dtype, "dbias"));

            // Each output alone has the same bits.
            Tensor only_dx(dtype, {rows, n});
            Tensor only_weight(dtype, {n});
            Tensor only_bias(dtype, {n});
            launch(target.list, MILL_OP_LAYER_NORM_BACKWARD, in, {&only_dx, nullptr, nullptr},
                   {int_attr(1)});
            launch(target.list, MILL_OP_LAYER_NORM_BACKWARD, in, {nullptr, &only_weight, nullptr},
                   {int_attr(1)});
            launch(target.list, MILL_OP_LAYER_NORM_BACKWARD, in, {nullptr, nullptr, &only_bias},
                   {int_attr(1)});
            ASSERT_TRUE(only_dx.same_bits(dx) && only_weight.same_bits(dweight) &&
                        only_bias.same_bits(dbias));
          }
        }
      }
    }
  }
}

TEST(LayerNormBackward, DoesNotDependOnThreads) {
  for (const Target& target : norm_targets()) {
    Tensor g(MILL_F32, {3000, 40}), x(MILL_F32, {3000, 40}), weight(MILL_F32, {40});
    Tensor mean(MILL_F32, {3000}), rstd(MILL_F32, {3000});
    g.fill(1);
    x.fill(2);
    weight.fill(3);
    mean.fill(4);
    rstd.fill(5, 0.5, 2);
    std::vector<Tensor> results;
    for (const uint32_t threads : {1u, 3u}) {
      Tensor dx(MILL_F32, {3000, 40}), dweight(MILL_F32, {40}), dbias(MILL_F32, {40});
      ASSERT_EQ(launch(target.list, MILL_OP_LAYER_NORM_BACKWARD, {&g, &x, &weight, &mean, &rstd},
                       {&dx, &dweight, &dbias}, {int_attr(1)}, threads)
                    .status,
                MILL_OK);
      results.insert(results.end(), {dx, dweight, dbias});
    }
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(results[i].same_bits(results[i + 3])) << i;
  }
}

}  // namespace
}  // namespace mill::cpu::test
