// Wakes a thread that sleeps until it is needed.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

#include "base/futex.h"

namespace mill {

class Alarm {
 public:
  // Any thread, any number of times: takes no lock, and the kernel only where somebody sleeps. What
  // was rung while nobody did ends the next sleep at once.
  void ring() noexcept {
    if (state_.exchange(kRung, std::memory_order_acq_rel) == kSleeping) futex_wake(state_);
  }

  // One thread at a time. False: nobody rang within `ns`.
  bool sleep(uint64_t ns) noexcept {
    uint32_t state = kQuiet;
    if (state_.compare_exchange_strong(state, kSleeping, std::memory_order_acq_rel)) {
      const uint64_t until = now() + ns;
      const timespec deadline{static_cast<time_t>(until / kSecond),
                              static_cast<long>(until % kSecond)};
      while (state_.load(std::memory_order_acquire) == kSleeping && now() < until)
        futex_wait(state_, kSleeping, &deadline);
    }
    return state_.exchange(kQuiet, std::memory_order_acq_rel) == kRung;
  }

 private:
  static constexpr uint64_t kSecond = 1'000'000'000;
  enum : uint32_t { kQuiet, kSleeping, kRung };

  static uint64_t now() noexcept {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * kSecond + static_cast<uint64_t>(t.tv_nsec);
  }

  std::atomic<uint32_t> state_{kQuiet};
};

}  // namespace mill
