// The arithmetic of one unit of a recurrent network at one step, forward and backward. Gradients
// take what flows back by the step's results and give what flows back by the sums under the
// functions.
#pragma once

#include "kernels/functors/vocabulary.h"

namespace mill::functors {

// Which network a kernel computes. Where a GRU's reset comes before the product, a step has two
// parts: r and z first, then n.
enum class Recurrent { lstm, gru, gru_rz, gru_n, rnn };

// Products of a step with rows of the weights: how many per unit, and from which third or quarter
// on.
constexpr int recurrent_products(Recurrent kind) {
  return kind == Recurrent::lstm     ? 4
         : kind == Recurrent::gru    ? 3
         : kind == Recurrent::gru_rz ? 2
                                     : 1;
}
constexpr int recurrent_first(Recurrent kind) {
  return kind == Recurrent::gru_n ? 2 : 0;
}
// Values per unit among gates, and among what is kept of them.
constexpr int recurrent_gates(Recurrent kind) {
  return kind == Recurrent::lstm ? 4 : kind == Recurrent::rnn ? 1 : 3;
}
constexpr int recurrent_kept(Recurrent kind) {
  return kind == Recurrent::rnn ? 0 : 4;
}

// x (1 - x): the slope of the sigmoid by its value.
template <class M>
MILL_FN typename M::V sigmoid_slope(typename M::V x) {
  return M::mul(x, M::sub(M::set(1), x));
}
// 1 - x x: that of tanh.
template <class M>
MILL_FN typename M::V tanh_slope(typename M::V x) {
  return M::mul_add(M::neg(x), x, M::set(1));
}

// a: sums in, gates out. c: the cell before, then after. Returns h.
template <class M>
MILL_FN typename M::V lstm_forward(typename M::V (&a)[4], typename M::V* c) {
  a[0] = M::sigmoid(a[0]);
  a[1] = M::sigmoid(a[1]);
  a[2] = M::tanh(a[2]);
  a[3] = M::sigmoid(a[3]);
  *c = M::mul_add(a[1], *c, M::mul(a[0], a[2]));
  return M::mul(a[3], M::tanh(*c));
}

// a: the gates; s: what arrives at them, then the gradients by their sums; c, before: the cell
// after and before the step; dc: what arrives by the cell, then what goes on.
template <class M>
MILL_FN void lstm_backward(const typename M::V (&a)[4], typename M::V (&s)[4], typename M::V c,
                           typename M::V before, typename M::V dh, typename M::V* dc) {
  using V = typename M::V;
  const V t = M::tanh(c);
  const V cell = M::mul_add(M::mul(dh, a[3]), tanh_slope<M>(t), *dc);
  s[3] = M::mul(M::mul_add(dh, t, s[3]), sigmoid_slope<M>(a[3]));
  s[0] = M::mul(M::mul_add(cell, a[2], s[0]), sigmoid_slope<M>(a[0]));
  s[1] = M::mul(M::mul_add(cell, before, s[1]), sigmoid_slope<M>(a[1]));
  s[2] = M::mul(M::mul_add(cell, a[0], s[2]), tanh_slope<M>(a[2]));
  *dc = M::mul(cell, a[1]);
}

// n + z (h - n) = (1 - z) n + z h.
template <class M>
MILL_FN typename M::V gru_mix(typename M::V z, typename M::V n, typename M::V h) {
  return M::mul_add(z, M::sub(h, n), n);
}

// What a GRU's z and n get: s[1] and s[2] hold what arrives at them, then the gradients by their
// sums. Returns what goes on to the state past the products.
template <class M>
MILL_FN typename M::V gru_mix_backward(typename M::V z, typename M::V n, typename M::V h,
                                       typename M::V dh, typename M::V* s_z, typename M::V* s_n) {
  using V = typename M::V;
  const V dz = M::mul_add(dh, M::sub(h, n), *s_z);
  const V dn = M::mul_add(dh, M::sub(M::set(1), z), *s_n);
  *s_z = M::mul(dz, sigmoid_slope<M>(z));
  *s_n = M::mul(dn, tanh_slope<M>(n));
  return M::mul(dh, z);
}

// A plain network's function and its slope by its value.
template <class M>
MILL_FN typename M::V rnn_forward(bool relu, typename M::V x) {
  return relu ? M::at_least(x, M::set(0)) : M::tanh(x);
}
template <class M>
MILL_FN typename M::V rnn_backward(bool relu, typename M::V y, typename M::V dh) {
  if (relu) return M::select(M::gt(y, M::set(0)), dh, M::set(0));
  return M::mul(dh, tanh_slope<M>(y));
}

}  // namespace mill::functors
