#include "millrace/device.h"

#include <cstdio>

#include "base/utf8.h"
#include "device/plugins.h"
#include "dispatch/trace_op.h"
#include "guard.h"
#include "need_device.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

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
    *out_count = need_context(context).devices.size();
  });
}

mill_status mill_device_query(mill_context* context, uint32_t index, mill_device_info* info,
                              mill_error* err) {
  return guard("mill_device_query", err, [&] {
    const Device& device = need_device(need_context(context), index, 1);
    const mill_device_table& table = device.table();
    mill_device_info out{};
    std::snprintf(out.name, sizeof out.name, "%s", device.name());
    const char* libraries = table.libraries ? table.libraries(table.self) : "";
    std::snprintf(out.description, sizeof out.description, "%s%s%s", table.description,
                  *libraries != 0 ? ", " : "", libraries);
    out.memory_bytes = device.limits().memory_bytes;
    out.threads = device.runs_inline() ? device.host_services().threads : 0;
    out.host_memory = device.limits().host_memory;
    write_struct(info, MILL_STRUCT_DEVICE_INFO, "info", 2, out);
  });
}

mill_status mill_device_open(mill_context* context, const char* device, uint64_t device_len,
                             uint32_t* out_index, mill_error* err) {
  return guard("mill_device_open", err, [&] {
    need_out(out_index, 3, "out_index") = 0;
    mill_context& c = need_context(context);
    const std::string text = need_text(device, device_len, 1, "device");
    need_utf8(text, 1, "device");
    *out_index = at_argument(1, [&] { return c.open_device(text); });
  });
}

mill_status mill_device_configure(mill_context* context, uint32_t index, const char* name,
                                  uint64_t name_len, int64_t value, mill_error* err) {
  return guard("mill_device_configure", err, [&] {
    Device& device = need_device(need_context(context), index, 1);
    const std::string text = need_text(name, name_len, 2, "name");
    const mill_device_table& table = device.table();
    if (!table.configure) {
      fail_argument(MILL_E_UNSUPPORTED, 2, "device %u, %s, has no settings", index, device.name());
    }
    mill_kernel_error error{};
    at_argument(2, [&] { check(table.configure(table.self, text.c_str(), value, &error), error); });
  });
}

mill_status mill_device_now(mill_context* context, uint32_t device, int64_t* out_ns,
                            mill_error* err) {
  return guard("mill_device_now", err, [&] {
    need_out(out_ns, 2, "out_ns") = 0;
    const Device& on = need_device(need_context(context), device, 1);
    need_timeline(on);
    *out_ns = on.table().timeline->now(on.self());
  });
}

mill_status mill_device_charge(mill_context* context, uint32_t device, int64_t ns,
                               mill_error* err) {
  return guard("mill_device_charge", err, [&] {
    const Device& on = need_device(need_context(context), device, 1);
    if (ns < 0) {
      fail_argument(MILL_E_ARG, 2, "ns is %lld, it must not be negative",
                    static_cast<long long>(ns));
    }
    const mill_timeline_functions* timeline = on.modelled();
    if (timeline) timeline->work(on.self(), ns, 0);
  });
}

mill_status mill_device_timeline(mill_context* context, uint32_t device, uint32_t what,
                                 mill_error* err) {
  return guard("mill_device_timeline", err, [&] {
    const Device& of = need_device(need_context(context), device, 1);
    Timeline& timeline = need_timeline(of);
    if (what > (MILL_TIMELINE_WORK | MILL_TIMELINE_CALLS) || what == MILL_TIMELINE_CALLS) {
      fail_argument(MILL_E_ARG, 2,
                    "what is %u; it is 0, MILL_TIMELINE_WORK, or that with MILL_TIMELINE_CALLS",
                    what);
    }
    timeline.want(Reader::program, what);
  });
}

mill_status mill_device_drain(mill_context* context, uint32_t device, mill_timeline_record* out,
                              uint64_t capacity, uint64_t* out_count, uint64_t* out_lost,
                              mill_error* err) {
  return guard("mill_device_drain", err, [&] {
    need_out(out_count, 4, "out_count") = 0;
    if (out_lost) *out_lost = 0;
    const Device& on = need_device(need_context(context), device, 1);
    if (capacity > 0 && !out)
      fail_argument(MILL_E_ARG, 2, "out is NULL, its capacity is %llu",
                    static_cast<unsigned long long>(capacity));
    uint64_t lost = 0;
    need_timeline(on).drain(Reader::program, out, capacity, out_count, &lost);
    if (out_lost) *out_lost = lost;
  });
}

mill_status mill_plugin_count(mill_context* context, uint32_t* out_count, mill_error* err) {
  return guard("mill_plugin_count", err, [&] {
    need_out(out_count, 1, "out_count") = 0;
    need_context(context);
    *out_count = static_cast<uint32_t>(Plugins::of_process().all().size());
  });
}

mill_status mill_plugin_query(mill_context* context, uint32_t index, mill_plugin_info* info,
                              mill_error* err) {
  return guard("mill_plugin_query", err, [&] {
    need_context(context);
    const std::vector<PluginEntry> all = Plugins::of_process().all();
    if (index >= all.size())
      fail_argument(MILL_E_ARG, 1, "index is %u, there are %zu", index, all.size());
    const PluginEntry& entry = all[index];
    mill_plugin_info out{};
    out.status = entry.status;
    std::snprintf(out.path, sizeof out.path, "%s", entry.path.c_str());
    std::snprintf(out.reason, sizeof out.reason, "%s", entry.reason.c_str());
    if (entry.status == MILL_OK) {
      const mill_plugin& plugin = entry.plugin;
      std::snprintf(out.name, sizeof out.name, "%s", plugin.name);
      std::snprintf(out.version, sizeof out.version, "%s", plugin.version ? plugin.version : "");
      std::snprintf(out.description, sizeof out.description, "%s",
                    plugin.description ? plugin.description : "");
      mill_kernel_error error{};
      const mill_status counted = plugin.count(plugin.self, &out.devices, &error);
      if (counted != MILL_OK) {
        out.status = counted;
        out.devices = 0;
        std::snprintf(out.reason, sizeof out.reason, "%s", reason_of(error).c_str());
      }
    }
    write_struct(info, MILL_STRUCT_PLUGIN_INFO, "info", 2, out);
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

mill_status mill_stream_wrap(mill_context* context, uint32_t device, void* native,
                             mill_stream** out_stream, mill_error* err) {
  return guard("mill_stream_wrap", err, [&] {
    clear_out(out_stream, 3, "out_stream");
    mill_context& c = need_context(context);
    Device& on = need_device(c, device, 1);
    if (!native) fail_argument(MILL_E_ARG, 2, "native is NULL");
    if (!on.streams().wrap)
      fail_argument(MILL_E_UNSUPPORTED, 1, "device %u, %s, has no native streams", device,
                    on.name());
    *out_stream = at_argument(2, [&] {
      return slab_new<mill_stream>(on, c.next_id.fetch_add(1, std::memory_order_relaxed), 0,
                                   native);
    });
  });
}

mill_status mill_stream_native(mill_stream* stream, void** out_native, mill_error* err) {
  return guard("mill_stream_native", err, [&] {
    need_out(out_native, 1, "out_native") = nullptr;
    const mill_stream& s = need_stream(stream, 0);
    const mill_stream_functions& streams = s.device.streams();
    if (!streams.native) {
      fail_argument(MILL_E_UNSUPPORTED, 0, "device %u, %s, has no native streams", s.device.index(),
                    s.device.name());
    }
    *out_native = streams.native(s.device.self(), s.native);
  });
}

mill_status mill_stream_wait(mill_stream* stream, mill_error* err) {
  return guard("mill_stream_wait", err, [&] {
    mill_stream& s = need_stream(stream, 0);
    const WaitRecord waiting(s.device, MILL_RECORD_SYNC_STREAM, nullptr, s.id);
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
    const WaitRecord waiting(e.device, MILL_RECORD_SYNC_EVENT, nullptr, 0);
    return e.wait(timeout_ns);
  });
}

mill_status mill_event_elapsed(mill_event* from, mill_event* to, double* out_ns, mill_error* err) {
  return guard("mill_event_elapsed", err, [&] {
    need_out(out_ns, 2, "out_ns") = 0;
    mill_event& first = need_event(from, 0);
    mill_event& last = need_event(to, 1);
    if (&first.device != &last.device) {
      fail_argument(MILL_E_DEVICE, 1, "the events are of devices %u and %u", first.device.index(),
                    last.device.index());
    }
    *out_ns = first.elapsed(last);
  });
}

mill_status mill_event_descriptor(mill_event* event, int32_t* out_fd, mill_error* err) {
  return guard("mill_event_descriptor", err, [&] {
    need_out(out_fd, 1, "out_fd") = -1;
    *out_fd = need_event(event, 0).descriptor();
  });
}

mill_status mill_stream_wait_event(mill_stream* stream, mill_event* event, mill_error* err) {
  return guard("mill_stream_wait_event", err, [&] {
    mill_stream& s = need_stream(stream, 0);
    mill_event& e = need_event(event, 1);
    check_pair(e, s);
    mill_kernel_error error{};
    check(s.device.streams().wait_event(s.device.self(), s.native, e.native, &error), error);
  });
}
