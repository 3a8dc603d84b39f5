// Backward passes over a tape.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"

namespace mill {

// Into groups and watched tensors. keep: the tape's ops stay recorded.
void backward(mill_tape& tape, Exec& exec, mill_tensor& loss, mill_tensor* seed, bool keep);

// As new tensors; null where y does not depend on the input. Groups are not touched.
std::vector<TensorRef> gradient(mill_tape& tape, Exec& exec, mill_tensor& y, mill_tensor* seed,
                                mill_tensor* const* inputs, uint32_t n);

}  // namespace mill
