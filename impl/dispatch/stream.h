// Stream and event handles over a device's table. On an inline device both are empty shells.
#pragma once

#include <cstdint>
#include <memory>

#include "base/handle.h"
#include "base/ref.h"
#include "device/device.h"
#include "millrace/device.h"

struct mill_stream : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::stream;

  // number: the trace's; foreign: the program's own native stream, which stays its own, or NULL.
  mill_stream(mill::Device& on, uint64_t number, int32_t priority = 0, void* foreign = nullptr);
  ~mill_stream();

  mill::Device& device;  // whose owner it keeps alive
  uint64_t id;
  uint64_t memory_id = 0;                    // what the allocator and the tickets know it by
  std::shared_ptr<mill::StreamCount> count;  // null on an inline device
  void* native = nullptr;

  void wait();
  // Of the work that has just been submitted. Not on an inline device.
  mill::Ticket ticket() const { return {memory_id, count->next()}; }
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
  double elapsed(mill_event& until);
  // A file descriptor of the caller's, readable once what the event stands for at this call has
  // happened.
  int32_t descriptor();
};

inline void retain(mill_stream* stream) noexcept {
  stream->retain();
}
void release(mill_stream* stream) noexcept;
inline void retain(mill_event* event) noexcept {
  event->retain();
}
void release(mill_event* event) noexcept;
