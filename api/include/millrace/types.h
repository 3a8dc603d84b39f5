/* Millrace: the plain types that every other header uses.
 *
 * Copyright 2026 The Millrace authors. SPDX-License-Identifier: Apache-2.0
 */
#ifndef MILL_TYPES_H
#define MILL_TYPES_H

/* A parser of declarations (ffi.cdef, cffi) knows the fixed-width types; the system's own headers
 * would confuse it. */
#if !defined(MILL_PARSE)
#include <stddef.h>
#include <stdint.h>
#endif

/* MILL_API marks an exported function. It is empty for parsers that read declarations (SWIG,
 * ffi.cdef, bindgen). */
#if defined(SWIG) || defined(MILL_PARSE)
#define MILL_API
#elif defined(__GNUC__)
#define MILL_API __attribute__((visibility("default")))
#else
#define MILL_API
#endif

/* MILL_SINCE(n): the API level in which a function appeared. MILL_OWNS: the caller owns one
 * reference to each handle it receives. MILL_BLOCKS: the call may wait for a device, a file or
 * another thread; every other call does not. The header extractor reads the three markers; a
 * compiler sees nothing. */
#if defined(__castxml__)
#define MILL_SINCE(level) __attribute__((annotate("since=" #level)))
#define MILL_OWNS __attribute__((annotate("owns")))
#define MILL_BLOCKS __attribute__((annotate("blocks")))
#else
#define MILL_SINCE(level)
#define MILL_OWNS
#define MILL_BLOCKS
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* 0 is success, a positive value a condition the caller may expect, a negative value an error. */
typedef int32_t mill_status;
typedef int32_t mill_dtype;
/* Any non-zero value is true on input; exactly 0 or 1 on output. */
typedef uint32_t mill_bool;

/* Never renumbered. -1000 to -1999 belong to callbacks: such a status passes through to the outer
 * caller unchanged. */
enum mill_status_values {
  MILL_OK = 0,
  MILL_NOT_READY = 1,  /* an event or future has not happened yet */
  MILL_INCOMPLETE = 2, /* a buffer was too short; the needed count was written */
  MILL_TIMEOUT = 3,    /* a wait ended because its time was over */
  MILL_END = 4,        /* a loader reached the end of its epoch */
  MILL_LOST = 5,       /* trace records were dropped before this drain */

  MILL_E_ARG = -1,        /* NULL, out of range, unknown flag, attribute, enum value or name */
  MILL_E_SHAPE = -2,      /* shapes do not fit each other, or a size is negative or overflows */
  MILL_E_DTYPE = -3,      /* the operation does not exist for these dtypes */
  MILL_E_DEVICE = -4,     /* tensors or handles of different devices or contexts */
  MILL_E_ALIAS = -5,      /* an output overlaps an input and the operation does not allow it */
  MILL_E_INDEX = -6,      /* an index read from a tensor is out of range */
  MILL_E_BAD_HANDLE = -7, /* released, of another kind, or made by another copy of the library */

  MILL_E_STATE = -20,       /* the call is not allowed now */
  MILL_E_BUSY = -21,        /* another thread or backward pass is using the object */
  MILL_E_STALE_SAVED = -22, /* a tensor that backward needs was overwritten */
  MILL_E_FORKED = -23,      /* the object was made before fork(); make a new context in the child */

  MILL_E_MEMORY = -40,      /* out of memory on the host or a device */
  MILL_E_DEVICE_LOST = -41, /* the device has stopped working; its other objects are of no use */

  MILL_E_IO = -50,     /* a file cannot be opened, read or written */
  MILL_E_FORMAT = -51, /* a file's contents are truncated, inconsistent or hostile */

  MILL_E_UNSUPPORTED = -60,        /* this build or device cannot do it; the message says why */
  MILL_E_UNSUPPORTED_STRUCT = -61, /* a struct chained through `next` is not known here */
  MILL_E_TOO_NEW = -62,            /* a struct sets fields that this library does not know */
  MILL_E_NO_GRADIENT = -63,        /* backward met an operation that has no gradient */

  MILL_E_INTERNAL = -80, /* a defect in Millrace; please report it */

  MILL_E_USER = -1000 /* first of the callbacks' band, which ends at -1999 */
};

/* Element types. All can be stored, copied, cast, saved and exchanged; mill_op_supports says where
 * an op computes. */
enum mill_dtype_values {
  MILL_DTYPE_NONE = 0,
  MILL_BOOL = 1, /* one byte, 0 or 1 */
  MILL_U8 = 2,
  MILL_I8 = 3,
  MILL_U16 = 4,
  MILL_I16 = 5,
  MILL_U32 = 6,
  MILL_I32 = 7,
  MILL_U64 = 8,
  MILL_I64 = 9,
  MILL_F16 = 10,  /* IEEE 754 binary16 */
  MILL_BF16 = 11, /* the upper half of binary32 */
  MILL_F32 = 12,
  MILL_F64 = 13,
  MILL_F8E4M3 = 14, /* OCP FP8 E4M3 (finite, NaN = 0x7f) */
  MILL_F8E5M2 = 15, /* OCP FP8 E5M2 */
  MILL_C64 = 16,    /* two f32: real, imaginary */
  MILL_C128 = 17,   /* two f64: real, imaginary */
  MILL_DTYPE_COUNT = 18
};

enum mill_limits {
  MILL_MAX_RANK = 8,
  MILL_MAX_OP_INPUTS = 64,
  MILL_MAX_OP_OUTPUTS = 8,
  MILL_MAX_OP_ATTRS = 16
};

/* A string argument's length may be MILL_NTS (all ones): the string then ends at its first NUL. */
#define MILL_NTS 0xffffffffffffffffull

/* How every public struct that may grow begins. `size` is sizeof the struct in the caller's header,
 * `type` its MILL_STRUCT_ number, `next` NULL or a further struct, 32 at most; one whose type has
 * the bit MILL_STRUCT_SKIPPABLE is passed over where it is not known, any other is
 * MILL_E_UNSUPPORTED_STRUCT. Zero is every other field's default. A larger struct than the library
 * knows is taken if its unknown tail is zero, else MILL_E_TOO_NEW. */
typedef struct mill_struct {
  uint32_t size;
  uint32_t type;
  const struct mill_struct* next;
} mill_struct;

/* The bit of a struct type that lets a library pass over it. */
#define MILL_STRUCT_SKIPPABLE 0x80000000u

enum mill_struct_types {
  MILL_STRUCT_CONTEXT_OPTS = 1,
  MILL_STRUCT_DEVICE_INFO = 2,
  MILL_STRUCT_MEMORY_STATS = 3,
  MILL_STRUCT_CUSTOM_OP = 4,
  MILL_STRUCT_LOADER_OPTS = 5,
  MILL_STRUCT_OP_SCHEMA = 6,
  MILL_STRUCT_ATTR_SCHEMA = 7,
  MILL_STRUCT_PLUGIN_INFO = 8,
  MILL_STRUCT_AUGMENT_ARGS = 9,
  MILL_STRUCT_PROF_OPTS = 10,
  MILL_STRUCT_PROF_CAPABILITY = 11,
  MILL_STRUCT_PROF_OVERHEAD = 12,
  MILL_STRUCT_PROF_SUMMARY = 13,
  MILL_STRUCT_PROF_FINDING = 14,
  MILL_STRUCT_PROF_CHANGE = 15,
  MILL_STRUCT_PROF_PREDICTION = 16,
  MILL_STRUCT_PROF_SUBJECT = 17,
  MILL_STRUCT_PROF_TRIAL = 18,
  MILL_STRUCT_TAPE_PLAN = 19
};

/* Handles: each is a pointer to a struct that only the library knows. */
typedef struct mill_error mill_error;
typedef struct mill_context mill_context;
typedef struct mill_exec mill_exec;
typedef struct mill_stream mill_stream;
typedef struct mill_event mill_event;
typedef struct mill_future mill_future;
typedef struct mill_tensor mill_tensor;
typedef struct mill_call mill_call;
typedef struct mill_tape mill_tape;
typedef struct mill_group mill_group;
typedef struct mill_optimizer mill_optimizer;
typedef struct mill_generator mill_generator;
typedef struct mill_loader mill_loader;
typedef struct mill_file mill_file;
typedef struct mill_prof mill_prof;
typedef struct mill_prof_view mill_prof_view;
typedef struct mill_prof_result mill_prof_result;

/* One attribute of a generic op call. 40 bytes, frozen. `id` is the attribute's ordinal in its op's
 * row; `kind` says which field holds it: i (int, dtype), f (float), or p and n (ints: n int64_t,
 * floats: n double, string: n bytes). */
typedef struct mill_attr {
  int32_t id;
  int32_t kind;
  int64_t i;
  double f;
  const void* p;
  uint64_t n;
} mill_attr;

enum mill_attr_kinds {
  MILL_ATTR_ABSENT = 0,
  MILL_ATTR_INT = 1,
  MILL_ATTR_FLOAT = 2,
  MILL_ATTR_INTS = 3,
  MILL_ATTR_FLOATS = 4,
  MILL_ATTR_STRING = 5,
  MILL_ATTR_DTYPE = 6
};

#ifdef __cplusplus
}
#endif
#endif
