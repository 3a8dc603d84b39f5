// The loss of a linear layer over many classes, part by part of its rows.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

namespace mill {

struct LinearLoss {
  mill_tensor* x = nullptr;
  mill_tensor* weight = nullptr;
  mill_tensor* bias = nullptr;  // may be null
  mill_tensor* labels = nullptr;
  int64_t reduction = 0;
  double label_smoothing = 0;
  int64_t ignore_index = 0;
  int64_t rows = 0;  // of a part; 0: chosen
};

// The arguments' numbers in refusals are those of mill_linear_cross_entropy.
TensorRef linear_cross_entropy(Exec& exec, const LinearLoss& loss);

}  // namespace mill
