// The HTML report of recordings that are too much for a page, or hold what JSON has no word for.
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <cmath>
#include <limits>
#include <string>

#include "profiler/builder.h"
#include "profiler/export/capture.h"
#include "profiler/export/export.h"
#include "profiler/export/html_column.h"

namespace mill::prof {
namespace {

using test::bare_analysis;
using test::Builder;
using test::us;

std::string page_of(const Analysis& analysis) {
  return test::written([&](const Sink& sink) { EXPECT_TRUE(export_html(analysis, {}, sink)); });
}

rapidjson::Document summary_of(const std::string& page) {
  const std::string before = "id=\"summary\">";
  const size_t from = page.find(before) + before.size();
  rapidjson::Document summary;
  summary.Parse(page.substr(from, page.find("</script>", from) - from).c_str());
  EXPECT_FALSE(summary.HasParseError());
  return summary;
}

TEST(HtmlLimits, ManyThreadsShareATrack) {
  Builder b;
  constexpr uint32_t kThreads = 200000;
  for (uint32_t k = 1; k < kThreads; ++k) b.trace.threads.push_back({1, k + 1, "a thread's name"});
  for (uint32_t k = 0; k < kThreads; ++k) b.by(k).op("op", k, k + 10);
  const std::string page = page_of(bare_analysis(std::move(b.trace)));
  EXPECT_LT(page.size(), 20000000u);
  const rapidjson::Document summary = summary_of(page);
  EXPECT_EQ(summary["threads"].Size(), 2000u);
  ASSERT_EQ(summary["tracks"].Size(), 2001u);
  uint64_t events = 0;
  for (const auto& track : summary["tracks"].GetArray()) events += track["events"].GetUint64();
  EXPECT_EQ(events, kThreads);
  EXPECT_EQ(summary["tracks"][2000]["index"].GetInt(), -1);
  EXPECT_EQ(summary["tracks"][2000]["events"].GetUint(), kThreads - 2000);
}

TEST(HtmlLimits, ManyDevicesAndStreamsShareATrack) {
  Builder b;
  constexpr uint32_t kDevices = 100000;
  for (uint32_t k = 1; k < kDevices; ++k) b.trace.devices.emplace_back().number = k;
  for (uint32_t k = 0; k < kDevices; ++k) {
    b.trace.streams.push_back({k, 7, "", false});
    const uint32_t row = b.trace.work.add();
    b.trace.work.start[row] = k;
    b.trace.work.end[row] = k + 10;
    b.trace.work.device[row] = k;
    b.trace.work.stream[row] = k;
    const uint32_t memory = b.trace.allocations.add();
    b.trace.allocations.start[memory] = b.trace.allocations.end[memory] = k;
    b.trace.allocations.kind[memory] = static_cast<uint8_t>(AllocKind::allocate);
    b.trace.allocations.device[memory] = k;
    b.trace.allocations.bytes[memory] = 1;
  }
  const std::string page = page_of(bare_analysis(std::move(b.trace)));
  EXPECT_LT(page.size(), 20000000u);
  const rapidjson::Document summary = summary_of(page);
  EXPECT_EQ(summary["devices"].Size(), 2000u);
  EXPECT_EQ(summary["more_devices"].GetUint(), kDevices - 2000);
  EXPECT_EQ(summary["tracks"].Size(), 2001u);
  EXPECT_LE(summary["lanes"].Size(), 4000u + 2001u);
  EXPECT_EQ(summary["memory"].Size() + summary["more_curves"].GetUint(), kDevices);
  EXPECT_LE(summary["memory"].Size(), 48u);
}

TEST(HtmlLimits, ManyFindingsAreCounted) {
  Analysis analysis = bare_analysis({});
  for (uint32_t k = 0; k < 60000; ++k) {
    Finding& finding = analysis.findings.emplace_back();
    finding.rule = RuleId::G2;
    finding.rank = k + 1;
    finding.title = std::string(100, 't');
    finding.advice = std::string(400, 'a');
  }
  const std::string page = page_of(analysis);
  EXPECT_LT(page.size(), 20000000u);
  const rapidjson::Document summary = summary_of(page);
  EXPECT_EQ(summary["findings"].Size(), 500u);
  EXPECT_EQ(summary["findings"][499]["rank"].GetUint(), 500u);
  EXPECT_EQ(summary["more_findings"].GetUint(), 59500u);
}

// 2^62 ns on each of three devices: more than 2^63 in all.
TEST(HtmlLimits, IdleTimesOfDevicesMayAddUpToAnything) {
  Analysis analysis = bare_analysis({});
  for (uint32_t device = 0; device < 3; ++device) {
    Gap& gap = analysis.gaps.emplace_back();
    gap.device = device;
    gap.begin = 0;
    gap.end = int64_t{1} << 62;
    gap.causes[static_cast<int>(GapCause::unknown)] = gap.end;
  }
  // 3 * 4611686018.427 s.
  EXPECT_NE(page_of(analysis).find("13835058055 s of 13835058055 s of idle device time (100 %)"),
            std::string::npos);
}

TEST(HtmlLimits, AValueThatIsNoNumberIsNotZero) {
  const float none[] = {std::numeric_limits<float>::quiet_NaN()};
  const float some[] = {0.5f};
  EXPECT_EQ(html::pack_floats("x", Unit::ratio, none).encoding, html::Encoding::floats);
  EXPECT_EQ(html::pack_floats("x", Unit::ratio, some).encoding, html::Encoding::constant);
}

// The page adds differences up in doubles: zigzag makes 2^53 + 2 of one of 2^52 + 1.
TEST(HtmlLimits, DifferencesThatNoDoubleHoldsAreWrittenAsWords) {
  const int64_t edge = int64_t{1} << 51;
  const int64_t held[] = {-edge, edge, 5};
  const int64_t beyond[] = {-edge, edge + 1, 5};
  EXPECT_EQ(html::pack_integers("x", Unit::none, held, true).encoding, html::Encoding::differences);
  EXPECT_EQ(html::pack_integers("x", Unit::none, beyond, true).encoding, html::Encoding::words);
}

}  // namespace
}  // namespace mill::prof
