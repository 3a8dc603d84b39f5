/* Millrace: the profiler. What held the device back, and what fixing it would save.
 *
 * The analysis lives in a library of its own, libmillrace_profiler.so, beside this one. It is
 * loaded by the first call here that needs it; where it is missing or of another age every such
 * call answers MILL_E_UNSUPPORTED with the reason, and nothing else changes.
 *
 * A session (mill_prof) collects: it switches the context's trace on, drains its rings and the
 * timelines of its devices on a thread of its own ("mill-prof") into a bounded store, and keeps its
 * own cost below a budget. mill_prof_open makes one from a file that another program has written. A
 * view (mill_prof_view) is what is known at one moment, analysed: a verdict on the recording's
 * health first, then steps, findings ranked by what their fix would save, and tables that can be
 * queried. Views do not change; sessions go on.
 *
 * While a session runs, the program may record and drain by itself (mill_trace_set_mask,
 * mill_trace_drain, mill_device_timeline, mill_device_drain): each of the two gets all that it
 * wants. What the session has taken is kept for the program until it drains: as many records as an
 * exec's ring holds, and 262,144 of a device's timeline; more count as lost. One session of a
 * context runs at a time. Every text that a function points to belongs to the object that it was
 * asked of and lives as long. Times are nanoseconds on the session's clock: that of the first
 * device with modelled time if there is one, else CLOCK_MONOTONIC, else the file's. */
#ifndef MILL_PROFILER_H
#define MILL_PROFILER_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what works here --------------------------------------------------------------------------
 */

/* One source or ability of the profiler. The caller sets size and type. */
typedef struct mill_prof_capability {
  uint32_t size; /* sizeof(mill_prof_capability) */
  uint32_t type; /* MILL_STRUCT_PROF_CAPABILITY */
  const mill_struct* next;
  mill_status status; /* MILL_OK, or why not */
  uint32_t reserved;
  char name[32];    /* "plugin", "engine events", "device timeline sim:h200-sxm", "cupti", ... */
  char reason[512]; /* the sentence that goes with status */
} mill_prof_capability;

/* How many capabilities are told of; without the plugin 1, which is "plugin".
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_capability_count(mill_context* context, uint32_t* out_count, mill_error* err);

/* Describes capability `index`.
 * Errors: MILL_E_ARG (index, info), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_capability_query(mill_context* context, uint32_t index, mill_prof_capability* info,
                               mill_error* err);

/* ---- sessions ---------------------------------------------------------------------------------
 */

/* Zero is every field's default. */
typedef struct mill_prof_opts {
  uint32_t size; /* sizeof(mill_prof_opts) */
  uint32_t type; /* MILL_STRUCT_PROF_OPTS */
  const mill_struct* next;
  uint32_t tier;        /* 1: the engine's events and the devices' timelines; 0 = 1. Tiers 2 to 4
                           need CUPTI */
  uint32_t interval_ms; /* how often the rings are drained at least, beside when one is half full;
                           0 = 50 */
  uint64_t store_bytes; /* of records kept, the newest; 0 = 256 MiB, at least 1 MiB */
  double budget;        /* the session's own cost as a share of a step, kept below by recording only
                           some steps; 0 = 0.01; 1 or more: no limit */
  uint32_t warm_up_steps; /* left out of the analysis; 0 = found by their length */
  uint32_t reserved;
} mill_prof_opts;

/* Makes a session, which keeps its context; it does not run yet. opts may be NULL.
 * Errors: MILL_E_ARG (an option out of range), MILL_E_UNSUPPORTED (no plugin; a tier that does not
 * work here: the reason), MILL_E_BAD_HANDLE, MILL_E_TOO_NEW, MILL_E_UNSUPPORTED_STRUCT,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_prof_create(mill_context* context, const mill_prof_opts* opts, mill_prof** out_prof,
                     mill_error* err);

/* Makes a session from a file of Chrome trace events: as Kineto (PyTorch), Chrome, or Millrace
 * itself write them, gzip or not. What could not be read is counted in the view's health. Such a
 * session cannot be started. path_len: bytes, or MILL_NTS.
 * Blocks (file). Errors: MILL_E_ARG, MILL_E_IO (not readable), MILL_E_FORMAT (no trace: says where
 * and why), MILL_E_UNSUPPORTED (no plugin), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_prof_open(mill_context* context, const char* path, uint64_t path_len,
                   const mill_prof_opts* opts, mill_prof** out_prof, mill_error* err);

/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_prof_retain(mill_prof* prof);
/* The last release stops a session that runs and waits for its thread, which takes no longer than
 * one drain. Since: 1 */
MILL_API MILL_SINCE(1) void mill_prof_release(mill_prof* prof);

/* Begins to record. What an earlier start of this session recorded is kept. A recording that the
 * environment asked for (mill_context_create) ends here and is written: this session takes its
 * place. Blocks for that (analysis, file). Errors: MILL_E_ARG, MILL_E_STATE (it runs, another
 * session of the context does, or it was made from a file), MILL_E_FORKED, MILL_E_BAD_HANDLE,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_prof_start(mill_prof* prof, mill_error* err);

/* Ends recording and takes what is still in the rings; the trace's mask is the program's again.
 * Work that a device has not finished by then is counted as such: wait for it before
 * (mill_exec_wait). Errors: MILL_E_ARG, MILL_E_STATE (it does not run), MILL_E_FORKED,
 * MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_prof_stop(mill_prof* prof, mill_error* err);

/* Sets a threshold of a rule ("t3_min_share", "g1_min_gap_ns", ...: docs/profiler.md lists them) or
 * a figure of the link ("pinned_to_device_bytes_per_s", ...) for views taken from now on.
 * Errors: MILL_E_ARG (no such name: says the nearest; a value that is negative or not finite),
 * MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_prof_set(mill_prof* prof, const char* name,
                                                 uint64_t name_len, double value, mill_error* err);

/* Takes the link's figures from a file that `millrace prof calibrate` wrote.
 * Blocks (file). Errors: MILL_E_ARG, MILL_E_IO, MILL_E_FORMAT, MILL_E_BAD_HANDLE, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_prof_set_calibration(mill_prof* prof, const char* path, uint64_t path_len,
                              mill_error* err);

/* ---- what the program says about itself -------------------------------------------------------
 * Any thread, none of them blocks or allocates after a name's first use; where the session does not
 * run they do nothing. With an exec, mill_trace_scope_begin, mill_trace_mark and mill_trace_step
 * say the same. */

/* Ends a step and begins the next.
 * Errors: MILL_E_ARG, MILL_E_FORKED, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_prof_step(mill_prof* prof, mill_error* err);

/* Opens a named range on the calling thread; ranges nest per thread. Use few different names.
 * Errors: MILL_E_ARG (empty, not UTF-8, over 1,000 bytes), MILL_E_FORKED, MILL_E_BAD_HANDLE,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_range_push(mill_prof* prof, const char* name, uint64_t name_len, mill_error* err);

/* Closes the thread's innermost range; one too many does nothing.
 * Errors: MILL_E_ARG, MILL_E_FORKED, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_prof_range_pop(mill_prof* prof, mill_error* err);

/* A point in time with a name.
 * Errors: as mill_prof_range_push. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_mark(mill_prof* prof, const char* name, uint64_t name_len, mill_error* err);

/* ---- the session's own cost -------------------------------------------------------------------
 */

typedef struct mill_prof_overhead_info {
  uint32_t size; /* sizeof(mill_prof_overhead_info) */
  uint32_t type; /* MILL_STRUCT_PROF_OVERHEAD */
  const mill_struct* next;
  double step_share;     /* measured: steps recorded beside steps not recorded; -1: not yet */
  double step_share_low; /* 95 % confidence interval of it */
  double step_share_high;
  double duty;            /* share of the steps that were recorded */
  double collector_share; /* CPU time of the session's thread, of one core */
  double record_ns;       /* what one op record costs: measured once, when first asked for */
  uint64_t records;       /* taken in */
  uint64_t lost;          /* dropped because a ring was full */
  uint64_t forgotten;     /* given up because the store was full */
  uint64_t store_bytes;   /* that the store takes now */
} mill_prof_overhead_info;

/* Errors: MILL_E_ARG (info), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_overhead(mill_prof* prof, mill_prof_overhead_info* info, mill_error* err);

/* ---- views ------------------------------------------------------------------------------------
 */

enum mill_prof_confidence {
  MILL_PROF_HIGH = 0,
  MILL_PROF_MEDIUM = 1,
  MILL_PROF_LOW = 2,   /* savings are withheld */
  MILL_PROF_REFUSE = 3 /* no advice */
};
enum mill_prof_severity {
  MILL_PROF_INFO = 0, /* saves less than half a percent, or only explains */
  MILL_PROF_MINOR = 1,
  MILL_PROF_MODERATE = 2, /* 3 % and more */
  MILL_PROF_MAJOR = 3     /* 10 % and more */
};

/* Analyses what has been recorded up to now, while the session goes on: a consistent copy, in
 * memory of its own. Takes up to some 1 s for 10^6 records.
 * Blocks (analysis). Errors: MILL_E_ARG, MILL_E_FORKED, MILL_E_BAD_HANDLE, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_prof_snapshot(mill_prof* prof, mill_prof_view** out_view, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_prof_view_retain(mill_prof_view* view);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_prof_view_release(mill_prof_view* view);

typedef struct mill_prof_summary {
  uint32_t size; /* sizeof(mill_prof_summary) */
  uint32_t type; /* MILL_STRUCT_PROF_SUMMARY */
  const mill_struct* next;
  int32_t health;          /* MILL_PROF_HIGH ... MILL_PROF_REFUSE */
  uint32_t steps;          /* in the analysed window; 0: none found */
  uint32_t findings;       /* all */
  uint32_t above_info;     /* of them, those above MILL_PROF_INFO */
  const char* health_text; /* one sentence; "" if there is nothing to say */
  const char* step_source; /* "marks", "ranges", "period", "none" */
  int64_t window_begin_ns;
  int64_t window_end_ns;
  int64_t step_ns;     /* mean length of a step, or of the window where there are none */
  double busy_share;   /* of the window, the busiest device at work */
  double replay_error; /* of the window re-timed with nothing changed; above 0.05 no figure is of
                          more than low confidence */
  int64_t joint_saving_ns; /* of the window, with all findings that have a joint rank fixed */
  uint64_t records;
  uint64_t lost;
  uint64_t excluded; /* records with impossible times, left out */
} mill_prof_summary;

/* Errors: MILL_E_ARG (info), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_view_summary(mill_prof_view* view, mill_prof_summary* info, mill_error* err);

typedef struct mill_prof_finding {
  uint32_t size; /* sizeof(mill_prof_finding) */
  uint32_t type; /* MILL_STRUCT_PROF_FINDING */
  const mill_struct* next;
  const char* rule;        /* "T1" ... : docs/profiler.md */
  const char* title;       /* one line */
  const char* advice;      /* sentences */
  const char* link_source; /* where figures for the link come from; "" where none is used */
  const char* fix;         /* the knob, for programs: "pinned_staging", "prefetch_depth", ... */
  double fix_value;
  int32_t severity;        /* MILL_PROF_INFO ... */
  int32_t confidence;      /* MILL_PROF_HIGH ... */
  uint32_t device;         /* number of the device; UINT32_MAX: none */
  uint32_t joint_rank;     /* 1: what a joint replay takes first; 0: not in it */
  mill_bool withheld;      /* the health forbids a figure: the savings are 0 */
  uint32_t facts;          /* how many figures went into the formula */
  int64_t saving_lower_ns; /* of the window; of a step: divide by mill_prof_summary.steps */
  int64_t saving_expected_ns;
  int64_t saving_upper_ns;
  uint64_t evidence;   /* rows of evidence that the rule saw */
  mill_bool can_apply; /* Millrace can apply the fix: mill_prof_try */
  uint32_t reserved;
} mill_prof_finding;

/* Finding `index`, from 0 in order of rank: most expected saving first.
 * Errors: MILL_E_ARG (index, info), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_finding_query(mill_prof_view* view, uint32_t index, mill_prof_finding* info,
                            mill_error* err);

typedef struct mill_prof_fact {
  const char* name; /* "copies", "bytes_per_s", "exposed_ns" */
  const char* unit; /* "ns", "bytes", ...; "" for a plain number */
  double value;
} mill_prof_fact;

/* The figures that finding `index` was computed from. An array output.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_finding_facts(mill_prof_view* view, uint32_t index, mill_prof_fact* facts,
                            uint32_t capacity, uint32_t* out_count, mill_error* err);

typedef struct mill_prof_evidence {
  const char* table; /* as queries name it: "work", "calls", ... */
  uint64_t row;      /* in it */
} mill_prof_evidence;

/* The rows that finding `index` rests on, most telling first, at most 1,000. An array output.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_finding_evidence(mill_prof_view* view, uint32_t index, mill_prof_evidence* evidence,
                               uint32_t capacity, uint32_t* out_count, mill_error* err);

/* ---- queries ----------------------------------------------------------------------------------
 */

enum mill_prof_column_types {
  MILL_PROF_I64 = 1, /* int64_t */
  MILL_PROF_F64 = 2, /* double */
  MILL_PROF_TEXT = 3 /* const char*, NUL-terminated UTF-8 */
};

typedef struct mill_prof_column {
  const char* name;
  const char* unit;
  const void* data; /* an array of `rows` values of the type */
  uint64_t rows;
  int32_t type; /* MILL_PROF_I64 ... */
  uint32_t reserved;
} mill_prof_column;

/* Answers a question about the view's tables: ops, calls, work, kernels, transfers, copies, syncs,
 * allocations, loader, steps, gaps, health, findings, ranges, overheads, managed, counters. For
 * example
 *   select name, count, sum(duration_ns) from kernels where stream_number = 7 and
 *   duration_ns > 10us group by name order by -sum(duration_ns) limit 10
 * docs/profiler.md has the language; "tables" and "columns TABLE" list what there is.
 * Blocks (analysis). Errors: MILL_E_ARG (says where in the text and what was expected),
 * MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_prof_query(mill_prof_view* view, const char* text, uint64_t text_len,
                    mill_prof_result** out_result, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_prof_result_retain(mill_prof_result* result);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_prof_result_release(mill_prof_result* result);

/* Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_result_shape(mill_prof_result* result, uint32_t* out_columns, uint64_t* out_rows,
                           mill_error* err);

/* Column `index`: the pointers belong to the result.
 * Errors: MILL_E_ARG (index, out_column), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_prof_result_column(mill_prof_result* result, uint32_t index, mill_prof_column* out_column,
                            mill_error* err);

/* ---- what if ----------------------------------------------------------------------------------
 */

/* Changes to re-time the window with; all of them together. Zero changes nothing. */
typedef struct mill_prof_change {
  uint32_t size; /* sizeof(mill_prof_change) */
  uint32_t type; /* MILL_STRUCT_PROF_CHANGE */
  const mill_struct* next;
  const uint32_t* findings; /* numbers of findings to fix */
  uint32_t n_findings;
  uint32_t prefetch_depth;      /* copies to the device go ahead by so many steps */
  double to_device_bytes_per_s; /* of the link */
  double to_host_bytes_per_s;
  double kernel_speed; /* 2: kernels take half as long */
  double launch_speed;
  double flops_ratio; /* of another device to this one */
  double memory_bandwidth_ratio;
  mill_bool pinned; /* copies from and to pageable memory use page-locked memory */
  mill_bool no_loader_wait;
} mill_prof_change;

typedef struct mill_prof_prediction {
  uint32_t size; /* sizeof(mill_prof_prediction) */
  uint32_t type; /* MILL_STRUCT_PROF_PREDICTION */
  const mill_struct* next;
  int64_t before_ns;   /* the window, re-timed as it was */
  int64_t after_ns;    /* ... with the changes */
  int64_t measured_ns; /* the window */
  double replay_error;
} mill_prof_prediction;

/* Errors: MILL_E_ARG (a finding's number, a figure that is negative or not finite), MILL_E_STATE
 * (the health refuses), MILL_E_BAD_HANDLE, MILL_E_TOO_NEW, MILL_E_UNSUPPORTED_STRUCT,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_prof_whatif(mill_prof_view* view, const mill_prof_change* change,
                     mill_prof_prediction* out_prediction, mill_error* err);

/* ---- apply and check --------------------------------------------------------------------------
 */

/* What a trial runs: the program's own step, again and again, with and without the fix. */
typedef struct mill_prof_subject {
  uint32_t size; /* sizeof(mill_prof_subject) */
  uint32_t type; /* MILL_STRUCT_PROF_SUBJECT */
  const mill_struct* next;
  mill_exec* run_on;   /* on whose device the step works; copies to it and reads from it change */
  mill_loader* loader; /* where its batches come from; NULL if from elsewhere */
  /* One step, on the calling thread. index counts from 0 over the whole trial. It calls
   * mill_trace_step of run_on once, at its end, and leaves the fix's setting alone; a negative
   * status ends the trial, and mill_error_set may say why. */
  mill_status (*step)(void* user, uint64_t index, mill_error* err);
  void* user;
  uint32_t steps;   /* timed in a block; 0 = 20, at most 1,000,000; of a loader at least 2 for
                       each batch that it makes ahead */
  uint32_t blocks;  /* without the fix and as many with it; 0 = 3, at most 1,000 */
  uint32_t warm_up; /* steps at a block's begin that are not counted; 0 = 4, at most 1,000,000 */
  mill_bool keep;   /* leave the fix in place if it saved time in every pair of blocks */
} mill_prof_subject;

typedef struct mill_prof_trial {
  uint32_t size; /* sizeof(mill_prof_trial) */
  uint32_t type; /* MILL_STRUCT_PROF_TRIAL */
  const mill_struct* next;
  const char* knob; /* the finding's fix; the view's */
  double value;     /* what it was set to: bytes, batches, threads, steps */
  /* Of a step, in nanoseconds. What the view predicts: */
  int64_t predicted_lower_ns;
  int64_t predicted_ns;
  int64_t predicted_upper_ns;
  /* What was measured: medians of the blocks, and of the differences of pairs, with the least and
   * the most. */
  int64_t before_ns;
  int64_t after_ns;
  int64_t saved_lower_ns;
  int64_t saved_ns;
  int64_t saved_upper_ns;
  uint64_t steps; /* that were run, warm-up included */
  mill_bool kept; /* the fix is in place */
  uint32_t reserved;
  char text[512]; /* the same as a sentence */
} mill_prof_trial;

/* Applies the fix of finding `index` and measures what it brings: runs blocks of steps without it
 * and with it in turn (A B B A ...), on the device's clock where its time is modelled, else
 * CLOCK_MONOTONIC. A block is the warm-up, then the warm-up and the steps, each until run_on's
 * stream is idle: the difference is what the steps take once work flows. After a change some steps
 * come first that are not counted: one or two, of a loader twice its depth. Then everything is as
 * it was, unless subject->keep says otherwise. Fixes that Millrace applies
 * (mill_prof_finding.can_apply), and what they are set to:
 *
 * - pinned_staging: mill_exec_set_staging, four times the largest of the finding's copies, 1 MiB
 *   at least and 256 MiB at most, which is also what it is where their size is not known.
 *
 * - defer_read: mill_exec_set_late_reads, one step. The step then sees old values: one that decides
 *   by them decides late.
 *
 * - prefetch_depth: mill_loader_set_prefetch, so many batches more ahead, at least 2.
 *
 * - loader_workers: mill_loader_set_prefetch, so many threads as the finding says and more than
 *   there are, and a batch ahead for each.
 *
 * The step changes what it changes in the program (parameters, the loader's position): a trial is
 * part of the run. No other thread may use exec or loader until it returns. A session of the
 * context that runs records the trial too: stop it before.
 * Blocks (steps). Errors: MILL_E_ARG (index, subject: no exec, no step, no loader where the fix is
 * one of loaders, a number out of range), MILL_E_DEVICE (the finding is about another device or
 * context, or the loader feeds another), MILL_E_UNSUPPORTED (the fix is the program's to make, or
 * does nothing on the exec's device), MILL_E_STATE (the saving was withheld, the view has no steps,
 * or the step did not call mill_trace_step once), MILL_E_TOO_NEW, MILL_E_UNSUPPORTED_STRUCT,
 * MILL_E_FORKED, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY, and what the step fails with. The
 * fix is taken back then; where that fails as well, the sentence says so. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_prof_try(mill_prof_view* view, uint32_t index, const mill_prof_subject* subject,
                  mill_prof_trial* out_trial, mill_error* err);

/* ---- export -----------------------------------------------------------------------------------
 */

enum mill_prof_formats {
  MILL_PROF_FORMAT_TEXT = 1,       /* options: "width=100,findings=10,rows=10" */
  MILL_PROF_FORMAT_CSV = 2,        /* options: "table=kernels" */
  MILL_PROF_FORMAT_JSON_LINES = 3, /* every row of every table */
  MILL_PROF_FORMAT_CHROME = 4,     /* opens in Perfetto; mill_prof_open reads it back */
  MILL_PROF_FORMAT_HTML = 5        /* one file that needs nothing else; options:
                                      "max_bytes=20000000" */
};

/* Takes the next piece of an export on the calling thread; anything but MILL_OK ends it. */
typedef mill_status (*mill_prof_writer)(void* user, const char* data, uint64_t bytes);

/* Writes the view. options may be NULL.
 * Errors: MILL_E_ARG (format, options, writer), MILL_E_IO (the writer said no), MILL_E_BAD_HANDLE,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_prof_export(mill_prof_view* view, int32_t format, const char* options,
                     mill_prof_writer writer, void* user, mill_error* err);

/* The same into a file, which is created or replaced once all of it has been written; a symbolic
 * link is followed. A path that ends in ".gz" is compressed (gzip). Blocks (file). Errors: as
 * mill_prof_export; MILL_E_IO names the file, also where a folder, a device or a pipe is in its
 * place. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_prof_export_file(mill_prof_view* view, int32_t format, const char* options,
                          const char* path, uint64_t path_len, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
