#include "cpu/pointwise_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(binary)

struct Shape {
  const char* name;
  std::vector<int64_t> dims;
  std::vector<int64_t> a, b, out;  // strides
};

std::vector<Shape> shapes() {
  return {
      {"empty", {0, 3}, {3, 1}, {3, 1}, {3, 1}},
      {"scalar", {}, {}, {}, {}},
      {"one", {1}, {1}, {0}, {1}},
      {"three", {3}, {1}, {1}, {1}},
      {"seventeen", {17}, {1}, {1}, {1}},
      {"thousand", {1000}, {1}, {1}, {1}},
      {"b scalar", {77}, {1}, {0}, {1}},
      {"a scalar", {77}, {0}, {1}, {1}},
      {"both scalar", {77}, {0}, {0}, {1}},
      {"row", {9, 45}, {45, 1}, {0, 1}, {45, 1}},
      {"column", {9, 45}, {45, 1}, {1, 0}, {45, 1}},
      {"outer", {31, 37}, {1, 0}, {0, 1}, {37, 1}},
      {"b transposed", {21, 34}, {34, 1}, {1, 21}, {34, 1}},
      {"all transposed", {21, 34}, {1, 21}, {1, 21}, {1, 21}},
      {"every second", {50}, {2}, {3}, {2}},
      {"short rows", {40, 3}, {3, 1}, {0, 1}, {5, 1}},
      {"three axes", {4, 6, 5}, {30, 5, 1}, {0, 1, 0}, {1, 4, 24}},
      {"ones between", {7, 1, 6}, {6, 99, 1}, {1, 0, 7}, {6, 6, 1}},
  };
}

struct BinaryCase {
  const char* name;
  int32_t op;
  double (*reference)(double, double);
  double a_low, a_high, b_low, b_high;
};

std::vector<BinaryCase> float_cases() {
  return {
      {"add", MILL_OP_ADD, [](double a, double b) { return a + b; }, -2, 2, -2, 2},
      {"sub", MILL_OP_SUB, [](double a, double b) { return a - b; }, -2, 2, -2, 2},
      {"mul", MILL_OP_MUL, [](double a, double b) { return a * b; }, -2, 2, -2, 2},
      {"div", MILL_OP_DIV, [](double a, double b) { return a / b; }, -2, 2, 0.2, 2},
      {"pow", MILL_OP_POW, [](double a, double b) { return std::pow(a, b); }, 0.2, 3, -2, 2},
      {"maximum", MILL_OP_MAXIMUM, [](double a, double b) { return a > b ? a : b; }, -2, 2, -2, 2},
      {"minimum", MILL_OP_MINIMUM, [](double a, double b) { return a < b ? a : b; }, -2, 2, -2, 2},
  };
}

TEST(Binary, MatchesTheReferenceOnEveryShapeAndFloatDtype) {
  for (const Target& target : binary_targets()) {
    for (const BinaryCase& c : float_cases()) {
      for (int32_t dtype : float_dtypes()) {
        for (const Shape& shape : shapes()) {
          Tensor a(dtype, shape.dims, shape.a);
          a.fill(1, c.a_low, c.a_high);
          Tensor b(dtype, shape.dims, shape.b);
          b.fill(2, c.b_low, c.b_high);
          Tensor out(dtype, shape.dims, shape.out);
          ASSERT_EQ(launch(target.list, c.op, {&a, &b}, {&out}).status, MILL_OK);
          std::vector<double> want;
          for (int64_t i = 0; i < a.numel(); ++i) want.push_back(c.reference(a[i], b[i]));
          const double e = epsilon_of(dtype) * 1.02;
          const double relative = c.op == MILL_OP_POW && dtype == MILL_F64 ? 2 * e : e;
          expect_close(out, want, relative, 0x1p-25 * (dtype == MILL_F16 ? 1 : 0),
                       label(target, dtype, std::string(c.name) + " " + shape.name));
        }
      }
    }
  }
}

TEST(Binary, InPlaceOfEitherOperandGivesTheSameBits) {
  for (const Target& target : binary_targets()) {
    for (const BinaryCase& c : float_cases()) {
      for (int32_t dtype : float_dtypes()) {
        for (const Layout& layout : layouts()) {
          Tensor a = make(dtype, layout);
          a.fill(1, c.a_low, c.a_high);
          Tensor b = make(dtype, layout);
          b.fill(2, c.b_low, c.b_high);
          Tensor out = a;
          ASSERT_EQ(launch(target.list, c.op, {&a, &b}, {&out}).status, MILL_OK);
          Tensor over_a = a;
          Tensor over_b = b;
          ASSERT_EQ(launch(target.list, c.op, {&over_a, &b}, {&over_a}).status, MILL_OK);
          ASSERT_EQ(launch(target.list, c.op, {&a, &over_b}, {&over_b}).status, MILL_OK);
          ASSERT_TRUE(over_a.same_bits(out)) << label(target, dtype, c.name) << " " << layout.name;
          ASSERT_TRUE(over_b.same_bits(out)) << label(target, dtype, c.name) << " " << layout.name;
        }
      }
    }
  }
}

TEST(Binary, ThreadsDoNotChangeBits) {
  for (const Target& target : binary_targets()) {
    for (const BinaryCase& c : float_cases()) {
      for (int32_t dtype : {MILL_F32, MILL_F64, MILL_F16}) {
        Tensor a(dtype, {311, 401}, {401, 1});
        a.fill(1, c.a_low, c.a_high);
        Tensor b(dtype, {311, 401}, {0, 1});
        b.fill(2, c.b_low, c.b_high);
        Tensor one(dtype, {311, 401}, {1, 311});
        Tensor three = one;
        ASSERT_EQ(launch(target.list, c.op, {&a, &b}, {&one}, {}, 1).status, MILL_OK);
        ASSERT_EQ(launch(target.list, c.op, {&a, &b}, {&three}, {}, 3).status, MILL_OK);
        ASSERT_TRUE(one.same_bits(three)) << label(target, dtype, c.name);
      }
    }
  }
}

TEST(Binary, MaximumAndMinimumAreNaNIfEitherOperandIs) {
  const double nan = std::nan("");
  for (const Target& target : binary_targets()) {
    for (int32_t dtype : float_dtypes()) {
      for (int64_t count : {1, 19}) {
        for (int32_t op : {MILL_OP_MAXIMUM, MILL_OP_MINIMUM}) {
          Tensor value(dtype, {count});
          value.fill(3);
          Tensor not_number(dtype, {count}, {0});
          not_number.set(0, nan);
          Tensor out(dtype, {count});
          ASSERT_EQ(launch(target.list, op, {&value, &not_number}, {&out}).status, MILL_OK);
          for (int64_t i = 0; i < count; ++i)
            ASSERT_TRUE(std::isnan(out[i])) << label(target, dtype);
          ASSERT_EQ(launch(target.list, op, {&not_number, &value}, {&out}).status, MILL_OK);
          for (int64_t i = 0; i < count; ++i)
            ASSERT_TRUE(std::isnan(out[i])) << label(target, dtype);
        }
      }
    }
  }
}

TEST(Binary, PowFollowsEverySpecialCaseOfC) {
  const double inf = HUGE_VAL;
  const double nan = std::nan("");
  const std::vector<double> values = {0.0, -0.0, 1,   -1,   2,   -2,       0.5,  -0.5,  3,   -3,
                                      1.5, -1.5, inf, -inf, nan, 16777217, 1e30, -1e30, 127, -127};
  for (const Target& target : binary_targets()) {
    for (int32_t dtype : {MILL_F32, MILL_F64, MILL_BF16}) {
      const int64_t n = static_cast<int64_t>(values.size());
      Tensor a(dtype, {n, n}, {1, 0});
      Tensor b(dtype, {n, n}, {0, 1});
      for (int64_t i = 0; i < n; ++i) {
        a.set(i * n, values[static_cast<size_t>(i)]);
        b.set(i, values[static_cast<size_t>(i)]);
      }
      Tensor out(dtype, {n, n});
      ASSERT_EQ(launch(target.list, MILL_OP_POW, {&a, &b}, {&out}).status, MILL_OK);
      Tensor want(dtype, {n, n});
      for (int64_t i = 0; i < n * n; ++i) want.set(i, std::pow(a[i], b[i]));
      for (int64_t i = 0; i < n * n; ++i) {
        ASSERT_TRUE(close(out[i], want[i], 2 * epsilon_of(dtype), 0))
            << label(target, dtype) << " " << a[i] << " ^ " << b[i] << " is " << out[i]
            << ", expected " << want[i];
        if (want[i] == 0) {
          ASSERT_EQ(std::signbit(out[i]), std::signbit(want[i]))
              << label(target, dtype) << " " << a[i] << " ^ " << b[i];
        }
      }
    }
  }
}

TEST(Binary, PowIsCorrectlyRoundedInF32AlmostEverywhere) {
  constexpr int64_t kCount = 20000;
  for (const Target& target : binary_targets()) {
    std::mt19937_64 engine(9);
    std::uniform_real_distribution<double> exponent(-20, 20);
    Tensor a(MILL_F32, {kCount});
    Tensor b(MILL_F32, {kCount});
    Tensor out(MILL_F32, {kCount});
    for (int64_t i = 0; i < kCount; ++i) {
      a.set(i, std::exp2(exponent(engine)));
      b.set(i, exponent(engine) / 3);
    }
    ASSERT_EQ(launch(target.list, MILL_OP_POW, {&a, &b}, {&out}).status, MILL_OK);
    for (int64_t i = 0; i < kCount; ++i) {
      ASSERT_LE(ulps(out.data<float>()[i],
                     std::pow(static_cast<long double>(a[i]), static_cast<long double>(b[i]))),
                0.51)
          << target.name << " " << a[i] << " ^ " << b[i];
    }
  }
}

// ---- integers ----------------------------------------------------------------------------------

template <class T>
T integer_reference(int32_t op, T a, T b) {
  const uint64_t x = static_cast<uint64_t>(a);
  const uint64_t y = static_cast<uint64_t>(b);
  switch (op) {
    case MILL_OP_ADD: return static_cast<T>(x + y);
    case MILL_OP_SUB: return static_cast<T>(x - y);
    case MILL_OP_MUL: return static_cast<T>(x * y);
    case MILL_OP_DIV:
      if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(uint64_t{0} - x);
      return static_cast<T>(a / b);
    case MILL_OP_MAXIMUM: return a > b ? a : b;
    default: return a < b ? a : b;
  }
}

template <class T>
void check_integers(const Target& target, int32_t dtype) {
  const std::vector<T> values = {1,
                                 static_cast<T>(-1),
                                 7,
                                 static_cast<T>(-7),
                                 100,
                                 std::numeric_limits<T>::min(),
                                 std::numeric_limits<T>::max(),
                                 0};
  const int64_t n = static_cast<int64_t>(values.size());
  for (int32_t op :
       {MILL_OP_ADD, MILL_OP_SUB, MILL_OP_MUL, MILL_OP_DIV, MILL_OP_MAXIMUM, MILL_OP_MINIMUM}) {
    for (bool spread : {false, true}) {
      Tensor a(dtype, {n, n}, {spread ? 2 : 1, 0});
      Tensor b = spread ? Tensor(dtype, {n, n}, {0, 1}) : Tensor(dtype, {n, n});
      for (int64_t i = 0; i < n; ++i)
        a.data<T>()[i * (spread ? 2 : 1)] = values[static_cast<size_t>(i)];
      for (int64_t i = 0; i < n * n; ++i) {
        T v = values[static_cast<size_t>(i % n)];
        if (op == MILL_OP_DIV && v == 0) v = 3;
        b.data<T>()[b.offset(i)] = v;
      }
      Tensor out(dtype, {n, n});
      ASSERT_EQ(launch(target.list, op, {&a, &b}, {&out}).status, MILL_OK);
      for (int64_t i = 0; i < n * n; ++i) {
        const T x = a.data<T>()[a.offset(i)];
        const T y = b.data<T>()[b.offset(i)];
        ASSERT_EQ(out.data<T>()[i], integer_reference(op, x, y))
            << label(target, dtype) << " op " << op << " of " << +x << " and " << +y;
      }
    }
  }
}

TEST(Binary, IntegersWrapAndDivideTowardZero) {
  for (const Target& target : binary_targets()) {
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

TEST(Binary, IntegerDivisionByZeroNamesTheElementAndWritesNothing) {
  for (const Target& target : binary_targets()) {
    for (int32_t dtype : {MILL_I8, MILL_U8, MILL_I32, MILL_I64}) {
      Tensor a(dtype, {4, 10});
      Tensor b(dtype, {4, 10});
      for (int64_t i = 0; i < 40; ++i) {
        a.set(i, 6);
        b.set(i, i == 17 || i == 30 ? 0 : 2);
      }
      Tensor out(dtype, {4, 10});
      const Launch result = launch(target.list, MILL_OP_DIV, {&a, &b}, {&out});
      EXPECT_EQ(result.status, MILL_E_ARG);
      EXPECT_EQ(result.text, "division by zero at element 17 of b");
      EXPECT_TRUE(out.untouched());

      Tensor row(dtype, {4, 10}, {0, 1});
      for (int64_t i = 0; i < 10; ++i) row.set(i, i == 3 ? 0 : 1);
      EXPECT_EQ(launch(target.list, MILL_OP_DIV, {&a, &row}, {&a}).text,
                "division by zero at element 3 of b");
      for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(a[i], 6);

      Tensor column(dtype, {4, 10}, {2, 0});
      for (int64_t i = 0; i < 4; ++i) column.set(i * 10, i == 2 ? 0 : 1);
      EXPECT_EQ(launch(target.list, MILL_OP_DIV, {&a, &column}, {&out}).text,
                "division by zero at element 2 of b");

      Tensor none_a(dtype, {0});
      Tensor none_b(dtype, {0});
      Tensor none(dtype, {0});
      EXPECT_EQ(launch(target.list, MILL_OP_DIV, {&none_a, &none_b}, {&none}).status, MILL_OK);
    }
  }
}

TEST(Binary, FloatDivisionByZeroIsInfinite) {
  for (const Target& target : binary_targets()) {
    for (int32_t dtype : float_dtypes()) {
      Tensor a = Tensor::of(dtype, {3}, {1, -1, 0});
      Tensor b = Tensor::of(dtype, {3}, {0, 0, 0});
      Tensor out(dtype, {3});
      ASSERT_EQ(launch(target.list, MILL_OP_DIV, {&a, &b}, {&out}).status, MILL_OK);
      EXPECT_EQ(out[0], HUGE_VAL);
      EXPECT_EQ(out[1], -HUGE_VAL);
      EXPECT_TRUE(std::isnan(out[2]));
    }
  }
}

// ---- compare -----------------------------------------------------------------------------------

bool relation_holds(int64_t relation, double a, double b) {
  switch (relation) {
    case 0: return a == b;
    case 1: return a != b;
    case 2: return a < b;
    case 3: return a <= b;
    case 4: return a > b;
    default: return a >= b;
  }
}

void check_compare(const Target& target, int32_t dtype, const Shape& shape, int64_t relation) {
  Tensor a(dtype, shape.dims, shape.a);
  Tensor b(dtype, shape.dims, shape.b);
  const std::vector<double> values = {0, 1, 2, 1, 100};
  const bool floating = is_floating(dtype);
  for (int64_t i = 0; i < a.numel(); ++i) {
    a.set(i, floating && i % 7 == 3 ? std::nan("") : values[static_cast<size_t>(i * 3 % 5)]);
    b.set(i, floating && i % 11 == 5 ? std::nan("") : values[static_cast<size_t>(i % 5)]);
  }
  Tensor out(MILL_BOOL, shape.dims, shape.out);
  ASSERT_EQ(launch(target.list, MILL_OP_COMPARE, {&a, &b}, {&out}, {int_attr(relation)}).status,
            MILL_OK);
  for (int64_t i = 0; i < a.numel(); ++i) {
    const uint8_t got = out.data<uint8_t>()[out.offset(i)];
    ASSERT_EQ(got, relation_holds(relation, a[i], b[i]) ? 1 : 0)
        << label(target, dtype, shape.name) << " relation " << relation << " of " << a[i] << " and "
        << b[i];
  }
}

TEST(Compare, MatchesTheReferenceOnEveryShapeAndDtype) {
  for (const Target& target : binary_targets()) {
    for (int32_t dtype : {MILL_F32, MILL_F64, MILL_BF16, MILL_F16, MILL_U8, MILL_I8, MILL_I16,
                          MILL_I32, MILL_I64}) {
      for (const Shape& shape : shapes()) {
        for (int64_t relation = 0; relation < 6; ++relation)
          check_compare(target, dtype, shape, relation);
      }
    }
  }
}

TEST(Compare, OrdersUnsigned64AndSigned64OverTheirWholeRange) {
  for (const Target& target : binary_targets()) {
    Tensor a(MILL_U64, {2});
    Tensor b(MILL_U64, {2});
    a.data<uint64_t>()[0] = 0xffffffffffffffffu;
    a.data<uint64_t>()[1] = 1;
    b.data<uint64_t>()[0] = 1;
    b.data<uint64_t>()[1] = 0xfffffffffffffffeu;
    Tensor out(MILL_BOOL, {2});
    ASSERT_EQ(launch(target.list, MILL_OP_COMPARE, {&a, &b}, {&out}, {int_attr(4)}).status,
              MILL_OK);
    EXPECT_EQ(out.data<uint8_t>()[0], 1);
    EXPECT_EQ(out.data<uint8_t>()[1], 0);
  }
}

TEST(Compare, BooleansF8AndComplexValuesCompare) {
  for (const Target& target : binary_targets()) {
    Tensor a(MILL_BOOL, {3});
    Tensor b(MILL_BOOL, {3});
    const uint8_t truths[] = {0, 1, 255, 1, 1, 1};
    std::memcpy(a.data<uint8_t>(), truths, 3);
    std::memcpy(b.data<uint8_t>(), truths + 3, 3);
    Tensor out(MILL_BOOL, {3});
    ASSERT_EQ(launch(target.list, MILL_OP_COMPARE, {&a, &b}, {&out}, {int_attr(0)}).status,
              MILL_OK);
    EXPECT_EQ(out.data<uint8_t>()[0], 0);
    EXPECT_EQ(out.data<uint8_t>()[1], 1);
    EXPECT_EQ(out.data<uint8_t>()[2], 1) << "any byte but zero is true";

    Tensor p(MILL_F8E4M3, {2});
    Tensor q(MILL_F8E4M3, {2});
    p.data<f8e4m3>()[0] = to_f8e4m3(0.5f);
    p.data<f8e4m3>()[1] = to_f8e4m3(-2.0f);
    q.data<f8e4m3>()[0] = q.data<f8e4m3>()[1] = to_f8e4m3(0.25f);
    Tensor less(MILL_BOOL, {2});
    ASSERT_EQ(launch(target.list, MILL_OP_COMPARE, {&p, &q}, {&less}, {int_attr(2)}).status,
              MILL_OK);
    EXPECT_EQ(less.data<uint8_t>()[0], 0);
    EXPECT_EQ(less.data<uint8_t>()[1], 1);

    Tensor x(MILL_C64, {2});
    Tensor y(MILL_C64, {2});
    const float left[] = {1, 2, 1, 2};
    const float right[] = {1, 2, 1, 3};
    std::memcpy(x.data<float>(), left, sizeof(left));
    std::memcpy(y.data<float>(), right, sizeof(right));
    Tensor same(MILL_BOOL, {2});
    ASSERT_EQ(launch(target.list, MILL_OP_COMPARE, {&x, &y}, {&same}, {int_attr(0)}).status,
              MILL_OK);
    EXPECT_EQ(same.data<uint8_t>()[0], 1);
    EXPECT_EQ(same.data<uint8_t>()[1], 0);
    const Launch ordered = launch(target.list, MILL_OP_COMPARE, {&x, &y}, {&same}, {int_attr(2)});
    EXPECT_EQ(ordered.status, MILL_E_ARG);
    EXPECT_EQ(ordered.text, "relation is 2, must be 0 to 1 for complex values");
  }
}

TEST(Compare, AnUnknownRelationIsRefused) {
  for (const Target& target : binary_targets()) {
    Tensor a = Tensor::of(MILL_F32, {1}, {1});
    Tensor out(MILL_BOOL, {1});
    for (int64_t relation : {int64_t{-1}, int64_t{6}, INT64_MAX}) {
      const Launch result =
          launch(target.list, MILL_OP_COMPARE, {&a, &a}, {&out}, {int_attr(relation)});
      EXPECT_EQ(result.status, MILL_E_ARG);
      EXPECT_TRUE(out.untouched());
    }
  }
}

// ---- where -------------------------------------------------------------------------------------

TEST(Where, PicksByConditionForEveryElementSize) {
  for (const Target& target : binary_targets()) {
    for (int32_t dtype : {MILL_BOOL, MILL_I8, MILL_F8E5M2, MILL_BF16, MILL_F32, MILL_I64, MILL_F64,
                          MILL_C64, MILL_C128}) {
      const size_t size = static_cast<size_t>(dtype_size(dtype));
      for (const Shape& shape : shapes()) {
        for (bool broadcast : {false, true}) {
          Tensor condition(MILL_BOOL, shape.dims,
                           broadcast ? std::vector<int64_t>(shape.dims.size(), 0) : shape.a);
          Tensor a(dtype, shape.dims, shape.a);
          Tensor b(dtype, shape.dims, shape.b);
          std::mt19937_64 engine(4);
          for (int64_t i = 0; i < a.numel(); ++i) {
            condition.data<uint8_t>()[condition.offset(i)] = static_cast<uint8_t>(engine() % 3);
            for (size_t k = 0; k < size; ++k) {
              a.data<uint8_t>()[static_cast<size_t>(a.offset(i)) * size + k] =
                  static_cast<uint8_t>(engine());
              b.data<uint8_t>()[static_cast<size_t>(b.offset(i)) * size + k] =
                  static_cast<uint8_t>(engine());
            }
          }
          Tensor out(dtype, shape.dims, shape.out);
          ASSERT_EQ(launch(target.list, MILL_OP_WHERE, {&condition, &a, &b}, {&out}).status,
                    MILL_OK);
          for (int64_t i = 0; i < a.numel(); ++i) {
            const Tensor& taken = condition.data<uint8_t>()[condition.offset(i)] != 0 ? a : b;
            ASSERT_EQ(std::memcmp(out.data<uint8_t>() + static_cast<size_t>(out.offset(i)) * size,
                                  static_cast<const uint8_t*>(taken.view()->data) +
                                      static_cast<size_t>(taken.offset(i)) * size,
                                  size),
                      0)
                << label(target, dtype, shape.name) << " element " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
