#include "trace/clock.h"

#include <gtest/gtest.h>

namespace mill {
namespace {

TEST(ClockMap, InterpolatesBetweenPairsAndFollowsAChangeOfRate) {
  ClockMap map;
  map.add({1000, 5000});
  map.add({3000, 6000});  // 0.5 ns per tick
  map.add({4000, 8000});  // 2 ns per tick
  EXPECT_EQ(map.ns(1000), 5000u);
  EXPECT_EQ(map.ns(2000), 5500u);
  EXPECT_EQ(map.ns(3000), 6000u);
  EXPECT_EQ(map.ns(3500), 7000u);
  EXPECT_EQ(map.ns(4000), 8000u);
  EXPECT_EQ(map.span_ns(100, 1500), 50u);
  EXPECT_EQ(map.span_ns(100, 3500), 200u);
}

TEST(ClockMap, ExtendsTheFirstAndLastRateOutside) {
  ClockMap map;
  map.add({1000, 5000});
  map.add({3000, 6000});
  EXPECT_EQ(map.ns(800), 4900u);
  EXPECT_EQ(map.ns(3200), 6100u);
}

TEST(ClockMap, IgnoresAPairThatDoesNotAdvance) {
  ClockMap map;
  map.add({1000, 5000});
  map.add({3000, 6000});
  map.add({2000, 7000});
  map.add({3000, 9000});
  map.add({4000, 6000});
  EXPECT_EQ(map.ns(3200), 6100u);
}

TEST(ClockMap, ManyPairsKeepOldTimesAndOrder) {
  ClockMap map;
  // A rate that wavers by 1 %, far more than any clock does.
  uint64_t ns = 0;
  for (uint64_t i = 1; i <= 20000; ++i) {
    ns += i % 2 == 0 ? 505 : 495;
    map.add({i * 1000, ns});
  }
  EXPECT_EQ(map.ns(1000), 495u);
  uint64_t last = 0;
  for (uint64_t t = 1000; t <= 20000000; t += 777) {
    const uint64_t now = map.ns(t);
    ASSERT_GE(now, last);
    ASSERT_NEAR(static_cast<double>(now), static_cast<double>(t) * 0.5, 10.0);
    last = now;
  }
}

TEST(ClockMap, ACursorSaysTheSameInAnyOrder) {
  for (const uint64_t pairs : {1u, 2u, 3u, 4u, 50u}) {
    ClockMap map;
    for (uint64_t i = 1; i <= pairs; ++i) map.add({i * 1000, i * 500 + i % 7});
    ClockMap::Cursor cursor(map);
    uint64_t state = 1;
    for (int k = 0; k < 5000; ++k) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const uint64_t ticks = 500 + (state >> 33) % (pairs * 1000 + 1000);
      ASSERT_EQ(cursor.ns(ticks), map.ns(ticks)) << pairs << " pairs, " << ticks;
      ASSERT_EQ(cursor.span_ns(300, ticks), map.span_ns(300, ticks)) << ticks;
    }
  }
}

TEST(ClockMap, WithoutACounterTicksAreNanoseconds) {
  const TraceClock clock(false);
  const TraceClock::Pair pair = clock.pair();
  EXPECT_EQ(pair.ticks, pair.ns);
  ClockMap map;
  map.add(pair);
  EXPECT_EQ(map.ns(pair.ticks + 12345), pair.ns + 12345);
}

}  // namespace
}  // namespace mill
