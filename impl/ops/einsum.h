// Einstein's summation as a sequence of ops.
#pragma once

#include <string_view>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

namespace mill::ops {

// The arguments' numbers in refusals are those of mill_einsum.
TensorRef einsum(mill_exec& exec, std::string_view equation, mill_tensor* const* inputs,
                 uint32_t n_inputs);

}  // namespace mill::ops
