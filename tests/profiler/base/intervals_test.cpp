#include "profiler/base/intervals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <random>
#include <vector>

namespace mill::prof {
namespace {

// One bit for each instant from 0 to 255: what a set of time is, said naively.
constexpr Ns kEnd = 256;
using Bits = std::bitset<kEnd>;

Bits bits_of(const std::vector<Interval>& intervals) {
  Bits bits;
  for (const Interval& one : intervals) {
    for (Ns t = std::max<Ns>(one.begin, 0); t < std::min(one.end, kEnd); ++t)
      bits.set(static_cast<size_t>(t));
  }
  return bits;
}

Bits bits_of(const IntervalSet& set) {
  return bits_of(std::vector<Interval>(set.parts().begin(), set.parts().end()));
}

std::vector<Interval> random_intervals(std::mt19937& random, size_t most) {
  std::uniform_int_distribution<Ns> at(0, kEnd - 1);
  std::uniform_int_distribution<Ns> length(-4, 30);
  std::uniform_int_distribution<size_t> count(0, most);
  std::vector<Interval> out(count(random));
  for (Interval& one : out) {
    one.begin = at(random);
    one.end = std::min(one.begin + length(random), kEnd);
  }
  return out;
}

void expect_well_formed(const IntervalSet& set) {
  Ns length = 0;
  for (size_t k = 0; k < set.parts().size(); ++k) {
    ASSERT_LT(set.parts()[k].begin, set.parts()[k].end);
    if (k > 0) {
      ASSERT_LT(set.parts()[k - 1].end, set.parts()[k].begin);
    }
    length += set.parts()[k].length();
  }
  ASSERT_EQ(set.length(), length);
}

TEST(Intervals, UnionCountsEveryInstantOnce) {
  // [0, 10) and [5, 15) are 15 together, not 20.
  const IntervalSet set({{5, 15}, {0, 10}, {20, 20}, {30, 25}});
  EXPECT_EQ(set.length(), 15);
  ASSERT_EQ(set.parts().size(), 1u);
  EXPECT_EQ(set.parts()[0], (Interval{0, 15}));
}

TEST(Intervals, AdjacentPartsBecomeOne) {
  EXPECT_EQ(IntervalSet({{0, 10}, {10, 20}}).parts().size(), 1u);
  EXPECT_EQ(IntervalSet({{0, 10}, {11, 20}}).parts().size(), 2u);
}

TEST(Intervals, EmptySet) {
  const IntervalSet set;
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(set.length(), 0);
  EXPECT_EQ(set.overlap({0, 100}), 0);
  EXPECT_EQ(set.end_of(7), 7);
  EXPECT_EQ(set.next(7), INT64_MAX);
  EXPECT_EQ(set.last_end(7), INT64_MIN);
  EXPECT_EQ(set.complement({3, 9}).length(), 6);
  EXPECT_TRUE(set.minus(set).empty());
}

TEST(Intervals, OperationsAreThoseOfABitmap) {
  std::mt19937 random(1);
  for (int round = 0; round < 400; ++round) {
    const std::vector<Interval> first = random_intervals(random, 25);
    const std::vector<Interval> second = random_intervals(random, 25);
    const IntervalSet a(first);
    const IntervalSet b(second);
    const Bits x = bits_of(first);
    const Bits y = bits_of(second);
    const Interval window{static_cast<Ns>(random() % 256), static_cast<Ns>(random() % 257)};
    const Bits inside = bits_of(std::vector<Interval>{window});
    for (const IntervalSet& set : {a, a.united(b), a.intersected(b), a.minus(b),
                                   a.intersected(window), a.complement(window)}) {
      expect_well_formed(set);
    }
    ASSERT_EQ(bits_of(a), x);
    ASSERT_EQ(bits_of(a.united(b)), x | y);
    ASSERT_EQ(bits_of(a.intersected(b)), x & y);
    ASSERT_EQ(bits_of(a.minus(b)), x & ~y);
    ASSERT_EQ(bits_of(a.intersected(window)), x & inside);
    ASSERT_EQ(bits_of(a.complement(window)), ~x & inside);
    ASSERT_EQ(a.overlap(window), static_cast<Ns>((x & inside).count()));
  }
}

TEST(Intervals, QueriesAreThoseOfABitmap) {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    const std::vector<Interval> intervals = random_intervals(random, 12);
    const IntervalSet set(intervals);
    const Bits bits = bits_of(intervals);
    const auto has = [&](Ns t) { return t >= 0 && t < kEnd && bits[static_cast<size_t>(t)]; };
    for (Ns t = -2; t < kEnd + 2; ++t) {
      Ns end = t;
      while (has(end)) ++end;
      ASSERT_EQ(set.end_of(t), end) << t;
      Ns next = t;
      while (next < kEnd && !has(next)) ++next;
      ASSERT_EQ(set.next(t), next < kEnd ? next : INT64_MAX) << t;
      // The last end e <= t: e - 1 is in the set, e is not.
      Ns last = t;
      while (last > 0 && !(has(last - 1) && !has(last))) --last;
      ASSERT_EQ(set.last_end(t), last > 0 ? last : INT64_MIN) << t;
    }
  }
}

TEST(Intervals, LawsOfSets) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const std::vector<Interval> intervals = random_intervals(random, 20);
    const IntervalSet a(intervals);
    const IntervalSet b(random_intervals(random, 20));
    Ns sum = 0;
    for (const Interval& one : intervals) sum += one.length();
    ASSERT_LE(a.length(), sum);
    ASSERT_EQ(a.intersected(b).length() + a.minus(b).length(), a.length());
    ASSERT_EQ(a.united(b).length(), a.length() + b.minus(a).length());
    ASSERT_EQ(a.length() + a.complement({0, kEnd}).length(), kEnd);
  }
}

}  // namespace
}  // namespace mill::prof
