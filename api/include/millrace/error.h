/* Millrace: the error object. Make one per thread, pass it to every call, read it when a call
 * fails. */
#ifndef MILL_ERROR_H
#define MILL_ERROR_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes an empty error object. It belongs to no context and is used by one thread at a time; a call
 * that succeeds never touches it, a call that fails overwrites it and allocates nothing. Errors:
 * MILL_E_ARG (out_error NULL), MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status mill_error_create(mill_error** out_error);

/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_error_retain(mill_error* error);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_error_release(mill_error* error);

/* Makes it empty again: status 0, every text "".
 * Since: 1 */
MILL_API MILL_SINCE(1) void mill_error_clear(mill_error* error);

/* The status of the last failure, 0 if there was none.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_error_status(const mill_error* error);

/* "operation: one sentence", at most 1,151 bytes. Borrowed from the object until it is written,
 * cleared or released.
 * "" if there was no failure; never NULL, also for a NULL or bad handle.
 * Since: 1 */
MILL_API MILL_SINCE(1) const char* mill_error_message(const mill_error* error);

/* The op or function that failed, such as "matmul". Borrowed like the message; never NULL.
 * Since: 1 */
MILL_API MILL_SINCE(1) const char* mill_error_operation(const mill_error* error);

/* Which argument was wrong, from 0: of a function, its position among the arguments; of an op, the
 * position among its inputs. -1 where no argument is to blame, and for an op's attributes and
 * outputs, which the message names. Since: 1 */
MILL_API MILL_SINCE(1) int32_t mill_error_argument(const mill_error* error);

/* errno where a system call failed, else 0.
 * Since: 1 */
MILL_API MILL_SINCE(1) int32_t mill_error_native_code(const mill_error* error);

/* For MILL_E_MEMORY: bytes asked for, bytes in use by the allocator that refused, and its limit (0
 * = none). Any pointer may be NULL. All zero for other failures. Since: 1 */
MILL_API MILL_SINCE(1) void mill_error_memory(const mill_error* error, uint64_t* out_requested,
                                              uint64_t* out_in_use, uint64_t* out_limit);

#ifdef __cplusplus
}
#endif
#endif
