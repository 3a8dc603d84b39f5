// What sort and topk promise beyond their samples, on the device under test.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "conformance/problem.h"

namespace mill_test {
namespace {

struct Ordered {
  Tensor out, index;
};

class Order : public testing::Test {
 protected:
  Ordered sort(const Tensor& x, int64_t axis, bool descending) {
    Ordered o;
    w_.ok(mill_sort(w_.exec(), x.get(), axis, descending, o.out.out(), o.index.out(), w_.error()));
    return o;
  }
  Ordered topk(const Tensor& x, int64_t k, int64_t axis, bool largest) {
    Ordered o;
    w_.ok(mill_topk(w_.exec(), x.get(), k, axis, largest, o.out.out(), o.index.out(), w_.error()));
    return o;
  }

  // Lines of n values with few different ones, along axis 1 of [2, n, inner].
  template <class T>
  void check(int64_t n, int64_t inner, int64_t k, int32_t values) {
    std::mt19937 random(static_cast<unsigned>(n));
    std::vector<T> all(static_cast<size_t>(2 * n * inner));
    for (T& v : all)
      v = static_cast<T>(static_cast<int32_t>(random() % 100000) % values - values / 3);
    const Tensor x = make<T>(w_, {2, n, inner}, all);
    for (const bool descending : {false, true}) {
      const Ordered whole = sort(x, 1, descending);
      const Ordered some = topk(x, k, 1, descending);
      const std::vector<T> out = values_of<T>(w_, whole.out.get());
      const std::vector<int64_t> index = values_of<int64_t>(w_, whole.index.get());
      const std::vector<T> best = values_of<T>(w_, some.out.get());
      const std::vector<int64_t> place = values_of<int64_t>(w_, some.index.get());
      for (int64_t line = 0; line < 2 * inner; ++line) {
        const auto at = [&](int64_t i, int64_t size) {
          return static_cast<size_t>((line / inner * size + i) * inner + line % inner);
        };
        std::vector<int64_t> order(static_cast<size_t>(n));
        std::iota(order.begin(), order.end(), int64_t{0});
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
          return descending ? all[at(a, n)] > all[at(b, n)] : all[at(a, n)] < all[at(b, n)];
        });
        for (int64_t i = 0; i < n; ++i) {
          const int64_t want = order[static_cast<size_t>(i)];
          ASSERT_EQ(index[at(i, n)], want) << "element " << i << " of line " << line;
          ASSERT_EQ(out[at(i, n)], all[at(want, n)]);
          if (i >= k) continue;
          ASSERT_EQ(place[at(i, k)], want) << "element " << i << " of line " << line;
          ASSERT_EQ(best[at(i, k)], all[at(want, n)]);
        }
      }
    }
  }

  World& w_ = world();
};

TEST_F(Order, LinesOfEveryLength) {
  for (const int64_t n : {1, 2, 31, 33, 100}) check<float>(n, 3, (n + 1) / 2, 20);
  check<uint8_t>(70, 1, 69, 7);
  check<int64_t>(70, 1, 1, 50000);
}

TEST_F(Order, LinesLongerThanABlockSorts) {
  check<float>(2049, 1, 5, 50000);
  check<int8_t>(3000, 2, 2500, 90);
  check<double>(2100, 1, 300, 40);
}

TEST_F(Order, NanIsLastAndZerosAreEqual) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor x = make<float>(w_, {8}, {nan, 0.0f, infinity, -0.0f, -nan, -infinity, 1, 0.0f});
  EXPECT_EQ(values_of<int64_t>(w_, sort(x, 0, false).index.get()),
            (std::vector<int64_t>{5, 1, 3, 7, 6, 2, 0, 4}));
  EXPECT_EQ(values_of<int64_t>(w_, sort(x, 0, true).index.get()),
            (std::vector<int64_t>{0, 4, 2, 6, 1, 3, 7, 5}));
  EXPECT_EQ(values_of<int64_t>(w_, topk(x, 3, 0, true).index.get()),
            (std::vector<int64_t>{0, 4, 2}));
  EXPECT_EQ(values_of<int64_t>(w_, topk(x, 3, 0, false).index.get()),
            (std::vector<int64_t>{5, 1, 3}));
  EXPECT_TRUE(std::signbit(values_of<float>(w_, sort(x, 0, false).out.get())[2]));
}

}  // namespace
}  // namespace mill_test
