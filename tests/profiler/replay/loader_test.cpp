// Batches that go from a loader's workers to the program, and their memory on its way back.
#include <gtest/gtest.h>

#include "programs.h"

namespace mill::prof::test {
namespace {

void fill(Builder& b, uint32_t worker, Ns start, Ns end) {
  b.by(worker).loader_wait(start, end);
  b.trace.loader.kind.back() = static_cast<uint8_t>(LoaderKind::fill);
  b.by(0);
}

// The program works 0 - 300, 310 - 600 and 610 - 700 us and takes a batch in between, 10 us each
// time. Its worker makes batches of 250 us: the first at once, each other one `late` after the
// program came to take one.
Timeline worker_ahead(Ns late) {
  Builder b;
  const uint32_t worker = b.thread(2);
  fill(b, worker, 0, 250 * us);
  fill(b, worker, 300 * us + late, 550 * us + late);
  fill(b, worker, 600 * us + late, 850 * us + late);
  b.op("work", 0, 300 * us);
  b.loader_wait(300 * us, 310 * us);
  b.op("work", 310 * us, 600 * us);
  b.loader_wait(600 * us, 610 * us);
  b.op("work", 610 * us, 700 * us);
  return plain_timeline_of(b.trace);
}

Plan first_op_takes(Ns length) {
  Plan plan;
  plan.host_time.push_back({0, {0, 300 * us}, length});
  return plan;
}

TEST(ReplayLoader, AWorkerThatIsAheadBeginsItsNextBatchWhenTheProgramTakesOne) {
  const Timeline timeline = worker_ahead(5 * us);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 855 * us);
  EXPECT_EQ(replay.error(), 0);
  // The program takes its batches at 400 and at 700: the last one is made 705 - 955 us.
  EXPECT_EQ(replay.run(first_op_takes(400 * us)).span, 955 * us);
  // At 240 and at 540: made 250 - 500 (the first one was not done before) and 545 - 795.
  EXPECT_EQ(replay.run(first_op_takes(240 * us)).span, 795 * us);
  // At 100 and at 400: the worker makes one after the other, 0 - 750.
  EXPECT_EQ(replay.run(first_op_takes(100 * us)).span, 750 * us);
}

TEST(ReplayLoader, ABatchMayBeginJustAfterTheProgramTookOne) {
  // 40 us after the program had its batch in hand: at 410 and 710 + 40 with 100 us more.
  const Timeline timeline = worker_ahead(50 * us);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 900 * us);
  EXPECT_EQ(replay.error(), 0);
  EXPECT_EQ(replay.run(first_op_takes(400 * us)).span, 1000 * us);
  EXPECT_EQ(replay.run(first_op_takes(100 * us)).span, 750 * us);
}

TEST(ReplayLoader, ABatchThatBeginsLongAfterIsHeldByTheProgramToo) {
  // A worker that found no processor: its pause is no time that it needs.
  for (const Ns late : {110 * us, 200 * us}) {
    const Timeline timeline = worker_ahead(late);
    const Replay replay(timeline);
    EXPECT_EQ(replay.measured(), 850 * us + late);
    EXPECT_EQ(replay.error(), 0);
    const Ns moved = replay.run(first_op_takes(400 * us)).span - replay.measured();
    EXPECT_EQ(moved, 100 * us);
  }
}

// As the loader of a test between epochs: nothing but the program's asking holds it back.
TEST(ReplayLoader, AWorkerThatComesLateComesEarlierWithTheProgram) {
  Builder b;
  const uint32_t worker = b.thread(2);
  b.op("work", 0, 1000 * us);
  b.loader_wait(1000 * us, 1100 * us);
  fill(b, worker, 1010 * us, 1095 * us);
  b.op("work", 1100 * us, 1200 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 1200 * us);
  EXPECT_EQ(replay.error(), 0);
  Plan plan;
  plan.host_time.push_back({0, {0, 1000 * us}, 300 * us});
  EXPECT_EQ(replay.run(plan).span, 500 * us);
}

TEST(ReplayLoader, AThreadThatMakesItsOwnBatchesWaitsForNobody) {
  // It makes a batch in 50 us, takes it, and works: one line, one after the other.
  Builder b;
  for (Ns t = 0; t < 600 * us; t += 200 * us) {
    fill(b, 0, t, t + 50 * us);
    b.loader_wait(t + 50 * us, t + 60 * us);
    b.op("work", t + 60 * us, t + 200 * us);
  }
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 600 * us);
  EXPECT_EQ(replay.error(), 0);
  Plan plan;
  plan.host_time.push_back({0, {60 * us, 200 * us}, 40 * us});
  EXPECT_EQ(replay.run(plan).span, 500 * us);
}

TEST(ReplayLoader, TheProgramAndItsWorkerHoldEachOtherBack) {
  // The worker needs 250 us for a batch and has memory for one: it begins when the program takes
  // the one before. The program works 50 us, and waits 205. Batches are handed over 5 us after they
  // are made.
  Builder b;
  const uint32_t worker = b.thread(2);
  Plan faster;
  for (int k = 0; k < 4; ++k) {
    const Ns t = 260 * us * k;
    fill(b, worker, t, t + 250 * us);
    b.op("work", t, t + 50 * us);
    b.loader_wait(t + 50 * us, t + 255 * us);
    b.op("take", t + 255 * us, t + 260 * us);
    faster.host_time.push_back({worker, {t, t + 250 * us}, 100 * us});
  }
  b.op("work", 1040 * us, 1090 * us);
  const Timeline timeline = plain_timeline_of(b.trace);
  const Replay replay(timeline);
  EXPECT_EQ(replay.measured(), 1090 * us);
  EXPECT_EQ(replay.error(), 0);
  // Batches of 100 us: each round takes 100 until the batch, 5 until it is handed over, 5 to take
  // it; then 50 us of work.
  EXPECT_EQ(replay.run(faster).span, 490 * us);
}

}  // namespace
}  // namespace mill::prof::test
