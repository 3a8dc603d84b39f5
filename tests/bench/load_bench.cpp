// A17: what a steady training step asks of the heap. A18: how long it takes from nothing to the end
// of a first training step, and how large what must be loaded for it is. A19: the peak memory of a
// process that trains GPT-2. All next to libtorch.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "bench/load_child.h"
#include "bench/load_files.h"
#include "bench/load_heap.h"
#include "bench/load_peer.h"

#ifndef MILL_BENCH_LOAD_PEER
#define MILL_BENCH_LOAD_PEER ""
#endif

using bench::Case;
using bench::FirstStep;
using bench::LoadPeer;
using bench::Mill;
using bench::MlpShape;
using bench::Session;

namespace {

std::string text_of(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// ---- A17

struct Model {
  const char* name;
  MlpShape shape;
};

// Those of train_bench.
std::vector<Model> models() {
  return {{"784-128-10 B64", bench::mlp(64, {784, 128, 10})},
          {"784-512-512-10 B128", bench::mlp(128, {784, 512, 512, 10})},
          {"char_mlp B256", bench::char_mlp()}};
}

constexpr int kLossSteps = 10;
constexpr int kWarmUp = 20;
constexpr int kCounted = 20;

double per_step(uint64_t n) {
  return static_cast<double>(n) / kCounted;
}

// Bytes, then who asked, the most frequent first.
std::string remark_of(const bench::heap::Count& count) {
  std::string out = text_of("%.6g bytes", per_step(count.bytes));
  std::vector<std::pair<uint64_t, std::string>> objects;
  for (const auto& [name, calls] : count.by_object) objects.emplace_back(calls, name);
  std::sort(objects.rbegin(), objects.rend());
  for (const auto& [calls, name] : objects) out += "; " + name + text_of(" %.4g", per_step(calls));
  if (count.unattributed > 0) out += text_of("; not told apart %.4g", per_step(count.unattributed));
  return out;
}

uint64_t calls_from(const bench::heap::Count& count, const std::string& object) {
  const auto found = count.by_object.find(object);
  return found == count.by_object.end() ? 0 : found->second;
}

// A counter that misses a kind of call, a thread or a library would report a fine 0.
void check_counter(Session& session) {
  const auto ask = [] {
    void* volatile block = malloc(10);
    free(block);
    block = calloc(2, 5);
    block = realloc(block, 20);
    free(block);
    block = aligned_alloc(64, 64);
    free(block);
    void* aligned = nullptr;
    if (posix_memalign(&aligned, 64, 10) == 0) free(aligned);
    char* volatile copy = strdup("from within libc");
    free(copy);
    block = ::operator new(10);
    ::operator delete(block);
    block = ::operator new(64, std::align_val_t(64));
    ::operator delete(block, std::align_val_t(64));
  };
  bench::heap::start();
  session.ours().run(ask);
  session.peer().run(ask);
  const bench::heap::Count count = bench::heap::stop();
  if (count.calls == 16 && calls_from(count, "this program") == 16) return;
  throw std::runtime_error("the heap counter saw " + std::to_string(count.calls) +
                           " of 16 calls, " + std::to_string(calls_from(count, "this program")) +
                           " of them from this program");
}

struct OurCount {
  bench::heap::Count heap;
  uint64_t source_calls = 0;
  std::vector<double> losses;
};

OurCount count_ours(Session& session, const MlpShape& shape, const bench::MlpStart& start,
                    int32_t gemm) {
  OurCount out;
  bench::heap::start();
  Mill mill(session.options().library, 0, gemm);
  bench::MillMlp model(mill, shape, start);
  const std::string library = bench::heap::short_name(session.options().library);
  if (calls_from(bench::heap::stop(), library) == 0)
    throw std::runtime_error("the heap counter does not see the calls of " + library);
  const auto source_calls = [&] {
    mill_memory_stats stats{};
    stats.size = sizeof stats;
    stats.type = MILL_STRUCT_MEMORY_STATS;
    mill.check(mill.api.mill_memory_stats_query(mill.context, 0, &stats, mill.err));
    return stats.source_calls;
  };
  out.losses.resize(kLossSteps);
  session.ours().run([&] {
    for (double& loss : out.losses) model.step(&loss);
    for (int k = 0; k < kWarmUp; ++k) model.step();
    const uint64_t before = source_calls();
    bench::heap::start();
    for (int k = 0; k < kCounted; ++k) model.step();
    out.heap = bench::heap::stop();
    out.source_calls = source_calls() - before;
  });
  return out;
}

struct PeerCount {
  bench::heap::Count heap;
  std::string config;
  std::vector<double> losses;
};

// Under the thread counts with which it calls least.
PeerCount count_peer(Session& session, const LoadPeer& peer, const MlpShape& shape,
                     const bench::MlpStart& start) {
  PeerCount out;
  out.losses.resize(kLossSteps);
  session.peer().run([&] {
    const auto model = peer.mlp(shape, start);
    for (double& loss : out.losses) model->step(&loss);
    for (const bench::Config& config : peer.configs) {
      config.enter();
      for (int k = 0; k < kWarmUp; ++k) model->step(nullptr);
      bench::heap::start();
      for (int k = 0; k < kCounted; ++k) model->step(nullptr);
      bench::heap::Count count = bench::heap::stop();
      if (!out.config.empty() && count.calls >= out.heap.calls) continue;
      out.heap = std::move(count);
      out.config = config.name;
    }
  });
  return out;
}

void check_losses(const std::vector<double>& ours, const std::vector<double>& peer) {
  for (int k = 0; k < kLossSteps; ++k) {
    const auto at = static_cast<size_t>(k);
    if (bench::same_loss(ours[at], peer[at])) continue;
    throw std::runtime_error("loss of step " + std::to_string(k + 1) + " is " +
                             std::to_string(ours[at]) + ", the peer's is " +
                             std::to_string(peer[at]));
  }
}

void allocations(Session& session) {
  if (!session.wanted("A17", "steady-state allocations")) return;
  std::printf(
      "\nA17 steady-state allocations: heap calls of one training step, on all threads (mean of %d "
      "steps after %d)\n",
      kCounted, kLossSteps + kWarmUp);
  check_counter(session);
  std::string why;
  const std::optional<LoadPeer> peer = bench::open_peer(MILL_BENCH_LOAD_PEER, &why);
  if (!peer) std::printf("     no peer: %s\n", why.c_str());
  const std::string library = bench::heap::short_name(session.options().library);
  for (const Model& model : models()) {
    const bench::MlpStart start(model.shape);
    const std::string name = model.name;
    std::optional<PeerCount> theirs;
    if (peer) theirs = count_peer(session, *peer, model.shape, start);
    for (const auto& [setting, gemm] :
         {std::pair<const char*, int32_t>{"auto", MILL_GEMM_AUTO}, {"own", MILL_GEMM_OWN}}) {
      const OurCount ours = count_ours(session, model.shape, start, gemm);
      if (theirs) check_losses(ours.losses, theirs->losses);
      const std::string begin = name + " gemm=" + setting + ": ";
      const uint64_t own = calls_from(ours.heap, library);
      session.report("A17", begin + library, per_step(own), "calls", "0", own == 0);
      session.report("A17", begin + "all objects", per_step(ours.heap.calls), "calls", "0",
                     ours.heap.calls == 0, remark_of(ours.heap));
      session.report("A17", begin + "memory source", per_step(ours.source_calls), "calls", "0",
                     ours.source_calls == 0);
    }
    if (theirs) {
      session.report("A17", name + " " + peer->name, per_step(theirs->heap.calls), "calls", "",
                     true, theirs->config + "; " + remark_of(theirs->heap));
    }
  }
}

// ---- A18

struct Runs {
  std::vector<FirstStep> ours;
  std::vector<FirstStep> peer;
};

using Figure = double (*)(const FirstStep&);

double median_of(const std::vector<FirstStep>& runs, Figure figure) {
  std::vector<double> values;
  for (const FirstStep& run : runs) values.push_back(figure(run));
  return bench::spread_of(values).median;
}

std::string quartiles_of(const std::vector<FirstStep>& runs, Figure figure, double unit) {
  std::vector<double> values;
  for (const FirstStep& run : runs) values.push_back(figure(run) / unit);
  const bench::Spread spread = bench::spread_of(values);
  return text_of("[%.4g", spread.low) + text_of(" .. %.4g]", spread.high);
}

void report_part(Session& session, const Runs& runs, const std::string& name, const char* unit,
                 double scale, Figure figure) {
  std::string remark = quartiles_of(runs.ours, figure, scale);
  const double ours = median_of(runs.ours, figure);
  if (!runs.peer.empty()) {
    const double peer = median_of(runs.peer, figure);
    remark += text_of("; libtorch %.4g ", peer / scale) + quartiles_of(runs.peer, figure, scale) +
              text_of(", %.3gx", peer / ours);
  }
  session.report("A18", name, ours / scale, unit, "", true, remark);
}

// Is this file libtorch's, rather than of something that it needs?
bool is_torch(const std::string& object) {
  const std::string name = object.substr(object.find_last_of('/') + 1);
  return name.rfind("libtorch", 0) == 0 || name.rfind("libc10", 0) == 0;
}

// Pairs of children; without a peer, as many of ours alone. `early`: what the peer's open before
// the clock starts.
Runs measure(Session& session, const std::string& name, int gemm,
             const std::optional<FirstStep>& peer, double goal,
             const std::vector<std::string>& early = {}) {
  Runs runs;
  const std::string library = session.options().library;
  const auto ours = [&] {
    runs.ours.push_back(bench::first_step("ours", library, gemm));
    return runs.ours.back().done;
  };
  if (!peer) {
    const int n = session.options().blocks > 0 ? session.options().blocks : 9;
    for (int k = 0; k < n; ++k) ours();
    const Figure done = [](const FirstStep& run) { return run.done; };
    session.report("A18", name, median_of(runs.ours, done) * 1e3, "ms", "", true,
                   quartiles_of(runs.ours, done, 1e-3) + "; no peer");
    return runs;
  }
  // Thread counts as they come, and the first setting: one thread of each kind.
  std::vector<std::string> names = {"threads as they come"};
  if (!peer->configs.empty()) names.push_back(peer->configs.front());
  std::vector<std::vector<FirstStep>> theirs(names.size());
  size_t at = 0;
  Case c;
  c.id = "A18";
  c.name = name;
  c.goal = goal;
  c.ours.name = "millrace";
  c.ours.timed = [&](int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += ours();
    return sum;
  };
  c.peer.name = peer->peer;
  for (size_t k = 0; k < names.size(); ++k)
    c.peer.configs.push_back({names[k], [&at, k] { at = k; }, 0.002});
  c.peer.timed = [&](int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      theirs[at].push_back(bench::first_step("libtorch", MILL_BENCH_LOAD_PEER,
                                             static_cast<int>(at) - 1, "mlp", early));
      sum += theirs[at].back().done;
    }
    return sum;
  };
  c.check = [&]() -> std::string {
    const double a = runs.ours.back().loss;
    const double b = theirs[at].back().loss;
    if (bench::same_loss(a, b)) return "";
    return "the first loss is " + std::to_string(a) + ", the peer's is " + std::to_string(b);
  };
  const bench::Result result = session.run(c);
  for (size_t k = 0; k < names.size(); ++k) {
    if (names[k] == result.peer_config) runs.peer = theirs[k];
  }
  return runs;
}

void loading(Session& session) {
  const std::pair<std::string, int> settings[] = {
      {"", MILL_GEMM_AUTO},
      {", gemm=own", MILL_GEMM_OWN},
  };
  const std::string begin = "dlopen to first step";
  const std::string alone = begin + ", libtorch alone";
  const auto wanted = [&](const auto& setting) {
    return session.wanted("A18", begin + setting.first);
  };
  if (!std::any_of(std::begin(settings), std::end(settings), wanted) &&
      !session.wanted("A18", alone))
    return;
  session.heading(
      "A18 from dlopen to the end of a first step (MLP 784-128-10, batch 64), each in "
      "a process of its own");
  std::optional<FirstStep> peer;
  const std::string module = MILL_BENCH_LOAD_PEER;
  if (module.empty()) {
    std::printf("     no peer: libtorch was not there when this program was built\n");
  } else {
    try {
      peer = bench::first_step("libtorch", module, -1);
    } catch (const std::exception& error) {
      std::printf("     no peer: %s\n", error.what());
    }
  }
  const std::string library = session.options().library;
  bench::first_step("ours", library, MILL_GEMM_AUTO);  // both are in the page cache from here on
  for (const auto& setting : settings) {
    if (!wanted(setting)) continue;
    const std::string& end = setting.first;
    const Runs runs = measure(session, begin + end, setting.second, peer, 10);
    report_part(session, runs, "  of it dlopen" + end, "ms", 1e-3,
                [](const FirstStep& run) { return run.opened; });
    report_part(session, runs, "  of it context, parameters, batch" + end, "ms", 1e-3,
                [](const FirstStep& run) { return run.made - run.opened; });
    report_part(session, runs, "  of it the step" + end, "ms", 1e-3,
                [](const FirstStep& run) { return run.done - run.made; });
    report_part(session, runs, "peak memory of the process" + end, "MB", 1e6,
                [](const FirstStep& run) { return run.peak_rss; });
  }
  if (!peer || !session.wanted("A18", alone)) return;
  // A distribution's libtorch may need hundreds of files that a leaner build of it does not.
  std::vector<std::string> early;
  for (const std::string& object : peer->objects) {
    if (object != module && !is_torch(object)) early.push_back(object);
  }
  measure(session, alone, MILL_GEMM_AUTO, peer, 0, early);
}

struct Sum {
  uint64_t bytes = 0;
  int files = 0;
};
Sum sum_of(const std::vector<std::string>& objects) {
  Sum out;
  for (const std::string& object : objects) {
    out.bytes += bench::file_size(object);
    ++out.files;
  }
  return out;
}

std::string mb(uint64_t bytes) {
  return text_of("%.4g MB", static_cast<double>(bytes) * 1e-6);
}

void sizes(Session& session) {
  if (!session.wanted("A18", "sizes and exported symbols")) return;
  std::printf("\nA18 sizes and exported symbols (MB = 1e6 bytes)\n");
  const std::string library = session.options().library;
  std::optional<FirstStep> peer;
  const std::string module = MILL_BENCH_LOAD_PEER;
  try {
    if (!module.empty()) peer = bench::first_step("libtorch", module, -1);
  } catch (const std::exception& error) {
    std::printf("     no peer: %s\n", error.what());
  }
  if (module.empty()) std::printf("     no peer: libtorch was not there when this was built\n");
  if (peer)
    peer->objects.erase(std::remove(peer->objects.begin(), peer->objects.end(), module),
                        peer->objects.end());

  constexpr uint64_t kLimit = uint64_t{8} << 20;
  const uint64_t stripped = bench::stripped_size(library);
  const uint64_t size = stripped > 0 ? stripped : bench::file_size(library);
  std::string remark = std::to_string(size) + " bytes";
  if (stripped == 0) remark += ", unstripped: there is no strip here";
  if (peer) {
    std::vector<std::string> own;
    std::copy_if(peer->objects.begin(), peer->objects.end(), std::back_inserter(own), is_torch);
    const Sum theirs = sum_of(own);
    remark += "; libtorch's own " + std::to_string(theirs.files) + " files " + mb(theirs.bytes) +
              text_of(", %.3gx", static_cast<double>(theirs.bytes) / static_cast<double>(size));
  }
  session.report("A18", stripped > 0 ? "libmillrace.so, stripped" : "libmillrace.so, unstripped",
                 static_cast<double>(size) * 1e-6, "MB", "<= 8 MiB", size <= kLimit, remark);

  for (const auto& [name, gemm] :
       {std::pair<const char*, int>{"", MILL_GEMM_AUTO}, {", gemm=own", MILL_GEMM_OWN}}) {
    const Sum all = sum_of(bench::first_step("ours", library, gemm).objects);
    remark = std::to_string(all.files) + " files";
    if (peer) {
      const Sum theirs = sum_of(peer->objects);
      remark += "; libtorch's " + std::to_string(theirs.files) + " files " + mb(theirs.bytes);
    }
    session.report("A18", std::string("all that a first step loads") + name,
                   static_cast<double>(all.bytes) * 1e-6, "MB", "", true, remark);
  }

  const bench::Exports exports = bench::exports_of(library, "mill_");
  remark.clear();
  for (const std::string& object : peer ? peer->objects : std::vector<std::string>()) {
    if (object.find("/libtorch_cpu.so") == std::string::npos) continue;
    const bench::Exports theirs = bench::exports_of(object, "");
    remark = "libtorch_cpu.so " + std::to_string(theirs.functions) + " functions, " +
             std::to_string(theirs.objects) + " objects";
  }
  session.report("A18", "exported functions", static_cast<double>(exports.functions), "", "", true,
                 remark);
  session.report("A18", "exported objects", static_cast<double>(exports.objects), "", "0",
                 exports.objects == 0);
  remark.clear();
  for (size_t k = 0; k < exports.foreign.size() && k < 5; ++k)
    remark += (k > 0 ? ", " : "") + exports.foreign[k];
  session.report("A18", "exported names that do not begin with mill_",
                 static_cast<double>(exports.foreign.size()), "", "0", exports.foreign.empty(),
                 remark);
}

// ---- A19

void peak_memory(Session& session) {
  const char* const name = "GPT-2 124M, batch 4 of 64: peak memory of the process, three steps";
  if (!session.wanted("A19", name)) return;
  std::printf("\nA19 peak resident memory of A15, each in a process of its own (MB = 1e6 bytes)\n");
  const FirstStep ours =
      bench::first_step("ours", session.options().library, MILL_GEMM_AUTO, "gpt2");
  const std::string module = MILL_BENCH_LOAD_PEER;
  if (module.empty()) {
    session.report("A19", name, ours.peak_rss * 1e-6, "MB", "", true,
                   "no peer: libtorch was not there");
    return;
  }
  // Under the thread counts with which it takes least.
  FirstStep least = bench::first_step("libtorch", module, -1, "gpt2");
  std::string setting = "threads as they come";
  for (size_t k = 0; k < least.configs.size(); ++k) {
    FirstStep run = bench::first_step("libtorch", module, static_cast<int>(k), "gpt2");
    if (run.peak_rss >= least.peak_rss) continue;
    setting = run.configs[k];
    least = std::move(run);
  }
  const bool same = bench::same_loss(ours.loss, least.loss);
  const std::string remark = least.peer + text_of(" %.5g", least.peak_rss * 1e-6) + " (" + setting +
                             ")" + text_of(", ours is %.3gx", ours.peak_rss / least.peak_rss) +
                             (same ? "" : "; WRONG: losses differ");
  session.report("A19", name, ours.peak_rss * 1e-6, "MB", "<= 1.0x",
                 same && ours.peak_rss <= least.peak_rss, remark);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc >= 6 && std::string(argv[1]) == bench::kFirstStep)
    bench::first_step_main(argv[2], argv[3], std::atoi(argv[4]), argv[5], {argv + 6, argv + argc});
  return bench::run_program(argc, argv,
                            {{"allocations", allocations, false},
                             {"loading", loading, false},
                             {"sizes", sizes, false},
                             {"peak memory", peak_memory, false}});
}
