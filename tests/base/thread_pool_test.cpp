#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mill {
namespace {

using Range = std::pair<int64_t, int64_t>;

struct Recorder {
  int64_t meet =
      0;  // if not 0: as many shares wait for each other, so that each has its own thread
  std::atomic<int64_t> met{0};
  std::mutex mutex;
  std::vector<Range> ranges;
  std::vector<pthread_t> threads;

  static void body(void* self, int64_t begin, int64_t end) {
    auto* recorder = static_cast<Recorder*>(self);
    if (recorder->meet > 0) {
      ++recorder->met;
      while (recorder->met.load() < recorder->meet) std::this_thread::yield();
    }
    const std::lock_guard<std::mutex> lock(recorder->mutex);
    recorder->ranges.emplace_back(begin, end);
    recorder->threads.push_back(pthread_self());
  }
  std::vector<Range> sorted() {
    std::sort(ranges.begin(), ranges.end());
    return ranges;
  }
};

std::vector<Range> ranges_of(ThreadPool& pool, int64_t n, int64_t grain) {
  Recorder recorder;
  pool.parallel_for(n, grain, Recorder::body, &recorder);
  return recorder.sorted();
}

void add_up(void* sum, int64_t begin, int64_t end) {
  auto* total = static_cast<std::atomic<int64_t>*>(sum);
  for (int64_t i = begin; i < end; ++i) total->fetch_add(i, std::memory_order_relaxed);
}

TEST(ThreadPool, CoversEveryIndexOnceInRangesNoSmallerThanTheGrain) {
  for (const int threads : {0, 1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (const int64_t n : {1, 2, 3, 5, 16, 17, 1000}) {
      for (const int64_t grain : {0, 1, 2, 5, 64}) {
        const std::vector<Range> ranges = ranges_of(pool, n, grain);
        ASSERT_FALSE(ranges.empty());
        EXPECT_EQ(static_cast<int64_t>(ranges.size()), pool.shares(n, grain));
        EXPECT_LE(static_cast<int>(ranges.size()), pool.threads());
        int64_t next = 0;
        for (const Range& range : ranges) {
          EXPECT_EQ(range.first, next);
          EXPECT_GT(range.second, range.first);
          if (ranges.size() > 1) {
            EXPECT_GE(range.second - range.first, grain);
          }
          next = range.second;
        }
        EXPECT_EQ(next, n);
      }
    }
  }
}

TEST(ThreadPool, DoesNothingForNoItems) {
  ThreadPool pool(2);
  EXPECT_TRUE(ranges_of(pool, 0, 1).empty());
  EXPECT_TRUE(ranges_of(pool, -3, 1).empty());
}

TEST(ThreadPool, OneThreadMeansTheCaller) {
  for (const int threads : {-1, 0, 1}) {
    ThreadPool pool(threads);
    Recorder recorder;
    pool.parallel_for(100, 1, Recorder::body, &recorder);
    ASSERT_EQ(recorder.threads.size(), 1u);
    EXPECT_TRUE(pthread_equal(recorder.threads[0], pthread_self()));
  }
}

TEST(ThreadPool, GivesEachShareItsOwnThread) {
  ThreadPool pool(3);
  Recorder recorder;
  recorder.meet = 3;
  pool.parallel_for(3, 1, Recorder::body, &recorder);
  ASSERT_EQ(recorder.threads.size(), 3u);
  EXPECT_FALSE(pthread_equal(recorder.threads[0], recorder.threads[1]));
  EXPECT_FALSE(pthread_equal(recorder.threads[1], recorder.threads[2]));
  EXPECT_FALSE(pthread_equal(recorder.threads[0], recorder.threads[2]));
}

TEST(ThreadPool, TheCallerTakesBackSharesThatNoThreadHasBegun) {
  // Both workers are held in the start hook; the call must come back nevertheless.
  ThreadPool pool(3);
  std::atomic<bool> released{false};
  pool.on_thread_start(
      [](void* gate) {
        while (!static_cast<std::atomic<bool>*>(gate)->load()) std::this_thread::yield();
      },
      &released);
  Recorder recorder;
  pool.parallel_for(30, 1, Recorder::body, &recorder);
  released = true;
  ASSERT_EQ(recorder.threads.size(), 3u);
  for (const pthread_t thread : recorder.threads)
    EXPECT_TRUE(pthread_equal(thread, pthread_self()));
  const std::vector<Range> expected = {{0, 10}, {10, 20}, {20, 30}};
  EXPECT_EQ(recorder.sorted(), expected);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ranges_of(pool, 30, 1), expected);
}

TEST(ThreadPool, WakesSleepingThreads) {
  ThreadPool pool(3);
  for (int i = 0; i < 20; ++i) {
    std::atomic<int64_t> sum{0};
    pool.parallel_for(100, 1, add_up, &sum);
    EXPECT_EQ(sum.load(), 4950);
    usleep(500);  // far longer than the spin
  }
}

TEST(ThreadPool, KeepsUpWithManyCallsInARow) {
  ThreadPool pool(4);
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 20000; ++i) pool.parallel_for(4, 1, add_up, &sum);
  EXPECT_EQ(sum.load(), 20000 * 6);
}

TEST(ThreadPool, RunsANestedCallInTheSameRangesOnTheCallingThread) {
  ThreadPool pool(3);
  const std::vector<Range> expected = ranges_of(pool, 10, 2);
  struct Outer {
    ThreadPool* pool;
    std::mutex mutex;
    std::vector<Recorder*> inner;
    bool other_thread = false;
    static void body(void* self, int64_t, int64_t) {
      auto* outer = static_cast<Outer*>(self);
      auto* recorder = new Recorder;
      outer->pool->parallel_for(10, 2, Recorder::body, recorder);
      const std::lock_guard<std::mutex> lock(outer->mutex);
      outer->inner.push_back(recorder);
      for (const pthread_t thread : recorder->threads) {
        if (!pthread_equal(thread, pthread_self())) outer->other_thread = true;
      }
    }
  } outer{&pool, {}, {}};
  pool.parallel_for(3, 1, Outer::body, &outer);
  ASSERT_EQ(outer.inner.size(), 3u);
  EXPECT_FALSE(outer.other_thread);
  for (Recorder* recorder : outer.inner) {
    EXPECT_EQ(recorder->ranges, expected);  // in order, too
    delete recorder;
  }
}

TEST(ThreadPool, ServesSeveralCallersAtOnce) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        std::atomic<int64_t> sum{0};
        pool.parallel_for(30, 1, add_up, &sum);
        if (sum.load() != 435) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(ThreadPool, RunsTheStartHookOnceOnEveryThreadOfItsOwn) {
  std::atomic<int> calls{0};
  ThreadPool pool(3);
  const auto hook = [](void* count) { ++*static_cast<std::atomic<int>*>(count); };
  EXPECT_TRUE(pool.on_thread_start(hook, &calls));
  EXPECT_EQ(calls.load(), 0);
  for (int i = 0; i < 10; ++i) {
    Recorder recorder;
    recorder.meet = 3;
    pool.parallel_for(3, 1, Recorder::body, &recorder);
  }
  EXPECT_EQ(calls.load(), 2);
  EXPECT_FALSE(pool.on_thread_start(hook, &calls));
}

TEST(ThreadPool, NamesItsThreadsAndBlocksTheirSignals) {
  ThreadPool pool(2);
  struct Seen {
    pthread_t caller;
    std::string name;
    bool blocked = false;
    std::atomic<int> met{0};
    static void body(void* self, int64_t, int64_t) {
      auto* seen = static_cast<Seen*>(self);
      ++seen->met;
      while (seen->met.load() < 2) std::this_thread::yield();
      if (pthread_equal(seen->caller, pthread_self())) return;
      char name[16] = {};
      pthread_getname_np(pthread_self(), name, sizeof(name));
      sigset_t mask;
      sigemptyset(&mask);
      pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      seen->name = name;
      seen->blocked = sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGUSR1) == 1;
    }
  } seen{pthread_self(), {}, false, {}};
  sigset_t before;
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  pool.parallel_for(2, 1, Seen::body, &seen);
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(seen.name, "mill-cpu-1");
  EXPECT_TRUE(seen.blocked);
  EXPECT_EQ(sigismember(&before, SIGUSR1), sigismember(&after, SIGUSR1));
}

TEST(ThreadPool, WorksOnOneCoreAndLeavesTheCallersCoresAlone) {
  cpu_set_t before;
  CPU_ZERO(&before);
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(sched_getcpu()), &one);
  for (const cpu_set_t& cores : {before, one}) {
    ASSERT_EQ(sched_setaffinity(0, sizeof(cores), &cores), 0);
    ThreadPool pool(3);  // its threads start with the caller's cores
    for (int i = 0; i < 50; ++i) {
      Recorder recorder;
      recorder.meet = 3;
      pool.parallel_for(3, 1, Recorder::body, &recorder);
      EXPECT_EQ(recorder.ranges.size(), 3u);
      if (i % 10 == 0) usleep(500);
    }
    cpu_set_t after;
    CPU_ZERO(&after);
    ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&after, &cores));
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

// What a child process reports: 0 if `check` held in it.
template <class Check>
int in_child(Check check) {
  const pid_t child = fork();
  if (child == 0) _exit(check() ? 0 : 1);
  int status = -1;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

TEST(ThreadPool, APoolOfTheParentWorksAndCanBeDestroyedInTheChild) {
  auto* pool = new ThreadPool(3);
  const std::vector<Range> expected = ranges_of(*pool, 100, 1);
  EXPECT_EQ(in_child([&] {
              const bool same = ranges_of(*pool, 100, 1) == expected;
              delete pool;
              return same;
            }),
            0);
  EXPECT_EQ(ranges_of(*pool, 100, 1), expected);
  delete pool;
}

#if !defined(__SANITIZE_THREAD__)  // TSan refuses new threads in the child of a threaded process
TEST(ThreadPool, AChildCanMakeAPoolOfItsOwn) {
  ThreadPool parents(2);
  ranges_of(parents, 2, 1);
  EXPECT_EQ(in_child([] {
              ThreadPool pool(3);
              Recorder recorder;
              recorder.meet = 3;
              pool.parallel_for(3, 1, Recorder::body, &recorder);
              return recorder.threads.size() == 3 &&
                     !pthread_equal(recorder.threads[0], recorder.threads[1]);
            }),
            0);
}
#endif

TEST(ThreadPool, ForkedInTheMiddleOfAJobTheChildIsNotStuck) {
  ThreadPool pool(2);
  struct Forker {
    ThreadPool* pool;
    pthread_t caller;
    int child_status = -1;
    static void body(void* self, int64_t, int64_t) {
      auto* forker = static_cast<Forker*>(self);
      if (!pthread_equal(forker->caller, pthread_self())) return;
      forker->child_status = in_child([&] {
        std::atomic<int64_t> sum{0};
        forker->pool->parallel_for(10, 1, add_up, &sum);
        return sum.load() == 45;
      });
    }
  } forker{&pool, pthread_self()};
  pool.parallel_for(2, 1, Forker::body, &forker);
  EXPECT_EQ(forker.child_status, 0);
}

}  // namespace
}  // namespace mill
