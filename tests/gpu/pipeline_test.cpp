// A loader that delivers to a device of its own memory: its batches are the rows that the host's
// loader gives, in whatever pieces they travel, and it can be stopped at any point.
#include "gpu/device_fixture.h"

namespace mill_test {
namespace {

struct Plan {
  int64_t batch = 32;
  uint32_t prefetch = 2;
  uint64_t pinned_bytes = 0;
  uint64_t flags = MILL_LOADER_SHUFFLE;
};

struct Batch {
  Dims dims;
  std::vector<float> pixels;
  std::vector<int64_t> labels;
  std::vector<float> windows;
  std::vector<int64_t> rows;

  bool operator==(const Batch&) const = default;
};

class Pipeline : public OnDevice {
 protected:
  static constexpr uint32_t kColumns = 3;

  // Bytes that become floats on the way, labels, and windows that overlap each other in memory.
  Pipeline() : rows_(by_device(203, 20'003)), width_(by_device(48, 1024)) {
    std::vector<uint8_t> bytes(static_cast<size_t>(rows_ * width_));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 2654435761u >> 7);
    std::vector<int64_t> labels(static_cast<size_t>(rows_));
    std::iota(labels.begin(), labels.end(), int64_t{1} << 40);
    std::vector<float> wave(static_cast<size_t>(rows_ + kWindow));
    std::iota(wave.begin(), wave.end(), -5.0f);
    const Tensor buffer = make_on(here(), {rows_ + kWindow}, wave);
    const int64_t dims[2] = {rows_, kWindow};
    const int64_t strides[2] = {1, 1};
    columns_[0] = make_on(here(), {rows_, width_}, bytes);
    columns_[1] = make_on(here(), {rows_}, labels);
    ok(mill_tensor_view(buffer.get(), dims, strides, 2, 0, columns_[2].out(), err()));
  }

  Loader loader(uint32_t where, const Plan& plan) const {
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.seed = 11;
    opts.batch = plan.batch;
    opts.flags = plan.flags;
    opts.prefetch = plan.prefetch;
    opts.device = where;
    opts.pinned_bytes = plan.pinned_bytes;
    mill_tensor* columns[kColumns];
    for (uint32_t k = 0; k < kColumns; ++k) columns[k] = columns_[k].get();
    Loader made;
    ok(mill_loader_create(context(), columns, kColumns, &opts, made.out(), err()));
    // Exact in f32 and in f64, whichever side computes it.
    ok(mill_loader_set_transform(made.get(), 0, MILL_F32, 0.25, -3, err()));
    return made;
  }
  struct Parts {
    Tensor column[kColumns];
    std::vector<int64_t> rows;
  };
  bool next(mill_loader* from, mill_exec* exec, Parts* out) const {
    mill_tensor* raw[kColumns] = {};
    const mill_status status = mill_loader_next(from, exec, raw, kColumns, err());
    ok(status);
    for (uint32_t k = 0; k < kColumns; ++k) out->column[k] = Tensor(raw[k]);
    uint64_t count = 0;
    out->rows.resize(static_cast<size_t>(rows_));
    ok(mill_loader_indices(from, out->rows.data(), out->rows.size(), &count, err()));
    out->rows.resize(count);
    return status != MILL_END;
  }
  Batch read_all(mill_exec* exec, const Parts& parts) const {
    return {dims_of(parts.column[0].get()), read<float>(exec, parts.column[0].get()),
            read<int64_t>(exec, parts.column[1].get()), read<float>(exec, parts.column[2].get()),
            parts.rows};
  }
  std::vector<Batch> epochs(uint32_t where, mill_exec* exec, const Plan& plan, int count) const {
    const Loader from = loader(where, plan);
    std::vector<Batch> out;
    for (int epoch = 0; epoch < count; ++epoch) {
      Parts parts;
      while (next(from.get(), exec, &parts)) out.push_back(read_all(exec, parts));
    }
    return out;
  }
  // EXPECT_EQ of whole epochs would print megabytes.
  static void expect_same(const std::vector<Batch>& got, const std::vector<Batch>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t k = 0; k < want.size(); ++k) {
      EXPECT_EQ(got[k].dims, want[k].dims) << "batch " << k;
      EXPECT_TRUE(got[k].rows == want[k].rows) << "rows of batch " << k;
      EXPECT_TRUE(got[k].pixels == want[k].pixels) << "pixels of batch " << k;
      EXPECT_TRUE(got[k].labels == want[k].labels) << "labels of batch " << k;
      EXPECT_TRUE(got[k].windows == want[k].windows) << "windows of batch " << k;
    }
  }
  uint64_t in_use() const {
    mill_memory_stats stats{};
    stats.size = sizeof stats;
    stats.type = MILL_STRUCT_MEMORY_STATS;
    ok(mill_memory_stats_query(context(), device(), &stats, err()));
    return stats.in_use_bytes;
  }
  int64_t batch_rows() const { return by_device(32, 4096); }

  static constexpr int64_t kWindow = 16;
  int64_t rows_;
  int64_t width_;
  Tensor columns_[kColumns];
};

TEST_F(Pipeline, BatchesAreTheHostsRowsAtEveryDepth) {
  Plan plan;
  plan.batch = batch_rows();
  const std::vector<Batch> want = epochs(0, here(), plan, 2);
  for (const uint32_t prefetch : {1u, 2u, 5u}) {
    SCOPED_TRACE("prefetch " + std::to_string(prefetch));
    plan.prefetch = prefetch;
    expect_same(epochs(device(), there(), plan, 2), want);
  }
}

TEST_F(Pipeline, WithoutAThreadOrShuffleTheBatchesAreTheSame) {
  Plan plan;
  plan.batch = batch_rows();
  plan.flags = MILL_LOADER_DROP_LAST;
  const std::vector<Batch> want = epochs(0, here(), plan, 1);
  plan.flags |= MILL_LOADER_INLINE;
  expect_same(epochs(device(), there(), plan, 1), want);
}

TEST_F(Pipeline, WhatDoesNotFitThePinnedMemoryGoesInPieces) {
  Plan plan;
  plan.batch = batch_rows();
  const std::vector<Batch> want = epochs(0, here(), plan, 1);
  const auto row = static_cast<uint64_t>(width_);
  for (const uint64_t pinned : {row, 3 * row + 1, 40 * row, 1000 * row}) {
    SCOPED_TRACE("pinned bytes " + std::to_string(pinned));
    plan.pinned_bytes = pinned;
    expect_same(epochs(device(), there(), plan, 1), want);
  }
}

TEST_F(Pipeline, BatchesThatAreHeldStayAsTheyAre) {
  Plan plan;
  plan.batch = batch_rows() / 2;
  const std::vector<Batch> want = epochs(0, here(), plan, 1);
  const Loader from = loader(device(), plan);
  std::vector<Parts> held(1);
  while (next(from.get(), there(), &held.back())) held.emplace_back();
  held.pop_back();
  std::vector<Batch> got;
  for (const Parts& parts : held) got.push_back(read_all(there(), parts));
  expect_same(got, want);
}

TEST_F(Pipeline, WorkOnABatchNeedsNoWaitOfTheHost) {
  Plan plan;
  plan.batch = batch_rows();
  std::vector<double> want;
  for (const Batch& batch : epochs(0, here(), plan, 1)) {
    double sum = 0;
    for (const float v : batch.windows) sum += static_cast<double>(v);
    want.push_back(sum);
  }
  const Loader from = loader(device(), plan);
  const Tensor matrix = averaging(there());
  std::vector<Future> sums;
  Parts parts;
  while (next(from.get(), there(), &parts)) {
    const Tensor delay = long_work(there(), matrix.get());
    Tensor wide;
    Tensor sum;
    ok(mill_cast(there(), parts.column[2].get(), MILL_F64, wide.out(), err()));
    ok(mill_sum(there(), wide.get(), nullptr, 0, 0, sum.out(), err()));
    ok(mill_tensor_read_async(there(), sum.get(), sums.emplace_back().out(), err()));
  }
  ASSERT_EQ(sums.size(), want.size());
  for (size_t k = 0; k < want.size(); ++k)
    EXPECT_EQ(values_of<double>(sums[k].get())[0], want[k]) << "batch " << k;
}

TEST_F(Pipeline, TwoLoadersAndTwoStreamsDoNotMixTheirBatches) {
  Plan plan;
  plan.batch = batch_rows();
  Plan other = plan;
  other.flags = 0;
  other.batch = batch_rows() / 2 + 1;
  const std::vector<Batch> want = epochs(0, here(), plan, 1);
  const std::vector<Batch> want_other = epochs(0, here(), other, 1);
  const Loader first = loader(device(), plan);
  const Loader second = loader(device(), other);
  const Lane lane = new_lane();
  std::vector<Batch> got;
  std::vector<Batch> got_other;
  Parts parts;
  bool more = true;
  bool more_other = true;
  while (more || more_other) {
    if (more) more = next(first.get(), there(), &parts);
    if (more) got.push_back(read_all(there(), parts));
    if (more_other) more_other = next(second.get(), *lane, &parts);
    if (more_other) got_other.push_back(read_all(*lane, parts));
  }
  expect_same(got, want);
  expect_same(got_other, want_other);
}

TEST_F(Pipeline, AStopInTheMiddleLeavesNothingBehind) {
  Plan plan;
  plan.batch = batch_rows();
  plan.prefetch = 4;
  const std::vector<Batch> want = epochs(0, here(), plan, 1);
  const Tensor matrix = averaging(there());
  ok(mill_exec_wait(there(), err()));
  const uint64_t before = in_use();
  for (int taken = 0; taken < 5; ++taken) {
    Loader from = loader(device(), plan);
    Tensor kept;
    for (int k = 0; k < taken; ++k) {
      Parts parts;
      ASSERT_TRUE(next(from.get(), there(), &parts));
      const Tensor delay = long_work(there(), matrix.get());
      kept = affine(there(), parts.column[0].get(), 1, 0);
    }
    from.reset();  // batches are on their way, and the last one is being computed on
    if (taken > 0) {
      EXPECT_TRUE(read<float>(there(), kept.get()) == want[static_cast<size_t>(taken) - 1].pixels);
    }
  }
  ok(mill_exec_wait(there(), err()));
  EXPECT_EQ(in_use(), before);
  expect_same(epochs(device(), there(), plan, 1), want);
}

TEST_F(Pipeline, TheContextMayGoWhileBatchesAreOnTheirWay) {
  Plan plan;
  plan.batch = batch_rows();
  plan.prefetch = 4;
  Loader from = loader(device(), plan);
  Parts parts;
  ASSERT_TRUE(next(from.get(), there(), &parts));
  for (Tensor& column : columns_) column.reset();
  here_.reset();
  w_.reset();
  // The loader is the last that holds the context.
  EXPECT_EQ(mill_tensor_dim(parts.column[0].get(), 0), plan.batch);
  for (Tensor& column : parts.column) column.reset();
  from.reset();
}

TEST_F(Pipeline, APositionIsFoundAgain) {
  Plan plan;
  plan.batch = batch_rows();
  const std::vector<Batch> want = epochs(0, here(), plan, 2);
  const Loader from = loader(device(), plan);
  Parts parts;
  ASSERT_TRUE(next(from.get(), there(), &parts));
  ASSERT_TRUE(next(from.get(), there(), &parts));
  ok(mill_loader_rewind(from.get(), err()));
  ASSERT_TRUE(next(from.get(), there(), &parts));
  expect_same({read_all(there(), parts)}, {want[0]});
  ok(mill_loader_set_position(from.get(), 11, 1, 2, err()));
  ASSERT_TRUE(next(from.get(), there(), &parts));
  expect_same({read_all(there(), parts)}, {want[want.size() / 2 + 2]});
}

}  // namespace
}  // namespace mill_test
