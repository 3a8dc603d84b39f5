#include "millrace/compose.h"

#include <cstdio>

#include "base/utf8.h"
#include "compose_call.h"
#include "ops/compose.h"
#include "ops/einsum.h"
#include "ops/recurrent_layers.h"

using namespace mill;       // NOLINT: the bodies of exported functions are all engine calls
using namespace mill::api;  // NOLINT

void mill::api::need_operands(mill_exec& exec, mill_tensor* const* inputs, uint32_t n_inputs,
                              int32_t argument) {
  if (n_inputs == 0 || n_inputs > MILL_MAX_OP_INPUTS) {
    fail_argument(MILL_E_ARG, argument + 1, "n_inputs is %u, it must be 1 to %d", n_inputs,
                  MILL_MAX_OP_INPUTS);
  }
  if (!inputs) fail_argument(MILL_E_ARG, argument, "inputs is NULL, its length is %u", n_inputs);
  for (uint32_t k = 0; k < n_inputs; ++k) {
    char name[24];
    std::snprintf(name, sizeof name, "inputs[%u]", k);
    need_operand(exec, inputs[k], argument, name);
  }
}

void mill::api::need_list(const int64_t* list, uint32_t n, int32_t argument, const char* name) {
  if (n > 0 && !list) fail_argument(MILL_E_ARG, argument, "%s is NULL, its length is %u", name, n);
}

namespace {

// h_n and c_n may be NULL.
mill_status recurrent(const char* function, mill_exec* exec, ops::RecurrentLayers l,
                      int32_t first_out, mill_tensor** out, mill_tensor** h_n, mill_tensor** c_n,
                      mill_error* err) {
  return guard(function, err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    need_out(out, first_out, "out");
    mill_tensor** const results[3] = {out, h_n, c_n};
    constexpr const char* kNames[3] = {"out", "h_n", "c_n"};
    for (int32_t k = 0; k < 3; ++k) {
      if (results[k] && *results[k]) need_operand(e, *results[k], first_out + k, kNames[k]);
    }
    need_operand(e, l.x, 1, "x");
    const uint32_t step = l.bidirectional ? 8 : 4;
    if (l.n_weights == 0 || l.n_weights % step != 0) {
      fail_argument(MILL_E_ARG, 3, "n_weights is %u, it must be %u for each layer", l.n_weights,
                    step);
    }
    if (!l.weights) fail_argument(MILL_E_ARG, 2, "weights is NULL, its length is %u", l.n_weights);
    for (uint32_t k = 0; k < l.n_weights; ++k) {
      char name[32];
      std::snprintf(name, sizeof name, "weights[%u]", k);
      if (k % 4 < 2 || l.weights[k]) need_operand(e, l.weights[k], 2, name);
    }
    const bool lstm = l.cells == ops::Cells::lstm;
    maybe_operand(e, l.h0, 4, "h0");
    maybe_operand(e, l.c0, 5, "c0");
    maybe_operand(e, l.lengths, lstm ? 6 : 5, "lengths");
    if (!(l.dropout >= 0 && l.dropout <= 1)) {
      fail_argument(MILL_E_ARG, first_out - 1, "dropout is %g, it must be in [0, 1]", l.dropout);
    }
    TensorRef made[3];
    ops::recurrent_layers(e, l, made);
    for (int k = 0; k < 3; ++k) {
      if (results[k] && *results[k]) op::copy(e, made[k].get(), *results[k]);
    }
    e.reserve_notes(3);
    for (int k = 0; k < 3; ++k) {
      if (results[k] && !*results[k]) give(e, std::move(made[k]), results[k]);
    }
  });
}

}  // namespace

mill_status mill_einsum(mill_exec* exec, const char* equation, uint64_t equation_bytes,
                        mill_tensor* const* inputs, uint32_t n_inputs, mill_tensor** out,
                        mill_error* err) {
  return compose("mill_einsum", exec, out, 5, err, [&](mill_exec& e) {
    const std::string text = need_text(equation, equation_bytes, 1, "equation");
    need_utf8(text, 1, "equation");
    need_operands(e, inputs, n_inputs, 3);
    return ops::einsum(e, text, inputs, n_inputs);
  });
}

mill_status mill_nll_loss(mill_exec* exec, mill_tensor* log_probs, mill_tensor* labels,
                          mill_tensor* weight, int64_t reduction, int64_t ignore_index,
                          mill_tensor** out, mill_error* err) {
  return compose("mill_nll_loss", exec, out, 6, err, [&](mill_exec& e) {
    return ops::nll_loss(e, need_operand(e, log_probs, 1, "log_probs"),
                         need_operand(e, labels, 2, "labels"),
                         maybe_operand(e, weight, 3, "weight"), reduction, ignore_index);
  });
}

mill_status mill_mse_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, int64_t reduction,
                          mill_tensor** out, mill_error* err) {
  return compose("mill_mse_loss", exec, out, 4, err, [&](mill_exec& e) {
    return ops::mse_loss(e, need_operand(e, x, 1, "x"), need_operand(e, target, 2, "target"),
                         reduction);
  });
}

mill_status mill_l1_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, int64_t reduction,
                         mill_tensor** out, mill_error* err) {
  return compose("mill_l1_loss", exec, out, 4, err, [&](mill_exec& e) {
    return ops::l1_loss(e, need_operand(e, x, 1, "x"), need_operand(e, target, 2, "target"),
                        reduction);
  });
}

mill_status mill_huber_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, double delta,
                            int64_t reduction, mill_tensor** out, mill_error* err) {
  return compose("mill_huber_loss", exec, out, 5, err, [&](mill_exec& e) {
    return ops::huber_loss(e, need_operand(e, x, 1, "x"), need_operand(e, target, 2, "target"),
                           delta, reduction);
  });
}

mill_status mill_smooth_l1_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, double beta,
                                int64_t reduction, mill_tensor** out, mill_error* err) {
  return compose("mill_smooth_l1_loss", exec, out, 5, err, [&](mill_exec& e) {
    return ops::smooth_l1_loss(e, need_operand(e, x, 1, "x"), need_operand(e, target, 2, "target"),
                               beta, reduction);
  });
}

mill_status mill_bce_with_logits_loss(mill_exec* exec, mill_tensor* logits, mill_tensor* target,
                                      mill_tensor* pos_weight, int64_t reduction, mill_tensor** out,
                                      mill_error* err) {
  return compose("mill_bce_with_logits_loss", exec, out, 5, err, [&](mill_exec& e) {
    return ops::bce_with_logits_loss(e, need_operand(e, logits, 1, "logits"),
                                     need_operand(e, target, 2, "target"),
                                     maybe_operand(e, pos_weight, 3, "pos_weight"), reduction);
  });
}

mill_status mill_kl_div_loss(mill_exec* exec, mill_tensor* log_probs, mill_tensor* target,
                             mill_bool log_target, int64_t reduction, mill_tensor** out,
                             mill_error* err) {
  return compose("mill_kl_div_loss", exec, out, 5, err, [&](mill_exec& e) {
    return ops::kl_div_loss(e, need_operand(e, log_probs, 1, "log_probs"),
                            need_operand(e, target, 2, "target"), log_target != 0, reduction);
  });
}

mill_status mill_adaptive_avg_pool(mill_exec* exec, mill_tensor* x, const int64_t* sizes,
                                   uint32_t n_sizes, mill_tensor** out, mill_error* err) {
  return compose("mill_adaptive_avg_pool", exec, out, 4, err, [&](mill_exec& e) {
    mill_tensor* from = need_operand(e, x, 1, "x");
    need_list(sizes, n_sizes, 2, "sizes");
    return ops::adaptive_avg_pool(e, from, sizes, n_sizes);
  });
}

mill_status mill_lstm(mill_exec* exec, mill_tensor* x, mill_tensor* const* weights,
                      uint32_t n_weights, mill_tensor* h0, mill_tensor* c0, mill_tensor* lengths,
                      mill_bool bidirectional, mill_bool batch_first, double dropout,
                      mill_tensor** out, mill_tensor** h_n, mill_tensor** c_n, mill_error* err) {
  return recurrent("mill_lstm", exec,
                   {ops::Cells::lstm, x, weights, n_weights, h0, c0, lengths, false,
                    bidirectional != 0, batch_first != 0, dropout},
                   10, out, h_n, c_n, err);
}

mill_status mill_gru(mill_exec* exec, mill_tensor* x, mill_tensor* const* weights,
                     uint32_t n_weights, mill_tensor* h0, mill_tensor* lengths,
                     mill_bool bidirectional, mill_bool batch_first, double dropout,
                     mill_tensor** out, mill_tensor** h_n, mill_error* err) {
  return recurrent("mill_gru", exec,
                   {ops::Cells::gru, x, weights, n_weights, h0, nullptr, lengths, false,
                    bidirectional != 0, batch_first != 0, dropout},
                   9, out, h_n, nullptr, err);
}

mill_status mill_rnn(mill_exec* exec, mill_tensor* x, mill_tensor* const* weights,
                     uint32_t n_weights, mill_tensor* h0, mill_tensor* lengths, mill_bool relu,
                     mill_bool bidirectional, mill_bool batch_first, double dropout,
                     mill_tensor** out, mill_tensor** h_n, mill_error* err) {
  return recurrent("mill_rnn", exec,
                   {ops::Cells::rnn, x, weights, n_weights, h0, nullptr, lengths, relu != 0,
                    bidirectional != 0, batch_first != 0, dropout},
                   10, out, h_n, nullptr, err);
}
