#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

// x [batch, channels, ...] as [batch][group][channel in group][space].
struct Shape {
  size_t batch;
  size_t groups;
  size_t inside;
  size_t space;

  Shape(const Dims& dims, int64_t of_groups)
      : batch(static_cast<size_t>(dims[0])),
        groups(static_cast<size_t>(of_groups)),
        inside(of_groups == 0 ? 0 : static_cast<size_t>(dims[1] / of_groups)),
        space(static_cast<size_t>(elements(Dims(dims.begin() + 2, dims.end())))) {}
  size_t channels() const { return groups * inside; }
  size_t at(size_t n, size_t channel, size_t i) const {
    return (n * channels() + channel) * space + i;
  }
};

// One statistic: the elements [n0, n1) x [c0, c1) x space.
struct Part {
  size_t n0, n1, c0, c1;
};

template <class F>
void each(const Shape& s, const Part& p, F&& f) {
  for (size_t n = p.n0; n < p.n1; ++n) {
    for (size_t c = p.c0; c < p.c1; ++c) {
      for (size_t i = 0; i < s.space; ++i) f(s.at(n, c, i), c);
    }
  }
}

template <class A>
struct Moments {
  A mean;
  A variance;
};

template <class A>
Moments<A> moments_of(const Shape& s, const Part& p, const std::vector<A>& x) {
  const A count((p.n1 - p.n0) * (p.c1 - p.c0) * s.space);
  A sum(0);
  each(s, p, [&](size_t i, size_t) { sum += x[i]; });
  const A mean = sum / count;
  A squares(0);
  each(s, p, [&](size_t i, size_t) { squares += (x[i] - mean) * (x[i] - mean); });
  return {mean, squares / count};
}

template <class A>
void apply(const Shape& s, const Part& p, const std::vector<A>& x, const A& mean, const A& rstd,
           const Operand<A>& weight, const Operand<A>& bias, std::vector<A>& out) {
  each(s, p, [&](size_t i, size_t c) {
    A y = (x[i] - mean) * rstd;
    if (weight.present) y = y * weight.v[c];
    if (bias.present) y = y + bias.v[c];
    out[i] = y;
  });
}

template <class A>
void part_backward(RefCall<A>& c, const Shape& s, const Part& p, const A& mean, const A& rstd) {
  const std::vector<A>& g = c.in[0].v;
  const std::vector<A>& x = c.in[1].v;
  const A count((p.n1 - p.n0) * (p.c1 - p.c0) * s.space);
  const auto weighted = [&](size_t i, size_t channel) {
    return c.in[2].present ? g[i] * c.in[2].v[channel] : g[i];
  };
  A sum(0);
  A pull(0);
  each(s, p, [&](size_t i, size_t channel) {
    const A x_hat = (x[i] - mean) * rstd;
    const A w = weighted(i, channel);
    sum += w;
    pull += w * x_hat;
    c.out[1].v[channel] += g[i] * x_hat;
    c.out[2].v[channel] += g[i];
  });
  each(s, p, [&](size_t i, size_t channel) {
    const A x_hat = (x[i] - mean) * rstd;
    c.out[0].v[i] = rstd * (weighted(i, channel) - sum / count - x_hat * pull / count);
  });
}

}  // namespace

template <class A>
void ref_batch_norm(RefCall<A>& c) {
  const Dims& dims = c.in[0].dims;
  const Shape s(dims, dims[1]);
  std::vector<A>& out = c.make(0, dims);
  std::vector<A>& means = c.make(1, {dims[1]});
  std::vector<A>& variances = c.make(2, {dims[1]});
  for (size_t k = 0; k < s.groups; ++k) {
    const Part p{0, s.batch, k, k + 1};
    const Moments<A> m = moments_of(s, p, c.in[0].v);
    means[k] = m.mean;
    variances[k] = m.variance;
    apply(s, p, c.in[0].v, m.mean, A(1) / sqrt(m.variance + A(c.real(0))), c.in[1], c.in[2], out);
  }
}

template <class A>
void ref_batch_norm_apply(RefCall<A>& c) {
  const Dims& dims = c.in[0].dims;
  const Shape s(dims, dims[1]);
  std::vector<A>& out = c.make(0, dims);
  for (size_t k = 0; k < s.groups; ++k) {
    const A rstd = A(1) / sqrt(c.in[2].v[k] + A(c.real(0)));
    apply(s, {0, s.batch, k, k + 1}, c.in[0].v, c.in[1].v[k], rstd, c.in[3], c.in[4], out);
  }
}

template <class A>
void ref_batch_norm_backward(RefCall<A>& c) {
  const Dims& dims = c.in[1].dims;
  const Shape s(dims, dims[1]);
  c.make(0, dims);
  c.make(1, {dims[1]});
  c.make(2, {dims[1]});
  for (size_t k = 0; k < s.groups; ++k) {
    const A rstd = A(1) / sqrt(c.in[4].v[k] + A(c.real(0)));
    part_backward(c, s, {0, s.batch, k, k + 1}, c.in[3].v[k], rstd);
  }
}

template <class A>
void ref_group_norm(RefCall<A>& c) {
  const Dims& dims = c.in[0].dims;
  const Shape s(dims, c.integer(0));
  std::vector<A>& out = c.make(0, dims);
  std::vector<A>& means = c.make(1, {dims[0], c.integer(0)});
  std::vector<A>& rstds = c.make(2, {dims[0], c.integer(0)});
  for (size_t n = 0; n < s.batch; ++n) {
    for (size_t k = 0; k < s.groups; ++k) {
      const Part p{n, n + 1, k * s.inside, (k + 1) * s.inside};
      const Moments<A> m = moments_of(s, p, c.in[0].v);
      const A rstd = A(1) / sqrt(m.variance + A(c.real(1)));
      means[n * s.groups + k] = m.mean;
      rstds[n * s.groups + k] = rstd;
      apply(s, p, c.in[0].v, m.mean, rstd, c.in[1], c.in[2], out);
    }
  }
}

template <class A>
void ref_group_norm_backward(RefCall<A>& c) {
  const Dims& dims = c.in[1].dims;
  const Shape s(dims, c.integer(0));
  c.make(0, dims);
  c.make(1, {dims[1]});
  c.make(2, {dims[1]});
  for (size_t n = 0; n < s.batch; ++n) {
    for (size_t k = 0; k < s.groups; ++k) {
      const size_t at = n * s.groups + k;
      part_backward(c, s, {n, n + 1, k * s.inside, (k + 1) * s.inside}, c.in[3].v[at],
                    c.in[4].v[at]);
    }
  }
}

template <class A>
void ref_running_update(RefCall<A>& c) {
  const A take(c.real(0));
  const A kept = A(1) - take;
  const int64_t count = c.integer(1);
  const A unbiased = count == 0 ? A(1) : A(count) / A(count - 1);
  for (size_t k = 0; k < 2; ++k) {
    std::vector<A>& out = c.make(k, c.in[k].dims);
    for (size_t i = 0; i < out.size(); ++i) {
      const A batch = k == 0 ? c.in[2].v[i] : c.in[3].v[i] * unbiased;
      out[i] = kept * c.in[k].v[i] + take * batch;
    }
  }
}

MILL_INSTANTIATE_REFERENCE(batch_norm)
MILL_INSTANTIATE_REFERENCE(batch_norm_apply)
MILL_INSTANTIATE_REFERENCE(batch_norm_backward)
MILL_INSTANTIATE_REFERENCE(group_norm)
MILL_INSTANTIATE_REFERENCE(group_norm_backward)
MILL_INSTANTIATE_REFERENCE(running_update)

}  // namespace mill_test
