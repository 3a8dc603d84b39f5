// Views, joins, arithmetic and statistics of compose.h.
#include "ops/compose_array.h"
#include "compose_call.h"
#include "millrace/compose.h"

using namespace mill;       // NOLINT: the bodies of exported functions are all engine calls
using namespace mill::api;  // NOLINT

mill_status mill_transpose(mill_exec* exec, mill_tensor* x, int64_t axis_a, int64_t axis_b,
                           mill_tensor** out, mill_error* err) {
  return compose("mill_transpose", exec, out, 4, err, [&](mill_exec& e) {
    return ops::transpose(e, need_operand(e, x, 1, "x"), axis_a, axis_b);
  });
}

mill_status mill_squeeze(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
                         mill_tensor** out, mill_error* err) {
  return compose("mill_squeeze", exec, out, 4, err, [&](mill_exec& e) {
    mill_tensor* from = need_operand(e, x, 1, "x");
    need_list(axes, n_axes, 2, "axes");
    return ops::squeeze(e, from, axes, n_axes);
  });
}

mill_status mill_unsqueeze(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
                           mill_tensor** out, mill_error* err) {
  return compose("mill_unsqueeze", exec, out, 4, err, [&](mill_exec& e) {
    mill_tensor* from = need_operand(e, x, 1, "x");
    need_list(axes, n_axes, 2, "axes");
    return ops::unsqueeze(e, from, axes, n_axes);
  });
}

mill_status mill_flatten(mill_exec* exec, mill_tensor* x, int64_t first, int64_t last,
                         mill_tensor** out, mill_error* err) {
  return compose("mill_flatten", exec, out, 4, err, [&](mill_exec& e) {
    return ops::flatten(e, need_operand(e, x, 1, "x"), first, last);
  });
}

mill_status mill_split(mill_exec* exec, mill_tensor* x, const int64_t* sizes, uint32_t n_sizes,
                       int64_t axis, mill_tensor** outs, mill_error* err) {
  return guard("mill_split", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    need_out(outs, 5, "outs");
    mill_tensor* from = need_operand(e, x, 1, "x");
    need_list(sizes, n_sizes, 2, "sizes");
    for (uint32_t k = 0; k < n_sizes; ++k) {
      if (outs[k]) need_operand(e, outs[k], 5, "outs");
    }
    std::vector<TensorRef> parts = ops::split(e, from, sizes, n_sizes, axis);
    for (uint32_t k = 0; k < n_sizes; ++k) {
      if (outs[k]) op::copy(e, parts[k].get(), outs[k]);
    }
    e.reserve_notes(n_sizes);
    for (uint32_t k = 0; k < n_sizes; ++k) {
      if (!outs[k]) give(e, std::move(parts[k]), &outs[k]);
    }
  });
}

mill_status mill_stack(mill_exec* exec, mill_tensor* const* inputs, uint32_t n_inputs, int64_t axis,
                       mill_tensor** out, mill_error* err) {
  return compose("mill_stack", exec, out, 4, err, [&](mill_exec& e) {
    need_operands(e, inputs, n_inputs, 1);
    return ops::stack(e, inputs, n_inputs, axis);
  });
}

mill_status mill_masked_fill(mill_exec* exec, mill_tensor* x, mill_tensor* mask, double value,
                             mill_tensor** out, mill_error* err) {
  return compose("mill_masked_fill", exec, out, 4, err, [&](mill_exec& e) {
    return ops::masked_fill(e, need_operand(e, x, 1, "x"), need_operand(e, mask, 2, "mask"), value);
  });
}

mill_status mill_lerp(mill_exec* exec, mill_tensor* a, mill_tensor* b, mill_tensor* weight,
                      mill_tensor** out, mill_error* err) {
  return compose("mill_lerp", exec, out, 4, err, [&](mill_exec& e) {
    return ops::lerp(e, need_operand(e, a, 1, "a"), need_operand(e, b, 2, "b"),
                     need_operand(e, weight, 3, "weight"));
  });
}

mill_status mill_addcmul(mill_exec* exec, mill_tensor* x, mill_tensor* a, mill_tensor* b,
                         double value, mill_tensor** out, mill_error* err) {
  return compose("mill_addcmul", exec, out, 5, err, [&](mill_exec& e) {
    return ops::addcmul(e, need_operand(e, x, 1, "x"), need_operand(e, a, 2, "a"),
                        need_operand(e, b, 3, "b"), value);
  });
}

mill_status mill_var(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
                     double correction, mill_bool keepdim, mill_tensor** out, mill_error* err) {
  return compose("mill_var", exec, out, 6, err, [&](mill_exec& e) {
    mill_tensor* from = need_operand(e, x, 1, "x");
    need_list(axes, n_axes, 2, "axes");
    return ops::var(e, from, {axes, n_axes, keepdim != 0}, correction);
  });
}

mill_status mill_vector_norm(mill_exec* exec, mill_tensor* x, double p, const int64_t* axes,
                             uint32_t n_axes, mill_bool keepdim, mill_tensor** out,
                             mill_error* err) {
  return compose("mill_vector_norm", exec, out, 6, err, [&](mill_exec& e) {
    mill_tensor* from = need_operand(e, x, 1, "x");
    need_list(axes, n_axes, 3, "axes");
    return ops::vector_norm(e, from, p, {axes, n_axes, keepdim != 0});
  });
}

mill_status mill_logsumexp(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
                           mill_bool keepdim, mill_tensor** out, mill_error* err) {
  return compose("mill_logsumexp", exec, out, 5, err, [&](mill_exec& e) {
    mill_tensor* from = need_operand(e, x, 1, "x");
    need_list(axes, n_axes, 2, "axes");
    return ops::logsumexp(e, from, {axes, n_axes, keepdim != 0});
  });
}
