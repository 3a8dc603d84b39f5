#include "memory/size_class.h"

#include <gtest/gtest.h>

namespace mill {
namespace {

TEST(SizeClassTest, SmallClassesHoldEverySizeAndAreTight) {
  for (uint64_t bytes = 1; bytes <= kSmallMax; ++bytes) {
    const uint32_t c = small_class(bytes);
    ASSERT_LT(c, kSmallClasses) << bytes;
    ASSERT_GE(small_class_bytes(c), bytes);
    ASSERT_EQ(small_class_bytes(c) % kBlockAlign, 0u) << bytes;
    if (c > 0) {
      ASSERT_LT(small_class_bytes(c - 1), bytes);
    }
  }
}

TEST(SizeClassTest, ARunHoldsSeveralBlocksOfItsClass) {
  for (uint32_t c = 0; c < kSmallClasses; ++c) {
    EXPECT_GE(run_bytes(c) / small_class_bytes(c), 8u) << c;
    EXPECT_EQ(run_bytes(c) % kPage, 0u);
    EXPECT_GE(magazine_batch(c), 2u);
  }
}

TEST(SizeClassTest, HeapSizesAreWholePagesAndWasteWithinTheirBound) {
  for (uint64_t bytes = kSmallMax + 1; bytes < (uint64_t{1} << 34); bytes += bytes / 61 + 1) {
    for (uint64_t b :
         {bytes, std::bit_ceil(bytes) - 1, std::bit_ceil(bytes), std::bit_ceil(bytes) + 1}) {
      const uint64_t rounded = heap_bytes(b);
      ASSERT_GE(rounded, b);
      ASSERT_EQ(rounded % kPage, 0u) << b;
      ASSERT_LE(rounded - b, b <= kMediumMax ? b / 4 : b / 8) << b;
      ASSERT_LT(rounded - b, kSegmentStep);
    }
  }
  EXPECT_GE(heap_bytes(kRequestMax), kRequestMax);
}

}  // namespace
}  // namespace mill
