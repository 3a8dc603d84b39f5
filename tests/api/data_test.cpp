// Loaders, files and checkpoints: what their headers promise.
#include <algorithm>
#include <cstring>
#include <set>

#include "api/refusal.h"

namespace mill_test {
namespace {

struct LoaderApi : testing::Test {
  mill_loader* make(std::vector<mill_tensor*> columns, int64_t batch, uint64_t flags,
                    uint64_t seed = 5, uint32_t prefetch = 0) {
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.seed = seed;
    opts.batch = batch;
    opts.flags = flags;
    opts.prefetch = prefetch;
    mill_loader* out = nullptr;
    EXPECT_EQ(mill_loader_create(f.context(), columns.data(), static_cast<uint32_t>(columns.size()),
                                 &opts, &out, f.err()),
              MILL_OK)
        << f.message();
    return f.own(out);
  }
  mill_tensor* rows(int64_t n) {
    std::vector<int64_t> values(static_cast<size_t>(n));
    for (size_t k = 0; k < values.size(); ++k) values[k] = static_cast<int64_t>(k);
    return upload<int64_t>(f, {n}, values);
  }
  // The batch's values; empty at the end of an epoch.
  std::vector<int64_t> next(mill_loader* loader) {
    mill_tensor* batch = nullptr;
    const mill_status status = mill_loader_next(loader, f.exec(), &batch, 1, f.err());
    if (status == MILL_END) {
      EXPECT_EQ(batch, nullptr);
      return {};
    }
    EXPECT_EQ(status, MILL_OK) << f.message();
    const std::vector<int64_t> values = read_all<int64_t>(f, batch);
    mill_tensor_release(batch);
    return values;
  }
  std::vector<int64_t> epoch(mill_loader* loader) {
    std::vector<int64_t> all;
    for (std::vector<int64_t> batch = next(loader); !batch.empty(); batch = next(loader))
      all.insert(all.end(), batch.begin(), batch.end());
    return all;
  }
  Fixture f;
};
using FileApi = LoaderApi;

TEST_F(LoaderApi, GivesTheDatasetInOrderAndTheRestLast) {
  for (const uint64_t flags : {uint64_t{0}, uint64_t{MILL_LOADER_INLINE}}) {
    mill_loader* const loader = make({rows(7)}, 3, flags);
    int64_t batches = 0;
    ASSERT_EQ(mill_loader_batches(loader, &batches, f.err()), MILL_OK);
    EXPECT_EQ(batches, 3);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(next(loader), (std::vector<int64_t>{0, 1, 2}));
      EXPECT_EQ(next(loader), (std::vector<int64_t>{3, 4, 5}));
      EXPECT_EQ(next(loader), (std::vector<int64_t>{6}));
      EXPECT_TRUE(next(loader).empty());
    }
    mill_loader* const whole = make({rows(7)}, 3, flags | MILL_LOADER_DROP_LAST);
    EXPECT_EQ(epoch(whole).size(), 6u);
  }
}

TEST_F(LoaderApi, ShufflesAllRowsByTheSeed) {
  mill_loader* const loader = make({rows(50)}, 8, MILL_LOADER_SHUFFLE);
  const std::vector<int64_t> first = epoch(loader);
  const std::vector<int64_t> second = epoch(loader);
  EXPECT_EQ(std::set<int64_t>(first.begin(), first.end()).size(), 50u);
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
  EXPECT_NE(first, second);
  EXPECT_EQ(epoch(make({rows(50)}, 8, MILL_LOADER_SHUFFLE | MILL_LOADER_INLINE)), first);
  EXPECT_EQ(epoch(make({rows(50)}, 5, MILL_LOADER_SHUFFLE, 5, 7)), first);
  EXPECT_NE(epoch(make({rows(50)}, 8, MILL_LOADER_SHUFFLE, 6)), first);
}

TEST_F(LoaderApi, SaysWhichRowsTheBatchHolds) {
  mill_loader* const loader = make({rows(5)}, 2, MILL_LOADER_SHUFFLE);
  int64_t indices[2] = {};
  uint64_t count = 9;
  ASSERT_EQ(mill_loader_indices(loader, indices, 2, &count, f.err()), MILL_OK);
  EXPECT_EQ(count, 0u);
  for (std::vector<int64_t> batch = next(loader); !batch.empty(); batch = next(loader)) {
    ASSERT_EQ(mill_loader_indices(loader, indices, 2, &count, f.err()), MILL_OK);
    EXPECT_EQ(std::vector<int64_t>(indices, indices + count), batch);
    EXPECT_EQ(mill_loader_indices(loader, nullptr, 0, &count, f.err()), MILL_INCOMPLETE);
  }
  ASSERT_EQ(mill_loader_indices(loader, indices, 2, &count, f.err()), MILL_OK);
  EXPECT_EQ(count, 0u);
}

TEST_F(LoaderApi, ConvertsAndTakesOverlappingRows) {
  mill_tensor* const text = upload<uint8_t>(f, {6}, {10, 20, 30, 40, 50, 60});
  mill_tensor* const windows = view(f, text, {4, 3}, {1, 1});
  mill_loader* const loader = make({windows, rows(4)}, 4, 0);
  ASSERT_EQ(mill_loader_set_transform(loader, 0, MILL_F32, 0.1, 1, f.err()), MILL_OK);
  mill_tensor* batch[2] = {};
  ASSERT_EQ(mill_loader_next(loader, f.exec(), batch, 2, f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_dtype(batch[0]), MILL_F32);
  EXPECT_EQ(read_all<float>(f, batch[0]), (std::vector<float>{2, 3, 4, 3, 4, 5, 4, 5, 6, 5, 6, 7}));
  EXPECT_EQ(read_all<int64_t>(f, batch[1]), (std::vector<int64_t>{0, 1, 2, 3}));
  mill_tensor_release(batch[0]);
  mill_tensor_release(batch[1]);
}

TEST_F(LoaderApi, BatchesStayAsTheyAreWhileHeld) {
  mill_loader* const loader = make({rows(64)}, 2, 0);
  std::vector<mill_tensor*> held(32, nullptr);
  for (mill_tensor*& batch : held)
    ASSERT_EQ(mill_loader_next(loader, f.exec(), &batch, 1, f.err()), MILL_OK);
  for (size_t k = 0; k < held.size(); ++k) {
    const auto first = static_cast<int64_t>(2 * k);
    EXPECT_EQ(read_all<int64_t>(f, held[k]), (std::vector<int64_t>{first, first + 1}));
    mill_tensor_release(held[k]);
  }
}

TEST_F(LoaderApi, PositionContinuesAnEpochExactly) {
  mill_loader* const loader = make({rows(40)}, 6, MILL_LOADER_SHUFFLE);
  epoch(loader);
  next(loader);
  next(loader);
  uint64_t seed = 0, at_epoch = 0;
  int64_t at = 0;
  ASSERT_EQ(mill_loader_get_position(loader, &seed, &at_epoch, &at, f.err()), MILL_OK);
  EXPECT_EQ(seed, 5u);
  EXPECT_EQ(at_epoch, 1u);
  EXPECT_EQ(at, 2);
  const std::vector<int64_t> rest = epoch(loader);
  mill_loader* const other = make({rows(40)}, 6, MILL_LOADER_SHUFFLE, 999);
  next(other);
  ASSERT_EQ(mill_loader_set_position(other, seed, at_epoch, at, f.err()), MILL_OK);
  EXPECT_EQ(epoch(other), rest);
  ASSERT_EQ(mill_loader_set_position(other, seed, at_epoch, 7, f.err()), MILL_OK);
  EXPECT_TRUE(next(other).empty()) << "a batch equal to their number is the end";
  next(other);
  ASSERT_EQ(mill_loader_rewind(other, f.err()), MILL_OK);
  ASSERT_EQ(mill_loader_get_position(other, nullptr, &at_epoch, &at, f.err()), MILL_OK);
  EXPECT_EQ(at_epoch, 2u);
  EXPECT_EQ(at, 0);
}

TEST_F(LoaderApi, AnEmptyDatasetEndsAtOnce) {
  mill_loader* const loader = make({f.ids({0})}, 4, MILL_LOADER_SHUFFLE);
  int64_t batches = 7;
  ASSERT_EQ(mill_loader_batches(loader, &batches, f.err()), MILL_OK);
  EXPECT_EQ(batches, 0);
  EXPECT_TRUE(next(loader).empty());
  EXPECT_TRUE(next(loader).empty());
}

TEST_F(FileApi, SavedTensorsComeBack) {
  mill_tensor* const base = upload<float>(f, {2, 3}, {1, 2, 3, 4, 5, 6});
  mill_tensor* const turned = view(f, base, {3, 2}, {1, 3});
  const char* const names[] = {"turned", "scalar", "empty"};
  mill_tensor* const tensors[] = {turned, f.tensor({}, MILL_F64, 2.5), f.ids({0, 3})};
  const char* const keys[] = {"about"};
  const char* const values[] = {"a test \"quoted\""};
  const char* const path = f.path("saved.safetensors");
  ASSERT_EQ(mill_file_save(f.exec(), path, MILL_NTS, names, tensors, 3, keys, values, 1, f.err()),
            MILL_OK)
      << f.message();
  mill_file* file = nullptr;
  ASSERT_EQ(mill_file_open(f.context(), path, MILL_NTS, &file, f.err()), MILL_OK) << f.message();
  f.own(file);
  uint64_t count = 0;
  ASSERT_EQ(mill_file_count(file, &count, f.err()), MILL_OK);
  EXPECT_EQ(count, 3u);
  uint64_t at = 9;
  ASSERT_EQ(mill_file_find(file, "turned or not", 6, &at, f.err()), MILL_OK);
  const char* name = nullptr;
  uint64_t length = 0;
  ASSERT_EQ(mill_file_name(file, at, &name, &length, f.err()), MILL_OK);
  EXPECT_STREQ(name, "turned");
  EXPECT_EQ(length, 6u);
  mill_dtype dtype = 0;
  int64_t dims[8] = {};
  uint32_t rank = 0;
  uint64_t bytes = 0;
  ASSERT_EQ(mill_file_info(file, at, &dtype, dims, 8, &rank, &bytes, f.err()), MILL_OK);
  EXPECT_EQ(dtype, MILL_F32);
  EXPECT_EQ(rank, 2u);
  EXPECT_EQ(dims[0], 3);
  EXPECT_EQ(bytes, 24u);
  EXPECT_EQ(mill_file_info(file, at, nullptr, dims, 1, nullptr, nullptr, f.err()), MILL_INCOMPLETE);
  mill_tensor** const read = f.slot<mill_tensor>();
  ASSERT_EQ(mill_file_read(file, f.exec(), at, read, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read_all<float>(f, *read), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  // Into a tensor of other strides.
  mill_tensor* const target = f.tensor({2, 3}, MILL_F32, 0);
  mill_tensor* into = view(f, target, {3, 2}, {1, 3});
  ASSERT_EQ(mill_file_read(file, f.exec(), at, &into, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read_all<float>(f, target), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  const char* value = nullptr;
  ASSERT_EQ(mill_file_metadata(file, "about", MILL_NTS, &value, f.err()), MILL_OK);
  EXPECT_STREQ(value, values[0]);
  ASSERT_EQ(mill_file_metadata_count(file, &count, f.err()), MILL_OK);
  EXPECT_EQ(count, 1u);
  const char* key = nullptr;
  ASSERT_EQ(mill_file_metadata_at(file, 0, &key, nullptr, f.err()), MILL_OK);
  EXPECT_STREQ(key, "about");
}

TEST_F(FileApi, IdxComesBackPlainAndCompressed) {
  mill_tensor* const x = upload<int32_t>(f, {2, 2}, {1, -2, 300000, 4});
  for (const char* name : {"x.idx", "x.idx.gz"}) {
    const char* const path = f.path(name);
    ASSERT_EQ(mill_idx_write(f.exec(), path, MILL_NTS, x, f.err()), MILL_OK) << f.message();
    mill_tensor* back = nullptr;
    ASSERT_EQ(mill_idx_read(f.context(), path, MILL_NTS, &back, f.err()), MILL_OK) << f.message();
    EXPECT_EQ(read_all<int32_t>(f, back), (std::vector<int32_t>{1, -2, 300000, 4}));
    EXPECT_EQ(mill_tensor_dim(back, 1), 2);
    mill_tensor_release(back);
  }
}

TEST_F(FileApi, ACheckpointPutsEverythingBack) {
  mill_group* const group = f.built_group();
  mill_optimizer* const optimizer = f.ready_optimizer();
  ASSERT_EQ(mill_optimizer_step(optimizer, f.exec(), f.err()), MILL_OK);
  mill_generator* const generator = f.made<mill_generator>();
  mill_loader* const loader = make({rows(9)}, 2, MILL_LOADER_SHUFFLE);
  next(loader);
  mill_tensor* key = nullptr;
  ASSERT_EQ(mill_generator_next(f.exec(), generator, &key, f.err()), MILL_OK);
  mill_tensor_release(key);
  const char* const path = f.path("run.checkpoint");
  ASSERT_EQ(
      mill_checkpoint_save(f.exec(), path, MILL_NTS, group, optimizer, generator, loader, f.err()),
      MILL_OK)
      << f.message();
  mill_tensor* weight = nullptr;
  ASSERT_EQ(mill_group_param(group, 0, &weight, f.err()), MILL_OK);
  f.own(weight);
  const std::vector<float> saved = read_all<float>(f, weight);
  const float other[6] = {};
  ASSERT_EQ(mill_tensor_write(f.exec(), weight, other, 24, f.err()), MILL_OK);
  ASSERT_EQ(mill_generator_set_state(f.exec(), generator, 1, 1, f.err()), MILL_OK);
  const std::vector<int64_t> rest = epoch(loader);
  mill_optimizer* const fresh = f.made<mill_optimizer>();
  ASSERT_EQ(
      mill_checkpoint_load(f.exec(), path, MILL_NTS, group, fresh, generator, loader, f.err()),
      MILL_OK)
      << f.message();
  EXPECT_EQ(read_all<float>(f, weight), saved);
  int64_t steps = 0;
  ASSERT_EQ(mill_optimizer_steps(fresh, &steps, f.err()), MILL_OK);
  EXPECT_EQ(steps, 1);
  uint64_t seed = 0, calls = 0;
  ASSERT_EQ(mill_generator_get_state(generator, &seed, &calls, f.err()), MILL_OK);
  EXPECT_EQ(seed, 7u);
  EXPECT_EQ(calls, 1u);
  EXPECT_EQ(epoch(loader), rest);
}

}  // namespace
}  // namespace mill_test
