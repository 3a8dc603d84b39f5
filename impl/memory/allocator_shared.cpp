// The part of the allocator behind its mutex: search, growth, what is done when memory runs out,
// statistics.
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/sanitize.h"
#include "base/slab.h"
#include "memory/allocator.h"
#include "memory/thread_cache.h"

namespace mill {

namespace {

using CacheLock = std::lock_guard<ThreadCache>;

// Everything that counts, held still.
class Standstill {
 public:
  explicit Standstill(ThreadCache* caches) : caches_(caches) {
    for (ThreadCache* c = caches_; c; c = c->next) c->lock();
  }
  ~Standstill() {
    for (ThreadCache* c = caches_; c; c = c->next) c->unlock();
  }
  Standstill(const Standstill&) = delete;
  Standstill& operator=(const Standstill&) = delete;

 private:
  ThreadCache* caches_;
};

uint64_t not_negative(int64_t value) {
  return value > 0 ? static_cast<uint64_t>(value) : 0;
}

}  // namespace

// Normal effort looks where the request belongs and may grow. After that has failed, a search looks
// everywhere; once unused memory has been given back, growth is tried again.
Block* Allocator::find(uint64_t bytes, uint64_t stream, Effort effort, Growth* growth) {
  if (bytes > kSmallMax) {
    const uint64_t pages = heap_bytes(bytes);
    return find_pages(pages, pages, bytes <= kMediumMax ? small_heap_ : large_heap_, stream, effort,
                      growth);
  }
  const uint32_t c = small_class(bytes);
  if (Block* block = runs_.take(c, stream)) return block;
  if (poll()) {
    if (Block* block = runs_.take(c, stream)) return block;
  }
  const uint64_t least = round_up(small_class_bytes(c), kPage);
  Block* home = find_pages(run_bytes(c), least, small_heap_, stream, effort, growth);
  if (!home) return nullptr;
  if (!runs_.carve(c, home)) {
    put_away(home);
    return nullptr;
  }
  return runs_.take(c, stream);
}

Block* Allocator::find_pages(uint64_t bytes, uint64_t least, Heap& heap, uint64_t stream,
                             Effort effort, Growth* growth) {
  if (Block* block = heap.take(bytes, stream)) return block;
  if (poll()) {
    if (Block* block = heap.take(bytes, stream)) return block;
  }
  if (effort != Effort::normal) {
    Heap& other = &heap == &small_heap_ ? large_heap_ : small_heap_;
    for (uint64_t size : {bytes, least}) {
      if (Block* block = heap.take(size, stream)) return block;
      if (Block* block = other.take(size, stream)) return block;
    }
  }
  if (effort == Effort::search) return nullptr;
  if (grow(heap, bytes, growth)) return heap.take(bytes, stream);
  if (least == bytes) return nullptr;
  if (Block* block = heap.take(least, stream)) return block;
  return grow_exactly(heap, least, growth) ? heap.take(least, stream) : nullptr;
}

bool Allocator::grow(Heap& heap, uint64_t bytes, Growth* growth) {
  const uint64_t step = round_up(bytes, kSegmentStep);
  return grow_exactly(heap, step, growth) || (step != bytes && grow_exactly(heap, bytes, growth));
}

bool Allocator::grow_exactly(Heap& heap, uint64_t bytes, Growth* growth) {
  source_text_[0] = 0;
  if (limit_ != 0 && (reserved_ > limit_ || bytes > limit_ - reserved_)) return false;
  void* data = nullptr;
  ++source_allocations_;
  if (source_.allocate(bytes, kSegmentAlign, &data, source_text_) != MILL_OK) return false;
  try {
    heap.add(data, bytes);
  } catch (const Error&) {
    source_.free(data, bytes);
    ++source_frees_;
    return false;
  }
  if (poison_) poison_memory(data, bytes);
  reserved_ += bytes;
  reserved_peak_ = std::max(reserved_peak_, reserved_);
  ++growths_;
  growth->bytes = bytes;
  growth->data = data;
  return true;
}

bool Allocator::poll() noexcept {
  if (inline_ || !clock_.poll()) return false;
  sort_pending();
  return true;
}

void Allocator::sort_pending() noexcept {
  for (Block* block = pending_.head; block;) {
    Block* next = block->next;
    bool done = true;
    for (const BlockUses* uses = block->uses; uses && done; uses = uses->next) {
      for (uint32_t k = 0; k < uses->count && done; ++k)
        done = clock_.done(uses->uses[k].stream, uses->uses[k].ticket);
    }
    if (done) {
      pending_.remove(block);
      while (BlockUses* uses = block->uses) {
        block->uses = uses->next;
        Slab<BlockUses>::destroy(uses);
      }
      put_away(block);
    }
    block = next;
  }
}

void Allocator::put_away(Block* block) noexcept {
  if (block->size_class < kSmallClasses) {
    runs_.give(block);
  } else {
    static_cast<Segment*>(block->owner)->heap->give(block);
  }
}

uint64_t Allocator::release_unused() noexcept {
  runs_.dissolve();
  small_heap_.settle();
  large_heap_.settle();
  const uint64_t released =
      small_heap_.release(&source_frees_) + large_heap_.release(&source_frees_);
  reserved_ -= released;
  return released;
}

Block* Allocator::reclaim_and_take(uint64_t bytes, uint64_t stream, uint8_t tag) {
  flush_all();
  Growth growth;
  uint64_t released = 0;
  Block* block = nullptr;
  std::unique_lock<TurnMutex> lock(mutex_);
  auto attempt = [&] {
    poll();
    runs_.dissolve();
    small_heap_.settle();
    large_heap_.settle();
    // Above a limit that was lowered, cached memory goes back before it may serve anything.
    if (limit_ != 0 && reserved_ > limit_) released += release_unused();
    block = find(bytes, stream, Effort::search, &growth);
    if (block) return;
    released += release_unused();
    block = find(bytes, stream, Effort::reclaimed, &growth);
  };
  if (bytes <= kRequestMax) {
    attempt();
    if (!block && !inline_) {
      auto waits = clock_.begin_wait();
      lock.unlock();
      StreamClock::wait(source_, waits);
      lock.lock();
      clock_.end_wait(waits);
      sort_pending();
      attempt();
    }
  }
  if (block) {
    ++reclaims_;
    account(block, bytes, tag, Served::reclaim);
    lock.unlock();
    if (released)
      tell({MemoryEvent::release, Served::reclaim, 0, nullptr, released, released, kAnyStream});
    if (growth.bytes) tell_growth(growth);
    return block;
  }
  ++failures_;
  const uint64_t in_use = not_negative(in_use_.load(std::memory_order_relaxed));
  const uint64_t limit = limit_;
  char limit_text[32] = "no limit";
  if (limit)
    std::snprintf(limit_text, sizeof limit_text, "limit %llu",
                  static_cast<unsigned long long>(limit));
  char source_text[Source::kTextBytes];
  std::snprintf(source_text, sizeof source_text, "%s", source_text_);
  lock.unlock();
  if (released)
    tell({MemoryEvent::release, Served::reclaim, 0, nullptr, released, released, kAnyStream});
  tell({MemoryEvent::failure, Served::reclaim, tag, nullptr, bytes, 0, stream});
  throw Error(
      MILL_E_MEMORY,
      "cannot allocate %llu bytes on %s: %llu in use, %llu cached and just released, %s%s%s",
      static_cast<unsigned long long>(bytes), source_.name(),
      static_cast<unsigned long long>(in_use), static_cast<unsigned long long>(released),
      limit_text, source_text[0] ? "; " : "", source_text)
      .with_memory(bytes, in_use, limit);
}

void Allocator::count_failure(uint64_t bytes, uint64_t stream, uint8_t tag) noexcept {
  {
    const std::lock_guard lock(mutex_);
    ++failures_;
  }
  tell({MemoryEvent::failure, Served::reclaim, tag, nullptr, bytes, 0, stream});
}

uint64_t Allocator::trim() {
  flush_all();
  uint64_t released = 0;
  {
    const std::lock_guard lock(mutex_);
    poll();
    released = release_unused();
  }
  if (released)
    tell({MemoryEvent::release, Served::hit, 0, nullptr, released, released, kAnyStream});
  return released;
}

void Allocator::set_limit(uint64_t bytes) {
  bool above = false;
  {
    const std::lock_guard lock(mutex_);
    limit_ = bytes;
    above = bytes != 0 && reserved_ > bytes;
  }
  if (above) trim();
}

MemoryStats Allocator::stats() const {
  const std::lock_guard lists(cache_lists_mutex());
  const Standstill still(caches_);
  const std::lock_guard lock(mutex_);
  MemoryCounts sum = counts_;
  const int64_t base = in_use_.load(std::memory_order_relaxed);
  int64_t peak = peak_.load(std::memory_order_relaxed);
  for (const ThreadCache* c = caches_; c; c = c->next) {
    sum.add(c->counts);
    peak = std::max(peak, base + c->unpublished_peak);
  }
  MemoryStats s;
  s.in_use = not_negative(sum.in_use);
  s.in_use_peak = std::max(not_negative(peak), s.in_use);
  s.requested = not_negative(sum.requested);
  s.reserved = reserved_;
  s.reserved_peak = reserved_peak_;
  s.cached = reserved_ - s.in_use;
  s.limit = limit_;
  s.allocations = sum.allocations;
  s.frees = sum.frees;
  s.growths = growths_;
  s.reclaims = reclaims_;
  s.failures = failures_;
  s.source_allocations = source_allocations_;
  s.source_frees = source_frees_;
  for (uint32_t t = 0; t < kMemoryTags; ++t) s.tags[t] = not_negative(sum.tags[t]);
  return s;
}

void Allocator::reset_peak() noexcept {
  const std::lock_guard lists(cache_lists_mutex());
  const Standstill still(caches_);
  const std::lock_guard lock(mutex_);
  for (ThreadCache* c = caches_; c; c = c->next) publish(*c);
  peak_.store(in_use_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  reserved_peak_ = reserved_;
}

std::string Allocator::self_check() const {
  const std::lock_guard lists(cache_lists_mutex());
  const Standstill still(caches_);
  const std::lock_guard lock(mutex_);
  uint64_t reserved = 0;
  uint64_t live = 0;
  uint64_t pending = 0;
  uint64_t cut = 0;
  for (const Heap* heap : {&small_heap_, &large_heap_}) {
    uint64_t unused = 0;
    for (const Segment* segment = heap->segments(); segment; segment = segment->next) {
      const char* at = static_cast<const char*>(segment->data);
      const Block* before = nullptr;
      for (const Block* block = segment->first; block; block = block->after) {
        if (block->data != at) return "a segment has a gap or an overlap";
        if (block->before != before) return "a block does not know the one before it";
        if (block->owner != segment || segment->heap != heap)
          return "a block does not know its segment";
        if (block->capacity == 0 || block->capacity % kPage != 0)
          return "a heap block is not whole pages";
        if (block->state == BlockState::free && before && before->state == BlockState::free &&
            before->stream == block->stream) {
          return "two free blocks of one stream lie side by side";
        }
        if (block->state == BlockState::free) unused += block->capacity;
        if (block->state == BlockState::live) live += block->capacity;
        if (block->state == BlockState::pending) pending += block->capacity;
        if (block->state == BlockState::run) cut += block->capacity;
        at += block->capacity;
        before = block;
      }
      if (at != static_cast<const char*>(segment->data) + segment->bytes)
        return "a segment is not covered";
      reserved += segment->bytes;
    }
    if (unused != heap->free_bytes()) return "the heap's free bytes do not match its blocks";
  }
  uint64_t pieces_free = 0;
  uint64_t homes = 0;
  uint64_t in_magazines = 0;
  for (const ThreadCache* c = caches_; c; c = c->next) {
    for (uint32_t m = 0; m < kSmallClasses; ++m) {
      uint32_t n = 0;
      for (const Block* block = c->magazines[m].head; block; block = block->next) ++n;
      if (n != c->magazines[m].count) return "a magazine's count does not match its blocks";
      in_magazines += n * small_class_bytes(m);
    }
  }
  for (uint32_t k = 0; k < kSmallClasses; ++k) {
    for (const Run* run = runs_.runs(k); run; run = run->next) {
      homes += run->home->capacity;
      pieces_free += run->free * small_class_bytes(k);
      for (const Block* piece = run->first; piece; piece = piece->after) {
        if (piece->owner != run) return "a piece does not know its run";
        if (piece->state == BlockState::live) live += piece->capacity;
        if (piece->state == BlockState::pending) pending += piece->capacity;
      }
    }
  }
  if (homes != cut) return "the runs do not match the heaps' cut blocks";
  if (pieces_free != runs_.free_bytes()) return "the free pieces do not match their count";
  if (reserved != reserved_) return "the reserved bytes do not match the segments";
  MemoryCounts sum = counts_;
  int64_t in_use = in_use_.load(std::memory_order_relaxed);
  for (const ThreadCache* c = caches_; c; c = c->next) {
    sum.add(c->counts);
    in_use += c->unpublished;
  }
  if (sum.in_use != in_use || sum.in_use < 0)
    return "the bytes in use are counted in two ways that differ";
  if (live != static_cast<uint64_t>(sum.in_use))
    return "the live blocks do not add up to the bytes in use";
  int64_t tagged = 0;
  for (int64_t t : sum.tags) tagged += t;
  if (tagged != sum.in_use) return "the tags do not add up to the bytes in use";
  if (live + pending + in_magazines > reserved) return "more is in use than is reserved";
  return "";
}

}  // namespace mill
