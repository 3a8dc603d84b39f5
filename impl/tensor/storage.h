// The memory that tensors view. Shared by reference count; returned to its device's allocator when
// the last view goes.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/ref.h"
#include "device/device.h"
#include "memory/allocator.h"
#include "millrace/tensor.h"
#include "tensor/order.h"

namespace mill {

struct Storage {
  std::atomic<uint32_t> refs{1};
  std::atomic<uint32_t> reserved{0};
  Device* device = nullptr;  // holds a reference to the device's owner
  Block* block = nullptr;    // null for imported memory
  void* data = nullptr;
  uint64_t bytes = 0;
  // Counts writes, through any view. A saved tensor remembers it so that backward can refuse
  // overwritten values.
  std::atomic<uint64_t> version{0};
  // Serial of the tape that last tracked a tensor on this memory: such memory is not written while
  // that tape records.
  std::atomic<uint64_t> tracked_by{0};
  std::atomic<uint64_t> trace_id{0};  // given when the trace first asks
  StorageUse use;                     // stays empty on an inline device
  mill_deleter deleter = nullptr;
  void* user = nullptr;
  Storage* next_retired = nullptr;

  // Unspecified contents. Throws MILL_E_MEMORY.
  static Ref<Storage> allocate(Device& device, uint64_t bytes, uint64_t stream, uint32_t tag);
  // Memory of the caller's. deleter may be null.
  static Ref<Storage> import(Device& device, void* data, uint64_t bytes, mill_deleter deleter,
                             void* user);
};

inline void retain(Storage* storage) noexcept {
  storage->refs.fetch_add(1, std::memory_order_relaxed);
}
void destroy(Storage* storage) noexcept;
inline void release(Storage* storage) noexcept {
  if (storage->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy(storage);
}

// Calls the deleters of imported memory whose last tensor is gone and which the device has finished
// with. Kept out of release, which runs no foreign code. wait: for the device, so that none is
// left.
void run_deleters(Device& device, bool wait = false) noexcept;

}  // namespace mill
