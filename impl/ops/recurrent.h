// What the gradients of recurrent networks share.
#pragma once

#include "ops/rules.h"

namespace mill::ops {

// The state before each step, [T, batch, H]: y moved by one, start (absent: zeros) before the
// first.
TensorRef states_before(Exec& exec, mill_tensor* y, mill_tensor* start, mill_tensor* lengths,
                        bool reverse);

// Of an op whose inputs 1 to 3 are w_hh, b_hh and h0, and whose output 0 is y: the gradients by
// w_hh and b_hh from that by h W_hh^T + b_hh at every step.
void set_recurrent_weights(GradCall& c, uint32_t lengths, mill_tensor* hidden);
// Where a GRU's reset comes before the product, the last third of w_hh meets r h instead of h.
void set_reset_weights(GradCall& c, mill_tensor* gates);

// Gradients as sequences of ops, step by step, which can themselves be differentiated.
void composed_lstm_gradient(GradCall& c);
void composed_gru_gradient(GradCall& c);
void composed_rnn_gradient(GradCall& c);

}  // namespace mill::ops
