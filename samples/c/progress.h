// What the larger samples show of a run: a progress line, a loss curve, the table of ops. Needs
// nothing but the trace's clock and totals, so it serves any training loop.
#ifndef SAMPLES_PROGRESS_H
#define SAMPLES_PROGRESS_H

#include <millrace/millrace.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static mill_error* err;

static inline mill_status check(mill_status status) {
  if (status >= 0) return status;
  fprintf(stderr, "error: %s (%s)\n", mill_error_message(err), mill_status_name(status));
  exit(1);
}

// ---- progress line ------------------------------------------------------------------------------

typedef struct {
  mill_context* context;
  int64_t first, total;  // steps
  int64_t batch;         // units learned from in one step
  const char* unit;      // what is learned from: characters, if nothing is set
  uint64_t start_ns, shown_ns;
  int terminal, quiet;
} progress;

static inline void progress_start(progress* p, mill_context* context, int64_t first, int64_t total,
                                  int64_t batch, int quiet) {
  p->context = context;
  p->first = first;
  p->total = total;
  p->batch = batch;
  p->unit = "chars";
  p->quiet = quiet;
  p->terminal = isatty(STDOUT_FILENO);
  check(mill_trace_clock(context, &p->start_ns, err));
  p->shown_ns = p->start_ns;
}

static inline double progress_seconds(const progress* p) {
  uint64_t now = 0;
  check(mill_trace_clock(p->context, &now, err));
  return (double)(now - p->start_ns) / 1e9;
}

// A terminal's line is redrawn ten times a second; a file gets a line every five seconds.
static inline void progress_show(progress* p, int64_t step, double loss) {
  uint64_t now = 0;
  if (p->quiet) return;
  check(mill_trace_clock(p->context, &now, err));
  if (now - p->shown_ns < (p->terminal ? 100000000u : 5000000000u) && step != p->total) return;
  p->shown_ns = now;
  const double seconds = (double)(now - p->start_ns) / 1e9;
  const double rate = (double)(step - p->first) / (seconds > 0 ? seconds : 1);
  const int done = step == p->total;
  const int shown = (int)(done ? seconds : (double)(p->total - step) / (rate > 0 ? rate : 1) + 0.5);
  char bar[21];
  for (int i = 0; i < 20; i++) bar[i] = i < (int)(20 * step / p->total) ? '#' : '.';
  bar[20] = 0;
  printf("%s[%s] step %lld/%lld  loss %.3f  %.0f %s/s  %d:%02d %s%s", p->terminal ? "\r" : "", bar,
         (long long)step, (long long)p->total, loss, rate * (double)p->batch, p->unit, shown / 60,
         shown % 60, done ? "in all" : "left  ", p->terminal && !done ? "" : "\n");
  fflush(stdout);
}

// ---- loss curve ---------------------------------------------------------------------------------

enum { CURVE_COLUMNS = 64, CURVE_ROWS = 10 };

// Mean loss of n steps in CURVE_COLUMNS equal parts.
static inline void draw_curve(const float* loss, int64_t n, int64_t first) {
  double mean[CURVE_COLUMNS], low = 1e30, high = -1e30;
  const int columns = n < CURVE_COLUMNS ? (int)n : CURVE_COLUMNS;
  for (int c = 0; c < columns; c++) {
    const int64_t begin = n * c / columns, end = n * (c + 1) / columns;
    mean[c] = 0;
    for (int64_t i = begin; i < end; i++) mean[c] += (double)loss[i] / (double)(end - begin);
    if (mean[c] < low) low = mean[c];
    if (mean[c] > high) high = mean[c];
  }
  if (columns == 0 || !(high > low)) return;
  printf("\nTraining loss, nats per character\n");
  for (int r = 0; r < CURVE_ROWS; r++) {
    const double level = high - (high - low) * r / (CURVE_ROWS - 1);
    printf("%7.3f |", level);
    for (int c = 0; c < columns; c++) {
      const int row = (int)((high - mean[c]) / (high - low) * (CURVE_ROWS - 1) + 0.5);
      putchar(row == r ? '*' : ' ');
    }
    putchar('\n');
  }
  printf("        +");
  for (int c = 0; c < columns; c++) putchar('-');
  printf("\n%8s %-*lldstep %lld\n", "", columns - 10, (long long)(first + 1),
         (long long)(first + n));
}

// ---- where the time went ------------------------------------------------------------------------

static inline const char* op_name(mill_context* context, int32_t op) {
  mill_op_schema schema = {.size = sizeof schema, .type = MILL_STRUCT_OP_SCHEMA};
  return mill_op_query(context, op, &schema, NULL) == MILL_OK ? schema.name : "(custom ops)";
}

static inline void print_op_table(mill_context* context, int rows_shown) {
  mill_trace_op_row rows[128];
  uint32_t n = 0;
  check(mill_trace_op_stats(context, rows, 128, &n, err));
  if (n > 128) n = 128;
  printf("\nTime by op%27s%12s%8s%8s%10s\n", "calls", "total ms", "share", "GB/s", "GFLOP/s");
  uint64_t rest_ns = 0, rest_calls = 0;
  double rest_share = 0;
  for (uint32_t i = 0; i < n; i++) {
    if ((int)i >= rows_shown) {
      rest_ns += rows[i].time_ns;
      rest_calls += rows[i].calls;
      rest_share += rows[i].share;
      continue;
    }
    const double ns = rows[i].time_ns > 0 ? (double)rows[i].time_ns : 1;
    printf("  %-25s%10llu%12.1f%7.1f%%%8.1f%10.1f\n", op_name(context, rows[i].op),
           (unsigned long long)rows[i].calls, ns / 1e6, 100 * rows[i].share,
           (double)rows[i].bytes / ns, (double)rows[i].flops / ns);
  }
  if (rest_calls > 0) {
    printf("  %-25s%10llu%12.1f%7.1f%%\n", "others", (unsigned long long)rest_calls,
           (double)rest_ns / 1e6, 100 * rest_share);
  }
}

// ---- memory and timeline ------------------------------------------------------------------------

static inline mill_memory_stats memory_stats(mill_context* context) {
  mill_memory_stats stats = {.size = sizeof stats, .type = MILL_STRUCT_MEMORY_STATS};
  check(mill_memory_stats_query(context, 0, &stats, err));
  return stats;
}

static inline void print_memory(const mill_memory_stats* before, const mill_memory_stats* after,
                                int steps) {
  printf(
      "\nMemory: %.1f MB at most. In the last %d steps %llu allocations, %llu calls to the system "
      "for more\n",
      (double)after->in_use_peak / 1e6, steps,
      (unsigned long long)(after->allocations - before->allocations),
      (unsigned long long)(after->source_calls - before->source_calls));
}

static inline void append_trace(mill_context* context, mill_trace_writer* writer) {
  static mill_trace_record records[1024];
  mill_status status;
  do {
    uint32_t n = 0;
    status = check(mill_trace_drain(context, records, 1024, &n, NULL, err));
    check(mill_trace_writer_append(writer, records, n, err));
  } while (status == MILL_INCOMPLETE);
}

#endif
