#include "cpu/pointwise_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(unary)

using Real = long double;

Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}
Real phi(Real x) {
  return std::erfc(-x / std::sqrt(Real{2})) / 2;
}
Real density(Real x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(Real{-1}));
}
Real gelu_erf(Real x) {
  return x * phi(x);
}
Real gelu_gate(Real x) {
  return sigmoid(2 * std::sqrt(2 / std::acos(Real{-1})) * (x + Real{0.044715L} * x * x * x));
}
Real gelu_tanh(Real x) {
  return x * gelu_gate(x);
}
Real gelu_erf_slope(Real x) {
  return phi(x) + x * density(x);
}
Real gelu_tanh_slope(Real x) {
  const Real s = gelu_gate(x);
  return s + x * s * (1 - s) * 2 * std::sqrt(2 / std::acos(Real{-1})) *
                 (1 + 3 * Real{0.044715L} * x * x);
}

struct UnaryCase {
  const char* name;
  int32_t op;
  std::vector<mill_attr> attrs;
  Real (*reference)(Real);
  double low, high;
  bool integers;
};

std::vector<UnaryCase> unary_cases() {
  return {
      {"neg", MILL_OP_NEG, {}, [](Real x) { return -x; }, -2, 2, true},
      {"abs", MILL_OP_ABS, {}, [](Real x) { return std::fabs(x); }, -2, 2, true},
      {"sign", MILL_OP_SIGN, {}, [](Real x) { return Real(x > 0) - Real(x < 0); }, -2, 2, true},
      {"relu", MILL_OP_RELU, {}, [](Real x) { return x > 0 ? x : 0; }, -2, 2, true},
      {"exp", MILL_OP_EXP, {}, [](Real x) { return std::exp(x); }, -5, 5, false},
      {"log", MILL_OP_LOG, {}, [](Real x) { return std::log(x); }, 0.01, 5, false},
      {"sqrt", MILL_OP_SQRT, {}, [](Real x) { return std::sqrt(x); }, 0, 5, false},
      {"rsqrt", MILL_OP_RSQRT, {}, [](Real x) { return 1 / std::sqrt(x); }, 0.01, 5, false},
      {"tanh", MILL_OP_TANH, {}, [](Real x) { return std::tanh(x); }, -3, 3, false},
      {"sigmoid", MILL_OP_SIGMOID, {}, sigmoid, -5, 5, false},
      {"gelu", MILL_OP_GELU, {int_attr(0)}, gelu_erf, -4, 4, false},
      {"gelu tanh", MILL_OP_GELU, {int_attr(1)}, gelu_tanh, -4, 4, false},
      {"affine",
       MILL_OP_AFFINE,
       {float_attr(2.5), float_attr(-0.75)},
       [](Real x) { return x * 2.5L - 0.75L; },
       -2,
       2,
       false},
  };
}

TEST(Unary, MatchesTheReferenceOnEveryLayoutAndFloatDtype) {
  for (const Target& target : unary_targets()) {
    for (const UnaryCase& c : unary_cases()) {
      for (int32_t dtype : float_dtypes()) {
        for (const Layout& layout : layouts()) {
          Tensor x = make(dtype, layout);
          x.fill(7, c.low, c.high);
          Tensor out = make(dtype, layout);
          Tensor dense(dtype, layout.dims);
          ASSERT_EQ(launch(target.list, c.op, {&x}, {&out}, c.attrs).status, MILL_OK);
          ASSERT_EQ(launch(target.list, c.op, {&x}, {&dense}, c.attrs).status, MILL_OK);
          std::vector<double> want;
          for (int64_t i = 0; i < x.numel(); ++i)
            want.push_back(static_cast<double>(c.reference(Real(x[i]))));
          const std::string where = label(target, dtype, std::string(c.name) + " " + layout.name);
          // affine and the tanh form of gelu round inside; the others are within a few units.
          const double e = epsilon_of(dtype) * (dtype == MILL_F32 || dtype == MILL_F64 ? 16 : 1.1);
          expect_close(out, want, e, 2 * e, where);
          expect_close(dense, want, e, 2 * e, where + " to dense");
        }
      }
    }
  }
}

struct Accuracy {
  const char* name;
  int32_t op;
  std::vector<mill_attr> attrs;
  Real (*reference)(Real);
  double low, high;  // f64 ranges; f32 takes what it can hold
  double limit;
};

template <class T>
void check_accuracy(const Target& target, int32_t dtype, const Accuracy& c) {
  std::mt19937_64 engine(3);
  const double bound = sizeof(T) == 4 ? 104 : 750;
  std::uniform_real_distribution<double> draw(std::max(c.low, -bound), std::min(c.high, bound));
  constexpr int64_t kCount = 20000;
  Tensor x(dtype, {kCount});
  Tensor out(dtype, {kCount});
  for (int64_t i = 0; i < kCount; ++i)
    x.set(i,
          i % 4 == 0 ? std::ldexp(draw(engine), -static_cast<int>(engine() % 40)) : draw(engine));
  ASSERT_EQ(launch(target.list, c.op, {&x}, {&out}, c.attrs).status, MILL_OK);
  double worst = 0;
  T at = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const T value = x.data<T>()[i];
    const double distance = ulps(out.data<T>()[i], c.reference(Real(value)));
    if (distance > worst) {
      worst = distance;
      at = value;
    }
  }
  EXPECT_LE(worst, c.limit) << label(target, dtype, c.name) << " at " << at;
}

TEST(Unary, ElementaryFunctionsAreWithinTheirUlps) {
  const std::vector<Accuracy> cases = {
      {"exp", MILL_OP_EXP, {}, [](Real x) { return std::exp(x); }, -750, 711, 1.5},
      {"log", MILL_OP_LOG, {}, [](Real x) { return std::log(x); }, 0, 750, 1.5},
      {"log near one", MILL_OP_LOG, {}, [](Real x) { return std::log(x); }, 0.5, 2, 1.5},
      {"sqrt", MILL_OP_SQRT, {}, [](Real x) { return std::sqrt(x); }, 0, 750, 0.501},
      {"rsqrt", MILL_OP_RSQRT, {}, [](Real x) { return 1 / std::sqrt(x); }, 0, 750, 1.5},
      {"tanh", MILL_OP_TANH, {}, [](Real x) { return std::tanh(x); }, -25, 25, 2},
      {"tanh near zero", MILL_OP_TANH, {}, [](Real x) { return std::tanh(x); }, -1, 1, 2},
      {"sigmoid", MILL_OP_SIGMOID, {}, sigmoid, -750, 750, 2.5},
      {"sigmoid near zero", MILL_OP_SIGMOID, {}, sigmoid, -5, 5, 2.5},
      {"gelu", MILL_OP_GELU, {int_attr(0)}, gelu_erf, -3, 8, 7},
      {"gelu near zero", MILL_OP_GELU, {int_attr(0)}, gelu_erf, -0.1, 0.1, 3},
      {"gelu in the tail", MILL_OP_GELU, {int_attr(0)}, gelu_erf, -12.5, -3, 12},
  };
  for (const Target& target : unary_targets()) {
    for (const Accuracy& c : cases) {
      check_accuracy<float>(target, MILL_F32, c);
      check_accuracy<double>(target, MILL_F64, c);
    }
  }
}

TEST(Unary, SpecialValues) {
  const double inf = HUGE_VAL;
  const double nan = std::nan("");
  struct Special {
    int32_t op;
    double x, want;
  };
  const std::vector<Special> cases = {
      {MILL_OP_EXP, 0, 1},          {MILL_OP_EXP, -0.0, 1},     {MILL_OP_EXP, inf, inf},
      {MILL_OP_EXP, -inf, 0},       {MILL_OP_EXP, nan, nan},    {MILL_OP_EXP, 1e30, inf},
      {MILL_OP_EXP, -1e30, 0},      {MILL_OP_LOG, 0, -inf},     {MILL_OP_LOG, -0.0, -inf},
      {MILL_OP_LOG, 1, 0},          {MILL_OP_LOG, -1, nan},     {MILL_OP_LOG, inf, inf},
      {MILL_OP_LOG, -inf, nan},     {MILL_OP_LOG, nan, nan},    {MILL_OP_SQRT, -1, nan},
      {MILL_OP_SQRT, inf, inf},     {MILL_OP_SQRT, -0.0, -0.0}, {MILL_OP_RSQRT, 0, inf},
      {MILL_OP_RSQRT, inf, 0},      {MILL_OP_RSQRT, -1, nan},   {MILL_OP_TANH, inf, 1},
      {MILL_OP_TANH, -inf, -1},     {MILL_OP_TANH, -0.0, -0.0}, {MILL_OP_TANH, nan, nan},
      {MILL_OP_TANH, 1e-30, 1e-30}, {MILL_OP_SIGMOID, inf, 1},  {MILL_OP_SIGMOID, -inf, 0},
      {MILL_OP_SIGMOID, nan, nan},  {MILL_OP_SIGMOID, 0, 0.5},  {MILL_OP_RELU, nan, nan},
      {MILL_OP_RELU, -inf, 0},      {MILL_OP_RELU, inf, inf},   {MILL_OP_SIGN, nan, nan},
      {MILL_OP_SIGN, -inf, -1},     {MILL_OP_SIGN, 0, 0},       {MILL_OP_ABS, -inf, inf},
      {MILL_OP_ABS, -0.0, 0.0},     {MILL_OP_NEG, 0.0, -0.0},   {MILL_OP_GELU, inf, inf},
      {MILL_OP_GELU, -inf, 0},      {MILL_OP_GELU, nan, nan},   {MILL_OP_GELU, -1e30, 0},
  };
  for (const Target& target : unary_targets()) {
    for (int32_t dtype : float_dtypes()) {
      for (const Special& c : cases) {
        for (int64_t count : {1, 2, 21}) {
          for (int64_t tanh_form : {0, 1}) {
            if (tanh_form == 1 && c.op != MILL_OP_GELU) continue;
            Tensor x(dtype, {count});
            for (int64_t i = 0; i < count; ++i) x.set(i, c.x);
            Tensor out(dtype, {count});
            ASSERT_EQ(launch(target.list, c.op, {&x}, {&out}, {int_attr(tanh_form)}).status,
                      MILL_OK);
            const double rounded =
                std::fabs(c.want) < 1 && c.want != 0 && c.want != 0.5 ? x[0] : c.want;
            for (int64_t i = 0; i < count; ++i) {
              if (dtype == MILL_F16 && std::fabs(c.x) > 1e4 && std::isfinite(c.x))
                continue;  // infinite in f16
              ASSERT_TRUE(close(out[i], rounded, 0, 0))
                  << label(target, dtype) << " op " << c.op << " of " << c.x << " is " << out[i];
              if (c.op != MILL_OP_GELU && rounded == 0) {
                ASSERT_EQ(std::signbit(out[i]), std::signbit(rounded))
                    << label(target, dtype) << " op " << c.op;
              }
            }
          }
        }
      }
    }
  }
}

TEST(Unary, SubnormalArgumentsAndResultsAreExact) {
  for (const Target& target : unary_targets()) {
    Tensor x = Tensor::of(MILL_F32, {3}, {-100.0, -103.0, -90.5});
    Tensor out(MILL_F32, {3});
    ASSERT_EQ(launch(target.list, MILL_OP_EXP, {&x}, {&out}).status, MILL_OK);
    for (int64_t i = 0; i < 3; ++i)
      EXPECT_LE(ulps(out.data<float>()[i], std::exp(Real(x[i]))), 1) << target.name;
    Tensor tiny = Tensor::of(MILL_F32, {2}, {1.4e-45, 3e-40});
    Tensor logs(MILL_F32, {2});
    ASSERT_EQ(launch(target.list, MILL_OP_LOG, {&tiny}, {&logs}).status, MILL_OK);
    for (int64_t i = 0; i < 2; ++i)
      EXPECT_LE(ulps(logs.data<float>()[i], std::log(Real(tiny[i]))), 1) << target.name;
  }
}

TEST(Unary, AnElementGivesTheSameBitsAloneAndAmongOthers) {
  const std::vector<UnaryCase> cases = unary_cases();
  for (const Target& target : unary_targets()) {
    for (const UnaryCase& c : cases) {
      // Past every border between two ways to compute: gelu's lie at 5.6 and 14.5.
      const double low = std::min(c.low, -15.0) * (c.low < 0);
      constexpr int64_t kCount = 2048;
      Tensor x(MILL_F32, {kCount});
      for (int64_t i = 0; i < kCount; ++i)
        x.set(i, low + (8 - low) * static_cast<double>(i) / static_cast<double>(kCount));
      Tensor out(MILL_F32, {kCount});
      ASSERT_EQ(launch(target.list, c.op, {&x}, {&out}, c.attrs).status, MILL_OK);
      for (int64_t i = 0; i < kCount; ++i) {
        Tensor lone = Tensor::of(MILL_F32, {1}, {x[i]});
        Tensor result(MILL_F32, {1});
        ASSERT_EQ(launch(target.list, c.op, {&lone}, {&result}, c.attrs).status, MILL_OK);
        ASSERT_EQ(std::memcmp(result.data<float>(), out.data<float>() + i, sizeof(float)), 0)
            << label(target, MILL_F32, c.name) << " of " << x[i];
      }
    }
  }
}

TEST(Unary, InPlaceGivesTheSameBits) {
  for (const Target& target : unary_targets()) {
    for (const UnaryCase& c : unary_cases()) {
      for (int32_t dtype : float_dtypes()) {
        for (const Layout& layout : layouts()) {
          Tensor x = make(dtype, layout);
          x.fill(11, c.low, c.high);
          Tensor out = x;
          ASSERT_EQ(launch(target.list, c.op, {&x}, {&out}, c.attrs).status, MILL_OK);
          ASSERT_EQ(launch(target.list, c.op, {&x}, {&x}, c.attrs).status, MILL_OK);
          ASSERT_TRUE(x.same_bits(out)) << label(target, dtype, c.name) << " " << layout.name;
        }
      }
    }
  }
}

TEST(Unary, AnElementsBitsDoNotDependOnPositionLengthOrThreads) {
  constexpr int64_t kCount = 100003;
  for (const Target& target : unary_targets()) {
    for (const UnaryCase& c : unary_cases()) {
      for (int32_t dtype : {MILL_F32, MILL_F64, MILL_BF16}) {
        Tensor x(dtype, {kCount});
        x.fill(13, c.low, c.high);
        Tensor whole(dtype, {kCount});
        Tensor shared(dtype, {kCount});
        ASSERT_EQ(launch(target.list, c.op, {&x}, {&whole}, c.attrs, 1).status, MILL_OK);
        ASSERT_EQ(launch(target.list, c.op, {&x}, {&shared}, c.attrs, 3).status, MILL_OK);
        ASSERT_TRUE(whole.same_bits(shared)) << label(target, dtype, c.name);
        for (int64_t i : {int64_t{0}, int64_t{5}, int64_t{50001}, kCount - 1}) {
          Tensor one = Tensor::of(dtype, {1}, {x[i]});
          Tensor out(dtype, {1});
          ASSERT_EQ(launch(target.list, c.op, {&one}, {&out}, c.attrs).status, MILL_OK);
          ASSERT_EQ(out[0], whole[i]) << label(target, dtype, c.name) << " element " << i;
        }
      }
    }
  }
}

template <class T>
void check_integers(const Target& target, int32_t dtype) {
  const T least = std::numeric_limits<T>::min();
  const T most = std::numeric_limits<T>::max();
  const std::vector<T> values = {0, 1, static_cast<T>(-1), 7, static_cast<T>(-7), least, most};
  for (int32_t op : {MILL_OP_NEG, MILL_OP_ABS, MILL_OP_SIGN, MILL_OP_RELU}) {
    for (int64_t stride : {1, 3}) {
      const int64_t count = static_cast<int64_t>(values.size());
      Tensor x(dtype, {count}, {stride});
      Tensor out(dtype, {count}, {stride});
      for (int64_t i = 0; i < count; ++i) x.data<T>()[i * stride] = values[static_cast<size_t>(i)];
      ASSERT_EQ(launch(target.list, op, {&x}, {&out}).status, MILL_OK);
      for (int64_t i = 0; i < count; ++i) {
        const T v = values[static_cast<size_t>(i)];
        const T negated = static_cast<T>(uint64_t{0} - static_cast<uint64_t>(v));
        T want = v;
        if (op == MILL_OP_NEG) want = negated;
        if (op == MILL_OP_ABS && v < T{0}) want = negated;
        if (op == MILL_OP_SIGN) want = static_cast<T>((v > 0 ? 1 : 0) - (v < T{0} ? 1 : 0));
        if (op == MILL_OP_RELU && v < T{0}) want = 0;
        ASSERT_EQ(out.data<T>()[i * stride], want)
            << label(target, dtype) << " op " << op << " of " << +v;
      }
    }
  }
}

TEST(Unary, IntegersWrapAndKeepTheirSignRules) {
  for (const Target& target : unary_targets()) {
    check_integers<uint8_t>(target, MILL_U8);
    check_integers<int8_t>(target, MILL_I8);
    check_integers<uint16_t>(target, MILL_U16);
    check_integers<int16_t>(target, MILL_I16);
    check_integers<uint32_t>(target, MILL_U32);
    check_integers<int32_t>(target, MILL_I32);
    check_integers<uint64_t>(target, MILL_U64);
    check_integers<int64_t>(target, MILL_I64);
  }
}

struct BackwardCase {
  const char* name;
  int32_t op;
  std::vector<mill_attr> attrs;
  Real (*slope)(Real);
  double low, high;
};

std::vector<BackwardCase> backward_cases() {
  return {
      {"tanh", MILL_OP_TANH_BACKWARD, {}, [](Real y) { return 1 - y * y; }, -1, 1},
      {"sigmoid", MILL_OP_SIGMOID_BACKWARD, {}, [](Real y) { return y * (1 - y); }, 0, 1},
      {"relu", MILL_OP_RELU_BACKWARD, {}, [](Real y) { return Real(y > 0 ? 1 : 0); }, -1, 1},
      {"gelu", MILL_OP_GELU_BACKWARD, {int_attr(0)}, gelu_erf_slope, -5, 5},
      {"gelu tanh", MILL_OP_GELU_BACKWARD, {int_attr(1)}, gelu_tanh_slope, -5, 5},
  };
}

TEST(UnaryBackward, MatchesTheReferenceOnEveryLayout) {
  for (const Target& target : unary_targets()) {
    for (const BackwardCase& c : backward_cases()) {
      for (int32_t dtype : float_dtypes()) {
        for (const Layout& layout : layouts()) {
          Tensor g = make(dtype, layout);
          g.fill(5);
          Tensor saved(dtype, layout.dims);
          saved.fill(6, c.low, c.high);
          Tensor out = make(dtype, layout);
          ASSERT_EQ(launch(target.list, c.op, {&g, &saved}, {&out}, c.attrs).status, MILL_OK);
          std::vector<double> want;
          for (int64_t i = 0; i < g.numel(); ++i)
            want.push_back(static_cast<double>(Real(g[i]) * c.slope(Real(saved[i]))));
          const double e = epsilon_of(dtype) * (dtype == MILL_F32 || dtype == MILL_F64 ? 16 : 1.1);
          const std::string where = label(target, dtype, std::string(c.name) + " " + layout.name);
          expect_close(out, want, e, 4 * e, where);
          Tensor over = saved;
          ASSERT_EQ(launch(target.list, c.op, {&g, &over}, {&over}, c.attrs).status, MILL_OK);
          expect_close(over, want, e, 4 * e, where + " in place of the saved value");
          ASSERT_EQ(launch(target.list, c.op, {&g, &saved}, {&g}, c.attrs).status, MILL_OK);
          expect_close(g, want, e, 4 * e, where + " in place of the gradient");
        }
      }
    }
  }
}

TEST(UnaryBackward, GeluAtInfinityHasSlopeZeroOrOne) {
  for (const Target& target : unary_targets()) {
    for (int32_t dtype : {MILL_F32, MILL_F64}) {
      for (int64_t form : {0, 1}) {
        Tensor g = Tensor::of(dtype, {3}, {2, 2, 2});
        Tensor x = Tensor::of(dtype, {3}, {HUGE_VAL, -HUGE_VAL, std::nan("")});
        Tensor out(dtype, {3});
        ASSERT_EQ(
            launch(target.list, MILL_OP_GELU_BACKWARD, {&g, &x}, {&out}, {int_attr(form)}).status,
            MILL_OK);
        EXPECT_EQ(out[0], 2);
        EXPECT_EQ(out[1], 0);
        EXPECT_TRUE(std::isnan(out[2]));
      }
    }
  }
}

TEST(Unary, ABroadcastInputFillsTheOutput) {
  for (const Target& target : unary_targets()) {
    for (int32_t dtype : {MILL_F32, MILL_BF16, MILL_I32, MILL_I64}) {
      Tensor x(dtype, {3, 40}, {0, 0});
      x.set(0, -3);
      Tensor out(dtype, {3, 40});
      ASSERT_EQ(launch(target.list, MILL_OP_NEG, {&x}, {&out}).status, MILL_OK);
      for (int64_t i = 0; i < out.numel(); ++i) ASSERT_EQ(out[i], 3) << label(target, dtype);
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
