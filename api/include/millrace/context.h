/* Millrace: the context, which owns devices, threads, allocators and the trace. Most programs make
 * one. */
#ifndef MILL_CONTEXT_H
#define MILL_CONTEXT_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the CPU multiplies matrices. oneDNN is opened by the first product that wants it, which takes
 * some 20 ms; where it is not installed Millrace's kernels do all, and mill_device_query says why.
 * Results of the two differ by rounding. oneDNN makes heap calls of its own in every product; with
 * MILL_GEMM_OWN a step makes none once its sizes have been seen. */
enum mill_gemm_policies {
  MILL_GEMM_AUTO = 0,  /* oneDNN for large products and bf16, Millrace's kernels for the others */
  MILL_GEMM_OWN = 1,   /* Millrace's kernels only */
  MILL_GEMM_ONEDNN = 2 /* oneDNN wherever it is present and can */
};

enum mill_context_thread_values {
  MILL_THREADS_AUTO = 0,       /* one per CPU that the process may use */
  MILL_THREADS_CALLER_ONLY = 1 /* no thread is ever started for ops */
};

/* All zero (but size and type) is a good default. */
typedef struct mill_context_opts {
  uint32_t size; /* sizeof(mill_context_opts) */
  uint32_t type; /* MILL_STRUCT_CONTEXT_OPTS */
  const mill_struct* next;
  uint32_t threads; /* threads that one CPU op may use, the caller included; 0 = MILL_THREADS_AUTO;
                       at most 1024 */
  int32_t gemm;     /* MILL_GEMM_... */
  uint64_t trace_mask;   /* MILL_TRACE_... bits that are on from the start */
  uint64_t memory_limit; /* bytes that CPU tensors may use in all; 0 = no limit */
  uint64_t reserved;     /* zero */
} mill_context_opts;

/* Makes a context with its CPU device. opts may be NULL. No thread is started and no driver is
 * touched until needed; but where the environment variable MILLRACE_PROF names a file, which is how
 * `millrace prof run` asks for it, a profiler session runs from here to the context's end or the
 * process's, and writes its trace there, or the reason why it cannot into a file beside it
 * (docs/profiler.md). Errors: MILL_E_ARG (an option out of range),
 * MILL_E_TOO_NEW, MILL_E_UNSUPPORTED_STRUCT, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_context_create(const mill_context_opts* opts, mill_context** out_context, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_context_retain(mill_context* context);
/* The context's threads end when its last child is gone.
 * Since: 1 */
MILL_API MILL_SINCE(1) void mill_context_release(mill_context* context);

#ifdef __cplusplus
}
#endif
#endif
