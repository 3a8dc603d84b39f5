// Knows which frees the device has caught up with.
//
// Every free draws a ticket of its stream: the stream's own work never needs it, other streams may
// have the memory once the ticket is done. No event is made at a free. Only when another stream
// could use the memory is one event recorded on the stream; it covers every ticket drawn before.
// Not thread-safe: the allocator's lock guards it.
#pragma once

#include <cstdint>
#include <vector>

#include "memory/source.h"

namespace mill {

class StreamClock {
 public:
  explicit StreamClock(Source& source) : source_(source), inline_(source.runs_inline()) {}
  ~StreamClock();
  StreamClock(const StreamClock&) = delete;
  StreamClock& operator=(const StreamClock&) = delete;

  // A stream is known from here on. May throw std::bad_alloc.
  void know(uint64_t stream);
  // The ticket that covers everything submitted to the stream so far; 0 for a stream that has
  // ended.
  uint64_t draw(uint64_t stream) noexcept;
  bool done(uint64_t stream, uint64_t ticket) const noexcept;

  // Looks at the device without waiting. True if more tickets are done than before.
  bool poll() noexcept;

  // What a wait needs, taken out so that the wait itself can happen without the allocator's lock.
  struct Wait {
    uint64_t stream;
    uint64_t ticket;
    void* event;
    bool finished;
  };
  std::vector<Wait> begin_wait();
  static void wait(Source& source, std::vector<Wait>& waits) noexcept;
  void end_wait(const std::vector<Wait>& waits) noexcept;

  // The stream is about to be destroyed; its memory becomes everybody's when its work is done.
  void retire(uint64_t stream) noexcept;

 private:
  struct State {
    uint64_t stream;
    uint64_t drawn = 0;
    uint64_t done = 0;
    uint64_t event_ticket = 0;
    void* event = nullptr;
    bool recorded = false;  // event stands for event_ticket and has not been seen complete
    bool retired = false;
  };

  State* find(uint64_t stream) noexcept;
  const State* find(uint64_t stream) const noexcept {
    return const_cast<StreamClock*>(this)->find(stream);
  }
  bool record(State& state) noexcept;
  bool poll(State& state) noexcept;
  void forget_ended() noexcept;

  Source& source_;
  const bool inline_;
  std::vector<State> states_;
};

}  // namespace mill
