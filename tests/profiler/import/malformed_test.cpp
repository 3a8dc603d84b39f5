#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "profiler/import/read.h"

namespace mill::prof::test {
namespace {

// Three ops, at 1, 2 and 3 us.
const std::string kSmall =
    "{\"schemaVersion\":1,\"traceEvents\":[\n"
    "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"a\\n[\",\"pid\":1,\"tid\":1,\"ts\":1,\"dur\":1,"
    "\"args\":{}},\n"
    "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"b}\",\"pid\":1,\"tid\":1,\"ts\":2,\"dur\":1},\n"
    "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"c\\\"\",\"pid\":1,\"tid\":1,\"ts\":3,\"dur\":1}\n"
    "],\"traceName\":\"x\"}";

std::string op(std::string_view fields) {
  return "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"a\",\"pid\":1,\"tid\":1," +
         std::string(fields) + "}";
}

TEST(ImportMalformed, TextsThatAreNoTraceSayWhatTheyAre) {
  const auto why = [](std::string_view text) {
    const Imported in = import_text(text);
    EXPECT_EQ(in.status, ImportStatus::not_a_trace) << text;
    return in.why;
  };
  EXPECT_EQ(why(""), "It is empty.");
  EXPECT_EQ(why(" \n\t"), "It holds white space or zero bytes only.");
  EXPECT_EQ(why(std::string(100, '\0')), "It holds white space or zero bytes only.");
  EXPECT_EQ(why("[]"), "It has a list of events, but no event is in it.");
  EXPECT_EQ(why("[{}]"), "It has a list of events, but no event is in it.");
  EXPECT_EQ(why("{\"traceEvents\":[]}"), "It has a list of events, but no event is in it.");
  EXPECT_EQ(why("{}"), "It is a JSON object without a list named traceEvents.");
  EXPECT_EQ(why("{\"a\":1,\"b\":[1,{}],\"c\":\"}\"}"),
            "It is a JSON object without a list named traceEvents.");
  EXPECT_EQ(why("hello"),
            "It is not a JSON trace: it begins with 'h' (at byte 0) instead of { or [.");
  EXPECT_EQ(why("\x7f"
                "ELF"),
            "It is not a JSON trace: it begins with byte 0x7f (at byte 0) instead of { or [.");
  EXPECT_EQ(why("[1,2,null,\"x\",[]]"),
            "Not one of its events could be read. 5 events were left out; the first (at byte 1 of "
            "the text) is not an object.");
  EXPECT_EQ(why("\x28\xb5\x2f\xfd...."),
            "It is compressed with zstd; a trace is JSON, plain or in gzip.");
  EXPECT_EQ(why("{\"schemaVersion\":1,\"trace"),
            "It ends, or stops being JSON, before a list named traceEvents.");
  EXPECT_NE(why("{"), "");
  EXPECT_NE(why("{\"traceEvents\""), "");
  EXPECT_NE(why("{\"traceEvents\":"), "");
  EXPECT_NE(why("{\"traceEvents\":}"), "");
  EXPECT_NE(why("{\"traceEvents\":["), "");
  EXPECT_NE(why("]"), "");
  EXPECT_NE(why("[[[[[["), "");
}

TEST(ImportMalformed, FilesThatCannotBeReadGiveTheSystemsText) {
  Trace trace;
  std::string why;
  EXPECT_EQ(import_file("/nowhere/at/all.json", {}, &trace, &why), ImportStatus::not_found);
  EXPECT_EQ(why, "No such file or directory");
  EXPECT_EQ(import_file("/", {}, &trace, &why), ImportStatus::not_found);
  EXPECT_EQ(why, "Is a directory");
}

TEST(ImportMalformed, AFileIsReadAsItsText) {
  const std::string path = testing::TempDir() + "import_malformed_test.json";
  std::ofstream(path) << kSmall;
  Trace trace;
  std::string why;
  EXPECT_EQ(import_file(path, {}, &trace, &why), ImportStatus::ok);
  EXPECT_EQ(trace.ops.size(), 3u);
  EXPECT_EQ(trace.source, "import_malformed_test.json");
  std::remove(path.c_str());
}

TEST(ImportMalformed, CutAtEveryByteKeepsTheEventsBeforeTheCut) {
  const size_t list = kSmall.find('[');
  std::vector<size_t> ends;  // of each event, in bytes
  for (size_t at = kSmall.find("\n{"); at != std::string::npos; at = kSmall.find("\n{", at + 1))
    ends.push_back(kSmall.find("}\n", at) == std::string::npos
                       ? 0
                       : std::min(kSmall.find("},\n", at), kSmall.find("}\n", at)) + 1);
  ASSERT_EQ(ends.size(), 3u);
  for (size_t n = 0; n <= kSmall.size(); ++n) {
    const Imported in = import_text(std::string_view(kSmall).substr(0, n), 7);
    const auto whole = static_cast<uint32_t>(
        std::count_if(ends.begin(), ends.end(), [&](size_t end) { return end <= n; }));
    EXPECT_EQ(in.trace.ops.size(), whole) << n;
    EXPECT_EQ(in.status, whole > 0 ? ImportStatus::ok : ImportStatus::not_a_trace) << n;
    if (n > list) {
      EXPECT_EQ(in.trace.cut_off, n < kSmall.size()) << n;
    }
    EXPECT_EQ(in.trace.skipped, 0u) << n;
  }
}

TEST(ImportMalformed, PiecesOfAnySizeGiveTheSame) {
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{64}}) {
    const Imported in = import_text(kSmall, piece);
    EXPECT_EQ(in.trace.ops.size(), 3u) << piece;
    EXPECT_EQ(in.trace.strings.text(in.trace.ops.name.at(0)), "a\n[");
    EXPECT_EQ(in.trace.strings.text(in.trace.ops.name.at(2)), "c\"");
    EXPECT_FALSE(in.trace.cut_off);
  }
}

TEST(ImportMalformed, AByteOrderMarkIsPassedOver) {
  EXPECT_EQ(import_text("\xef\xbb\xbf" + kSmall, 1).trace.ops.size(), 3u);
}

TEST(ImportMalformed, WhatFollowsTheTraceIsNoted) {
  const Imported in = import_text(kSmall + " trailing {garbage");
  EXPECT_EQ(in.trace.ops.size(), 3u);
  EXPECT_FALSE(in.trace.cut_off);
  EXPECT_NE(notes_of(in.trace).find("What follows the end of the trace"), std::string::npos);
}

TEST(ImportMalformed, TextBetweenMembersEndsTheFileThere) {
  const Imported in =
      import_text("{\"traceEvents\":[" + op("\"ts\":1,\"dur\":1") + "] oops, \"a\":1}");
  EXPECT_EQ(in.trace.ops.size(), 1u);
  EXPECT_TRUE(in.trace.cut_off);
  EXPECT_NE(notes_of(in.trace).find("stops being JSON at byte"), std::string::npos);
}

TEST(ImportMalformed, EachReasonIsCountedAndNotedOnce) {
  const std::string good = op("\"ts\":1,\"dur\":1");
  const Imported in =
      import_text("[" + good + "," + op("\"dur\":1") + "," + op("\"dur\":2") + "," +
                  op("\"ts\":1") + ",{\"name\":\"no ph\"}," + op("\"ts\":NaN,\"dur\":1") + "," +
                  op("\"ts\":1,\"dur\":Infinity") + "," + op("\"ts\":1e30,\"dur\":1") + "," +
                  op("\"ts\":\"soon\",\"dur\":1") + "," + op("\"ts\":null,\"dur\":1") + "," +
                  op("\"ts\":-nan,\"dur\":1") + ",7," + good + "]");
  EXPECT_EQ(in.trace.ops.size(), 2u);
  // 3 without ts (one of them null), 1 without dur, 1 without ph, 5 impossible times, 1 number.
  EXPECT_EQ(in.trace.skipped, 11u);
  ASSERT_EQ(in.trace.notes.size(), 5u);
  const std::string at = std::to_string(1 + good.size() + 1);
  EXPECT_EQ(in.trace.notes[0],
            "3 events were left out; the first (at byte " + at + " of the text) has no time (ts).");
  EXPECT_NE(notes_of(in.trace).find("5 events were left out"), std::string::npos);
  EXPECT_NE(notes_of(in.trace).find("has a time that is no number or does not fit"),
            std::string::npos);
  EXPECT_NE(notes_of(in.trace).find("has no length (dur) and was left out."), std::string::npos);
}

TEST(ImportMalformed, TimesThatAreOddButPossibleAreKept) {
  const Imported in =
      import_text("[" + op("\"ts\":-5,\"dur\":1") + "," + op("\"ts\":5,\"dur\":-1") + "," +
                  op("\"ts\":9223372036854775,\"dur\":9223372036854775") + "]");
  EXPECT_EQ(in.trace.ops.start, (std::vector<Ns>{-5000, 5000, 9223372036854775000}));
  EXPECT_EQ(in.trace.ops.end, (std::vector<Ns>{-4000, 4000, INT64_MAX}));
  EXPECT_EQ(in.trace.skipped, 0u);
}

TEST(ImportMalformed, AnEventThatIsNotJsonIsLeftOutAlone) {
  const std::string good = op("\"ts\":1,\"dur\":1");
  for (const char* bad : {"{\"ph\" \"X\"}", "{\"ph\":\"X\",,}", "{ph:1}", "{\"a\":1]",
                          "{\"a\":01.}", "{\"a\":[1}", "{\"a\":{]}"}) {
    const Imported in = import_text("[" + good + ",\n" + bad + ",\n" + good + "]");
    EXPECT_GE(in.trace.ops.size(), 2u) << bad;
    EXPECT_GE(in.trace.skipped, 1u) << bad;
    EXPECT_FALSE(in.trace.notes.empty()) << bad;
  }
}

TEST(ImportMalformed, AQuoteTooManyDoesNotHideWhatFollows) {
  const std::string good = op("\"ts\":1,\"dur\":1");
  std::string text =
      "[\n" + good + ",\n" +
      "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"operator\"x\",\"ts\":1,\"dur\":1}";
  for (int i = 0; i < 10; ++i) text += ",\n  " + good;
  const Imported in = import_text(text + "\n]");
  EXPECT_EQ(in.trace.ops.size(), 11u);
  EXPECT_GE(in.trace.skipped, 1u);
}

TEST(ImportMalformed, NestingHasNoEndThatHurts) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  const std::string braces = [&] {
    std::string out;
    for (int i = 0; i < 100000; ++i) out += "{\"a\":";
    return out + "1" + std::string(100000, '}');
  }();
  const std::string good = op("\"ts\":1,\"dur\":1");
  const Imported in = import_text("{\"x\":" + deep + ",\"traceEvents\":[" + good + "," +
                                  op("\"ts\":1,\"args\":" + deep) + "," + braces + "," + good +
                                  "],\"y\":" + braces + "}");
  EXPECT_EQ(in.trace.ops.size(), 2u);
  EXPECT_EQ(in.trace.skipped, 2u);
  EXPECT_FALSE(in.trace.cut_off);
  EXPECT_EQ(import_text(std::string(1000000, '[')).status, ImportStatus::not_a_trace);
}

TEST(ImportMalformed, AnEventLongerThanMemoryIsPassedOver) {
  const std::string good = op("\"ts\":1,\"dur\":1");
  // 20 MB of text with escapes in one event.
  std::string huge = "\"ts\":1,\"args\":{\"x\":\"";
  for (int i = 0; i < 2500000; ++i) huge += "\\\\\\\"{}[]";
  const Imported in = import_text("[" + good + "," + op(huge + "\"}") + "," + good + "]");
  EXPECT_EQ(in.trace.ops.size(), 2u);
  EXPECT_EQ(in.trace.skipped, 1u);
  EXPECT_NE(notes_of(in.trace).find("is too long"), std::string::npos);
}

TEST(ImportMalformed, GzipAsItShouldBe) {
  EXPECT_EQ(import_text(gzip(kSmall)).trace.ops.size(), 3u);
  EXPECT_EQ(import_text(gzip(kSmall), 1).trace.ops.size(), 3u);
  // Members one after the other are one text; padding after them is nothing.
  const size_t middle = kSmall.size() / 2;
  const Imported two = import_text(gzip(kSmall.substr(0, middle)) + gzip(kSmall.substr(middle)) +
                                   std::string(99, '\0'));
  EXPECT_EQ(two.trace.ops.size(), 3u);
  EXPECT_FALSE(two.trace.cut_off);
  // Even one byte of it, which alone could begin a member.
  EXPECT_FALSE(import_text(gzip(kSmall) + std::string(1, '\0')).trace.cut_off);
  EXPECT_FALSE(import_text(gzip(kSmall) + std::string(2, '\0'), 1).trace.cut_off);
}

TEST(ImportMalformed, GzipCutAtEveryByte) {
  std::string text = "[" + op("\"ts\":1,\"dur\":1");
  for (int i = 2; i < 200; ++i)
    text += ",\n" + op("\"ts\":" + std::to_string(i * 7919 % 10007) + ",\"dur\":1");
  const std::string packed = gzip(text + "]");
  uint32_t most = 0;
  for (size_t n = 0; n < packed.size(); ++n) {
    const Imported in = import_text(std::string_view(packed).substr(0, n));
    if (in.status == ImportStatus::ok) {
      EXPECT_TRUE(in.trace.cut_off) << n;
    }
    EXPECT_GE(in.trace.ops.size(), most);
    most = in.trace.ops.size();
  }
  EXPECT_EQ(most, 199u);
  const Imported whole = import_text(packed);
  EXPECT_EQ(whole.trace.ops.size(), 199u);
  EXPECT_FALSE(whole.trace.cut_off);
}

TEST(ImportMalformed, DamagedGzipGivesWhatCameBefore) {
  std::string packed = gzip(kSmall);
  packed[packed.size() / 2] = static_cast<char>(packed[packed.size() / 2] ^ 0x55);
  const Imported in = import_text(packed);
  EXPECT_LE(in.trace.ops.size(), 3u);
  EXPECT_TRUE(in.trace.cut_off || in.status == ImportStatus::not_a_trace);
  EXPECT_EQ(import_text("\x1f\x8b").status, ImportStatus::not_a_trace);
  EXPECT_EQ(import_text("\x1f\x8bgarbage that is not deflate").status, ImportStatus::not_a_trace);
}

TEST(ImportMalformed, RowsBeyondTheStoreAreCounted) {
  std::string text = "[" + op("\"ts\":1,\"dur\":1");
  for (int i = 1; i < 1000; ++i) text += "," + op("\"ts\":1,\"dur\":1");
  ImportOptions options;
  options.store_bytes = 100 * Ops::row_bytes();
  const Imported in = import_text(text + "]", SIZE_MAX, options);
  EXPECT_EQ(in.status, ImportStatus::ok);
  EXPECT_LE(in.trace.bytes(), options.store_bytes);
  ASSERT_EQ(in.trace.losses.size(), 1u);
  EXPECT_EQ(in.trace.losses[0].where, "store");
  EXPECT_EQ(in.trace.ops.size() + in.trace.losses[0].lost, 1000u);
  EXPECT_GT(in.trace.ops.size(), 90u);
}

}  // namespace
}  // namespace mill::prof::test
