// Files that Millrace wrote.
#include <cmath>

#include "profiler/import/read.h"

namespace mill::prof::test {
namespace {

// As export_chrome writes: times relative to a base, columns by their names.
const std::string kExport = R"json({"displayTimeUnit":"ns",
"baseTimeNanoseconds":5000000000,
"millrace":{"format":1,"source":"elsewhere","dialect":"kineto","cut_off":true,"whole_graphs":true,
"has_device_clock":true,"skipped":4,"unfinished":2,"losses":[{"where":"device 1","lost":7}],
"notes":["odd"],"recorded":[[5000000000,5000009000]],
"devices":[{"number":3,"name":"Card","description":"d","kind":2,"modelled":true,"copy_engines":2,
"host_threads":1,"memory_bytes":10,"memory_bytes_per_s":2e12,"to_device_bytes_per_s":25000000000.5,
"to_host_bytes_per_s":1,"peer_bytes_per_s":0,"link_generation":4,"link_generation_max":5,
"link_width":8,"link_width_max":16}],
"threads":[{"process":9,"number":11,"name":"main"},{"process":9,"number":12,"name":""}],
"streams":[{"device":0,"number":7,"name":"copies","legacy_default":true}]},
"traceEvents":[
{"ph":"M","ts":0.000,"name":"process_name","pid":9,"args":{"name":"process 9"}},
{"ph":"X","cat":"cpu_op","name":"matmul","pid":9,"tid":11,"ts":1.000,"dur":4.005,"args":{"kind":"op",
"number":3,"device":3,"instance":18446744073709551615,"dtypes":4294967295,"scope":"a/b","step":-1,"status":-5}},
{"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":9,"tid":1048576,"ts":1.500,"dur":0.250,
"args":{"thread":12,"kind":"launch","flags":2,"device":3,"stream":7,"correlation":8,"instance":6}},
{"ph":"X","cat":"millrace.work","name":"(none) ",
                  "pid" : 3, "tid" : 7, "ts" : 2.000, "dur" : 0.001, "args" : {
  "unnamed" : true,
              "end" : 5000000001,
              "submit" : 5000001750,
              "device" : 3,
              "stream" : 7,
              "kind" : "host function",
                       "correlation" : 8,
                       "occupancy" : 0.5
}
},
{"ph":"X","cat":"gpu_memcpy","name":"c","pid":3,"tid":7,"ts":3.000,"dur":1.000,"args":{"device":3,"stream":7,
"kind":"copy","copy_kind":"host to device","host_memory":"pinned","bytes":64,"occupancy":null}},
{"ph":"X","cat":"millrace.marked_steps","name":"ProfilerStep#4","pid":9,"tid":11,"ts":0.000,"dur":9.000,
"args":{"number":4,"loader_wait":12}},
{"ph":"X","cat":"millrace.copies","name":"copy pinned to device","pid":9,"tid":11,"ts":2.500,"dur":0.100,
"args":{"from":"pinned","to":"device","to_device":3,"stream":7,"bytes":64}},
{"ph":"X","cat":"millrace.ranges","name":"r","pid":9,"tid":11,"ts":0.000,"dur":9.000,"args":{"kind":"script"}},
{"ph":"C","cat":"millrace.counters","name":"x","pid":3,"tid":0,"ts":0.007,"device":3,"args":{"value":-0.5}},
{"ph":"C","cat":"millrace.counters","name":"x","pid":9,"tid":0,"ts":0.008,"args":{"value":null}},
{"ph":"s","cat":"ac2g","name":"ac2g","id":1,"pid":9,"tid":1048576,"ts":1.500},
{"ph":"X","cat":"millrace.tomorrow","name":"r","pid":9,"tid":11,"ts":0.000,"dur":9.000,"args":{}}
]
}
)json";

// What is no figure, or none that could be, is not known; no count is below zero.
TEST(ImportOwn, DamagedFiguresOfTheHeaderAreNotKnown) {
  const auto of = [](const std::string& fields) {
    return import_text(
               R"({"displayTimeUnit":"ns","baseTimeNanoseconds":0,"millrace":{"format":1,)" +
               fields + R"(},"traceEvents":[]})")
        .trace;
  };
  const auto share = [&](const std::string& value) {
    return of(R"("own_cost":{"share":)" + value + R"(,"budget":0.01})").own_cost.share;
  };
  EXPECT_EQ(share("0.5"), 0.5);
  EXPECT_EQ(share("0"), 0);
  EXPECT_EQ(share("1e300"), -1);
  for (const char* const value : {"\"a\"", "[1]", "true", "{}", "null", "-5", "1e-999"})
    EXPECT_EQ(share(value), -1) << value;
  EXPECT_EQ(of(R"("own_cost":{"share":0.5,"event_ns":1e18})").own_cost.event_ns, -1);
  const Trace counts =
      of(R"("skipped":-5,"other_clock":-1,"unfinished":-9,"losses":[{"where":"x","lost":-7}])");
  EXPECT_EQ(counts.skipped, 0u);
  EXPECT_EQ(counts.other_clock, 0u);
  EXPECT_EQ(counts.unfinished, 0u);
  ASSERT_EQ(counts.losses.size(), 1u);
  EXPECT_EQ(counts.losses[0].lost, 0u);
}

TEST(ImportOwn, AnExportComesBackWhole) {
  const Imported in = import_text(kExport);
  ASSERT_EQ(in.status, ImportStatus::ok) << in.why;
  const Trace& t = in.trace;
  EXPECT_EQ(t.source, "test");
  EXPECT_EQ(t.dialect, "kineto");
  EXPECT_TRUE(t.cut_off);
  EXPECT_TRUE(t.whole_graphs);
  EXPECT_EQ(t.skipped, 4u);
  EXPECT_EQ(t.unfinished, 2u);
  ASSERT_EQ(t.losses.size(), 1u);
  EXPECT_EQ(t.losses[0].where, "device 1");
  EXPECT_EQ(t.losses[0].lost, 7u);
  EXPECT_EQ(t.notes, std::vector<std::string>{"odd"});
  ASSERT_EQ(t.recorded.size(), 1u);
  EXPECT_EQ(t.recorded[0], (Interval{5000000000, 5000009000}));

  ASSERT_EQ(t.devices.size(), 1u);
  EXPECT_EQ(t.devices[0].number, 3u);
  EXPECT_EQ(t.devices[0].name, "Card");
  EXPECT_TRUE(t.devices[0].modelled);
  EXPECT_EQ(t.devices[0].memory_bytes_per_s, 2e12);
  EXPECT_EQ(t.devices[0].to_device_bytes_per_s, 25000000000.5);
  EXPECT_EQ(t.devices[0].link_width_max, 16u);
  ASSERT_EQ(t.threads.size(), 2u);
  EXPECT_EQ(t.threads[0].name, "main");
  ASSERT_EQ(t.streams.size(), 1u);
  EXPECT_TRUE(t.streams[0].legacy_default);

  ASSERT_EQ(t.ops.size(), 1u);
  EXPECT_EQ(t.ops.start[0], 5000001000);
  EXPECT_EQ(t.ops.end[0], 5000005005);
  EXPECT_EQ(t.ops.thread[0], 0u);
  EXPECT_EQ(t.ops.device[0], 0u);
  EXPECT_EQ(t.ops.number[0], 3);
  EXPECT_EQ(t.ops.instance[0], UINT64_MAX);
  EXPECT_EQ(t.ops.dtypes[0], UINT32_MAX);
  EXPECT_EQ(t.strings.text(t.ops.scope[0]), "a/b");
  EXPECT_EQ(t.ops.step[0], -1);
  EXPECT_EQ(t.ops.status[0], -5);

  ASSERT_EQ(t.calls.size(), 1u);
  EXPECT_EQ(t.calls.thread[0], 1u) << "drawn on another lane";
  EXPECT_TRUE(is(t.calls.kind, 0, CallKind::launch));
  EXPECT_EQ(t.calls.flags[0], kAsyncForm);
  EXPECT_EQ(t.calls.correlation[0], 8u);
  EXPECT_EQ(t.calls.instance[0], 6u);
  EXPECT_EQ(t.calls.stream[0], 0u);

  ASSERT_EQ(t.work.size(), 2u);
  EXPECT_EQ(t.work.name[0], 0u);
  EXPECT_EQ(t.work.end[0], 5000000001) << "before its start, as it was";
  EXPECT_EQ(t.work.submit[0], 5000001750);
  EXPECT_TRUE(is(t.work.kind, 0, WorkKind::host_function));
  EXPECT_EQ(t.work.occupancy[0], 0.5f);
  EXPECT_TRUE(is(t.work.copy_kind, 1, CopyKind::host_to_device));
  EXPECT_TRUE(is(t.work.host_memory, 1, Memory::pinned));
  EXPECT_TRUE(std::isnan(t.work.occupancy[1]));

  ASSERT_EQ(t.marked_steps.size(), 1u);
  EXPECT_EQ(t.marked_steps.number[0], 4);
  EXPECT_EQ(t.marked_steps.loader_wait[0], 12);
  ASSERT_EQ(t.copies.size(), 1u);
  EXPECT_TRUE(is(t.copies.from, 0, Memory::pinned));
  EXPECT_EQ(t.copies.from_device[0], kNoRow);
  EXPECT_EQ(t.copies.to_device[0], 0u);
  EXPECT_EQ(t.copies.stream[0], 0u);
  ASSERT_EQ(t.ranges.size(), 1u);
  EXPECT_TRUE(is(t.ranges.kind, 0, RangeKind::script));
  ASSERT_EQ(t.counters.size(), 2u);
  EXPECT_EQ(t.counters.time[0], 5000000007);
  EXPECT_EQ(t.counters.value[0], -0.5);
  EXPECT_EQ(t.counters.device[0], 0u);
  EXPECT_TRUE(std::isnan(t.counters.value[1]));
  EXPECT_EQ(t.counters.device[1], kNoRow);
}

TEST(ImportOwn, AnExportOfALaterFormatIsReadAsAnyOther) {
  std::string later = kExport;
  later.replace(later.find("\"format\":1"), 10, "\"format\":2");
  const Imported in = import_text(later);
  EXPECT_EQ(in.status, ImportStatus::ok);
  EXPECT_EQ(in.trace.dialect, "kineto");
  EXPECT_EQ(in.trace.ops.size(), 1u);
  EXPECT_EQ(in.trace.calls.size(), 1u);
  EXPECT_EQ(in.trace.work.size(), 1u);
  EXPECT_NE(notes_of(in.trace).find("not as this version writes it"), std::string::npos);
}

// A copy between devices that both have a stream of that number: only the event says whose it is.
TEST(ImportOwn, AStreamIsOfTheDeviceThatTheEventNames) {
  const auto copy = [](const char* stream_device) {
    return std::string(R"({"ph":"X","cat":"millrace.copies","name":"c","pid":1,"tid":1,"ts":1.000,)"
                       R"("dur":1.000,"args":{"from_device":3,"to_device":4,"stream":7)") +
           stream_device + "}}";
  };
  const Imported in = import_text(
      R"({"millrace":{"format":1,"devices":[{"number":3},{"number":4}],"streams":[{"device":-1,"number":7},)"
      R"({"device":0,"number":7},{"device":1,"number":7}]},"traceEvents":[)" +
      copy(R"(,"stream_device":3)") + "," + copy(R"(,"stream_device":4)") + "," +
      copy(R"(,"stream_device":-1)") + "," + copy("") + "]}");
  ASSERT_EQ(in.status, ImportStatus::ok) << in.why;
  EXPECT_EQ(in.trace.copies.stream, (std::vector<uint32_t>{1, 2, 0, 2}));
  EXPECT_EQ(in.trace.streams.size(), 3u);
}

TEST(ImportOwn, ALongMemberIsNotLeftOutInSilence) {
  // 17 MB of notes: too long to be looked into.
  std::string notes = "\"x\"";
  while (notes.size() < (size_t{17} << 20)) notes += "," + notes;
  const Imported in = import_text(
      R"({"millrace":{"format":1,"notes":[)" + notes +
      R"(]},"traceEvents":[{"ph":"X","cat":"cpu_op","name":"m","pid":1,"tid":1,"ts":1,"dur":1}]})");
  ASSERT_EQ(in.status, ImportStatus::ok) << in.why;
  EXPECT_EQ(in.trace.ops.size(), 1u);
  EXPECT_NE(notes_of(in.trace).find("The member \"millrace\" of the file is too long"),
            std::string::npos);
}

TEST(ImportOwn, TheEnginesTimeline) {
  const Imported in = import_text(
      R"({"displayTimeUnit":"ns","otherData":{"producer":"millrace","clock":"CLOCK_MONOTONIC"},
"traceEvents":[
{"ph":"M","name":"process_name","pid":70,"tid":0,"args":{"name":"millrace"}},
{"ph":"M","name":"thread_name","pid":70,"tid":2,"args":{"name":"exec 1"}},
{"ph":"X","name":"matmul","cat":"op","pid":70,"tid":2,"ts":123456789.001,"dur":2.500,"args":{"kind":1,"version":1,
"op":5,"instance":77,"forward":70,"scope":"net/l1","scope_id":3,"tensor":8,"tensor_version":2,"storage":9,
"bytes":64,"flops":128,"step":4,"exec":1,"thread":71,"dtypes":"f32 <- bf16 i64","status":-3}},
{"ph":"X","name":"backward","cat":"backward","pid":70,"tid":2,"ts":1.000,"dur":9.000,"args":{"kind":2,"version":1,"exec":1,"thread":71}},
{"ph":"X","name":"copy pageable to device","cat":"copy","pid":70,"tid":2,"ts":2.000,"dur":1.000,"args":{"kind":3,
"version":1,"bytes":4096,"stream":6,"thread":71,"exec":1,"memory":"pageable","memory_to":"device","device_to":2,"detail":"blocking"}},
{"ph":"X","name":"allocate","cat":"memory","pid":70,"tid":2,"ts":3.000,"dur":0.010,"args":{"kind":4,"version":1,
"storage":12,"bytes":256,"memory":"device","device":2,"detail":"growth","thread":71}},
{"ph":"i","s":"t","name":"free","cat":"memory","pid":70,"tid":2,"ts":3.500,"args":{"kind":5,"version":1,
"storage":12,"bytes":256,"memory":"device","device":2,"thread":71}},
{"ph":"X","name":"sync read","cat":"sync","pid":70,"tid":2,"ts":4.000,"dur":1.000,"args":{"kind":6,"version":1,
"tensor":8,"bytes":4,"wait_ns":900,"thread":71,"detail":"read"}},
{"ph":"X","name":"loader next","cat":"loader","pid":70,"tid":2,"ts":6.000,"dur":1.000,"args":{"kind":7,"version":1,
"bytes":40,"wait_ns":700,"step":4,"exec":1,"thread":71,"memory":"pinned","memory_to":"pageable","detail":"next"}},
{"ph":"X","name":"step 4","cat":"step","pid":70,"tid":3,"ts":0.000,"dur":9.000,"args":{"kind":8,"version":1,
"wait_ns":700,"step":4,"exec":1,"thread":71}},
{"ph":"X","name":"l1","cat":"scope","pid":70,"tid":2,"ts":1.000,"dur":2.000,"args":{"kind":10,"version":1,"scope":"net/l1","thread":71}},
{"ph":"i","s":"t","name":"here","cat":"mark","pid":70,"tid":2,"ts":8.000,"args":{"kind":11,"version":1,"thread":71}}
]})");
  ASSERT_EQ(in.status, ImportStatus::ok) << in.why;
  const Trace& t = in.trace;
  EXPECT_EQ(t.dialect, "millrace");
  EXPECT_FALSE(t.has_device_clock);
  EXPECT_EQ(t.skipped, 0u);
  ASSERT_EQ(t.threads.size(), 1u);
  EXPECT_EQ(t.threads[0].number, 71u);

  ASSERT_EQ(t.ops.size(), 2u);
  EXPECT_EQ(t.ops.start[0], 123456789001);
  EXPECT_EQ(t.ops.end[0], 123456791501);
  EXPECT_TRUE(is(t.ops.kind, 0, OpKind::op));
  EXPECT_EQ(t.ops.number[0], 5);
  EXPECT_EQ(t.ops.instance[0], 77u);
  EXPECT_EQ(t.ops.forward[0], 70u);
  EXPECT_EQ(t.ops.flops[0], 128u);
  EXPECT_EQ(t.ops.dtypes[0], 12u | 11u << 8 | 9u << 16);  // f32, bf16, i64
  EXPECT_EQ(t.strings.text(t.ops.scope[0]), "net/l1");
  EXPECT_EQ(t.ops.step[0], 4);
  EXPECT_EQ(t.ops.status[0], -3);
  EXPECT_TRUE(is(t.ops.kind, 1, OpKind::backward_pass));

  ASSERT_EQ(t.copies.size(), 1u);
  EXPECT_TRUE(is(t.copies.from, 0, Memory::pageable));
  EXPECT_TRUE(is(t.copies.to, 0, Memory::device));
  EXPECT_EQ(t.copies.flags[0], kBlocking);
  EXPECT_EQ(t.devices.at(t.copies.from_device[0]).number, 0u);
  EXPECT_EQ(t.devices.at(t.copies.from_device[0]).kind, DeviceKind::cpu);
  EXPECT_EQ(t.devices.at(t.copies.to_device[0]).number, 2u);
  EXPECT_EQ(t.devices.at(t.copies.to_device[0]).kind, DeviceKind::accelerator);
  EXPECT_EQ(t.streams.at(t.copies.stream[0]).number, 6u);

  ASSERT_EQ(t.allocations.size(), 2u);
  EXPECT_TRUE(is(t.allocations.kind, 0, AllocKind::allocate));
  EXPECT_TRUE(is(t.allocations.how, 0, AllocHow::growth));
  EXPECT_TRUE(is(t.allocations.kind, 1, AllocKind::free));
  EXPECT_EQ(t.allocations.storage[1], 12u);
  ASSERT_EQ(t.syncs.size(), 1u);
  EXPECT_TRUE(is(t.syncs.kind, 0, SyncKind::read));
  ASSERT_EQ(t.loader.size(), 1u);
  EXPECT_EQ(t.loader.wait[0], 700);
  EXPECT_TRUE(is(t.loader.from, 0, Memory::pinned));
  ASSERT_EQ(t.marked_steps.size(), 1u);
  EXPECT_EQ(t.marked_steps.number[0], 4);
  EXPECT_EQ(t.marked_steps.loader_wait[0], 700);
  ASSERT_EQ(t.ranges.size(), 2u);
  EXPECT_TRUE(is(t.ranges.kind, 0, RangeKind::scope));
  EXPECT_EQ(t.strings.text(t.ranges.name[0]), "net/l1");
  EXPECT_TRUE(is(t.ranges.kind, 1, RangeKind::mark));
}

TEST(ImportOwn, RecordsOfAnotherClockAreLeftOut) {
  const auto record = [](int clock) {
    return R"({"ph":"X","name":"add","cat":"op","pid":70,"tid":2,"ts":1,"dur":1,"args":{"kind":1,"version":1,"clock":)" +
           std::to_string(clock) + "}}";
  };
  const Imported in = import_events(record(1) + "," + record(0) + "," + record(1));
  EXPECT_EQ(in.trace.ops.size(), 2u);
  EXPECT_EQ(in.trace.other_clock, 1u);
}

TEST(ImportOwn, CopiesSayWhatTheyWereCopiedFrom) {
  const auto copy = [](const char* fields) {
    return std::string(
               R"({"ph":"X","name":"copy","cat":"copy","pid":70,"tid":2,"ts":1,"dur":1,"args":{"kind":3,"version":1,)") +
           fields + "}}";
  };
  const Imported in = import_events(copy(R"("tensor":5,"forward":9,"flops":64,"bytes":16)") + "," +
                                    copy(R"("tensor":6,"forward":9,"bytes":16)") + "," +
                                    copy(R"("tensor":8,"flops":64,"bytes":16)"));
  const Copies& copies = in.trace.copies;
  EXPECT_EQ(copies.tensor, (std::vector<uint64_t>{5, 6, 8}));
  EXPECT_EQ(copies.source, (std::vector<uint64_t>{9, 9, 0}));
  EXPECT_EQ(copies.source_offset, (std::vector<uint64_t>{64, 0, 0}));
}

// What a session is told has no exec: a mark, in each thread, where one step ends and the next
// begins.
TEST(ImportOwn, StepsOfASessionLastFromOneMarkToTheNext) {
  const auto mark = [](int thread, int us) {
    return R"({"ph":"X","name":"step 0","cat":"step","pid":70,"tid":2,"ts":)" + std::to_string(us) +
           R"(,"dur":0.000,"args":{"kind":8,"version":1,"thread":)" + std::to_string(thread) + "}}";
  };
  const Imported in = import_events(
      mark(71, 10) + "," + mark(72, 11) + "," + mark(71, 15) + "," + mark(71, 22) + "," +
      R"({"ph":"X","name":"","cat":"scope","pid":70,"tid":2,"ts":23,"dur":0,"args":{"kind":10,"version":1,"thread":71}})");
  const MarkedSteps& steps = in.trace.marked_steps;
  EXPECT_EQ(steps.start, (std::vector<Ns>{10000, 15000}));
  EXPECT_EQ(steps.end, (std::vector<Ns>{15000, 22000}));
  EXPECT_EQ(steps.number, (std::vector<int64_t>{0, 1}));
  // The end of a range whose beginning the file does not have.
  EXPECT_EQ(in.trace.ranges.size(), 0u);
}

}  // namespace
}  // namespace mill::prof::test
