// Which events the page gets, and their columns.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "profiler/export/html_events.h"

namespace mill::prof::html {

namespace {

// Which neighbours are merged: both shorter than `below`, with less than that between them, and
// nothing longer than kBlock times that comes of it, so that what is lost is local.
struct Rule {
  int64_t below = 0;    // ns
  bool mixed = false;   // of different looks too
  bool pinned = false;  // evidence too
};
constexpr int64_t kBlock = 16;

struct OpenBlock {
  uint32_t row = kNoRow;  // its first
  uint32_t place = 0;
  int64_t begin = 0;
  int64_t end = 0;
  uint8_t look = 0;
};

// Calls place(row, joins, block): whether the row joins the block at the end of its lane, or starts
// one.
template <class Place>
void walk(const Events& events, const Rule& rule, std::vector<OpenBlock>& open, Place&& place) {
  std::fill(open.begin(), open.end(), OpenBlock{});
  for (uint32_t row = 0; row < events.rows(); ++row) {
    if (events.lane[row] == kNoRow) continue;
    OpenBlock& block = open[events.lane[row]];
    const int64_t end = events.start[row] + events.length[row];
    const bool small = events.length[row] < rule.below && (rule.pinned || !events.pinned[row]);
    const bool joins = small && block.row != kNoRow && events.start[row] >= block.begin &&
                       events.start[row] - block.end < rule.below &&
                       end - block.begin < kBlock * rule.below &&
                       (rule.mixed || events.look[row] == block.look);
    place(row, joins, block);
    if (joins) {
      block.end = std::max(block.end, end);
    } else if (small) {
      block.row = row;
      block.begin = events.start[row];
      block.end = end;
      block.look = events.look[row];
    } else {
      block.row = kNoRow;
    }
  }
}

uint64_t count_kept(const Scene& scene, const Rule& rule, std::vector<OpenBlock>& open) {
  uint64_t kept = 0;
  for (const Events& events : scene.tables) {
    walk(events, rule, open, [&](uint32_t, bool joins, OpenBlock&) { kept += joins ? 0 : 1; });
  }
  return kept;
}

// The gentlest rule that leaves no more than `target`, or the roughest one.
Rule find_rule(const Scene& scene, uint64_t target, std::vector<OpenBlock>& open) {
  Rule rule;
  if (scene.drawable <= target) return rule;
  for (const auto& [mixed, pinned] : {std::pair{false, false}, {true, false}, {true, true}}) {
    rule.mixed = mixed;
    rule.pinned = pinned;
    rule.below = 128;
    // kBlock times it must stay far from the largest number.
    while (rule.below < int64_t{1} << 56 && count_kept(scene, rule, open) > target) {
      rule.below *= 2;
    }
    if (rule.below < int64_t{1} << 56) break;
  }
  int64_t low = rule.below / 2;
  int64_t high = rule.below;
  for (int k = 0; k < 4 && high < int64_t{1} << 56; ++k) {
    rule.below = low + (high - low) / 2;
    (count_kept(scene, rule, open) > target ? low : high) = rule.below;
  }
  rule.below = high;
  return rule;
}

void keep_rows(Events& events, const Rule& rule, std::vector<OpenBlock>& open) {
  events.kept.clear();
  events.kept_length.clear();
  events.kept_count.clear();
  events.kept_look.clear();
  events.kept_label.clear();
  events.kept_as.assign(events.rows(), kNoRow);
  walk(events, rule, open, [&](uint32_t row, bool joins, OpenBlock& block) {
    if (!joins) {
      block.place = static_cast<uint32_t>(events.kept.size());
      events.kept.push_back(row);
      events.kept_length.push_back(events.length[row]);
      events.kept_count.push_back(1);
      events.kept_look.push_back(events.look[row]);
      events.kept_label.push_back(events.label[row]);
    } else {
      const uint32_t place = block.place;
      const int64_t end = std::max(block.end, events.start[row] + events.length[row]);
      events.kept_length[place] = end - block.begin;
      ++events.kept_count[place];
      if (events.look[row] != events.kept_look[place]) {
        events.kept_look[place] = static_cast<uint8_t>(Look::mixed);
      }
      if (events.label[row] != events.kept_label[place]) events.kept_label[place] = 0;
    }
    events.kept_as[row] = block.place;
  });
}

// The table that a column of row numbers refers to.
TableId target_table(std::string_view column) {
  if (column == "call") return TableId::calls;
  if (column == "work" || column == "next") return TableId::work;
  if (column == "copy") return TableId::copies;
  return TableId::ops;  // op, parent, forward_op
}

bool is_length(std::string_view column) {
  return column == "wait" || column == "loader_wait";
}

// One column of the kept rows, as the page's numbers.
class ColumnMaker {
 public:
  ColumnMaker(const Scene& scene, const Events& events, const std::vector<uint32_t>& string_ids)
      : scene_(scene), events_(events), string_ids_(string_ids) {}

  template <class Value>
  Column make(const ColumnInfo& info, const std::vector<Value>& from) {
    if constexpr (std::is_floating_point_v<Value>) {
      std::vector<Value> values;
      values.reserve(events_.kept.size());
      for (const uint32_t row : events_.kept) values.push_back(from[row]);
      if constexpr (sizeof(Value) == 4)
        return pack_floats(info.name, info.unit, values);
      else
        return pack_doubles(info.name, info.unit, values);
    } else {
      const std::string_view name = info.name;
      const bool time = info.unit == Unit::ns && !is_length(name);
      const Events* target = info.unit == Unit::row ? scene_.table(target_table(name)) : nullptr;
      values_.clear();
      values_.reserve(events_.kept.size());
      for (const uint32_t row : events_.kept) {
        values_.push_back(time ? relative(static_cast<int64_t>(from[row]), row)
                               : value(info.unit, target, from[row]));
      }
      Column column =
          pack_integers(name, info.unit, values_, info.unit == Unit::row || name == "correlation");
      if (time) column.relation = "start";
      if (target != nullptr) column.relation = target->name;
      return column;
    }
  }

 private:
  int64_t relative(int64_t time, uint32_t row) const {
    return time == 0 ? kUnknownTime : scene_.since_origin(time) - events_.start[row];
  }

  template <class Value>
  int64_t value(Unit unit, const Events* target, Value v) const {
    const auto number = static_cast<uint64_t>(v);
    switch (unit) {
      case Unit::row:
        if (target == nullptr || number >= target->kept_as.size()) return -1;
        return target->kept_as[number] == kNoRow ? -1 : int64_t{target->kept_as[number]};
      case Unit::device:
      case Unit::stream:
      case Unit::thread: return number == kNoRow ? -1 : static_cast<int64_t>(number);
      case Unit::string: return number < string_ids_.size() ? int64_t{string_ids_[number]} : 0;
      default: return static_cast<int64_t>(v);
    }
  }

  const Scene& scene_;
  const Events& events_;
  const std::vector<uint32_t>& string_ids_;
  std::vector<int64_t> values_;
};

template <class T>
Column core_column(const char* name, Unit unit, const std::vector<T>& values,
                   bool ascending = false) {
  const std::vector<int64_t> numbers(values.begin(), values.end());
  Column column = pack_integers(name, unit, numbers, ascending);
  column.core = true;
  return column;
}

std::vector<Column> gap_columns(const Analysis& analysis, const Scene& scene,
                                const Events& events) {
  std::vector<Column> columns;
  std::vector<int64_t> values;
  const auto add = [&](const std::string& name, Unit unit, TableId target, auto&& get) {
    const Events* rows = scene.table(target);
    values.clear();
    for (const uint32_t row : events.kept) {
      int64_t value = get(analysis.gaps[row]);
      if (rows != nullptr) {
        const auto number = static_cast<uint64_t>(value);
        const bool known = number < rows->kept_as.size() && rows->kept_as[number] != kNoRow;
        value = known ? int64_t{rows->kept_as[number]} : -1;
      }
      values.push_back(value);
    }
    columns.push_back(pack_integers(name, unit, values, rows != nullptr));
    if (rows != nullptr) columns.back().relation = rows->name;
  };
  add("next", Unit::row, TableId::work, [](const Gap& gap) { return int64_t{gap.next}; });
  add("op", Unit::row, TableId::ops, [](const Gap& gap) { return int64_t{gap.op}; });
  for (int cause = 0; cause < kGapCauses; ++cause) {
    add(gap_cause_name(static_cast<GapCause>(cause)), Unit::ns, TableId::none,
        [&](const Gap& gap) { return gap.causes[cause]; });
  }
  return columns;
}

// Calls f(table) with the trace's table that the events are rows of.
template <class F>
void with_table(const Analysis& analysis, const Events& events, F&& f) {
  for_each_table(analysis.trace(), [&](const char* name, const auto& table) {
    if (events.name == name) f(table);
  });
}

}  // namespace

void keep(Scene& scene, uint64_t target) {
  std::vector<OpenBlock> open(scene.lanes.size());
  const Rule rule = find_rule(scene, target, open);
  scene.kept = 0;
  scene.merged = 0;
  scene.merged_below = rule.below;
  for (Events& events : scene.tables) {
    keep_rows(events, rule, open);
    scene.kept += events.kept.size();
    for (const uint32_t count : events.kept_count) scene.merged += count > 1 ? count : 0;
  }
  if (scene.merged == 0) scene.merged_below = 0;
}

void keep_nothing(Scene& scene) {
  scene.kept = 0;
  scene.merged = 0;
  for (Events& events : scene.tables) {
    events.kept.clear();
    events.kept_length.clear();
    events.kept_count.clear();
    events.kept_look.clear();
    events.kept_label.clear();
    events.kept_as.assign(events.rows(), kNoRow);
  }
}

std::vector<Column> core_columns(const Events& events, const std::vector<uint32_t>& string_ids) {
  std::vector<int64_t> starts;
  std::vector<uint32_t> lanes;
  std::vector<uint32_t> labels;
  for (size_t k = 0; k < events.kept.size(); ++k) {
    const uint32_t row = events.kept[k];
    starts.push_back(events.start[row]);
    lanes.push_back(events.lane[row]);
    const uint32_t label = events.kept_label[k];
    labels.push_back(label < string_ids.size() ? string_ids[label] : 0);
  }
  std::vector<Column> columns;
  columns.push_back(core_column("start", Unit::ns, starts, true));
  columns.push_back(core_column("length", Unit::ns, events.kept_length));
  columns.push_back(core_column("lane", Unit::none, lanes));
  columns.push_back(core_column("look", Unit::none, events.kept_look));
  columns.push_back(core_column("label", Unit::string, labels));
  columns.push_back(core_column("count", Unit::none, events.kept_count));
  return columns;
}

std::vector<Column> other_columns(const Analysis& analysis, const Scene& scene,
                                  const Events& events, const std::vector<uint32_t>& string_ids) {
  if (events.name == "gaps") return gap_columns(analysis, scene, events);
  std::vector<Column> columns;
  with_table(analysis, events, [&](const auto& table) {
    using T = std::remove_cvref_t<decltype(table)>;
    ColumnMaker maker(scene, events, string_ids);
    T::visit(table, [&](const ColumnInfo& info, const auto& column) {
      const std::string_view name = info.name;
      // What the core has already.
      if (name == "start" || name == "end" || name == "name") return;
      columns.push_back(maker.make(info, column));
    });
  });
  return columns;
}

void mark_strings(const Analysis& analysis, const Scene& scene, bool all_columns,
                  std::vector<bool>& used) {
  const auto mark = [&](uint32_t id) {
    if (id < used.size()) used[id] = true;
  };
  for (const Events& events : scene.tables) {
    for (const uint32_t label : events.kept_label) mark(label);
    if (!all_columns) continue;
    with_table(analysis, events, [&](const auto& table) {
      using T = std::remove_cvref_t<decltype(table)>;
      T::visit(table, [&](const ColumnInfo& info, const auto& column) {
        using Value = typename std::remove_cvref_t<decltype(column)>::value_type;
        if constexpr (std::is_same_v<Value, uint32_t>) {
          if (info.unit != Unit::string || std::string_view(info.name) == "name") return;
          for (const uint32_t row : events.kept) mark(column[row]);
        }
      });
    });
  }
}

}  // namespace mill::prof::html
