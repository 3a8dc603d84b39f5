#include "data/loader.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/dtype.h"
#include "base/error.h"
#include "data/loader_state.h"

namespace mill {

namespace {

using ll = long long;
using ull = unsigned long long;

void check_depth(uint32_t prefetch, uint32_t workers) {
  if (prefetch > LoaderOptions::kMaxPrefetch) {
    fail(MILL_E_ARG, "prefetch is %u batches, the limit is %u", prefetch,
         LoaderOptions::kMaxPrefetch);
  }
  if (workers < 1 || workers > LoaderOptions::kMaxWorkers) {
    fail(MILL_E_ARG, "workers is %u, it must be 1 to %u", workers, LoaderOptions::kMaxWorkers);
  }
}

}  // namespace

// Refuses a second thread instead of waiting for the first.
class BatchLoader::Exclusive {
 public:
  explicit Exclusive(BatchLoader& loader) : busy_(loader.busy_) {
    if (loader.on_worker()) fail(MILL_E_BUSY, "the loader is waiting for this augment function");
    if (busy_.exchange(true, std::memory_order_acquire)) {
      fail(MILL_E_BUSY, "another thread is using the loader");
    }
  }
  ~Exclusive() { busy_.store(false, std::memory_order_release); }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

 private:
  std::atomic<bool>& busy_;
};

BatchLoader::BatchLoader(const LoaderColumn* columns, uint32_t count, int64_t rows,
                         const LoaderOptions& options)
    : options_(options),
      rows_(count == 0 ? rows : columns[0].rows),
      columns_(columns, columns + count) {
  if (options.batch <= 0) {
    fail(MILL_E_ARG, "batch is %lld rows, the least is 1", static_cast<ll>(options.batch));
  }
  check_depth(options.prefetch, options.workers);
  options_.workers = std::min(options.workers, options.prefetch);
  if (rows_ < 0) fail(MILL_E_SHAPE, "a dataset of %lld rows", static_cast<ll>(rows_));
  plans_.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    if (columns[i].rows != rows_) {
      fail(MILL_E_SHAPE, "column %u has %lld rows, column 0 has %lld", i,
           static_cast<ll>(columns[i].rows), static_cast<ll>(rows_));
    }
    plans_.emplace_back(columns[i], LoaderTransform{}, i);
  }
  batches_ = rows_ / options.batch + (!options.drop_last && rows_ % options.batch != 0 ? 1 : 0);
  // A slot never holds more rows than the dataset has.
  options_.batch = std::min(options.batch, std::max<int64_t>(rows_, 1));
  for (uint32_t i = 0; i < count; ++i) (void)column_bytes(i);
  given_.assign(slots(), std::vector<void*>(count, nullptr));
  position_.seed = options.seed;
}

BatchLoader::~BatchLoader() {
  if (state_ == nullptr || !state_->threaded) return;
  if (forked()) {
    // The mutex may be held, and the condition variables waited on, by a thread that is not here.
    (void)state_.release();
    return;
  }
  end_workers();
}

void BatchLoader::end_workers() {
  // In modelled time the workers end by the stage alone: when they would see `stop` depends on how
  // the threads are scheduled.
  if (options_.stage != nullptr) {
    options_.stage->close();
    for (uint32_t k = 0; k < workers(); ++k) options_.stage->worker_joined(k);
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop.store(true, std::memory_order_relaxed);
  }
  wake_workers();
  join_workers(workers());
}

bool BatchLoader::forked() const {
  return state_ != nullptr && state_->threaded && ::getpid() != state_->owner;
}

void BatchLoader::refuse_if_forked() const {
  if (forked()) {
    fail(MILL_E_FORKED, "the loader's workers belong to process %ld, this is process %ld",
         static_cast<long>(state_->owner), static_cast<long>(::getpid()));
  }
}

uint64_t BatchLoader::column_bytes(uint32_t column) const {
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(plans_[column].row_bytes(), static_cast<uint64_t>(options_.batch),
                             &bytes) ||
      bytes > static_cast<uint64_t>(INT64_MAX)) {
    fail(MILL_E_SHAPE, "column %u: %lld rows of %llu bytes exceed the limit of %lld bytes", column,
         static_cast<ll>(options_.batch), static_cast<ull>(plans_[column].row_bytes()),
         static_cast<ll>(INT64_MAX));
  }
  return bytes;
}

int64_t BatchLoader::rows_of(int64_t batch) const {
  return std::min(options_.batch, rows_ - batch * options_.batch);
}

void BatchLoader::set_transform(uint32_t column, const LoaderTransform& transform) {
  const Exclusive exclusive(*this);
  if (column >= columns()) fail(MILL_E_ARG, "column %u of a loader with %u", column, columns());
  if (state_ != nullptr) {
    fail(MILL_E_STATE, "the transform of column %u can be set before the first batch only", column);
  }
  Gather plan(columns_[column], transform, column);
  std::swap(plans_[column], plan);
  try {
    (void)column_bytes(column);
  } catch (...) {
    std::swap(plans_[column], plan);
    throw;
  }
}

void BatchLoader::set_augment(LoaderAugment* augment) {
  const Exclusive exclusive(*this);
  if (state_ != nullptr) {
    fail(MILL_E_STATE, "the augment function can be set before the first batch only");
  }
  augment_ = augment;
}

void BatchLoader::set_depth(uint32_t prefetch, uint32_t workers) {
  const Exclusive exclusive(*this);
  check_depth(prefetch, workers);
  refuse_if_forked();
  std::vector<std::vector<void*>> none(prefetch + 1, std::vector<void*>(columns(), nullptr));
  if (state_ != nullptr) {
    release_held();
    if (state_->threaded) end_workers();
    taken_before_ += state_->skipped + state_->taken + numbers_ahead();
    state_.reset();
  }
  options_.prefetch = prefetch;
  options_.workers = std::min(workers, prefetch);
  given_ = std::move(none);
}

void BatchLoader::check_slot(uint32_t slot, uint32_t column) const {
  if (slot >= slots()) fail(MILL_E_ARG, "slot %u of a loader with %u", slot, slots());
  if (column >= columns()) fail(MILL_E_ARG, "column %u of a loader with %u", column, columns());
}

void BatchLoader::set_buffer(uint32_t slot, uint32_t column, void* to) {
  const Exclusive exclusive(*this);
  check_slot(slot, column);
  if (state_ == nullptr) {
    given_[slot][column] = to;
    return;
  }
  refuse_if_forked();
  State& state = *state_;
  {
    const std::lock_guard lock(state.mutex);
    const bool held = state.released < state.taken && state.released % slots() == slot;
    if (!held) fail(MILL_E_STATE, "slot %u is not that of the batch being held", slot);
  }
  if (to == nullptr) fail(MILL_E_ARG, "the buffer of slot %u, column %u is NULL", slot, column);
  state.slots[slot].buffers[column] = to;
  state.slots[slot].owned[column].reset();
}

uint64_t BatchLoader::next_number() {
  static std::atomic<uint64_t> last = 0;
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

bool BatchLoader::next(LoaderBatch& batch) {
  const Exclusive exclusive(*this);
  refuse_if_forked();
  if (position_.batch == batches_) {
    release_held();
    position_ = {position_.seed, position_.epoch + 1, 0};
    return false;
  }
  if (state_ == nullptr) start();
  State& state = *state_;
  uint64_t wait_ns = 0;
  release_held();
  Slot& slot = state.slot_of(state.taken);
  if (!state.threaded) {
    fill(slot, position_);
    wait_ns = slot.gather_ns;
    ++state.taken;
  } else {
    if (options_.stage != nullptr) options_.stage->take_filled(state.worker_of(state.taken));
    std::unique_lock lock(state.mutex);
    if (!slot.filled) {
      const uint64_t begin = monotonic_ns();
      state.ready.wait(lock, [&] { return slot.filled; });
      wait_ns = monotonic_ns() - begin;
    }
    slot.filled = false;
    ++state.taken;
  }
  if (slot.failure) {
    const std::exception_ptr failure = std::exchange(slot.failure, nullptr);
    restart();
    std::rethrow_exception(failure);
  }
  batch.columns = slot.buffers.data();
  batch.indices = slot.indices.data();
  batch.rows = rows_of(slot.at.batch);
  batch.epoch = slot.at.epoch;
  batch.batch = slot.at.batch;
  batch.slot = static_cast<uint32_t>(&slot - state.slots.data());
  batch.wait_ns = wait_ns;
  batch.gather_ns = slot.gather_ns;
  batch.gather_thread = slot.thread;
  batch.number = taken_before_ + state.skipped + state.taken;
  ++position_.batch;
  return true;
}

void BatchLoader::release_batch() {
  const Exclusive exclusive(*this);
  if (state_ == nullptr) return;
  refuse_if_forked();
  release_held();
}

void BatchLoader::release_held() {
  if (state_ == nullptr) return;
  State& state = *state_;
  uint64_t next = 0;  // the batch that the slot is for from here on
  {
    const std::lock_guard lock(state.mutex);
    if (state.released == state.taken) return;
    next = state.released + slots();
    state.released = state.taken;
  }
  if (!state.threaded) return;
  const uint32_t worker = state.worker_of(next);
  state.workers[worker].work.notify_one();
  if (options_.stage != nullptr) options_.stage->give_free(worker);
}

void BatchLoader::restart() {
  if (state_ == nullptr) return;
  State& state = *state_;
  release_held();
  std::array<uint32_t, LoaderOptions::kMaxWorkers> waiting{};  // gathered for nothing, per worker
  {
    const TurnHold turn(turns_of(state.threaded ? options_.stage : nullptr));
    const std::lock_guard lock(state.mutex);
    for (uint64_t n = state.taken; n < state.taken + slots(); ++n) {
      if (std::exchange(state.slot_of(n).filled, false)) ++waiting[state.worker_of(n)];
    }
    ++state.generation;
    state.skipped += numbers_ahead();
    state.from = state.taken;
    state.from_position = position_;
  }
  if (!state.threaded) return;
  wake_workers();
  if (options_.stage == nullptr) return;
  for (uint32_t k = 0; k < workers(); ++k) {
    for (uint32_t i = 0; i < waiting[k]; ++i) options_.stage->take_filled(k);
    for (uint32_t i = 0; i < waiting[k]; ++i) options_.stage->give_free(k);
  }
}

void BatchLoader::set_position(const LoaderPosition& position) {
  const Exclusive exclusive(*this);
  refuse_if_forked();
  if (position.batch < 0 || position.batch > batches_) {
    fail(MILL_E_ARG, "batch %lld is outside 0 to %lld, the batches of an epoch",
         static_cast<ll>(position.batch), static_cast<ll>(batches_));
  }
  position_ = position;
  restart();
}

void BatchLoader::rewind() {
  const Exclusive exclusive(*this);
  refuse_if_forked();
  position_.batch = 0;
  restart();
}

}  // namespace mill
