#include "trace/ring.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace mill {
namespace {

struct Item {
  uint64_t producer;
  uint64_t value;
};

TEST(Ring, CapacityIsRoundedUpToAPowerOfTwo) {
  EXPECT_EQ(Ring<Item>(1).capacity(), 2u);
  EXPECT_EQ(Ring<Item>(5).capacity(), 8u);
  EXPECT_EQ(SharedRing<Item>(5).capacity(), 8u);
}

TEST(Ring, KeepsOrderOverManyLaps) {
  Ring<Item> ring(8);
  std::array<Item, 8> out;
  uint64_t next_in = 0, next_out = 0;
  for (int lap = 0; lap < 100; ++lap) {
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(ring.push({0, next_in++}));
    const uint64_t limit = ring.limit();
    ASSERT_EQ(ring.pending(limit), 5u);
    ASSERT_EQ(ring.pop(out.data(), out.size(), limit), 5u);
    for (int i = 0; i < 5; ++i) ASSERT_EQ(out[static_cast<size_t>(i)].value, next_out++);
  }
  EXPECT_EQ(ring.dropped(), 0u);
}

TEST(Ring, FullRingDropsTheNewestAndCountsExactly) {
  Ring<Item> ring(8);
  for (uint64_t i = 0; i < 21; ++i) EXPECT_EQ(ring.push({0, i}), i < 8);
  EXPECT_EQ(ring.dropped(), 13u);
  std::array<Item, 8> out;
  ASSERT_EQ(ring.pop(out.data(), 3, ring.limit()), 3u);
  EXPECT_EQ(out[2].value, 2u);
  for (uint64_t i = 100; i < 104; ++i) EXPECT_EQ(ring.push({0, i}), i < 103);
  EXPECT_EQ(ring.dropped(), 14u);
  ASSERT_EQ(ring.pop(out.data(), 8, ring.limit()), 8u);
  EXPECT_EQ(out[0].value, 3u);
  EXPECT_EQ(out[5].value, 100u);
  EXPECT_EQ(out[7].value, 102u);
}

TEST(Ring, RingsWhenHalfOfItWaits) {
  Alarm alarm;
  Ring<Item> ring(16, &alarm);
  std::array<Item, 16> out;
  uint64_t next = 0;
  const auto rung_after = [&] {
    for (uint64_t pushed = 1; pushed <= 16; ++pushed) {
      EXPECT_TRUE(ring.push({0, next++}));
      if (alarm.sleep(0)) return pushed;
    }
    return uint64_t{0};
  };
  EXPECT_EQ(rung_after(), 9u) << "eight wait when the ninth is asked for";
  ASSERT_EQ(ring.pop(out.data(), 8, ring.limit()), 8u);
  // One is left. Looked at where the ring would have been full had nobody taken any.
  EXPECT_EQ(rung_after(), 8u);
  ASSERT_EQ(ring.pop(out.data(), 16, ring.limit()), 9u);
  EXPECT_EQ(ring.dropped(), 0u);
  EXPECT_FALSE(alarm.sleep(0));
}

TEST(Ring, PopStopsAtTheLimitItWasGiven) {
  Ring<Item> ring(8);
  ring.push({0, 1});
  const uint64_t limit = ring.limit();
  ring.push({0, 2});
  std::array<Item, 8> out;
  EXPECT_EQ(ring.pop(out.data(), 8, limit), 1u);
  EXPECT_EQ(ring.pop(out.data(), 8, limit), 0u);
  EXPECT_EQ(ring.pop(out.data(), 8, ring.limit()), 1u);
}

TEST(Ring, NothingIsPublishedBeforeCommit) {
  Ring<Item> ring(4);
  Item* slot = ring.claim();
  ASSERT_NE(slot, nullptr);
  *slot = {7, 7};
  EXPECT_EQ(ring.pending(ring.limit()), 0u);
  ring.commit();
  EXPECT_EQ(ring.pending(ring.limit()), 1u);
}

TEST(Ring, ProducerAndConsumerThreadsConserveTheTotal) {
  constexpr uint64_t kItems = 200000;
  Ring<Item> ring(256);
  std::atomic<bool> done{false};
  std::thread producer([&] {
    for (uint64_t i = 1; i <= kItems; ++i) ring.push({0, i});
    done.store(true, std::memory_order_release);
  });
  uint64_t received = 0, last = 0;
  std::array<Item, 64> out;
  for (;;) {
    const bool finished = done.load(std::memory_order_acquire);
    const uint64_t count = ring.pop(out.data(), out.size(), ring.limit());
    for (uint64_t i = 0; i < count; ++i) {
      ASSERT_GT(out[i].value, last);
      last = out[i].value;
    }
    received += count;
    if (finished && count == 0) break;
  }
  producer.join();
  EXPECT_EQ(received + ring.dropped(), kItems);
}

TEST(SharedRing, FullRingDropsTheNewestAndCountsExactly) {
  SharedRing<Item> ring(4);
  std::array<Item, 4> out;
  for (int lap = 0; lap < 3; ++lap) {
    for (uint64_t i = 0; i < 6; ++i) EXPECT_EQ(ring.push({0, i}), i < 4);
    ASSERT_EQ(ring.pop(out.data(), 4, ring.limit()), 4u);
    for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(out[i].value, i);
  }
  EXPECT_EQ(ring.dropped(), 6u);
}

TEST(SharedRing, RingsBeforeThreeQuartersWait) {
  Alarm alarm;
  SharedRing<Item> ring(64, &alarm);
  std::array<Item, 64> out;
  uint64_t lap = 0;
  for (const uint64_t taken : {64, 40, 64, 33, 64, 64, 17, 64}) {
    uint64_t waiting = ring.pending(ring.limit());
    bool rung = false;
    for (; waiting < 64 && !rung; ++waiting) {
      ASSERT_TRUE(ring.push({0, waiting}));
      rung = alarm.sleep(0);
    }
    EXPECT_TRUE(rung) << lap;
    EXPECT_GE(waiting, 32u) << lap;
    EXPECT_LE(waiting, 48u) << lap;
    ring.pop(out.data(), taken, ring.limit());
    ++lap;
  }
}

// What is taken while it lasts: nobody is called.
TEST(SharedRing, DoesNotRingWhereLittleWaits) {
  Alarm alarm;
  SharedRing<Item> ring(64, &alarm);
  std::array<Item, 64> out;
  for (uint64_t k = 0; k < 1000; ++k) {
    ring.push({0, k});
    if (k % 20 == 0) ring.pop(out.data(), 64, ring.limit());
  }
  EXPECT_FALSE(alarm.sleep(0));
}

TEST(SharedRing, FourProducersConserveTheTotalAndEachOnesOrder) {
  constexpr uint64_t kEach = 50000, kProducers = 4;
  SharedRing<Item> ring(512);
  std::atomic<uint64_t> running{kProducers};
  std::vector<std::thread> producers;
  for (uint64_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (uint64_t i = 1; i <= kEach; ++i) ring.push({p, i});
      running.fetch_sub(1, std::memory_order_release);
    });
  }
  std::array<uint64_t, kProducers> last{};
  uint64_t received = 0;
  std::array<Item, 64> out;
  for (;;) {
    const bool finished = running.load(std::memory_order_acquire) == 0;
    const uint64_t count = ring.pop(out.data(), out.size(), ring.limit());
    for (uint64_t i = 0; i < count; ++i) {
      ASSERT_LT(out[i].producer, kProducers);
      ASSERT_GT(out[i].value, last[out[i].producer]);
      last[out[i].producer] = out[i].value;
    }
    received += count;
    if (finished && count == 0) break;
  }
  for (auto& thread : producers) thread.join();
  EXPECT_EQ(received + ring.dropped(), kEach * kProducers);
}

}  // namespace
}  // namespace mill
