// What a checked launch remembers of memory: who wrote and who read last, and which bytes have been
// written at all.
//
// A cell stands for two bytes and holds the last write and the last read of them. One counter, the
// epoch, orders everything: it is raised when a launch begins, when a block begins and when all
// lanes of a block have come to a barrier. An access that is older than the launch is ordered
// before it. One that is older than the block was made by another block. One of the same epoch by
// another lane is a race unless a warp_sync of their common warp lies between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <vector>

#include "gpu/runtime/sim/grid.h"
#include "gpu/runtime/sim/space.h"
#include "millrace/plugin.h"

namespace mill::sim {

// Addresses that stay as reserved until they are touched; zero then.
class SparsePages {
 public:
  explicit SparsePages(uint64_t bytes);  // throws std::bad_alloc
  ~SparsePages();
  SparsePages(const SparsePages&) = delete;
  SparsePages& operator=(const SparsePages&) = delete;
  unsigned char* data() const { return data_; }
  void zero(uint64_t from, uint64_t bytes) noexcept;
  void zero_all() noexcept { zero(0, bytes_); }

 private:
  unsigned char* data_ = nullptr;
  uint64_t bytes_ = 0;
};

struct Access {
  uint32_t epoch;  // 0: there was none
  int32_t code;    // the return address, counted from Shadow::code_base_
  uint32_t who;    // Shadow::k... below
};
struct Cell {
  Access write;
  Access read;
};
static_assert(sizeof(Cell) == 24);

class Shadow {
 public:
  explicit Shadow(const Space& space);  // throws std::bad_alloc

  // The history of device memory, by the addresses that the program sees. Memory of which nothing
  // has been said counts as written.
  void fresh(const void* p, uint64_t bytes) noexcept;  // just allocated
  void gone(const void* p, uint64_t bytes) noexcept;   // freed
  void written(const void* p, uint64_t bytes) noexcept;
  void written(const mill_kernel_tensor& tensor) noexcept;
  void forget() noexcept;

  // Runs the grid with `checked` for the first two blocks and those whose number is a multiple of
  // `every`, with `plain` for the others. One at a time. Throws std::bad_alloc.
  bool run(const mill_kernel_args* args, const KernelInfo& plain, const KernelInfo& checked,
           int64_t every, const GridShape& shape, const GridDevice& device, void* const* argv,
           GridReport* report);

  // ---- from the engine
  void begin_launch(GridEngine* engine, const BlockState* block, const int* lane,
                    uint64_t arena_bytes);
  void begin_block();
  void end_launch();
  void raise();  // all lanes of the block have met
  void warp_synced(int warp) { warp_epoch_[warp] = (warp_epoch_[warp] + 1) & kWarpEpochMask; }

  // ---- from the hooks: returns if nothing is wrong
  template <bool kWrite, bool kAtomic = false>
  void access(uintptr_t at, size_t bytes, uintptr_t code);
  [[noreturn]] void inner_index(Site site, const char* array, int64_t index, uintptr_t code);

 private:
  struct Range {
    uint64_t begin;  // offsets into device memory
    uint64_t end;
  };
  struct Operand : Range {
    OperandKind kind;
    uint32_t index;
  };

  // Access::who, from the lowest bit: which of the two bytes; flags; the warp's epoch; the lane.
  static constexpr uint32_t kBothBytes = 3;
  static constexpr uint32_t kAtomicAccess = 1u << 2;
  static constexpr uint32_t kSeveral = 1u << 3;      // other lanes of the warp did the same
  static constexpr uint32_t kCross = 1u << 4;        // lanes of other warps did the same
  static constexpr uint32_t kBlocks = 1u << 5;       // lanes of other blocks did the same
  static constexpr uint32_t kPlainBefore = 1u << 6;  // the block has written it without an atomic
  static constexpr uint32_t kFlags = kSeveral | kCross | kBlocks | kPlainBefore;
  static constexpr int kWarpEpochShift = 7;
  static constexpr uint32_t kWarpEpochMask = 0x7fff;
  static constexpr int kLaneShift = 22;
  static constexpr int kWarpShift = kLaneShift + 5;
  // Below every address that a program of this system can map.
  static constexpr uintptr_t kNullPage = 4096;

  static bool same_lane(uint32_t a, uint32_t b) { return (a ^ b) >> kLaneShift == 0; }
  static bool same_warp(uint32_t a, uint32_t b) { return (a ^ b) >> kWarpShift == 0; }
  static bool same_warp_epoch(uint32_t a, uint32_t b) {
    return (((a ^ b) >> kWarpEpochShift) & kWarpEpochMask) == 0;
  }

  template <bool kWrite, bool kAtomic, bool kShared>
  void record(Cell* cells, unsigned char* bits, uint64_t offset, size_t bytes, uintptr_t code);
  template <bool kWrite, bool kAtomic, bool kShared>
  void visit(Cell& cell, uint32_t who, int32_t code, uint64_t offset, size_t bytes);
  template <bool kAtomic, bool kShared>
  bool conflicts(const Access& before, uint32_t who) const;
  template <bool kShared>
  void join(Access& before, uint32_t who, int32_t code) const;
  template <bool kShared>
  void join_atomic(Access& before, uint32_t who, int32_t code) const;
  // Whether bytes are missing that cannot be padding of a struct which is copied as a whole: an
  // aligned word of 8 bytes of which nothing is written; of accesses of up to 4 bytes, any.
  static bool lacks(uint32_t set, uint32_t wanted, size_t bytes);
  bool inside_operand(uint64_t offset, size_t bytes);
  bool inside_shared(int64_t offset, size_t bytes) const;
  bool tracked(uint64_t offset) const {
    return tracked_pages_.data()[offset / Space::kGranule] != 0;
  }

  // From the tensor's first byte to its last; what lies between rows belongs to it.
  Range range_of(const mill_kernel_tensor& tensor) const;
  void add_operand(const mill_kernel_tensor* tensor, OperandKind kind, uint32_t index);
  void set_operands(const mill_kernel_args* args);
  void mark(uint64_t offset, uint64_t bytes) noexcept;
  uint64_t offset_of(const void* p) const {
    return static_cast<uint64_t>(static_cast<const char*>(p) - h_begin_);
  }
  GridReport begin_report(GridFault fault, size_t bytes, bool write, bool atomic,
                          uintptr_t code) const;
  [[noreturn]] void outside_operands(uint64_t offset, size_t bytes, bool write, bool atomic,
                                     uintptr_t code);
  [[noreturn]] void outside_shared(int64_t offset, size_t bytes, bool write, bool atomic,
                                   uintptr_t code);
  [[noreturn]] void no_memory(uintptr_t at, size_t bytes, bool write, bool atomic, uintptr_t code);
  [[noreturn]] void unwritten(bool shared, uint64_t offset, size_t bytes, bool atomic,
                              uintptr_t code);
  [[noreturn]] void race(const Access& before, bool before_writes, bool shared, uint64_t offset,
                         size_t bytes, bool write, uint32_t who, int32_t code);

  // ---- what every access reads
  uintptr_t arena_ = 0;  // of the block, the gap before it included
  uint64_t arena_bytes_ = 0;
  const BlockState* block_ = nullptr;
  const int* lane_ = nullptr;
  uintptr_t device_begin_ = 0;  // of the bytes
  uint64_t span_ = 0;
  Cell* cells_ = nullptr;
  unsigned char* bits_ = nullptr;
  Cell* shared_cells_ = nullptr;
  unsigned char* shared_bits_ = nullptr;
  uint32_t epoch_ = 0;
  uint32_t block_epoch_ = 0;
  uint32_t launch_epoch_ = 0;
  size_t last_operand_ = 0;
  uintptr_t code_base_;  // something in this module's code
  uint32_t warp_epoch_[kMaxWarps] = {};
  std::vector<Operand> operands_;  // sorted, apart from one another

  std::mutex mutex_;
  const Space& space_;
  const char* h_begin_;
  ptrdiff_t delta_;
  GridEngine* engine_ = nullptr;
  SparsePages cell_pages_;
  SparsePages bit_pages_;
  SparsePages tracked_pages_;  // a byte for each granule: 1 if its bits say what was written
  SparsePages shared_cell_pages_;
  SparsePages shared_bit_pages_;
};

// The shadow of the checked block that runs on this thread; null outside one.
extern constinit thread_local Shadow* watching __attribute__((tls_model("initial-exec")));

// ---- the checks of one access -------------------------------------------------------------------

// Whether an access by `who` now is a race with one that was made before.
template <bool kAtomic, bool kShared>
[[gnu::always_inline]] inline bool Shadow::conflicts(const Access& before, uint32_t who) const {
  // Other blocks have their own shared memory.
  if (kShared ? before.epoch != epoch_ : before.epoch < launch_epoch_) return false;
  if ((before.who & who & kBothBytes) == 0) return false;
  if (kAtomic && (before.who & kAtomicAccess) != 0)
    return !kShared && before.epoch < block_epoch_ && (before.who & kPlainBefore) != 0;
  if (!kShared && (before.epoch < block_epoch_ || (before.who & kBlocks) != 0)) return true;
  if (before.epoch != epoch_) return false;
  if ((before.who & kCross) != 0) return true;
  if (same_lane(before.who, who))
    return (before.who & kSeveral) != 0 && same_warp_epoch(before.who, who);
  return !same_warp(before.who, who) || same_warp_epoch(before.who, who);
}

// Adds an access that does not conflict with those of its kind: a read to the reads, an atomic to
// the atomics. Of several lanes the first stays, the flags tell of the others.
template <bool kShared>
[[gnu::always_inline]] inline void Shadow::join(Access& before, uint32_t who, int32_t code) const {
  const uint32_t old = before.who;
  if (before.epoch == epoch_) {
    // Nothing that the record does not say already.
    const uint32_t bytes = who & kBothBytes;
    if ((old & (kCross | bytes)) == (kCross | bytes)) return;
    if ((old & (kSeveral | bytes)) == (kSeveral | bytes) && same_warp(old, who) &&
        same_warp_epoch(old, who))
      return;
  }
  if (kShared ? before.epoch == epoch_ : before.epoch >= launch_epoch_) {
    if ((old & who & kBothBytes) == 0) {
      if (before.epoch == epoch_ && (old ^ who) >> kWarpEpochShift == 0) who |= old & kBothBytes;
    } else {
      if (!kShared) who |= (old & kBlocks) | (before.epoch < block_epoch_ ? kBlocks : 0);
      who |= old & kPlainBefore;
      if (before.epoch == epoch_) {
        who |= old & kCross;
        if (same_lane(old, who)) {
          if (same_warp_epoch(old, who)) who |= old & (kSeveral | kBothBytes);
        } else if (!same_warp(old, who) || same_warp_epoch(old, who)) {
          const uint32_t added = same_warp(old, who) ? kSeveral : kCross;
          before.who = (old & ~kBothBytes) | (old & who & kBothBytes) | (who & kFlags) | added;
          return;
        }
      }
    }
  }
  before = {epoch_, code, who};
}

// A plain write of the same epoch stays, because it is what atomics of other lanes conflict with.
template <bool kShared>
[[gnu::always_inline]] inline void Shadow::join_atomic(Access& before, uint32_t who,
                                                       int32_t code) const {
  if (before.epoch < (kShared ? block_epoch_ : launch_epoch_)) {
    before = {epoch_, code, who};
  } else if ((before.who & kAtomicAccess) != 0) {
    join<kShared>(before, who, code);
  } else if (before.epoch != epoch_) {
    before = {epoch_, code, who | kPlainBefore};
  }
}

template <bool kWrite, bool kAtomic, bool kShared>
[[gnu::always_inline]] inline void Shadow::visit(Cell& cell, uint32_t who, int32_t code,
                                                 uint64_t offset, size_t bytes) {
  if (conflicts<kAtomic, kShared>(cell.write, who)) [[unlikely]]
    race(cell.write, true, kShared, offset, bytes, kWrite, who, code);
  if constexpr (!kWrite) {
    join<kShared>(cell.read, who, code);
  } else {
    if (conflicts<kAtomic, kShared>(cell.read, who)) [[unlikely]]
      race(cell.read, false, kShared, offset, bytes, kWrite, who, code);
    if constexpr (kAtomic) {
      join_atomic<kShared>(cell.write, who, code);
    } else {
      const bool again = cell.write.epoch == epoch_ && ((cell.write.who ^ who) & ~kBothBytes) == 0;
      cell.write = {epoch_, code, again ? who | cell.write.who : who};
    }
  }
}

template <bool kWrite, bool kAtomic, bool kShared>
[[gnu::always_inline]] inline void Shadow::record(Cell* cells, unsigned char* bits, uint64_t offset,
                                                  size_t bytes, uintptr_t code) {
  constexpr size_t kWord = 16;  // bytes whose bits one load of 32 bits brings at any alignment
  for (size_t at = 0; at < bytes; at += kWord) {
    const size_t n = bytes - at < kWord ? bytes - at : kWord;
    unsigned char* word = bits + ((offset + at) >> 3);
    const uint32_t wanted = ((1u << n) - 1u) << ((offset + at) & 7);
    uint32_t set;
    std::memcpy(&set, word, sizeof set);
    if (!kWrite || kAtomic) {
      if ((set & wanted) != wanted && lacks(set, wanted, bytes) &&
          (kShared || tracked(offset + at))) [[unlikely]]
        unwritten(kShared, offset, bytes, kAtomic, code);
    }
    if (kWrite) {
      set |= wanted;
      std::memcpy(word, &set, sizeof set);
    }
  }
  const auto lane = static_cast<uint32_t>(*lane_);
  const uint32_t who = lane << kLaneShift | warp_epoch_[lane / kWarp] << kWarpEpochShift |
                       (kAtomic ? kAtomicAccess : 0u);
  const auto from = static_cast<int32_t>(code - code_base_);
  Cell* cell = cells + (offset >> 1);
  if (bytes == 1) {
    visit<kWrite, kAtomic, kShared>(*cell, who | 1u << (offset & 1), from, offset, bytes);
  } else if (((offset | bytes) & 1) == 0) {
    for (size_t k = 0; k < bytes / 2; ++k)
      visit<kWrite, kAtomic, kShared>(cell[k], who | kBothBytes, from, offset, bytes);
  } else {
    for (uint64_t at = offset; at < offset + bytes; ++at) {
      visit<kWrite, kAtomic, kShared>(cells[at >> 1], who | 1u << (at & 1), from, offset, bytes);
    }
  }
}

[[gnu::always_inline]] inline bool Shadow::inside_operand(uint64_t offset, size_t bytes) {
  const Operand& last = operands_[last_operand_];
  if (offset - last.begin < last.end - last.begin) return bytes <= last.end - offset;
  size_t low = 0;
  size_t high = operands_.size();
  while (low < high) {  // to the first that begins behind the offset
    const size_t middle = (low + high) / 2;
    if (operands_[middle].begin <= offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return false;
  last_operand_ = low - 1;
  const Operand& found = operands_[low - 1];
  return offset < found.end && bytes <= found.end - offset;
}

[[gnu::always_inline]] inline bool Shadow::inside_shared(int64_t offset, size_t bytes) const {
  const auto n = static_cast<int64_t>(bytes);
  const int64_t fixed = block_->static_offset();
  if (offset >= fixed) return offset - fixed + n <= int64_t{block_->static_bytes};
  return offset >= 0 && offset + n <= int64_t{block_->dynamic_bytes};
}

template <bool kWrite, bool kAtomic>
[[gnu::always_inline]] inline void Shadow::access(uintptr_t at, size_t bytes, uintptr_t code) {
  if (at - arena_ < arena_bytes_) {
    const auto offset = static_cast<int64_t>(at - arena_) - int64_t{kSharedGap};
    if (!inside_shared(offset, bytes)) [[unlikely]]
      outside_shared(offset, bytes, kWrite, kAtomic, code);
    record<kWrite, kAtomic, true>(shared_cells_, shared_bits_, static_cast<uint64_t>(offset), bytes,
                                  code);
  } else if (at - device_begin_ < span_) {
    const uint64_t offset = at - device_begin_;
    if (!inside_operand(offset, bytes)) [[unlikely]]
      outside_operands(offset, bytes, kWrite, kAtomic, code);
    record<kWrite, kAtomic, false>(cells_, bits_, offset, bytes, code);
  } else if (at - reinterpret_cast<uintptr_t>(h_begin_) < span_ || at < kNullPage) [[unlikely]] {
    no_memory(at, bytes, kWrite, kAtomic, code);
  }
}

}  // namespace mill::sim
