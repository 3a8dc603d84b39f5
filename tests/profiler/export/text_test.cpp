#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "profiler/builder.h"
#include "profiler/export/capture.h"
#include "profiler/export/export.h"
#include "profiler/export/sentences.h"
#include "profiler/export/text_page.h"

namespace mill::prof {
namespace {

using test::bare_analysis;
using test::lines_of;
using test::ms;
using test::us;
using test::written;

std::string text(const Analysis& analysis, uint32_t width = 100) {
  TextOptions options;
  options.width = width;
  return written([&](const Sink& sink) { EXPECT_TRUE(export_text(analysis, options, sink)); });
}

void expect_fits(const std::string& report, size_t width) {
  for (const std::string& line : lines_of(report)) {
    EXPECT_LE(code_points(line), width) << line;
    EXPECT_EQ(well_formed(line), line);
    EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
    for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line;
  }
}

// Ten steps of 1 ms: a copy of 100 us, kernels of 400 us, the loader waits 200 us.
test::Builder ten_steps() {
  test::Builder b;
  b.trace.source = "run.json";
  for (int k = 0; k < 10; ++k) {
    const Ns t = k * ms;
    b.step(k, t, t + ms);
    b.loader_wait(t, t + 200 * us);
    b.op("linear", t + 210 * us, t + 900 * us);
    b.copy(CopyKind::host_to_device, Memory::pageable, 1000000, t + 220 * us, t + 330 * us,
           t + 225 * us, t + 325 * us);
    b.kernel("gemm", t + 340 * us, t + 350 * us, t + 750 * us);
  }
  return b;
}

Finding a_finding(uint32_t rank, Ns saving) {
  Finding finding;
  finding.rule = RuleId::T1;
  finding.rank = rank;
  finding.joint_rank = rank;
  finding.severity = Severity::moderate;
  finding.title = "10 asynchronous copies from pageable memory";
  finding.advice =
      "Keep 2 page-locked buffers of 1 MB and reuse them; page-locking for every copy costs more "
      "than it brings. Worth it from the second use on.";
  finding.facts = {{"copies", 10, Unit::none},
                   {"bytes", 1e7, Unit::bytes},
                   {"measured_bytes_per_s", 1e10, Unit::none},
                   {"exposed_ns", 2.5e6, Unit::ns},
                   {"kernel_share", 0.4, Unit::ratio}};
  finding.link_source = LinkSource::trace;
  finding.saving = {saving / 2, saving, saving * 2};
  finding.evidence_total = 10;
  return finding;
}

bool has(const std::string& report, std::string_view what) {
  return report.find(what) != std::string::npos;
}

TEST(TextReport, HealthStandsBeforeEveryFigureOfTime) {
  Analysis analysis = bare_analysis(ten_steps().trace);
  analysis.health.verdict = Confidence::low;
  analysis.health.items.push_back(
      {HealthCode::lost_records, Confidence::low, 5, 100, "5 of 100 records were lost."});
  const std::string report = text(analysis);
  expect_fits(report, 100);
  const size_t health = report.find("HEALTH: low");
  ASSERT_NE(health, std::string::npos);
  EXPECT_LT(health, report.find("Where the time of a step goes"));
  EXPECT_LT(report.find("5 of 100 records were lost."), report.find("Findings"));
}

TEST(TextReport, TimeOfAStepAddsUp) {
  const Analysis analysis = bare_analysis(ten_steps().trace);
  ASSERT_EQ(analysis.timeline->window_steps(), 10u);
  const std::string report = text(analysis);
  EXPECT_TRUE(has(report, "the mean of 10 steps, 1.00 ms")) << report;
  EXPECT_TRUE(has(report, "  kernel        400 us   40.0 %  ####################\n")) << report;
  EXPECT_TRUE(has(report, "  copy          100 us   10.0 %  #####\n")) << report;
  EXPECT_TRUE(has(report, "  loader        200 us   20.0 %  ##########\n")) << report;
}

TEST(TextReport, FindingsAreRankedWithSavingsPerStep) {
  Analysis analysis = bare_analysis(ten_steps().trace);
  analysis.findings.push_back(a_finding(1, 1 * ms));
  analysis.findings.push_back(a_finding(2, 500 * us));
  analysis.joint_saving = 1200 * us;
  const std::string report = text(analysis);
  expect_fits(report, 100);
  // 1 ms in 10 steps of 1 ms: 100 us a step, 10 %.
  EXPECT_TRUE(
      has(report, "1  T1  saves 100 us of 1.00 ms per step (10.0 %), between 50.0 us and 200 us"))
      << report;
  EXPECT_TRUE(has(report,
                  "Figures of the window: copies 10; bytes 10.0 MB; measured 10.0 GB/s; "
                  "exposed 2.50 ms;"))
      << report;
  EXPECT_TRUE(has(report,
                  "Findings 1 and 2 together: 120 us per step (12.0 %); one by one they "
                  "add up to 150 us."))
      << report;
  // Whichever line it begins on.
  std::string words = report;
  std::replace(words.begin(), words.end(), '\n', ' ');
  words.erase(
      std::unique(words.begin(), words.end(), [](char a, char b) { return a == ' ' && b == ' '; }),
      words.end());
  EXPECT_TRUE(has(words, "10 pieces of evidence")) << report;
}

TEST(TextReport, SaysWhatIsWithheldAndWhatIsNotShown) {
  Analysis analysis = bare_analysis(ten_steps().trace);
  for (uint32_t k = 1; k <= 12; ++k) {
    Finding finding = a_finding(k, 0);
    finding.joint_rank = 0;
    finding.withheld = k == 1;
    analysis.findings.push_back(finding);
  }
  const std::string report = text(analysis);
  EXPECT_TRUE(has(report, "1  T1  saving withheld"));
  EXPECT_TRUE(has(report, "2  T1  no saving by itself"));
  EXPECT_TRUE(has(report, "and 2 more that save less"));
}

TEST(TextReport, CopiesStandBesideWhatTheLinkShouldGive) {
  Analysis analysis = bare_analysis(ten_steps().trace);
  LinkLine line;
  line.kind = CopyKind::host_to_device;
  line.memory = Memory::pageable;
  line.bytes_per_s = 2e10;  // 1 MB in 50 us, without alpha
  line.source = LinkSource::calibration;
  analysis.links.add(line);
  const std::string report = text(analysis);
  // 10 copies of 1 MB in 100 us each.
  EXPECT_TRUE(has(report,
                  "1.00 ms  10.0 MB      10  10.0 GB/s  20.0 GB/s  host to device, "
                  "pageable (by: "))
      << report;
  EXPECT_TRUE(has(text(bare_analysis(ten_steps().trace)), "unknown"));
}

TEST(TextReport, CausesOfIdleTimeAddUpToIt) {
  Analysis analysis = bare_analysis(ten_steps().trace);
  analysis.gaps = find_gaps(*analysis.timeline, 30 * us);
  const std::string report = text(analysis);
  // Busy 500 us of every 1 ms: 5 ms of 10 idle. Each gap from 750 us to 225 us of the next step is
  // 475 us, 9 of them 4.275 ms; 225 us before and 250 us after make 4.75 ms; 10 of 25 us between
  // copy and kernel are too short.
  EXPECT_TRUE(has(report, "Why the device stood idle: 5.00 ms, 50.0 % of the time")) << report;
  EXPECT_TRUE(has(report, "in gaps shorter than")) << report;
  double sum = 0;
  for (const Gap& gap : analysis.gaps) {
    for (const Ns part : gap.causes) sum += static_cast<double>(part);
  }
  EXPECT_EQ(sum, 4750e3);
}

TEST(TextReport, EmptyTraceIsSaidToBeEmpty) {
  Analysis analysis = bare_analysis({});
  analysis.health.verdict = Confidence::refuse;
  analysis.health.summary = "No advice: nothing was recorded.";
  const std::string report = text(analysis);
  expect_fits(report, 100);
  EXPECT_TRUE(has(report, "HEALTH: refuse"));
  EXPECT_TRUE(has(report, "No advice: nothing was recorded."));
  EXPECT_TRUE(has(report, "none on record"));
  EXPECT_TRUE(has(report, "None: no advice is given"));
}

TEST(TextReport, WithoutStepsFiguresAreOfTheWholeRecording) {
  test::Builder b;
  b.kernel("a", 10 * us, 20 * us, 60 * us);
  b.kernel("b", 20 * us, 70 * us, 95 * us);
  Analysis analysis = bare_analysis(b.trace);
  Finding finding = a_finding(1, 10 * us);
  analysis.findings.push_back(finding);
  const std::string report = text(analysis);
  EXPECT_TRUE(has(report, "none marked or found"));
  // From the first call at 5 us to the last end at 95 us.
  EXPECT_TRUE(has(report, "saves 10.0 us of 90.0 us (11.1 %)")) << report;
  EXPECT_FALSE(has(report, "us per step"));
  EXPECT_TRUE(has(report, "Where the time goes on gpu0"));
  EXPECT_TRUE(has(report, "Where steps begin is not known"));
}

TEST(TextReport, FitsEveryWidth) {
  test::Builder b = ten_steps();
  b.trace.source = "/a/very/long/path/" + std::string(300, 'x');
  b.op(std::string(500, 'n'), 100 * us, 800 * us);
  b.kernel(test::kHostile, 700 * us, 760 * us, 790 * us);
  std::string euros;
  for (int k = 0; k < 200; ++k) euros += "\xE2\x82\xAC";
  b.kernel(euros, 800 * us, 800 * us, 850 * us);
  b.trace.devices[0].name = test::kHostile;
  b.trace.notes.push_back(std::string(1000, 'w'));
  Analysis analysis = bare_analysis(b.trace);
  analysis.findings.push_back(a_finding(1, 1 * ms));
  analysis.findings[0].advice += " " + std::string(300, 'a') + " end.";
  analysis.gaps = find_gaps(*analysis.timeline, 0);
  for (const uint32_t width : {40u, 41u, 60u, 79u, 80u, 100u, 200u}) {
    SCOPED_TRACE(width);
    expect_fits(text(analysis, width), width);
  }
  // Narrower than any table: as if it were 40.
  expect_fits(text(analysis, 0), 40);
}

TEST(TextReport, HugeNumbersDoNotBreakIt) {
  test::Builder b;
  const int64_t far = (int64_t{1} << 62) - 1;
  const uint32_t row = b.kernel("long", 0, 1, far);
  b.trace.work.bytes[row] = UINT64_MAX;
  b.copy(CopyKind::peer, Memory::managed, UINT64_MAX, 0, 1, -far, far);
  b.op("all of time", -far, far);
  Analysis analysis = bare_analysis(b.trace);
  Finding finding = a_finding(1, INT64_MAX / 2);
  finding.facts.push_back({"odd", std::numeric_limits<double>::quiet_NaN(), Unit::none});
  finding.facts.push_back({"large_ns", 1e300, Unit::ns});
  analysis.findings.push_back(finding);
  analysis.own_cost.share = 1e300;
  expect_fits(text(analysis), 100);
}

TEST(TextReport, OwnCostIsAlwaysSpokenOf) {
  Analysis analysis = bare_analysis(ten_steps().trace);
  EXPECT_TRUE(has(text(analysis), "Not measured: that takes steps of real time"));
  analysis.own_cost.share = 0.02;
  analysis.own_cost.event_ns = 45;
  EXPECT_TRUE(has(text(analysis),
                  "2.0 % of a step, with a budget of 1.0 %: over the budget; "
                  "45 ns for an event"));
  analysis.own_cost.share_low = 0.004;
  EXPECT_EQ(own_cost_text(analysis),
            "2.0 % of a step, but steps differ too much to tell it from the budget of 1.0 %: at "
            "least 0.40 %; 45 ns for an event");
  analysis.own_cost.share_low = 0.015;
  EXPECT_TRUE(has(own_cost_text(analysis), "over the budget"));
}

// Spans may reach beyond the oldest record that was kept.
TEST(TextReport, NoMoreWasRecordedThanThereIs) {
  test::Builder b = ten_steps();
  const Interval span = bare_analysis(b.trace).timeline->span();
  b.trace.recorded = {{span.begin - 5000 * us, span.begin + span.length() / 4},
                      {span.begin + span.length() / 2, span.end + 7 * us}};
  const std::string whole = show_time(static_cast<double>(span.length()));
  const std::string known =
      show_time(static_cast<double>(span.length() / 4 + (span.length() + 1) / 2));
  EXPECT_TRUE(
      has(text(bare_analysis(b.trace)), "Of " + whole + " only " + known + " were recorded"))
      << text(bare_analysis(b.trace));
  b.trace.recorded = {{span.begin - 5000 * us, span.end + 7 * us}};
  EXPECT_FALSE(has(text(bare_analysis(b.trace)), "were recorded; nothing"));
}

// What was recorded times what one costs, where no step went unrecorded.
TEST(TextReport, OwnCostIsToldByEventsWhereItWasNotMeasured) {
  Analysis known = bare_analysis(ten_steps().trace);
  known.own_cost.event_ns = 100;
  const std::string events = show_count(known.trace().rows());
  EXPECT_TRUE(
      has(own_cost_text(known), "; 100 ns for an event, of which there are " + events + ": about "))
      << own_cost_text(known);
  test::Builder modelled = ten_steps();
  modelled.trace.devices[0].modelled = true;
  EXPECT_TRUE(has(text(bare_analysis(modelled.trace)), "None: time is modelled"));
}

// An op's own time is what those inside it leave: of 1,000 us 660 and 300; 40 are too few.
TEST(TextReport, SaysWhereTheTimeGoesWhereNoRuleHasAnything) {
  test::Builder b;
  b.trace.devices[0].kind = DeviceKind::cpu;
  b.op("outer", 0, 1000 * us);
  const uint32_t inner = b.op("inner", 100 * us, 400 * us);
  b.op("small", 500 * us, 540 * us);
  b.trace.ops.parent[inner] = 0;
  Analysis analysis = bare_analysis(b.trace);
  EXPECT_EQ(busiest(analysis, 3), "outer 66.0 %, inner 30.0 %");
  EXPECT_EQ(busiest(analysis, 1), "outer 66.0 %");
  EXPECT_EQ(busiest(bare_analysis({}), 3), "");
  Finding note = a_finding(1, 0);
  note.severity = Severity::info;
  analysis.findings.push_back(note);
  EXPECT_TRUE(has(text(analysis), "Most of the time goes to outer 66.0 %"));
  analysis.findings[0].severity = Severity::moderate;
  EXPECT_FALSE(has(text(analysis), "Most of the time goes to"));
  // Kernels are their ops'.
  const Analysis device = bare_analysis(ten_steps().trace);
  EXPECT_FALSE(busiest(device, 3).empty());
}

TEST(TextReport, SaysWhenTheSinkRefuses) {
  EXPECT_FALSE(export_text(bare_analysis({}), {}, [](std::string_view) { return false; }));
}

TEST(TextPage, CutsBetweenCodePoints) {
  EXPECT_EQ(cut("abc", 3), "abc");
  EXPECT_EQ(cut("abcd", 3), "ab\xE2\x80\xA6");
  EXPECT_EQ(cut("\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", 2), "\xE2\x82\xAC\xE2\x80\xA6");
  EXPECT_EQ(cut("abc", 1), "\xE2\x80\xA6");
  EXPECT_EQ(cut("abc", 0), "");
}

TEST(TextPage, NamesThatBeginAlikeAreCutWhereTheyDiffer) {
  const std::string family = "void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_";
  const std::vector<std::string> names = {
      family + "128x64_nn>(Params)", "short", family + "256x64_tn>(Params)",
      family + "256x64_tn>(Params)", "void other::Kernel<" + std::string(60, 'x') + ">"};
  const std::vector<std::string> shown = cut_apart(names, 30);
  ASSERT_EQ(shown.size(), names.size());
  EXPECT_EQ(shown[0], "void cutlass::K\xE2\x80\xA6mm_128x64_nn>\xE2\x80\xA6");
  EXPECT_EQ(shown[1], "short");
  EXPECT_EQ(shown[2], "void cutlass::K\xE2\x80\xA6mm_256x64_tn>\xE2\x80\xA6");
  EXPECT_EQ(shown[3], shown[2]) << "the same name";
  EXPECT_EQ(shown[4], cut(names[4], 30)) << "it begins like no other";
  for (const std::string& one : shown) EXPECT_LE(code_points(one), 30u) << one;
  // Two characters that differ in their last byte only, after others of three bytes.
  std::string euros;
  for (int k = 0; k < 40; ++k) euros += "\xE2\x82\xAC";
  const std::vector<std::string> far =
      cut_apart({euros + "\xE2\x82\xAB", euros + "\xE2\x82\xAD"}, 12);
  EXPECT_NE(far[0], far[1]);
  for (const std::string& one : far) {
    EXPECT_EQ(printable(one), one) << "well-formed";
    EXPECT_EQ(code_points(one), 11u);
  }
  // One that ends where the other goes on.
  const std::vector<std::string> ends = cut_apart({std::string(20, 'a'), std::string(30, 'a')}, 16);
  EXPECT_NE(ends[0], ends[1]);
}

TEST(TextPage, NothingPrintsATerminalsCommands) {
  EXPECT_EQ(printable("a\x1b[31mb"), "a?[31mb");
  EXPECT_EQ(printable("a\nb\tc\rd"), "a b c?d");
  EXPECT_EQ(printable("\xC2\x9B"), "?");  // a C1 control
  EXPECT_EQ(printable("\xE2\x80\xAE"
                      "abc"),
            "?abc");  // right to left from here
  EXPECT_EQ(printable("\xFF"), "\xEF\xBF\xBD");
}

TEST(TextPage, ParagraphsBreakBetweenWords) {
  const std::string out = written([](const Sink& sink) {
    Page page(sink, 40);
    page.paragraph("1  ", 3, "aaaaaaaaaa bbbbbbbbbb cccccccccc dddddd e");
    EXPECT_TRUE(page.finish());
  });
  EXPECT_EQ(out, "1  aaaaaaaaaa bbbbbbbbbb cccccccccc\n   dddddd e\n");
}

}  // namespace
}  // namespace mill::prof
