// Questions to an analysis, as one text:
//
//   select name, count, sum(duration_ns) from kernels
//   where stream_number = 7 and (duration_ns > 10us or name ~ 'gemm')
//   group by name order by -sum(duration_ns) limit 10
//
// Parts come in any order, each at most once; only `from` is needed. Keywords in any case.
//   select  columns, * for all, or count, sum(x), min(x), max(x), mean(x), median(x), p95(x),
//           stddev(x); without it: all columns, or the grouped ones and count
//   where   column op literal, joined by and, or, not, parentheses; op: = != < <= > >= ~ !~
//           (contains, does not contain). Numbers may carry ns us ms s min, B KB MB GB TB KiB MiB
//           GiB TiB, with /s, or %; texts stand in single quotes, '' for one inside
//   order   by columns or aggregates; - before or desc after one: largest first
// A column that is called like a keyword stands in double quotes: "from". Tables and columns:
// tables.h. Numbers that stand for nothing are -1.
//
// A sum of integers that does not fit is the nearest integer that does. median and p95 are exact:
// the value at place q (n - 1) of the sorted ones, between two by proportion. stddev is of a sample
// (n - 1). Of no rows each of these is 0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/base/strings.h"
#include "profiler/query/tables.h"

namespace mill::prof {

inline constexpr size_t kMaxQueryBytes = 65536;
inline constexpr int kMaxQueryNesting = 64;
inline constexpr size_t kMaxQueryItems = 256;  // of select, group, order

enum class Aggregate : uint8_t { none, count, sum, min, max, mean, median, p95, stddev };

struct QueryItem {
  Aggregate aggregate = Aggregate::none;
  std::string column;  // "" of count
  size_t at = 0;       // where in the text, from 1, for errors
  bool descending = false;
};

enum class Comparison : uint8_t { equal, not_equal, less, at_most, more, at_least, has, has_not };

// What the suffix of a number says that it measures.
enum class Measure : uint8_t { none, time, bytes, rate, share };

struct Literal {
  bool is_text = false;
  std::string text;
  bool exact = false;      // magnitude holds it
  bool negative = false;   //
  uint64_t magnitude = 0;  //
  double real = 0;         // always, with its sign
  Measure measure = Measure::none;
  size_t at = 0;
};

// A tree of conditions; children are indices into Query::where.
struct Condition {
  enum class Kind : uint8_t { compare, all, any, none_of };
  Kind kind = Kind::compare;
  std::vector<uint32_t> children;
  std::string column;
  size_t at = 0;
  Comparison comparison = Comparison::equal;
  Literal literal;
};

struct Query {
  std::string table;
  size_t table_at = 0;
  bool select_all = false;  // * stands first
  std::vector<QueryItem> select;
  std::vector<Condition> where;  // the last is the root; empty: every row
  std::vector<QueryItem> group;
  std::vector<QueryItem> order;
  uint64_t limit = UINT64_MAX;
};

struct QueryResult {
  struct Column {
    std::string name;
    Unit unit = Unit::none;
    ValueKind kind = ValueKind::int64;
    bool optional = false;    // -1 stands for none
    std::vector<Cell> cells;  // of texts: ids of `strings`
  };
  std::vector<Column> columns;
  uint64_t rows = 0;
  Strings strings;

  // NUL-terminated.
  std::string_view text(size_t column, uint64_t row) const {
    return strings.text(static_cast<uint32_t>(columns[column].cells[row].u));
  }
};

// False with one sentence, such as: at 31: no column "durration" in kernels; did you mean
// "duration_ns"?
bool parse_query(std::string_view text, Query* out, std::string* why);
bool run_query(const Analysis& analysis, const Query& query, QueryResult* out, std::string* why);
bool run_query(const Analysis& analysis, std::string_view text, QueryResult* out, std::string* why);

const char* aggregate_name(Aggregate aggregate);
// `; did you mean "duration_ns"?` for the nearest of the names, "" where none is near.
std::string suggestion(std::string_view name, const std::vector<std::string_view>& names);

}  // namespace mill::prof
