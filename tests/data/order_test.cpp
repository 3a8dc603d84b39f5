#include "data/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

namespace mill {
namespace {

std::vector<int64_t> order_of(int64_t rows, uint64_t seed, uint64_t epoch) {
  EpochOrder order(rows, seed, true);
  const std::atomic<bool> cancelled = false;
  order.prepare(seed, epoch, cancelled);
  std::vector<int64_t> result(static_cast<size_t>(rows));
  order.copy(0, rows, result.data());
  return result;
}

TEST(CounterRandom, IsAFunctionOfSeedStreamAndCounter) {
  const CounterRandom random(1, 2);
  const uint64_t later = random.at(1000);
  EXPECT_EQ(CounterRandom(1, 2).at(1000), later);
  EXPECT_NE(CounterRandom(2, 1).at(1000), later);
  EXPECT_NE(CounterRandom(1, 3).at(1000), later);
  EXPECT_NE(random.at(1001), later);
}

TEST(EpochOrder, IsAPermutation) {
  for (const int64_t rows : {1, 2, 3, 1000, 200000}) {
    std::vector<int64_t> order = order_of(rows, 5, 0);
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < rows; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
  }
}

TEST(EpochOrder, DependsOnSeedAndEpochOnly) {
  EpochOrder order(100, 9, true);
  const std::atomic<bool> cancelled = false;
  std::vector<int64_t> result(100);
  order.prepare(9, 7, cancelled);
  order.prepare(9, 3, cancelled);
  order.copy(0, 100, result.data());
  EXPECT_EQ(result, order_of(100, 9, 3));
  EXPECT_NE(result, order_of(100, 9, 4));
  EXPECT_NE(result, order_of(100, 10, 3));
}

// Frozen: a position saved by one version must give the same batches in the next.
TEST(EpochOrder, KeepsItsValuesBetweenVersions) {
  EXPECT_EQ(order_of(8, 42, 0), (std::vector<int64_t>{7, 5, 3, 1, 2, 4, 0, 6}));
  EXPECT_EQ(order_of(8, 42, 1), (std::vector<int64_t>{1, 4, 7, 3, 0, 5, 6, 2}));
}

TEST(EpochOrder, IsTheIdentityWithoutShuffling) {
  EpochOrder order(10, 3, false);
  const std::atomic<bool> cancelled = false;
  order.prepare(3, 1, cancelled);
  std::vector<int64_t> result(4);
  order.copy(5, 4, result.data());
  EXPECT_EQ(result, (std::vector<int64_t>{5, 6, 7, 8}));
}

// The 24 orders of 4 rows over 24,000 epochs: 1,000 each, so chi-squared with 23 degrees of freedom
// exceeds 49.7 with probability 0.001 for a fair shuffle; a shuffle that swaps with any of all rows
// (a common mistake) gives thousands.
TEST(EpochOrder, IsUniform) {
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t epoch = 0; epoch < 24000; ++epoch) ++counts[order_of(4, 123, epoch)];
  ASSERT_EQ(counts.size(), 24u);
  double chi = 0;
  for (const auto& [order, count] : counts) chi += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi, 49.7);
}

}  // namespace
}  // namespace mill
