// Everything that an analysis knows, as tables of named columns that are read alike: what queries,
// exports and the C API show. Besides the tables of for_each_table there are
//   kernels, transfers      the rows of work that are kernels, copies, and that an analysis uses
//   steps, gaps             what the timeline was cut into
//   health, findings        what was concluded
//   figures                 what the findings were computed from
//   devices, threads, streams, links
// and besides stored columns those that follow from them: duration_ns, bytes_per_s, step_index,
// step_number, op_name, device_name, stream_number, thread_number, excluded, row.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/session/analysis.h"

namespace mill::prof {

enum class ValueKind : uint8_t { int64, uint64, real, text };
const char* value_kind_name(ValueKind kind);

// One value. Of a text: a number below Column::ids that Column::text turns into words.
union Cell {
  int64_t i;
  uint64_t u;
  double d;
};

struct Column {
  std::string name;
  Unit unit = Unit::none;
  ValueKind kind = ValueKind::int64;
  bool optional = false;  // -1 stands for none
  uint64_t ids = 0;       // of texts
  bool distinct = true;   // two ids never have one text
  // Rows of the table below.
  std::function<void(const uint32_t* rows, size_t n, Cell* to)> read;
  // NUL-terminated, never null; lives as long as the view and the analysis.
  std::function<std::string_view(uint64_t id)> text;
};

// A table of an analysis, which must outlive it.
class TableView {
 public:
  static std::optional<TableView> open(const Analysis& analysis, std::string_view name);
  static const std::vector<std::string_view>& names();

  std::string_view name() const { return name_; }
  uint32_t rows() const { return rows_; }
  const std::vector<Column>& columns() const { return columns_; }
  static constexpr size_t kNoColumn = SIZE_MAX;
  size_t find(std::string_view column) const;

  void read(size_t column, uint32_t first, uint32_t n, Cell* to) const;
  void read(size_t column, std::span<const uint32_t> rows, Cell* to) const;
  std::string_view text(size_t column, Cell cell) const { return columns_[column].text(cell.u); }
  // Eight bytes for each row: int64_t, uint64_t, double or const char*, as the column's kind says.
  void fill(size_t column, uint32_t first, uint32_t n, void* to) const;

 private:
  friend class ViewBuilder;
  std::string_view name_;
  uint32_t rows_ = 0;
  std::vector<Column> columns_;
  std::shared_ptr<const std::vector<uint32_t>> chosen_;  // rows of the table below; null: all
};

}  // namespace mill::prof
