/* Millrace: random generators. Element i of call k is Philox4x32-10(seed; k, i / 4)[i % 4] on every
 * device (Salmon et al., 2011), so results depend on seed and call number only, never on threads or
 * launch shape. */
#ifndef MILL_RANDOM_H
#define MILL_RANDOM_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a generator whose seed and call counter live in memory of the exec's device.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_generator_create(mill_exec* exec, uint64_t seed, mill_generator** out_generator,
                          mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_generator_retain(mill_generator* generator);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_generator_release(mill_generator* generator);

/* Seed and number of calls drawn so far: all that is needed to continue the sequence.
 * Blocks until the device has produced the counter. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1
 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_generator_get_state(mill_generator* generator, uint64_t* out_seed, uint64_t* out_calls,
                             mill_error* err);

/* Errors: MILL_E_ARG, MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_generator_set_state(mill_exec* exec, mill_generator* generator, uint64_t seed,
                             uint64_t calls, mill_error* err);

/* The key of the next call, an i64 tensor {seed, call} on the device, and advances the counter: for
 * passing the same key to several ops. Errors: MILL_E_ARG, MILL_E_DEVICE, MILL_E_BAD_HANDLE,
 * MILL_E_BUSY (exec or generator), MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_generator_next(mill_exec* exec, mill_generator* generator, mill_tensor** out_key,
                        mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
