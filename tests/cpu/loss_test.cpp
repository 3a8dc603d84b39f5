#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(loss)

enum { kMean = 0, kSum = 1, kNone = 2 };

std::vector<mill_attr> options(int64_t reduction, double smoothing, int64_t ignored) {
  return {int_attr(reduction), float_attr(smoothing), int_attr(ignored)};
}

double unit_of(int32_t dtype) {
  return dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
}

struct Problem {
  Tensor logits;
  Tensor labels;
  int64_t rows, classes;
};

Problem make(int32_t dtype, int32_t index, int64_t rows, int64_t classes) {
  Problem p = {Tensor(dtype, {rows, classes}), Tensor(index, {rows}), rows, classes};
  p.logits.fill(1, -6, 6);
  std::mt19937_64 engine(5);
  for (int64_t i = 0; i < rows; ++i)
    p.labels.set(i, static_cast<double>(engine() % static_cast<uint64_t>(classes)));
  return p;
}

struct Expected {
  std::vector<double> row, lse, gradient;  // gradient of the row's own loss
  double total = 0, counted = 0;
};

Expected reference(const Problem& p, double smoothing, int64_t ignored) {
  Expected e;
  for (int64_t r = 0; r < p.rows; ++r) {
    long double top = -HUGE_VAL, sum = 0, all = 0;
    for (int64_t j = 0; j < p.classes; ++j)
      top = std::max<long double>(top, p.logits[r * p.classes + j]);
    for (int64_t j = 0; j < p.classes; ++j) sum += std::exp(p.logits[r * p.classes + j] - top);
    const long double lse = top + std::log(sum);
    for (int64_t j = 0; j < p.classes; ++j) all += lse - p.logits[r * p.classes + j];
    const int64_t label = static_cast<int64_t>(p.labels[r]);
    const bool counts = label != ignored;
    e.lse.push_back(static_cast<double>(lse));
    const long double chosen = lse - p.logits[r * p.classes + label];
    e.row.push_back(counts ? static_cast<double>((1 - smoothing) * chosen +
                                                 smoothing * all / static_cast<double>(p.classes))
                           : 0);
    e.total += e.row.back();
    e.counted += counts ? 1 : 0;
    for (int64_t j = 0; j < p.classes; ++j) {
      const double target =
          (j == label ? 1 - smoothing : 0) + smoothing / static_cast<double>(p.classes);
      e.gradient.push_back(
          counts ? static_cast<double>(std::exp(p.logits[r * p.classes + j] - lse) - target) : 0);
    }
  }
  return e;
}

TEST(CrossEntropy, MatchesTheDoubleReference) {
  for (const Target& target : loss_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t rows : {0, 1, 6, 300}) {
        for (const int64_t classes : {1, 5, 10, 65, 3000}) {
          if (rows * classes > 20000) continue;
          for (const double smoothing : {0.0, 0.1}) {
            for (const int64_t ignored : {-100, 3}) {
              const Problem p = make(dtype, MILL_I64, rows, classes);
              const Expected want = reference(p, smoothing, ignored);
              for (const int64_t reduction : {kMean, kSum, kNone}) {
                Tensor loss = reduction == kNone ? Tensor(stat_dtype(dtype), {rows})
                                                 : Tensor(stat_dtype(dtype), {});
                Tensor lse(stat_dtype(dtype), {rows});
                ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels},
                                 {&loss, &lse}, options(reduction, smoothing, ignored), 2)
                              .status,
                          MILL_OK);
                const double unit = unit_of(dtype);
                const std::string where =
                    label(target, dtype, std::to_string(rows) + "x" + std::to_string(classes));
                expect_close(lse, want.lse, 4 * unit, 16 * unit, where);
                if (reduction == kNone) {
                  expect_close(loss, want.row, 4 * unit, 48 * unit, where);
                } else {
                  const double divisor = reduction == kMean ? want.counted : 1;
                  ASSERT_TRUE(close(loss[0], want.total / divisor, 4 * unit,
                                    48 * unit * want.counted / divisor))
                      << where << ": " << loss[0] << " for " << want.total / divisor;
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST(CrossEntropy, BackwardMatchesTheDoubleReference) {
  for (const Target& target : loss_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t rows : {0, 1, 6, 300}) {
        for (const int64_t classes : {1, 5, 10, 65}) {
          for (const double smoothing : {0.0, 0.1}) {
            for (const int64_t reduction : {kMean, kSum, kNone}) {
              const int64_t ignored = rows == 6 ? 3 : -100;
              const Problem p = make(dtype, MILL_I32, rows, classes);
              const Expected want = reference(p, smoothing, ignored);
              if (reduction == kMean && want.counted == 0) continue;
              Tensor g = reduction == kNone ? Tensor(stat_dtype(dtype), {rows})
                                            : Tensor(stat_dtype(dtype), {});
              g.fill(9, 0.5, 2);
              const Tensor lse = Tensor::of(stat_dtype(dtype), {rows}, want.lse);
              Tensor out(dtype, {rows, classes});
              ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY_BACKWARD,
                               {&g, &p.logits, &p.labels, &lse}, {&out},
                               options(reduction, smoothing, ignored), 2)
                            .status,
                        MILL_OK);
              for (int64_t i = 0; i < out.numel(); ++i) {
                const double scale = g[reduction == kNone ? i / classes : 0] /
                                     (reduction == kMean ? want.counted : 1);
                const double expected = want.gradient[static_cast<size_t>(i)] * scale;
                ASSERT_TRUE(close(out[i], expected, 1.01 * epsilon_of(dtype),
                                  24 * unit_of(dtype) * scale + (dtype == MILL_F16 ? 0x1p-25 : 0)))
                    << label(target, dtype) << ": " << out[i] << " for " << expected;
              }
              Tensor in_place = p.logits;
              ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY_BACKWARD,
                               {&g, &in_place, &p.labels, &lse}, {&in_place},
                               options(reduction, smoothing, ignored))
                            .status,
                        MILL_OK);
              ASSERT_TRUE(in_place.same_bits(out)) << label(target, dtype);
            }
          }
        }
      }
    }
  }
}

TEST(CrossEntropy, ReadsLabelsOfEveryIntegerDtype) {
  for (const Target& target : loss_targets()) {
    for (const int32_t index : {MILL_U8, MILL_I8, MILL_I16, MILL_I32, MILL_I64}) {
      const Problem p = make(MILL_F32, index, 20, 7);
      const Expected want = reference(p, 0, -100);
      Tensor loss(MILL_F32, {20}), lse(MILL_F32, {20});
      ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels}, {&loss, &lse},
                       options(kNone, 0, -100))
                    .status,
                MILL_OK);
      expect_close(loss, want.row, 1e-6, 1e-6, label(target, index));
    }
  }
}

TEST(CrossEntropy, RefusesALabelOutOfRangeAndWritesNothing) {
  for (const Target& target : loss_targets()) {
    Problem p = make(MILL_F32, MILL_I64, 5, 7);
    p.labels.set(2, 9);
    Tensor loss(MILL_F32, {}), lse(MILL_F32, {5});
    const Launch forward = launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels},
                                  {&loss, &lse}, options(kMean, 0, -100));
    EXPECT_EQ(forward.status, MILL_E_INDEX);
    EXPECT_EQ(forward.text, "label 9 at position 2 is outside [0, 7)");
    EXPECT_TRUE(loss.untouched());
    EXPECT_TRUE(lse.untouched());

    p.labels.set(2, -100);
    EXPECT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels}, {&loss, &lse},
                     options(kMean, 0, -100))
                  .status,
              MILL_OK);
    p.labels.set(4, -1);
    Tensor g = Tensor::of(MILL_F32, {}, {1});
    Tensor out(MILL_F32, {5, 7});
    const Launch backward =
        launch(target.list, MILL_OP_CROSS_ENTROPY_BACKWARD, {&g, &p.logits, &p.labels, &lse},
               {&out}, options(kMean, 0, -100));
    EXPECT_EQ(backward.status, MILL_E_INDEX);
    EXPECT_EQ(backward.text, "label -1 at position 4 is outside [0, 7)");
    EXPECT_TRUE(out.untouched());
  }
}

TEST(CrossEntropy, MeanOverNoLabelsIsNaNAndTheGradientZero) {
  for (const Target& target : loss_targets()) {
    Problem p = make(MILL_F32, MILL_I64, 3, 4);
    for (int64_t i = 0; i < 3; ++i) p.labels.set(i, -100);
    Tensor loss(MILL_F32, {}), lse(MILL_F32, {3}), out(MILL_F32, {3, 4});
    ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels}, {&loss, &lse},
                     options(kMean, 0, -100))
                  .status,
              MILL_OK);
    EXPECT_TRUE(std::isnan(loss[0]));
    Tensor g = Tensor::of(MILL_F32, {}, {1});
    ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY_BACKWARD, {&g, &p.logits, &p.labels, &lse},
                     {&out}, options(kMean, 0, -100))
                  .status,
              MILL_OK);
    expect_close(out, std::vector<double>(12, 0.0), 0, 0, target.name);
  }
}

TEST(CrossEntropy, NaNReachesTheLossAndLargeLogitsDoNotOverflow) {
  for (const Target& target : loss_targets()) {
    Problem p = make(MILL_F32, MILL_I64, 4, 20);
    p.logits.set(25, NAN);
    p.logits.set(2 * 20 + static_cast<int64_t>(p.labels[2]), 1e30);
    Tensor loss(MILL_F32, {4}), lse(MILL_F32, {4});
    ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels}, {&loss, &lse},
                     options(kNone, 0, -100))
                  .status,
              MILL_OK);
    EXPECT_FALSE(std::isnan(loss[0]));
    EXPECT_TRUE(std::isnan(loss[1]));
    EXPECT_TRUE(std::isnan(lse[1]));
    EXPECT_EQ(loss[2], 0);
  }
}

TEST(CrossEntropy, DoesNotDependOnThreads) {
  for (const Target& target : loss_targets()) {
    const Problem p = make(MILL_F32, MILL_I64, 5000, 65);
    Tensor one(MILL_F32, {}), lse(MILL_F32, {5000});
    Tensor three = one;
    Tensor lse3 = lse;
    ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels}, {&one, &lse},
                     options(kMean, 0, -100), 1)
                  .status,
              MILL_OK);
    ASSERT_EQ(launch(target.list, MILL_OP_CROSS_ENTROPY, {&p.logits, &p.labels}, {&three, &lse3},
                     options(kMean, 0, -100), 3)
                  .status,
              MILL_OK);
    EXPECT_TRUE(one.same_bits(three));
    EXPECT_TRUE(lse.same_bits(lse3));
  }
}

}  // namespace
}  // namespace mill::cpu::test
