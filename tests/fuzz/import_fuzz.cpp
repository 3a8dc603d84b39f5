#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "fuzz/fuzz.h"
#include "profiler/import/import.h"
#include "profiler/import/text.h"

namespace {

using mill::prof::ImportStatus;
using mill::prof::Trace;

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

bool is_clean(std::string_view text) {
  std::string space;
  return mill::prof::clean_text(text, &space) == text;
}

// What any trace that comes out must hold, whatever went in.
void check(const Trace& trace, const std::string& why, ImportStatus status) {
  require((status == ImportStatus::ok) == why.empty(), "a reason exactly where it was refused");
  for (uint32_t id = 0; id < trace.strings.size(); ++id)
    require(is_clean(trace.strings.text(id)), "strings are UTF-8");
  for (const auto& info : trace.devices) require(is_clean(info.name), "device names are UTF-8");
  for (const auto& info : trace.threads) require(is_clean(info.name), "thread names are UTF-8");
  for (const auto& info : trace.streams) {
    require(is_clean(info.name), "stream names are UTF-8");
    require(info.device == mill::prof::kNoRow || info.device < trace.devices.size(),
            "streams are of devices that exist");
  }
  mill::prof::for_each_table(trace, [&](const char*, const auto& table) {
    using T = std::remove_cvref_t<decltype(table)>;
    T::visit(table, [&](const mill::prof::ColumnInfo& info, const auto& column) {
      require(column.size() == table.size(), "columns are of one length");
      const auto below = [&](size_t bound, bool or_none) {
        for (const auto value : column) {
          const auto index = static_cast<uint64_t>(value);
          require(index < bound || (or_none && index == mill::prof::kNoRow), info.name);
        }
      };
      switch (info.unit) {
        case mill::prof::Unit::string: below(trace.strings.size(), false); break;
        case mill::prof::Unit::thread: below(trace.threads.size(), false); break;
        case mill::prof::Unit::device: below(trace.devices.size(), true); break;
        case mill::prof::Unit::stream: below(trace.streams.size(), true); break;
        case mill::prof::Unit::row: below(0, true); break;
        default: break;
      }
    });
  });
}

}  // namespace

// 0: accepted. libFuzzer reads -1 as "do not keep this input", which fits a refused one.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  size_t at = 0;
  // Pieces of uneven sizes, the same for the same input.
  const auto read = [&](char* to, size_t n) {
    n = std::min({n, size - at, 1 + (at * 31 + size) % 4093});
    if (n > 0) std::memcpy(to, data + at, n);
    at += n;
    return n;
  };
  mill::prof::ImportOptions options;
  options.store_bytes = size % 3 == 0 ? 4096 : 1 << 20;
  Trace trace;
  std::string why;
  const ImportStatus status = mill::prof::import_stream(read, "fuzz", options, &trace, &why);
  check(trace, why, status);
  return status == ImportStatus::ok ? 0 : -1;
}

#ifndef MILL_LIBFUZZER
namespace {

std::string gzip(std::string text) {
  z_stream z{};
  if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::exit(2);
  std::string out(deflateBound(&z, static_cast<uLong>(text.size())) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(text.data());
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) std::exit(2);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::vector<std::string> seeds() {
  const std::string kineto_2021 =
      R"j({"schemaVersion":1,"deviceProperties":[{"id":0,"name":"Card","totalGlobalMem":34084028416,
"computeMajor":7,"computeMinor":0,"numSms":80}],"traceEvents":[
{"ph":"X","cat":"Operator","name":"aten::add","pid":5,"tid":"6","ts":1623142623460111,"dur":25,
"args":{"External id":2,"Input Dims":[[32,64],[]],"Fwd thread id":0,"Sequence number":8}},
{"ph":"X","cat":"Operator","name":"AddBackward0","pid":5,"tid":"7","ts":1623142623460411,"dur":25,
"args":{"External id":3,"Fwd thread id":1,"Sequence number":8}},
{"ph":"X","cat":"Operator","name":"ProfilerStep#5","pid":5,"tid":"6","ts":1623142623460100,"dur":900},
{"ph":"X","cat":"Operator","name":"enumerate(DataLoader)#x","pid":5,"tid":"6","ts":1623142623460101,"dur":5},
{"ph":"X","cat":"Runtime","name":"cudaLaunchKernel","pid":5,"tid":"6","ts":1623142623460112.5,"dur":3,
"args":{"cbid":211,"correlation":40,"external id":2}},
{"ph":"X","cat":"Kernel","name":"k","pid":0,"tid":"stream 7","ts":1623142623460130,"dur":9,
"args":{"queued":0,"device":0,"stream":7,"correlation":40,"external id":2,"registers per thread":38,
"shared memory":0,"grid":[50,1,1],"block":[256,1,1],"est. achieved occupancy %":8}},
{"ph":"X","cat":"Memcpy","name":"Memcpy HtoD (Pageable -> Device)","pid":0,"tid":"stream 7","ts":1623142623460150,
"dur":9,"args":{"device":0,"stream":7,"correlation":41,"bytes":4096}},
{"ph":"i","s":"t","name":"[memory]","pid":5,"tid":6,"ts":1623142623460121,"args":{"Device Type":1,"Device Id":0,
"Bytes":-4,"Addr":1,"Total Allocated":5}},
{"ph":"M","name":"thread_name","pid":5,"tid":"6","args":{"name":"main"}}]})j";
  const std::string kineto_2023 =
      R"j({"traceEvents":[
{"ph":"X","cat":"cuda_runtime","name":"cudaEventRecord","pid":5,"tid":6,"ts":1,"dur":1,"args":{"correlation":100}},
{"ph":"X","cat":"cuda_runtime","name":"cudaStreamWaitEvent","pid":5,"tid":6,"ts":3,"dur":1,"args":{"correlation":101}},
{"ph":"X","cat":"cuda_sync","name":"Stream Wait Event","pid":0,"tid":20,"ts":3,"dur":3,"args":{"wait_on_stream":7,
"wait_on_cuda_event_record_corr_id":100,"stream":20,"correlation":101,"device":0}},
{"ph":"X","cat":"overhead","name":"Command Buffer Full","pid":-1,"tid":0,"ts":5,"dur":2},
{"ph":"X","cat":"user_annotation","name":"a\u00e4\ud83d\ude00","pid":5,"tid":6,"ts":1,"dur":20},
{"ph":"X","cat":"gpu_memset","name":"Memset (Pinned)","pid":0,"tid":7,"ts":7,"dur":1,"args":{"bytes":9}}
],"baseTimeNanoseconds":1700000000000000000})j";
  const std::string plain =
      R"j([{"ph":"B","name":"a","pid":1,"tid":"main","ts":1},{"ph":"E","pid":1,"tid":"main","ts":9},
{"ph":"C","name":"c","pid":1,"ts":2,"args":{"x":1,"y":2.5}},{"ph":"i","name":"m","pid":1,"tid":2,"ts":3},
{"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":5,"tid":6,"ts":10,"dur":4},
{"ph":"s","cat":"async","id":"0x5","pid":5,"tid":6,"ts":10},{"ph":"f","cat":"async","id":"0x5","pid":0,"tid":7,"ts":15},
{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":15,"dur":4}])j";
  const std::string engine =
      R"j({"otherData":{"producer":"millrace"},"traceEvents":[
{"ph":"X","name":"matmul","cat":"op","pid":70,"tid":2,"ts":1.001,"dur":2.5,"args":{"kind":1,"version":1,"op":5,
"instance":77,"scope":"net/l1","step":4,"exec":1,"thread":71,"dtypes":"f32 <- bf16 i64","status":-3}},
{"ph":"X","name":"copy","cat":"copy","pid":70,"tid":2,"ts":2,"dur":1,"args":{"kind":3,"version":1,"bytes":4096,
"stream":6,"thread":71,"memory":"pageable","memory_to":"device","device_to":2,"detail":"blocking"}},
{"ph":"X","name":"step 4","cat":"step","pid":70,"tid":3,"ts":0,"dur":9,"args":{"kind":8,"version":1,"step":4,"exec":1}},
{"ph":"X","name":"step 0","cat":"step","pid":70,"tid":3,"ts":1,"dur":0,"args":{"kind":8,"version":1,"thread":71}},
{"ph":"X","name":"step 0","cat":"step","pid":70,"tid":3,"ts":5,"dur":0,"args":{"kind":8,"version":1,"thread":71}}]})j";
  const std::string own =
      R"j({"baseTimeNanoseconds":5000,"millrace":{"format":1,"dialect":"kineto","skipped":1,
"losses":[{"where":"x","lost":7}],"notes":["n"],"recorded":[[1,2]],"devices":[{"number":3,"name":"Card","kind":2}],
"threads":[{"process":9,"number":11,"name":"main"}],"streams":[{"device":0,"number":7},{"device":-1,"number":1}]},
"traceEvents":[{"ph":"X","cat":"cpu_op","name":"m","pid":9,"tid":11,"ts":1.0,"dur":4.005,"args":{"kind":"op",
"device":3,"instance":5,"scope":"a/b","step":-1}},
{"ph":"X","cat":"kernel","name":"k","pid":3,"tid":7,"ts":2.0,"dur":0.001,"args":{"unnamed":true,"end":1,
"device":3,"stream":7,"kind":"kernel","correlation":8,"occupancy":0.5}},
{"ph":"X","cat":"millrace.copies","name":"c","pid":9,"tid":11,"ts":2.5,"dur":0.1,"args":{"process":7,
"thread":1,"from":"pinned","to":"device","to_device":3,"stream":7,"stream_device":-1,"bytes":64}},
{"ph":"C","cat":"millrace.counters","name":"x","pid":3,"tid":0,"ts":0.007,"device":3,"args":{"value":null}}]})j";
  return {kineto_2021, kineto_2023, plain, engine, own, gzip(kineto_2023), "[]", "{}"};
}

void repair(std::string&) {}

}  // namespace

int main(int argc, char** argv) {
  return mill::fuzz::run_mutations(seeds(), repair, argc, argv);
}
#endif
