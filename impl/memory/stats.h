// What an allocator counts.
#pragma once

#include <array>
#include <cstdint>

namespace mill {

inline constexpr uint32_t kMemoryTags = 64;

// Counted where the work happens (each thread's cache, and the shared part) and added up when
// asked. A part may be negative where one thread frees what another allocated; the sum never is.
struct MemoryCounts {
  int64_t in_use = 0;     // capacity of live blocks
  int64_t requested = 0;  // what was asked for
  uint64_t allocations = 0;
  uint64_t frees = 0;
  std::array<int64_t, kMemoryTags> tags{};  // capacity by tag

  void allocated(uint64_t bytes, uint64_t capacity, uint8_t tag) noexcept {
    in_use += static_cast<int64_t>(capacity);
    requested += static_cast<int64_t>(bytes);
    ++allocations;
    tags[tag] += static_cast<int64_t>(capacity);
  }
  void freed(uint64_t bytes, uint64_t capacity, uint8_t tag) noexcept {
    in_use -= static_cast<int64_t>(capacity);
    requested -= static_cast<int64_t>(bytes);
    ++frees;
    tags[tag] -= static_cast<int64_t>(capacity);
  }
  void add(const MemoryCounts& other) noexcept {
    in_use += other.in_use;
    requested += other.requested;
    allocations += other.allocations;
    frees += other.frees;
    for (uint32_t t = 0; t < kMemoryTags; ++t) tags[t] += other.tags[t];
  }
};

struct MemoryStats {
  uint64_t in_use = 0;  // bytes of live blocks, rounding included
  uint64_t in_use_peak = 0;
  uint64_t requested = 0;  // the same blocks without rounding
  uint64_t reserved = 0;   // bytes held from the source
  uint64_t reserved_peak = 0;
  uint64_t cached = 0;       // reserved and not in use
  uint64_t limit = 0;        // 0 = none
  uint64_t allocations = 0;  // in all
  uint64_t frees = 0;
  uint64_t growths = 0;  // allocations for which the source was asked
  uint64_t reclaims =
      0;  // allocations that succeeded only after cached memory was given back or waited for
  uint64_t failures = 0;
  uint64_t source_allocations = 0;  // calls
  uint64_t source_frees = 0;
  std::array<uint64_t, kMemoryTags> tags{};  // bytes of live blocks by tag
};

}  // namespace mill
