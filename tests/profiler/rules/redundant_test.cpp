#include <gtest/gtest.h>

#include "profiler/rules/transfer_setup.h"

namespace mill::prof::test {
namespace {

constexpr uint32_t kF16 = 10;
constexpr uint32_t kF32 = 12;
constexpr uint32_t kU8 = 2;

// Each step: a pinned copy of 10 MB in 1,000 us, a kernel of 1,000 us, a wait for it: 2,005 us.
// Gives the rows of the copies.
Builder upload_steps(std::vector<uint32_t>* rows) {
  Builder b;
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2005 * us + ms;
    b.step(k, t, t + 2005 * us);
    rows->push_back(b.copy(CopyKind::host_to_device, Memory::pinned, 10 * MB, t, t + 5 * us,
                           t + 5 * us, t + 1005 * us));
    b.kernel("matmul", t + 10 * us, t + 1005 * us, t + 2005 * us);
    b.call(CallKind::sync_stream, "cudaStreamSynchronize", t + 10 * us, t + 2005 * us);
  }
  return b;
}

void set_tensor(Builder& b, uint32_t row, uint64_t tensor, uint32_t version) {
  b.trace.work.tensor[row] = tensor;
  b.trace.work.tensor_version[row] = version;
}

TEST(Redundant, ATensorThatDidNotChangeNeedsToBeSentOnce) {
  std::vector<uint32_t> rows;
  Builder b = upload_steps(&rows);
  for (const uint32_t row : rows) set_tensor(b, row, 17, 3);
  const Scene scene(std::move(b));
  const std::vector<Finding> found = scene.find(find_redundant);
  ASSERT_EQ(found.size(), 1u);
  const Finding& t6 = found[0];
  EXPECT_EQ(t6.rule, RuleId::T6);
  EXPECT_EQ(t6.evidence_total, 9u);
  // Nine steps of 2,005 us become a launch of 5 us and a kernel of 1,000: 1,000 us each. The naive
  // answer counts all ten copies.
  EXPECT_NEAR(static_cast<double>(t6.saving.expected), 9 * 1000e3, 9 * 10e3);
  EXPECT_LT(static_cast<double>(t6.saving.expected), 0.95 * 10 * 1000e3);
  EXPECT_DOUBLE_EQ(fact(t6, "bytes"), 90e6);
  EXPECT_TRUE(says(t6, "Tensor 17 (10.0 MB) (version 3) was sent to device 0 (gpu0) 10 times"));
  EXPECT_TRUE(says(t6, "Keep it on the device"));
}

TEST(Redundant, ATensorThatChangedIsSilent) {
  std::vector<uint32_t> rows;
  Builder b = upload_steps(&rows);
  for (size_t k = 0; k < rows.size(); ++k) set_tensor(b, rows[k], 17, static_cast<uint32_t>(k));
  EXPECT_TRUE(Scene(std::move(b)).find(find_redundant).empty());
}

TEST(Redundant, UnknownTensorsAndOtherDevicesAreSilent) {
  std::vector<uint32_t> rows;
  EXPECT_TRUE(Scene(upload_steps(&rows)).find(find_redundant).empty());
  Builder b;
  b.device(1);
  for (uint32_t d = 0; d < 2; ++d) {
    const uint32_t row = b.on(d).copy(CopyKind::host_to_device, Memory::pinned, MB, ms, ms + 5 * us,
                                      ms + 5 * us, ms + 100 * us);
    set_tensor(b, row, 17, 3);
  }
  EXPECT_TRUE(Scene(std::move(b)).find(find_redundant).empty());
}

TEST(Redundant, WhatCameFromTheDeviceUnchangedNeedNotGoBack) {
  std::vector<uint32_t> rows;
  Builder b = upload_steps(&rows);
  for (int k = 0; k < kSteps; ++k) {
    const auto version = static_cast<uint32_t>(k);
    const Ns t = k * 2005 * us + ms;
    set_tensor(b, rows[static_cast<size_t>(k)], 17, version);
    const uint32_t left = b.on(0, 9).copy(CopyKind::device_to_host, Memory::pinned, 10 * MB,
                                          t - 100 * us, t - 100 * us, t - 50 * us, t - 10 * us);
    set_tensor(b, left, 17, version);
  }
  const Scene scene(std::move(b));
  const std::vector<Finding> found = scene.find(find_redundant);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].evidence_total, 10u);
  EXPECT_DOUBLE_EQ(fact(found[0], "round_trips"), 10);
  EXPECT_TRUE(says(found[0], "sent back unchanged 10 times"));
}

// Links each upload to an engine's record of it: a copy from a storage into a new tensor.
void add_engine_copies(Builder& b, const std::vector<uint32_t>& rows, uint32_t exec,
                       bool from_storage) {
  for (const uint32_t row : rows) {
    const uint32_t copy = b.trace.copies.add();
    Copies& copies = b.trace.copies;
    copies.start[copy] = b.trace.work.start[row] - 6 * us;
    copies.end[copy] = b.trace.work.start[row] + us;
    copies.from[copy] = static_cast<uint8_t>(Memory::pageable);
    copies.to[copy] = static_cast<uint8_t>(Memory::device);
    copies.bytes[copy] = b.trace.work.bytes[row];
    copies.tensor[copy] = from_storage ? 100 + row : 17;
    copies.source[copy] = from_storage ? 5 : 0;
    copies.tensor_version[copy] = 2;
    copies.exec[copy] = exec;
    copies.scope[copy] = b.trace.strings.intern("train/weights");
  }
}

TEST(Redundant, TheStorageThatWasCopiedFromTellsTheContent) {
  std::vector<uint32_t> rows;
  Builder b = upload_steps(&rows);
  add_engine_copies(b, rows, 1, true);
  const Scene scene(std::move(b));
  const std::vector<Finding> found = scene.find(find_redundant);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].evidence_total, 9u);
  EXPECT_TRUE(says(found[0], "of train/weights (10.0 MB)"));
}

TEST(Redundant, PiecesOfALoadersBatchAreNotRepeats) {
  std::vector<uint32_t> rows;
  Builder b = upload_steps(&rows);
  add_engine_copies(b, rows, 0, false);
  EXPECT_TRUE(Scene(std::move(b)).find(find_redundant).empty());
}

TEST(Redundant, TheTenBiggestTensorsAreNamedAndTheRestIsPutTogether) {
  Builder b;
  Ns t = ms;
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (uint32_t k = 1; k <= 13; ++k) {
      const uint32_t row = b.copy(CopyKind::host_to_device, Memory::pinned, MB, t, t + 5 * us,
                                  t + 5 * us, t + (100 + k) * us);
      set_tensor(b, row, k, 1);
      t += 200 * us;
    }
  }
  const Scene scene(std::move(b));
  const std::vector<Finding> found = scene.find(find_redundant);
  ASSERT_EQ(found.size(), 11u);
  EXPECT_TRUE(says(found[0], "Tensor 13 "));
  EXPECT_TRUE(says(found[9], "Tensor 4 "));
  EXPECT_EQ(found[10].evidence_total, 3u);
  EXPECT_DOUBLE_EQ(fact(found[10], "tensors"), 3);
}

TEST(Redundant, CopiesBelowTheSizeAreSilent) {
  std::vector<uint32_t> rows;
  Builder b = upload_steps(&rows);
  for (const uint32_t row : rows) set_tensor(b, row, 17, 3);
  Scene scene(std::move(b));
  scene.limits.t6_min_bytes = 1e7 + 1;
  EXPECT_TRUE(scene.find(find_redundant).empty());
  scene.limits.t6_min_bytes = 1e7;
  EXPECT_EQ(scene.find(find_redundant).size(), 1u);
}

// Each step's copy is followed by a cast of what it brought.
Builder cast_steps(uint32_t from, uint32_t to, uint64_t op_bytes, uint64_t op_tensor = 0) {
  std::vector<uint32_t> rows;
  Builder b = upload_steps(&rows);
  for (int k = 0; k < kSteps; ++k) {
    const Ns t = k * 2005 * us + ms;
    const uint32_t op = b.op("cast", t + 6 * us, t + 9 * us);
    b.trace.ops.dtypes[op] = to | from << 8;
    b.trace.ops.bytes[op] = op_bytes;
    b.trace.ops.tensor[op] = op_tensor;
    b.trace.work.tensor[rows[static_cast<size_t>(k)]] = 40 + static_cast<uint64_t>(k);
  }
  return b;
}

TEST(FatTransfer, TheNarrowTypeIsSentInstead) {
  // 10 MB of f32 read and 5 MB of f16 written.
  const Scene scene(cast_steps(kF32, kF16, 15 * MB), pinned_links(10 * GB));
  const std::vector<Finding> found = scene.find(find_redundant, RuleId::T9);
  ASSERT_EQ(found.size(), 1u);
  const Finding& t9 = found[0];
  EXPECT_EQ(t9.evidence_total, 10u);
  // 5 MB at 10 GB/s: 500 us of each 1,000 remain.
  EXPECT_NEAR(static_cast<double>(t9.saving.expected), 10 * 500e3, 10 * 5e3);
  EXPECT_DOUBLE_EQ(fact(t9, "bytes_saved"), 50e6);
  EXPECT_TRUE(says(t9, "f32"));
  EXPECT_TRUE(says(t9, "f16"));
}

TEST(FatTransfer, TheFixedCostOfACopyStays) {
  // 200 us and 10 MB in 800 us: the narrow copy takes 200 + 400 us. In proportion it were 500.
  const Scene scene(cast_steps(kF32, kF16, 15 * MB), pinned_links(12.5 * GB, 200e3));
  const std::vector<Finding> found = scene.find(find_redundant, RuleId::T9);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NEAR(static_cast<double>(found[0].saving.expected), 10 * 400e3, 10 * 4e3);
}

TEST(FatTransfer, WideningAndPartsAndUnknownTypesAreSilent) {
  EXPECT_TRUE(Scene(cast_steps(kU8, kF32, 50 * MB)).find(find_redundant).empty());
  EXPECT_TRUE(Scene(cast_steps(kF32, kF32, 20 * MB)).find(find_redundant).empty());
  EXPECT_TRUE(Scene(cast_steps(kF32, kF16, 6 * MB)).find(find_redundant).empty());
  EXPECT_TRUE(Scene(cast_steps(0, 0, 15 * MB)).find(find_redundant).empty());
  EXPECT_TRUE(Scene(cast_steps(200, 255, 15 * MB)).find(find_redundant).empty());
}

// A comparison with one value reads 10 MB and writes a byte for each four: no cast.
TEST(FatTransfer, ABroadcastIsNoCast) {
  const auto of_kernel = [](const char* kernel) {
    Builder b = cast_steps(kF32, 1, 10 * MB / 4 * 5);
    for (uint32_t& name : b.trace.ops.name) name = b.trace.strings.intern("op");
    for (int k = 0; k < kSteps; ++k) {
      const Ns t = k * 2005 * us + ms;
      const uint32_t row = b.kernel(kernel, t + 9 * us, t + 1002 * us, t + 1004 * us, us);
      b.trace.work.instance[row] = b.trace.ops.instance[static_cast<size_t>(k)] =
          static_cast<uint64_t>(k) + 1;
    }
    return Scene(std::move(b)).find(find_redundant, RuleId::T9).size();
  };
  EXPECT_EQ(of_kernel("broadcast_greater_f32"), 0u);
  EXPECT_EQ(of_kernel("broadcast_cast_f32"), 1u);
  EXPECT_EQ(of_kernel("vectorized_cast"), 1u);
}

TEST(FatTransfer, CopiesBelowTheSizeAreSilent) {
  Scene scene(cast_steps(kF32, kF16, 15 * MB));
  scene.limits.t9_min_bytes = 1e7 + 1;
  EXPECT_TRUE(scene.find(find_redundant).empty());
  scene.limits.t9_min_bytes = 1e7;
  EXPECT_EQ(scene.find(find_redundant).size(), 1u);
}

TEST(FatTransfer, TheSameTensorIsEnoughWhereAnOpSaysNoBytes) {
  // Only the first copy brings tensor 40.
  const std::vector<Finding> found =
      Scene(cast_steps(kF32, kF16, 0, 40)).find(find_redundant, RuleId::T9);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].evidence_total, 1u);
}

}  // namespace
}  // namespace mill::prof::test
