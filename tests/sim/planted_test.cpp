// Every planted bug is found, named with its kernel and its line; clean kernels stay quiet.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "gpu/runtime/sim/device.h"
#include "millrace/plugin.h"
#include "planted/kernels.h"

// Of the simulated accelerator, which the tests are linked with.
extern "C" mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                        mill_kernel_error* error);

namespace mill::sim::test {

namespace {

constexpr int64_t kElements = 64;
constexpr int64_t kCounts = 15;
constexpr uint64_t kMemory = uint64_t{1} << 20;
constexpr uint64_t kWorkspace = 4096;
constexpr uint64_t kSeeds[] = {0, 1, 7, 123456789};

// A device with the operands of a planted kernel, cut from one allocation at multiples of 512 as
// the engine's allocator cuts them: what lies behind a tensor is memory of the device.
class Bench {
 public:
  explicit Bench(int64_t checked, uint64_t seed = 0, bool checked_late = false) {
    mill_plugin plugin{};
    plugin.size = sizeof plugin;
    host_.size = sizeof host_;
    EXPECT_EQ(mill_plugin_open(MILL_PLUGIN_ABI, &plugin, &error_), MILL_OK) << error_.text;
    std::string spec = "h200-sxm,seed=" + std::to_string(seed);
    if (!checked_late) spec += ",checked=" + std::to_string(checked);
    EXPECT_EQ(plugin.open(plugin.self, spec.c_str(), &host_, &device_, &error_), MILL_OK)
        << error_.text;
    EXPECT_EQ(device_->streams->create(self(), 0, &stream_, &error_), MILL_OK) << error_.text;
    EXPECT_EQ(device_->memory->allocate(self(), kMemory, 256, &memory_, &error_), MILL_OK)
        << error_.text;
    auto* base = static_cast<char*>(memory_);
    in_ = tensor(base + 4096, MILL_F32, kElements);
    out_ = tensor(base + 4096 + 512, MILL_F32, kElements);
    count_ = tensor(base + 4096 + 1024, MILL_I32, kCounts);
    workspace_ = base + 8192;
    std::vector<float> values;
    for (int i = 0; i < kElements; ++i) values.push_back(static_cast<float>(i % 7) - 2.5f);
    copy(in_.data, values.data(), kElements * 4, MILL_COPY_HOST_TO_DEVICE);
    fill(count_.data, kCounts * 4);
    if (checked_late) set("checked", checked);
  }
  ~Bench() {
    device_->memory->free(self(), memory_, kMemory);
    device_->streams->destroy(self(), stream_);
    device_->destroy(self());
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void set(const char* name, int64_t value) {
    EXPECT_EQ(device_->configure(self(), name, value, &error_), MILL_OK) << error_.text;
  }

  mill_status launch(const PlantedKernel& kernel) {
    const mill_kernel_tensor* in[] = {&in_};
    const mill_kernel_tensor* out[] = {&out_, &count_};
    mill_kernel_args args{};
    args.in = in;
    args.out = out;
    args.n_in = 1;
    args.n_out = 2;
    args.workspace = workspace_;
    args.workspace_bytes = kWorkspace;
    args.stream = stream_;
    args.host = &host_;
    args.error = &error_;
    error_.text[0] = 0;
    return kernel.launch(&args);
  }

  // The outputs' bytes.
  std::vector<unsigned char> result() {
    constexpr uint64_t kOut = kElements * 4;
    std::vector<unsigned char> bytes(kOut + kCounts * 4);
    copy(bytes.data(), out_.data, kOut, MILL_COPY_DEVICE_TO_HOST);
    copy(bytes.data() + kOut, count_.data, kCounts * 4, MILL_COPY_DEVICE_TO_HOST);
    return bytes;
  }
  void write_workspace() { fill(workspace_, kWorkspace); }
  std::vector<KernelReport> reports() const { return static_cast<Device*>(self())->reports(); }
  const char* text() const { return error_.text; }

 private:
  static mill_kernel_tensor tensor(void* data, int32_t dtype, int64_t n) {
    mill_kernel_tensor t{};
    t.data = data;
    t.numel = n;
    t.dtype = dtype;
    t.rank = 1;
    t.dims[0] = n;
    t.strides[0] = 1;
    return t;
  }
  void* self() const { return device_->self; }
  void copy(void* to, const void* from, uint64_t bytes, int32_t kind) {
    EXPECT_EQ(device_->copies->copy(self(), stream_, to, from, bytes, kind, &error_), MILL_OK)
        << error_.text;
    wait();
  }
  void fill(void* to, uint64_t bytes) {
    EXPECT_EQ(device_->copies->fill(self(), stream_, to, 0, bytes, &error_), MILL_OK)
        << error_.text;
    wait();
  }
  void wait() {
    EXPECT_EQ(device_->streams->wait(self(), stream_, &error_), MILL_OK) << error_.text;
  }

  mill_host_services host_{};
  const mill_device_table* device_ = nullptr;
  mill_kernel_error error_{};
  void* stream_ = nullptr;
  void* memory_ = nullptr;
  mill_kernel_tensor in_{};
  mill_kernel_tensor out_{};
  mill_kernel_tensor count_{};
  void* workspace_ = nullptr;
};

const PlantedKernel& kernel(const std::string& name) {
  const PlantedList list = sim_::planted_kernels();
  for (size_t i = 0; i < list.count; ++i) {
    if (list.kernels[i].name == name) return list.kernels[i];
  }
  ADD_FAILURE() << "no planted kernel " << name;
  return list.kernels[0];
}

// The lines of the kernel's file that say so.
std::set<int> planted_lines(const std::string& name) {
  std::ifstream file(std::string(MILL_PLANTED_DIR) + "/" + name + ".inl");
  EXPECT_TRUE(file) << name;
  std::set<int> lines;
  std::string text;
  for (int line = 1; std::getline(file, text); ++line) {
    if (text.find("// planted") != std::string::npos) lines.insert(line);
  }
  EXPECT_FALSE(lines.empty()) << name;
  return lines;
}

bool names_planted_line(const Site& site, const std::string& name) {
  if (!site.file) return false;
  const char* slash = std::strrchr(site.file, '/');
  return (slash ? slash + 1 : site.file) == name + ".inl" &&
         planted_lines(name).count(site.line) == 1;
}

struct Expected {
  const char* name;
  std::set<GridFault> faults;
};

void PrintTo(const Expected& e, std::ostream* out) {
  *out << e.name;
}

class Planted : public testing::TestWithParam<Expected> {};

TEST_P(Planted, IsReportedWithKernelAndLineInAnyOrder) {
  const Expected& expected = GetParam();
  for (const uint64_t seed : kSeeds) {
    Bench bench(1, seed);
    EXPECT_EQ(bench.launch(kernel(expected.name)), MILL_E_INTERNAL);
    const std::vector<KernelReport> reports = bench.reports();
    ASSERT_EQ(reports.size(), 1u) << "seed " << seed;
    const GridReport& report = reports[0].report;
    EXPECT_EQ(reports[0].kernel, expected.name);
    EXPECT_EQ(expected.faults.count(report.fault), 1u) << bench.text();
    EXPECT_TRUE(names_planted_line(report.site, expected.name) ||
                names_planted_line(report.other, expected.name))
        << bench.text();
    EXPECT_EQ(reports[0].text, bench.text());
    EXPECT_NE(std::string(bench.text()).find(std::string("kernel ") + expected.name + ": block"),
              std::string::npos)
        << bench.text();
    EXPECT_NE(std::string(bench.text()).find(std::string(expected.name) + ".inl:"),
              std::string::npos)
        << bench.text();
  }
}

const Expected kExpected[] = {
    {"barrier_in_branch", {GridFault::divergent_barrier}},
    {"block_race", {GridFault::block_race}},
    {"cleared_late", {GridFault::mixed_atomic, GridFault::unwritten}},
    {"divergent_shuffle", {GridFault::divergent_warp}},
    {"dynamic_overflow", {GridFault::out_of_bounds}},
    {"early_return", {GridFault::lane_exited}},
    {"inner_index", {GridFault::inner_index}},
    {"late_block", {GridFault::out_of_bounds}},
    {"misaligned", {GridFault::misaligned}},
    {"missing_barrier", {GridFault::race}},
    {"missing_warp_sync", {GridFault::race, GridFault::unwritten}},
    {"mixed_atomic", {GridFault::mixed_atomic}},
    {"null_operand", {GridFault::null_address}},
    {"off_by_one", {GridFault::out_of_bounds}},
    {"read_by_blocks", {GridFault::block_race}},
    {"read_by_lanes", {GridFault::race}},
    {"read_by_warps", {GridFault::race}},
    {"shared_overflow", {GridFault::out_of_bounds}},
    {"short_buffer", {GridFault::out_of_bounds}},
    {"stencil", {GridFault::race}},
    {"two_writers", {GridFault::race}},
    {"under_run", {GridFault::out_of_bounds}},
    {"untranslated", {GridFault::untranslated}},
    {"unwritten_global", {GridFault::unwritten}},
    {"unwritten_shared", {GridFault::unwritten}},
    {"wide_tail", {GridFault::out_of_bounds}},
};
INSTANTIATE_TEST_SUITE_P(All, Planted, testing::ValuesIn(kExpected),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(PlantedList, EveryKernelThatIsNotCleanIsExpected) {
  std::set<std::string> expected;
  for (const Expected& e : kExpected) expected.insert(e.name);
  const PlantedList list = sim_::planted_kernels();
  for (size_t i = 0; i < list.count; ++i) {
    const std::string name = list.kernels[i].name;
    EXPECT_EQ(expected.count(name), name.starts_with("clean_") ? 0u : 1u) << name;
  }
}

class Clean : public testing::TestWithParam<const char*> {};

TEST_P(Clean, IsQuietInBothFlavoursAndAnyOrder) {
  Bench reference(0);
  ASSERT_EQ(reference.launch(kernel(GetParam())), MILL_OK) << reference.text();
  const std::vector<unsigned char> wanted = reference.result();
  for (const uint64_t seed : kSeeds) {
    for (const int64_t checked : {0, 1, 2}) {
      Bench bench(checked, seed);
      EXPECT_EQ(bench.launch(kernel(GetParam())), MILL_OK) << bench.text();
      EXPECT_TRUE(bench.reports().empty());
      EXPECT_EQ(bench.result(), wanted) << "seed " << seed << ", checked " << checked;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Clean,
                         testing::Values("clean_atomics", "clean_barriers", "clean_neighbours",
                                         "clean_padding", "clean_two_stages", "clean_vectors",
                                         "clean_warp_exchange"),
                         [](const auto& p) { return std::string(p.param); });

TEST(Checked, IsSwitchedWhileTheDeviceRuns) {
  Bench bench(0);
  EXPECT_EQ(bench.launch(kernel("off_by_one")), MILL_OK) << bench.text();
  bench.set("checked", 1);
  EXPECT_EQ(bench.launch(kernel("off_by_one")), MILL_E_INTERNAL);
  bench.set("checked", 0);
  EXPECT_EQ(bench.launch(kernel("off_by_one")), MILL_OK) << bench.text();
  bench.set("checked", 1);
  EXPECT_EQ(bench.launch(kernel("off_by_one")), MILL_E_INTERNAL);
}

TEST(Checked, TheSameLineIsReportedOnceAndCounted) {
  Bench bench(1);
  for (int k = 0; k < 3; ++k) EXPECT_EQ(bench.launch(kernel("short_buffer")), MILL_E_INTERNAL);
  EXPECT_EQ(bench.launch(kernel("under_run")), MILL_E_INTERNAL);
  const std::vector<KernelReport> reports = bench.reports();
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].hits, 3u);
  EXPECT_EQ(reports[1].hits, 1u);
}

TEST(Checked, ALaunchAfterAnAbandonedOneIsChecked) {
  Bench bench(1);
  EXPECT_EQ(bench.launch(kernel("stencil")), MILL_E_INTERNAL);
  EXPECT_EQ(bench.launch(kernel("clean_barriers")), MILL_OK) << bench.text();
  EXPECT_EQ(bench.launch(kernel("two_writers")), MILL_E_INTERNAL);
  EXPECT_EQ(bench.launch(kernel("clean_atomics")), MILL_OK) << bench.text();
}

TEST(Checked, OfAGridTheFirstTwoBlocksAndEveryNthAreChecked) {
  for (const uint64_t seed : kSeeds) {
    Bench some(100, seed);
    EXPECT_EQ(some.launch(kernel("block_race")), MILL_E_INTERNAL);
    EXPECT_LT(some.reports()[0].report.block, 2);
    Bench without_third(4, seed);
    EXPECT_EQ(without_third.launch(kernel("late_block")), MILL_OK) << without_third.text();
    Bench with_third(3, seed);
    EXPECT_EQ(with_third.launch(kernel("late_block")), MILL_E_INTERNAL);
    EXPECT_EQ(with_third.reports()[0].report.block, 3);
  }
}

TEST(Checked, WorkspaceThatAFillHasWrittenMayBeRead) {
  Bench bench(1);
  bench.write_workspace();
  EXPECT_EQ(bench.launch(kernel("unwritten_global")), MILL_OK) << bench.text();
}

TEST(Checked, MemoryFromBeforeTheChecksCountsAsWritten) {
  Bench bench(1, 0, true);
  EXPECT_EQ(bench.launch(kernel("unwritten_global")), MILL_OK) << bench.text();
}

TEST(Checked, WhatWasWrittenWhileTheyWereOffMayBeRead) {
  Bench bench(1);
  bench.set("checked", 0);
  EXPECT_EQ(bench.launch(kernel("unwritten_global")), MILL_OK) << bench.text();
  bench.set("checked", 1);
  EXPECT_EQ(bench.launch(kernel("unwritten_global")), MILL_OK) << bench.text();
}

TEST(Checked, WhatUncheckedBlocksMayHaveWrittenMayBeRead) {
  Bench bench(2);
  EXPECT_EQ(bench.launch(kernel("unwritten_global")), MILL_OK) << bench.text();
}

TEST(Checked, ReportsAreStructured) {
  Bench bench(1);
  ASSERT_EQ(bench.launch(kernel("off_by_one")), MILL_E_INTERNAL);
  const GridReport bounds = bench.reports()[0].report;
  EXPECT_EQ(bounds.operand, OperandKind::input);
  EXPECT_EQ(bounds.operand_index, 0u);
  EXPECT_EQ(bounds.operand_bytes, uint64_t{kElements * 4});
  EXPECT_EQ(bounds.position, kElements * 4);
  EXPECT_EQ(bounds.lane, 63);
  EXPECT_EQ(bounds.access, AccessKind::read);
  ASSERT_EQ(bench.launch(kernel("missing_barrier")), MILL_E_INTERNAL);
  const GridReport race = bench.reports()[1].report;
  EXPECT_TRUE(race.shared);
  EXPECT_NE(race.site.line, race.other.line);
  EXPECT_TRUE(names_planted_line(race.site, "missing_barrier"));
  EXPECT_TRUE(names_planted_line(race.other, "missing_barrier"));
  EXPECT_NE(race.access, race.other_access);
  EXPECT_NE(race.lane, race.other_lane);
}

}  // namespace

}  // namespace mill::sim::test
