#include "profiler/base/columns.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace mill::prof {
namespace {

#define TEST_COLUMNS(X)     \
  X(int64_t, time, ns)      \
  X(uint32_t, parent, row)  \
  X(uint32_t, name, string) \
  X(uint8_t, kind, code)
MILL_PROF_TABLE(Rows, TEST_COLUMNS)
#undef TEST_COLUMNS

void expect_whole(const Rows& rows) {
  EXPECT_EQ(rows.time.size(), rows.size());
  EXPECT_EQ(rows.parent.size(), rows.size());
  EXPECT_EQ(rows.name.size(), rows.size());
  EXPECT_EQ(rows.kind.size(), rows.size());
}

TEST(Columns, ANewRowIsEmptyAndLinkedToNothing) {
  Rows rows;
  EXPECT_EQ(rows.add(), 0u);
  EXPECT_EQ(rows.add(), 1u);
  EXPECT_EQ(rows.time, (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(rows.parent, (std::vector<uint32_t>{kNoRow, kNoRow}));
  EXPECT_EQ(rows.name, (std::vector<uint32_t>{0, 0}));
  EXPECT_EQ(rows.memory_bytes(), 2 * (8 + 4 + 4 + 1u));
  expect_whole(rows);
}

TEST(Columns, StayInStepAfterARowThatFoundNoMemory) {
  // A row that could not be added has left values in its first columns; the caller went on.
  Rows rows;
  rows.add();
  rows.time.push_back(0);
  rows.parent.push_back(kNoRow);
  const uint32_t row = rows.add();
  EXPECT_EQ(row, 1u);
  rows.time[row] = 7;
  rows.kind[row] = 3;
  rows.add();
  expect_whole(rows);
  EXPECT_EQ(rows.time, (std::vector<int64_t>{0, 7, 0}));
  EXPECT_EQ(rows.kind, (std::vector<uint8_t>{0, 3, 0}));
  rows.time.push_back(0);
  Rows more;
  more.time.push_back(0);
  more.append(rows);
  more.append(rows);
  EXPECT_EQ(more.time, (std::vector<int64_t>{0, 7, 0, 0, 7, 0}));
  expect_whole(more);
}

TEST(Columns, RowsMoveTogether) {
  Rows rows;
  for (uint32_t k = 0; k < 3; ++k) {
    rows.add();
    rows.time[k] = 10 * k;
    rows.name[k] = k;
  }
  rows.permute({2, 0, 1});
  EXPECT_EQ(rows.time, (std::vector<int64_t>{20, 0, 10}));
  EXPECT_EQ(rows.name, (std::vector<uint32_t>{2, 0, 1}));
  Rows more;
  more.append(rows);
  more.append(rows);
  EXPECT_EQ(more.size(), 6u);
  EXPECT_EQ(more.time[3], 20);
  expect_whole(more);
  more.clear();
  EXPECT_TRUE(more.empty());
  expect_whole(more);
}

}  // namespace
}  // namespace mill::prof
