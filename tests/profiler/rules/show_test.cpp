#include <gtest/gtest.h>

#include <cmath>

#include "profiler/rules/rules.h"

namespace mill::prof {
namespace {

TEST(Show, TimesHaveThreeDigitsAndTheUnitThatFits) {
  EXPECT_EQ(show_time(0), "0 ns");
  EXPECT_EQ(show_time(999), "999 ns");
  EXPECT_EQ(show_time(1000), "1.00 us");
  EXPECT_EQ(show_time(12345), "12.3 us");
  EXPECT_EQ(show_time(1.93e6), "1.93 ms");
  EXPECT_EQ(show_time(177592e3), "178 ms");
  EXPECT_EQ(show_time(43.4e9), "43.4 s");
  EXPECT_EQ(show_time(-1.93e6), "-1.93 ms");
}

TEST(Show, RoundingUpNeverShowsAThousandOfAUnit) {
  EXPECT_EQ(show_time(999.6), "1.00 us");
  EXPECT_EQ(show_time(999.6e3), "1.00 ms");
  EXPECT_EQ(show_time(9.996e3), "10.0 us");
  EXPECT_EQ(show_time(99.96e3), "100 us");
  EXPECT_EQ(show_bytes(999.9e6), "1.00 GB");
}

TEST(Show, BytesAndRatesUseDecimalUnits) {
  EXPECT_EQ(show_bytes(1), "1 byte");
  EXPECT_EQ(show_bytes(4), "4 bytes");
  EXPECT_EQ(show_bytes(12.4e6), "12.4 MB");
  EXPECT_EQ(show_bytes(115607040), "116 MB");
  EXPECT_EQ(show_rate(10.06e9), "10.1 GB/s");
  EXPECT_EQ(show_rate(250), "250 B/s");
}

TEST(Show, SharesAreInPercent) {
  EXPECT_EQ(show_share(0), "0 %");
  EXPECT_EQ(show_share(0.3337), "33.4 %");
  EXPECT_EQ(show_share(0.0049), "0.49 %");
  EXPECT_EQ(show_share(0.00001), "< 0.01 %");
  EXPECT_EQ(show_share(1), "100 %");
  EXPECT_EQ(show_share(0.99999), "100 %");
}

TEST(Show, CountsAreGroupedByThousands) {
  EXPECT_EQ(show_count(0), "0");
  EXPECT_EQ(show_count(999), "999");
  EXPECT_EQ(show_count(1000), "1,000");
  EXPECT_EQ(show_count(115607040), "115,607,040");
}

TEST(Show, WhatIsNoNumberIsShownAsUnknown) {
  EXPECT_EQ(show_time(std::nan("")), "?");
  EXPECT_EQ(show_rate(INFINITY), "?");
  EXPECT_EQ(show_share(-INFINITY), "?");
}

TEST(RuleNames, EveryRuleHasAnIdAndAName) {
  EXPECT_STREQ(rule_id_text(RuleId::T1), "T1");
  EXPECT_STREQ(rule_id_text(RuleId::T11), "T11");
  EXPECT_STREQ(rule_id_text(RuleId::C1), "C1");
  EXPECT_STREQ(rule_id_text(RuleId::count), "");
  for (int k = 1; k < static_cast<int>(RuleId::count); ++k) {
    EXPECT_STRNE(rule_id_text(static_cast<RuleId>(k)), "") << k;
    EXPECT_STRNE(rule_name(static_cast<RuleId>(k)), "") << k;
  }
}

TEST(ThresholdNames, EveryLimitCanBeSetByItsName) {
  Thresholds limits;
  double value = 0.25;
  for (const ThresholdInfo& info : threshold_list()) {
    value += 1;
    ASSERT_TRUE(set_threshold(limits, info.name, value)) << info.name;
    EXPECT_EQ(limits.*info.value, value) << info.name;
  }
  EXPECT_EQ(limits.t1_cover, 1.25);
  EXPECT_EQ(limits.min_saving_share, value);
}

TEST(ThresholdNames, UnknownNamesAndImpossibleValuesChangeNothing) {
  Thresholds limits;
  EXPECT_FALSE(set_threshold(limits, "t1_covers", 1));
  EXPECT_FALSE(set_threshold(limits, "", 1));
  EXPECT_FALSE(set_threshold(limits, "t1_cover", -0.1));
  EXPECT_FALSE(set_threshold(limits, "t1_cover", std::nan("")));
  EXPECT_FALSE(set_threshold(limits, "t1_cover", INFINITY));
  EXPECT_EQ(limits.t1_cover, 0.90);
  EXPECT_TRUE(set_threshold(limits, "t1_cover", 0));
}

}  // namespace
}  // namespace mill::prof
