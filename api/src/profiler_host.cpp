#include "profiler_host.h"

#include <cstdio>

#include "device/profiler_plugin.h"
#include "guard.h"

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

const mill_device_limits* device_limits(mill_context* context, uint32_t index) {
  return index < context->devices.size() ? &context->devices[index].limits() : nullptr;
}

mill_bool device_inline(mill_context* context, uint32_t index) {
  return index < context->devices.size() && context->devices[index].runs_inline();
}

constexpr mill_profiler_host kHost = {sizeof(mill_profiler_host),
                                      MILL_PROFILER_ABI,
                                      session_mask,
                                      mill_trace_clock,
                                      mill_trace_drain,
                                      mill_trace_string,
                                      mill_device_count,
                                      mill_device_query,
                                      mill_device_timeline,
                                      mill_device_drain,
                                      mill_memory_stats_query,
                                      op_name,
                                      device_limits,
                                      device_inline};

}  // namespace

const mill_profiler_table& need_profiler() {
  return profiler_plugin(kHost);
}

}  // namespace mill::api
