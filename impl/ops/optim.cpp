// The fused updates. Their state is given and returned in place; rate, step and clip factor live in
// device memory.
#include <cmath>

#include "millrace/ops.h"
#include "ops/hyperparameters.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

void infer_sgd(OpCall& call) {
  expect_like(call, 1, 0);
  if (call.in[2]) expect_like(call, 2, 0);
  expect_one_element(call, 3);
  if (call.in[4]) expect_one_element(call, 4);
  expect_fraction(call, 0);
  expect_not_negative(call, 1);
  if (!call.in[2] && call.real(0) > 0) {
    fail(MILL_E_ARG, "velocity is NULL, momentum %g needs it", call.real(0));
  }
  call.set_like(0, 0);
  call.set_like(1, 0);
  call.out[1].wanted = call.in[2] != nullptr;
}

void infer_adamw(OpCall& call) {
  for (uint32_t k = 1; k <= 3; ++k) expect_like(call, k, 0);
  expect_one_element(call, 4);
  expect_one_element(call, 5);
  if (call.in[6]) expect_one_element(call, 6);
  expect_fraction(call, 0);
  expect_fraction(call, 1);
  expect_not_negative(call, 2);
  expect_not_negative(call, 3);
  for (uint32_t k = 0; k < 3; ++k) call.set_like(k, 0);
}

void infer_sgd_master(OpCall& call) {
  infer_sgd(call);
  expect_like(call, 5, 0);
  call.set_like(2, 0);
}

void infer_adamw_master(OpCall& call) {
  infer_adamw(call);
  expect_like(call, 7, 0);
  call.set_like(3, 0);
}

void infer_scaler_update(OpCall& call) {
  for (uint32_t k = 0; k < 4; ++k) expect_one_element(call, k);
  const double growth = call.real(0);
  const double backoff = call.real(1);
  if (!(growth >= 1) || !std::isfinite(growth))
    fail(MILL_E_ARG, "growth is %g, it must be finite and at least 1", growth);
  if (!(backoff > 0 && backoff < 1))
    fail(MILL_E_ARG, "backoff is %g, it must be in (0, 1)", backoff);
  if (call.integer(2) < 1) {
    fail(MILL_E_ARG, "interval is %lld, it must be at least 1",
         static_cast<long long>(call.integer(2)));
  }
  expect_not_negative(call, 3);
  call.set_like(0, 0);
  call.set_like(1, 0);
  for (uint32_t k = 1; k < 4; ++k) call.set_like(k + 1, k);
}

void infer_squared_norm(OpCall& call) {
  const int64_t one = 1;
  call.set_dims(0, &one, 1);
}

void infer_clip_factor(OpCall& call) {
  expect_one_element(call, 0);
  expect_not_negative(call, 0);
  call.set_like(0, 0);
  call.set_like(1, 0);
}

void infer_schedule(OpCall& call) {
  expect_one_element(call, 0);
  expect_one_element(call, 1);
  const int64_t shape = call.integer(0);
  if (shape != MILL_SCHEDULE_CONSTANT && shape != MILL_SCHEDULE_COSINE) {
    fail(MILL_E_ARG, "shape is %lld, it must be 0 (constant) or 1 (cosine)",
         static_cast<long long>(shape));
  }
  const int64_t warmup = call.integer(1);
  const int64_t total = call.integer(2);
  if (warmup < 0)
    fail(MILL_E_ARG, "warmup is %lld, it must not be negative", static_cast<long long>(warmup));
  if (shape == MILL_SCHEDULE_COSINE && total <= warmup) {
    fail(MILL_E_ARG, "total is %lld, it must be more than warmup %lld",
         static_cast<long long>(total), static_cast<long long>(warmup));
  }
  const double floor = call.real(3);
  if (!(floor >= 0 && floor <= 1)) fail(MILL_E_ARG, "floor is %g, it must be in [0, 1]", floor);
  call.set_like(0, 1);
}

void infer_same(OpCall& call) {
  call.set_like(0, 0);
}

uint64_t flops_adamw(const OpCall& call) {
  return 14 * static_cast<uint64_t>(call.shape(0).numel);
}
uint64_t flops_sgd(const OpCall& call) {
  return 6 * static_cast<uint64_t>(call.shape(0).numel);
}

}  // namespace

extern const OpRules rules_sgd_step = {.infer = infer_sgd, .flops = flops_sgd};
extern const OpRules rules_adamw_step = {.infer = infer_adamw, .flops = flops_adamw};
extern const OpRules rules_sgd_master_step = {.infer = infer_sgd_master, .flops = flops_sgd};
extern const OpRules rules_adamw_master_step = {.infer = infer_adamw_master, .flops = flops_adamw};
extern const OpRules rules_scaler_update = {.infer = infer_scaler_update};
extern const OpRules rules_squared_norm = {.infer = infer_squared_norm};
extern const OpRules rules_clip_factor = {.infer = infer_clip_factor};
extern const OpRules rules_schedule = {.infer = infer_schedule};
extern const OpRules rules_increment = {.infer = infer_same};

}  // namespace mill::ops
