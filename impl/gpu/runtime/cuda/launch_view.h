// What launch code knows of a stream and the runtime behind it.
#pragma once

#include <cuda_runtime_api.h>

#include "gpu/facade.h"

namespace mill::cuda {

// What launches read of a stream: the beginning of what args->stream points to.
struct StreamView {
  cudaStream_t native;
  gpu::fault_slot* faults;  // host memory, at the same address for the device
};

// Checks the shape and enqueues the grid. What goes wrong is in args->error. function: the kernel's
// address on the host; pretty: what the compiler calls a function of a class whose template
// argument K it is.
mill_status launch_grid(const mill_kernel_args* args, const void* function, const char* pretty,
                        const gpu::shape& shape, void** argv);

}  // namespace mill::cuda
