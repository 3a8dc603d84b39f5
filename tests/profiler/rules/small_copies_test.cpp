#include <gtest/gtest.h>

#include "profiler/rules/transfer_setup.h"

namespace mill::prof::test {
namespace {

// Each step: n calls of 5 us, each with a copy of `bytes` that takes `length` right after it, then
// a launch of 5 us, a kernel of 100 us and a wait for it.
Builder small_steps(int n, uint64_t bytes = 1000, Ns length = 2100, Ns pause = 0) {
  Builder b;
  const Ns period = n * (5 * us + pause) + 105 * us;
  for (int k = 0; k < kSteps; ++k) {
    Ns t = k * period + ms;
    b.step(k, t, t + period);
    for (int i = 0; i < n; ++i) {
      b.copy(CopyKind::host_to_device, Memory::pinned, bytes, t, t + 5 * us, t + 5 * us,
             t + 5 * us + length);
      t += 5 * us + pause;
    }
    b.kernel("matmul", t + 5 * us, t + 5 * us, t + 105 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 5 * us, t + 105 * us);
  }
  return b;
}

TEST(SmallCopies, OneCopyAndItsPackingReplaceARun) {
  // 2 us each and 10 GB/s: 1,000 bytes in 2.1 us.
  const Scene scene(small_steps(16), pinned_links(10 * GB, 2000));
  const std::vector<Finding> found = scene.find(find_small);
  ASSERT_EQ(found.size(), 1u);
  const Finding& t5 = found[0];
  EXPECT_EQ(t5.rule, RuleId::T5);
  EXPECT_EQ(t5.evidence_total, 160u);
  // 15 calls of 5 us go; packing 16,000 bytes at 8 GB/s costs the host 2 us: 73 us. The naive
  // answer is the copies' time less that of one: 16 x 2.1 - 3.6 = 30 us.
  EXPECT_NEAR(static_cast<double>(t5.saving.expected), 10 * 73e3, 10 * 0.73e3);
  EXPECT_GT(static_cast<double>(t5.saving.expected),
            2 * (fact(t5, "copy_ns") - fact(t5, "packed_ns")));
  EXPECT_DOUBLE_EQ(fact(t5, "copies"), 160);
  EXPECT_DOUBLE_EQ(fact(t5, "runs"), 10);
  EXPECT_DOUBLE_EQ(fact(t5, "fixed_ns"), 160 * 2000);
  EXPECT_DOUBLE_EQ(fact(t5, "packing_ns"), 10 * 2000);
  EXPECT_DOUBLE_EQ(fact(t5, "packed_ns"), 10 * 3600);
  EXPECT_TRUE(says(t5, "160 small"));
  EXPECT_TRUE(says(t5, "cudaMemcpyAsync"));
  EXPECT_TRUE(says(t5, "Pack"));
}

TEST(SmallCopies, ARunHasEightOrMore) {
  EXPECT_TRUE(Scene(small_steps(7), pinned_links(10 * GB, 2000)).find(find_small).empty());
  EXPECT_EQ(Scene(small_steps(8), pinned_links(10 * GB, 2000)).find(find_small).size(), 1u);
}

TEST(SmallCopies, OnlyCopiesBelowTheSizeCount) {
  EXPECT_TRUE(Scene(small_steps(16, 65536), pinned_links(100 * GB, 2000)).find(find_small).empty());
  EXPECT_EQ(Scene(small_steps(16, 65535), pinned_links(100 * GB, 2000)).find(find_small).size(),
            1u);
}

TEST(SmallCopies, APauseEndsARun) {
  // The gap between copies is 5 us + pause - 2.1 us.
  EXPECT_TRUE(Scene(small_steps(16, 1000, 2100, 7100), pinned_links(10 * GB, 2000))
                  .find(find_small)
                  .empty());
  EXPECT_EQ(
      Scene(small_steps(16, 1000, 2100, 7099), pinned_links(10 * GB, 2000)).find(find_small).size(),
      1u);
}

TEST(SmallCopies, TheirFixedCostMustMatter) {
  // 16 x alpha of 185 us: 1/64 is 2,890.625 ns; alpha 180.6640625.
  Scene at(small_steps(16), pinned_links(10 * GB, 2890.625 / 16));
  at.limits.t5_min_share = 1.0 / 64;
  EXPECT_TRUE(at.find(find_small).empty());
  Scene above(small_steps(16), pinned_links(10 * GB, 2891.0 / 16));
  above.limits.t5_min_share = 1.0 / 64;
  EXPECT_EQ(above.find(find_small).size(), 1u);
}

// Each step: one record that stands for 32 copies of 500 bytes, and a kernel of 95 us.
Builder recorded_as_one() {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 200 * us + ms;
    b.step(k, t, t + 200 * us);
    const uint32_t row = b.copy(CopyKind::host_to_device, Memory::pinned, 16000, t, t + 5 * us,
                                t + 5 * us, t + 105 * us);
    b.trace.work.copies[row] = 32;
    b.kernel("matmul", t + 10 * us, t + 105 * us, t + 200 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 10 * us, t + 200 * us);
  }
  return b;
}

TEST(SmallCopies, ARecordMayStandForManyCopies) {
  const Scene scene(recorded_as_one(), pinned_links(10 * GB, 2000));
  const std::vector<Finding> found = scene.find(find_small);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_DOUBLE_EQ(fact(found[0], "copies"), 320);
  // 16,000 bytes are packed in 2 us, so the call takes 7 us and the copy lies at 7 to 10.6 us. The
  // launch is done at 12 us: a kernel of 95 us makes a step of 107 us instead of 200.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 93e3, 10 * 0.93e3);
}

TEST(SmallCopies, PackingComesBeforeTheCopy) {
  // 2 us and 16 us at 1 GB/s: the copy lies at 7 to 25 us, the kernel at 25 to 120. Asked for
  // before the packing the copy would end at 23 us, and 82 us would be promised.
  const Scene scene(recorded_as_one(), pinned_links(1 * GB, 2000));
  const std::vector<Finding> found = scene.find(find_small);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 80e3, 10 * 0.8e3);
}

TEST(SmallCopies, WithoutAFigureTheShortestOneGivesTheFixedCost) {
  const std::vector<Finding> found = Scene(small_steps(16)).find(find_small);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].link_source, LinkSource::none);
  EXPECT_DOUBLE_EQ(fact(found[0], "alpha_ns"), 2100);
  EXPECT_TRUE(says(found[0], "the shortest of them"));
}

TEST(SmallCopies, StreamsAreLookedAtApart) {
  // Four on each of two streams: no run of eight.
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    Ns t = k * 145 * us + ms;
    b.step(k, t, t + 145 * us);
    for (uint64_t i = 0; i < 8; ++i) {
      b.on(0, 7 + i % 2)
          .copy(CopyKind::host_to_device, Memory::pinned, 1000, t, t + 5 * us, t + 5 * us,
                t + 7 * us);
      t += 5 * us;
    }
    b.on(0, 7).kernel("matmul", t + 5 * us, t + 5 * us, t + 105 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 5 * us, t + 105 * us);
  }
  EXPECT_TRUE(Scene(std::move(b), pinned_links(10 * GB, 2000)).find(find_small).empty());
}

}  // namespace
}  // namespace mill::prof::test
