#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "profiler/builder.h"
#include "profiler/export/capture.h"
#include "profiler/export/export.h"
#include "profiler/export/writer.h"

namespace mill::prof {
namespace {

using rapidjson::Document;
using rapidjson::Value;
using test::bare_analysis;
using test::us;
using test::written;

// Numbers as they are written, so that no test reads a time through a double.
Document parse(const std::string& text) {
  Document json;
  json.Parse<rapidjson::kParseNumbersAsStringsFlag | rapidjson::kParseValidateEncodingFlag>(
      text.c_str(), text.size());
  EXPECT_FALSE(json.HasParseError()) << json.GetErrorOffset();
  return json;
}

std::string chrome(const Analysis& analysis) {
  return written([&](const Sink& sink) { EXPECT_TRUE(export_chrome(analysis, sink)); });
}
Document chrome(Trace trace) {
  return parse(chrome(bare_analysis(std::move(trace))));
}

std::string at(const Value& event, const char* key) {
  return event.HasMember(key) && event[key].IsString() ? event[key].GetString() : "";
}
std::vector<const Value*> events(const Document& json, std::string_view phase) {
  std::vector<const Value*> out;
  for (const Value& event : json["traceEvents"].GetArray()) {
    if (at(event, "ph") == phase) out.push_back(&event);
  }
  return out;
}
// Nanoseconds of "12.345".
int64_t ns(const std::string& micros) {
  const size_t point = micros.find('.');
  EXPECT_EQ(micros.size() - point, 4u) << micros;
  std::string digits = micros;
  digits.erase(point, 1);
  return std::strtoll(digits.c_str(), nullptr, 10);
}

TEST(Chrome, EmptyTraceIsAFileWithoutEvents) {
  const Document json = chrome(Trace{});
  EXPECT_EQ(json["traceEvents"].Size(), 0u);
  EXPECT_EQ(at(json["millrace"], "format"), "1");
}

TEST(Chrome, EventsAreOnTheirTracksWithExactTimes) {
  test::Builder b;
  b.op("linear", 1001, 99999, 4);
  b.copy(CopyKind::host_to_device, Memory::pageable, 4096, 2000, 3000, 2500, 2600);
  b.kernel("gemm", 9000, 10007, 20008);
  const Document json = chrome(b.trace);
  std::map<std::string, const Value*> by_cat;
  for (const Value* event : events(json, "X")) by_cat[at(*event, "cat")] = event;
  ASSERT_EQ(by_cat.size(), 4u);  // two calls share one

  const Value& kernel = *by_cat.at("kernel");
  EXPECT_EQ(at(kernel, "name"), "gemm");
  EXPECT_EQ(at(kernel, "ts"), "10.007");
  EXPECT_EQ(at(kernel, "dur"), "10.001");
  EXPECT_EQ(at(kernel, "pid"), "0");  // the device
  EXPECT_EQ(at(kernel, "tid"), "7");  // the stream
  EXPECT_EQ(at(kernel["args"], "device"), "0");
  EXPECT_EQ(at(kernel["args"], "stream"), "7");
  EXPECT_EQ(at(kernel["args"], "correlation"), "2");

  const Value& copy = *by_cat.at("gpu_memcpy");
  EXPECT_EQ(at(copy["args"], "bytes"), "4096");
  EXPECT_EQ(at(copy["args"], "copy_kind"), "host to device");
  EXPECT_EQ(at(copy["args"], "host_memory"), "pageable");

  const Value& op = *by_cat.at("cpu_op");
  EXPECT_EQ(at(op, "pid"), "1");  // the process
  EXPECT_EQ(at(op, "tid"), "1");  // the thread
  EXPECT_EQ(at(op, "ts"), "1.001");
  EXPECT_EQ(at(op, "dur"), "98.998");
  EXPECT_EQ(at(op["args"], "instance"), "4");
}

TEST(Chrome, EventsAreSortedByStart) {
  test::Builder b;
  for (int k = 0; k < 50; ++k) b.kernel("k", (50 - k) * us, (60 - k) * us, (61 - k) * us);
  const Document json = chrome(b.trace);
  int64_t last = INT64_MIN;
  for (const Value& event : json["traceEvents"].GetArray()) {
    if (at(event, "ph") == "M") continue;
    const int64_t time = ns(at(event, "ts"));
    EXPECT_GE(time, last);
    last = time;
  }
}

TEST(Chrome, FlowsLeadFromEachCallToItsWork) {
  test::Builder b;
  b.kernel("first", 10 * us, 20 * us, 30 * us);
  const uint32_t graph = b.call(CallKind::graph_launch, "cudaGraphLaunch", 40 * us, 50 * us, 77);
  b.work(WorkKind::kernel, "node 1", 60 * us, 61 * us, graph);
  b.work(WorkKind::kernel, "node 2", 62 * us, 63 * us, graph);
  const Document json = chrome(b.trace);
  std::map<std::string, const Value*> from;
  std::map<std::string, const Value*> to;
  for (const Value* event : events(json, "s")) from[at(*event, "id")] = event;
  for (const Value* event : events(json, "f")) to[at(*event, "id")] = event;
  ASSERT_EQ(to.size(), 3u);
  ASSERT_EQ(from.size(), 3u);
  for (const auto& [id, event] : to) {
    EXPECT_EQ(at(*event, "bp"), "e");
    EXPECT_EQ(at(*event, "pid"), "0");
    ASSERT_TRUE(from.contains(id));
    EXPECT_EQ(at(*from.at(id), "pid"), "1");
    EXPECT_LT(ns(at(*from.at(id), "ts")), ns(at(*event, "ts")));
  }
}

// Whether slices of each track nest.
void expect_nesting(const Document& json) {
  std::map<std::pair<std::string, std::string>, std::vector<std::pair<int64_t, int64_t>>> tracks;
  for (const Value* event : events(json, "X")) {
    const int64_t start = ns(at(*event, "ts"));
    tracks[{at(*event, "pid"), at(*event, "tid")}].push_back(
        {start, start + ns(at(*event, "dur"))});
  }
  for (const auto& [track, slices] : tracks) {
    std::vector<int64_t> open;
    for (const auto& [start, end] : slices) {
      while (!open.empty() && open.back() <= start) open.pop_back();
      if (!open.empty()) {
        EXPECT_LE(end, open.back()) << track.first << " " << track.second;
      }
      open.push_back(end);
    }
  }
}

TEST(Chrome, SlicesThatOverlapWithoutNestingGetALaneOfTheirOwn) {
  test::Builder b;
  b.kernel("a", 1 * us, 10 * us, 20 * us);
  b.kernel("b", 2 * us, 15 * us, 25 * us);  // overlaps a
  b.kernel("c", 3 * us, 16 * us, 18 * us);  // inside both
  const Document json = chrome(b.trace);
  expect_nesting(json);
  std::set<std::string> names;
  for (const Value* event : events(json, "M")) {
    if (at(*event, "name") == "thread_name") names.insert(at((*event)["args"], "name"));
  }
  EXPECT_TRUE(names.contains("stream 7"));
  EXPECT_TRUE(names.contains("stream 7 (2)"));
  EXPECT_FALSE(names.contains("stream 7 (3)"));
}

TEST(Chrome, ManyOverlapsNestTooAndTakeOneLaneEachAtMost) {
  test::Builder b;
  // A staircase: each slice overlaps the next 20 and nests in none.
  for (int k = 0; k < 2000; ++k) b.op("op", k * us, (k + 20) * us + k);
  const Document json = chrome(b.trace);
  expect_nesting(json);
  std::set<std::string> lanes;
  for (const Value* event : events(json, "X")) {
    lanes.insert(at(*event, "tid"));
    // What is not on its thread's own track says which thread it is.
    if (at(*event, "tid") != "1") {
      EXPECT_EQ(at((*event)["args"], "thread"), "1");
    }
  }
  EXPECT_GE(lanes.size(), 20u);
  EXPECT_LE(lanes.size(), 24u);
}

TEST(Chrome, DevicesAndProcessesOfOneNumberStayApart) {
  test::Builder b;
  b.by(b.trace.thread(0, 3)).op("op", 0, 10);  // process 0, and device 0
  b.kernel("k", 0, 1, 2, 0);
  const Document json = chrome(b.trace);
  std::map<std::string, std::string> pid;
  for (const Value* event : events(json, "X")) pid[at(*event, "cat")] = at(*event, "pid");
  EXPECT_EQ(pid.at("cpu_op"), "0");
  EXPECT_NE(pid.at("kernel"), "0");
}

TEST(Chrome, TracksHaveNamesAndAnOrder) {
  test::Builder b;
  b.trace.threads[0].name = "main";
  b.op("op", 0, 10);
  b.kernel("k", 0, 1, 2, 0);
  const Document json = chrome(b.trace);
  std::set<std::string> names;
  std::set<std::string> kinds;
  for (const Value* event : events(json, "M")) {
    kinds.insert(at(*event, "name"));
    if ((*event)["args"].HasMember("name")) names.insert(at((*event)["args"], "name"));
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"process_name", "process_labels", "process_sort_index",
                                          "thread_name", "thread_sort_index"}));
  EXPECT_EQ(names,
            (std::set<std::string>{"process 1", "main (thread 1)", "device 0: gpu0", "stream 7"}));
}

TEST(Chrome, HostileNamesStayInsideTheirStrings) {
  test::Builder b;
  b.op(test::kHostile, 0, 10);
  b.trace.source = test::kHostile;
  b.trace.devices[0].name = test::kHostile;
  b.trace.notes.push_back(std::string(test::kHostile));
  b.trace.losses.push_back({std::string(test::kHostile), 3});
  b.kernel("", 0, 1, 2, 0);
  const Document json = chrome(b.trace);
  for (const Value* event : events(json, "X")) {
    if (at(*event, "cat") == "cpu_op") {
      EXPECT_EQ(at(*event, "name"), well_formed(test::kHostile));
    } else if (at(*event, "cat") == "kernel") {
      EXPECT_TRUE((*event)["args"].HasMember("unnamed"));
    }
  }
  EXPECT_EQ(at(json["millrace"], "source"), well_formed(test::kHostile));
  EXPECT_EQ(at(json["millrace"]["losses"][0], "lost"), "3");
}

TEST(Chrome, TimesThatCannotBeStillMakeEventsThatViewersTake) {
  test::Builder b;
  b.kernel("backwards", 10 * us, 30 * us, 20 * us);
  b.op("far", -(int64_t{1} << 62), int64_t{1} << 61);
  const Document json = chrome(b.trace);
  expect_nesting(json);
  for (const Value* event : events(json, "X")) {
    EXPECT_FALSE(at(*event, "dur").starts_with("-"));
    if (at(*event, "name") != "backwards") continue;
    EXPECT_EQ(at(*event, "ts"), "30.000");
    EXPECT_EQ(at(*event, "dur"), "0.000");
    EXPECT_EQ(at((*event)["args"], "end"), "20000");
  }
}

TEST(Chrome, TimesSinceTheEpochAreMovedSoThatDoublesHoldThem) {
  test::Builder b;
  const Ns epoch = 1623143089861123456;
  b.op("op", epoch + 5, epoch + 1005);
  const Document json = chrome(b.trace);
  const Value* op = events(json, "X").at(0);
  // Cut to the millisecond before the first event.
  EXPECT_EQ(at(json, "baseTimeNanoseconds"), "1623143089861000000");
  EXPECT_EQ(at(*op, "ts"), "123.461");
  EXPECT_EQ(at(*op, "dur"), "1.000");
}

TEST(Chrome, CountersAndTablesWithoutNamesAreThere) {
  test::Builder b;
  const uint32_t counter = b.trace.counters.add();
  b.trace.counters.time[counter] = 1500;
  b.trace.counters.name[counter] = b.trace.strings.intern("reserved_bytes");
  b.trace.counters.device[counter] = 0;
  b.trace.counters.value[counter] = 0.1;
  b.step(5, 1000, 9000);
  b.loader_wait(2000, 3000);
  const uint32_t copy = b.trace.copies.add();
  b.trace.copies.start[copy] = 4000;
  b.trace.copies.end[copy] = 5000;
  b.trace.copies.from[copy] = static_cast<uint8_t>(Memory::pageable);
  b.trace.copies.to[copy] = static_cast<uint8_t>(Memory::device);
  b.trace.copies.to_device[copy] = 0;
  b.trace.copies.stream[copy] = b.trace.stream(0, 9);
  const uint32_t pages = b.trace.managed.add();
  b.trace.managed.start[pages] = 100;
  b.trace.managed.end[pages] = 200;
  b.trace.managed.device[pages] = 0;
  b.trace.managed.kind[pages] = static_cast<uint8_t>(ManagedKind::fault);
  const Document json = chrome(b.trace);
  const Value& value = *events(json, "C").at(0);
  EXPECT_EQ(at(value, "name"), "reserved_bytes");
  EXPECT_EQ(at(value, "ts"), "1.500");
  EXPECT_EQ(at(value, "device"), "0");
  EXPECT_EQ(at(value["args"], "value"), "0.1");
  std::map<std::string, const Value*> by_cat;
  for (const Value* event : events(json, "X")) by_cat[at(*event, "cat")] = event;
  EXPECT_EQ(at(*by_cat.at("millrace.marked_steps"), "name"), "ProfilerStep#5");
  EXPECT_EQ(at((*by_cat.at("millrace.marked_steps"))["args"], "number"), "5");
  EXPECT_EQ(at((*by_cat.at("millrace.loader"))["args"], "wait"), "1000");
  const Value& args = (*by_cat.at("millrace.copies"))["args"];
  EXPECT_EQ(at(args, "from"), "pageable");
  EXPECT_EQ(at(args, "to"), "device");
  EXPECT_EQ(at(args, "stream"), "9");
  EXPECT_EQ(at(args, "stream_device"), "0");
  EXPECT_EQ(at(*by_cat.at("millrace.managed"), "pid"), "0");
}

TEST(Chrome, SaysWhenTheSinkRefuses) {
  EXPECT_FALSE(export_chrome(bare_analysis({}), [](std::string_view) { return false; }));
}

}  // namespace
}  // namespace mill::prof
