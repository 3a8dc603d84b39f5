// Host time for the simulated device: every host thread that calls it has a clock of its own, and
// calls take place in order of (clock, id). How the operating system schedules threads then cannot
// change what happens when; real work between calls still runs in parallel.
//
//   - A call proceeds when its thread has the lowest (clock, id) of all that count. A thread counts
//     from the moment it is announced, attached or first seen until it is detached or ends, except
//     while it waits for the device or sleeps.
//   - A blocking wait steps simulated time only to before the lowest clock of the others, and loses
//     ties against them; its thread goes on at max(own clock, completion) + cost.
//   - A thread that sleeps goes on at max(own clock, the waker's clock), and counts again from the
//     waker's call on.
//   - One thread alone never blocks for order.
//
// The first thread that calls is known, with id 0. Another one that nobody attached is foreign: it
// joins at the maximum clock, and since nothing is known about what it waits for, calls are from
// then on ordered by their arrival and deterministic() says no. The same happens when a thread has
// waited for its turn for longer than `patience` of real time in which nobody did anything: the
// program then blocks in a way that it did not declare.
//
// Thread safe. Devices are only touched inside turns and waits, under the clock's lock: it is the
// lock that VirtualClock asks for.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "gpu/runtime/sim/clock.h"

namespace mill::sim {

// A query that answers "not yet" takes this long at least: a loop of queries that cost nothing
// would never end.
inline constexpr Time kMinimumPoll = 100 * kNanosecond;

class HostClock {
  struct Member;
  struct State;
  struct Local;

 public:
  using ThreadId = uint32_t;
  static constexpr ThreadId kFirstForeign = 1u << 31;  // ids from here on are given to foreigners

  // Who sleeps for one reason. Lives longer than its sleepers; used inside turns of one HostClock.
  class WaitList {
    friend class HostClock;
    std::vector<Member*> sleepers_;
  };

  // The right to act at the thread's time, until it goes out of scope: everything done in it takes
  // place in the one order of calls.
  class Turn {
   public:
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&&) = delete;
    ~Turn();

    Time now() const;
    ThreadId id() const;
    void advance(Time duration);
    void advance_to(Time time);

    // Whether the operation was over by now(); time is stepped that far. Then adds the cost.
    bool poll(VirtualClock& device, OpRef op, Time cost);
    // Blocks until the operation is over or the deadline has come, whichever is first; true for the
    // former, also when both coincide. Then adds the cost. Ends the turn.
    bool wait(VirtualClock& device, OpRef op, Time cost, Time deadline = kEndOfTime + 1);
    // Blocks until another thread's turn wakes this one, then waits for a turn again. As with a
    // condition variable, what it slept for may be gone by then. Throws std::bad_alloc.
    void sleep(WaitList& list);
    // Wakes the sleeper with the lowest (clock, id).
    void wake_one(WaitList& list);
    void wake_all(WaitList& list);

   private:
    friend class HostClock;
    Turn(State& state, Member& me);
    State* state_;
    Member* me_;
    std::unique_lock<std::mutex> lock_;
  };

  explicit HostClock(std::chrono::milliseconds patience = std::chrono::minutes(1));
  // No thread is inside a call any more.
  ~HostClock();
  HostClock(const HostClock&) = delete;
  HostClock& operator=(const HostClock&) = delete;

  // Before a thread is made that will attach with this id: it counts from now on, at the caller's
  // clock, however late it really starts. False if the id is taken or kFirstForeign or above.
  bool announce(ThreadId id);
  // The calling thread is from now on known by that id. Without an announcement it joins at the
  // maximum clock, which depends on scheduling unless nobody has called yet or nobody is there.
  // False if the id is taken or the thread known already.
  bool attach(ThreadId id);
  // The calling thread makes no more calls; ending does the same.
  void detach();
  // Blocks until the thread of that id has detached or ended; the caller goes on at max(own clock,
  // its last clock). False if no such thread was ever there, or it was joined before.
  bool join(ThreadId id);

  // Waits for the turn and adds the call's cost. Throws std::bad_alloc when a thread's first call
  // finds no memory.
  Turn call(Time cost);
  // Several calls that are one step to the others: from begin to end nobody else gets a turn.
  // Nests. A wait for the device in between steps it as far as it takes, whatever the others'
  // clocks.
  void begin_step();
  void end_step();
  // Declared work of the calling thread, before it is done: others need not wait for it.
  void charge(Time duration);
  // The caller's clock. A thread that is not known does not become so by asking: it sees the
  // highest clock.
  Time now();
  // Keeps every call out, for whoever looks at devices without being one of the threads.
  std::unique_lock<std::mutex> hold() const;

  ThreadId id();  // the caller's

  // Whether the timeline depends on nothing but the program.
  bool deterministic() const;

 private:
  Member& member();
  Member& bind(const std::shared_ptr<Member>& member);
  Member& join_unknown();
  static void leave_thread(State& state, Member& me);
  static void dispatch(State& state);
  static bool resolve(State& state, Time limit);
  static void take_turn(State& state, Member& me, std::unique_lock<std::mutex>& lock);
  static void stop_ordering(State& state);
  static void wake(State& state, Member& sleeper, Time at);

  std::shared_ptr<State> state_;
};

}  // namespace mill::sim
