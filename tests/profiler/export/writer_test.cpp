#include "profiler/export/writer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace mill::prof {
namespace {

TEST(Writer, MicrosecondsKeepEveryNanosecond) {
  EXPECT_EQ(micros_text(0), "0.000");
  EXPECT_EQ(micros_text(1), "0.001");
  EXPECT_EQ(micros_text(999), "0.999");
  EXPECT_EQ(micros_text(1000), "1.000");
  EXPECT_EQ(micros_text(1234567), "1234.567");
  EXPECT_EQ(micros_text(-1), "-0.001");
  EXPECT_EQ(micros_text(-1500), "-1.500");
  // Beyond what a double holds.
  EXPECT_EQ(micros_text(INT64_MAX), "9223372036854775.807");
  EXPECT_EQ(micros_text(INT64_MIN), "-9223372036854775.808");
}

TEST(Writer, PiecesAre64KiB) {
  std::vector<size_t> sizes;
  std::string all;
  const Sink sink = [&](std::string_view piece) {
    sizes.push_back(piece.size());
    all += piece;
    return true;
  };
  Writer out(sink);
  std::string expected;
  for (int k = 0; k < 30000; ++k) {
    out.integer(k);
    out.put(',');
    expected += std::to_string(k) + ",";
  }
  const std::string large(200000, 'x');
  out.put(large);
  EXPECT_TRUE(out.finish());
  EXPECT_EQ(all, expected + large);
  for (size_t k = 0; k + 1 < sizes.size(); ++k) EXPECT_EQ(sizes[k], 65536u);
}

TEST(Writer, StopsWhenTheSinkRefuses) {
  int pieces = 0;
  const Sink sink = [&](std::string_view) { return ++pieces < 2; };
  Writer out(sink);
  for (int k = 0; k < 10; ++k) out.put(std::string(65536, 'x'));
  EXPECT_FALSE(out.finish());
  EXPECT_FALSE(out.ok());
  EXPECT_EQ(pieces, 2);
}

TEST(Writer, EscapesWhatJsonCannotHold) {
  EXPECT_EQ(json_string("plain"), "\"plain\"");
  EXPECT_EQ(json_string("\"\\\n\t\r"), "\"\\\"\\\\\\n\\t\\r\"");
  EXPECT_EQ(json_string(std::string_view("\0\x1f", 2)), "\"\\u0000\\u001f\"");
  EXPECT_EQ(json_string("\xE2\x82\xAC"), "\"\xE2\x82\xAC\"");
}

TEST(Writer, ReplacesIllFormedBytes) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(well_formed("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(well_formed("\xC3("), r + "(");
  EXPECT_EQ(well_formed("\xC0\x80"), r + r);                  // overlong
  EXPECT_EQ(well_formed("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(well_formed("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(well_formed("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
  EXPECT_EQ(well_formed("\xE2\x82"), r + r);  // cut in the middle
  EXPECT_EQ(json_string("\xFF\xFF"), "\"" + r + r + "\"");
}

}  // namespace
}  // namespace mill::prof
