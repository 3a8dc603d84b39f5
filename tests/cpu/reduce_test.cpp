#include <algorithm>
#include <numeric>

#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(reduce)

struct Case {
  std::vector<int64_t> dims;
  std::vector<int64_t> axes;
};

std::vector<int64_t> reduced_dims(const Case& c, bool keepdim) {
  std::vector<int64_t> dims;
  for (size_t i = 0; i < c.dims.size(); ++i) {
    const bool reduced = std::count(c.axes.begin(), c.axes.end(), static_cast<int64_t>(i)) != 0;
    if (!reduced) dims.push_back(c.dims[i]);
    if (reduced && keepdim) dims.push_back(1);
  }
  return dims;
}

// For each output, the row-major numbers of the inputs that make it.
std::vector<std::vector<int64_t>> groups(const Case& c) {
  int64_t outputs = 1;
  for (const int64_t d : reduced_dims(c, false)) outputs *= d;
  int64_t inputs = 1;
  for (const int64_t d : c.dims) inputs *= d;
  std::vector<std::vector<int64_t>> found(static_cast<size_t>(outputs));
  for (int64_t i = 0; i < inputs; ++i) {
    int64_t rest = i;
    int64_t at = 0;
    int64_t stride = 1;
    for (size_t axis = c.dims.size(); axis-- > 0;) {
      const int64_t index = rest % c.dims[axis];
      rest /= c.dims[axis];
      if (std::count(c.axes.begin(), c.axes.end(), static_cast<int64_t>(axis)) != 0) continue;
      at += index * stride;
      stride *= c.dims[axis];
    }
    found[static_cast<size_t>(at)].push_back(i);
  }
  return found;
}

std::vector<int64_t> row_major(const std::vector<int64_t>& dims, int64_t step = 1) {
  std::vector<int64_t> strides(dims.size());
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = step;
    step *= dims[i];
  }
  return strides;
}

// Row-major, column-major, spaced out, last axis repeated.
std::vector<std::vector<int64_t>> layouts(const std::vector<int64_t>& dims) {
  std::vector<std::vector<int64_t>> all = {row_major(dims)};
  std::vector<int64_t> columns(dims.size());
  int64_t step = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    columns[i] = step;
    step *= std::max<int64_t>(1, dims[i]);
  }
  all.push_back(columns);
  all.push_back(row_major(dims, 3));
  if (!dims.empty()) {
    all.push_back(row_major(dims));
    all.back().back() = 0;
  }
  return all;
}

std::vector<Case> cases() {
  return {{{}, {}},
          {{1}, {0}},
          {{7}, {0}},
          {{300}, {0}},
          {{5000}, {0}},
          {{100001}, {0}},
          {{3, 40000}, {1}},
          {{40000, 3}, {0}},
          {{9000, 10}, {0}},
          {{700, 130}, {0}},
          {{2, 600}, {0}},
          {{5, 7}, {1}},
          {{5, 7}, {0}},
          {{1000, 3}, {1}},
          {{4, 3, 5}, {1}},
          {{4, 3, 5}, {0, 2}},
          {{4, 3, 5}, {0, 1, 2}},
          {{2, 1, 6, 1, 3}, {1, 2}},
          {{6, 5, 1}, {2}},
          {{2, 3, 2, 2, 1, 2, 2, 3}, {0, 2, 4, 6}},
          {{20, 50, 70}, {0, 2}},
          {{20, 50, 70}, {1}}};
}

std::vector<mill_attr> axes_attrs(const Case& c, bool keepdim) {
  return {ints_attr(c.axes), int_attr(keepdim)};
}

Tensor input_of(int32_t dtype, const std::vector<int64_t>& dims,
                const std::vector<int64_t>& strides) {
  Tensor x(dtype, dims, strides);
  if (is_floating(dtype)) {
    x.fill(7);
  } else {
    x.fill(7, dtype == MILL_U8 ? 0 : -100, 120);
  }
  return x;
}

TEST(Reduce, SumsMeansAndMaximaOverAnyAxesAndStrides) {
  for (const Target& target : reduce_targets()) {
    for (const Case& c : cases()) {
      const auto members = groups(c);
      const int64_t large =
          std::accumulate(c.dims.begin(), c.dims.end(), int64_t{1}, std::multiplies<>());
      for (const int32_t dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_F16, MILL_U8, MILL_I8,
                                  MILL_I16, MILL_I32, MILL_I64}) {
        if (large > 20000 && dtype != MILL_F32 && dtype != MILL_BF16 && dtype != MILL_I32) continue;
        size_t layout = 0;
        for (const auto& strides : layouts(c.dims)) {
          const Tensor x = input_of(dtype, c.dims, strides);
          const bool keepdim = layout++ % 2 == 1;
          const bool floating = is_floating(dtype);
          const double unit = dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
          std::vector<double> sums, means, maxima, slack;
          for (const auto& group : members) {
            long double sum = 0;
            double most = -HUGE_VAL, size = 0;
            for (const int64_t i : group) {
              sum += x[i];
              size += std::abs(x[i]);
              most = std::max(most, x[i]);
            }
            sums.push_back(static_cast<double>(sum));
            means.push_back(static_cast<double>(sum / static_cast<long double>(group.size())));
            maxima.push_back(most);
            slack.push_back(floating ? 64 * unit * size + 1e-300 : 0);
          }
          const std::string where =
              label(target, dtype,
                    "dims " + ::testing::PrintToString(c.dims) + " axes " +
                        ::testing::PrintToString(c.axes) + " layout " + std::to_string(layout));
          const std::vector<int64_t> dims = reduced_dims(c, keepdim);
          const auto check = [&](int32_t op, const std::vector<double>& want, double scale) {
            // The result has strides of its own as well.
            Tensor out(dtype, dims, row_major(dims, layout == 3 ? 2 : 1));
            const Launch result =
                launch(target.list, op, {&x}, {&out}, axes_attrs(c, keepdim), layout == 2 ? 3 : 1);
            ASSERT_EQ(result.status, MILL_OK) << result.text;
            for (int64_t i = 0; i < out.numel(); ++i) {
              double expected = want[static_cast<size_t>(i)];
              if (!floating && op == MILL_OP_SUM && dtype != MILL_I64) {
                const int64_t whole = static_cast<int64_t>(expected);
                expected = dtype == MILL_U8    ? static_cast<double>(static_cast<uint8_t>(whole))
                           : dtype == MILL_I8  ? static_cast<double>(static_cast<int8_t>(whole))
                           : dtype == MILL_I16 ? static_cast<double>(static_cast<int16_t>(whole))
                                               : static_cast<double>(static_cast<int32_t>(whole));
              }
              ASSERT_TRUE(close(out[i], expected, floating ? 1.01 * epsilon_of(dtype) : 0,
                                slack[static_cast<size_t>(i)] * scale))
                  << where << " op " << op << " element " << i << ": " << out[i] << " for "
                  << expected;
            }
          };
          check(MILL_OP_SUM, sums, 1);
          check(MILL_OP_MAX, maxima, 0);
          if (floating)
            check(MILL_OP_MEAN, means, 1.0 / static_cast<double>(members.front().size()));
        }
      }
    }
  }
}

TEST(Reduce, SumToAddsTheRepeatedAxes) {
  struct Target2 {
    std::vector<int64_t> from, to;
  };
  const Target2 shapes[] = {{{2, 3}, {3}},
                            {{4, 2, 5, 3}, {2, 1, 3}},
                            {{4, 2, 5, 3}, {1, 1, 3}},
                            {{6, 4}, {6, 1}},
                            {{6, 4}, {}},
                            {{1}, {1}},
                            {{5, 1, 3}, {1, 3}},
                            {{300, 200}, {200}},
                            {{64, 32, 70}, {70}},
                            {{3, 4}, {3, 4}}};
  for (const Target& target : reduce_targets()) {
    for (const int32_t dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_I32}) {
      for (const Target2& shape : shapes) {
        for (const auto& strides : layouts(shape.from)) {
          const Tensor x = input_of(dtype, shape.from, strides);
          Tensor out(dtype, shape.to);
          ASSERT_EQ(launch(target.list, MILL_OP_SUM_TO, {&x}, {&out}, {ints_attr(shape.to)}).status,
                    MILL_OK);
          std::vector<double> want(static_cast<size_t>(out.numel()));
          std::vector<double> size(want.size());
          const size_t missing = shape.from.size() - shape.to.size();
          for (int64_t i = 0; i < x.numel(); ++i) {
            int64_t rest = i, at = 0, stride = 1;
            for (size_t axis = shape.from.size(); axis-- > missing;) {
              const int64_t index = rest % shape.from[axis];
              rest /= shape.from[axis];
              if (shape.to[axis - missing] != 1) at += index * stride;
              stride *= shape.to[axis - missing];
            }
            want[static_cast<size_t>(at)] += x[i];
            size[static_cast<size_t>(at)] += std::abs(x[i]);
          }
          for (int64_t i = 0; i < out.numel(); ++i) {
            const size_t k = static_cast<size_t>(i);
            ASSERT_TRUE(close(out[i], want[k], 1.01 * epsilon_of(dtype),
                              dtype == MILL_I32 ? 0 : 0x1p-20 * size[k]))
                << label(target, dtype) << ::testing::PrintToString(shape.from) << " to "
                << ::testing::PrintToString(shape.to);
          }
        }
      }
    }
  }
}

TEST(Reduce, GivesTheEmptyValuesOrRefuses) {
  for (const Target& target : reduce_targets()) {
    const std::vector<int64_t> axes = {0};
    Tensor x(MILL_F32, {0, 3});
    Tensor sum(MILL_F32, {3}), mean(MILL_F32, {3}), most(MILL_F32, {3});
    ASSERT_EQ(launch(target.list, MILL_OP_SUM, {&x}, {&sum}, {ints_attr(axes), int_attr(0)}).status,
              MILL_OK);
    ASSERT_EQ(
        launch(target.list, MILL_OP_MEAN, {&x}, {&mean}, {ints_attr(axes), int_attr(0)}).status,
        MILL_OK);
    const Launch max =
        launch(target.list, MILL_OP_MAX, {&x}, {&most}, {ints_attr(axes), int_attr(0)});
    EXPECT_EQ(max.status, MILL_E_SHAPE);
    EXPECT_EQ(max.text, "the reduced axes have no elements and the result has 3");
    EXPECT_TRUE(most.untouched());
    expect_close(sum, {0, 0, 0}, 0, 0, target.name);
    expect_close(mean, {NAN, NAN, NAN}, 0, 0, target.name);

    const std::vector<int64_t> last = {1};
    Tensor none(MILL_F32, {0});
    for (const int32_t op : {MILL_OP_SUM, MILL_OP_MEAN, MILL_OP_MAX}) {
      EXPECT_EQ(launch(target.list, op, {&x}, {&none}, {ints_attr(last), int_attr(0)}).status,
                MILL_OK);
    }
    Tensor index(MILL_I64, {3});
    EXPECT_EQ(
        launch(target.list, MILL_OP_ARGMAX, {&x}, {&index}, {int_attr(0), int_attr(0)}).status,
        MILL_E_SHAPE);
    EXPECT_TRUE(index.untouched());
  }
}

TEST(Reduce, SumOfAMillionIsCloserThanANaiveLoop) {
  for (const Target& target : reduce_targets()) {
    for (const std::vector<int64_t>& dims :
         {std::vector<int64_t>{1000000}, std::vector<int64_t>{250000, 4},
          std::vector<int64_t>{4, 250000}}) {
      Tensor x(MILL_F32, dims);
      x.fill(9, 0, 1);
      const std::vector<int64_t> axes = {dims.size() == 1 || dims[0] > 4 ? 0 : 1};
      Case c = {dims, axes};
      const auto members = groups(c);
      Tensor out(MILL_F32, reduced_dims(c, false));
      ASSERT_EQ(launch(target.list, MILL_OP_SUM, {&x}, {&out}, axes_attrs(c, false), 2).status,
                MILL_OK);
      for (int64_t i = 0; i < out.numel(); ++i) {
        double exact = 0;
        float naive = 0;
        for (const int64_t k : members[static_cast<size_t>(i)]) {
          exact += x[k];
          naive += static_cast<float>(x[k]);
        }
        EXPECT_LE(std::abs(out[i] - exact),
                  0.5 * std::abs(static_cast<double>(naive) - exact) + 0x1p-23 * exact);
        EXPECT_LE(std::abs(out[i] - exact), 0x1p-21 * exact) << target.name;
      }
    }
  }
}

TEST(Reduce, NaNPropagatesThroughMax) {
  for (const Target& target : reduce_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t n : {1, 5, 40, 700, 70000}) {
        for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
          for (const bool columns : {false, true}) {
            Case c = columns ? Case{{n, 3}, {0}} : Case{{3, n}, {1}};
            Tensor x(dtype, c.dims);
            x.fill(1);
            x.set(columns ? at * 3 + 1 : n + at, NAN);
            Tensor out(dtype, {3});
            ASSERT_EQ(launch(target.list, MILL_OP_MAX, {&x}, {&out}, axes_attrs(c, false)).status,
                      MILL_OK);
            EXPECT_FALSE(std::isnan(out[0])) << label(target, dtype);
            EXPECT_TRUE(std::isnan(out[1])) << label(target, dtype) << " n " << n << " at " << at;
            EXPECT_FALSE(std::isnan(out[2])) << label(target, dtype);
          }
        }
      }
    }
  }
}

TEST(Reduce, MaxOfInfinitiesIsTheInfinity) {
  for (const Target& target : reduce_targets()) {
    Tensor x(MILL_F32, {37});
    for (int64_t i = 0; i < 37; ++i) x.set(i, -HUGE_VAL);
    Tensor out(MILL_F32, {});
    ASSERT_EQ(launch(target.list, MILL_OP_MAX, {&x}, {&out}, {ints_attr({}), int_attr(0)}).status,
              MILL_OK);
    EXPECT_EQ(out[0], -HUGE_VAL);
  }
}

TEST(Argmax, IsTheFirstLargestAndTheFirstNaN) {
  for (const Target& target : reduce_targets()) {
    for (const int32_t dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_F16, MILL_U8, MILL_I8, MILL_I16,
                                MILL_I32, MILL_I64}) {
      for (const Case& c :
           {Case{{40}, {0}}, Case{{6, 2000}, {1}}, Case{{50, 300}, {0}}, Case{{3, 4, 5}, {1}},
            Case{{7, 1, 3}, {1}}, Case{{1, 9}, {0}}, Case{{}, {0}}}) {
        size_t layout = 0;
        for (const auto& strides : layouts(c.dims)) {
          Tensor x(dtype, c.dims, strides);
          // Few different values, so that there are ties; NaN in the float ones.
          std::mt19937_64 engine(11);
          for (int64_t i = 0; i < x.numel(); ++i) {
            const uint64_t draw = engine() % 40;
            x.set(i, is_floating(dtype) && draw == 0 && layout > 1
                         ? NAN
                         : static_cast<double>(draw % 12));
          }
          const bool keepdim = layout++ % 2 == 0;
          Case named = c;
          if (c.dims.empty()) named.axes = {};
          const std::vector<int64_t> dims = reduced_dims(named, keepdim);
          Tensor out(MILL_I64, dims);
          ASSERT_EQ(launch(target.list, MILL_OP_ARGMAX, {&x}, {&out},
                           {int_attr(c.axes[0]), int_attr(keepdim)}, 2)
                        .status,
                    MILL_OK);
          const auto members = groups(named);
          for (int64_t i = 0; i < out.numel(); ++i) {
            const auto& group = members[static_cast<size_t>(i)];
            int64_t best = 0;
            for (size_t k = 1; k < group.size(); ++k) {
              const double value = x[group[k]];
              const double champion = x[group[static_cast<size_t>(best)]];
              if (std::isnan(champion)) break;
              if (value > champion || std::isnan(value)) best = static_cast<int64_t>(k);
            }
            ASSERT_EQ(out[i], static_cast<double>(best))
                << label(target, dtype) << ::testing::PrintToString(c.dims) << " layout " << layout
                << " output " << i;
          }
        }
      }
    }
  }
}

TEST(Reduce, DoesNotDependOnThreads) {
  for (const Target& target : reduce_targets()) {
    for (const Case& c : {Case{{200001}, {0}}, Case{{90000, 5}, {0}}, Case{{500, 700}, {0}},
                          Case{{5, 90000}, {1}}, Case{{30, 40, 50}, {0, 2}}}) {
      Tensor x(MILL_F32, c.dims);
      x.fill(4);
      Tensor one(MILL_F32, reduced_dims(c, false));
      Tensor three = one;
      Tensor five = one;
      ASSERT_EQ(launch(target.list, MILL_OP_SUM, {&x}, {&one}, axes_attrs(c, false), 1).status,
                MILL_OK);
      ASSERT_EQ(launch(target.list, MILL_OP_SUM, {&x}, {&three}, axes_attrs(c, false), 3).status,
                MILL_OK);
      ASSERT_EQ(launch(target.list, MILL_OP_SUM, {&x}, {&five}, axes_attrs(c, false), 5).status,
                MILL_OK);
      EXPECT_TRUE(one.same_bits(three)) << target.name << ::testing::PrintToString(c.dims);
      EXPECT_TRUE(one.same_bits(five)) << target.name << ::testing::PrintToString(c.dims);
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
