// Cross-entropy over the last axis, with its fused gradient.
#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

void check_loss_attrs(const OpCall& call) {
  const int64_t reduction = call.integer(0);
  if (reduction < MILL_REDUCE_MEAN || reduction > MILL_REDUCE_NONE) {
    fail(MILL_E_ARG, "reduction is %lld, it must be 0 (mean), 1 (sum) or 2 (none)",
         static_cast<long long>(reduction));
  }
  const double smoothing = call.real(1);
  if (!(smoothing >= 0 && smoothing <= 1)) {
    fail(MILL_E_ARG, "label_smoothing is %g, it must be in [0, 1]", smoothing);
  }
}

void infer_cross_entropy(OpCall& call) {
  check_loss_attrs(call);
  const mill_kernel_tensor& logits = call.shape(0);
  if (logits.rank == 0 || logits.dims[logits.rank - 1] == 0) {
    fail_argument(MILL_E_SHAPE, 0, "logits is %s, its last axis must hold at least one class",
                  format_dims(*call.in[0]).text);
  }
  expect_dims(call, 1, logits.dims, logits.rank - 1);
  if (call.integer(0) == MILL_REDUCE_NONE) {
    call.set_like(0, 1);
  } else {
    call.set_dims(0, nullptr, 0);
  }
  call.set_like(1, 1);
}

void infer_cross_entropy_backward(OpCall& call) {
  check_loss_attrs(call);
  const mill_kernel_tensor& logits = call.shape(1);
  if (logits.rank == 0)
    fail_argument(MILL_E_SHAPE, 1, "logits is [], its last axis must hold the classes");
  expect_dims(call, 2, logits.dims, logits.rank - 1);
  expect_dims(call, 3, logits.dims, logits.rank - 1);
  if (call.integer(0) == MILL_REDUCE_NONE) {
    expect_like(call, 0, 2);
  } else {
    expect_dims(call, 0, nullptr, 0);
  }
  call.set_like(0, 1);
}

// x with one more axis of size 1 at the end, to broadcast over classes.
TensorRef column(Exec& exec, mill_tensor* x) {
  int64_t dims[MILL_MAX_RANK];
  const int32_t rank = x->rank();
  for (int32_t i = 0; i < rank; ++i) dims[i] = x->view.dims[i];
  dims[rank] = 1;
  return reshape(exec, x, dims, rank + 1);
}

// e^(logits - lse): the softmax, as a function of both.
TensorRef probabilities(Exec& exec, mill_tensor* logits, mill_tensor* lse) {
  const TensorRef wide = column(exec, lse);
  const TensorRef narrow = cast(exec, wide.get(), logits->dtype());
  const TensorRef shifted = op::sub(exec, logits, narrow.get());
  return op::exp(exec, shifted.get());
}

void gradient_cross_entropy(GradCall& c) {
  TensorRef sum;
  if (mill_tensor* g = c.gradient(0)) {
    sum = op::cross_entropy_backward(c.exec, g, c.in(0), c.in(1), c.out(1), c.attr[0].i,
                                     c.attr[1].f, c.attr[2].i);
  }
  if (mill_tensor* g = c.gradient(1)) {
    const TensorRef p = probabilities(c.exec, c.in(0), c.out(1));
    const TensorRef wide = column(c.exec, g);
    const TensorRef narrow = cast(c.exec, wide.get(), c.in(0)->dtype());
    TensorRef part = op::mul(c.exec, p.get(), narrow.get());
    sum = sum ? op::add(c.exec, sum.get(), part.get()) : part;
  }
  c.set(0, sum);
}

// out = (p - target) * g * mask / n with p = e^(logits - lse) as a function of logits and lse.
void gradient_cross_entropy_backward(GradCall& c) {
  Exec& exec = c.exec;
  mill_tensor* h = c.gradient();
  mill_tensor* g = c.in(0);
  mill_tensor* logits = c.in(1);
  mill_tensor* labels = c.in(2);
  mill_tensor* lse = c.in(3);
  const int64_t reduction = c.attr[0].i;
  const int32_t dtype = logits->dtype();

  const TensorRef ignore = scalar(exec, MILL_I64, static_cast<double>(c.attr[2].i));
  const TensorRef wide_labels = cast(exec, labels, MILL_I64);
  TensorRef weight = compare(exec, wide_labels.get(), ignore.get(), MILL_COMPARE_NE, g->dtype());
  if (reduction == MILL_REDUCE_MEAN) {
    const TensorRef counted = op::sum(exec, weight.get(), nullptr, 0, false);
    weight = op::div(exec, weight.get(), counted.get());
  }
  const TensorRef row = op::mul(exec, weight.get(), g);
  const TensorRef row_column = column(exec, row.get());
  const TensorRef scale = cast(exec, row_column.get(), dtype);
  const TensorRef p = probabilities(exec, logits, lse);
  const TensorRef hp = op::mul(exec, h, p.get());
  const TensorRef by_logits = op::mul(exec, hp.get(), scale.get());
  if (c.wanted(1)) c.set(1, by_logits);
  if (c.wanted(3)) {
    const int64_t last = -1;
    const TensorRef total = op::sum(exec, by_logits.get(), &last, 1, false);
    const TensorRef narrow = cast(exec, total.get(), lse->dtype());
    c.set(3, op::neg(exec, narrow.get()));
  }
  if (c.wanted(0)) {
    // By g the result is linear: the same op with g = 1, weighted by h.
    const TensorRef one = scalar(exec, g->dtype(), 1);
    const TensorRef ones = expand_like(exec, one.get(), c.input(0));
    const TensorRef unit = op::cross_entropy_backward(exec, ones.get(), logits, labels, lse,
                                                      reduction, c.attr[1].f, c.attr[2].i);
    const TensorRef weighted = op::mul(exec, h, unit.get());
    const int64_t last = -1;
    const TensorRef total = reduction == MILL_REDUCE_NONE
                                ? op::sum(exec, weighted.get(), &last, 1, false)
                                : op::sum(exec, weighted.get(), nullptr, 0, false);
    c.set(0, cast(exec, total.get(), g->dtype()));
  }
}

uint64_t flops_loss(const OpCall& call) {
  const uint32_t k = call.row.number == MILL_OP_CROSS_ENTROPY ? 0 : 1;
  return 5 * static_cast<uint64_t>(call.shape(k).numel);
}

}  // namespace

extern const OpRules rules_cross_entropy = {.infer = infer_cross_entropy,
                                            .gradient = gradient_cross_entropy,
                                            .flops = flops_loss,
                                            .saved_inputs = 3,
                                            .saved_outputs = 2};
extern const OpRules rules_cross_entropy_backward = {.infer = infer_cross_entropy_backward,
                                                     .gradient = gradient_cross_entropy_backward,
                                                     .flops = flops_loss,
                                                     .saved_inputs = 15};

}  // namespace mill::ops
