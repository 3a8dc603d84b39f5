#include "profiler/timeline/order.h"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <vector>

#include "profiler/timeline/rows.h"

namespace mill::prof {

namespace {

// The table's times between the limits, its links empty, its devices, streams and threads valid.
// Threads that do not exist become `stray`; says whether there were any.
template <class T>
bool make_safe(T& table, size_t devices, size_t streams, size_t threads, uint32_t stray) {
  bool strays = false;
  T::visit(table, [&](const ColumnInfo& info, auto& column) {
    using Element = typename std::remove_reference_t<decltype(column)>::value_type;
    if constexpr (std::is_same_v<Element, int64_t>) {
      if (info.unit == Unit::ns) {
        for (Ns& t : column) t = std::clamp(t, kFirstTime, kLastTime);
      }
    } else if constexpr (std::is_same_v<Element, uint32_t>) {
      if (info.unit == Unit::row) std::fill(column.begin(), column.end(), kNoRow);
      for (uint32_t& index : column) {
        if (info.unit == Unit::device && index >= devices) index = kNoRow;
        if (info.unit == Unit::stream && index >= streams) index = kNoRow;
        if (info.unit == Unit::thread && index >= threads) {
          index = stray;
          strays = true;
        }
      }
    }
  });
  return strays;
}

struct SortKey {
  uint64_t group;
  Ns first;
  Ns second;
  uint64_t third;
  uint64_t fourth;
  uint32_t row;  // makes the order stable
  bool operator<(const SortKey& other) const {
    return std::tie(group, first, second, third, fourth, row) <
           std::tie(other.group, other.first, other.second, other.third, other.fourth, other.row);
  }
};

template <class T, class F>
void sort_rows(T& table, F&& key_of) {
  std::vector<SortKey> keys(table.size());
  for (uint32_t row = 0; row < table.size(); ++row) {
    keys[row] = key_of(row);
    keys[row].row = row;
  }
  if (std::is_sorted(keys.begin(), keys.end())) return;
  std::sort(keys.begin(), keys.end());
  std::vector<uint32_t> order(keys.size());
  for (size_t k = 0; k < keys.size(); ++k) order[k] = keys[k].row;
  table.permute(order);
}

// What starts together: the longer first, so that outer rows come before inner ones.
template <class T>
void sort_nested(T& table, const std::vector<uint64_t>& tie) {
  sort_rows(table, [&](uint32_t row) {
    return SortKey{0, table.start[row], -table.end[row], table.thread[row], tie[row], 0};
  });
}

template <class T>
void sort_plain(T& table) {
  sort_rows(table,
            [&](uint32_t row) { return SortKey{0, table.start[row], -table.end[row], 0, 0, 0}; });
}

}  // namespace

void make_safe(Trace& trace) {
  const size_t devices = trace.devices.size();
  for (StreamInfo& stream : trace.streams) {
    if (stream.device >= devices) stream.device = kNoRow;
  }
  const size_t threads = trace.threads.size();
  const auto stray_thread = static_cast<uint32_t>(threads);
  bool strays = false;
  for_each_table(trace, [&](const char*, auto& table) {
    strays |= make_safe(table, devices, trace.streams.size(), threads, stray_thread);
  });
  if (strays) trace.threads.push_back({UINT64_MAX, UINT64_MAX, "unknown thread"});
  for (Interval& span : trace.recorded) {
    span.begin = std::clamp(span.begin, kFirstTime, kLastTime);
    span.end = std::clamp(span.end, kFirstTime, kLastTime);
  }

  // Work is always somewhere: by its stream, else on a device of its own kind of nowhere.
  const auto stray_device = static_cast<uint32_t>(devices);
  Work& work = trace.work;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.device[row] != kNoRow) continue;
    if (work.stream[row] != kNoRow) work.device[row] = trace.streams[work.stream[row]].device;
    if (work.device[row] != kNoRow) continue;
    work.device[row] = stray_device;
    if (trace.devices.size() == devices) {
      trace.devices.emplace_back().number = UINT64_MAX;
      trace.devices.back().name = "unknown device";
      trace.devices.back().kind = DeviceKind::unknown;
    }
  }
}

void sort_tables(Trace& trace) {
  sort_nested(trace.ops, trace.ops.instance);
  sort_nested(trace.calls, trace.calls.correlation);
  const Work& work = trace.work;
  sort_rows(trace.work, [&](uint32_t row) {
    return SortKey{work.device[row],
                   work.start[row],
                   work.end[row],
                   work.correlation[row],
                   (uint64_t{work.stream[row]} << 32) | work.name[row],
                   0};
  });
  sort_nested(trace.copies, trace.copies.tensor);
  sort_nested(trace.syncs, trace.syncs.tensor);
  sort_nested(trace.allocations, trace.allocations.storage);
  sort_nested(trace.loader, trace.loader.bytes);
  sort_plain(trace.marked_steps);
  sort_plain(trace.ranges);
  sort_plain(trace.overheads);
  sort_plain(trace.managed);
  sort_rows(trace.counters, [&](uint32_t row) {
    return SortKey{
        0, trace.counters.time[row], 0, trace.counters.name[row], trace.counters.device[row], 0};
  });
}

}  // namespace mill::prof
