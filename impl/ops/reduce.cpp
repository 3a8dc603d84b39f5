// Reductions over axes.
#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

// Output dims for normalised axes: kept as 1, or dropped.
void reduced_dims(OpCall& call, const int64_t* axes, uint32_t n, bool keep) {
  const mill_kernel_tensor& x = call.shape(0);
  OutputSpec& out = call.out[0];
  out.rank = 0;
  uint32_t at = 0;
  for (int32_t i = 0; i < x.rank; ++i) {
    const bool gone = at < n && axes[at] == i;
    if (gone) ++at;
    if (!gone || keep) out.dims[out.rank++] = gone ? 1 : x.dims[i];
  }
}

void infer_reduce(OpCall& call) {
  normal_axes(call, 0, call.shape(0).rank);
  reduced_dims(call, call.ints(0), call.n_ints(0), call.integer(1) != 0);
}

void infer_max(OpCall& call) {
  infer_reduce(call);
  const mill_kernel_tensor& x = call.shape(0);
  for (uint32_t j = 0; j < call.n_ints(0); ++j) {
    const int64_t axis = call.ints(0)[j];
    if (x.dims[axis] == 0) {
      fail_argument(MILL_E_SHAPE, 0, "x is %s, %s of no elements along axis %lld does not exist",
                    format_dims(*call.in[0]).text, call.row.name, static_cast<long long>(axis));
    }
  }
}

void infer_argmax(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const int64_t axis = normal_axis(call.integer(0), x.rank, "axis");
  call.attr[0].i = axis;
  if (x.rank > 0 && x.dims[axis] == 0) {
    fail_argument(MILL_E_SHAPE, 0, "x is %s, %s of no elements along axis %lld does not exist",
                  format_dims(*call.in[0]).text, call.row.name, static_cast<long long>(axis));
  }
  reduced_dims(call, &axis, x.rank > 0 ? 1 : 0, call.integer(1) != 0);
}

// A reduction's result with its axes put back as 1, spread over the input's dims.
TensorRef spread(GradCall& c, mill_tensor* reduced) {
  const SavedValue& x = c.input(0);
  const auto* axes = static_cast<const int64_t*>(c.attr[0].p);
  const uint64_t n = c.attr[0].n;
  if (c.exec.recorder) {
    int64_t kept[MILL_MAX_RANK];
    for (int32_t i = 0; i < x.rank; ++i) kept[i] = x.dims[i];
    for (uint64_t j = 0; j < n; ++j) kept[axes[j]] = 1;
    const TensorRef shaped = reshape(c.exec, reduced, kept, x.rank);
    return expand_like(c.exec, shaped.get(), x);
  }
  // Nobody records: the two views in one step.
  const bool keeps_rank = reduced->rank() == x.rank;
  int64_t strides[MILL_MAX_RANK];
  uint64_t at = 0;
  int32_t from = 0;
  for (int32_t i = 0; i < x.rank; ++i) {
    const bool gone = at < n && axes[at] == i;
    strides[i] = gone ? 0 : reduced->view.strides[from];
    if (gone) ++at;
    if (!gone || keeps_rank) ++from;
  }
  return make_view(reduced->storage.get(), reduced->dtype(), x.dims, strides, x.rank,
                   reduced->offset);
}

void gradient_sum(GradCall& c) {
  c.set(0, spread(c, c.gradient()));
}

void gradient_mean(GradCall& c) {
  double count = 1;
  const auto* axes = static_cast<const int64_t*>(c.attr[0].p);
  for (uint64_t j = 0; j < c.attr[0].n; ++j) count *= static_cast<double>(c.input(0).dims[axes[j]]);
  const TensorRef scaled = op::affine(c.exec, c.gradient(), 1 / count, 0);
  c.set(0, spread(c, scaled.get()));
}

void gradient_max(GradCall& c) {
  const TensorRef top = spread(c, c.out(0));
  const TensorRef mask = compare(c.exec, c.in(0), top.get(), MILL_COMPARE_EQ, c.in(0)->dtype());
  const TensorRef ties = op::sum(c.exec, mask.get(), static_cast<const int64_t*>(c.attr[0].p),
                                 static_cast<uint32_t>(c.attr[0].n), true);
  const TensorRef share_of = op::div(c.exec, mask.get(), ties.get());
  const TensorRef g = spread(c, c.gradient());
  c.set(0, op::mul(c.exec, g.get(), share_of.get()));
}

// Of the product of all others. One 0 leaves the product of the rest to itself and nothing to them,
// two leave nothing at all.
void gradient_prod(GradCall& c) {
  Exec& exec = c.exec;
  mill_tensor* x = c.in(0);
  const auto* axes = static_cast<const int64_t*>(c.attr[0].p);
  const auto n = static_cast<uint32_t>(c.attr[0].n);
  const int32_t dtype = x->dtype();
  const TensorRef zero = scalar(exec, dtype, 0);
  const TensorRef one = scalar(exec, dtype, 1);
  const TensorRef is_zero = compare(exec, x, zero.get(), MILL_COMPARE_EQ, MILL_BOOL);
  const TensorRef filled = op::where(exec, is_zero.get(), one.get(), x);
  const TensorRef rest = op::prod(exec, filled.get(), axes, n, true);
  const TensorRef zeros = cast(exec, is_zero.get(), dtype);
  const TensorRef count = op::sum(exec, zeros.get(), axes, n, true);
  // Zeros among the others of each element.
  const TensorRef others = op::sub(exec, count.get(), zeros.get());
  const TensorRef none = compare(exec, others.get(), zero.get(), MILL_COMPARE_EQ, MILL_BOOL);
  const TensorRef share_of = op::div(exec, rest.get(), filled.get());
  const TensorRef slope = op::where(exec, none.get(), share_of.get(), zero.get());
  const TensorRef g = spread(c, c.gradient());
  c.set(0, op::mul(exec, g.get(), slope.get()));
}

void infer_sum_to(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  set_dims_from_attr(call, 0, 0);
  const OutputSpec& out = call.out[0];
  bool fits = out.rank <= x.rank;
  for (int32_t i = 0; fits && i < out.rank; ++i) {
    const int64_t have = x.dims[x.rank - out.rank + i];
    fits = out.dims[i] == have || out.dims[i] == 1;
  }
  if (!fits) {
    fail_argument(MILL_E_SHAPE, 0, "x is %s, to which %s does not broadcast",
                  format_dims(*call.in[0]).text, format_dims(out.dims, out.rank).text);
  }
}

void gradient_sum_to(GradCall& c) {
  c.set(0, expand_like(c.exec, c.gradient(), c.input(0)));
}

uint64_t flops_reduce(const OpCall& call) {
  return static_cast<uint64_t>(call.shape(0).numel);
}

}  // namespace

extern const OpRules rules_sum = {
    .infer = infer_reduce, .gradient = gradient_sum, .flops = flops_reduce};
extern const OpRules rules_mean = {
    .infer = infer_reduce, .gradient = gradient_mean, .flops = flops_reduce};
extern const OpRules rules_max = {.infer = infer_max,
                                  .gradient = gradient_max,
                                  .flops = flops_reduce,
                                  .saved_inputs = 1,
                                  .saved_outputs = 1};
extern const OpRules rules_min = {.infer = infer_max,
                                  .gradient = gradient_max,
                                  .flops = flops_reduce,
                                  .saved_inputs = 1,
                                  .saved_outputs = 1};
extern const OpRules rules_prod = {
    .infer = infer_reduce, .gradient = gradient_prod, .flops = flops_reduce, .saved_inputs = 1};
extern const OpRules rules_argmax = {.infer = infer_argmax, .flops = flops_reduce};
extern const OpRules rules_sum_to = {
    .infer = infer_sum_to, .gradient = gradient_sum_to, .flops = flops_reduce};

}  // namespace mill::ops
