// How the batches of a loader are made, and the threads that make them.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "data/loader_state.h"
#include "trace/exec_trace.h"

namespace mill {

namespace {

// A thread works for one loader all its life. Its own word for it can be asked for by any thread at
// any time, and a call that is refused for it leaves no trace that another thread could see.
thread_local const BatchLoader* working_for = nullptr;

}  // namespace

// ---- threads -----------------------------------------------------------------------------------

void BatchLoader::make_state() {
  auto state = std::make_unique<State>(rows_, options_, workers());
  state->slots.resize(slots());
  for (uint32_t s = 0; s < slots(); ++s) {
    Slot& slot = state->slots[s];
    slot.indices.resize(static_cast<size_t>(options_.batch));
    if (augment_ != nullptr) slot.keys.resize(slot.indices.size());
    slot.owned.resize(columns());
    slot.buffers = given_[s];
    for (uint32_t c = 0; c < columns() && options_.stage == nullptr; ++c) {
      if (slot.buffers[c] != nullptr) continue;
      slot.owned[c].reset(::operator new(std::max<uint64_t>(column_bytes(c), 1), kLoaderAlignment));
      slot.buffers[c] = slot.owned[c].get();
    }
  }
  for (uint32_t k = 0; k < workers(); ++k) {
    state->workers[k].loader = this;
    state->workers[k].number = k;
  }
  state->from_position = position_;
  state->owner = ::getpid();
  state_ = std::move(state);
}

// The code of the first that could not be made; none of them is there then.
int BatchLoader::create_workers() {
  // A new thread inherits its creator's mask: no signal handler of the program ever runs on a
  // worker.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  uint32_t made = 0;
  int code = 0;
  while (made < workers()) {
    Worker& worker = state_->workers[made];
    code = ::pthread_create(&worker.thread, nullptr, work_entry, &worker);
    if (code != 0) break;
    char name[16] = "mill-loader";
    if (workers() > 1) std::snprintf(name, sizeof name, "mill-loader-%u", made % 100);
    ::pthread_setname_np(worker.thread, name);
    ++made;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (code == 0 && options_.stage != nullptr) {
    for (uint32_t k = 0; k < made; ++k) options_.stage->worker_announced(k);
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->threaded = code == 0;
    state_->start = code == 0 ? State::Start::go : State::Start::never;
  }
  state_->gate.notify_all();
  if (code != 0) join_workers(made);
  return code;
}

void BatchLoader::start() {
  make_state();
  if (workers() == 0) return;
  if (const int code = create_workers(); code != 0) {
    state_.reset();
    throw Error(MILL_E_MEMORY, "the loader's %u worker threads cannot be started: error %d",
                workers(), code)
        .with_native(code);
  }
}

void BatchLoader::join_workers(uint32_t count) {
  for (uint32_t k = 0; k < count; ++k) ::pthread_join(state_->workers[k].thread, nullptr);
}

void BatchLoader::wake_workers() {
  for (Worker& worker : state_->workers) worker.work.notify_one();
}

bool BatchLoader::on_worker() const {
  return working_for == this;
}

void* BatchLoader::work_entry(void* worker) {
  Worker& me = *static_cast<Worker*>(worker);
  BatchLoader& loader = *me.loader;
  working_for = &loader;
  {
    State& state = *loader.state_;
    std::unique_lock lock(state.mutex);
    state.gate.wait(lock, [&] { return state.start != State::Start::waiting; });
    if (state.start == State::Start::never) return nullptr;
  }
  LoaderStage* const stage = loader.options_.stage;
  if (stage != nullptr) stage->worker_begins(me.number);
  loader.work(me);
  if (stage != nullptr) stage->worker_ends();
  return nullptr;
}

void BatchLoader::work(Worker& me) noexcept {
  State& state = *state_;
  LoaderStage* const stage = options_.stage;
  const auto tid = static_cast<uint32_t>(::gettid());
  const uint64_t step = state.workers.size();
  bool has_free = false;
  bool begun = false;
  uint64_t generation = 0;
  uint64_t batch = 0;
  while (true) {
    if (stage != nullptr && !has_free) {
      has_free = stage->take_free(me.number);
      if (!has_free) return;
    }
    Slot* slot = nullptr;
    LoaderPosition at;
    uint64_t number = 0;
    {
      const TurnHold turn(turns_of(stage));
      std::unique_lock lock(state.mutex);
      // In modelled time there is a free slot already.
      me.work.wait(lock, [&] {
        return state.stop.load(std::memory_order_relaxed) || !begun ||
               generation != state.generation || batch < state.released + state.slots.size();
      });
      if (state.stop.load(std::memory_order_relaxed)) return;
      if (!begun || generation != state.generation) {
        begun = true;
        generation = state.generation;
        // The first from there on that is this worker's; it is in flight, for there are no more
        // workers than slots.
        batch = state.from + (me.number + step - state.from % step) % step;
      }
      at = position_of(batch);
      number = taken_before_ + state.skipped + batch + 1;
      slot = &state.slot_of(batch);
    }
    slot->thread = tid;
    fill_traced(*slot, at, number);
    {
      const TurnHold turn(turns_of(stage));
      const std::lock_guard lock(state.mutex);
      if (generation != state.generation) continue;
      slot->filled = true;
    }
    batch += step;
    state.ready.notify_one();
    if (stage != nullptr) {
      stage->give_filled(me.number);
      has_free = false;
    }
  }
}

// ---- one batch ---------------------------------------------------------------------------------

// The end of an epoch is no batch: the caller sees it from its own position. With the mutex held.
LoaderPosition BatchLoader::position_of(uint64_t batch) const {
  const LoaderPosition& from = state_->from_position;
  const auto per_epoch = static_cast<uint64_t>(batches_);
  const uint64_t after = static_cast<uint64_t>(from.batch) + (batch - state_->from);
  return {from.seed, from.epoch + after / per_epoch, static_cast<int64_t>(after % per_epoch)};
}

uint64_t BatchLoader::bytes_of(int64_t rows) const {
  uint64_t bytes = 0;
  for (const Gather& plan : plans_) bytes += plan.row_bytes() * static_cast<uint64_t>(rows);
  return bytes;
}

void BatchLoader::fill_traced(Slot& slot, const LoaderPosition& at, uint64_t number) const {
  Tracer* const tracer = options_.tracer;
  if (tracer == nullptr || (tracer->mask() & MILL_TRACE_LOADER) == 0) {
    fill(slot, at);
    return;
  }
  const TraceTime time = options_.time.value_or(TraceTime(*tracer));
  mill_trace_record record{};
  record.clock = time.clock();
  record.start_ns = time.now();
  fill(slot, at);
  record.duration_ns = time.now() - record.start_ns;
  record.kind = MILL_RECORD_LOADER;
  record.detail = MILL_RECORD_LOADER_FILL;
  record.storage = number_;
  record.instance = number;
  record.bytes = bytes_of(rows_of(at.batch));
  const LoaderStage* const stage = options_.stage;
  record.memory = pack_bytes(MILL_RECORD_MEMORY_PAGEABLE,
                             stage != nullptr ? stage->memory_kind() : MILL_RECORD_MEMORY_PAGEABLE);
  tracer->record_shared(record);
}

void BatchLoader::fill(Slot& slot, const LoaderPosition& at) const {
  const uint64_t begin = monotonic_ns();
  slot.at = at;
  slot.failure = nullptr;
  try {
    make(slot, at);
  } catch (...) {
    slot.failure = std::current_exception();
  }
  slot.gather_ns = monotonic_ns() - begin;
}

void BatchLoader::make(Slot& slot, const LoaderPosition& at) const {
  LoaderStage* const stage = options_.stage;
  const auto s = static_cast<uint32_t>(&slot - state_->slots.data());
  const int64_t count = rows_of(at.batch);
  // False: the loader ends, and nobody will look at the batch.
  if (!state_->orders.copy(at.seed, at.epoch, at.batch * options_.batch, count, slot.indices.data(),
                           state_->stop)) {
    return;
  }
  for (size_t i = 0; augment_ != nullptr && i < static_cast<size_t>(count); ++i) {
    slot.keys[i] = row_key(at.seed, at.epoch, slot.indices[i]);
  }
  if (stage != nullptr) stage->begin(s, count);
  for (uint32_t c = 0; c < columns(); ++c) {
    const int64_t step = stage != nullptr ? stage->rows_at_once(c) : count;
    for (int64_t first = 0; first < count; first += step) {
      make_piece(slot, at, c, first, std::min(step, count - first));
    }
  }
}

void BatchLoader::make_piece(Slot& slot, const LoaderPosition& at, uint32_t column, int64_t first,
                             int64_t count) const {
  LoaderStage* const stage = options_.stage;
  const Gather& plan = plans_[column];
  const auto s = static_cast<uint32_t>(&slot - state_->slots.data());
  const int64_t* const indices = slot.indices.data() + first;
  void* const to =
      stage != nullptr ? stage->acquire(s, column, first, count) : slot.buffers[column];
  plan.run(indices, count, to);
  if (augment_ != nullptr && plan.row_bytes() > 0) {
    mill_augment_args args{};
    args.size = sizeof args;
    args.type = MILL_STRUCT_AUGMENT_ARGS;
    args.data = to;
    args.indices = indices;
    args.keys = slot.keys.data() + first;
    args.rows = count;
    args.row_bytes = plan.row_bytes();
    args.column = column;
    args.dtype = plan.dtype();
    args.epoch = at.epoch;
    args.batch = at.batch;
    args.first = first;
    augment_->run(args);
  }
  if (stage != nullptr) stage->commit(s, column, first, count);
}

}  // namespace mill
