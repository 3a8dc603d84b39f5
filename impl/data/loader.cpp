#include "data/loader.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <utility>

#include "base/dtype.h"
#include "base/error.h"
#include "data/order.h"
#include "trace/exec_trace.h"

namespace mill {

namespace {

using ll = long long;
using ull = unsigned long long;

constexpr std::align_val_t kAlignment{64};

struct FreeAligned {
  void operator()(void* memory) const { ::operator delete(memory, kAlignment); }
};
using AlignedMemory = std::unique_ptr<void, FreeAligned>;

uint64_t now_ns() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace

struct BatchLoader::Slot {
  std::vector<AlignedMemory> owned;
  std::vector<void*> buffers;
  std::vector<int64_t> indices;
  LoaderPosition at;
  uint64_t gather_ns = 0;
  std::exception_ptr failure;  // what kept the batch from being made
};

struct BatchLoader::State {
  State(int64_t rows, const LoaderOptions& options) : order(rows, options.seed, options.shuffle) {}

  std::vector<Slot> slots;
  EpochOrder order;  // used by whoever gathers
  std::atomic<bool> stop = false;

  bool threaded = false;
  pthread_t thread = {};
  pid_t owner = 0;
  uint32_t thread_id = 0;  // of the worker; written by it before the first batch is filled

  std::mutex mutex;
  std::condition_variable work;   // the worker waits for a free slot
  std::condition_variable ready;  // the caller waits for a filled one
  // All below are guarded by the mutex. Counts are of batches since the last restart; slot i %
  // slots holds batch i.
  uint64_t generation = 0;  // a restart makes the worker begin again at `from`
  LoaderPosition from;
  uint64_t filled = 0;
  uint64_t taken = 0;
  uint64_t released = 0;  // taken, or one less while the caller holds a batch
};

// Refuses a second thread instead of waiting for the first.
class BatchLoader::Exclusive {
 public:
  explicit Exclusive(std::atomic<bool>& busy) : busy_(busy) {
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
  if (options.prefetch > LoaderOptions::kMaxPrefetch) {
    fail(MILL_E_ARG, "prefetch is %u batches, the limit is %u", options.prefetch,
         LoaderOptions::kMaxPrefetch);
  }
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
  // In modelled time the worker ends by the stage alone: when it would see `stop` depends on how
  // the threads are scheduled.
  if (options_.stage != nullptr) {
    options_.stage->close();
    options_.stage->worker_joined();
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop.store(true, std::memory_order_relaxed);
  }
  state_->work.notify_one();
  ::pthread_join(state_->thread, nullptr);
}

bool BatchLoader::forked() const {
  return state_ != nullptr && state_->threaded && ::getpid() != state_->owner;
}

void BatchLoader::refuse_if_forked() const {
  if (forked()) {
    fail(MILL_E_FORKED, "the loader's worker belongs to process %ld, this is process %ld",
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
  const Exclusive exclusive(busy_);
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

void BatchLoader::check_slot(uint32_t slot, uint32_t column) const {
  if (slot >= slots()) fail(MILL_E_ARG, "slot %u of a loader with %u", slot, slots());
  if (column >= columns()) fail(MILL_E_ARG, "column %u of a loader with %u", column, columns());
}

void BatchLoader::set_buffer(uint32_t slot, uint32_t column, void* to) {
  const Exclusive exclusive(busy_);
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

void BatchLoader::make_state() {
  auto state = std::make_unique<State>(rows_, options_);
  state->slots.resize(slots());
  for (uint32_t s = 0; s < slots(); ++s) {
    Slot& slot = state->slots[s];
    slot.indices.resize(static_cast<size_t>(options_.batch));
    slot.owned.resize(columns());
    slot.buffers = given_[s];
    for (uint32_t c = 0; c < columns() && options_.stage == nullptr; ++c) {
      if (slot.buffers[c] != nullptr) continue;
      slot.owned[c].reset(::operator new(std::max<uint64_t>(column_bytes(c), 1), kAlignment));
      slot.buffers[c] = slot.owned[c].get();
    }
  }
  state->from = position_;
  state_ = std::move(state);
}

void BatchLoader::start() {
  make_state();
  if (options_.prefetch == 0) return;
  // A new thread inherits its creator's mask: no signal handler of the program ever runs on the
  // worker.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  if (options_.stage != nullptr) options_.stage->worker_announced();
  const int code = ::pthread_create(&state_->thread, nullptr, work_entry, this);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (code != 0) {
    state_.reset();
    throw Error(MILL_E_MEMORY, "the loader's worker thread cannot be started: error %d", code)
        .with_native(code);
  }
  state_->threaded = true;
  state_->owner = ::getpid();
}

LoaderPosition BatchLoader::after(const LoaderPosition& at) const {
  if (at.batch + 1 < batches_) return {at.seed, at.epoch, at.batch + 1};
  return {at.seed, at.epoch + 1, 0};
}

void BatchLoader::fill(Slot& slot, const LoaderPosition& at) const {
  const uint64_t begin = now_ns();
  slot.at = at;
  state_->order.prepare(at.seed, at.epoch, state_->stop);
  const int64_t count = rows_of(at.batch);
  state_->order.copy(at.batch * options_.batch, count, slot.indices.data());
  if (options_.stage != nullptr) {
    fill_stage(slot, count);
  } else {
    for (uint32_t c = 0; c < columns(); ++c) {
      plans_[c].run(slot.indices.data(), count, slot.buffers[c]);
    }
  }
  slot.gather_ns = now_ns() - begin;
}

void BatchLoader::fill_stage(Slot& slot, int64_t count) const {
  LoaderStage& stage = *options_.stage;
  const auto s = static_cast<uint32_t>(&slot - state_->slots.data());
  slot.failure = nullptr;
  try {
    stage.begin(s, count);
    for (uint32_t c = 0; c < columns(); ++c) {
      const int64_t step = stage.rows_at_once(c);
      for (int64_t first = 0; first < count; first += step) {
        const int64_t n = std::min(step, count - first);
        plans_[c].run(slot.indices.data() + first, n, stage.acquire(s, c, first, n));
        stage.commit(s, c, first, n);
      }
    }
    stage.end(s);
  } catch (...) {
    slot.failure = std::current_exception();
  }
}

uint64_t BatchLoader::bytes_of(int64_t rows) const {
  uint64_t bytes = 0;
  for (const Gather& plan : plans_) bytes += plan.row_bytes() * static_cast<uint64_t>(rows);
  return bytes;
}

void BatchLoader::fill_traced(Slot& slot, const LoaderPosition& at) const {
  Tracer* const tracer = options_.tracer;
  if (tracer == nullptr || (tracer->mask() & MILL_TRACE_LOADER) == 0) {
    fill(slot, at);
    return;
  }
  mill_trace_record record{};
  record.start_ns = tracer->now();
  fill(slot, at);
  record.duration_ns = tracer->now() - record.start_ns;
  record.kind = MILL_RECORD_LOADER;
  record.detail = MILL_RECORD_LOADER_FILL;
  record.bytes = bytes_of(rows_of(at.batch));
  record.memory = pack_bytes(MILL_RECORD_MEMORY_PAGEABLE, MILL_RECORD_MEMORY_PAGEABLE);
  tracer->record_shared(record);
}

void* BatchLoader::work_entry(void* self) {
  ::pthread_setname_np(::pthread_self(), "mill-loader");
  static_cast<BatchLoader*>(self)->work();
  return nullptr;
}

void BatchLoader::work() noexcept {
  LoaderStage* const stage = options_.stage;
  if (stage != nullptr) stage->worker_begins();
  work_on();
  if (stage != nullptr) stage->worker_ends();
}

void BatchLoader::work_on() noexcept {
  State& state = *state_;
  LoaderStage* const stage = options_.stage;
  bool has_free = false;
  uint64_t generation = 0;
  LoaderPosition at;
  {
    const StageTurn turn(stage);
    const std::lock_guard lock(state.mutex);
    state.thread_id = static_cast<uint32_t>(::gettid());
    generation = state.generation;
    at = state.from;
  }
  while (true) {
    if (stage != nullptr && !has_free) {
      has_free = stage->take_free();
      if (!has_free) return;
    }
    Slot* slot = nullptr;
    {
      const StageTurn turn(stage);
      std::unique_lock lock(state.mutex);
      // In modelled time there is a free slot already.
      state.work.wait(lock, [&] {
        return state.stop.load(std::memory_order_relaxed) || generation != state.generation ||
               state.filled - state.released < state.slots.size();
      });
      if (state.stop.load(std::memory_order_relaxed)) return;
      if (generation != state.generation) {
        generation = state.generation;
        at = state.from;
      }
      // The end of an epoch is no batch: the caller sees it from its own position.
      if (at.batch == batches_) at = {at.seed, at.epoch + 1, 0};
      slot = &state.slots[state.filled % state.slots.size()];
    }
    fill_traced(*slot, at);
    {
      const StageTurn turn(stage);
      const std::lock_guard lock(state.mutex);
      if (generation != state.generation) continue;
      ++state.filled;
    }
    at = after(at);
    state.ready.notify_one();
    if (stage != nullptr) {
      stage->give_filled();
      has_free = false;
    }
  }
}

bool BatchLoader::next(LoaderBatch& batch) {
  const Exclusive exclusive(busy_);
  refuse_if_forked();
  if (position_.batch == batches_) {
    release_held();
    if (state_ != nullptr && state_->threaded) state_->work.notify_one();
    position_ = {position_.seed, position_.epoch + 1, 0};
    return false;
  }
  if (state_ == nullptr) start();
  State& state = *state_;
  uint64_t wait_ns = 0;
  Slot* slot = nullptr;
  if (!state.threaded) {
    slot = &state.slots[0];
    fill(*slot, position_);
    wait_ns = slot->gather_ns;
    state.released = 0;
    state.taken = 1;
  } else {
    release_held();
    if (options_.stage != nullptr) options_.stage->take_filled();
    std::unique_lock lock(state.mutex);
    if (state.filled == state.taken) {
      const uint64_t begin = now_ns();
      state.ready.wait(lock, [&] { return state.filled != state.taken; });
      wait_ns = now_ns() - begin;
    }
    slot = &state.slots[state.taken % state.slots.size()];
    ++state.taken;
  }
  if (slot->failure) {
    // The batch is made again when it is asked for again.
    const std::exception_ptr failure = std::exchange(slot->failure, nullptr);
    restart();
    std::rethrow_exception(failure);
  }
  batch.columns = slot->buffers.data();
  batch.indices = slot->indices.data();
  batch.rows = rows_of(slot->at.batch);
  batch.epoch = slot->at.epoch;
  batch.batch = slot->at.batch;
  batch.slot = static_cast<uint32_t>(slot - state.slots.data());
  batch.wait_ns = wait_ns;
  batch.gather_ns = slot->gather_ns;
  batch.gather_thread = state.thread_id;
  ++position_.batch;
  return true;
}

void BatchLoader::release_batch() {
  const Exclusive exclusive(busy_);
  if (state_ == nullptr) return;
  refuse_if_forked();
  release_held();
}

void BatchLoader::release_held() {
  if (state_ == nullptr) return;
  bool gave = false;
  {
    const std::lock_guard lock(state_->mutex);
    gave = state_->released != state_->taken;
    state_->released = state_->taken;
  }
  if (!state_->threaded || !gave) return;
  state_->work.notify_one();
  if (options_.stage != nullptr) options_.stage->give_free();
}

void BatchLoader::restart() {
  if (state_ == nullptr) return;
  State& state = *state_;
  uint64_t waiting = 0;  // gathered for nothing
  uint64_t held = 0;
  {
    const StageTurn turn(state.threaded ? options_.stage : nullptr);
    const std::lock_guard lock(state.mutex);
    waiting = state.filled - state.taken;
    held = state.taken - state.released;
    ++state.generation;
    state.from = position_;
    state.filled = 0;
    state.taken = 0;
    state.released = 0;
  }
  if (!state.threaded) return;
  state.work.notify_one();
  if (options_.stage == nullptr) return;
  for (uint64_t k = 0; k < waiting; ++k) options_.stage->take_filled();
  for (uint64_t k = 0; k < waiting + held; ++k) options_.stage->give_free();
}

void BatchLoader::set_position(const LoaderPosition& position) {
  const Exclusive exclusive(busy_);
  refuse_if_forked();
  if (position.batch < 0 || position.batch > batches_) {
    fail(MILL_E_ARG, "batch %lld is outside 0 to %lld, the batches of an epoch",
         static_cast<ll>(position.batch), static_cast<ll>(batches_));
  }
  position_ = position;
  restart();
}

void BatchLoader::rewind() {
  const Exclusive exclusive(busy_);
  refuse_if_forked();
  position_.batch = 0;
  restart();
}

}  // namespace mill
