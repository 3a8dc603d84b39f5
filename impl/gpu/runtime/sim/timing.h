// The simulated device's time and order: every call of the host goes through here, gets its place
// on the virtual clock, and is checked against what other streams may still be doing to the same
// memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "gpu/runtime/sim/clock.h"
#include "gpu/runtime/sim/host_clock.h"
#include "gpu/runtime/sim/model.h"
#include "gpu/runtime/sim/order.h"
#include "gpu/runtime/sim/profile.h"
#include "millrace/plugin.h"

namespace mill::sim {

// A queue of the device, and who it is to the clock and to the order.
struct Queue {
  StreamId clock = 0;
  StreamOrder::ActorId actor = 0;
  uint64_t tag = 0;
};

struct EventTime {
  EventId clock = 0;
  StreamOrder::EventId order = 0;
  bool recorded = false;
  uint64_t correlation = 0;  // of the call that recorded it last
};

// Memory that an operation reads or writes.
struct Touch {
  OrderAccess access;
  uint64_t begin;
  uint64_t end;
};

// Between host threads in virtual time: what is taken by whom, and when, does not depend on how
// they are scheduled.
class Semaphore {
 public:
  Semaphore(HostClock& clock, uint64_t count) : clock_(clock), released_(count, 0) {}
  bool acquire();  // false when it has been closed
  void release();
  void close();

 private:
  HostClock& clock_;
  HostClock::WaitList sleepers_;
  std::deque<Time> released_;  // when each unit was
  bool closed_ = false;
};

// Thread safe. Calls that may report a race answer MILL_E_STATE with the sentence; the operation
// is on the clock all the same. Throws std::bad_alloc.
class Timing {
 public:
  // host: asked for the op that a call is made in; may be null.
  explicit Timing(const Profile& profile, const mill_host_services* host = nullptr);

  const Profile& profile() const { return profile_; }

  Queue add_queue(uint64_t tag);
  void remove_queue(const Queue& queue);
  EventTime add_event();
  void remove_event(const EventTime& event);

  mill_status kernel(const Queue& queue, const char* name, const KernelWork& work,
                     std::span<const Touch> touches, mill_kernel_error* error);
  // Pageable host memory: the caller's clock goes on when the copy is done.
  mill_status copy(const Queue& queue, int32_t kind, bool pinned, uint64_t bytes,
                   std::span<const Touch> touches, mill_kernel_error* error);
  mill_status fill(const Queue& queue, uint64_t bytes, std::span<const Touch> touches,
                   mill_kernel_error* error);
  void host_function(const Queue& queue);

  void record(EventTime& event, const Queue& queue);
  void wait_event(const Queue& queue, const EventTime& event);
  bool event_done(const EventTime& event);
  // False when the time was over first.
  bool event_wait(const EventTime& event, uint64_t timeout_ns);
  bool queue_done(const Queue& queue);
  void queue_wait(const Queue& queue);
  // False unless both have happened.
  bool elapsed(const EventTime& from, const EventTime& to, double* out_ns);

  // Costs of calls that do nothing on the device.
  void call(Call kind);
  void allocated(uint64_t begin, uint64_t bytes);
  mill_status freed(uint64_t begin, uint64_t bytes, mill_kernel_error* error);
  // The host itself reads or writes pinned memory.
  mill_status host_access(uint64_t begin, uint64_t bytes, bool write, mill_kernel_error* error);

  // Of the calling thread: `ns`, and `bytes` at the rate of a host memory copy.
  void work(int64_t ns, uint64_t bytes);
  int64_t now_ns() { return to_ns(host_.now()); }
  HostClock& host() { return host_; }

  // Neither takes time nor a turn: any thread may look. what: MILL_TIMELINE_...
  void start_timeline(uint32_t what);
  void stop_timeline();
  size_t drain(mill_timeline_record* out, size_t capacity, uint64_t* lost);

 private:
  StreamOrder::ActorId actor(HostClock::ThreadId id);
  mill_status check(StreamOrder::ActorId who, const char* name, std::span<const Touch> touches,
                    mill_kernel_error* error);
  // Of the first of reports_.
  mill_status say_race(mill_kernel_error* error) const;
  void put(Operation operation, const Queue& queue, const HostClock::Turn& turn, const char* name);
  // A call of the host from `start` to `end`, if somebody wants to know. Not inside a turn where
  // end is later than the turn's now.
  struct HostCall {
    uint32_t what = 0;
    Time start = 0;
    Time end = 0;
    const Queue* queue = nullptr;
    uint64_t correlation = 0;
    uint64_t waits_for = 0;
    uint64_t bytes = 0;
  };
  void note(const HostCall& call) {
    if (calls_wanted_.load(std::memory_order_relaxed)) [[unlikely]]
      keep(call);
  }
  void keep(const HostCall& call);

  const Profile profile_;
  const mill_host_services* const services_;
  HostClock host_;
  // Everything below is used inside turns only.
  VirtualClock clock_;
  StreamOrder order_;
  std::unordered_map<HostClock::ThreadId, StreamOrder::ActorId> hosts_;
  std::vector<OrderReport> reports_;
  std::vector<Record> drained_;
  uint64_t calls_ = 0;

  std::atomic<bool> calls_wanted_{false};
  std::mutex kept_;  // what follows; taken last
  std::deque<mill_timeline_record> host_calls_;
  uint64_t host_calls_lost_ = 0;
};

}  // namespace mill::sim
