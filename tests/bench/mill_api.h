// libmillrace.so as any program sees it: opened at run time, its flat functions found by name.
#pragma once

#include <millrace/millrace.h>

#include <memory>
#include <string>
#include <vector>

namespace bench {

#define MILL_BENCH_FUNCTIONS(X)   \
  X(mill_error_create)            \
  X(mill_error_release)           \
  X(mill_error_message)           \
  X(mill_context_create)          \
  X(mill_context_release)         \
  X(mill_device_query)            \
  X(mill_exec_create)             \
  X(mill_exec_release)            \
  X(mill_exec_set_tape)           \
  X(mill_scope_begin)             \
  X(mill_scope_end)               \
  X(mill_tensor_create)           \
  X(mill_tensor_from_host)        \
  X(mill_tensor_data)             \
  X(mill_tensor_read)             \
  X(mill_tensor_write)            \
  X(mill_tensor_item)             \
  X(mill_tensor_count)            \
  X(mill_tensor_retain)           \
  X(mill_tensor_release)          \
  X(mill_tape_create)             \
  X(mill_tape_release)            \
  X(mill_tape_watch)              \
  X(mill_device_open)             \
  X(mill_tape_backward)           \
  X(mill_tape_reset)              \
  X(mill_group_create)            \
  X(mill_group_release)           \
  X(mill_group_add)               \
  X(mill_group_build)             \
  X(mill_group_count)             \
  X(mill_group_param)             \
  X(mill_group_gradient)          \
  X(mill_group_clear_gradients)   \
  X(mill_optimizer_create_adamw)  \
  X(mill_optimizer_set_clip_norm) \
  X(mill_optimizer_release)       \
  X(mill_optimizer_step)          \
  X(mill_memory_stats_query)      \
  X(mill_memory_reset_peak)       \
  X(mill_build_info)              \
  X(mill_fill)                    \
  X(mill_cast)                    \
  X(mill_reshape)                 \
  X(mill_add)                     \
  X(mill_mul)                     \
  X(mill_relu)                    \
  X(mill_gelu)                    \
  X(mill_sum)                     \
  X(mill_matmul)                  \
  X(mill_linear)                  \
  X(mill_softmax)                 \
  X(mill_layer_norm)              \
  X(mill_add_layer_norm)          \
  X(mill_attention)               \
  X(mill_permute)                 \
  X(mill_conv)                    \
  X(mill_lstm)                    \
  X(mill_max_pool)                \
  X(mill_conv_input_gradient)     \
  X(mill_conv_weight_gradient)    \
  X(mill_cross_entropy)           \
  X(mill_embedding)               \
  X(mill_adamw_step)

struct Api {
#define MILL_BENCH_POINTER(name) decltype(&::name) name = nullptr;
  MILL_BENCH_FUNCTIONS(MILL_BENCH_POINTER)
#undef MILL_BENCH_POINTER

  explicit Api(const std::string& path);  // throws when the library or a function is missing
};

// A context, an exec and the error object, with statuses turned into exceptions.
struct Mill {
  Mill(const std::string& path, uint32_t threads, int32_t gemm = MILL_GEMM_AUTO);
  ~Mill();
  Mill(const Mill&) = delete;
  Mill& operator=(const Mill&) = delete;

  void check(mill_status status) const {
    if (status < 0) [[unlikely]]
      fail();
  }
  [[noreturn]] void fail() const;

  mill_tensor* tensor(const std::vector<int64_t>& dims, const float* values);
  mill_tensor* tensor_i64(const std::vector<int64_t>& dims, const int64_t* values);
  mill_tensor* cast(mill_tensor* x, mill_dtype dtype);
  std::vector<float> read(mill_tensor* tensor);
  std::string device() const;

  Api api;
  mill_error* err = nullptr;
  mill_context* context = nullptr;
  mill_exec* exec = nullptr;
};

}  // namespace bench
