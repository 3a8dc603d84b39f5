/* The functions that these programs call, behind pointers: from a library that was opened, or from
 * the linked one. */
#ifndef MILL_TESTS_ABI_API_H
#define MILL_TESTS_ABI_API_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "millrace/millrace.h"

/* clang-format off */
#define ABI_FUNCTIONS(X) \
  X(mill_version) \
  X(mill_build_info) \
  X(mill_status_name) \
  X(mill_error_create) \
  X(mill_error_release) \
  X(mill_error_message) \
  X(mill_context_create) \
  X(mill_context_release) \
  X(mill_exec_create) \
  X(mill_exec_release) \
  X(mill_exec_wait) \
  X(mill_exec_set_tape) \
  X(mill_exec_set_generator) \
  X(mill_exec_get_context) \
  X(mill_device_count) \
  X(mill_stream_create) \
  X(mill_stream_release) \
  X(mill_stream_wait) \
  X(mill_event_create) \
  X(mill_event_release) \
  X(mill_event_query) \
  X(mill_tensor_create) \
  X(mill_tensor_from_host) \
  X(mill_tensor_import) \
  X(mill_tensor_view) \
  X(mill_tensor_release) \
  X(mill_tensor_retain) \
  X(mill_tensor_count) \
  X(mill_tensor_item) \
  X(mill_tensor_read) \
  X(mill_tensor_read_async) \
  X(mill_future_wait) \
  X(mill_future_data) \
  X(mill_future_release) \
  X(mill_fill) \
  X(mill_add) \
  X(mill_mul) \
  X(mill_sum) \
  X(mill_neg) \
  X(mill_matmul) \
  X(mill_linear) \
  X(mill_gelu) \
  X(mill_dropout) \
  X(mill_cross_entropy) \
  X(mill_embedding) \
  X(mill_reshape) \
  X(mill_op_prepare) \
  X(mill_call_release) \
  X(mill_tape_create) \
  X(mill_tape_release) \
  X(mill_tape_backward) \
  X(mill_tape_watch) \
  X(mill_tape_count) \
  X(mill_tape_gradient_of) \
  X(mill_group_create) \
  X(mill_group_release) \
  X(mill_group_add) \
  X(mill_group_build) \
  X(mill_group_init) \
  X(mill_group_param) \
  X(mill_group_count) \
  X(mill_optimizer_create_adamw) \
  X(mill_optimizer_release) \
  X(mill_optimizer_set_schedule) \
  X(mill_optimizer_set_clip_norm) \
  X(mill_optimizer_step) \
  X(mill_optimizer_steps) \
  X(mill_generator_create) \
  X(mill_generator_release) \
  X(mill_generator_get_state) \
  X(mill_loader_create) \
  X(mill_loader_release) \
  X(mill_loader_next) \
  X(mill_loader_batches) \
  X(mill_memory_stats_query) \
  X(mill_trace_set_mask) \
  X(mill_trace_step) \
  X(mill_trace_get_mask) \
  X(mill_op_find) \
  X(mill_file_open) \
  X(mill_idx_read)
/* clang-format on */

struct api {
#define X(name) __typeof__(&name) name;
  ABI_FUNCTIONS(X)
#undef X
};

static int failures;

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) {                                              \
      ++failures;                                                    \
      printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      fflush(stdout);                                                \
    }                                                                \
  } while (0)

#define CHECK_STATUS(call, want)                                                     \
  do {                                                                               \
    const mill_status got_ = (call);                                                 \
    if (got_ != (want)) {                                                            \
      ++failures;                                                                    \
      printf("%s:%d: %s gave %d, not %s\n", __FILE__, __LINE__, #call, got_, #want); \
      fflush(stdout);                                                                \
    }                                                                                \
  } while (0)

#endif
