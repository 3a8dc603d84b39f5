#include "profiler/query/tables.h"

#include <algorithm>
#include <cstring>

#include "profiler/query/view_builder.h"

namespace mill::prof {

namespace {

template <class T>
concept HasEnd = requires(const T& table) {
  table.end;
};
template <class T>
concept HasDevice = requires(const T& table) {
  table.device;
};
template <class T>
concept HasStream = requires(const T& table) {
  table.stream;
};
template <class T>
concept HasThread = requires(const T& table) {
  table.thread;
};
template <class T>
concept HasOp = requires(const T& table) {
  table.op;
};

// Bytes over a length of time; 0 where there is none.
double rate(uint64_t bytes, int64_t ns) {
  return ns > 0 ? static_cast<double>(bytes) * 1e9 / static_cast<double>(ns) : 0;
}

template <class T>
void add_columns(ViewBuilder& builder, std::string_view name, const T& table) {
  const Trace& trace = builder.trace();
  T::visit(table,
           [&](const ColumnInfo& info, const auto& column) { builder.stored(name, info, column); });
  if constexpr (HasEnd<T>) {
    const auto start = [data = table.start.data()](uint32_t row) { return data[row]; };
    const auto end = [data = table.end.data()](uint32_t row) { return data[row]; };
    builder.duration(start, end);
    builder.step_of(start);
  }
  if constexpr (std::is_same_v<T, Work>) {
    builder.reals("bytes_per_s", Unit::none, [&table](uint32_t row) {
      return rate(table.bytes[row], ViewBuilder::difference(table.end[row], table.start[row]));
    });
  }
  if constexpr (HasOp<T>) {
    builder.interned("op_name", [&table, &trace](uint32_t row) -> uint32_t {
      const uint32_t op = table.op[row];
      return op < trace.ops.size() ? trace.ops.name[op] : 0;
    });
  }
  if constexpr (HasDevice<T>)
    builder.device_name([&table](uint32_t row) { return table.device[row]; });
  if constexpr (HasStream<T>)
    builder.stream_number([&table](uint32_t row) { return table.stream[row]; });
  if constexpr (HasThread<T>)
    builder.thread_number([&table](uint32_t row) { return table.thread[row]; });
  if constexpr (std::is_same_v<T, Work> || std::is_same_v<T, Calls>) {
    builder.integers("excluded", Unit::none, false, [&table](uint32_t row) {
      return (table.flags[row] & kExcluded) != 0 ? 1 : 0;
    });
  }
}

std::vector<uint32_t> rows_of_kind(const Work& work, WorkKind kind) {
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.kind[row] == static_cast<uint8_t>(kind) && (work.flags[row] & kExcluded) == 0)
      rows.push_back(row);
  }
  return rows;
}

}  // namespace

const char* value_kind_name(ValueKind kind) {
  switch (kind) {
    case ValueKind::int64: return "int64";
    case ValueKind::uint64: return "uint64";
    case ValueKind::real: return "double";
    case ValueKind::text: return "string";
  }
  return "";
}

const std::vector<std::string_view>& TableView::names() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    const Trace trace;
    for_each_table(trace, [&](const char* name, const auto&) { all.emplace_back(name); });
    for (const char* name : {"kernels", "transfers", "steps", "gaps", "health", "findings",
                             "figures", "devices", "threads", "streams", "links"})
      all.emplace_back(name);
    return all;
  }();
  return names;
}

std::optional<TableView> TableView::open(const Analysis& analysis, std::string_view name) {
  const auto known = std::find(names().begin(), names().end(), name);
  if (known == names().end()) return std::nullopt;
  name = *known;  // lives on
  const Trace& trace = analysis.trace();
  if (name == "kernels" || name == "transfers") {
    ViewBuilder builder(analysis, name, trace.work.size());
    add_columns(builder, "work", trace.work);
    builder.choose(rows_of_kind(trace.work, name == "kernels" ? WorkKind::kernel : WorkKind::copy));
    return builder.take();
  }
  std::optional<TableView> view = open_result(analysis, name);
  for_each_table(trace, [&](const char* table_name, const auto& table) {
    if (name != table_name) return;
    ViewBuilder builder(analysis, name, table.size());
    add_columns(builder, name, table);
    view = builder.take();
  });
  return view;
}

size_t TableView::find(std::string_view column) const {
  for (size_t k = 0; k < columns_.size(); ++k) {
    if (columns_[k].name == column) return k;
  }
  // Where a table stores no step of its own, the one that was found is the step.
  if (column == "step") return find("step_index");
  return kNoColumn;
}

void TableView::read(size_t column, uint32_t first, uint32_t n, Cell* to) const {
  if (chosen_ != nullptr) {
    columns_[column].read(chosen_->data() + first, n, to);
    return;
  }
  constexpr uint32_t kBatch = 1024;
  uint32_t rows[kBatch];
  for (uint32_t done = 0; done < n;) {
    const uint32_t count = std::min(kBatch, n - done);
    for (uint32_t k = 0; k < count; ++k) rows[k] = first + done + k;
    columns_[column].read(rows, count, to + done);
    done += count;
  }
}

void TableView::read(size_t column, std::span<const uint32_t> rows, Cell* to) const {
  if (chosen_ == nullptr) {
    columns_[column].read(rows.data(), rows.size(), to);
    return;
  }
  constexpr size_t kBatch = 1024;
  uint32_t below[kBatch];
  for (size_t done = 0; done < rows.size();) {
    const size_t count = std::min(kBatch, rows.size() - done);
    for (size_t k = 0; k < count; ++k) below[k] = (*chosen_)[rows[done + k]];
    columns_[column].read(below, count, to + done);
    done += count;
  }
}

void TableView::fill(size_t column, uint32_t first, uint32_t n, void* to) const {
  static_assert(sizeof(Cell) == 8 && sizeof(const char*) <= 8);
  std::vector<Cell> cells(n);
  read(column, first, n, cells.data());
  if (columns_[column].kind != ValueKind::text) {
    if (n > 0) std::memcpy(to, cells.data(), size_t{n} * sizeof(Cell));
    return;
  }
  for (uint32_t k = 0; k < n; ++k) {
    const char* words = text(column, cells[k]).data();
    std::memcpy(static_cast<char*>(to) + size_t{k} * sizeof words, &words, sizeof words);
  }
}

}  // namespace mill::prof
