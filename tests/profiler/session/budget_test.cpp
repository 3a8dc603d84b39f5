// How much is recorded of a program whose steps recording makes longer.
#include "profiler/session/budget.h"

#include <gtest/gtest.h>

namespace mill::prof::test {
namespace {

constexpr Ns us = 1000;
constexpr Ns ms = 1000 * us;
constexpr Ns kUndisturbed = 1000 * ms;

struct Outcome {
  double duty = 0;  // of the steps after the undisturbed time
  double cost = 0;  // of all time then
  CostEstimate seen;
};

// Steps of `length`, longer by `share` where they are recorded; a thread asks every `asks`.
Outcome run(double budget, Ns length, double share, Ns asks, Ns total = 120'000 * ms) {
  BudgetController control(budget, kUndisturbed);
  bool recording = true;
  Ns now = 0;
  Ns next = asks;
  uint64_t steps = 0;
  uint64_t recorded = 0;
  for (uint64_t k = 0; now < total; ++k) {
    // 2 % of jitter, by a sequence that both kinds of steps meet alike.
    const Ns plain = length + length * static_cast<Ns>(k * 7 % 11) / 500;
    const Ns begin = now;
    const bool whole = recording;
    now += plain + (whole ? static_cast<Ns>(share * static_cast<double>(plain)) : 0);
    if (begin > kUndisturbed) {
      ++steps;
      recorded += whole;
    }
    control.step(begin, now, whole, false);
    if (now < next) continue;
    next = now + asks;
    recording = control.want(now);
  }
  Outcome out;
  out.duty = static_cast<double>(recorded) / static_cast<double>(steps);
  out.cost = out.duty * share;
  out.seen = control.cost();
  return out;
}

TEST(Budget, IsKeptHoweverSeldomTheThreadLooks) {
  for (const Ns length : {200 * us, 5 * ms, 150 * ms}) {
    for (const Ns asks : {1 * ms, 10 * ms, 100 * ms}) {
      const Outcome out = run(0.01, length, 0.05, asks);
      EXPECT_LE(out.cost, 0.012) << length << " " << asks;
      EXPECT_GE(out.cost, 0.006) << length << " " << asks << ": more could be recorded";
      EXPECT_NEAR(out.seen.share, 0.05, 0.01);
    }
  }
}

TEST(Budget, OfATenthOfAPercentIsKept) {
  EXPECT_LE(run(0.001, 200 * us, 0.05, 100 * ms).cost, 0.0013);
}

TEST(Budget, ThatIsNotReachedLeavesATenthUnrecorded) {
  for (const Ns asks : {1 * ms, 100 * ms}) {
    EXPECT_NEAR(run(0.01, 200 * us, 0.002, asks).duty, 0.9, 0.03) << asks;
  }
}

TEST(Budget, OfEverythingRecordsEveryStep) {
  EXPECT_EQ(run(1, 200 * us, 0.5, 100 * ms, 5000 * ms).duty, 1);
}

TEST(Budget, LeavesAShortSessionAlone) {
  BudgetController control(0.001, kUndisturbed);
  for (Ns now = 0; now < kUndisturbed; now += ms) {
    control.step(now, now + ms, true, false);
    EXPECT_TRUE(control.want(now));
  }
}

}  // namespace
}  // namespace mill::prof::test
