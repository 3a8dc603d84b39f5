// The Chrome export against the Trace Event Format, as that is documented and as viewers take it.
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "profiler/builder.h"
#include "profiler/export/capture.h"
#include "profiler/export/export.h"
#include "profiler/export/full_trace.h"
#include "profiler/import/import.h"

namespace mill::prof {
namespace {

using rapidjson::Value;
using test::bare_analysis;
using test::Builder;
using test::us;
using test::written;

// Collects what is wrong with a file; every event is looked at in order.
class FormatCheck {
 public:
  explicit FormatCheck(const std::string& text) { file(text); }

  const std::vector<std::string>& problems() const { return problems_; }

 private:
  using Track = std::pair<uint64_t, uint64_t>;
  struct Slice {
    int64_t end;
    std::string category;
  };
  struct Flow {
    std::string words;  // category and name, the same at both ends
    int64_t begin = 0;
    bool begun = false;
    bool ended = false;
  };

  void file(const std::string& text) {
    rapidjson::Document json;
    json.Parse<rapidjson::kParseValidateEncodingFlag | rapidjson::kParseFullPrecisionFlag>(
        text.c_str(), text.size());
    if (json.HasParseError()) return wrong("no JSON at " + std::to_string(json.GetErrorOffset()));
    if (!json.IsObject()) return wrong("the outermost value is no object");
    keys(json, {"displayTimeUnit", "baseTimeNanoseconds", "millrace", "traceEvents"});
    const std::string unit = string(json, "displayTimeUnit");
    if (unit != "ms" && unit != "ns") wrong("displayTimeUnit is neither ms nor ns");
    if (!json.HasMember("traceEvents") || !json["traceEvents"].IsArray())
      return wrong("traceEvents is no list");
    for (const Value& one : json["traceEvents"].GetArray()) {
      ++event_;
      if (one.IsObject()) {
        event(one);
      } else {
        wrong("is no object");
      }
    }
    at_end();
  }

  void wrong(const std::string& what) {
    if (problems_.size() < 20) problems_.push_back("event " + std::to_string(event_) + ": " + what);
  }
  static std::string string(const Value& object, const char* key) {
    return object.HasMember(key) && object[key].IsString() ? object[key].GetString() : "";
  }
  // Each of them at most once, and no others.
  void keys(const Value& object, std::initializer_list<std::string_view> known) {
    std::set<std::string_view> seen;
    for (const auto& member : object.GetObject()) {
      const std::string_view key(member.name.GetString(), member.name.GetStringLength());
      if (!seen.insert(key).second) wrong("has twice " + std::string(key));
      if (std::find(known.begin(), known.end(), key) == known.end())
        wrong("has an undocumented " + std::string(key));
    }
  }
  uint64_t number(const Value& event, const char* key) {
    if (event.HasMember(key) && event[key].IsUint()) return event[key].GetUint();
    wrong(std::string(key) + " is no number of 32 bits");
    return 0;
  }
  // Nanoseconds of a time in microseconds.
  int64_t time(const Value& event, const char* key) {
    if (!event.HasMember(key) || !event[key].IsNumber()) {
      wrong(std::string(key) + " is no number");
      return 0;
    }
    const double ns = event[key].GetDouble() * 1000;
    if (!(std::fabs(ns) <= 9007199254740992.0))
      wrong(std::string(key) + " is not exact in doubles");
    return std::llround(ns);
  }
  bool has_args(const Value& event) {
    const bool has = event.HasMember("args") && event["args"].IsObject();
    if (!has) wrong("args is no object");
    return has;
  }

  void event(const Value& event) {
    const std::string phase = string(event, "ph");
    if (phase.size() != 1 || std::string_view("MXCsf").find(phase) == std::string_view::npos)
      return wrong("ph is \"" + phase + "\"");
    const char ph = phase[0];
    if (!event.HasMember("name") || !event["name"].IsString()) wrong("has no name");
    if (ph == 'M') return metadata(event);
    if (string(event, "cat").empty()) wrong("has no category");
    const Track track{number(event, "pid"), number(event, "tid")};
    used_processes_.insert(track.first);
    const int64_t ts = time(event, "ts");
    if (timed_ && ts < last_) wrong("comes before the event before it");
    timed_ = true;
    last_ = ts;
    switch (ph) {
      case 'X': slice(event, track, ts); break;
      case 'C': counter(event); break;
      default: flow(event, track, ts, ph == 's');
    }
  }

  void metadata(const Value& event) {
    keys(event, {"ph", "ts", "name", "pid", "tid", "args"});
    static const std::map<std::string, const char*> kKinds = {{"process_name", "name"},
                                                              {"process_labels", "labels"},
                                                              {"process_sort_index", "sort_index"},
                                                              {"thread_name", "name"},
                                                              {"thread_sort_index", "sort_index"}};
    const std::string name = string(event, "name");
    const auto kind = kKinds.find(name);
    if (kind == kKinds.end()) return wrong("there is no metadata called " + name);
    const bool of_thread = name.starts_with("thread");
    const Track track{number(event, "pid"), of_thread ? number(event, "tid") : 0};
    if (!metadata_.insert({name, track}).second) wrong("says " + name + " twice");
    if (of_thread) named_tracks_.insert(track);
    if (!has_args(event)) return;
    const Value& args = event["args"];
    keys(args, {kind->second});
    if (!args.HasMember(kind->second)) return wrong("lacks args." + std::string(kind->second));
    const Value& value = args[kind->second];
    if (name.ends_with("index") ? !value.IsInt() : string(args, kind->second).empty())
      wrong("args." + std::string(kind->second) + " is of another type, or empty");
  }

  void slice(const Value& event, const Track& track, int64_t ts) {
    keys(event, {"ph", "cat", "name", "pid", "tid", "ts", "dur", "args"});
    has_args(event);
    if (string(event, "name").empty()) wrong("has an empty name: viewers hide it");
    const int64_t length = time(event, "dur");
    if (length < 0) wrong("lasts less than nothing");
    used_tracks_.insert(track);
    std::vector<Slice>& open = open_[track];
    while (!open.empty() && open.back().end <= ts) open.pop_back();
    if (!open.empty() && ts + length > open.back().end) wrong("overlaps a slice without nesting");
    open.push_back({ts + length, string(event, "cat")});
  }

  void counter(const Value& event) {
    keys(event, {"ph", "cat", "name", "pid", "tid", "ts", "device", "args"});
    if (!has_args(event)) return;
    if (event["args"].MemberCount() == 0) wrong("is a counter without a series");
    for (const auto& series : event["args"].GetObject()) {
      if (!series.value.IsNumber() && !series.value.IsNull()) wrong("counts what is no number");
    }
  }

  void flow(const Value& event, const Track& track, int64_t ts, bool begins) {
    keys(event, {"ph", "cat", "name", "id", "pid", "tid", "ts", "bp"});
    if (!event.HasMember("id") || !(event["id"].IsUint64() || event["id"].IsString()))
      return wrong("is a flow without an id");
    const std::string id =
        event["id"].IsString() ? event["id"].GetString() : std::to_string(event["id"].GetUint64());
    Flow& flow = flows_[id];
    const std::string words = string(event, "cat") + "/" + string(event, "name");
    if (begins) {
      if (flow.begun) wrong("begins flow " + id + " again");
      flow = {words, ts, true, flow.ended};
    } else {
      if (!flow.begun) wrong("ends flow " + id + ", which has not begun");
      if (flow.ended) wrong("ends flow " + id + " again");
      if (flow.words != words) wrong("ends flow " + id + " under another name");
      if (ts < flow.begin) wrong("ends flow " + id + " before it begins");
      // Without it the flow goes to the next slice of the track.
      if (string(event, "bp") != "e") wrong("does not bind flow " + id + " to the slice around it");
      flow.ended = true;
    }
    // Viewers take the innermost slice that is open there.
    const std::vector<Slice>& open = open_[track];
    if (open.empty() || open.back().end < ts) return wrong("flow " + id + " is in no slice");
    const std::string& category = open.back().category;
    if (category.starts_with("cuda_") != begins) wrong("flow " + id + " is bound to a " + category);
  }

  void at_end() {
    for (const uint64_t process : used_processes_) {
      if (!metadata_.contains({"process_name", {process, 0}}))
        wrong("process " + std::to_string(process) + " has no name");
    }
    for (const Track& track : used_tracks_) {
      if (!named_tracks_.contains(track))
        wrong("track " + std::to_string(track.second) + " is not described");
    }
    for (const auto& [id, flow] : flows_) {
      if (!flow.ended) wrong("flow " + id + " does not end");
    }
  }

  std::vector<std::string> problems_;
  size_t event_ = 0;
  bool timed_ = false;
  int64_t last_ = 0;
  std::map<Track, std::vector<Slice>> open_;
  std::map<std::string, Flow> flows_;
  std::set<std::pair<std::string, Track>> metadata_;
  std::set<Track> named_tracks_;
  std::set<Track> used_tracks_;
  std::set<uint64_t> used_processes_;
};

std::vector<std::string> problems_of(Trace trace) {
  const Analysis analysis = bare_analysis(std::move(trace));
  return FormatCheck(written([&](const Sink& sink) { export_chrome(analysis, sink); })).problems();
}

const std::vector<std::string> kNone;

TEST(ChromeFormat, ATraceOfEverythingFollowsIt) {
  EXPECT_EQ(problems_of({}), kNone);
  for (uint64_t seed = 1; seed <= 20; ++seed) EXPECT_EQ(problems_of(test::full_trace(seed)), kNone);
}

TEST(ChromeFormat, FlowsOfNestedAndEmptyCallsFollowIt) {
  Builder b;
  for (int k = 0; k < 50; ++k) {
    const Ns t = k * 100 * us;
    b.op("outer", t, t + 90 * us);
    // An op, a call of the runtime and one of the driver begin at once; the kernel begins with
    // another one on its stream that takes no time.
    b.op("inner", t + 10 * us, t + 30 * us);
    const uint32_t call =
        b.call(CallKind::graph_launch, "cudaGraphLaunch", t + 10 * us, t + 20 * us);
    b.call(CallKind::launch, "cuLaunchKernel", t + 10 * us, t + 12 * us);
    b.work(WorkKind::kernel, "empty", t + 40 * us, t + 40 * us, call);
    b.work(WorkKind::kernel, "node", t + 40 * us, t + 60 * us, call);
    b.work(WorkKind::copy, "overlaps", t + 50 * us, t + 70 * us, call);
    b.kernel("empty call", t + 80 * us, t + 80 * us, t + 81 * us, 0);
    b.kernel("before its launch", t + 89 * us, t + 85 * us, t + 86 * us, 1 * us);
  }
  EXPECT_EQ(problems_of(std::move(b.trace)), kNone);
}

TEST(ChromeFormat, TimesSinceTheEpochFollowIt) {
  Builder b;
  const Ns epoch = 1623143089861123456;
  for (int k = 0; k < 100; ++k) b.op("staircase", epoch + k * us, epoch + (k + 20) * us + k);
  b.kernel("backwards", epoch + 50, epoch + 70, epoch + 60);
  EXPECT_EQ(problems_of(std::move(b.trace)), kNone);
}

TEST(ChromeFormat, ACounterOfAnIdleDeviceIsInAProcessWithAName) {
  Builder b;
  b.op("op", 0, 10 * us);
  const uint32_t idle = b.device(5);
  for (const uint32_t device : {idle, kNoRow}) {
    const uint32_t row = b.trace.counters.add();
    b.trace.counters.time[row] = 5 * us;
    b.trace.counters.name[row] = b.trace.strings.intern("minor_faults");
    b.trace.counters.device[row] = device;
  }
  EXPECT_EQ(problems_of(std::move(b.trace)), kNone);
}

TEST(ChromeFormat, NumbersThatNoViewerHoldsAreShownAsOthers) {
  Builder b;
  const uint64_t far = uint64_t{1} << 63;
  b.trace.devices[0].number = far;
  for (const uint64_t process : {far, far + 1, UINT64_MAX, uint64_t{1} << 20}) {
    b.by(b.trace.thread(process, far)).on(0, far).op("op", 0, 10 * us);
    b.by(b.trace.thread(process, 7)).op("op", 5 * us, 20 * us);
    b.kernel("k", 20 * us, 21 * us, 30 * us);
  }
  EXPECT_EQ(problems_of(std::move(b.trace)), kNone);
}

// One process for each event: the export looks at none of them twice.
TEST(ChromeFormat, ManyProcessesTakeNoLongerEach) {
  Builder b;
  for (uint64_t k = 0; k < 200000; ++k) {
    b.trace.threads.push_back({k + 2, k, {}});
    b.by(static_cast<uint32_t>(k + 1)).op("op", static_cast<Ns>(k), static_cast<Ns>(k) + 10);
  }
  EXPECT_EQ(problems_of(std::move(b.trace)), kNone);
}

TEST(ChromeFormat, RecordingsOfOthersFollowIt) {
  const char* folder = std::getenv("MILL_TEST_DATA");
  if (folder == nullptr) GTEST_SKIP() << "MILL_TEST_DATA names no folder of recorded traces";
  for (const char* name : {"kineto_resnet50_workers0", "hta_alexnet_a100"}) {
    SCOPED_TRACE(name);
    Trace trace;
    std::string why;
    const std::string path = std::string(folder) + "/traces/" + name + ".json.gz";
    ASSERT_EQ(import_file(path, {}, &trace, &why), ImportStatus::ok) << why;
    EXPECT_EQ(problems_of(std::move(trace)), kNone);
  }
}

TEST(ChromeFormat, TheCheckSeesWhatIsWrong) {
  const std::string track =
      R"({"ph":"M","name":"process_name","pid":1,"args":{"name":"p"}},)"
      R"({"ph":"M","name":"thread_name","pid":1,"tid":2,"args":{"name":"t"}})";
  const auto slice = [](const char* cat, const char* rest) {
    return std::string(R"(,{"ph":"X","name":"n","args":{},"pid":1,"tid":2,"cat":")") + cat + "\"," +
           rest + "}";
  };
  const auto first = [&](const std::string& events) {
    const FormatCheck check(R"({"displayTimeUnit":"ns","traceEvents":[)" + track + events + "]}");
    return check.problems().empty() ? std::string() : check.problems().front();
  };
  const std::string call = slice("cuda_runtime", R"("ts":1.000,"dur":5.000)");
  const std::string flow = R"({"cat":"c","name":"f","id":1,"pid":1,"tid":2,)";
  const std::string begins = "," + flow + R"("ph":"s","ts":1.000})";
  EXPECT_EQ(first(call), "");
  EXPECT_EQ(first(slice("c", R"("ts":"1","dur":5)")), "event 3: ts is no number");
  EXPECT_EQ(first(slice("c", R"("ts":1,"dur":-5)")), "event 3: lasts less than nothing");
  EXPECT_EQ(first(slice("c", R"("ts":1)")), "event 3: dur is no number");
  EXPECT_EQ(first(slice("c", R"("ts":1,"dur":5,"ts":1)")), "event 3: has twice ts");
  EXPECT_EQ(first(slice("c", R"("ts":1e300,"dur":5)")), "event 3: ts is not exact in doubles");
  EXPECT_EQ(first(call + slice("c", R"("ts":0.5,"dur":0)")),
            "event 4: comes before the event before it");
  EXPECT_EQ(first(call + slice("c", R"("ts":5,"dur":2)")),
            "event 4: overlaps a slice without nesting");
  EXPECT_EQ(first(R"(,{"ph":"X","name":"n","cat":"c","pid":-1,"tid":2,"ts":1,"dur":1,"args":{}})"),
            "event 3: pid is no number of 32 bits");
  EXPECT_EQ(first(R"(,{"ph":"X","name":"n","cat":"c","pid":1,"tid":9,"ts":1,"dur":1,"args":{}})"),
            "event 3: track 9 is not described");
  EXPECT_EQ(first(R"(,{"ph":"C","name":"n","cat":"c","pid":3,"tid":0,"ts":1,"args":{"v":1}})"),
            "event 3: process 3 has no name");
  EXPECT_EQ(first(R"(,{"ph":"M","name":"process_names","pid":1,"args":{"name":"p"}})"),
            "event 3: there is no metadata called process_names");
  EXPECT_EQ(first(call + begins), "event 4: flow 1 does not end");
  const std::string work = slice("kernel", R"("ts":7,"dur":1)");
  EXPECT_EQ(first(call + begins + work + "," + flow + R"("ph":"f","bp":"e","ts":7})"), "");
  EXPECT_EQ(first(call + begins + work + "," + flow + R"("ph":"f","ts":7})"),
            "event 6: does not bind flow 1 to the slice around it");
  EXPECT_EQ(first(call + begins + "," + flow + R"("ph":"f","bp":"e","ts":6.5})"),
            "event 5: flow 1 is in no slice");
  EXPECT_EQ(first(call + begins + "," + flow + R"("ph":"f","bp":"e","ts":2})"),
            "event 5: flow 1 is bound to a cuda_runtime");
}

}  // namespace
}  // namespace mill::prof
