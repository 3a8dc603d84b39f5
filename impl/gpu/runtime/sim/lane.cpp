#include "gpu/runtime/sim/lane.h"

#include "gpu/facade.h"

namespace mill::sim {

void* lane_shared(Lane* lane, size_t bytes, Site site) {
  BlockState& block = *lane->block;
  if (!block.poisoned) {
    const uint64_t all = bytes + block.dynamic_bytes;
    if (all > block.shared_limit) lane_fail(LaneFault::shared_size, site, block.shared_limit, all);
    block.static_bytes = static_cast<uint32_t>(bytes);
    block.poisoned = true;
  } else if (block.static_bytes != bytes) {
    lane_fail(LaneFault::declared_twice, site, block.static_bytes, bytes);
  } else {
    return block.shared + block.static_offset();
  }
  unsigned char* at = block.shared + block.static_offset();
  std::memset(at, 0xff, bytes);
  return at;
}

void note_fault(void* slot, int32_t op, int32_t argument, int64_t position, int64_t value,
                int64_t low, int64_t high) {
  auto* fault = static_cast<gpu::fault_slot*>(slot);
  uint32_t none = 0;
  if (!__atomic_compare_exchange_n(&fault->state, &none, 1u, false, __ATOMIC_RELAXED,
                                   __ATOMIC_RELAXED))
    return;
  fault->op = op;
  fault->argument = argument;
  fault->position = position;
  fault->value = value;
  fault->low = low;
  fault->high = high;
  __atomic_store_n(&fault->state, 2u, __ATOMIC_RELEASE);
}

}  // namespace mill::sim
