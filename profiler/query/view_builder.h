// Makes the columns of a TableView.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "profiler/query/tables.h"

namespace mill::prof {

class ViewBuilder {
 public:
  ViewBuilder(const Analysis& analysis, std::string_view name, uint32_t rows)
      : analysis_(analysis), trace_(analysis.trace()) {
    view_.name_ = name;
    view_.rows_ = rows;
  }

  const Analysis& analysis() const { return analysis_; }
  const Trace& trace() const { return trace_; }

  // A stored column. `table`: whose codes they are.
  template <class Value>
  void stored(std::string_view table, const ColumnInfo& info, const std::vector<Value>& column);

  // get(row) of a table without text.
  template <class Get>
  void integers(std::string name, Unit unit, bool optional, Get get) {
    add(std::move(name), unit, ValueKind::int64).optional = optional;
    last().read = [get](const uint32_t* rows, size_t n, Cell* to) {
      for (size_t k = 0; k < n; ++k) to[k].i = static_cast<int64_t>(get(rows[k]));
    };
  }
  template <class Get>
  void naturals(std::string name, Unit unit, Get get) {
    add(std::move(name), unit, ValueKind::uint64);
    last().read = [get](const uint32_t* rows, size_t n, Cell* to) {
      for (size_t k = 0; k < n; ++k) to[k].u = static_cast<uint64_t>(get(rows[k]));
    };
  }
  template <class Get>
  void reals(std::string name, Unit unit, Get get) {
    add(std::move(name), unit, ValueKind::real);
    last().read = [get](const uint32_t* rows, size_t n, Cell* to) {
      for (size_t k = 0; k < n; ++k) to[k].d = static_cast<double>(get(rows[k]));
    };
  }
  // A text for each row: get(row) is what can be viewed as text and outlives the view.
  template <class Get>
  void texts(std::string name, Get get) {
    Column& column = add(std::move(name), Unit::string, ValueKind::text);
    column.ids = view_.rows_;
    column.distinct = false;
    column.read = [](const uint32_t* rows, size_t n, Cell* to) {
      for (size_t k = 0; k < n; ++k) to[k].u = rows[k];
    };
    column.text = [get](uint64_t id) {
      const auto text = std::string_view(get(static_cast<uint32_t>(id)));
      return text.data() != nullptr ? text : std::string_view("");
    };
  }
  // get(row) is an id of the trace's strings.
  template <class Get>
  void interned(std::string name, Get get) {
    Column& column = add(std::move(name), Unit::string, ValueKind::text);
    const Strings* strings = &trace_.strings;
    column.ids = strings->size();
    column.read = [get, ids = strings->size()](const uint32_t* rows, size_t n, Cell* to) {
      for (size_t k = 0; k < n; ++k) {
        const uint32_t id = get(rows[k]);
        to[k].u = id < ids ? id : 0;
      }
    };
    column.text = [strings](uint64_t id) { return strings->text(static_cast<uint32_t>(id)); };
  }

  // ---- columns that follow from others ----
  template <class Start, class End>
  void duration(Start start, End end) {
    integers("duration_ns", Unit::ns, false,
             [=](uint32_t row) { return difference(end(row), start(row)); });
  }
  // get(row): an index of a device, stream or thread.
  template <class Get>
  void device_name(Get get) {
    Column& column = add("device_name", Unit::string, ValueKind::text);
    const std::vector<DeviceInfo>* devices = &trace_.devices;
    column.ids = devices->size() + 1;
    column.distinct = false;
    column.read = [get, count = devices->size()](const uint32_t* rows, size_t n, Cell* to) {
      for (size_t k = 0; k < n; ++k) {
        const uint32_t device = get(rows[k]);
        to[k].u = device < count ? device + uint64_t{1} : 0;
      }
    };
    column.text = [devices](uint64_t id) {
      return id > 0 ? std::string_view((*devices)[id - 1].name) : std::string_view("");
    };
  }
  template <class Get>
  void stream_number(Get get) {
    integers("stream_number", Unit::none, true,
             [get, streams = &trace_.streams](uint32_t row) -> int64_t {
               const uint32_t k = get(row);
               return k < streams->size() ? clamped((*streams)[k].number) : -1;
             });
  }
  template <class Get>
  void thread_number(Get get) {
    integers("thread_number", Unit::none, true,
             [get, threads = &trace_.threads](uint32_t row) -> int64_t {
               const uint32_t k = get(row);
               return k < threads->size() ? clamped((*threads)[k].number) : -1;
             });
  }
  // get(row): an instant; the index of its step, and the step's own number.
  template <class Get>
  void step_of(Get get) {
    const Timeline* timeline = analysis_.timeline.get();
    integers("step_index", Unit::none, true, [get, timeline](uint32_t row) -> int64_t {
      const uint32_t step = timeline->step_at(get(row));
      return step < timeline->steps().size() ? int64_t{step} : -1;
    });
    integers("step_number", Unit::none, true, [get, timeline](uint32_t row) -> int64_t {
      const uint32_t step = timeline->step_at(get(row));
      return step < timeline->steps().size() ? timeline->steps()[step].number : -1;
    });
  }
  void choose(std::vector<uint32_t> rows) {
    view_.rows_ = static_cast<uint32_t>(rows.size());
    view_.chosen_ = std::make_shared<const std::vector<uint32_t>>(std::move(rows));
  }
  TableView take() {
    integers("row", Unit::none, false, [](uint32_t row) { return row; });
    return std::move(view_);
  }

  static int64_t difference(int64_t to, int64_t from) {
    int64_t out = 0;
    if (!__builtin_sub_overflow(to, from, &out)) return out;
    return to < from ? INT64_MIN : INT64_MAX;
  }
  static int64_t clamped(uint64_t value) {
    return value > INT64_MAX ? INT64_MAX : static_cast<int64_t>(value);
  }

 private:
  Column& add(std::string name, Unit unit, ValueKind kind) {
    Column& column = view_.columns_.emplace_back();
    column.name = std::move(name);
    column.unit = unit;
    column.kind = kind;
    return column;
  }
  Column& last() { return view_.columns_.back(); }

  const Analysis& analysis_;
  const Trace& trace_;
  TableView view_;
};

template <class Value>
void ViewBuilder::stored(std::string_view table, const ColumnInfo& info,
                         const std::vector<Value>& column) {
  const Value* data = column.data();
  if constexpr (std::is_floating_point_v<Value>) {
    reals(info.name, info.unit, [data](uint32_t row) { return data[row]; });
  } else if constexpr (std::is_same_v<Value, uint64_t>) {
    naturals(info.name, info.unit, [data](uint32_t row) { return data[row]; });
  } else if constexpr (std::is_same_v<Value, uint32_t>) {
    const Unit unit = info.unit;
    if (unit == Unit::string) {
      interned(info.name, [data](uint32_t row) { return data[row]; });
      return;
    }
    const bool link =
        unit == Unit::row || unit == Unit::device || unit == Unit::stream || unit == Unit::thread;
    integers(info.name, unit, link, [data, link](uint32_t row) {
      return link && data[row] == kNoRow ? int64_t{-1} : int64_t{data[row]};
    });
  } else if constexpr (std::is_same_v<Value, uint8_t>) {
    if (info.unit != Unit::code) {
      integers(info.name, info.unit, false, [data](uint32_t row) { return data[row]; });
      return;
    }
    Column& added = add(info.name, Unit::code, ValueKind::text);
    added.ids = 256;
    added.distinct = false;  // unknown codes have no text
    added.read = [data](const uint32_t* rows, size_t n, Cell* to) {
      for (size_t k = 0; k < n; ++k) to[k].u = data[rows[k]];
    };
    added.text = [table, name = std::string_view(info.name)](uint64_t id) {
      const std::string_view text = code_text(table, name, static_cast<uint32_t>(id));
      return text.empty() ? std::string_view("") : text;
    };
  } else {
    integers(info.name, info.unit, false, [data](uint32_t row) { return data[row]; });
  }
}

// Tables that are no tables of the trace: view_results.cpp. Nothing for another name.
std::optional<TableView> open_result(const Analysis& analysis, std::string_view name);

}  // namespace mill::prof
