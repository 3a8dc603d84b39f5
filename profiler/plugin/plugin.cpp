// The plugin's one exported function and the table behind it: handles in, statuses out, no
// exception past here.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "millrace/profiler_plugin.h"
#include "profiler/export/export.h"
#include "profiler/import/import.h"
#include "profiler/plugin/view.h"
#include "profiler/session/session.h"

MILL_PLUGIN_NOTE(MILL_PLUGIN_ABI_OLDEST);

namespace mill::prof {

namespace {

const mill_profiler_host* g_host = nullptr;  // NOLINT: set once, by mill_profiler_open

mill_status refuse(mill_kernel_error* error, mill_status status, std::string_view text) {
  std::snprintf(error->text, sizeof error->text, "%.*s",
                static_cast<int>(std::min<size_t>(text.size(), sizeof error->text - 1)),
                text.data());
  return status;
}

template <class Body>
mill_status guarded(mill_kernel_error* error, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return refuse(error, MILL_E_MEMORY, "the profiler is out of memory");
  } catch (const std::exception& failure) {
    return refuse(error, MILL_E_INTERNAL, failure.what());
  } catch (...) {
    return refuse(error, MILL_E_INTERNAL, "the profiler failed");
  }
}

Session& session_of(void* self) {
  return *static_cast<Session*>(self);
}
const View& view_of(void* self) {
  return *static_cast<const View*>(self);
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

// ---- export -------------------------------------------------------------------------------------

// "name=value,name=value"; takes what is asked for, and what is left at the end is unknown.
class Options {
 public:
  explicit Options(std::string_view text) : left_(text) {}

  // False where it is not given.
  bool take(std::string_view name, std::string* value) {
    size_t at = 0;
    while (at < left_.size()) {
      const size_t end = std::min(left_.find(',', at), left_.size());
      const std::string one = left_.substr(at, end - at);
      if (one.size() > name.size() && one.compare(0, name.size(), name) == 0 &&
          one[name.size()] == '=') {
        left_.erase(at, end - at + (end < left_.size() ? 1 : 0));
        *value = one.substr(name.size() + 1);
        return true;
      }
      at = end + 1;
    }
    return false;
  }
  // False where there is a value that is no such number.
  bool number(std::string_view name, uint64_t low, uint64_t high, uint64_t* to, std::string* why) {
    std::string text;
    if (!take(name, &text)) return true;
    uint64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || end != text.data() + text.size() || value < low || value > high) {
      *why = "option " + std::string(name) + " is \"" + text.substr(0, 64) +
             "\", it must be a number from " + std::to_string(low) + " to " + std::to_string(high);
      return false;
    }
    *to = value;
    return true;
  }
  bool done(std::string* why) const {
    if (left_.empty()) return true;
    *why = "there is no option \"" + left_.substr(0, 64) + "\" for this format";
    return false;
  }

 private:
  std::string left_;
};

mill_status view_export(void* self, int32_t format, const char* options, mill_prof_writer writer,
                        void* user, mill_kernel_error* error) {
  return guarded(error, [&] {
    const Analysis& analysis = view_of(self).analysis();
    Options given(options);
    std::string why;
    mill_status said = MILL_OK;
    const Sink sink = [&](std::string_view piece) {
      said = writer(user, piece.data(), piece.size());
      return said == MILL_OK;
    };
    bool written = false;
    switch (format) {
      case MILL_PROF_FORMAT_TEXT: {
        uint64_t width = 100;
        uint64_t findings = 10;
        uint64_t rows = 10;
        if (!given.number("width", 40, 1000, &width, &why) ||
            !given.number("findings", 0, 1000, &findings, &why) ||
            !given.number("rows", 0, 100000, &rows, &why) || !given.done(&why))
          return refuse(error, MILL_E_ARG, why);
        written = export_text(analysis,
                              {static_cast<uint32_t>(width), static_cast<uint32_t>(findings),
                               static_cast<uint32_t>(rows)},
                              sink);
        break;
      }
      case MILL_PROF_FORMAT_CSV: {
        std::string table;
        given.take("table", &table);
        if (!given.done(&why)) return refuse(error, MILL_E_ARG, why);
        if (table.empty())
          return refuse(error, MILL_E_ARG, "CSV is of one table: the options lack table=NAME");
        const std::vector<std::string_view>& names = TableView::names();
        if (std::find(names.begin(), names.end(), table) == names.end()) {
          return refuse(error, MILL_E_ARG,
                        "there is no table \"" + table.substr(0, 64) + "\"" +
                            suggestion(table.substr(0, 64), names));
        }
        written = export_csv(analysis, table, sink);
        break;
      }
      case MILL_PROF_FORMAT_JSON_LINES:
        if (!given.done(&why)) return refuse(error, MILL_E_ARG, why);
        written = export_json_lines(analysis, sink);
        break;
      case MILL_PROF_FORMAT_CHROME:
        if (!given.done(&why)) return refuse(error, MILL_E_ARG, why);
        written = export_chrome(analysis, sink);
        break;
      case MILL_PROF_FORMAT_HTML: {
        HtmlOptions html;
        if (!given.number("max_bytes", 100000, UINT64_MAX, &html.max_bytes, &why) ||
            !given.done(&why))
          return refuse(error, MILL_E_ARG, why);
        written = export_html(analysis, html, sink);
        break;
      }
      default:
        return refuse(error, MILL_E_ARG,
                      "format is " + std::to_string(format) + ", formats are 1 to 5");
    }
    if (written) return mill_status{MILL_OK};
    return refuse(
        error, MILL_E_IO,
        "the writer returned status " + std::to_string(said) + ", the export ended there");
  });
}

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
