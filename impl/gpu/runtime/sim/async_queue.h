// The real clock: what is submitted to a stream runs on a thread of the stream's, while the program
// goes on. Nothing is modelled and no two runs are alike; it shows whether the engine orders what a
// real device would really do at the same time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "gpu/runtime/sim/timing.h"
#include "millrace/plugin.h"

namespace mill::sim {

using RealTime = std::chrono::steady_clock::time_point;

// What an event stands for; outlives the event while a queue waits for it.
class AsyncEvent {
 public:
  // The next recording: what waits from now on waits for it.
  uint64_t begin();
  uint64_t recorded() const;
  void happened(uint64_t recording);
  bool done() const;
  void wait(uint64_t recording) const;
  bool wait_until(RealTime deadline) const;
  // Of the last recording that has happened.
  RealTime time() const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  uint64_t recorded_ = 0;
  uint64_t done_ = 0;
  RealTime time_{};
};

// The engines of the device: kernels, and copies of one direction, do not overlap each other.
struct AsyncEngines {
  std::mutex compute;
  std::mutex to_device;
  std::mutex to_host;
};

class AsyncQueue {
 public:
  AsyncQueue();
  // Everything submitted runs first.
  ~AsyncQueue();
  AsyncQueue(const AsyncQueue&) = delete;
  AsyncQueue& operator=(const AsyncQueue&) = delete;

  void submit(std::function<void()> work);
  void wait();
  bool idle() const;

 private:
  void serve();

  mutable std::mutex mutex_;
  std::condition_variable work_;
  mutable std::condition_variable done_;
  std::deque<std::function<void()>> tasks_;
  uint64_t submitted_ = 0;
  uint64_t finished_ = 0;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all above
};

// Tells the thread sanitizer, which does not see inside kernels, what one reads and writes. Nothing
// in other builds.
void note_accesses(std::span<const Touch> touches);

}  // namespace mill::sim
