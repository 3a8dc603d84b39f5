#include "device/tables.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace mill {

namespace {

struct WholeTables {
  mill_device_table table{};  // first: its address is what the owner holds
  mill_device_limits limits{};
  mill_memory_functions memory{};
  mill_stream_functions streams{};
  mill_copy_functions copies{};
  mill_op_functions ops{};
  mill_capture_functions capture{};
  mill_collective_functions collectives{};
  mill_timeline_functions timeline{};
};

template <class Table>
void take(Table& to, const Table* from) {
  std::memcpy(static_cast<void*>(&to), from, std::min(size_t{from->size}, sizeof to));
  to.size = sizeof to;
}

template <class Table>
void take_optional(Table& to, const Table*& from) {
  if (!from) return;
  take(to, from);
  from = &to;
}

void need(const char* plugin, const char* part, const char* function, bool there) {
  if (!there)
    fail(MILL_E_UNSUPPORTED, "plugin %s: the table of %s has no %s", plugin, part, function);
}

void fill_whole(const char* plugin, const mill_device_table* given, WholeTables& whole) {
  constexpr size_t kLeast = offsetof(mill_device_table, destroy) + sizeof(given->destroy);
  if (given->size < kLeast) {
    fail(MILL_E_UNSUPPORTED, "plugin %s: its device table has %u bytes, %zu are the least", plugin,
         given->size, kLeast);
  }
  take(whole.table, given);
  mill_device_table& table = whole.table;
#define MILL_NEED(part) need(plugin, "the device", #part, table.part != nullptr)
  MILL_NEED(name);
  MILL_NEED(description);
  MILL_NEED(limits);
  MILL_NEED(memory);
  MILL_NEED(streams);
  MILL_NEED(copies);
  MILL_NEED(ops);
  MILL_NEED(destroy);
#undef MILL_NEED
  constexpr size_t kLimits =
      offsetof(mill_device_limits, memory_bytes) + sizeof(table.limits->memory_bytes);
  if (table.limits->size < kLimits) {
    fail(MILL_E_UNSUPPORTED, "plugin %s: limits has %u bytes, %zu are the least", plugin,
         table.limits->size, kLimits);
  }
  take_optional(whole.limits, table.limits);
  take_optional(whole.memory, table.memory);
  take_optional(whole.streams, table.streams);
  take_optional(whole.copies, table.copies);
  take_optional(whole.ops, table.ops);
  take_optional(whole.capture, table.capture);
  take_optional(whole.collectives, table.collectives);
  take_optional(whole.timeline, table.timeline);
#define MILL_NEED(part, function) need(plugin, #part, #function, whole.part.function != nullptr)
  MILL_NEED(memory, allocate);
  MILL_NEED(memory, free);
  if (whole.memory.pinned_allocate) MILL_NEED(memory, pinned_free);
  MILL_NEED(streams, create);
  MILL_NEED(streams, destroy);
  MILL_NEED(streams, wait);
  MILL_NEED(streams, event_create);
  MILL_NEED(streams, event_destroy);
  MILL_NEED(streams, event_record);
  MILL_NEED(streams, event_query);
  MILL_NEED(streams, event_wait);
  MILL_NEED(streams, wait_event);
  MILL_NEED(copies, copy);
  MILL_NEED(ops, resolve);
#undef MILL_NEED
}

}  // namespace

TableOwner adopt_tables(const char* plugin, const mill_device_table* given) {
  if (!given) fail(MILL_E_UNSUPPORTED, "plugin %s opened a device without a table", plugin);
  std::unique_ptr<WholeTables> whole;
  try {
    whole = std::make_unique<WholeTables>();
    fill_whole(plugin, given, *whole);
  } catch (...) {
    constexpr size_t kDestroy = offsetof(mill_device_table, destroy) + sizeof(given->destroy);
    if (given->size >= kDestroy && given->destroy) given->destroy(given->self);
    throw;
  }
  const mill_device_table* table = &whole.release()->table;
  return TableOwner(
      table, TableDeleter{[](const mill_device_table* owned) noexcept {
        static_assert(offsetof(WholeTables, table) == 0);
        const std::unique_ptr<const WholeTables> all(reinterpret_cast<const WholeTables*>(owned));
        owned->destroy(owned->self);
      }});
}

}  // namespace mill
