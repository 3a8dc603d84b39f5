#include "gpu/runtime/sim/async_queue.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <utility>

#if defined(__SANITIZE_THREAD__)
extern "C" {
// Of the sanitizer's interface for code that it does not instrument.
void __tsan_read_range(void* address, unsigned long bytes);   // NOLINT
void __tsan_write_range(void* address, unsigned long bytes);  // NOLINT
}
#endif

namespace mill::sim {

uint64_t AsyncEvent::begin() {
  const std::lock_guard lock(mutex_);
  return ++recorded_;
}

uint64_t AsyncEvent::recorded() const {
  const std::lock_guard lock(mutex_);
  return recorded_;
}

void AsyncEvent::happened(uint64_t recording) {
  const std::lock_guard lock(mutex_);
  done_ = std::max(done_, recording);
  time_ = std::chrono::steady_clock::now();
  changed_.notify_all();
}

bool AsyncEvent::done() const {
  const std::lock_guard lock(mutex_);
  return done_ >= recorded_;
}

void AsyncEvent::wait(uint64_t recording) const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= recording; });
}

bool AsyncEvent::wait_until(RealTime deadline) const {
  std::unique_lock lock(mutex_);
  const uint64_t recording = recorded_;
  return changed_.wait_until(lock, deadline, [&] { return done_ >= recording; });
}

RealTime AsyncEvent::time() const {
  const std::lock_guard lock(mutex_);
  return time_;
}

AsyncQueue::AsyncQueue() {
  // A new thread inherits its creator's mask: no signal handler of the program ever runs on it.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { serve(); });
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

AsyncQueue::~AsyncQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void AsyncQueue::submit(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(work));
    ++submitted_;
  }
  work_.notify_one();
}

void AsyncQueue::wait() {
  std::unique_lock lock(mutex_);
  const uint64_t all = submitted_;
  done_.wait(lock, [&] { return finished_ >= all; });
}

bool AsyncQueue::idle() const {
  const std::lock_guard lock(mutex_);
  return finished_ == submitted_;
}

void AsyncQueue::serve() {
  ::pthread_setname_np(::pthread_self(), "mill-sim");
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
    ++finished_;
    done_.notify_all();
  }
}

void note_accesses([[maybe_unused]] std::span<const Touch> touches) {
#if defined(__SANITIZE_THREAD__)
  for (const Touch& touch : touches) {
    void* begin = reinterpret_cast<void*>(touch.begin);  // NOLINT
    if (touch.access == OrderAccess::read) {
      __tsan_read_range(begin, touch.end - touch.begin);
    } else {
      __tsan_write_range(begin, touch.end - touch.begin);
    }
  }
#endif
}

}  // namespace mill::sim
