#include "device/device.h"

#include <cstring>

#include "base/error.h"
#include "base/fork.h"
#include "memory/source.h"

namespace mill {

namespace {

// The allocator's view of a device table. A stream's number is the address of the device's own
// stream object.
class TableSource final : public Source {
 public:
  explicit TableSource(const mill_device_table& table) : table_(table) {}

  const char* name() const noexcept override { return table_.name; }
  bool runs_inline() const noexcept override { return table_.runs_inline != 0; }
  bool host_memory() const noexcept override { return table_.host_memory != 0; }

  mill_status allocate(uint64_t bytes, uint64_t align, void** out, char* text) noexcept override {
    mill_kernel_error error;
    error.text[0] = 0;
    const mill_status status = table_.allocate(table_.self, bytes, align, out, &error);
    static_assert(sizeof error.text <= kTextBytes);
    if (status != MILL_OK) std::memcpy(text, error.text, sizeof error.text);
    return status;
  }
  void free(void* data, uint64_t bytes) noexcept override { table_.free(table_.self, data, bytes); }

  mill_status record(uint64_t stream, void** event) noexcept override {
    mill_kernel_error error;
    void* target = *event;
    if (!target) {
      const mill_status made = table_.event_create(table_.self, &target, &error);
      if (made != MILL_OK) return made;
    }
    const mill_status status =
        table_.event_record(table_.self, target, reinterpret_cast<void*>(stream), &error);
    if (status != MILL_OK) {
      if (!*event) table_.event_destroy(table_.self, target);
      return status;
    }
    *event = target;
    return MILL_OK;
  }
  mill_status query(void* event) noexcept override {
    mill_kernel_error error;
    return table_.event_query(table_.self, event, &error);
  }
  mill_status wait(void* event) noexcept override {
    mill_kernel_error error;
    return table_.event_wait(table_.self, event, UINT64_MAX, &error);
  }
  void release_event(void* event) noexcept override { table_.event_destroy(table_.self, event); }

 private:
  const mill_device_table& table_;
};

}  // namespace

Device::Device(uint32_t index, TableOwner table, const mill_host_services* services, Handle* owner,
               void (*let_go)(Handle*) noexcept)
    : index_(index),
      fork_generation_(mill::fork_generation()),
      runs_inline_(table->runs_inline != 0),
      table_(std::move(table)),
      services_(services),
      source_(std::make_unique<TableSource>(*table_)),
      allocator_(std::make_unique<Allocator>(*source_)),
      owner_(owner),
      release_owner_(let_go) {}

Device::~Device() = default;

void Device::retire(Storage* storage) noexcept {
  push_retired(retired_, storage);
}

Storage* Device::take_retired() noexcept {
  return retired_.exchange(nullptr, std::memory_order_acquire);
}

void check(mill_status status, const mill_kernel_error& error) {
  if (status < 0) [[unlikely]]
    fail(status, "%s", error.text);
}

}  // namespace mill
