// Rows of any table, a batch at a time, for exports that write them one after the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/query/tables.h"

namespace mill::prof {

class RowReader {
 public:
  explicit RowReader(const TableView& view) : view_(view), cells_(view.columns().size()) {
    for (std::vector<Cell>& cells : cells_) cells.resize(std::min(kBatch, view.rows()));
  }

  // one(row) for every row, while it returns true; cell() and none() are of that row.
  template <class F>
  bool each(F&& one) {
    for (uint32_t first = 0; first < view_.rows();) {
      const uint32_t n = std::min(kBatch, view_.rows() - first);
      for (size_t column = 0; column < cells_.size(); ++column)
        view_.read(column, first, n, cells_[column].data());
      for (place_ = 0; place_ < n; ++place_) {
        if (!one(first + place_)) return false;
      }
      first += n;
    }
    return true;
  }

  Cell cell(size_t column) const { return cells_[column][place_]; }
  // The column has no value in this row.
  bool none(size_t column) const {
    const Column& info = view_.columns()[column];
    return info.optional && info.kind == ValueKind::int64 && cell(column).i == -1;
  }
  std::string_view text(size_t column) const { return view_.text(column, cell(column)); }

 private:
  static constexpr uint32_t kBatch = 1024;
  const TableView& view_;
  std::vector<std::vector<Cell>> cells_;
  uint32_t place_ = 0;
};

}  // namespace mill::prof
