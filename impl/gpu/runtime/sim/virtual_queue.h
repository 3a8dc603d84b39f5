// A bounded queue between host threads in virtual time: pushes and pops take place in the order of
// calls, so what is taken by whom, and when, does not depend on scheduling.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "gpu/runtime/sim/host_clock.h"

namespace mill::sim {

template <class T>
class VirtualQueue {
 public:
  VirtualQueue(HostClock& clock, size_t capacity) : clock_(clock), capacity_(capacity) {}

  // Sleeps while the queue is full. False when it has been closed.
  bool push(T item) {
    HostClock::Turn turn = clock_.call(0);
    while (items_.size() >= capacity_ && !closed_) turn.sleep(writers_);
    if (closed_) return false;
    items_.emplace_back(std::move(item), turn.now());
    turn.wake_one(readers_);
    return true;
  }

  // Sleeps while the queue is empty. Nothing when it has been closed and everything was taken.
  std::optional<T> pop() {
    HostClock::Turn turn = clock_.call(0);
    while (items_.empty() && !closed_) turn.sleep(readers_);
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front().first));
    turn.advance_to(items_.front().second);  // later than now only where calls are not ordered
    items_.pop_front();
    turn.wake_one(writers_);
    return item;
  }

  void close() {
    HostClock::Turn turn = clock_.call(0);
    closed_ = true;
    turn.wake_all(readers_);
    turn.wake_all(writers_);
  }

 private:
  HostClock& clock_;
  const size_t capacity_;
  std::deque<std::pair<T, Time>> items_;
  HostClock::WaitList readers_;
  HostClock::WaitList writers_;
  bool closed_ = false;
};

}  // namespace mill::sim
