#include "base/slab.h"

#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <mutex>

#include "base/error.h"
#include "base/handle.h"
#include "base/sanitize.h"
#include "base/thread_exit.h"

namespace mill {

namespace detail {
const char cookie_anchor = 1;
}

namespace {

constexpr uint32_t kFamilies = 2;
constexpr uint32_t kPools = kFamilies * kSlabClasses;
constexpr uint32_t kBatch = 32;
constexpr uint32_t kQuarantine = kCheckedBuild ? 256 : 0;
constexpr size_t kChunkBytes = size_t{1} << 16;
constexpr size_t kBigChunkBytes = size_t{1} << 18;

// A slot that nobody owns. The first 16 bytes are never written here: in the handle family they are
// the header that a stale pointer may still read.
struct FreeSlot {
  uint64_t header[2];
  FreeSlot* next;
  FreeSlot* next_batch;
  uint64_t batch_count;
};
static_assert(sizeof(FreeSlot) <= kSlabAlign);

struct Magazine {
  FreeSlot* loaded;
  FreeSlot* spare;  // NULL or exactly kBatch slots
  uint32_t loaded_count;
  uint32_t quarantined;
  FreeSlot* quarantine_head;
  FreeSlot* quarantine_tail;
};

struct ThreadState {
  bool ready;  // registered for reaping; without it no slot may be kept here
  uint64_t fail_in;
  ThreadState* previous;
  ThreadState* following;
  // Written by the owning thread only, read by anyone.
  std::atomic<int64_t> live[kSlabCounters];
  Magazine magazines[kPools];
  ThreadExit exit;
};

// Zero-initialised and without a destructor, so that the compiler needs no guard and the loader no
// exit-time work.
thread_local constinit ThreadState t_state{};

struct Pool {
  std::mutex mutex;
  FreeSlot* batches = nullptr;
  char* bump = nullptr;
  char* end = nullptr;
};

constinit Pool g_pools[kPools];

// The threads that have state, for counting and for fork.
constinit std::mutex g_registry_mutex;
constinit ThreadState* g_threads = nullptr;
constinit std::atomic<int64_t>
    g_live[kSlabCounters];  // of ended threads, and of those that could not register
constinit std::atomic<uint64_t> g_mapped{0};
int64_t
    g_lost_live[kSlabCounters];  // fork only: what threads that the child does not have had counted

void before_fork() {
  g_registry_mutex.lock();
  for (Pool& pool : g_pools) pool.mutex.lock();
  for (uint32_t c = 0; c < kSlabCounters; ++c) {
    g_lost_live[c] = 0;
    for (ThreadState* t = g_threads; t; t = t->following) {
      if (t != &t_state) g_lost_live[c] += t->live[c].load(std::memory_order_relaxed);
    }
  }
}

void unlock_after_fork() {
  for (Pool& pool : g_pools) pool.mutex.unlock();
  g_registry_mutex.unlock();
}

void after_fork_in_child() {
  // The other threads' state may already be wiped: only this thread's entry may be touched.
  g_threads = t_state.ready ? &t_state : nullptr;
  t_state.previous = nullptr;
  t_state.following = nullptr;
  for (uint32_t c = 0; c < kSlabCounters; ++c)
    g_live[c].fetch_add(g_lost_live[c], std::memory_order_relaxed);
  unlock_after_fork();
}

pthread_once_t g_fork_once = PTHREAD_ONCE_INIT;
void install_fork_handlers() {
  pthread_atfork(before_fork, unlock_after_fork, after_fork_in_child);
}

void give_batch(Pool& pool, FreeSlot* first, uint64_t count) noexcept {
  if (!first) return;
  first->batch_count = count;
  const std::lock_guard lock(pool.mutex);
  first->next_batch = pool.batches;
  pool.batches = first;
}

void reap(ThreadExit*) {
  ThreadState& t = t_state;
  for (uint32_t p = 0; p < kPools; ++p) {
    Magazine& m = t.magazines[p];
    give_batch(g_pools[p], m.loaded, m.loaded_count);
    give_batch(g_pools[p], m.spare, kBatch);
    give_batch(g_pools[p], m.quarantine_head, m.quarantined);
    m = Magazine{};
  }
  const std::lock_guard lock(g_registry_mutex);
  for (uint32_t c = 0; c < kSlabCounters; ++c) {
    g_live[c].fetch_add(t.live[c].load(std::memory_order_relaxed), std::memory_order_relaxed);
    t.live[c].store(0, std::memory_order_relaxed);
  }
  (t.previous ? t.previous->following : g_threads) = t.following;
  if (t.following) t.following->previous = t.previous;
  t.previous = nullptr;
  t.following = nullptr;
  t.ready = false;
}

bool make_ready(ThreadState& t) noexcept {
  if (t.ready) return true;
  pthread_once(&g_fork_once, install_fork_handlers);
  if (!on_thread_exit(&t.exit, reap)) return false;
  const std::lock_guard lock(g_registry_mutex);
  t.following = g_threads;
  if (g_threads) g_threads->previous = &t;
  g_threads = &t;
  t.ready = true;
  return true;
}

// Only the owner writes, so the sum needs no locked instruction.
void count_own(ThreadState& t, uint32_t counter, int64_t by) noexcept {
  std::atomic<int64_t>& live = t.live[counter];
  live.store(live.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

void count(ThreadState& t, uint32_t counter, int64_t by) noexcept {
  if (t.ready) {
    count_own(t, counter, by);
  } else {
    g_live[counter].fetch_add(by, std::memory_order_relaxed);
  }
}

// A list of up to `wanted` slots, cut from a mapping; `wanted` is at most kBatch. Called with the
// pool's lock held.
FreeSlot* carve(Pool& pool, size_t bytes, uint64_t wanted, uint64_t* got) {
  if (static_cast<size_t>(pool.end - pool.bump) < bytes) {
    const size_t chunk = bytes <= 1024 ? kChunkBytes : kBigChunkBytes;
    void* mapped =
        ::mmap(nullptr, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
      *got = 0;
      return nullptr;
    }
    g_mapped.fetch_add(chunk, std::memory_order_relaxed);
    pool.bump = static_cast<char*>(mapped);
    pool.end = pool.bump + chunk;
  }
  FreeSlot* first = nullptr;
  FreeSlot** tail = &first;
  uint64_t n = 0;
  while (n < wanted && static_cast<size_t>(pool.end - pool.bump) >= bytes) {
    auto* slot = reinterpret_cast<FreeSlot*>(pool.bump);
    pool.bump += bytes;
    *tail = slot;
    tail = &slot->next;
    ++n;
  }
  *tail = nullptr;
  *got = n;
  return first;
}

FreeSlot* take_batch(Pool& pool, size_t bytes, uint64_t wanted, uint64_t* got) {
  const std::lock_guard lock(pool.mutex);
  if (FreeSlot* first = pool.batches) {
    pool.batches = first->next_batch;
    *got = first->batch_count;
    return first;
  }
  return carve(pool, bytes, wanted, got);
}

// Everything but the free list's own words: a read of a released object is then reported where it
// happens. A handle's header stays readable, because validation reads it.
[[maybe_unused]] void poison(uint32_t family, void* slot, size_t bytes) noexcept {
  auto* base = static_cast<char*>(slot);
  if (family == static_cast<uint32_t>(SlabFamily::objects))
    poison_memory(base, sizeof FreeSlot::header);
  poison_memory(base + sizeof(FreeSlot), bytes - sizeof(FreeSlot));
}

[[noreturn]] void out_of_memory(size_t bytes) {
  throw Error(MILL_E_MEMORY, "cannot allocate %zu bytes of host memory for an internal object",
              bytes)
      .with_memory(bytes, slab_mapped_bytes(), 0);
}

FreeSlot* refill(ThreadState& t, uint32_t p, size_t bytes) {
  Pool& pool = g_pools[p];
  uint64_t got = 0;
  if (!make_ready(t)) {
    FreeSlot* slot = take_batch(pool, bytes, 1, &got);
    if (!slot) out_of_memory(bytes);
    if (got > 1) give_batch(pool, slot->next, got - 1);
    return slot;
  }
  Magazine& m = t.magazines[p];
  if (m.spare) {
    m.loaded = m.spare;
    m.loaded_count = kBatch;
    m.spare = nullptr;
  } else {
    FreeSlot* first = take_batch(pool, bytes, kBatch, &got);
    if (!first) {
      // What is kept out of use only to catch mistakes must not make a request fail.
      first = m.quarantine_head;
      got = m.quarantined;
      m.quarantine_head = m.quarantine_tail = nullptr;
      m.quarantined = 0;
      if (!first) out_of_memory(bytes);
    }
    m.loaded = first;
    m.loaded_count = static_cast<uint32_t>(got);
  }
  FreeSlot* slot = m.loaded;
  m.loaded = slot->next;
  --m.loaded_count;
  return slot;
}

void give_full(ThreadState& t, uint32_t p, FreeSlot* slot) noexcept {
  if (!make_ready(t)) {
    slot->next = nullptr;
    give_batch(g_pools[p], slot, 1);
    return;
  }
  Magazine& m = t.magazines[p];
  if (m.loaded_count == kBatch) {
    give_batch(g_pools[p], m.spare, kBatch);
    m.spare = m.loaded;
    m.loaded = nullptr;
    m.loaded_count = 0;
  } else if (m.loaded_count > kBatch) {
    // A batch from another thread's quarantine, which may be longer than the others.
    give_batch(g_pools[p], m.loaded, m.loaded_count);
    m.loaded = nullptr;
    m.loaded_count = 0;
  }
  slot->next = m.loaded;
  m.loaded = slot;
  ++m.loaded_count;
}

// The oldest slot of the quarantine, or NULL while it is not full. Adds `slot`.
[[maybe_unused]] FreeSlot* exchange_quarantine(Magazine& m, FreeSlot* slot) noexcept {
  slot->next = nullptr;
  (m.quarantine_tail ? m.quarantine_tail->next : m.quarantine_head) = slot;
  m.quarantine_tail = slot;
  if (++m.quarantined <= kQuarantine) return nullptr;
  FreeSlot* oldest = m.quarantine_head;
  m.quarantine_head = oldest->next;
  --m.quarantined;
  return oldest;
}

}  // namespace

// The usual path below must compile to straight code without a stack frame: everything else is kept
// out of line.
namespace {

[[gnu::noinline]] void* take_slow(ThreadState& t, uint32_t p, size_t bytes, uint32_t counter) {
  if (t.fail_in != 0 && --t.fail_in == 0) out_of_memory(bytes);
  Magazine& m = t.magazines[p];
  FreeSlot* slot = m.loaded;
  if (slot) {
    m.loaded = slot->next;
    --m.loaded_count;
  } else {
    slot = refill(t, p, bytes);
  }
  count(t, counter, 1);
  if constexpr (kCheckedBuild) unpoison_memory(slot, bytes);
  return slot;
}

[[gnu::noinline]] void give_slow(ThreadState& t, uint32_t p, size_t bytes, uint32_t counter,
                                 void* slot) noexcept {
  auto* freed = static_cast<FreeSlot*>(slot);
  if constexpr (kCheckedBuild) {
    poison(p / kSlabClasses, slot, bytes);
    if (make_ready(t)) {
      count(t, counter, -1);
      freed = exchange_quarantine(t.magazines[p], freed);
      if (freed) give_full(t, p, freed);
      return;
    }
  }
  give_full(t, p, freed);
  count(t, counter, -1);
}

}  // namespace

void* slab_take(SlabFamily family, uint32_t size_class, uint32_t counter) {
  ThreadState& t = t_state;
  const uint32_t p = static_cast<uint32_t>(family) * kSlabClasses + size_class;
  Magazine& m = t.magazines[p];
  FreeSlot* slot = m.loaded;
  if (kCheckedBuild || !slot || t.fail_in != 0) [[unlikely]] {
    return take_slow(t, p, slab_class_bytes(size_class), counter);
  }
  m.loaded = slot->next;
  --m.loaded_count;
  count_own(t, counter, 1);
  return slot;
}

void slab_give(SlabFamily family, uint32_t size_class, uint32_t counter, void* slot) noexcept {
  ThreadState& t = t_state;
  const uint32_t p = static_cast<uint32_t>(family) * kSlabClasses + size_class;
  Magazine& m = t.magazines[p];
  if (kCheckedBuild || !t.ready || m.loaded_count >= kBatch) [[unlikely]] {
    give_slow(t, p, slab_class_bytes(size_class), counter, slot);
    return;
  }
  auto* freed = static_cast<FreeSlot*>(slot);
  freed->next = m.loaded;
  m.loaded = freed;
  ++m.loaded_count;
  count_own(t, counter, -1);
}

int64_t slab_live(uint32_t counter) noexcept {
  const std::lock_guard lock(g_registry_mutex);
  int64_t sum = g_live[counter].load(std::memory_order_relaxed);
  for (const ThreadState* t = g_threads; t; t = t->following)
    sum += t->live[counter].load(std::memory_order_relaxed);
  return sum;
}

uint64_t slab_mapped_bytes() noexcept {
  return g_mapped.load(std::memory_order_relaxed);
}

void slab_fail_at(uint64_t k) noexcept {
  t_state.fail_in = k;
}

}  // namespace mill
