#include "profiler/query/filter.h"

#include <algorithm>

#include "profiler/query/lexer.h"

namespace mill::prof {

namespace {

constexpr uint32_t kBatch = 2048;
// Bytes: a condition on texts takes one for each text that there is.
constexpr uint64_t kMostMatches = uint64_t{1} << 28;

template <class T>
bool holds(Comparison comparison, const T& a, const T& b) {
  switch (comparison) {
    case Comparison::equal: return a == b;
    case Comparison::not_equal: return a != b;
    case Comparison::less: return a < b;
    case Comparison::at_most: return a <= b;
    case Comparison::more: return a > b;
    case Comparison::at_least: return a >= b;
    case Comparison::has:
    case Comparison::has_not: break;
  }
  return false;
}

bool text_holds(Comparison comparison, std::string_view text, std::string_view literal) {
  if (comparison == Comparison::has) return text.find(literal) != std::string_view::npos;
  if (comparison == Comparison::has_not) return text.find(literal) == std::string_view::npos;
  return holds(comparison, text, literal);
}

const char* measure_name(Measure measure) {
  switch (measure) {
    case Measure::time: return "a time";
    case Measure::bytes: return "a size";
    case Measure::rate: return "a rate";
    case Measure::share: return "a share";
    case Measure::none: break;
  }
  return "a number";
}

Measure measure_of(const Column& column) {
  switch (column.unit) {
    case Unit::ns: return Measure::time;
    case Unit::bytes: return Measure::bytes;
    case Unit::ratio: return Measure::share;
    default: break;
  }
  return column.name.ends_with("bytes_per_s") ? Measure::rate : Measure::none;
}

}  // namespace

std::string no_column(const TableView& view, std::string_view column, size_t at) {
  std::vector<std::string_view> names;
  for (const Column& one : view.columns()) names.emplace_back(one.name);
  std::string shown;
  for (const char c : column.substr(0, 64)) shown += c >= 0x20 && c < 0x7F ? c : '?';
  const std::string meant = suggestion(column, names);
  return error_at(
      at, "no column \"" + shown + "\" in " + std::string(view.name()) +
              (meant.empty() ? "; `columns " + std::string(view.name()) + "` lists them" : meant));
}

bool Filter::bind(const TableView& view, const Query& query, std::string* why) {
  view_ = &view;
  nodes_.clear();
  nodes_.reserve(query.where.size());
  uint64_t matches = 0;
  for (const Condition& condition : query.where) {
    const size_t column = condition.kind == Condition::Kind::compare ? view.find(condition.column)
                                                                     : TableView::kNoColumn;
    if (column != TableView::kNoColumn) matches += view.columns()[column].ids;
    if (matches > kMostMatches) {
      *why = error_at(condition.at, "too many conditions on texts: there are " +
                                        std::to_string(view.columns()[column].ids) +
                                        " texts in \"" + condition.column + "\"");
      return false;
    }
  }
  for (const Condition& condition : query.where) {
    Bound& bound = nodes_.emplace_back();
    bound.condition = &condition;
    if (condition.kind == Condition::Kind::compare && !bind_one(condition, &bound, why))
      return false;
  }
  return true;
}

bool Filter::bind_one(const Condition& condition, Bound* out, std::string* why) const {
  out->column = view_->find(condition.column);
  if (out->column == TableView::kNoColumn) {
    *why = no_column(*view_, condition.column, condition.at);
    return false;
  }
  const Column& column = view_->columns()[out->column];
  const Literal& literal = condition.literal;
  out->kind = column.kind;
  const bool contains =
      condition.comparison == Comparison::has || condition.comparison == Comparison::has_not;
  if (column.kind == ValueKind::text) {
    if (!literal.is_text) {
      *why = error_at(literal.at, "\"" + column.name +
                                      "\" is text; expected a text in single "
                                      "quotes");
      return false;
    }
    out->matches.resize(column.ids);
    for (uint64_t id = 0; id < column.ids; ++id)
      out->matches[id] = text_holds(condition.comparison, column.text(id), literal.text);
    return true;
  }
  if (literal.is_text) {
    *why = error_at(literal.at, "\"" + column.name + "\" is a number; expected a number");
    return false;
  }
  if (contains) {
    *why = error_at(condition.at, "\"" + column.name + "\" is a number; ~ and !~ are for texts");
    return false;
  }
  const Measure measure = measure_of(column);
  if (literal.measure != Measure::none && measure != Measure::none && literal.measure != measure) {
    *why = error_at(literal.at, "\"" + column.name + "\" is " + measure_name(measure) +
                                    ", and this is " + measure_name(literal.measure));
    return false;
  }
  out->whole = static_cast<Wide>(literal.magnitude);
  if (literal.negative) out->whole = -out->whole;
  return true;
}

void Filter::compare(const Bound& bound, uint32_t first, uint32_t n, uint8_t* mask) const {
  Cell cells[kBatch];
  view_->read(bound.column, first, n, cells);
  const Literal& literal = bound.condition->literal;
  const Comparison comparison = bound.condition->comparison;
  const auto each = [&](auto&& one) {
    for (uint32_t k = 0; k < n; ++k) mask[k] = one(cells[k]) ? 1 : 0;
  };
  if (bound.kind == ValueKind::text) {
    each([&](Cell cell) { return bound.matches[cell.u] != 0; });
  } else if (bound.kind == ValueKind::real) {
    each([&](Cell cell) { return holds(comparison, cell.d, literal.real); });
  } else if (!literal.exact) {
    const bool is_signed = bound.kind == ValueKind::int64;
    each([&](Cell cell) {
      return holds(comparison,
                   is_signed ? static_cast<double>(cell.i) : static_cast<double>(cell.u),
                   literal.real);
    });
  } else if (bound.kind == ValueKind::int64) {
    each([&](Cell cell) { return holds(comparison, static_cast<Wide>(cell.i), bound.whole); });
  } else {
    each([&](Cell cell) { return holds(comparison, static_cast<Wide>(cell.u), bound.whole); });
  }
}

void Filter::evaluate(uint32_t node, uint32_t first, uint32_t n, uint8_t* mask) const {
  const Bound& bound = nodes_[node];
  const std::vector<uint32_t>& children = bound.condition->children;
  switch (bound.condition->kind) {
    case Condition::Kind::compare: compare(bound, first, n, mask); return;
    case Condition::Kind::none_of:
      evaluate(children.front(), first, n, mask);
      for (uint32_t k = 0; k < n; ++k) mask[k] ^= 1;
      return;
    case Condition::Kind::all:
    case Condition::Kind::any: break;
  }
  const bool all = bound.condition->kind == Condition::Kind::all;
  std::vector<uint8_t> part(n);
  evaluate(children.front(), first, n, mask);
  for (size_t c = 1; c < children.size(); ++c) {
    evaluate(children[c], first, n, part.data());
    for (uint32_t k = 0; k < n; ++k)
      mask[k] = static_cast<uint8_t>(all ? mask[k] & part[k] : mask[k] | part[k]);
  }
}

std::vector<uint32_t> Filter::rows() const {
  std::vector<uint32_t> rows;
  const uint32_t total = view_->rows();
  if (nodes_.empty()) {
    rows.resize(total);
    for (uint32_t row = 0; row < total; ++row) rows[row] = row;
    return rows;
  }
  uint8_t mask[kBatch];
  for (uint32_t first = 0; first < total;) {
    const uint32_t n = std::min(kBatch, total - first);
    evaluate(static_cast<uint32_t>(nodes_.size() - 1), first, n, mask);
    for (uint32_t k = 0; k < n; ++k) {
      if (mask[k] != 0) rows.push_back(first + k);
    }
    first += n;
  }
  return rows;
}

}  // namespace mill::prof
