// Whose clock a record is stamped with: the engine's, or that of a device whose time is modelled.
// On the latter real time says nothing, and what the host does must stand beside what the device
// does.
#pragma once

#include <cstdint>

#include "millrace/plugin.h"
#include "trace/tracer.h"

namespace mill {

class TraceTime {
 public:
  explicit TraceTime(const Tracer& tracer) : tracer_(&tracer) {}
  // modelled: null for a device whose time is real.
  TraceTime(const Tracer& tracer, const mill_timeline_functions* modelled, void* device,
            uint32_t number)
      : tracer_(&tracer),
        modelled_(modelled),
        device_(device),
        clock_(modelled ? static_cast<uint16_t>(number) : uint16_t{0}) {}

  // Ticks of the tracer's clock, or nanoseconds of the device's.
  uint64_t now() const {
    if (modelled_) [[unlikely]]
      return static_cast<uint64_t>(modelled_->now(device_));
    return tracer_->now();
  }
  // For mill_trace_record.clock.
  uint16_t clock() const { return clock_; }

 private:
  const Tracer* tracer_;
  const mill_timeline_functions* modelled_ = nullptr;
  void* device_ = nullptr;
  uint16_t clock_ = 0;
};

}  // namespace mill
