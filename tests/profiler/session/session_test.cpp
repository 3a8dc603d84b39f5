// Sessions: of a file, and live ones on an engine that a test plays.
#include "profiler/session/session.h"

#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>
#include <utility>

#include "profiler/builder.h"

namespace mill::prof::test {
namespace {

mill_prof_opts usual() {
  mill_prof_opts opts{};
  opts.tier = 1;
  opts.interval_ms = 1;
  opts.store_bytes = 1 << 20;
  opts.budget = 0.01;
  return opts;
}

const LinkLine* line_of(const LinkModel& model, LinkSource source) {
  for (const LinkLine& line : model.lines()) {
    if (line.source == source) return &line;
  }
  return nullptr;
}

// What `millrace prof calibrate` writes, in a file.
std::string calibration_file() {
  LinkModel model;
  LinkLine line;
  line.device = LinkModel::kAnyDevice;
  line.kind = CopyKind::host_to_device;
  line.memory = Memory::pinned;
  line.bytes_per_s = 20e9;
  line.source = LinkSource::calibration;
  model.add(line);
  model.host_copy_bytes_per_s = 7e9;
  model.stream_bytes_per_s = 40e9;
  const std::string path = ::testing::TempDir() + "mill_session_test_" + std::to_string(getpid());
  std::FILE* const file = std::fopen(path.c_str(), "we");
  EXPECT_NE(file, nullptr);
  if (file) {
    std::fputs(model.write().c_str(), file);
    std::fclose(file);
  }
  return path;
}

TEST(FileSession, FiguresGivenByHandGoBeforeAFileWhicheverCameFirst) {
  const std::string path = calibration_file();
  for (const bool file_first : {false, true}) {
    SCOPED_TRACE(file_first);
    Builder b;
    b.kernel("work", 10 * us, 10 * us, 20 * us);
    FileSession session(std::move(b.trace), usual());
    std::string why;
    bool readable = false;
    if (file_first) {
      ASSERT_TRUE(session.read_calibration(path, &why, &readable)) << why;
    }
    ASSERT_TRUE(session.set("pinned_to_device_bytes_per_s", 5e9, &why)) << why;
    ASSERT_TRUE(session.set("stream_bytes_per_s", 10e9, &why)) << why;
    if (!file_first) {
      ASSERT_TRUE(session.read_calibration(path, &why, &readable)) << why;
    }
    const auto analysis = session.snapshot();
    const LinkLine* const user = line_of(analysis->links, LinkSource::user);
    ASSERT_NE(user, nullptr);
    EXPECT_EQ(user->bytes_per_s, 5e9);
    ASSERT_NE(line_of(analysis->links, LinkSource::calibration), nullptr);
    EXPECT_EQ(analysis->links.stream_bytes_per_s, 10e9);
    EXPECT_EQ(analysis->links.host_copy_bytes_per_s, 7e9);
    EXPECT_EQ(
        analysis->links.line(analysis->trace(), 0, CopyKind::host_to_device, Memory::pinned).source,
        LinkSource::user);
  }
  std::remove(path.c_str());
}

// The profiler's own work takes 2 us of each step of 100.
TEST(FileSession, ItsBudgetIsTheRulesToo) {
  const auto tells = [](double budget) {
    Builder b;
    for (int k = 0; k < 10; ++k) {
      const Ns t = k * 100 * us;
      b.kernel("work", t + 5 * us, t + 5 * us, t + 90 * us);
      b.step(k, t, t + 100 * us);
      const uint32_t row = b.trace.overheads.add();
      b.trace.overheads.start[row] = t;
      b.trace.overheads.end[row] = t + 2 * us;
      b.trace.overheads.kind[row] = static_cast<uint8_t>(OverheadKind::profiler);
    }
    mill_prof_opts opts = usual();
    opts.budget = budget;
    FileSession session(std::move(b.trace), opts);
    const auto analysis = session.snapshot();
    for (const Finding& finding : analysis->findings) {
      if (finding.rule == RuleId::O1) return true;
    }
    return false;
  };
  EXPECT_TRUE(tells(0.01));
  EXPECT_FALSE(tells(0.03));
}

TEST(FileSession, NamesTheNearestSetting) {
  FileSession session(Trace(), usual());
  std::string why;
  EXPECT_FALSE(session.set("stream_byte_per_s", 1, &why));
  EXPECT_NE(why.find("\"stream_bytes_per_s\""), std::string::npos) << why;
  EXPECT_FALSE(session.set("t3_min_shar", 1, &why));
  EXPECT_NE(why.find("\"t3_min_share\""), std::string::npos) << why;
}

TEST(FileSession, SaysWhyACalibrationCannotBeRead) {
  FileSession session(Trace(), usual());
  std::string why;
  bool readable = true;
  EXPECT_FALSE(session.read_calibration("/nowhere/at/all", &why, &readable));
  EXPECT_FALSE(readable);
  EXPECT_NE(why.find("/nowhere/at/all"), std::string::npos) << why;
  EXPECT_FALSE(session.read_calibration(::testing::TempDir(), &why, &readable));
  EXPECT_FALSE(readable) << "a folder";
}

TEST(FileSession, TellsWhatWasLostFromWhatWasGivenUp) {
  Trace trace;
  trace.losses = {{"rings", 3}, {"store", 40}, {"other clock", 500}};
  FileSession session(std::move(trace), usual());
  mill_prof_overhead_info info{};
  session.overhead(&info);
  EXPECT_EQ(info.lost, 3u);
  EXPECT_EQ(info.forgotten, 40u);
  std::string why;
  EXPECT_EQ(session.start(&why), MILL_E_STATE);
  EXPECT_EQ(session.stop(&why), MILL_E_STATE);
}

// ---- live ---------------------------------------------------------------------------------------

// One CPU and one device that keeps no timeline.
mill_profiler_host played() {
  mill_profiler_host host{};
  host.size = sizeof host;
  host.abi = MILL_PROFILER_ABI;
  host.session_mask = [](mill_context*, uint64_t) { return mill_status{MILL_OK}; };
  host.trace_clock = [](mill_context*, uint64_t* now, mill_error*) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    *now = static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
    return mill_status{MILL_OK};
  };
  host.trace_drain = [](mill_context*, mill_trace_record*, uint32_t, uint32_t* count,
                        uint64_t* lost, mill_error*) {
    *count = 0;
    *lost = 0;
    return mill_status{MILL_OK};
  };
  host.trace_string = [](mill_context*, uint32_t, char*, uint64_t, uint64_t*, mill_error*) {
    return mill_status{MILL_E_ARG};
  };
  host.device_count = [](mill_context*, uint32_t* count, mill_error*) {
    *count = 2;
    return mill_status{MILL_OK};
  };
  host.device_query = [](mill_context*, uint32_t index, mill_device_info* info, mill_error*) {
    std::snprintf(info->name, sizeof info->name, "%s", index == 0 ? "cpu" : "card");
    return mill_status{MILL_OK};
  };
  host.device_timeline = [](mill_context*, uint32_t, uint32_t, mill_error*) {
    return mill_status{MILL_E_UNSUPPORTED};
  };
  host.device_drain = [](mill_context*, uint32_t, mill_timeline_record*, uint64_t, uint64_t*,
                         uint64_t*, mill_error*) { return mill_status{MILL_E_UNSUPPORTED}; };
  host.memory_stats_query = [](mill_context*, uint32_t, mill_memory_stats*, mill_error*) {
    return mill_status{MILL_E_UNSUPPORTED};
  };
  host.op_name = [](mill_context*, int32_t, char* text, uint64_t) { *text = 0; };
  host.device_limits = [](mill_context*, uint32_t) -> const mill_device_limits* { return nullptr; };
  host.device_inline = [](mill_context*, uint32_t index) -> mill_bool { return index == 0; };
  host.session_wait = [](mill_context*, uint64_t) {
    const timespec pause{0, 1'000'000};
    nanosleep(&pause, nullptr);
  };
  host.session_wake = [](mill_context*) {};
  return host;
}

TEST(LiveSession, SaysOnceWhyADeviceIsNotSeenHoweverOftenItStarts) {
  const mill_profiler_host host = played();
  LiveSession session(host, nullptr, usual());
  std::string why;
  for (int k = 0; k < 3; ++k) {
    ASSERT_EQ(session.start(&why), MILL_OK) << why;
    ASSERT_EQ(session.stop(&why), MILL_OK) << why;
  }
  const auto analysis = session.snapshot();
  ASSERT_EQ(analysis->trace().notes.size(), 1u);
  EXPECT_EQ(analysis->trace().notes[0], "card: the device keeps no timeline by itself");
  EXPECT_FALSE(analysis->trace().has_device_clock);
}

std::atomic<uint64_t> g_rested{0};  // the mask of steps that are not recorded

// A step of 1 ms at each drain.
TEST(LiveSession, WhereItRecordsNoOpsItStillTakesStepsAndRanges) {
  mill_profiler_host host = played();
  host.session_mask = [](mill_context*, uint64_t mask) {
    if (mask != 0 && (mask & MILL_TRACE_OPS) == 0) g_rested = mask;
    return mill_status{MILL_OK};
  };
  host.trace_drain = [](mill_context*, mill_trace_record* records, uint32_t, uint32_t* count,
                        uint64_t* lost, mill_error*) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    records[0] = {};
    records[0].kind = MILL_RECORD_STEP;
    records[0].exec_id = 1;
    records[0].duration_ns = 1'000'000;
    records[0].start_ns = static_cast<uint64_t>(t.tv_sec) * 1000000000u +
                          static_cast<uint64_t>(t.tv_nsec) - records[0].duration_ns;
    *count = 1;
    *lost = 0;
    return mill_status{MILL_OK};
  };
  LiveSession session(host, nullptr, usual());
  std::string why;
  ASSERT_EQ(session.start(&why), MILL_OK) << why;
  // The first second is recorded whole.
  for (int k = 0; k < 500 && g_rested == 0; ++k) {
    const timespec pause{0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
  ASSERT_EQ(session.stop(&why), MILL_OK) << why;
  EXPECT_EQ(g_rested.load(), uint64_t{MILL_TRACE_STEPS | MILL_TRACE_SCOPES});
  // What was not recorded is a hole, in which nothing is known.
  EXPECT_FALSE(session.snapshot()->trace().recorded.empty());
}

}  // namespace
}  // namespace mill::prof::test
