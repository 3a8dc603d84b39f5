// How a kernel body cooperates with the rest of its block when it runs on the host: the part of the
// fiber engine that bodies call. One OS thread runs one grid at a time; a block's lanes are fibers
// that switch at barriers and warp operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mill::sim {

inline constexpr int kWarp = 32;
inline constexpr int kMaxLanes = 1024;
inline constexpr int kMaxWarps = kMaxLanes / kWarp;
inline constexpr int kSlotBytes = 64;
// Bytes around the parts of shared memory that belong to nobody, where a run past an end shows.
inline constexpr uint32_t kSharedGap = 256;

// Where in a body something happened.
struct Site {
  const char* file;
  int line;
};

enum class LaneWait : uint8_t { none, barrier, warp_sync, shuffle, ballot, reduce, exchange };

// Operands of warp operations: two sets in turn, so that a lane may bring the next operand while a
// slower one still reads the last result.
struct alignas(64) WarpSlots {
  unsigned char bytes[2][kWarp][kSlotBytes];
};

// The block that is running, as its lanes see it.
struct BlockState {
  int64_t bid = 0;
  int64_t grid_dim = 0;
  int block_dim = 0;
  bool poisoned = false;            // the static shared memory has been filled for this block
  unsigned char* shared = nullptr;  // static part first, dynamic part behind
  uint32_t static_bytes = 0;        // as declared by the body that ran last
  uint32_t dynamic_bytes = 0;
  uint32_t shared_limit = 0;
  const char* h_begin = nullptr;  // the device's addresses as the host sees them
  uint64_t h_bytes = 0;
  ptrdiff_t delta = 0;         // from there to the bytes
  WarpSlots* slots = nullptr;  // [warps]

  // Where the static part begins, from `shared`; a multiple of 128.
  uint32_t static_offset() const {
    return dynamic_bytes == 0 ? 0 : ((dynamic_bytes + 127u) & ~127u) + kSharedGap;
  }
};

struct Lane {
  int tid;
  uint8_t turn;  // which set of slots its next warp operation uses
  LaneWait wait;
  Site site;  // where it waits
  BlockState* block;
};

// Stops until every lane of the block has come. Divergence ends the launch with a report.
void lane_barrier(Lane* lane, Site site);
// Stops until the 32 lanes of the warp have come to the same operation. True for the last to come,
// before the others go on.
bool lane_warp(Lane* lane, LaneWait kind, Site site);
// Ends the lane and the launch with a report. `bytes` and `address` as the kind needs them.
enum class LaneFault : uint8_t { misaligned, shared_size, declared_twice, untranslated };
[[noreturn]] void lane_fail(LaneFault kind, Site site, uint64_t address, uint64_t bytes);

// The block's static shared memory, filled with NaNs before its first lane sees it.
void* lane_shared(Lane* lane, size_t bytes, Site site);
// An atomic operation of the checked flavour: what is at the address, once it may be read and
// written; and its new contents.
void lane_atomic(const void* at, void* value, size_t bytes);
void lane_atomic_store(void* at, const void* value, size_t bytes);
// Fills the slot if it is the first to.
void note_fault(void* slot, int32_t op, int32_t argument, int64_t position, int64_t value,
                int64_t low, int64_t high);

[[gnu::always_inline]] inline void* device_address(const BlockState& block, const void* p) {
  const auto offset = static_cast<uint64_t>(static_cast<const char*>(p) - block.h_begin);
  const auto* at = static_cast<const char*>(p);
  return const_cast<char*>(offset < block.h_bytes ? at + block.delta : at);
}

}  // namespace mill::sim
