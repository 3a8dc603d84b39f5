/* Millrace: devices, streams and events. Device 0 is the CPU: its streams are inline, its events
 * always complete. Others are added by mill_device_open and come from plugins (plugin.h). */
#ifndef MILL_DEVICE_H
#define MILL_DEVICE_H

#include "millrace/trace.h"
#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The caller sets size and type; the library fills what fits. */
typedef struct mill_device_info {
  uint32_t size; /* sizeof(mill_device_info) */
  uint32_t type; /* MILL_STRUCT_DEVICE_INFO */
  const mill_struct* next;
  char name[32];         /* "cpu", or what mill_device_open was given */
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

/* Adds a device to the context, which keeps it until it ends.
 *   device   "PLUGIN", "PLUGIN:DEVICE" or "PATH:DEVICE": "cuda", "cuda:1", "sim:rtx4090",
 *            "./libmillrace_mine.so:0". A plugin's name means libmillrace_PLUGIN.so in the folder
 *            of this library; a path is what holds a '/'. What stands behind the colon is the
 *            plugin's: its documentation says. device_len: bytes, or MILL_NTS.
 *   out_index   its number
 * Errors: MILL_E_ARG (no such device), MILL_E_IO (no such file), MILL_E_FORMAT (truncated, no
 * shared library), MILL_E_UNSUPPORTED (no plugin, of another age, or it cannot work here: the
 * message says why), MILL_E_TOO_NEW (the plugin needs a newer library), MILL_E_STATE (64 devices),
 * MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_device_open(mill_context* context, const char* device, uint64_t device_len,
                     uint32_t* out_index, mill_error* err);

/* Changes a setting of the device, now. Names and values are the device's own: docs/devices.md.
 * Errors: MILL_E_ARG (index, name, value), MILL_E_UNSUPPORTED (it has none), MILL_E_BAD_HANDLE.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_device_configure(mill_context* context, uint32_t index, const char* name,
                          uint64_t name_len, int64_t value, mill_error* err);

/* The device's time in nanoseconds: of a device whose time is modelled, the calling thread's place
 * in it. Errors: MILL_E_ARG, MILL_E_UNSUPPORTED (the device has no timeline), MILL_E_BAD_HANDLE.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_device_now(mill_context* context, uint32_t device, int64_t* out_ns, mill_error* err);

/* Tells a device whose time is modelled that the calling thread works for `ns` nanoseconds, before
 * it does. Other devices are not interested: MILL_OK. Errors: MILL_E_ARG (device, ns negative),
 * MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_device_charge(mill_context* context, uint32_t device, int64_t ns, mill_error* err);

/* Begins or ends the keeping of what the device does. what: MILL_TIMELINE_WORK, with or without
 * MILL_TIMELINE_CALLS; 0 ends it.
 * Errors: MILL_E_ARG, MILL_E_UNSUPPORTED (the device has no timeline), MILL_E_BAD_HANDLE,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_device_timeline(mill_context* context, uint32_t device, uint32_t what, mill_error* err);

/* Takes finished records out, work in order of its start (what still runs holds back what started
 * after it), then calls in order of their end. Any thread; it does not disturb a modelled time. An
 * array output; out_lost (may be NULL): how many did not fit the device's
 * memory for them. Errors: MILL_E_ARG, MILL_E_UNSUPPORTED, MILL_E_BAD_HANDLE, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_device_drain(mill_context* context, uint32_t device, mill_timeline_record* out,
                      uint64_t capacity, uint64_t* out_count, uint64_t* out_lost, mill_error* err);

/* A file that was looked at as a plugin. The caller sets size and type. */
typedef struct mill_plugin_info {
  uint32_t size; /* sizeof(mill_plugin_info) */
  uint32_t type; /* MILL_STRUCT_PLUGIN_INFO */
  const mill_struct* next;
  mill_status status; /* MILL_OK, or why it is not used or finds no device */
  uint32_t devices;   /* how many it finds here */
  char name[32];
  char version[32];
  char description[128];
  char path[512];
  char reason[512]; /* the sentence that goes with status; "" if MILL_OK */
} mill_plugin_info;

/* Looks through the folder of this library for plugins and says how many files have been looked at,
 * those given by path and those refused included. Loads what it finds.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_plugin_count(mill_context* context, uint32_t* out_count, mill_error* err);

/* Describes the file `index`, from 0.
 * Errors: MILL_E_ARG (index, info), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_plugin_query(mill_context* context, uint32_t index,
                                                     mill_plugin_info* info, mill_error* err);

/* Makes a stream: an in-order queue of work on one device.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_stream_create(mill_context* context, uint32_t device, mill_stream** out_stream,
                       mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_stream_retain(mill_stream* stream);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_stream_release(mill_stream* stream);

/* A stream around one that the program has from the device's own interface (CUDA: a cudaStream_t).
 * It stays the program's and must outlive the handle; work of both is ordered by the native stream.
 * Errors: MILL_E_ARG (native NULL), MILL_E_UNSUPPORTED (the device has no native streams),
 * MILL_E_DEVICE (of another device), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_stream_wrap(mill_context* context, uint32_t device, void* native, mill_stream** out_stream,
                     mill_error* err);

/* The device's own stream behind the handle, borrowed for its life.
 * Errors: MILL_E_ARG, MILL_E_UNSUPPORTED (the device has none), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_stream_native(mill_stream* stream, void** out_native, mill_error* err);

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

/* Nanoseconds of device time from one event to another, both recorded and finished.
 * Errors: MILL_E_ARG, MILL_E_DEVICE (of two devices), MILL_E_STATE (not recorded or not finished),
 * MILL_E_UNSUPPORTED (the device does not measure), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_event_elapsed(mill_event* from, mill_event* to, double* out_ns, mill_error* err);

/* A new file descriptor that becomes readable, with 8 bytes, when what the event stands for at this
 * call has happened: for poll, epoll and event loops. It is the caller's to close; recording the
 * event again does not change it. Errors: MILL_E_ARG, MILL_E_UNSUPPORTED (the device cannot call
 * the host), MILL_E_IO (no descriptor is left), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_event_descriptor(mill_event* event, int32_t* out_fd, mill_error* err);

/* Work enqueued on the stream from now on starts only after the event has happened. The host does
 * not wait. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_DEVICE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_stream_wait_event(mill_stream* stream, mill_event* event, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
