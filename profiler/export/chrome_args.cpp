#include "profiler/export/chrome_args.h"

#include <type_traits>

namespace mill::prof {

namespace {

template <class T>
constexpr ArgColumn::Type type_of() {
  using Type = ArgColumn::Type;
  if constexpr (std::is_same_v<T, uint8_t>) return Type::u8;
  if constexpr (std::is_same_v<T, int32_t>) return Type::i32;
  if constexpr (std::is_same_v<T, uint32_t>) return Type::u32;
  if constexpr (std::is_same_v<T, int64_t>) return Type::i64;
  if constexpr (std::is_same_v<T, uint64_t>) return Type::u64;
  if constexpr (std::is_same_v<T, float>) return Type::f32;
  return Type::f64;
}

template <class T>
TableColumns columns_of(std::string_view name, const T& table) {
  TableColumns out;
  out.table = name;
  out.rows = table.size();
  const uint32_t* device = nullptr;  // comes before the stream wherever a table has both
  T::visit(table, [&](const ColumnInfo& info, const auto& column) {
    using Value = typename std::remove_cvref_t<decltype(column)>::value_type;
    const std::string_view key = info.name;
    if constexpr (std::is_same_v<Value, int64_t>) {
      if (key == "start" || key == "time") out.start = column.data();
      if (key == "end" || key == "time") out.end = column.data();
      if (key == "start" || key == "time" || key == "end") return;
    }
    if constexpr (std::is_same_v<Value, uint32_t>) {
      if (key == "name") out.name = column.data();
      if (key == "thread") out.thread = column.data();
      if (key == "name" || key == "thread") return;
    }
    if (info.unit == Unit::row) return;
    ArgColumn arg{.key = json_string(key) + ":",
                  .unit = info.unit,
                  .type = type_of<Value>(),
                  .data = column.data(),
                  .codes = {}};
    if constexpr (std::is_same_v<Value, uint32_t>) {
      if (key == "device") device = column.data();
    }
    if (info.unit == Unit::stream) arg.device = device;
    if (info.unit == Unit::code) {
      for (uint32_t code = 0; code < 256; ++code) {
        const std::string_view text = code_text(name, key, code);
        arg.codes.push_back(text.empty() ? std::string() : json_string(text));
      }
    }
    out.args.push_back(std::move(arg));
  });
  return out;
}

}  // namespace

std::vector<TableColumns> chrome_columns(const Trace& trace) {
  std::vector<TableColumns> all;
  for_each_table(
      trace, [&](const char* name, const auto& table) { all.push_back(columns_of(name, table)); });
  return all;
}

void ChromeArgs::column(const ArgColumn& column, uint32_t row) {
  using Type = ArgColumn::Type;
  switch (column.type) {
    case Type::u8: code(column, column.at<uint8_t>(row)); return;
    case Type::u32: reference(column, column.at<uint32_t>(row), row); return;
    case Type::i32: signed_number(column, column.at<int32_t>(row)); return;
    case Type::i64: signed_number(column, column.at<int64_t>(row)); return;
    case Type::u64:
      if (const auto value = column.at<uint64_t>(row); value != 0) {
        add(column.key);
        out_.natural(value);
      }
      return;
    case Type::f32: real(column, column.at<float>(row)); return;
    case Type::f64: real(column, column.at<double>(row)); return;
  }
}

void ChromeArgs::code(const ArgColumn& column, uint8_t value) {
  if (column.unit == Unit::flags) value &= static_cast<uint8_t>(~kExcluded);
  if (value == 0) return;
  if (column.unit != Unit::code) {
    add(column.key);
    out_.natural(value);
  } else if (!column.codes[value].empty()) {
    add(column.key);
    out_.put(column.codes[value]);
  }
}

void ChromeArgs::signed_number(const ArgColumn& column, int64_t value) {
  if (value == 0) return;
  add(column.key);
  out_.integer(value);
}

void ChromeArgs::real(const ArgColumn& column, double value) {
  if (value == 0) return;
  add(column.key);
  out_.json_real(value);
}

void ChromeArgs::reference(const ArgColumn& column, uint32_t value, uint32_t row) {
  switch (column.unit) {
    case Unit::device:
      if (value >= trace_.devices.size()) return;
      add(column.key);
      out_.natural(trace_.devices[value].number);
      return;
    case Unit::stream: stream(column, value, row); return;
    case Unit::string:
      if (trace_.strings.text(value).empty()) return;
      add(column.key);
      out_.json(trace_.strings.text(value));
      return;
    default:
      if (value == 0) return;
      add(column.key);
      out_.natural(value);
  }
}

void ChromeArgs::stream(const ArgColumn& column, uint32_t value, uint32_t row) {
  if (value >= trace_.streams.size()) return;
  add(column.key);
  out_.natural(trace_.streams[value].number);
  const uint32_t device = trace_.streams[value].device;
  const bool known = device < trace_.devices.size();
  if (known && column.device != nullptr && column.device[row] == device) return;
  add("\"stream_device\":");
  if (known) {
    out_.natural(trace_.devices[device].number);
  } else {
    out_.put("-1");
  }
}

}  // namespace mill::prof
