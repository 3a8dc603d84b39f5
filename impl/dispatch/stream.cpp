#include "dispatch/stream.h"

#include "base/fork.h"

mill_stream::mill_stream(mill::Device& on, uint64_t number) : device(on), id(number) {
  mill_kernel_error error{};
  mill::check(on.table().stream_create(on.table().self, &native, &error), error);
  device.retain_owner();
}

mill_stream::~mill_stream() {
  device.table().stream_destroy(device.table().self, native);
}

void mill_stream::wait() {
  if (device.runs_inline()) return;
  mill_kernel_error error{};
  mill::check(device.table().stream_wait(device.table().self, native, &error), error);
}

mill_event::mill_event(mill::Device& on) : device(on) {
  mill_kernel_error error{};
  mill::check(on.table().event_create(on.table().self, &native, &error), error);
  device.retain_owner();
}

mill_event::~mill_event() {
  device.table().event_destroy(device.table().self, native);
}

void mill_event::record(mill_stream& stream) {
  mill_kernel_error error{};
  mill::check(device.table().event_record(device.table().self, native, stream.native, &error),
              error);
}

mill_status mill_event::query() {
  mill_kernel_error error{};
  const mill_status status = device.table().event_query(device.table().self, native, &error);
  mill::check(status < 0 ? status : MILL_OK, error);
  return status;
}

mill_status mill_event::wait(uint64_t timeout_ns) {
  mill_kernel_error error{};
  const mill_status status =
      device.table().event_wait(device.table().self, native, timeout_ns, &error);
  mill::check(status < 0 ? status : MILL_OK, error);
  return status;
}

namespace {
template <class T>
void release_child(T* child) noexcept {
  if (child->device.fork_generation() != mill::fork_generation()) return;
  if (!child->release()) return;
  mill::Device& device = child->device;
  mill::slab_delete(child);
  device.release_owner();  // after the child is gone: this may end the device
}
}  // namespace

void release(mill_stream* stream) noexcept {
  release_child(stream);
}
void release(mill_event* event) noexcept {
  release_child(event);
}
