#include "trace/strings.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace mill {
namespace {

TEST(StringTable, SameTextGivesSameIdAndTextComesBack) {
  StringTable table;
  EXPECT_EQ(table.intern(""), 0u);
  const uint32_t a = table.intern("forward");
  const uint32_t b = table.intern("backward");
  EXPECT_NE(a, b);
  EXPECT_EQ(table.intern(std::string("for") + "ward"), a);
  EXPECT_EQ(table.text(a), "forward");
  EXPECT_STREQ(table.text(b).data(), "backward");
  EXPECT_EQ(table.text(0), "");
  EXPECT_EQ(table.text(b + 1), "");
  EXPECT_FALSE(table.contains(b + 1));
}

TEST(StringTable, KeepsTextsApartThatDifferOnlyAfterANul) {
  StringTable table;
  EXPECT_NE(table.intern(std::string_view("a\0b", 3)), table.intern(std::string_view("a\0c", 3)));
}

TEST(StringTable, IdsStayValidWhileItGrowsAndItStopsAtItsLimit) {
  StringTable table;
  for (uint32_t i = 1; i < StringTable::kMaxStrings; ++i)
    ASSERT_EQ(table.intern("name " + std::to_string(i)), i);
  for (uint32_t i = 1; i < StringTable::kMaxStrings; i += 97) {
    ASSERT_EQ(table.text(i), "name " + std::to_string(i));
    ASSERT_EQ(table.intern("name " + std::to_string(i)), i);
  }
  const uint32_t other = table.intern("one too many");
  EXPECT_EQ(table.text(other), StringTable::kOther);
  EXPECT_EQ(table.intern("two too many"), other);
  EXPECT_EQ(table.size(), StringTable::kMaxStrings);
}

TEST(StringTable, RefusesATextOverTheLimit) {
  StringTable table;
  EXPECT_NE(table.intern(std::string(StringTable::kMaxLength, 'x')), 0u);
  try {
    table.intern(std::string(StringTable::kMaxLength + 1, 'x'));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), MILL_E_ARG);
  }
}

TEST(StringTable, ThreadsThatInternTheSameTextsAgree) {
  constexpr uint32_t kTexts = 3000, kThreads = 4;
  StringTable table;
  std::vector<std::vector<uint32_t>> ids(kThreads, std::vector<uint32_t>(kTexts));
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < kTexts; ++i) {
        const uint32_t k = (i * 7 + t * 1009) % kTexts;
        ids[t][k] = table.intern("text " + std::to_string(k));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(table.size(), kTexts);
  for (uint32_t k = 0; k < kTexts; ++k) {
    ASSERT_EQ(table.text(ids[0][k]), "text " + std::to_string(k));
    for (uint32_t t = 1; t < kThreads; ++t) ASSERT_EQ(ids[t][k], ids[0][k]);
  }
}

}  // namespace
}  // namespace mill
