#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <chrono>
#include <cstdio>

#include "base/fork.h"
#include "base/futex.h"

namespace mill {

namespace {

// What a worker's mailbox says.
constexpr uint32_t kEmpty = 0;
constexpr uint32_t kWork = 1;
constexpr uint32_t kSleeps = 2;
constexpr uint32_t kStop = 3;

constexpr uint32_t kCallerSleeps = 1u << 31;

// First without leaving the core, then letting everybody else on it go first. Waking a thread that
// sleeps was measured to take the waker 10 us and the work 20 us more on a virtual machine; the
// gaps between the parallel ops of one training step are mostly shorter than this.
constexpr std::chrono::microseconds kSpin{5};
constexpr std::chrono::microseconds kYield{100};

void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// True as soon as done() is, false when the time is over.
template <class Done>
bool spin_until(Done done) noexcept {
  using Clock = std::chrono::steady_clock;
  if (done()) return true;
  const Clock::time_point start = Clock::now();
  Clock::duration waited{};
  do {
    if (waited < kSpin) {
      for (int i = 0; i < 8; ++i) {
        relax();
        if (done()) return true;
      }
    } else {
      sched_yield();
      if (done()) return true;
    }
    waited = Clock::now() - start;
  } while (waited < kYield);
  return false;
}

}  // namespace

struct alignas(64) ThreadPool::Worker {
  std::atomic<uint32_t> mailbox{kEmpty};
  ThreadPool* pool = nullptr;
  int64_t share = 0;
  pthread_t thread{};
  // Used by the thread itself only.
  cpu_set_t home;     // the cores that it may use
  cpu_set_t current;  // the same without the one that it left last
  bool may_move = true;

  bool leave(int core) noexcept;
};

// A wake-up often puts a thread on the core of the one that woke it, in whose way it is there, and
// the system leaves it there as long as it sleeps often. So the thread itself gives up that core,
// until it meets the caller on another one. True if it now runs elsewhere.
bool ThreadPool::Worker::leave(int core) noexcept {
  if (!may_move) return false;
  cpu_set_t now;
  CPU_ZERO(&now);
  may_move = sched_getaffinity(0, sizeof(now), &now) == 0;
  if (!may_move) return false;
  if (!CPU_EQUAL(&now, &current)) home = now;  // somebody else has set it: that holds
  current = home;
  CPU_CLR(static_cast<size_t>(core), &current);
  may_move = CPU_COUNT(&current) > 0 && sched_setaffinity(0, sizeof(current), &current) == 0;
  if (!may_move) current = home;
  return may_move;
}

void ThreadPool::Job::run(int64_t share) const noexcept {
  // The first n % shares ranges are one item longer.
  const int64_t length = n / shares;
  const int64_t longer = n % shares;
  const int64_t begin = share * length + (share < longer ? share : longer);
  body(data, begin, begin + length + (share < longer ? 1 : 0));
}

ThreadPool::ThreadPool(int threads)
    : threads_(threads < 1 ? 1 : threads), fork_generation_(mill::fork_generation()) {
  watch_forks();
  if (threads_ > 1) workers_ = std::make_unique<Worker[]>(static_cast<size_t>(threads_ - 1));
}

ThreadPool::~ThreadPool() {
  if (mill::fork_generation() != fork_generation_) return;  // the threads exist only in the parent
  const int64_t started = started_.load(std::memory_order_acquire);
  for (int64_t k = 0; k < started; ++k) {
    Worker& worker = workers_[static_cast<size_t>(k)];
    if (worker.mailbox.exchange(kStop, std::memory_order_acq_rel) == kSleeps) {
      futex_wake(worker.mailbox);
    }
  }
  for (int64_t k = 0; k < started; ++k) {
    pthread_join(workers_[static_cast<size_t>(k)].thread, nullptr);
  }
}

bool ThreadPool::on_thread_start(void (*fn)(void*), void* data) {
  if (at_work_.exchange(true, std::memory_order_acquire)) return false;
  const bool taken = started_.load(std::memory_order_relaxed) == 0;
  if (taken) {
    start_hook_ = fn;
    start_data_ = data;
  }
  at_work_.store(false, std::memory_order_release);
  return taken;
}

int64_t ThreadPool::shares(int64_t n, int64_t grain) const noexcept {
  const int64_t most = n / (grain < 1 ? 1 : grain);
  return most < 1 ? 1 : most < threads_ ? most : threads_;
}

void ThreadPool::parallel_for(int64_t n, int64_t grain, Body body, void* data) noexcept {
  if (n <= 0) return;
  const Job job{body, data, n, shares(n, grain)};
  if (job.shares == 1) {
    body(data, 0, n);
    return;
  }
  if (mill::fork_generation() != fork_generation_ ||
      at_work_.exchange(true, std::memory_order_acquire)) {
    for (int64_t share = 0; share < job.shares; ++share) job.run(share);
    return;
  }

  job_ = job;
  caller_core_.store(sched_getcpu(), std::memory_order_relaxed);
  const int64_t helpers = start_threads(job.shares - 1);
  unfinished_.store(static_cast<uint32_t>(helpers), std::memory_order_relaxed);
  for (int64_t k = 0; k < helpers; ++k) {
    Worker& worker = workers_[static_cast<size_t>(k)];
    if (worker.mailbox.exchange(kWork, std::memory_order_acq_rel) == kSleeps) {
      futex_wake(worker.mailbox);
    }
  }
  job.run(0);
  for (int64_t share = helpers + 1; share < job.shares; ++share) job.run(share);
  // What no worker has begun by now, because it sleeps deeply or its core is taken, is done sooner
  // here.
  uint32_t taken_back = 0;
  for (int64_t k = 0; k < helpers; ++k) {
    uint32_t expected = kWork;
    if (workers_[static_cast<size_t>(k)].mailbox.compare_exchange_strong(
            expected, kEmpty, std::memory_order_acq_rel)) {
      job.run(k + 1);
      ++taken_back;
    }
  }
  if (helpers > 0) await_shares(taken_back);
  at_work_.store(false, std::memory_order_release);
}

void ThreadPool::await_shares(uint32_t taken_back) noexcept {
  if (unfinished_.fetch_sub(taken_back, std::memory_order_acq_rel) == taken_back) return;
  const auto finished = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  if (spin_until(finished)) return;
  uint32_t left = unfinished_.fetch_or(kCallerSleeps, std::memory_order_acq_rel) | kCallerSleeps;
  while (left != kCallerSleeps) {
    futex_wait(unfinished_, left);
    left = unfinished_.load(std::memory_order_acquire);
  }
}

// Returns how many of the wanted threads there are: fewer if the system refuses to make more.
int64_t ThreadPool::start_threads(int64_t wanted) noexcept {
  int64_t started = started_.load(std::memory_order_relaxed);
  if (started >= wanted) return wanted;
  // A signal must never be delivered to a thread that its receiver does not know of.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return started;
  while (started < wanted) {
    Worker& worker = workers_[static_cast<size_t>(started)];
    worker.pool = this;
    worker.share = started + 1;
    if (pthread_create(&worker.thread, nullptr, thread_main, &worker) != 0) break;
    ++started;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  started_.store(started, std::memory_order_release);
  return started;
}

void* ThreadPool::thread_main(void* argument) {
  Worker& worker = *static_cast<Worker*>(argument);
  char name[16];  // the kernel's limit
  std::snprintf(name, sizeof(name), "mill-cpu-%u", static_cast<unsigned>(worker.share) % 100000u);
  pthread_setname_np(pthread_self(), name);
  CPU_ZERO(&worker.home);
  CPU_ZERO(&worker.current);
  if (worker.pool->start_hook_ != nullptr) worker.pool->start_hook_(worker.pool->start_data_);
  worker.pool->serve(worker);
  return nullptr;
}

void ThreadPool::serve(Worker& worker) noexcept {
  const auto arrived = [&worker] {
    const uint32_t mail = worker.mailbox.load(std::memory_order_relaxed);
    return mail == kWork || mail == kStop;
  };
  bool spins = true;
  for (;;) {
    if (!spins || !spin_until(arrived)) {
      // A wake-up that finds the share taken back leads straight back to sleep.
      do {
        uint32_t empty = kEmpty;
        worker.mailbox.compare_exchange_strong(empty, kSleeps, std::memory_order_relaxed);
        futex_wait(worker.mailbox, kSleeps);
      } while (!arrived());
      spins = true;
    }
    const int core = sched_getcpu();
    bool in_the_way = core >= 0 && core == caller_core_.load(std::memory_order_relaxed);
    if (in_the_way) in_the_way = !worker.leave(core);
    // Emptied before the share is reported: after the report the next job may already arrive.
    uint32_t work = kWork;
    if (!worker.mailbox.compare_exchange_strong(work, kEmpty, std::memory_order_acquire)) {
      if (work == kStop) return;
      continue;
    }
    job_.run(worker.share);
    spins = !in_the_way;
    const uint32_t before = unfinished_.fetch_sub(1, std::memory_order_acq_rel);
    if (before == (kCallerSleeps | 1)) futex_wake(unfinished_);
  }
}

}  // namespace mill
