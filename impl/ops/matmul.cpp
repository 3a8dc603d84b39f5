// Matrix products. Transposed operands are views: the kernel takes any strides.
#include <algorithm>

#include "ops/rules.h"

namespace mill::ops {

namespace {

struct Sizes {
  int64_t m, k, n;
};

Sizes matrix_sizes(const mill_kernel_tensor& a, const mill_kernel_tensor& b) {
  return {a.rank == 1 ? 1 : a.dims[a.rank - 2], a.dims[a.rank - 1],
          b.rank == 1 ? 1 : b.dims[b.rank - 1]};
}

void infer_matmul(OpCall& call) {
  const mill_kernel_tensor& a = call.shape(0);
  const mill_kernel_tensor& b = call.shape(1);
  for (uint32_t j = 0; j < 2; ++j) {
    if (call.in[j]->rank() == 0) {
      fail_argument(MILL_E_SHAPE, static_cast<int32_t>(j),
                    "%s is [], a matrix product needs at least one axis", call.row.inputs[j].name);
    }
  }
  const int64_t inner = b.rank == 1 ? b.dims[0] : b.dims[b.rank - 2];
  const Sizes size = matrix_sizes(a, b);
  if (size.k != inner) {
    fail(MILL_E_SHAPE, "a is %s and b is %s: the inner sizes %lld and %lld differ",
         format_dims(*call.in[0]).text, format_dims(*call.in[1]).text,
         static_cast<long long>(size.k), static_cast<long long>(inner));
  }
  OutputSpec& out = call.out[0];
  const int32_t batch_a = std::max(a.rank - 2, 0);
  const int32_t batch_b = std::max(b.rank - 2, 0);
  const int32_t batch = std::max(batch_a, batch_b);
  for (int32_t i = 0; i < batch; ++i) {
    const int32_t ia = i - (batch - batch_a);
    const int32_t ib = i - (batch - batch_b);
    const int64_t da = ia >= 0 ? a.dims[ia] : 1;
    const int64_t db = ib >= 0 ? b.dims[ib] : 1;
    if (da != db && da != 1 && db != 1) {
      fail(MILL_E_SHAPE, "a is %s and b is %s: their leading sizes %lld and %lld do not broadcast",
           format_dims(*call.in[0]).text, format_dims(*call.in[1]).text, static_cast<long long>(da),
           static_cast<long long>(db));
    }
    out.dims[i] = da == 1 ? db : da;
  }
  out.rank = batch;
  if (a.rank > 1) out.dims[out.rank++] = size.m;
  if (b.rank > 1) out.dims[out.rank++] = size.n;
}

// A vector as the row (on the left) or column (on the right) that it stands for.
TensorRef as_matrix(Exec& exec, mill_tensor* x, bool left) {
  if (x->rank() > 1) return share(x);
  const int64_t dims[2] = {left ? 1 : x->numel(), left ? x->numel() : 1};
  return reshape(exec, x, dims, 2);
}

// All leading axes folded into the rows.
TensorRef fold_rows(Exec& exec, mill_tensor* x) {
  if (x->rank() == 2) return share(x);
  const int64_t width = x->view.dims[x->rank() - 1];
  const int64_t dims[2] = {width == 0 ? 0 : x->numel() / width, width};
  if (width != 0) return reshape(exec, x, dims, 2);
  int64_t rows = 1;
  for (int32_t i = 0; i + 1 < x->rank(); ++i) rows *= x->view.dims[i];
  const int64_t empty[2] = {rows, 0};
  return reshape(exec, x, empty, 2);
}

void set_shaped(GradCall& c, uint32_t k, TensorRef gradient) {
  if (c.input(k).rank != 1) {
    set_reduced(c, k, std::move(gradient));
    return;
  }
  // The vector's gradient as a matrix, summed over any batch, then flattened.
  const int64_t n = c.input(k).dims[0];
  const int64_t dims[2] = {k == 0 ? 1 : n, k == 0 ? n : 1};
  const TensorRef summed =
      gradient->rank() == 2 ? gradient : op::sum_to(c.exec, gradient.get(), dims, 2);
  c.set(k, reshape_like(c.exec, summed.get(), c.input(k)));
}

void gradient_matmul(GradCall& c) {
  const TensorRef a = as_matrix(c.exec, c.in(0), true);
  const TensorRef b = as_matrix(c.exec, c.in(1), false);
  TensorRef g = share(c.gradient());
  if (c.input(0).rank == 1 || c.input(1).rank == 1) {
    int64_t dims[MILL_MAX_RANK];
    int32_t rank = std::max({a->rank(), b->rank(), 2});
    const int32_t batch = rank - 2;
    for (int32_t i = 0; i < batch; ++i) dims[i] = g->view.dims[i];
    dims[rank - 2] = a->view.dims[a->rank() - 2];
    dims[rank - 1] = b->view.dims[b->rank() - 1];
    g = reshape(c.exec, g.get(), dims, rank);
  }
  if (c.wanted(0)) {
    const TensorRef bt = transpose(c.exec, b.get());
    if (g->rank() == 2 && c.input(0).rank == 2) {
      matmul_gradient(c, 0, g.get(), bt.get());
    } else {
      set_shaped(c, 0, op::matmul(c.exec, g.get(), bt.get()));
    }
  }
  if (!c.wanted(1)) return;
  if (c.input(1).rank == 2 && a->rank() >= 2) {
    // One product over all rows of the batch instead of a batch of products that are then summed.
    const TensorRef rows = fold_rows(c.exec, a.get());
    const TensorRef gradients = fold_rows(c.exec, g.get());
    const TensorRef at = transpose(c.exec, rows.get());
    matmul_gradient(c, 1, at.get(), gradients.get());
  } else {
    const TensorRef at = transpose(c.exec, a.get());
    set_shaped(c, 1, op::matmul(c.exec, at.get(), g.get()));
  }
}

void infer_linear(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  expect_rank(call, 1, 2);
  const mill_kernel_tensor& weight = call.shape(1);
  if (x.rank == 0 || x.dims[x.rank - 1] != weight.dims[1]) {
    fail_argument(MILL_E_SHAPE, 0, "x is %s, its last size must be %lld as weight is %s",
                  format_dims(*call.in[0]).text, static_cast<long long>(weight.dims[1]),
                  format_dims(*call.in[1]).text);
  }
  if (call.in[2]) expect_dims(call, 2, weight.dims, 1);
  call.set_like(0, 0);
  call.out[0].dims[x.rank - 1] = weight.dims[0];
}

void gradient_linear(GradCall& c) {
  if (c.wanted(0)) c.set(0, op::matmul(c.exec, c.gradient(), c.in(1)));
  if (!c.wanted(1) && !(c.n_in > 2 && c.wanted(2))) return;
  TensorRef g = share(c.gradient());
  if (g->rank() == 1) g = as_matrix(c.exec, g.get(), true);
  g = fold_rows(c.exec, g.get());
  if (c.wanted(1)) {
    const TensorRef x = fold_rows(c.exec, as_matrix(c.exec, c.in(0), true).get());
    const TensorRef gt = transpose(c.exec, g.get());
    matmul_gradient(c, 1, gt.get(), x.get());
  }
  if (c.wanted(2)) {
    bool accumulate = false;
    mill_tensor* target = target_of(c, 2, Autocast::high, &accumulate);
    const int64_t axis = 0;
    if (target && !accumulate) {
      op::sum(c.exec, g.get(), &axis, 1, false, target);
      c.set_written(2);
    } else {
      c.set(2, op::sum(c.exec, g.get(), &axis, 1, false));
    }
  }
}

uint64_t flops_matmul(const OpCall& call) {
  const mill_kernel_tensor& a = call.shape(0);
  uint64_t out = 1;
  for (int32_t i = 0; i < call.out[0].rank; ++i) out *= static_cast<uint64_t>(call.out[0].dims[i]);
  return 2 * out * static_cast<uint64_t>(a.dims[a.rank - 1]);
}

}  // namespace

extern const OpRules rules_matmul = {
    .infer = infer_matmul, .gradient = gradient_matmul, .flops = flops_matmul, .saved_inputs = 3};
extern const OpRules rules_linear = {
    .infer = infer_linear, .gradient = gradient_linear, .flops = flops_matmul, .saved_inputs = 3};

}  // namespace mill::ops
