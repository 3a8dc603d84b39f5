// Softmax, its logarithm, and their gradients, which are ops too.
#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_softmax(OpCall& call) {
  call.attr[0].i = normal_axis(call.integer(0), call.shape(0).rank, "axis");
  call.set_like(0, 0);
}

void infer_softmax_backward(OpCall& call) {
  expect_like(call, 1, 0);
  infer_softmax(call);
}

void gradient_softmax(GradCall& c) {
  c.set(0, op::softmax_backward(c.exec, c.gradient(), c.out(0), c.attr[0].i));
}

void gradient_log_softmax(GradCall& c) {
  c.set(0, op::log_softmax_backward(c.exec, c.gradient(), c.out(0), c.attr[0].i));
}

TensorRef total(GradCall& c, mill_tensor* x) {
  return x->rank() == 0 ? share(x) : sum_axis(c.exec, x, c.attr[0].i);
}

// out = y (g - sum(g y)); h is the gradient by out. By g: the Jacobian is symmetric, so y (h -
// sum(h y)). By y: h (g - sum(g y)) - g sum(h y).
void gradient_softmax_backward(GradCall& c) {
  mill_tensor* h = c.gradient();
  mill_tensor* g = c.in(0);
  mill_tensor* y = c.in(1);
  if (c.wanted(0)) c.set(0, op::softmax_backward(c.exec, h, y, c.attr[0].i));
  if (!c.wanted(1)) return;
  const TensorRef gy = op::mul(c.exec, g, y);
  const TensorRef gy_sum = total(c, gy.get());
  const TensorRef centred = op::sub(c.exec, g, gy_sum.get());
  const TensorRef first = op::mul(c.exec, h, centred.get());
  const TensorRef hy = op::mul(c.exec, h, y);
  const TensorRef hy_sum = total(c, hy.get());
  const TensorRef second = op::mul(c.exec, g, hy_sum.get());
  c.set(1, op::sub(c.exec, first.get(), second.get()));
}

// out = g - e^y sum(g). By g: h - sum(h e^y). By y: -h e^y sum(g).
void gradient_log_softmax_backward(GradCall& c) {
  mill_tensor* h = c.gradient();
  const TensorRef p = op::exp(c.exec, c.in(1));
  const TensorRef hp = op::mul(c.exec, h, p.get());
  if (c.wanted(0)) {
    const TensorRef hp_sum = total(c, hp.get());
    c.set(0, op::sub(c.exec, h, hp_sum.get()));
  }
  if (!c.wanted(1)) return;
  const TensorRef g_sum = total(c, c.in(0));
  const TensorRef product = op::mul(c.exec, hp.get(), g_sum.get());
  c.set(1, op::neg(c.exec, product.get()));
}

uint64_t flops_softmax(const OpCall& call) {
  return 5 * static_cast<uint64_t>(call.shape(0).numel);
}

}  // namespace

extern const OpRules rules_softmax = {.infer = infer_softmax,
                                      .gradient = gradient_softmax,
                                      .flops = flops_softmax,
                                      .saved_outputs = 1};
extern const OpRules rules_log_softmax = {.infer = infer_softmax,
                                          .gradient = gradient_log_softmax,
                                          .flops = flops_softmax,
                                          .saved_outputs = 1};
extern const OpRules rules_softmax_backward = {.infer = infer_softmax_backward,
                                               .gradient = gradient_softmax_backward,
                                               .flops = flops_softmax,
                                               .saved_inputs = 3};
extern const OpRules rules_log_softmax_backward = {.infer = infer_softmax_backward,
                                                   .gradient = gradient_log_softmax_backward,
                                                   .flops = flops_softmax,
                                                   .saved_inputs = 3};

}  // namespace mill::ops
