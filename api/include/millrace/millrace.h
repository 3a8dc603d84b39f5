/* Millrace: train and run neural networks on CPU and GPU through one stable C ABI.
 *
 * Copyright 2026 The Millrace authors. SPDX-License-Identifier: Apache-2.0
 *
 * This header includes all others. Read the rules once; every declaration then says only what is
 * special about it, in a fixed order: what it does, shapes and units, ownership, blocking, errors,
 * since.
 *
 * OBJECTS. Every object is a pointer to a struct that only the library knows: mill_context,
 * mill_exec, mill_tensor, ... create, import, copy, get and every op give the caller one reference.
 * Each kind has retain and release. release(NULL) does nothing; release is allowed on any thread
 * and in any order, never waits for a device and runs no foreign code (but the last release of a
 * context or a tape calls the destroy functions it was given, and that of a loader waits until its
 * thread has put down the batch in hand). Children keep their parents alive: a
 * context ends when its last tensor, exec and tape are gone. Arguments are borrowed: whoever calls
 * sees to it that a reference to each stays until the call returns (a thread that shares an object
 * with others retains one of its own), and the library takes one where it keeps an object. A handle
 * that was released, is of another kind, or came from another copy of the library gives
 * MILL_E_BAD_HANDLE, as long as its place has not been given to a new object of that kind: a stale
 * pointer is then that object. A pointer that was never a handle is the caller's bug if it does not
 * point to readable memory.
 *
 * ERRORS. Every call that can fail returns mill_status and takes a mill_error* last, which may be
 * NULL. 0 is success, a positive value a condition (see the call), a negative value an error. The
 * error object belongs to the caller, is written only on failure, and says in one sentence what was
 * wrong, with both values. There is no thread-local or global error state. On failure handle
 * outputs are NULL, nothing was changed and nothing needs cleaning up. The library never aborts,
 * exits, prints or throws; it installs no handler of any kind.
 *
 * THREADS. No current device, stream or mode exists: what an op needs beside its arguments rides in
 * one mill_exec. An exec is used by one thread at a time; a second thread gets MILL_E_BUSY.
 * Different execs run in parallel. Tensors may be read by many threads at once; concurrent writes
 * to one tensor are the caller's to prevent. Everything else is synchronised inside. No object is
 * bound to the thread that made it. Do not cancel (pthread_cancel) a thread inside a call, and do
 * not longjmp or throw out of a callback. A callback may call the library with the exec that it
 * was given; if it drops the last reference to that exec, the exec ends with the call. A tape in a
 * backward pass refuses to be reset or passed over again (MILL_E_STATE).
 *
 * FORK. After fork() the child may make a new context; calls on inherited objects return
 * MILL_E_FORKED and release of them does nothing.
 *
 * STRINGS. UTF-8. An input is a pointer and a length in bytes, or MILL_NTS for a NUL-terminated
 * one; const char* without a length is NUL-terminated. A name, tag or key that is not UTF-8 is
 * MILL_E_ARG, and the message names the byte; paths are whatever the system takes. An output is
 * copied into the caller's buffer (always terminated; MILL_INCOMPLETE and the needed size, NUL
 * included, when it is short) or borrowed from a named owner.
 *
 * ARRAYS. Dims and strides are int64_t* and a rank; strides count elements. Byte counts are
 * uint64_t. An array output is (array, capacity, out_count): capacity 0 asks for the count; a short
 * array gives MILL_INCOMPLETE.
 *
 * STRUCTS. A public struct that may grow begins with mill_struct. Set size and type, zero the rest:
 * zero is every default.
 *
 * VERSIONS. mill_version is the product's, mill_api_level counts additions, the soname changes when
 * the ABI breaks. Until 1.0 every minor version has its own soname. "Since: n" is the API level in
 * which a function appeared.
 */
#ifndef MILL_MILLRACE_H
#define MILL_MILLRACE_H

#include "millrace/compose.h"
#include "millrace/context.h"
#include "millrace/data.h"
#include "millrace/device.h"
#include "millrace/error.h"
#include "millrace/exec.h"
#include "millrace/io.h"
#include "millrace/memory.h"
#include "millrace/op.h"
#include "millrace/op_numbers.h"
#include "millrace/ops.h"
#include "millrace/ops_array.h"
#include "millrace/ops_network.h"
#include "millrace/ops_update.h"
#include "millrace/optim.h"
#include "millrace/profiler.h"
#include "millrace/random.h"
#include "millrace/tape.h"
#include "millrace/tensor.h"
#include "millrace/trace.h"
#include "millrace/types.h"
#include "millrace/version.h"

#endif
