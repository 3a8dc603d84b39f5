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
