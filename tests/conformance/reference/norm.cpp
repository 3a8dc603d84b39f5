#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

struct Rows {
  Dims outer;
  Dims inner;
  size_t n_outer;
  size_t n_inner;
};

Rows rows_of(const Dims& dims, int64_t axes) {
  const auto cut = dims.end() - static_cast<std::ptrdiff_t>(axes);
  Rows r{Dims(dims.begin(), cut), Dims(cut, dims.end()), 0, 0};
  r.n_outer = static_cast<size_t>(elements(r.outer));
  r.n_inner = static_cast<size_t>(elements(r.inner));
  return r;
}

// weight and bias are inputs `weight` and `weight` + 1, mean and rstd outputs `mean` and `mean`
// + 1.
template <class A>
void normalise(RefCall<A>& c, const std::vector<A>& values, size_t weight, size_t mean_at) {
  const Rows rows = rows_of(c.in[0].dims, c.integer(0));
  std::vector<A>& out = c.make(0, c.in[0].dims);
  std::vector<A>& means = c.make(mean_at, rows.outer);
  std::vector<A>& rstds = c.make(mean_at + 1, rows.outer);
  for (size_t r = 0; r < rows.n_outer; ++r) {
    const A* x = values.data() + r * rows.n_inner;
    A sum(0);
    for (size_t i = 0; i < rows.n_inner; ++i) sum += x[i];
    const A mean = sum / A(rows.n_inner);
    A squares(0);
    for (size_t i = 0; i < rows.n_inner; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const A rstd = A(1) / sqrt(squares / A(rows.n_inner) + A(c.real(1)));
    means[r] = mean;
    rstds[r] = rstd;
    for (size_t i = 0; i < rows.n_inner; ++i) {
      A y = (x[i] - mean) * rstd;
      if (c.in[weight].present) y = y * c.in[weight].v[i];
      if (c.in[weight + 1].present) y = y + c.in[weight + 1].v[i];
      out[r * rows.n_inner + i] = y;
    }
  }
}

}  // namespace

template <class A>
void ref_layer_norm(RefCall<A>& c) {
  normalise(c, c.in[0].v, 1, 1);
}

template <class A>
void ref_add_layer_norm(RefCall<A>& c) {
  std::vector<A> sum = c.in[0].v;
  const bool half = c.input_dtype == MILL_F16 || c.input_dtype == MILL_BF16;
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] += c.in[1].v[i];
    // The norm is that of the sum as it is stored.
    if (half) sum[i] = A(round_to(c.input_dtype, static_cast<long double>(sum[i].value())));
  }
  normalise(c, sum, 2, 2);
  c.make(1, c.in[0].dims) = sum;
}

template <class A>
void ref_layer_norm_backward(RefCall<A>& c) {
  const Rows rows = rows_of(c.in[1].dims, c.integer(0));
  std::vector<A>& dx = c.make(0, c.in[1].dims);
  std::vector<A>& dweight = c.make(1, rows.inner);
  std::vector<A>& dbias = c.make(2, rows.inner);
  const A n(rows.n_inner);
  for (size_t r = 0; r < rows.n_outer; ++r) {
    const A* g = c.in[0].v.data() + r * rows.n_inner;
    const A* x = c.in[1].v.data() + r * rows.n_inner;
    const A mean = c.in[3].v[r];
    const A rstd = c.in[4].v[r];
    A sum(0);
    A pull(0);
    for (size_t i = 0; i < rows.n_inner; ++i) {
      const A x_hat = (x[i] - mean) * rstd;
      const A w = c.in[2].present ? g[i] * c.in[2].v[i] : g[i];
      sum += w;
      pull += w * x_hat;
      dweight[i] += g[i] * x_hat;
      dbias[i] += g[i];
    }
    for (size_t i = 0; i < rows.n_inner; ++i) {
      const A x_hat = (x[i] - mean) * rstd;
      const A w = c.in[2].present ? g[i] * c.in[2].v[i] : g[i];
      dx[r * rows.n_inner + i] = rstd * (w - sum / n - x_hat * pull / n);
    }
  }
}

template <class A>
void ref_rms_norm(RefCall<A>& c) {
  const Rows rows = rows_of(c.in[0].dims, c.integer(0));
  std::vector<A>& out = c.make(0, c.in[0].dims);
  std::vector<A>& rstds = c.make(1, rows.outer);
  for (size_t r = 0; r < rows.n_outer; ++r) {
    const A* x = c.in[0].v.data() + r * rows.n_inner;
    A squares(0);
    for (size_t i = 0; i < rows.n_inner; ++i) squares += x[i] * x[i];
    const A rstd = A(1) / sqrt(squares / A(rows.n_inner) + A(c.real(1)));
    rstds[r] = rstd;
    for (size_t i = 0; i < rows.n_inner; ++i) {
      A y = x[i] * rstd;
      if (c.in[1].present) y = y * c.in[1].v[i];
      out[r * rows.n_inner + i] = y;
    }
  }
}

template <class A>
void ref_rms_norm_backward(RefCall<A>& c) {
  const Rows rows = rows_of(c.in[1].dims, c.integer(0));
  std::vector<A>& dx = c.make(0, c.in[1].dims);
  std::vector<A>& dweight = c.make(1, rows.inner);
  for (size_t r = 0; r < rows.n_outer; ++r) {
    const A* g = c.in[0].v.data() + r * rows.n_inner;
    const A* x = c.in[1].v.data() + r * rows.n_inner;
    const A rstd = c.in[3].v[r];
    A pull(0);
    for (size_t i = 0; i < rows.n_inner; ++i) {
      const A w = c.in[2].present ? g[i] * c.in[2].v[i] : g[i];
      pull += w * (x[i] * rstd);
      dweight[i] += g[i] * (x[i] * rstd);
    }
    for (size_t i = 0; i < rows.n_inner; ++i) {
      const A w = c.in[2].present ? g[i] * c.in[2].v[i] : g[i];
      dx[r * rows.n_inner + i] = rstd * (w - x[i] * rstd * pull / A(rows.n_inner));
    }
  }
}

MILL_INSTANTIATE_REFERENCE(layer_norm)
MILL_INSTANTIATE_REFERENCE(add_layer_norm)
MILL_INSTANTIATE_REFERENCE(layer_norm_backward)
MILL_INSTANTIATE_REFERENCE(rms_norm)
MILL_INSTANTIATE_REFERENCE(rms_norm_backward)

}  // namespace mill_test
