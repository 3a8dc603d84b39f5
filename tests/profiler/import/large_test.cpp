#include "profiler/import/read.h"

namespace mill::prof::test {
namespace {

TEST(ImportLarge, AMillionEventsOnOneTrackComeInPieces) {
  constexpr uint32_t kEvents = 1000000;
  std::string piece;
  size_t at = 0;
  uint32_t made = 0;
  const auto read = [&](char* to, size_t n) {
    size_t put = 0;
    while (put < n) {
      if (at == piece.size()) {
        if (made > kEvents) break;
        piece =
            made == kEvents
                ? "]}"
                : (made == 0 ? "" : ",") +
                      std::string(R"({"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":)") +
                      std::to_string(made) + R"(.25,"dur":0.5,"args":{"correlation":)" +
                      std::to_string(made + 1) + "}}";
        if (made == 0) piece.insert(0, "{\"traceEvents\":[");
        ++made;
        at = 0;
      }
      const size_t part = std::min(n - put, piece.size() - at);
      std::memcpy(to + put, piece.data() + at, part);
      put += part;
      at += part;
    }
    return put;
  };
  Trace trace;
  std::string why;
  ASSERT_EQ(import_stream(read, "made", {}, &trace, &why), ImportStatus::ok) << why;
  ASSERT_EQ(trace.work.size(), kEvents);
  EXPECT_EQ(trace.work.start[kEvents - 1], (Ns{kEvents} - 1) * 1000 + 250);
  EXPECT_EQ(trace.work.correlation[kEvents - 1], kEvents);
  EXPECT_EQ(trace.streams.size(), 1u);
  EXPECT_FALSE(trace.cut_off);
}

TEST(ImportLarge, ManyTracksAndNamesStayWithinTheStore) {
  std::string text = "[";
  for (int i = 0; i < 200000; ++i) {
    const std::string n = std::to_string(i);
    text += (i == 0 ? "" : ",") + std::string(R"({"ph":"X","cat":"kernel","name":"kernel )") + n +
            R"(","pid":"process )" + n + R"(","tid":"track )" + n +
            R"(","ts":1,"dur":1,"args":{"device":)" + n + R"(,"stream":)" + n + "}}";
  }
  ImportOptions options;
  options.store_bytes = 1 << 20;
  const Imported in = import_text(text, SIZE_MAX, options);
  EXPECT_EQ(in.status, ImportStatus::ok);
  ASSERT_EQ(in.trace.losses.size(), 1u);
  EXPECT_EQ(in.trace.work.size() + in.trace.losses[0].lost, 200000u);
  EXPECT_LE(in.trace.bytes(), options.store_bytes);
  EXPECT_LE(in.trace.devices.size(), in.trace.work.size() + 1);
  EXPECT_LE(in.trace.streams.size(), in.trace.work.size() + 1);
}

}  // namespace
}  // namespace mill::prof::test
