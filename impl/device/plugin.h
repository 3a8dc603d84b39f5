/* The device table: what a device plugin hands to the engine and what it gets back.
 *
 * Private draft of the public plugin.h; the CPU device is its first implementer. Everything is C so
 * that a third party can add a device without rebuilding Millrace. All functions may be called from
 * any thread. None throws: a failure is a status plus one sentence in mill_kernel_error, in which a
 * kernel does not name its op, because the engine does.
 */
#ifndef MILL_DEVICE_PLUGIN_H
#define MILL_DEVICE_PLUGIN_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mill_plugin_limits { MILL_PLUGIN_VERSION = 1, MILL_ERROR_TEXT = 512 };

/* A tensor as a kernel sees it. Strides count elements and may be 0 (broadcast). data is NULL when
 * numel is 0. */
typedef struct mill_kernel_tensor {
  void* data;
  int64_t numel;
  int32_t dtype;
  int32_t rank;
  int64_t dims[MILL_MAX_RANK];
  int64_t strides[MILL_MAX_RANK];
} mill_kernel_tensor;

typedef struct mill_kernel_error {
  char text[MILL_ERROR_TEXT];
} mill_kernel_error;

/* What the host gives to kernels. */
typedef struct mill_host_services {
  uint32_t size;
  uint32_t threads; /* how many threads parallel_for may use, the caller included; at least 1 */
  void* self;
  /* Calls body(data, begin, end) on disjoint ranges that cover [0, n); no range is smaller than
   * `grain` unless it is the last. Returns when all are done. Ranges depend only on n, grain and
   * `threads`, never on timing. */
  void (*parallel_for)(void* self, int64_t n, int64_t grain,
                       void (*body)(void* data, int64_t begin, int64_t end), void* data);
  void* cpu; /* the CPU device's own kernels only: its mill::cpu::Runtime; NULL elsewhere */
} mill_host_services;

/* One launch. in[k] is NULL for an absent optional input. attr is dense: attr[ordinal], defaults
 * filled in. Pointwise ops: the engine has already broadcast every input to the output's dims
 * (stride 0) and made dtypes agree. */
typedef struct mill_kernel_args {
  const mill_kernel_tensor* const* in;
  const mill_kernel_tensor* const* out;
  const mill_attr* attr;
  uint32_t n_in;
  uint32_t n_out;
  uint32_t n_attr;
  uint32_t flags; /* MILL_KERNEL_ACCUMULATE: add to out[0] instead of assigning, where the op's row
                     says it can */
  void* workspace;
  uint64_t workspace_bytes;
  void* stream;
  const mill_host_services* host;
  mill_kernel_error* error;
} mill_kernel_args;

enum mill_kernel_flags { MILL_KERNEL_ACCUMULATE = 1 };

typedef mill_status (*mill_kernel_fn)(const mill_kernel_args* args);
/* Bytes of scratch memory that the launch needs; NULL means none. */
typedef uint64_t (*mill_workspace_fn)(const mill_kernel_args* args);

typedef struct mill_kernel {
  mill_kernel_fn launch;
  mill_workspace_fn workspace;
} mill_kernel;

enum mill_copy_kinds {
  MILL_COPY_HOST_TO_DEVICE = 1,
  MILL_COPY_DEVICE_TO_HOST = 2,
  MILL_COPY_DEVICE_TO_DEVICE = 3
};

typedef struct mill_device_table {
  uint32_t size;
  uint32_t version;
  const char* name;        /* "cpu" */
  const char* description; /* for people: "AVX-512, 2 threads" */
  void* self;
  uint64_t memory_bytes; /* capacity; 0 = unknown */
  mill_bool runs_inline; /* work is complete when a call returns: no stream, event or wait is ever
                            needed */
  mill_bool host_memory; /* the host may read and write the device's memory */

  void (*destroy)(void* self);
  mill_status (*allocate)(void* self, uint64_t bytes, uint64_t align, void** out,
                          mill_kernel_error* error);
  void (*free)(void* self, void* data, uint64_t bytes);
  mill_status (*stream_create)(void* self, void** out, mill_kernel_error* error);
  void (*stream_destroy)(void* self, void* stream);
  mill_status (*stream_wait)(void* self, void* stream,
                             mill_kernel_error* error); /* blocks the host */
  mill_status (*event_create)(void* self, void** out, mill_kernel_error* error);
  void (*event_destroy)(void* self, void* event);
  mill_status (*event_record)(void* self, void* event, void* stream, mill_kernel_error* error);
  mill_status (*event_query)(void* self, void* event,
                             mill_kernel_error* error); /* MILL_OK or MILL_NOT_READY */
  mill_status (*event_wait)(void* self, void* event, uint64_t timeout_ns, mill_kernel_error* error);
  mill_status (*stream_wait_event)(void* self, void* stream, void* event, mill_kernel_error* error);
  mill_status (*copy)(void* self, void* stream, void* to, const void* from, uint64_t bytes,
                      int32_t kind, mill_kernel_error* error);
  /* dtypes: those of the inputs, then of the outputs (MILL_DTYPE_NONE for an absent one).
   * MILL_E_UNSUPPORTED with the reason in words when there is no such kernel. The pair stays valid
   * until destroy. */
  mill_status (*resolve)(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in,
                         uint32_t n_out, mill_kernel* out, mill_kernel_error* error);
  /* Named integer settings such as "gemm" (0 = automatic, 1 = own kernels only). MILL_E_ARG for an
   * unknown name. */
  mill_status (*configure)(void* self, const char* name, int64_t value, mill_kernel_error* error);
  /* The optional libraries that it would use, opened if need be, or why it cannot: "oneDNN 2.6.3".
   * May be NULL; "" if there are none. Valid until destroy. */
  const char* (*libraries)(void* self);
} mill_device_table;

#ifdef __cplusplus
}
#endif
#endif
