// Functions on arrays that are sequences of ops. The arguments' numbers in refusals are those of
// the functions of millrace/compose.h.
#pragma once

#include <cstdint>
#include <vector>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

namespace mill::ops {

TensorRef transpose(Exec& exec, mill_tensor* x, int64_t axis_a, int64_t axis_b);
TensorRef squeeze(Exec& exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes);
TensorRef unsqueeze(Exec& exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes);
TensorRef flatten(Exec& exec, mill_tensor* x, int64_t first, int64_t last);
std::vector<TensorRef> split(Exec& exec, mill_tensor* x, const int64_t* sizes, uint32_t n_sizes,
                             int64_t axis);
TensorRef stack(Exec& exec, mill_tensor* const* inputs, uint32_t n_inputs, int64_t axis);

TensorRef masked_fill(Exec& exec, mill_tensor* x, mill_tensor* mask, double value);
TensorRef lerp(Exec& exec, mill_tensor* a, mill_tensor* b, mill_tensor* weight);
TensorRef addcmul(Exec& exec, mill_tensor* x, mill_tensor* a, mill_tensor* b, double value);

// What a reduction is over; n 0: everything.
struct Reduced {
  const int64_t* axes;
  uint32_t n;
  bool keepdim;
};
TensorRef var(Exec& exec, mill_tensor* x, const Reduced& over, double correction);
TensorRef vector_norm(Exec& exec, mill_tensor* x, double p, const Reduced& over);
TensorRef logsumexp(Exec& exec, mill_tensor* x, const Reduced& over);

}  // namespace mill::ops
