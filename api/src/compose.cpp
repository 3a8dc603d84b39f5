#include "millrace/compose.h"

#include "base/utf8.h"
#include "guard.h"
#include "ops/calls.gen.h"
#include "ops/compose.h"
#include "ops/einsum.h"

using namespace mill;       // NOLINT: the bodies of exported functions are all engine calls
using namespace mill::api;  // NOLINT

namespace {

mill_tensor* need_operand(mill_exec& exec, mill_tensor* tensor, int32_t argument,
                          const char* name) {
  mill_tensor& found = need(tensor, argument, name);
  check_same_device(exec, found, argument, name);
  return &found;
}
mill_tensor* maybe_operand(mill_exec& exec, mill_tensor* tensor, int32_t argument,
                           const char* name) {
  return tensor ? need_operand(exec, tensor, argument, name) : nullptr;
}

// Runs body() -> TensorRef and hands over what it made, or copies it into the tensor given.
template <class Body>
mill_status compose(const char* function, mill_exec* exec, mill_tensor** out, int32_t argument,
                    mill_error* err, Body&& body) {
  return guard(function, err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    need_out(out, argument, "out");
    if (*out) need_operand(e, *out, argument, "out");
    TensorRef made = body(e);
    if (*out) {
      op::copy(e, made.get(), *out);
    } else {
      give(e, std::move(made), out);
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
    if (n_inputs == 0 || n_inputs > MILL_MAX_OP_INPUTS) {
      fail_argument(MILL_E_ARG, 4, "n_inputs is %u, it must be 1 to %d", n_inputs,
                    MILL_MAX_OP_INPUTS);
    }
    if (!inputs) fail_argument(MILL_E_ARG, 3, "inputs is NULL, its length is %u", n_inputs);
    for (uint32_t k = 0; k < n_inputs; ++k) {
      char name[24];
      std::snprintf(name, sizeof name, "inputs[%u]", k);
      need_operand(e, inputs[k], 3, name);
    }
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
    if (n_sizes > 0 && !sizes)
      fail_argument(MILL_E_ARG, 2, "sizes is NULL, its length is %u", n_sizes);
    return ops::adaptive_avg_pool(e, from, sizes, n_sizes);
  });
}
