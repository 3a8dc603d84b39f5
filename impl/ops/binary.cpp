// Elementwise functions of two tensors, comparison and selection. The engine broadcasts and
// promotes.
#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

void gradient_add(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, share(c.gradient()));
  if (c.wanted(1)) set_reduced(c, 1, share(c.gradient()));
}

void gradient_sub(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, share(c.gradient()));
  if (c.wanted(1)) set_reduced(c, 1, op::neg(c.exec, c.gradient()));
}

void gradient_mul(GradCall& c) {
  if (c.wanted(0)) set_reduced(c, 0, op::mul(c.exec, c.gradient(), c.in(1)));
  if (c.wanted(1)) set_reduced(c, 1, op::mul(c.exec, c.gradient(), c.in(0)));
}

void gradient_div(GradCall& c) {
  const TensorRef scaled = op::div(c.exec, c.gradient(), c.in(1));
  if (c.wanted(1)) {
    const TensorRef product = op::mul(c.exec, scaled.get(), c.out(0));
    set_reduced(c, 1, op::neg(c.exec, product.get()));
  }
  if (c.wanted(0)) set_reduced(c, 0, scaled);
}

// At the two edges where the textbook formulas give NaN: x^0 has derivative 0 by x, 0^b has
// derivative 0 by b.
void gradient_pow(GradCall& c) {
  const TensorRef zero = scalar(c.exec, c.in(0)->dtype(), 0);
  if (c.wanted(0)) {
    const TensorRef lower = op::affine(c.exec, c.in(1), 1, -1);
    const TensorRef power = op::pow(c.exec, c.in(0), lower.get());
    const TensorRef slope = op::mul(c.exec, c.in(1), power.get());
    const TensorRef flat = op::compare(c.exec, c.in(1), zero.get(), MILL_COMPARE_EQ);
    const TensorRef safe = op::where(c.exec, flat.get(), zero.get(), slope.get());
    set_reduced(c, 0, op::mul(c.exec, c.gradient(), safe.get()));
  }
  if (c.wanted(1)) {
    const TensorRef log = op::log(c.exec, c.in(0));
    const TensorRef slope = op::mul(c.exec, c.out(0), log.get());
    const TensorRef flat = op::compare(c.exec, c.in(0), zero.get(), MILL_COMPARE_EQ);
    const TensorRef safe = op::where(c.exec, flat.get(), zero.get(), slope.get());
    set_reduced(c, 1, op::mul(c.exec, c.gradient(), safe.get()));
  }
}

// Weight of input k where it was chosen: 1, or 1/2 where both are equal.
TensorRef chosen(GradCall& c, uint32_t k, int32_t relation) {
  const int32_t dtype = c.in(0)->dtype();
  const TensorRef strict = compare(c.exec, c.in(k), c.in(1 - k), relation, dtype);
  const TensorRef equal = compare(c.exec, c.in(0), c.in(1), MILL_COMPARE_EQ, dtype);
  const TensorRef half = op::affine(c.exec, equal.get(), 0.5, 0);
  const TensorRef weight = op::add(c.exec, strict.get(), half.get());
  return op::mul(c.exec, c.gradient(), weight.get());
}

void gradient_maximum(GradCall& c) {
  for (uint32_t k = 0; k < 2; ++k) {
    if (c.wanted(k)) set_reduced(c, k, chosen(c, k, MILL_COMPARE_GT));
  }
}

void gradient_minimum(GradCall& c) {
  for (uint32_t k = 0; k < 2; ++k) {
    if (c.wanted(k)) set_reduced(c, k, chosen(c, k, MILL_COMPARE_LT));
  }
}

void gradient_where(GradCall& c) {
  const TensorRef zero = scalar(c.exec, c.gradient()->dtype(), 0);
  if (c.wanted(1)) set_reduced(c, 1, op::where(c.exec, c.in(0), c.gradient(), zero.get()));
  if (c.wanted(2)) set_reduced(c, 2, op::where(c.exec, c.in(0), zero.get(), c.gradient()));
}

void infer_compare(OpCall& call) {
  const int64_t relation = call.integer(0);
  if (relation < MILL_COMPARE_EQ || relation > MILL_COMPARE_GE) {
    fail(MILL_E_ARG, "relation is %lld, it must be %d to %d", static_cast<long long>(relation),
         MILL_COMPARE_EQ, MILL_COMPARE_GE);
  }
  const int32_t dtype = call.in[0]->dtype();
  if (relation > MILL_COMPARE_NE && dtype_kind(dtype) == Kind::complex) {
    fail(MILL_E_ARG, "relation is %lld, %s values have no order: it must be %d or %d",
         static_cast<long long>(relation), dtype_name(dtype), MILL_COMPARE_EQ, MILL_COMPARE_NE);
  }
  infer_pointwise(call);
}

constexpr uint32_t kBoth = 3;

}  // namespace

extern const OpRules rules_add = {.gradient = gradient_add};
extern const OpRules rules_sub = {.gradient = gradient_sub};
extern const OpRules rules_mul = {.gradient = gradient_mul, .saved_inputs = kBoth};
extern const OpRules rules_div = {.gradient = gradient_div, .saved_inputs = 2, .saved_outputs = 1};
extern const OpRules rules_pow = {
    .gradient = gradient_pow, .saved_inputs = kBoth, .saved_outputs = 1};
extern const OpRules rules_maximum = {.gradient = gradient_maximum, .saved_inputs = kBoth};
extern const OpRules rules_minimum = {.gradient = gradient_minimum, .saved_inputs = kBoth};
extern const OpRules rules_compare = {.infer = infer_compare};
extern const OpRules rules_where = {.gradient = gradient_where, .saved_inputs = 1};

}  // namespace mill::ops
