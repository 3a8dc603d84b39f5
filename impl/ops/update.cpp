// The optimizers beside SGD and AdamW, clipping by value, averages of the parameters and shapes of
// schedules. State is given and returned in place; rate, step and clip factor live in device
// memory.
#include <cmath>

#include "millrace/ops.h"
#include "ops/hyperparameters.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

// Tensors beside param and grad, each of one element or of none.
void expect_scalars(const OpCall& call, uint32_t first, uint32_t end) {
  for (uint32_t k = first; k < end; ++k) {
    if (call.in[k]) expect_one_element(call, k);
  }
}

// Input k is state `out`, which exists where it is given.
void set_state(OpCall& call, uint32_t k, uint32_t out) {
  if (call.in[k]) expect_like(call, k, 0);
  call.set_like(out, 0);
  call.out[out].wanted = call.in[k] != nullptr;
}

void infer_adam(OpCall& call) {
  expect_like(call, 1, 0);
  expect_scalars(call, 5, 8);
  expect_fraction(call, 0);
  expect_fraction(call, 1);
  expect_not_negative(call, 2);
  expect_not_negative(call, 3);
  call.set_like(0, 0);
  for (uint32_t k = 2; k <= 4; ++k) set_state(call, k, k - 1);
  set_state(call, 8, 4);
}

void infer_rmsprop(OpCall& call) {
  expect_like(call, 1, 0);
  expect_scalars(call, 5, 7);
  expect_fraction(call, 0);
  expect_not_negative(call, 1);
  expect_fraction(call, 2);
  expect_not_negative(call, 3);
  if (!call.in[4] && call.real(2) > 0) {
    fail(MILL_E_ARG, "velocity is NULL, momentum %g needs it", call.real(2));
  }
  call.set_like(0, 0);
  for (uint32_t k = 2; k <= 4; ++k) set_state(call, k, k - 1);
  set_state(call, 7, 4);
}

void infer_adagrad(OpCall& call) {
  expect_like(call, 1, 0);
  expect_scalars(call, 3, 6);
  for (uint32_t k = 0; k < 3; ++k) expect_not_negative(call, k);
  call.set_like(0, 0);
  set_state(call, 2, 1);
  set_state(call, 6, 2);
}

void infer_lion(OpCall& call) {
  expect_like(call, 1, 0);
  expect_scalars(call, 3, 5);
  expect_fraction(call, 0);
  expect_fraction(call, 1);
  expect_not_negative(call, 2);
  call.set_like(0, 0);
  set_state(call, 2, 1);
  set_state(call, 5, 2);
}

void infer_momentum(OpCall& call) {
  expect_like(call, 1, 0);
  expect_scalars(call, 3, 6);
  expect_fraction(call, 0);
  const double dampening = call.real(1);
  if (!(dampening >= 0 && dampening <= 1))
    fail(MILL_E_ARG, "dampening is %g, it must be in [0, 1]", dampening);
  expect_not_negative(call, 2);
  if (call.integer(3) != 0 && dampening > 0) {
    fail(MILL_E_ARG, "dampening is %g and nesterov is true, it must be 0 then", dampening);
  }
  call.set_like(0, 0);
  set_state(call, 2, 1);
  set_state(call, 6, 2);
}

void infer_clamp_gradient(OpCall& call) {
  expect_scalars(call, 1, 2);
  const double limit = call.real(0);
  if (!(limit > 0) || !std::isfinite(limit))
    fail(MILL_E_ARG, "limit is %g, it must be finite and above 0", limit);
  call.set_like(0, 0);
}

void infer_average(OpCall& call) {
  expect_like(call, 1, 0);
  expect_scalars(call, 2, 4);
  const double decay = call.real(0);
  if (!(decay >= 0 && decay <= 1)) fail(MILL_E_ARG, "decay is %g, it must be in [0, 1]", decay);
  call.set_like(0, 0);
}

void expect_count(const OpCall& call, uint32_t k, int64_t least) {
  const int64_t value = call.integer(k);
  if (value < least) {
    fail(MILL_E_ARG, "%s is %lld, it must be at least %lld", call.row.attrs[k].name,
         static_cast<long long>(value), static_cast<long long>(least));
  }
}

void infer_rate_schedule(OpCall& call) {
  expect_one_element(call, 0);
  expect_one_element(call, 1);
  const int64_t shape = call.integer(0);
  if (shape < MILL_SCHEDULE_CONSTANT || shape > MILL_SCHEDULE_INVERSE_ROOT) {
    fail(MILL_E_ARG, "shape is %lld, shapes are %d to %d", static_cast<long long>(shape),
         MILL_SCHEDULE_CONSTANT, MILL_SCHEDULE_INVERSE_ROOT);
  }
  expect_count(call, 1, 0);
  const bool ends = shape == MILL_SCHEDULE_COSINE || shape == MILL_SCHEDULE_LINEAR ||
                    shape == MILL_SCHEDULE_POLYNOMIAL || shape == MILL_SCHEDULE_ONE_CYCLE;
  if (ends && call.integer(2) <= call.integer(1)) {
    fail(MILL_E_ARG, "total is %lld, it must be more than warmup %lld",
         static_cast<long long>(call.integer(2)), static_cast<long long>(call.integer(1)));
  }
  for (const uint32_t k : {3u, 4u}) {
    const double value = call.real(k);
    if (!(value >= 0 && value <= 1))
      fail(MILL_E_ARG, "%s is %g, it must be in [0, 1]", call.row.attrs[k].name, value);
  }
  expect_count(call, 5, 1);
  const double factor = call.real(6);
  if (!(factor > 0) || !std::isfinite(factor))
    fail(MILL_E_ARG, "factor is %g, it must be finite and above 0", factor);
  if (shape == MILL_SCHEDULE_RESTARTS &&
      (factor != std::floor(factor) || factor < 1 || factor > 0x1p31)) {
    fail(MILL_E_ARG, "factor is %g, restarts need a whole number from 1 to 2^31", factor);
  }
  call.set_like(0, 1);
}

template <uint64_t Each>
uint64_t flops_of(const OpCall& call) {
  return Each * static_cast<uint64_t>(call.shape(0).numel);
}

}  // namespace

extern const OpRules rules_adam_step = {.infer = infer_adam, .flops = flops_of<16>};
extern const OpRules rules_rmsprop_step = {.infer = infer_rmsprop, .flops = flops_of<16>};
extern const OpRules rules_adagrad_step = {.infer = infer_adagrad, .flops = flops_of<9>};
extern const OpRules rules_lion_step = {.infer = infer_lion, .flops = flops_of<11>};
extern const OpRules rules_momentum_step = {.infer = infer_momentum, .flops = flops_of<9>};
extern const OpRules rules_clamp_gradient = {.infer = infer_clamp_gradient, .flops = flops_of<2>};
extern const OpRules rules_average_step = {.infer = infer_average, .flops = flops_of<3>};
extern const OpRules rules_rate_schedule = {.infer = infer_rate_schedule};

}  // namespace mill::ops
