/* Millrace: loaders. A loader hands out the rows of a dataset in batches: shuffled by a seed,
 * converted, and gathered on threads of its own while the program computes.
 *
 * A dataset is one or more tensors, the columns, whose first axis counts the rows and has the same
 * size in all of them. A column may have any strides, so rows may overlap: the windows of 16
 * characters over a text of 1,000,000 are one view (mill_tensor_view) with dims {999985, 16} and
 * strides {1, 1}, and take no memory.
 *
 * The order of an epoch depends on the seed, the epoch's number and the number of rows only: a
 * shuffle by Fisher and Yates with numbers from SplitMix64. It is the same on every machine and
 * will stay the same. */
#ifndef MILL_DATA_H
#define MILL_DATA_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mill_loader_flags {
  MILL_LOADER_SHUFFLE = 1,   /* a new order each epoch; otherwise that of the dataset */
  MILL_LOADER_DROP_LAST = 2, /* leave out an epoch's last batch if it is smaller */
  MILL_LOADER_INLINE = 4     /* no threads: mill_loader_next gathers */
};

/* Zero is every other field's default. */
typedef struct mill_loader_opts {
  uint32_t size; /* sizeof(mill_loader_opts) */
  uint32_t type; /* MILL_STRUCT_LOADER_OPTS */
  const mill_struct* next;
  uint64_t seed;         /* of the shuffle */
  int64_t batch;         /* rows of a batch; 0 = 1 */
  uint64_t flags;        /* MILL_LOADER_... */
  uint32_t prefetch;     /* batches gathered ahead, 1 to 64; 0 = 2, or as many as there are workers
                            if that is more; not used with INLINE */
  uint32_t device;       /* where batches are delivered: a device's number; 0 = the CPU */
  uint64_t pinned_bytes; /* of a device other than the CPU: at most so much pinned memory; 0 = 64
                            MiB for each column and batch in flight */
  uint32_t workers;      /* threads that gather, 1 to 64; 0 = 1; no more than prefetch are started;
                            not used with INLINE */
  uint32_t reserved;     /* zero */
} mill_loader_opts;

/* Makes a loader over n columns (1 to MILL_MAX_OP_INPUTS), which must be on the host's device and
 * have a rank of at least 1. opts may be NULL. The loader keeps a reference to the columns; they
 * must not be written while it lives. Its threads, "mill-loader", or "mill-loader-0" and so on if
 * there are several, start with the first batch and block all signals; memory for prefetch + 1
 * batches is allocated then, and none afterwards. Each of w threads makes every w-th batch; what
 * the batches hold, and their order, does not depend on how many there are. With
 * MILL_LOADER_SHUFFLE the order of an epoch takes 4 bytes a row (8 above 2^32 rows), twice that
 * with several threads.
 * With a device, the threads gather into pinned memory and copy on a stream of the loader's own;
 * what the program then does with a batch waits for its copy on the device, not on the host. What
 * does not fit the pinned memory goes in pieces of whole rows.
 * Errors: MILL_E_ARG (n, batch, flags, prefetch, workers, device), MILL_E_SHAPE (a scalar column,
 * or columns with different numbers of rows: names both), MILL_E_DEVICE (a column that the host
 * cannot read), MILL_E_TOO_NEW, MILL_E_UNSUPPORTED_STRUCT, MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since:
 * 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_loader_create(mill_context* context, mill_tensor* const* columns, uint32_t n,
                       const mill_loader_opts* opts, mill_loader** out_loader, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_loader_retain(mill_loader* loader);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_loader_release(mill_loader* loader);

/* Batches of a column will have this dtype (MILL_DTYPE_NONE = the column's), with every element
 * x * scale + shift, computed in f64 and rounded once (to f16, bf16 and f8 by way of f32). Pixels
 * as 0 .. 1: MILL_F32, 1.0 / 255, 0. With scale 1 and shift 0, integers become integers exactly and
 * wrap. Otherwise values that become integers are truncated and saturate, NaN becomes 0. Complex
 * columns are only copied. A column that becomes wider travels as it is and is converted on the
 * device, in f32 (f64 to f64). Before the first batch only.
 * Errors: MILL_E_ARG (column, dtype, scale or shift not finite), MILL_E_DTYPE (complex),
 * MILL_E_STATE (after the first batch), MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_loader_set_transform(mill_loader* loader, uint32_t column, mill_dtype dtype, double scale,
                              double shift, mill_error* err);

/* From the next batch on, so many batches are gathered ahead (1 to 64; 0: mill_loader_next gathers,
 * as with MILL_LOADER_INLINE) by so many threads (1 to 64; 0 = 1; no more than prefetch are
 * started). Other than in mill_loader_opts, 0 is no default here. Batches and their order stay the
 * same. What had been gathered ahead is gathered again; the next mill_loader_next makes memory and
 * threads anew, as the first one did.
 * Blocks until the threads there were have ended, each after the batch that it is making. Errors:
 * MILL_E_ARG (prefetch, workers), MILL_E_FORKED, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_loader_set_prefetch(mill_loader* loader, uint32_t prefetch, uint32_t workers,
                             mill_error* err);

/* Some rows of one column of one batch, on their way: what an augment function is given. The
 * library fills it in; the pointers are good until the function returns. */
typedef struct mill_augment_args {
  uint32_t size; /* of the library's struct */
  uint32_t type; /* MILL_STRUCT_AUGMENT_ARGS */
  const mill_struct* next;
  void* data;             /* the rows, one after the other, to be changed in place */
  const int64_t* indices; /* which row of the dataset each is */
  const uint64_t* keys;   /* a random number for each */
  int64_t rows;           /* at least 1 */
  uint64_t row_bytes;
  uint32_t column;
  mill_dtype dtype; /* of the elements as they are now */
  uint64_t epoch;
  int64_t batch; /* of the epoch */
  int64_t first; /* the place of the first of the rows in the batch */
} mill_augment_args;

/* Returning a negative status fails the batch with that status; mill_error_set may say why. */
typedef mill_status (*mill_augment)(void* user, const mill_augment_args* args, mill_error* err);

/* Has each batch changed before it is delivered: random crops, flips, noise. fn (NULL: none) is
 * called for every column, once or for one piece after the other, when the rows have been gathered
 * and before they are copied to a device: in the column's own dtype if it becomes wider on the
 * device, else in the one that mill_loader_set_transform asked for. Columns whose rows have no
 * bytes are left out. Before the first batch only.
 *
 * A row's key is s(s(s(seed) + epoch) + row), modulo 2^64, where s(x) is the number that SplitMix64
 * gives first from state x, seed the shuffle's and row the row's index in the dataset. A function
 * that takes all of its randomness from keys gives the same for any number of threads, in any
 * pieces, and when an epoch is continued from a position.
 *
 * fn runs on the loader's threads, on several at once for different batches, on one for the pieces
 * of a batch; with MILL_LOADER_INLINE inside mill_loader_next. It runs ahead of the program, and
 * more than once for a batch that is gathered again. It may call the library, but not this loader,
 * which waits for it: MILL_E_BUSY, MILL_E_BAD_HANDLE once the loader is being released, and a
 * release that would end the loader does nothing. When fn fails, mill_loader_next gives its status
 * and a sentence that names the column and the rows; the batch is made again for the call after
 * that, beginning at once.
 *
 * destroy(user) runs once, when the function is replaced or removed, when the loader ends, or at
 * once if this call fails; it may be NULL. Errors: MILL_E_STATE (after the first batch),
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_loader_set_augment(mill_loader* loader, mill_augment fn, void* user,
                            void (*destroy)(void* user), mill_error* err);

/* The next batch: out_batch[k] = rows of column k as a row-major tensor on the exec's device, of
 * dims {rows, ...}, on the exec's device, which must be the loader's, where rows is the batch size
 * or, in an epoch's last batch, what is left. n is the number of columns. The tensors are the
 * caller's and stay as they are for as long as they are held; what out_batch held before is not
 * looked at. At the end of an epoch: MILL_END, with NULL in out_batch; the call after that begins
 * the next epoch. Blocks while the loader's threads have not gathered the batch; the trace says for
 * how long (MILL_RECORD_LOADER). Errors: MILL_E_ARG (n), MILL_E_DEVICE, MILL_E_BUSY (exec or loader
 * used by another thread), MILL_E_BAD_HANDLE, MILL_E_MEMORY (which is also the answer when a
 * thread cannot be started), and what an augment function fails with; the position has not moved
 * then. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS MILL_BLOCKS mill_status
    mill_loader_next(mill_loader* loader, mill_exec* exec, mill_tensor** out_batch, uint32_t n,
                     mill_error* err);

/* Which rows of the dataset the last batch holds: an array output of at most the batch size. Count
 * 0 before the first batch and after MILL_END.
 * Errors: MILL_E_ARG, MILL_E_BUSY, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_loader_indices(mill_loader* loader, int64_t* indices, uint64_t capacity,
                        uint64_t* out_count, mill_error* err);

/* Batches of one epoch; 0 if the dataset is empty or all of it is dropped.
 * Errors: MILL_E_ARG, MILL_E_BUSY, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_loader_batches(mill_loader* loader, int64_t* out_count, mill_error* err);

/* Goes back to the first batch of the current epoch. Batches that were gathered ahead are gathered
 * again.
 * Errors: MILL_E_ARG, MILL_E_BUSY, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_loader_rewind(mill_loader* loader, mill_error* err);

/* What the next call of mill_loader_next will give: the shuffle's seed, the epoch from 0 and the
 * batch from 0. A batch equal to mill_loader_batches means MILL_END. Saved, and set again in a
 * loader over the same dataset with the same batch size and flags, it continues bit for bit,
 * however many batches had been gathered ahead. Outputs may be NULL.
 * Errors: MILL_E_ARG, MILL_E_BUSY, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_loader_get_position(mill_loader* loader, uint64_t* out_seed, uint64_t* out_epoch,
                             int64_t* out_batch, mill_error* err);

/* Errors: MILL_E_ARG (batch outside 0 .. mill_loader_batches), MILL_E_BUSY, MILL_E_BAD_HANDLE.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_loader_set_position(mill_loader* loader, uint64_t seed, uint64_t epoch, int64_t batch,
                             mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
