// Sessions that start, stop, look and end while other threads compute: for the thread sanitizer.
#include <atomic>
#include <thread>
#include <vector>

#include "api/refusal.h"

namespace mill_test {
namespace {

struct Opened {
  Opened() {
    mill_context_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_CONTEXT_OPTS;
    opts.threads = MILL_THREADS_CALLER_ONLY;
    EXPECT_EQ(mill_context_create(&opts, &context, nullptr), MILL_OK);
  }
  ~Opened() { mill_context_release(context); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  mill_context* context = nullptr;
};

void compute(mill_context* context, const std::atomic<bool>& end, std::atomic<int>& failed) {
  mill_exec* exec = nullptr;
  mill_tensor* x = nullptr;
  const int64_t dims[2] = {8, 8};
  if (mill_exec_create(context, 0, nullptr, &exec, nullptr) != MILL_OK ||
      mill_fill(exec, dims, 2, MILL_F32, 0.5, &x, nullptr) != MILL_OK) {
    ++failed;
    return;
  }
  while (!end) {
    mill_tensor* y = nullptr;
    if (mill_matmul(exec, x, x, &y, nullptr) != MILL_OK) ++failed;
    mill_tensor_release(y);
    if (mill_trace_step(exec, nullptr) != MILL_OK) ++failed;
  }
  mill_tensor_release(x);
  mill_exec_release(exec);
}

TEST(ProfilerThreads, StartsAndStopsInAStormOfOps) {
  const Opened opened;
  std::atomic<bool> end{false};
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int k = 0; k < 3; ++k) threads.emplace_back([&] { compute(opened.context, end, failed); });
  mill_prof* prof = nullptr;
  mill_prof_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_PROF_OPTS;
  opts.interval_ms = 1;
  opts.store_bytes = 4 << 20;
  ASSERT_EQ(mill_prof_create(opened.context, &opts, &prof, nullptr), MILL_OK);
  threads.emplace_back([&] {
    while (!end) {
      mill_prof_range_push(prof, "range", MILL_NTS, nullptr);
      mill_prof_step(prof, nullptr);
      mill_prof_range_pop(prof, nullptr);
      std::this_thread::yield();
    }
  });
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(mill_prof_start(prof, nullptr), MILL_OK);
    if (round % 10 == 5) {
      mill_prof_view* view = nullptr;
      ASSERT_EQ(mill_prof_snapshot(prof, &view, nullptr), MILL_OK);
      mill_prof_view_release(view);
    }
    mill_prof_overhead_info info{};
    info.size = sizeof info;
    info.type = MILL_STRUCT_PROF_OVERHEAD;
    ASSERT_EQ(mill_prof_overhead(prof, &info, nullptr), MILL_OK);
    ASSERT_EQ(mill_prof_stop(prof, nullptr), MILL_OK);
  }
  end = true;
  for (std::thread& thread : threads) thread.join();
  mill_prof_release(prof);
  EXPECT_EQ(failed, 0);
}

TEST(ProfilerThreads, TwoThreadsOfOneSessionTakeTurnsOrAreTold) {
  const Opened opened;
  mill_prof* prof = nullptr;
  ASSERT_EQ(mill_prof_create(opened.context, nullptr, &prof, nullptr), MILL_OK);
  std::atomic<int> odd{0};
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        const mill_status started = mill_prof_start(prof, nullptr);
        if (started != MILL_OK && started != MILL_E_STATE && started != MILL_E_BUSY) ++odd;
        const mill_status stopped = mill_prof_stop(prof, nullptr);
        if (stopped != MILL_OK && stopped != MILL_E_STATE && stopped != MILL_E_BUSY) ++odd;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  mill_prof_release(prof);
  EXPECT_EQ(odd, 0);
}

TEST(ProfilerThreads, AViewIsReadByMany) {
  const Opened opened;
  mill_prof* prof = nullptr;
  mill_prof_view* view = nullptr;
  ASSERT_EQ(mill_prof_create(opened.context, nullptr, &prof, nullptr), MILL_OK);
  ASSERT_EQ(mill_prof_snapshot(prof, &view, nullptr), MILL_OK);
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        mill_prof_result* result = nullptr;
        if (mill_prof_query(view, "select count from ops", MILL_NTS, &result, nullptr) != MILL_OK)
          ++failed;
        mill_prof_result_release(result);
        const mill_prof_writer writer = [](void*, const char*, uint64_t) -> mill_status {
          return MILL_OK;
        };
        if (mill_prof_export(view, MILL_PROF_FORMAT_TEXT, nullptr, writer, nullptr, nullptr) !=
            MILL_OK)
          ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  mill_prof_view_release(view);
  mill_prof_release(prof);
  EXPECT_EQ(failed, 0);
}

}  // namespace
}  // namespace mill_test
