// What holds for all rules about transfers.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <random>

#include "profiler/rules/transfer_setup.h"

namespace mill::prof::test {
namespace {

constexpr std::array<RuleFunction, 5> kTransferRules = {
    find_pageable, find_exposed, find_slow_links, find_small, find_redundant};

std::vector<Finding> find_all(const Scene& scene) {
  std::vector<Finding> out;
  for (const RuleFunction rule : kTransferRules) rule(scene.input(), out);
  return out;
}

LinkModel links() {
  LinkModel model = pinned_links(20 * GB, 2000);
  model.add(make_line(CopyKind::host_to_device, Memory::pageable, 10 * GB, 2000));
  return model;
}

// Something for most of the rules, from `begin` on.
Builder everything(Ns begin) {
  Builder b;
  b.device(1);
  for (int k = 0; k < 6; ++k) {
    Ns t = begin + k * 10 * ms;
    b.step(k, t, t + 10 * ms);
    // Pageable, and too wide.
    const uint32_t wide =
        b.on(0, 7).copy(CopyKind::host_to_device, Memory::pageable, 8 * MB, t, t + ms, t, t + ms);
    b.trace.work.tensor[wide] = 500 + static_cast<uint64_t>(k);
    const uint32_t cast = b.op("cast", t + ms, t + ms + 10 * us);
    b.trace.ops.dtypes[cast] = 10 | 12 << 8;
    b.trace.ops.bytes[cast] = 12 * MB;
    b.kernel("cast", t + ms + 10 * us, t + ms + 10 * us, t + ms + 50 * us);
    // Sent again and again.
    const uint32_t again =
        b.copy(CopyKind::host_to_device, Memory::pinned, 4 * MB, t + ms + 50 * us, t + ms + 55 * us,
               t + ms + 60 * us, t + ms + 500 * us);
    b.trace.work.tensor[again] = 17;
    // Many small ones.
    t += 2 * ms;
    for (int i = 0; i < 60; ++i, t += 5 * us) {
      b.copy(CopyKind::host_to_device, Memory::pinned, 100, t, t + 5 * us, t + 5 * us, t + 7100);
    }
    b.kernel("matmul", t + 5 * us, t + 10 * us, t + 2 * ms);
    // Back by a blocking copy, and on to the other device.
    t += 2 * ms;
    b.copy(CopyKind::device_to_host, Memory::pinned, 8 * MB, t, t + ms, t, t + ms, false);
    b.on(1, 7).copy(CopyKind::host_to_device, Memory::pinned, 8 * MB, t + ms, t + 2 * ms, t + ms,
                    t + 2 * ms, false);
    b.kernel("matmul", t + 2 * ms + 5 * us, t + 2 * ms + 5 * us, t + 3 * ms);
    const uint32_t moved = b.trace.managed.add();
    b.trace.managed.start[moved] = t + 2 * ms + 10 * us;
    b.trace.managed.end[moved] = t + 2 * ms + 800 * us;
    b.trace.managed.device[moved] = 1;
    b.trace.managed.kind[moved] = static_cast<uint8_t>(ManagedKind::to_device);
    b.trace.managed.bytes[moved] = 2 * MB;
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 2 * ms + 5 * us, t + 3 * ms);
  }
  return b;
}

TEST(Transfers, EachFindingIsComplete) {
  const Scene scene(everything(ms), links());
  const std::vector<Finding> found = find_all(scene);
  std::vector<RuleId> seen;
  for (const Finding& one : found) {
    SCOPED_TRACE(rule_id_text(one.rule));
    seen.push_back(one.rule);
    EXPECT_FALSE(one.title.empty());
    EXPECT_TRUE(says(one, "Expected gain")) << one.advice;
    EXPECT_FALSE(one.evidence.empty());
    EXPECT_GE(one.evidence_total, one.evidence.size());
    EXPECT_FALSE(one.facts.empty());
    EXPECT_NE(one.device, kNoRow);
    EXPECT_GT(one.window.length(), 0);
    EXPECT_STRNE(one.fix.knob, "");
    EXPECT_LE(0, one.saving.lower);
    EXPECT_LE(one.saving.lower, one.saving.expected);
    EXPECT_LE(one.saving.expected, one.saving.upper);
    EXPECT_LE(one.saving.upper, one.window.length());
  }
  for (const RuleId rule : {RuleId::T1, RuleId::T2, RuleId::T3, RuleId::T4, RuleId::T5, RuleId::T6,
                            RuleId::T9, RuleId::T10, RuleId::T11}) {
    EXPECT_NE(std::find(seen.begin(), seen.end(), rule), seen.end()) << rule_id_text(rule);
  }
}

TEST(Transfers, ShiftingAllTimesChangesNothing) {
  const std::vector<Finding> one = find_all(Scene(everything(ms), links()));
  const std::vector<Finding> other = find_all(Scene(everything(ms + 12345678901234), links()));
  ASSERT_EQ(one.size(), other.size());
  for (size_t k = 0; k < one.size(); ++k) {
    EXPECT_EQ(one[k].rule, other[k].rule);
    EXPECT_EQ(one[k].saving.lower, other[k].saving.lower);
    EXPECT_EQ(one[k].saving.expected, other[k].saving.expected);
    EXPECT_EQ(one[k].saving.upper, other[k].saving.upper);
    EXPECT_EQ(one[k].title, other[k].title);
    EXPECT_EQ(one[k].advice, other[k].advice);
  }
}

TEST(Transfers, AnEmptyTraceIsSilent) {
  EXPECT_TRUE(find_all(Scene(Builder(), links())).empty());
}

// Batches arrive from page-locked memory on a stream of their own while kernels run; a loss is read
// one step late.
TEST(Transfers, APipelineThatHidesItsCopiesIsSilent) {
  Builder b;
  for (int k = 0; k < 20; ++k) {
    const Ns t = ms + k * 2 * ms;
    b.step(k, t, t + 2 * ms);
    b.on(0, 8).copy(CopyKind::host_to_device, Memory::pinned, 10 * MB, t, t + 5 * us, t + 10 * us,
                    t + 510 * us);
    b.on(0, 7).kernel("forward", t + 10 * us, t + 10 * us, t + ms);
    b.kernel("backward", t + 20 * us, t + ms, t + 2 * ms - 10 * us);
    b.on(0, 9).copy(CopyKind::device_to_host, Memory::pinned, 4, t + 20 * us, t + 25 * us,
                    t + 30 * us, t + 32 * us);
    b.on(0, 7).call(CallKind::sync_event, "cudaEventSynchronize", t + 30 * us, t + 2 * ms - 5 * us);
  }
  EXPECT_TRUE(find_all(Scene(std::move(b), links())).empty());
}

TEST(Transfers, AnyRowsAreSurvived) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 60; ++round) {
    Builder b = everything(ms);
    const auto change = [&](auto& table) {
      std::remove_reference_t<decltype(table)>::visit(
          table, [&](const ColumnInfo& info, auto& column) {
            using Value = typename std::remove_reference_t<decltype(column)>::value_type;
            // Links into other tables are made by link(), never by a source.
            if (info.unit == Unit::row || info.unit == Unit::string) return;
            for (int n = 0; n < 3 && !column.empty(); ++n) {
              const size_t row = random() % column.size();
              const uint64_t bits = random();
              switch (random() % 4) {
                case 0: column[row] = static_cast<Value>(bits); break;
                case 1: column[row] = static_cast<Value>(bits % 64); break;
                case 2: column[row] = std::numeric_limits<Value>::max(); break;
                default: column[row] = std::numeric_limits<Value>::lowest(); break;
              }
            }
          });
    };
    change(b.trace.work);
    change(b.trace.calls);
    change(b.trace.ops);
    change(b.trace.managed);
    change(b.trace.marked_steps);
    for (const Finding& one : find_all(Scene(std::move(b), links()))) {
      EXPECT_LE(0, one.saving.lower);
      EXPECT_LE(one.saving.lower, one.saving.expected);
      EXPECT_LE(one.saving.expected, one.saving.upper);
    }
  }
}

}  // namespace
}  // namespace mill::prof::test
