#include "profiler/query/tables.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "profiler/builder.h"
#include "profiler/query/analysis_of.h"
#include "profiler/rules/figures.h"

namespace mill::prof {
namespace {

using test::analysis_of;
using test::ms;
using test::us;

Cell cell(const TableView& view, std::string_view column, uint32_t row) {
  Cell out{};
  view.read(view.find(column), row, 1, &out);
  return out;
}
int64_t integer(const TableView& view, std::string_view column, uint32_t row) {
  return cell(view, column, row).i;
}
std::string text(const TableView& view, std::string_view column, uint32_t row) {
  return std::string(view.text(view.find(column), cell(view, column, row)));
}

// One step of an op, a kernel and a copy.
test::Builder one_step() {
  test::Builder b;
  b.step(5, 0, 1 * ms);
  b.op("linear", 10 * us, 100 * us, 1);
  b.copy(CopyKind::host_to_device, Memory::pageable, 4000, 20 * us, 40 * us, 30 * us, 32 * us);
  b.kernel("gemm", 60 * us, 70 * us, 90 * us);
  return b;
}

TEST(TableView, EveryNameOpens) {
  const Analysis analysis = analysis_of(one_step().trace);
  ASSERT_EQ(TableView::names().size(), 23u);  // 12 of the trace and 11 more
  for (const std::string_view name : TableView::names()) {
    const auto view = TableView::open(analysis, name);
    ASSERT_TRUE(view) << name;
    EXPECT_EQ(view->name(), name);
    EXPECT_FALSE(view->columns().empty());
  }
  EXPECT_FALSE(TableView::open(analysis, "nothing"));
  EXPECT_FALSE(TableView::open(analysis, ""));
}

TEST(TableView, NamesOfColumnsAreUniqueInEachTable) {
  const Analysis analysis = analysis_of(one_step().trace);
  for (const std::string_view name : TableView::names()) {
    const auto view = TableView::open(analysis, name);
    for (size_t k = 0; k < view->columns().size(); ++k)
      EXPECT_EQ(view->find(view->columns()[k].name), k) << name << " " << view->columns()[k].name;
  }
}

TEST(TableView, DerivedColumnsOfWork) {
  const Analysis analysis = analysis_of(one_step().trace);
  const auto work = TableView::open(analysis, "work");
  ASSERT_EQ(work->rows(), 2u);
  EXPECT_EQ(text(*work, "kind", 0), "copy");
  EXPECT_EQ(text(*work, "copy_kind", 0), "host to device");
  EXPECT_EQ(integer(*work, "duration_ns", 0), 2 * us);
  // 4000 bytes in 2 us are 2e9 bytes per second.
  EXPECT_DOUBLE_EQ(cell(*work, "bytes_per_s", 0).d, 2e9);
  EXPECT_EQ(text(*work, "op_name", 1), "linear");
  EXPECT_EQ(text(*work, "device_name", 1), "gpu0");
  EXPECT_EQ(integer(*work, "stream_number", 1), 7);
  EXPECT_EQ(integer(*work, "step_index", 1), 0);
  EXPECT_EQ(integer(*work, "step", 1), 0);
  EXPECT_EQ(integer(*work, "step_number", 1), 5);
  EXPECT_EQ(integer(*work, "excluded", 1), 0);
  EXPECT_EQ(integer(*work, "peer", 1), -1);
}

TEST(TableView, KernelsAndTransfersAreRowsOfWorkThatCount) {
  test::Builder b = one_step();
  const uint32_t broken = b.kernel("broken", 200 * us, 210 * us, 220 * us);
  b.trace.work.flags[broken] |= kExcluded;
  const Analysis analysis = analysis_of(b.trace);
  const auto kernels = TableView::open(analysis, "kernels");
  ASSERT_EQ(kernels->rows(), 1u);
  EXPECT_EQ(text(*kernels, "name", 0), "gemm");
  EXPECT_EQ(integer(*kernels, "row", 0), 1);  // of work
  const auto transfers = TableView::open(analysis, "transfers");
  ASSERT_EQ(transfers->rows(), 1u);
  EXPECT_EQ(cell(*transfers, "bytes", 0).u, 4000u);
}

TEST(TableView, ColumnsOfCopiesThatAreNamedLikeKeywordsAreThere) {
  const Analysis analysis = analysis_of({});
  const auto copies = TableView::open(analysis, "copies");
  EXPECT_NE(copies->find("from"), TableView::kNoColumn);
  EXPECT_NE(copies->find("to"), TableView::kNoColumn);
}

TEST(TableView, ValuesOutOfRangeDoNoHarm) {
  test::Builder b;
  const int64_t far = (int64_t{1} << 62) - 1;
  const uint32_t row = b.op("far", -far, far);
  b.trace.ops.tensor[row] = UINT64_MAX;
  b.trace.ops.kind[row] = 250;          // no enumerator
  b.trace.ops.scope[row] = 4000000000;  // no string
  b.trace.ops.device[row] = 77;         // no device
  const Analysis analysis = analysis_of(b.trace);
  const auto ops = TableView::open(analysis, "ops");
  EXPECT_EQ(integer(*ops, "duration_ns", 0), INT64_MAX - 1);  // 2 x (2^62 - 1)
  EXPECT_EQ(cell(*ops, "tensor", 0).u, UINT64_MAX);
  EXPECT_EQ(text(*ops, "kind", 0), "");
  EXPECT_EQ(text(*ops, "scope", 0), "");
  EXPECT_EQ(text(*ops, "device_name", 0), "");
}

TEST(TableView, FillsBuffersOfEightBytesARow) {
  test::Builder b;
  for (int k = 0; k < 3000; ++k) b.op(k % 2 == 0 ? "even" : "odd", k * us, k * us + k);
  const Analysis analysis = analysis_of(b.trace);
  const auto ops = TableView::open(analysis, "ops");
  std::vector<int64_t> lengths(2000, -1);
  ops->fill(ops->find("duration_ns"), 1000, 2000, lengths.data());
  for (int64_t k = 0; k < 2000; ++k) ASSERT_EQ(lengths[static_cast<size_t>(k)], 1000 + k);
  std::vector<const char*> names(2);
  ops->fill(ops->find("name"), 2, 2, names.data());
  EXPECT_STREQ(names[0], "even");
  EXPECT_STREQ(names[1], "odd");
}

TEST(TableView, GapsFindingsHealthAndWhatRowsReferTo) {
  test::Builder b = one_step();
  Analysis analysis = analysis_of(b.trace);
  Gap gap{.device = 0, .begin = 10, .end = 40, .step = 0};
  gap.causes[static_cast<int>(GapCause::sync)] = 20;
  gap.causes[static_cast<int>(GapCause::unknown)] = 10;
  analysis.gaps.push_back(gap);
  Finding finding;
  finding.rule = RuleId::T1;
  finding.rank = 1;
  finding.title = "twelve, \"pageable\" copies";
  finding.saving = {1, 2, 3};
  finding.facts = {{"copies", 12, Unit::none}, {"bytes_per_s", 1.5e9, Unit::none}};
  analysis.findings.push_back(finding);
  analysis.health.items.push_back({HealthCode::cut_off, Confidence::medium, 4, 9, "cut off"});

  const auto gaps = TableView::open(analysis, "gaps");
  EXPECT_EQ(integer(*gaps, "duration_ns", 0), 30);
  EXPECT_EQ(integer(*gaps, "sync_ns", 0), 20);
  EXPECT_EQ(integer(*gaps, "unknown_ns", 0), 10);
  EXPECT_EQ(text(*gaps, "cause", 0), gap_cause_name(GapCause::sync));
  EXPECT_EQ(integer(*gaps, "step_number", 0), 5);
  EXPECT_EQ(integer(*gaps, "next", 0), -1);

  const auto findings = TableView::open(analysis, "findings");
  EXPECT_EQ(text(*findings, "rule", 0), "T1");
  EXPECT_EQ(text(*findings, "title", 0), finding.title);
  EXPECT_EQ(integer(*findings, "saving_expected_ns", 0), 2);
  EXPECT_EQ(integer(*findings, "device", 0), -1);
  EXPECT_EQ(text(*findings, "facts", 0), "copies=12; bytes_per_s=1.5e+09");

  const auto figures = TableView::open(analysis, "figures");
  ASSERT_EQ(figures->rows(), 2u);
  EXPECT_EQ(text(*figures, "rule", 1), "T1");
  EXPECT_EQ(text(*figures, "name", 0), "copies");
  EXPECT_EQ(cell(*figures, "value", 1).d, 1.5e9);
  EXPECT_EQ(text(*figures, "meaning", 1), figure_meaning(RuleId::T1, "bytes_per_s"));

  const auto health = TableView::open(analysis, "health");
  EXPECT_EQ(text(*health, "text", 0), "cut off");
  EXPECT_EQ(cell(*health, "affected", 0).u, 4u);
  EXPECT_EQ(cell(*health, "total", 0).u, 9u);

  const auto streams = TableView::open(analysis, "streams");
  ASSERT_EQ(streams->rows(), 1u);
  EXPECT_EQ(cell(*streams, "number", 0).u, 7u);
  EXPECT_EQ(text(*streams, "device_name", 0), "gpu0");
}

}  // namespace
}  // namespace mill::prof
