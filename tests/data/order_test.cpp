#include "data/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <numeric>
#include <set>
#include <thread>

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

TEST(EpochOrders, AreThoseOfOneThreadForManyAndMoreEpochsThanThereIsRoomFor) {
  constexpr int64_t kRows = 5000;
  const std::atomic<bool> cancelled = false;
  std::vector<std::vector<int64_t>> expected;
  for (uint64_t epoch = 0; epoch < 5; ++epoch) {
    EpochOrder order(kRows, 3, true);
    EXPECT_TRUE(order.prepare(3, epoch, cancelled));
    expected.emplace_back(kRows);
    order.copy(0, kRows, expected.back().data());
  }
  EpochOrders orders(kRows, 3, true, 2);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (uint32_t k = 0; k < 4; ++k) {
    threads.emplace_back([&, k] {
      std::vector<int64_t> rows(100);
      for (uint32_t step = 0; step < 200; ++step) {
        const uint64_t epoch = (step / 20 + k) % 5;
        const int64_t first = static_cast<int64_t>((step * 37 + k) % 49) * 100;
        if (!orders.copy(3, epoch, first, 100, rows.data(), cancelled) ||
            !std::equal(rows.begin(), rows.end(), expected[epoch].begin() + first))
          ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(EpochOrders, GiveNothingOnceCancelled) {
  const std::atomic<bool> cancelled = true;
  EpochOrders orders(10, 3, true, 2);
  int64_t row = 77;
  EXPECT_FALSE(orders.copy(3, 0, 0, 1, &row, cancelled));
  EXPECT_EQ(row, 77);
}

TEST(RowKey, DiffersForSeedsEpochsAndRows) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    for (uint64_t epoch = 0; epoch < 4; ++epoch) {
      for (int64_t row = 0; row < 500; ++row) seen.insert(row_key(seed, epoch, row));
    }
  }
  EXPECT_EQ(seen.size(), 4u * 4 * 500);
}

}  // namespace
}  // namespace mill
