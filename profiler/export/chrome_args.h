// The columns of a row as the args of its event.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/export/writer.h"
#include "profiler/timeline/trace.h"

namespace mill::prof {

// How the columns of a table are written into args.
struct ArgColumn {
  enum class Type : uint8_t { u8, i32, u32, i64, u64, f32, f64 };
  std::string key;  // with quotes and colon
  Unit unit = Unit::none;
  Type type = Type::u8;
  const void* data = nullptr;
  std::vector<std::string> codes;    // as JSON, by code
  const uint32_t* device = nullptr;  // of a stream: the table's device, if it has one

  template <class T>
  T at(uint32_t row) const {
    return static_cast<const T*>(data)[row];
  }
};

struct TableColumns {
  std::string_view table;
  uint32_t rows = 0;
  const int64_t* start = nullptr;
  const int64_t* end = nullptr;
  const uint32_t* name = nullptr;
  const uint32_t* thread = nullptr;
  std::vector<ArgColumn> args;
};

// In order of for_each_table; valid while the trace lives.
std::vector<TableColumns> chrome_columns(const Trace& trace);

class ChromeArgs {
 public:
  ChromeArgs(Writer& out, const Trace& trace) : out_(out), trace_(trace) {}

  void begin() { first_ = true; }
  // A key with its colon, or with its value too.
  void add(std::string_view key) {
    if (!first_) out_.put(',');
    first_ = false;
    out_.put(key);
  }
  // Nothing where the value is what Table::add makes.
  void column(const ArgColumn& column, uint32_t row);

 private:
  void code(const ArgColumn& column, uint8_t value);
  void signed_number(const ArgColumn& column, int64_t value);
  void real(const ArgColumn& column, double value);
  void reference(const ArgColumn& column, uint32_t value, uint32_t row);
  void stream(const ArgColumn& column, uint32_t value, uint32_t row);

  Writer& out_;
  const Trace& trace_;
  bool first_ = true;
};

}  // namespace mill::prof
