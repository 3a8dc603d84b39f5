#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(softmax)

struct Shape {
  std::vector<int64_t> dims;
  int64_t axis;
};

std::vector<Shape> shapes() {
  return {{{}, 0},           {{1}, 0},       {{10}, 0},       {{0, 3}, 1},      {{3, 0}, 0},
          {{2, 3}, 1},       {{5, 10}, 1},   {{7, 16}, 1},    {{3, 33}, 1},     {{2, 100}, 1},
          {{3, 1025}, 1},    {{2, 9001}, 1}, {{4, 3, 5}, 1},  {{4, 3, 5}, 0},   {{6, 1, 4}, 1},
          {{2, 40, 300}, 1}, {{2000, 3}, 0}, {{40, 1500}, 1}, {{3, 7, 130}, 1}, {{300, 128}, 0}};
}

// The row-major numbers of the elements of each row along the axis.
std::vector<std::vector<int64_t>> rows_of(const Shape& s) {
  int64_t outer = 1, inner = 1;
  for (size_t i = 0; i < s.dims.size(); ++i) {
    if (static_cast<int64_t>(i) < s.axis) outer *= s.dims[i];
    if (static_cast<int64_t>(i) > s.axis) inner *= s.dims[i];
  }
  const int64_t n = s.dims.empty() ? 1 : s.dims[static_cast<size_t>(s.axis)];
  std::vector<std::vector<int64_t>> rows;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t j = 0; j < inner; ++j) {
      rows.emplace_back();
      for (int64_t k = 0; k < n; ++k) rows.back().push_back((o * n + k) * inner + j);
    }
  }
  return rows;
}

std::vector<double> softmax_reference(const Tensor& x, const Shape& s, bool log) {
  std::vector<double> want(static_cast<size_t>(x.numel()));
  for (const auto& row : rows_of(s)) {
    long double top = -HUGE_VAL, sum = 0;
    for (const int64_t i : row) top = std::max<long double>(top, x[i]);
    for (const int64_t i : row) sum += std::exp(x[i] - top);
    for (const int64_t i : row) {
      want[static_cast<size_t>(i)] =
          static_cast<double>(log ? x[i] - top - std::log(sum) : std::exp(x[i] - top) / sum);
    }
  }
  return want;
}

double unit_of(int32_t dtype) {
  return dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
}

TEST(Softmax, MatchesTheDoubleReference) {
  for (const Target& target : softmax_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const Shape& s : shapes()) {
        for (const bool log : {false, true}) {
          const int32_t op = log ? MILL_OP_LOG_SOFTMAX : MILL_OP_SOFTMAX;
          Tensor x(dtype, s.dims);
          x.fill(3, -9, 9);
          Tensor out(dtype, s.dims);
          ASSERT_EQ(launch(target.list, op, {&x}, {&out}, {int_attr(s.axis)}, 2).status, MILL_OK);
          const std::string where =
              label(target, dtype, ::testing::PrintToString(s.dims)) + (log ? " log" : "");
          expect_close(out, softmax_reference(x, s, log),
                       1.01 * epsilon_of(dtype) + 24 * unit_of(dtype),
                       log                 ? 40 * unit_of(dtype)
                       : dtype == MILL_F16 ? 0x1.02p-25
                                           : 0x1p-126,
                       where);
          Tensor in_place = x;
          ASSERT_EQ(launch(target.list, op, {&in_place}, {&in_place}, {int_attr(s.axis)}).status,
                    MILL_OK);
          ASSERT_TRUE(in_place.same_bits(out)) << where;
        }
      }
    }
  }
}

TEST(Softmax, BackwardMatchesTheDoubleReference) {
  for (const Target& target : softmax_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const Shape& s : shapes()) {
        for (const bool log : {false, true}) {
          const int32_t op = log ? MILL_OP_LOG_SOFTMAX_BACKWARD : MILL_OP_SOFTMAX_BACKWARD;
          Tensor g(dtype, s.dims);
          Tensor y(dtype, s.dims);
          g.fill(1);
          y.fill(2, log ? -5 : 0, log ? 0 : 1);
          Tensor out(dtype, s.dims);
          ASSERT_EQ(launch(target.list, op, {&g, &y}, {&out}, {int_attr(s.axis)}, 2).status,
                    MILL_OK);
          for (const auto& row : rows_of(s)) {
            long double sum = 0;
            double size = 0;
            for (const int64_t i : row) {
              sum += log ? g[i] : g[i] * y[i];
              size += std::abs(g[i]);
            }
            for (const int64_t i : row) {
              const double want =
                  static_cast<double>(log ? g[i] - std::exp(y[i]) * sum : y[i] * (g[i] - sum));
              ASSERT_TRUE(
                  close(out[i], want, 1.01 * epsilon_of(dtype), 32 * unit_of(dtype) * (size + 1)))
                  << label(target, dtype, ::testing::PrintToString(s.dims)) << " log " << log
                  << ": " << out[i] << " for " << want;
            }
          }
          Tensor over_y = y;
          ASSERT_EQ(launch(target.list, op, {&g, &over_y}, {&over_y}, {int_attr(s.axis)}).status,
                    MILL_OK);
          ASSERT_TRUE(over_y.same_bits(out));
          Tensor over_g = g;
          ASSERT_EQ(launch(target.list, op, {&over_g, &y}, {&over_g}, {int_attr(s.axis)}).status,
                    MILL_OK);
          ASSERT_TRUE(over_g.same_bits(out));
        }
      }
    }
  }
}

TEST(Softmax, LargeValuesDoNotOverflowAndNaNFillsItsRowOnly) {
  for (const Target& target : softmax_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t axis : {0, 1}) {
        for (const int64_t n : {3, 20, 70}) {
          const int64_t stride = axis == 1 ? 1 : 4;
          const int64_t row = axis == 1 ? n : 1;
          Tensor x(dtype, axis == 1 ? std::vector<int64_t>{4, n} : std::vector<int64_t>{n, 4});
          x.fill(6, -1, 1);
          x.set(0, 30000);           // row 0: one element takes all
          x.set(row + stride, NAN);  // row 1: NaN
          for (int64_t k = 0; k < n; ++k)
            x.set(2 * row + k * stride, -HUGE_VAL);  // row 2: nothing to choose
          x.set(3 * row + stride, -HUGE_VAL);
          Tensor out(dtype, axis == 1 ? std::vector<int64_t>{4, n} : std::vector<int64_t>{n, 4});
          ASSERT_EQ(launch(target.list, MILL_OP_SOFTMAX, {&x}, {&out}, {int_attr(axis)}).status,
                    MILL_OK);
          EXPECT_EQ(out[0], 1);
          double sum = 0;
          for (int64_t k = 0; k < n; ++k) {
            if (k > 0) {
              EXPECT_EQ(out[k * stride], 0);
            }
            EXPECT_TRUE(std::isnan(out[row + k * stride]));
            EXPECT_TRUE(std::isnan(out[2 * row + k * stride]));
            sum += out[3 * row + k * stride];
          }
          EXPECT_EQ(out[3 * row + stride], 0);
          EXPECT_NEAR(sum, 1, static_cast<double>(n) * epsilon_of(dtype));
        }
      }
    }
  }
}

TEST(Softmax, DoesNotDependOnThreads) {
  for (const Target& target : softmax_targets()) {
    for (const int32_t dtype : {MILL_F32, MILL_BF16}) {
      for (const Shape& s : {Shape{{700, 90}, 1}, Shape{{20, 5000}, 1}, Shape{{90, 700}, 0}}) {
        Tensor x(dtype, s.dims);
        x.fill(3);
        Tensor one(dtype, s.dims);
        Tensor three = one;
        ASSERT_EQ(launch(target.list, MILL_OP_SOFTMAX, {&x}, {&one}, {int_attr(s.axis)}, 1).status,
                  MILL_OK);
        ASSERT_EQ(
            launch(target.list, MILL_OP_SOFTMAX, {&x}, {&three}, {int_attr(s.axis)}, 3).status,
            MILL_OK);
        EXPECT_TRUE(one.same_bits(three));
      }
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
