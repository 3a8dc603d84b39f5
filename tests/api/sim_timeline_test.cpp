// Virtual time through the ABI: it is the same in every run, whatever the machine does meanwhile,
// and what it says of simple programs is what the profile's figures give by hand.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "conformance/api.h"

namespace mill_test {
namespace {

using Future = Owner<mill_future, mill_future_release>;
using Event = Owner<mill_event, mill_event_release>;
using Stream = Owner<mill_stream, mill_stream_release>;

// A record without its name, which is an address, and the name.
struct Line {
  mill_timeline_record record;
  std::string name;

  bool operator==(const Line& other) const {
    return name == other.name && std::memcmp(&record, &other.record, sizeof record) == 0;
  }
  std::string text() const {
    const auto n = [](auto value) { return std::to_string(value) + " "; };
    return name + ": kind " + n(record.kind) + "stream " + n(record.stream) + "call " +
           n(record.correlation) + "submit " + n(record.submit_ns) + "ready " + n(record.ready_ns) +
           "start " + n(record.start_ns) + "end " + n(record.end_ns) + "bytes " + n(record.bytes);
  }
  int64_t duration() const { return record.end_ns - record.start_ns; }
};
using Lines = std::vector<Line>;

// In pieces of `at_once`, which is not to matter.
Lines drain(const World& w, uint32_t device, uint64_t at_once = 7) {
  Lines lines;
  std::vector<mill_timeline_record> some(at_once);
  for (;;) {
    uint64_t count = 0, lost = 0;
    w.ok(mill_device_drain(w.context(), device, some.data(), at_once, &count, &lost, w.error()));
    EXPECT_EQ(lost, 0u);
    for (uint64_t k = 0; k < count; ++k) {
      lines.push_back({some[k], some[k].name == nullptr ? "" : some[k].name});
      lines.back().record.name = nullptr;
    }
    if (count < at_once) return lines;
  }
}

// "" or where they part.
std::string difference(const Lines& a, const Lines& b) {
  for (size_t k = 0; k < a.size() && k < b.size(); ++k) {
    if (!(a[k] == b[k]))
      return "record " + std::to_string(k) + "\n  " + a[k].text() + "\n  " + b[k].text();
  }
  if (a.size() == b.size()) return "";
  return std::to_string(a.size()) + " records and " + std::to_string(b.size());
}

// ---- the same in every run ----------------------------------------------------------------------

// What the machine does meanwhile: threads that only burn time, and a program that is held up at
// random places.
class Weather {
 public:
  explicit Weather(bool rough) : rough_(rough), random_(std::random_device{}()) {
    for (int k = 0; rough && k < 3; ++k) {
      busy_.emplace_back([this] {
        while (!over_.load(std::memory_order_relaxed)) ++burnt_;
      });
    }
  }
  ~Weather() {
    over_ = true;
    for (std::thread& one : busy_) one.join();
  }
  void gust() {
    if (!rough_ || random_() % 3 == 0) return;
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % 1500));
  }

 private:
  bool rough_;
  std::mt19937 random_;
  std::atomic<bool> over_{false};
  std::atomic<uint64_t> burnt_{0};
  std::vector<std::thread> busy_;
};

struct Plan {
  const char* spec;
  uint32_t prefetch;
  uint64_t pinned_bytes;
  int64_t work_ns;  // of the program's own, per step
  int steps;
};

struct Outcome {
  Lines during;  // until the last step has finished
  Lines end;     // what the loader still did until it was gone
  std::vector<float> losses;
  int64_t now = 0;
};

constexpr int64_t kRows = 40, kInputs = 48, kHidden = 16, kClasses = 4;

Outcome train(const Plan& plan, bool rough) {
  Outcome run;
  Weather weather(rough);
  World w;
  uint32_t device = 0;
  w.ok(mill_device_open(w.context(), plan.spec, MILL_NTS, &device, w.error()));
  w.ok(mill_device_timeline(w.context(), device, 1, w.error()));
  Exec exec;
  Generator generator;
  Group group;
  Tensor p[4];
  Optimizer optimizer;
  Tape tape;
  mill_exec* e = nullptr;
  w.ok(mill_exec_create(w.context(), device, nullptr, exec.out(), w.error()));
  e = exec.get();
  w.ok(mill_generator_create(e, 1, generator.out(), w.error()));
  w.ok(mill_exec_set_generator(e, generator.get(), w.error()));
  w.ok(mill_group_create(w.context(), MILL_F32, group.out(), w.error()));
  const int64_t dims[4][2] = {{kHidden, kInputs}, {kHidden, 0}, {kClasses, kHidden}, {kClasses, 0}};
  const char* const names[4] = {"w1", "b1", "w2", "b2"};
  for (uint32_t k = 0; k < 4; ++k) {
    w.ok(mill_group_add(group.get(), names[k], dims[k], k % 2 == 0 ? 2 : 1, nullptr, w.error()));
  }
  w.ok(mill_group_build(group.get(), e, w.error()));
  for (uint32_t k = 0; k < 4; ++k) w.ok(mill_group_param(group.get(), k, p[k].out(), w.error()));
  for (uint32_t k = 0; k < 4; k += 2)
    w.ok(mill_group_init(group.get(), e, k, MILL_INIT_KAIMING, 1, w.error()));
  w.ok(mill_optimizer_create_sgd(e, group.get(), 0.1, 0.9, 0, 0, optimizer.out(), w.error()));
  w.ok(mill_tape_create(w.context(), tape.out(), w.error()));
  w.ok(mill_exec_set_tape(e, tape.get(), w.error()));

  std::vector<uint8_t> pixels(kRows * kInputs), labels(kRows);
  std::mt19937 random(3);
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random());
  for (uint8_t& label : labels) label = static_cast<uint8_t>(random() % kClasses);
  const Tensor inputs = make<uint8_t>(w, {kRows, kInputs}, pixels);
  const Tensor classes = make<uint8_t>(w, {kRows}, labels);
  mill_tensor* columns[2] = {inputs.get(), classes.get()};
  mill_loader_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.seed = 5;
  opts.batch = 7;
  opts.flags = MILL_LOADER_SHUFFLE;
  opts.prefetch = plan.prefetch;
  opts.pinned_bytes = plan.pinned_bytes;
  opts.device = device;
  Loader loader;
  w.ok(mill_loader_create(w.context(), columns, 2, &opts, loader.out(), w.error()));
  w.ok(mill_loader_set_transform(loader.get(), 0, MILL_F32, 1.0 / 255, 0, w.error()));

  std::vector<Future> reads;
  for (int step = 0; step < plan.steps; ++step) {
    mill_tensor* raw[2] = {};
    mill_status got = mill_loader_next(loader.get(), e, raw, 2, w.error());
    w.ok(got);
    if (got == MILL_END) w.ok(mill_loader_next(loader.get(), e, raw, 2, w.error()));
    const Tensor x(raw[0]), y(raw[1]);
    weather.gust();
    Tensor sum, hidden, out, loss, lse;
    w.ok(mill_linear(e, x.get(), p[0].get(), p[1].get(), sum.out(), w.error()));
    w.ok(mill_relu(e, sum.get(), hidden.out(), w.error()));
    w.ok(mill_linear(e, hidden.get(), p[2].get(), p[3].get(), out.out(), w.error()));
    w.ok(mill_cross_entropy(e, out.get(), y.get(), MILL_REDUCE_MEAN, 0, -100, loss.out(), lse.out(),
                            w.error()));
    weather.gust();
    w.ok(mill_tape_backward(tape.get(), e, loss.get(), nullptr, 0, w.error()));
    w.ok(mill_optimizer_step(optimizer.get(), e, w.error()));
    reads.emplace_back();
    w.ok(mill_tensor_read_async(e, loss.get(), reads.back().out(), w.error()));
    w.ok(mill_device_charge(w.context(), device, plan.work_ns, w.error()));
    weather.gust();
  }
  w.ok(mill_exec_wait(e, w.error()));
  for (const Future& read : reads) {
    const void* data = nullptr;
    uint64_t bytes = 0;
    w.ok(mill_future_wait(read.get(), UINT64_MAX, w.error()));
    w.ok(mill_future_data(read.get(), &data, &bytes, w.error()));
    run.losses.push_back(*static_cast<const float*>(data));
  }
  weather.gust();
  run.during = drain(w, device);
  weather.gust();
  loader.reset();
  w.ok(mill_device_now(w.context(), device, &run.now, w.error()));
  // So that what the loader had left on its stream is over.
  w.ok(mill_device_charge(w.context(), device, 1'000'000'000, w.error()));
  Event later;
  Stream stream;
  w.ok(mill_stream_create(w.context(), device, stream.out(), w.error()));
  w.ok(mill_event_create(stream.get(), later.out(), w.error()));
  w.ok(mill_event_record(later.get(), stream.get(), w.error()));
  while (mill_event_query(later.get(), w.error()) == MILL_NOT_READY) {
  }
  run.end = drain(w, device, 1);
  w.ok(mill_exec_set_tape(e, nullptr, w.error()));
  return run;
}

class SameTimeline : public testing::TestWithParam<Plan> {};

TEST_P(SameTimeline, WhateverTheMachineDoes) {
  const Plan& plan = GetParam();
  const Outcome first = train(plan, false);
  size_t pinned = 0, kernels = 0;
  for (const Line& line : first.during) {
    pinned += line.record.host_memory == MILL_RECORD_MEMORY_PINNED ? 1 : 0;
    kernels += line.record.kind == MILL_TIMELINE_KERNEL ? 1 : 0;
  }
  // Two columns and a loss per step, and the kernels of forward, backward and update.
  EXPECT_GE(pinned, static_cast<size_t>(3 * plan.steps));
  EXPECT_GE(kernels, static_cast<size_t>(8 * plan.steps));
  for (const bool rough : {false, true, true}) {
    const Outcome again = train(plan, rough);
    EXPECT_EQ(difference(first.during, again.during), "") << (rough ? "rough" : "calm");
    EXPECT_EQ(difference(first.end, again.end), "") << (rough ? "rough" : "calm") << ", at the end";
    EXPECT_EQ(first.now, again.now);
    EXPECT_EQ(first.losses, again.losses);
  }
}

INSTANTIATE_TEST_SUITE_P(
    , SameTimeline,
    testing::Values(Plan{"sim:h200-sxm,memory=67108864", 1, 0, 0, 15},
                    Plan{"sim:h200-sxm,memory=67108864", 2, 0, 0, 15},
                    Plan{"sim:h200-sxm,memory=67108864", 4, 0, 0, 15},
                    Plan{"sim:h200-sxm,memory=67108864", 1, 600, 0, 15},
                    Plan{"sim:rtx4090,memory=67108864,seed=9", 2, 600, 30000, 15},
                    Plan{"sim:rx7900xtx,memory=67108864,gemm=1", 4, 1, 5000, 15},
                    Plan{"sim:ideal,memory=67108864", 2, 300, 0, 15},
                    Plan{"sim:ideal,memory=67108864", 4, 0, 1000, 14}),
    [](const auto& it) {
      const Plan& plan = it.param;
      std::string name = std::string(plan.spec + 4) + "_prefetch" + std::to_string(plan.prefetch) +
                         "_pinned" + std::to_string(plan.pinned_bytes);
      name.erase(name.find(','), name.find("_prefetch") - name.find(','));
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

// A loader that is ended while its thread is in the middle of a batch, `ns` after the first one
// came.
Lines interrupted(uint32_t prefetch, int64_t ns, int how, bool rough) {
  constexpr int64_t kBytes = 120'000;  // 10 us of gathering
  Weather weather(rough);
  World w;
  uint32_t device = 0;
  w.ok(mill_device_open(w.context(), "sim:h200-sxm,memory=67108864", MILL_NTS, &device, w.error()));
  w.ok(mill_device_timeline(w.context(), device, 1, w.error()));
  Exec exec;
  w.ok(mill_exec_create(w.context(), device, nullptr, exec.out(), w.error()));
  const Tensor rows =
      make<uint8_t>(w, {20, kBytes}, std::vector<uint8_t>(static_cast<size_t>(20 * kBytes), 1));
  mill_tensor* columns[1] = {rows.get()};
  mill_loader_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.flags = MILL_LOADER_SHUFFLE;
  opts.prefetch = prefetch;
  opts.device = device;
  Loader loader;
  w.ok(mill_loader_create(w.context(), columns, 1, &opts, loader.out(), w.error()));
  // Held to the end: giving memory back is a call, in which the threads would meet.
  Tensor batches[2];
  for (Tensor& batch : batches) {
    w.ok(mill_loader_next(loader.get(), exec.get(), batch.out(), 1, w.error()));
    weather.gust();
    w.ok(mill_device_charge(w.context(), device, ns, w.error()));
    weather.gust();
    if (how == 1) w.ok(mill_loader_rewind(loader.get(), w.error()));
    if (how == 2) w.ok(mill_loader_set_position(loader.get(), 9, 3, 4, w.error()));
  }
  loader.reset();
  weather.gust();
  // Long after, so that what the loader left behind is over.
  w.ok(mill_device_charge(w.context(), device, 1'000'000'000, w.error()));
  const Tensor last = make<float>(w, {1}, {1});
  Tensor there;
  w.ok(mill_tensor_to(exec.get(), last.get(), there.out(), w.error()));
  return drain(w, device);
}

class InterruptedLoader : public testing::TestWithParam<int> {};

TEST_P(InterruptedLoader, LeavesTheSameTimeline) {
  for (const uint32_t prefetch : {1u, 4u}) {
    for (const int64_t ns : {0, 5'000, 150'000, 2'000'000}) {
      const Lines first = interrupted(prefetch, ns, GetParam(), false);
      EXPECT_GE(first.size(), 3u);
      for (const bool rough : {false, true, true, true}) {
        EXPECT_EQ(difference(first, interrupted(prefetch, ns, GetParam(), rough)), "")
            << "prefetch " << prefetch << ", after " << ns;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, InterruptedLoader, testing::Values(0, 1, 2), [](const auto& it) {
  return it.param == 0 ? "Released" : it.param == 1 ? "Rewound" : "Moved";
});

// ---- closed forms -------------------------------------------------------------------------------

// By hand from the profile's public figures: calls of the host, and latency and nanoseconds per
// byte as a fraction. Copies from and to ordinary memory go at the rate of the staging copy where
// that is the slower one.
struct Link {
  const char* spec;
  int64_t launch, copy, record, sync;      // calls
  int64_t up, down;                        // latency, ordinary memory
  int64_t ordinary;                        // bytes per microsecond, either way
  int64_t pinned_latency, pinned, duplex;  // duplex: of one direction while both move
  int64_t startup;
  int64_t memory;  // bytes per microsecond that kernels reach
};
// 12 GB/s staging; 4.8 TB/s at 896 permille.
constexpr Link kH200 = {"sim:h200-sxm,memory=268435456",
                        2000,
                        3000,
                        800,
                        2000,
                        6000,
                        7000,
                        12'000,
                        1500,
                        55'600,
                        50'000,
                        1000,
                        4'300'800};
// One byte per nanosecond on the link, half of it from ordinary memory, and 1 TB/s.
constexpr Link kIdeal = {
    "sim:ideal,memory=268435456", 0, 0, 0, 0, 0, 0, 500, 0, 1000, 1000, 0, 1'000'000};
constexpr Link kHalf = {nullptr, 0, 0, 0, 0, 0, 0, 500, 0, 1000, 500, 0, 1'000'000};

// Nanoseconds for n bytes at so many per microsecond; the tests take whole ones.
int64_t moving(int64_t n, int64_t rate) {
  return n * 1000 / rate;
}

// As ideal, with a link that both directions share.
std::string half_duplex() {
  const std::string path = testing::TempDir() + "mill_half_" + std::to_string(::getpid()) + ".json";
  std::ofstream(path) << R"({"name": "half", "base": "ideal", "memory_bytes": 268435456,
                            "link_duplex_bandwidth": 1000000000})";
  return path;
}

class ClosedForm : public testing::TestWithParam<Link> {
 protected:
  ClosedForm() : link(GetParam()) {
    const std::string file = link.spec ? "" : half_duplex();
    const std::string spec = link.spec ? link.spec : "sim:" + file;
    w.ok(mill_device_open(w.context(), spec.c_str(), MILL_NTS, &device, w.error()));
    if (!file.empty()) std::remove(file.c_str());
    w.ok(mill_exec_create(w.context(), device, nullptr, exec.out(), w.error()));
    e = exec.get();
  }
  void start() {
    w.ok(mill_exec_wait(e, w.error()));
    w.ok(mill_device_timeline(w.context(), device, 1, w.error()));
  }
  int64_t now() {
    int64_t ns = 0;
    w.ok(mill_device_now(w.context(), device, &ns, w.error()));
    return ns;
  }
  Tensor on_device(int64_t count) {
    const std::vector<float> values(static_cast<size_t>(count), 1.0f);
    Tensor out;
    w.ok(mill_tensor_from_host(e, MILL_F32, &count, 1, values.data(), values.size() * 4, out.out(),
                               w.error()));
    return out;
  }
  // A loader of batches of one row of n bytes, gathered by the caller.
  Loader rows_of(int64_t n) {
    bytes = make<uint8_t>(w, {4, n}, std::vector<uint8_t>(static_cast<size_t>(4 * n), 7));
    mill_tensor* columns[1] = {bytes.get()};
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.batch = 1;
    opts.flags = MILL_LOADER_INLINE;
    opts.device = device;
    Loader loader;
    w.ok(mill_loader_create(w.context(), columns, 1, &opts, loader.out(), w.error()));
    return loader;
  }
  Tensor next(const Loader& loader) {
    Tensor batch;
    w.ok(mill_loader_next(loader.get(), e, batch.out(), 1, w.error()));
    return batch;
  }
  void read_later(const Tensor& x) {
    Future future;
    w.ok(mill_tensor_read_async(e, x.get(), future.out(), w.error()));
    reads.push_back(std::move(future));
  }
  const Link link;
  World w;
  uint32_t device = 0;
  Exec exec;
  mill_exec* e = nullptr;
  Tensor bytes;
  std::vector<Future> reads;
};

TEST_P(ClosedForm, ALoneCopyFromAndToOrdinaryMemory) {
  constexpr int64_t n = 12'000'000;
  const Tensor x = on_device(n / 4);
  std::vector<float> values(n / 4, 2.0f);
  start();
  const int64_t before = now();
  w.ok(mill_tensor_write(e, x.get(), values.data(), n, w.error()));
  const int64_t between = now();
  w.ok(mill_tensor_read(e, x.get(), values.data(), n, w.error()));
  const int64_t after = now();
  const int64_t up = link.up + moving(n, link.ordinary),
                down = link.down + moving(n, link.ordinary);
  EXPECT_EQ(between - before, link.copy + up);
  EXPECT_EQ(after - between, link.copy + down + link.sync);
  const Lines lines = drain(w, device);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].record.copy_kind, 1u);
  EXPECT_EQ(lines[1].record.copy_kind, 2u);
  for (const Line& line : lines) {
    EXPECT_EQ(line.record.kind, static_cast<uint32_t>(MILL_TIMELINE_COPY));
    EXPECT_EQ(line.record.host_memory, static_cast<uint32_t>(MILL_RECORD_MEMORY_PAGEABLE));
    EXPECT_EQ(line.record.bytes, static_cast<uint64_t>(n));
    EXPECT_EQ(line.record.start_ns, line.record.submit_ns);
  }
  EXPECT_EQ(lines[0].record.submit_ns, before + link.copy);
  EXPECT_EQ(lines[0].duration(), up);
  EXPECT_EQ(lines[1].record.submit_ns, between + link.copy);
  EXPECT_EQ(lines[1].duration(), down);
}

TEST_P(ClosedForm, ALoneCopyFromPinnedMemory) {
  constexpr int64_t n = 5'560'000;
  const Loader loader = rows_of(n);
  start();
  const Tensor first = next(loader), second = next(loader);
  w.ok(mill_exec_wait(e, w.error()));
  std::vector<uint8_t> back(n);
  w.ok(mill_tensor_read(e, second.get(), back.data(), n, w.error()));
  const Lines lines = drain(w, device);
  ASSERT_EQ(lines.size(), 3u);
  for (size_t k = 0; k < 2; ++k) {
    EXPECT_EQ(lines[k].record.host_memory, static_cast<uint32_t>(MILL_RECORD_MEMORY_PINNED));
    EXPECT_EQ(lines[k].duration(), link.pinned_latency + moving(n, link.pinned));
  }
  EXPECT_GE(lines[1].record.start_ns, lines[0].record.end_ns);
  EXPECT_EQ(back[n - 1], 7);
}

TEST_P(ClosedForm, AKernelStartsWhenItsCopyHasEnded) {
  // Bytes that make whole nanoseconds of every part.
  const int64_t count = 5'376'000;
  const Tensor x = on_device(count), y = on_device(count), z = on_device(count);
  const std::vector<float> values(static_cast<size_t>(count), 2.0f);
  mill_tensor* out = z.get();
  start();
  const int64_t before = now();
  w.ok(mill_tensor_write(e, x.get(), values.data(), values.size() * 4, w.error()));
  w.ok(mill_add(e, x.get(), y.get(), &out, w.error()));
  w.ok(mill_exec_wait(e, w.error()));
  const int64_t copied = before + link.copy + link.up + moving(4 * count, link.ordinary);
  const int64_t works = link.startup + moving(12 * count, link.memory);
  const Lines lines = drain(w, device);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].record.end_ns, copied);
  EXPECT_EQ(lines[1].record.kind, static_cast<uint32_t>(MILL_TIMELINE_KERNEL));
  EXPECT_EQ(lines[1].record.bytes, static_cast<uint64_t>(12 * count));
  EXPECT_EQ(lines[1].record.start_ns, copied + link.launch);
  EXPECT_EQ(lines[1].duration(), works);
  EXPECT_EQ(now(), copied + link.launch + works + link.sync);
}

TEST_P(ClosedForm, AKernelOnAnotherStreamWaitsForTheLoadersCopy) {
  constexpr int64_t n = 5'560'000;
  const Loader loader = rows_of(n);
  const int64_t dims[2] = {1, n};
  Tensor wide;
  w.ok(mill_tensor_create(e, MILL_F32, dims, 2, wide.out(), w.error()));
  mill_tensor* out = wide.get();
  start();
  const Tensor batch = next(loader);
  w.ok(mill_cast(e, batch.get(), MILL_F32, &out, w.error()));
  const int64_t asked = now();
  w.ok(mill_exec_wait(e, w.error()));
  const Lines lines = drain(w, device);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_LT(asked, lines[0].record.end_ns);  // it was there before the copy had ended
  EXPECT_EQ(lines[1].record.ready_ns, lines[0].record.end_ns);
  EXPECT_EQ(lines[1].record.start_ns, lines[0].record.end_ns);
  EXPECT_NE(lines[1].record.stream, lines[0].record.stream);
  EXPECT_EQ(lines[1].record.bytes, static_cast<uint64_t>(5 * n));
  // Not a whole number of nanoseconds: rounded down on both sides.
  EXPECT_NEAR(static_cast<double>(lines[1].duration()),
              static_cast<double>(link.startup) +
                  static_cast<double>(5 * n) * 1000 / static_cast<double>(link.memory),
              1.0);
}

TEST_P(ClosedForm, EventsMeasureWhatLiesBetweenThem) {
  constexpr int64_t n = 1'200'000;
  Stream stream;
  Exec measured;
  Event from, to;
  w.ok(mill_stream_create(w.context(), device, stream.out(), w.error()));
  w.ok(mill_exec_create(w.context(), device, stream.get(), measured.out(), w.error()));
  w.ok(mill_event_create(stream.get(), from.out(), w.error()));
  w.ok(mill_event_create(stream.get(), to.out(), w.error()));
  const Tensor x = on_device(n / 4);
  w.ok(mill_exec_wait(e, w.error()));
  const std::vector<float> values(n / 4, 2.0f);
  w.ok(mill_event_record(from.get(), stream.get(), w.error()));
  w.ok(mill_tensor_write(measured.get(), x.get(), values.data(), n, w.error()));
  w.ok(mill_event_record(to.get(), stream.get(), w.error()));
  double ns = 0;
  EXPECT_EQ(mill_event_wait(to.get(), UINT64_MAX, w.error()), MILL_OK);
  w.ok(mill_event_elapsed(from.get(), to.get(), &ns, w.error()));
  EXPECT_EQ(ns, static_cast<double>(link.copy + link.up + moving(n, link.ordinary) + link.record));
}

// One direction alone, then both at what the link gives each, then the longer one alone again.
TEST_P(ClosedForm, CopiesInBothDirectionsShareTheLink) {
  constexpr int64_t m = 4'300'800, n = 11'120'000;
  const Tensor y = on_device(m / 4);
  const Loader loader = rows_of(n);
  // Memory that is there already costs no calls.
  (void)next(loader);
  read_later(y);
  w.ok(mill_exec_wait(e, w.error()));
  reads.clear();
  start();
  const Tensor batch = next(loader);
  read_later(y);
  w.ok(mill_exec_wait(e, w.error()));
  w.ok(mill_device_charge(w.context(), device, 1'000'000'000, w.error()));
  std::vector<uint8_t> back(n);
  w.ok(mill_tensor_read(e, batch.get(), back.data(), n, w.error()));
  const Lines lines = drain(w, device);
  // The copy up, the copy that keeps y's values of that moment, the copy down, and what was read.
  ASSERT_EQ(lines.size(), 4u);
  const Line &up = lines[0], &down = lines[2];
  ASSERT_EQ(up.record.copy_kind, 1u);
  ASSERT_EQ(lines[1].record.kind, static_cast<uint32_t>(MILL_TIMELINE_KERNEL));
  ASSERT_EQ(down.record.copy_kind, 2u);
  EXPECT_EQ(up.record.bytes, static_cast<uint64_t>(n));
  EXPECT_EQ(down.record.bytes, static_cast<uint64_t>(m));
  EXPECT_EQ(lines[1].record.bytes, static_cast<uint64_t>(2 * m));

  const double alone = static_cast<double>(down.record.start_ns - up.record.start_ns);
  const double full = static_cast<double>(link.pinned) / 1000;
  const double shared = static_cast<double>(link.duplex) / 1000;
  const double both = static_cast<double>(m) / shared;
  const double rest = (static_cast<double>(n) - alone * full - both * shared) / full;
  ASSERT_GT(alone, 0);
  ASSERT_GT(rest, 0);
  const auto latency = static_cast<double>(link.pinned_latency);
  EXPECT_NEAR(static_cast<double>(down.duration()), latency + both, 1.0);
  EXPECT_NEAR(static_cast<double>(up.duration()), latency + alone + both + rest, 2.0);
  EXPECT_LT(down.record.end_ns, up.record.end_ns);
}

INSTANTIATE_TEST_SUITE_P(, ClosedForm, testing::Values(kH200, kIdeal, kHalf), [](const auto& it) {
  return it.index == 0 ? "H200" : it.index == 1 ? "Ideal" : "IdealHalfDuplex";
});

}  // namespace
}  // namespace mill_test
