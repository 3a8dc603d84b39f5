// A device of a context: its table, its allocator, and the owner that its storages keep alive.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/handle.h"
#include "base/turn_mutex.h"
#include "device/stream_table.h"
#include "device/timeline.h"
#include "memory/allocator.h"
#include "memory/source.h"
#include "millrace/plugin.h"
#include "trace/trace_time.h"

namespace mill {

struct Storage;
class TableSource;
class PinnedSource;
// Links a storage in front of a list; beside Storage, whose members this room does not know.
void push_retired(std::atomic<Storage*>& list, Storage* storage) noexcept;

// Frees a device when its owner goes.
struct TableDeleter {
  // How, where the table is no more than a copy; null otherwise.
  void (*end)(const mill_device_table* table) noexcept = nullptr;
  void operator()(const mill_device_table* table) const noexcept {
    if (end) {
      end(table);
    } else {
      table->destroy(table->self);
    }
  }
};
using TableOwner = std::unique_ptr<const mill_device_table, TableDeleter>;

class Device {
 public:
  // name: how the program calls it, such as "sim:h200-sxm". owner: the context handle, which
  // storages retain; let_go is called for each of those references. services: what kernels are
  // handed.
  Device(uint32_t index, std::string name, TableOwner table, const mill_host_services* services,
         Handle* owner, void (*let_go)(Handle*) noexcept);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  uint32_t index() const { return index_; }
  const char* name() const { return name_.c_str(); }
  const mill_device_table& table() const { return *table_; }
  void* self() const { return table_->self; }
  const mill_device_limits& limits() const { return *table_->limits; }
  const mill_stream_functions& streams() const { return *table_->streams; }
  // The functions of a device whose time is modelled; null for any other.
  const mill_timeline_functions* modelled() const {
    const mill_timeline_functions* timeline = table_->timeline;
    return timeline && limits().modelled && timeline->work ? timeline : nullptr;
  }
  // What records about this device are stamped with.
  TraceTime trace_time(const Tracer& tracer) const {
    return {tracer, modelled(), table_->self, index_};
  }
  // Only where the table has functions for it.
  Timeline& timeline() const { return *timeline_; }
  // How calls of such a device are put in order; empty for any other.
  const Turns& turns() const { return turns_; }
  // Numbers for threads that tell such a device who they are; the program's first is 0.
  uint32_t next_thread() { return threads_.fetch_add(1, std::memory_order_relaxed) + 1; }
  bool runs_inline() const { return runs_inline_; }
  bool host_memory() const { return host_memory_; }
  const mill_host_services& host_services() const { return *services_; }
  Allocator& allocator() { return *allocator_; }
  // Host memory that copies reach without staging, where the device has such; else plain memory.
  // Not for an inline device. Made on first use; throws std::bad_alloc.
  Allocator& pinned();
  bool has_pinned() const { return table_->memory->pinned_allocate != nullptr; }
  Handle* owner() const { return owner_; }
  uint32_t fork_generation() const { return fork_generation_; }

  // Streams get numbers that are never given again; the allocator knows streams by them. On an
  // inline device all streams are one to it, number 0.
  uint64_t add_stream(void* native, std::shared_ptr<StreamCount> count);
  StreamTable& stream_table() const { return *streams_; }
  // The stream's own object is about to be destroyed.
  void drop_stream(uint64_t number) noexcept;

  // Throws what the device reports.
  void copy(void* stream, void* to, const void* from, uint64_t bytes, int32_t kind) const;
  // fn(data) on some thread when the event has happened, whatever else is waited for. fn calls
  // nothing of the device.
  void call_after(void* event, void (*fn)(void* data), void* data);
  // On a stream of the device's own, and waits for it.
  void copy_blocking(void* to, const void* from, uint64_t bytes, int32_t kind);

  void retain_owner() noexcept { owner_->retain(); }
  void release_owner() noexcept { release_owner_(owner_); }

  // Imported storages whose deleter is due; any thread may push, one caller at a time takes the
  // whole list.
  void retire(Storage* storage) noexcept;
  Storage* take_retired() noexcept;
  bool has_retired() const noexcept { return retired_.load(std::memory_order_relaxed) != nullptr; }

 private:
  uint32_t index_;
  uint32_t fork_generation_;
  bool runs_inline_;
  bool host_memory_;
  std::string name_;
  TableOwner table_;
  const mill_host_services* services_;
  std::unique_ptr<Timeline> timeline_;
  Turns turns_;
  std::unique_ptr<StreamTable> streams_;
  std::unique_ptr<TableSource> source_;
  std::unique_ptr<Allocator> allocator_;
  void* idle_waiter();

  TurnMutex lazy_;  // what follows, but for reading pinned_
  std::unique_ptr<PinnedSource> pinned_source_;
  std::unique_ptr<Allocator> pinned_memory_;
  std::atomic<Allocator*> pinned_{nullptr};  // once it is there
  // Each waits for one event at a time: on one stream an early event would be told after a late
  // one.
  std::vector<void*> waiters_;
  TurnMutex copying_;  // what follows
  void* copy_stream_ = nullptr;

  Handle* owner_;
  void (*release_owner_)(Handle*) noexcept;
  std::atomic<Storage*> retired_{nullptr};
  std::atomic<uint32_t> threads_{0};
};

// Throws what a table's call reported.
void check(mill_status status, const mill_kernel_error& error);

}  // namespace mill
