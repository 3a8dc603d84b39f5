#include "profiler/timeline/batches.h"

#include <gtest/gtest.h>

namespace mill::prof {
namespace {

struct Rows {
  Loader loader;
  uint32_t add(LoaderKind kind, Ns start, Ns end, uint64_t number, uint64_t batch, Ns wait = 0) {
    const uint32_t row = loader.add();
    loader.kind[row] = static_cast<uint8_t>(kind);
    loader.start[row] = start;
    loader.end[row] = end;
    loader.wait[row] = wait;
    loader.loader[row] = number;
    loader.batch[row] = batch;
    return row;
  }
};

TEST(BatchMakers, ABatchIsFoundByItsNumber) {
  Rows rows;
  const uint32_t made = rows.add(LoaderKind::fill, 0, 50, 1, 1);
  rows.add(LoaderKind::fill, 0, 70, 1, 2);
  rows.add(LoaderKind::fill, 0, 80, 2, 1);
  const uint32_t asked = rows.add(LoaderKind::next, 10, 100, 1, 1, 90);
  const uint32_t missing = rows.add(LoaderKind::next, 10, 100, 3, 1, 90);
  const auto makers = batch_makers(rows.loader);
  EXPECT_EQ(makers[asked], made);
  EXPECT_EQ(makers[missing], kNoRow);
  EXPECT_EQ(makers[made], kNoRow);
}

TEST(BatchMakers, WithoutNumbersItIsTheLastThatWasDone) {
  Rows rows;
  rows.add(LoaderKind::fill, 0, 50, 0, 0);
  const uint32_t made = rows.add(LoaderKind::fill, 0, 90, 0, 0);
  rows.add(LoaderKind::fill, 0, 91, 0, 0);
  const uint32_t asked = rows.add(LoaderKind::next, 10, 100, 0, 0, 80);
  EXPECT_EQ(batch_makers(rows.loader)[asked], made);
}

// After a restart batch 1 is made again; the program asked again, too.
TEST(BatchMakers, OfABatchThatWasMadeAgainTheLastBeforeTheWaitEnded) {
  Rows rows;
  const uint32_t first = rows.add(LoaderKind::fill, 0, 50, 1, 1);
  const uint32_t again = rows.add(LoaderKind::fill, 100, 150, 1, 1);
  const uint32_t asked = rows.add(LoaderKind::next, 140, 170, 1, 1, 10);
  const uint32_t before = rows.add(LoaderKind::next, 140, 170, 1, 1, 9);
  const auto makers = batch_makers(rows.loader);
  EXPECT_EQ(makers[asked], again);
  EXPECT_EQ(makers[before], first);
}

TEST(BatchMakers, WhatCannotHaveBeenIsPassedOver) {
  Rows rows;
  rows.add(LoaderKind::fill, 60, 50, 1, 1);
  const uint32_t backwards = rows.add(LoaderKind::next, 100, 10, 1, 1, 9);
  const uint32_t asked = rows.add(LoaderKind::next, 10, 100, 1, 1, -5);
  const auto makers = batch_makers(rows.loader);
  EXPECT_EQ(makers[backwards], kNoRow);
  EXPECT_EQ(makers[asked], kNoRow);
  EXPECT_EQ(wait_end(rows.loader, backwards), 100);
  EXPECT_EQ(wait_end(rows.loader, asked), 10);
}

}  // namespace
}  // namespace mill::prof
