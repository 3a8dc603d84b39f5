// Columnar tables: a struct of vectors of one length, described by a list of its columns, so that
// appending, dropping, sorting, querying and exporting are written once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace mill::prof {

// What the numbers of a column are.
enum class Unit : uint8_t {
  none,    // a plain number
  ns,      // nanoseconds: a time or a length of time
  bytes,   //
  flops,   //
  string,  // an id of the trace's Strings
  row,     // a row of another table; kNoRow: none
  device,  // an index into Trace::devices; kNoRow: none
  thread,  // an index into Trace::threads
  stream,  // an index into Trace::streams; kNoRow: none
  code,    // an enumerator; code_text (trace.h) names it
  flags,
  ratio  // 0 to 1
};

// What users read: "" for what has none.
inline const char* unit_text(Unit unit) {
  switch (unit) {
    case Unit::ns: return "ns";
    case Unit::bytes: return "bytes";
    case Unit::flops: return "flops";
    case Unit::ratio: return "ratio";
    case Unit::row: return "row";
    default: return "";
  }
}

struct ColumnInfo {
  const char* name;
  Unit unit;
};

inline constexpr uint32_t kNoRow = std::numeric_limits<uint32_t>::max();

// T derives from Table<T> and has `template <class Self, class F> static void visit(Self& self,
// F&& f)`, which calls f(const ColumnInfo&, vector) for each column.
template <class T>
class Table {
  static constexpr size_t kFirst = 256;

 public:
  uint32_t size() const { return rows_; }
  bool empty() const { return rows_ == 0; }

  // Appends a row whose links are kNoRow and whose other fields are 0; gives its number. One that
  // finds no memory changes nothing.
  uint32_t add() {
    if (rows_ < prepared_) return rows_++;
    T::visit(self(), [this](const ColumnInfo& info, auto& column) {
      using Value = typename std::remove_reference_t<decltype(column)>::value_type;
      // An earlier one may have found memory for its first columns only.
      if (column.size() != rows_) return;
      // In few, large steps: what is not used yet costs no memory, what is copied costs a page
      // fault for each page.
      if (rows_ == column.capacity()) column.reserve(rows_ < kFirst ? kFirst : size_t{4} * rows_);
      column.push_back(empty_value<Value>(info.unit));
    });
    return rows_++;
  }
  // add(), where rows come by the hundred thousand: looks at every column once for many rows, and
  // leaves columns that may be longer than size() until trim(). append() takes what size() says.
  uint32_t add_one_of_many() {
    if (rows_ >= prepared_) prepare();
    return rows_++;
  }
  void trim() {
    T::visit(self(), [this](const ColumnInfo&, auto& column) { column.resize(rows_); });
    prepared_ = 0;
  }
  void reserve(size_t rows) {
    T::visit(self(), [&](const ColumnInfo&, auto& column) { column.reserve(rows); });
  }
  // Keeps the memory.
  void clear() {
    T::visit(self(), [](const ColumnInfo&, auto& column) { column.clear(); });
    rows_ = 0;
    prepared_ = 0;
  }
  // Row i becomes what row order[i] was; order has size() entries, each row once.
  void permute(const std::vector<uint32_t>& order) {
    T::visit(self(), [&](const ColumnInfo&, auto& column) {
      std::remove_reference_t<decltype(column)> sorted;
      sorted.reserve(column.capacity());
      for (const uint32_t row : order) sorted.push_back(column[row]);
      column.swap(sorted);
    });
  }
  // Appends all rows of another table of the same kind.
  void append(const T& other) {
    prepared_ = 0;
    // Both lists have the same columns in the same order.
    std::vector<const void*> from;
    T::visit(other, [&](const ColumnInfo&, const auto& column) { from.push_back(&column); });
    size_t k = 0;
    T::visit(self(), [&](const ColumnInfo&, auto& column) {
      const auto& add = *static_cast<const std::remove_reference_t<decltype(column)>*>(from[k++]);
      column.resize(rows_);
      column.insert(column.end(), add.begin(), add.begin() + std::ptrdiff_t{other.rows_});
    });
    rows_ += other.size();
  }
  // Memory that the rows take.
  static constexpr uint64_t row_bytes() {
    uint64_t bytes = 0;
    T::row_bytes_of(&bytes);
    return bytes;
  }
  uint64_t memory_bytes() const { return uint64_t{rows_} * row_bytes(); }

 private:
  static constexpr uint32_t kAhead = 64;
  T& self() { return static_cast<T&>(*this); }

  void prepare() {
    const size_t rows = size_t{rows_} + kAhead;
    T::visit(self(), [rows](const ColumnInfo& info, auto& column) {
      using Value = typename std::remove_reference_t<decltype(column)>::value_type;
      if (rows > column.capacity()) column.reserve(rows < kFirst ? kFirst : size_t{4} * rows);
      column.resize(rows, empty_value<Value>(info.unit));
    });
    prepared_ = rows_ + kAhead;
  }

  template <class Value>
  static constexpr Value empty_value(Unit unit) {
    if constexpr (std::is_same_v<Value, uint32_t>) {
      if (unit == Unit::row || unit == Unit::device || unit == Unit::stream) return kNoRow;
    }
    return Value{};
  }

  uint32_t rows_ = 0;
  uint32_t prepared_ = 0;  // rows up to which every column holds empty ones; below rows_: none
};

// MILL_PROF_TABLE(Name, LIST) with LIST(X) a list of X(type, name, Unit).
#define MILL_PROF_MEMBER(type, name, unit) std::vector<type> name;
#define MILL_PROF_VISIT(type, name, unit) f(ColumnInfo{#name, Unit::unit}, self.name);
#define MILL_PROF_BYTES(type, name, unit) *bytes += sizeof(type);
#define MILL_PROF_TABLE(Name, LIST)                                               \
  struct Name : Table<Name> {                                                     \
    LIST(MILL_PROF_MEMBER)                                                        \
    template <class Self, class F>                                                \
    static void visit(Self& self, F&& f) {                                        \
      LIST(MILL_PROF_VISIT)                                                       \
    }                                                                             \
    static constexpr void row_bytes_of(uint64_t* bytes) { LIST(MILL_PROF_BYTES) } \
  };

}  // namespace mill::prof
