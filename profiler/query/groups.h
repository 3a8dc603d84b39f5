// Rows that have the same values in some columns, and what their other columns amount to.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/query/query.h"

namespace mill::prof {

// Values of a column at some rows. Equal texts have equal ids here.
struct Values {
  const Column* column = nullptr;
  std::vector<Cell> cells;
};
Values values_of(const TableView& view, size_t column, const std::vector<uint32_t>& rows);

// A strict weak order of cells of one kind; what is not a number comes last.
bool cell_less(ValueKind kind, Cell a, Cell b);
// Makes ids of texts that sort as the texts do.
void rank_texts(Values& values);

struct Groups {
  std::vector<uint32_t> of;     // by place among the rows
  std::vector<uint32_t> first;  // by group: the place of its first row
  uint32_t count() const { return static_cast<uint32_t>(first.size()); }
};
// In order of first appearance. One group of all rows, even of none, where there are no keys.
Groups group_rows(const std::vector<Values>& keys, size_t rows);

// The aggregate of `values` (empty of count) for each group.
QueryResult::Column aggregate(Aggregate how, const Values& values, const Groups& groups);

}  // namespace mill::prof
