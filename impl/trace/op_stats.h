// Totals per op: one table per exec, written by that exec's thread alone, read by anybody.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "millrace/op_numbers.h"

namespace mill {

// Ops have small numbers, custom ones count up from MILL_OP_CUSTOM: both are looked up by
// subtraction.
constexpr uint32_t kBuiltinOps = 512;
constexpr uint32_t kCustomOps = 256;
constexpr uint32_t kOtherOps = kBuiltinOps + kCustomOps;  // the slot that all others share
constexpr uint32_t kOpSlots = kOtherOps + 1;
constexpr int32_t kOtherOpsNumber = -1;

constexpr uint32_t op_slot(int32_t op) {
  const auto number = static_cast<uint32_t>(op);
  if (number < kBuiltinOps) return number;
  const uint32_t custom = number - static_cast<uint32_t>(MILL_OP_CUSTOM);
  return custom < kCustomOps ? kBuiltinOps + custom : kOtherOps;
}

constexpr int32_t op_of_slot(uint32_t slot) {
  if (slot < kBuiltinOps) return static_cast<int32_t>(slot);
  return slot < kOtherOps ? static_cast<int32_t>(slot - kBuiltinOps) + MILL_OP_CUSTOM
                          : kOtherOpsNumber;
}

struct OpTotals {
  uint64_t calls = 0;
  uint64_t ticks = 0;
  uint64_t bytes = 0;
  uint64_t flops = 0;
};

class OpTable {
 public:
  // Only one thread adds, so a load and a store do what an atomic addition would, without its bus
  // lock.
  void add(int32_t op, uint64_t ticks, uint64_t bytes, uint64_t flops) {
    Cell& cell = cells_[op_slot(op)];
    bump(cell.calls, 1);
    bump(cell.ticks, ticks);
    bump(cell.bytes, bytes);
    bump(cell.flops, flops);
  }

  void sum_into(std::array<OpTotals, kOpSlots>& totals) const {
    for (uint32_t i = 0; i < kOpSlots; ++i) {
      totals[i].calls += cells_[i].calls.load(std::memory_order_relaxed);
      totals[i].ticks += cells_[i].ticks.load(std::memory_order_relaxed);
      totals[i].bytes += cells_[i].bytes.load(std::memory_order_relaxed);
      totals[i].flops += cells_[i].flops.load(std::memory_order_relaxed);
    }
  }

 private:
  struct Cell {
    std::atomic<uint64_t> calls{0};
    std::atomic<uint64_t> ticks{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> flops{0};
  };
  static void bump(std::atomic<uint64_t>& value, uint64_t by) {
    value.store(value.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  std::array<Cell, kOpSlots> cells_;
};

}  // namespace mill
