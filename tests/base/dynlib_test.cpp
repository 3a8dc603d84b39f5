#include "base/dynlib.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace mill {
namespace {

constexpr char kPresent[] = "libz.so.1";
constexpr char kAbsent[] = "libmillrace-no-such-library.so.7";

TEST(DynamicLibrary, FindsSymbolsOfALibraryThatIsThere) {
  DynamicLibrary library(kPresent);
  ASSERT_TRUE(library.is_open()) << library.reason();
  EXPECT_EQ(library.reason(), "");
  const char* (*version)() = nullptr;
  ASSERT_TRUE(library.find("zlibVersion", version));
  EXPECT_EQ(version()[0], '1');
}

TEST(DynamicLibrary, SaysInWordsThatALibraryIsMissing) {
  DynamicLibrary library(kAbsent);
  EXPECT_FALSE(library.is_open());
  EXPECT_NE(library.reason().find(kAbsent), std::string::npos) << library.reason();
  EXPECT_EQ(library.symbol("anything"), nullptr);
  EXPECT_NE(library.reason().find(kAbsent), std::string::npos) << library.reason();
}

TEST(DynamicLibrary, SaysInWordsThatASymbolIsMissing) {
  DynamicLibrary library(kPresent);
  ASSERT_TRUE(library.is_open());
  void (*function)() = nullptr;
  EXPECT_FALSE(library.find("no_such_symbol_in_zlib", function));
  EXPECT_EQ(function, nullptr);
  EXPECT_NE(library.reason().find("no_such_symbol_in_zlib"), std::string::npos);
}

TEST(DynamicLibrary, IsClosedUntilOneIsNamed) {
  DynamicLibrary none;
  EXPECT_FALSE(none.is_open());
  EXPECT_EQ(none.symbol("zlibVersion"), nullptr);
  EXPECT_NE(none.reason(), "");
}

TEST(DynamicLibrary, MovesItsLibrary) {
  DynamicLibrary first(kPresent);
  DynamicLibrary second(std::move(first));
  EXPECT_TRUE(second.is_open());
  EXPECT_NE(second.symbol("zlibVersion"), nullptr);
  DynamicLibrary third;
  third = std::move(second);
  EXPECT_TRUE(third.is_open());
  EXPECT_NE(third.symbol("zlibVersion"), nullptr);
}

}  // namespace
}  // namespace mill
