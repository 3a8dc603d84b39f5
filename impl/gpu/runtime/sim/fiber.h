// Stackful fibers for the lanes of a block. A fiber never changes its OS thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mill::sim {

struct Fiber {
  void* sp = nullptr;           // where it stopped
  void* sanitizer = nullptr;    // AddressSanitizer's fake stack
  const void* stack = nullptr;  // lowest address
  size_t bytes = 0;
};

// The next switch to the fiber calls entry(arg), which must never return.
void fiber_reset(Fiber& fiber, void (*entry)(void*), void* arg);
// Stops `from`, which is the running one, and goes on with `to`.
void fiber_switch(Fiber& from, Fiber& to);
// First thing on a fiber that was switched to, from `from`, for the first time since its reset.
void fiber_arrived(Fiber& from);
void fiber_release(Fiber& fiber) noexcept;  // what reset and switch have acquired

// Stacks of one OS thread: an odd number of pages each with a guard page below, so that their tops
// fall into different cache sets.
class FiberStacks {
 public:
  explicit FiberStacks(int count);  // throws std::bad_alloc
  ~FiberStacks();
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;

  void give(int index, Fiber& fiber) const;

 private:
  unsigned char* memory_ = nullptr;
  size_t stride_ = 0;
  size_t page_ = 0;
  int count_ = 0;
};

}  // namespace mill::sim
