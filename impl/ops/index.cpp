// Gathers and scatters along an axis by a tensor of indices.
#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

int64_t take_axis(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank == 0)
    fail_argument(MILL_E_SHAPE, 0, "x is [], an index needs at least one axis to point along");
  return call.attr[0].i = normal_axis(call.integer(0), x.rank, "axis");
}

// ---- gather -------------------------------------------------------------------------------------

void infer_gather(OpCall& call) {
  const auto axis = static_cast<int32_t>(take_axis(call));
  const mill_kernel_tensor& x = call.shape(0);
  const mill_kernel_tensor& index = call.shape(1);
  const int32_t rank = x.rank - 1 + index.rank;
  if (rank > MILL_MAX_RANK) {
    fail_argument(MILL_E_SHAPE, 1,
                  "index is of rank %d and x of rank %d, the result's rank %d passes the limit %d",
                  index.rank, x.rank, rank, MILL_MAX_RANK);
  }
  int64_t dims[MILL_MAX_RANK];
  int32_t n = 0;
  for (int32_t i = 0; i < axis; ++i) dims[n++] = x.dims[i];
  for (int32_t i = 0; i < index.rank; ++i) dims[n++] = index.dims[i];
  for (int32_t i = axis + 1; i < x.rank; ++i) dims[n++] = x.dims[i];
  checked_count(dims, n, call.out[0].dtype);
  call.set_dims(0, dims, n);
}

// Rows along axis 0 are what embedding_backward adds up, in a fixed order: the axis goes there and
// back.
void gradient_gather(GradCall& c) {
  const SavedValue& x = c.input(0);
  const SavedValue& index = c.input(1);
  const auto axis = static_cast<int32_t>(c.attr[0].i);
  int64_t axes[MILL_MAX_RANK];
  int32_t n = 0;
  int64_t width = 1;
  for (int32_t i = 0; i < index.rank; ++i) axes[n++] = axis + i;
  for (int32_t i = 0; i < axis; ++i) axes[n++] = i;
  for (int32_t i = axis + 1; i < x.rank; ++i) axes[n++] = index.rank + i - 1;
  const TensorRef first = op::permute(c.exec, c.gradient(), axes, static_cast<uint32_t>(n));

  for (int32_t i = 0; i < x.rank; ++i) width *= i == axis ? 1 : x.dims[i];
  const int64_t flat[2] = {checked_count(index.dims, index.rank, MILL_U8), width};
  const TensorRef rows = reshape(c.exec, first.get(), flat, 2);
  const TensorRef ids = reshape(c.exec, c.in(1), flat, 1);
  const TensorRef sums = op::embedding_backward(c.exec, rows.get(), ids.get(), x.dims[axis]);

  int64_t back[MILL_MAX_RANK];
  int64_t order[MILL_MAX_RANK];
  int32_t k = 0;
  back[k++] = x.dims[axis];
  for (int32_t i = 0; i < x.rank; ++i) {
    if (i != axis) back[k++] = x.dims[i];
    order[i] = i == axis ? 0 : i < axis ? i + 1 : i;
  }
  const TensorRef shaped = reshape(c.exec, sums.get(), back, k);
  c.set(0, op::permute(c.exec, shaped.get(), order, static_cast<uint32_t>(x.rank)));
}

// ---- elements -----------------------------------------------------------------------------------

// The dims of index, which reach no further than x's off the axis.
void expect_within(OpCall& call, int64_t axis) {
  const mill_kernel_tensor& x = call.shape(0);
  const mill_kernel_tensor& index = call.shape(1);
  bool fits = index.rank == x.rank;
  for (int32_t i = 0; fits && i < x.rank; ++i) fits = i == axis || index.dims[i] <= x.dims[i];
  if (!fits) {
    fail_argument(
        MILL_E_SHAPE, 1,
        "index is %s, x is %s: their ranks must agree and index be no larger off axis %lld",
        format_dims(*call.in[1]).text, format_dims(*call.in[0]).text, static_cast<long long>(axis));
  }
}

void infer_gather_elements(OpCall& call) {
  expect_within(call, take_axis(call));
  const mill_kernel_tensor& index = call.shape(1);
  call.set_dims(0, index.dims, index.rank);
}

void gradient_gather_elements(GradCall& c) {
  const SavedValue& x = c.input(0);
  const TensorRef zeros =
      op::fill(c.exec, x.dims, static_cast<uint32_t>(x.rank), c.gradient()->dtype());
  c.set(0, op::scatter_elements(c.exec, zeros.get(), c.in(1), c.gradient(), c.attr[0].i,
                                MILL_SCATTER_ADD));
}

void infer_scatter_elements(OpCall& call) {
  expect_within(call, take_axis(call));
  expect_like(call, 2, 1);
  const int64_t reduce = call.integer(1);
  if (reduce < MILL_SCATTER_SET || reduce > MILL_SCATTER_MIN) {
    fail(MILL_E_ARG, "reduce is %lld, it must be %d to %d", static_cast<long long>(reduce),
         MILL_SCATTER_SET, MILL_SCATTER_MIN);
  }
  call.set_like(0, 0);
}

// 1 at the updates that stayed, 0 at those that a later one replaced.
TensorRef stayed(GradCall& c, int64_t axis) {
  const SavedValue& index = c.input(1);
  const int64_t count = checked_count(index.dims, index.rank, MILL_I64);
  const TensorRef flat = op::arange(c.exec, count, 0, 1, MILL_I64);
  const TensorRef numbers = reshape(c.exec, flat.get(), index.dims, index.rank);
  const SavedValue& x = c.input(0);
  const TensorRef none = op::fill(c.exec, x.dims, static_cast<uint32_t>(x.rank), MILL_I64, -1);
  const TensorRef last =
      op::scatter_elements(c.exec, none.get(), c.in(1), numbers.get(), axis, MILL_SCATTER_SET);
  const TensorRef seen = op::gather_elements(c.exec, last.get(), c.in(1), axis);
  return compare(c.exec, seen.get(), numbers.get(), MILL_COMPARE_EQ, c.gradient()->dtype());
}

void gradient_scatter_elements(GradCall& c) {
  const int64_t axis = c.attr[0].i;
  const int64_t reduce = c.attr[1].i;
  if (reduce > MILL_SCATTER_ADD) {
    fail(MILL_E_UNSUPPORTED,
         "scatter_elements has gradients where reduce is %d (set) or %d (add), it is %lld",
         MILL_SCATTER_SET, MILL_SCATTER_ADD, static_cast<long long>(reduce));
  }
  const bool sets = reduce == MILL_SCATTER_SET;
  if (c.wanted(0)) {
    if (sets) {
      const SavedValue& index = c.input(1);
      const TensorRef zeros =
          op::fill(c.exec, index.dims, static_cast<uint32_t>(index.rank), c.gradient()->dtype());
      c.set(0, op::scatter_elements(c.exec, c.gradient(), c.in(1), zeros.get(), axis,
                                    MILL_SCATTER_SET));
    } else {
      c.set(0, share(c.gradient()));
    }
  }
  if (!c.wanted(2)) return;
  TensorRef picked = op::gather_elements(c.exec, c.gradient(), c.in(1), axis);
  if (sets) {
    const TensorRef mask = stayed(c, axis);
    picked = op::mul(c.exec, picked.get(), mask.get());
  }
  c.set(2, std::move(picked));
}

}  // namespace

extern const OpRules rules_gather = {
    .infer = infer_gather, .gradient = gradient_gather, .saved_inputs = 2};
extern const OpRules rules_gather_elements = {
    .infer = infer_gather_elements, .gradient = gradient_gather_elements, .saved_inputs = 2};
extern const OpRules rules_scatter_elements = {
    .infer = infer_scatter_elements, .gradient = gradient_scatter_elements, .saved_inputs = 2};

}  // namespace mill::ops
