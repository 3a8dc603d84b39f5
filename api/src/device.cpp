#include "millrace/device.h"

#include <cstdio>

#include "dispatch/trace_op.h"
#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

Device& need_device(mill_context& context, uint32_t index, int32_t argument) {
  if (index >= context.devices.size()) {
    fail_argument(MILL_E_ARG, argument, "device is %u, the context has %zu", index,
                  context.devices.size());
  }
  return *context.devices[index];
}

mill_stream& need_stream(mill_stream* stream, int32_t argument) {
  mill_stream& s = need(stream, argument, "stream");
  check_fork(*static_cast<mill_context*>(s.device.owner()));
  return s;
}

mill_event& need_event(mill_event* event, int32_t argument) {
  mill_event& e = need(event, argument, "event");
  check_fork(*static_cast<mill_context*>(e.device.owner()));
  return e;
}

void check_pair(const mill_event& event, const mill_stream& stream) {
  if (&event.device != &stream.device) {
    fail(MILL_E_DEVICE, "the event is of device %u, the stream of device %u", event.device.index(),
         stream.device.index());
  }
}

}  // namespace

mill_status mill_device_count(mill_context* context, uint32_t* out_count, mill_error* err) {
  return guard("mill_device_count", err, [&] {
    need_out(out_count, 1, "out_count") = 0;
    *out_count = static_cast<uint32_t>(need_context(context).devices.size());
  });
}

mill_status mill_device_query(mill_context* context, uint32_t index, mill_device_info* info,
                              mill_error* err) {
  return guard("mill_device_query", err, [&] {
    const Device& device = need_device(need_context(context), index, 1);
    const mill_device_table& table = device.table();
    mill_device_info out{};
    std::snprintf(out.name, sizeof out.name, "%s", table.name);
    const char* libraries = table.libraries ? table.libraries(table.self) : "";
    std::snprintf(out.description, sizeof out.description, "%s%s%s", table.description,
                  *libraries != 0 ? ", " : "", libraries);
    out.memory_bytes = table.memory_bytes;
    out.threads = device.runs_inline() ? device.host_services().threads : 0;
    out.host_memory = table.host_memory;
    write_struct(info, MILL_STRUCT_DEVICE_INFO, "info", 2, out);
  });
}

mill_status mill_stream_create(mill_context* context, uint32_t device, mill_stream** out_stream,
                               mill_error* err) {
  return guard("mill_stream_create", err, [&] {
    clear_out(out_stream, 2, "out_stream");
    mill_context& c = need_context(context);
    *out_stream = slab_new<mill_stream>(need_device(c, device, 1),
                                        c.next_id.fetch_add(1, std::memory_order_relaxed));
  });
}

void mill_stream_retain(mill_stream* stream) {
  if (valid(stream, HandleKind::stream)) retain(stream);
}

void mill_stream_release(mill_stream* stream) {
  if (valid(stream, HandleKind::stream)) release(stream);
}

mill_status mill_stream_wait(mill_stream* stream, mill_error* err) {
  return guard("mill_stream_wait", err, [&] {
    mill_stream& s = need_stream(stream, 0);
    const WaitRecord waiting(context_of(s.device), MILL_RECORD_SYNC_STREAM, nullptr, s.id);
    s.wait();
  });
}

mill_status mill_event_create(mill_stream* stream, mill_event** out_event, mill_error* err) {
  return guard("mill_event_create", err, [&] {
    clear_out(out_event, 1, "out_event");
    *out_event = slab_new<mill_event>(need_stream(stream, 0).device);
  });
}

void mill_event_retain(mill_event* event) {
  if (valid(event, HandleKind::event)) retain(event);
}

void mill_event_release(mill_event* event) {
  if (valid(event, HandleKind::event)) release(event);
}

mill_status mill_event_record(mill_event* event, mill_stream* stream, mill_error* err) {
  return guard("mill_event_record", err, [&] {
    mill_event& e = need_event(event, 0);
    mill_stream& s = need_stream(stream, 1);
    check_pair(e, s);
    e.record(s);
  });
}

mill_status mill_event_query(mill_event* event, mill_error* err) {
  return guard("mill_event_query", err, [&] { return need_event(event, 0).query(); });
}

mill_status mill_event_wait(mill_event* event, uint64_t timeout_ns, mill_error* err) {
  return guard("mill_event_wait", err, [&] {
    mill_event& e = need_event(event, 0);
    const WaitRecord waiting(context_of(e.device), MILL_RECORD_SYNC_EVENT, nullptr, 0);
    return e.wait(timeout_ns);
  });
}

mill_status mill_stream_wait_event(mill_stream* stream, mill_event* event, mill_error* err) {
  return guard("mill_stream_wait_event", err, [&] {
    mill_stream& s = need_stream(stream, 0);
    mill_event& e = need_event(event, 1);
    check_pair(e, s);
    mill_kernel_error error{};
    const mill_device_table& table = s.device.table();
    check(table.stream_wait_event(table.self, s.native, e.native, &error), error);
  });
}
