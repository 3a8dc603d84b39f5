#include <climits>

#include "gpu/kernel_name.h"
#include "gpu/runtime/cuda/device.h"

namespace mill::cuda {

namespace {

// More dynamic shared memory than this has to be asked for (CUDA Programming Guide, "Shared Memory"
// of compute capability 8.0 and later).
constexpr int kSharedUsual = 48 * 1024;

mill_status refuse_shape(const mill_kernel_args* args, const char* pretty, const char* what,
                         int64_t value, int64_t limit) {
  return refuse(args->error, MILL_E_INTERNAL, "kernel %s: %s is %lld, the limit is %lld",
                gpu::kernel_name(pretty).text, what, static_cast<long long>(value),
                static_cast<long long>(limit));
}

}  // namespace

mill_status launch_grid(const mill_kernel_args* args, const void* function, const char* pretty,
                        const gpu::shape& shape, void** argv) {
  const Stream& stream = stream_of(args->stream);
  Device& device = *stream.device;
  if (const mill_status status = device.alive(args->error); status != MILL_OK) return status;
  const mill_device_limits& limits = device.limits();
  if (shape.grid < 1 || shape.grid > INT_MAX) [[unlikely]]
    return refuse_shape(args, pretty, "the number of blocks", shape.grid, INT_MAX);
  if (shape.block < 32 || shape.block % 32 != 0 ||
      shape.block > static_cast<int>(limits.threads_per_block)) [[unlikely]]
    return refuse_shape(args, pretty, "the block, which must be a multiple of 32,", shape.block,
                        limits.threads_per_block);
  if (shape.dynamic < 0 || static_cast<uint64_t>(shape.dynamic) > limits.shared_bytes_per_block)
      [[unlikely]]
    return refuse_shape(args, pretty, "dynamic shared memory", shape.dynamic,
                        static_cast<int64_t>(limits.shared_bytes_per_block));
  const Current current(device.index());
  cudaError_t code = current.status();
  if (code == cudaSuccess && shape.dynamic > kSharedUsual) [[unlikely]]
    code =
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.dynamic);
  if (code == cudaSuccess) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(shape.grid));
    config.blockDim = dim3(static_cast<unsigned>(shape.block));
    config.dynamicSmemBytes = static_cast<size_t>(shape.dynamic);
    config.stream = stream.native;
    code = cudaLaunchKernelExC(&config, function, argv);
  }
  if (code == cudaSuccess) [[likely]]
    return MILL_OK;
  return device.check(args->error, code, "kernel %s, %lld blocks of %d threads",
                      gpu::kernel_name(pretty).text, static_cast<long long>(shape.grid),
                      shape.block);
}

}  // namespace mill::cuda
