/* Millrace: reverse-mode differentiation. A tape records ops that are run with an exec that points
 * to it; backward runs ops of the same table in reverse. One thread at a time uses a tape;
 * different tapes are independent. */
#ifndef MILL_TAPE_H
#define MILL_TAPE_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes an empty tape. Parameters of groups are tracked by every tape; other tensors after
 * mill_tape_watch. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tape_create(mill_context* context, mill_tape** out_tape, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_tape_retain(mill_tape* tape);
/* Frees saved tensors, also if backward never ran.
 * Since: 1 */
MILL_API MILL_SINCE(1) void mill_tape_release(mill_tape* tape);

/* Makes the tape track a floating-point tensor from now on: gradients by it can be asked for. A
 * tensor that is no parameter is tracked by one tape at a time, the last that watched it. Errors:
 * MILL_E_ARG, MILL_E_DTYPE, MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1
 */
MILL_API MILL_SINCE(1) mill_status
    mill_tape_watch(mill_tape* tape, mill_tensor* tensor, mill_error* err);

/* Forgets every recorded op and watched tensor; memory is kept for the next step. Tensors
 * themselves are untouched. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_tape_reset(mill_tape* tape, mill_error* err);

/* How many ops are recorded.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tape_count(mill_tape* tape, uint64_t* out_nodes, mill_error* err);

enum mill_backward_flags {
  MILL_BACKWARD_KEEP =
      1 /* keep the recorded ops (for another backward); otherwise the tape is reset afterwards */
};

/* Gradients of `loss` by every parameter it depends on, into the gradient buffers of their groups:
 * the first backward after an optimizer step assigns, later ones add. Watched tensors' gradients
 * are kept on the tape for mill_tape_gradient_of until its next reset or backward. seed: gradient
 * by loss, of its dims; NULL = 1 (loss must then have one element). Runs on `exec`; if that exec
 * records on another tape, or on this one and MILL_BACKWARD_KEEP is given, the backward ops are
 * recorded too, which is how second derivatives are taken (mill_tape_gradient is the other way).
 * Errors: MILL_E_ARG (flags), MILL_E_SHAPE (seed), MILL_E_STATE (loss is not on this tape),
 * MILL_E_STALE_SAVED (a tensor it needs was overwritten: names op and input), MILL_E_NO_GRADIENT
 * (names the op), MILL_E_BUSY (a group is in use by another backward), MILL_E_DEVICE,
 * MILL_E_BAD_HANDLE, MILL_E_MEMORY, and whatever an op, a custom op or the hook fails with. Groups
 * and tape keep what they had on failure of a check; a failure in the middle leaves gradients
 * marked not fresh and, without MILL_BACKWARD_KEEP, the tape reset: its ops are gone, and the step
 * has to be recorded again. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tape_backward(mill_tape* tape, mill_exec* exec, mill_tensor* loss, mill_tensor* seed,
                       uint64_t flags, mill_error* err);

/* The gradient by a watched tensor (or by a parameter) that the last backward left on the tape;
 * NULL output and MILL_E_STATE if none flowed there. Errors: MILL_E_ARG, MILL_E_STATE,
 * MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tape_gradient_of(mill_tape* tape, mill_tensor* tensor, mill_tensor** out_gradient,
                          mill_error* err);

/* Functional form: gradients of `y` by `n` tracked tensors, as new tensors; groups are not touched
 * and the tape is kept. out_gradients[k] is NULL where y does not depend on inputs[k]. seed as in
 * mill_tape_backward. With `exec` recording on the same tape the results can be differentiated
 * again. Errors: as mill_tape_backward; the tape is kept then too. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tape_gradient(mill_tape* tape, mill_exec* exec, mill_tensor* y, mill_tensor* seed,
                       mill_tensor* const* inputs, uint32_t n, mill_tensor** out_gradients,
                       mill_error* err);

/* Called on the thread that runs backward, each time the gradient of a parameter is final. Ops on
 * `exec` are allowed. */
typedef mill_status (*mill_gradient_hook)(void* user, mill_exec* exec, mill_group* group,
                                          uint32_t param, mill_error* err);

/* Sets the hook (NULL removes it). destroy(user) runs once, when the hook is replaced, removed or
 * the tape ends, or at once if this call fails; it may be NULL. Errors: MILL_E_ARG,
 * MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tape_on_gradient(mill_tape* tape, mill_gradient_hook hook, void* user,
                          void (*destroy)(void* user), mill_error* err);

/* ---- memory for time ---------------------------------------------------------------------------
 */

/* What a program makes of a tensor that a tape keeps for backward: `out_packed` gets an object of
 * its own, which the tape keeps instead, or stays NULL: the tensor is kept as it is. `tensor` is
 * borrowed. Ops on `exec` are allowed and not recorded; the tape of the exec may not be changed. A
 * negative status fails the op call that was to be recorded; mill_error_set may say why. */
typedef mill_status (*mill_pack_hook)(void* user, mill_exec* exec, mill_tensor* tensor,
                                      void** out_packed, mill_error* err);
/* Stores one reference to a tensor of the packed one's dims and dtype in out_tensor. Called each
 * time backward reaches an op that kept it. Rules as for mill_pack_hook; a negative status fails
 * the backward. */
typedef mill_status (*mill_unpack_hook)(void* user, mill_exec* exec, void* packed,
                                        mill_tensor** out_tensor, mill_error* err);
/* Called once for every packed object, when the tape no longer needs it: backward has passed the
 * ops that kept it, or the tape is reset or ends. */
typedef void (*mill_release_hook)(void* user, void* packed);

/* Sets what is done with tensors that recorded ops keep for backward (parameters are not among
 * them), from now on; pack NULL = nothing. Each tensor is packed once for every state it is kept
 * in, also if several ops keep it. Offloading to host memory and 16-bit storage of activations are
 * its uses. A tensor that was packed may be overwritten: the packed object is what counts. release
 * and destroy may be NULL. destroy(user) runs once: when the hooks have been replaced or the tape
 * has ended and the last object they packed is released, or at once if this call fails. Errors:
 * MILL_E_ARG (pack without unpack), MILL_E_STATE (in the middle of a backward), MILL_E_BAD_HANDLE,
 * MILL_E_BUSY, MILL_E_MEMORY. Later, from the calls that need the tensor: MILL_E_SHAPE (unpack gave
 * other dims or another dtype), MILL_E_DEVICE, MILL_E_STATE (unpack gave none). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tape_on_saved(mill_tape* tape, mill_pack_hook pack, mill_unpack_hook unpack,
                       mill_release_hook release, void* user, void (*destroy)(void* user),
                       mill_error* err);

/* A part of the forward. Stores its results in `outputs`, without giving up references: it runs in
 * a scope of its own, which releases every handle that calls on `exec` returned inside, so it must
 * not release those itself, and the library takes references to the outputs. It must do the same
 * each time it runs: use the same parameters, and of tensors that are tracked only `inputs`, which
 * it may not write to. Settings of the exec that it changes end with it. A negative status fails
 * the call; mill_error_set may say why. */
typedef mill_status (*mill_segment)(void* user, mill_exec* exec, mill_tensor* const* inputs,
                                    uint32_t n_inputs, mill_tensor** outputs, uint32_t n_outputs,
                                    mill_error* err);

/* Runs fn. The exec's tape keeps nothing of what happens inside but the inputs; a backward runs fn
 * again, on a tape of its own, when it comes to it. Both runs draw the same random numbers (the
 * exec's generator is noted as it is now) under the same autocast, order, determinism and tag, so
 * that gradients have the same bits as without. inputs: n tensors, 0 to MILL_MAX_OP_INPUTS, also
 * ones without a gradient. outputs: m new references, 1 to MILL_MAX_OP_OUTPUTS; those that depend
 * on no tracked tensor are not tracked. Segments nest: inside the first run of an outer one, an
 * inner one just runs, as it does on an exec without a tape. A backward that is itself recorded
 * cannot pass a segment (MILL_E_NO_GRADIENT). `user` must stay valid until destroy(user), which
 * runs once: when backward has used the segment up, the tape is reset or ends, at the end of this
 * call if nothing is recorded or it fails; it may be NULL. Errors: MILL_E_ARG (fn, inputs or
 * outputs NULL, counts), MILL_E_STATE (an output without a tensor; a tracked tensor is used that is
 * not among the inputs; in backward: fn did something else than before), MILL_E_DEVICE,
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY, and whatever fn returns. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tape_checkpoint(mill_exec* exec, mill_segment fn, void* user, void (*destroy)(void* user),
                         mill_tensor* const* inputs, uint32_t n_inputs, mill_tensor** outputs,
                         uint32_t n_outputs, mill_error* err);

/* Bounds what the tape keeps: while it records, it lets go of kept tensors whenever they take more
 * than `bytes`, those first that are cheap to compute again for their size, and backward runs their
 * ops again when it needs them; gradients have the same bits. 0, the default: it keeps everything.
 * Counted are results of recorded ops, each piece of memory once; parameters, watched tensors,
 * tensors that are not tracked, and memory that the program gave for a result are not. Results of
 * custom ops, of segments and of ops that ran in place cannot go. What does not fit although all
 * else has gone stays: see mill_tape_plan. Memory becomes free only where the program holds no
 * handle to it either. To be able to run ops again the tape keeps more inputs than without a
 * budget: overwriting one whose op has to run again is MILL_E_STALE_SAVED. While mill_tape_on_saved
 * hooks are set, what is recorded goes to them and never to the budget. Errors: MILL_E_ARG,
 * MILL_E_STATE (set or taken away while ops are recorded, or in the middle of a backward),
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tape_set_budget(mill_tape* tape, uint64_t bytes, mill_error* err);

/* What a tape keeps of one recorded op's results. 40 bytes, frozen. */
typedef struct mill_tape_plan_row {
  int32_t op;     /* its number; -1: a checkpointed segment */
  uint32_t node;  /* its place on the tape, from 0 */
  uint64_t kept;  /* bytes */
  uint64_t again; /* bytes that were let go of, and that a backward computes again */
  uint64_t cost;  /* of running the op: bytes moved + operations / 10; 0 without a budget */
  uint64_t reserved;
} mill_tape_plan_row;

/* The caller sets size and type; the library fills what fits. */
typedef struct mill_tape_plan_summary {
  uint32_t size; /* sizeof(mill_tape_plan_summary) */
  uint32_t type; /* MILL_STRUCT_TAPE_PLAN */
  const mill_struct* next;
  uint64_t budget_bytes;  /* 0 = none */
  uint64_t kept_bytes;    /* now */
  uint64_t kept_peak;     /* the most after any op of this recording */
  uint64_t evicted_bytes; /* let go of while recording, in all */
  uint64_t least_bytes;   /* known to be needed: a budget below it cannot be met */
  uint64_t ops_again;     /* ops that the last backward ran again */
  mill_bool met;          /* kept_peak is within the budget, or there is none */
  uint32_t reserved;
} mill_tape_plan_summary;

/* What the tape keeps and what it computes again, as recorded up to now: one row for each op that
 * has any of it, in their order; summary may be NULL. Between a backward and the next recorded op
 * there are no rows, and the summary is that of the recording before. Without a budget kept_peak is
 * kept_bytes. out_count = how many rows there are. Returns: MILL_INCOMPLETE when there are more
 * than `capacity`, whose first rows are then written. Errors: MILL_E_ARG (rows NULL, type or size),
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY, MILL_E_UNSUPPORTED_STRUCT. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tape_plan(mill_tape* tape, mill_tape_plan_row* rows, uint32_t capacity,
                   uint32_t* out_count, mill_tape_plan_summary* summary, mill_error* err);

/* Checks gradients of an op by central differences in f64: inputs must be f64 (integer and boolean
 * inputs are held fixed). A random seeded combination of the outputs is differentiated by every
 * floating input. With `second` true, so is a combination of the gradients. step: finite-difference
 * step (0 = 1e-5); out_worst (may be NULL): largest |analytic - numeric| / max(1, |analytic|,
 * |numeric|). Results that are infinite count as constants. The test that Millrace runs on every
 * op, for custom ones too. Blocks. Errors: MILL_E_ARG, MILL_E_DTYPE, MILL_E_NO_GRADIENT, and
 * everything the op can fail with. Returns MILL_OK whatever out_worst is: judge it (1e-6 is usual
 * for smooth ops). Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_gradcheck(mill_exec* exec, int32_t op, mill_tensor* const* inputs, uint32_t n_inputs,
                   const mill_attr* attrs, uint32_t n_attrs, mill_bool second, double step,
                   double* out_worst, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
