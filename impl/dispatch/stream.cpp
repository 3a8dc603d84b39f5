#include "dispatch/stream.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/fork.h"

mill_stream::mill_stream(mill::Device& on, uint64_t number, int32_t priority, void* foreign)
    : device(on), id(number) {
  mill_kernel_error error{};
  const mill_stream_functions& streams = on.streams();
  if (foreign) {
    mill::check(streams.wrap(on.self(), foreign, &native, &error), error);
  } else {
    mill::check(streams.create(on.self(), priority, &native, &error), error);
  }
  try {
    if (!on.runs_inline()) count = std::make_shared<mill::StreamCount>();
    memory_id = on.add_stream(native, count);
  } catch (...) {
    streams.destroy(on.self(), native);
    throw;
  }
  device.retain_owner();
}

mill_stream::~mill_stream() {
  device.drop_stream(memory_id);
  device.streams().destroy(device.self(), native);
}

void mill_stream::wait() {
  if (device.runs_inline()) return;
  const uint64_t all = count->submitted.load(std::memory_order_acquire);
  mill_kernel_error error{};
  mill::check(device.streams().wait(device.self(), native, &error), error);
  device.stream_table().note_done(memory_id, all);
}

mill_event::mill_event(mill::Device& on) : device(on) {
  mill_kernel_error error{};
  mill::check(on.streams().event_create(on.self(), &native, &error), error);
  device.retain_owner();
}

mill_event::~mill_event() {
  device.streams().event_destroy(device.self(), native);
}

void mill_event::record(mill_stream& stream) {
  mill_kernel_error error{};
  mill::check(device.streams().event_record(device.self(), native, stream.native, &error), error);
}

mill_status mill_event::query() {
  mill_kernel_error error{};
  const mill_status status = device.streams().event_query(device.self(), native, &error);
  mill::check(status < 0 ? status : MILL_OK, error);
  return status;
}

mill_status mill_event::wait(uint64_t timeout_ns) {
  mill_kernel_error error{};
  const mill_status status = device.streams().event_wait(device.self(), native, timeout_ns, &error);
  mill::check(status < 0 ? status : MILL_OK, error);
  return status;
}

double mill_event::elapsed(mill_event& until) {
  const mill_stream_functions& streams = device.streams();
  if (device.runs_inline() || !streams.event_elapsed) {
    mill::fail(MILL_E_UNSUPPORTED, "device %u, %s, does not measure time between events",
               device.index(), device.name());
  }
  double ns = 0;
  mill_kernel_error error{};
  mill::check(streams.event_elapsed(device.self(), native, until.native, &ns, &error), error);
  return ns;
}

namespace {

int32_t new_descriptor(unsigned count) {
  const int fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0)
    throw mill::Error(MILL_E_IO, "no file descriptor: %s", std::strerror(errno)).with_native(errno);
  return fd;
}

// On a thread of the device's. data owns a descriptor of its own: the caller may close theirs.
void tell(void* data) {
  const int fd = static_cast<int>(reinterpret_cast<intptr_t>(data));
  const uint64_t one = 1;
  if (write(fd, &one, sizeof one) != sizeof one) {
    // Nobody else writes to it, so it is full only when it has been told already.
  }
  close(fd);
}

}  // namespace

int32_t mill_event::descriptor() {
  if (device.runs_inline()) return new_descriptor(1);
  const mill_stream_functions& streams = device.streams();
  if (!streams.host_call) {
    mill::fail(MILL_E_UNSUPPORTED, "device %u, %s, cannot call the host when an event happens",
               device.index(), device.name());
  }
  const int32_t fd = new_descriptor(0);
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) {
    const int code = errno;
    close(fd);
    throw mill::Error(MILL_E_IO, "no file descriptor: %s", std::strerror(code)).with_native(code);
  }
  try {
    device.call_after(native, tell, reinterpret_cast<void*>(static_cast<intptr_t>(own)));
  } catch (...) {
    close(own);
    close(fd);
    throw;
  }
  return fd;
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
