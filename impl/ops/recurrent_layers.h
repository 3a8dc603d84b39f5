// Layers and directions of recurrent networks as sequences of ops.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

namespace mill::ops {

enum class Cells { lstm, gru, rnn };

// As the functions of millrace/compose.h take them.
struct RecurrentLayers {
  Cells cells;
  mill_tensor* x;
  mill_tensor* const* weights;  // four for each layer and direction
  uint32_t n_weights;
  mill_tensor* h0;  // may be null, as the next two
  mill_tensor* c0;
  mill_tensor* lengths;
  bool relu;
  bool bidirectional;
  bool batch_first;
  double dropout;
};

// out[0]: the last layer's results; out[1]: states at the end; out[2]: of an LSTM, the cells'.
void recurrent_layers(mill_exec& exec, const RecurrentLayers& layers, TensorRef (&out)[3]);

}  // namespace mill::ops
