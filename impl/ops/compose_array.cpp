#include "ops/compose_array.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

// ---- views and joins ----------------------------------------------------------------------------

namespace {

// Sets which[axis] for each; `rank` is that of the tensor that has them.
void mark_axes(const int64_t* axes, uint32_t n_axes, int32_t rank, bool (&which)[MILL_MAX_RANK]) {
  for (uint32_t k = 0; k < n_axes; ++k) {
    const int64_t axis = normal_axis(axes[k], rank, "axes");
    if (axis >= rank) {
      fail_argument(MILL_E_ARG, 2, "axes names axis %lld of a tensor without axes",
                    static_cast<long long>(axes[k]));
    }
    if (which[axis]) {
      fail_argument(MILL_E_ARG, 2, "axes names axis %lld twice, each may appear once",
                    static_cast<long long>(axis));
    }
    which[axis] = true;
  }
}

}  // namespace

TensorRef transpose(Exec& exec, mill_tensor* x, int64_t axis_a, int64_t axis_b) {
  const int32_t rank = x->rank();
  const int64_t a = normal_axis(axis_a, rank, "axis_a");
  const int64_t b = normal_axis(axis_b, rank, "axis_b");
  int64_t axes[MILL_MAX_RANK];
  for (int32_t i = 0; i < rank; ++i) axes[i] = i;
  if (rank > 0) std::swap(axes[a], axes[b]);
  return op::permute(exec, x, axes, static_cast<uint32_t>(rank));
}

TensorRef squeeze(Exec& exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes) {
  const int32_t rank = x->rank();
  bool which[MILL_MAX_RANK] = {};
  mark_axes(axes, n_axes, rank, which);
  int64_t dims[MILL_MAX_RANK];
  int32_t left = 0;
  for (int32_t i = 0; i < rank; ++i) {
    const int64_t size = x->view.dims[i];
    if (which[i] && size != 1) {
      fail_argument(MILL_E_SHAPE, 2, "axes names axis %d of x %s, whose size must be 1", i,
                    format_dims(*x).text);
    }
    if (n_axes == 0 ? size != 1 : !which[i]) dims[left++] = size;
  }
  return reshape(exec, x, dims, left);
}

TensorRef unsqueeze(Exec& exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes) {
  if (n_axes == 0) fail_argument(MILL_E_ARG, 3, "n_axes is 0, it must be at least 1");
  const int64_t rank = x->rank() + static_cast<int64_t>(n_axes);
  if (rank > MILL_MAX_RANK) {
    fail_argument(MILL_E_SHAPE, 3, "n_axes is %u and x has rank %d, the sum must be at most %d",
                  n_axes, x->rank(), MILL_MAX_RANK);
  }
  bool which[MILL_MAX_RANK] = {};
  mark_axes(axes, n_axes, static_cast<int32_t>(rank), which);
  int64_t dims[MILL_MAX_RANK];
  int32_t from = 0;
  for (int64_t i = 0; i < rank; ++i) dims[i] = which[i] ? 1 : x->view.dims[from++];
  return reshape(exec, x, dims, static_cast<int32_t>(rank));
}

TensorRef flatten(Exec& exec, mill_tensor* x, int64_t first, int64_t last) {
  const int32_t rank = x->rank();
  const int64_t from = normal_axis(first, rank, "first");
  const int64_t to = normal_axis(last, rank, "last");
  if (from > to) {
    fail_argument(MILL_E_ARG, 3, "last is axis %lld, it must not be before first, axis %lld",
                  static_cast<long long>(to), static_cast<long long>(from));
  }
  int64_t dims[MILL_MAX_RANK];
  int32_t left = 0;
  for (int32_t i = 0; i < rank; ++i) {
    if (i > from && i <= to) {
      dims[left - 1] *= x->view.dims[i];
    } else {
      dims[left++] = x->view.dims[i];
    }
  }
  if (rank == 0) dims[left++] = 1;
  return reshape(exec, x, dims, left);
}

std::vector<TensorRef> split(Exec& exec, mill_tensor* x, const int64_t* sizes, uint32_t n_sizes,
                             int64_t axis) {
  if (n_sizes == 0) fail_argument(MILL_E_ARG, 3, "n_sizes is 0, it must be at least 1");
  const int32_t rank = x->rank();
  if (rank == 0) fail_argument(MILL_E_SHAPE, 1, "x is [], it must have an axis");
  const int64_t along = normal_axis(axis, rank, "axis");
  const int64_t whole = x->view.dims[along];
  int64_t sum = 0;
  for (uint32_t k = 0; k < n_sizes; ++k) {
    if (sizes[k] < 0 || sizes[k] > whole - sum) {
      fail_argument(MILL_E_ARG, 2, "sizes[%u] is %lld, of axis %lld of x %s %lld are left", k,
                    static_cast<long long>(sizes[k]), static_cast<long long>(along),
                    format_dims(*x).text, static_cast<long long>(whole - sum));
    }
    sum += sizes[k];
  }
  if (sum != whole) {
    fail_argument(MILL_E_ARG, 2, "the sum of sizes is %lld, axis %lld of x %s has %lld",
                  static_cast<long long>(sum), static_cast<long long>(along), format_dims(*x).text,
                  static_cast<long long>(whole));
  }
  std::vector<TensorRef> out;
  out.reserve(n_sizes);
  int64_t at = 0;
  for (uint32_t k = 0; k < n_sizes; ++k) {
    out.push_back(op::slice(exec, x, along, at, at + sizes[k]));
    at += sizes[k];
  }
  return out;
}

TensorRef stack(Exec& exec, mill_tensor* const* inputs, uint32_t n_inputs, int64_t axis) {
  for (uint32_t k = 1; k < n_inputs; ++k) {
    if (same_dims(inputs[k]->view, inputs[0]->view)) continue;
    fail_argument(MILL_E_SHAPE, 1, "inputs[%u] is %s, inputs[0] is %s: their dims must agree", k,
                  format_dims(*inputs[k]).text, format_dims(*inputs[0]).text);
  }
  const int64_t at = normal_axis(axis, inputs[0]->rank() + 1, "axis");
  std::vector<TensorRef> parts;
  std::vector<mill_tensor*> handles;
  for (uint32_t k = 0; k < n_inputs; ++k) {
    parts.push_back(unsqueeze(exec, inputs[k], &at, 1));
    handles.push_back(parts.back().get());
  }
  return op::concat(exec, handles.data(), n_inputs, at);
}

// ---- arithmetic ---------------------------------------------------------------------------------

TensorRef masked_fill(Exec& exec, mill_tensor* x, mill_tensor* mask, double value) {
  if (mask->dtype() != MILL_BOOL) {
    fail_argument(MILL_E_DTYPE, 2, "mask is %s, it must be bool", dtype_name(mask->dtype()));
  }
  expect_broadcast(*mask, 2, "mask", x->view, "x's");
  const TensorRef filler = scalar(exec, x->dtype(), value);
  return op::where(exec, mask, filler.get(), x);
}

TensorRef lerp(Exec& exec, mill_tensor* a, mill_tensor* b, mill_tensor* weight) {
  const TensorRef way = op::sub(exec, b, a);
  const TensorRef part = op::mul(exec, weight, way.get());
  return op::add(exec, a, part.get());
}

TensorRef addcmul(Exec& exec, mill_tensor* x, mill_tensor* a, mill_tensor* b, double value) {
  const TensorRef product = op::mul(exec, a, b);
  if (value == 1) return op::add(exec, x, product.get());
  const TensorRef factor = scalar(exec, product->dtype(), value);
  const TensorRef scaled = op::mul(exec, product.get(), factor.get());
  return op::add(exec, x, scaled.get());
}

// ---- statistics ---------------------------------------------------------------------------------

namespace {

// Floating-point, 16-bit dtypes in f32.
TensorRef widened(Exec& exec, mill_tensor* x) {
  if (!is_compute_float(x->dtype())) {
    fail_argument(MILL_E_DTYPE, 1, "x is %s, it must be f16, bf16, f32 or f64",
                  dtype_name(x->dtype()));
  }
  return cast(exec, x, x->dtype() == MILL_F64 ? MILL_F64 : MILL_F32);
}

}  // namespace

TensorRef var(Exec& exec, mill_tensor* x, const Reduced& over, double correction) {
  if (!std::isfinite(correction)) {
    fail_argument(MILL_E_ARG, 4, "correction is %g, it must be finite", correction);
  }
  const TensorRef wide = widened(exec, x);
  const TensorRef mean = op::mean(exec, wide.get(), over.axes, over.n, true);
  const TensorRef off = op::sub(exec, wide.get(), mean.get());
  const TensorRef squares = op::mul(exec, off.get(), off.get());
  const TensorRef sum = op::sum(exec, squares.get(), over.axes, over.n, over.keepdim);
  const int64_t kept = std::max<int64_t>(mean->numel(), 1);
  const int64_t count = x->numel() / kept;  // exact: kept is the product of the other sizes
  const double degrees = std::max(static_cast<double>(count) - correction, 0.0);
  const TensorRef divisor = scalar(exec, wide->dtype(), degrees);
  const TensorRef out = op::div(exec, sum.get(), divisor.get());
  return cast(exec, out.get(), x->dtype());
}

TensorRef vector_norm(Exec& exec, mill_tensor* x, double p, const Reduced& over) {
  if (std::isnan(p)) fail_argument(MILL_E_ARG, 2, "p is NaN, it must be a number");
  const TensorRef wide = widened(exec, x);
  const int32_t dtype = wide->dtype();
  const auto sum = [&](const TensorRef& of) {
    return op::sum(exec, of.get(), over.axes, over.n, over.keepdim);
  };
  TensorRef out;
  if (p == 0) {
    const TensorRef zero = scalar(exec, dtype, 0);
    out = sum(compare(exec, wide.get(), zero.get(), MILL_COMPARE_NE, dtype));
  } else if (p == 1) {
    out = sum(op::abs(exec, wide.get()));
  } else if (std::isinf(p)) {
    const TensorRef size = op::abs(exec, wide.get());
    out = p > 0 ? op::max(exec, size.get(), over.axes, over.n, over.keepdim)
                : op::min(exec, size.get(), over.axes, over.n, over.keepdim);
  } else {
    // The root has no slope at 0: where it is taken of 0, it is taken of 1 and thrown away.
    const TensorRef zero = scalar(exec, dtype, 0);
    const TensorRef one = scalar(exec, dtype, 1);
    TensorRef powers;
    if (p == 2) {
      powers = op::mul(exec, wide.get(), wide.get());
    } else {
      const TensorRef size = op::abs(exec, wide.get());
      const TensorRef exponent = scalar(exec, dtype, p);
      powers = op::pow(exec, size.get(), exponent.get());
    }
    const TensorRef total = sum(powers);
    const TensorRef none = op::compare(exec, total.get(), zero.get(), MILL_COMPARE_EQ);
    const TensorRef safe = op::where(exec, none.get(), one.get(), total.get());
    TensorRef root;
    if (p == 2) {
      root = op::sqrt(exec, safe.get());
    } else {
      const TensorRef exponent = scalar(exec, dtype, 1 / p);
      root = op::pow(exec, safe.get(), exponent.get());
    }
    out = op::where(exec, none.get(), zero.get(), root.get());
  }
  return cast(exec, out.get(), x->dtype());
}

TensorRef logsumexp(Exec& exec, mill_tensor* x, const Reduced& over) {
  const TensorRef wide = widened(exec, x);
  TensorRef shift;
  {
    // What is taken off and added again has no part in the gradient. Infinite ones would make NaN.
    const RecorderScope quiet(exec, nullptr);
    const int32_t dtype = wide->dtype();
    const TensorRef largest = op::max(exec, wide.get(), over.axes, over.n, true);
    const TensorRef size = op::abs(exec, largest.get());
    const TensorRef limit = scalar(exec, dtype, std::numeric_limits<double>::infinity());
    const TensorRef finite = op::compare(exec, size.get(), limit.get(), MILL_COMPARE_LT);
    const TensorRef zero = scalar(exec, dtype, 0);
    shift = op::where(exec, finite.get(), largest.get(), zero.get());
  }
  const TensorRef below = op::sub(exec, wide.get(), shift.get());
  const TensorRef powers = op::exp(exec, below.get());
  const TensorRef sum = op::sum(exec, powers.get(), over.axes, over.n, true);
  const TensorRef log = op::log(exec, sum.get());
  TensorRef out = op::add(exec, log.get(), shift.get());
  if (!over.keepdim) out = op::sum(exec, out.get(), over.axes, over.n, false);
  return cast(exec, out.get(), x->dtype());
}

}  // namespace mill::ops
