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

// Embedding (if symbols > 0), linear layers with an activation between them, cross entropy, AdamW:
// one training step a call, on one fixed batch.
struct MlpShape {
  int64_t batch = 0;
  std::vector<int64_t> widths;  // 784, 128, 10
  bool gelu = false;            // else relu
  int64_t symbols = 0;          // with an embedding: how many rows it has,
  int64_t window = 0;           // and ids a sample has; widths[0] = window * width of a row
  double rate = 1e-3;
  double decay = 0;
};

// The parameters in order (embedding; weight and bias of each layer) and a batch, both sides'
// starting point.
struct MlpData {
  explicit MlpData(const MlpShape& shape);
  std::vector<std::vector<float>> params;
  std::vector<std::vector<int64_t>> dims;
  std::vector<float> x;
  std::vector<int64_t> ids;
  std::vector<int64_t> labels;
};

class MillMlp {
 public:
  MillMlp(Mill& mill, const MlpShape& shape, const MlpData& data);
  ~MillMlp();
  MillMlp(const MillMlp&) = delete;
  MillMlp& operator=(const MillMlp&) = delete;
  void reset(const MlpData& data);  // parameters and optimizer state as at the start
  void step(double* loss = nullptr);

 private:
  Mill& mill_;
  MlpShape shape_;
  mill_group* group_ = nullptr;
  mill_optimizer* optimizer_ = nullptr;
  mill_tape* tape_ = nullptr;
  mill_tensor* input_ = nullptr;
  mill_tensor* labels_ = nullptr;
  std::vector<mill_tensor*> params_;
};

}  // namespace bench
