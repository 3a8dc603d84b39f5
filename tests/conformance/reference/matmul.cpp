#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_matmul(RefCall<A>& c) {
  Dims a = c.in[0].dims;
  Dims b = c.in[1].dims;
  const bool row = a.size() == 1;
  const bool column = b.size() == 1;
  if (row) a.insert(a.begin(), 1);
  if (column) b.push_back(1);
  const int64_t m = a[a.size() - 2];
  const int64_t inner = a.back();
  const int64_t n = b.back();
  const Dims a_batch(a.begin(), a.end() - 2);
  const Dims b_batch(b.begin(), b.end() - 2);
  const Dims batch = broadcast_dims(a_batch, b_batch);
  Dims dims = batch;
  if (!row) dims.push_back(m);
  if (!column) dims.push_back(n);
  std::vector<A>& out = c.make(0, dims);
  each_position(batch, [&](const Dims& at, size_t which) {
    const A* left =
        c.in[0].v.data() + broadcast_index(at, a_batch) * static_cast<size_t>(m * inner);
    const A* right =
        c.in[1].v.data() + broadcast_index(at, b_batch) * static_cast<size_t>(inner * n);
    A* to = out.data() + which * static_cast<size_t>(m * n);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        A sum(0);
        for (int64_t k = 0; k < inner; ++k) sum += left[i * inner + k] * right[k * n + j];
        to[i * n + j] = sum;
      }
    }
  });
}

template <class A>
void ref_linear(RefCall<A>& c) {
  const int64_t width = c.in[1].dims[1];
  const int64_t n = c.in[1].dims[0];
  Dims dims = c.in[0].dims;
  dims.back() = n;
  std::vector<A>& out = c.make(0, dims);
  const int64_t rows = n == 0 ? 0 : static_cast<int64_t>(out.size()) / n;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      A sum(0);
      for (int64_t k = 0; k < width; ++k) {
        sum += c.in[0].v[static_cast<size_t>(i * width + k)] *
               c.in[1].v[static_cast<size_t>(j * width + k)];
      }
      if (c.in[2].present) sum += c.in[2].v[static_cast<size_t>(j)];
      out[static_cast<size_t>(i * n + j)] = sum;
    }
  }
}

MILL_INSTANTIATE_REFERENCE(matmul)
MILL_INSTANTIATE_REFERENCE(linear)

}  // namespace mill_test
