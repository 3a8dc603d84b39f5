// A source for tests: host memory between guard bytes, failures on request, and streams that are
// done when told.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "base/sanitize.h"
#include "memory/source.h"

namespace mill {

class FakeSource : public Source {
 public:
  explicit FakeSource(bool runs_inline) : inline_(runs_inline) {}

  const char* name() const noexcept override { return "fake"; }
  bool runs_inline() const noexcept override { return inline_; }
  bool host_memory() const noexcept override { return true; }

  mill_status allocate(uint64_t bytes, uint64_t align, void** out, char* text) noexcept override {
    const std::lock_guard lock(mutex_);
    ++allocations;
    if (fail_always || (capacity != 0 && held + bytes > capacity) ||
        (fail_in != 0 && --fail_in == 0)) {
      std::snprintf(text, kTextBytes, "the fake is full");
      return MILL_E_MEMORY;
    }
    void* data = std::aligned_alloc(align, (bytes + align - 1) / align * align);
    if (!data) return MILL_E_MEMORY;
    pieces_[data] = bytes;
    held += bytes;
    *out = data;
    return MILL_OK;
  }

  void free(void* data, uint64_t bytes) noexcept override {
    const std::lock_guard lock(mutex_);
    ++frees;
    const auto piece = pieces_.find(data);
    if (piece == pieces_.end() || piece->second != bytes) {
      wrong = "freed what was not allocated, or with another size";
      return;
    }
    pieces_.erase(piece);
    held -= bytes;
    std::free(data);
  }

  mill_status record(uint64_t stream, void** event) noexcept override {
    const std::lock_guard lock(mutex_);
    ++records;
    if (inline_) wrong = "recorded an event although work is inline";
    if (!*event) {
      *event = new Event;
      ++events;
    }
    *static_cast<Event*>(*event) = {stream, submitted[stream]};
    return MILL_OK;
  }
  mill_status query(void* event) noexcept override {
    const std::lock_guard lock(mutex_);
    ++queries;
    const auto* e = static_cast<Event*>(event);
    return e->point <= completed[e->stream] ? MILL_OK : MILL_NOT_READY;
  }
  mill_status wait(void* event) noexcept override {
    const std::lock_guard lock(mutex_);
    ++waits;
    const auto* e = static_cast<Event*>(event);
    if (completed[e->stream] < e->point) completed[e->stream] = e->point;
    return MILL_OK;
  }
  void release_event(void* event) noexcept override {
    const std::lock_guard lock(mutex_);
    --events;
    delete static_cast<Event*>(event);
  }

  bool inside(const void* data, uint64_t bytes) const {
    auto piece = pieces_.upper_bound(const_cast<void*>(data));
    if (piece == pieces_.begin()) return false;
    --piece;
    return static_cast<const char*>(data) + bytes <=
           static_cast<const char*>(piece->first) + piece->second;
  }

  uint64_t capacity = 0;
  bool fail_always = false;
  uint64_t fail_in = 0;
  uint64_t allocations = 0;
  uint64_t frees = 0;
  uint64_t held = 0;
  uint64_t records = 0;
  uint64_t queries = 0;
  uint64_t waits = 0;
  int64_t events = 0;
  std::string wrong;
  // Simulated time per stream: how much work was submitted, and how much of it is complete.
  std::map<uint64_t, uint64_t> submitted;
  std::map<uint64_t, uint64_t> completed;

 private:
  struct Event {
    uint64_t stream;
    uint64_t point;
  };
  const bool inline_;
  std::mutex mutex_;
  std::map<void*, uint64_t> pieces_;
};

}  // namespace mill
