// A thread's magazines for one allocator.
//
// A cache belongs to its thread: only that thread takes and gives blocks, so its lock is all but
// free. Others take the lock to flush it or to read its counts. The cache outlives its allocator:
// it is then ownerless and its thread drops it at the next opportunity, or when it ends.
//
// Locks are taken in this order: the one that guards the lists of caches, a cache's, the
// allocator's.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <mutex>

#include "memory/block.h"
#include "memory/size_class.h"
#include "memory/stats.h"

namespace mill {

class Allocator;

struct ThreadCache {
  struct Magazine {
    Block* head = nullptr;
    uint32_t count = 0;
  };

  std::atomic<bool> locked{false};
  // Requests and frees for other streams than this cache's; it changes over when there were many.
  uint32_t strangers = 0;
  uint64_t stream = kAnyStream;
  Magazine magazines[kSmallClasses];
  MemoryCounts counts;
  // Change of the bytes in use since the last publication, and the largest value it had.
  int64_t unpublished = 0;
  int64_t unpublished_peak = 0;

  // Guarded by the lock of the lists.
  ThreadCache** list = nullptr;
  Allocator* owner = nullptr;
  ThreadCache* next = nullptr;
  ThreadCache* previous = nullptr;

  void lock() noexcept {
    while (locked.exchange(true, std::memory_order_acquire)) {
      while (locked.load(std::memory_order_relaxed)) sched_yield();
    }
  }
  // With the lists' lock held: gives everything to the owner, if there still is one, and leaves its
  // list.
  void abandon() noexcept;
  void unlock() noexcept { locked.store(false, std::memory_order_release); }
};

// The calling thread's caches, by the last bits of the allocator's id. An id is never used again,
// so an entry of an allocator that has ended is never mistaken for another's.
struct CacheSlots {
  static constexpr uint64_t kSlots = 8;
  uint64_t ids[kSlots];
  ThreadCache* caches[kSlots];
};
extern thread_local constinit CacheSlots t_cache_slots;

// Null if the thread cannot have a cache for this allocator: no memory, no thread key, or the place
// is taken by another allocator that is alive. The allocator then serves the thread from its shared
// part.
ThreadCache* make_thread_cache(Allocator& allocator, uint64_t id, ThreadCache** list) noexcept;

inline ThreadCache* thread_cache(Allocator& allocator, uint64_t id, ThreadCache** list) noexcept {
  const CacheSlots& slots = t_cache_slots;
  const uint64_t slot = id % CacheSlots::kSlots;
  if (slots.ids[slot] == id) [[likely]]
    return slots.caches[slot];
  return make_thread_cache(allocator, id, list);
}

// The lock of the lists of caches, taken around fork.
std::mutex& cache_lists_mutex() noexcept;
uint64_t next_allocator_id() noexcept;
// Lets go of all caches of a list, whose blocks the allocator destroys. With the lists' lock held.
void orphan_caches(ThreadCache** list) noexcept;

}  // namespace mill
