#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace mill {
namespace {

std::string encode(uint32_t point, uint32_t bytes) {
  if (bytes == 1) return std::string(1, static_cast<char>(point));
  std::string out;
  for (uint32_t k = 1; k < bytes; ++k, point >>= 6)
    out.insert(out.begin(), static_cast<char>(0x80u | (point & 0x3fu)));
  const uint32_t mark = (0xf00u >> bytes) & 0xffu;
  return static_cast<char>(mark | point) + out;
}

constexpr uint32_t kFirst[] = {0, 0, 0x80, 0x800, 0x10000};  // by length

TEST(Utf8, TakesEveryCodePointInItsShortestFormOnly) {
  for (uint32_t point = 0; point <= 0x10ffff; ++point) {
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    for (uint32_t bytes = 1; bytes <= 4; ++bytes) {
      if (bytes < 4 && point >= kFirst[bytes + 1]) continue;  // does not fit
      const bool shortest = point >= kFirst[bytes];
      ASSERT_EQ(utf8_length(encode(point, bytes)), shortest && !surrogate ? bytes : 0)
          << point << " in " << bytes;
    }
  }
  for (uint32_t point = 0x110000; point < 0x200000; ++point)
    ASSERT_EQ(utf8_length(encode(point, 4)), 0u) << point;
}

TEST(Utf8, TakesNoPartOfACharacter) {
  for (const uint32_t point : {0x80u, 0x7ffu, 0x800u, 0xffffu, 0x10000u, 0x10ffffu}) {
    const uint32_t bytes = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    const std::string whole = encode(point, bytes);
    for (uint32_t cut = 1; cut < bytes; ++cut) {
      EXPECT_EQ(utf8_length(whole.substr(0, cut)), 0u) << point << " cut to " << cut;
      EXPECT_EQ(utf8_length(whole.substr(cut)), 0u) << point << " from " << cut;
      std::string spoiled = whole;
      spoiled[cut] = 'a';
      EXPECT_EQ(utf8_length(spoiled), 0u) << point << " with a letter at " << cut;
    }
  }
  EXPECT_EQ(utf8_length(""), 0u);
}

TEST(Utf8, FindsTheFirstByteThatDoesNotFit) {
  EXPECT_EQ(utf8_fault(""), std::string_view::npos);
  EXPECT_EQ(utf8_fault("plain"), std::string_view::npos);
  EXPECT_EQ(utf8_fault("\xc3\xa9\xf0\x9f\x94\xa5"), std::string_view::npos);
  EXPECT_EQ(utf8_fault("\xc3\xa9\x80z"), 2u);
  EXPECT_EQ(utf8_fault("z\xe5\xb1"), 1u);
  EXPECT_EQ(utf8_fault(std::string_view("a\0\xff", 3)), 2u);
}

}  // namespace
}  // namespace mill
