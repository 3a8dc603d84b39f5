// The streams of one device: their numbers, how much has been submitted to each, and waits between
// them.
//
// Work on a stream is counted; a ticket (stream, sequence) stands for everything submitted to the
// stream up to there. Nothing is asked of the device until somebody on another stream needs a
// ticket: then one event is recorded, which covers all that was submitted by that moment, and
// serves later tickets too.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/turn_mutex.h"
#include "millrace/plugin.h"

namespace mill {

struct Ticket {
  uint64_t stream = 0;  // 0: nothing to wait for
  uint64_t sequence = 0;
};

// One stream's count, written by whoever submits to it.
struct StreamCount {
  std::atomic<uint64_t> submitted{0};
  // After the work has been handed to the device: an event recorded before that would not cover it.
  uint64_t next() { return submitted.fetch_add(1, std::memory_order_acq_rel) + 1; }
};

class StreamTable {
 public:
  explicit StreamTable(const mill_device_table& table, const Turns& turns = {});
  ~StreamTable();
  StreamTable(const StreamTable&) = delete;
  StreamTable& operator=(const StreamTable&) = delete;

  // Numbers begin with 1 and are never given twice. Throws std::bad_alloc.
  uint64_t add(void* native, std::shared_ptr<StreamCount> count);
  // The native stream is about to be destroyed; its tickets stay good.
  void drop(uint64_t number) noexcept;
  uint64_t number(const void* native) const;

  // A place behind everything submitted to the stream so far, the wait added last included.
  uint64_t count_wait(uint64_t number);

  // Work submitted to stream `waiter` from now on starts after the ticket. Throws what the device
  // reports.
  void wait(uint64_t waiter, const Ticket& ticket);
  // The host waits.
  void host_wait(const Ticket& ticket);
  // Without waiting; true for a device that cannot be asked any more.
  bool done(const Ticket& ticket) noexcept;
  // The host has seen the stream finished up to there.
  void note_done(uint64_t number, uint64_t sequence) noexcept;

  // For the allocator: an event that covers what the stream has got so far.
  mill_status record(uint64_t number, void** event) noexcept;

 private:
  struct Recorded {
    void* event;
    uint64_t covers;
    uint32_t waiters;  // of the host; the event stays here until they are gone
  };
  struct Waited {
    uint64_t stream;
    uint64_t sequence;
  };
  struct State {
    uint64_t number;
    void* native;  // null once dropped
    std::shared_ptr<StreamCount> count;
    uint64_t done = 0;
    std::vector<Recorded> events;  // oldest first
    std::vector<Waited> waits;     // how far it waits for others already
  };
  State* find(uint64_t number);
  Recorded& covering(State& state, uint64_t sequence);
  mill_status look(State& state) noexcept;
  void forget() noexcept;
  void* take_event();

  const mill_device_table& table_;
  mutable TurnMutex mutex_;
  std::vector<State> states_;
  std::vector<void*> spare_;  // events to use again; has room for every event there is
  size_t events_ = 0;         // how many there are
  uint64_t next_ = 1;
};

}  // namespace mill
