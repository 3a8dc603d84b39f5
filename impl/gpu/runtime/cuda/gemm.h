// Matrix products by cuBLASLt, which is opened when the first one comes and done without where it
// is not there or refuses.
#pragma once

#include <cublasLt.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/dynlib.h"
#include "gpu/runtime/cuda/gemm_shape.h"
#include "millrace/plugin.h"

namespace mill::cuda {

struct Stream;

class Gemm {
 public:
  Gemm();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void set_device(int index, int architecture);
  void set_own_only(bool yes) { own_only_.store(yes, std::memory_order_relaxed); }
  void set_tf32(bool yes) { tf32_.store(yes, std::memory_order_relaxed); }
  // "cuBLASLt 13.0.2", or why there is none; "" when it is not wanted.
  const char* description();
  // Gives the library's handle back; the device is current.
  void close();

  // *taken is false when our own kernel has to do it; nothing has been enqueued then.
  mill_status run(int32_t op, const mill_kernel_args* args, Stream& stream, bool* taken);

 private:
  // Everything that the choice of an algorithm depends on.
  struct Key {
    int64_t m, n, k, batch;
    int64_t ld[3];
    int64_t batch_stride[3];
    uint64_t workspace;
    int32_t dtype;
    uint8_t transposed[2];
    uint8_t align[4];  // of a, b, d, bias
    uint8_t bias;
    uint8_t add;
    uint8_t tf32;
    uint8_t unused[3];
  };
  // A key with all that its call needs. The library's descriptors are plain structs, so that each
  // call copies the one that takes its bias.
  struct Plan {
    Key key;
    bool usable;
    size_t workspace;
    cublasLtMatmulDescOpaque_t op;
    cublasLtMatrixLayoutOpaque_t a, b, d;
    cublasLtMatmulAlgo_t algo;
  };
  struct Functions;

  void open();
  bool ready();
  void make_plan(const GemmShape& shape, const void* bias, Plan* plan) const;
  // The plan of key, made if need be; `spare` holds it when the cache has no room.
  const Plan& find_plan(const Key& key, const GemmShape& shape, const void* bias, Plan* spare);
  void take_workspace(Stream& stream) const;

  static constexpr size_t kPlans = 4096;  // a power of two

  int device_ = 0;
  int architecture_ = 0;
  std::atomic<bool> own_only_{false};
  std::atomic<bool> tf32_{false};
  std::once_flag once_;
  std::atomic<bool> ready_{false};
  DynamicLibrary library_;
  std::unique_ptr<Functions> functions_;
  cublasLtHandle_t handle_ = nullptr;
  char description_[256] = {};
  // Open addressing; plans are added and never taken out, so that readers need no lock.
  std::array<std::atomic<Plan*>, kPlans> plans_{};
};

}  // namespace mill::cuda
