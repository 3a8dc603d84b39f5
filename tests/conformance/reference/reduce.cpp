#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

struct Reduction {
  Dims inner;     // x's dims with 1 on the reduced axes
  Dims out;       // the result's dims
  int64_t count;  // elements that come together
};

Reduction reduction_of(const Dims& x, const Dims& axes, bool keep) {
  std::vector<bool> gone(x.size(), axes.empty());
  for (const int64_t axis : axes) gone[axis_of(axis, x.size())] = true;
  Reduction r{{}, {}, 1};
  for (size_t i = 0; i < x.size(); ++i) {
    r.inner.push_back(gone[i] ? 1 : x[i]);
    if (!gone[i] || keep) r.out.push_back(gone[i] ? 1 : x[i]);
    if (gone[i]) r.count *= x[i];
  }
  return r;
}

template <class A>
Reduction sum_into(RefCall<A>& c, bool keep) {
  const Reduction r = reduction_of(c.in[0].dims, c.ints(0), keep);
  std::vector<A>& out = c.make(0, r.out);
  each_position(c.in[0].dims, [&](const Dims& at, size_t i) {
    out[broadcast_index(at, r.inner)] += c.in[0].v[i];
  });
  return r;
}

}  // namespace

template <class A>
void ref_sum(RefCall<A>& c) {
  sum_into(c, c.integer(1) != 0);
}

template <class A>
void ref_mean(RefCall<A>& c) {
  const Reduction r = sum_into(c, c.integer(1) != 0);
  for (A& value : c.out[0].v) value = value / A(r.count);
}

template <class A>
void ref_max(RefCall<A>& c) {
  const Reduction r = reduction_of(c.in[0].dims, c.ints(0), c.integer(1) != 0);
  std::vector<A>& out = c.make(0, r.out);
  std::vector<bool> seen(out.size(), false);
  each_position(c.in[0].dims, [&](const Dims& at, size_t i) {
    const size_t to = broadcast_index(at, r.inner);
    if (!seen[to] || c.in[0].v[i] > out[to]) out[to] = c.in[0].v[i];
    seen[to] = true;
  });
}

template <class A>
void ref_min(RefCall<A>& c) {
  const Reduction r = reduction_of(c.in[0].dims, c.ints(0), c.integer(1) != 0);
  std::vector<A>& out = c.make(0, r.out);
  std::vector<bool> seen(out.size(), false);
  each_position(c.in[0].dims, [&](const Dims& at, size_t i) {
    const size_t to = broadcast_index(at, r.inner);
    if (!seen[to] || c.in[0].v[i] < out[to]) out[to] = c.in[0].v[i];
    seen[to] = true;
  });
}

template <class A>
void ref_prod(RefCall<A>& c) {
  const Reduction r = reduction_of(c.in[0].dims, c.ints(0), c.integer(1) != 0);
  std::vector<A>& out = c.make(0, r.out);
  std::fill(out.begin(), out.end(), A(1));
  each_position(c.in[0].dims, [&](const Dims& at, size_t i) {
    const size_t to = broadcast_index(at, r.inner);
    out[to] = out[to] * c.in[0].v[i];
  });
}

template <class A>
void ref_argmax(RefCall<A>& c) {
  const Dims& dims = c.in[0].dims;
  const size_t axis = axis_of(c.integer(0), dims.size());
  const Reduction r = reduction_of(dims, {static_cast<int64_t>(axis)}, c.integer(1) != 0);
  std::vector<int64_t>& out = c.make_whole(0, r.out);
  std::vector<A> best(out.size(), A(0));
  each_position(dims, [&](const Dims& at, size_t i) {
    const size_t to = broadcast_index(at, r.inner);
    if (at[axis] == 0 || c.in[0].v[i] > best[to]) {
      best[to] = c.in[0].v[i];
      out[to] = at[axis];
    }
  });
}

template <class A>
void ref_sum_to(RefCall<A>& c) {
  const Dims dims = c.ints(0);
  std::vector<A>& out = c.make(0, dims);
  each_position(c.in[0].dims, [&](const Dims& at, size_t i) {
    const Dims tail(at.end() - static_cast<std::ptrdiff_t>(dims.size()), at.end());
    out[broadcast_index(tail, dims)] += c.in[0].v[i];
  });
}

MILL_INSTANTIATE_REFERENCE(sum)
MILL_INSTANTIATE_REFERENCE(mean)
MILL_INSTANTIATE_REFERENCE(max)
MILL_INSTANTIATE_REFERENCE(min)
MILL_INSTANTIATE_REFERENCE(prod)
MILL_INSTANTIATE_REFERENCE(argmax)
MILL_INSTANTIATE_REFERENCE(sum_to)

}  // namespace mill_test
