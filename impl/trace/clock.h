// The stamps of the trace. A stamp is a count of ticks: of the CPU's time-stamp counter where that
// is stable, else of nanoseconds. An op takes two; here a counter read costs 7 ns and clock_gettime
// 16 ns, and the whole record has a budget of 20 ns, which two calls of clock_gettime alone would
// exceed. The price is that ticks are turned into CLOCK_MONOTONIC only when they are read, by
// ClockMap.
#pragma once

#include <time.h>

#include <cstdint>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace mill {

inline uint64_t monotonic_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

class TraceClock {
 public:
  // The counter is used when the CPU says that it runs at one rate in every state and the kernel
  // uses it as its own clock, which it does only while its watchdog finds all CPUs' counters in
  // step.
  TraceClock();
  explicit TraceClock(bool use_counter) : use_counter_(use_counter) {}

  uint64_t now() const {
#if defined(__x86_64__)
    if (use_counter_) [[likely]]
      return __rdtsc();
#endif
    return monotonic_ns();
  }
  bool uses_counter() const {
    return use_counter_;
  }

  // Both clocks at one moment: the reading of several whose two counter reads lie closest together.
  struct Pair {
    uint64_t ticks;
    uint64_t ns;
  };
  Pair pair() const;

 private:
  bool use_counter_;
};

// Ticks to nanoseconds, piecewise linear through measured pairs. Because a drain adds a pair after
// the youngest record it will take, every record lies between two pairs: nothing is extrapolated,
// no calibration is needed, and the clock's adjustments (NTP) are followed.
class ClockMap {
 public:
  void reserve() { pairs_.reserve(kMaxPairs); }
  bool empty() const { return pairs_.empty(); }
  void add(TraceClock::Pair pair);
  uint64_t ns(uint64_t ticks) const { return Cursor(*this).ns(ticks); }
  // A length of time around `at`.
  uint64_t span_ns(uint64_t ticks, uint64_t at) const { return Cursor(*this).span_ns(ticks, at); }
  TraceClock::Pair first() const { return pairs_.front(); }

  // Turns many ticks that lie near each other: looks a segment up once, while it stays the same.
  // For a map that is not added to meanwhile.
  class Cursor {
   public:
    explicit Cursor(const ClockMap& map) : map_(map) {}
    uint64_t ns(uint64_t ticks) {
      if (ticks - from_ >= width_) [[unlikely]]
        find(ticks);
      const auto delta = static_cast<double>(static_cast<int64_t>(ticks - base_.ticks)) * rate_;
      return base_.ns + static_cast<uint64_t>(nearest(delta));
    }
    uint64_t span_ns(uint64_t ticks, uint64_t at) {
      if (at - from_ >= width_) find(at);
      return static_cast<uint64_t>(nearest(static_cast<double>(ticks) * rate_));
    }

   private:
    // llround without the call.
    static int64_t nearest(double x) { return static_cast<int64_t>(x < 0 ? x - 0.5 : x + 0.5); }
    void find(uint64_t ticks);

    const ClockMap& map_;
    uint64_t from_ = 0;   // the segment: from_ and the width_ ticks after it
    uint64_t width_ = 0;  // 0: none yet
    TraceClock::Pair base_{};
    double rate_ = 1;
  };

 private:
  // Old pairs are thinned out; a start that old moves by less than the error of a pair.
  static constexpr std::size_t kMaxPairs = 4096;
  std::size_t segment(uint64_t ticks) const;
  double rate(std::size_t segment) const;  // ns per tick

  std::vector<TraceClock::Pair> pairs_;  // both members strictly rising
};

}  // namespace mill
