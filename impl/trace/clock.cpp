#include "trace/clock.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mill {
namespace {

bool counter_is_stable() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kInvariantCounter = 1u << 8;  // leaf 0x80000007, EDX
  if (__get_cpuid(0x80000007u, &a, &b, &c, &d) == 0 || (d & kInvariantCounter) == 0) return false;
  const int file = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                        O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char text[16] = {};
  const ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  return length > 0 && std::string_view(text, static_cast<std::size_t>(length)) == "tsc\n";
#else
  return false;
#endif
}

}  // namespace

TraceClock::TraceClock() : use_counter_(counter_is_stable()) {}

TraceClock::Pair TraceClock::pair() const {
  if (!use_counter_) {
    const uint64_t t = monotonic_ns();
    return {t, t};
  }
  Pair best{};
  uint64_t narrowest = UINT64_MAX;
  for (int i = 0; i < 5; ++i) {
    const uint64_t before = now();
    const uint64_t ns = monotonic_ns();
    const uint64_t after = now();
    if (after - before < narrowest) {
      narrowest = after - before;
      best = {before + (after - before) / 2, ns};
    }
  }
  return best;
}

void ClockMap::add(TraceClock::Pair pair) {
  // Equal pairs have no slope; a counter that went backwards (a suspended machine) must not turn
  // the map around.
  if (!pairs_.empty() && (pair.ticks <= pairs_.back().ticks || pair.ns <= pairs_.back().ns)) return;
  if (pairs_.size() == kMaxPairs) {
    std::size_t kept = 1;
    for (std::size_t i = 1; i < kMaxPairs / 2; i += 2) pairs_[kept++] = pairs_[i];
    std::move(pairs_.begin() + kMaxPairs / 2, pairs_.end(),
              pairs_.begin() + static_cast<std::ptrdiff_t>(kept));
    pairs_.resize(kept + kMaxPairs / 2);
  }
  pairs_.push_back(pair);
}

std::size_t ClockMap::segment(uint64_t ticks) const {
  if (pairs_.size() < 3 || ticks >= pairs_[pairs_.size() - 2].ticks)
    return pairs_.size() < 2 ? 0 : pairs_.size() - 2;
  const auto after =
      std::upper_bound(pairs_.begin(), pairs_.end(), ticks,
                       [](uint64_t t, const TraceClock::Pair& pair) { return t < pair.ticks; });
  const auto index = static_cast<std::size_t>(after - pairs_.begin());
  return index == 0 ? 0 : index - 1;
}

double ClockMap::rate(std::size_t segment) const {
  if (segment + 1 >= pairs_.size()) return 1.0;
  const TraceClock::Pair& a = pairs_[segment];
  const TraceClock::Pair& b = pairs_[segment + 1];
  return static_cast<double>(b.ns - a.ns) / static_cast<double>(b.ticks - a.ticks);
}

void ClockMap::Cursor::find(uint64_t ticks) {
  const std::size_t i = map_.segment(ticks);
  const std::size_t last = map_.pairs_.size() - 1;
  base_ = map_.pairs_[i];
  rate_ = map_.rate(i);
  // The first segment goes on before its pair and the last one behind.
  from_ = i == 0 ? 0 : base_.ticks;
  width_ = (i + 1 >= last ? UINT64_MAX : map_.pairs_[i + 1].ticks) - from_;
}

}  // namespace mill
