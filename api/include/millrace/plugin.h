/* Millrace: how a device is added to the library without rebuilding it.
 *
 * A plugin is a shared library that
 *   - carries MILL_PLUGIN_NOTE, which the engine reads from the file before it loads it, so that a
 *     plugin of another age is refused before any of its code runs, and
 *   - exports one function, mill_plugin_open, which fills a mill_plugin.
 * The engine finds it beside libmillrace.so under the name libmillrace_NAME.so, or by the path that
 * the program gives. From then on everything goes through tables of functions. The CPU device is
 * behind the same tables.
 *
 * Tables begin with their size and only grow at the end: a side reads no further than the other's
 * size. A pointer to a table, or to a function in it, is NULL where the device has no such thing;
 * the comments say what the engine does then. Everything handed out stays valid until the matching
 * destroy.
 *
 * Functions may be called from any thread, several at once. None throws, prints or ends the
 * process: a failure is a status and one sentence in mill_kernel_error, in which a kernel does not
 * name its op, because the engine does. `error` is never NULL and begins empty.
 */
#ifndef MILL_PLUGIN_H
#define MILL_PLUGIN_H

#include "millrace/trace.h"
#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mill_plugin_versions {
  MILL_PLUGIN_ABI = 2,           /* what this header describes */
  MILL_PLUGIN_ABI_OLDEST = 2,    /* the oldest plugin ABI that an engine of this header serves */
  MILL_PLUGIN_NOTE_TYPE = 0x4d50 /* of the ELF note */
};

enum mill_plugin_sizes {
  MILL_ERROR_TEXT = 512 /* bytes of an error's sentence, the NUL included */
};

typedef struct mill_kernel_error {
  char text[MILL_ERROR_TEXT];
} mill_kernel_error;

/* ---- what the engine reads before it loads the file ------------------------------------------ */

/* An ELF note (System V ABI, "Note Section") with the name "Millrace". */
typedef struct mill_plugin_note {
  uint32_t name_bytes;
  uint32_t desc_bytes;
  uint32_t type;
  char name[12];
  uint32_t abi;         /* MILL_PLUGIN_ABI of the header that the plugin was built with */
  uint32_t oldest_host; /* the oldest host ABI that it can work with */
  uint32_t reserved[2]; /* zero */
} mill_plugin_note;

/* Once per plugin, at file scope, with a semicolon. oldest_host: usually 1. */
#define MILL_PLUGIN_NOTE(oldest_host)                                             \
  __attribute__((section(".note.millrace"), used,                                 \
                 aligned(4))) static const mill_plugin_note mill_plugin_note_ = { \
      12, 16, MILL_PLUGIN_NOTE_TYPE, "Millrace", MILL_PLUGIN_ABI, (oldest_host), {0, 0}}

/* On the definition of mill_plugin_open. */
#define MILL_PLUGIN_EXPORT __attribute__((visibility("default")))

struct mill_kernel_args;

/* ---- tensors and kernels ----------------------------------------------------------------------
 */

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

typedef struct mill_kernel {
  /* Enqueues the op on args->stream (an inline device: does it). */
  mill_status (*launch)(const struct mill_kernel_args* args);
  /* Bytes of scratch memory that the launch needs for these shapes and attributes; stream,
   * workspace and the tensors' data are not set. NULL means none. */
  uint64_t (*workspace)(const struct mill_kernel_args* args);
} mill_kernel;

enum mill_log_levels { MILL_LOG_INFO = 1, MILL_LOG_WARNING = 2, MILL_LOG_ERROR = 3 };

/* What the host gives to a device and its kernels. Valid until the device's destroy returns. */
typedef struct mill_host_services mill_host_services;
struct mill_host_services {
  uint32_t size;
  uint32_t threads; /* how many threads parallel_for may use, the caller included; at least 1 */
  void* self;       /* first argument of everything below */
  /* Calls body(data, begin, end) on disjoint ranges that cover [0, n); no range is smaller than
   * `grain` unless it is the last. Returns when all are done. Ranges depend only on n, grain and
   * `threads`, never on timing. */
  void (*parallel_for)(void* self, int64_t n, int64_t grain,
                       void (*body)(void* data, int64_t begin, int64_t end), void* data);
  void* builtin; /* the CPU device's own kernels only; NULL elsewhere */
  /* A sentence for whoever reads the trace: one mark. level: MILL_LOG_... NULL on the CPU device.
   */
  void (*log)(void* self, int32_t level, const char* text);
  /* Adds a record to the context's trace if its kind is switched on; returns at once. May be NULL.
   */
  void (*trace)(void* self, const mill_trace_record* record);
  /* Memory of this device from the engine's caching allocator, for work on `stream` (one of this
   * device's stream objects), and back. For what outlives a launch: caches, library workspaces.
   * MILL_E_MEMORY with a sentence. May be NULL. */
  mill_status (*allocate)(void* self, uint64_t bytes, void* stream, void** out,
                          mill_kernel_error* error);
  void (*free)(void* self, void* data);
  /* A kernel of the context's CPU device, which works on host memory, and the services that its
   * args->host must name. MILL_E_UNSUPPORTED with the reason. May be NULL. */
  mill_status (*cpu_kernel)(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in,
                            uint32_t n_out, mill_kernel* out,
                            const mill_host_services** out_services, mill_kernel_error* error);
  /* The number of the op call that the calling thread is inside of, as trace records have it; 0:
   * none, or nothing is traced. For timeline records of calls. May be NULL. */
  uint64_t (*op_instance)(void* self);
};

enum mill_kernel_flags {
  MILL_KERNEL_ACCUMULATE =
      1, /* add to out[0] instead of assigning, where the op's row says it can */
  MILL_KERNEL_DETERMINISTIC = 2 /* the result must not depend on timing */
};

/* One launch. in[k] is NULL for an absent optional input, out[k] for an output that nobody wants.
 * attr is dense: attr[ordinal], defaults filled in. Pointwise ops: the engine has already broadcast
 * every input to the output's dims (stride 0) and made dtypes agree. All shapes have been checked.
 */
typedef struct mill_kernel_args {
  const mill_kernel_tensor* const* in;
  const mill_kernel_tensor* const* out;
  const mill_attr* attr;
  uint32_t n_in;
  uint32_t n_out;
  uint32_t n_attr;
  uint32_t flags; /* MILL_KERNEL_... */
  void* workspace;
  uint64_t workspace_bytes;
  void* stream;
  const mill_host_services* host;
  mill_kernel_error* error;
} mill_kernel_args;

/* ---- the tables of a device -------------------------------------------------------------------
 */

/* What the device is. Rates are peaks, for shares of the roof and models; 0 = unknown. */
typedef struct mill_device_limits {
  uint32_t size;
  mill_bool runs_inline; /* work is complete when a call returns: no stream, event or wait is ever
                            needed */
  mill_bool host_memory; /* the host may read and write the device's memory */
  mill_bool modelled;    /* times come from a model, not from hardware */
  uint32_t copy_engines; /* copies that can move beside kernels: 0, 1, or 2 (one per direction) */
  uint32_t processors;   /* multiprocessors */
  uint32_t threads_per_processor;
  uint32_t threads_per_block;
  uint64_t memory_bytes;           /* capacity */
  uint64_t shared_bytes_per_block; /* with opt-in */
  uint64_t allocation_align;       /* of what memory->allocate returns, at least */
  double memory_bytes_per_second;
  double host_to_device_bytes_per_second; /* pinned */
  double device_to_host_bytes_per_second;
  double f64_flops;
  double f32_flops;
  double tf32_flops;
  double f16_flops;      /* and bf16: matrix units */
  char architecture[32]; /* "sm_90" */
} mill_device_limits;

enum mill_pointer_kinds {
  MILL_POINTER_UNKNOWN = 0, /* pageable host memory, or nobody's */
  MILL_POINTER_PINNED = 1,  /* host memory that copies reach without staging */
  MILL_POINTER_DEVICE = 2,  /* this device's */
  MILL_POINTER_OTHER = 3,   /* another device's of the same plugin */
  MILL_POINTER_MANAGED = 4
};

typedef struct mill_memory_functions {
  uint32_t size;
  uint32_t reserved;
  /* Memory of the device, unspecified contents. MILL_E_MEMORY. */
  mill_status (*allocate)(void* self, uint64_t bytes, uint64_t align, void** out,
                          mill_kernel_error* error);
  /* The device has finished with it. */
  void (*free)(void* self, void* data, uint64_t bytes);
  /* Bytes free and in all on the device, other programs counted. May be NULL. */
  mill_status (*info)(void* self, uint64_t* out_free, uint64_t* out_total,
                      mill_kernel_error* error);
  /* Pinned host memory: copies to and from it overlap with kernels. NULL: the engine uses plain
   * memory. */
  mill_status (*pinned_allocate)(void* self, uint64_t bytes, void** out, mill_kernel_error* error);
  void (*pinned_free)(void* self, void* data, uint64_t bytes);
  /* Whose memory a pointer points into: MILL_POINTER_... May be NULL. */
  int32_t (*classify)(void* self, const void* data);
  /* Address ranges that memory is mapped into in steps of `granularity`: reserve and release whole
   * ranges, map and unmap parts of them. NULL, all of them, where the device has no such thing. */
  uint64_t (*granularity)(void* self);
  mill_status (*reserve)(void* self, uint64_t bytes, void** out, mill_kernel_error* error);
  void (*release)(void* self, void* range, uint64_t bytes);
  mill_status (*map)(void* self, void* at, uint64_t bytes, mill_kernel_error* error);
  mill_status (*unmap)(void* self, void* at, uint64_t bytes, mill_kernel_error* error);
} mill_memory_functions;

/* A stream is an in-order queue. Waits report what the work before them failed with; after
 * MILL_E_DEVICE_LOST every call does. */
typedef struct mill_stream_functions {
  uint32_t size;
  uint32_t reserved;
  /* priority: 0 usual, below 0 more urgent; out of range is clamped. */
  mill_status (*create)(void* self, int32_t priority, void** out, mill_kernel_error* error);
  /* A stream object around the caller's own native stream (CUDA: a cudaStream_t), which stays the
   * caller's. NULL: the device has no native streams. MILL_E_DEVICE if it is of another device. */
  mill_status (*wrap)(void* self, void* native, void** out, mill_kernel_error* error);
  void* (*native)(void* self, void* stream); /* NULL: none */
  /* Work on it may be unfinished; it still finishes. */
  void (*destroy)(void* self, void* stream);
  mill_status (*wait)(void* self, void* stream, mill_kernel_error* error);  /* blocks the host */
  mill_status (*query)(void* self, void* stream, mill_kernel_error* error); /* or MILL_NOT_READY */

  mill_status (*event_create)(void* self, void** out, mill_kernel_error* error);
  void (*event_destroy)(void* self, void* event);
  mill_status (*event_record)(void* self, void* event, void* stream, mill_kernel_error* error);
  mill_status (*event_query)(void* self, void* event,
                             mill_kernel_error* error); /* MILL_OK or MILL_NOT_READY */
  /* UINT64_MAX: for ever. MILL_OK or MILL_TIMEOUT. */
  mill_status (*event_wait)(void* self, void* event, uint64_t timeout_ns, mill_kernel_error* error);
  mill_status (*wait_event)(void* self, void* stream, void* event, mill_kernel_error* error);
  /* Device nanoseconds from one recorded and finished event to another. May be NULL. */
  mill_status (*event_elapsed)(void* self, void* from, void* to, double* out_ns,
                               mill_kernel_error* error);
  /* Calls fn(data) on some host thread when the stream gets there; fn calls nothing of the device.
   * NULL: events have no file descriptors. */
  mill_status (*host_call)(void* self, void* stream, void (*fn)(void* data), void* data,
                           mill_kernel_error* error);
} mill_stream_functions;

typedef struct mill_copy_functions {
  uint32_t size;
  uint32_t reserved;
  /* Enqueues. From or to pageable host memory it returns when the host side is free again; from or
   * to pinned memory at once. */
  mill_status (*copy)(void* self, void* stream, void* to, const void* from, uint64_t bytes,
                      int32_t kind, mill_kernel_error* error);
  /* Every byte becomes `value`. May be NULL. */
  mill_status (*fill)(void* self, void* stream, void* to, int32_t value, uint64_t bytes,
                      mill_kernel_error* error);
  /* From memory of another device of the same plugin. NULL: the engine goes through the host. */
  mill_status (*copy_peer)(void* self, void* stream, void* to, void* from_self, const void* from,
                           uint64_t bytes, mill_kernel_error* error);
} mill_copy_functions;

typedef struct mill_op_functions {
  uint32_t size;
  uint32_t reserved;
  /* The kernel of an op for these dtypes: those of the inputs, then of the outputs
   * (MILL_DTYPE_NONE for an absent one). flags: MILL_KERNEL_DETERMINISTIC or 0.
   * MILL_E_UNSUPPORTED with the reason in words when there is none. */
  mill_status (*resolve)(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in,
                         uint32_t n_out, uint32_t flags, mill_kernel* out,
                         mill_kernel_error* error);
} mill_op_functions;

/* Work is recorded instead of run, and replayed as a whole. */
typedef struct mill_capture_functions {
  uint32_t size;
  uint32_t reserved;
  mill_status (*begin)(void* self, void* stream, mill_kernel_error* error);
  mill_status (*end)(void* self, void* stream, void** out_graph, mill_kernel_error* error);
  mill_status (*launch)(void* self, void* graph, void* stream, mill_kernel_error* error);
  void (*destroy)(void* self, void* graph);
} mill_capture_functions;

enum mill_reduce_kinds {
  MILL_COLLECTIVE_SUM = 1,
  MILL_COLLECTIVE_MEAN = 2,
  MILL_COLLECTIVE_MAX = 3
};

/* Between the devices of several processes. `group` comes from join: every member calls it with the
 * same id of `id_bytes` bytes, made by one of them with new_id. */
typedef struct mill_collective_functions {
  uint32_t size;
  uint32_t id_bytes;
  mill_status (*new_id)(void* self, void* out_id, mill_kernel_error* error);
  mill_status (*join)(void* self, const void* id, uint32_t rank, uint32_t ranks, void** out_group,
                      mill_kernel_error* error);
  void (*leave)(void* self, void* group);
  mill_status (*all_reduce)(void* self, void* group, void* stream, const mill_kernel_tensor* in,
                            const mill_kernel_tensor* out, int32_t kind, mill_kernel_error* error);
  mill_status (*broadcast)(void* self, void* group, void* stream, const mill_kernel_tensor* data,
                           uint32_t root, mill_kernel_error* error);
} mill_collective_functions;

typedef struct mill_timeline_functions {
  uint32_t size;
  uint32_t reserved;
  /* what: MILL_TIMELINE_... */
  mill_status (*start)(void* self, uint32_t what, mill_kernel_error* error);
  mill_status (*stop)(void* self, mill_kernel_error* error);
  /* Hands over finished records, work in order of start, at most `capacity`, and how many were lost
   * since the last time. Less than `capacity`: there is no more. Called by any thread: of a device
   * whose time is modelled it neither takes time nor a turn. */
  mill_status (*drain)(void* self, mill_timeline_record* out, uint64_t capacity,
                       uint64_t* out_count, uint64_t* out_lost, mill_kernel_error* error);
  int64_t (*now)(void* self);
  /* Of a device whose time is modelled; NULL where time is real. What the calling thread does
   * itself, declared before it is done: `ns` of work, and `bytes` moved in host memory. */
  void (*work)(void* self, int64_t ns, uint64_t bytes);
  /* The thread reads or writes pinned memory: MILL_E_STATE with a sentence if a copy may still be
   * using it. */
  mill_status (*host_access)(void* self, const void* data, uint64_t bytes, mill_bool write,
                             mill_kernel_error* error);
  /* Threads with numbers below 2^31, so that the model does not depend on how they are scheduled.
   * announce: by the thread that makes another one, before; attach, detach: by the thread; join:
   * waits in modelled time until thread `number` has detached, before its maker waits for its end.
   */
  void (*thread_announce)(void* self, uint32_t number);
  void (*thread_attach)(void* self, uint32_t number);
  void (*thread_detach)(void* self);
  void (*thread_join)(void* self, uint32_t number);
  /* Counting semaphores between such threads: acquire waits in modelled time, and says no once the
   * semaphore is closed. */
  mill_status (*semaphore_create)(void* self, uint64_t count, void** out, mill_kernel_error* error);
  void (*semaphore_destroy)(void* self, void* semaphore);
  mill_bool (*semaphore_acquire)(void* self, void* semaphore);
  void (*semaphore_release)(void* self, void* semaphore);
  void (*semaphore_close)(void* self, void* semaphore);
  /* What the calling thread does from begin to end is one step to the other threads: nobody else's
   * call takes place in between. Nests. Nothing in between waits for another thread. */
  void (*turn_begin)(void* self);
  void (*turn_end)(void* self);
} mill_timeline_functions;

typedef struct mill_device_table {
  uint32_t size;
  uint32_t abi;
  const char* name;        /* "cpu"; the plugin's name */
  const char* description; /* for people: "AVX-512, 2 threads" */
  void* self;              /* first argument of every function of every table */
  const mill_device_limits* limits;
  const mill_memory_functions* memory;
  const mill_stream_functions* streams;
  const mill_copy_functions* copies;
  const mill_op_functions* ops;
  const mill_capture_functions* capture;        /* may be NULL */
  const mill_collective_functions* collectives; /* may be NULL */
  const mill_timeline_functions* timeline;      /* may be NULL */
  /* All work has finished and all objects of the device have been destroyed. */
  void (*destroy)(void* self);
  /* Named integer settings such as "gemm". MILL_E_ARG for an unknown name. May be NULL. */
  mill_status (*configure)(void* self, const char* name, int64_t value, mill_kernel_error* error);
  /* The optional libraries that it would use, opened if need be, or why it cannot: "oneDNN 2.6.3".
   * May be NULL; "" if there are none. */
  const char* (*libraries)(void* self);
} mill_device_table;

/* ---- the plugin -------------------------------------------------------------------------------
 */

typedef struct mill_plugin {
  uint32_t size;    /* the engine: how much it has room for; the plugin: how much it has filled */
  uint32_t abi;     /* MILL_PLUGIN_ABI of the plugin */
  const char* name; /* "cuda": what device specs begin with; letters, digits, '_' */
  const char* version;
  const char* description; /* one line */
  void* self;
  /* Called once, when nothing of the plugin is in use. */
  void (*close)(void* self);
  /* How many devices there are. Where it cannot work here: 0 devices, MILL_E_UNSUPPORTED and the
   * reason ("no NVIDIA driver"). */
  mill_status (*count)(void* self, uint32_t* out_count, mill_kernel_error* error);
  /* One line about device `index`. The buffer is of the caller. */
  mill_status (*describe)(void* self, uint32_t index, char* out, uint64_t capacity,
                          mill_kernel_error* error);
  /* Opens a device. spec is what follows "name:"; "" asks for the usual one. The table lives until
   * its destroy. MILL_E_ARG for a spec that names none, MILL_E_UNSUPPORTED with the reason. */
  mill_status (*open)(void* self, const char* spec, const mill_host_services* host,
                      const mill_device_table** out, mill_kernel_error* error);
} mill_plugin;

/* The type of the exported function mill_plugin_open. host_abi: MILL_PLUGIN_ABI of the engine.
 * Fills *out, no further than out->size. MILL_E_TOO_NEW when the engine is too old. */
typedef mill_status (*mill_plugin_open_function)(uint32_t host_abi, mill_plugin* out,
                                                 mill_kernel_error* error);

#ifdef __cplusplus
}
#endif
#endif
