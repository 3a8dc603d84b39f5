#include "profiler/timeline/trace.h"

#include <algorithm>
#include <array>
#include <span>

namespace mill::prof {

namespace {

using Names = std::span<const std::string_view>;

constexpr std::array<std::string_view, 3> kOpKinds = {"", "op", "backward pass"};
constexpr std::array<std::string_view, 18> kCallKinds = {
    "",           "launch",       "copy",          "fill",        "event record",
    "event wait", "sync event",   "sync stream",   "sync device", "query",
    "allocate",   "free",         "host allocate", "host free",   "module load",
    "create",     "graph launch", "host function"};
constexpr std::array<std::string_view, 5> kWorkKinds = {"", "kernel", "copy", "fill",
                                                        "host function"};
constexpr std::array<std::string_view, 6> kCopyKinds = {
    "", "host to device", "device to host", "on device", "peer", "host to host"};
constexpr std::array<std::string_view, 5> kMemories = {"", "pageable", "pinned", "device",
                                                       "managed"};
constexpr std::array<std::string_view, 5> kSyncKinds = {"", "event", "stream", "read", "device"};
constexpr std::array<std::string_view, 3> kAllocKinds = {"", "allocate", "free"};
constexpr std::array<std::string_view, 4> kAllocHows = {"", "hit", "growth", "reclaim"};
constexpr std::array<std::string_view, 3> kLoaderKinds = {"", "next", "fill"};
constexpr std::array<std::string_view, 6> kRangeKinds = {"",     "scope", "user",
                                                         "step", "mark",  "script"};
constexpr std::array<std::string_view, 5> kOverheadKinds = {"", "profiler", "module load",
                                                            "queue full", "resource"};
constexpr std::array<std::string_view, 5> kManagedKinds = {"", "to device", "to host", "fault",
                                                           "thrash"};

struct CodeColumn {
  std::string_view table;
  std::string_view column;
  Names names;
};

constexpr std::array kCodes = {
    CodeColumn{"ops", "kind", kOpKinds},
    CodeColumn{"calls", "kind", kCallKinds},
    CodeColumn{"work", "kind", kWorkKinds},
    CodeColumn{"work", "copy_kind", kCopyKinds},
    CodeColumn{"work", "host_memory", kMemories},
    CodeColumn{"copies", "from", kMemories},
    CodeColumn{"copies", "to", kMemories},
    CodeColumn{"syncs", "kind", kSyncKinds},
    CodeColumn{"allocations", "kind", kAllocKinds},
    CodeColumn{"allocations", "how", kAllocHows},
    CodeColumn{"allocations", "memory", kMemories},
    CodeColumn{"loader", "kind", kLoaderKinds},
    CodeColumn{"loader", "from", kMemories},
    CodeColumn{"loader", "to", kMemories},
    CodeColumn{"ranges", "kind", kRangeKinds},
    CodeColumn{"overheads", "kind", kOverheadKinds},
    CodeColumn{"managed", "kind", kManagedKinds},
};

}  // namespace

std::string_view code_text(std::string_view table, std::string_view column, uint32_t code) {
  for (const CodeColumn& one : kCodes) {
    if (one.table == table && one.column == column)
      return code < one.names.size() ? one.names[code] : std::string_view();
  }
  return {};
}

uint32_t Trace::device(uint64_t number) {
  for (uint32_t k = 0; k < devices.size(); ++k) {
    if (devices[k].number == number) return k;
  }
  devices.emplace_back().number = number;
  return static_cast<uint32_t>(devices.size() - 1);
}

uint32_t Trace::thread(uint64_t process, uint64_t number) {
  for (uint32_t k = 0; k < threads.size(); ++k) {
    if (threads[k].process == process && threads[k].number == number) return k;
  }
  threads.push_back({process, number, {}});
  return static_cast<uint32_t>(threads.size() - 1);
}

uint32_t Trace::stream(uint32_t device, uint64_t number) {
  for (uint32_t k = 0; k < streams.size(); ++k) {
    if (streams[k].device == device && streams[k].number == number) return k;
  }
  streams.push_back({device, number, {}, false});
  return static_cast<uint32_t>(streams.size() - 1);
}

uint64_t Trace::rows() const {
  uint64_t rows = 0;
  for_each_table(*this, [&](const char*, const auto& table) { rows += table.size(); });
  return rows;
}

bool Trace::on_cpu_only() const {
  return !devices.empty() && work.empty() &&
         std::all_of(devices.begin(), devices.end(),
                     [](auto& d) { return d.kind == DeviceKind::cpu; });
}

uint64_t Trace::bytes() const {
  uint64_t bytes = strings.bytes();
  for_each_table(*this, [&](const char*, const auto& table) { bytes += table.memory_bytes(); });
  return bytes;
}

}  // namespace mill::prof
