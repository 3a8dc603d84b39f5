// Notices fork(): objects of the parent must not be used in the child, where the threads they rely
// on do not exist.
#pragma once

#include <atomic>
#include <cstdint>

namespace mill {

// Starts counting. Called when the first context is made, since loading the library may change
// nothing in the process.
void watch_forks();

namespace detail {
extern std::atomic<uint32_t> fork_count;
}

// How many forks lie between the process that first called watch_forks and this one.
inline uint32_t fork_generation() {
  return detail::fork_count.load(std::memory_order_relaxed);
}

}  // namespace mill
