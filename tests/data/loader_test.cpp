#include "data/loader.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <thread>

#include "base/error.h"

namespace mill {
namespace {

// Two columns: rows of two pixels, and a label that equals the row.
struct Dataset {
  explicit Dataset(int64_t rows)
      : pixels(static_cast<size_t>(2 * rows)), labels(static_cast<size_t>(rows)) {
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 7);
    std::iota(labels.begin(), labels.end(), 0);
    columns[0].base = pixels.data();
    columns[0].dtype = MILL_U8;
    columns[0].row_stride = 2;
    columns[0].rank = 1;
    columns[0].dims[0] = 2;
    columns[0].strides[0] = 1;
    columns[1].base = labels.data();
    columns[1].dtype = MILL_I32;
    columns[1].row_stride = 1;
    for (LoaderColumn& column : columns) column.rows = rows;
  }

  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  LoaderColumn columns[2];
};

LoaderOptions options_of(int64_t batch, uint32_t prefetch, bool shuffle = true,
                         bool drop_last = false) {
  LoaderOptions options;
  options.seed = 11;
  options.batch = batch;
  options.shuffle = shuffle;
  options.drop_last = drop_last;
  options.prefetch = prefetch;
  return options;
}

struct Seen {
  bool end = false;
  uint64_t epoch = 0;
  int64_t batch = 0;
  std::vector<int64_t> indices;
  std::vector<float> pixels;
  std::vector<int32_t> labels;
  bool operator==(const Seen&) const = default;
};

Seen take(BatchLoader& loader) {
  Seen seen;
  LoaderBatch batch;
  if (!loader.next(batch)) {
    seen.end = true;
    return seen;
  }
  const auto* pixels = static_cast<const float*>(batch.columns[0]);
  const auto* labels = static_cast<const int32_t*>(batch.columns[1]);
  seen.epoch = batch.epoch;
  seen.batch = batch.batch;
  seen.indices.assign(batch.indices, batch.indices + batch.rows);
  seen.pixels.assign(pixels, pixels + 2 * batch.rows);
  seen.labels.assign(labels, labels + batch.rows);
  return seen;
}

std::unique_ptr<BatchLoader> loader_of(const Dataset& data, const LoaderOptions& options) {
  auto loader = std::make_unique<BatchLoader>(data.columns, 2, 0, options);
  loader->set_transform(0, {MILL_F32, 1 / 255.0, 0});
  return loader;
}

void expect_failure(mill_status status, const std::vector<std::string>& parts,
                    const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), status) << error.text();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.text()).find(part), std::string::npos) << error.text();
    }
  }
}

// The kernel's folder of the worker thread, empty if there is none.
std::string worker_folder() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name.rfind("mill-loader", 0) == 0) return task.path();
  }
  return {};
}

// A thread that was joined may be listed a moment longer.
bool has_no_worker() {
  for (int i = 0; i < 5000 && !worker_folder().empty(); ++i) ::usleep(1000);
  return worker_folder().empty();
}

TEST(Loader, VisitsEveryRowOnceAnEpochAndEndsIt) {
  const Dataset data(103);
  for (const uint32_t prefetch : {0u, 2u}) {
    const auto loader = loader_of(data, options_of(10, prefetch));
    EXPECT_EQ(loader->batches(), 11);
    std::vector<int64_t> orders[2];
    for (uint64_t epoch = 0; epoch < 2; ++epoch) {
      for (int64_t batch = 0; batch < 11; ++batch) {
        const Seen seen = take(*loader);
        ASSERT_FALSE(seen.end);
        EXPECT_EQ(seen.epoch, epoch);
        EXPECT_EQ(seen.batch, batch);
        ASSERT_EQ(seen.indices.size(), batch == 10 ? 3u : 10u);
        for (size_t i = 0; i < seen.indices.size(); ++i) {
          const auto row = static_cast<size_t>(seen.indices[i]);
          EXPECT_EQ(seen.labels[i], seen.indices[i]);
          EXPECT_EQ(seen.pixels[2 * i + 1],
                    static_cast<float>(data.pixels[2 * row + 1] * (1 / 255.0)));
        }
        orders[epoch].insert(orders[epoch].end(), seen.indices.begin(), seen.indices.end());
      }
      EXPECT_TRUE(take(*loader).end);
    }
    EXPECT_NE(orders[0], orders[1]);
    for (std::vector<int64_t>& order : orders) {
      std::sort(order.begin(), order.end());
      for (int64_t i = 0; i < 103; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
    }
  }
}

TEST(Loader, GivesTheSameBatchesForEveryPrefetchDepth) {
  const Dataset data(57);
  const auto reference = loader_of(data, options_of(8, 0));
  std::vector<std::unique_ptr<BatchLoader>> loaders;
  for (const uint32_t prefetch : {1u, 2u, 7u, 64u})
    loaders.push_back(loader_of(data, options_of(8, prefetch)));
  for (int step = 0; step < 50; ++step) {
    const Seen expected = take(*reference);
    for (const auto& loader : loaders) ASSERT_EQ(take(*loader), expected) << step;
  }
}

TEST(Loader, KeepsTheDatasetsOrderWithoutShuffling) {
  const Dataset data(5);
  const auto loader = loader_of(data, options_of(2, 2, false));
  EXPECT_EQ(take(*loader).indices, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(take(*loader).indices, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(take(*loader).indices, (std::vector<int64_t>{4}));
  EXPECT_TRUE(take(*loader).end);
  EXPECT_EQ(take(*loader).indices, (std::vector<int64_t>{0, 1}));
}

TEST(Loader, DropsAnIncompleteLastBatchOnRequest) {
  const Dataset data(5);
  const auto loader = loader_of(data, options_of(2, 2, true, true));
  EXPECT_EQ(loader->batches(), 2);
  EXPECT_EQ(take(*loader).indices.size(), 2u);
  EXPECT_EQ(take(*loader).indices.size(), 2u);
  EXPECT_TRUE(take(*loader).end);
  const auto none = loader_of(data, options_of(6, 2, true, true));
  EXPECT_EQ(none->batches(), 0);
  EXPECT_TRUE(take(*none).end);
  EXPECT_TRUE(take(*none).end);
  EXPECT_EQ(none->position().epoch, 2u);
}

TEST(Loader, TakesABatchLargerThanTheDataset) {
  const Dataset data(5);
  const auto loader = loader_of(data, options_of(INT64_MAX, 2));
  EXPECT_EQ(loader->batches(), 1);
  EXPECT_EQ(loader->column_bytes(0), 5 * 2 * sizeof(float));
  EXPECT_EQ(take(*loader).indices.size(), 5u);
  EXPECT_TRUE(take(*loader).end);
}

TEST(Loader, EndsAtOnceForAnEmptyDataset) {
  const Dataset data(0);
  const auto loader = loader_of(data, options_of(4, 2));
  EXPECT_TRUE(take(*loader).end);
  EXPECT_TRUE(take(*loader).end);
}

TEST(Loader, GivesIndicesAloneForADatasetWithoutColumns) {
  BatchLoader loader(nullptr, 0, 10, options_of(4, 2));
  const Dataset data(10);
  const auto reference = loader_of(data, options_of(4, 0));
  LoaderBatch batch;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(loader.next(batch));
    EXPECT_EQ(std::vector<int64_t>(batch.indices, batch.indices + batch.rows),
              take(*reference).indices);
  }
  EXPECT_FALSE(loader.next(batch));
}

TEST(Loader, ResumesBitForBitFromAnyPosition) {
  const Dataset data(31);
  for (const uint32_t prefetch : {0u, 2u}) {
    const auto original = loader_of(data, options_of(4, prefetch));
    for (int step = 0; step < 20; ++step) {
      const LoaderPosition position = original->position();
      // The seed is part of the position, so the new loader's own does not matter.
      LoaderOptions other = options_of(4, prefetch);
      other.seed = 99;
      const auto resumed = loader_of(data, other);
      resumed->set_position(position);
      const Seen expected = take(*original);
      EXPECT_EQ(take(*resumed), expected) << step;
      EXPECT_EQ(resumed->position().epoch, original->position().epoch);
      EXPECT_EQ(resumed->position().batch, original->position().batch);
    }
  }
}

TEST(Loader, JumpsWhileTheWorkerRuns) {
  const Dataset data(40);
  const auto loader = loader_of(data, options_of(3, 3));
  const auto reference = loader_of(data, options_of(3, 0));
  std::mt19937 random(3);
  for (int step = 0; step < 2000; ++step) {
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
    ASSERT_EQ(take(*loader), take(*reference)) << step;
  }
}

TEST(Loader, RewindsToTheFirstBatchOfTheEpoch) {
  const Dataset data(12);
  const auto loader = loader_of(data, options_of(4, 2));
  while (!take(*loader).end) {
  }
  const Seen first = take(*loader);
  EXPECT_EQ(first.epoch, 1u);
  take(*loader);
  loader->rewind();
  EXPECT_EQ(take(*loader), first);
}

TEST(Loader, LeavesTheHeldBatchAlone) {
  const Dataset data(1000);
  const auto loader = loader_of(data, options_of(1, 1));
  LoaderBatch batch;
  for (int step = 0; step < 300; ++step) {
    ASSERT_TRUE(loader->next(batch));
    for (int i = 0; i < 20; ++i) {
      ASSERT_EQ(*static_cast<const int32_t*>(batch.columns[1]), batch.indices[0]);
      std::this_thread::yield();
    }
  }
}

TEST(Loader, FillsTheCallersBuffersAndHandsOverTheHeldOne) {
  const Dataset data(40);
  for (const uint32_t prefetch : {0u, 2u}) {
    std::vector<std::vector<int32_t>> buffers(11 + prefetch, std::vector<int32_t>(4));
    const auto loader = loader_of(data, options_of(4, prefetch, false));
    ASSERT_EQ(loader->slots(), prefetch + 1);
    for (uint32_t slot = 0; slot < loader->slots(); ++slot)
      loader->set_buffer(slot, 1, buffers[slot].data());
    LoaderBatch batch;
    std::vector<const int32_t*> kept;
    for (size_t i = 0; i < 10; ++i) {
      ASSERT_TRUE(loader->next(batch));
      kept.push_back(static_cast<const int32_t*>(batch.columns[1]));
      loader->set_buffer(batch.slot, 1, buffers[loader->slots() + i].data());
    }
    EXPECT_FALSE(loader->next(batch));
    ASSERT_TRUE(loader->next(batch));
    for (size_t i = 0; i < 10; ++i) {
      for (size_t k = 0; k < 4; ++k) EXPECT_EQ(kept[i][k], static_cast<int32_t>(4 * i + k));
    }
  }
}

TEST(Loader, ReportsTheGatherAsWaitWithoutAWorker) {
  const Dataset data(10);
  const auto loader = loader_of(data, options_of(4, 0));
  LoaderBatch batch;
  ASSERT_TRUE(loader->next(batch));
  EXPECT_EQ(batch.wait_ns, batch.gather_ns);
  EXPECT_EQ(batch.gather_thread, 0u);
  EXPECT_TRUE(has_no_worker());
}

TEST(Loader, StartsANamedWorkerThatBlocksSignalsAtTheFirstBatch) {
  const Dataset data(10);
  const auto loader = loader_of(data, options_of(4, 2));
  EXPECT_TRUE(has_no_worker());
  LoaderBatch batch;
  ASSERT_TRUE(loader->next(batch));
  const std::string folder = worker_folder();
  ASSERT_FALSE(folder.empty());
  EXPECT_EQ(folder, "/proc/self/task/" + std::to_string(batch.gather_thread));
  std::ifstream status(folder + "/status");
  std::string line;
  while (std::getline(status, line) && line.rfind("SigBlk:", 0) != 0) {
  }
  ASSERT_FALSE(line.empty());
  const uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
  for (const int signal : {SIGINT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1, SIGPROF}) {
    EXPECT_TRUE((blocked >> (signal - 1)) & 1u) << signal;
  }
}

TEST(Loader, StopsAtEveryStage) {
  const Dataset data(64);
  for (int taken = 0; taken < 40; ++taken) {
    const auto loader = loader_of(data, options_of(8, 2));
    for (int i = 0; i < taken; ++i) take(*loader);
    if (taken % 3 == 0) loader->rewind();
    if (taken % 5 == 0) loader->release_batch();
  }
}

TEST(Loader, StopsDuringALongShuffle) {
  BatchLoader loader(nullptr, 0, 2'000'000, options_of(2'000'000, 1));
  LoaderBatch batch;
  ASSERT_TRUE(loader.next(batch));
}

TEST(Loader, AnswersForkedInAChildAndDoesNotWaitThere) {
  const Dataset data(64);
  auto threaded = loader_of(data, options_of(8, 2));
  auto inlined = loader_of(data, options_of(8, 0));
  take(*threaded);
  take(*inlined);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int result = 0;
    LoaderBatch batch;
    for (const std::function<void()>& call :
         {std::function<void()>([&] { threaded->next(batch); }),
          std::function<void()>([&] { threaded->rewind(); }),
          std::function<void()>([&] { threaded->set_position({}); })}) {
      try {
        call();
        result |= 1;
      } catch (const Error& error) {
        if (error.status() != MILL_E_FORKED) result |= 2;
      }
    }
    if (!inlined->next(batch)) result |= 4;
    threaded.reset();
    inlined.reset();
    ::_exit(result);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(take(*threaded).end);
}

TEST(Loader, RefusesASecondThread) {
  std::vector<uint8_t> bytes(1 << 16);
  LoaderColumn column;
  column.base = bytes.data();
  column.dtype = MILL_U8;
  column.rows = 16;
  column.rank = 1;
  column.dims[0] = 1 << 16;
  column.strides[0] = 1;
  BatchLoader loader(&column, 1, 0, options_of(16, 0));
  std::atomic<bool> stop = false;
  std::thread other([&] {
    LoaderBatch batch;
    while (!stop) {
      try {
        loader.next(batch);
      } catch (const Error&) {
      }
    }
  });
  bool busy = false;
  while (!busy) {
    try {
      LoaderBatch batch;
      loader.next(batch);
    } catch (const Error& error) {
      busy = error.status() == MILL_E_BUSY;
    }
  }
  stop = true;
  other.join();
}

TEST(Loader, RefusesWhatItCannotLoad) {
  const Dataset data(10);
  LoaderColumn uneven[2] = {data.columns[0], data.columns[1]};
  uneven[1].rows = 9;
  LoaderOptions bad = options_of(0, 2);
  expect_failure(MILL_E_ARG, {"batch is 0"}, [&] { loader_of(data, bad); });
  expect_failure(MILL_E_ARG, {"batch is -4"}, [&] { loader_of(data, options_of(-4, 2)); });
  expect_failure(MILL_E_ARG, {"prefetch is 65", "limit is 64"},
                 [&] { loader_of(data, options_of(4, 65)); });
  expect_failure(MILL_E_SHAPE, {"column 1 has 9 rows", "column 0 has 10"},
                 [&] { BatchLoader(uneven, 2, 0, options_of(4, 2)); });
  expect_failure(MILL_E_SHAPE, {"-1 rows"}, [&] { BatchLoader(nullptr, 0, -1, options_of(4, 2)); });
  LoaderColumn wide = data.columns[0];
  wide.rows = 40;
  wide.dims[0] = INT64_MAX / 32;
  wide.strides[0] = 0;
  expect_failure(MILL_E_SHAPE, {"column 0", "40 rows"},
                 [&] { BatchLoader(&wide, 1, 0, options_of(64, 2)); });
}

TEST(Loader, RefusesCallsThatComeTooLateOrPointNowhere) {
  const Dataset data(10);
  const auto loader = loader_of(data, options_of(4, 2));
  int32_t buffer[4];
  expect_failure(MILL_E_ARG, {"column 2", "with 2"}, [&] { loader->set_transform(2, {}); });
  expect_failure(MILL_E_ARG, {"slot 3", "with 3"}, [&] { loader->set_buffer(3, 0, buffer); });
  expect_failure(MILL_E_ARG, {"column 2", "with 2"}, [&] { loader->set_buffer(0, 2, buffer); });
  expect_failure(MILL_E_ARG, {"batch 4", "0 to 3"}, [&] { loader->set_position({0, 0, 4}); });
  expect_failure(MILL_E_ARG, {"batch -1", "0 to 3"}, [&] { loader->set_position({0, 0, -1}); });
  LoaderBatch batch;
  ASSERT_TRUE(loader->next(batch));
  expect_failure(MILL_E_STATE, {"before the first batch"}, [&] { loader->set_transform(0, {}); });
  expect_failure(MILL_E_STATE, {"is not that of the batch"},
                 [&] { loader->set_buffer((batch.slot + 1) % 3, 1, buffer); });
  expect_failure(MILL_E_ARG, {"NULL"}, [&] { loader->set_buffer(batch.slot, 1, nullptr); });
  loader->release_batch();
  expect_failure(MILL_E_STATE, {"is not that of the batch"},
                 [&] { loader->set_buffer(batch.slot, 1, buffer); });
  EXPECT_EQ(take(*loader).batch, 1);
}

TEST(Loader, KeepsItsStateWhenATransformIsRefused) {
  const Dataset data(10);
  const auto loader = loader_of(data, options_of(4, 2));
  expect_failure(MILL_E_DTYPE, {"column 0", "u8 cannot become c64"}, [&] {
    loader->set_transform(0, {MILL_C64, 1, 0});
  });
  EXPECT_EQ(loader->column_dtype(0), MILL_F32);
}

}  // namespace
}  // namespace mill
