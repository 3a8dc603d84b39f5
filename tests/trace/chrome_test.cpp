#include "trace/chrome.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "trace/exec_trace.h"

namespace mill {
namespace {

// A strict JSON reader (RFC 8259) that keeps only what the tests ask about: whether the text is
// valid.
class JsonChecker {
 public:
  explicit JsonChecker(const std::string& text)
      : p_(text.data()), end_(text.data() + text.size()) {}
  bool valid() {
    const bool ok = value(0);
    space();
    return ok && p_ == end_;
  }

 private:
  void space() {
    while (p_ != end_ && (*p_ == ' ' || *p_ == '\n' || *p_ == '\t' || *p_ == '\r')) ++p_;
  }
  bool take(char c) {
    space();
    if (p_ == end_ || *p_ != c) return false;
    ++p_;
    return true;
  }
  bool value(int depth) {
    space();
    if (p_ == end_ || depth > 20) return false;
    if (*p_ == '{') return members(depth, '}', true);
    if (*p_ == '[') return members(depth, ']', false);
    if (*p_ == '"') return string();
    return number();
  }
  bool members(int depth, char close, bool named) {
    ++p_;
    if (take(close)) return true;
    do {
      space();
      if (named && !(string() && take(':'))) return false;
      if (!value(depth + 1)) return false;
    } while (take(','));
    return take(close);
  }
  bool string() {
    if (p_ == end_ || *p_++ != '"') return false;
    while (p_ != end_ && *p_ != '"') {
      if (static_cast<unsigned char>(*p_) < 0x20) return false;
      if (*p_++ != '\\') continue;
      if (p_ == end_) return false;
      const char c = *p_++;
      if (c == 'u') {
        for (int i = 0; i < 4; ++i) {
          if (p_ == end_ || !isxdigit(static_cast<unsigned char>(*p_++))) return false;
        }
      } else if (std::string("\"\\/bfnrt").find(c) == std::string::npos) {
        return false;
      }
    }
    return p_ != end_ && *p_++ == '"';
  }
  bool digits() {
    const char* begin = p_;
    while (p_ != end_ && isdigit(static_cast<unsigned char>(*p_))) ++p_;
    return p_ != begin;
  }
  bool number() {
    if (p_ != end_ && *p_ == '-') ++p_;
    const char* begin = p_;
    if (!digits() || (*begin == '0' && p_ - begin > 1)) return false;
    if (p_ != end_ && *p_ == '.') {
      ++p_;
      return digits();
    }
    return true;
  }

  const char* p_;
  const char* end_;
};

class ChromeTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "mill_chrome_" + std::to_string(getpid()) + ".json";
    tracer_.set_mask(MILL_TRACE_RECORDS);
  }
  void TearDown() override { std::remove(path_.c_str()); }

  std::string written(const std::vector<mill_trace_record>& records) {
    ChromeWriter writer(tracer_, path_);
    writer.append(records);
    writer.finish();
    return file();
  }
  std::string file() {
    std::ostringstream text;
    text << std::ifstream(path_, std::ios::binary).rdbuf();
    return text.str();
  }
  static TracerOptions options() {
    TracerOptions o;
    o.ring_records = o.shared_ring_records = 64;
    o.op_name = [](const void*, int32_t op) -> const char* {
      return op == MILL_OP_ADD ? "add" : nullptr;
    };
    return o;
  }
  static size_t count(const std::string& text, const std::string& part) {
    size_t n = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
  }

  Tracer tracer_{options()};
  std::string path_;
};

TEST_F(ChromeTest, AnEmptyTimelineIsValid) {
  const std::string text = written({});
  EXPECT_TRUE(JsonChecker(text).valid()) << text;
}

TEST_F(ChromeTest, TheCheckerItselfRefusesBrokenText) {
  EXPECT_FALSE(JsonChecker("{\"a\":1,}").valid());
  EXPECT_FALSE(JsonChecker("[\"a\nb\"]").valid());
  EXPECT_FALSE(JsonChecker("[\"\\x\"]").valid());
  EXPECT_FALSE(JsonChecker("[1]]").valid());
  EXPECT_TRUE(JsonChecker("[{\"a\":[-1.5,\"\\u00ff\"]}]").valid());
}

TEST_F(ChromeTest, EveryFieldOfARecordArrives) {
  mill_trace_record r{};
  r.start_ns = 1234567;
  r.duration_ns = 89;
  r.instance = 101;
  r.forward = 102;
  r.tensor = 103;
  r.storage = 104;
  r.bytes = 105;
  r.flops = 106;
  r.wait_ns = 107;
  r.step = 108;
  r.version = 1;
  r.kind = MILL_RECORD_OP;
  r.op = MILL_OP_ADD;
  r.status = MILL_E_SHAPE;
  r.scope = tracer_.intern("outer/inner");
  r.stream = 109;
  r.exec_id = 7;
  r.thread = 110;
  r.tensor_version = 111;
  r.dtypes = pack_bytes(MILL_F32, MILL_BF16, MILL_F64);
  r.memory = pack_bytes(MILL_RECORD_MEMORY_PINNED, MILL_RECORD_MEMORY_DEVICE, 2, 3);
  r.detail = 112;
  const std::string text = written({r});
  EXPECT_TRUE(JsonChecker(text).valid()) << text;
  for (const char* part : {"\"ph\":\"X\",\"name\":\"add\",\"cat\":\"op\"",
                           "\"tid\":14,",
                           "\"ts\":1234.567,\"dur\":0.089",
                           "\"instance\":101",
                           "\"forward\":102",
                           "\"tensor\":103",
                           "\"storage\":104",
                           "\"bytes\":105",
                           "\"flops\":106",
                           "\"wait_ns\":107",
                           "\"step\":108",
                           "\"stream\":109",
                           "\"thread\":110",
                           "\"tensor_version\":111",
                           "\"detail\":112",
                           "\"exec\":7",
                           "\"scope\":\"outer/inner\"",
                           "\"dtypes\":\"f32 <- bf16 f64\"",
                           "\"memory\":\"pinned\"",
                           "\"memory_to\":\"device\"",
                           "\"device\":2",
                           "\"device_to\":3",
                           "\"status\":-2",
                           "\"name\":\"exec 7\""}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in " << text;
  }
}

TEST_F(ChromeTest, AnyNameGivesValidJson) {
  std::string hostile;
  for (int c = 1; c < 256; ++c) hostile += static_cast<char>(c);
  hostile += std::string("\0\"\\\xed\xa0\x80\xf4\x90\x80\x80\xc0\xaf\xe2\x82", 15);
  std::vector<mill_trace_record> records(2);
  records[0].kind = MILL_RECORD_SCOPE_END;
  records[0].scope = tracer_.intern(hostile);
  records[1].kind = MILL_RECORD_MARK;
  records[1].detail = tracer_.intern("tab\there \xc3\xa9 \xf0\x9f\x8e\xa1 bad \xff.");
  const std::string text = written(records);
  EXPECT_TRUE(JsonChecker(text).valid()) << text;
  EXPECT_NE(text.find("tab\\u0009here \xc3\xa9 \xf0\x9f\x8e\xa1 bad \\ufffd."), std::string::npos)
      << text;
  EXPECT_NE(text.find("\\u001f"), std::string::npos);
  EXPECT_EQ(text.find('\xff'), std::string::npos);
}

TEST_F(ChromeTest, AnyRecordGivesValidJson) {
  std::vector<mill_trace_record> records;
  uint64_t state = 88172645463325252ull;  // xorshift64 (Marsaglia, 2003)
  for (int i = 0; i < 300; ++i) {
    mill_trace_record r;
    auto* bytes = reinterpret_cast<unsigned char*>(&r);
    for (size_t k = 0; k < sizeof r; ++k) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      bytes[k] = static_cast<unsigned char>(state);
    }
    if (i % 2 == 0) r.kind = i / 2 % 14;
    if (i % 3 == 0) r.detail = static_cast<uint32_t>(i % 7);
    records.push_back(r);
  }
  EXPECT_TRUE(JsonChecker(written(records)).valid());
}

TEST_F(ChromeTest, ScopeBeginsAreLeftOutAndStepsHaveTheirOwnTrack) {
  ExecTrace trace(tracer_);
  trace.scope_begin("epoch");
  { OpSpan(trace, MILL_OP_ADD).finish({}); }
  { OpSpan(trace, MILL_OP_MUL).finish({}); }
  trace.step();
  trace.scope_end();
  std::vector<mill_trace_record> records(16);
  uint32_t n = 0;
  uint64_t lost = 0;
  EXPECT_EQ(tracer_.drain(records.data(), 16, &n, &lost), MILL_OK);
  ASSERT_EQ(n, 5u);
  records.resize(n);
  const std::string text = written(records);
  EXPECT_TRUE(JsonChecker(text).valid());
  EXPECT_EQ(count(text, "\"ph\":\"X\""), 4u);
  EXPECT_EQ(count(text, "\"name\":\"epoch\""), 1u);
  EXPECT_EQ(count(text, "\"name\":\"op 62\""), 1u);
  EXPECT_EQ(count(text, "\"name\":\"exec 1 steps\""), 1u);
  EXPECT_EQ(count(text, "\"name\":\"exec 1\""), 1u);
}

TEST_F(ChromeTest, AppendingInPartsGivesTheSameFileAsAtOnce) {
  std::vector<mill_trace_record> records(2000);
  for (size_t i = 0; i < records.size(); ++i) {
    records[i].kind = MILL_RECORD_COPY;
    records[i].exec_id = static_cast<uint32_t>(1 + i % 3);
    records[i].start_ns = i * 1000;
    records[i].bytes = i;
  }
  const std::string whole = written(records);
  EXPECT_GT(whole.size(), 128u * 1024);
  ChromeWriter writer(tracer_, path_);
  for (size_t i = 0; i < records.size(); i += 100) writer.append({records.data() + i, 100});
  writer.finish();
  EXPECT_EQ(file(), whole);
  EXPECT_TRUE(JsonChecker(whole).valid());
}

TEST_F(ChromeTest, AFinishedWriterAndABadPathAreRefused) {
  ChromeWriter writer(tracer_, path_);
  writer.finish();
  const auto status_of = [](auto&& f) {
    try {
      f();
      return MILL_OK + 0;
    } catch (const Error& e) {
      return static_cast<int>(e.status());
    }
  };
  EXPECT_EQ(status_of([&] { writer.append({}); }), MILL_E_STATE);
  EXPECT_EQ(status_of([&] { writer.finish(); }), MILL_E_STATE);
  EXPECT_EQ(status_of([&] { ChromeWriter(tracer_, ""); }), MILL_E_ARG);
  EXPECT_EQ(status_of([&] { ChromeWriter(tracer_, std::string_view("a\0b", 3)); }), MILL_E_ARG);
  EXPECT_EQ(status_of([&] { ChromeWriter(tracer_, testing::TempDir() + "no/such/folder/t.json"); }),
            MILL_E_IO);
}

TEST_F(ChromeTest, AFullDiskIsReportedAndNothingMoreIsWritten) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "needs /dev/full";
  ChromeWriter writer(tracer_, "/dev/full");
  try {
    writer.finish();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), MILL_E_IO);
    EXPECT_EQ(e.native_code(), ENOSPC);
  }
  EXPECT_THROW(writer.append({}), Error);
}

}  // namespace
}  // namespace mill
