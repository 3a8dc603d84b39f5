// Small blocks: heap blocks cut into equal pieces, and a list of free pieces per class. Pieces keep
// their records, so taking and giving one is a list operation. Not thread-safe: the allocator's
// lock guards it.
#pragma once

#include <array>
#include <cstdint>

#include "memory/block.h"
#include "memory/heap.h"
#include "memory/size_class.h"
#include "memory/stream_clock.h"

namespace mill {

struct Run {
  Block* home = nullptr;
  Block* first = nullptr;  // the pieces, linked by `after`
  uint32_t total = 0;
  uint32_t free = 0;  // how many are in the class's list
  Run* next = nullptr;
  Run* previous = nullptr;
};

class Runs {
 public:
  explicit Runs(StreamClock& clock) : clock_(clock) {}
  // The heap blocks stay where they are: their heap returns them.
  ~Runs();
  Runs(const Runs&) = delete;
  Runs& operator=(const Runs&) = delete;

  // A free piece that work on `stream` may overwrite now, or null. Its state stays free.
  Block* take(uint32_t size_class, uint64_t stream) noexcept;
  // The block's stream and ticket say who may have it next.
  void give(Block* block) noexcept;
  // Cuts a block that the heap has handed out. False, with the block unharmed, if there is no
  // memory for the records.
  bool carve(uint32_t size_class, Block* home) noexcept;
  // Gives runs without a piece in use back to their heap.
  void dissolve() noexcept;

  uint64_t free_bytes() const noexcept { return free_bytes_; }
  const Run* runs(uint32_t size_class) const noexcept { return classes_[size_class].runs; }

 private:
  struct Class {
    BlockList free;
    Run* runs = nullptr;
  };

  StreamClock& clock_;
  uint64_t free_bytes_ = 0;
  std::array<Class, kSmallClasses> classes_{};
};

}  // namespace mill
