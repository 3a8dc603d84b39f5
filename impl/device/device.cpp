#include "device/device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/fork.h"

namespace mill {

namespace {

// What a device says of an allocation, as the allocator is told it.
mill_status told(mill_status status, const void* data, mill_kernel_error& error, char* text) {
  if (status == MILL_OK && data) return MILL_OK;
  if (status == MILL_OK)
    std::snprintf(error.text, sizeof error.text, "the device reports success and gives no memory");
  static_assert(sizeof error.text <= Source::kTextBytes);
  error.text[sizeof error.text - 1] = 0;
  std::memcpy(text, error.text, sizeof error.text);
  return status == MILL_OK ? mill_status{MILL_E_MEMORY} : status;
}

Turns turns_of(const mill_device_table& table) {
  const mill_timeline_functions* timeline = table.timeline;
  if (!table.limits->modelled || !timeline || !timeline->turn_begin) return {};
  return {table.self, timeline->turn_begin, timeline->turn_end};
}

}  // namespace

// The allocator's view of a device table.
class TableSource final : public Source {
 public:
  TableSource(const mill_device_table& table, StreamTable& streams, const Turns& turns)
      : table_(table), streams_(streams), turns_(turns), inline_(table.limits->runs_inline != 0) {}

  const char* name() const noexcept override { return table_.name; }
  bool runs_inline() const noexcept override { return inline_; }
  bool host_memory() const noexcept override { return table_.limits->host_memory != 0; }
  Turns turns() const noexcept override { return turns_; }

  mill_status allocate(uint64_t bytes, uint64_t align, void** out, char* text) noexcept override {
    mill_kernel_error error;
    error.text[0] = 0;
    *out = nullptr;
    const mill_status status = table_.memory->allocate(table_.self, bytes, align, out, &error);
    return told(status, *out, error, text);
  }
  void free(void* data, uint64_t bytes) noexcept override {
    table_.memory->free(table_.self, data, bytes);
  }

  mill_status record(uint64_t stream, void** event) noexcept override {
    return streams_.record(stream, event);
  }
  mill_status query(void* event) noexcept override {
    mill_kernel_error error;
    error.text[0] = 0;
    return table_.streams->event_query(table_.self, event, &error);
  }
  mill_status wait(void* event) noexcept override {
    mill_kernel_error error;
    error.text[0] = 0;
    return table_.streams->event_wait(table_.self, event, UINT64_MAX, &error);
  }
  void release_event(void* event) noexcept override {
    table_.streams->event_destroy(table_.self, event);
  }

 private:
  const mill_device_table& table_;
  StreamTable& streams_;
  const Turns turns_;
  const bool inline_;
};

// Host memory of the device's. The host reuses it only after the events of what copies touched it,
// as with device memory.
class PinnedSource final : public Source {
 public:
  PinnedSource(const mill_device_table& table, TableSource& device)
      : table_(table), device_(device) {}

  const char* name() const noexcept override { return "pinned host memory"; }
  bool runs_inline() const noexcept override { return device_.runs_inline(); }
  bool host_memory() const noexcept override { return true; }
  Turns turns() const noexcept override { return device_.turns(); }
  mill_status allocate(uint64_t bytes, uint64_t align, void** out, char* text) noexcept override {
    mill_kernel_error error;
    error.text[0] = 0;
    mill_status status = MILL_E_MEMORY;
    *out = nullptr;
    if (table_.memory->pinned_allocate) {
      status = table_.memory->pinned_allocate(table_.self, bytes, out, &error);
    } else if ((*out = std::aligned_alloc(align, (bytes + align - 1) & ~(align - 1)))) {
      status = MILL_OK;
    }
    return told(status, *out, error, text);
  }
  void free(void* data, uint64_t bytes) noexcept override {
    if (table_.memory->pinned_allocate) {
      table_.memory->pinned_free(table_.self, data, bytes);
    } else {
      std::free(data);
    }
  }
  mill_status record(uint64_t stream, void** event) noexcept override {
    return device_.record(stream, event);
  }
  mill_status query(void* event) noexcept override { return device_.query(event); }
  mill_status wait(void* event) noexcept override { return device_.wait(event); }
  void release_event(void* event) noexcept override { device_.release_event(event); }

 private:
  const mill_device_table& table_;
  TableSource& device_;
};

Device::Device(uint32_t index, std::string name, TableOwner table,
               const mill_host_services* services, Handle* owner, void (*let_go)(Handle*) noexcept)
    : index_(index),
      fork_generation_(mill::fork_generation()),
      runs_inline_(table->limits->runs_inline != 0),
      host_memory_(table->limits->host_memory != 0),
      name_(std::move(name)),
      table_(std::move(table)),
      services_(services),
      timeline_(std::make_unique<Timeline>(table_->timeline, table_->self)),
      turns_(turns_of(*table_)),
      streams_(std::make_unique<StreamTable>(*table_, turns_)),
      source_(std::make_unique<TableSource>(*table_, *streams_, turns_)),
      allocator_(std::make_unique<Allocator>(*source_)),
      lazy_(turns_),
      copying_(turns_),
      owner_(owner),
      release_owner_(let_go) {}

Device::~Device() {
  if (copy_stream_) table_->streams->destroy(table_->self, copy_stream_);
  for (void* stream : waiters_) table_->streams->destroy(table_->self, stream);
}

Allocator& Device::pinned() {
  if (Allocator* made = pinned_.load(std::memory_order_acquire)) [[likely]]
    return *made;
  const std::lock_guard lock(lazy_);
  if (!pinned_memory_) {
    pinned_source_ = std::make_unique<PinnedSource>(*table_, *source_);
    pinned_memory_ = std::make_unique<Allocator>(*pinned_source_);
    pinned_.store(pinned_memory_.get(), std::memory_order_release);
  }
  return *pinned_memory_;
}

void Device::copy_blocking(void* to, const void* from, uint64_t bytes, int32_t kind) {
  const std::lock_guard lock(copying_);
  mill_kernel_error error{};
  if (!copy_stream_) check(table_->streams->create(table_->self, 0, &copy_stream_, &error), error);
  copy(copy_stream_, to, from, bytes, kind);
  check(table_->streams->wait(table_->self, copy_stream_, &error), error);
}

// A stream that waits for nothing any more, with the lock held.
void* Device::idle_waiter() {
  mill_kernel_error error{};
  for (void* stream : waiters_) {
    if (table_->streams->query(table_->self, stream, &error) == MILL_OK) return stream;
  }
  waiters_.reserve(waiters_.size() + 1);
  void* made = nullptr;
  check(table_->streams->create(table_->self, 0, &made, &error), error);
  waiters_.push_back(made);
  return made;
}

void Device::call_after(void* event, void (*fn)(void* data), void* data) {
  const std::lock_guard lock(lazy_);
  mill_kernel_error error{};
  void* stream = idle_waiter();
  check(table_->streams->wait_event(table_->self, stream, event, &error), error);
  check(table_->streams->host_call(table_->self, stream, fn, data, &error), error);
}

uint64_t Device::add_stream(void* native, std::shared_ptr<StreamCount> count) {
  return runs_inline_ ? 0 : streams_->add(native, std::move(count));
}

void Device::drop_stream(uint64_t number) noexcept {
  if (runs_inline_) return;
  allocator_->retire_stream(number);
  if (Allocator* made = pinned_.load(std::memory_order_acquire)) made->retire_stream(number);
  streams_->drop(number);
}

void Device::copy(void* stream, void* to, const void* from, uint64_t bytes, int32_t kind) const {
  if (bytes == 0) return;
  mill_kernel_error error;
  error.text[0] = 0;
  check(table_->copies->copy(table_->self, stream, to, from, bytes, kind, &error), error);
}

void Device::retire(Storage* storage) noexcept {
  push_retired(retired_, storage);
}

Storage* Device::take_retired() noexcept {
  return retired_.exchange(nullptr, std::memory_order_acquire);
}

void check(mill_status status, const mill_kernel_error& error) {
  if (status >= 0) [[likely]]
    return;
  // A plugin may have left out the NUL.
  fail(status, "%.*s", static_cast<int>(sizeof error.text - 1), error.text);
}

}  // namespace mill
