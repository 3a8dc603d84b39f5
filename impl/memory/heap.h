// Segments of source memory, tiled by blocks of whole pages that are split when taken and merged
// when given back. Not thread-safe: the allocator's lock guards it.
#pragma once

#include <array>
#include <cstdint>

#include "memory/block.h"
#include "memory/size_class.h"
#include "memory/source.h"
#include "memory/stream_clock.h"

namespace mill {

class Heap;

struct Segment {
  Heap* heap = nullptr;
  void* data = nullptr;
  uint64_t bytes = 0;
  Block* first = nullptr;
  Segment* next = nullptr;
  Segment* previous = nullptr;
};

class Heap {
 public:
  Heap(Source& source, StreamClock& clock) : source_(source), clock_(clock) {}
  // Gives every segment back, live blocks included.
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // A free block of at least `bytes` (whole pages) that work on `stream` may overwrite now, cut to
  // size; null if there is none. Its state is live, its stream `stream`.
  Block* take(uint64_t bytes, uint64_t stream) noexcept;
  // Puts a block of this heap back. Its stream and ticket say who may have it next.
  void give(Block* block) noexcept;
  // Takes over memory of the source. Throws MILL_E_MEMORY, and then does not own it.
  void add(void* data, uint64_t bytes);
  // Forgets the streams of blocks whose tickets are done, and merges what that allows.
  void settle() noexcept;
  // Returns wholly free, settled segments to the source; how many bytes, and through *calls how
  // many segments.
  uint64_t release(uint64_t* calls) noexcept;

  uint64_t free_bytes() const noexcept { return free_bytes_; }
  const Segment* segments() const noexcept { return segments_; }

 private:
  // Eight bins per power of two, counted in pages.
  static constexpr uint32_t kBins = 352;
  static uint32_t bin(uint64_t bytes) noexcept;

  bool usable(const Block& block, uint64_t stream) const noexcept;
  bool mergeable(const Block& a, const Block& b) const noexcept;
  void insert(Block* block) noexcept;
  void remove(Block* block) noexcept;
  Block* merge(Block* a, Block* b) noexcept;
  void split(Block* block, uint64_t bytes) noexcept;
  void give_back(Segment* segment) noexcept;

  Source& source_;
  StreamClock& clock_;
  Segment* segments_ = nullptr;
  uint64_t free_bytes_ = 0;
  std::array<uint64_t, (kBins + 63) / 64> occupied_{};
  std::array<BlockList, kBins> bins_{};
};

}  // namespace mill
