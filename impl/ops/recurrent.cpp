// Recurrent networks over whole sequences: shapes, and gradients by the kernels of the same family.
// The weights' gradients are one product over all time.
#include "ops/recurrent.h"

#include "millrace/ops.h"

namespace mill::ops {

namespace {

// ---- shapes -------------------------------------------------------------------------------------

struct Extent {
  int64_t steps, batch, units;
};

void expect_state(const OpCall& call, uint32_t k, const Extent& e) {
  const int64_t dims[2] = {e.batch, e.units};
  if (call.in[k]) expect_dims(call, k, dims, 2);
}
void expect_steps(const OpCall& call, uint32_t k, const Extent& e, int64_t parts) {
  const int64_t dims[3] = {e.steps, e.batch, parts * e.units};
  if (call.in[k]) expect_dims(call, k, dims, 3);
}
void expect_lengths(const OpCall& call, uint32_t k, const Extent& e) {
  if (call.in[k]) expect_dims(call, k, &e.batch, 1);
}
void set_state(OpCall& call, uint32_t k, const Extent& e) {
  const int64_t dims[2] = {e.batch, e.units};
  call.set_dims(k, dims, 2);
}
void set_steps(OpCall& call, uint32_t k, const Extent& e, int64_t parts) {
  const int64_t dims[3] = {e.steps, e.batch, parts * e.units};
  call.set_dims(k, dims, 3);
}

// w_hh [parts H, H].
int64_t units_of(const OpCall& call, uint32_t k, int64_t parts) {
  expect_rank(call, k, 2);
  const int64_t* d = call.shape(k).dims;
  const bool fits = d[1] <= INT64_MAX / parts && d[0] == parts * d[1];
  if (!fits) {
    fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k),
                  "%s is %s, it must have %lld times as many rows as columns",
                  call.row.inputs[k].name, format_dims(*call.in[k]).text,
                  static_cast<long long>(parts));
  }
  return d[1];
}

// gates, w_hh, b_hh?, h0? at 0 to 3.
Extent expect_forward(const OpCall& call, int64_t parts, uint32_t lengths) {
  expect_rank(call, 0, 3);
  const int64_t units = units_of(call, 1, parts);
  const int64_t* g = call.shape(0).dims;
  if (g[2] != parts * units) {
    fail_argument(MILL_E_SHAPE, 0,
                  "gates is %s and w_hh %s: the width %lld must be %lld times the %lld units",
                  format_dims(*call.in[0]).text, format_dims(*call.in[1]).text,
                  static_cast<long long>(g[2]), static_cast<long long>(parts),
                  static_cast<long long>(units));
  }
  const Extent e{g[0], g[1], units};
  const int64_t width = parts * units;
  if (call.in[2]) expect_dims(call, 2, &width, 1);
  expect_state(call, 3, e);
  expect_lengths(call, lengths, e);
  return e;
}

void infer_lstm(OpCall& call) {
  const Extent e = expect_forward(call, 4, 5);
  expect_state(call, 4, e);
  set_steps(call, 0, e, 1);
  set_state(call, 1, e);
  set_state(call, 2, e);
  set_steps(call, 3, e, 4);
  set_steps(call, 4, e, 1);
}
void infer_gru(OpCall& call) {
  const Extent e = expect_forward(call, 3, 4);
  set_steps(call, 0, e, 1);
  set_state(call, 1, e);
  set_steps(call, 2, e, 4);
}
void infer_rnn(OpCall& call) {
  const Extent e = expect_forward(call, 1, 4);
  set_steps(call, 0, e, 1);
  set_state(call, 1, e);
}

// w_hh at 0; steps and batch are those of input `model`.
Extent expect_backward(const OpCall& call, int64_t parts, uint32_t model, int64_t model_parts) {
  const int64_t units = units_of(call, 0, parts);
  expect_rank(call, model, 3);
  const int64_t* d = call.shape(model).dims;
  const Extent e{d[0], d[1], units};
  expect_steps(call, model, e, model_parts);
  return e;
}
void infer_lstm_backward(OpCall& call) {
  const Extent e = expect_backward(call, 4, 1, 4);
  expect_steps(call, 2, e, 1);
  expect_state(call, 3, e);
  expect_lengths(call, 4, e);
  expect_steps(call, 5, e, 1);
  expect_state(call, 6, e);
  expect_state(call, 7, e);
  expect_steps(call, 8, e, 4);
  expect_steps(call, 9, e, 1);
  set_steps(call, 0, e, 4);
  set_state(call, 1, e);
  set_state(call, 2, e);
}
void infer_gru_backward(OpCall& call) {
  const Extent e = expect_backward(call, 3, 1, 4);
  expect_steps(call, 2, e, 1);
  expect_state(call, 3, e);
  expect_lengths(call, 4, e);
  expect_steps(call, 5, e, 1);
  expect_state(call, 6, e);
  expect_steps(call, 7, e, 4);
  set_steps(call, 0, e, 3);
  set_steps(call, 1, e, 3);
  call.out[1].wanted = call.integer(1) != 0;
  set_state(call, 2, e);
}
void infer_rnn_backward(OpCall& call) {
  const Extent e = expect_backward(call, 1, 1, 1);
  expect_lengths(call, 2, e);
  expect_steps(call, 3, e, 1);
  expect_state(call, 4, e);
  set_steps(call, 0, e, 1);
  set_state(call, 1, e);
}

// ---- gradients ----------------------------------------------------------------------------------

bool any_gradient(const GradCall& c) {
  for (uint32_t k = 0; k < c.n_out; ++k) {
    if (c.gradient(k)) return true;
  }
  return false;
}

void gradient_lstm(GradCall& c) {
  if (!any_gradient(c)) return;
  if (c.exec.recorder) {
    composed_lstm_gradient(c);
    return;
  }
  TensorRef out[3];
  op::lstm_sequence_backward(c.exec, c.in(1), c.out(3), c.out(4), c.in(4), c.in(5), c.gradient(0),
                             c.gradient(1), c.gradient(2), c.gradient(3), c.gradient(4),
                             c.attr[0].i != 0, out);
  if (c.wanted(0)) c.set(0, out[0]);
  if (c.wanted(3)) c.set(3, out[1]);
  if (c.wanted(4)) c.set(4, out[2]);
  set_recurrent_weights(c, 5, out[0].get());
}

void gradient_gru(GradCall& c) {
  if (!any_gradient(c)) return;
  if (c.exec.recorder) {
    composed_gru_gradient(c);
    return;
  }
  const bool after = c.attr[1].i != 0;
  TensorRef out[3];
  op::gru_sequence_backward(c.exec, c.in(1), c.out(2), c.out(0), c.in(3), c.in(4), c.gradient(0),
                            c.gradient(1), c.gradient(2), c.attr[0].i != 0, after, out);
  if (c.wanted(0)) c.set(0, out[0]);
  if (c.wanted(3)) c.set(3, out[2]);
  if (after) {
    set_recurrent_weights(c, 4, out[1].get());
  } else {
    set_reset_weights(c, out[0].get());
  }
}

void gradient_rnn(GradCall& c) {
  if (!any_gradient(c)) return;
  if (c.exec.recorder) {
    composed_rnn_gradient(c);
    return;
  }
  TensorRef out[2];
  op::rnn_sequence_backward(c.exec, c.in(1), c.out(0), c.in(4), c.gradient(0), c.gradient(1),
                            c.attr[0].i != 0, c.attr[1].i != 0, out);
  if (c.wanted(0)) c.set(0, out[0]);
  if (c.wanted(3)) c.set(3, out[1]);
  set_recurrent_weights(c, 4, out[0].get());
}

// Products of gates by states.
uint64_t flops_of(const OpCall& call, uint32_t weights, uint32_t steps) {
  const auto rows = static_cast<uint64_t>(call.shape(steps).dims[0]) *
                    static_cast<uint64_t>(call.shape(steps).dims[1]);
  return 2 * rows * static_cast<uint64_t>(call.shape(weights).numel);
}
uint64_t flops_forward(const OpCall& call) {
  return flops_of(call, 1, 0);
}
uint64_t flops_backward(const OpCall& call) {
  return flops_of(call, 0, 1);
}

}  // namespace

extern const OpRules rules_lstm_sequence = {.infer = infer_lstm,
                                            .gradient = gradient_lstm,
                                            .flops = flops_forward,
                                            .saved_inputs = 58,
                                            .saved_outputs = 25};
extern const OpRules rules_lstm_sequence_backward = {.infer = infer_lstm_backward,
                                                     .flops = flops_backward};
extern const OpRules rules_gru_sequence = {.infer = infer_gru,
                                           .gradient = gradient_gru,
                                           .flops = flops_forward,
                                           .saved_inputs = 26,
                                           .saved_outputs = 5};
extern const OpRules rules_gru_sequence_backward = {.infer = infer_gru_backward,
                                                    .flops = flops_backward};
extern const OpRules rules_rnn_sequence = {.infer = infer_rnn,
                                           .gradient = gradient_rnn,
                                           .flops = flops_forward,
                                           .saved_inputs = 26,
                                           .saved_outputs = 1};
extern const OpRules rules_rnn_sequence_backward = {.infer = infer_rnn_backward,
                                                    .flops = flops_backward};

}  // namespace mill::ops
