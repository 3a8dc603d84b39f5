#include "memory/thread_cache.h"

#include <pthread.h>

#include "base/slab.h"
#include "base/thread_exit.h"
#include "memory/allocator.h"

namespace mill {

thread_local constinit CacheSlots t_cache_slots{};

namespace {

thread_local constinit ThreadExit t_exit{};
// Per slot: how many allocators had ended when the thread was last turned away there, plus one.
thread_local constinit uint64_t t_turned_away[CacheSlots::kSlots]{};

constinit std::mutex g_lists_mutex;
constinit std::atomic<uint64_t> g_last_id{0};
constinit std::atomic<uint64_t> g_ended{0};
pthread_once_t g_fork_once = PTHREAD_ONCE_INIT;

void before_fork() {
  g_lists_mutex.lock();
}
void after_fork() {
  g_lists_mutex.unlock();
}
void after_fork_in_child() {
  // The parent's allocators must not be touched here, and their locks may be held by threads that
  // do not exist.
  t_cache_slots = CacheSlots{};
  g_lists_mutex.unlock();
}
void install_fork_handlers() {
  pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

void thread_ends(ThreadExit*) {
  const std::lock_guard lists(g_lists_mutex);
  CacheSlots& slots = t_cache_slots;
  for (uint64_t s = 0; s < CacheSlots::kSlots; ++s) {
    if (!slots.caches[s]) continue;
    slots.caches[s]->abandon();
    Slab<ThreadCache>::destroy(slots.caches[s]);
  }
  slots = CacheSlots{};
}

}  // namespace

void ThreadCache::abandon() noexcept {
  if (!owner) return;
  {
    const std::lock_guard<ThreadCache> self(*this);
    owner->flush(*this);
  }
  (previous ? previous->next : *list) = next;
  if (next) next->previous = previous;
  owner = nullptr;
}

ThreadCache* make_thread_cache(Allocator& allocator, uint64_t id, ThreadCache** list) noexcept {
  CacheSlots& slots = t_cache_slots;
  const uint64_t s = id % CacheSlots::kSlots;
  const uint64_t ended = g_ended.load(std::memory_order_acquire) + 1;
  if (slots.caches[s] && t_turned_away[s] == ended) return nullptr;
  ThreadCache* cache = nullptr;
  try {
    cache = Slab<ThreadCache>::create();
  } catch (...) {
    return nullptr;
  }
  // After the slab's own handlers, which the line above has installed: this lock is taken before
  // the slab's, and the handlers that prepare a fork run last to first.
  pthread_once(&g_fork_once, install_fork_handlers);
  if (!on_thread_exit(&t_exit, thread_ends)) {
    Slab<ThreadCache>::destroy(cache);
    return nullptr;
  }
  const std::lock_guard lists(g_lists_mutex);
  if (ThreadCache* occupant = slots.caches[s]) {
    if (occupant->owner) {
      t_turned_away[s] = ended;
      Slab<ThreadCache>::destroy(cache);
      return nullptr;
    }
    Slab<ThreadCache>::destroy(occupant);
  }
  cache->owner = &allocator;
  cache->list = list;
  cache->next = *list;
  if (*list) (*list)->previous = cache;
  *list = cache;
  slots.ids[s] = id;
  slots.caches[s] = cache;
  return cache;
}

std::mutex& cache_lists_mutex() noexcept {
  return g_lists_mutex;
}

uint64_t next_allocator_id() noexcept {
  return g_last_id.fetch_add(1, std::memory_order_relaxed) + 1;
}

void orphan_caches(ThreadCache** list) noexcept {
  while (ThreadCache* cache = *list) {
    *list = cache->next;
    const std::lock_guard<ThreadCache> lock(*cache);
    for (ThreadCache::Magazine& m : cache->magazines) m = ThreadCache::Magazine{};
    cache->next = nullptr;
    cache->previous = nullptr;
    cache->owner = nullptr;
  }
  g_ended.fetch_add(1, std::memory_order_release);
}

}  // namespace mill
