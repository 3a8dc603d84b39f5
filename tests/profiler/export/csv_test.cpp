#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "profiler/builder.h"
#include "profiler/export/capture.h"
#include "profiler/export/export.h"
#include "profiler/export/writer.h"
#include "profiler/query/tables.h"

namespace mill::prof {
namespace {

using test::bare_analysis;
using test::us;
using test::written;

// RFC 4180: CRLF between records, quotes doubled inside quotes.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> records;
  std::vector<std::string> record;
  std::string field;
  bool quoted = false;
  for (size_t k = 0; k < text.size(); ++k) {
    const char c = text[k];
    if (quoted) {
      if (c != '"') {
        field += c;
      } else if (k + 1 < text.size() && text[k + 1] == '"') {
        field += '"';
        ++k;
      } else {
        quoted = false;
      }
    } else if (c == '"' && field.empty()) {
      quoted = true;
    } else if (c == ',') {
      record.push_back(std::move(field));
      field.clear();
    } else if (c == '\r' && k + 1 < text.size() && text[k + 1] == '\n') {
      record.push_back(std::move(field));
      field.clear();
      records.push_back(std::move(record));
      record.clear();
      ++k;
    } else {
      field += c;
    }
  }
  EXPECT_TRUE(field.empty() && record.empty()) << "no end of line at the end";
  return records;
}

std::string csv(const Analysis& analysis, std::string_view table) {
  return written([&](const Sink& sink) { EXPECT_TRUE(export_csv(analysis, table, sink)); });
}

std::map<std::string, std::string> record(const Analysis& analysis, std::string_view table,
                                          size_t row) {
  const auto records = parse_csv(csv(analysis, table));
  std::map<std::string, std::string> out;
  EXPECT_LT(row + 1, records.size());
  if (row + 1 >= records.size()) return out;
  EXPECT_EQ(records[row + 1].size(), records[0].size());
  for (size_t k = 0; k < records[0].size(); ++k) out[records[0][k]] = records[row + 1][k];
  return out;
}

TEST(Csv, WritesNumbersCodesAndTexts) {
  test::Builder b;
  b.op("linear", 0, 50 * us, 1);
  b.copy(CopyKind::device_to_host, Memory::pageable, 123, 10 * us, 20 * us, 12 * us, 14 * us);
  const Analysis analysis = bare_analysis(b.trace);
  auto row = record(analysis, "work", 0);
  EXPECT_EQ(row["start"], "12000");
  EXPECT_EQ(row["kind"], "copy");
  EXPECT_EQ(row["copy_kind"], "device to host");
  EXPECT_EQ(row["host_memory"], "pageable");
  EXPECT_EQ(row["bytes"], "123");
  EXPECT_EQ(row["duration_ns"], "2000");
  EXPECT_EQ(row["op_name"], "linear");
  EXPECT_EQ(row["stream_number"], "7");
  EXPECT_EQ(row["peer"], "");                 // none
  EXPECT_EQ(row["bytes_per_s"], "61500000");  // 123 bytes in 2 us
}

TEST(Csv, QuotesWhatNeedsIt) {
  test::Builder b;
  b.op(test::kHostile, 0, 1);
  b.op("=1+1", 1, 2);
  const Analysis analysis = bare_analysis(b.trace);
  EXPECT_EQ(record(analysis, "ops", 0)["name"], well_formed(test::kHostile));
  EXPECT_EQ(record(analysis, "ops", 1)["name"], "=1+1");
}

TEST(Csv, HoldsTheLargestNumbers) {
  test::Builder b;
  const uint32_t row = b.op("a", 0, 1);
  b.trace.ops.tensor[row] = UINT64_MAX;
  b.trace.ops.step[row] = INT64_MIN;
  const Analysis analysis = bare_analysis(b.trace);
  auto out = record(analysis, "ops", 0);
  EXPECT_EQ(out["tensor"], "18446744073709551615");
  EXPECT_EQ(out["step"], "-9223372036854775808");
}

TEST(Csv, EveryTableHasAHeaderAndTheRightNumberOfRecords) {
  test::Builder b;
  for (int k = 0; k < 3000; ++k) b.kernel("k", k * us, k * us + 10, k * us + 20);
  const Analysis analysis = bare_analysis(b.trace);
  for (const std::string_view name : TableView::names()) {
    const auto view = TableView::open(analysis, name);
    const auto records = parse_csv(csv(analysis, name));
    ASSERT_EQ(records.size(), view->rows() + 1u) << name;
    for (const auto& one : records) ASSERT_EQ(one.size(), view->columns().size()) << name;
  }
}

TEST(Csv, UnknownTableWritesNothing) {
  const Analysis analysis = bare_analysis({});
  std::string all;
  EXPECT_FALSE(export_csv(analysis, "nothing", [&](std::string_view piece) {
    all += piece;
    return true;
  }));
  EXPECT_EQ(all, "");
}

TEST(Csv, SaysWhenTheSinkRefuses) {
  const Analysis analysis = bare_analysis({});
  EXPECT_FALSE(export_csv(analysis, "work", [](std::string_view) { return false; }));
}

}  // namespace
}  // namespace mill::prof
