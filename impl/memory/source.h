// Where an allocator's memory comes from, and how it asks what a device has finished. The device
// room adapts its tables to this; tests bring sources that fail on request and whose streams
// complete when told.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/turn_mutex.h"
#include "millrace/types.h"

namespace mill {

class Source {
 public:
  static constexpr size_t kTextBytes = 512;

  virtual ~Source() = default;

  virtual const char* name() const noexcept = 0;
  // Work is complete when a call returns: streams need no telling apart and the event functions are
  // never called.
  virtual bool runs_inline() const noexcept = 0;
  // The host may write the memory.
  virtual bool host_memory() const noexcept = 0;
  // Where calls are ordered by modelled time.
  virtual Turns turns() const noexcept { return {}; }

  // On failure writes one sentence of at most kTextBytes, the NUL included.
  virtual mill_status allocate(uint64_t bytes, uint64_t align, void** out, char* text) noexcept = 0;
  virtual void free(void* data, uint64_t bytes) noexcept = 0;

  // Makes *event happen when the work submitted to the stream so far is complete; *event is null or
  // an earlier event, which is then reused. stream is an id as given to Allocator::allocate. On
  // failure *event is unchanged.
  virtual mill_status record(uint64_t stream, void** event) noexcept = 0;
  virtual mill_status query(void* event) noexcept = 0;  // MILL_OK or MILL_NOT_READY
  virtual mill_status wait(void* event) noexcept = 0;
  virtual void release_event(void* event) noexcept = 0;
};

}  // namespace mill
