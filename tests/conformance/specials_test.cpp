// NaN, infinities and zeros where the op's row promises something about them, in every floating
// dtype, at every position of a vector and in its tail.
#include <gtest/gtest.h>

#include <limits>

#include "conformance/problem.h"

namespace mill_test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

class Specials : public testing::TestWithParam<mill_dtype> {
 protected:
  Tensor of(const Dims& dims, const std::vector<double>& values) {
    Host host;
    host.dtype = GetParam();
    host.dims = dims;
    host.f = values;
    Placed placed = place_host(w_, host, Layout::contiguous, 0);
    return std::move(placed.view);
  }
  std::vector<double> run(int32_t op, const std::vector<mill_tensor*>& in,
                          const std::vector<mill_attr>& attrs = {}) {
    const Tensor out = std::move(invoke(w_, op, in, attrs, 1)[0]);
    const Host host = read_host(w_, out.get());
    if (is_float(host.dtype)) return host.f;
    return {host.i.begin(), host.i.end()};
  }
  std::vector<double> unary(int32_t op, const std::vector<double>& x) {
    const Tensor tensor = of({static_cast<int64_t>(x.size())}, x);
    return run(op, {tensor.get()});
  }
  std::vector<double> binary(int32_t op, const std::vector<double>& a,
                             const std::vector<double>& b) {
    const Tensor x = of({static_cast<int64_t>(a.size())}, a);
    const Tensor y = of({static_cast<int64_t>(b.size())}, b);
    return run(op, {x.get(), y.get()});
  }
  // f must hold at each position of vectors of several lengths among ordinary values.
  void everywhere(int32_t op, double x, double want) {
    for (const size_t n : {1u, 3u, 8u, 17u, 37u}) {
      for (size_t at = 0; at < n; ++at) {
        std::vector<double> values(n, 0.5);
        values[at] = x;
        const std::vector<double> out = unary(op, values);
        EXPECT_TRUE(same(out[at], want))
            << "op " << op << " of " << x << " at " << at << " of " << n << " is " << out[at];
        for (size_t i = 0; i < n; ++i) {
          if (i == at) continue;
          EXPECT_TRUE(std::isfinite(out[i]));
        }
      }
    }
  }
  static bool same(double a, double b) {
    return std::isnan(b) ? std::isnan(a) : a == b && std::signbit(a) == std::signbit(b);
  }

  World& w_ = world();
};

TEST_P(Specials, ExpOfInfinitiesAndNan) {
  everywhere(MILL_OP_EXP, kInf, kInf);
  everywhere(MILL_OP_EXP, -kInf, 0);
  everywhere(MILL_OP_EXP, kNan, kNan);
  everywhere(MILL_OP_EXP, 0, 1);
  everywhere(MILL_OP_EXP, 1e4, kInf);
  everywhere(MILL_OP_EXP, -1e4, 0);
}

TEST_P(Specials, ElementaryFunctionsOfInfinitiesZerosAndNan) {
  struct Row {
    int32_t op;
    double below;  // of -inf
    double minus;  // of -0
    double above;  // of inf
  };
  constexpr double kQuarter = 1.5707963267948966;  // pi / 2
  const Row rows[] = {
      {MILL_OP_SIN, kNan, -0.0, kNan},    {MILL_OP_COS, kNan, 1, kNan},
      {MILL_OP_TAN, kNan, -0.0, kNan},    {MILL_OP_ASIN, kNan, -0.0, kNan},
      {MILL_OP_SINH, -kInf, -0.0, kInf},  {MILL_OP_COSH, kInf, 1, kInf},
      {MILL_OP_ASINH, -kInf, -0.0, kInf}, {MILL_OP_ATANH, kNan, -0.0, kNan},
      {MILL_OP_ERF, -1, -0.0, 1},         {MILL_OP_EXPM1, -1, -0.0, kInf},
      {MILL_OP_LOG1P, kNan, -0.0, kInf},  {MILL_OP_FLOOR, -kInf, -0.0, kInf},
      {MILL_OP_CEIL, -kInf, -0.0, kInf},  {MILL_OP_ROUND, -kInf, -0.0, kInf},
      {MILL_OP_TRUNC, -kInf, -0.0, kInf}, {MILL_OP_RECIPROCAL, -0.0, -kInf, 0},
      {MILL_OP_SILU, -0.0, -0.0, kInf},   {MILL_OP_LEAKY_RELU, -kInf, -0.0, kInf},
      {MILL_OP_ELU, -1, -0.0, kInf},
  };
  for (const Row& row : rows) {
    everywhere(row.op, -kInf, row.below);
    everywhere(row.op, -0.0, row.minus);
    everywhere(row.op, kInf, row.above);
    everywhere(row.op, kNan, kNan);
  }
  EXPECT_NEAR(unary(MILL_OP_ATAN, {kInf})[0], kQuarter, 1e-2);
  EXPECT_TRUE(same(unary(MILL_OP_ACOSH, {0.5})[0], kNan));
  EXPECT_TRUE(same(unary(MILL_OP_LOG1P, {-1})[0], -kInf));
}

TEST_P(Specials, WholeNumbersAreExactAndHalvesGoToTheEvenOne) {
  const std::vector<double> x = {-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 1000};
  EXPECT_EQ(unary(MILL_OP_ROUND, x), (std::vector<double>{-2, -2, -0.0, 0, 2, 2, 4, 1000}));
  EXPECT_EQ(unary(MILL_OP_FLOOR, x), (std::vector<double>{-3, -2, -1, 0, 1, 2, 3, 1000}));
  EXPECT_EQ(unary(MILL_OP_CEIL, x), (std::vector<double>{-2, -1, -0.0, 1, 2, 3, 4, 1000}));
  EXPECT_EQ(unary(MILL_OP_TRUNC, x), (std::vector<double>{-2, -1, -0.0, 0, 1, 2, 3, 1000}));
}

TEST_P(Specials, SmallArgumentsKeepTheirDigits) {
  // e^x - 1 and log(1 + x) written out would be 0 here.
  const double tiny = round_to(GetParam(), 1e-5L);
  EXPECT_EQ(unary(MILL_OP_EXPM1, {tiny})[0] > 0, true);
  EXPECT_EQ(unary(MILL_OP_LOG1P, {tiny})[0] > 0, true);
  EXPECT_NEAR(unary(MILL_OP_EXPM1, {tiny})[0], tiny, 1e-5 * tiny + epsilon_of(GetParam()) * tiny);
  EXPECT_NEAR(unary(MILL_OP_LOG1P, {tiny})[0], tiny, 1e-5 * tiny + epsilon_of(GetParam()) * tiny);
}

TEST_P(Specials, PadPutsItsValue) {
  const Tensor x = of({3}, {1, 2, 3});
  std::vector<mill_attr> attrs(5);
  for (int32_t k = 0; k < 5; ++k) {
    attrs[static_cast<size_t>(k)].id = k;
    attrs[static_cast<size_t>(k)].kind = k < 4 ? MILL_ATTR_INT : MILL_ATTR_FLOAT;
  }
  attrs[1].i = 2;
  attrs[2].i = -1;
  attrs[4].f = -1.5;
  EXPECT_EQ(run(MILL_OP_PAD, {x.get()}, attrs), (std::vector<double>{-1.5, -1.5, 1, 2}));
}

TEST_P(Specials, LogOfZeroNegativeAndInfinity) {
  everywhere(MILL_OP_LOG, 0, -kInf);
  everywhere(MILL_OP_LOG, -0.0, -kInf);
  everywhere(MILL_OP_LOG, -1, kNan);
  everywhere(MILL_OP_LOG, -kInf, kNan);
  everywhere(MILL_OP_LOG, kInf, kInf);
  everywhere(MILL_OP_LOG, kNan, kNan);
  everywhere(MILL_OP_LOG, 1, 0);
}

TEST_P(Specials, RootsOfZeroNegativeAndInfinity) {
  everywhere(MILL_OP_SQRT, 0, 0);
  everywhere(MILL_OP_SQRT, -0.0, -0.0);
  everywhere(MILL_OP_SQRT, -1, kNan);
  everywhere(MILL_OP_SQRT, kInf, kInf);
  everywhere(MILL_OP_SQRT, kNan, kNan);
  everywhere(MILL_OP_RSQRT, 0, kInf);
  everywhere(MILL_OP_RSQRT, kInf, 0);
  everywhere(MILL_OP_RSQRT, -1, kNan);
  everywhere(MILL_OP_RSQRT, kNan, kNan);
}

TEST_P(Specials, SaturatingFunctionsReachTheirLimits) {
  everywhere(MILL_OP_TANH, kInf, 1);
  everywhere(MILL_OP_TANH, -kInf, -1);
  everywhere(MILL_OP_TANH, 1000, 1);
  everywhere(MILL_OP_TANH, kNan, kNan);
  everywhere(MILL_OP_TANH, -0.0, -0.0);
  everywhere(MILL_OP_SIGMOID, kInf, 1);
  everywhere(MILL_OP_SIGMOID, -kInf, 0);
  everywhere(MILL_OP_SIGMOID, 1000, 1);
  everywhere(MILL_OP_SIGMOID, -1000, 0);
  everywhere(MILL_OP_SIGMOID, kNan, kNan);
}

TEST_P(Specials, ReluAndAbsAndSignKeepNan) {
  everywhere(MILL_OP_RELU, kNan, kNan);
  everywhere(MILL_OP_RELU, kInf, kInf);
  everywhere(MILL_OP_RELU, -kInf, 0);
  everywhere(MILL_OP_ABS, kNan, kNan);
  everywhere(MILL_OP_ABS, -kInf, kInf);
  everywhere(MILL_OP_ABS, -0.0, 0);
  everywhere(MILL_OP_SIGN, kNan, kNan);
  everywhere(MILL_OP_SIGN, -kInf, -1);
  everywhere(MILL_OP_SIGN, kInf, 1);
  everywhere(MILL_OP_NEG, kInf, -kInf);
  everywhere(MILL_OP_GELU, kNan, kNan);
  everywhere(MILL_OP_GELU, kInf, kInf);
}

TEST_P(Specials, MaximumAndMinimumAreNanIfEitherIs) {
  for (const size_t n : {1u, 9u, 37u}) {
    for (size_t at = 0; at < n; ++at) {
      std::vector<double> a(n, 1);
      const std::vector<double> b(n, 2);
      a[at] = kNan;
      for (const int32_t op : {MILL_OP_MAXIMUM, MILL_OP_MINIMUM}) {
        const std::vector<double> left = binary(op, a, b);
        const std::vector<double> right = binary(op, b, a);
        for (size_t i = 0; i < n; ++i) {
          EXPECT_EQ(std::isnan(left[i]), i == at);
          EXPECT_EQ(std::isnan(right[i]), i == at);
        }
      }
    }
  }
  EXPECT_EQ(binary(MILL_OP_MAXIMUM, {-kInf, 3}, {kInf, -kInf}), (std::vector<double>{kInf, 3}));
  EXPECT_EQ(binary(MILL_OP_MINIMUM, {-kInf, 3}, {kInf, -kInf}),
            (std::vector<double>{-kInf, -kInf}));
}

TEST_P(Specials, ReductionsSeeNanAndInfinityAtEveryPosition) {
  for (const size_t n : {1u, 7u, 33u, 70u}) {
    for (size_t at = 0; at < n; ++at) {
      std::vector<double> x(n, 1);
      for (size_t i = 0; i < n; ++i) x[i] = static_cast<double>(i % 5);
      x[at] = kNan;
      EXPECT_TRUE(std::isnan(unary(MILL_OP_MAX, x)[0])) << at << " of " << n;
      EXPECT_EQ(unary(MILL_OP_ARGMAX, x)[0], static_cast<double>(at));
      EXPECT_TRUE(std::isnan(unary(MILL_OP_SUM, x)[0]));
      x[n - 1] = kNan;
      EXPECT_EQ(unary(MILL_OP_ARGMAX, x)[0], static_cast<double>(at)) << "the first NaN wins";
      x[n - 1] = 0;
      x[at] = kInf;
      EXPECT_EQ(unary(MILL_OP_MAX, x)[0], kInf);
      EXPECT_EQ(unary(MILL_OP_ARGMAX, x)[0], static_cast<double>(at));
    }
  }
  EXPECT_EQ(unary(MILL_OP_MAX, {-kInf, -kInf})[0], -kInf);
  for (const size_t n : {1u, 5u, 8u, 33u, 200u}) {
    std::vector<double> x(n, 1.5);
    x[n / 2] = -2;
    EXPECT_EQ(unary(MILL_OP_MIN, x)[0], -2) << n;
    x[n - 1] = kNan;
    EXPECT_TRUE(std::isnan(unary(MILL_OP_MIN, x)[0])) << n;
    if (n == 1) continue;
    x[0] = -kInf;
    EXPECT_TRUE(std::isnan(unary(MILL_OP_MIN, x)[0])) << n;
  }
  EXPECT_EQ(unary(MILL_OP_MIN, {kInf, kInf})[0], kInf);
  EXPECT_EQ(unary(MILL_OP_PROD, {0, -2, 3})[0], 0);
  EXPECT_TRUE(std::isnan(unary(MILL_OP_PROD, {0, kInf, 3})[0]));
  EXPECT_EQ(unary(MILL_OP_ARGMAX, {-kInf, -kInf})[0], 0);
}

TEST_P(Specials, ArgmaxTakesTheFirstOfEqualValues) {
  for (const size_t n : {2u, 9u, 40u}) {
    std::vector<double> x(n, 0);
    x[n / 2] = 1;
    x[n - 1] = 1;
    EXPECT_EQ(unary(MILL_OP_ARGMAX, x)[0], static_cast<double>(n / 2));
  }
}

TEST_P(Specials, MeanOfNothingIsNan) {
  const Tensor x = of({0, 3}, {});
  const int64_t axis = 0;
  for (const double value : run(MILL_OP_MEAN, {x.get()}, {{0, MILL_ATTR_INTS, 0, 0, &axis, 1}}))
    EXPECT_TRUE(std::isnan(value));
  for (const double value : run(MILL_OP_SUM, {x.get()}, {{0, MILL_ATTR_INTS, 0, 0, &axis, 1}}))
    EXPECT_EQ(value, 0);
}

TEST_P(Specials, MaxOfNothingIsRefused) {
  const Tensor x = of({0, 3}, {});
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_max(w_.exec(), x.get(), nullptr, 0, 0, &out, w_.error()), MILL_E_SHAPE);
  EXPECT_EQ(mill_argmax(w_.exec(), x.get(), 0, 0, &out, w_.error()), MILL_E_SHAPE);
  EXPECT_EQ(out, nullptr);
}

TEST_P(Specials, ComparisonsWithNanAreFalseButForNotEqual) {
  const Tensor a = of({3}, {kNan, 1, kNan});
  const Tensor b = of({3}, {1, kNan, kNan});
  for (int64_t relation = MILL_COMPARE_EQ; relation <= MILL_COMPARE_GE; ++relation) {
    const double want = relation == MILL_COMPARE_NE ? 1 : 0;
    EXPECT_EQ(
        run(MILL_OP_COMPARE, {a.get(), b.get()}, {{0, MILL_ATTR_INT, relation, 0, nullptr, 0}}),
        std::vector<double>(3, want))
        << relation;
  }
}

TEST_P(Specials, WhereIgnoresTheValueNotTaken) {
  const Tensor condition = make<uint8_t>(w_, {2}, {1, 0});
  const Tensor mask = std::move(invoke(w_, MILL_OP_CAST, {condition.get()},
                                       {{0, MILL_ATTR_DTYPE, MILL_BOOL, 0, nullptr, 0}}, 1)[0]);
  const Tensor a = of({2}, {1, kNan});
  const Tensor b = of({2}, {kNan, 2});
  EXPECT_EQ(run(MILL_OP_WHERE, {mask.get(), a.get(), b.get()}), (std::vector<double>{1, 2}));
}

TEST_P(Specials, SoftmaxNeedsNoFiniteDifferences) {
  // Large logits do not overflow, and a masked one (-inf) gets no weight.
  const std::vector<double> large = unary(MILL_OP_SOFTMAX, {1000, 1000, -kInf});
  EXPECT_EQ(large, (std::vector<double>{0.5, 0.5, 0}));
  const std::vector<double> logs = unary(MILL_OP_LOG_SOFTMAX, {1000, -kInf});
  EXPECT_EQ(logs, (std::vector<double>{0, -kInf}));
  for (const double value : unary(MILL_OP_SOFTMAX, {1, kNan, 2})) EXPECT_TRUE(std::isnan(value));
}

TEST_P(Specials, PowFollowsC) {
  EXPECT_EQ(binary(MILL_OP_POW, {0, -2, kNan, 1, -2, 2}, {0, 3, 0, kNan, 2, -1}),
            (std::vector<double>{1, -8, 1, 1, 4, 0.5}));
  EXPECT_TRUE(std::isnan(binary(MILL_OP_POW, {-2}, {0.5})[0]));
  EXPECT_EQ(binary(MILL_OP_POW, {0}, {-1})[0], kInf);
}

TEST_P(Specials, CastToIntegerTruncatesAndHoldsTheBounds) {
  const Tensor x = of({5}, {1.75, -1.75, kInf, -kInf, kNan});
  EXPECT_EQ(run(MILL_OP_CAST, {x.get()}, {{0, MILL_ATTR_DTYPE, MILL_I8, 0, nullptr, 0}}),
            (std::vector<double>{1, -1, 127, -128, 0}));
  EXPECT_EQ(run(MILL_OP_CAST, {x.get()}, {{0, MILL_ATTR_DTYPE, MILL_BOOL, 0, nullptr, 0}}),
            (std::vector<double>{1, 1, 1, 1, 1}));
}

TEST_P(Specials, DropoutOfEverythingIsZeroAndOfNothingIsTheInput) {
  const Tensor key = make<int64_t>(w_, {2}, {3, 4});
  const Tensor x = of({3}, {kInf, 1, -2});
  EXPECT_EQ(run(MILL_OP_DROPOUT, {x.get(), key.get()}, {{0, MILL_ATTR_FLOAT, 0, 1, nullptr, 0}}),
            (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(run(MILL_OP_DROPOUT, {x.get(), key.get()}, {{0, MILL_ATTR_FLOAT, 0, 0, nullptr, 0}}),
            (std::vector<double>{kInf, 1, -2}));
}

INSTANTIATE_TEST_SUITE_P(Floats, Specials, testing::Values(MILL_F32, MILL_F64, MILL_BF16, MILL_F16),
                         [](const auto& param) { return std::string(dtype_text(param.param)); });

class IntegerSpecials : public testing::Test {
 protected:
  World& w_ = world();
};

TEST_F(IntegerSpecials, DivisionByZeroIsRefusedAndWritesNothing) {
  const Tensor a = make<int32_t>(w_, {3}, {1, 2, 3});
  const Tensor b = make<int32_t>(w_, {3}, {1, 0, 3});
  mill_tensor* out = nullptr;
  EXPECT_EQ(w_.about_values(mill_div(w_.exec(), a.get(), b.get(), &out, w_.error())), MILL_E_ARG);
  if (w_.asynchronous()) {
    // Nothing divides by zero, and the other elements are as they should be.
    EXPECT_EQ(values_of<int32_t>(w_, out), (std::vector<int32_t>{1, 0, 1}));
    mill_tensor_release(out);
    return;
  }
  EXPECT_EQ(out, nullptr);
  out = a.get();
  EXPECT_EQ(mill_div(w_.exec(), a.get(), b.get(), &out, w_.error()), MILL_E_ARG);
  EXPECT_EQ(values_of<int32_t>(w_, a.get()), (std::vector<int32_t>{1, 2, 3}));
}

TEST_F(IntegerSpecials, DivisionTruncatesTowardZeroAndTheLeastValueWraps) {
  constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();
  const Tensor a = make<int32_t>(w_, {4}, {7, -7, 7, kLeast});
  const Tensor b = make<int32_t>(w_, {4}, {2, 2, -2, -1});
  Tensor out;
  w_.ok(mill_div(w_.exec(), a.get(), b.get(), out.out(), w_.error()));
  EXPECT_EQ(values_of<int32_t>(w_, out.get()), (std::vector<int32_t>{3, -3, -3, kLeast}));
}

TEST_F(IntegerSpecials, ArithmeticOf64BitsWrapsAndIsExact) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  const Tensor a = make<int64_t>(w_, {4}, {kMost, kLeast, (int64_t{1} << 53) + 1, 3037000500});
  const Tensor b = make<int64_t>(w_, {4}, {1, 1, 2, 3037000500});
  Tensor out;
  w_.ok(mill_add(w_.exec(), a.get(), b.get(), out.out(), w_.error()));
  EXPECT_EQ(values_of<int64_t>(w_, out.get()),
            (std::vector<int64_t>{kLeast, kLeast + 1, (int64_t{1} << 53) + 3, 6074001000}));
  w_.ok(mill_sub(w_.exec(), a.get(), b.get(), out.out(), w_.error()));
  EXPECT_EQ(values_of<int64_t>(w_, out.get()),
            (std::vector<int64_t>{kMost - 1, kMost, (int64_t{1} << 53) - 1, 0}));
  w_.ok(mill_mul(w_.exec(), a.get(), b.get(), out.out(), w_.error()));
  EXPECT_EQ(values_of<int64_t>(w_, out.get()),
            (std::vector<int64_t>{kMost, kLeast, (int64_t{1} << 54) + 2,
                                  static_cast<int64_t>(9223372037000250000u)}));
  w_.ok(mill_maximum(w_.exec(), a.get(), b.get(), out.out(), w_.error()));
  EXPECT_EQ(values_of<int64_t>(w_, out.get()),
            (std::vector<int64_t>{kMost, 1, (int64_t{1} << 53) + 1, 3037000500}));
  w_.ok(mill_neg(w_.exec(), a.get(), out.out(), w_.error()));
  EXPECT_EQ(values_of<int64_t>(w_, out.get())[1], kLeast);
}

TEST_F(IntegerSpecials, SumsOfSmallIntegersAccumulateIn64Bits) {
  // 300 * 100 wraps to 48 in 8 bits, from the exact sum 30000.
  const Tensor x = make<uint8_t>(w_, {300}, std::vector<uint8_t>(300, 100));
  Tensor out;
  w_.ok(mill_sum(w_.exec(), x.get(), nullptr, 0, 0, out.out(), w_.error()));
  EXPECT_EQ(mill_tensor_dtype(out.get()), MILL_U8);
  EXPECT_EQ(values_of<uint8_t>(w_, out.get()), std::vector<uint8_t>{static_cast<uint8_t>(30000)});
}

TEST_F(IntegerSpecials, IndicesOutOfRangeAreRefusedByValue) {
  const Tensor table = make<float>(w_, {3, 2}, {1, 2, 3, 4, 5, 6});
  for (const int64_t bad : {int64_t{3}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    const Tensor ids = make<int64_t>(w_, {2}, {0, bad});
    mill_tensor* out = nullptr;
    EXPECT_EQ(w_.about_values(mill_embedding(w_.exec(), table.get(), ids.get(), &out, w_.error())),
              MILL_E_INDEX);
    if (w_.asynchronous()) mill_tensor_release(std::exchange(out, nullptr));
    EXPECT_EQ(out, nullptr);
    EXPECT_NE(w_.message().find(std::to_string(bad)), std::string::npos) << w_.message();
    const Tensor labels = make<int64_t>(w_, {3}, {0, 1, bad});
    mill_tensor* lse = nullptr;
    EXPECT_EQ(w_.about_values(mill_cross_entropy(w_.exec(), table.get(), labels.get(), 0, 0, -100,
                                                 &out, &lse, w_.error())),
              MILL_E_INDEX);
    if (w_.asynchronous()) {
      mill_tensor_release(std::exchange(out, nullptr));
      mill_tensor_release(std::exchange(lse, nullptr));
    }
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(lse, nullptr);
  }
}

}  // namespace
}  // namespace mill_test
