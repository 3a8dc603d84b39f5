#include "ops/compose_network.h"

#include <numbers>

#include "millrace/compose.h"
#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

void expect_line(const mill_tensor* x, int32_t argument, const char* name) {
  if (x->rank() == 1) return;
  fail_argument(MILL_E_SHAPE, argument, "%s is %s, its rank must be 1", name, format_dims(*x).text);
}

void expect_floating(int32_t dtype, int32_t argument, const char* name) {
  if (is_compute_float(dtype)) return;
  fail_argument(MILL_E_DTYPE, argument, "%s is %s, it must be f16, bf16, f32 or f64", name,
                dtype_name(dtype));
}

void expect_integer(const mill_tensor* x, int32_t argument, const char* name) {
  const Kind kind = dtype_kind(x->dtype());
  if (kind == Kind::signed_integer || kind == Kind::unsigned_integer) return;
  fail_argument(MILL_E_DTYPE, argument, "%s is %s, it must be of an integer dtype", name,
                dtype_name(x->dtype()));
}

TensorRef filled(Exec& exec, std::initializer_list<int64_t> dims, int32_t dtype, double value) {
  return op::fill(exec, dims.begin(), static_cast<uint32_t>(dims.size()), dtype, value);
}

// Each id's bag: how many bags begin at it or before, less one.
TensorRef bags_of(Exec& exec, mill_tensor* offsets, int64_t ids) {
  const TensorRef begins = cast(exec, offsets, MILL_I64);
  // A place more than there are ids: empty bags at the end begin there.
  const TensorRef none = filled(exec, {ids + 1}, MILL_I64, 0);
  const TensorRef one_each = filled(exec, {offsets->view.dims[0]}, MILL_I64, 1);
  const TensorRef at =
      op::scatter_elements(exec, none.get(), begins.get(), one_each.get(), 0, MILL_SCATTER_ADD);
  const TensorRef counts = op::cumsum(exec, at.get(), 0);
  const TensorRef of_ids = op::slice(exec, counts.get(), 0, 0, ids);
  const TensorRef one = scalar(exec, MILL_I64, 1);
  return op::sub(exec, of_ids.get(), one.get());
}

}  // namespace

TensorRef embedding_bag(Exec& exec, mill_tensor* weight, mill_tensor* ids, mill_tensor* offsets,
                        mill_tensor* scale, int64_t mode) {
  expect_floating(weight->dtype(), 1, "weight");
  if (weight->rank() != 2) {
    fail_argument(MILL_E_SHAPE, 1, "weight is %s, its rank must be 2", format_dims(*weight).text);
  }
  expect_line(ids, 2, "ids");
  expect_integer(ids, 2, "ids");
  expect_line(offsets, 3, "offsets");
  expect_integer(offsets, 3, "offsets");
  if (mode != MILL_BAG_SUM && mode != MILL_BAG_MEAN) {
    fail_argument(MILL_E_ARG, 5, "mode is %lld, it must be %d or %d", static_cast<long long>(mode),
                  MILL_BAG_SUM, MILL_BAG_MEAN);
  }
  const int64_t n = ids->view.dims[0];
  const int64_t bags = offsets->view.dims[0];
  if (scale) {
    expect_line(scale, 4, "scale");
    expect_floating(scale->dtype(), 4, "scale");
    if (scale->view.dims[0] != n) {
      fail_argument(MILL_E_SHAPE, 4, "scale is %s, ids is %s: their dims must agree",
                    format_dims(*scale).text, format_dims(*ids).text);
    }
  }
  if (n > 0 && bags == 0) {
    fail_argument(MILL_E_SHAPE, 3, "offsets is [0], ids is %s: each id must be in a bag",
                  format_dims(*ids).text);
  }
  TensorRef rows = op::embedding(exec, weight, ids);
  if (scale) {
    const int64_t column[2] = {n, 1};
    const TensorRef factors = reshape(exec, scale, column, 2);
    rows = op::mul(exec, rows.get(), factors.get());
  }
  const TensorRef of = bags_of(exec, offsets, n);
  TensorRef sums = op::embedding_backward(exec, rows.get(), of.get(), bags);
  if (mode == MILL_BAG_SUM) return sums;
  const TensorRef ones = filled(exec, {n, 1}, MILL_F32, 1);
  const TensorRef counts = op::embedding_backward(exec, ones.get(), of.get(), bags);
  const TensorRef one = scalar(exec, MILL_F32, 1);
  const TensorRef some = op::maximum(exec, counts.get(), one.get());
  const TensorRef share_of_each = op::reciprocal(exec, some.get());
  const TensorRef factor = cast(exec, share_of_each.get(), sums->dtype());
  return op::mul(exec, sums.get(), factor.get());
}

TensorRef drop_path(Exec& exec, mill_tensor* x, double p) {
  expect_floating(x->dtype(), 1, "x");
  if (!(p >= 0 && p <= 1)) fail_argument(MILL_E_ARG, 2, "p is %g, it must be in [0, 1]", p);
  const int32_t rank = x->rank();
  if (rank == 0) fail_argument(MILL_E_SHAPE, 1, "x is [], it must have an axis of samples");
  if (p == 0) return share(x);
  int64_t dims[MILL_MAX_RANK];
  for (int32_t i = 0; i < rank; ++i) dims[i] = i == 0 ? x->view.dims[0] : 1;
  const TensorRef ones = op::fill(exec, dims, static_cast<uint32_t>(rank), x->dtype(), 1);
  const TensorRef factors = op::dropout(exec, ones.get(), nullptr, p);
  return op::mul(exec, x, factors.get());
}

TensorRef alibi_bias(Exec& exec, int64_t heads, int64_t queries, int64_t keys, int32_t dtype) {
  expect_floating(dtype, 4, "dtype");
  if (heads < 1) {
    fail_argument(MILL_E_ARG, 1, "heads is %lld, it must be at least 1",
                  static_cast<long long>(heads));
  }
  const int64_t sizes[3] = {heads, queries, keys};
  checked_count(sizes, 3, dtype);
  const int32_t wide = dtype == MILL_F64 ? MILL_F64 : MILL_F32;
  int64_t whole = 1;
  while (whole <= heads / 2) whole *= 2;
  const double step = -8.0 / static_cast<double>(whole);
  const TensorRef first = op::arange(exec, whole, step, step, wide);
  const TensorRef rest = op::arange(exec, heads - whole, step / 2, step, wide);
  mill_tensor* const parts[2] = {first.get(), rest.get()};
  const TensorRef powers = op::concat(exec, parts, 2, 0);
  const TensorRef logs = op::affine(exec, powers.get(), std::numbers::ln2);
  const TensorRef slopes = op::exp(exec, logs.get());

  const TensorRef query = op::arange(exec, queries, static_cast<double>(keys - queries), 1, wide);
  const TensorRef key = op::arange(exec, keys, 0, 1, wide);
  const int64_t column[2] = {queries, 1}, deep[3] = {heads, 1, 1};
  const TensorRef from = reshape(exec, query.get(), column, 2);
  const TensorRef way = op::sub(exec, from.get(), key.get());
  const TensorRef distance = op::abs(exec, way.get());
  const TensorRef less = op::neg(exec, distance.get());
  const TensorRef of_head = reshape(exec, slopes.get(), deep, 3);
  const TensorRef bias = op::mul(exec, of_head.get(), less.get());
  return cast(exec, bias.get(), dtype);
}

TensorRef scaled_matmul(Exec& exec, mill_tensor* a, mill_tensor* b, mill_tensor* scale_a,
                        mill_tensor* scale_b, int32_t dtype) {
  const auto expect = [](const mill_tensor* x, int32_t argument, const char* name) {
    if (is_floating(x->dtype())) return;
    fail_argument(MILL_E_DTYPE, argument, "%s is %s, it must be floating-point", name,
                  dtype_name(x->dtype()));
  };
  expect(a, 1, "a");
  expect(b, 2, "b");
  expect_floating(dtype, 5, "dtype");
  const bool is_double = a->dtype() == MILL_F64 || b->dtype() == MILL_F64;
  const int32_t wide = is_double ? MILL_F64 : MILL_F32;
  const TensorRef left = cast(exec, a, wide);
  const TensorRef right = cast(exec, b, wide);
  TensorRef product = op::matmul(exec, left.get(), right.get());
  const auto scale = [&](mill_tensor* by, int32_t argument, const char* name) {
    if (!by) return;
    expect_floating(by->dtype(), argument, name);
    expect_broadcast(*by, argument, name, product->view, "the product's");
    const TensorRef factor = cast(exec, by, wide);
    product = op::mul(exec, product.get(), factor.get());
  };
  scale(scale_a, 3, "scale_a");
  scale(scale_b, 4, "scale_b");
  return cast(exec, product.get(), dtype);
}

}  // namespace mill::ops
