#include <climits>
#include <cstring>

#include "gpu/runtime/cuda/device.h"

namespace mill::cuda {

namespace {

// More dynamic shared memory than this has to be asked for (CUDA Programming Guide, "Shared Memory"
// of compute capability 8.0 and later).
constexpr int kSharedUsual = 48 * 1024;

// "layer_norm<256, float>" out of "... kernel_traits<ns::layer_norm<256, float>, ...>::pretty()" or
// "[with auto K = ns::layer_norm<256, float>; ...]". Only for sentences.
void kernel_name(const char* pretty, char (&out)[160]) {
  const char* p = std::strstr(pretty, "K = ");
  p = p ? p + 4 : pretty;
  size_t n = 0;
  int depth = 0;
  for (; *p != 0 && n + 1 < sizeof out; ++p) {
    if (depth == 0 && (*p == ';' || *p == ']')) break;
    if (*p == '<') ++depth;
    if (*p == '>') --depth;
    out[n++] = *p;
    // A qualifier goes when its end has been seen.
    if (*p == ':' && p[-1] == ':') {
      while (n > 0 && out[n - 1] != '<' && out[n - 1] != ' ' && out[n - 1] != '(') --n;
    }
  }
  out[n] = 0;
}

mill_status refuse_shape(const mill_kernel_args* args, const char* pretty, const char* what,
                         int64_t value, int64_t limit) {
  char name[160];
  kernel_name(pretty, name);
  return refuse(args->error, MILL_E_INTERNAL, "kernel %s: %s is %lld, the limit is %lld", name,
                what, static_cast<long long>(value), static_cast<long long>(limit));
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
  char name[160];
  kernel_name(pretty, name);
  return device.check(args->error, code, "kernel %s, %lld blocks of %d threads", name,
                      static_cast<long long>(shape.grid), shape.block);
}

}  // namespace mill::cuda
