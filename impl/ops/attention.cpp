// Scaled dot-product attention and its gradient.
#include <cmath>

#include "millrace/ops.h"
#include "ops/rules.h"

namespace mill::ops {

namespace {

// Where the operands stand among an op's inputs.
struct Places {
  uint32_t q, k, v, mask, bias, lengths;
};
constexpr Places kForward{0, 1, 2, 3, 4, 5};
constexpr Places kBackward{1, 2, 3, 7, 8, 9};

// [batch, heads, queries, keys]
struct Scores {
  int64_t dims[4];
};

void expect_broadcast(const OpCall& call, uint32_t k, const Scores& scores) {
  if (!call.in[k]) return;
  const mill_kernel_tensor& t = call.shape(k);
  bool fits = t.rank <= 4;
  for (int32_t i = 0; fits && i < t.rank; ++i) {
    const int64_t whole = scores.dims[4 - t.rank + i];
    fits = t.dims[i] == whole || t.dims[i] == 1;
  }
  if (fits) return;
  const int64_t* d = scores.dims;
  fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k),
                "%s is %s, it must broadcast to [batch, heads, queries, keys] = [%lld, %lld, %lld, "
                "%lld]",
                call.row.inputs[k].name, format_dims(*call.in[k]).text,
                static_cast<long long>(d[0]), static_cast<long long>(d[1]),
                static_cast<long long>(d[2]), static_cast<long long>(d[3]));
}

void expect_size(const OpCall& call, uint32_t k, int32_t axis, const char* what, uint32_t other,
                 int64_t wanted) {
  const int64_t size = call.shape(k).dims[axis];
  if (size == wanted) return;
  fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k),
                "%s is %s and %s is %s: %s %lld and %lld differ", call.row.inputs[k].name,
                format_dims(*call.in[k]).text, call.row.inputs[other].name,
                format_dims(*call.in[other]).text, what, static_cast<long long>(size),
                static_cast<long long>(wanted));
}

// Checks the operands; settles the scale, which is attribute 2.
Scores check_operands(OpCall& call, const Places& at) {
  for (const uint32_t k : {at.q, at.k, at.v}) expect_rank(call, k, 4);
  const int64_t* q = call.shape(at.q).dims;
  const int64_t* k = call.shape(at.k).dims;
  expect_size(call, at.k, 0, "the batches", at.q, q[0]);
  expect_size(call, at.k, 3, "the widths", at.q, q[3]);
  expect_size(call, at.v, 0, "the batches", at.k, k[0]);
  expect_size(call, at.v, 1, "the heads", at.k, k[1]);
  expect_size(call, at.v, 2, "the numbers of keys", at.k, k[2]);
  if (k[1] == 0 ? q[1] != 0 : q[1] % k[1] != 0) {
    fail_argument(MILL_E_SHAPE, static_cast<int32_t>(at.k),
                  "q has %lld heads and k %lld: the first must be a multiple of the second",
                  static_cast<long long>(q[1]), static_cast<long long>(k[1]));
  }
  const Scores scores{{q[0], q[1], q[2], k[2]}};
  expect_broadcast(call, at.mask, scores);
  expect_broadcast(call, at.bias, scores);
  if (call.in[at.lengths]) expect_dims(call, at.lengths, scores.dims, 1);
  const double scale = call.real(2);
  if (!std::isfinite(scale)) fail(MILL_E_ARG, "scale is %g, it must be finite", scale);
  if (scale == 0) call.attr[2].f = q[3] == 0 ? 1 : 1 / std::sqrt(static_cast<double>(q[3]));
  // Beyond the ends of any sequence all offsets mean the same.
  constexpr int64_t kFar = int64_t{1} << 60;
  call.attr[1].i = call.integer(1) > kFar    ? kFar
                   : call.integer(1) < -kFar ? -kFar
                                             : call.integer(1);
  return scores;
}

void infer_attention(OpCall& call) {
  const Scores scores = check_operands(call, kForward);
  int64_t dims[4];
  for (int i = 0; i < 3; ++i) dims[i] = scores.dims[i];
  dims[3] = call.shape(2).dims[3];
  call.set_dims(0, dims, 4);
  strides_like(call.out[0], call.shape(0));
  call.set_dims(1, dims, 3);
}

void infer_attention_backward(OpCall& call) {
  const Scores scores = check_operands(call, kBackward);
  int64_t dims[4];
  for (int i = 0; i < 3; ++i) dims[i] = scores.dims[i];
  dims[3] = call.shape(kBackward.v).dims[3];
  expect_dims(call, 0, dims, 4);
  expect_dims(call, 4, dims, 4);
  expect_dims(call, 5, dims, 3);
  if (call.in[6]) expect_dims(call, 6, dims, 3);
  for (uint32_t k = 0; k < 3; ++k) {
    call.set_like(k, k + 1);
    strides_like(call.out[k], call.shape(k + 1));
  }
  call.set_dims(3, scores.dims, 4);
  call.out[3].wanted = call.integer(3) != 0;
}

// ---- gradient -----------------------------------------------------------------------------------

// The heads of k or v, each as often as there are heads of q that share it.
TensorRef spread_heads(Exec& exec, mill_tensor* x, int64_t heads) {
  const int64_t* d = x->view.dims;
  if (d[1] == heads) return share(x);
  const int64_t apart[5] = {d[0], d[1], 1, d[2], d[3]};
  const int64_t wide[5] = {d[0], d[1], heads / d[1], d[2], d[3]};
  const int64_t flat[4] = {d[0], heads, d[2], d[3]};
  const TensorRef column = reshape(exec, x, apart, 5);
  const TensorRef spread = op::expand(exec, column.get(), wide, 5);
  return reshape(exec, spread.get(), flat, 4);
}
// The way back: sums over the heads that share one.
TensorRef gather_heads(GradCall& c, mill_tensor* g, uint32_t k) {
  const int64_t* d = c.input(k).dims;
  const int64_t heads = g->view.dims[1];
  if (d[1] == heads) return share(g);
  const int64_t apart[5] = {d[0], d[1], heads / d[1], d[2], d[3]};
  const TensorRef grouped = reshape(c.exec, g, apart, 5);
  const int64_t axis[1] = {2};
  return op::sum(c.exec, grouped.get(), axis, 1, false);
}

TensorRef both(Exec& exec, const TensorRef& a, TensorRef b) {
  if (!a) return b;
  const TensorRef zero = scalar(exec, MILL_BOOL, 0);
  return op::where(exec, a.get(), b.get(), zero.get());
}

// 0, 1, 2, ... along one axis of four.
TensorRef positions(Exec& exec, int64_t n, int32_t axis, int64_t first) {
  const TensorRef line = op::arange(exec, n, static_cast<double>(first), 1, MILL_I64);
  int64_t dims[4] = {1, 1, 1, 1};
  dims[axis] = n;
  return reshape(exec, line.get(), dims, 4);
}

// What mask, lengths and causal leave, broadcasting to the scores; null: everything.
TensorRef visible(GradCall& c) {
  Exec& exec = c.exec;
  TensorRef seen = c.in(3) ? share(c.in(3)) : nullptr;
  const int64_t keys = c.input(1).dims[2];
  if (c.in(5)) {
    const int64_t dims[4] = {c.input(0).dims[0], 1, 1, 1};
    const TensorRef whole = cast(exec, c.in(5), MILL_I64);
    const TensorRef ends = reshape(exec, whole.get(), dims, 4);
    const TensorRef at = positions(exec, keys, 3, 0);
    seen = both(exec, seen, compare(exec, at.get(), ends.get(), MILL_COMPARE_LT, MILL_BOOL));
  }
  if (c.attr[0].i != 0) {
    const TensorRef at = positions(exec, keys, 3, 0);
    const TensorRef last = positions(exec, c.input(0).dims[2], 2, c.attr[1].i);
    seen = both(exec, seen, compare(exec, at.get(), last.get(), MILL_COMPARE_LE, MILL_BOOL));
  }
  return seen;
}

// The gradient as a sequence of ops, which can itself be differentiated. It keeps the scores.
void composed_gradient(GradCall& c, mill_tensor* g, mill_tensor* g_lse) {
  Exec& exec = c.exec;
  const int64_t heads = c.input(0).dims[1];
  const double scale = c.attr[2].f;
  const int32_t dtype = c.input(0).dtype;
  mill_tensor* q = c.in(0);
  const TensorRef k = spread_heads(exec, c.in(1), heads);
  const TensorRef v = spread_heads(exec, c.in(2), heads);
  const TensorRef kt = transpose(exec, k.get());
  const TensorRef product = op::matmul(exec, q, kt.get());
  TensorRef scores = op::affine(exec, product.get(), scale, 0);
  if (c.in(4)) scores = op::add(exec, scores.get(), c.in(4));
  const TensorRef seen = visible(c);
  const TensorRef zero = scalar(exec, dtype, 0);
  if (seen) {
    const TensorRef low = scalar(exec, dtype, dtype == MILL_F16 ? -6e4 : -1e30);
    scores = op::where(exec, seen.get(), scores.get(), low.get());
  }
  TensorRef p = op::softmax(exec, scores.get(), -1);
  if (seen) p = op::where(exec, seen.get(), p.get(), zero.get());

  TensorRef ds;
  if (g) {
    const TensorRef vt = transpose(exec, v.get());
    const TensorRef dp = op::matmul(exec, g, vt.get());
    ds = op::softmax_backward(exec, dp.get(), p.get(), -1);
    if (c.wanted(2)) {
      const TensorRef pt = transpose(exec, p.get());
      const TensorRef dv = op::matmul(exec, pt.get(), g);
      c.set(2, gather_heads(c, dv.get(), 2));
    }
  }
  if (g_lse) {
    const SavedValue& at = c.input(0);
    const int64_t column[4] = {at.dims[0], at.dims[1], at.dims[2], 1};
    const TensorRef narrow = cast(exec, g_lse, dtype);
    const TensorRef wide = reshape(exec, narrow.get(), column, 4);
    TensorRef part = op::mul(exec, p.get(), wide.get());
    ds = ds ? op::add(exec, ds.get(), part.get()) : part;
  }
  if (c.wanted(4)) set_reduced(c, 4, ds);
  const TensorRef scaled = op::affine(exec, ds.get(), scale, 0);
  if (c.wanted(0)) c.set(0, op::matmul(exec, scaled.get(), k.get()));
  if (!c.wanted(1)) return;
  const TensorRef dst = transpose(exec, scaled.get());
  const TensorRef dk = op::matmul(exec, dst.get(), q);
  c.set(1, gather_heads(c, dk.get(), 1));
}

void gradient_attention(GradCall& c) {
  mill_tensor* g = c.gradient(0);
  mill_tensor* g_lse = c.gradient(1);
  if (!g && !g_lse) return;
  if (c.exec.recorder || !g) {
    composed_gradient(c, g, g_lse);
    return;
  }
  TensorRef out[4];
  op::attention_backward(c.exec, g, c.in(0), c.in(1), c.in(2), c.out(0), c.out(1), g_lse, c.in(3),
                         c.in(4), c.in(5), c.attr[0].i != 0, c.attr[1].i, c.attr[2].f, c.wanted(4),
                         out);
  for (uint32_t k = 0; k < 3; ++k) {
    if (c.wanted(k)) c.set(k, out[k]);
  }
  if (c.wanted(4)) set_reduced(c, 4, out[3]);
}

// Two products over the width, of which causal attention skips about half.
uint64_t flops_of(const OpCall& call, const Places& at, uint64_t products) {
  const int64_t* q = call.shape(at.q).dims;
  const int64_t* v = call.shape(at.v).dims;
  const uint64_t scores = static_cast<uint64_t>(q[0]) * static_cast<uint64_t>(q[1]) *
                          static_cast<uint64_t>(q[2]) * static_cast<uint64_t>(v[2]);
  const uint64_t all = products * scores * static_cast<uint64_t>(q[3] + v[3]);
  return call.integer(0) != 0 ? all / 2 : all;
}
uint64_t flops_attention(const OpCall& call) {
  return flops_of(call, kForward, 2);
}
uint64_t flops_attention_backward(const OpCall& call) {
  return flops_of(call, kBackward, 5);
}

}  // namespace

extern const OpRules rules_attention = {.infer = infer_attention,
                                        .gradient = gradient_attention,
                                        .flops = flops_attention,
                                        .saved_inputs = 63,
                                        .saved_outputs = 3};
extern const OpRules rules_attention_backward = {.infer = infer_attention_backward,
                                                 .flops = flops_attention_backward};

}  // namespace mill::ops
