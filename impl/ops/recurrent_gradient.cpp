// Gradients of recurrent networks that are made of other ops: those by the weights, and whole ones
// that can themselves be differentiated. The latter go on from what the forward pass kept, which
// the tape knows as results of the sequence.
#include <algorithm>
#include <initializer_list>
#include <vector>

#include "millrace/ops.h"
#include "ops/recurrent.h"

namespace mill::ops {

namespace {

// Steps and batch as one axis.
TensorRef fold(Exec& exec, mill_tensor* x) {
  const int64_t* d = x->view.dims;
  const int64_t dims[2] = {d[0] * d[1], d[2]};
  return reshape(exec, x, dims, 2);
}

// ---- step by step -------------------------------------------------------------------------------

// The walk of a gradient from the last step to the first.
class Walk {
 public:
  Walk(GradCall& c, mill_tensor* y, uint32_t lengths) : exec_(c.exec), reverse_(c.attr[0].i != 0) {
    for (int i = 0; i < 3; ++i) dims_[i] = y->view.dims[i];
    dtype_ = y->dtype();
    if (!c.in(lengths)) return;
    const int64_t column[2] = {dims_[1], 1};
    const TensorRef whole = cast(exec_, c.in(lengths), MILL_I64);
    ends_ = reshape(exec_, whole.get(), column, 2);
  }

  int64_t steps() const { return dims_[0]; }
  // Of the n-th step that is walked.
  int64_t time(int64_t n) const { return reverse_ ? n : dims_[0] - 1 - n; }

  // [batch, H] of nothing.
  TensorRef zeros() const {
    return op::fill(exec_, dims_ + 1, 2, static_cast<mill_dtype>(dtype_), 0);
  }
  TensorRef or_zeros(mill_tensor* x) const { return x ? share(x) : zeros(); }

  // Part k, of H columns, of x [T, batch, parts H] at a time; zeros where there is no x.
  TensorRef part(mill_tensor* x, int64_t at, int64_t k = 0) const {
    if (!x) return zeros();
    const TensorRef step = op::slice(exec_, x, 0, at, at + 1, 1);
    const TensorRef some = op::slice(exec_, step.get(), 2, k * dims_[2], (k + 1) * dims_[2], 1);
    return reshape(exec_, some.get(), dims_ + 1, 2);
  }

  // yes where a sequence counts at this time, no elsewhere (null: 0).
  TensorRef counted(int64_t at, const TensorRef& yes, const TensorRef& no) const {
    if (!ends_) return yes;
    const TensorRef now = scalar(exec_, MILL_I64, static_cast<double>(at));
    const TensorRef seen = op::compare(exec_, now.get(), ends_.get(), MILL_COMPARE_LT);
    const TensorRef zero = no ? no : scalar(exec_, dtype_, 0);
    return op::where(exec_, seen.get(), yes.get(), zero.get());
  }

  // The parts [batch, H] of a step next to one another.
  TensorRef beside(std::initializer_list<mill_tensor*> parts) const {
    return op::concat(exec_, parts.begin(), static_cast<uint32_t>(parts.size()), 1);
  }

  // Steps [batch, width] in the order of the walk as one tensor [T, batch, width].
  TensorRef over_time(std::vector<TensorRef> steps, int64_t width) const {
    const int64_t whole[3] = {dims_[0], dims_[1], width};
    if (steps.empty()) return op::fill(exec_, whole, 3, static_cast<mill_dtype>(dtype_), 0);
    if (!reverse_) std::reverse(steps.begin(), steps.end());
    while (steps.size() > 1) {
      std::vector<TensorRef> joined;
      for (size_t k = 0; k < steps.size(); k += MILL_MAX_OP_INPUTS) {
        mill_tensor* some[MILL_MAX_OP_INPUTS];
        uint32_t n = 0;
        while (n < MILL_MAX_OP_INPUTS && k + n < steps.size()) {
          some[n] = steps[k + n].get();
          ++n;
        }
        joined.push_back(op::concat(exec_, some, n, 0));
      }
      steps = std::move(joined);
    }
    return reshape(exec_, steps[0].get(), whole, 3);
  }

  TensorRef mul(const TensorRef& a, const TensorRef& b) const {
    return op::mul(exec_, a.get(), b.get());
  }
  TensorRef add(const TensorRef& a, const TensorRef& b) const {
    return op::add(exec_, a.get(), b.get());
  }
  TensorRef sub(const TensorRef& a, const TensorRef& b) const {
    return op::sub(exec_, a.get(), b.get());
  }
  TensorRef one_minus(const TensorRef& x) const { return op::affine(exec_, x.get(), -1, 1); }
  // Slopes by the functions' values.
  TensorRef sigmoid_slope(const TensorRef& x) const { return mul(x, one_minus(x)); }
  TensorRef tanh_slope(const TensorRef& x) const { return one_minus(mul(x, x)); }
  TensorRef times(const TensorRef& x, mill_tensor* weights) const {
    return op::matmul(exec_, x.get(), weights);
  }

 private:
  Exec& exec_;
  bool reverse_;
  int32_t dtype_;
  int64_t dims_[3];
  TensorRef ends_;
};

}  // namespace

TensorRef states_before(Exec& exec, mill_tensor* y, mill_tensor* initial, mill_tensor* lengths,
                        bool reverse) {
  const int64_t* d = y->view.dims;
  if (d[0] == 0) return share(y);
  const int64_t one[3] = {1, d[1], d[2]};
  const TensorRef start = initial ? reshape(exec, initial, one, 3)
                                  : op::fill(exec, one, 3, static_cast<mill_dtype>(y->dtype()), 0);
  const TensorRef rest = op::slice(exec, y, 0, reverse ? 1 : 0, reverse ? d[0] : d[0] - 1, 1);
  mill_tensor* const parts[2] = {reverse ? rest.get() : start.get(),
                                 reverse ? start.get() : rest.get()};
  TensorRef moved = op::concat(exec, parts, 2, 0);
  if (!initial || !reverse || !lengths) return moved;
  // Behind a sequence's end y is 0, so only its last step is to be put right.
  const TensorRef numbers = op::arange(exec, d[0], 1, 1, MILL_I64);
  const int64_t time[3] = {d[0], 1, 1};
  const int64_t row[3] = {1, d[1], 1};
  const TensorRef at = reshape(exec, numbers.get(), time, 3);
  const TensorRef whole = cast(exec, lengths, MILL_I64);
  const TensorRef ends = reshape(exec, whole.get(), row, 3);
  const TensorRef last = op::compare(exec, at.get(), ends.get(), MILL_COMPARE_EQ);
  return op::where(exec, last.get(), start.get(), moved.get());
}

void set_recurrent_weights(GradCall& c, uint32_t lengths, mill_tensor* hidden) {
  if (c.wanted(2)) {
    const int64_t axes[2] = {0, 1};
    c.set(2, op::sum(c.exec, hidden, axes, 2, false));
  }
  if (!c.wanted(1)) return;
  Exec& exec = c.exec;
  const bool reverse = c.attr[0].i != 0;
  mill_tensor* y = c.out(0);
  mill_tensor* h0 = c.in(3);
  const int64_t steps = y->view.dims[0];
  // With lengths the first step of a sequence that runs backward may be any.
  if (steps == 0 || (h0 && reverse && c.in(lengths))) {
    const TensorRef before = states_before(exec, y, h0, c.in(lengths), reverse);
    const TensorRef rows = fold(exec, hidden);
    const TensorRef columns = transpose(exec, rows.get());
    const TensorRef states = fold(exec, before.get());
    matmul_gradient(c, 1, columns.get(), states.get());
    return;
  }
  const int64_t shift = reverse ? 1 : 0;
  const TensorRef later = op::slice(exec, hidden, 0, 1 - shift, steps - shift, 1);
  const TensorRef earlier = op::slice(exec, y, 0, shift, steps - 1 + shift, 1);
  const TensorRef rows = fold(exec, later.get());
  const TensorRef columns = transpose(exec, rows.get());
  const TensorRef states = fold(exec, earlier.get());
  if (!h0) {
    matmul_gradient(c, 1, columns.get(), states.get());
    return;
  }
  const int64_t first = reverse ? steps - 1 : 0;
  const TensorRef start = op::slice(exec, hidden, 0, first, first + 1, 1);
  const TensorRef start_rows = fold(exec, start.get());
  const TensorRef start_columns = transpose(exec, start_rows.get());
  const TensorRef part = op::matmul(exec, start_columns.get(), h0);
  const TensorRef rest = op::matmul(exec, columns.get(), states.get());
  c.set(1, op::add(exec, rest.get(), part.get()));
}

void set_reset_weights(GradCall& c, mill_tensor* gates) {
  Exec& exec = c.exec;
  if (c.wanted(2)) {
    const int64_t axes[2] = {0, 1};
    c.set(2, op::sum(exec, gates, axes, 2, false));
  }
  if (!c.wanted(1)) return;
  const int64_t units = c.input(1).dims[1];
  const TensorRef before = states_before(exec, c.out(0), c.in(3), c.in(4), c.attr[0].i != 0);
  const TensorRef reset = op::slice(exec, c.out(2), 2, 3 * units, 4 * units, 1);
  TensorRef parts[2];
  for (int k = 0; k < 2; ++k) {
    const TensorRef some =
        op::slice(exec, gates, 2, k == 0 ? 0 : 2 * units, k == 0 ? 2 * units : 3 * units, 1);
    const TensorRef rows = fold(exec, some.get());
    const TensorRef columns = transpose(exec, rows.get());
    const TensorRef states = fold(exec, k == 0 ? before.get() : reset.get());
    parts[k] = op::matmul(exec, columns.get(), states.get());
  }
  mill_tensor* const both[2] = {parts[0].get(), parts[1].get()};
  c.set(1, op::concat(exec, both, 2, 0));
}

void composed_lstm_gradient(GradCall& c) {
  mill_tensor* w = c.in(1);
  const Walk walk(c, c.out(0), 5);
  const TensorRef before = states_before(c.exec, c.out(4), c.in(4), c.in(5), c.attr[0].i != 0);
  TensorRef dh = walk.or_zeros(c.gradient(1));
  TensorRef dc = walk.or_zeros(c.gradient(2));
  std::vector<TensorRef> steps;
  for (int64_t n = 0; n < walk.steps(); ++n) {
    const int64_t t = walk.time(n);
    TensorRef a[4], s[4];
    for (int k = 0; k < 4; ++k) {
      a[k] = walk.part(c.out(3), t, k);
      s[k] = walk.part(c.gradient(3), t, k);
    }
    const TensorRef cell_before = walk.part(before.get(), t);
    const TensorRef cell = walk.part(c.out(4), t);
    const TensorRef bent = op::tanh(c.exec, cell.get());
    const TensorRef arriving = walk.add(dh, walk.part(c.gradient(0), t));
    TensorRef d = walk.mul(walk.mul(arriving, a[3]), walk.tanh_slope(bent));
    d = walk.add(walk.add(d, dc), walk.part(c.gradient(4), t));
    s[0] = walk.mul(walk.add(walk.mul(d, a[2]), s[0]), walk.sigmoid_slope(a[0]));
    s[1] = walk.mul(walk.add(walk.mul(d, cell_before), s[1]), walk.sigmoid_slope(a[1]));
    s[2] = walk.mul(walk.add(walk.mul(d, a[0]), s[2]), walk.tanh_slope(a[2]));
    s[3] = walk.mul(walk.add(walk.mul(arriving, bent), s[3]), walk.sigmoid_slope(a[3]));
    const TensorRef sums =
        walk.counted(t, walk.beside({s[0].get(), s[1].get(), s[2].get(), s[3].get()}), nullptr);
    dh = walk.counted(t, walk.times(sums, w), dh);
    dc = walk.counted(t, walk.mul(d, a[1]), dc);
    steps.push_back(sums);
  }
  const TensorRef gates = walk.over_time(std::move(steps), w->view.dims[0]);
  if (c.wanted(0)) c.set(0, gates);
  if (c.wanted(3)) c.set(3, dh);
  if (c.wanted(4)) c.set(4, dc);
  set_recurrent_weights(c, 5, gates.get());
}

void composed_gru_gradient(GradCall& c) {
  mill_tensor* w = c.in(1);
  const int64_t units = w->view.dims[1];
  const bool after = c.attr[1].i != 0;
  const Walk walk(c, c.out(0), 4);
  const TensorRef before = states_before(c.exec, c.out(0), c.in(3), c.in(4), c.attr[0].i != 0);
  const TensorRef first = op::slice(c.exec, w, 0, 0, 2 * units, 1);
  const TensorRef last = op::slice(c.exec, w, 0, 2 * units, 3 * units, 1);
  TensorRef dh = walk.or_zeros(c.gradient(1));
  std::vector<TensorRef> gates, hidden;
  for (int64_t n = 0; n < walk.steps(); ++n) {
    const int64_t t = walk.time(n);
    TensorRef a[4], s[4];
    for (int k = 0; k < 4; ++k) {
      a[k] = walk.part(c.out(2), t, k);
      s[k] = walk.part(c.gradient(2), t, k);
    }
    const TensorRef h = walk.part(before.get(), t);
    const TensorRef arriving = walk.add(dh, walk.part(c.gradient(0), t));
    const TensorRef dz = walk.add(walk.mul(arriving, walk.sub(h, a[2])), s[1]);
    const TensorRef dn = walk.add(walk.mul(arriving, walk.one_minus(a[1])), s[2]);
    s[1] = walk.mul(dz, walk.sigmoid_slope(a[1]));
    s[2] = walk.mul(dn, walk.tanh_slope(a[2]));
    TensorRef on = walk.mul(arriving, a[1]);
    if (after) {
      s[0] = walk.mul(walk.add(walk.mul(s[2], a[3]), s[0]), walk.sigmoid_slope(a[0]));
      s[3] = walk.add(walk.mul(s[2], a[0]), s[3]);
      const TensorRef sums =
          walk.counted(t, walk.beside({s[0].get(), s[1].get(), s[3].get()}), nullptr);
      hidden.push_back(sums);
      on = walk.add(on, walk.times(sums, w));
    } else {
      // r h stands in the place of the product.
      const TensorRef d = walk.add(walk.times(s[2], last.get()), s[3]);
      s[0] = walk.mul(walk.add(walk.mul(d, h), s[0]), walk.sigmoid_slope(a[0]));
      const TensorRef both = walk.beside({s[0].get(), s[1].get()});
      on = walk.add(walk.add(on, walk.mul(d, a[0])), walk.times(both, first.get()));
    }
    gates.push_back(walk.counted(t, walk.beside({s[0].get(), s[1].get(), s[2].get()}), nullptr));
    dh = walk.counted(t, on, dh);
  }
  const TensorRef whole = walk.over_time(std::move(gates), 3 * units);
  if (c.wanted(0)) c.set(0, whole);
  if (c.wanted(3)) c.set(3, dh);
  if (after) {
    set_recurrent_weights(c, 4, walk.over_time(std::move(hidden), 3 * units).get());
  } else {
    set_reset_weights(c, whole.get());
  }
}

void composed_rnn_gradient(GradCall& c) {
  mill_tensor* w = c.in(1);
  const bool relu = c.attr[1].i != 0;
  const Walk walk(c, c.out(0), 4);
  const TensorRef zero = scalar(c.exec, c.input(0).dtype, 0);
  TensorRef dh = walk.or_zeros(c.gradient(1));
  std::vector<TensorRef> steps;
  for (int64_t n = 0; n < walk.steps(); ++n) {
    const int64_t t = walk.time(n);
    const TensorRef y = walk.part(c.out(0), t);
    const TensorRef arriving = walk.add(dh, walk.part(c.gradient(0), t));
    TensorRef sums;
    if (relu) {
      const TensorRef passes = op::compare(c.exec, y.get(), zero.get(), MILL_COMPARE_GT);
      sums = op::where(c.exec, passes.get(), arriving.get(), zero.get());
    } else {
      sums = walk.mul(arriving, walk.tanh_slope(y));
    }
    sums = walk.counted(t, sums, nullptr);
    dh = walk.counted(t, walk.times(sums, w), dh);
    steps.push_back(sums);
  }
  const TensorRef gates = walk.over_time(std::move(steps), w->view.dims[0]);
  if (c.wanted(0)) c.set(0, gates);
  if (c.wanted(3)) c.set(3, dh);
  set_recurrent_weights(c, 4, gates.get());
}

}  // namespace mill::ops
