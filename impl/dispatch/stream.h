// Stream and event handles over a device's table. On an inline device both are empty shells.
#pragma once

#include <cstdint>

#include "base/handle.h"
#include "base/ref.h"
#include "device/device.h"
#include "millrace/device.h"

struct mill_stream : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::stream;

  mill_stream(mill::Device& on, uint64_t number);
  ~mill_stream();

  mill::Device& device;  // whose owner it keeps alive
  uint64_t id;
  void* native = nullptr;

  void wait();
};

struct mill_event : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::event;

  explicit mill_event(mill::Device& on);
  ~mill_event();

  mill::Device& device;
  void* native = nullptr;

  void record(mill_stream& stream);
  mill_status query();
  mill_status wait(uint64_t timeout_ns);
};

inline void retain(mill_stream* stream) noexcept {
  stream->retain();
}
void release(mill_stream* stream) noexcept;
inline void retain(mill_event* event) noexcept {
  event->retain();
}
void release(mill_event* event) noexcept;
