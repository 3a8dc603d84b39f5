#include "profiler/timeline/period.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace mill::prof {
namespace {

std::vector<uint32_t> names_of(std::string_view text) {
  return {text.begin(), text.end()};
}

Period period_of(std::string_view text) {
  return find_period(names_of(text));
}

TEST(Period, OfAPlainRepetition) {
  const Period p = period_of("abcabcabcabc");
  EXPECT_EQ(p.first, 0u);
  EXPECT_EQ(p.length, 3u);
  EXPECT_EQ(p.count, 4u);
}

TEST(Period, PrologueAndEpilogueAreNotPartOfIt) {
  const Period p = period_of(
      "xyzw"
      "abcabcabcabc"
      "qrs");
  EXPECT_EQ(p.first, 4u);
  EXPECT_EQ(p.length, 3u);
  EXPECT_EQ(p.count, 4u);
}

TEST(Period, ABrokenLastPeriodDoesNotCount) {
  const Period p = period_of("abcdabcdabcdab");
  EXPECT_EQ(p.length, 4u);
  EXPECT_EQ(p.count, 3u);
}

TEST(Period, ThreeTimesAreNeeded) {
  EXPECT_EQ(period_of("abcabc").length, 0u);
  EXPECT_EQ(period_of("abcdefabcdef").length, 0u);
  EXPECT_EQ(period_of("ababab").length, 2u);
}

TEST(Period, HalfOfTheNamesAreNeeded) {
  EXPECT_EQ(period_of("ababab"
                      "uvwxyz")
                .length,
            2u);
  EXPECT_EQ(period_of("ababab"
                      "uvwxyzt")
                .length,
            0u);
  EXPECT_EQ(period_of("uvwxyz"
                      "ababab")
                .length,
            2u);
  EXPECT_EQ(period_of("tuvwxyz"
                      "ababab")
                .length,
            0u);
}

TEST(Period, OneNameOverAndOverIsNoPeriod) {
  EXPECT_EQ(period_of("aaaaaaaaaaaa").length, 0u);
  EXPECT_EQ(period_of("xaaaaaaaaaaaay").length, 0u);
}

TEST(Period, NamesMayComeTwiceInAPeriod) {
  const Period p = period_of("aabaabaabaab");
  EXPECT_EQ(p.length, 3u);
  EXPECT_EQ(p.count, 4u);
}

TEST(Period, LayersInsideAStepAreNotTheStep) {
  // Each step has four equal layers between its first and last kernel.
  const Period p = period_of(
      "s"
      "lmlmlmlm"
      "e"
      "s"
      "lmlmlmlm"
      "e"
      "s"
      "lmlmlmlm"
      "e");
  EXPECT_EQ(p.length, 10u);
  EXPECT_EQ(p.count, 3u);
}

TEST(Period, TooShortSequences) {
  for (const char* text : {"", "a", "ab", "aba", "abab", "ababa"})
    EXPECT_EQ(period_of(text).length, 0u) << text;
}

// The definition, tried for every distance and place.
Period slow_period(const std::vector<uint32_t>& names) {
  const size_t n = names.size();
  for (size_t p = 2; 3 * p <= n; ++p) {
    for (size_t first = 0; first + p < n;) {
      size_t end = first;
      while (end + p < n && names[end] == names[end + p]) ++end;
      const size_t length = end > first ? end - first + p : 0;
      bool same = true;
      for (size_t k = first + 1; k < first + length; ++k) same &= names[k] == names[first];
      if (length >= 3 * p && 2 * length >= n && !same) return {first, p, length / p};
      first = end + 1;
    }
  }
  return {};
}

TEST(Period, IsTheOneOfTheDefinition) {
  std::mt19937 random(1);
  size_t found = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint32_t> names;
    const auto some = [&](size_t most, uint32_t kinds) {
      std::vector<uint32_t> out(random() % (most + 1));
      for (uint32_t& one : out) one = static_cast<uint32_t>(random() % kinds);
      return out;
    };
    const auto add = [&](const std::vector<uint32_t>& more) {
      names.insert(names.end(), more.begin(), more.end());
    };
    add(some(12, 3));
    const std::vector<uint32_t> body = some(8, 3);
    const size_t times = random() % 8;
    for (size_t k = 0; k < times; ++k) add(body);
    add(some(12, 3));
    const Period fast = find_period(names);
    const Period slow = slow_period(names);
    ASSERT_EQ(fast.length, slow.length);
    if (slow.length == 0) continue;
    ++found;
    ASSERT_EQ(fast.first, slow.first);
    ASSERT_EQ(fast.count, slow.count);
  }
  EXPECT_GT(found, 500u);
}

TEST(Period, OfAMillionNames) {
  std::vector<uint32_t> names;
  for (uint32_t k = 0; k < 1'000'000; ++k) names.push_back(k % 1000);
  const Period p = find_period(names);
  EXPECT_EQ(p.length, 1000u);
  EXPECT_EQ(p.count, 1000u);
}

}  // namespace
}  // namespace mill::prof
