// Functions that are sequences of ops: losses, and pooling to given sizes. The arguments' numbers
// in refusals are those of the functions of millrace/compose.h.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

namespace mill::ops {

// weight may be null.
TensorRef nll_loss(mill_exec& exec, mill_tensor* log_probs, mill_tensor* labels,
                   mill_tensor* weight, int64_t reduction, int64_t ignore_index);

TensorRef mse_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, int64_t reduction);
TensorRef l1_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, int64_t reduction);
TensorRef huber_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, double delta,
                     int64_t reduction);
TensorRef smooth_l1_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, double beta,
                         int64_t reduction);
// pos_weight may be null.
TensorRef bce_with_logits_loss(mill_exec& exec, mill_tensor* logits, mill_tensor* target,
                               mill_tensor* pos_weight, int64_t reduction);
TensorRef kl_div_loss(mill_exec& exec, mill_tensor* log_probs, mill_tensor* target, bool log_target,
                      int64_t reduction);

TensorRef adaptive_avg_pool(mill_exec& exec, mill_tensor* x, const int64_t* sizes,
                            uint32_t n_sizes);

}  // namespace mill::ops
