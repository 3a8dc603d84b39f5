#include "profiler/query/groups.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "profiler/query/filter.h"

namespace mill::prof {

namespace {

// Numbers keys in order of first appearance, by open addressing.
class Numbering {
 public:
  explicit Numbering(size_t rows)
      : slots_(std::bit_ceil(std::max<size_t>(16, std::min<size_t>(rows, 1 << 16) * 2))) {}

  uint32_t of(uint64_t key) {
    if (count_ * 2 >= slots_.size()) grow();
    Slot& slot = find(key);
    if (slot.number == 0) slot = {key, ++count_};
    return slot.number - 1;
  }
  uint32_t count() const { return count_; }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t number = 0;  // from 1; 0: free
  };
  Slot& find(uint64_t key) {
    // Where a table lies differs between runs, so nobody can write a trace whose keys collide.
    uint64_t hash = key ^ (reinterpret_cast<uintptr_t>(slots_.data()) >> 4);
    hash *= 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93;
    hash ^= hash >> 32;
    const size_t mask = slots_.size() - 1;
    size_t at = static_cast<size_t>(hash) & mask;
    while (slots_[at].number != 0 && slots_[at].key != key) at = (at + 1) & mask;
    return slots_[at];
  }
  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.number != 0) find(slot.key) = slot;
    }
  }

  std::vector<Slot> slots_;
  uint32_t count_ = 0;
};

long double wide_real(ValueKind kind, Cell cell) {
  if (kind == ValueKind::int64) return static_cast<long double>(cell.i);
  if (kind == ValueKind::uint64) return static_cast<long double>(cell.u);
  return static_cast<long double>(cell.d);
}

// Cells in order of their groups; group g has those from begin[g] to begin[g + 1].
struct Grouped {
  std::vector<uint32_t> begin;
  std::vector<Cell> cells;
};

Grouped by_group(const Values& values, const Groups& groups) {
  Grouped out;
  out.begin.assign(size_t{groups.count()} + 1, 0);
  for (const uint32_t group : groups.of) ++out.begin[group + 1];
  std::partial_sum(out.begin.begin(), out.begin.end(), out.begin.begin());
  out.cells.resize(groups.of.size());
  std::vector<uint32_t> next(out.begin.begin(), out.begin.end() - 1);
  for (size_t k = 0; k < groups.of.size(); ++k) out.cells[next[groups.of[k]]++] = values.cells[k];
  return out;
}

double quantile(ValueKind kind, Cell* first, size_t n, double q) {
  if (n == 0) return 0;
  const auto less = [kind](Cell a, Cell b) { return cell_less(kind, a, b); };
  const double place = q * static_cast<double>(n - 1);
  const auto below = std::min(static_cast<size_t>(place), n - 1);
  std::nth_element(first, first + below, first + n, less);
  const long double low = wide_real(kind, first[below]);
  const double part = place - static_cast<double>(below);
  if (part <= 0 || below + 1 == n) return static_cast<double>(low);
  const long double high = wide_real(kind, *std::min_element(first + below + 1, first + n, less));
  return static_cast<double>(low + static_cast<long double>(part) * (high - low));
}

void quantiles(const Values& values, const Groups& groups, double q, std::vector<Cell>& out) {
  Grouped grouped = by_group(values, groups);
  for (uint32_t g = 0; g < groups.count(); ++g) {
    out[g].d = quantile(values.column->kind, grouped.cells.data() + grouped.begin[g],
                        grouped.begin[g + 1] - grouped.begin[g], q);
  }
}

void sums(const Values& values, const Groups& groups, std::vector<Cell>& out) {
  const ValueKind kind = values.column->kind;
  if (kind == ValueKind::real) {
    std::vector<long double> total(groups.count());
    for (size_t k = 0; k < groups.of.size(); ++k)
      total[groups.of[k]] += static_cast<long double>(values.cells[k].d);
    for (size_t g = 0; g < total.size(); ++g) out[g].d = static_cast<double>(total[g]);
    return;
  }
  std::vector<Wide> total(groups.count());
  for (size_t k = 0; k < groups.of.size(); ++k) {
    const Cell cell = values.cells[k];
    total[groups.of[k]] += kind == ValueKind::int64 ? Wide{cell.i} : Wide{cell.u};
  }
  for (size_t g = 0; g < total.size(); ++g) {
    if (kind == ValueKind::int64) {
      out[g].i = static_cast<int64_t>(std::clamp<Wide>(total[g], INT64_MIN, INT64_MAX));
    } else {
      out[g].u = static_cast<uint64_t>(std::clamp<Wide>(total[g], 0, UINT64_MAX));
    }
  }
}

void means(const Values& values, const Groups& groups, bool deviation, std::vector<Cell>& out) {
  const ValueKind kind = values.column->kind;
  std::vector<long double> mean(groups.count());
  std::vector<uint64_t> count(groups.count());
  for (size_t k = 0; k < groups.of.size(); ++k) {
    mean[groups.of[k]] += wide_real(kind, values.cells[k]);
    ++count[groups.of[k]];
  }
  for (size_t g = 0; g < mean.size(); ++g) {
    if (count[g] > 0) mean[g] /= static_cast<long double>(count[g]);
  }
  if (!deviation) {
    for (size_t g = 0; g < mean.size(); ++g) out[g].d = static_cast<double>(mean[g]);
    return;
  }
  std::vector<long double> squares(groups.count());
  for (size_t k = 0; k < groups.of.size(); ++k) {
    const long double off = wide_real(kind, values.cells[k]) - mean[groups.of[k]];
    squares[groups.of[k]] += off * off;
  }
  for (size_t g = 0; g < mean.size(); ++g) {
    out[g].d =
        count[g] > 1
            ? static_cast<double>(std::sqrt(squares[g] / static_cast<long double>(count[g] - 1)))
            : 0;
  }
}

void extremes(const Values& values, const Groups& groups, bool largest, std::vector<Cell>& out) {
  const ValueKind kind = values.column->kind;
  std::vector<uint8_t> seen(groups.count());
  for (size_t k = 0; k < groups.of.size(); ++k) {
    const uint32_t g = groups.of[k];
    const Cell cell = values.cells[k];
    if (seen[g] == 0 || (largest ? cell_less(kind, out[g], cell) : cell_less(kind, cell, out[g]))) {
      out[g] = cell;
      seen[g] = 1;
    }
  }
}

}  // namespace

Values values_of(const TableView& view, size_t column, const std::vector<uint32_t>& rows) {
  Values out{&view.columns()[column], std::vector<Cell>(rows.size())};
  view.read(column, rows, out.cells.data());
  if (out.column->kind != ValueKind::text || out.column->distinct) return out;
  constexpr uint64_t kUnknown = UINT64_MAX;
  std::vector<uint64_t> same(out.column->ids, kUnknown);
  std::unordered_map<std::string_view, uint64_t> first;
  for (Cell& cell : out.cells) {
    uint64_t& id = same[cell.u];
    if (id == kUnknown) id = first.try_emplace(out.column->text(cell.u), cell.u).first->second;
    cell.u = id;
  }
  return out;
}

bool cell_less(ValueKind kind, Cell a, Cell b) {
  switch (kind) {
    case ValueKind::int64: return a.i < b.i;
    case ValueKind::uint64:
    case ValueKind::text: return a.u < b.u;
    case ValueKind::real: break;
  }
  if (std::isnan(a.d) || std::isnan(b.d)) return !std::isnan(a.d) && std::isnan(b.d);
  return a.d < b.d;
}

void rank_texts(Values& values) {
  std::vector<uint64_t> rank(values.column->ids, 0);
  std::vector<uint64_t> used;
  for (const Cell& cell : values.cells) {
    if (rank[cell.u] == 0) used.push_back(cell.u);
    rank[cell.u] = 1;
  }
  std::sort(used.begin(), used.end(), [&](uint64_t a, uint64_t b) {
    return values.column->text(a) < values.column->text(b);
  });
  for (size_t k = 0; k < used.size(); ++k) rank[used[k]] = k;
  for (Cell& cell : values.cells) cell.u = rank[cell.u];
}

Groups group_rows(const std::vector<Values>& keys, size_t rows) {
  Groups groups;
  groups.of.assign(rows, 0);
  if (keys.empty()) {
    groups.first.assign(1, 0);
    return groups;
  }
  uint64_t count = 1;
  for (const Values& key : keys) {
    Numbering values(rows);
    Numbering pairs(rows);
    const bool real = key.column->kind == ValueKind::real;
    for (size_t k = 0; k < rows; ++k) {
      Cell cell = key.cells[k];
      if (real && cell.d == 0) cell.d = 0;  // -0 is 0
      const uint64_t value = values.of(cell.u);
      groups.of[k] = pairs.of(groups.of[k] | value << 32);
    }
    count = pairs.count();
  }
  if (rows == 0) count = 0;
  groups.first.assign(count, kNoRow);
  for (size_t k = rows; k-- > 0;) groups.first[groups.of[k]] = static_cast<uint32_t>(k);
  return groups;
}

QueryResult::Column aggregate(Aggregate how, const Values& values, const Groups& groups) {
  QueryResult::Column out;
  out.cells.assign(groups.count(), Cell{.i = 0});
  out.name = aggregate_name(how);
  if (how == Aggregate::count) {
    for (const uint32_t group : groups.of) ++out.cells[group].i;
    return out;
  }
  out.name += "(" + values.column->name + ")";
  out.unit = values.column->unit;
  out.kind = values.column->kind;
  switch (how) {
    case Aggregate::sum: sums(values, groups, out.cells); break;
    case Aggregate::min: extremes(values, groups, false, out.cells); break;
    case Aggregate::max: extremes(values, groups, true, out.cells); break;
    default:
      out.kind = ValueKind::real;
      out.cells.assign(groups.count(), Cell{.d = 0});
      if (how == Aggregate::mean) means(values, groups, false, out.cells);
      if (how == Aggregate::stddev) means(values, groups, true, out.cells);
      if (how == Aggregate::median) quantiles(values, groups, 0.5, out.cells);
      if (how == Aggregate::p95) quantiles(values, groups, 0.95, out.cells);
  }
  return out;
}

}  // namespace mill::prof
