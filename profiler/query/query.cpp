#include "profiler/query/query.h"

#include <algorithm>
#include <utility>

#include "profiler/query/filter.h"
#include "profiler/query/groups.h"
#include "profiler/query/lexer.h"

namespace mill::prof {

namespace {

class Run {
 public:
  Run(const TableView& view, const Query& query, QueryResult* out, std::string* why)
      : view_(view), query_(query), out_(*out), why_(*why) {}

  bool run() {
    std::vector<QueryItem> group = query_.group;
    if (!check(group) || !check(query_.order)) return false;
    const auto is_aggregate = [](const QueryItem& one) { return one.aggregate != Aggregate::none; };
    std::vector<QueryItem> select = query_.select;
    if (!check(select)) return false;
    grouped_ = !group.empty() || std::any_of(select.begin(), select.end(), is_aggregate) ||
               std::any_of(query_.order.begin(), query_.order.end(), is_aggregate);
    if (query_.select_all || (select.empty() && group.empty())) {
      if (grouped_ && (query_.select_all || query_.order.empty())) {
        why_ = error_at(query_.table_at, "* goes with no aggregate and no group by");
        return false;
      }
      if (grouped_) {
        select = {count_item()};
      } else {
        std::vector<QueryItem> all;
        for (const Column& column : view_.columns())
          all.push_back({Aggregate::none, column.name, query_.table_at, false});
        select.insert(select.begin(), all.begin(), all.end());
      }
    } else if (select.empty()) {
      select = group;
      select.push_back(count_item());
    }
    if (grouped_ && (!grouped_column(select, group) || !grouped_column(query_.order, group)))
      return false;

    Filter filter;
    if (!filter.bind(view_, query_, &why_)) return false;
    rows_ = filter.rows();
    if (grouped_) {
      std::vector<Values> keys;
      keys.reserve(group.size());
      for (const QueryItem& one : group) keys.push_back(values_of(view_, column(one), rows_));
      groups_ = group_rows(keys, rows_.size());
      heads_.reserve(groups_.count());
      for (const uint32_t place : groups_.first) {
        if (place < rows_.size()) heads_.push_back(rows_[place]);
      }
    }
    order();
    for (const QueryItem& one : select) emit(one);
    out_.rows = places_.size();
    return true;
  }

 private:
  static QueryItem count_item() { return {Aggregate::count, {}, 0, false}; }
  size_t column(const QueryItem& one) const { return view_.find(one.column); }

  bool check(const std::vector<QueryItem>& items) {
    for (const QueryItem& one : items) {
      if (one.aggregate == Aggregate::count) continue;
      const size_t k = column(one);
      if (k == TableView::kNoColumn) {
        why_ = no_column(view_, one.column, one.at);
        return false;
      }
      if (one.aggregate != Aggregate::none && view_.columns()[k].kind == ValueKind::text) {
        why_ = error_at(one.at, "\"" + one.column + "\" is text; " + aggregate_name(one.aggregate) +
                                    " takes a number");
        return false;
      }
    }
    return true;
  }

  // Beside aggregates only columns that have one value in each group.
  bool grouped_column(const std::vector<QueryItem>& items, const std::vector<QueryItem>& group) {
    for (const QueryItem& one : items) {
      if (one.aggregate != Aggregate::none) continue;
      const bool found = std::any_of(group.begin(), group.end(), [&](const QueryItem& key) {
        return column(key) == column(one);
      });
      if (found) continue;
      why_ = error_at(one.at, "\"" + one.column +
                                  "\" has many values in a group; put it in group by or in an "
                                  "aggregate");
      return false;
    }
    return true;
  }

  // Values of an item, one for each row of the result before order and limit.
  std::vector<Cell> sort_keys(const QueryItem& one, ValueKind* kind) {
    if (one.aggregate != Aggregate::none) {
      QueryResult::Column made = compute(one);
      *kind = made.kind;
      return std::move(made.cells);
    }
    Values values = values_of(view_, column(one), grouped_ ? heads_ : rows_);
    *kind = values.column->kind;
    if (*kind == ValueKind::text) rank_texts(values);
    return std::move(values.cells);
  }

  QueryResult::Column compute(const QueryItem& one) {
    if (one.aggregate == Aggregate::count) return aggregate(one.aggregate, {}, groups_);
    return aggregate(one.aggregate, values_of(view_, column(one), rows_), groups_);
  }

  void order() {
    const size_t total = grouped_ ? groups_.count() : rows_.size();
    places_.resize(total);
    for (size_t k = 0; k < total; ++k) places_[k] = static_cast<uint32_t>(k);
    struct Key {
      std::vector<Cell> cells;
      ValueKind kind = ValueKind::int64;
      bool descending = false;
    };
    std::vector<Key> keys;
    for (const QueryItem& one : query_.order) {
      Key& key = keys.emplace_back();
      key.descending = one.descending;
      key.cells = sort_keys(one, &key.kind);
    }
    const auto before = [&](uint32_t a, uint32_t b) {
      for (const Key& key : keys) {
        const Cell x = key.cells[key.descending ? b : a];
        const Cell y = key.cells[key.descending ? a : b];
        if (cell_less(key.kind, x, y)) return true;
        if (cell_less(key.kind, y, x)) return false;
      }
      return a < b;
    };
    const size_t kept = static_cast<size_t>(std::min<uint64_t>(query_.limit, total));
    const auto middle = places_.begin() + static_cast<std::ptrdiff_t>(kept);
    if (!keys.empty()) {
      if (kept < total) {
        std::partial_sort(places_.begin(), middle, places_.end(), before);
      } else {
        std::sort(places_.begin(), places_.end(), before);
      }
    }
    places_.resize(kept);
  }

  void emit(const QueryItem& one) {
    if (one.aggregate != Aggregate::none) {
      QueryResult::Column made = compute(one);
      std::vector<Cell> cells(places_.size());
      for (size_t k = 0; k < places_.size(); ++k) cells[k] = made.cells[places_[k]];
      made.cells = std::move(cells);
      out_.columns.push_back(std::move(made));
      return;
    }
    const size_t from = column(one);
    const Column& source = view_.columns()[from];
    const std::vector<uint32_t>& base = grouped_ ? heads_ : rows_;
    std::vector<uint32_t> rows(places_.size());
    for (size_t k = 0; k < places_.size(); ++k) rows[k] = base[places_[k]];
    QueryResult::Column made{.name = source.name,
                             .unit = source.unit,
                             .kind = source.kind,
                             .optional = source.optional,
                             .cells = std::vector<Cell>(rows.size())};
    view_.read(from, rows, made.cells.data());
    if (source.kind == ValueKind::text) {
      constexpr uint64_t kUnknown = UINT64_MAX;
      std::vector<uint64_t> known(source.ids, kUnknown);
      for (Cell& cell : made.cells) {
        uint64_t& id = known[cell.u];
        if (id == kUnknown) id = out_.strings.intern(source.text(cell.u));
        cell.u = id;
      }
    }
    out_.columns.push_back(std::move(made));
  }

  const TableView& view_;
  const Query& query_;
  QueryResult& out_;
  std::string& why_;
  bool grouped_ = false;
  std::vector<uint32_t> rows_;    // that passed the filter
  std::vector<uint32_t> heads_;   // the first row of each group
  std::vector<uint32_t> places_;  // of the result: groups, or places in rows_
  Groups groups_;
};

std::string no_table(std::string_view name, size_t at) {
  std::string shown;
  for (const char c : name.substr(0, 64)) shown += c >= 0x20 && c < 0x7F ? c : '?';
  return error_at(at, "no table \"" + shown + "\"" + suggestion(name, TableView::names()));
}

}  // namespace

bool run_query(const Analysis& analysis, const Query& query, QueryResult* out, std::string* why) {
  *out = QueryResult{};
  const std::optional<TableView> view = TableView::open(analysis, query.table);
  if (!view) {
    *why = no_table(query.table, query.table_at);
    return false;
  }
  return Run(*view, query, out, why).run();
}

namespace {

void add_text_column(const char* name, QueryResult* out) {
  QueryResult::Column column;
  column.name = name;
  column.kind = ValueKind::text;
  out->columns.push_back(std::move(column));
}

void add_text(size_t column, std::string_view text, QueryResult* out) {
  Cell cell{};
  cell.u = out->strings.intern(text);
  out->columns[column].cells.push_back(cell);
}

// "tables": what there is to ask.
void list_tables(const Analysis& analysis, QueryResult* out) {
  add_text_column("name", out);
  QueryResult::Column rows;
  rows.name = "rows";
  out->columns.push_back(std::move(rows));
  for (const std::string_view name : TableView::names()) {
    add_text(0, name, out);
    const std::optional<TableView> view = TableView::open(analysis, name);
    Cell cell{};
    cell.i = view ? view->rows() : 0;
    out->columns[1].cells.push_back(cell);
    ++out->rows;
  }
}

// "columns TABLE".
void list_columns(const TableView& view, QueryResult* out) {
  add_text_column("name", out);
  add_text_column("kind", out);
  for (const Column& column : view.columns()) {
    add_text(0, column.name, out);
    add_text(1, value_kind_name(column.kind), out);
    ++out->rows;
  }
}

// The words of a text that has at most two and nothing else.
std::vector<std::string_view> few_words(std::string_view text) {
  std::vector<std::string_view> words;
  size_t at = 0;
  while (at < text.size() && words.size() < 3) {
    const size_t begin = text.find_first_not_of(" \t\r\n", at);
    if (begin == std::string_view::npos) break;
    at = std::min(text.find_first_of(" \t\r\n", begin), text.size());
    words.push_back(text.substr(begin, at - begin));
  }
  return words;
}

}  // namespace

bool run_query(const Analysis& analysis, std::string_view text, QueryResult* out,
               std::string* why) {
  Query query;
  *out = QueryResult{};
  const std::vector<std::string_view> words = few_words(text);
  if (words.size() == 1 && words[0] == "tables") {
    list_tables(analysis, out);
    return true;
  }
  if (words.size() == 2 && words[0] == "columns") {
    const std::optional<TableView> view = TableView::open(analysis, words[1]);
    if (view) {
      list_columns(*view, out);
      return true;
    }
    *why = no_table(words[1], static_cast<size_t>(words[1].data() - text.data()) + 1);
    return false;
  }
  return parse_query(text, &query, why) && run_query(analysis, query, out, why);
}

}  // namespace mill::prof
