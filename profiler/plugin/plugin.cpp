// The plugin's one exported function and the table behind it: handles in, statuses out, no
// exception past here.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "profiler/import/import.h"
#include "profiler/plugin/guard.h"
#include "profiler/session/session.h"

MILL_PLUGIN_NOTE(MILL_PLUGIN_ABI_OLDEST);

namespace mill::prof {

namespace {

const mill_profiler_host* g_host = nullptr;  // NOLINT: set once, by mill_profiler_open

Session& session_of(void* self) {
  return *static_cast<Session*>(self);
}
const Result& result_of(void* self) {
  return *static_cast<const Result*>(self);
}

// ---- what works here ----------------------------------------------------------------------------

struct FixedCapability {
  const char* name;
  mill_status status;
  const char* reason;
};
constexpr FixedCapability kFixed[] = {
    {"engine events", MILL_OK, ""},
    {"import of traces", MILL_OK, ""},
    {"cupti", MILL_E_UNSUPPORTED,
     "this build does not read CUPTI: kernels and copies of CUDA devices are not timed"},
    {"nvtx input", MILL_E_UNSUPPORTED,
     "this build does not listen to NVTX; the engine's own ranges are sent (MILL_TRACE_NVTX)"},
};

mill_status capability_count(mill_context* context, uint32_t* out_count, mill_kernel_error* error) {
  return guarded(error, [&] {
    const Engine engine(*g_host, context);
    *out_count = static_cast<uint32_t>(std::size(kFixed) + engine.devices().size());
    return mill_status{MILL_OK};
  });
}

mill_status capability(mill_context* context, uint32_t index, mill_prof_capability* info,
                       mill_kernel_error* error) {
  return guarded(error, [&] {
    const auto say = [&](const std::string& name, mill_status status, const char* reason) {
      info->status = status;
      std::snprintf(info->name, sizeof info->name, "%s", name.c_str());
      std::snprintf(info->reason, sizeof info->reason, "%s", reason);
      return mill_status{MILL_OK};
    };
    if (index < std::size(kFixed))
      return say(kFixed[index].name, kFixed[index].status, kFixed[index].reason);
    const Engine engine(*g_host, context);
    const std::vector<DeviceInfo> devices = engine.devices();
    const size_t k = index - std::size(kFixed);
    if (k >= devices.size()) return refuse(error, MILL_E_ARG, "no such capability");
    const std::string name = "device timeline " + devices[k].name;
    if (devices[k].kind == DeviceKind::cpu) return say(name, MILL_OK, "from the engine's events");
    if (engine.has_timeline(static_cast<uint32_t>(k))) return say(name, MILL_OK, "");
    return say(name, MILL_E_UNSUPPORTED,
               "the device keeps no timeline by itself, and CUPTI is not read");
  });
}

// ---- sessions -----------------------------------------------------------------------------------

mill_status session_create(mill_context* context, const mill_prof_opts* opts, void** out,
                           mill_kernel_error* error) {
  return guarded(error, [&] {
    if (opts->tier > 1) {
      return refuse(error, MILL_E_UNSUPPORTED,
                    "tier " + std::to_string(opts->tier) +
                        " needs CUPTI, which this build does not read; tier 1 works");
    }
    *out = static_cast<Session*>(std::make_unique<LiveSession>(*g_host, context, *opts).release());
    return mill_status{MILL_OK};
  });
}

mill_status session_open(const char* path, const mill_prof_opts* opts, void** out,
                         mill_kernel_error* error) {
  return guarded(error, [&] {
    Trace trace;
    std::string why;
    ImportOptions options;
    options.store_bytes = std::max(options.store_bytes, opts->store_bytes);
    const ImportStatus status = import_file(path, options, &trace, &why);
    if (status == ImportStatus::not_found)
      return refuse(error, MILL_E_IO, "\"" + std::string(path) + "\" cannot be read: " + why);
    if (status == ImportStatus::not_a_trace)
      return refuse(error, MILL_E_FORMAT, "\"" + std::string(path) + "\" is no trace: " + why);
    *out = static_cast<Session*>(std::make_unique<FileSession>(std::move(trace), *opts).release());
    return mill_status{MILL_OK};
  });
}

void session_destroy(void* self) {
  delete static_cast<Session*>(self);
}

mill_status session_start(void* self, mill_kernel_error* error) {
  return guarded(error, [&] {
    std::string why;
    const mill_status status = session_of(self).start(&why);
    return status == MILL_OK ? status : refuse(error, status, why);
  });
}

mill_status session_stop(void* self, mill_kernel_error* error) {
  return guarded(error, [&] {
    std::string why;
    const mill_status status = session_of(self).stop(&why);
    return status == MILL_OK ? status : refuse(error, status, why);
  });
}

void session_device_added(void* self) {
  try {
    session_of(self).device_added();
  } catch (...) {  // NOLINT(bugprone-empty-catch): the next drain looks again
  }
}

mill_status session_set(void* self, const char* name, double value, mill_kernel_error* error) {
  return guarded(error, [&] {
    std::string why;
    if (session_of(self).set(name, value, &why)) return mill_status{MILL_OK};
    return refuse(error, MILL_E_ARG, why);
  });
}

mill_status session_calibration(void* self, const char* path, mill_kernel_error* error) {
  return guarded(error, [&] {
    std::string why;
    bool readable = false;
    if (session_of(self).read_calibration(path, &why, &readable)) return mill_status{MILL_OK};
    return refuse(error, readable ? MILL_E_FORMAT : MILL_E_IO, why);
  });
}

void session_overhead(void* self, mill_prof_overhead_info* info) {
  mill_kernel_error error{};
  guarded(&error, [&] {
    session_of(self).overhead(info);
    return mill_status{MILL_OK};
  });
}

mill_status session_snapshot(void* self, void** out_view, mill_kernel_error* error) {
  return guarded(error, [&] {
    *out_view = std::make_unique<View>(session_of(self).snapshot()).release();
    return mill_status{MILL_OK};
  });
}

// ---- views --------------------------------------------------------------------------------------

void view_destroy(void* self) {
  delete static_cast<View*>(self);
}
void view_summary(void* self, mill_prof_summary* info) {
  view_of(self).summary(info);
}
uint32_t view_findings(void* self) {
  return view_of(self).findings();
}
void view_finding(void* self, uint32_t index, mill_prof_finding* info) {
  view_of(self).finding(index, info);
}
uint32_t view_facts(void* self, uint32_t index, mill_prof_fact* facts, uint32_t capacity) {
  return view_of(self).facts(index, facts, capacity);
}
uint32_t view_evidence(void* self, uint32_t index, mill_prof_evidence* evidence,
                       uint32_t capacity) {
  return view_of(self).evidence(index, evidence, capacity);
}

mill_status view_query(void* self, const char* text, uint64_t text_len, void** out_result,
                       mill_kernel_error* error) {
  return guarded(error, [&] {
    QueryResult result;
    std::string why;
    if (!run_query(view_of(self).analysis(), std::string_view(text, text_len), &result, &why))
      return refuse(error, MILL_E_ARG, why);
    *out_result = std::make_unique<Result>(std::move(result)).release();
    return mill_status{MILL_OK};
  });
}

mill_status view_whatif(void* self, const mill_prof_change* change,
                        mill_prof_prediction* out_prediction, mill_kernel_error* error) {
  return guarded(error, [&] {
    std::string why;
    if (view_of(self).whatif(*change, out_prediction, &why)) return mill_status{MILL_OK};
    return refuse(error, MILL_E_STATE, why);
  });
}

// ---- results ------------------------------------------------------------------------------------

void result_destroy(void* self) {
  delete static_cast<Result*>(self);
}
void result_shape(void* self, uint32_t* out_columns, uint64_t* out_rows) {
  *out_columns = result_of(self).columns();
  *out_rows = result_of(self).rows();
}
void result_column(void* self, uint32_t index, mill_prof_column* out_column) {
  result_of(self).column(index, out_column);
}

constexpr mill_profiler_table kTable = {sizeof(mill_profiler_table),
                                        MILL_PROFILER_ABI,
                                        MILL_PROF_VERSION,
                                        capability_count,
                                        capability,
                                        session_create,
                                        session_open,
                                        session_destroy,
                                        session_start,
                                        session_stop,
                                        session_device_added,
                                        session_set,
                                        session_calibration,
                                        session_overhead,
                                        session_snapshot,
                                        view_destroy,
                                        view_summary,
                                        view_findings,
                                        view_finding,
                                        view_facts,
                                        view_evidence,
                                        view_query,
                                        view_whatif,
                                        view_export,
                                        result_destroy,
                                        result_shape,
                                        result_column};

}  // namespace

}  // namespace mill::prof

extern "C" MILL_PLUGIN_EXPORT mill_status mill_profiler_open(const mill_profiler_host* host,
                                                             mill_profiler_table* out,
                                                             mill_kernel_error* error) {
  using namespace mill::prof;  // NOLINT
  if (host->abi != MILL_PROFILER_ABI || host->size < sizeof(mill_profiler_host)) {
    return guarded(error, [&] {
      return refuse(error, MILL_E_UNSUPPORTED,
                    "the library is of profiler ABI " + std::to_string(host->abi) +
                        ", this plugin is of " + std::to_string(int{MILL_PROFILER_ABI}));
    });
  }
  g_host = host;
  const uint32_t size = std::min<uint32_t>(out->size, sizeof kTable);
  std::memcpy(out, &kTable, size);
  return MILL_OK;
}
