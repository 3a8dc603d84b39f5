// Loaders with several threads and augment functions, on the host and on a simulated device.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "conformance/api.h"

namespace mill_test {
namespace {

constexpr int64_t kRows = 60;
constexpr int64_t kWidth = 6;
constexpr mill_status kRefused = MILL_E_USER - 7;

// The formula in data.h, written once more.
uint64_t splitmix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
uint64_t key_of(uint64_t seed, uint64_t epoch, int64_t row) {
  return splitmix(splitmix(splitmix(seed) + epoch) + static_cast<uint64_t>(row));
}

uint8_t pixel_of(int64_t row, int64_t at) {
  return static_cast<uint8_t>(row * 31 + at * 7);
}

struct Batch {
  bool end = false;
  std::vector<int64_t> indices;
  std::vector<float> pixels;
  std::vector<int64_t> labels;
  bool operator==(const Batch&) const = default;
};

struct Augment {
  mill_augment fn = nullptr;
  void* user = nullptr;
};

// A context with an exec on the CPU and one on a simulated device, and a dataset of two columns.
class Site {
 public:
  explicit Site(const char* spec = "sim:ideal,memory=67108864") {
    w_.ok(mill_device_open(w_.context(), spec, MILL_NTS, &device_, err()));
    w_.ok(mill_exec_create(w_.context(), device_, nullptr, there_.out(), err()));
    std::vector<uint8_t> pixels;
    std::vector<int64_t> labels;
    for (int64_t row = 0; row < kRows; ++row) {
      labels.push_back(row);
      for (int64_t at = 0; at < kWidth; ++at) pixels.push_back(pixel_of(row, at));
    }
    const int64_t dims[2] = {kRows, kWidth};
    w_.ok(mill_tensor_from_host(w_.exec(), MILL_U8, dims, 2, pixels.data(), pixels.size(),
                                pixels_.out(), err()));
    w_.ok(mill_tensor_from_host(w_.exec(), MILL_I64, dims, 1, labels.data(), labels.size() * 8,
                                labels_.out(), err()));
  }

  mill_context* context() const { return w_.context(); }
  mill_error* err() const { return w_.error(); }
  uint32_t device() const { return device_; }
  mill_exec* exec(uint32_t device) const { return device == 0 ? w_.exec() : there_.get(); }
  const World& world() const { return w_; }

  mill_loader_opts options(uint32_t device, uint32_t workers, uint32_t prefetch = 0,
                           uint64_t pinned = 0) const {
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.batch = 7;
    opts.seed = 5;
    opts.flags = MILL_LOADER_SHUFFLE;
    opts.device = device;
    opts.workers = workers;
    opts.prefetch = prefetch;
    opts.pinned_bytes = pinned;
    return opts;
  }
  Loader loader(const mill_loader_opts& opts, const Augment& augment = {}) {
    mill_tensor* columns[] = {pixels_.get(), labels_.get()};
    Loader made;
    w_.ok(mill_loader_create(context(), columns, 2, &opts, made.out(), err()));
    w_.ok(mill_loader_set_transform(made.get(), 0, MILL_F32, 0.5, 1, err()));
    if (augment.fn)
      w_.ok(mill_loader_set_augment(made.get(), augment.fn, augment.user, nullptr, err()));
    return made;
  }
  Batch next(mill_loader* loader, uint32_t device) {
    mill_tensor* out[2] = {};
    const mill_status status = mill_loader_next(loader, exec(device), out, 2, err());
    w_.ok(status);
    Batch batch;
    batch.end = status == MILL_END;
    if (batch.end) return batch;
    const Tensor pixels(out[0]);
    const Tensor labels(out[1]);
    batch.indices.resize(7);
    uint64_t n = 0;
    w_.ok(mill_loader_indices(loader, batch.indices.data(), 7, &n, err()));
    batch.indices.resize(n);
    batch.pixels.resize(n * kWidth);
    batch.labels.resize(n);
    w_.ok(mill_tensor_read(exec(device), out[0], batch.pixels.data(), n * kWidth * 4, err()));
    w_.ok(mill_tensor_read(exec(device), out[1], batch.labels.data(), n * 8, err()));
    return batch;
  }
  std::vector<Batch> take(const mill_loader_opts& opts, int steps, const Augment& augment = {}) {
    const Loader made = loader(opts, augment);
    std::vector<Batch> all;
    for (int k = 0; k < steps; ++k) all.push_back(next(made.get(), opts.device));
    return all;
  }
  int64_t now() const {
    int64_t ns = 0;
    w_.ok(mill_device_now(context(), device_, &ns, err()));
    return ns;
  }

 private:
  World w_;
  uint32_t device_ = 0;
  mill_test::Exec there_;
  Tensor pixels_, labels_;
};

std::multiset<std::string> worker_names() {
  std::multiset<std::string> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name.rfind("mill-loader", 0) == 0) found.insert(name);
  }
  return found;
}

// The same once there are `count`, or after five seconds: a thread is listed for a while after it
// was joined, and has its name a while after it was started.
std::multiset<std::string> worker_names(size_t count) {
  std::multiset<std::string> found = worker_names();
  for (int i = 0; i < 5000 && found.size() != count; ++i) {
    ::usleep(1000);
    found = worker_names();
  }
  return found;
}

TEST(LoaderWorkers, DeliverTheSameBatchesOnTheHostAndOnADevice) {
  Site site;
  const std::vector<Batch> expected = site.take(site.options(0, 1), 25);
  EXPECT_TRUE(expected[9].end);
  for (const uint32_t device : {0u, site.device()}) {
    for (const uint32_t workers : {1u, 2u, 3u, 4u}) {
      for (const uint32_t prefetch : {0u, 4u}) {
        // A row of pixels is 6 bytes, one of labels 8: pieces of one row, of some, whole batches.
        for (const uint64_t pinned : {uint64_t{60}, uint64_t{300}, uint64_t{0}}) {
          EXPECT_EQ(site.take(site.options(device, workers, prefetch, pinned), 25), expected)
              << device << " " << workers << " " << prefetch << " " << pinned;
        }
      }
    }
  }
}

TEST(LoaderWorkers, ChangeTheirNumberAndDepthWithoutChangingABatch) {
  Site site;
  const std::vector<Batch> expected = site.take(site.options(0, 1), 40);
  struct Depth {
    uint32_t prefetch;
    uint32_t workers;
  };
  const Depth depths[] = {{0, 1}, {3, 2}, {1, 1}, {4, 4}, {0, 0}, {2, 0}};
  for (const uint32_t device : {0u, site.device()}) {
    const Loader loader = site.loader(site.options(device, 2, 3));
    for (size_t k = 0; k < expected.size(); ++k) {
      // Also before the first batch, and where an epoch ends.
      const Depth& depth = depths[k % std::size(depths)];
      if (k % 3 == 0 || expected[k].end) {
        ASSERT_EQ(mill_loader_set_prefetch(loader.get(), depth.prefetch, depth.workers, site.err()),
                  MILL_OK)
            << mill_error_message(site.err());
      }
      EXPECT_EQ(site.next(loader.get(), device), expected[k]) << device << " " << k;
      if (k % 3 == 0 && !expected[k].end) {  // threads start with a batch
        const size_t threads = depth.prefetch == 0 ? 0 : std::max(depth.workers, 1u);
        EXPECT_EQ(worker_names(threads).size(), threads) << device << " " << k;
      }
    }
  }
}

TEST(LoaderWorkers, RefuseDepthsOutOfRangeAndStayAsTheyWere) {
  Site site;
  const std::vector<Batch> expected = site.take(site.options(0, 2), 3);
  const Loader loader = site.loader(site.options(0, 2));
  EXPECT_EQ(site.next(loader.get(), 0), expected[0]);
  EXPECT_EQ(mill_loader_set_prefetch(loader.get(), 65, 1, site.err()), MILL_E_ARG);
  EXPECT_NE(std::string(mill_error_message(site.err())).find("prefetch is 65"), std::string::npos);
  EXPECT_EQ(mill_loader_set_prefetch(loader.get(), 1, 65, site.err()), MILL_E_ARG);
  EXPECT_NE(std::string(mill_error_message(site.err())).find("workers is 65"), std::string::npos);
  EXPECT_EQ(worker_names(2).size(), 2u);
  // What may be set before the first batch only stays so.
  EXPECT_EQ(mill_loader_set_prefetch(loader.get(), 1, 1, site.err()), MILL_OK);
  EXPECT_EQ(mill_loader_set_transform(loader.get(), 0, MILL_F32, 1, 0, site.err()), MILL_E_STATE);
  EXPECT_EQ(site.next(loader.get(), 0), expected[1]);
  EXPECT_EQ(site.next(loader.get(), 0), expected[2]);
}

TEST(LoaderWorkers, AreAsManyAsAskedForAndAsTheirPrefetchAllows) {
  Site site;
  using Names = std::multiset<std::string>;
  const auto expect = [&](uint32_t workers, uint32_t prefetch, const Names& names) {
    EXPECT_EQ(worker_names(0), Names{});  // those of the loader before have ended
    const Loader loader = site.loader(site.options(0, workers, prefetch));
    site.next(loader.get(), 0);
    EXPECT_EQ(worker_names(names.size()), names) << workers << " " << prefetch;
  };
  expect(0, 0, {"mill-loader"});
  expect(3, 0, {"mill-loader-0", "mill-loader-1", "mill-loader-2"});
  expect(5, 2, {"mill-loader-0", "mill-loader-1"});
}

TEST(LoaderWorkers, AreBoundedByTheHeader) {
  Site site;
  mill_loader_opts opts = site.options(0, 65);
  mill_tensor* columns[1] = {};
  const int64_t dims[1] = {3};
  Tensor column;
  site.world().ok(mill_fill(site.exec(0), dims, 1, MILL_F32, 0, column.out(), site.err()));
  columns[0] = column.get();
  mill_loader* out = nullptr;
  EXPECT_EQ(mill_loader_create(site.context(), columns, 1, &opts, &out, site.err()), MILL_E_ARG);
  EXPECT_NE(site.world().message().find("workers is 65, it must be at most 64"), std::string::npos)
      << site.world().message();
  opts.workers = 1;
  opts.reserved = 1;
  EXPECT_EQ(mill_loader_create(site.context(), columns, 1, &opts, &out, site.err()), MILL_E_ARG);
  EXPECT_EQ(out, nullptr);
}

TEST(LoaderWorkers, DeliverColumnsWhoseRowsAreEmpty) {
  World w;
  const int64_t dims[2] = {9, 0};
  Tensor empty, full;
  const std::vector<float> values(9, 1);
  w.ok(mill_tensor_create(w.exec(), MILL_F32, dims, 2, empty.out(), w.error()));
  w.ok(
      mill_tensor_from_host(w.exec(), MILL_F32, dims, 1, values.data(), 36, full.out(), w.error()));
  for (const uint64_t flags : {uint64_t{0}, uint64_t{MILL_LOADER_INLINE}}) {
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.batch = 2;
    opts.flags = flags;
    mill_tensor* columns[2] = {empty.get(), full.get()};
    Loader loader;
    w.ok(mill_loader_create(w.context(), columns, 2, &opts, loader.out(), w.error()));
    for (int k = 0; k < 5; ++k) {
      mill_tensor* batch[2] = {};
      w.ok(mill_loader_next(loader.get(), w.exec(), batch, 2, w.error()));
      EXPECT_EQ(mill_tensor_dim(batch[0], 0), k < 4 ? 2 : 1);
      EXPECT_EQ(mill_tensor_dim(batch[0], 1), 0);
      EXPECT_EQ(mill_tensor_count(batch[1]), k < 4 ? 2 : 1);
      mill_tensor_release(batch[0]);
      mill_tensor_release(batch[1]);
    }
  }
}

TEST(LoaderWorkers, StopInTheMiddleAndLeaveNothingOnTheDevice) {
  Site site;
  std::mt19937 numbers(3);
  const auto random = [&](uint32_t below) { return static_cast<uint32_t>(numbers() % below); };
  for (int round = 0; round < 60; ++round) {
    const uint32_t device = round % 4 == 0 ? 0 : site.device();
    const Loader loader =
        site.loader(site.options(device, 1 + random(4), 1 + random(5), random(2) * 100));
    for (uint32_t k = random(15); k > 0; --k) {
      mill_tensor* out[2] = {};
      site.world().ok(mill_loader_next(loader.get(), site.exec(device), out, 2, site.err()));
      mill_tensor_release(out[0]);
      mill_tensor_release(out[1]);
      if (random(6) == 0) site.world().ok(mill_loader_rewind(loader.get(), site.err()));
    }
  }
  mill_memory_stats stats{};
  stats.size = sizeof stats;
  stats.type = MILL_STRUCT_MEMORY_STATS;
  site.world().ok(mill_memory_stats_query(site.context(), site.device(), &stats, site.err()));
  EXPECT_EQ(stats.in_use_bytes, 0u);
}

TEST(LoaderWorkers, FollowJumpsOnADevice) {
  Site site;
  for (const uint32_t workers : {1u, 2u, 4u}) {
    const Loader reference = site.loader(site.options(0, 1));
    const Loader loader = site.loader(site.options(site.device(), workers, 5, 100));
    std::mt19937 random(workers);
    for (int step = 0; step < 150; ++step) {
      if (random() % 4 == 0) {
        const uint64_t epoch = random() % 3;
        const auto batch = static_cast<int64_t>(random() % 10);
        for (mill_loader* one : {reference.get(), loader.get()})
          site.world().ok(mill_loader_set_position(one, 9, epoch, batch, site.err()));
      } else if (random() % 8 == 0) {
        for (mill_loader* one : {reference.get(), loader.get()})
          site.world().ok(mill_loader_rewind(one, site.err()));
      }
      ASSERT_EQ(site.next(loader.get(), site.device()), site.next(reference.get(), 0)) << step;
    }
  }
}

// ---- modelled time

struct Charging {
  mill_context* context;
  uint32_t device;
  int64_t ns;
};

mill_status charge(void* user, const mill_augment_args* args, mill_error* err) {
  const auto& how = *static_cast<Charging*>(user);
  if (args->column != 0) return MILL_OK;
  // Not the same for all batches, so that the threads do not stay in step.
  return mill_device_charge(how.context, how.device,
                            how.ns * args->rows * (1 + args->batch % 3) / 14, err);
}

// What the device did in a program with a loader, and the program's time at its end.
std::vector<char> timeline(const char* spec, uint32_t workers) {
  Site site(spec);
  Charging charging{site.context(), site.device(), 20'000};
  const World& w = site.world();
  w.ok(mill_device_timeline(site.context(), site.device(), 1, site.err()));
  mill_loader_opts opts = site.options(site.device(), workers, 6, 500);
  {
    const Loader loader = site.loader(opts, {charge, &charging});
    for (int step = 0; step < 45; ++step) {
      mill_tensor* out[2] = {};
      const mill_status status =
          mill_loader_next(loader.get(), site.exec(site.device()), out, 2, site.err());
      w.ok(status);
      const Tensor pixels(out[0]);
      const Tensor labels(out[1]);
      if (status == MILL_END) continue;
      Tensor squares;
      w.ok(mill_mul(site.exec(site.device()), out[0], out[0], squares.out(), site.err()));
      if (step == 11) w.ok(mill_loader_rewind(loader.get(), site.err()));
      if (step == 23) w.ok(mill_loader_set_position(loader.get(), 8, 3, 4, site.err()));
      if (step % 10 == 7) w.ok(mill_exec_wait(site.exec(site.device()), site.err()));
    }
  }
  w.ok(mill_exec_wait(site.exec(site.device()), site.err()));
  std::vector<mill_timeline_record> records(20000);
  uint64_t n = 0;
  uint64_t lost = 0;
  w.ok(mill_device_drain(site.context(), site.device(), records.data(), records.size(), &n, &lost,
                         site.err()));
  EXPECT_GT(n, 100u);
  EXPECT_EQ(lost, 0u);
  std::vector<char> bytes;
  const auto add = [&](const void* from, size_t size) {
    const char* const begin = static_cast<const char*>(from);
    bytes.insert(bytes.end(), begin, begin + size);
  };
  for (uint64_t k = 0; k < n; ++k) {
    if (records[k].name) add(records[k].name, std::strlen(records[k].name));
    records[k].name = nullptr;
    add(&records[k], sizeof records[k]);
  }
  const int64_t end = site.now();
  add(&end, sizeof end);
  return bytes;
}

TEST(LoaderWorkers, GiveTheSameTimelineInEveryRun) {
  for (const char* spec : {"sim:ideal,memory=67108864", "sim:h200-sxm"}) {
    for (const uint32_t workers : {1u, 2u, 4u}) {
      const std::vector<char> first = timeline(spec, workers);
      for (int again = 0; again < 3; ++again)
        EXPECT_EQ(timeline(spec, workers), first) << spec << " " << workers;
    }
  }
}

TEST(LoaderWorkers, GatherFasterTheMoreThereAreInModelledTime) {
  const auto time_with = [](uint32_t workers) {
    Site site("sim:h200-sxm");
    Charging charging{site.context(), site.device(), 1'000'000};
    const Loader loader = site.loader(site.options(site.device(), workers, 8), {charge, &charging});
    const int64_t before = site.now();
    for (int step = 0; step < 90; ++step) site.next(loader.get(), site.device());
    return static_cast<double>(site.now() - before);
  };
  const double one = time_with(1);
  EXPECT_LT(time_with(2), 0.6 * one);
  EXPECT_LT(time_with(4), 0.35 * one);
}

// ---- augment

struct Mixed {
  std::mutex mutex;
  std::set<mill_dtype> dtypes;
  std::set<int64_t> pieces;
};

// Pixels get the low byte of their row's key; whoever sees them as f32 computes with what was u8.
mill_status mix_pixels(void* user, const mill_augment_args* args, mill_error*) {
  if (args->column != 0) return MILL_OK;
  auto& seen = *static_cast<Mixed*>(user);
  for (int64_t i = 0; i < args->rows; ++i) {
    const auto mask = static_cast<uint8_t>(args->keys[i]);
    for (int64_t at = 0; at < kWidth; ++at) {
      const int64_t where = i * kWidth + at;
      if (args->dtype == MILL_U8) {
        auto* pixels = static_cast<uint8_t*>(args->data);
        pixels[where] = static_cast<uint8_t>(pixels[where] ^ mask);
      } else {
        auto* pixels = static_cast<float*>(args->data);
        const auto was = static_cast<uint8_t>((pixels[where] - 1) * 2);
        pixels[where] = 0.5f * static_cast<float>(was ^ mask) + 1;
      }
    }
  }
  const std::lock_guard<std::mutex> lock(seen.mutex);
  seen.dtypes.insert(args->dtype);
  seen.pieces.insert(args->rows);
  return MILL_OK;
}

TEST(LoaderAugment, ChangesRowsByTheirKeysWhereverTheyGo) {
  Site site;
  std::vector<Batch> expected = site.take(site.options(0, 1), 25);
  uint64_t epoch = 0;
  for (Batch& batch : expected) {
    for (size_t i = 0; i < batch.indices.size(); ++i) {
      const int64_t row = batch.indices[i];
      const auto mask = static_cast<uint8_t>(key_of(5, epoch, row));
      for (int64_t at = 0; at < kWidth; ++at) {
        batch.pixels[i * kWidth + static_cast<size_t>(at)] =
            0.5f * static_cast<float>(pixel_of(row, at) ^ mask) + 1;
      }
    }
    if (batch.end) ++epoch;
  }
  for (const uint32_t device : {0u, site.device()}) {
    for (const uint32_t workers : {1u, 2u, 4u}) {
      for (const uint64_t pinned : {uint64_t{200}, uint64_t{0}}) {
        Mixed seen;
        EXPECT_EQ(site.take(site.options(device, workers, 4, pinned), 25, {mix_pixels, &seen}),
                  expected)
            << device << " " << workers << " " << pinned;
        EXPECT_EQ(seen.dtypes, (std::set<mill_dtype>{device == 0 ? MILL_F32 : MILL_U8}));
        const bool pieces = device != 0 && pinned != 0;
        EXPECT_EQ(*seen.pieces.rbegin() < 7, pieces);
      }
    }
  }
}

TEST(LoaderAugment, IsTheSameWhenAnEpochIsContinued) {
  Site site;
  Mixed seen;
  const std::vector<Batch> expected = site.take(site.options(0, 1), 9, {mix_pixels, &seen});
  for (const uint32_t device : {0u, site.device()}) {
    const Loader loader = site.loader(site.options(device, 3), {mix_pixels, &seen});
    site.world().ok(mill_loader_set_position(loader.get(), 5, 0, 4, site.err()));
    for (size_t k = 4; k < 9; ++k) EXPECT_EQ(site.next(loader.get(), device), expected[k]);
  }
}

struct Refusing {
  int64_t batch;
  std::atomic<int> left;
};

mill_status refuse(void* user, const mill_augment_args* args, mill_error* err) {
  auto& how = *static_cast<Refusing*>(user);
  if (args->column != 1 || args->epoch != 0 || args->batch != how.batch || args->first != 0)
    return MILL_OK;
  if (how.left.fetch_sub(1) <= 0) return MILL_OK;
  mill_error_set(err, kRefused, "too dark");
  return kRefused;
}

TEST(LoaderAugment, AFailureIsToldInPlaceAndTheBatchIsMadeAgain) {
  Site site;
  const std::vector<Batch> expected = site.take(site.options(0, 1), 12);
  for (const uint32_t device : {0u, site.device()}) {
    for (const uint64_t flags : {uint64_t{0}, uint64_t{MILL_LOADER_INLINE}}) {
      for (const uint32_t workers : {1u, 3u}) {
        Refusing how{2, 1};
        mill_loader_opts opts = site.options(device, workers, 4);
        opts.flags |= flags;
        const Loader loader = site.loader(opts, {refuse, &how});
        for (size_t k = 0; k < 12; ++k) {
          if (k == 2) {
            mill_tensor* out[2] = {};
            EXPECT_EQ(mill_loader_next(loader.get(), site.exec(device), out, 2, site.err()),
                      kRefused);
            EXPECT_EQ(out[0], nullptr);
            EXPECT_EQ(out[1], nullptr);
            for (const char* word : {"column 1", "rows 0 to 6 of batch 2", "epoch 0", "too dark"})
              EXPECT_NE(site.world().message().find(word), std::string::npos)
                  << site.world().message();
            int64_t at = 0;
            site.world().ok(
                mill_loader_get_position(loader.get(), nullptr, nullptr, &at, site.err()));
            EXPECT_EQ(at, 2);
          }
          ASSERT_EQ(site.next(loader.get(), device), expected[k]) << device << " " << k;
        }
      }
    }
  }
}

struct Calling {
  mill_loader* loader = nullptr;
  std::atomic<int> calls = 0;
  std::atomic<int> accepted = 0;
  std::atomic<bool> release = false;
};

mill_status call_the_loader(void* user, const mill_augment_args*, mill_error* err) {
  auto& how = *static_cast<Calling*>(user);
  mill_tensor* out[2] = {};
  int64_t n = 0;
  uint64_t count = 0;
  const mill_status answers[] = {
      mill_loader_next(how.loader, nullptr, out, 2, err),
      mill_loader_rewind(how.loader, err),
      mill_loader_batches(how.loader, &n, err),
      mill_loader_indices(how.loader, nullptr, 0, &count, err),
      mill_loader_set_position(how.loader, 0, 0, 0, err),
      mill_loader_set_augment(how.loader, nullptr, nullptr, nullptr, err)};
  // The loader may be ending while a worker is in here.
  for (const mill_status answer : answers)
    how.accepted += answer == MILL_E_BUSY || answer == MILL_E_BAD_HANDLE ? 0 : 1;
  ++how.calls;
  if (how.release.exchange(false)) mill_loader_release(how.loader);
  return MILL_OK;
}

TEST(LoaderAugment, MayNotUseItsLoader) {
  Site site;
  for (const uint64_t flags : {uint64_t{0}, uint64_t{MILL_LOADER_INLINE}}) {
    for (const bool release : {false, true}) {
      Calling how;
      how.release = release;
      mill_loader_opts opts = site.options(0, 2);
      opts.flags |= flags;
      const Loader loader = site.loader(opts, {call_the_loader, &how});
      how.loader = loader.get();
      for (int step = 0; step < 200; ++step) {
        mill_tensor* out[2] = {};
        // A worker that tries is no reason to refuse the program.
        ASSERT_GE(mill_loader_next(loader.get(), site.exec(0), out, 2, site.err()), 0);
        mill_tensor_release(out[0]);
        mill_tensor_release(out[1]);
      }
      EXPECT_GT(how.calls, 0);
      EXPECT_EQ(how.accepted, 0);
    }
  }
}

mill_status nothing(void*, const mill_augment_args*, mill_error*) {
  return MILL_OK;
}
void count_one(void* user) {
  ++*static_cast<int*>(user);
}

TEST(LoaderAugment, IsDestroyedOnce) {
  Site site;
  int first = 0, second = 0, third = 0, late = 0;
  Loader loader = site.loader(site.options(0, 2));
  const auto set = [&](mill_augment fn, int& ended) {
    return mill_loader_set_augment(loader.get(), fn, &ended, count_one, site.err());
  };
  EXPECT_EQ(set(nothing, first), MILL_OK);
  EXPECT_EQ(first, 0);
  EXPECT_EQ(set(nothing, second), MILL_OK);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(mill_loader_set_augment(loader.get(), nullptr, nullptr, nullptr, site.err()), MILL_OK);
  EXPECT_EQ(second, 1);
  EXPECT_EQ(set(nothing, third), MILL_OK);
  site.next(loader.get(), 0);
  EXPECT_EQ(set(nothing, late), MILL_E_STATE);
  EXPECT_EQ(late, 1);
  EXPECT_EQ(mill_loader_set_augment(nullptr, nothing, &late, count_one, site.err()), MILL_E_ARG);
  EXPECT_EQ(late, 2);
  EXPECT_EQ(third, 0);
  loader.reset();
  EXPECT_EQ(third, 1);
  EXPECT_EQ(second, 1);
  EXPECT_EQ(first, 1);
}

}  // namespace
}  // namespace mill_test
