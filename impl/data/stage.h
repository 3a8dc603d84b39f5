// Where a loader's batches are gathered, and what happens to them then.
#pragma once

#include <cstdint>

#include "base/turn_mutex.h"
#include "millrace/trace.h"

namespace mill {

inline constexpr Turns kNoTurns{};

// Called by whoever gathers: several threads at once, for different slots. begin, acquire and
// commit may throw; the caller of next() is told.
class LoaderStage {
 public:
  virtual ~LoaderStage() = default;

  // A batch of `rows` rows begins in the slot. Waits until the slot's memory may be written again.
  virtual void begin(uint32_t slot, int64_t rows) = 0;
  // How many rows of a column are gathered at a time; at least 1.
  virtual int64_t rows_at_once(uint32_t column) const = 0;
  // Memory for rows [first, first + rows) of the column, which must then be given to commit.
  virtual void* acquire(uint32_t slot, uint32_t column, int64_t first, int64_t rows) = 0;
  virtual void commit(uint32_t slot, uint32_t column, int64_t first, int64_t rows) = 0;

  // What acquire gives, as the trace names it: MILL_RECORD_MEMORY_...
  virtual int32_t memory_kind() const { return MILL_RECORD_MEMORY_PAGEABLE; }

  // For a stage that lives in modelled time: who waits for whom. Beside the loader's own locks, and
  // never called with one held. Workers are numbered from 0. Each has a count of batches that it
  // may fill, at first as many of the slots as it serves when they are dealt out in turn, and one
  // of those that it has filled.
  virtual void worker_announced(uint32_t) {}
  virtual void worker_begins(uint32_t) {}
  virtual void worker_ends() {}
  virtual void worker_joined(uint32_t) {}            // by who waits for its end
  virtual bool take_free(uint32_t) { return true; }  // false: the loader ends
  virtual void give_filled(uint32_t) {}
  virtual void take_filled(uint32_t) {}
  virtual void give_free(uint32_t) {}
  virtual void close() {}
  // What happens while a turn is held is one step to the other threads, in modelled time's order.
  // Taken with no lock of the loader's held; nothing waits meanwhile.
  virtual const Turns& turns() const { return kNoTurns; }
};

// Of a stage that may be null.
inline const Turns& turns_of(const LoaderStage* stage) {
  return stage != nullptr ? stage->turns() : kNoTurns;
}

}  // namespace mill
