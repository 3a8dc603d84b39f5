/* Millrace: tensors. A tensor is dims, strides and a dtype over a storage that several tensors
 * (views) may share. */
#ifndef MILL_TENSOR_H
#define MILL_TENSOR_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Frees imported memory: called once, when the last tensor on it is gone and the device is done
 * with it, by the next call on an exec of that device, on whatever thread, or when the context
 * ends; not inside the release. */
typedef void (*mill_deleter)(void* user, void* data);

/* Makes a row-major tensor whose elements are unspecified. rank 0 is a scalar; a dim of 0 gives an
 * empty tensor. dims may be NULL when rank is 0. The memory comes from the exec's device. Errors:
 * MILL_E_ARG (dtype, NULL), MILL_E_SHAPE (rank over MILL_MAX_RANK, negative or overflowing size),
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tensor_create(mill_exec* exec, mill_dtype dtype, const int64_t* dims, uint32_t rank,
                       mill_tensor** out_tensor, mill_error* err);

/* As mill_tensor_create, filled with the elements that `data` holds in row-major order (bytes =
 * size of all of them). The data are copied before the call returns. Errors: as mill_tensor_create;
 * MILL_E_ARG (data NULL), MILL_E_SHAPE (bytes). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tensor_from_host(mill_exec* exec, mill_dtype dtype, const int64_t* dims, uint32_t rank,
                          const void* data, uint64_t bytes, mill_tensor** out_tensor,
                          mill_error* err);

/* A tensor over memory that the caller owns on the exec's device, without a copy. strides may be
 * NULL (row-major); negative strides are refused. `data` must be aligned to the element and may be
 * NULL only for an empty tensor. On success the memory must stay valid until deleter(user, data) is
 * called; deleter may be NULL (the caller then outlives all tensors on it). On failure ownership
 * stays with the caller and the deleter is not called. Errors: as mill_tensor_create; MILL_E_ARG
 * (NULL or misaligned data). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tensor_import(mill_exec* exec, mill_dtype dtype, const int64_t* dims,
                       const int64_t* strides, uint32_t rank, void* data, mill_deleter deleter,
                       void* user, mill_tensor** out_tensor, mill_error* err);

/* A view with dims and strides of the caller's choice that starts `offset` elements after the
 * tensor's first. Every element must lie inside the tensor's storage; elements may overlap each
 * other (windows over a text). Not recorded on a tape: use mill_slice, mill_reshape, mill_permute
 * or mill_expand where a gradient must flow. Errors: MILL_E_ARG, MILL_E_SHAPE (outside the storage,
 * negative stride), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tensor_view(mill_tensor* tensor, const int64_t* dims, const int64_t* strides,
                     uint32_t rank, int64_t offset, mill_tensor** out_view, mill_error* err);

/* The same elements as a tensor that no tape tracks.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tensor_detach(mill_tensor* tensor, mill_tensor** out_tensor, mill_error* err);

/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_tensor_retain(mill_tensor* tensor);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_tensor_release(mill_tensor* tensor);

/* Pure getters. For a bad handle: MILL_DTYPE_NONE, rank 0, 0 elements.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_dtype mill_tensor_dtype(const mill_tensor* tensor);
/* Since: 1 */
MILL_API MILL_SINCE(1) uint32_t mill_tensor_rank(const mill_tensor* tensor);
/* Number of elements. Since: 1 */
MILL_API MILL_SINCE(1) int64_t mill_tensor_count(const mill_tensor* tensor);
/* Size of axis `axis` (negative counts from the end); -1 when there is no such axis. Since: 1 */
MILL_API MILL_SINCE(1) int64_t mill_tensor_dim(const mill_tensor* tensor, int32_t axis);

/* Writes dims and strides (in elements). Either array may be NULL; capacity is that of both.
 * Returns MILL_INCOMPLETE when capacity is less than the rank. Errors: MILL_E_ARG,
 * MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tensor_shape(const mill_tensor* tensor, int64_t* dims, int64_t* strides, uint32_t capacity,
                      uint32_t* out_rank, mill_error* err);

/* A row-major copy of the tensor in the memory of the exec's device, whichever device of the same
 * context the tensor is on. Its values are those of this moment. Between a device and pageable host
 * memory the call returns when the host side has been read or written; to the CPU it returns with
 * the values there. Gradients do not flow through it.
 * May block. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_DEVICE (another context),
 * MILL_E_MEMORY, and whatever earlier work failed with. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tensor_to(mill_exec* exec, mill_tensor* tensor, mill_tensor** out_tensor, mill_error* err);

/* The number of the device that holds it.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tensor_device(const mill_tensor* tensor, uint32_t* out_device, mill_error* err);

/* How often the storage was written since it was made: views share it.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tensor_version(const mill_tensor* tensor, uint64_t* out_version, mill_error* err);

/* Address of the first element in the device's memory, for code that touches it directly. NULL for
 * an empty tensor. `for_writing` counts as one write for stale-gradient detection. Errors:
 * MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tensor_data(mill_tensor* tensor, mill_bool for_writing, void** out_data, mill_error* err);

/* Copies all elements in row-major order into host memory of `bytes` bytes, which must be their
 * exact size. Blocks until they are there; see mill_exec_set_late_reads. Errors: MILL_E_ARG,
 * MILL_E_SHAPE (bytes), MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY (of strides
 * that are not row-major, which need a copy). Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_tensor_read(mill_exec* exec, mill_tensor* tensor, void* data, uint64_t bytes,
                     mill_error* err);

/* The element of a one-element tensor as a double. For bool, integer and float dtypes.
 * Blocks until it is there; see mill_exec_set_late_reads. Errors: MILL_E_ARG, MILL_E_SHAPE,
 * MILL_E_DTYPE, MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_tensor_item(mill_exec* exec, mill_tensor* tensor, double* out_value, mill_error* err);

/* Overwrites all elements from host memory in row-major order; `bytes` must be their exact size.
 * Copied on return. Errors: MILL_E_ARG, MILL_E_SHAPE (bytes), MILL_E_STATE (the exec's tape tracks
 * the tensor; one whose values a tape merely saved can be written, and backward finds it stale),
 * MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY (as mill_tensor_read). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_tensor_write(mill_exec* exec, mill_tensor* tensor, const void* data, uint64_t bytes,
                      mill_error* err);

/* Starts a copy of all elements to host memory and returns at once; the values are those of this
 * moment. Asking for a loss this way never drains a GPU. Errors: MILL_E_ARG, MILL_E_DEVICE,
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_tensor_read_async(mill_exec* exec, mill_tensor* tensor, mill_future** out_future,
                           mill_error* err);

/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_future_retain(mill_future* future);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_future_release(mill_future* future);

/* MILL_OK when the values are there, else MILL_NOT_READY.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, and whatever the work failed with. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_future_query(mill_future* future, mill_error* err);

/* Waits for at most timeout_ns nanoseconds (UINT64_MAX = for ever): MILL_OK or MILL_TIMEOUT.
 * Blocks. Errors: as mill_future_query. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_future_wait(mill_future* future, uint64_t timeout_ns, mill_error* err);

/* The values in row-major order, borrowed until the future is released; MILL_NOT_READY (and NULL)
 * before they are there. Errors: as mill_future_query. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_future_data(mill_future* future, const void** out_data,
                                                    uint64_t* out_bytes, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
