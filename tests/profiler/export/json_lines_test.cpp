#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <map>
#include <string>

#include "profiler/builder.h"
#include "profiler/export/capture.h"
#include "profiler/export/export.h"
#include "profiler/export/writer.h"
#include "profiler/query/tables.h"

namespace mill::prof {
namespace {

using test::bare_analysis;
using test::lines_of;
using test::us;
using test::written;

std::string json_lines(const Analysis& analysis) {
  return written([&](const Sink& sink) { EXPECT_TRUE(export_json_lines(analysis, sink)); });
}

TEST(JsonLines, EveryLineIsAnObjectThatNamesItsTableFirst) {
  test::Builder b;
  b.step(0, 0, 100 * us);
  b.op(test::kHostile, 0, 50 * us, 1);
  b.kernel("gemm", 10 * us, 12 * us, 14 * us);
  b.trace.losses.push_back({"ring \"3\"", 7});
  b.trace.notes.push_back(std::string(test::kHostile));
  Analysis analysis = bare_analysis(b.trace);
  analysis.health.items.push_back({HealthCode::cut_off, Confidence::medium, 1, 2, "cut"});
  std::map<std::string, uint32_t> rows;
  for (const std::string& line : lines_of(json_lines(analysis))) {
    rapidjson::Document json;
    json.Parse<rapidjson::kParseValidateEncodingFlag>(line.c_str(), line.size());
    ASSERT_FALSE(json.HasParseError()) << line;
    ASSERT_TRUE(json.IsObject());
    EXPECT_STREQ(json.MemberBegin()->name.GetString(), "table");
    ++rows[json["table"].GetString()];
  }
  EXPECT_EQ(rows.at("trace"), 1u);
  for (const std::string_view name : TableView::names()) {
    if (name == "kernels" || name == "transfers") continue;
    EXPECT_EQ(rows[std::string(name)], TableView::open(analysis, name)->rows()) << name;
  }
}

TEST(JsonLines, IntegersOfSixtyFourBitsStayIntegers) {
  test::Builder b;
  const uint32_t row = b.op("a", 5, 7);
  b.trace.ops.tensor[row] = UINT64_MAX;
  b.trace.ops.step[row] = INT64_MIN;
  b.trace.ops.device[row] = kNoRow;
  const Analysis analysis = bare_analysis(b.trace);
  bool seen = false;
  for (const std::string& line : lines_of(json_lines(analysis))) {
    if (!line.starts_with("{\"table\":\"ops\"")) continue;
    seen = true;
    rapidjson::Document json;
    json.Parse(line.c_str(), line.size());
    ASSERT_FALSE(json.HasParseError());
    EXPECT_EQ(json["tensor"].GetUint64(), UINT64_MAX);
    EXPECT_EQ(json["step"].GetInt64(), INT64_MIN);
    EXPECT_EQ(json["duration_ns"].GetInt64(), 2);
    EXPECT_TRUE(json["device"].IsNull());
  }
  EXPECT_TRUE(seen);
}

TEST(JsonLines, FindingsCarryFiguresAndEvidence) {
  Analysis analysis = bare_analysis({});
  Finding& finding = analysis.findings.emplace_back();
  finding.rule = RuleId::T1;
  finding.facts = {{"copies", 12, Unit::none},
                   {"odd", std::numeric_limits<double>::infinity(), Unit::none}};
  finding.evidence = {{TableId::work, 3}, {TableId::calls, 9}};
  for (const std::string& line : lines_of(json_lines(analysis))) {
    rapidjson::Document json;
    json.Parse(line.c_str(), line.size());
    ASSERT_FALSE(json.HasParseError()) << line;
    if (std::string_view(json["table"].GetString()) != "findings") continue;
    EXPECT_STREQ(json["rule"].GetString(), "T1");
    EXPECT_EQ(json["figures"]["copies"].GetDouble(), 12);
    EXPECT_TRUE(json["figures"]["odd"].IsNull());
    ASSERT_EQ(json["evidence"].Size(), 2u);
    EXPECT_STREQ(json["evidence"][0][0].GetString(), "work");
    EXPECT_EQ(json["evidence"][1][1].GetUint(), 9u);
    return;
  }
  FAIL() << "no finding";
}

TEST(JsonLines, SaysWhenTheSinkRefuses) {
  EXPECT_FALSE(export_json_lines(bare_analysis({}), [](std::string_view) { return false; }));
}

}  // namespace
}  // namespace mill::prof
