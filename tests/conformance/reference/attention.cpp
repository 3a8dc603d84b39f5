#include <limits>

#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

// Which keys a query sees and what is added to its scores; inputs are mask, bias, lengths.
template <class A>
struct Sight {
  const RefCall<A>& c;
  size_t mask;

  bool sees(const Dims& at) const {
    const Operand<A>& m = c.in[mask];
    const Operand<A>& lengths = c.in[mask + 2];
    if (lengths.present && at[3] >= lengths.i[static_cast<size_t>(at[0])]) return false;
    if (c.integer(0) != 0 && at[3] > at[2] + c.integer(1)) return false;
    return !m.present || m.i[broadcast_index(at, m.dims)] != 0;
  }
  A bias(const Dims& at) const {
    const Operand<A>& b = c.in[mask + 1];
    return b.present ? b.v[broadcast_index(at, b.dims)] : A(0);
  }
};

template <class A>
A scale_of(const RefCall<A>& c, int64_t width) {
  if (c.real(2) != 0) return A(c.real(2));
  return width == 0 ? A(1) : A(1) / sqrt(A(width));
}

// Row (batch, head, position) of an operand; heads of q that share one of k have its row.
template <class A>
const A* row_of(const Operand<A>& x, const Dims& at, int64_t position, int64_t heads) {
  const int64_t head = x.dims[1] == heads ? at[1] : at[1] / (heads / x.dims[1]);
  return x.v.data() + ((at[0] * x.dims[1] + head) * x.dims[2] + position) * x.dims[3];
}
template <class A>
A* row_of(std::vector<A>& v, const Dims& dims, const Dims& at, int64_t position, int64_t heads) {
  const int64_t head = dims[1] == heads ? at[1] : at[1] / (heads / dims[1]);
  return v.data() + ((at[0] * dims[1] + head) * dims[2] + position) * dims[3];
}

template <class A>
A dot(const A* x, const A* y, int64_t n) {
  A sum(0);
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

}  // namespace

template <class A>
void ref_attention(RefCall<A>& c) {
  const Operand<A>& q = c.in[0];
  const Operand<A>& k = c.in[1];
  const Operand<A>& v = c.in[2];
  const int64_t heads = q.dims[1];
  const int64_t keys = k.dims[2];
  const Dims dims = {q.dims[0], heads, q.dims[2], v.dims[3]};
  std::vector<A>& out = c.make(0, dims);
  std::vector<A>& lse = c.make(1, {q.dims[0], heads, q.dims[2]});
  const A scale = scale_of(c, q.dims[3]);
  const Sight<A> sight{c, 3};
  each_position({dims[0], heads, dims[2]}, [&](const Dims& at, size_t row) {
    std::vector<A> score(static_cast<size_t>(keys), A(0));
    std::vector<bool> seen(static_cast<size_t>(keys), false);
    bool any = false;
    A top(0);
    for (int64_t j = 0; j < keys; ++j) {
      const Dims here = {at[0], at[1], at[2], j};
      const auto n = static_cast<size_t>(j);
      seen[n] = sight.sees(here);
      if (!seen[n]) continue;
      score[n] = dot(row_of(q, at, at[2], heads), row_of(k, at, j, heads), q.dims[3]) * scale +
                 sight.bias(here);
      top = !any || score[n] > top ? score[n] : top;
      any = true;
    }
    if (!any) {
      lse[row] = A(-std::numeric_limits<double>::infinity());
      return;
    }
    A sum(0);
    for (int64_t j = 0; j < keys; ++j) {
      const auto n = static_cast<size_t>(j);
      if (!seen[n]) continue;
      score[n] = exp(score[n] - top);
      sum += score[n];
    }
    lse[row] = top + log(sum);
    A* to = row_of(out, dims, at, at[2], heads);
    for (int64_t j = 0; j < keys; ++j) {
      const auto n = static_cast<size_t>(j);
      if (!seen[n]) continue;
      const A p = score[n] / sum;
      const A* from = row_of(v, at, j, heads);
      for (int64_t i = 0; i < dims[3]; ++i) to[i] += p * from[i];
    }
  });
}

template <class A>
void ref_attention_backward(RefCall<A>& c) {
  const Operand<A>& g = c.in[0];
  const Operand<A>& q = c.in[1];
  const Operand<A>& k = c.in[2];
  const Operand<A>& v = c.in[3];
  const int64_t heads = q.dims[1];
  std::vector<A>& dq = c.make(0, q.dims);
  std::vector<A>& dk = c.make(1, k.dims);
  std::vector<A>& dv = c.make(2, v.dims);
  const Dims scores = {q.dims[0], heads, q.dims[2], k.dims[2]};
  const bool wants_scores = c.integer(3) != 0;
  if (wants_scores) c.make(3, scores);
  const A scale = scale_of(c, q.dims[3]);
  const Sight<A> sight{c, 7};
  each_position(scores, [&](const Dims& at, size_t index) {
    if (!sight.sees(at)) return;
    const size_t row = static_cast<size_t>((at[0] * heads + at[1]) * scores[2] + at[2]);
    const A* q_row = row_of(q, at, at[2], heads);
    const A* k_row = row_of(k, at, at[3], heads);
    const A* g_row = row_of(g, at, at[2], heads);
    const A score = dot(q_row, k_row, q.dims[3]) * scale + sight.bias(at);
    const A p = exp(score - c.in[5].v[row]);
    A delta = dot(g_row, row_of(c.in[4], at, at[2], heads), v.dims[3]);
    if (c.in[6].present) delta = delta - c.in[6].v[row];
    const A ds = p * (dot(g_row, row_of(v, at, at[3], heads), v.dims[3]) - delta);
    if (wants_scores) c.out[3].v[index] = ds;
    A* q_to = row_of(dq, q.dims, at, at[2], heads);
    A* k_to = row_of(dk, k.dims, at, at[3], heads);
    A* v_to = row_of(dv, v.dims, at, at[3], heads);
    for (int64_t i = 0; i < q.dims[3]; ++i) {
      q_to[i] += ds * scale * k_row[i];
      k_to[i] += ds * scale * q_row[i];
    }
    for (int64_t i = 0; i < v.dims[3]; ++i) v_to[i] += p * g_row[i];
  });
}

MILL_INSTANTIATE_REFERENCE(attention)
MILL_INSTANTIATE_REFERENCE(attention_backward)

}  // namespace mill_test
