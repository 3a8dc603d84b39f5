#include "base/alarm.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace mill {
namespace {

constexpr uint64_t kLong = 60'000'000'000;

TEST(Alarm, WithoutARingTheSleepLastsAsLongAsAskedFor) {
  Alarm alarm;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(alarm.sleep(20'000'000));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(20));
}

TEST(Alarm, WhatWasRungBeforeEndsOneSleep) {
  Alarm alarm;
  alarm.ring();
  alarm.ring();
  EXPECT_TRUE(alarm.sleep(kLong));
  EXPECT_FALSE(alarm.sleep(0));
}

// However the two meet, no ring is lost: each sleep would last a minute.
TEST(Alarm, ASleeperIsWoken) {
  Alarm alarm;
  std::atomic<int> woken{0};
  std::thread sleeper([&] {
    while (woken < 200) {
      if (!alarm.sleep(kLong)) break;
      ++woken;
    }
  });
  for (int k = 0; k < 200; ++k) {
    if (k % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    alarm.ring();
    while (woken <= k) std::this_thread::yield();
  }
  sleeper.join();
  EXPECT_EQ(woken, 200);
}

}  // namespace
}  // namespace mill
