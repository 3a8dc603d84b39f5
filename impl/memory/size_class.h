// How request sizes are rounded.
//
//   up to 32 KiB    small: one of 32 classes, 64 B steps to 256 B, then four steps per power of two
//   up to 1 MiB     four steps per power of two
//   above           eight steps per power of two, but no step above 2 MiB: at most 12.5 % is lost
#pragma once

#include <bit>
#include <cstdint>

namespace mill {

inline constexpr uint64_t kBlockAlign = 64;
inline constexpr uint64_t kSmallMax = uint64_t{32} << 10;
inline constexpr uint32_t kSmallClasses = 32;
inline constexpr uint64_t kMediumMax = uint64_t{1} << 20;
inline constexpr uint64_t kPage = 4096;  // heap blocks are whole pages
inline constexpr uint64_t kSegmentStep = uint64_t{2} << 20;
inline constexpr uint64_t kRequestMax = uint64_t{1}
                                        << 56;  // no device has more; keeps sums from overflowing

constexpr uint64_t round_up(uint64_t value, uint64_t step) {
  return (value + step - 1) / step * step;
}

// bytes is 1 to kSmallMax.
constexpr uint32_t small_class(uint64_t bytes) {
  if (bytes <= 256) return static_cast<uint32_t>((bytes - 1) / 64);
  const auto power =
      static_cast<uint32_t>(std::bit_width(bytes - 1)) - 1;  // bytes is in (2^power, 2^(power+1)]
  const auto quarter = static_cast<uint32_t>((bytes - 1) >> (power - 2)) & 3;
  return 4 + (power - 8) * 4 + quarter;
}

constexpr uint64_t small_class_bytes(uint32_t index) {
  if (index < 4) return (uint64_t{index} + 1) * 64;
  const uint32_t power = 8 + (index - 4) / 4;
  return (uint64_t{1} << power) + (uint64_t{(index - 4) % 4} + 1) * (uint64_t{1} << (power - 2));
}
static_assert(small_class(kSmallMax) == kSmallClasses - 1 &&
              small_class_bytes(kSmallClasses - 1) == kSmallMax);

// bytes is above kSmallMax and at most kRequestMax.
constexpr uint64_t heap_bytes(uint64_t bytes) {
  const auto power = static_cast<uint32_t>(std::bit_width(bytes - 1)) - 1;
  uint64_t step = uint64_t{1} << (power - (bytes <= kMediumMax ? 2 : 3));
  if (step > kSegmentStep) step = kSegmentStep;
  return round_up(bytes, step);
}

// How much a run of one small class takes from the heap: enough blocks to be worth the trip, few
// enough to be useful.
constexpr uint64_t run_bytes(uint32_t index) {
  const uint64_t wanted = small_class_bytes(index) * 32;
  return round_up(wanted > (uint64_t{256} << 10) ? (uint64_t{256} << 10) : wanted, kPage);
}

// How many blocks move between a thread's magazine and the shared list at a time.
constexpr uint32_t magazine_batch(uint32_t index) {
  const uint64_t fit = (uint64_t{64} << 10) / small_class_bytes(index);
  return fit > 16 ? 16 : static_cast<uint32_t>(fit < 2 ? 2 : fit);
}

}  // namespace mill
