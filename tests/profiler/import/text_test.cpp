#include "profiler/import/text.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace mill::prof {
namespace {

TEST(ReadDecimal, KeepsEveryNanosecondOfMicroseconds) {
  EXPECT_EQ(read_decimal("1623143089861234.567", 3), 1623143089861234567);
  EXPECT_EQ(read_decimal("1623143089861234", 3), 1623143089861234000);
  EXPECT_EQ(read_decimal("0.001", 3), 1);
  EXPECT_EQ(read_decimal("-12.5", 3), -12500);
  EXPECT_EQ(read_decimal(".25", 3), 250);
}

TEST(ReadDecimal, RoundsWhatIsBelowOneToTheNearest) {
  EXPECT_EQ(read_decimal("0.0004", 3), 0);
  EXPECT_EQ(read_decimal("0.0005", 3), 1);
  EXPECT_EQ(read_decimal("7.1239999999", 3), 7124);
  EXPECT_EQ(read_decimal("4", -1), 0);
  EXPECT_EQ(read_decimal("5", -1), 1);
  EXPECT_EQ(read_decimal("9", -2), 0);
}

TEST(ReadDecimal, TakesExponents) {
  EXPECT_EQ(read_decimal("1.5e6", 3), 1500000000);
  EXPECT_EQ(read_decimal("1500e-3", 3), 1500);
  EXPECT_EQ(read_decimal("1E+2", 0), 100);
  EXPECT_EQ(read_decimal("0e999999999999", 3), 0);
  EXPECT_EQ(read_decimal("1e-999999999999", 3), 0);
}

TEST(ReadDecimal, RefusesWhatDoesNotFit) {
  EXPECT_EQ(read_decimal("9223372036854775807", 0), INT64_MAX);
  EXPECT_EQ(read_decimal("9223372036854775808", 0), std::nullopt);
  EXPECT_EQ(read_decimal("-9223372036854775808", 0), INT64_MIN);
  EXPECT_EQ(read_decimal("-9223372036854775809", 0), std::nullopt);
  EXPECT_EQ(read_decimal("9223372036854775807.5", 0), std::nullopt);
  EXPECT_EQ(read_decimal("9223372036854776", 3), std::nullopt);
  EXPECT_EQ(read_decimal("1e300", 3), std::nullopt);
}

TEST(ReadDecimal, RefusesWhatIsNoNumber) {
  for (const char* text :
       {"", "-", ".", "NaN", "Infinity", "-Inf", "1x", "1.2.3", "1e", "0x10", " 1"})
    EXPECT_EQ(read_decimal(text, 3), std::nullopt) << text;
}

TEST(ReadUnsigned, TakesTheWholeRange) {
  EXPECT_EQ(read_unsigned("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(read_unsigned("0x1f"), 31u);
  EXPECT_EQ(read_unsigned("-1"), UINT64_MAX);
  EXPECT_EQ(read_unsigned("1.28e2"), 128u);
  EXPECT_EQ(read_unsigned("stream 7"), std::nullopt);
  EXPECT_EQ(read_unsigned("0x"), std::nullopt);
}

TEST(ReadDouble, RefusesWhatIsNotFinite) {
  EXPECT_EQ(read_double("0.25"), 0.25);
  EXPECT_EQ(read_double("nan"), std::nullopt);
  EXPECT_EQ(read_double("inf"), std::nullopt);
  EXPECT_EQ(read_double("1e999"), std::nullopt);
}

TEST(AddClamped, StaysInsideTheType) {
  EXPECT_EQ(add_clamped(INT64_MAX, 1), INT64_MAX);
  EXPECT_EQ(add_clamped(INT64_MIN, -1), INT64_MIN);
  EXPECT_EQ(add_clamped(INT64_MAX, INT64_MIN), -1);
}

TEST(CleanText, ReplacesWhatIsNotUtf8) {
  std::string space;
  EXPECT_EQ(clean_text("plain ascii text", &space), "plain ascii text");
  EXPECT_EQ(clean_text("gr\xc3\xbc\xc3\x9f", &space), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(clean_text("\xf0\x9f\x98\x80", &space), "\xf0\x9f\x98\x80");
  EXPECT_EQ(clean_text("a\xff"
                       "b",
                       &space),
            "a\xef\xbf\xbd"
            "b");
  // Too long a form, half of a surrogate pair, beyond the last code point, cut off.
  EXPECT_EQ(clean_text("\xc0\x80", &space), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(clean_text("\xed\xa0\x80", &space), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(clean_text("\xf4\x90\x80\x80x", &space),
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx");
  EXPECT_EQ(clean_text("x\xe2\x82", &space), "x\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(clean_text(std::string_view("12345678\0tail", 13), &space), "12345678\xef\xbf\xbdtail");
}

TEST(MendJson, SetsRightWhatWritersGetWrong) {
  EXPECT_EQ(mend_json(R"({"a":"C:\users\new"})"), R"({"a":"C:\\users\new"})");
  EXPECT_EQ(mend_json(R"({"a":"\ud800x"})"), R"({"a":"\ufffdx"})");
  EXPECT_EQ(mend_json(R"({"a":"\ud83d\ude00"})"), R"({"a":"\ud83d\ude00"})");
  EXPECT_EQ(mend_json("{\"a\":\"x\ty\"}"), R"({"a":"x y"})");
  EXPECT_EQ(mend_json(R"({"a":-nan,"b":inf,"c":true,"d":-1.5e3})"),
            R"({"a":NaN,"b":NaN,"c":true,"d":-1.5e3})");
  EXPECT_EQ(mend_json("{\"a\":[1,2,],}"), "{\"a\":[1,2]}");
}

}  // namespace
}  // namespace mill::prof
