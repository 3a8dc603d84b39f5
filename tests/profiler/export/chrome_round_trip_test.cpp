// What import reads back from an exported trace.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "profiler/builder.h"
#include "profiler/export/capture.h"
#include "profiler/export/export.h"
#include "profiler/export/full_trace.h"
#include "profiler/import/import.h"

namespace mill::prof {
namespace {

using test::bare_analysis;
using test::full_trace;
using test::us;
using test::written;

Trace exported_and_read(const Analysis& analysis) {
  const std::string text =
      written([&](const Sink& sink) { EXPECT_TRUE(export_chrome(analysis, sink)); });
  size_t given = 0;
  const auto read = [&](char* to, size_t n) {
    n = std::min(n, text.size() - given);
    std::memcpy(to, text.data() + given, n);
    given += n;
    return n;
  };
  Trace out;
  std::string why;
  EXPECT_EQ(import_stream(read, "again", {}, &out, &why), ImportStatus::ok) << why;
  return out;
}

// A row as text: links, which are made anew, left out; indices as what they stand for.
template <class T>
std::multiset<std::string> rows_of(const Trace& trace, const T& table) {
  std::vector<std::string> rows(table.size());
  T::visit(table, [&](const ColumnInfo& info, const auto& column) {
    using V = typename std::remove_cvref_t<decltype(column)>::value_type;
    if (info.unit == Unit::row) return;
    for (uint32_t row = 0; row < table.size(); ++row) {
      std::string text;
      const V value = column[row];
      if constexpr (std::is_same_v<V, uint32_t>) {
        if (info.unit == Unit::string) {
          text = trace.strings.text(value);
        } else if (info.unit == Unit::device) {
          text = value < trace.devices.size() ? std::to_string(trace.devices[value].number) : "-";
        } else if (info.unit == Unit::stream) {
          text = "-";
          if (value < trace.streams.size()) {
            const StreamInfo& stream = trace.streams[value];
            text = std::to_string(stream.number) + " of " +
                   (stream.device < trace.devices.size()
                        ? std::to_string(trace.devices[stream.device].number)
                        : "-");
          }
        } else if (info.unit == Unit::thread) {
          text = "-";
          if (value < trace.threads.size())
            text = std::to_string(trace.threads[value].process) + "/" +
                   std::to_string(trace.threads[value].number);
        } else {
          text = std::to_string(value);
        }
      } else if constexpr (std::is_floating_point_v<V>) {
        char exact[40];
        std::snprintf(exact, sizeof exact, "%a", static_cast<double>(value));
        text = exact;
      } else {
        V plain = value;
        if (info.unit == Unit::flags) plain = static_cast<V>(plain & static_cast<V>(~kExcluded));
        text = std::to_string(plain);
      }
      rows[row] += std::string(info.name) + "=" + text + " ";
    }
  });
  return {rows.begin(), rows.end()};
}

void expect_same(const Trace& a, const Trace& b) {
  EXPECT_EQ(a.cut_off, b.cut_off);
  EXPECT_EQ(a.whole_graphs, b.whole_graphs);
  EXPECT_EQ(a.has_device_clock, b.has_device_clock);
  EXPECT_EQ(a.skipped, b.skipped);
  EXPECT_EQ(a.other_clock, b.other_clock);
  EXPECT_EQ(a.unfinished, b.unfinished);
  EXPECT_EQ(a.own_cost.share, b.own_cost.share);
  EXPECT_EQ(a.own_cost.share_low, b.own_cost.share_low);
  EXPECT_EQ(a.own_cost.event_ns, b.own_cost.event_ns);
  EXPECT_EQ(a.own_cost.budget, b.own_cost.budget);
  EXPECT_EQ(a.notes, b.notes);
  EXPECT_EQ(a.recorded, b.recorded);
  ASSERT_EQ(a.losses.size(), b.losses.size());
  for (size_t k = 0; k < a.losses.size(); ++k) {
    EXPECT_EQ(a.losses[k].where, b.losses[k].where);
    EXPECT_EQ(a.losses[k].lost, b.losses[k].lost);
  }
  ASSERT_EQ(a.devices.size(), b.devices.size());
  for (size_t k = 0; k < a.devices.size(); ++k) {
    const DeviceInfo& x = a.devices[k];
    const DeviceInfo& y = b.devices[k];
    EXPECT_EQ(x.number, y.number);
    EXPECT_EQ(x.name, y.name);
    EXPECT_EQ(x.description, y.description);
    EXPECT_EQ(x.kind, y.kind);
    EXPECT_EQ(x.modelled, y.modelled);
    EXPECT_EQ(x.copy_engines, y.copy_engines);
    EXPECT_EQ(x.host_threads, y.host_threads);
    EXPECT_EQ(x.memory_bytes, y.memory_bytes);
    EXPECT_EQ(x.memory_bytes_per_s, y.memory_bytes_per_s);
    EXPECT_EQ(x.to_device_bytes_per_s, y.to_device_bytes_per_s);
    EXPECT_EQ(x.to_host_bytes_per_s, y.to_host_bytes_per_s);
    EXPECT_EQ(x.peer_bytes_per_s, y.peer_bytes_per_s);
    EXPECT_EQ(x.link_generation, y.link_generation);
    EXPECT_EQ(x.link_generation_max, y.link_generation_max);
    EXPECT_EQ(x.link_width, y.link_width);
    EXPECT_EQ(x.link_width_max, y.link_width_max);
  }
  ASSERT_EQ(a.threads.size(), b.threads.size());
  for (size_t k = 0; k < a.threads.size(); ++k) {
    EXPECT_EQ(a.threads[k].process, b.threads[k].process);
    EXPECT_EQ(a.threads[k].number, b.threads[k].number);
    EXPECT_EQ(a.threads[k].name, b.threads[k].name);
  }
  ASSERT_EQ(a.streams.size(), b.streams.size());
  for (size_t k = 0; k < a.streams.size(); ++k) {
    EXPECT_EQ(a.streams[k].device, b.streams[k].device);
    EXPECT_EQ(a.streams[k].number, b.streams[k].number);
    EXPECT_EQ(a.streams[k].name, b.streams[k].name);
    EXPECT_EQ(a.streams[k].legacy_default, b.streams[k].legacy_default);
  }
  std::map<std::string, std::multiset<std::string>> rows;
  for_each_table(a, [&](const char* name, const auto& table) { rows[name] = rows_of(a, table); });
  for_each_table(b, [&](const char* name, const auto& table) {
    const std::multiset<std::string> again = rows_of(b, table);
    EXPECT_EQ(rows[name].size(), again.size()) << name;
    const auto [x, y] =
        std::mismatch(rows[name].begin(), rows[name].end(), again.begin(), again.end());
    if (x != rows[name].end() || y != again.end()) {
      ADD_FAILURE() << name << "\nwas " << (x != rows[name].end() ? *x : "nothing") << "\nis  "
                    << (y != again.end() ? *y : "nothing");
    }
  });
}

TEST(ChromeRoundTrip, EveryColumnOfEveryTableComesBack) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Analysis analysis = bare_analysis(full_trace(seed));
    expect_same(analysis.trace(), exported_and_read(analysis));
  }
}

TEST(ChromeRoundTrip, LinksAreTheSameAfterwards) {
  test::Builder b;
  for (int k = 0; k < 20; ++k) {
    b.op("outer", k * 100 * us, k * 100 * us + 90 * us);
    b.op("inner", k * 100 * us + 1 * us, k * 100 * us + 50 * us);
    b.kernel("gemm", k * 100 * us + 20 * us, k * 100 * us + 30 * us, k * 100 * us + 40 * us);
    b.copy(CopyKind::host_to_device, Memory::pageable, 1000, k * 100 * us + 60 * us,
           k * 100 * us + 70 * us, k * 100 * us + 61 * us, k * 100 * us + 69 * us);
  }
  const Analysis analysis = bare_analysis(std::move(b.trace));
  const Analysis again = bare_analysis(exported_and_read(analysis));
  expect_same(analysis.trace(), again.trace());
  EXPECT_EQ(analysis.trace().work.call, again.trace().work.call);
  EXPECT_EQ(analysis.trace().work.op, again.trace().work.op);
  EXPECT_EQ(analysis.trace().calls.op, again.trace().calls.op);
  EXPECT_EQ(analysis.trace().ops.parent, again.trace().ops.parent);
  // And a second time round nothing changes at all.
  const auto text = [](const Analysis& one) {
    return written([&](const Sink& sink) { export_chrome(one, sink); });
  };
  EXPECT_EQ(text(again), text(bare_analysis(exported_and_read(again))));
}

TEST(ChromeRoundTrip, OddTimesComeBack) {
  test::Builder b;
  const Ns epoch = 1623143089861123456;
  b.kernel("since the epoch", epoch, epoch + 10, epoch + 33);
  b.kernel("backwards", epoch + 50, epoch + 70, epoch + 60);
  for (int k = 0; k < 100; ++k) b.op("staircase", epoch + k * us, epoch + (k + 20) * us + k);
  const Analysis analysis = bare_analysis(std::move(b.trace));
  expect_same(analysis.trace(), exported_and_read(analysis));

  test::Builder wide;
  const int64_t far = (int64_t{1} << 62) - 1;
  wide.op("all of time", -far, far);
  wide.kernel("before the beginning", -5, -4, -3);
  const Analysis other = bare_analysis(std::move(wide.trace));
  expect_same(other.trace(), exported_and_read(other));
}

TEST(ChromeRoundTrip, RecordingsOfOthersComeBack) {
  const char* folder = std::getenv("MILL_TEST_DATA");
  if (folder == nullptr) GTEST_SKIP() << "MILL_TEST_DATA names no folder of recorded traces";
  for (const char* name : {"kineto_resnet50_workers0", "hta_alexnet_a100"}) {
    SCOPED_TRACE(name);
    Trace trace;
    std::string why;
    const std::string path = std::string(folder) + "/traces/" + name + ".json.gz";
    ASSERT_EQ(import_file(path, {}, &trace, &why), ImportStatus::ok) << why;
    const Analysis analysis = bare_analysis(std::move(trace));
    const Analysis again = bare_analysis(exported_and_read(analysis));
    expect_same(analysis.trace(), again.trace());
    EXPECT_EQ(analysis.trace().work.call, again.trace().work.call);
    EXPECT_EQ(analysis.trace().work.op, again.trace().work.op);
  }
}

}  // namespace
}  // namespace mill::prof
