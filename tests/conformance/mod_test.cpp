// What division leaves and powers of integers, at the edges, on the device under test.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "conformance/problem.h"

namespace mill_test {
namespace {

class Mod : public testing::Test {
 protected:
  template <class T>
  std::vector<T> run(int32_t op, const std::vector<T>& a, const std::vector<T>& b) {
    const Tensor x = make<T>(w_, {static_cast<int64_t>(a.size())}, a);
    const Tensor y = make<T>(w_, {static_cast<int64_t>(b.size())}, b);
    mill_tensor* const in[] = {x.get(), y.get()};
    Tensor out;
    w_.ok(mill_op_invoke(w_.exec(), op, in, 2, nullptr, 0, out.out(), 1, w_.error()));
    return values_of<T>(w_, out.get());
  }

  World& w_ = world();
};

TEST_F(Mod, SignsOfIntegers) {
  const std::vector<int32_t> a = {7, -7, 7, -7, 6, -6, std::numeric_limits<int32_t>::min()};
  const std::vector<int32_t> b = {3, 3, -3, -3, 3, -3, -1};
  EXPECT_EQ(run(MILL_OP_REMAINDER, a, b), (std::vector<int32_t>{1, 2, -2, -1, 0, 0, 0}));
  EXPECT_EQ(run(MILL_OP_FMOD, a, b), (std::vector<int32_t>{1, -1, 1, -1, 0, 0, 0}));
  EXPECT_EQ(run<uint8_t>(MILL_OP_REMAINDER, {255, 200}, {7, 201}), (std::vector<uint8_t>{3, 200}));
}

TEST_F(Mod, SignsAndEdgesOfFloats) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> a = {7.5f, -7.5f, 7.5f, -7.5f, 1, -1, 1e30f};
  const std::vector<float> b = {2, 2, -2, -2, infinity, infinity, 3};
  const std::vector<float> rest = run(MILL_OP_FMOD, a, b);
  EXPECT_EQ(rest, (std::vector<float>{1.5f, -1.5f, 1.5f, -1.5f, 1, -1, std::fmod(1e30f, 3.0f)}));
  const std::vector<float> python = run(MILL_OP_REMAINDER, a, b);
  EXPECT_EQ(python,
            (std::vector<float>{1.5f, 0.5f, -0.5f, -1.5f, 1, infinity, std::fmod(1e30f, 3.0f)}));
  for (const float x : run<float>(MILL_OP_REMAINDER, {1, infinity, NAN, 1}, {0, 2, 1, NAN}))
    EXPECT_TRUE(std::isnan(x));
}

// C's fmod is exact, also beside multiples of b, where a quotient rounds up.
template <class T>
void fill_pairs(std::vector<T>* a, std::vector<T>* b) {
  std::mt19937 random(7);
  std::uniform_real_distribution<T> size(-1, 1);
  for (int i = 0; i < 3000; ++i) {
    const T divisor = size(random) * std::exp2(static_cast<T>(static_cast<int>(random() % 9)) - 4);
    const T times = std::trunc(size(random) * std::exp2(static_cast<T>(random() % 26)));
    const T near = divisor * times;
    b->push_back(divisor == 0 ? T(1) : divisor);
    switch (i % 3) {
      case 0: a->push_back(near); break;
      case 1: a->push_back(std::nextafter(near, T(0))); break;
      default: a->push_back(size(random) * 100); break;
    }
  }
}

template <class T>
void expect_exact(const std::vector<T>& a, const std::vector<T>& b, const std::vector<T>& got) {
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(got[i], std::fmod(a[i], b[i])) << a[i] << " by " << b[i];
}

TEST_F(Mod, IsExactBesideMultiples) {
  std::vector<float> a, b;
  fill_pairs(&a, &b);
  expect_exact(a, b, run(MILL_OP_FMOD, a, b));
  std::vector<double> c, d;
  fill_pairs(&c, &d);
  expect_exact(c, d, run(MILL_OP_FMOD, c, d));
}

TEST_F(Mod, PowersOfIntegersWrap) {
  EXPECT_EQ(run<int64_t>(MILL_OP_POW, {2, -3, 10, 0, 7}, {62, 3, 18, 0, 1}),
            (std::vector<int64_t>{int64_t{1} << 62, -27, 1000000000000000000, 1, 7}));
  EXPECT_EQ(run<int8_t>(MILL_OP_POW, {2, 3, -1, 1, -1, 0, 5}, {7, 5, -3, -9, -2, -1, -1}),
            (std::vector<int8_t>{-128, -13, -1, 1, 1, 0, 0}));
}

TEST_F(Mod, AZeroDivisorIsRefused) {
  const Tensor x = make<int32_t>(w_, {3}, {1, 2, 3});
  const Tensor y = make<int32_t>(w_, {3}, {1, 0, 3});
  Tensor out;
  mill_status status = mill_remainder(w_.exec(), x.get(), y.get(), out.out(), w_.error());
  if (status == MILL_OK) status = mill_exec_wait(w_.exec(), w_.error());
  EXPECT_EQ(status, MILL_E_ARG);
}

}  // namespace
}  // namespace mill_test
