/* What the programs need that are linked with the library and compute on the calling thread alone.
 */
#ifndef MILL_TESTS_ABI_CALLER_ONLY_H
#define MILL_TESTS_ABI_CALLER_ONLY_H

#include <millrace/millrace.h>
#include <stdio.h>
#include <stdlib.h>

static mill_error* err;

/* Ends the program with status 1 where a call failed. */
static void check(mill_status status) {
  if (status >= 0) return;
  fprintf(stderr, "%s\n", mill_error_message(err));
  exit(1);
}

/* `err` and an exec of the CPU. No thread and no other library's kernels: what comes and goes is
 * ours. */
static void open_cpu(mill_context** context, mill_exec** exec) {
  check(mill_error_create(&err));
  mill_context_opts opts = {.size = sizeof opts, .type = MILL_STRUCT_CONTEXT_OPTS};
  opts.threads = MILL_THREADS_CALLER_ONLY;
  opts.gemm = MILL_GEMM_OWN;
  check(mill_context_create(&opts, context, err));
  check(mill_exec_create(*context, 0, NULL, exec, err));
}

#endif
