#include <algorithm>
#include <array>
#include <utility>

#include "profiler/query/lexer.h"
#include "profiler/query/query.h"

namespace mill::prof {

namespace {

constexpr std::array<std::pair<std::string_view, Aggregate>, 8> kAggregates = {
    {{"count", Aggregate::count},
     {"sum", Aggregate::sum},
     {"min", Aggregate::min},
     {"max", Aggregate::max},
     {"mean", Aggregate::mean},
     {"median", Aggregate::median},
     {"p95", Aggregate::p95},
     {"stddev", Aggregate::stddev}}};

constexpr std::array<std::string_view, 12> kKeywords = {
    "select", "from", "where", "group", "order", "by", "limit", "and", "or", "not", "asc", "desc"};

bool is_keyword(std::string_view word) {
  return std::find(kKeywords.begin(), kKeywords.end(), word) != kKeywords.end();
}

class Parser {
 public:
  Parser(std::string_view text, Query* out, std::string* why)
      : lexer_(text), query_(*out), why_(*why) {}

  bool run() {
    if (!advance()) return false;
    bool seen[5] = {};
    while (token_.kind != Token::Kind::end) {
      if (is(";")) {
        if (!advance()) return false;
        if (token_.kind == Token::Kind::end) break;
        return expected("the end of the query");
      }
      constexpr std::array<std::string_view, 5> kClauses = {"select", "from", "where", "group",
                                                            "order"};
      const auto clause = token_.kind == Token::Kind::word
                              ? std::find(kClauses.begin(), kClauses.end(), token_.text)
                              : kClauses.end();
      if (clause == kClauses.end()) {
        if (!is_word("limit")) return expected("select, from, where, group by, order by or limit");
        if (limited_) return fail(token_.at, "a second limit");
        if (!limit()) return false;
        continue;
      }
      const auto k = static_cast<size_t>(clause - kClauses.begin());
      if (seen[k]) return fail(token_.at, "a second " + std::string(*clause));
      seen[k] = true;
      if (!advance()) return false;
      const bool fine = k == 0   ? select()
                        : k == 1 ? from()
                        : k == 2 ? where()
                        : k == 3 ? group()
                                 : order();
      if (!fine) return false;
    }
    if (!seen[1]) return expected("from and a table");
    return true;
  }

 private:
  bool fail(size_t at, std::string_view sentence) {
    why_ = error_at(at, sentence);
    return false;
  }
  bool expected(std::string_view what) {
    std::string sentence = "expected " + std::string(what) + ", found ";
    if (token_.kind == Token::Kind::end) {
      sentence += "the end";
    } else {
      sentence += '"';
      for (const char c : token_.written.substr(0, 40)) sentence += c >= 0x20 && c < 0x7F ? c : '?';
      sentence += '"';
    }
    return fail(token_.at, sentence);
  }
  bool advance() { return lexer_.next(&token_, &why_); }
  bool is(std::string_view symbol) const {
    return token_.kind == Token::Kind::symbol && token_.text == symbol;
  }
  bool is_word(std::string_view word) const {
    return token_.kind == Token::Kind::word && token_.text == word;
  }
  bool accept_word(std::string_view word, bool* found) {
    *found = is_word(word);
    return !*found || advance();
  }

  // A name: a word that is no keyword, or anything in double quotes.
  bool name(std::string_view what, std::string* out) {
    if (token_.kind == Token::Kind::word && is_keyword(token_.text)) {
      std::string wanted(what);
      return expected(wanted + " (a name like a keyword goes in double quotes)");
    }
    if (token_.kind == Token::Kind::text) {
      std::string wanted(what);
      return expected(wanted + " (single quotes are for texts)");
    }
    if (token_.kind != Token::Kind::word && token_.kind != Token::Kind::name) return expected(what);
    *out = token_.text;
    return advance();
  }

  bool item(QueryItem* out) {
    out->at = token_.at;
    const bool plain = token_.kind == Token::Kind::word;
    if (!name("a column or an aggregate", &out->column)) return false;
    if (!plain) return true;
    const auto aggregate = std::find_if(kAggregates.begin(), kAggregates.end(),
                                        [&](const auto& one) { return one.first == out->column; });
    if (aggregate == kAggregates.end()) {
      if (!is("(")) return true;
      return fail(out->at, "no aggregate \"" + out->column.substr(0, 40) +
                               "\"; there are count, sum, min, max, mean, median, p95, stddev");
    }
    out->aggregate = aggregate->second;
    if (out->aggregate == Aggregate::count) {
      out->column.clear();
      if (!is("(")) return true;
      if (!advance()) return false;
      if (is("*") && !advance()) return false;
    } else {
      if (!is("(")) return expected("( and a column after " + out->column);
      if (!advance()) return false;
      out->at = token_.at;
      if (!name("a column", &out->column)) return false;
    }
    if (!is(")")) return expected(")");
    return advance();
  }

  template <class F>
  bool list(std::vector<QueryItem>* items, F&& one) {
    while (true) {
      if (items->size() == kMaxQueryItems)
        return fail(token_.at, "more than " + std::to_string(kMaxQueryItems) + " items");
      QueryItem next;
      if (!one(&next)) return false;
      items->push_back(std::move(next));
      if (!is(",")) return true;
      if (!advance()) return false;
    }
  }

  bool select() {
    if (is("*")) {
      query_.select_all = true;
      if (!advance()) return false;
      if (!is(",")) return true;
      if (!advance()) return false;
    }
    return list(&query_.select, [&](QueryItem* one) { return item(one); });
  }

  bool from() {
    query_.table_at = token_.at;
    return name("a table", &query_.table);
  }

  bool by(std::string_view word) {
    bool found = false;
    if (!accept_word("by", &found)) return false;
    return found || expected("by after " + std::string(word));
  }

  bool group() {
    return by("group") && list(&query_.group, [&](QueryItem* one) {
             one->at = token_.at;
             return name("a column", &one->column);
           });
  }

  bool order() {
    return by("order") && list(&query_.order, [&](QueryItem* one) {
             const bool minus = is("-");
             if (minus && !advance()) return false;
             if (!item(one)) return false;
             bool ascending = false;
             bool descending = false;
             if (!accept_word("asc", &ascending)) return false;
             if (!ascending && !accept_word("desc", &descending)) return false;
             one->descending = minus != descending;
             return true;
           });
  }

  bool limit() {
    limited_ = true;
    if (!advance()) return false;
    if (token_.kind != Token::Kind::number || !token_.number.exact ||
        token_.number.measure != Measure::none)
      return expected("a whole number after limit");
    query_.limit = token_.number.magnitude;
    return advance();
  }

  bool where() {
    uint32_t root = 0;
    if (!any(0, &root)) return false;
    // The root is last: children are complete before their parent is added.
    return true;
  }

  bool add(Condition condition, uint32_t* out) {
    query_.where.push_back(std::move(condition));
    *out = static_cast<uint32_t>(query_.where.size() - 1);
    return true;
  }

  template <class F>
  bool joined(std::string_view word, Condition::Kind kind, F&& part, uint32_t* out) {
    Condition all;
    all.kind = kind;
    while (true) {
      uint32_t child = 0;
      if (!part(&child)) return false;
      all.children.push_back(child);
      bool more = false;
      if (!accept_word(word, &more)) return false;
      if (!more) break;
    }
    if (all.children.size() == 1) {
      *out = all.children.front();
      return true;
    }
    return add(std::move(all), out);
  }

  bool any(int depth, uint32_t* out) {
    return joined(
        "or", Condition::Kind::any,
        [&](uint32_t* child) {
          return joined(
              "and", Condition::Kind::all,
              [&](uint32_t* grandchild) { return single(depth, grandchild); }, child);
        },
        out);
  }

  bool single(int depth, uint32_t* out) {
    if (is("(") || is_word("not")) {
      if (depth == kMaxQueryNesting)
        return fail(token_.at, "nested more than " + std::to_string(kMaxQueryNesting) + " deep");
      const bool negated = is_word("not");
      if (!advance()) return false;
      if (negated) {
        Condition none;
        none.kind = Condition::Kind::none_of;
        uint32_t child = 0;
        if (!single(depth + 1, &child)) return false;
        none.children.push_back(child);
        return add(std::move(none), out);
      }
      if (!any(depth + 1, out)) return false;
      if (!is(")")) return expected("and, or or )");
      return advance();
    }
    return compare(out);
  }

  bool compare(uint32_t* out) {
    constexpr std::array<std::pair<std::string_view, Comparison>, 8> kSymbols = {
        {{"=", Comparison::equal},
         {"!=", Comparison::not_equal},
         {"<", Comparison::less},
         {"<=", Comparison::at_most},
         {">", Comparison::more},
         {">=", Comparison::at_least},
         {"~", Comparison::has},
         {"!~", Comparison::has_not}}};
    Condition condition;
    condition.at = token_.at;
    if (!name("a column", &condition.column)) return false;
    const auto symbol = std::find_if(kSymbols.begin(), kSymbols.end(),
                                     [&](const auto& one) { return is(one.first); });
    if (symbol == kSymbols.end()) return expected("=, !=, <, <=, >, >=, ~ or !~");
    condition.comparison = symbol->second;
    if (!advance()) return false;
    const size_t at = token_.at;
    const bool negative = is("-");
    if (negative && !advance()) return false;
    if (token_.kind == Token::Kind::number) {
      condition.literal = token_.number;
      condition.literal.negative = negative;
      if (negative) condition.literal.real = -condition.literal.real;
    } else if (token_.kind == Token::Kind::text && !negative) {
      condition.literal.is_text = true;
      condition.literal.text = token_.text;
    } else {
      return expected(negative ? "a number" : "a number, or a text in single quotes");
    }
    condition.literal.at = at;
    if (!advance()) return false;
    return add(std::move(condition), out);
  }

  Lexer lexer_;
  Query& query_;
  std::string& why_;
  Token token_;
  bool limited_ = false;
};

// Single-character edits and swaps of neighbours that make one of the other (Damerau and
// Levenshtein, restricted); names are short.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1,
                          d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? size_t{0} : size_t{1})});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

const char* aggregate_name(Aggregate aggregate) {
  for (const auto& [name, value] : kAggregates) {
    if (value == aggregate) return name.data();
  }
  return "";
}

std::string suggestion(std::string_view name, const std::vector<std::string_view>& names) {
  if (name.empty() || name.size() > 64) return {};
  std::string_view best;
  size_t least = SIZE_MAX;
  for (const std::string_view candidate : names) {
    size_t steps = distance(name, candidate);
    // What somebody leaves out at the end, such as a unit, is no misspelling.
    if (candidate.size() > name.size() && name.size() >= 3)
      steps = std::min(steps, 1 + distance(name, candidate.substr(0, candidate.find('_'))));
    if (steps < least) {
      least = steps;
      best = candidate;
    }
  }
  if (least > std::max<size_t>(1, name.size() / 3)) return {};
  return "; did you mean \"" + std::string(best) + "\"?";
}

bool parse_query(std::string_view text, Query* out, std::string* why) {
  *out = Query{};
  if (text.size() > kMaxQueryBytes) {
    *why = "at " + std::to_string(kMaxQueryBytes + 1) + ": a query has at most " +
           std::to_string(kMaxQueryBytes) + " bytes";
    return false;
  }
  return Parser(text, out, why).run();
}

}  // namespace mill::prof
