// Runs grids on the calling thread: blocks one after another, the lanes of a block as fibers where
// the kernel cooperates and as a plain loop where it does not.
//
// Checked always: barriers and warp operations that not all lanes reach, or reach at different
// places; lanes that return while others wait; limits; alignment. A lane that fails never throws:
// what it did is noted, the block is abandoned, the launch answers with a report.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "gpu/runtime/sim/fiber.h"
#include "gpu/runtime/sim/lane.h"

namespace mill::sim {

class Shadow;

// One instance of a kernel, as launch<>() describes it. Static storage.
struct KernelInfo {
  const char* name;  // with its template arguments
  bool cooperative;
  void (*block)(BlockState& block, void* const* args);               // flat: all lanes in order
  void (*flat_lane)(BlockState& block, int tid, void* const* args);  // flat: one lane
  void (*lane)(Lane* lane, void* const* args);                       // cooperative: one lane
  // What tells it from all others: its source file and its full text, the same in both flavours but
  // for the namespace.
  const char* unit;
  const char* text;
  const uint32_t* argument_bytes;                           // of each, until 0
  mutable std::atomic<const KernelInfo*> checked{nullptr};  // once it has been looked for
};

enum class GridFault : uint8_t {
  none,
  misaligned,
  shared_size,
  declared_twice,
  untranslated,
  divergent_barrier,  // lanes wait at different places, or some have returned
  divergent_warp,
  lane_exited,
  // The checked flavour's.
  out_of_bounds,
  unwritten,     // a read of what nothing has written
  race,          // between lanes of a block
  block_race,    // between blocks
  mixed_atomic,  // an atomic with a plain access, of lanes or blocks
  inner_index,   // past an array inside a struct or another array
  null_address
};

enum class AccessKind : uint8_t { read, write, atomic };
enum class OperandKind : uint8_t {
  input,
  output,
  workspace,
  memory,  // an allocation; for launches without operands
  static_shared,
  dynamic_shared
};

struct GridReport {
  GridFault fault = GridFault::none;
  Site site{nullptr, 0};
  Site other{nullptr, 0};  // where another lane waits; null if nowhere
  int64_t block = 0;
  int lane = 0;
  int other_lane = -1;
  uint64_t address = 0;
  uint64_t bytes = 0;
  // The checked flavour's. Return addresses, until find_lines has made sites of them.
  uintptr_t code = 0;
  uintptr_t other_code = 0;
  AccessKind access = AccessKind::read;
  AccessKind other_access = AccessKind::read;
  bool shared = false;       // `address` counts from the beginning of shared memory
  bool other_block = false;  // the other lane is an earlier block's
  OperandKind operand = OperandKind::memory;  // out of bounds: of what, or near what
  uint32_t operand_index = 0;
  uint64_t operand_bytes = 0;
  int64_t position = 0;         // byte of the operand, or index into the array
  const char* array = nullptr;  // inner_index: its type
};

struct GridShape {
  int64_t grid = 0;
  int block = 0;
  uint32_t dynamic_bytes = 0;
};

// What a launch needs to know of its device.
struct GridDevice {
  const char* h_begin = nullptr;
  uint64_t h_bytes = 0;
  ptrdiff_t delta = 0;
  uint32_t shared_limit = 0;
  uint64_t seed = 0;  // 0: lanes and blocks in order; else the order that follows from it
};

// How a launch is checked.
struct GridCheck {
  const KernelInfo* kernel = nullptr;  // the checked flavour's
  Shadow* shadow = nullptr;
  int64_t every = 1;  // the first two blocks and those whose number is a multiple of it
};

class GridEngine {
 public:
  GridEngine();
  ~GridEngine();
  GridEngine(const GridEngine&) = delete;
  GridEngine& operator=(const GridEngine&) = delete;

  // The calling thread's engine, made on first use. Throws std::bad_alloc.
  static GridEngine& here();

  // True if every block ran to its end; otherwise *report says what went wrong.
  bool run(const KernelInfo& kernel, const GridShape& shape, const GridDevice& device,
           void* const* args, GridReport* report, const GridCheck* check = nullptr);

  void barrier(Lane* lane, Site site);
  bool warp(Lane* lane, LaneWait kind, Site site);
  [[noreturn]] void fail(const GridReport& report);
  int64_t running_block() const { return block_.bid; }
  int running_lane() const { return running_; }

 private:
  static void lane_main(void* arg);
  static void flat_main(void* arg);
  void run_flat_grid();
  void run_block();
  void lane_done(Lane* lane);
  void begin_block(int64_t index);
  int next_ready();
  void go_on_from(Lane* lane);
  [[noreturn]] void stuck(const Lane* lane);
  uint64_t random();
  void set_order(int64_t n, int64_t* first, int64_t* step);

  FiberStacks stacks_;
  Fiber host_;
  Fiber flat_;
  std::unique_ptr<Fiber[]> fibers_;
  std::unique_ptr<Lane[]> lanes_;
  std::unique_ptr<WarpSlots[]> slots_;
  std::unique_ptr<unsigned char[]> arena_;
  bool flat_ready_ = false;
  int prepared_ = 0;  // fibers that stand at the top of their loop

  const KernelInfo* kernel_ = nullptr;  // of the block that runs
  const KernelInfo* plain_ = nullptr;
  const GridCheck* check_ = nullptr;
  Shadow* watch_ = nullptr;  // of the block that runs, if it is checked
  void* const* args_ = nullptr;
  GridShape shape_;
  BlockState block_;
  GridReport* report_ = nullptr;
  bool failed_ = false;
  uint64_t seed_ = 0;
  uint64_t state_ = 0;  // of the random order

  int warps_ = 0;
  int running_ = 0;
  int came_from_ = -1;  // -1: the host
  uint32_t ready_warps_ = 0;
  uint32_t ready_[kMaxWarps] = {};
  uint32_t waiting_[kMaxWarps] = {};
  uint32_t exited_[kMaxWarps] = {};
  LaneWait warp_kind_[kMaxWarps] = {};
  Site warp_site_[kMaxWarps] = {};
  int n_exited_ = 0;
  int n_barrier_ = 0;
  Site barrier_site_{};
  int barrier_lane_ = 0;
};

// A sentence about the report, in `text`.
void describe(const GridReport& report, const char* kernel, char* text, size_t bytes);

}  // namespace mill::sim
