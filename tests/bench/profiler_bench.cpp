// What being watched costs: an op with the trace off, with a session (tier 1), and what a session
// holds, loses and writes. Off and on take turns in short blocks; the peer of each is the other.
//
//   profiler_bench LIBRARY [TRACE]     TRACE: a recording whose report is timed too
#include <dlfcn.h>
#include <millrace/millrace.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/mlp_model.h"

namespace {

// clang-format off
#define FUNCTIONS(X) \
  X(mill_error_create) \
  X(mill_error_message) \
  X(mill_context_create) \
  X(mill_exec_create) \
  X(mill_fill) \
  X(mill_add) \
  X(mill_tensor_release) \
  X(mill_trace_step) \
  X(mill_prof_create) \
  X(mill_prof_start) \
  X(mill_prof_stop) \
  X(mill_prof_snapshot) \
  X(mill_prof_overhead) \
  X(mill_prof_release) \
  X(mill_prof_view_release) \
  X(mill_prof_view_summary) \
  X(mill_prof_export) \
  X(mill_prof_open)
// clang-format on

#define POINTER(name) decltype(&::name) name = nullptr;
struct Api {
  FUNCTIONS(POINTER)
} api;
mill_error* err = nullptr;

void check(mill_status status) {
  if (status >= 0) return;
  std::fprintf(stderr, "profiler_bench: %s\n", api.mill_error_message(err));
  std::exit(1);
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

long resident_mib() {
  long pages = 0;
  long resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

struct Bench {
  mill_context* context = nullptr;
  mill_exec* exec = nullptr;
  mill_tensor* x = nullptr;
  mill_tensor* y = nullptr;

  Bench() {
    mill_context_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_CONTEXT_OPTS;
    opts.threads = MILL_THREADS_CALLER_ONLY;
    opts.gemm = MILL_GEMM_OWN;
    const int64_t dims[1] = {8};
    check(api.mill_context_create(&opts, &context, err));
    check(api.mill_exec_create(context, 0, nullptr, &exec, err));
    check(api.mill_fill(exec, dims, 1, MILL_F32, 1, &x, err));
    check(api.mill_fill(exec, dims, 1, MILL_F32, 1, &y, err));
  }
  // Into memory that is there: the op and nothing else.
  void ops(int64_t n) {
    for (int64_t k = 0; k < n; ++k) check(api.mill_add(exec, x, x, &y, err));
  }
  double ns_per_op(int64_t n) {
    const double begin = now();
    ops(n);
    return 1e9 * (now() - begin) / static_cast<double>(n);
  }
  mill_prof* session(uint64_t store) {
    mill_prof_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_PROF_OPTS;
    opts.store_bytes = store;
    opts.budget = 1;
    mill_prof* prof = nullptr;
    check(api.mill_prof_create(context, &opts, &prof, err));
    return prof;
  }
};

mill_status count_bytes(void* total, const char*, uint64_t bytes) {
  *static_cast<uint64_t*>(total) += bytes;
  return MILL_OK;
}

void time_export(mill_prof_view* view, const char* name, int32_t format) {
  uint64_t bytes = 0;
  const double begin = now();
  check(api.mill_prof_export(view, format, nullptr, count_bytes, &bytes, err));
  std::printf("  %-12s %8.3f s, %8.1f MB\n", name, now() - begin,
              1e-6 * static_cast<double>(bytes));
}

void cost(Bench& bench) {
  constexpr int kBlocks = 101;
  constexpr int64_t kOps = 4000;
  mill_prof* const prof = bench.session(64 << 20);
  std::vector<double> off;
  std::vector<double> on;
  bench.ops(100000);
  for (int block = 0; block < kBlocks; ++block) {
    off.push_back(bench.ns_per_op(kOps));
    check(api.mill_prof_start(prof, err));
    bench.ops(100);
    on.push_back(bench.ns_per_op(kOps));
    check(api.mill_prof_stop(prof, err));
  }
  std::vector<double> difference;
  for (int block = 0; block < kBlocks; ++block)
    difference.push_back(on[static_cast<size_t>(block)] - off[static_cast<size_t>(block)]);
  std::printf("an op of 8 elements, median of %d interleaved blocks of %lld\n", kBlocks,
              static_cast<long long>(kOps));
  std::printf("  off          %8.1f ns\n  tier 1       %8.1f ns\n  difference   %8.1f ns\n",
              median(off), median(on), median(difference));
  api.mill_prof_release(prof);
}

// The network of samples/c/char_mlp.c as it comes, on one batch: a step of it without and with a
// session. Where the program leaves no core free, the session's thread takes its time from it.
void training(const std::string& library, uint32_t threads, const char* name) {
  // Short ones: what the machine does meanwhile comes and goes. Two on end are long enough for the
  // session's thread to come as often as it does in the long run, every 50 ms.
  constexpr int kBlocks = 301;
  constexpr int kSteps = 20;
  const bench::MlpShape shape = bench::char_mlp();
  const bench::MlpStart start(shape);
  bench::Mill mill(library, threads);
  bench::MillMlp network(mill, shape, start);
  mill_prof_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_PROF_OPTS;
  opts.budget = 1;  // every step is recorded
  mill_prof* prof = nullptr;
  check(api.mill_prof_create(mill.context, &opts, &prof, err));
  const auto block = [&] {
    const double begin = now();
    for (int k = 0; k < kSteps; ++k) {
      network.step();
      check(api.mill_trace_step(mill.exec, err));
    }
    return 1e6 * (now() - begin) / kSteps;
  };
  std::vector<double> off;
  std::vector<double> on;
  std::vector<double> share;
  block();
  for (int k = 0; k < kBlocks; ++k) {
    // A B B A: what the machine does meanwhile falls on both.
    double without = block();
    check(api.mill_prof_start(prof, err));
    network.step();
    const double with = block() + block();
    check(api.mill_prof_stop(prof, err));
    network.step();
    without += block();
    off.push_back(without / 2);
    on.push_back(with / 2);
    share.push_back(100 * (with / without - 1));
  }
  // 95 % of the median, by the order statistics.
  std::sort(share.begin(), share.end());
  const double reach = 1.96 * std::sqrt(kBlocks) / 2;
  mill_prof_overhead_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_PROF_OVERHEAD;
  check(api.mill_prof_overhead(prof, &info, err));
  std::printf(
      "a step of char_mlp, %s, median of %d interleaved blocks of %d\n  off          %8.1f us\n"
      "  tier 1       %8.1f us, %.0f records a step, %.2f %% of a core for the session's thread\n"
      "  difference   %8.2f %% (%.2f to %.2f)\n",
      name, kBlocks, 2 * kSteps, median(off), median(on),
      static_cast<double>(info.records) / (kBlocks * (2 * kSteps + 1)), 100 * info.collector_share,
      share[kBlocks / 2], share[static_cast<size_t>(kBlocks / 2 - reach)],
      share[static_cast<size_t>(kBlocks / 2 + reach)]);
  api.mill_prof_release(prof);
}

void endurance(Bench& bench) {
  constexpr int64_t kOps = 10'000'000;
  mill_prof* const prof = bench.session(64 << 20);
  check(api.mill_prof_start(prof, err));
  bench.ops(kOps / 5);
  const long early = resident_mib();
  bench.ops(kOps - kOps / 5);
  const long late = resident_mib();
  check(api.mill_prof_stop(prof, err));
  mill_prof_overhead_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_PROF_OVERHEAD;
  check(api.mill_prof_overhead(prof, &info, err));
  std::printf(
      "10^7 ops with a store of 64 MiB\n  resident     %ld MiB after a fifth, %ld MiB at the end\n"
      "  records      %llu taken in, %llu dropped (counted), %llu given up for newer ones\n"
      "  thread       %.1f %% of a core\n",
      early, late, static_cast<unsigned long long>(info.records),
      static_cast<unsigned long long>(info.lost), static_cast<unsigned long long>(info.forgotten),
      100 * info.collector_share);
  api.mill_prof_release(prof);
}

void exports(Bench& bench) {
  constexpr int64_t kOps = 1'000'000;
  mill_prof* const prof = bench.session(uint64_t{1} << 30);
  check(api.mill_prof_start(prof, err));
  for (int64_t k = 0; k < kOps; k += 1000) {
    bench.ops(1000);
    check(api.mill_trace_step(bench.exec, err));
    usleep(200);  // so that the rings are met: this is about writing, not about keeping up
  }
  check(api.mill_prof_stop(prof, err));
  mill_prof_view* view = nullptr;
  const double begin = now();
  check(api.mill_prof_snapshot(prof, &view, err));
  mill_prof_summary summary{};
  summary.size = sizeof summary;
  summary.type = MILL_STRUCT_PROF_SUMMARY;
  check(api.mill_prof_view_summary(view, &summary, err));
  std::printf("%llu events\n  analysis     %8.3f s\n",
              static_cast<unsigned long long>(summary.records), now() - begin);
  time_export(view, "Chrome JSON", MILL_PROF_FORMAT_CHROME);
  time_export(view, "HTML", MILL_PROF_FORMAT_HTML);
  time_export(view, "text", MILL_PROF_FORMAT_TEXT);
  api.mill_prof_view_release(view);
  api.mill_prof_release(prof);
}

void report(Bench& bench, const char* path) {
  mill_prof* prof = nullptr;
  mill_prof_view* view = nullptr;
  const double begin = now();
  check(api.mill_prof_open(bench.context, path, MILL_NTS, nullptr, &prof, err));
  check(api.mill_prof_snapshot(prof, &view, err));
  std::printf("%s\n  read and analysed in %.3f s\n", path, now() - begin);
  time_export(view, "text", MILL_PROF_FORMAT_TEXT);
  time_export(view, "HTML", MILL_PROF_FORMAT_HTML);
  std::printf("  in all       %8.3f s\n", now() - begin);
  api.mill_prof_view_release(view);
  api.mill_prof_release(prof);
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  std::string path = argc > 1 && argv[1][0] != '-' ? argv[1] : "";
  if (path.empty()) {
    path = argv[0];
    const size_t folder = path.rfind("/bench/");
    path = path.substr(0, folder == std::string::npos ? 0 : folder) + "/lib/libmillrace.so";
  }
  void* library = dlopen(path.c_str(), RTLD_NOW);
  if (!library) {
    std::fprintf(stderr, "profiler_bench: %s\n", dlerror());
    return 1;
  }
#define FIND(name)                                                        \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, #name)); \
  if (!api.name) return 1;
  FUNCTIONS(FIND)
  check(api.mill_error_create(&err));
  Bench bench;
  cost(bench);
  training(path, MILL_THREADS_CALLER_ONLY, "one thread");
  training(path, 0, "all cores");
  endurance(bench);
  exports(bench);
  if (argc > 2) report(bench, argv[2]);
  return 0;
}
