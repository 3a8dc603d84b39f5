#include "memory/runs.h"

#include "base/slab.h"

namespace mill {

namespace {

void destroy_pieces(Run* run) noexcept {
  for (Block* piece = run->first; piece;) {
    Block* after = piece->after;
    Slab<Block>::destroy(piece);
    piece = after;
  }
}

}  // namespace

Runs::~Runs() {
  for (Class& c : classes_) {
    while (Run* run = c.runs) {
      c.runs = run->next;
      destroy_pieces(run);
      Slab<Run>::destroy(run);
    }
  }
}

Block* Runs::take(uint32_t size_class, uint64_t stream) noexcept {
  BlockList& list = classes_[size_class].free;
  for (Block* block = list.head; block; block = block->next) {
    if (block->stream != stream) {
      if (!clock_.done(block->stream, block->ticket)) continue;
      block->stream = stream;
      block->ticket = 0;
    }
    list.remove(block);
    --static_cast<Run*>(block->owner)->free;
    free_bytes_ -= block->capacity;
    return block;
  }
  return nullptr;
}

void Runs::give(Block* block) noexcept {
  block->state = BlockState::free;
  classes_[block->size_class].free.push(block);
  ++static_cast<Run*>(block->owner)->free;
  free_bytes_ += block->capacity;
}

bool Runs::carve(uint32_t size_class, Block* home) noexcept {
  const uint64_t bytes = small_class_bytes(size_class);
  const uint64_t pieces = home->capacity / bytes;
  Run* run = nullptr;
  try {
    run = Slab<Run>::create();
    // From the end, so that the list hands them out by rising address.
    for (uint64_t k = pieces; k-- > 0;) {
      Block* piece = Slab<Block>::create();
      piece->data = static_cast<char*>(home->data) + k * bytes;
      piece->capacity = bytes;
      piece->stream = home->stream;
      piece->ticket = home->ticket;
      piece->owner = run;
      piece->size_class = static_cast<uint8_t>(size_class);
      piece->after = run->first;
      run->first = piece;
      ++run->total;
    }
  } catch (...) {
    if (!run) return false;
    if (run->total == 0) {
      Slab<Run>::destroy(run);
      return false;
    }
  }
  home->state = BlockState::run;
  run->home = home;
  Class& c = classes_[size_class];
  run->next = c.runs;
  if (c.runs) c.runs->previous = run;
  c.runs = run;
  Block* last = nullptr;
  for (Block* piece = run->first; piece; piece = piece->after) {
    piece->before = last;
    last = piece;
  }
  for (; last; last = last->before) give(last);
  return true;
}

void Runs::dissolve() noexcept {
  for (Class& c : classes_) {
    for (Run* run = c.runs; run;) {
      Run* next = run->next;
      bool unused = run->free == run->total;
      for (Block* piece = run->first; piece && unused; piece = piece->after) {
        unused = clock_.done(piece->stream, piece->ticket);
      }
      if (unused) {
        for (Block* piece = run->first; piece; piece = piece->after) c.free.remove(piece);
        free_bytes_ -= run->first->capacity * run->total;  // NOLINT: no run is without pieces
        destroy_pieces(run);
        (run->previous ? run->previous->next : c.runs) = run->next;
        if (run->next) run->next->previous = run->previous;
        run->home->stream = kAnyStream;
        run->home->ticket = 0;
        static_cast<Segment*>(run->home->owner)->heap->give(run->home);
        Slab<Run>::destroy(run);
      }
      run = next;
    }
  }
}

}  // namespace mill
