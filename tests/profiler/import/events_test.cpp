#include "profiler/import/read.h"

namespace mill::prof::test {
namespace {

TEST(ImportEvents, AKernelOfEachDialect) {
  const char* common =
      R"("ts":10.5,"dur":2.25,"args":{"queued":0,"device":1,"context":1,"stream":7,
      "correlation":42,"registers per thread":38,"shared memory":1024,"grid":[50,2,3],
      "block":[256,1,1],"est. achieved occupancy %":25}})";
  for (const char* head : {R"({"ph":"X","cat":"Kernel","name":"k","pid":1,"tid":"stream 7",)",
                           R"({"ph":"X","cat":"kernel","name":"k","pid":1,"tid":7,)"}) {
    const Imported in = import_events(std::string(head) + common);
    ASSERT_EQ(in.status, ImportStatus::ok) << in.why;
    const Work& work = in.trace.work;
    ASSERT_EQ(work.size(), 1u);
    EXPECT_EQ(work.start[0], 10500);
    EXPECT_EQ(work.end[0], 12750);
    EXPECT_TRUE(is(work.kind, 0, WorkKind::kernel));
    EXPECT_EQ(in.trace.strings.text(work.name[0]), "k");
    EXPECT_EQ(in.trace.devices.at(work.device[0]).number, 1u);
    EXPECT_EQ(in.trace.streams.at(work.stream[0]).number, 7u);
    EXPECT_FALSE(in.trace.streams.at(work.stream[0]).legacy_default);
    EXPECT_EQ(work.correlation[0], 42u);
    EXPECT_EQ(work.blocks[0], 300u);  // 50 * 2 * 3
    EXPECT_EQ(work.threads[0], 256u);
    EXPECT_EQ(work.registers[0], 38u);
    EXPECT_EQ(work.shared_bytes[0], 1024u);
    EXPECT_FLOAT_EQ(work.occupancy[0], 0.25f);
    EXPECT_EQ(in.trace.dialect, "kineto");
    EXPECT_FALSE(in.trace.cut_off);
    EXPECT_TRUE(in.trace.has_device_clock);
  }
}

TEST(ImportEvents, DeviceAndStreamComeFromTheTrackWhereArgsHaveNone) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"Kernel","name":"k","pid":2,"tid":"stream 9","ts":1,"dur":1})");
  EXPECT_EQ(in.trace.devices.at(in.trace.work.device.at(0)).number, 2u);
  EXPECT_EQ(in.trace.streams.at(in.trace.work.stream.at(0)).number, 9u);
}

TEST(ImportEvents, CopiesAndFills) {
  const Imported in = import_events(
      R"json({"ph":"X","cat":"gpu_memcpy","name":"Memcpy HtoD (Pageable -> Device)","pid":0,"tid":7,
          "ts":1,"dur":2,"args":{
  "device" : 0, "stream" : 7, "correlation" : 3, "bytes" : 4096}},
         {"ph":"X","cat":"gpu_memcpy","name":"Memcpy PtoP (Device -> Device)","pid":0,"tid":7,
          "ts":5,"dur":2,"args":{"fromDevice":0,"inDevice":0,"toDevice":3,"device":0,"stream":7}},
         {"ph":"X","cat":"gpu_memset","name":"Memset (Pinned)","pid":0,"tid":7,
          "ts":9,"dur":1,"args":{"device":0,"stream":0,"bytes":256}})json");
  const Work& work = in.trace.work;
  ASSERT_EQ(work.size(), 3u);
  EXPECT_TRUE(is(work.kind, 0, WorkKind::copy));
  EXPECT_TRUE(is(work.copy_kind, 0, CopyKind::host_to_device));
  EXPECT_TRUE(is(work.host_memory, 0, Memory::pageable));
  EXPECT_EQ(work.bytes[0], 4096u);
  EXPECT_TRUE(is(work.copy_kind, 1, CopyKind::peer));
  EXPECT_EQ(in.trace.devices.at(work.peer[1]).number, 3u);
  EXPECT_EQ(work.peer[0], kNoRow);
  EXPECT_TRUE(is(work.kind, 2, WorkKind::fill));
  EXPECT_TRUE(is(work.host_memory, 2, Memory::pinned));
  EXPECT_TRUE(in.trace.streams.at(work.stream[2]).legacy_default);
}

TEST(ImportEvents, ASizeBelowZeroIsNotKnown) {
  const Imported in = import_events(
      R"json({"ph":"X","cat":"gpu_memcpy","name":"Memcpy HtoD (Pageable -> Device)","pid":0,"tid":7,
          "ts":1,"dur":2,"args":{"device":0,"stream":7,"correlation":3,"bytes":-5}},
         {"ph":"X","cat":"copy","name":"copy pageable to device","pid":70,"tid":2,"ts":5,"dur":1,
          "args":{"kind":3,"version":1,"bytes":-1,"stream":6,"thread":71,"exec":1}})json");
  ASSERT_EQ(in.trace.work.size(), 1u);
  EXPECT_EQ(in.trace.work.bytes[0], 0u);
  for (const uint64_t bytes : in.trace.copies.bytes) EXPECT_EQ(bytes, 0u);
}

TEST(ImportEvents, OpsAreNumberedByTheirExternalIdWhereCallsNameIt) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"Operator","name":"aten::add","pid":5,"tid":"6","ts":10,"dur":20,
          "args":{"External id":77}},
         {"ph":"X","cat":"Runtime","name":"cudaLaunchKernel","pid":5,"tid":6,"ts":12,"dur":3,
          "args":{"correlation":900,"external id":77}},
         {"ph":"X","cat":"Kernel","name":"k","pid":0,"tid":"stream 7","ts":20,"dur":3,
          "args":{"device":0,"stream":7,"correlation":900,"external id":77}})");
  const Trace& trace = in.trace;
  EXPECT_EQ(trace.ops.instance.at(0), 77u);
  EXPECT_TRUE(is(trace.ops.kind, 0, OpKind::op));
  EXPECT_EQ(trace.calls.instance.at(0), 77u);
  EXPECT_EQ(trace.work.instance.at(0), 77u);
  EXPECT_TRUE(is(trace.calls.kind, 0, CallKind::launch));
  // "6" and 6 are one thread.
  EXPECT_EQ(trace.ops.thread[0], trace.calls.thread[0]);
  ASSERT_EQ(trace.threads.size(), 1u);
  EXPECT_EQ(trace.threads[0].process, 5u);
  EXPECT_EQ(trace.threads[0].number, 6u);
}

TEST(ImportEvents, ExternalIdsThatAreCorrelationsNameNoOp) {
  // The op has number 900 by chance.
  const Imported in = import_events(
      R"({"ph":"X","cat":"cpu_op","name":"aten::add","pid":5,"tid":6,"ts":10,"dur":20,
          "args":{"External id":900}},
         {"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":5,"tid":6,"ts":12,"dur":3,
          "args":{"correlation":900,"External id":900}})");
  EXPECT_EQ(in.trace.ops.instance.at(0), 900u);
  EXPECT_EQ(in.trace.calls.instance.at(0), 0u);
}

TEST(ImportEvents, ExternalIdsThatTwoOpsHaveAreDropped) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"cpu_op","name":"a","pid":5,"tid":6,"ts":10,"dur":2,"args":{"External id":4}},
         {"ph":"X","cat":"cpu_op","name":"b","pid":5,"tid":6,"ts":20,"dur":2,"args":{"External id":4}},
         {"ph":"X","cat":"cpu_op","name":"c","pid":5,"tid":6,"ts":30,"dur":2,"args":{"External id":5}})");
  EXPECT_EQ(in.trace.ops.instance, (std::vector<uint64_t>{0, 0, 5}));
}

TEST(ImportEvents, BackwardOpsNameTheLastForwardOpOfTheirSequenceNumber) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"cpu_op","name":"linear","pid":5,"tid":6,"ts":10,"dur":9,
          "args":{"External id":1,"Fwd thread id":0,"Sequence number":8}},
         {"ph":"X","cat":"cpu_op","name":"addmm","pid":5,"tid":6,"ts":12,"dur":5,
          "args":{"External id":2,"Fwd thread id":0,"Sequence number":8}},
         {"ph":"X","cat":"cpu_op","name":"AddmmBackward","pid":5,"tid":9,"ts":40,"dur":5,
          "args":{"External id":3,"Fwd thread id":1,"Sequence number":8}},
         {"ph":"X","cat":"cpu_op","name":"later","pid":5,"tid":6,"ts":50,"dur":5,
          "args":{"External id":4,"Fwd thread id":0,"Sequence number":8}},
         {"ph":"X","cat":"cpu_op","name":"OtherBackward","pid":5,"tid":9,"ts":60,"dur":5,
          "args":{"External id":5,"Fwd thread id":1,"Sequence number":99}})");
  EXPECT_EQ(in.trace.ops.forward, (std::vector<uint64_t>{0, 0, 2, 0, 0}));
}

TEST(ImportEvents, SequenceNumbersOfTwoThreadsLinkNothing) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"cpu_op","name":"a","pid":5,"tid":6,"ts":10,"dur":9,
          "args":{"External id":1,"Fwd thread id":0,"Sequence number":8}},
         {"ph":"X","cat":"cpu_op","name":"b","pid":5,"tid":7,"ts":12,"dur":5,
          "args":{"External id":2,"Fwd thread id":0,"Sequence number":8}},
         {"ph":"X","cat":"cpu_op","name":"ABackward","pid":5,"tid":9,"ts":40,"dur":5,
          "args":{"External id":3,"Fwd thread id":1,"Sequence number":8}})");
  EXPECT_EQ(in.trace.ops.forward, (std::vector<uint64_t>{0, 0, 0}));
}

TEST(ImportEvents, StepsAndTheDataLoaderInBothDialects) {
  for (const char* category : {"Operator", "user_annotation"}) {
    const std::string head = R"({"ph":"X","pid":5,"tid":6,"cat":")" + std::string(category) + "\",";
    const Imported in = import_events(
        head + R"("name":"ProfilerStep#12","ts":10,"dur":100},)" + head +
        R"("name":"enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__","ts":11,"dur":40})");
    const Trace& trace = in.trace;
    EXPECT_TRUE(trace.ops.empty());
    EXPECT_TRUE(trace.marked_steps.empty());
    ASSERT_EQ(trace.ranges.size(), 1u);
    EXPECT_TRUE(is(trace.ranges.kind, 0, RangeKind::step));
    EXPECT_EQ(trace.strings.text(trace.ranges.name[0]), "ProfilerStep#12");
    ASSERT_EQ(trace.loader.size(), 1u);
    EXPECT_TRUE(is(trace.loader.kind, 0, LoaderKind::next));
    EXPECT_EQ(trace.loader.start[0], 11000);
    EXPECT_EQ(trace.loader.wait[0], 40000);
  }
}

TEST(ImportEvents, RangesOfTheUserAndOfPython) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"user_annotation","name":"forward","pid":5,"tid":6,"ts":1,"dur":2},
         {"ph":"X","cat":"python_function","name":"model.py(3): f","pid":5,"tid":6,"ts":1,"dur":2},
         {"ph":"X","cat":"gpu_user_annotation","name":"forward","pid":0,"tid":7,"ts":1,"dur":2},
         {"ph":"X","cat":"a category of next year","name":"x","pid":0,"tid":7,"ts":1,"dur":2})");
  ASSERT_EQ(in.trace.ranges.size(), 2u);
  EXPECT_TRUE(is(in.trace.ranges.kind, 0, RangeKind::user));
  EXPECT_TRUE(is(in.trace.ranges.kind, 1, RangeKind::script));
  EXPECT_EQ(in.trace.skipped, 0u);
}

TEST(ImportEvents, WaitsNameTheRecordAndTheirStreams) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"cuda_sync","name":"Stream Wait Event","pid":0,"tid":20,"ts":31,"dur":3,
          "args":{"cuda_sync_kind":"Stream Wait Event","wait_on_stream":7,
          "wait_on_cuda_event_record_corr_id":100,"wait_on_cuda_event_id":1,"stream":20,
          "correlation":101,"device":0,"context":1}},
         {"ph":"X","cat":"cuda_sync","name":"Context Sync","pid":0,"tid":-1,"ts":41,"dur":3,
          "args":{"cuda_sync_kind":"Context Sync","stream":4294967295,"correlation":102,"device":0}},
         {"ph":"X","cat":"cuda_runtime","name":"cudaEventRecord","pid":5,"tid":6,"ts":28,"dur":1,
          "args":{"correlation":100}},
         {"ph":"X","cat":"cuda_runtime","name":"cudaStreamWaitEvent","pid":5,"tid":6,"ts":30,"dur":1,
          "args":{"correlation":101}},
         {"ph":"X","cat":"cuda_runtime","name":"cudaDeviceSynchronize","pid":5,"tid":6,"ts":40,"dur":9,
          "args":{"correlation":102}})");
  const Calls& calls = in.trace.calls;
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls.waits_for, (std::vector<uint64_t>{0, 100, 0}));
  EXPECT_EQ(in.trace.streams.at(calls.stream[0]).number, 7u);
  EXPECT_EQ(in.trace.streams.at(calls.stream[1]).number, 20u);
  EXPECT_EQ(calls.stream[2], kNoRow);
  EXPECT_EQ(calls.device, (std::vector<uint32_t>{0, 0, 0}));
  EXPECT_EQ(calls.flags, (std::vector<uint8_t>{0, 0, kBlocking}));
  EXPECT_TRUE(in.trace.work.empty());
}

TEST(ImportEvents, OverheadOfTheProfilerAndTheRuntime) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"overhead","name":"Command Buffer Full","pid":-1,"tid":0,"ts":1,"dur":2},
         {"ph":"X","cat":"overhead","name":"Buffer Flush","pid":-1,"tid":0,"ts":4,"dur":2})");
  ASSERT_EQ(in.trace.overheads.size(), 2u);
  EXPECT_TRUE(is(in.trace.overheads.kind, 0, OverheadKind::queue_full));
  EXPECT_TRUE(is(in.trace.overheads.kind, 1, OverheadKind::profiler));
}

TEST(ImportEvents, MemoryInstantsBecomeAllocationsAndCounters) {
  const Imported in = import_events(
      R"({"ph":"i","s":"t","cat":"cpu_instant_event","name":"[memory]","pid":5,"tid":6,"ts":10,
          "args":{"Device Type":1,"Device Id":2,"Addr":140000000000000,"Bytes":512,
          "Total Allocated":1024,"Total Reserved":4096}},
         {"ph":"i","s":"t","name":"[memory]","pid":5,"tid":6,"ts":11,
          "args":{"Device Type":0,"Device Id":-1,"Bytes":-16}},
         {"ph":"i","s":"t","name":"[memory]","pid":5,"tid":6,"ts":12,
          "args":{"Device Type":0,"Device Id":-1,"Bytes":-9223372036854775808}})");
  const Allocations& a = in.trace.allocations;
  ASSERT_EQ(a.size(), 3u);
  EXPECT_TRUE(is(a.kind, 0, AllocKind::allocate));
  EXPECT_TRUE(is(a.memory, 0, Memory::device));
  EXPECT_EQ(in.trace.devices.at(a.device[0]).number, 2u);
  EXPECT_EQ(a.bytes[0], 512u);
  EXPECT_EQ(a.storage[0], 140000000000000u);
  EXPECT_EQ(a.start[0], 10000);
  EXPECT_TRUE(is(a.kind, 1, AllocKind::free));
  EXPECT_TRUE(is(a.memory, 1, Memory::pageable));
  EXPECT_EQ(a.device[1], kNoRow);
  EXPECT_EQ(a.bytes[1], 16u);
  EXPECT_EQ(a.bytes[2], uint64_t{1} << 63);
  const Counters& c = in.trace.counters;
  ASSERT_EQ(c.size(), 2u);
  EXPECT_EQ(in.trace.strings.text(c.name[0]), "used_bytes");
  EXPECT_EQ(c.value[0], 1024);
  EXPECT_EQ(in.trace.strings.text(c.name[1]), "reserved_bytes");
  EXPECT_EQ(c.value[1], 4096);
  EXPECT_EQ(c.device[1], a.device[0]);
}

TEST(ImportEvents, BeginAndEndNestPerThread) {
  const Imported in = import_events(
      R"({"ph":"B","name":"outer","pid":1,"tid":1,"ts":10},
         {"ph":"B","name":"other thread","pid":1,"tid":2,"ts":11},
         {"ph":"B","name":"inner","pid":1,"tid":1,"ts":12},
         {"ph":"E","pid":1,"tid":1,"ts":15},
         {"ph":"E","pid":1,"tid":2,"ts":30},
         {"ph":"E","pid":1,"tid":1,"ts":20},
         {"ph":"E","pid":1,"tid":1,"ts":21},
         {"ph":"B","cat":"cuda_runtime","name":"cudaDeviceSynchronize","pid":1,"tid":1,"ts":25})");
  const Ranges& ranges = in.trace.ranges;
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges.start, (std::vector<Ns>{10000, 11000, 12000}));
  EXPECT_EQ(ranges.end, (std::vector<Ns>{20000, 30000, 15000}));
  // The fourth E ends nothing; the call was still running when the file ended at 30.
  EXPECT_EQ(in.trace.skipped, 1u);
  ASSERT_EQ(in.trace.calls.size(), 1u);
  EXPECT_EQ(in.trace.calls.end[0], 30000);
  EXPECT_EQ(in.trace.calls.flags[0], kBlocking | kUnfinished);
}

TEST(ImportEvents, APlainTraceBecomesRangesMarksAndCounters) {
  const Imported in = import_text(
      R"([{"ph":"X","name":"frame","pid":1,"tid":"main","ts":10,"dur":5},
          {"ph":"i","name":"vsync","pid":1,"tid":"main","ts":12,"s":"t"},
          {"ph":"C","name":"fps","pid":1,"ts":13,"args":{"value":59.5}},
          {"ph":"C","name":"heap","pid":1,"ts":13,"args":{"used":1,"free":2,"bad":NaN}},
          {"ph":"b","cat":"x","name":"async","id":1,"pid":1,"ts":13},
          {"ph":"M","name":"thread_name","pid":1,"tid":"main","args":{"name":"Main thread"}})");
  ASSERT_EQ(in.status, ImportStatus::ok) << in.why;
  const Trace& trace = in.trace;
  EXPECT_EQ(trace.dialect, "chrome");
  EXPECT_FALSE(trace.cut_off) << "this form needs no last bracket";
  ASSERT_EQ(trace.ranges.size(), 2u);
  EXPECT_TRUE(is(trace.ranges.kind, 0, RangeKind::user));
  EXPECT_TRUE(is(trace.ranges.kind, 1, RangeKind::mark));
  EXPECT_EQ(trace.ranges.start[1], trace.ranges.end[1]);
  ASSERT_EQ(trace.counters.size(), 3u);
  EXPECT_EQ(trace.strings.text(trace.counters.name[0]), "fps");
  EXPECT_EQ(trace.counters.value[0], 59.5);
  EXPECT_EQ(trace.strings.text(trace.counters.name[2]), "heap.free");
  ASSERT_EQ(trace.threads.size(), 1u);
  EXPECT_EQ(trace.threads[0].name, "Main thread");
  EXPECT_EQ(trace.skipped, 0u);
}

TEST(ImportEvents, FlowsCorrelateWhereArgsDoNot) {
  const std::string events =
      R"({"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":5,"tid":6,"ts":10,"dur":4},
         {"ph":"s","cat":"async","name":"launch","id":501,"pid":5,"tid":6,"ts":10},
         {"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":5,"tid":6,"ts":20,"dur":4},
         {"ph":"s","cat":"async","name":"launch","id":502,"pid":5,"tid":6,"ts":23},
         {"ph":"f","cat":"async","name":"launch","id":502,"pid":0,"tid":"stream 7","ts":30,"bp":"e"},
         {"ph":"X","cat":"Kernel","name":"b","pid":0,"tid":"stream 7","ts":30,"dur":5},
         {"ph":"X","cat":"Kernel","name":"a","pid":0,"tid":"stream 7","ts":16,"dur":5},
         {"ph":"f","cat":"async","name":"launch","id":501,"pid":0,"tid":"stream 7","ts":15},
         {"ph":"f","cat":"async","name":"launch","id":777,"pid":0,"tid":"stream 7","ts":99,"bp":"e"})";
  const Imported in = import_events(events);
  EXPECT_EQ(in.trace.calls.correlation, (std::vector<uint64_t>{501, 502}));
  EXPECT_EQ(in.trace.work.correlation, (std::vector<uint64_t>{502, 501}));
  // One correlation of the file's own: flows say nothing any more.
  const Imported own = import_events(
      events +
      R"(,{"ph":"X","cat":"Kernel","name":"c","pid":0,"tid":"stream 7","ts":50,"dur":5,
           "args":{"correlation":3}})");
  EXPECT_EQ(own.trace.calls.correlation, (std::vector<uint64_t>{0, 0}));
  EXPECT_EQ(own.trace.work.correlation, (std::vector<uint64_t>{0, 0, 3}));
}

TEST(ImportEvents, AmdTraces) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"cuda_runtime","name":"hipLaunchKernel","pid":5,"tid":6,"ts":10,"dur":4,
          "args":{"correlation":1}},
         {"ph":"X","cat":"hip_runtime","name":"hipMemcpy","pid":5,"tid":6,"ts":20,"dur":4,
          "args":{"correlation":2}},
         {"ph":"X","cat":"gpu_memcpy","name":"CopyHostToDevice","pid":2,"tid":0,"ts":21,"dur":2,
          "args":{"device":2,"stream":0,"correlation":2,"bytes":64}})");
  EXPECT_TRUE(is(in.trace.calls.kind, 0, CallKind::launch));
  EXPECT_TRUE(is(in.trace.calls.kind, 1, CallKind::copy));
  EXPECT_EQ(in.trace.calls.flags[1], kBlocking);
  EXPECT_TRUE(is(in.trace.work.copy_kind, 0, CopyKind::host_to_device));
}

TEST(ImportEvents, DevicePropertiesBeforeOrAfterTheEvents) {
  const std::string properties =
      R"("deviceProperties":[{"id":0,"name":"Idle","totalGlobalMem":1},
         {"id":1,"name":"Card","totalGlobalMem":34084028416,"computeMajor":7,"computeMinor":0,"numSms":80}])";
  const std::string events =
      R"("traceEvents":[{"ph":"X","cat":"kernel","name":"k","pid":1,"tid":7,"ts":1,"dur":1},
         {"ph":"M","name":"thread_name","pid":1,"tid":7,"args":{"name":"stream 7 (Default) "}}])";
  for (const std::string& text :
       {"{" + properties + "," + events + "}", "{" + events + "," + properties + "}"}) {
    const Imported in = import_text(text);
    ASSERT_EQ(in.trace.devices.size(), 1u);
    EXPECT_EQ(in.trace.devices[0].number, 1u);
    EXPECT_EQ(in.trace.devices[0].name, "Card");
    EXPECT_EQ(in.trace.devices[0].memory_bytes, 34084028416u);
    EXPECT_EQ(in.trace.devices[0].description, "80 multiprocessors, compute capability 7.0");
    EXPECT_EQ(in.trace.devices[0].kind, DeviceKind::accelerator);
    EXPECT_EQ(in.trace.streams.at(0).name, "stream 7 (Default)");
    EXPECT_TRUE(in.trace.streams[0].legacy_default);
  }
}

TEST(ImportEvents, TimesAreRelativeToTheBaseWhereverItStands) {
  const std::string base = R"("displayTimeUnit":"ms","baseTimeNanoseconds":1700000000000000001)";
  const std::string events =
      R"("traceEvents":[{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":7,"ts":1.5,"dur":2}])";
  for (const std::string& text :
       {"{" + base + "," + events + "}", "{" + events + "," + base + "}"}) {
    const Imported in = import_text(text);
    EXPECT_EQ(in.trace.ops.start.at(0), 1700000000000001501);
    EXPECT_EQ(in.trace.ops.end.at(0), 1700000000000003501);
  }
}

TEST(ImportEvents, TheLastOfTwoEqualKeysCounts) {
  const Imported in = import_events(
      R"({"ph":"B","ph":"X","cat":"kernel","name":"a","name":"b","pid":0,"tid":7,"ts":1,"ts":2,
          "dur":1,"args":{"correlation":1,"correlation":2}})");
  ASSERT_EQ(in.trace.work.size(), 1u);
  EXPECT_EQ(in.trace.strings.text(in.trace.work.name[0]), "b");
  EXPECT_EQ(in.trace.work.start[0], 2000);
  EXPECT_EQ(in.trace.work.correlation[0], 2u);
}

TEST(ImportEvents, TextsAreUnescapedAndMadeWholeUtf8) {
  const Imported in = import_events(
      "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"a\\u00e4\\\"\\ud83d\\ude00\",\"pid\":1,\"tid\":"
      "1,"
      "\"ts\":1,\"dur\":1},"
      "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"b\xff\xc3\xa4\",\"pid\":1,\"tid\":1,\"ts\":1,"
      "\"dur\":1},"
      "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"c\\ud800\\u0000\",\"pid\":1,\"tid\":1,\"ts\":1,"
      "\"dur\":1},"
      "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"C:\\users\",\"pid\":1,\"tid\":1,\"ts\":1,"
      "\"dur\":1}");
  const Trace& trace = in.trace;
  ASSERT_EQ(trace.ops.size(), 4u) << notes_of(trace);
  EXPECT_EQ(trace.strings.text(trace.ops.name[0]), "a\xc3\xa4\"\xf0\x9f\x98\x80");
  EXPECT_EQ(trace.strings.text(trace.ops.name[1]), "b\xef\xbf\xbd\xc3\xa4");
  EXPECT_EQ(trace.strings.text(trace.ops.name[2]), "c\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(trace.strings.text(trace.ops.name[3]), "C:\\users");
}

TEST(ImportEvents, EventsInsideArgumentsAreNotTakenForEvents) {
  const Imported in = import_events(
      R"({"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"args":{"ts":99,"deep":{"name":"z",
          "args":{"External id":5}},"list":[[1],{"dur":7}],"External id":6},"ts":1,"dur":2})");
  ASSERT_EQ(in.trace.ops.size(), 1u);
  EXPECT_EQ(in.trace.ops.start[0], 1000);
  EXPECT_EQ(in.trace.ops.end[0], 3000);
  EXPECT_EQ(in.trace.ops.instance[0], 6u);
  EXPECT_EQ(in.trace.strings.text(in.trace.ops.name[0]), "a");
}

}  // namespace
}  // namespace mill::prof::test
