#include <gtest/gtest.h>

#include "profiler/rules/transfer_setup.h"

namespace mill::prof::test {
namespace {

// Each step: a copy of 10 MB in 1,000 us whose call lasts as long, a launch of 5 us, a kernel of
// 1,000 us, and a wait for it: 2,005 us. Of another program, which may make its data in
// page-locked memory.
Builder pageable_steps(Memory memory, Ns call_length = 1000 * us) {
  Builder b;
  b.trace.dialect = "kineto";
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2005 * us + ms;
    b.step(k, t, t + 2005 * us);
    b.copy(CopyKind::host_to_device, memory, 10 * MB, t, t + call_length, t, t + 1000 * us);
    b.kernel("matmul", t + 1005 * us, t + 1005 * us, t + 2005 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 1005 * us, t + 2005 * us);
  }
  return b;
}

TEST(Pageable, AnAsyncCopyFromPageableMemoryIsFoundWithThePinnedTime) {
  const Scene scene(pageable_steps(Memory::pageable), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  const Finding& t1 = found[0];
  EXPECT_EQ(t1.rule, RuleId::T1);
  EXPECT_EQ(t1.evidence_total, 10u);
  EXPECT_EQ(t1.evidence.size(), 10u);
  EXPECT_EQ(t1.link_source, LinkSource::calibration);
  // 10 MB at 20 GB/s is 500 us. The launch happens meanwhile, so a step is 500 + 1,000 us: 505 us
  // less. Neither the copies' time (1,000 us) nor the sum of both local gains (995 + 500).
  EXPECT_NEAR(static_cast<double>(t1.saving.expected), 10 * 505e3, 10 * 5.05e3);
  EXPECT_LT(static_cast<double>(t1.saving.expected), fact(t1, "copy_ns") * 0.6);
  EXPECT_LT(static_cast<double>(t1.saving.expected),
            (fact(t1, "host_gain_ns") + fact(t1, "link_gain_ns")) * 0.5);
  EXPECT_DOUBLE_EQ(fact(t1, "host_gain_ns"), 10 * 995e3);
  EXPECT_DOUBLE_EQ(fact(t1, "link_gain_ns"), 10 * 500e3);
  EXPECT_DOUBLE_EQ(fact(t1, "exposed_ns"), 10 * 1000e3);
  EXPECT_DOUBLE_EQ(fact(t1, "bytes"), 100e6);
  EXPECT_DOUBLE_EQ(fact(t1, "bytes_per_s"), 10e9);
  EXPECT_LE(t1.saving.lower, t1.saving.expected);
  EXPECT_LE(t1.saving.expected, t1.saving.upper);
  // Two buffers of 10 MB: 2 x (100 us + 10^7 x 0.1 ns) = 2.2 ms; 505 us per use: 5 uses. The local
  // gains, 1.495 ms per use, would say 2.
  EXPECT_DOUBLE_EQ(fact(t1, "pin_ns"), 2.2e6);
  EXPECT_DOUBLE_EQ(fact(t1, "break_even_uses"), 5);
  EXPECT_TRUE(says(t1, "pageable"));
  EXPECT_TRUE(says(t1, "10.0 GB/s"));
  EXPECT_TRUE(says(t1, "20.0 GB/s"));
  EXPECT_TRUE(says(t1, "by calibration"));
  EXPECT_TRUE(says(t1, "worth it from 5 uses"));
  EXPECT_TRUE(says(t1, "thread 1"));
  EXPECT_TRUE(says(t1, "Expected gain"));
}

TEST(Pageable, TheEngineCanApplyItInItsOwnProgramsOnly) {
  Builder b = pageable_steps(Memory::pageable);
  b.trace.dialect = "millrace";
  EXPECT_TRUE(Scene(b, pinned_links(20 * GB)).find(find_pageable).at(0).fix.engine_can_apply);
  b.trace.dialect = "kineto";
  const std::vector<Finding> found = Scene(b, pinned_links(20 * GB)).find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_STREQ(found[0].fix.knob, "pinned_staging");
  EXPECT_FALSE(found[0].fix.engine_can_apply);
}

// At worst the thread first moves 10 MB at 8 GB/s into the page-locked buffer: 1,250 us, then the
// copy of 500 us and the kernel of 1,000 us: 745 us more than a step took, so nothing is sure.
// At 40 GB/s it moves them in 250 us: 1,750 us of 2,005, and 2.2 ms of page-locking once.
TEST(Pageable, AtWorstTheDataIsMovedBeforeTheCopy) {
  LinkModel links = pinned_links(20 * GB);
  EXPECT_EQ(Scene(pageable_steps(Memory::pageable), links).find(find_pageable).at(0).saving.lower,
            0);
  links.host_copy_bytes_per_s = 40 * GB;
  const Finding fast = Scene(pageable_steps(Memory::pageable), links).find(find_pageable).at(0);
  EXPECT_NEAR(static_cast<double>(fast.saving.lower), 10 * 255e3 - 2200e3, 10 * 2.55e3);
}

// The engine's staging ring is filled by the thread that asks, always: at 40 GB/s 250 us of each
// step's 505. At 8 GB/s it takes longer than what it saves.
TEST(Pageable, WithTheEnginesOwnFixTheDataIsMovedBeforeTheCopy) {
  Builder b = pageable_steps(Memory::pageable);
  b.trace.dialect = "millrace";
  LinkModel links = pinned_links(20 * GB);
  links.host_copy_bytes_per_s = 40 * GB;
  const Finding fast = Scene(b, links).find(find_pageable).at(0);
  EXPECT_NEAR(static_cast<double>(fast.saving.expected), 10 * 255e3, 10 * 2.55e3);
  EXPECT_DOUBLE_EQ(fact(fast, "largest_bytes"), 10e6);
  links.host_copy_bytes_per_s = 8 * GB;
  EXPECT_EQ(Scene(b, links).find(find_pageable).at(0).saving.expected, 0);
}

TEST(Pageable, AnySizeAndRateAreSurvived) {
  Builder b = pageable_steps(Memory::pageable);
  for (uint64_t& bytes : b.trace.work.bytes) bytes = bytes > 0 ? UINT64_C(1) << 62 : 0;
  LinkModel links = pinned_links(20 * GB);
  links.host_copy_bytes_per_s = 1;
  links.pin_ns_per_byte = 0;
  const std::vector<Finding> found = Scene(std::move(b), links).find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].saving.lower, 0);
  for (const auto& [row, length] : found[0].plan_lower.before_ask) EXPECT_GT(length, 0);
}

TEST(Pageable, WithoutAFigureForPinnedMemoryOnlyTheHostsTimeIsAGain) {
  const Scene scene(pageable_steps(Memory::pageable));
  const std::vector<Finding> found = scene.find(find_pageable, RuleId::T1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].link_source, LinkSource::none);
  // The copy still takes 1,000 us; only the launch is hidden.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 5e3, 10 * 1e3);
  EXPECT_EQ(found[0].saving.upper, 10 * 1000 * us);
  EXPECT_DOUBLE_EQ(fact(found[0], "link_gain_ns"), 0);
  EXPECT_TRUE(says(found[0], "millrace prof calibrate"));
}

TEST(Pageable, ACallAsLongAsItsCopyCountsWhateverTheMemoryFromNinetyPercentOn) {
  EXPECT_EQ(Scene(pageable_steps(Memory::unknown, 900 * us), pinned_links(20 * GB))
                .find(find_pageable, RuleId::T1)
                .size(),
            1u);
  EXPECT_TRUE(Scene(pageable_steps(Memory::unknown, 900 * us - 1), pinned_links(20 * GB))
                  .find(find_pageable)
                  .empty());
}

TEST(Pageable, PinnedAsyncCopiesAreSilent) {
  EXPECT_TRUE(Scene(pageable_steps(Memory::pinned, 5 * us), pinned_links(20 * GB))
                  .find(find_pageable)
                  .empty());
}

TEST(Pageable, PageLockingMustPayForItself) {
  // Ten uses gain 10 x (995 + 500) us = 14.95 ms; two buffers at 7.475 ms cost just that.
  LinkModel links = pinned_links(20 * GB);
  links.pin_ns_per_byte = 0;
  links.pin_ns = 7475e3;
  EXPECT_TRUE(Scene(pageable_steps(Memory::pageable), links).find(find_pageable).empty());
  links.pin_ns = 7475e3 - 1;
  EXPECT_EQ(Scene(pageable_steps(Memory::pageable), links).find(find_pageable).size(), 1u);
}

TEST(Pageable, OneBufferThatIsUsedAgainIsPageLockedOnce) {
  Builder b = pageable_steps(Memory::pageable);
  for (uint32_t row = 0; row < b.trace.work.size(); ++row) b.trace.work.host_pointer[row] = 4096;
  const Scene scene(std::move(b), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_DOUBLE_EQ(fact(found[0], "pin_ns"), 1.1e6);
  EXPECT_TRUE(says(found[0], "1 page-locked buffer of 10.0 MB"));
}

// Copies of 4 bytes take 6,000; the device says how fast its link is, and nothing of what a copy
// costs at least: page-locked memory is not thought to make it less than that.
TEST(Pageable, AnUnknownFixedCostIsNotNone) {
  Builder b;
  b.trace.dialect = "kineto";
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 100 * us + ms;
    b.step(k, t, t + 100 * us);
    for (int n = 0; n < 4; ++n)
      b.copy(CopyKind::host_to_device, Memory::pageable, 2048, t + n * 9 * us,
             t + n * 9 * us + 8 * us, t + n * 9 * us + us, t + n * 9 * us + 7 * us);
    b.kernel("matmul", t + 40 * us, t + 45 * us, t + 100 * us);
  }
  LinkModel links;
  LinkLine line = make_line(CopyKind::host_to_device, Memory::pinned, 50 * GB);
  line.source = LinkSource::device;
  links.add(line);
  links.pin_ns = 0;
  const Scene device(Builder(b), links);
  const std::vector<Finding> found = device.find(find_pageable, RuleId::T1);
  for (const Finding& one : found) {
    EXPECT_EQ(fact(one, "link_gain_ns"), 0);
    EXPECT_TRUE(says(one, "is not known")) << one.advice;
  }
  EXPECT_EQ(found.size(), 1u);
  // Measured by a calibration it is what that says.
  links = pinned_links(50 * GB, 1000);
  links.pin_ns = 0;
  const Scene measured(std::move(b), links);
  const std::vector<Finding> known = measured.find(find_pageable, RuleId::T1);
  ASSERT_EQ(known.size(), 1u);
  EXPECT_GT(fact(known[0], "link_gain_ns"), 0);
}

// One buffer is known, nine are not: a pool of two.
TEST(Pageable, OneKnownBufferAmongUnknownOnesIsNotAllOfThem) {
  Builder b = pageable_steps(Memory::pageable);
  b.trace.work.host_pointer[0] = 4096;
  const Scene scene(std::move(b), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(says(found[0], "2 page-locked buffers of 10.0 MB"));
}

// As frameworks do it: the call returns 80 us before the copy ends, and a wait for the stream
// follows; then 400 us of the host's own work before the launch. 2,405 us a step.
TEST(Pageable, TheWaitRightAfterACopyGoesWithIt) {
  Builder b;
  b.trace.dialect = "kineto";
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2405 * us + ms;
    b.step(k, t, t + 2405 * us);
    b.copy(CopyKind::host_to_device, Memory::pageable, 10 * MB, t, t + 920 * us, t, t + 1000 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 920 * us, t + 1000 * us);
    b.kernel("matmul", t + 1405 * us, t + 1405 * us, t + 2405 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 1405 * us, t + 2405 * us);
  }
  const Scene scene(std::move(b), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  // 500 us of copy, under which the host's 400 us go, then the kernel: 905 us less.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 905e3, 10 * 9.05e3);
  EXPECT_DOUBLE_EQ(fact(found[0], "waits_after"), 10);
  EXPECT_DOUBLE_EQ(fact(found[0], "host_gain_ns"), 10 * (915e3 + 80e3));
  EXPECT_TRUE(says(found[0], "10 were followed at once by a call that waits"));
}

TEST(Pageable, EachDirectionIsAFindingOfItsOwn) {
  Builder b = pageable_steps(Memory::pageable);
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2005 * us + ms;
    b.on(0, 9).copy(CopyKind::device_to_host, Memory::pageable, 10 * MB, t + 1005 * us,
                    t + 2005 * us, t + 1005 * us, t + 2005 * us);
  }
  const Scene scene(std::move(b), pinned_links(20 * GB));
  const std::vector<Finding> found = scene.find(find_pageable, RuleId::T1);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(says(found[0], "host-to-device"));
  EXPECT_TRUE(says(found[1], "device-to-host"));
  EXPECT_TRUE(says(found[1], "write to"));
}

// Each step: a synchronous copy of 1,000 us, 800 us of the host's own work, a launch, a kernel of
// 1,000 us and a wait for it: 2,805 us.
Builder blocking_steps(Ns copy_length, bool async, uint64_t bytes = 10 * MB) {
  Builder b;
  const Ns period = copy_length + 1805 * us;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * period + ms;
    const Ns after = t + copy_length;
    b.step(k, t, t + period);
    b.copy(CopyKind::host_to_device, Memory::pinned, bytes, t, after, t, after, async);
    b.kernel("matmul", after + 805 * us, after + 805 * us, after + 1805 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", after + 805 * us, after + 1805 * us);
  }
  return b;
}

TEST(BlockingCopy, TheHostsWorkThatFitsUnderItIsTheGain) {
  const Scene scene(blocking_steps(1000 * us, false));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  const Finding& t2 = found[0];
  EXPECT_EQ(t2.rule, RuleId::T2);
  EXPECT_EQ(t2.evidence_total, 10u);
  // The host's 805 us go under the copy: 805 us less, not the 1,000 us that it was held.
  EXPECT_NEAR(static_cast<double>(t2.saving.expected), 10 * 805e3, 10 * 8.05e3);
  EXPECT_DOUBLE_EQ(fact(t2, "blocked_ns"), 10 * 1000e3);
  // From the call to the kernel 1,805 us pass, of which the call can be blamed for 1,000.
  EXPECT_DOUBLE_EQ(fact(t2, "idle_ns"), 10 * 1000e3);
  EXPECT_GE(t2.severity, Severity::minor);
  EXPECT_TRUE(says(t2, "1.00 ms per step"));
  EXPECT_TRUE(says(t2, "asynchronously"));
}

TEST(BlockingCopy, SaysThatThereIsNoGainWhereTheDeviceWasBusyAllTheWhile) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 3005 * us + ms;
    b.step(k, t, t + 3005 * us);
    b.on(0, 7).kernel("matmul", t + 5 * us, t + 5 * us, t + 3005 * us);
    b.on(0, 8).copy(CopyKind::host_to_device, Memory::pinned, 10 * MB, t + 5 * us, t + 1005 * us,
                    t + 5 * us, t + 1005 * us, false);
    b.on(0, 7).call(CallKind::sync_stream, "cudaStreamSynchronize", t + 1005 * us, t + 3005 * us);
  }
  const Scene scene(std::move(b));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].saving.expected, 0);
  EXPECT_EQ(found[0].severity, Severity::info);
  EXPECT_DOUBLE_EQ(fact(found[0], "blocked_ns"), 10 * 1000e3);
  EXPECT_LE(fact(found[0], "idle_ns"), 10 * 5e3);
  EXPECT_TRUE(says(found[0], "no gain"));
}

TEST(BlockingCopy, HoldsTheHostForMoreThanTheLargerLimit) {
  // A step is 1,825 us: 1 % is 18.25 us, so 20 us are the limit.
  EXPECT_TRUE(Scene(blocking_steps(20 * us, false)).find(find_pageable).empty());
  EXPECT_EQ(Scene(blocking_steps(20 * us + 10, false)).find(find_pageable).size(), 1u);
  Scene strict(blocking_steps(20 * us + 10, false));
  strict.limits.t2_min_share = 0.02;  // 36.5 us
  EXPECT_TRUE(strict.find(find_pageable).empty());
}

TEST(BlockingCopy, SmallUploadsDoNotBlock) {
  EXPECT_TRUE(Scene(blocking_steps(1000 * us, false, 65536)).find(find_pageable).empty());
  EXPECT_EQ(Scene(blocking_steps(1000 * us, false, 65537)).find(find_pageable).size(), 1u);
}

// One call launches a graph: its copies do not hold the host, whatever the call is named.
TEST(BlockingCopy, CopiesOfAGraphAreNoCallsToCopy) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2000 * us + ms;
    b.step(k, t, t + 2000 * us);
    const uint32_t call =
        b.call(CallKind::graph_launch, "cudaGraphLaunch", t, t + 100 * us, 500 + k);
    const uint32_t copy = b.work(WorkKind::copy, "copy", t + 100 * us, t + 1000 * us, call);
    b.trace.work.copy_kind[copy] = static_cast<uint8_t>(CopyKind::host_to_device);
    b.trace.work.host_memory[copy] = static_cast<uint8_t>(Memory::pinned);
    b.trace.work.bytes[copy] = 10 * MB;
    b.work(WorkKind::kernel, "matmul", t + 1000 * us, t + 2000 * us, call);
  }
  EXPECT_TRUE(Scene(std::move(b)).find(find_pageable).empty());
}

TEST(BlockingCopy, PageableOnesAreReplayedWithThePinnedTimeToo) {
  Builder b = blocking_steps(1000 * us, false);
  for (uint32_t row = 0; row < b.trace.work.size(); ++row) {
    if (b.trace.work.copy_kind[row] != 0) {
      b.trace.work.host_memory[row] = static_cast<uint8_t>(Memory::pageable);
    }
  }
  const Scene scene(std::move(b), pinned_links(10 * MB / 900e3 * 1e9));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  // 900 us instead of 1,000, with the host's 805 us under it: 905 us less.
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 905e3, 10 * 9.05e3);
  EXPECT_TRUE(says(found[0], "page-locked"));
}

TEST(BlockingCopy, EachDirectionHasARateOfItsOwn) {
  Builder b = blocking_steps(1000 * us, false);
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2805 * us + ms + 2000 * us;
    b.on(0, 9).copy(CopyKind::device_to_host, Memory::pageable, 10 * MB, t, t + 500 * us, t,
                    t + 500 * us, false);
  }
  for (uint32_t row = 0; row < b.trace.work.size(); ++row) {
    if (b.trace.work.copy_kind[row] != 0)
      b.trace.work.host_memory[row] = static_cast<uint8_t>(Memory::pageable);
  }
  LinkModel links;
  links.add(make_line(CopyKind::host_to_device, Memory::pinned, 20 * GB, 0));
  links.add(make_line(CopyKind::device_to_host, Memory::pinned, 40 * GB, 0));
  const Scene scene(std::move(b), links);
  const std::vector<Finding> found = scene.find(find_pageable, RuleId::T2);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(says(found[0], "20.0 GB/s to the device")) << found[0].advice;
  EXPECT_TRUE(says(found[0], "40.0 GB/s to the host")) << found[0].advice;
  // Where only the latency is known there is no rate to name.
  links = {};
  links.add(make_line(CopyKind::host_to_device, Memory::pinned, 0, 5000));
  b = blocking_steps(1000 * us, false);
  for (uint8_t& memory : b.trace.work.host_memory) memory = static_cast<uint8_t>(Memory::pageable);
  const Scene latency(std::move(b), links);
  for (const Finding& one : latency.find(find_pageable))
    EXPECT_FALSE(says(one, "reaches")) << one.advice;
}

// As blocking_steps, with a fill of host memory.
Builder fill_steps(Memory memory, bool async) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2805 * us + ms;
    b.step(k, t, t + 2805 * us);
    const uint32_t c = b.call(CallKind::fill, async ? "cudaMemsetAsync" : "cudaMemset", t,
                              t + (async ? 5 : 1000) * us);
    if (!async) b.trace.calls.flags[c] |= kBlocking;
    const uint32_t row = b.work(WorkKind::fill, "fill", t, t + 1000 * us, c);
    b.trace.work.host_memory[row] = static_cast<uint8_t>(memory);
    b.trace.work.bytes[row] = MB;
    b.kernel("matmul", t + 1805 * us, t + 1805 * us, t + 2805 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 1805 * us, t + 2805 * us);
  }
  return b;
}

TEST(BlockingFill, OnlySynchronousOnesOfHostMemoryAreFound) {
  const Scene scene(fill_steps(Memory::pinned, false));
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rule, RuleId::S2);
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 805e3, 10 * 8.05e3);
  EXPECT_EQ(Scene(fill_steps(Memory::managed, false)).find(find_pageable).size(), 1u);
  EXPECT_TRUE(Scene(fill_steps(Memory::device, false)).find(find_pageable).empty());
  EXPECT_TRUE(Scene(fill_steps(Memory::pinned, true)).find(find_pageable).empty());
}

TEST(Pageable, FiguresAreWithheldFromABadRecording) {
  Scene scene(pageable_steps(Memory::pageable), pinned_links(20 * GB));
  scene.health.verdict = Confidence::low;
  const std::vector<Finding> found = scene.find(find_pageable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].withheld);
  EXPECT_EQ(found[0].saving.expected, 0);
  EXPECT_FALSE(says(found[0], "Expected gain"));
}

TEST(Pageable, ImpossibleTimesAreSurvived) {
  Builder b = pageable_steps(Memory::pageable);
  const uint32_t row = b.copy(CopyKind::host_to_device, Memory::pageable, UINT64_MAX, INT64_MIN,
                              INT64_MAX, INT64_MIN, INT64_MAX);
  b.trace.work.flags[row] = kExcluded;
  b.copy(CopyKind::host_to_device, Memory::pageable, UINT64_MAX, 5 * ms, 4 * ms, 5 * ms, 4 * ms);
  const Scene scene(std::move(b), pinned_links(20 * GB));
  for (const Finding& one : scene.find(find_pageable)) {
    EXPECT_GE(one.saving.lower, 0);
    EXPECT_LE(one.saving.lower, one.saving.expected);
    EXPECT_LE(one.saving.expected, one.saving.upper);
  }
}

}  // namespace
}  // namespace mill::prof::test
