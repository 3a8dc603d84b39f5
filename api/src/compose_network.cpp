// Parts of networks of compose.h.
#include "ops/compose_network.h"
#include "autograd/linear_cross_entropy.h"
#include "compose_call.h"
#include "millrace/compose.h"

using namespace mill;       // NOLINT: the bodies of exported functions are all engine calls
using namespace mill::api;  // NOLINT

mill_status mill_embedding_bag(mill_exec* exec, mill_tensor* weight, mill_tensor* ids,
                               mill_tensor* offsets, mill_tensor* scale, int64_t mode,
                               mill_tensor** out, mill_error* err) {
  return compose("mill_embedding_bag", exec, out, 6, err, [&](mill_exec& e) {
    return ops::embedding_bag(
        e, need_operand(e, weight, 1, "weight"), need_operand(e, ids, 2, "ids"),
        need_operand(e, offsets, 3, "offsets"), maybe_operand(e, scale, 4, "scale"), mode);
  });
}

mill_status mill_drop_path(mill_exec* exec, mill_tensor* x, double p, mill_tensor** out,
                           mill_error* err) {
  return compose("mill_drop_path", exec, out, 3, err,
                 [&](mill_exec& e) { return ops::drop_path(e, need_operand(e, x, 1, "x"), p); });
}

mill_status mill_alibi_bias(mill_exec* exec, int64_t heads, int64_t queries, int64_t keys,
                            mill_dtype dtype, mill_tensor** out, mill_error* err) {
  return compose("mill_alibi_bias", exec, out, 5, err,
                 [&](mill_exec& e) { return ops::alibi_bias(e, heads, queries, keys, dtype); });
}

mill_status mill_scaled_matmul(mill_exec* exec, mill_tensor* a, mill_tensor* b,
                               mill_tensor* scale_a, mill_tensor* scale_b, mill_dtype dtype,
                               mill_tensor** out, mill_error* err) {
  return compose("mill_scaled_matmul", exec, out, 6, err, [&](mill_exec& e) {
    return ops::scaled_matmul(e, need_operand(e, a, 1, "a"), need_operand(e, b, 2, "b"),
                              maybe_operand(e, scale_a, 3, "scale_a"),
                              maybe_operand(e, scale_b, 4, "scale_b"), dtype);
  });
}

mill_status mill_linear_cross_entropy(mill_exec* exec, mill_tensor* x, mill_tensor* weight,
                                      mill_tensor* bias, mill_tensor* labels, int64_t reduction,
                                      double label_smoothing, int64_t ignore_index, int64_t rows,
                                      mill_tensor** out, mill_error* err) {
  return compose("mill_linear_cross_entropy", exec, out, 9, err, [&](mill_exec& e) {
    LinearLoss loss;
    loss.x = need_operand(e, x, 1, "x");
    loss.weight = need_operand(e, weight, 2, "weight");
    loss.bias = maybe_operand(e, bias, 3, "bias");
    loss.labels = need_operand(e, labels, 4, "labels");
    loss.reduction = reduction;
    loss.label_smoothing = label_smoothing;
    loss.ignore_index = ignore_index;
    loss.rows = rows;
    return linear_cross_entropy(e, loss);
  });
}
