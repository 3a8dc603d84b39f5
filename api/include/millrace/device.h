/* Millrace: devices, streams and events. Device 0 is the CPU: its streams are inline, its events
 * always complete. */
#ifndef MILL_DEVICE_H
#define MILL_DEVICE_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The caller sets size and type; the library fills what fits. */
typedef struct mill_device_info {
  uint32_t size; /* sizeof(mill_device_info) */
  uint32_t type; /* MILL_STRUCT_DEVICE_INFO */
  const mill_struct* next;
  char name[32];         /* "cpu" */
  char description[192]; /* for people: "AVX-512, 2 threads, oneDNN 2.6.3", or why not oneDNN */
  uint64_t memory_bytes; /* capacity; 0 = unknown */
  uint32_t threads;      /* CPU: threads that one op may use; otherwise 0 */
  mill_bool host_memory; /* the host may read and write its memory through mill_tensor_data */
} mill_device_info;

/* How many devices the context has; they are numbered from 0.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_device_count(mill_context* context, uint32_t* out_count, mill_error* err);

/* Describes device `index`. The first call for the CPU opens oneDNN, which takes some 20 ms, unless
 * the context uses MILL_GEMM_OWN.
 * Errors: MILL_E_ARG (index, info), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_device_query(mill_context* context, uint32_t index,
                                                     mill_device_info* info, mill_error* err);

/* Makes a stream: an in-order queue of work on one device.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_stream_create(mill_context* context, uint32_t device, mill_stream** out_stream,
                       mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_stream_retain(mill_stream* stream);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_stream_release(mill_stream* stream);

/* Waits until everything enqueued so far has finished.
 * Blocks. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, and whatever the work failed with. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_stream_wait(mill_stream* stream, mill_error* err);

/* Makes an event of the stream's device, not yet recorded: it counts as complete.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_event_create(mill_stream* stream, mill_event** out_event, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_event_retain(mill_event* event);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_event_release(mill_event* event);

/* The event happens when all work enqueued on the stream so far has finished. Recording again
 * replaces that point. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_DEVICE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_event_record(mill_event* event, mill_stream* stream, mill_error* err);

/* MILL_OK when it has happened, else MILL_NOT_READY.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, and whatever the work failed with. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_event_query(mill_event* event, mill_error* err);

/* Waits for it for at most timeout_ns nanoseconds (UINT64_MAX = for ever): MILL_OK or MILL_TIMEOUT.
 * Blocks. Errors: as mill_event_query. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_event_wait(mill_event* event, uint64_t timeout_ns, mill_error* err);

/* Work enqueued on the stream from now on starts only after the event has happened. The host does
 * not wait. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_DEVICE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_stream_wait_event(mill_stream* stream, mill_event* event, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
