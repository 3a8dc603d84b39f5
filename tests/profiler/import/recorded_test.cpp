// Traces that real programs left, with known answers.
#include <cstdlib>
#include <map>
#include <set>

#include "profiler/import/read.h"

namespace mill::prof::test {
namespace {

std::string data(const char* name) {
  const char* folder = std::getenv("MILL_TEST_DATA");
  return folder == nullptr ? std::string() : std::string(folder) + "/traces/" + name;
}

struct Sum {
  uint64_t count = 0;
  Ns ns = 0;
  uint64_t bytes = 0;
};

Sum sum_of(const Trace& trace, WorkKind kind) {
  Sum sum;
  for (uint32_t row = 0; row < trace.work.size(); ++row) {
    if (trace.work.kind[row] != static_cast<uint8_t>(kind)) continue;
    ++sum.count;
    sum.ns += trace.work.end[row] - trace.work.start[row];
    sum.bytes += trace.work.bytes[row];
  }
  return sum;
}

uint64_t calls_named(const Trace& trace, std::string_view name) {
  const uint32_t id = trace.strings.find(name);
  return static_cast<uint64_t>(std::count(trace.calls.name.begin(), trace.calls.name.end(), id));
}

uint64_t work_with_call(const Trace& trace) {
  const std::set<uint64_t> calls(trace.calls.correlation.begin(), trace.calls.correlation.end());
  return static_cast<uint64_t>(
      std::count_if(trace.work.correlation.begin(), trace.work.correlation.end(),
                    [&](uint64_t id) { return id != 0 && calls.contains(id); }));
}

TEST(ImportRecorded, TrainingStepsOf2021) {
  const std::string path = data("kineto_resnet50_workers0.json.gz");
  if (path.empty()) GTEST_SKIP() << "MILL_TEST_DATA names no folder of recorded traces";
  Trace trace;
  std::string why;
  ASSERT_EQ(import_file(path, {}, &trace, &why), ImportStatus::ok) << why;
  EXPECT_EQ(trace.dialect, "kineto");
  EXPECT_FALSE(trace.cut_off);
  EXPECT_EQ(trace.skipped, 0u);
  EXPECT_TRUE(trace.losses.empty());

  const Sum kernels = sum_of(trace, WorkKind::kernel);
  EXPECT_EQ(kernels.count, 8772u);
  EXPECT_EQ(kernels.ns, 591532000);
  const Sum copies = sum_of(trace, WorkKind::copy);
  EXPECT_EQ(copies.count, 12u);
  EXPECT_EQ(copies.ns, 11492000);
  EXPECT_EQ(copies.bytes, 115607040u);
  EXPECT_EQ(sum_of(trace, WorkKind::fill).count, 312u);
  std::set<uint32_t> names;
  for (uint32_t row = 0; row < trace.work.size(); ++row) {
    if (is(trace.work.kind, row, WorkKind::kernel)) names.insert(trace.work.name[row]);
    if (!is(trace.work.kind, row, WorkKind::copy)) continue;
    EXPECT_TRUE(is(trace.work.copy_kind, row, CopyKind::host_to_device));
    EXPECT_TRUE(is(trace.work.host_memory, row, Memory::pageable));
  }
  EXPECT_EQ(names.size(), 67u);
  EXPECT_EQ(work_with_call(trace), 9096u);  // 8,772 + 12 + 312

  EXPECT_EQ(trace.calls.size(), 11923u);
  EXPECT_EQ(calls_named(trace, "cudaLaunchKernel"), 8772u);
  // 23,646 operators, of which 6 are steps and 6 are the loader.
  EXPECT_EQ(trace.ops.size(), 23634u);
  EXPECT_EQ(trace.loader.size(), 6u);
  ASSERT_EQ(trace.ranges.size(), 6u);
  for (uint32_t k = 0; k < 6; ++k) {
    EXPECT_TRUE(is(trace.ranges.kind, k, RangeKind::step));
    EXPECT_EQ(trace.strings.text(trace.ranges.name[k]), "ProfilerStep#" + std::to_string(5 + k));
  }
  EXPECT_EQ(trace.ranges.start[0], 1623142623460172000);
  EXPECT_TRUE(trace.marked_steps.empty());
  EXPECT_EQ(trace.allocations.size(), 12838u);

  ASSERT_EQ(trace.devices.size(), 1u);
  EXPECT_EQ(trace.devices[0].name, "Tesla V100-DGXS-32GB");
  EXPECT_EQ(trace.devices[0].memory_bytes, 34084028416u);
  ASSERT_EQ(trace.streams.size(), 1u);
  EXPECT_EQ(trace.streams[0].number, 7u);
  ASSERT_EQ(trace.threads.size(), 2u);
  // All calls but the last, a synchronisation outside of ops, name the op that made them.
  EXPECT_EQ(std::count_if(trace.calls.instance.begin(), trace.calls.instance.end(),
                          [](uint64_t id) { return id != 0; }),
            11922);
}

TEST(ImportRecorded, InferenceOf2023) {
  const std::string path = data("hta_alexnet_a100.json.gz");
  if (path.empty()) GTEST_SKIP() << "MILL_TEST_DATA names no folder of recorded traces";
  Trace trace;
  std::string why;
  ASSERT_EQ(import_file(path, {}, &trace, &why), ImportStatus::ok) << why;
  EXPECT_EQ(trace.dialect, "kineto");
  EXPECT_EQ(trace.skipped, 0u);

  const Sum kernels = sum_of(trace, WorkKind::kernel);
  EXPECT_EQ(kernels.count, 79u);
  EXPECT_EQ(kernels.ns, 10692000);
  const Sum copies = sum_of(trace, WorkKind::copy);
  EXPECT_EQ(copies.count, 16u);
  EXPECT_EQ(copies.ns, 55503000);
  EXPECT_EQ(copies.bytes, 244403360u);
  EXPECT_EQ(sum_of(trace, WorkKind::fill).count, 3u);
  EXPECT_EQ(work_with_call(trace), 98u);

  std::map<uint64_t, uint32_t> calls;
  for (uint32_t row = 0; row < trace.calls.size(); ++row) calls[trace.calls.correlation[row]] = row;
  uint64_t waits = 0;
  for (uint32_t row = 0; row < trace.calls.size(); ++row) {
    if (trace.calls.waits_for[row] == 0) continue;
    ++waits;
    EXPECT_TRUE(is(trace.calls.kind, row, CallKind::event_wait));
    EXPECT_NE(trace.calls.stream[row], kNoRow);
    const auto record = calls.find(trace.calls.waits_for[row]);
    ASSERT_NE(record, calls.end());
    EXPECT_TRUE(is(trace.calls.kind, record->second, CallKind::event_record));
    EXPECT_NE(trace.calls.stream[record->second], kNoRow);
  }
  EXPECT_EQ(waits, 20u);
  EXPECT_EQ(trace.ops.size(), 359u);
  EXPECT_EQ(trace.ranges.size(), 8u);
  ASSERT_EQ(trace.devices.size(), 1u);
  EXPECT_EQ(trace.devices[0].name, "NVIDIA A100-PG509-200");
  // In this dialect the external id of a call is its correlation, not an op.
  EXPECT_EQ(std::count(trace.calls.instance.begin(), trace.calls.instance.end(), 0u), 361);
}

}  // namespace
}  // namespace mill::prof::test
