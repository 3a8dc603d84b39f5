// Matrix products of the simulated device by the CPU device's kernels, on request: the device's own
// GEMM runs too, but a processor takes some fifty times as long for it.
#pragma once

#include "millrace/plugin.h"

namespace mill::sim {

// Launch functions for MILL_OP_MATMUL and MILL_OP_LINEAR whose args->stream is a simulated one.
mill_status host_matmul(const mill_kernel_args* args);
mill_status host_linear(const mill_kernel_args* args);

}  // namespace mill::sim
