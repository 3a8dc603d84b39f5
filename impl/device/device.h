// A device of a context: its table, its allocator, and the owner that its storages keep alive.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/handle.h"
#include "device/plugin.h"
#include "memory/allocator.h"
#include "memory/source.h"

namespace mill {

struct Storage;
// Links a storage in front of a list; beside Storage, whose members this room does not know.
void push_retired(std::atomic<Storage*>& list, Storage* storage) noexcept;

// Frees a device table when its owner goes.
struct TableDeleter {
  void operator()(const mill_device_table* table) const noexcept { table->destroy(table->self); }
};
using TableOwner = std::unique_ptr<const mill_device_table, TableDeleter>;

class Device {
 public:
  // owner: the context handle, which storages retain; let_go is called for each of those
  // references.
  Device(uint32_t index, TableOwner table, const mill_host_services* services, Handle* owner,
         void (*let_go)(Handle*) noexcept);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  uint32_t index() const { return index_; }
  const mill_device_table& table() const { return *table_; }
  bool runs_inline() const { return runs_inline_; }
  bool host_memory() const { return table_->host_memory != 0; }
  const mill_host_services& host_services() const { return *services_; }
  Allocator& allocator() { return *allocator_; }
  Handle* owner() const { return owner_; }
  uint32_t fork_generation() const { return fork_generation_; }

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
  TableOwner table_;
  const mill_host_services* services_;
  std::unique_ptr<Source> source_;
  std::unique_ptr<Allocator> allocator_;
  Handle* owner_;
  void (*release_owner_)(Handle*) noexcept;
  std::atomic<Storage*> retired_{nullptr};
};

// Throws what a table's call reported.
void check(mill_status status, const mill_kernel_error& error);

}  // namespace mill
