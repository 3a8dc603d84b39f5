// Lets one thread at a time use an object, and tells others instead of making them wait. The owner
// may enter again, from a callback for example.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace mill {

class OwnerLock {
 public:
  // False when another thread is inside.
  bool try_enter() noexcept {
    const auto self = static_cast<uintptr_t>(pthread_self());
    uintptr_t expected = 0;
    if (owner_.compare_exchange_strong(expected, self, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      depth_ = 1;
      return true;
    }
    if (expected != self) return false;
    ++depth_;
    return true;
  }
  void leave() noexcept {
    if (--depth_ == 0) owner_.store(0, std::memory_order_release);
  }
  uint32_t depth() const noexcept { return depth_; }  // for the owner only
  // Whether this thread is inside.
  bool mine() const noexcept {
    return owner_.load(std::memory_order_relaxed) == static_cast<uintptr_t>(pthread_self());
  }

 private:
  std::atomic<uintptr_t> owner_{0};
  uint32_t depth_ = 0;
};

}  // namespace mill
