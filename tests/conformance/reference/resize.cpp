#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

// Where output o lies on an axis, as the row says.
template <class A>
A position(int64_t at, int64_t size, int64_t result, A scale, A length, int64_t transform) {
  const A o(at), in(size), out(result), half(0.5);
  const A usual = (o + half) / scale - half;
  switch (transform) {
    case 1: return result > 1 ? usual : A(0);
    case 2: return length > A(1) ? o * (in - A(1)) / (length - A(1)) : A(0);
    case 3: return o / scale;
    case 4: return in * half * (A(1) - out / (scale * in)) + usual;
    case 5: return (o + half) / scale;
    default: return usual;
  }
}

template <class A>
A cubic(A a, A d) {
  if (d < A(0)) d = -d;
  if (d >= A(2)) return A(0);
  return d <= A(1) ? ((a + A(2)) * d - (a + A(3))) * d * d + A(1)
                   : ((a * d - A(5) * a) * d + A(8) * a) * d - A(4) * a;
}

int64_t nearest(double x, int64_t rounding) {
  switch (rounding) {
    case 0: return static_cast<int64_t>(std::ceil(x - 0.5));
    case 1: return static_cast<int64_t>(std::floor(x + 0.5));
    case 2: return static_cast<int64_t>(std::floor(x));
    default: return static_cast<int64_t>(std::ceil(x));
  }
}

// The matrix [out, in] of one axis. Which elements are near follows from exact positions, how much
// they weigh from those of A.
template <class A>
std::vector<A> weights(const RefCall<A>& c, int64_t in, int64_t out, const double* given) {
  using Sharp = Number<Exact>;
  std::vector<A> w(static_cast<size_t>(in * out), A(0));
  const Sharp sharp_scale = given != nullptr ? Sharp(*given) : Sharp(out) / Sharp(in);
  const A scale = given != nullptr ? A(*given) : A(out) / A(in);
  for (int64_t o = 0; o < out; ++o) {
    const Sharp sharp = position(o, in, out, sharp_scale, sharp_scale * Sharp(in), c.integer(3));
    const auto place = static_cast<double>(sharp.value());
    const A x = position(o, in, out, scale, scale * A(in), c.integer(3));
    const auto first = static_cast<int64_t>(std::floor(place));
    const int64_t mode = c.integer(2);
    A sum(0);
    A* row = w.data() + o * in;
    for (int64_t i = first - 1; i <= first + 2; ++i) {
      const A d = x - A(i);
      A weight(0);
      if (mode == 0 && i == nearest(place, c.integer(4))) weight = A(1);
      if (mode == 1 && (i == first || i == first + 1)) weight = i == first ? A(1) - d : A(1) + d;
      if (mode == 2 && (c.integer(6) == 0 || (i >= 0 && i < in))) weight = cubic(A(c.real(5)), d);
      row[std::min(std::max<int64_t>(i, 0), in - 1)] += weight;
      sum += weight;
    }
    if (mode != 2 || c.integer(6) == 0) continue;
    for (int64_t i = 0; i < in; ++i) row[i] = row[i] / sum;
  }
  return w;
}

// use(index into x, index into y, weight) for every pair.
template <class A, class Use>
void each_pair(const RefCall<A>& c, const Dims& x, const Dims& y, Use&& use) {
  std::vector<std::vector<A>> w;
  const auto* scales = static_cast<const double*>(c.attrs[1].p);
  for (size_t i = 2; i < x.size(); ++i)
    w.push_back(weights(c, x[i], y[i], c.attrs[1].n == 0 ? nullptr : scales + i - 2));
  const Dims inner(x.begin() + 2, x.end());
  each_position(y, [&](const Dims& at, size_t to) {
    const auto plane = static_cast<size_t>((at[0] * x[1] + at[1]) * elements(inner));
    each_position(inner, [&](const Dims& place, size_t from) {
      A weight(1);
      for (size_t i = 0; i < inner.size(); ++i)
        weight = weight * w[i][static_cast<size_t>(at[i + 2] * inner[i] + place[i])];
      if (weight != A(0)) use(plane + from, to, weight);
    });
  });
}

}  // namespace

template <class A>
void ref_resize(RefCall<A>& c) {
  const Dims x = c.in[0].dims;
  Dims y = {x[0], x[1]};
  for (const int64_t size : c.ints(0)) y.push_back(size);
  std::vector<A>& out = c.make(0, y);
  each_pair(c, x, y, [&](size_t from, size_t to, A w) { out[to] += w * c.in[0].v[from]; });
}

template <class A>
void ref_resize_backward(RefCall<A>& c) {
  const Dims x = c.ints(0);
  std::vector<A>& out = c.make(0, x);
  each_pair(c, x, c.in[0].dims,
            [&](size_t to, size_t from, A w) { out[to] += w * c.in[0].v[from]; });
}

MILL_INSTANTIATE_REFERENCE(resize)
MILL_INSTANTIATE_REFERENCE(resize_backward)

}  // namespace mill_test
