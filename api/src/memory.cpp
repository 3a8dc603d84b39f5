#include "millrace/memory.h"

#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

Allocator& need_allocator(mill_context* context, uint32_t device) {
  mill_context& c = need_context(context);
  if (device >= c.devices.size()) {
    fail_argument(MILL_E_ARG, 1, "device is %u, the context has %u", device, c.devices.size());
  }
  return c.devices[device].allocator();
}

}  // namespace

mill_status mill_memory_stats_query(mill_context* context, uint32_t device,
                                    mill_memory_stats* out_stats, mill_error* err) {
  return guard("mill_memory_stats_query", err, [&] {
    const MemoryStats stats = need_allocator(context, device).stats();
    mill_memory_stats out{};
    out.in_use_bytes = stats.in_use;
    out.in_use_peak = stats.in_use_peak;
    out.requested_bytes = stats.requested;
    out.cached_bytes = stats.cached;
    out.reserved_bytes = stats.reserved;
    out.reserved_peak = stats.reserved_peak;
    out.limit_bytes = stats.limit;
    out.allocations = stats.allocations;
    out.frees = stats.frees;
    out.growths = stats.growths;
    out.reclaims = stats.reclaims;
    out.failures = stats.failures;
    out.source_calls = stats.source_allocations + stats.source_frees;
    write_struct(out_stats, MILL_STRUCT_MEMORY_STATS, "out_stats", 2, out);
  });
}

mill_status mill_memory_tag_query(mill_context* context, uint32_t device, const char* tag,
                                  uint64_t* out_bytes, mill_error* err) {
  return guard("mill_memory_tag_query", err, [&] {
    need_out(out_bytes, 3, "out_bytes") = 0;
    const Allocator& allocator = need_allocator(context, device);
    const int32_t found = context->find_tag(tag);
    if (found >= 0) *out_bytes = allocator.stats().tags[static_cast<size_t>(found)];
  });
}

mill_status mill_memory_trim(mill_context* context, uint32_t device, uint64_t* out_bytes,
                             mill_error* err) {
  return guard("mill_memory_trim", err, [&] {
    if (out_bytes) *out_bytes = 0;
    const uint64_t bytes = need_allocator(context, device).trim();
    if (out_bytes) *out_bytes = bytes;
  });
}

mill_status mill_memory_set_limit(mill_context* context, uint32_t device, uint64_t bytes,
                                  mill_error* err) {
  return guard("mill_memory_set_limit", err,
               [&] { need_allocator(context, device).set_limit(bytes); });
}

mill_status mill_memory_reset_peak(mill_context* context, uint32_t device, mill_error* err) {
  return guard("mill_memory_reset_peak", err,
               [&] { need_allocator(context, device).reset_peak(); });
}

mill_status mill_memory_fail_at(mill_context* context, uint32_t device, uint64_t k,
                                mill_error* err) {
  return guard("mill_memory_fail_at", err, [&] { need_allocator(context, device).fail_at(k); });
}
