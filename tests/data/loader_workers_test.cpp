// Several workers: the same batches as one, whatever happens meanwhile; and what an augment does.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "data/loader.h"
#include "data/order.h"

namespace {
// Which of this thread's next thread creations is refused; 0 = none.
thread_local int refused_creation = 0;
}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*entry)(void*), void* argument) noexcept {
  if (refused_creation > 0 && --refused_creation == 0) return EAGAIN;
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, entry, argument);
}

namespace mill {
namespace {

// Rows of three bytes, and a label that equals the row.
struct Dataset {
  explicit Dataset(int64_t rows)
      : pixels(static_cast<size_t>(3 * rows)), labels(static_cast<size_t>(rows)) {
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 13);
    std::iota(labels.begin(), labels.end(), 0);
    columns[0].base = pixels.data();
    columns[0].dtype = MILL_U8;
    columns[0].row_stride = 3;
    columns[0].rank = 1;
    columns[0].dims[0] = 3;
    columns[0].strides[0] = 1;
    columns[1].base = labels.data();
    columns[1].dtype = MILL_I64;
    columns[1].row_stride = 1;
    for (LoaderColumn& column : columns) column.rows = rows;
  }

  std::vector<uint8_t> pixels;
  std::vector<int64_t> labels;
  LoaderColumn columns[2];
};

LoaderOptions options_of(int64_t batch, uint32_t prefetch, uint32_t workers, bool shuffle = true,
                         bool drop_last = false) {
  LoaderOptions options;
  options.seed = 21;
  options.batch = batch;
  options.shuffle = shuffle;
  options.drop_last = drop_last;
  options.prefetch = prefetch;
  options.workers = workers;
  return options;
}

std::unique_ptr<BatchLoader> loader_of(const Dataset& data, const LoaderOptions& options,
                                       LoaderAugment* augment = nullptr) {
  auto loader = std::make_unique<BatchLoader>(data.columns, 2, 0, options);
  loader->set_transform(0, {MILL_F32, 1 / 255.0, 0});
  loader->set_augment(augment);
  return loader;
}

struct Seen {
  bool end = false;
  mill_status failed = MILL_OK;
  uint64_t epoch = 0;
  int64_t batch = 0;
  std::vector<int64_t> indices;
  std::vector<float> pixels;
  std::vector<int64_t> labels;
  bool operator==(const Seen&) const = default;
};

Seen take(BatchLoader& loader) {
  Seen seen;
  LoaderBatch batch;
  try {
    if (!loader.next(batch)) {
      seen.end = true;
      return seen;
    }
  } catch (const Error& error) {
    seen.failed = error.status();
    return seen;
  }
  const auto* pixels = static_cast<const float*>(batch.columns[0]);
  const auto* labels = static_cast<const int64_t*>(batch.columns[1]);
  seen.epoch = batch.epoch;
  seen.batch = batch.batch;
  seen.indices.assign(batch.indices, batch.indices + batch.rows);
  seen.pixels.assign(pixels, pixels + 3 * batch.rows);
  seen.labels.assign(labels, labels + batch.rows);
  return seen;
}

std::vector<std::filesystem::path> worker_folders() {
  std::vector<std::filesystem::path> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name.rfind("mill-loader", 0) == 0) found.push_back(task.path());
  }
  return found;
}

// A thread that was joined may be listed a moment longer.
bool has_no_worker() {
  for (int i = 0; i < 5000 && !worker_folders().empty(); ++i) ::usleep(1000);
  return worker_folders().empty();
}

// Adds each row's key to its label.
class AddKeys : public LoaderAugment {
 public:
  void run(const mill_augment_args& args) override {
    if (args.column != 1) return;
    auto* labels = static_cast<int64_t*>(args.data);
    for (int64_t i = 0; i < args.rows; ++i) labels[i] ^= static_cast<int64_t>(args.keys[i]);
  }
};

struct Shape {
  int64_t rows;
  int64_t batch;
  bool shuffle;
  bool drop_last;
};

// The last has an epoch of one batch: each worker is in another epoch.
const Shape kShapes[] = {{57, 8, true, false},  {57, 8, true, true}, {57, 8, false, false},
                         {64, 16, true, false}, {9, 5, true, false}, {7, 30, true, false}};

TEST(LoaderWorkers, GiveTheSameBatchesForAnyNumberAndDepth) {
  for (const Shape& shape : kShapes) {
    const Dataset data(shape.rows);
    AddKeys augment;
    for (LoaderAugment* const how :
         {static_cast<LoaderAugment*>(nullptr), static_cast<LoaderAugment*>(&augment)}) {
      std::vector<Seen> expected;
      const auto reference =
          loader_of(data, options_of(shape.batch, 0, 1, shape.shuffle, shape.drop_last), how);
      for (int step = 0; step < 40; ++step) expected.push_back(take(*reference));
      for (const uint32_t workers : {1u, 2u, 3u, 8u}) {
        for (const uint32_t prefetch : {1u, 2u, 3u, 4u, 9u}) {
          const auto loader = loader_of(
              data, options_of(shape.batch, prefetch, workers, shape.shuffle, shape.drop_last),
              how);
          EXPECT_EQ(loader->workers(), std::min(workers, prefetch));
          for (size_t step = 0; step < expected.size(); ++step)
            ASSERT_EQ(take(*loader), expected[step]) << workers << " " << prefetch << " " << step;
        }
      }
    }
  }
}

TEST(LoaderWorkers, TakeTurns) {
  const Dataset data(200);
  const auto loader = loader_of(data, options_of(4, 6, 3));
  std::vector<uint32_t> threads;
  LoaderBatch batch;
  for (int step = 0; step < 50; ++step) {
    ASSERT_TRUE(loader->next(batch));
    threads.push_back(batch.gather_thread);
  }
  EXPECT_EQ(std::set<uint32_t>(threads.begin(), threads.end()).size(), 3u);
  for (size_t step = 3; step < threads.size(); ++step) EXPECT_EQ(threads[step], threads[step - 3]);
}

TEST(LoaderWorkers, FollowJumpsAtAnyMoment) {
  for (const uint32_t workers : {1u, 2u, 3u, 8u}) {
    for (const uint32_t prefetch : {1u, 3u, 8u}) {
      const Dataset data(40);
      const auto loader = loader_of(data, options_of(3, prefetch, workers));
      const auto reference = loader_of(data, options_of(3, 0, 1));
      std::mt19937 random(workers * 100 + prefetch);
      for (int step = 0; step < 1000; ++step) {
        if (random() % 4 == 0) {
          const LoaderPosition position{random() % 3, random() % 5,
                                        static_cast<int64_t>(random() % 15)};
          loader->set_position(position);
          reference->set_position(position);
        } else if (random() % 8 == 0) {
          loader->rewind();
          reference->rewind();
        } else if (random() % 3 == 0) {
          loader->release_batch();
        }
        if (random() % 16 == 0) std::this_thread::yield();
        ASSERT_EQ(take(*loader), take(*reference)) << workers << " " << prefetch << " " << step;
      }
    }
  }
}

TEST(LoaderWorkers, LeaveTheHeldBatchAlone) {
  const Dataset data(1000);
  const auto loader = loader_of(data, options_of(1, 4, 4));
  LoaderBatch batch;
  for (int step = 0; step < 300; ++step) {
    ASSERT_TRUE(loader->next(batch));
    for (int i = 0; i < 20; ++i) {
      ASSERT_EQ(*static_cast<const int64_t*>(batch.columns[1]), batch.indices[0]);
      std::this_thread::yield();
    }
  }
}

TEST(LoaderWorkers, StopAtAnyMoment) {
  const Dataset data(64);
  std::mt19937 numbers(5);
  const auto random = [&] { return static_cast<uint32_t>(numbers()); };
  for (int round = 0; round < 150; ++round) {
    const auto loader = loader_of(data, options_of(8, 1 + random() % 8, 1 + random() % 8));
    for (uint32_t i = random() % 20; i > 0; --i) take(*loader);
    if (random() % 3 == 0) loader->rewind();
    if (random() % 3 == 0) loader->release_batch();
    for (uint32_t i = random() % 3; i > 0; --i) std::this_thread::yield();
  }
  EXPECT_TRUE(has_no_worker());
}

TEST(LoaderWorkers, StopDuringALongShuffle) {
  BatchLoader loader(nullptr, 0, 2'000'000, options_of(1'000'000, 4, 4));
  LoaderBatch batch;
  ASSERT_TRUE(loader.next(batch));
}

TEST(LoaderWorkers, AreNumberedAndBlockSignals) {
  const Dataset data(10);
  const auto loader = loader_of(data, options_of(4, 3, 3));
  EXPECT_TRUE(has_no_worker());
  take(*loader);
  std::set<std::string> names;
  for (const std::filesystem::path& folder : worker_folders()) {
    std::string line;
    std::getline(std::ifstream(folder / "comm"), line);
    names.insert(line);
    std::ifstream status(folder / "status");
    while (std::getline(status, line) && line.rfind("SigBlk:", 0) != 0) {
    }
    ASSERT_FALSE(line.empty());
    const uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
    for (const int signal : {SIGINT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1, SIGPROF})
      EXPECT_TRUE((blocked >> (signal - 1)) & 1u) << signal;
  }
  EXPECT_EQ(names, (std::set<std::string>{"mill-loader-0", "mill-loader-1", "mill-loader-2"}));
}

// Counts what a stage is told of the workers.
class CountingStage : public LoaderStage {
 public:
  void begin(uint32_t, int64_t) override {}
  int64_t rows_at_once(uint32_t) const override { return 2; }
  void* acquire(uint32_t, uint32_t, int64_t, int64_t) override { return memory_; }
  void commit(uint32_t, uint32_t, int64_t, int64_t) override {}
  void worker_announced(uint32_t) override { ++announced; }
  void worker_begins(uint32_t) override { ++began; }

  std::atomic<int> announced = 0;
  std::atomic<int> began = 0;

 private:
  char memory_[256];
};

TEST(LoaderWorkers, AllStartOrNone) {
  const Dataset data(10);
  for (int k = 1; k <= 3; ++k) {
    CountingStage stage;
    const auto loader = loader_of(data, options_of(4, 3, 3));
    loader->set_stage(&stage);
    refused_creation = k;
    LoaderBatch batch;
    try {
      loader->next(batch);
      ADD_FAILURE() << "creation " << k << " was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), MILL_E_MEMORY);
      EXPECT_EQ(error.native_code(), EAGAIN);
      EXPECT_NE(std::string(error.text()).find("3 worker threads"), std::string::npos);
    }
    EXPECT_EQ(stage.announced, 0) << "a thread that never comes would be waited for";
    EXPECT_EQ(stage.began, 0);
    EXPECT_TRUE(has_no_worker());
    loader->set_stage(nullptr);
    EXPECT_EQ(take(*loader).indices, take(*loader_of(data, options_of(4, 0, 1))).indices);
  }
}

TEST(LoaderWorkers, AreNotWaitedForInAForkedChild) {
  const Dataset data(64);
  auto loader = loader_of(data, options_of(8, 4, 4));
  take(*loader);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int result = 1;
    LoaderBatch batch;
    try {
      loader->next(batch);
    } catch (const Error& error) {
      result = error.status() == MILL_E_FORKED ? 0 : 2;
    }
    loader.reset();
    ::_exit(result);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(take(*loader).end);
}

TEST(LoaderWorkers, AreBoundedWithBothValues) {
  const Dataset data(10);
  for (const uint32_t workers : {0u, 65u}) {
    try {
      loader_of(data, options_of(4, 2, workers));
      ADD_FAILURE() << workers << " workers were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), MILL_E_ARG);
      EXPECT_NE(std::string(error.text()).find(std::to_string(workers)), std::string::npos);
      EXPECT_NE(std::string(error.text()).find("64"), std::string::npos);
    }
  }
}

// ---- augment

// The documented formula, once more.
uint64_t splitmix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

TEST(LoaderAugment, ChangesRowsByKeysOfSeedEpochAndRow) {
  const Dataset data(30);
  AddKeys augment;
  for (const uint32_t workers : {1u, 4u}) {
    const auto loader = loader_of(data, options_of(4, 4, workers), &augment);
    loader->set_position({77, 2, 3});
    for (int step = 0; step < 20; ++step) {
      const Seen seen = take(*loader);
      for (size_t i = 0; i < seen.indices.size(); ++i) {
        const auto row = static_cast<uint64_t>(seen.indices[i]);
        const uint64_t key = splitmix(splitmix(splitmix(77) + seen.epoch) + row);
        EXPECT_EQ(static_cast<uint64_t>(seen.labels[i]), row ^ key);
      }
    }
  }
  // From the reference implementation of SplitMix64, with state 0.
  EXPECT_EQ(splitmix(0), 0xe220a8397b1dcdafu);
}

TEST(LoaderAugment, IsToldWhatItIsGiven) {
  struct Told : LoaderAugment {
    void run(const mill_augment_args& args) override {
      EXPECT_EQ(args.size, sizeof args);
      EXPECT_EQ(args.type, static_cast<uint32_t>(MILL_STRUCT_AUGMENT_ARGS));
      EXPECT_EQ(args.dtype, args.column == 0 ? MILL_F32 : MILL_I64);
      EXPECT_EQ(args.row_bytes, args.column == 0 ? 12u : 8u);
      EXPECT_EQ(args.first, 0);
      EXPECT_EQ(args.rows, args.batch == 2 ? 2 : 4);
      if (args.column == 1) {
        EXPECT_EQ(static_cast<const int64_t*>(args.data)[1], args.indices[1]);
      }
      const std::lock_guard lock(mutex);
      calls.insert({args.epoch, args.batch, args.column});
    }
    std::mutex mutex;
    std::set<std::tuple<uint64_t, int64_t, uint32_t>> calls;
  } told;
  const Dataset data(10);
  const auto loader = loader_of(data, options_of(4, 2, 2), &told);
  for (int step = 0; step < 8; ++step) take(*loader);
  const std::lock_guard lock(told.mutex);
  for (uint64_t epoch = 0; epoch < 2; ++epoch) {
    for (int64_t batch = 0; batch < 3; ++batch) {
      for (uint32_t column = 0; column < 2; ++column)
        EXPECT_EQ(told.calls.count({epoch, batch, column}), 1u);
    }
  }
}

// Fails the batches that are listed, once each.
class FailOnce : public LoaderAugment {
 public:
  explicit FailOnce(std::set<int64_t> batches) : batches_(std::move(batches)) {}
  void run(const mill_augment_args& args) override {
    if (args.column != 1 || args.epoch != 0) return;
    const std::lock_guard lock(mutex_);
    if (failing && batches_.count(args.batch) != 0) fail(-1234, "batch %d", int(args.batch));
  }
  std::atomic<bool> failing = true;

 private:
  std::mutex mutex_;
  std::set<int64_t> batches_;
};

TEST(LoaderAugment, AFailureIsAnsweredInPlaceAndTheBatchIsMadeAgain) {
  const Dataset data(40);
  for (const uint32_t prefetch : {0u, 1u, 4u}) {
    for (const uint32_t workers : {1u, 3u}) {
      FailOnce augment({0, 3, 4});
      const auto loader = loader_of(data, options_of(4, prefetch, workers), &augment);
      const auto reference = loader_of(data, options_of(4, 0, 1));
      for (int64_t batch = 0; batch < 10; ++batch) {
        if (batch == 0 || batch == 3 || batch == 4) {
          augment.failing = true;
          // Made anew, so that none from before the switch is met.
          loader->set_position(loader->position());
          for (int again = 0; again < 2; ++again) {
            EXPECT_EQ(take(*loader).failed, -1234);
            EXPECT_EQ(loader->position().batch, batch);
          }
          augment.failing = false;
          loader->set_position(loader->position());
        }
        ASSERT_EQ(take(*loader), take(*reference)) << prefetch << " " << workers << " " << batch;
      }
      EXPECT_TRUE(take(*loader).end);
    }
  }
}

TEST(LoaderAugment, MayNotUseItsLoader) {
  struct Caller : LoaderAugment {
    void run(const mill_augment_args&) override {
      for (const std::function<void()>& call :
           {std::function<void()>([&] { loader->rewind(); }),
            std::function<void()>([&] { loader->set_position({}); }),
            std::function<void()>([&] { loader->release_batch(); })}) {
        try {
          call();
          ++accepted;
        } catch (const Error& error) {
          if (error.status() != MILL_E_BUSY) ++accepted;
        }
      }
    }
    BatchLoader* loader = nullptr;
    std::atomic<int> accepted = 0;
  } caller;
  const Dataset data(40);
  for (const uint32_t prefetch : {0u, 4u}) {
    const auto loader = loader_of(data, options_of(4, prefetch, 2), &caller);
    caller.loader = loader.get();
    // A worker that tries is no reason to refuse the program.
    for (int step = 0; step < 200; ++step) ASSERT_EQ(take(*loader).failed, MILL_OK);
  }
  EXPECT_EQ(caller.accepted, 0);
}

TEST(LoaderAugment, IsSetBeforeTheFirstBatchOnly) {
  const Dataset data(10);
  AddKeys augment;
  const auto loader = loader_of(data, options_of(4, 2, 2));
  take(*loader);
  try {
    loader->set_augment(&augment);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), MILL_E_STATE);
  }
}

TEST(LoaderAugment, RunsOnSeveralThreadsAtOnce) {
  // Two workers meet inside it: with one at a time neither would get on.
  struct Meeting : LoaderAugment {
    void run(const mill_augment_args& args) override {
      if (args.column != 0 || args.epoch != 0 || args.batch > 1) return;
      std::unique_lock lock(mutex);
      ++inside;
      changed.notify_all();
      changed.wait(lock, [&] { return inside == 2; });
    }
    std::mutex mutex;
    std::condition_variable changed;
    int inside = 0;
  } meeting;
  const Dataset data(10);
  const auto loader = loader_of(data, options_of(4, 2, 2), &meeting);
  EXPECT_FALSE(take(*loader).end);
}

}  // namespace
}  // namespace mill
