#include "base/fork.h"

#include <pthread.h>

namespace mill {

namespace detail {
std::atomic<uint32_t> fork_count{0};
}

namespace {
void in_child() {
  detail::fork_count.fetch_add(1, std::memory_order_relaxed);
}
std::atomic<bool> watching{false};
}  // namespace

void watch_forks() {
  if (watching.exchange(true)) return;
  pthread_atfork(nullptr, nullptr, in_child);
}

}  // namespace mill
