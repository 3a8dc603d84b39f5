// What pooling promises beyond its samples, on the device under test.
#include <gtest/gtest.h>

#include <limits>

#include "conformance/problem.h"

namespace mill_test {
namespace {

struct Pooled {
  Tensor out, index;
};

class Pool : public testing::Test {
 protected:
  Pooled pool(const Tensor& x, const Dims& kernel, const Dims& stride, const Dims& padding = {},
              bool ceil_mode = false) {
    Pooled p;
    w_.ok(mill_max_pool(w_.exec(), x.get(), kernel.data(), static_cast<uint32_t>(kernel.size()),
                        stride.data(), static_cast<uint32_t>(stride.size()), padding.data(),
                        static_cast<uint32_t>(padding.size()), nullptr, 0, ceil_mode, p.out.out(),
                        p.index.out(), w_.error()));
    return p;
  }

  World& w_ = world();
};

TEST_F(Pool, TheFirstOfEqualsAndTheFirstNanWin) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = make<float>(w_, {1, 1, 6}, {2, 2, 1, nan, 5, nan});
  const Pooled p = pool(x, {3}, {3});
  const std::vector<float> out = values_of<float>(w_, p.out.get());
  EXPECT_EQ(out[0], 2.0f);
  EXPECT_NE(out[1], out[1]);
  EXPECT_EQ(values_of<int64_t>(w_, p.index.get()), (std::vector<int64_t>{0, 3}));
}

TEST_F(Pool, ValuesBelowAnyPaddingStay) {
  const float low = -std::numeric_limits<float>::infinity();
  const Tensor x = make<float>(w_, {1, 1, 2, 2}, {low, low, low, -3});
  const Pooled p = pool(x, {2, 2}, {1, 1}, {1, 1});
  EXPECT_EQ(values_of<float>(w_, p.out.get()),
            (std::vector<float>{low, low, low, low, -3, -3, low, -3, -3}));
}

// Channels last: the same values in the other order of memory, and the result in that order.
TEST_F(Pool, ChannelsLastGivesTheSame) {
  std::vector<float> values(static_cast<size_t>(2 * 5 * 4 * 70));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7919 % 1009);
  const Tensor last = make<float>(w_, {2, 5, 4, 70}, values);
  const int64_t order[4] = {0, 3, 1, 2};
  Tensor x, dense;
  w_.ok(mill_permute(w_.exec(), last.get(), order, 4, x.out(), w_.error()));
  w_.ok(mill_copy(w_.exec(), x.get(), dense.out(), w_.error()));
  const Pooled a = pool(x, {3, 2}, {2, 2}, {1, 0}, true);
  const Pooled b = pool(dense, {3, 2}, {2, 2}, {1, 0}, true);
  EXPECT_EQ(values_of<float>(w_, a.out.get()), values_of<float>(w_, b.out.get()));
  EXPECT_EQ(values_of<int64_t>(w_, a.index.get()), values_of<int64_t>(w_, b.index.get()));
  int64_t strides[4] = {};
  uint32_t rank = 0;
  w_.ok(mill_tensor_shape(a.out.get(), nullptr, strides, 4, &rank, w_.error()));
  EXPECT_EQ(strides[1], 1);
}

}  // namespace
}  // namespace mill_test
