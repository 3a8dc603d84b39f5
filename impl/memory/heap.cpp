#include "memory/heap.h"

#include <algorithm>
#include <bit>

#include "base/sanitize.h"
#include "base/slab.h"

namespace mill {

Heap::~Heap() {
  while (Segment* segment = segments_) {
    segments_ = segment->next;
    for (Block* block = segment->first; block;) {
      Block* after = block->after;
      Slab<Block>::destroy(block);
      block = after;
    }
    give_back(segment);
  }
}

void Heap::give_back(Segment* segment) noexcept {
  if (kCheckedBuild && source_.host_memory()) unpoison_memory(segment->data, segment->bytes);
  source_.free(segment->data, segment->bytes);
  Slab<Segment>::destroy(segment);
}

uint32_t Heap::bin(uint64_t bytes) noexcept {
  const uint64_t pages = bytes / kPage;
  if (pages < 16) return static_cast<uint32_t>(pages) - 1;
  const auto power = static_cast<uint32_t>(std::bit_width(pages)) - 1;
  return 15 + (power - 4) * 8 + (static_cast<uint32_t>(pages >> (power - 3)) & 7);
}

bool Heap::usable(const Block& block, uint64_t stream) const noexcept {
  return block.stream == stream || clock_.done(block.stream, block.ticket);
}

bool Heap::mergeable(const Block& a, const Block& b) const noexcept {
  if (a.state != BlockState::free || b.state != BlockState::free) return false;
  // A merged block has one home. Memory that anybody may have can join one that waits for a stream.
  return a.stream == b.stream || clock_.done(a.stream, a.ticket) || clock_.done(b.stream, b.ticket);
}

void Heap::insert(Block* block) noexcept {
  const uint32_t b = bin(block->capacity);
  bins_[b].push(block);
  occupied_[b / 64] |= uint64_t{1} << (b % 64);
  free_bytes_ += block->capacity;
}

void Heap::remove(Block* block) noexcept {
  const uint32_t b = bin(block->capacity);
  bins_[b].remove(block);
  if (!bins_[b].head) occupied_[b / 64] &= ~(uint64_t{1} << (b % 64));
  free_bytes_ -= block->capacity;
}

// b follows a in memory; neither is in a bin.
Block* Heap::merge(Block* a, Block* b) noexcept {
  if (a->stream == b->stream) {
    a->ticket = std::max(a->ticket, b->ticket);
  } else if (clock_.done(a->stream, a->ticket)) {
    const bool both = clock_.done(b->stream, b->ticket);
    a->stream = both ? kAnyStream : b->stream;
    a->ticket = both ? 0 : b->ticket;
  }
  a->capacity += b->capacity;
  a->after = b->after;
  if (b->after) b->after->before = a;
  Slab<Block>::destroy(b);
  return a;
}

// Leaves the block whole if there is no memory for another record: the request is served all the
// same.
void Heap::split(Block* block, uint64_t bytes) noexcept {
  Block* rest = nullptr;
  try {
    rest = Slab<Block>::create();
  } catch (...) {
    return;
  }
  rest->data = static_cast<char*>(block->data) + bytes;
  rest->capacity = block->capacity - bytes;
  rest->stream = block->stream;
  rest->ticket = block->ticket;
  rest->owner = block->owner;
  rest->before = block;
  rest->after = block->after;
  if (rest->after) rest->after->before = rest;
  block->after = rest;
  block->capacity = bytes;
  insert(rest);
}

Block* Heap::take(uint64_t bytes, uint64_t stream) noexcept {
  const uint32_t first = bin(bytes);
  Block* best = nullptr;
  for (uint32_t word = first / 64; word < occupied_.size() && !best; ++word) {
    uint64_t bits = occupied_[word];
    if (word == first / 64) bits &= ~uint64_t{0} << (first % 64);
    for (; bits && !best; bits &= bits - 1) {
      const uint32_t b = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
      for (Block* block = bins_[b].head; block; block = block->next) {
        if (block->capacity < bytes || (best && block->capacity >= best->capacity)) continue;
        if (!usable(*block, stream)) continue;
        best = block;
        if (block->capacity == bytes) break;
      }
    }
  }
  if (!best) return nullptr;
  remove(best);
  if (best->capacity > bytes) split(best, bytes);
  if (best->stream != stream) best->ticket = 0;
  best->stream = stream;
  best->state = BlockState::live;
  return best;
}

void Heap::give(Block* block) noexcept {
  block->state = BlockState::free;
  // Neighbours further away count too: what lay between may have had unfinished work when it was
  // given.
  while (block->after && mergeable(*block, *block->after)) {
    remove(block->after);
    block = merge(block, block->after);
  }
  while (block->before && mergeable(*block->before, *block)) {
    remove(block->before);
    block = merge(block->before, block);
  }
  insert(block);
}

void Heap::add(void* data, uint64_t bytes) {
  Slab<Segment>::Owner segment(Slab<Segment>::create());
  Block* block = Slab<Block>::create();
  segment->heap = this;
  segment->data = data;
  segment->bytes = bytes;
  segment->first = block;
  segment->next = segments_;
  if (segments_) segments_->previous = segment.get();
  block->data = data;
  block->capacity = bytes;
  block->owner = segment.get();
  segments_ = segment.release();
  insert(block);
}

void Heap::settle() noexcept {
  for (Segment* segment = segments_; segment; segment = segment->next) {
    for (Block* block = segment->first; block; block = block->after) {
      if (block->state != BlockState::free || !clock_.done(block->stream, block->ticket)) continue;
      block->stream = kAnyStream;
      block->ticket = 0;
    }
    for (Block* block = segment->first; block; block = block->after) {
      while (block->after && mergeable(*block, *block->after)) {
        remove(block);
        remove(block->after);
        block = merge(block, block->after);
        insert(block);
      }
    }
  }
}

uint64_t Heap::release(uint64_t* calls) noexcept {
  uint64_t released = 0;
  for (Segment* segment = segments_; segment;) {
    Segment* next = segment->next;
    Block* block = segment->first;
    if (block->state == BlockState::free && !block->after &&
        clock_.done(block->stream, block->ticket)) {
      remove(block);
      Slab<Block>::destroy(block);
      (segment->previous ? segment->previous->next : segments_) = segment->next;
      if (segment->next) segment->next->previous = segment->previous;
      released += segment->bytes;
      ++*calls;
      give_back(segment);
    }
    segment = next;
  }
  return released;
}

}  // namespace mill
