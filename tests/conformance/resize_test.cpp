// What resizing promises beyond its samples, on the device under test.
#include <gtest/gtest.h>

#include "conformance/problem.h"

namespace mill_test {
namespace {

class Resize : public testing::Test {
 protected:
  Tensor resize(const Tensor& x, const Dims& sizes, int64_t mode) {
    Tensor out;
    w_.ok(mill_resize(w_.exec(), x.get(), sizes.data(), static_cast<uint32_t>(sizes.size()),
                      nullptr, 0, mode, MILL_RESIZE_HALF_PIXEL, 0, -0.75, 0, out.out(),
                      w_.error()));
    return out;
  }
  Tensor gradient(const Tensor& g, const Dims& dims, int64_t mode) {
    Tensor out;
    w_.ok(mill_resize_backward(w_.exec(), g.get(), dims.data(), static_cast<uint32_t>(dims.size()),
                               nullptr, 0, mode, MILL_RESIZE_HALF_PIXEL, 0, -0.75, 0, out.out(),
                               w_.error()));
    return out;
  }
  static std::vector<double> numbers(int64_t n) {
    std::vector<double> values(static_cast<size_t>(n));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i * 7919 % 101) - 50;
    return values;
  }
  void expect_near(const Tensor& a, const Tensor& b) {
    const std::vector<double> left = values_of<double>(w_, a.get());
    const std::vector<double> right = values_of<double>(w_, b.get());
    ASSERT_EQ(left.size(), right.size());
    for (size_t i = 0; i < left.size(); ++i) ASSERT_NEAR(left[i], right[i], 1e-11) << i;
  }

  World& w_ = world();
};

// Channels last: the same values in the other order of memory, and the result in that order.
TEST_F(Resize, ChannelsLastGivesTheSame) {
  const Tensor last = make<double>(w_, {2, 5, 4, 66}, numbers(2 * 5 * 4 * 66));
  const int64_t order[4] = {0, 3, 1, 2};
  Tensor x, dense;
  w_.ok(mill_permute(w_.exec(), last.get(), order, 4, x.out(), w_.error()));
  w_.ok(mill_contiguous(w_.exec(), x.get(), dense.out(), w_.error()));
  for (const int64_t mode : {MILL_RESIZE_NEAREST, MILL_RESIZE_LINEAR, MILL_RESIZE_CUBIC}) {
    const Tensor a = resize(x, {7, 3}, mode);
    expect_near(a, resize(dense, {7, 3}, mode));
    int64_t strides[4] = {};
    uint32_t rank = 0;
    w_.ok(mill_tensor_shape(a.get(), nullptr, strides, 4, &rank, w_.error()));
    EXPECT_EQ(strides[1], 1);
    expect_near(gradient(x, {2, 66, 8, 2}, mode), gradient(dense, {2, 66, 8, 2}, mode));
  }
}

// Lines that are taken in several pieces, and elements that take more than a piece.
TEST_F(Resize, LongLines) {
  constexpr int64_t kLong = 2500;
  const Tensor x = make<double>(w_, {1, 1, kLong}, numbers(kLong));
  for (const int64_t mode : {MILL_RESIZE_NEAREST, MILL_RESIZE_LINEAR, MILL_RESIZE_CUBIC}) {
    expect_near(resize(x, {kLong}, mode), x);
    expect_near(gradient(x, {1, 1, kLong}, mode), x);
    // As lines across memory, which are taken element by element.
    Tensor column;
    const int64_t dims[3] = {1, kLong, 1};
    w_.ok(mill_reshape(w_.exec(), x.get(), dims, 3, column.out(), w_.error()));
    const int64_t order[3] = {0, 2, 1};
    const int64_t doubled[3] = {1, kLong, 2};
    Tensor across, wide;
    w_.ok(mill_expand(w_.exec(), column.get(), doubled, 3, wide.out(), w_.error()));
    w_.ok(mill_contiguous(w_.exec(), wide.get(), column.out(), w_.error()));
    w_.ok(mill_permute(w_.exec(), column.get(), order, 3, across.out(), w_.error()));
    Tensor dense;
    w_.ok(mill_contiguous(w_.exec(), across.get(), dense.out(), w_.error()));
    expect_near(resize(across, {3001}, mode), resize(dense, {3001}, mode));
    expect_near(gradient(across, {1, 2, 2}, mode), gradient(dense, {1, 2, 2}, mode));
  }
}

}  // namespace
}  // namespace mill_test
