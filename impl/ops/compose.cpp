#include "ops/compose.h"

#include <cmath>
#include <limits>
#include <vector>

#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

void expect_float(const mill_tensor* x, int32_t argument, const char* name) {
  if (is_compute_float(x->dtype())) return;
  fail_argument(MILL_E_DTYPE, argument, "%s is %s, it must be f16, bf16, f32 or f64", name,
                dtype_name(x->dtype()));
}

void expect_reduction(int64_t reduction, int32_t argument) {
  if (reduction >= MILL_REDUCE_MEAN && reduction <= MILL_REDUCE_NONE) return;
  fail_argument(MILL_E_ARG, argument, "reduction is %lld, it must be %d to %d",
                static_cast<long long>(reduction), MILL_REDUCE_MEAN, MILL_REDUCE_NONE);
}

void expect_pair(const mill_tensor* x, const mill_tensor* target, const char* name) {
  expect_float(x, 1, name);
  expect_float(target, 2, "target");
  if (same_dims(x->view, target->view)) return;
  fail_argument(MILL_E_SHAPE, 2, "target is %s, %s is %s: their dims must agree",
                format_dims(*target).text, name, format_dims(*x).text);
}

TensorRef reduced(Exec& exec, TensorRef losses, int64_t reduction) {
  if (reduction == MILL_REDUCE_NONE) return losses;
  return reduction == MILL_REDUCE_SUM ? op::sum(exec, losses.get()) : op::mean(exec, losses.get());
}

// d^2 / 2 up to delta and a line from there on, times `scale`: m (d - m / 2) with m the smaller of
// d and delta.
TensorRef huber(Exec& exec, mill_tensor* x, mill_tensor* target, double delta, double scale) {
  const TensorRef difference = op::sub(exec, x, target);
  const TensorRef size = op::abs(exec, difference.get());
  const TensorRef bound = scalar(exec, size->dtype(), delta);
  const TensorRef capped = op::minimum(exec, size.get(), bound.get());
  const TensorRef half = op::affine(exec, capped.get(), 0.5);
  const TensorRef rest = op::sub(exec, size.get(), half.get());
  const TensorRef loss = op::mul(exec, capped.get(), rest.get());
  return scale == 1 ? share(loss.get()) : op::affine(exec, loss.get(), scale);
}

}  // namespace

// ---- losses -------------------------------------------------------------------------------------

TensorRef nll_loss(mill_exec& exec, mill_tensor* log_probs, mill_tensor* labels,
                   mill_tensor* weight, int64_t reduction, int64_t ignore_index) {
  expect_float(log_probs, 1, "log_probs");
  expect_reduction(reduction, 4);
  const mill_kernel_tensor& view = log_probs->view;
  if (view.rank == 0)
    fail_argument(MILL_E_SHAPE, 1, "log_probs is [], it must have an axis of classes");
  const int32_t rank = view.rank - 1;
  const int64_t classes = view.dims[rank];
  bool fits = labels->rank() == rank;
  for (int32_t i = 0; fits && i < rank; ++i) fits = labels->view.dims[i] == view.dims[i];
  if (!fits) {
    fail_argument(MILL_E_SHAPE, 2, "labels is %s, it must be %s", format_dims(*labels).text,
                  format_dims(view.dims, rank).text);
  }
  const Kind kind = dtype_kind(labels->dtype());
  if (kind != Kind::signed_integer && kind != Kind::unsigned_integer) {
    fail_argument(MILL_E_DTYPE, 2, "labels is %s, it must be of an integer dtype",
                  dtype_name(labels->dtype()));
  }
  if (weight) {
    expect_float(weight, 3, "weight");
    if (weight->rank() != 1 || weight->view.dims[0] != classes) {
      fail_argument(MILL_E_SHAPE, 3, "weight is %s, it must be %s", format_dims(*weight).text,
                    format_dims(&classes, 1).text);
    }
  }
  const int32_t dtype = log_probs->dtype() == MILL_F64 ? MILL_F64 : MILL_F32;
  const TensorRef x = cast(exec, log_probs, dtype);
  const TensorRef ids = cast(exec, labels, MILL_I64);
  const TensorRef ignored_id = scalar(exec, MILL_I64, static_cast<double>(ignore_index));
  const TensorRef ignored = op::compare(exec, ids.get(), ignored_id.get(), MILL_COMPARE_EQ);
  const TensorRef first = scalar(exec, MILL_I64, 0);
  const TensorRef safe = op::where(exec, ignored.get(), first.get(), ids.get());
  int64_t dims[MILL_MAX_RANK];
  for (int32_t i = 0; i < rank; ++i) dims[i] = view.dims[i];
  dims[rank] = 1;
  const TensorRef column = reshape(exec, safe.get(), dims, rank + 1);
  const TensorRef picked = op::gather_elements(exec, x.get(), column.get(), rank);
  const TensorRef chosen = reshape(exec, picked.get(), dims, rank);

  const TensorRef zero = scalar(exec, dtype, 0);
  TensorRef weights = scalar(exec, dtype, 1);
  if (weight) {
    const TensorRef of_class = cast(exec, weight, dtype);
    weights = op::gather(exec, of_class.get(), safe.get());
  }
  const TensorRef counted = op::where(exec, ignored.get(), zero.get(), weights.get());
  const TensorRef negative = op::neg(exec, chosen.get());
  const TensorRef loss = op::mul(exec, negative.get(), weights.get());
  // What is ignored may be infinite.
  TensorRef losses = op::where(exec, ignored.get(), zero.get(), loss.get());
  if (reduction != MILL_REDUCE_MEAN) return reduced(exec, std::move(losses), reduction);
  const TensorRef total = op::sum(exec, losses.get());
  const TensorRef share_of_all = op::sum(exec, counted.get());
  return op::div(exec, total.get(), share_of_all.get());
}

TensorRef mse_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, int64_t reduction) {
  expect_pair(x, target, "x");
  expect_reduction(reduction, 3);
  const TensorRef difference = op::sub(exec, x, target);
  return reduced(exec, op::mul(exec, difference.get(), difference.get()), reduction);
}

TensorRef l1_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, int64_t reduction) {
  expect_pair(x, target, "x");
  expect_reduction(reduction, 3);
  const TensorRef difference = op::sub(exec, x, target);
  return reduced(exec, op::abs(exec, difference.get()), reduction);
}

TensorRef huber_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, double delta,
                     int64_t reduction) {
  expect_pair(x, target, "x");
  if (!(delta > 0) || std::isinf(delta))
    fail_argument(MILL_E_ARG, 3, "delta is %g, it must be positive and finite", delta);
  expect_reduction(reduction, 4);
  return reduced(exec, huber(exec, x, target, delta, 1), reduction);
}

TensorRef smooth_l1_loss(mill_exec& exec, mill_tensor* x, mill_tensor* target, double beta,
                         int64_t reduction) {
  expect_pair(x, target, "x");
  if (!(beta >= 0) || std::isinf(beta))
    fail_argument(MILL_E_ARG, 3, "beta is %g, it must be finite and not negative", beta);
  expect_reduction(reduction, 4);
  // Where beta or 1 / beta is none of the dtype's numbers, nothing is left of the parabola.
  const bool half = x->dtype() == MILL_F16 || target->dtype() == MILL_F16;
  const bool both = x->dtype() == MILL_F64 && target->dtype() == MILL_F64;
  const double least = half ? 0x1p-15
                            : (both ? std::numeric_limits<double>::min()
                                    : double{std::numeric_limits<float>::min()});
  if (beta < least) return l1_loss(exec, x, target, reduction);
  return reduced(exec, huber(exec, x, target, beta, 1 / beta), reduction);
}

TensorRef bce_with_logits_loss(mill_exec& exec, mill_tensor* logits, mill_tensor* target,
                               mill_tensor* pos_weight, int64_t reduction) {
  expect_pair(logits, target, "logits");
  expect_reduction(reduction, 4);
  const TensorRef minus = op::neg(exec, logits);
  TensorRef above = op::softplus(exec, minus.get());
  if (pos_weight) {
    expect_float(pos_weight, 3, "pos_weight");
    expect_broadcast(*pos_weight, 3, "pos_weight", logits->view, "logits'");
    const TensorRef more = op::affine(exec, pos_weight, 1, -1);
    const TensorRef scaled = op::mul(exec, target, more.get());
    const TensorRef factor = op::affine(exec, scaled.get(), 1, 1);
    above = op::mul(exec, factor.get(), above.get());
  }
  const TensorRef rest = op::affine(exec, target, -1, 1);
  const TensorRef line = op::mul(exec, rest.get(), logits);
  return reduced(exec, op::add(exec, line.get(), above.get()), reduction);
}

TensorRef kl_div_loss(mill_exec& exec, mill_tensor* log_probs, mill_tensor* target, bool log_target,
                      int64_t reduction) {
  expect_pair(log_probs, target, "log_probs");
  expect_reduction(reduction, 4);
  if (log_target) {
    const TensorRef p = op::exp(exec, target);
    const TensorRef difference = op::sub(exec, target, log_probs);
    return reduced(exec, op::mul(exec, p.get(), difference.get()), reduction);
  }
  const TensorRef zero = scalar(exec, target->dtype(), 0);
  const TensorRef one = scalar(exec, target->dtype(), 1);
  const TensorRef some = op::compare(exec, target, zero.get(), MILL_COMPARE_GT);
  const TensorRef safe = op::where(exec, some.get(), target, one.get());
  const TensorRef log = op::log(exec, safe.get());
  const TensorRef difference = op::sub(exec, log.get(), log_probs);
  const TensorRef product = op::mul(exec, target, difference.get());
  const TensorRef nothing = scalar(exec, product->dtype(), 0);
  return reduced(exec, op::where(exec, some.get(), product.get(), nothing.get()), reduction);
}

// ---- pooling ------------------------------------------------------------------------------------

namespace {

// Along one axis, window by window. The means of means over whole windows are theirs.
TensorRef pool_axis(Exec& exec, mill_tensor* x, int64_t axis, int64_t size) {
  const int64_t n = x->view.dims[axis];
  std::vector<TensorRef> parts;
  std::vector<mill_tensor*> handles;
  const auto join = [&] {
    TensorRef joined =
        op::concat(exec, handles.data(), static_cast<uint32_t>(handles.size()), axis);
    parts.clear();
    parts.push_back(std::move(joined));
    handles.assign(1, parts[0].get());
  };
  for (int64_t o = 0; o < size; ++o) {
    const int64_t begin = o * n / size;
    const int64_t end = ((o + 1) * n + size - 1) / size;
    const TensorRef window = op::slice(exec, x, axis, begin, end);
    parts.push_back(op::mean(exec, window.get(), &axis, 1, true));
    handles.push_back(parts.back().get());
    if (handles.size() == MILL_MAX_OP_INPUTS) join();
  }
  if (handles.size() > 1) join();
  return std::move(parts[0]);
}

}  // namespace

TensorRef adaptive_avg_pool(mill_exec& exec, mill_tensor* x, const int64_t* sizes,
                            uint32_t n_sizes) {
  expect_float(x, 1, "x");
  const int32_t rank = x->rank();
  if (rank < 3 || rank > 5) {
    fail_argument(MILL_E_SHAPE, 1,
                  "x has rank %d, it must be 3 to 5: batch, channels and 1 to 3 spatial axes",
                  rank);
  }
  const auto axes = static_cast<uint32_t>(rank - 2);
  if (n_sizes != axes) {
    fail_argument(MILL_E_ARG, 3, "sizes has %u values, there %s %u spatial %s", n_sizes,
                  axes == 1 ? "is" : "are", axes, axes == 1 ? "axis" : "axes");
  }
  int64_t kernel[3];
  bool divides = true;
  for (uint32_t i = 0; i < axes; ++i) {
    const int64_t n = x->view.dims[2 + i];
    if (sizes[i] < 1) {
      fail_argument(MILL_E_ARG, 2, "sizes[%u] is %lld, it must be at least 1", i,
                    static_cast<long long>(sizes[i]));
    }
    if (n < 1)
      fail_argument(MILL_E_SHAPE, 1, "x is %s, axis %u is empty", format_dims(*x).text, 2 + i);
    divides = divides && n % sizes[i] == 0;
    kernel[i] = n / sizes[i];
  }
  if (divides) return op::avg_pool(exec, x, kernel, axes);
  TensorRef out = share(x);
  for (uint32_t i = 0; i < axes; ++i) {
    if (x->view.dims[2 + i] != sizes[i]) out = pool_axis(exec, out.get(), 2 + i, sizes[i]);
  }
  return out;
}

}  // namespace mill::ops
