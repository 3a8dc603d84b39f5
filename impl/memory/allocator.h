// The caching allocator of one device.
//
// Freed memory is kept and handed out again: at once to the stream it was used on, to another
// stream only when the device has finished what the first had submitted by the free (StreamClock).
// Blocks up to 32 KiB go through the calling thread's magazines, guarded by a lock that only a
// flush or a statistics query ever contends; everything else takes the allocator's mutex. A block
// may be freed on any thread.
//
// When the source or the limit refuses, the allocator empties all magazines, searches again,
// returns unused segments, waits for other streams and searches again, before it throws
// MILL_E_MEMORY.
//
// Limits: segments come in 2 MiB steps where source and limit allow; a segment returns to the
// source only when it is wholly free. The peak is exact for one thread; each further thread may add
// up to 256 KiB that it has not yet reported. Not usable in a forked child.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "memory/block.h"
#include "memory/heap.h"
#include "memory/runs.h"
#include "memory/source.h"
#include "memory/stats.h"
#include "memory/stream_clock.h"

namespace mill {

struct ThreadCache;

enum class MemoryEvent : uint32_t { allocate = 1, free = 2, growth = 3, release = 4, failure = 5 };

struct MemoryNotice {
  MemoryEvent event;
  Served served;     // for allocate
  uint8_t tag;       // for allocate and free
  const void* data;  // null for release and failure
  uint64_t bytes;    // as requested; growth and release: what the source gave or got back
  uint64_t capacity;
  uint64_t stream;
  Block* block = nullptr;  // for allocate and free
};
// Called without any lock of the allocator's held. It may call stats, but must not allocate from or
// free to it.
using MemoryHook = void (*)(void* user, const MemoryNotice& notice) noexcept;

class Allocator {
 public:
  // The source must outlive the allocator.
  explicit Allocator(Source& source);
  // Every block must have been freed, and no other thread may be inside.
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  // Unspecified contents, aligned to 64 bytes, for work on `stream`. A request of no bytes gets a
  // block without data. A tag out of range counts as 0. Throws MILL_E_MEMORY, or std::bad_alloc
  // when a stream is seen for the first time.
  Block* allocate(uint64_t bytes, uint64_t stream, uint32_t tag);
  // From now on the block belongs to whoever is next in line on its stream, and after the streams
  // of record_use.
  void free(Block* block) noexcept;
  // Work on a stream other than the block's own uses it: the memory waits for that too.
  void record_use(Block* block, uint64_t stream);
  // Called before a stream is destroyed. Its id must not be used for a new allocation afterwards.
  void retire_stream(uint64_t stream) noexcept;

  // Returns unused cached memory to the source, as far as the device is done with it; how many
  // bytes.
  uint64_t trim();
  // What may be reserved from the source; 0 = no limit. Cached memory above it is returned at once;
  // memory in use stays.
  void set_limit(uint64_t bytes);
  // The k-th allocation from now on fails (1 is the next); 0 turns it off. Counts allocations of
  // all threads.
  void fail_at(uint64_t k) noexcept;

  MemoryStats stats() const;
  void reset_peak() noexcept;

  // Set once, before other threads use the allocator. Growth, release and failure are always told;
  // allocations and frees while the second switch is on.
  void set_hook(MemoryHook hook, void* user) noexcept;
  void tell_every_block(bool on) noexcept;

  // Walks everything and compares it with the counts; "" or what does not fit. For tests; no other
  // thread may be inside.
  std::string self_check() const;

  uint64_t id() const noexcept { return id_; }

 private:
  friend struct ThreadCache;
  enum Watch : uint32_t { kFailing = 1, kTelling = 2 };
  static constexpr uint64_t kSegmentAlign = 256;  // what every device's own allocation gives
  enum class Effort : uint32_t { normal, search, reclaimed };

  struct Growth {
    uint64_t bytes = 0;
    void* data = nullptr;
  };

  Block* allocate_unwatched(uint64_t bytes, uint64_t stream, uint8_t tag);
  Block* allocate_small(ThreadCache& cache, uint64_t bytes, uint64_t stream, uint8_t tag);
  Block* allocate_shared(uint64_t bytes, uint64_t stream, uint8_t tag);
  Block* allocate_empty(uint64_t stream, uint8_t tag);
  Block* reclaim_and_take(uint64_t bytes, uint64_t stream, uint8_t tag);
  bool free_small(ThreadCache& cache, Block* block) noexcept;
  bool change_over(ThreadCache& cache, uint64_t stream) noexcept;
  bool refill(ThreadCache& cache, uint32_t size_class, uint64_t stream, Growth* growth);
  void free_shared(Block* block) noexcept;
  void count_failure(uint64_t bytes, uint64_t stream, uint8_t tag) noexcept;

  // With the mutex held.
  Block* find(uint64_t bytes, uint64_t stream, Effort effort, Growth* growth);
  Block* find_pages(uint64_t bytes, uint64_t least, Heap& heap, uint64_t stream, Effort effort,
                    Growth* growth);
  bool grow(Heap& heap, uint64_t bytes, Growth* growth);
  bool grow_exactly(Heap& heap, uint64_t bytes, Growth* growth);
  bool poll() noexcept;
  void sort_pending() noexcept;
  uint64_t release_unused() noexcept;
  void put_away(Block* block) noexcept;
  void account(Block* block, uint64_t bytes, uint8_t tag, Served served) noexcept;
  void give_list(Block* list) noexcept;  // of one stream, from a magazine

  void hand_out(Block* block, uint64_t bytes, uint8_t tag, Served served) noexcept;

  void flush(ThreadCache& cache) noexcept;  // with the cache's lock held
  void flush_all() noexcept;
  void publish(ThreadCache& cache) noexcept;  // with the cache's lock held
  void publish_own() noexcept;
  void raise_peak(int64_t in_use) noexcept;
  void tell(const MemoryNotice& notice) const noexcept;
  void tell_growth(const Growth& growth) const noexcept;

  Source& source_;
  const bool inline_;
  const bool poison_;
  const bool cached_;  // threads keep blocks of their own; not where their order is modelled
  const uint64_t id_;
  std::atomic<uint32_t> watch_{0};
  std::atomic<uint64_t> fail_in_{0};
  MemoryHook hook_ = nullptr;
  void* hook_user_ = nullptr;

  // What the caches have published, and the largest it has been.
  std::atomic<int64_t> in_use_{0};
  std::atomic<int64_t> peak_{0};

  mutable TurnMutex mutex_;
  StreamClock clock_;
  Heap
      small_heap_;  // segments of runs and of blocks up to 1 MiB: they must not break up large ones
  Heap large_heap_;
  Runs runs_;
  BlockList pending_;
  MemoryCounts counts_;
  uint64_t limit_ = 0;
  uint64_t reserved_ = 0;
  uint64_t reserved_peak_ = 0;
  uint64_t growths_ = 0;
  uint64_t reclaims_ = 0;
  uint64_t failures_ = 0;
  uint64_t source_allocations_ = 0;
  uint64_t source_frees_ = 0;
  char source_text_[Source::kTextBytes] = {};  // why the source last refused

  ThreadCache* caches_ = nullptr;  // guarded by the lock that all caches share
};

}  // namespace mill
