// What the profiler says of a program, for the samples: a session around the training, then the
// findings that would save most, and a report to look at.
#ifndef SAMPLE_ADVICE_H
#define SAMPLE_ADVICE_H

#include <millrace/millrace.h>
#include <stdio.h>

// NULL where it cannot run; says why.
static mill_prof* advice_start(mill_context* context, mill_error* err) {
  mill_prof* prof = NULL;
  if (mill_prof_create(context, NULL, &prof, err) < 0 || mill_prof_start(prof, err) < 0) {
    printf("no advice: %s\n", mill_error_message(err));
    mill_prof_release(prof);
    return NULL;
  }
  return prof;
}

static const char* advice_time(double ns, char text[32]) {
  if (ns < 1e4) {
    snprintf(text, 32, "%.2f us", ns / 1e3);
  } else if (ns < 1e6) {
    snprintf(text, 32, "%.0f us", ns / 1e3);
  } else {
    snprintf(text, 32, "%.2f ms", ns / 1e6);
  }
  return text;
}

// Breaks a sentence into lines of at most 96 characters.
static void advice_wrap(const char* text) {
  int column = 0;
  printf("    ");
  while (*text) {
    int word = 0;
    while (text[word] && text[word] != ' ') word++;
    if (column > 0 && column + 1 + word > 96) {
      printf("\n    ");
      column = 0;
    }
    column += printf("%s%.*s", column > 0 ? " " : "", word, text);
    text += word + (text[word] == ' ');
  }
  printf("\n");
}

// Of a session that was stopped: prints its health and the first `most` findings, and writes the
// whole report to a file. Releases the session.
static void advice_show(mill_prof* prof, uint32_t most, const char* report, mill_error* err) {
  mill_prof_view* view = NULL;
  mill_prof_summary all = {.size = sizeof all, .type = MILL_STRUCT_PROF_SUMMARY};
  mill_prof_overhead_info cost = {.size = sizeof cost, .type = MILL_STRUCT_PROF_OVERHEAD};
  char a[32];
  if (mill_prof_snapshot(prof, &view, err) < 0 || mill_prof_view_summary(view, &all, err) < 0 ||
      mill_prof_overhead(prof, &cost, err) < 0) {
    printf("no advice: %s\n", mill_error_message(err));
    mill_prof_view_release(view);
    mill_prof_release(prof);
    return;
  }
  const double steps = all.steps ? all.steps : 1;
  printf("\n%s: %u steps after warm-up, %s each, the device at work %.0f %% of the time\n",
         all.above_info ? "What held it back" : "Nothing held it back that is worth a change",
         all.steps, advice_time((double)all.step_ns, a), 100 * all.busy_share);
  if (all.health_text[0]) advice_wrap(all.health_text);
  for (uint32_t k = 0; k < all.findings && k < most; k++) {
    mill_prof_finding one = {.size = sizeof one, .type = MILL_STRUCT_PROF_FINDING};
    if (mill_prof_finding_query(view, k, &one, err) < 0) break;
    const double saving = (double)one.saving_expected_ns / steps;
    printf("\n  %u  %s  %s\n", k + 1, one.rule, one.title);
    if (saving > 0) {
      printf("    would save %s of a step, %.1f %%\n", advice_time(saving, a),
             100 * saving / (double)all.step_ns);
    }
    advice_wrap(one.advice);
  }
  if (cost.step_share >= 0) {
    printf("\n  watching cost %.2f %% of a step, measured; %.0f %% of the steps were watched\n",
           100 * cost.step_share, 100 * cost.duty);
  }
  if (report) {
    if (mill_prof_export_file(view, MILL_PROF_FORMAT_HTML, NULL, report, MILL_NTS, err) < 0) {
      printf("no report: %s\n", mill_error_message(err));
    } else {
      printf("\n  the whole report, to open in a browser: %s\n", report);
    }
  }
  mill_prof_view_release(view);
  mill_prof_release(prof);
}

#endif
