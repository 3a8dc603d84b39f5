// A ring of pinned memory that copies from ordinary host memory go through, so that the host waits
// for a copy in its own memory and not for the link.
#pragma once

#include <cstdint>
#include <vector>

#include "dispatch/stream.h"

namespace mill {

// Of one exec: used by one thread at a time. A copy larger than a slot goes in pieces.
class StagingRing {
 public:
  // A quarter of `bytes` for each of four slots. Throws std::bad_alloc, or what the device reports.
  StagingRing(Device& device, uint64_t bytes, uint64_t stream, uint32_t tag);
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  static constexpr size_t kSlots = 4;
  uint64_t bytes() const { return slot_bytes_ * kSlots; }
  // Returns when `from` has been read. The host waits where a slot is still being copied from.
  void copy(mill_stream& stream, void* to, const void* from, uint64_t bytes);

 private:
  struct Slot {
    Block* block = nullptr;
    Ref<mill_event> copied;
    bool pending = false;
  };
  void free_all() noexcept;

  Device& device_;
  const uint64_t slot_bytes_;
  std::vector<Slot> slots_;
  size_t next_ = 0;
};

}  // namespace mill
