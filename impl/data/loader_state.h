// What the workers of a loader touch.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "data/loader.h"
#include "data/order.h"
#include "trace/clock.h"

namespace mill {

inline constexpr std::align_val_t kLoaderAlignment{64};

struct FreeAligned {
  void operator()(void* memory) const { ::operator delete(memory, kLoaderAlignment); }
};
using AlignedMemory = std::unique_ptr<void, FreeAligned>;

struct BatchLoader::Slot {
  std::vector<AlignedMemory> owned;
  std::vector<void*> buffers;
  std::vector<int64_t> indices;
  std::vector<uint64_t> keys;  // empty without an augment
  LoaderPosition at;
  uint64_t gather_ns = 0;
  uint32_t thread = 0;
  std::exception_ptr failure;  // what kept the batch from being made
  bool filled = false;         // guarded by the state's mutex
};

struct BatchLoader::Worker {
  BatchLoader* loader = nullptr;
  uint32_t number = 0;
  pthread_t thread = {};
  std::condition_variable work;  // it waits for a free slot
};

// Batches are counted over the loader's life: batch n is made by worker n % workers in slot n %
// slots. Those from `released` to `released + slots` are in flight, so that each slot has one batch
// and each batch one worker, whatever a restart does to what the batches hold.
struct BatchLoader::State {
  // Epochs of which two threads make batches at once: more than two only where an epoch has fewer
  // batches than there are workers.
  static constexpr uint32_t kOrders = 2;

  State(int64_t rows, const LoaderOptions& options, uint32_t n_workers)
      : orders(rows, options.seed, options.shuffle, n_workers > 1 ? kOrders : 1),
        workers(n_workers) {}

  std::vector<Slot> slots;
  EpochOrders orders;
  std::vector<Worker> workers;
  std::atomic<bool> stop = false;

  bool threaded = false;
  pid_t owner = 0;

  std::mutex mutex;
  std::condition_variable gate;   // the workers wait until all of them are there
  std::condition_variable ready;  // the caller waits for a filled slot
  // All below are guarded by the mutex.
  enum class Start : uint8_t { waiting, go, never } start = Start::waiting;
  uint64_t generation = 0;  // of `from`: a restart makes the workers begin again there
  uint64_t skipped = 0;     // numbers that no batch has, as those of restarts were used
  uint64_t from = 0;        // the batch with which the generation began
  LoaderPosition from_position;
  uint64_t taken = 0;
  uint64_t released = 0;  // taken, or one less while the caller holds a batch

  Slot& slot_of(uint64_t batch) { return slots[batch % slots.size()]; }
  uint32_t worker_of(uint64_t batch) const { return static_cast<uint32_t>(batch % workers.size()); }
};

}  // namespace mill
