#include "profiler_host.h"

#include <cstdio>

#include "device/profiler_plugin.h"
#include "guard.h"
#include "need_device.h"

namespace mill::api {

namespace {

void op_name(mill_context* context, int32_t op, char* text, uint64_t capacity) {
  if (capacity == 0) return;
  text[0] = 0;
  try {
    std::snprintf(text, capacity, "%s", context->tracer.op_name(op).c_str());
  } catch (...) {  // NOLINT(bugprone-empty-catch): without memory it has no name
  }
}

mill_status session_mask(mill_context* context, uint64_t mask) {
  return guard("profiler session", nullptr, [&] { context->set_session_mask(mask); });
}

// As the functions of the public headers, but as the other reader: what the program wants of the
// same records it gets as well.
mill_status session_drain(mill_context* context, mill_trace_record* records, uint32_t capacity,
                          uint32_t* out_count, uint64_t* out_lost, mill_error* err) {
  return guard("profiler session", err, [&] {
    return context->tracer.drain(Reader::session, records, capacity, out_count, out_lost);
  });
}

mill_status session_timeline(mill_context* context, uint32_t device, uint32_t what,
                             mill_error* err) {
  return guard("profiler session", err, [&] {
    need_timeline(need_device(*context, device, 1)).want(Reader::session, what);
  });
}

mill_status session_device_drain(mill_context* context, uint32_t device, mill_timeline_record* out,
                                 uint64_t capacity, uint64_t* out_count, uint64_t* out_lost,
                                 mill_error* err) {
  return guard("profiler session", err, [&] {
    uint64_t lost = 0;
    *out_count = 0;
    need_timeline(need_device(*context, device, 1))
        .drain(Reader::session, out, capacity, out_count, &lost);
    if (out_lost) *out_lost = lost;
  });
}

const mill_device_limits* device_limits(mill_context* context, uint32_t index) {
  return index < context->devices.size() ? &context->devices[index].limits() : nullptr;
}

mill_bool device_inline(mill_context* context, uint32_t index) {
  return index < context->devices.size() && context->devices[index].runs_inline();
}

void session_wait(mill_context* context, uint64_t timeout_ns) {
  context->tracer.half_full().sleep(timeout_ns);
}

void session_wake(mill_context* context) {
  context->tracer.half_full().ring();
}

constexpr mill_profiler_host kHost = {sizeof(mill_profiler_host),
                                      MILL_PROFILER_ABI,
                                      session_mask,
                                      mill_trace_clock,
                                      session_drain,
                                      mill_trace_string,
                                      mill_device_count,
                                      mill_device_query,
                                      session_timeline,
                                      session_device_drain,
                                      mill_memory_stats_query,
                                      op_name,
                                      device_limits,
                                      device_inline,
                                      session_wait,
                                      session_wake};

}  // namespace

const mill_profiler_table& need_profiler() {
  return profiler_plugin(kHost);
}

}  // namespace mill::api
