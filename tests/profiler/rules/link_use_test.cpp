#include <gtest/gtest.h>

#include "profiler/rules/transfer_setup.h"

namespace mill::prof::test {
namespace {

// Each step: a pinned copy of 12 MB, a kernel of 1,000 us, a wait for it.
Builder copy_steps(Ns length, Memory memory = Memory::pinned, uint64_t bytes = 12 * MB) {
  Builder b;
  const Ns period = length + 1005 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period + ms;
    b.step(k, t, t + period);
    b.copy(CopyKind::host_to_device, memory, bytes, t, t + 5 * us, t + 5 * us, t + 5 * us + length);
    b.kernel("matmul", t + 10 * us, t + 5 * us + length, t + period);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 10 * us, t + period);
  }
  return b;
}

TEST(SlowLink, WhatIsOverTheModelIsTheGain) {
  const Scene scene(copy_steps(1200 * us), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_slow_links);
  ASSERT_EQ(found.size(), 1u);
  const Finding& t4 = found[0];
  EXPECT_EQ(t4.rule, RuleId::T4);
  // 12 MB at 20 GB/s is 600 us; they took 1,200. The naive answer is all of the copies' time.
  EXPECT_NEAR(static_cast<double>(t4.saving.expected), 10 * 600e3, 10 * 6e3);
  EXPECT_LT(static_cast<double>(t4.saving.expected), 0.6 * fact(t4, "copy_ns"));
  EXPECT_DOUBLE_EQ(fact(t4, "lost_ns"), 10 * 600e3);
  EXPECT_EQ(t4.link_source, LinkSource::calibration);
  EXPECT_TRUE(says(t4, "10.0 GB/s"));
  EXPECT_TRUE(says(t4, "20.0 GB/s"));
  EXPECT_TRUE(says(t4, "NUMA"));
  EXPECT_TRUE(says(t4, "throttling"));
}

TEST(SlowLink, SixtyPercentOfTheRateIsEnough) {
  EXPECT_TRUE(Scene(copy_steps(1000 * us), pinned_links(20 * GB)).find(find_slow_links).empty());
  EXPECT_EQ(Scene(copy_steps(1000 * us + 1), pinned_links(20 * GB)).find(find_slow_links).size(),
            1u);
}

TEST(SlowLink, TheFixedCostOfACopyIsNotBlamedOnTheLink) {
  // 1,200 us less 200 us are 1,000 us: 60 %.
  EXPECT_TRUE(
      Scene(copy_steps(1200 * us), pinned_links(20 * GB, 200e3)).find(find_slow_links).empty());
}

TEST(SlowLink, CopiesBelowTheSizeAreSilent) {
  EXPECT_TRUE(Scene(copy_steps(1200 * us, Memory::pinned, (1 << 20) - 1), pinned_links(20 * GB))
                  .find(find_slow_links)
                  .empty());
  EXPECT_EQ(Scene(copy_steps(1200 * us, Memory::pinned, 1 << 20), pinned_links(20 * GB))
                .find(find_slow_links)
                .size(),
            1u);
}

TEST(SlowLink, PageableCopiesThatT1BlamesAreLeftToIt) {
  EXPECT_TRUE(Scene(copy_steps(1200 * us, Memory::pageable), pinned_links(20 * GB))
                  .find(find_slow_links)
                  .empty());
  LinkModel links = pinned_links(20 * GB);
  links.add(make_line(CopyKind::host_to_device, Memory::pageable, 18 * GB));
  const std::vector<Finding> found =
      Scene(copy_steps(1200 * us, Memory::pageable), links).find(find_slow_links);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(says(found[0], "10 use pageable memory"));
}

TEST(SlowLink, NothingIsSaidWithoutAFigure) {
  EXPECT_TRUE(Scene(copy_steps(1200 * us)).find(find_slow_links).empty());
}

TEST(SlowLink, TrafficInTheOtherDirectionIsNamedAndMayStay) {
  Builder b = copy_steps(1200 * us);
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2205 * us + ms;
    b.on(0, 8).copy(CopyKind::device_to_host, Memory::pinned, 20 * MB, t + 10 * us, t + 10 * us,
                    t + 10 * us, t + 1010 * us);
  }
  const Scene scene(std::move(b), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_slow_links);
  ASSERT_EQ(found.size(), 1u);  // what goes to the host reaches 20 GB/s
  EXPECT_DOUBLE_EQ(fact(found[0], "both_directions"), 10);
  EXPECT_EQ(found[0].saving.lower, 0);
  EXPECT_TRUE(says(found[0], "other direction"));
}

TEST(SlowLink, ALinkBelowItsWidthIsNamed) {
  Builder b = copy_steps(1200 * us);
  DeviceInfo& info = b.trace.devices[0];
  info.link_generation = info.link_generation_max = 4;
  info.link_width = 8;
  info.link_width_max = 16;
  const std::vector<Finding> found =
      Scene(std::move(b), pinned_links(20 * GB)).find(find_slow_links);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(says(found[0], "generation 4 x8 of generation 4 x16"));
}

// Each step: 10 MB from device 0 to the host in 1,000 us, then `delay` later to device 1 in 1,000
// us, both synchronous; a kernel of 1,000 us on device 1 and a wait for it.
Builder detour_steps(Ns delay, uint64_t bytes = 10 * MB) {
  Builder b;
  b.device(1);
  const Ns period = 3005 * us + delay;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period + ms;
    const Ns second = t + 1000 * us + delay;
    b.step(k, t, t + period);
    b.on(0).copy(CopyKind::device_to_host, Memory::pinned, bytes, t, t + 1000 * us, t,
                 t + 1000 * us, false);
    b.on(1).copy(CopyKind::host_to_device, Memory::pinned, bytes, second, second + 1000 * us,
                 second, second + 1000 * us, false);
    b.kernel("matmul", second + 1005 * us, second + 1005 * us, second + 2005 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", second + 1005 * us, second + 2005 * us);
  }
  return b;
}

TEST(Detour, OneDirectCopyReplacesTwo) {
  LinkModel links;
  links.add(make_line(CopyKind::peer, Memory::device, 40 * GB));
  const Scene scene(detour_steps(0), links);
  const std::vector<Finding> found = scene.find(find_slow_links, RuleId::T10);
  ASSERT_EQ(found.size(), 1u);
  // 10 MB at 40 GB/s is 250 us instead of 2,000. The naive answer is both copies, 2,000 us.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 1750e3, 10 * 17.5e3);
  EXPECT_DOUBLE_EQ(fact(found[0], "copies_by_host"), 10);
  EXPECT_TRUE(says(found[0], "device 0 (gpu0) to device 1 (gpu1)"));
  EXPECT_TRUE(says(found[0], "40.0 GB/s"));
  EXPECT_TRUE(says(found[0], "peer access"));
}

TEST(Detour, WithoutAFigureADirectCopyIsTakenAsLongAsOneOfThem) {
  const std::vector<Finding> found = Scene(detour_steps(0)).find(find_slow_links, RuleId::T10);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 1000e3, 10 * 10e3);
  EXPECT_TRUE(says(found[0], "not in the recording"));
}

TEST(Detour, TheSecondCopyMustFollowSoon) {
  EXPECT_EQ(Scene(detour_steps(1 * ms)).find(find_slow_links, RuleId::T10).size(), 1u);
  EXPECT_TRUE(Scene(detour_steps(1 * ms + 1)).find(find_slow_links, RuleId::T10).empty());
}

TEST(Detour, SmallCopiesAndOtherMemoryAreSilent) {
  EXPECT_EQ(Scene(detour_steps(0, 1 << 20)).find(find_slow_links, RuleId::T10).size(), 1u);
  EXPECT_TRUE(Scene(detour_steps(0, (1 << 20) - 1)).find(find_slow_links, RuleId::T10).empty());
  Builder b = detour_steps(0);
  for (uint32_t row = 0; row < b.trace.work.size(); ++row) b.trace.work.host_pointer[row] = row + 1;
  EXPECT_TRUE(Scene(std::move(b)).find(find_slow_links, RuleId::T10).empty());
}

TEST(Detour, ADirectCopyBelowTheLinksRateIsFound) {
  Builder b;
  b.device(1);
  b.trace.devices[0].peer_bytes_per_s = 40 * GB;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 1005 * us + ms;
    b.step(k, t, t + 1005 * us);
    const uint32_t row = b.on(0).copy(CopyKind::peer, Memory::device, 10 * MB, t, t + 5 * us,
                                      t + 5 * us, t + 1005 * us);
    b.trace.work.peer[row] = 1;
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 5 * us, t + 1005 * us);
  }
  const std::vector<Finding> found = Scene(std::move(b)).find(find_slow_links, RuleId::T10);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 750e3, 10 * 7.5e3);
  EXPECT_DOUBLE_EQ(fact(found[0], "slow_peer_copies"), 10);
  EXPECT_TRUE(says(found[0], "peer access works"));
}

// Each step: a kernel of 1,000 us during which pages move for 400 us.
Builder managed_steps(uint64_t bytes, ManagedKind kind = ManagedKind::to_device) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 1005 * us + ms;
    b.step(k, t, t + 1005 * us);
    b.kernel("touch", t + 5 * us, t + 5 * us, t + 1005 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 5 * us, t + 1005 * us);
    const uint32_t row = b.trace.managed.add();
    b.trace.managed.start[row] = t + 100 * us;
    b.trace.managed.end[row] = t + 500 * us;
    b.trace.managed.device[row] = 0;
    b.trace.managed.kind[row] = static_cast<uint8_t>(kind);
    b.trace.managed.bytes[row] = bytes;
    b.trace.managed.tensor[row] = 17;
  }
  return b;
}

TEST(Managed, PagesThatMoveByThemselvesCouldMoveAtTheLinksRate) {
  const Scene scene(managed_steps(2 * MB), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_slow_links, RuleId::T11);
  ASSERT_EQ(found.size(), 1u);
  // 2 MB at 20 GB/s are 100 us: 300 us of each 400 are lost. The naive answer is all 400.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 300e3, 10 * 3e3);
  EXPECT_EQ(found[0].saving.upper, 10 * 400 * us);
  EXPECT_EQ(found[0].evidence.front().table, TableId::managed);
  EXPECT_TRUE(says(found[0], "tensor 17"));
  EXPECT_TRUE(says(found[0], "Prefetch"));
}

TEST(Managed, MoreBytesThanAnyCountHoldsAreSurvived) {
  const Scene scene(managed_steps(UINT64_MAX), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_slow_links, RuleId::T11);
  ASSERT_EQ(found.size(), 1u);
  // 1.8e19 bytes and more take longer than they did: nothing to gain.
  EXPECT_EQ(found[0].saving.expected, 0);
  EXPECT_GE(fact(found[0], "link_ns"), 1.8e19 / 20);
}

TEST(Managed, FiresAboveItsBytesPerStepOrWhenPagesGoToAndFro) {
  EXPECT_TRUE(Scene(managed_steps(1 << 20)).find(find_slow_links, RuleId::T11).empty());
  EXPECT_EQ(Scene(managed_steps((1 << 20) + 1)).find(find_slow_links, RuleId::T11).size(), 1u);
  EXPECT_EQ(Scene(managed_steps(0, ManagedKind::thrash)).find(find_slow_links, RuleId::T11).size(),
            1u);
  EXPECT_TRUE(
      Scene(managed_steps(0, ManagedKind::fault)).find(find_slow_links, RuleId::T11).empty());
}

}  // namespace
}  // namespace mill::prof::test
