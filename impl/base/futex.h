// The kernel's wait on a word of memory (futex(2)), within this process.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace mill {

// Sleeps while the word is as expected, and until `deadline` of CLOCK_MONOTONIC if there is one. It
// returns for several harmless reasons: every caller looks at the word again.
inline void futex_wait(std::atomic<uint32_t>& word, uint32_t expected,
                       const timespec* deadline = nullptr) noexcept {
  static_assert(sizeof(word) == sizeof(uint32_t));
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline, nullptr,
          FUTEX_BITSET_MATCH_ANY);
}

inline void futex_wake(std::atomic<uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace mill
