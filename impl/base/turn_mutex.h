// A mutex for state that is used by calls of a device whose time is modelled.
//
// Such a device lets its callers go on one after the other, by their modelled clocks. A thread that
// waited for its turn with a mutex held would keep a thread whose turn it is from getting on: so
// the turn comes first and lasts as long as the mutex is held. What happens under the mutex then
// happens in the same order in every run, too.
#pragma once

#include <mutex>

namespace mill {

// How to take part in such an order; empty for a device whose time is real. Turns nest.
struct Turns {
  void* self = nullptr;
  void (*begin)(void* self) = nullptr;
  void (*end)(void* self) = nullptr;
};

class TurnHold {
 public:
  explicit TurnHold(const Turns& turns) : turns_(turns) {
    if (turns_.begin) turns_.begin(turns_.self);
  }
  ~TurnHold() {
    if (turns_.begin) turns_.end(turns_.self);
  }
  TurnHold(const TurnHold&) = delete;
  TurnHold& operator=(const TurnHold&) = delete;

 private:
  const Turns& turns_;
};

class TurnMutex {
 public:
  explicit TurnMutex(const Turns& turns = {}) : turns_(turns) {}

  void lock() {
    if (turns_.begin) [[unlikely]]
      turns_.begin(turns_.self);
    mutex_.lock();
  }
  void unlock() {
    mutex_.unlock();
    if (turns_.begin) [[unlikely]]
      turns_.end(turns_.self);
  }

 private:
  std::mutex mutex_;
  const Turns turns_;
};

}  // namespace mill
