#include "millrace/profiler.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "auto_profile.h"
#include "base/utf8.h"
#include "export_file.h"
#include "guard.h"
#include "profiler_handles.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

// One call of the session at a time.
class ProfGuard {
 public:
  explicit ProfGuard(mill_prof* prof) : prof_(need(prof, 0, "prof")) {
    check_fork(*prof_.context);
    if (!prof_.lock.try_enter()) fail(MILL_E_BUSY, "the session is being used by another thread");
  }
  ~ProfGuard() { prof_.lock.leave(); }
  ProfGuard(const ProfGuard&) = delete;
  ProfGuard& operator=(const ProfGuard&) = delete;
  mill_prof& operator*() const { return prof_; }
  mill_prof* operator->() const { return &prof_; }

 private:
  mill_prof& prof_;
};

mill_prof_result& need_result(mill_prof_result* result) {
  mill_prof_result& found = need(result, 0, "result");
  check_fork(*found.view->context);
  return found;
}

std::string need_filled(const char* text, uint64_t length, int32_t argument, const char* name) {
  std::string out = need_text(text, length, argument, name);
  if (out.empty()) fail_argument(MILL_E_ARG, argument, "%s is empty", name);
  return out;
}

mill_prof_opts read_opts(const mill_prof_opts* given, int32_t argument) {
  mill_prof_opts opts = read_struct(given, MILL_STRUCT_PROF_OPTS, "opts", argument);
  if (opts.tier > 4) {
    fail_argument(MILL_E_ARG, argument, "opts->tier is %u, tiers are 1 to 4, 0 is 1", opts.tier);
  }
  if (!std::isfinite(opts.budget) || opts.budget < 0) {
    fail_argument(MILL_E_ARG, argument,
                  "opts->budget is %g, a share of a step's time cannot be negative", opts.budget);
  }
  constexpr uint64_t kLeast = uint64_t{1} << 20;
  if (opts.store_bytes != 0 && opts.store_bytes < kLeast) {
    fail_argument(MILL_E_ARG, argument, "opts->store_bytes is %llu, it must be 0 or at least %llu",
                  static_cast<unsigned long long>(opts.store_bytes),
                  static_cast<unsigned long long>(kLeast));
  }
  if (opts.interval_ms > 60000) {
    fail_argument(MILL_E_ARG, argument, "opts->interval_ms is %u, at most 60000 can be",
                  opts.interval_ms);
  }
  if (opts.tier == 0) opts.tier = 1;
  if (opts.interval_ms == 0) opts.interval_ms = 50;
  if (opts.store_bytes == 0) opts.store_bytes = uint64_t{256} << 20;
  if (opts.budget == 0) opts.budget = 0.01;
  return opts;
}

// The first device whose time is modelled: the session's clock.
TraceTime session_time(const mill_context& context) {
  for (uint32_t k = 0; k < context.devices.size(); ++k) {
    if (context.devices[k].modelled()) return context.devices[k].trace_time(context.tracer);
  }
  return TraceTime(context.tracer);
}

// What the program says of itself goes into the ring that every thread may write.
void tell(mill_prof* prof, int32_t kind, const char* name, uint64_t length) {
  mill_prof& p = need(prof, 0, "prof");
  check_fork(*p.context);
  Tracer& tracer = p.context->tracer;
  uint32_t id = 0;
  if (name || kind == MILL_RECORD_SCOPE_BEGIN || kind == MILL_RECORD_MARK) {
    if (!name) fail_argument(MILL_E_ARG, 1, "name is NULL");
    const std::string_view text(name, length == MILL_NTS ? std::strlen(name) : length);
    if (text.empty()) fail_argument(MILL_E_ARG, 1, "name is empty");
    need_utf8(text, 1, "name");
    if (!p.running.load(std::memory_order_acquire)) return;
    at_argument(1, [&] { id = tracer.intern(text); });
  }
  if (!p.running.load(std::memory_order_acquire)) return;
  const TraceTime time = session_time(*p.context);
  mill_trace_record record{};
  record.kind = kind;
  record.clock = time.clock();
  record.start_ns = time.now();
  record.detail = id;
  record.scope = id;
  tracer.record_shared(record);
}

}  // namespace

mill_status mill_prof_capability_count(mill_context* context, uint32_t* out_count,
                                       mill_error* err) {
  return guard("mill_prof_capability_count", err, [&] {
    need_out(out_count, 1, "out_count") = 0;
    mill_context& c = need_context(context);
    const mill_profiler_table* plugin = nullptr;
    try {
      plugin = &need_profiler();
    } catch (const Error&) {
      *out_count = 1;
      return;
    }
    mill_kernel_error error{};
    uint32_t n = 0;
    say(plugin->capability_count(&c, &n, &error), error);
    *out_count = n + 1;
  });
}

mill_status mill_prof_capability_query(mill_context* context, uint32_t index,
                                       mill_prof_capability* info, mill_error* err) {
  return guard("mill_prof_capability_query", err, [&] {
    mill_context& c = need_context(context);
    need_out(info, 2, "info");
    mill_prof_capability out{};
    const mill_profiler_table* plugin = nullptr;
    uint32_t n = 0;
    out.status = MILL_OK;
    std::snprintf(out.name, sizeof out.name, "plugin");
    out.reason[0] = 0;
    try {
      plugin = &need_profiler();
    } catch (const Error& error) {
      out.status = error.status();
      std::snprintf(out.reason, sizeof out.reason, "%.511s", error.text());
    }
    mill_kernel_error error{};
    if (plugin) say(plugin->capability_count(&c, &n, &error), error);
    if (index > n) {
      fail_argument(MILL_E_ARG, 1, "index is %u, there are %u capabilities", index, n + 1);
    }
    if (index > 0) say(plugin->capability(&c, index - 1, &out, &error), error);
    write_struct(info, MILL_STRUCT_PROF_CAPABILITY, "info", 2, out);
  });
}

mill_status mill_prof_create(mill_context* context, const mill_prof_opts* opts,
                             mill_prof** out_prof, mill_error* err) {
  return guard("mill_prof_create", err, [&] {
    clear_out(out_prof, 2, "out_prof");
    mill_context& c = need_context(context);
    const mill_prof_opts read = read_opts(opts, 1);
    const mill_profiler_table& plugin = need_profiler();
    auto made = Ref<mill_prof>::adopt(slab_new<mill_prof>(c, plugin, true));
    mill_kernel_error error{};
    say(plugin.session_create(&c, &read, &made->self, &error), error);
    *out_prof = made.release();
  });
}

mill_status mill_prof_open(mill_context* context, const char* path, uint64_t path_len,
                           const mill_prof_opts* opts, mill_prof** out_prof, mill_error* err) {
  return guard("mill_prof_open", err, [&] {
    clear_out(out_prof, 4, "out_prof");
    mill_context& c = need_context(context);
    const std::string file = need_filled(path, path_len, 1, "path");
    const mill_prof_opts read = read_opts(opts, 3);
    const mill_profiler_table& plugin = need_profiler();
    auto made = Ref<mill_prof>::adopt(slab_new<mill_prof>(c, plugin, false));
    mill_kernel_error error{};
    say(plugin.session_open(file.c_str(), &read, &made->self, &error), error);
    *out_prof = made.release();
  });
}

void mill_prof_retain(mill_prof* prof) {
  if (valid(prof, HandleKind::prof)) retain(prof);
}
void mill_prof_release(mill_prof* prof) {
  if (valid(prof, HandleKind::prof)) release(prof);
}

mill_status mill_prof_start(mill_prof* prof, mill_error* err) {
  return guard("mill_prof_start", err, [&] {
    const ProfGuard p(prof);
    if (p->running) fail(MILL_E_STATE, "the session runs already");
    ProfileWatch& watch = p->context->profile;
    if (!watch.begin(p->self, p->plugin.session_device_added) &&
        !(yield_auto_profile(*p->context) && watch.begin(p->self, p->plugin.session_device_added)))
      fail(MILL_E_STATE, "another session of the context runs");
    mill_kernel_error error{};
    const mill_status status = p->plugin.session_start(p->self, &error);
    if (status < 0) p->context->profile.end();
    say(status, error);
    p->running = true;
  });
}

mill_status mill_prof_stop(mill_prof* prof, mill_error* err) {
  return guard("mill_prof_stop", err, [&] {
    const ProfGuard p(prof);
    if (!p->running) fail(MILL_E_STATE, "the session does not run");
    mill_kernel_error error{};
    const mill_status status = p->plugin.session_stop(p->self, &error);
    p->stopped();
    say(status, error);
  });
}

mill_status mill_prof_set(mill_prof* prof, const char* name, uint64_t name_len, double value,
                          mill_error* err) {
  return guard("mill_prof_set", err, [&] {
    const ProfGuard p(prof);
    const std::string text = need_filled(name, name_len, 1, "name");
    if (!std::isfinite(value) || value < 0) {
      fail_argument(MILL_E_ARG, 2, "value of \"%.100s\" is %g, it must be finite and not negative",
                    text.c_str(), value);
    }
    mill_kernel_error error{};
    at_argument(1,
                [&] { say(p->plugin.session_set(p->self, text.c_str(), value, &error), error); });
  });
}

mill_status mill_prof_set_calibration(mill_prof* prof, const char* path, uint64_t path_len,
                                      mill_error* err) {
  return guard("mill_prof_set_calibration", err, [&] {
    const ProfGuard p(prof);
    const std::string file = need_filled(path, path_len, 1, "path");
    mill_kernel_error error{};
    at_argument(1,
                [&] { say(p->plugin.session_calibration(p->self, file.c_str(), &error), error); });
  });
}

mill_status mill_prof_step(mill_prof* prof, mill_error* err) {
  return guard("mill_prof_step", err, [&] { tell(prof, MILL_RECORD_STEP, nullptr, 0); });
}

mill_status mill_prof_range_push(mill_prof* prof, const char* name, uint64_t name_len,
                                 mill_error* err) {
  return guard("mill_prof_range_push", err,
               [&] { tell(prof, MILL_RECORD_SCOPE_BEGIN, name, name_len); });
}

mill_status mill_prof_range_pop(mill_prof* prof, mill_error* err) {
  return guard("mill_prof_range_pop", err, [&] { tell(prof, MILL_RECORD_SCOPE_END, nullptr, 0); });
}

mill_status mill_prof_mark(mill_prof* prof, const char* name, uint64_t name_len, mill_error* err) {
  return guard("mill_prof_mark", err, [&] { tell(prof, MILL_RECORD_MARK, name, name_len); });
}

mill_status mill_prof_overhead(mill_prof* prof, mill_prof_overhead_info* info, mill_error* err) {
  return guard("mill_prof_overhead", err, [&] {
    mill_prof& p = need(prof, 0, "prof");
    check_fork(*p.context);
    mill_prof_overhead_info out{};
    p.plugin.session_overhead(p.self, &out);
    write_struct(info, MILL_STRUCT_PROF_OVERHEAD, "info", 1, out);
  });
}

mill_status mill_prof_snapshot(mill_prof* prof, mill_prof_view** out_view, mill_error* err) {
  return guard("mill_prof_snapshot", err, [&] {
    clear_out(out_view, 1, "out_view");
    const ProfGuard p(prof);
    auto made = Ref<mill_prof_view>::adopt(slab_new<mill_prof_view>(*p));
    mill_kernel_error error{};
    say(p->plugin.session_snapshot(p->self, &made->self, &error), error);
    *out_view = made.release();
  });
}

void mill_prof_view_retain(mill_prof_view* view) {
  if (valid(view, HandleKind::prof_view)) retain(view);
}
void mill_prof_view_release(mill_prof_view* view) {
  if (valid(view, HandleKind::prof_view)) release(view);
}

mill_status mill_prof_view_summary(mill_prof_view* view, mill_prof_summary* info, mill_error* err) {
  return guard("mill_prof_view_summary", err, [&] {
    const mill_prof_view& v = need_view(view);
    mill_prof_summary out{};
    v.plugin.view_summary(v.self, &out);
    write_struct(info, MILL_STRUCT_PROF_SUMMARY, "info", 1, out);
  });
}

namespace {

template <class T>
void check_array(const T* array, uint32_t capacity, const char* name) {
  if (capacity > 0 && !array)
    fail_argument(MILL_E_ARG, 2, "%s is NULL, its capacity is %u", name, capacity);
}

}  // namespace

mill_status mill_prof_finding_query(mill_prof_view* view, uint32_t index, mill_prof_finding* info,
                                    mill_error* err) {
  return guard("mill_prof_finding_query", err, [&] {
    const mill_prof_view& v = need_finding(view, index);
    mill_prof_finding out{};
    v.plugin.view_finding(v.self, index, &out);
    write_struct(info, MILL_STRUCT_PROF_FINDING, "info", 2, out);
  });
}

mill_status mill_prof_finding_facts(mill_prof_view* view, uint32_t index, mill_prof_fact* facts,
                                    uint32_t capacity, uint32_t* out_count, mill_error* err) {
  return guard("mill_prof_finding_facts", err, [&]() -> mill_status {
    need_out(out_count, 4, "out_count") = 0;
    const mill_prof_view& v = need_finding(view, index);
    check_array(facts, capacity, "facts");
    *out_count = v.plugin.view_facts(v.self, index, facts, capacity);
    return capacity > 0 && *out_count > capacity ? MILL_INCOMPLETE : MILL_OK;
  });
}

mill_status mill_prof_finding_evidence(mill_prof_view* view, uint32_t index,
                                       mill_prof_evidence* evidence, uint32_t capacity,
                                       uint32_t* out_count, mill_error* err) {
  return guard("mill_prof_finding_evidence", err, [&]() -> mill_status {
    need_out(out_count, 4, "out_count") = 0;
    const mill_prof_view& v = need_finding(view, index);
    check_array(evidence, capacity, "evidence");
    *out_count = v.plugin.view_evidence(v.self, index, evidence, capacity);
    return capacity > 0 && *out_count > capacity ? MILL_INCOMPLETE : MILL_OK;
  });
}

mill_status mill_prof_query(mill_prof_view* view, const char* text, uint64_t text_len,
                            mill_prof_result** out_result, mill_error* err) {
  return guard("mill_prof_query", err, [&] {
    clear_out(out_result, 3, "out_result");
    mill_prof_view& v = need_view(view);
    if (!text) fail_argument(MILL_E_ARG, 1, "text is NULL");
    const uint64_t n = text_len == MILL_NTS ? std::strlen(text) : text_len;
    auto made = Ref<mill_prof_result>::adopt(slab_new<mill_prof_result>(v));
    mill_kernel_error error{};
    at_argument(1, [&] { say(v.plugin.view_query(v.self, text, n, &made->self, &error), error); });
    *out_result = made.release();
  });
}

void mill_prof_result_retain(mill_prof_result* result) {
  if (valid(result, HandleKind::prof_result)) retain(result);
}
void mill_prof_result_release(mill_prof_result* result) {
  if (valid(result, HandleKind::prof_result)) release(result);
}

mill_status mill_prof_result_shape(mill_prof_result* result, uint32_t* out_columns,
                                   uint64_t* out_rows, mill_error* err) {
  return guard("mill_prof_result_shape", err, [&] {
    need_out(out_columns, 1, "out_columns") = 0;
    need_out(out_rows, 2, "out_rows") = 0;
    const mill_prof_result& r = need_result(result);
    r.view->plugin.result_shape(r.self, out_columns, out_rows);
  });
}

mill_status mill_prof_result_column(mill_prof_result* result, uint32_t index,
                                    mill_prof_column* out_column, mill_error* err) {
  return guard("mill_prof_result_column", err, [&] {
    need_out(out_column, 2, "out_column") = {};
    const mill_prof_result& r = need_result(result);
    uint32_t columns = 0;
    uint64_t rows = 0;
    r.view->plugin.result_shape(r.self, &columns, &rows);
    if (index >= columns) {
      fail_argument(MILL_E_ARG, 1, "index is %u, the result has %u columns", index, columns);
    }
    r.view->plugin.result_column(r.self, index, out_column);
  });
}

mill_status mill_prof_whatif(mill_prof_view* view, const mill_prof_change* change,
                             mill_prof_prediction* out_prediction, mill_error* err) {
  return guard("mill_prof_whatif", err, [&] {
    const mill_prof_view& v = need_view(view);
    const mill_prof_change read =
        read_struct(&need_out(change, 1, "change"), MILL_STRUCT_PROF_CHANGE, "change", 1);
    need_out(out_prediction, 2, "out_prediction");
    mill_prof_prediction out{};
    if (read.n_findings > 0 && !read.findings) {
      fail_argument(MILL_E_ARG, 1, "change->findings is NULL, n_findings is %u", read.n_findings);
    }
    const uint32_t n = v.plugin.view_findings(v.self);
    for (uint32_t k = 0; k < read.n_findings; ++k) {
      if (read.findings[k] >= n) {
        fail_argument(MILL_E_ARG, 1, "change->findings[%u] is %u, there are %u findings", k,
                      read.findings[k], n);
      }
    }
    const struct {
      const char* name;
      double value;
    } figures[] = {{"to_device_bytes_per_s", read.to_device_bytes_per_s},
                   {"to_host_bytes_per_s", read.to_host_bytes_per_s},
                   {"kernel_speed", read.kernel_speed},
                   {"launch_speed", read.launch_speed},
                   {"flops_ratio", read.flops_ratio},
                   {"memory_bandwidth_ratio", read.memory_bandwidth_ratio}};
    for (const auto& figure : figures) {
      if (!std::isfinite(figure.value) || figure.value < 0) {
        fail_argument(MILL_E_ARG, 1, "change->%s is %g, it must be finite and not negative",
                      figure.name, figure.value);
      }
    }
    mill_kernel_error error{};
    say(v.plugin.view_whatif(v.self, &read, &out, &error), error);
    write_struct(out_prediction, MILL_STRUCT_PROF_PREDICTION, "out_prediction", 2, out);
  });
}

mill_status mill_prof_export(mill_prof_view* view, int32_t format, const char* options,
                             mill_prof_writer writer, void* user, mill_error* err) {
  return guard("mill_prof_export", err, [&] {
    const mill_prof_view& v = need_view(view);
    if (!writer) fail_argument(MILL_E_ARG, 3, "writer is NULL");
    mill_kernel_error error{};
    say(v.plugin.view_export(v.self, format, options ? options : "", writer, user, &error), error);
  });
}

mill_status mill_prof_export_file(mill_prof_view* view, int32_t format, const char* options,
                                  const char* path, uint64_t path_len, mill_error* err) {
  return guard("mill_prof_export_file", err, [&] {
    const mill_prof_view& v = need_view(view);
    ExportFile file(std::string(need_filled(path, path_len, 3, "path")));
    mill_kernel_error error{};
    const mill_status status = v.plugin.view_export(v.self, format, options ? options : "",
                                                    ExportFile::write, &file, &error);
    file.rethrow();
    say(status, error);
    file.commit();
  });
}
