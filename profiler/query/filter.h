// The rows of a table that a query asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "profiler/query/query.h"

namespace mill::prof {

// Sums of 10^7 lengths of time need more than 64 bits.
__extension__ using Wide = __int128;

class Filter {
 public:
  // False with a sentence for a condition that the table cannot answer.
  bool bind(const TableView& view, const Query& query, std::string* why);
  std::vector<uint32_t> rows() const;

 private:
  struct Bound {
    const Condition* condition = nullptr;
    size_t column = 0;
    ValueKind kind = ValueKind::int64;
    Wide whole = 0;
    std::vector<uint8_t> matches;  // of a text: by id
  };
  void evaluate(uint32_t node, uint32_t first, uint32_t n, uint8_t* mask) const;
  void compare(const Bound& bound, uint32_t first, uint32_t n, uint8_t* mask) const;
  bool bind_one(const Condition& condition, Bound* out, std::string* why) const;

  const TableView* view_ = nullptr;
  std::vector<Bound> nodes_;
};

// `at 31: no column "x" in kernels`, with a suggestion.
std::string no_column(const TableView& view, std::string_view column, size_t at);

}  // namespace mill::prof
