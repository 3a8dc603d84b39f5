#include "memory/allocator.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/sanitize.h"
#include "base/slab.h"
#include "memory/thread_cache.h"

namespace mill {

namespace {

// A cache reports its part of the bytes in use when it has changed by this much.
constexpr int64_t kPublish = int64_t{256} << 10;
// A cache changes over to another stream after this many calls for streams that are not its own.
constexpr uint32_t kStrangers = 64;

using CacheLock = std::lock_guard<ThreadCache>;

// All bits set is NaN in every float type. Of a large block the two ends do: filling it whole would
// dominate a run under a sanitizer, which AddressSanitizer's own marks make unnecessary.
void fill(void* data, uint64_t bytes) noexcept {
  constexpr uint64_t kEnd = uint64_t{256} << 10;
  if (bytes <= 2 * kEnd) {
    std::memset(data, 0xff, bytes);
  } else {
    std::memset(data, 0xff, kEnd);
    std::memset(static_cast<char*>(data) + bytes - kEnd, 0xff, kEnd);
  }
}

bool is_small(const Block& block) {
  return block.size_class < kSmallClasses;
}

}  // namespace

Allocator::Allocator(Source& source)
    : source_(source),
      inline_(source.runs_inline()),
      // A freed block of an asynchronous device may still be in use by it.
      poison_(kCheckedBuild && source.host_memory() && source.runs_inline()),
      cached_(!source.turns().begin),
      id_(next_allocator_id()),
      mutex_(source.turns()),
      clock_(source),
      small_heap_(source, clock_),
      large_heap_(source, clock_),
      runs_(clock_) {}

Allocator::~Allocator() {
  {
    const std::lock_guard lists(cache_lists_mutex());
    orphan_caches(&caches_);
  }
  try {
    auto waits = clock_.begin_wait();
    StreamClock::wait(source_, waits);
    clock_.end_wait(waits);
  } catch (...) {
    // Without memory to wait with, the source's free has to cope with unfinished work.
  }
  for (Block* block = pending_.head; block; block = block->next) {
    while (BlockUses* uses = block->uses) {
      block->uses = uses->next;
      Slab<BlockUses>::destroy(uses);
    }
  }
}

Block* Allocator::allocate(uint64_t bytes, uint64_t stream, uint32_t tag) {
  const auto counted = static_cast<uint8_t>(tag < kMemoryTags ? tag : 0);
  const uint64_t home = inline_ ? kAnyStream : stream;
  const uint32_t watch = watch_.load(std::memory_order_relaxed);
  if (watch == 0) [[likely]]
    return allocate_unwatched(bytes, home, counted);

  if (watch & kFailing) {
    uint64_t left = fail_in_.load(std::memory_order_relaxed);
    while (left != 0 &&
           !fail_in_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) {
    }
    if (left <= 1) watch_.fetch_and(~uint32_t{kFailing}, std::memory_order_relaxed);
    if (left == 1) {
      count_failure(bytes, stream, counted);
      const MemoryStats now = stats();
      throw Error(MILL_E_MEMORY,
                  "cannot allocate %llu bytes on %s: this allocation was asked to fail",
                  static_cast<unsigned long long>(bytes), source_.name())
          .with_memory(bytes, now.in_use, now.limit);
    }
  }
  Block* block = allocate_unwatched(bytes, home, counted);
  if (watch & kTelling) {
    tell({MemoryEvent::allocate, block->served, counted, block->data, bytes, block->capacity,
          stream, block});
  }
  return block;
}

Block* Allocator::allocate_unwatched(uint64_t bytes, uint64_t stream, uint8_t tag) {
  if (bytes <= kSmallMax) [[likely]] {
    if (bytes == 0) return allocate_empty(stream, tag);
    if (ThreadCache* cache = cached_ ? thread_cache(*this, id_, &caches_) : nullptr) [[likely]] {
      if (Block* block = allocate_small(*cache, bytes, stream, tag)) [[likely]]
        return block;
    }
  }
  return allocate_shared(bytes, stream, tag);
}

void Allocator::hand_out(Block* block, uint64_t bytes, uint8_t tag, Served served) noexcept {
  block->bytes = bytes;
  block->tag = tag;
  block->served = served;
  block->state = BlockState::live;
  if (poison_) {
    unpoison_memory(block->data, bytes);
    fill(block->data, bytes);
  }
}

Block* Allocator::allocate_empty(uint64_t stream, uint8_t tag) {
  Block* block = Slab<Block>::create();
  block->stream = stream;
  block->size_class = Block::kEmptyBlock;
  block->tag = tag;
  block->state = BlockState::live;
  const std::lock_guard lock(mutex_);
  counts_.allocated(0, 0, tag);
  return block;
}

Block* Allocator::allocate_small(ThreadCache& cache, uint64_t bytes, uint64_t stream, uint8_t tag) {
  const uint32_t c = small_class(bytes);
  Growth growth;
  Block* block = nullptr;
  {
    const CacheLock lock(cache);
    if (cache.stream != stream && !change_over(cache, stream)) return nullptr;
    ThreadCache::Magazine& magazine = cache.magazines[c];
    Served served = Served::hit;
    if (!magazine.head) [[unlikely]] {
      if (!refill(cache, c, stream, &growth)) return nullptr;
      if (growth.bytes) served = Served::growth;
    }
    block = magazine.head;
    magazine.head = block->next;
    --magazine.count;
    hand_out(block, bytes, tag, served);
    cache.counts.allocated(bytes, block->capacity, tag);
    cache.unpublished += static_cast<int64_t>(block->capacity);
    if (cache.unpublished > cache.unpublished_peak) cache.unpublished_peak = cache.unpublished;
    if (cache.unpublished > kPublish) publish(cache);
  }
  if (growth.bytes) [[unlikely]]
    tell_growth(growth);
  return block;
}

bool Allocator::change_over(ThreadCache& cache, uint64_t stream) noexcept {
  if (cache.stream != kAnyStream) {
    if (++cache.strangers < kStrangers) return false;
    flush(cache);
  }
  cache.strangers = 0;
  cache.stream = stream;
  return true;
}

bool Allocator::refill(ThreadCache& cache, uint32_t size_class, uint64_t stream, Growth* growth) {
  ThreadCache::Magazine& magazine = cache.magazines[size_class];
  const std::lock_guard lock(mutex_);
  clock_.know(stream);
  Block* block = find(small_class_bytes(size_class), stream, Effort::normal, growth);
  for (uint32_t n = magazine_batch(size_class); block; block = runs_.take(size_class, stream)) {
    block->next = magazine.head;
    magazine.head = block;
    ++magazine.count;
    if (--n == 0) break;
  }
  return magazine.head != nullptr;
}

Block* Allocator::allocate_shared(uint64_t bytes, uint64_t stream, uint8_t tag) {
  publish_own();
  Growth growth;
  Block* block = nullptr;
  if (bytes <= kRequestMax) {
    const std::lock_guard lock(mutex_);
    clock_.know(stream);
    block = find(bytes, stream, Effort::normal, &growth);
    if (block) account(block, bytes, tag, growth.bytes ? Served::growth : Served::hit);
  }
  if (growth.bytes) tell_growth(growth);
  return block ? block : reclaim_and_take(bytes, stream, tag);
}

void Allocator::account(Block* block, uint64_t bytes, uint8_t tag, Served served) noexcept {
  hand_out(block, bytes, tag, served);
  counts_.allocated(bytes, block->capacity, tag);
  const auto capacity = static_cast<int64_t>(block->capacity);
  raise_peak(in_use_.fetch_add(capacity, std::memory_order_relaxed) + capacity);
}

void Allocator::free(Block* block) noexcept {
  if (!block) return;
  if (watch_.load(std::memory_order_relaxed) & kTelling) [[unlikely]] {
    tell({MemoryEvent::free, block->served, block->tag, block->data, block->bytes, block->capacity,
          block->stream, block});
  }
  if (block->trace_id.load(std::memory_order_relaxed) != 0) [[unlikely]]
    block->trace_id.store(0, std::memory_order_relaxed);
  if (block->size_class == Block::kEmptyBlock) {
    {
      const std::lock_guard lock(mutex_);
      counts_.freed(0, 0, block->tag);
    }
    Slab<Block>::destroy(block);
    return;
  }
  if (poison_) {
    fill(block->data, block->bytes);
    poison_memory(block->data, block->capacity);
  }
  ThreadCache* cache =
      cached_ && is_small(*block) && !block->uses ? thread_cache(*this, id_, &caches_) : nullptr;
  if (!cache || !free_small(*cache, block)) free_shared(block);
}

bool Allocator::free_small(ThreadCache& cache, Block* block) noexcept {
  const CacheLock lock(cache);
  if (cache.stream != block->stream && !change_over(cache, block->stream)) return false;
  cache.counts.freed(block->bytes, block->capacity, block->tag);
  cache.unpublished -= static_cast<int64_t>(block->capacity);
  if (cache.unpublished < -kPublish) publish(cache);
  block->state = BlockState::free;
  ThreadCache::Magazine& magazine = cache.magazines[block->size_class];
  block->next = magazine.head;
  magazine.head = block;
  const uint32_t batch = magazine_batch(block->size_class);
  if (++magazine.count > 2 * batch) [[unlikely]] {
    // What was freed last is kept: it is likeliest to be in the processor's caches.
    Block* last = block;
    for (uint32_t n = 1; n < batch; ++n) last = last->next;
    Block* rest = last->next;
    last->next = nullptr;
    magazine.count = batch;
    const std::lock_guard shared(mutex_);
    give_list(rest);
  }
  return true;
}

void Allocator::give_list(Block* list) noexcept {
  const uint64_t ticket = list ? clock_.draw(list->stream) : 0;
  while (list) {
    Block* next = list->next;
    list->ticket = ticket;
    runs_.give(list);
    list = next;
  }
}

void Allocator::free_shared(Block* block) noexcept {
  publish_own();
  const std::lock_guard lock(mutex_);
  counts_.freed(block->bytes, block->capacity, block->tag);
  in_use_.fetch_sub(static_cast<int64_t>(block->capacity), std::memory_order_relaxed);
  block->ticket = clock_.draw(block->stream);
  if (!block->uses) {
    put_away(block);
    return;
  }
  for (BlockUses* uses = block->uses; uses; uses = uses->next) {
    for (uint32_t k = 0; k < uses->count; ++k)
      uses->uses[k].ticket = clock_.draw(uses->uses[k].stream);
  }
  block->state = BlockState::pending;
  pending_.push(block);
}

void Allocator::record_use(Block* block, uint64_t stream) {
  if (inline_ || stream == block->stream || block->size_class == Block::kEmptyBlock) return;
  const std::lock_guard lock(mutex_);
  clock_.know(stream);
  for (const BlockUses* uses = block->uses; uses; uses = uses->next) {
    for (uint32_t k = 0; k < uses->count; ++k) {
      if (uses->uses[k].stream == stream) return;
    }
  }
  if (!block->uses || block->uses->count == BlockUses::kPerList) {
    BlockUses* more = Slab<BlockUses>::create();
    more->next = block->uses;
    block->uses = more;
  }
  block->uses->uses[block->uses->count++] = {stream, 0};
}

void Allocator::retire_stream(uint64_t stream) noexcept {
  if (inline_) return;
  // Blocks in magazines have not drawn their tickets yet.
  flush_all();
  const std::lock_guard lock(mutex_);
  clock_.retire(stream);
}

void Allocator::flush(ThreadCache& cache) noexcept {
  publish(cache);
  const std::lock_guard lock(mutex_);
  for (ThreadCache::Magazine& magazine : cache.magazines) {
    give_list(magazine.head);
    magazine = ThreadCache::Magazine{};
  }
  counts_.add(cache.counts);
  cache.counts = MemoryCounts{};
}

void Allocator::flush_all() noexcept {
  const std::lock_guard lists(cache_lists_mutex());
  for (ThreadCache* cache = caches_; cache; cache = cache->next) {
    const CacheLock lock(*cache);
    flush(*cache);
  }
}

void Allocator::publish(ThreadCache& cache) noexcept {
  const int64_t base = in_use_.fetch_add(cache.unpublished, std::memory_order_relaxed);
  raise_peak(base + cache.unpublished_peak);
  cache.unpublished = 0;
  cache.unpublished_peak = 0;
}

// Before the shared count changes, so that one thread's highest point is seen exactly.
void Allocator::publish_own() noexcept {
  ThreadCache* cache = cached_ ? thread_cache(*this, id_, &caches_) : nullptr;
  if (!cache) return;
  const CacheLock lock(*cache);
  publish(*cache);
}

void Allocator::raise_peak(int64_t in_use) noexcept {
  int64_t peak = peak_.load(std::memory_order_relaxed);
  while (in_use > peak && !peak_.compare_exchange_weak(peak, in_use, std::memory_order_relaxed)) {
  }
}

void Allocator::set_hook(MemoryHook hook, void* user) noexcept {
  hook_ = hook;
  hook_user_ = user;
}

void Allocator::tell_every_block(bool on) noexcept {
  if (on) {
    watch_.fetch_or(kTelling, std::memory_order_relaxed);
  } else {
    watch_.fetch_and(~uint32_t{kTelling}, std::memory_order_relaxed);
  }
}

void Allocator::tell(const MemoryNotice& notice) const noexcept {
  if (hook_) hook_(hook_user_, notice);
}

void Allocator::tell_growth(const Growth& growth) const noexcept {
  tell({MemoryEvent::growth, Served::growth, 0, growth.data, growth.bytes, growth.bytes,
        kAnyStream});
}

void Allocator::fail_at(uint64_t k) noexcept {
  fail_in_.store(k, std::memory_order_relaxed);
  if (k) {
    watch_.fetch_or(kFailing, std::memory_order_relaxed);
  } else {
    watch_.fetch_and(~uint32_t{kFailing}, std::memory_order_relaxed);
  }
}

}  // namespace mill
