// The threads of one context. Work is cut into fixed shares, so that what a kernel computes depends
// on the number of threads but never on how the system schedules them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace mill {

class ThreadPool {
 public:
  // Must not throw.
  using Body = void (*)(void* data, int64_t begin, int64_t end);

  // `threads` counts the calling thread: 0 and 1 mean that no thread is ever started. The others
  // start when a parallel_for first needs them.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }

  // fn(data) runs on every thread of the pool before its first share of work. One hook; set before
  // the first parallel_for. False if threads run already: the hook is not taken then.
  bool on_thread_start(void (*fn)(void*), void* data);

  // How many shares parallel_for makes of n items: as many as there are threads, but none smaller
  // than `grain` unless it is the only one.
  int64_t shares(int64_t n, int64_t grain) const noexcept;

  // Calls body on ranges that cover [0, n) and returns when all are done. The ranges depend on n,
  // grain and threads() only. Any thread may call at any time: when the pool is already at work,
  // when the call comes from inside a body, and in a process forked from the pool's own, the caller
  // runs all ranges itself, one after the other. Allocates nothing once the threads run.
  void parallel_for(int64_t n, int64_t grain, Body body, void* data) noexcept;

 private:
  struct Worker;
  struct Job {
    Body body = nullptr;
    void* data = nullptr;
    int64_t n = 0;
    int64_t shares = 0;
    void run(int64_t share) const noexcept;
  };

  static void* thread_main(void* worker);
  void serve(Worker& worker) noexcept;
  int64_t start_threads(int64_t wanted) noexcept;
  void await_shares(uint32_t taken_back) noexcept;

  const int threads_;
  const uint32_t fork_generation_;
  std::unique_ptr<Worker[]>
      workers_;                      // worker k runs share k + 1, unless the caller is there first
  std::atomic<int64_t> started_{0};  // written only by the call that holds at_work_
  void (*start_hook_)(void*) = nullptr;
  void* start_data_ = nullptr;
  Job job_;
  std::atomic<int> caller_core_{-1};
  alignas(64) std::atomic<bool> at_work_{false};
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // shares, plus kCallerSleeps
};

}  // namespace mill
