/* Millrace: files. IDX for the data sets that come in it, safetensors for everything that is saved.
 *
 * Paths are UTF-8 bytes, passed to the system as they are. A file that is written appears whole or
 * not at all: it is made under a temporary name beside its path, flushed to the disk and moved
 * there, so a failure, also one in the middle, leaves the old file untouched and no other one
 * behind. Files that are read are taken to be hostile: every length, range, name and shape is
 * checked against the file before memory is allocated for it.
 *
 * Errors of every function here, beside those it lists: MILL_E_ARG (NULL, path empty or with a
 * NUL, name or key not UTF-8), MILL_E_IO (the system's reason and the path), MILL_E_BAD_HANDLE,
 * MILL_E_MEMORY; and MILL_E_BUSY where it takes an exec. */
#ifndef MILL_IO_H
#define MILL_IO_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads an IDX file, plain or compressed with gzip, into a new tensor on the CPU: u8, i8, i16, i32,
 * f32 or f64, of the file's dims. Blocks for the file.
 * Errors: MILL_E_FORMAT (not IDX, cut off, damaged, or with more data than its header promises:
 * names both sizes). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_idx_read(mill_context* context, const char* path, uint64_t path_len,
                  mill_tensor** out_tensor, mill_error* err);

/* Writes a tensor as an IDX file; with gzip if the path ends in ".gz". Blocks for the tensor's
 * values and the file.
 * Errors: MILL_E_DTYPE (none of IDX's six), MILL_E_SHAPE (a scalar, or a size above 2^32 - 1),
 * MILL_E_DEVICE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_idx_write(mill_exec* exec, const char* path, uint64_t path_len, mill_tensor* tensor,
                   mill_error* err);

/* Opens a safetensors file and checks all of its header: names differ, no range overlaps another,
 * leaves a hole or leaves the file, and each is as long as dtype and shape say. Data are read by
 * mill_file_read only. An open file can be used by several threads. Blocks for the file.
 * Errors: MILL_E_FORMAT (what is wrong, the tensor's name and both values; also for a dtype that
 * Millrace has no number for and for more than MILL_MAX_RANK dimensions). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_file_open(mill_context* context, const char* path, uint64_t path_len, mill_file** out_file,
                   mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_file_retain(mill_file* file);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_file_release(mill_file* file);

/* Number of tensors. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_file_count(mill_file* file, uint64_t* out_count, mill_error* err);

/* Name of tensor `index`, in the header's order, NUL-terminated and borrowed from the file. out_len
 * (may be NULL): its bytes without the NUL. Names are UTF-8 and hold no NUL.
 * Errors: MILL_E_ARG (index). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_file_name(mill_file* file, uint64_t index, const char** out_name, uint64_t* out_len,
                   mill_error* err);

/* Index of a tensor by name.
 * Errors: MILL_E_ARG (no such name). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_file_find(mill_file* file, const char* name, uint64_t name_len, uint64_t* out_index,
                   mill_error* err);

/* Dtype, dims and bytes of tensor `index`. Any output may be NULL; capacity is that of dims.
 * Returns MILL_INCOMPLETE when capacity is less than the rank and dims is not NULL.
 * Errors: MILL_E_ARG (index). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_file_info(mill_file* file, uint64_t index, mill_dtype* out_dtype, int64_t* dims,
                   uint32_t capacity, uint32_t* out_rank, uint64_t* out_bytes, mill_error* err);

/* Reads tensor `index`. *tensor NULL on entry: into a new tensor on the exec's device, which the
 * caller owns. Otherwise into that one, which must have the same dtype and dims; strides may be
 * any. Blocks for the file.
 * Errors: MILL_E_ARG (index), MILL_E_DTYPE, MILL_E_SHAPE (names both), MILL_E_FORMAT (a bool that
 * is neither 0 nor 1, or a file that was cut short since it was opened; the contents of a given
 * tensor are then undefined), MILL_E_DEVICE (of the given tensor). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_file_read(mill_file* file, mill_exec* exec, uint64_t index, mill_tensor** tensor,
                   mill_error* err);

/* Number of entries of the file's metadata, which are strings by strings. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_file_metadata_count(mill_file* file, uint64_t* out_count, mill_error* err);

/* Entry `index` of the metadata: key and value, NUL-terminated and borrowed from the file. Either
 * may be NULL.
 * Errors: MILL_E_ARG (index). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_file_metadata_at(mill_file* file, uint64_t index, const char** out_key,
                          const char** out_value, mill_error* err);

/* The metadata's value of a key, NUL-terminated and borrowed from the file.
 * Errors: MILL_E_ARG (no such key). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_file_metadata(mill_file* file, const char* key, uint64_t key_len, const char** out_value,
                       mill_error* err);

/* Saves n tensors under n names as a safetensors file, in the given order: the same tensors give
 * the same bytes. meta_keys and meta_values: n_meta strings each (NULL if 0). Every dtype but c128
 * can be saved, with any strides, from any device; no second copy of a tensor is made in host
 * memory. Blocks for the tensors' values and the file.
 * Errors: MILL_E_ARG (a name or key given twice or not UTF-8, a name "__metadata__"), MILL_E_DTYPE
 * (c128), MILL_E_DEVICE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_file_save(mill_exec* exec, const char* path, uint64_t path_len, const char* const* names,
                   mill_tensor* const* tensors, uint64_t n, const char* const* meta_keys,
                   const char* const* meta_values, uint64_t n_meta, mill_error* err);

/* Saves everything a training run needs to go on bit for bit, as a safetensors file that other
 * programs can read:
 *   param.<name>          each parameter of the group
 *   buffer.<name>         each of its buffers (mill_group_add_buffer)
 *   optim.<name>.<state>  each state of the optimizer (m, v, v_max, velocity, square, mean, sum,
 *                         master, ema) of each parameter
 *   optim.step            i64, the steps taken
 *   optim.scale           the loss scale, and optim.streak, i64, the good steps since it changed,
 *                         where the optimizer scales the loss
 *   generator             u64 {seed, calls}
 *   loader                u64 {seed, epoch, batch, rows of the dataset, batch size}
 * and "format" = "millrace-checkpoint-1" in the metadata. optimizer, generator and loader may be
 * NULL: their keys are then left out. Blocks for the values and the file.
 * Errors: MILL_E_STATE (the group is not built, the optimizer's averages are swapped in),
 * MILL_E_DEVICE (a part of another context). Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_checkpoint_save(mill_exec* exec, const char* path, uint64_t path_len, mill_group* group,
                         mill_optimizer* optimizer, mill_generator* generator, mill_loader* loader,
                         mill_error* err);

/* Puts a checkpoint's values into objects that were made as those it was saved from. What is NULL
 * is left out; what is given must be in the file, whose other keys are ignored. All keys, dtypes
 * and dims are checked before anything is changed. Blocks for the file.
 * Errors: MILL_E_FORMAT (no checkpoint, or a key missing: names it), MILL_E_SHAPE, MILL_E_DTYPE (a
 * parameter differs: names both), MILL_E_ARG (the loader's dataset or batch size differs: names
 * both), MILL_E_STATE (the group is not built, averages are swapped in), MILL_E_DEVICE.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_checkpoint_load(mill_exec* exec, const char* path, uint64_t path_len, mill_group* group,
                         mill_optimizer* optimizer, mill_generator* generator, mill_loader* loader,
                         mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
