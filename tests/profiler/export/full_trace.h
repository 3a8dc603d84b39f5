// A trace that uses all that a trace can hold.
#pragma once

#include <cstdint>
#include <iterator>
#include <random>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "profiler/builder.h"

namespace mill::prof::test {

// A trace with something in every column of every table.
inline Trace full_trace(uint64_t seed) {
  std::mt19937_64 random(seed);
  Builder b;
  b.device(3);
  b.thread(99);
  // As writers have them who know of no process, or number threads by an address.
  b.trace.thread(UINT64_MAX, 0);
  b.trace.thread(uint64_t{1} << 20, (uint64_t{1} << 46) + 256);
  Trace& t = b.trace;
  t.cut_off = true;
  t.whole_graphs = true;
  t.has_device_clock = false;
  t.skipped = 3;
  t.other_clock = 6;
  t.unfinished = 4;
  t.own_cost = {0.0125, 1e-3, 45.5, 0.02};
  t.losses = {{"device 1", 5}, {"store", UINT64_MAX}};
  t.notes = {"one \"note\"", "another\nnote"};
  t.recorded = {{-5, 1000000}, {2000000, int64_t{1} << 61}};
  t.devices[0] = {0,       "a \\ name", "described", DeviceKind::cpu,
                  true,    3,           8,           uint64_t{1} << 63,
                  3.35e12, 0.1,         1e9 / 3,     5,
                  4,       5,           8,           16};
  t.threads[0].name = "main\tthread";
  // Of any device, of none, and with a number that no viewer holds.
  const uint32_t streams[] = {t.stream(0, 0), t.stream(1, 7),      t.stream(0, 7),
                              t.stream(1, 0), t.stream(kNoRow, 7), t.stream(1, uint64_t{1} << 40)};
  t.streams[0].legacy_default = true;
  t.streams[1].name = "copies";
  const uint32_t names[] = {0, t.strings.intern("x"), t.strings.intern("\"y\""),
                            t.strings.intern("\xE2\x82\xAC")};
  for_each_table(t, [&](const char*, auto& table) {
    using T = std::remove_reference_t<decltype(table)>;
    for (int k = 0; k < 40; ++k) table.add();
    std::vector<int64_t> starts(40);
    T::visit(table, [&](const ColumnInfo& info, auto& column) {
      using V = typename std::remove_reference_t<decltype(column)>::value_type;
      const std::string_view name = info.name;
      for (size_t row = 0; row < column.size(); ++row) {
        if (info.unit == Unit::row || row == 0) continue;
        if (name == "start" || name == "time") {
          starts[row] = static_cast<int64_t>(random() % 5000000);
          column[row] = static_cast<V>(starts[row]);
        } else if (name == "end") {
          column[row] = static_cast<V>(starts[row] + static_cast<int64_t>(random() % 5000));
        } else if constexpr (std::is_floating_point_v<V>) {
          column[row] = static_cast<V>(static_cast<double>(random() % 1000) / 7);
        } else if (info.unit == Unit::code) {
          column[row] = static_cast<V>(random() % 3);
        } else if (info.unit == Unit::flags) {
          column[row] = static_cast<V>(random() % 8 * 2);
        } else if (info.unit == Unit::device) {
          column[row] = static_cast<V>(random() % 3 == 2 ? kNoRow : random() % 2);
        } else if (info.unit == Unit::thread) {
          column[row] = static_cast<V>(random() % t.threads.size());
        } else if (info.unit == Unit::stream) {
          column[row] = static_cast<V>(streams[random() % std::size(streams)]);
        } else if (info.unit == Unit::string) {
          column[row] = static_cast<V>(names[random() % 4]);
        } else if (random() % 2 == 0) {
          column[row] = static_cast<V>(random());
        }
      }
    });
  });
  return std::move(b.trace);
}

}  // namespace mill::prof::test
