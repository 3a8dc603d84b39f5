/* Millrace: ops as data. The generated functions in ops.h are the usual way to call one; this is
 * the generic way, the prepared way, the schema for binding authors, and custom ops. */
#ifndef MILL_OP_H
#define MILL_OP_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Runs op number `op`. inputs: n_inputs tensors, NULL for an absent optional one. attrs: only those
 * that differ from their default. outputs: n_outputs entries; NULL on entry = allocate, else write
 * into that tensor after checks of dims, dtype and device (overlap with an input only where the
 * op's row allows it). Owns: one reference to each output that was NULL. Never blocks for a device.
 * Errors: MILL_E_ARG (unknown op or attribute, wrong counts, NULL), MILL_E_SHAPE, MILL_E_DTYPE,
 * MILL_E_DEVICE, MILL_E_ALIAS, MILL_E_INDEX, MILL_E_STATE, MILL_E_UNSUPPORTED, MILL_E_BAD_HANDLE,
 * MILL_E_BUSY, MILL_E_MEMORY, and whatever a custom op's forward returns. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_op_invoke(mill_exec* exec, int32_t op, mill_tensor* const* inputs, uint32_t n_inputs,
                   const mill_attr* attrs, uint32_t n_attrs, mill_tensor** outputs,
                   uint32_t n_outputs, mill_error* err);

/* Fixes op, attributes, and the dims, strides and dtypes of the example inputs (whose data are not
 * read), so that mill_call_run only binds tensors. The call belongs to the exec's context and
 * device. Errors: as mill_op_invoke. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_op_prepare(mill_exec* exec, int32_t op, mill_tensor* const* inputs, uint32_t n_inputs,
                    const mill_attr* attrs, uint32_t n_attrs, mill_call** out_call,
                    mill_error* err);

/* Runs a prepared call. Inputs must have the dims, strides and dtypes it was prepared with. A
 * recording tape records it as it would the op. Errors: as mill_op_invoke. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_call_run(mill_call* call, mill_exec* exec, mill_tensor* const* inputs, uint32_t n_inputs,
                  mill_tensor** outputs, uint32_t n_outputs, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_call_retain(mill_call* call);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_call_release(mill_call* call);

/* ---- schema
 * ----------------------------------------------------------------------------------------------------
 */

enum mill_op_flags {
  MILL_OP_GRADIENT = 1,    /* backward through it works */
  MILL_OP_POINTWISE = 2,   /* inputs broadcast and promote */
  MILL_OP_VIEW = 4,        /* the output shares the input's storage where strides allow */
  MILL_OP_RANDOM = 8,      /* draws a key from the exec's generator when none is given */
  MILL_OP_LIST_INPUT = 16, /* takes any number of inputs from 1 to MILL_MAX_OP_INPUTS */
  MILL_OP_IS_CUSTOM = 32,
  MILL_OP_AUTOCAST_LOW = 64,  /* an autocast exec casts floating inputs to its 16-bit dtype */
  MILL_OP_AUTOCAST_HIGH = 128 /* an autocast exec casts 16-bit inputs to f32 */
};

/* The caller sets size and type; the library fills what fits. Strings live as long as the context.
 */
typedef struct mill_op_schema {
  uint32_t size; /* sizeof(mill_op_schema) */
  uint32_t type; /* MILL_STRUCT_OP_SCHEMA */
  const mill_struct* next;
  int32_t number;
  int32_t version;
  uint32_t n_inputs;
  uint32_t n_outputs;
  uint32_t n_attrs;
  uint32_t flags; /* MILL_OP_... */
  const char* name;
  const char* family;
  const char* doc; /* one line */
} mill_op_schema;

/* One attribute, input or output of an op. */
typedef struct mill_attr_schema {
  uint32_t size; /* sizeof(mill_attr_schema) */
  uint32_t type; /* MILL_STRUCT_ATTR_SCHEMA */
  const mill_struct* next;
  const char* name;
  int32_t kind;       /* MILL_ATTR_...; MILL_ATTR_ABSENT for an input or output */
  mill_bool required; /* no default; for an input: may not be NULL */
  mill_attr value;    /* the default */
  uint32_t dtypes;    /* bit d set: an input may have, an output can come out as, dtype d; 0 for an
                         output whose dtype an attribute chooses, and for attributes */
  uint32_t inplace;   /* outputs: bit k set = may be input k itself */
} mill_attr_schema;

/* The number of an op by its name (custom ones too).
 * Errors: MILL_E_ARG (no such op), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_op_find(mill_context* context, const char* name, int32_t* out_op, mill_error* err);

/* The numbers of all ops, ascending.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_op_list(mill_context* context, int32_t* ops, uint32_t capacity, uint32_t* out_count,
                 mill_error* err);

/* Errors: MILL_E_ARG (unknown op), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_op_query(mill_context* context, int32_t op, mill_op_schema* schema, mill_error* err);
/* Describes attribute, input or output `index` of an op.
 * Errors: MILL_E_ARG (unknown op or index), MILL_E_BAD_HANDLE, MILL_E_UNSUPPORTED_STRUCT.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_op_query_attr(mill_context* context, int32_t op, uint32_t index, mill_attr_schema* schema,
                       mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_op_query_input(mill_context* context, int32_t op, uint32_t index, mill_attr_schema* schema,
                        mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_op_query_output(mill_context* context, int32_t op, uint32_t index,
                         mill_attr_schema* schema, mill_error* err);

/* MILL_OK if the device has a kernel for the op on inputs of this dtype, MILL_E_UNSUPPORTED with
 * the reason in err if not. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_op_supports(mill_context* context, uint32_t device,
                                                    int32_t op, mill_dtype dtype, mill_error* err);

/* ---- custom ops
 * ------------------------------------------------------------------------------------------------
 */

/* Calls an op out of ordinary ones or raw memory. inputs are borrowed; the function stores one
 * reference to each output. It runs on the calling thread with the caller's exec, whose tape is
 * off. Returning a negative status fails the call with that status; mill_error_set may say why. */
typedef mill_status (*mill_custom_forward)(void* user, mill_exec* exec, mill_tensor* const* inputs,
                                           uint32_t n_inputs, mill_tensor** outputs,
                                           uint32_t n_outputs, mill_error* err);

/* Gradients by the inputs. gradients[k] is the gradient by output k, NULL if nothing flows there.
 * Stores one reference in input_gradients[k] for each input whose wanted[k] is true, or NULL where
 * the gradient is zero. */
typedef mill_status (*mill_custom_backward)(void* user, mill_exec* exec, mill_tensor* const* inputs,
                                            uint32_t n_inputs, mill_tensor* const* outputs,
                                            mill_tensor* const* gradients, uint32_t n_outputs,
                                            const mill_bool* wanted, mill_tensor** input_gradients,
                                            mill_error* err);
typedef void (*mill_user_destroy)(void* user);

typedef struct mill_custom_op {
  uint32_t size; /* sizeof(mill_custom_op) */
  uint32_t type; /* MILL_STRUCT_CUSTOM_OP */
  const mill_struct* next;
  const char* name;   /* ASCII letters, digits, '_' and '.'; unique in the context; copied */
  uint32_t n_inputs;  /* 1 to 31 */
  uint32_t n_outputs; /* 1 to MILL_MAX_OP_OUTPUTS */
  mill_custom_forward forward;
  mill_custom_backward
      backward; /* NULL: forward runs with the tape on, and its ops are differentiated */
  void* user;
  mill_user_destroy
      destroy;       /* called once, when the context ends or registration fails; may be NULL */
  uint64_t reserved; /* zero */
} mill_custom_op;

/* Adds an op to the context; its number (from MILL_OP_CUSTOM up) works with mill_op_invoke, tapes,
 * and mill_gradcheck. Errors: MILL_E_ARG (name, counts, forward NULL), MILL_E_STATE (name taken, or
 * too many ops), MILL_E_TOO_NEW, MILL_E_UNSUPPORTED_STRUCT, MILL_E_BAD_HANDLE, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_op_register(mill_context* context, const mill_custom_op* op,
                                                    int32_t* out_op, mill_error* err);

/* For callbacks: sets the sentence of an error object. Status is what the callback then returns.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_error_set(mill_error* error, mill_status status, const char* message);

#ifdef __cplusplus
}
#endif
#endif
