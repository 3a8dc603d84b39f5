// The HTML report: what is in the file, read back without the code that wrote it. How it looks and
// behaves: tests/profiler/report_test.py.
#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/builder.h"
#include "profiler/export/export.h"
#include "profiler/export/html_column.h"
#include "profiler/export/html_text.h"

namespace mill::prof {
namespace {

using rapidjson::Value;
using test::Builder;
using test::ms;
using test::us;

std::string report_of(const Analysis& analysis, uint64_t max_bytes = 20000000) {
  std::string text;
  HtmlOptions options;
  options.max_bytes = max_bytes;
  EXPECT_TRUE(export_html(analysis, options, [&](std::string_view piece) {
    text += piece;
    return true;
  }));
  return text;
}

std::string between(const std::string& text, std::string_view before, std::string_view after) {
  const size_t from = text.find(before);
  if (from == std::string::npos) return {};
  const size_t begin = from + before.size();
  return text.substr(begin, text.find(after, begin) - begin);
}

// A page taken apart: the summary, and columns by their number.
struct Page {
  std::string text;
  rapidjson::Document summary;

  explicit Page(std::string page) : text(std::move(page)) {
    summary.Parse(between(text, "id=\"summary\">", "</script>").c_str());
    EXPECT_FALSE(summary.HasParseError());
  }

  const Value& table(std::string_view name) const {
    for (const Value& table : summary["tables"].GetArray()) {
      if (table["name"].GetString() == name) return table;
    }
    throw std::runtime_error("no such table");
  }

  std::string inflated(const Value& column) const {
    const std::string number = std::to_string(column["id"].GetInt());
    const std::string coded =
        between(text, "<script type=\"text/plain\" id=\"c" + number + "\">", "<");
    static constexpr std::string_view kAlphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string packed;
    uint32_t bits = 0;
    int held = 0;
    for (const char letter : coded) {
      if (letter == '=') break;
      bits = bits << 6 | static_cast<uint32_t>(kAlphabet.find(letter));
      held += 6;
      if (held >= 8) packed += static_cast<char>(bits >> (held -= 8) & 255);
    }
    std::string out(size_t{64} << 20, '\0');
    uLongf size = out.size();
    EXPECT_EQ(uncompress(reinterpret_cast<Bytef*>(out.data()), &size,
                         reinterpret_cast<const Bytef*>(packed.data()), packed.size()),
              Z_OK);
    out.resize(size);
    return out;
  }

  std::vector<int64_t> numbers(std::string_view table_name, std::string_view name) const {
    const Value& of = table(table_name);
    for (const Value& column : of["columns"].GetArray()) {
      if (column["name"].GetString() == name) return numbers(column, of["rows"].GetUint());
    }
    return {};
  }

  std::vector<int64_t> numbers(const Value& column, uint32_t rows) const {
    const char encoding = column["encoding"].GetString()[0];
    if (encoding == 'c') {
      return std::vector<int64_t>(rows, static_cast<int64_t>(column["constant"].GetDouble()));
    }
    std::vector<int64_t> out;
    int64_t last = 0;
    uint64_t value = 0;
    int shift = 0;
    for (const char byte : inflated(column)) {
      value |= (static_cast<uint64_t>(byte) & 127U) << shift;
      shift += 7;
      if ((byte & 0x80) != 0) continue;
      if (encoding == 'v') {
        last += static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
        out.push_back(last);
      } else {
        out.push_back(static_cast<int64_t>(value) - 1);
      }
      value = 0;
      shift = 0;
    }
    return out;
  }

  std::vector<std::string> strings() const {
    rapidjson::Document list;
    list.Parse(inflated(summary["strings"]).c_str());
    std::vector<std::string> out;
    for (const Value& text_value : list.GetArray()) {
      out.emplace_back(text_value.GetString(), text_value.GetStringLength());
    }
    return out;
  }
};

// Six steps of 20 ms. In each: 6 ms waiting for a batch, a copy of 20 MB from pageable memory of
// 4 ms whose call waits for it, four kernels of 2 ms launched ahead, memory that grows and shrinks.
// first: how much longer the first step waits.
Trace training(Ns first = 0) {
  Builder b;
  const uint32_t thread = 0;
  b.trace.threads[thread].name = "main";
  for (int k = 0; k < 6; ++k) {
    const Ns begin = k * 20 * ms + first;
    b.loader_wait(k == 0 ? 0 : begin, begin + 6 * ms);
    b.op("copy_batch", begin + 6 * ms, begin + 10 * ms + 50 * us);
    b.copy(CopyKind::host_to_device, Memory::pageable, 20000000, begin + 6 * ms + 10 * us,
           begin + 10 * ms + 20 * us, begin + 6 * ms + 20 * us, begin + 10 * ms + 10 * us);
    const char* const names[] = {"void at::native::add_kernel<float, 4>(float*)", "gemm_128x64",
                                 "</script><script>window.broken = 1</script>", "softmax_warp"};
    for (int n = 0; n < 4; ++n) {
      const Ns launched = begin + 10 * ms + 100 * us + n * 50 * us;
      b.op(n % 2 == 0 ? "aten::add" : "aten::linear", launched - 40 * us, launched + 5 * us);
      b.kernel(names[n], launched, begin + 11 * ms + n * 2 * ms, begin + 13 * ms + n * 2 * ms);
      const uint32_t row = b.trace.allocations.add();
      b.trace.allocations.start[row] = launched;
      b.trace.allocations.end[row] = launched;
      b.trace.allocations.kind[row] =
          static_cast<uint8_t>(n < 2 ? AllocKind::allocate : AllocKind::free);
      b.trace.allocations.bytes[row] = n % 2 == 0 ? 1000000 : 3000000;
      b.trace.allocations.device[row] = 0;
    }
    b.step(k, k == 0 ? 0 : begin, begin + 19 * ms + 500 * us);
  }
  b.trace.source = "training.json";
  return std::move(b.trace);
}

// `kernels` short kernels in one stream, each with its call and its op.
Trace many(uint32_t kernels) {
  Builder b;
  std::mt19937 random(7);
  const auto up_to = [&](uint32_t most) { return static_cast<Ns>(random() % most); };
  Ns host = 0;
  Ns device = 0;
  const char* const names[] = {"add", "gemm", "softmax", "norm"};
  for (uint32_t k = 0; k < kernels; ++k) {
    const char* const name = names[random() % 4];
    const Ns begin = host;
    const Ns launched = host + 5000 + up_to(3000);
    const Ns start = std::max(device + 500 + up_to(300), launched + 2000);
    device = start + 2000 + up_to(20000);
    b.kernel(name, launched, start, device, 4000);
    b.op(name, begin, launched + 500);
    host = launched + 1000 + up_to(1000);
  }
  b.trace.source = "many.json";
  return std::move(b.trace);
}

// 40 threads with ops up to 6 deep and long names; 3 devices with 4 streams each.
Trace machine() {
  Builder b;
  for (uint32_t k = 0; k < 40; ++k) b.thread(100 + k);
  b.device(1);
  b.device(2);
  const std::string name(300, 'n');
  for (int round = 0; round < 20; ++round) {
    for (uint32_t k = 0; k < 40; ++k) {
      const Ns begin = round * ms + k * 10 * us;
      b.by(k).on(k % 3, k % 4 + 1);
      for (int depth = 0; depth < 6; ++depth) {
        b.op(name + std::to_string(depth), begin + depth * us, begin + 900 * us - depth * us);
      }
      b.kernel(name, begin + 100 * us, begin + 120 * us, begin + 140 * us);
    }
  }
  b.trace.source = "machine.json";
  return std::move(b.trace);
}

// An analysis without rules and replay, which take longer than what is tested here.
Analysis plain_analysis(Trace trace) {
  Analysis analysis;
  const LinkCounts counts = link(trace);
  analysis.health = examine(trace, counts);
  analysis.timeline = std::make_unique<const Timeline>(std::move(trace), counts);
  analysis.gaps = find_gaps(*analysis.timeline, 10 * us);
  return analysis;
}

TEST(HtmlText, EscapesWhatWouldBeMarkup) {
  EXPECT_EQ(html::escape("<b a=\"1\" c='2'>&"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
  EXPECT_EQ(html::escape("a\xFF"
                         "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(html::escape("\xC3\xA9"), "\xC3\xA9");
}

TEST(HtmlText, JsonCannotEndItsElement) {
  html::Json json;
  json.begin_array().text("</script><!--\"\\\n\xE2\x80\xA8\xED\xA0\x80&").end_array();
  const std::string text = json.str();
  for (const char* bad : {"<", ">", "&", "\n", "\xE2\x80\xA8", "\xED"}) {
    EXPECT_EQ(text.find(bad), std::string::npos) << text;
  }
  rapidjson::Document document;
  ASSERT_FALSE(document.Parse(text.c_str()).HasParseError());
  // A surrogate is no character of UTF-8: each of its bytes becomes one U+FFFD.
  EXPECT_EQ(std::string(document[0].GetString()),
            "</script><!--\"\\\n\xE2\x80\xA8\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD&");
}

TEST(HtmlText, ClipsBetweenCharacters) {
  EXPECT_EQ(html::clip("abc", 3), "abc");
  EXPECT_EQ(html::clip("ab\xC3\xA9z", 3), "ab\xE2\x80\xA6");
  EXPECT_EQ(html::clip("ab\xC3\xA9z", 4), "ab\xC3\xA9\xE2\x80\xA6");
}

TEST(HtmlText, Base64OfKnownVectors) {
  // RFC 4648, section 10.
  const auto coded = [](std::string_view bytes) {
    std::string out;
    html::write_base64(bytes, [&](std::string_view piece) {
      out += piece;
      return true;
    });
    return out;
  };
  EXPECT_EQ(coded(""), "");
  EXPECT_EQ(coded("f"), "Zg==");
  EXPECT_EQ(coded("fo"), "Zm8=");
  EXPECT_EQ(coded("foo"), "Zm9v");
  EXPECT_EQ(coded("foobar"), "Zm9vYmFy");
}

TEST(HtmlColumn, ChoosesTheEncodingThatHoldsTheValues) {
  const auto encoding = [](std::vector<int64_t> values, bool ascending) {
    return html::pack_integers("x", Unit::none, values, ascending).encoding;
  };
  EXPECT_EQ(encoding({5, 5, 5}, true), html::Encoding::constant);
  EXPECT_EQ(encoding({1, 2, 4}, true), html::Encoding::differences);
  EXPECT_EQ(encoding({1, -1, 4}, false), html::Encoding::plain);
  EXPECT_EQ(encoding({1, -2, 4}, false), html::Encoding::differences);
  EXPECT_EQ(encoding({1, int64_t{1} << 60}, false), html::Encoding::words);
}

TEST(Html, IsOneFileThatAsksForNothing) {
  const auto analysis = analyse(training());
  const std::string page = report_of(*analysis);
  EXPECT_EQ(page.rfind("<!doctype html>", 0), 0U);
  for (const char* outside : {"http://", "https://", " src=", "@import", "<link rel=\"style"}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
  EXPECT_NE(page.find("Content-Security-Policy"), std::string::npos);
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(page.find("unsafe-inline"), std::string::npos);
  for (const char* mark : {"@STYLE", "@SCRIPT", "@TITLE@", "@PLAIN@", "@DATA@"}) {
    EXPECT_EQ(page.find(mark), std::string::npos) << mark;
  }
}

TEST(Html, SaysTheFirstFindingInWords) {
  const auto analysis = analyse(training());
  ASSERT_FALSE(analysis->findings.empty());
  const Page page(report_of(*analysis));
  const std::string headline = page.summary["headline"].GetString();
  EXPECT_EQ(headline.rfind(analysis->findings.front().title.substr(0, 20), 0), 0U) << headline;
  EXPECT_EQ(page.summary["findings"].Size(), analysis->findings.size());
  // And without scripts.
  EXPECT_NE(page.text.find(html::escape(headline)), std::string::npos);
}

TEST(Html, WithoutFindingsSaysHowBusyTheDeviceWas) {
  Builder b;
  // 80 of 100 us.
  b.kernel("k", 5 * us, 10 * us, 50 * us);
  b.kernel("k", 6 * us, 70 * us, 110 * us);
  Analysis analysis = plain_analysis(std::move(b.trace));
  const Page page(report_of(analysis));
  // The span begins with the first launch call, at 0: 80 of 110 us.
  EXPECT_STREQ(
      page.summary["headline"].GetString(),
      "Nothing was found that is worth changing: the device was busy 72.7 % of the recording, "
      "by k 72.7 %.");
}

TEST(Html, HostileNamesStayText) {
  const auto analysis = analyse(training());
  const Page page(report_of(*analysis));
  EXPECT_EQ(page.text.find("<script>window.broken"), std::string::npos);
  const std::vector<std::string> names = page.strings();
  EXPECT_NE(std::find(names.begin(), names.end(), "</script><script>window.broken = 1</script>"),
            names.end());
}

TEST(Html, EventsReadBackAsTheyWere) {
  Builder b;
  // Calls start at 0 and 100 us.
  b.kernel("first", 5 * us, 20 * us, 50 * us);
  b.kernel("second", 105 * us, 120 * us, 121 * us);
  const Analysis analysis = plain_analysis(std::move(b.trace));
  const Page page(report_of(analysis));
  EXPECT_EQ(page.numbers("work", "start"), (std::vector<int64_t>{20 * us, 120 * us}));
  EXPECT_EQ(page.numbers("work", "length"), (std::vector<int64_t>{30 * us, 1 * us}));
  EXPECT_EQ(page.numbers("calls", "start"), (std::vector<int64_t>{0, 100 * us}));
  EXPECT_EQ(page.numbers("work", "call"), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(page.numbers("calls", "work"), (std::vector<int64_t>{0, 1}));
  // Relative to the start: handed over when the calls ended.
  EXPECT_EQ(page.numbers("work", "submit"), (std::vector<int64_t>{-15 * us, -15 * us}));
  const std::vector<std::string> names = page.strings();
  const std::vector<int64_t> labels = page.numbers("work", "label");
  EXPECT_EQ(names[static_cast<size_t>(labels[0])], "first");
  EXPECT_EQ(names[static_cast<size_t>(labels[1])], "second");
}

TEST(Html, PartsOfTheAverageStepAddUpToIt) {
  const auto analysis = analyse(training());
  const Page page(report_of(*analysis));
  const Value& average = page.summary["average"];
  double sum = 0;
  for (const auto& part : average["parts"].GetObject()) sum += part.value.GetDouble();
  EXPECT_NEAR(sum, average["length"].GetDouble(), 1);
  EXPECT_EQ(page.table("steps")["rows"].GetUint(), 6U);
}

TEST(Html, MemoryCurveKeepsItsPeak) {
  Builder b;
  b.kernel("k", 5 * us, 10 * us, 1000 * ms);
  // Up and down by 10 bytes 20,000 times, and once to 5,000.
  for (int k = 0; k < 40000; ++k) {
    const uint32_t row = b.trace.allocations.add();
    b.trace.allocations.start[row] = 10 * us + k * 20 * us;
    b.trace.allocations.kind[row] =
        static_cast<uint8_t>(k % 2 == 0 ? AllocKind::allocate : AllocKind::free);
    b.trace.allocations.bytes[row] = k == 20000 || k == 20001 ? 5000 : 10;
    b.trace.allocations.device[row] = 0;
  }
  const Analysis analysis = plain_analysis(std::move(b.trace));
  const Page page(report_of(analysis));
  const Value& memory = page.summary["memory"];
  ASSERT_EQ(memory.Size(), 1U);
  EXPECT_EQ(memory[0]["events"].GetUint(), 40000U);
  EXPECT_LE(memory[0]["times"].Size(), 4100U);
  double peak = 0;
  for (const Value& value : memory[0]["values"].GetArray())
    peak = std::max(peak, value.GetDouble());
  EXPECT_EQ(peak, 5000);
}

TEST(Html, MergesEventsUntilTheFileFits) {
  const Analysis analysis = plain_analysis(many(30000));  // 90,000 rows
  for (const uint64_t limit : {uint64_t{400000}, uint64_t{250000}, uint64_t{180000}}) {
    const Page page(report_of(analysis, limit));
    EXPECT_LE(page.text.size(), limit);
    const Value& level = page.summary["level"];
    EXPECT_GT(level["merged"].GetUint64(), 0U);
    EXPECT_LT(level["kept"].GetUint64(), level["rows"].GetUint64());
    // Every row is in one block.
    int64_t rows = 0;
    for (const Value& table : page.summary["tables"].GetArray()) {
      for (const int64_t count : page.numbers(table["name"].GetString(), "count")) rows += count;
    }
    EXPECT_EQ(static_cast<uint64_t>(rows), level["rows"].GetUint64());
  }
}

TEST(Html, AMillionEventsStayUnderTwentyMegabytes) {
  const Analysis analysis = plain_analysis(many(334000));
  EXPECT_GT(analysis.trace().rows(), 1000000U);
  const Page page(report_of(analysis));
  EXPECT_LT(page.text.size(), 20000000U);
  EXPECT_EQ(page.summary["level"]["merged"].GetUint64(), 0U);
}

TEST(Html, EvidenceIsNotMerged) {
  Analysis analysis = plain_analysis(many(30000));
  Finding finding;
  finding.rule = RuleId::T1;
  finding.severity = Severity::major;
  finding.title = "planted";
  finding.rank = 1;
  for (const uint32_t row : {100U, 101U, 102U}) finding.evidence.push_back({TableId::work, row});
  finding.evidence.push_back({TableId::work, 4000000000U});  // of no row
  analysis.findings.push_back(finding);
  const Page page(report_of(analysis, 250000));
  const Value& evidence = page.summary["findings"][0]["evidence"];
  ASSERT_EQ(evidence.Size(), 3U);
  const std::vector<int64_t> starts = page.numbers("work", "start");
  const std::vector<int64_t> counts = page.numbers("work", "count");
  for (uint32_t k = 0; k < 3; ++k) {
    const auto row = static_cast<size_t>(evidence[k][1].GetInt());
    EXPECT_EQ(counts[row], 1);
    EXPECT_EQ(starts[row], analysis.trace().work.start[100 + k] - analysis.timeline->span().begin);
  }
}

TEST(Html, APageTooSmallForEventsStillHasItsVerdict) {
  const Analysis analysis = plain_analysis(many(3000));
  const Page page(report_of(analysis, 1000));
  EXPECT_EQ(page.summary["level"]["kept"].GetUint64(), 0U);
  EXPECT_EQ(page.summary["level"]["rows"].GetUint64(), 9000U + analysis.gaps.size());
  EXPECT_FALSE(std::string(page.summary["headline"].GetString()).empty());
}

TEST(Html, ImpossibleTimesAndLinksAreWithstood) {
  Builder b;
  b.kernel("good", 5 * us, 10 * us, 20 * us);
  const Ns times[] = {INT64_MIN, INT64_MAX, -1, 0, 30 * us};
  for (const Ns start : times) {
    for (const Ns end : times) {
      b.work(WorkKind::kernel, "bad", start, end, kNoRow);
      b.op("bad", start, end);
      b.step(start, start, end);
      const uint32_t row = b.trace.counters.add();
      b.trace.counters.time[row] = start;
      b.trace.counters.value[row] = static_cast<double>(end);
      b.trace.counters.device[row] = 77;
      const uint32_t code = b.trace.overheads.add();
      b.trace.overheads.kind[code] = 250;
      b.trace.overheads.start[code] = start;
      b.trace.overheads.end[code] = end;
      b.trace.overheads.thread[code] = 4000;
    }
  }
  const auto analysis = analyse(std::move(b.trace));
  const Page page(report_of(*analysis));
  for (const int64_t length : page.numbers("ops", "length")) EXPECT_GE(length, 0);
  EXPECT_FALSE(page.summary.HasParseError());
}

TEST(Html, AnEmptyTraceGivesAPage) {
  const auto analysis = analyse(Trace{});
  const Page page(report_of(*analysis));
  EXPECT_EQ(page.summary["level"]["rows"].GetUint64(), 0U);
}

TEST(Html, AnEndedSinkEndsTheExport) {
  const auto analysis = analyse(training());
  int pieces = 0;
  EXPECT_FALSE(export_html(*analysis, {}, [&](std::string_view) { return ++pieces < 3; }));
  EXPECT_EQ(pieces, 3);
}

TEST(Html, TakesATitleAsText) {
  const auto analysis = analyse(training());
  HtmlOptions options;
  options.title = "<i>mine</i>";
  std::string text;
  export_html(*analysis, options, [&](std::string_view piece) {
    text += piece;
    return true;
  });
  EXPECT_NE(text.find("<title>&lt;i&gt;mine&lt;/i&gt; - "), std::string::npos);
}

// Pages for report_test.py, which opens them in a browser.
TEST(HtmlFiles, ForTheBrowser) {
  const char* const folder = std::getenv("MILL_TEST_REPORTS");
  if (folder == nullptr) GTEST_SKIP() << "MILL_TEST_REPORTS names no folder to write reports to";
  const auto write = [&](const char* name, const Analysis& analysis, uint64_t max_bytes) {
    std::ofstream file(std::filesystem::path(folder) / name, std::ios::binary);
    file << report_of(analysis, max_bytes);
    ASSERT_TRUE(file.good());
  };
  write("training.html", *analyse(training()), 20000000);
  write("million.html", *analyse(many(334000)), 20000000);
  write("merged.html", plain_analysis(many(30000)), 250000);
  write("machine.html", *analyse(machine()), 20000000);
  write("none.html", plain_analysis(many(3000)), 1000);
  write("empty.html", *analyse(Trace{}), 20000000);
  write("late.html", *analyse(training(800 * ms)), 20000000);
}

}  // namespace
}  // namespace mill::prof
