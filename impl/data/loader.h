// Shuffled batches of the rows of a dataset, gathered ahead on worker threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "data/augment.h"
#include "data/gather.h"
#include "data/stage.h"
#include "trace/trace_time.h"

namespace mill {

class Tracer;

struct LoaderOptions {
  static constexpr uint32_t kMaxPrefetch = 64;
  static constexpr uint32_t kMaxWorkers = 64;

  uint64_t seed = 0;
  int64_t batch = 1;
  bool shuffle = false;
  bool drop_last = false;         // leave out an epoch's last batch if it has fewer rows
  uint32_t prefetch = 2;          // batches gathered ahead; 0 = no thread, next() gathers
  uint32_t workers = 1;           // threads that gather; never more than prefetch
  LoaderStage* stage = nullptr;   // where batches go; null: into the slots' own buffers
  Tracer* tracer = nullptr;       // told of every batch that a worker gathers; outlives the loader
  std::optional<TraceTime> time;  // what those records are stamped with; the tracer's own if absent
};

// Where next() will go on. `batch` may equal batches(): the next answer is then the end of the
// epoch. Together with the dataset and the options it determines every batch that follows.
struct LoaderPosition {
  uint64_t seed = 0;
  uint64_t epoch = 0;
  int64_t batch = 0;
};

// One batch. The memory belongs to the loader and is valid until next(), release_batch(),
// set_position() or rewind().
struct LoaderBatch {
  void* const* columns =
      nullptr;  // per column a dense array of `rows` rows in the transform's dtype
  const int64_t* indices = nullptr;  // which rows of the dataset these are
  int64_t rows = 0;
  uint64_t epoch = 0;
  int64_t batch = 0;  // of the epoch
  uint32_t slot = 0;  // for set_buffer()
  uint64_t wait_ns =
      0;  // how long next() waited for the worker; without a worker, how long it gathered
  uint64_t gather_ns = 0;      // how long filling the batch took, wherever it ran
  uint32_t gather_thread = 0;  // the worker's thread id; 0 = the caller gathered
  uint64_t number = 0;         // of all that this loader gave, from 1
};

// The workers start at the first next() and block all signals: "mill-loader", or "mill-loader-K" if
// there are several. Each makes every workers()-th batch; they come out in order, and what they
// hold does not depend on how many workers there are. The ring has prefetch + 1 slots: the caller
// holds one while the workers fill the others, also across the end of an epoch. After the first
// next() nothing is allocated. The destructor waits for at most one batch of each worker.
//
// One thread at a time (MILL_E_BUSY otherwise, and on a worker). A batch that fails is made again
// when it is asked for again. After fork() the child has no workers: there next() of a loader whose
// workers had started answers MILL_E_FORKED, and the destructor leaks what the workers were using
// instead of waiting.
class BatchLoader {
 public:
  // Columns must have the same number of rows. With no columns, `rows` says how many there are and
  // a batch is its indices only.
  BatchLoader(const LoaderColumn* columns, uint32_t count, int64_t rows,
              const LoaderOptions& options);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  int64_t rows() const { return rows_; }
  int64_t batches() const { return batches_; }  // per epoch
  int64_t batch_rows() const {
    return options_.batch;
  }  // of a full batch: the option, or rows() if that is less
  uint32_t columns() const { return static_cast<uint32_t>(columns_.size()); }
  uint64_t number() const { return number_; }  // of the loader, unique in the process, from 1
  uint32_t slots() const { return options_.prefetch + 1; }
  uint32_t workers() const { return options_.workers; }  // 0 = the caller gathers
  int32_t column_dtype(uint32_t column) const { return plans_[column].dtype(); }
  uint64_t row_bytes(uint32_t column) const { return plans_[column].row_bytes(); }
  // Bytes of a column's buffer in one slot: batch_rows() rows in the transform's dtype.
  uint64_t column_bytes(uint32_t column) const;

  // Before the first next() only. The stage outlives the loader or its next set_stage.
  void set_stage(LoaderStage* stage) { options_.stage = stage; }
  // Before the first next() only.
  void set_transform(uint32_t column, const LoaderTransform& transform);
  // Before the first next() only. Null: none. It outlives the loader or its next set_augment.
  void set_augment(LoaderAugment* augment);

  // How many batches are gathered ahead and by how many threads (no more than batches) from the
  // next next() on; 0 ahead: next() gathers. The position stays; the threads end, after the batch
  // that each of them is making, and what they had gathered is gathered again. Buffers that were
  // set are forgotten: the caller's memory is the caller's again.
  void set_depth(uint32_t prefetch, uint32_t workers);

  // Makes a slot use the caller's memory, column_bytes(column) bytes at any alignment, instead of
  // memory of its own. Before the first next() any slot may be set. Later only that of the batch
  // being held: memory that was the caller's is then the caller's again, with the batch in it, and
  // memory that was the loader's is freed. The last buffer set for each slot and column must
  // outlive the loader.
  void set_buffer(uint32_t slot, uint32_t column, void* to);

  // False at the end of an epoch; the call after that begins the next one.
  bool next(LoaderBatch& batch);
  // Lets a worker refill the batch being held before the next next().
  void release_batch();

  LoaderPosition position() const { return position_; }
  void set_position(const LoaderPosition& position);
  void rewind();  // to the first batch of the current epoch

  // Whether the calling thread is one of the workers: it is inside an augment then. Any thread may
  // ask at any time.
  bool on_worker() const;

 private:
  struct Slot;
  struct Worker;
  struct State;
  class Exclusive;

  int64_t rows_of(int64_t batch) const;
  void check_slot(uint32_t slot, uint32_t column) const;
  void make_state();
  void start();
  int create_workers();
  void join_workers(uint32_t count);
  void wake_workers();
  void end_workers();
  bool forked() const;
  void refuse_if_forked() const;
  void restart();
  void fill(Slot& slot, const LoaderPosition& at) const;
  void make(Slot& slot, const LoaderPosition& at) const;
  void make_piece(Slot& slot, const LoaderPosition& at, uint32_t column, int64_t first,
                  int64_t count) const;
  void fill_traced(Slot& slot, const LoaderPosition& at, uint64_t number) const;
  uint64_t bytes_of(int64_t rows) const;
  LoaderPosition position_of(uint64_t batch) const;
  void release_held();
  void work(Worker& me) noexcept;
  static void* work_entry(void* worker);

  static uint64_t next_number();

  const uint64_t number_ = next_number();
  // No fewer than batches are ahead: what is gathered for nothing keeps the numbers that it has. A
  // multiple of workers(), so that a number still tells whose batch it is.
  uint64_t numbers_ahead() const { return uint64_t{slots()} * (workers() > 0 ? workers() : 1); }

  uint64_t taken_before_ = 0;  // under another depth
  LoaderOptions options_;
  int64_t rows_ = 0;
  int64_t batches_ = 0;
  std::vector<LoaderColumn> columns_;
  std::vector<Gather> plans_;
  LoaderAugment* augment_ = nullptr;
  std::vector<std::vector<void*>>
      given_;  // buffers set before the state exists, per slot and column
  LoaderPosition position_;
  std::atomic<bool> busy_ = false;
  // What the workers touch: a heap object, so that a forked child can leak it.
  std::unique_ptr<State> state_;
};

}  // namespace mill
