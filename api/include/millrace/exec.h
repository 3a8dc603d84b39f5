/* Millrace: the exec, which carries what an op call needs beside its arguments, and handle scopes.
 */
#ifndef MILL_EXEC_H
#define MILL_EXEC_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mill_orders {
  MILL_ORDER_AUTO = 0,  /* the engine orders work between streams, per storage */
  MILL_ORDER_MANUAL = 1 /* the caller does, with events */
};

/* Makes an exec on one device and stream; both stay for its life. stream NULL = a stream of its
 * own. Everything else can be changed between calls and starts as: no tape, no generator, tag 0,
 * MILL_ORDER_AUTO, deterministic, no autocast. Errors: MILL_E_ARG (device), MILL_E_DEVICE (stream
 * of another device), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_exec_create(mill_context* context, uint32_t device, mill_stream* stream,
                     mill_exec** out_exec, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_exec_retain(mill_exec* exec);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_exec_release(mill_exec* exec);

/* The context the exec belongs to, with a new reference.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_exec_get_context(mill_exec* exec, mill_context** out_context, mill_error* err);

/* From now on ops are recorded on the tape where an input is tracked by it. NULL = record nothing
 * (no-grad). Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_DEVICE (tape of another
 * context). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_tape(mill_exec* exec, mill_tape* tape, mill_error* err);

/* The tape, with a new reference; NULL if there is none.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_exec_get_tape(mill_exec* exec, mill_tape** out_tape, mill_error* err);

/* Random ops without a key draw from this generator. NULL = they fail with MILL_E_STATE.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_DEVICE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_generator(mill_exec* exec, mill_generator* generator, mill_error* err);

/* Memory allocated through the exec is counted under this name (at most 63 names a context; NULL or
 * "" = no name). Errors: MILL_E_ARG (not UTF-8, or one name too many), MILL_E_BAD_HANDLE,
 * MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_tag(mill_exec* exec, const char* tag, mill_error* err);

/* Copies from ordinary host memory to the exec's device go through a ring of so much page-locked
 * memory, which is allocated now: the call then copies in host memory and returns, and the link is
 * used at its full rate while the host goes on. 0, the default: each such call waits for its copy.
 * What does not fit a quarter of the ring goes in pieces. Without effect where the device is inline
 * or has no pinned memory. Errors: MILL_E_ARG (less than 4096 and not 0), MILL_E_BAD_HANDLE,
 * MILL_E_BUSY, MILL_E_MEMORY (the ring is as before). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_staging(mill_exec* exec, uint64_t bytes, mill_error* err);

/* mill_tensor_read and mill_tensor_item of at most 1,024 bytes answer with what the same read asked
 * for `steps` steps before (0, the default, to 8), and do not wait for the step that the host has
 * just begun: for values that a program only shows, as losses in a log; one that decides by them
 * decides late. A read is the same as one of an earlier step if it was the n-th such read of its
 * step too and of as many elements of the same dtype: a step that leaves one out shifts those after
 * it. Steps are told apart by mill_trace_step of this exec. Where there was none, as in the first
 * `steps` steps, and from the 65th read of a step on, it answers with its own values. Without
 * effect where the device is inline. Setting it forgets what was asked for. Errors: MILL_E_ARG
 * (steps), MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_late_reads(mill_exec* exec, uint32_t steps, mill_error* err);

/* MILL_ORDER_...
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_order(mill_exec* exec, int32_t order, mill_error* err);

/* True (the default): only kernels whose result does not depend on timing. Every CPU kernel is of
 * that kind. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_deterministic(mill_exec* exec, mill_bool on, mill_error* err);

/* Mixed precision: MILL_BF16 or MILL_F16 turns it on, MILL_DTYPE_NONE (the default) off. While it
 * is on, ops that docs/ops.md lists as "autocast low" (matrix products) cast inputs of f32 and of
 * the other 16-bit dtype to this one, and ops listed as "high" (exp, sums, norms, losses) cast
 * 16-bit inputs to f32; all others take what they are handed. An op with an f64 input among those
 * is left alone, integers and booleans always are. The result has the dtype that follows from the
 * cast inputs, and a given output must have it. The casts are ops of their own: a tape records
 * them, so that f32 parameters get f32 gradients and stay the master weights of the training. A
 * backward follows the exec it is given; a prepared call the exec that runs it, whatever it was
 * prepared with. With f16, scale the loss: mill_optimizer_set_loss_scale. Errors: MILL_E_ARG (no
 * such dtype), MILL_E_DTYPE (neither f16 nor bf16), MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_exec_set_autocast(mill_exec* exec, mill_dtype dtype, mill_error* err);

/* Waits until all work of the exec has finished.
 * Blocks. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, and whatever the work failed with. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status mill_exec_wait(mill_exec* exec, mill_error* err);

/* From here to the matching end, the exec keeps a list of the tensors, futures and calls that calls
 * on it return. Scopes nest. For languages without destructors. Errors: MILL_E_ARG,
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_scope_begin(mill_exec* exec, mill_error* err);

/* Takes a tensor made inside the innermost scope off its list: the caller's reference survives the
 * end. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_STATE (no scope, or not made in
 * it). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_scope_keep(mill_exec* exec, mill_tensor* tensor, mill_error* err);

/* Releases every handle on the innermost scope's list; the caller must not release those itself.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_STATE (no scope). Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_scope_end(mill_exec* exec, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
