/* Millrace: the trace. What the engine did and when: records, per-op totals, and a Chrome /
 * Perfetto timeline.
 *
 * Recording is off until a mask is set and then costs one branch per op. When it is on, every
 * exec writes fixed 128-byte records into a ring of its own (65,536 records), and releases and
 * callbacks into one ring of the context. Rings never block and never grow: a full ring drops
 * the newest record and counts it. mill_trace_drain takes records out.
 *
 * TIME. All times are nanoseconds of CLOCK_MONOTONIC, as mill_trace_clock gives them, so they
 * can be compared with any other source that uses that clock. Where the CPU's counter is stable
 * the engine stamps records with it and converts them at the drain, between two readings of both
 * clocks; a time is then off by at most some tens of nanoseconds. Records of an exec, a wait or a
 * copy on a device whose time is modelled carry that device's time instead, and say so in `clock`:
 * they stand beside the device's timeline, not beside other records.
 */
#ifndef MILL_TRACE_H
#define MILL_TRACE_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is recorded: bits of a mask. Never renumbered; an unknown bit is an error. */
enum mill_trace_bits {
  MILL_TRACE_OPS = 1,         /* one record per op */
  MILL_TRACE_BACKWARD = 2,    /* one record per backward pass */
  MILL_TRACE_COPIES = 4,      /* copies between memories, those of a loader's batches too */
  MILL_TRACE_ALLOCATIONS = 8, /* allocations and frees */
  MILL_TRACE_SYNCS = 16,      /* places where the host waited for a device */
  MILL_TRACE_LOADER = 32,     /* waiting for, and filling of, batches */
  MILL_TRACE_STEPS = 64,      /* mill_trace_step */
  MILL_TRACE_SCOPES = 128,    /* scopes and marks */
  MILL_TRACE_RECORDS = 255,   /* everything above: all that produces records */
  MILL_TRACE_OP_STATS = 256,  /* totals per op (MILL_TRACE_OPS counts them too); needs no ring */
  MILL_TRACE_NVTX = 512 /* NVTX ranges in domain "millrace" for a tool attached to the process */
};

enum mill_record_layout { MILL_RECORD_VERSION = 1, MILL_RECORD_SIZE = 128 };

/* What a record is about. Never renumbered. */
enum mill_record_kinds {
  MILL_RECORD_NONE = 0,
  MILL_RECORD_OP = 1,       /* one op: start and duration on the host */
  MILL_RECORD_BACKWARD = 2, /* one backward pass; its ops have records of their own */
  MILL_RECORD_COPY = 3,     /* detail: MILL_RECORD_COPY_... */
  MILL_RECORD_ALLOC = 4,    /* detail: MILL_RECORD_ALLOC_... */
  MILL_RECORD_FREE = 5,
  MILL_RECORD_SYNC = 6,   /* detail: MILL_RECORD_SYNC_...; wait_ns: the host's wait */
  MILL_RECORD_LOADER = 7, /* detail: MILL_RECORD_LOADER_...; wait_ns: the wait for a batch */
  MILL_RECORD_STEP = 8,   /* to the next mill_trace_step; wait_ns: loader waits inside, summed */
  MILL_RECORD_SCOPE_BEGIN = 9, /* duration 0 */
  MILL_RECORD_SCOPE_END = 10,  /* start = where the scope began */
  MILL_RECORD_MARK = 11        /* duration 0; detail: the mark's string id */
};

enum mill_record_copy_details {
  MILL_RECORD_COPY_BLOCKING = 1, /* the call returned after the copy */
  MILL_RECORD_COPY_ASYNC = 2     /* the call returned at once; the duration is that of the call */
};
enum mill_record_alloc_details {
  MILL_RECORD_ALLOC_HIT = 1,    /* served from memory that the allocator already held */
  MILL_RECORD_ALLOC_GROWTH = 2, /* the allocator asked the device or the system for more */
  MILL_RECORD_ALLOC_RECLAIM = 3 /* it had to give cached memory back first */
};
enum mill_record_sync_details {
  MILL_RECORD_SYNC_EVENT = 1,
  MILL_RECORD_SYNC_STREAM = 2,
  MILL_RECORD_SYNC_READ = 3, /* a future's value was not there yet */
  MILL_RECORD_SYNC_DEVICE = 4
};
enum mill_record_loader_details {
  MILL_RECORD_LOADER_NEXT = 1, /* the program asked for a batch */
  MILL_RECORD_LOADER_FILL = 2  /* a worker made one */
};
/* Bytes 0 and 1 of mill_trace_record.memory. */
enum mill_record_memories {
  MILL_RECORD_MEMORY_NONE = 0,
  MILL_RECORD_MEMORY_PAGEABLE = 1, /* ordinary host memory */
  MILL_RECORD_MEMORY_PINNED = 2,   /* page-locked host memory */
  MILL_RECORD_MEMORY_DEVICE = 3,
  MILL_RECORD_MEMORY_MANAGED = 4 /* migrates between host and device by itself */
};

/* One record. 128 bytes, frozen; a field that a kind does not use is 0.
 *   instance   OP: the op call's number, unique in the context. Of a loader: the batch, counted
 *              from 1 over the life of what `storage` names, without the numbers of batches that
 *              were made ahead and given up. Others: the op call it happened in
 *   forward    of an op run by a backward pass: the instance of the forward op it differentiates.
 *              Of a copy from a tensor: the storage id of that tensor
 *   tensor     tensor id: of an op, its first output; of a copy, the tensor that is not the host's
 *   storage    storage id of that tensor, or of the allocation. Of a loader: its number, unique in
 *              the process
 *   bytes      OP: bytes read and written, by the op's cost rule. Others: bytes moved or allocated
 *   flops      OP: by the op's cost rule. Of a copy from a tensor: where in its storage, in bytes
 *   clock      0: CLOCK_MONOTONIC; else the number of the device whose modelled time it is
 *   tensor_version   how often that tensor had been written; of a copy from a tensor, that one
 *   step       how many steps the exec had finished: the number, from 0, of the step it happened in
 *   op         OP: op number. Others: that of the op it happened in
 *   scope      string id of the path of the open trace scopes, "outer/inner"
 *   exec_id    exec number, from 1; 0: no exec, as in a release, a callback or a loader's thread
 *   dtypes     byte 0 (bits 0 to 7): of the first output; bytes 1, 2, 3: of the first three inputs
 *   memory     byte 0: kind of the memory allocated, freed or read, MILL_RECORD_MEMORY_...;
 *              byte 1: kind of the memory written; bytes 2 and 3: the devices of both. Where
 *              no memory is meant only byte 2, the device of the exec. Of a loader
 *              that fills a batch: the dataset's and what the rows are gathered into; of one that
 *              is asked for a batch: what its rows were gathered into and the batch's */
typedef struct mill_trace_record {
  uint64_t start_ns;
  uint64_t duration_ns;
  uint64_t instance;
  uint64_t forward;
  uint64_t tensor;
  uint64_t storage;
  uint64_t bytes;
  uint64_t flops;
  uint64_t wait_ns; /* see the kinds */
  uint64_t step;
  uint16_t version; /* MILL_RECORD_VERSION */
  uint16_t clock;
  int32_t kind; /* MILL_RECORD_... */
  int32_t op;
  int32_t status; /* what the op or call returned */
  uint32_t scope;
  uint32_t stream; /* stream number, unique in the context */
  uint32_t exec_id;
  uint32_t thread; /* the operating system's thread id */
  uint32_t tensor_version;
  uint32_t dtypes;
  uint32_t memory;
  uint32_t detail; /* see the kinds */
} mill_trace_record;

enum mill_timeline_kinds {
  MILL_TIMELINE_KERNEL = 1,
  MILL_TIMELINE_COPY = 2,
  MILL_TIMELINE_FILL = 3,
  MILL_TIMELINE_HOST = 4, /* a host function in a stream */
  MILL_TIMELINE_CALL = 5  /* a call of the host into the device's runtime: MILL_CALL_... */
};

/* What mill_device_timeline keeps: bits. */
enum mill_timeline_bits {
  MILL_TIMELINE_WORK = 1, /* what the device does */
  MILL_TIMELINE_CALLS = 2 /* the host's calls too */
};

/* What a host call asks for. Never renumbered. */
enum mill_call_kinds {
  MILL_CALL_LAUNCH = 1,
  MILL_CALL_COPY = 2,
  MILL_CALL_FILL = 3,
  MILL_CALL_EVENT_RECORD = 4,
  MILL_CALL_EVENT_WAIT = 5, /* a stream's wait for an event: the host goes on */
  MILL_CALL_SYNC_EVENT = 6, /* the host waits */
  MILL_CALL_SYNC_STREAM = 7,
  MILL_CALL_SYNC_DEVICE = 8,
  MILL_CALL_QUERY = 9,
  MILL_CALL_ALLOCATE = 10,
  MILL_CALL_FREE = 11,
  MILL_CALL_HOST_ALLOCATE = 12, /* page-locked memory */
  MILL_CALL_HOST_FREE = 13,
  MILL_CALL_MODULE_LOAD = 14,
  MILL_CALL_CREATE = 15, /* a stream or an event */
  MILL_CALL_GRAPH_LAUNCH = 16,
  MILL_CALL_HOST_FUNCTION = 17
};

enum mill_copy_kinds {
  MILL_COPY_HOST_TO_DEVICE = 1,
  MILL_COPY_DEVICE_TO_HOST = 2,
  MILL_COPY_DEVICE_TO_DEVICE = 3
};

/* One thing that a device did, or that it was asked to, on the clock that mill_device_now reads.
 * 128 bytes. */
typedef struct mill_timeline_record {
  uint32_t kind;        /* MILL_TIMELINE_... */
  uint32_t copy_kind;   /* of a copy: MILL_COPY_... */
  const char* name;     /* of a kernel; valid until destroy */
  uint64_t stream;      /* number of its queue; streams that wrap one share it */
  uint64_t correlation; /* the number of the call that caused it, counted per device; of a call
                           that causes nothing, 0 */
  int64_t submit_ns;
  int64_t ready_ns; /* when everything before it was done */
  int64_t start_ns;
  int64_t end_ns;
  uint64_t bytes;
  uint64_t flops;
  uint32_t host_memory; /* of a copy: MILL_RECORD_MEMORY_PINNED or MILL_RECORD_MEMORY_PAGEABLE */
  uint32_t call;        /* of a call: MILL_CALL_... */
  uint64_t instance;  /* of a call: number of the op call that it was made in, as records have it */
  uint64_t waits_for; /* of a wait for an event: correlation of the event's record */
  uint32_t thread;    /* of a call: the operating system's thread id */
  uint32_t reserved;
} mill_timeline_record;

/* Totals of one op over all execs of a context, ended ones too. 48 bytes, frozen. */
typedef struct mill_trace_op_row {
  int32_t op; /* -1: custom ops after the context's first 256, taken together */
  uint32_t reserved;
  uint64_t calls;
  uint64_t time_ns; /* on the host, ops called inside the op included */
  uint64_t bytes;
  uint64_t flops;
  double share; /* of the time of all rows, 0 to 1 */
} mill_trace_op_row;

/* Sets what is recorded from now on. The first mask with a record bit gives every exec its ring
 * (8 MiB), so that recording itself never allocates; rings stay until the context ends. mask 0
 * turns recording off; what is in the rings stays.
 * Errors: MILL_E_ARG (unknown bit), MILL_E_UNSUPPORTED (MILL_TRACE_NVTX in a build without
 * NVTX), MILL_E_BAD_HANDLE, MILL_E_MEMORY (the mask is as before). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_set_mask(mill_context* context, uint64_t mask, mill_error* err);

/* Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_get_mask(mill_context* context, uint64_t* out_mask, mill_error* err);

/* The time now on the records' clock: CLOCK_MONOTONIC in nanoseconds, the same value that
 * clock_gettime gives.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_clock(mill_context* context, uint64_t* out_now_ns, mill_error* err);

/* Takes up to `capacity` finished records out of the rings, each ring's in the order they were
 * written. out_count = how many were written; out_lost = how many were dropped since the last
 * drain (may be NULL). Capacity 0 takes nothing: out_count is then the number waiting and
 * out_lost stays due. Works while execs run and does not slow them; two drains at the same time
 * take turns.
 * Returns: MILL_INCOMPLETE when more were waiting as the call began, else MILL_LOST when
 * out_lost is not 0. A caller that loops until the answer is not MILL_INCOMPLETE should look at
 * out_lost after every call.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_drain(mill_context* context, mill_trace_record* records, uint32_t capacity,
                     uint32_t* out_count, uint64_t* out_lost, mill_error* err);

/* The text of a string id, as found in a record; "" for id 0. Texts never change while the
 * context lives. out_size = bytes, NUL included; NULL is allowed. capacity 0 asks for the size.
 * Returns: MILL_INCOMPLETE when the buffer is short (nothing is written).
 * Errors: MILL_E_ARG (no such id), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_string(mill_context* context, uint32_t id, char* text, uint64_t capacity,
                      uint64_t* out_size, mill_error* err);

/* ---- what the program says about itself ------------------------------------------------------ */

/* Opens a named scope on the exec: records made in it carry its path. Scopes nest, at most 64
 * deep; a path has at most 1,000 bytes. It works with any mask, so that a mask set later finds
 * the scopes open. Use few different names (a context keeps 65,472 texts; further ones read
 * "(other)"): "epoch", not "epoch 17".
 * Errors: MILL_E_ARG (empty, not UTF-8, or path too long), MILL_E_STATE (too deep),
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_scope_begin(mill_exec* exec, const char* name, uint64_t name_len, mill_error* err);

/* Closes the innermost scope.
 * Errors: MILL_E_ARG, MILL_E_STATE (none open), MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_trace_scope_end(mill_exec* exec, mill_error* err);

/* Records a point in time with a name of at most 1,000 bytes. Does nothing while
 * MILL_TRACE_SCOPES is off.
 * Errors: MILL_E_ARG (empty, too long or not UTF-8), MILL_E_BAD_HANDLE, MILL_E_BUSY,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_mark(mill_exec* exec, const char* name, uint64_t name_len, mill_error* err);

/* Ends a training step and begins the next. Steps are counted with any mask.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_trace_step(mill_exec* exec, mill_error* err);

/* ---- totals per op --------------------------------------------------------------------------- */

/* Totals since MILL_TRACE_OPS or MILL_TRACE_OP_STATS was first set, or since the last reset;
 * most time first. Works while execs run. out_count = how many ops have totals.
 * Returns: MILL_INCOMPLETE when there are more than `capacity`, whose first rows are then
 * written.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_op_stats(mill_context* context, mill_trace_op_row* rows, uint32_t capacity,
                        uint32_t* out_count, mill_error* err);

/* Starts all totals from 0.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_trace_reset_op_stats(mill_context* context, mill_error* err);

/* ---- timeline -------------------------------------------------------------------------------- */

typedef struct mill_trace_writer mill_trace_writer;

/* Creates or overwrites a file of Chrome trace events (JSON), which ui.perfetto.dev and
 * chrome://tracing open: one track per exec, one for its steps, one per thread for records of no
 * exec. Times are in microseconds, as the format wants; args hold every field of a record that
 * is not 0. Memory use does not grow with the records appended. One thread at a time.
 * Blocks (file). Errors: MILL_E_ARG, MILL_E_IO, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_trace_writer_open(mill_context* context, const char* path, uint64_t path_len,
                           mill_trace_writer** out_writer, mill_error* err);

/* Writes records that mill_trace_drain of the same context gave. SCOPE_BEGIN records are left
 * out: the SCOPE_END says all.
 * Blocks (file). Errors: MILL_E_ARG, MILL_E_STATE (finished, or an earlier write failed),
 * MILL_E_IO, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_trace_writer_append(mill_trace_writer* writer, const mill_trace_record* records,
                             uint32_t count, mill_error* err);

/* Writes the end of the file and closes it. The file is complete JSON only after this.
 * Blocks (file). Errors: as mill_trace_writer_append. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_trace_writer_finish(mill_trace_writer* writer, mill_error* err);

/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_trace_writer_retain(mill_trace_writer* writer);
/* The last release of a writer that was not finished closes the file as it is. Since: 1 */
MILL_API MILL_SINCE(1) void mill_trace_writer_release(mill_trace_writer* writer);

/* Open, append and finish in one call.
 * Blocks (file). Errors: MILL_E_ARG, MILL_E_IO, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_trace_write_chrome(mill_context* context, const mill_trace_record* records, uint32_t count,
                            const char* path, uint64_t path_len, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
