// The record of a piece of memory, kept apart from it: device memory is never touched by its
// allocator.
#pragma once

#include <atomic>
#include <cstdint>

namespace mill {

// The home of memory that every stream may have: no unfinished work can touch it.
inline constexpr uint64_t kAnyStream = ~uint64_t{0};

enum class BlockState : uint8_t {
  free,     // in a list of the heap, a class or a magazine
  live,     // handed out
  pending,  // freed, but streams other than its own may still use it
  run       // a heap block that is cut into small blocks
};

// Where an allocation came from.
enum class Served : uint8_t {
  hit = 1,     // memory that the allocator held
  growth = 2,  // new memory from the source
  reclaim = 3  // after cached memory had to be given back or waited for
};

// Streams beside its own that used a block. Tickets are drawn when the block is freed.
struct BlockUses {
  static constexpr uint32_t kPerList = 6;
  struct Use {
    uint64_t stream;
    uint64_t ticket;
  };
  Use uses[kPerList];
  uint32_t count = 0;
  BlockUses* next = nullptr;
};

struct Block {
  static constexpr uint8_t kHeapBlock = 0xff;
  static constexpr uint8_t kEmptyBlock = 0xfe;

  void* data = nullptr;  // null for an allocation of no bytes
  uint64_t bytes = 0;    // as requested
  uint64_t capacity = 0;
  uint64_t stream = kAnyStream;
  Block* next = nullptr;
  void* owner = nullptr;  // its Run or Segment
  uint64_t ticket = 0;    // of its last free on `stream`
  uint8_t size_class = kHeapBlock;
  BlockState state = BlockState::free;
  uint8_t tag = 0;
  Served served = Served::hit;

  // What a trace calls the allocation; 0 until one asks. Atomic: several threads may ask.
  std::atomic<uint64_t> trace_id{0};

  Block* previous = nullptr;
  Block* before = nullptr;  // neighbours in memory
  Block* after = nullptr;
  BlockUses* uses = nullptr;
};
static_assert(sizeof(Block) <= 128);

// A doubly linked list through next and previous, most recent first.
struct BlockList {
  Block* head = nullptr;

  void push(Block* block) noexcept {
    block->previous = nullptr;
    block->next = head;
    if (head) head->previous = block;
    head = block;
  }
  void remove(Block* block) noexcept {
    (block->previous ? block->previous->next : head) = block->next;
    if (block->next) block->next->previous = block->previous;
    block->next = nullptr;
    block->previous = nullptr;
  }
};

}  // namespace mill
