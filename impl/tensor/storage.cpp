#include "tensor/storage.h"

#include "base/fork.h"
#include "base/slab.h"

namespace mill {

Ref<Storage> Storage::allocate(Device& device, uint64_t bytes, uint64_t stream, uint32_t tag) {
  Block* block = device.allocator().allocate(bytes, stream, tag);
  Storage* storage = nullptr;
  try {
    storage = Slab<Storage>::create();
  } catch (...) {
    device.allocator().free(block);
    throw;
  }
  storage->device = &device;
  storage->block = block;
  storage->data = block->data;
  storage->bytes = bytes;
  device.retain_owner();
  return Ref<Storage>::adopt(storage);
}

Ref<Storage> Storage::import(Device& device, void* data, uint64_t bytes, mill_deleter deleter,
                             void* user) {
  Storage* storage = Slab<Storage>::create();
  storage->device = &device;
  storage->data = data;
  storage->bytes = bytes;
  storage->deleter = deleter;
  storage->user = user;
  device.retain_owner();
  return Ref<Storage>::adopt(storage);
}

void destroy(Storage* storage) noexcept {
  Device* device = storage->device;
  // A forked child inherits the records but not the right to touch the parent's device, pools or
  // callbacks.
  if (device->fork_generation() != fork_generation()) return;
  if (storage->deleter) {
    device->retire(storage);
    device->release_owner();
    return;
  }
  if (storage->block) {
    if (!device->runs_inline()) note_foreign_uses(*storage);
    device->allocator().free(storage->block);
  }
  Slab<Storage>::destroy(storage);
  device->release_owner();
}

void push_retired(std::atomic<Storage*>& list, Storage* storage) noexcept {
  storage->next_retired = list.load(std::memory_order_relaxed);
  while (!list.compare_exchange_weak(storage->next_retired, storage, std::memory_order_release,
                                     std::memory_order_relaxed)) {
  }
}

void run_deleters(Device& device, bool wait) noexcept {
  Storage* storage = device.take_retired();
  while (storage) {
    Storage* next = storage->next_retired;
    if (!device.runs_inline() && !uses_done(*storage)) {
      if (!wait) {
        device.retire(storage);
        storage = next;
        continue;
      }
      try {
        host_wait_all(*storage);
      } catch (...) {  // NOLINT(bugprone-empty-catch): a lost device uses nothing any more
      }
    }
    storage->deleter(storage->user, storage->data);
    Slab<Storage>::destroy(storage);
    storage = next;
  }
}

}  // namespace mill
