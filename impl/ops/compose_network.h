// Parts of networks that are sequences of ops. The arguments' numbers in refusals are those of the
// functions of millrace/compose.h.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

namespace mill::ops {

// scale may be null.
TensorRef embedding_bag(Exec& exec, mill_tensor* weight, mill_tensor* ids, mill_tensor* offsets,
                        mill_tensor* scale, int64_t mode);
TensorRef drop_path(Exec& exec, mill_tensor* x, double p);
TensorRef alibi_bias(Exec& exec, int64_t heads, int64_t queries, int64_t keys, int32_t dtype);
// The scales may be null.
TensorRef scaled_matmul(Exec& exec, mill_tensor* a, mill_tensor* b, mill_tensor* scale_a,
                        mill_tensor* scale_b, int32_t dtype);

}  // namespace mill::ops
