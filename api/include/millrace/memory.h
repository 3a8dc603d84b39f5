/* Millrace: what the memory of each device is used for, and how much of it there may be.
 *
 * Every device has one caching allocator: memory of released tensors is kept and handed out again,
 * so that a training loop asks the device or the system for memory in its first steps only. */
#ifndef MILL_MEMORY_H
#define MILL_MEMORY_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes and counts since the context was made. The caller sets size and type; the library fills
 * what fits. reserved_bytes = in_use_bytes + cached_bytes, always. Peaks are exact while one thread
 * allocates; each further thread can hide up to 256 KiB. */
typedef struct mill_memory_stats {
  uint32_t size; /* sizeof(mill_memory_stats) */
  uint32_t type; /* MILL_STRUCT_MEMORY_STATS */
  const mill_struct* next;
  uint64_t in_use_bytes;    /* held by tensors and work in progress, rounding included */
  uint64_t in_use_peak;     /* the largest in_use_bytes since the start or mill_memory_reset_peak */
  uint64_t requested_bytes; /* what was asked for of in_use_bytes, without rounding */
  uint64_t cached_bytes;   /* kept for later allocations; mill_memory_trim returns what of it can be
                              returned */
  uint64_t reserved_bytes; /* obtained from the device or the system */
  uint64_t reserved_peak; /* the largest reserved_bytes since the start or mill_memory_reset_peak */
  uint64_t limit_bytes;   /* what reserved_bytes may not exceed; 0 = no limit */
  uint64_t allocations;   /* in all; empty tensors count too */
  uint64_t frees;         /* allocations - frees = allocations that are alive */
  uint64_t growths;       /* times memory was obtained from the device or the system */
  uint64_t
      reclaims; /* allocations that succeeded only after cached memory was returned or waited for */
  uint64_t failures;     /* allocations that failed */
  uint64_t source_calls; /* calls that obtained or returned memory, failed ones included; 0 in a
                            steady step */
} mill_memory_stats;

/* Writes the statistics of one device's allocator.
 * Errors: MILL_E_ARG (device, out_stats), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_memory_stats_query(mill_context* context, uint32_t device, mill_memory_stats* out_stats,
                            mill_error* err);

/* Bytes in use, rounding included, of allocations made under a name (mill_exec_set_tag). NULL or ""
 * = those made under no name. 0 for a name that was never set. Errors: MILL_E_ARG (device,
 * out_bytes), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_memory_tag_query(mill_context* context, uint32_t device, const char* tag,
                          uint64_t* out_bytes, mill_error* err);

/* Returns cached memory to the device or the system: whole pieces as they were obtained, of which
 * nothing is in use and with which the device is done. out_bytes, how many bytes that was, may be
 * NULL. Errors: MILL_E_ARG (device), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_memory_trim(mill_context* context, uint32_t device, uint64_t* out_bytes, mill_error* err);

/* From now on the allocator obtains memory only while reserved_bytes stays within `bytes`; 0 = no
 * limit. If it is above already, cached memory is returned at once; memory in use is never taken
 * away, and no more is obtained until enough has been released. Errors: MILL_E_ARG (device),
 * MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_memory_set_limit(mill_context* context, uint32_t device, uint64_t bytes, mill_error* err);

/* Sets both peaks to the present values.
 * Errors: MILL_E_ARG (device), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_memory_reset_peak(mill_context* context, uint32_t device, mill_error* err);

/* For tests of your own error paths: the k-th allocation on the device from now on, of any thread,
 * fails with MILL_E_MEMORY; 1 is the next one. 0 takes it back. Errors: MILL_E_ARG (device),
 * MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_memory_fail_at(mill_context* context, uint32_t device, uint64_t k, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
