/* Millrace: what the library and its profiler plugin hand to each other. Programs include
 * profiler.h; this header is for libmillrace_profiler.so, and for whoever replaces it.
 *
 * The library looks for libmillrace_profiler.so in its own folder, reads its note (plugin.h) before
 * any of its code runs, and calls the one function that it exports, mill_profiler_open. The plugin
 * links to nothing of the library: it calls it through mill_profiler_host, whose functions are
 * those that the public headers describe.
 *
 * Functions of the plugin may be called from any thread; for one session, view or result at a time,
 * unless said otherwise. None throws, prints or ends the process. A failure is a status and one
 * sentence in mill_kernel_error, which is never NULL. Structs of profiler.h have the layout of this
 * header's age on both sides: abi says so. */
#ifndef MILL_PROFILER_PLUGIN_H
#define MILL_PROFILER_PLUGIN_H

#include "millrace/device.h"
#include "millrace/memory.h"
#include "millrace/plugin.h"
#include "millrace/profiler.h"
#include "millrace/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mill_profiler_versions { MILL_PROFILER_ABI = 1 };

/* What the library gives. As the function of the same name behind mill_ in the public headers. */
typedef struct mill_profiler_host {
  uint32_t size;
  uint32_t abi;
  /* What the session wants recorded, beside what the program wants (mill_trace_set_mask). */
  mill_status (*session_mask)(mill_context* context, uint64_t mask);
  mill_status (*trace_clock)(mill_context* context, uint64_t* out_now_ns, mill_error* err);
  mill_status (*trace_drain)(mill_context* context, mill_trace_record* records, uint32_t capacity,
                             uint32_t* out_count, uint64_t* out_lost, mill_error* err);
  mill_status (*trace_string)(mill_context* context, uint32_t id, char* text, uint64_t capacity,
                              uint64_t* out_size, mill_error* err);
  mill_status (*device_count)(mill_context* context, uint32_t* out_count, mill_error* err);
  mill_status (*device_query)(mill_context* context, uint32_t index, mill_device_info* info,
                              mill_error* err);
  mill_status (*device_timeline)(mill_context* context, uint32_t device, uint32_t what,
                                 mill_error* err);
  mill_status (*device_drain)(mill_context* context, uint32_t device, mill_timeline_record* out,
                              uint64_t capacity, uint64_t* out_count, uint64_t* out_lost,
                              mill_error* err);
  mill_status (*memory_stats_query)(mill_context* context, uint32_t device,
                                    mill_memory_stats* out_stats, mill_error* err);
  /* The name of an op, NUL-terminated and cut to `capacity`. */
  void (*op_name)(mill_context* context, int32_t op, char* text, uint64_t capacity);
  /* Figures of device `index`, which last as long as the context; NULL for no such device. */
  const mill_device_limits* (*device_limits)(mill_context* context, uint32_t index);
  /* Whether the device runs inline, as the CPU does. */
  mill_bool (*device_inline)(mill_context* context, uint32_t index);
  /* Blocks until a ring of the trace is half full, session_wake was called since the last time, or
   * timeout_ns have passed. One thread at a time. */
  void (*session_wait)(mill_context* context, uint64_t timeout_ns);
  void (*session_wake)(mill_context* context);
} mill_profiler_host;

/* What the plugin gives. `self` is the session, view or result that it made. */
typedef struct mill_profiler_table {
  uint32_t size;
  uint32_t abi;
  const char* version;

  mill_status (*capability_count)(mill_context* context, uint32_t* out_count,
                                  mill_kernel_error* error);
  mill_status (*capability)(mill_context* context, uint32_t index, mill_prof_capability* info,
                            mill_kernel_error* error);

  /* The context outlives the session. */
  mill_status (*session_create)(mill_context* context, const mill_prof_opts* opts, void** out,
                                mill_kernel_error* error);
  mill_status (*session_open)(const char* path, const mill_prof_opts* opts, void** out,
                              mill_kernel_error* error);
  void (*session_destroy)(void* self);
  mill_status (*session_start)(void* self, mill_kernel_error* error);
  mill_status (*session_stop)(void* self, mill_kernel_error* error);
  /* The context of a session that runs has a new device. Beside anything else. */
  void (*session_device_added)(void* self);
  mill_status (*session_set)(void* self, const char* name, double value, mill_kernel_error* error);
  mill_status (*session_calibration)(void* self, const char* path, mill_kernel_error* error);
  void (*session_overhead)(void* self, mill_prof_overhead_info* info); /* beside anything else */
  mill_status (*session_snapshot)(void* self, void** out_view, mill_kernel_error* error);

  /* A view and a result may be used by several threads at once. */
  void (*view_destroy)(void* self);
  void (*view_summary)(void* self, mill_prof_summary* info);
  uint32_t (*view_findings)(void* self);
  void (*view_finding)(void* self, uint32_t index, mill_prof_finding* info);
  uint32_t (*view_facts)(void* self, uint32_t index, mill_prof_fact* facts, uint32_t capacity);
  uint32_t (*view_evidence)(void* self, uint32_t index, mill_prof_evidence* evidence,
                            uint32_t capacity);
  mill_status (*view_query)(void* self, const char* text, uint64_t text_len, void** out_result,
                            mill_kernel_error* error);
  mill_status (*view_whatif)(void* self, const mill_prof_change* change,
                             mill_prof_prediction* out_prediction, mill_kernel_error* error);
  mill_status (*view_export)(void* self, int32_t format, const char* options,
                             mill_prof_writer writer, void* user, mill_kernel_error* error);

  void (*result_destroy)(void* self);
  void (*result_shape)(void* self, uint32_t* out_columns, uint64_t* out_rows);
  void (*result_column)(void* self, uint32_t index, mill_prof_column* out_column);
} mill_profiler_table;

/* The type of the exported function mill_profiler_open. The plugin sets out, whose size the library
 * has set; host lasts as long as the process. */
typedef mill_status (*mill_profiler_open_function)(const mill_profiler_host* host,
                                                   mill_profiler_table* out,
                                                   mill_kernel_error* error);

#ifdef __cplusplus
}
#endif
#endif
