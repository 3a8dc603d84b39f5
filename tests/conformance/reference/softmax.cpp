#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

template <class A>
A line_max(const std::vector<A>& x, size_t first, size_t stride, size_t n) {
  A top = x[first];
  for (size_t i = 1; i < n; ++i) top = x[first + i * stride] > top ? x[first + i * stride] : top;
  return top;
}

}  // namespace

template <class A>
void ref_softmax(RefCall<A>& c) {
  const std::vector<A>& x = c.in[0].v;
  std::vector<A>& out = c.make(0, c.in[0].dims);
  each_line(c.in[0].dims, c.integer(0), [&](size_t first, size_t stride, size_t n) {
    const A top = line_max(x, first, stride, n);
    A sum(0);
    for (size_t i = 0; i < n; ++i) sum += exp(x[first + i * stride] - top);
    for (size_t i = 0; i < n; ++i) out[first + i * stride] = exp(x[first + i * stride] - top) / sum;
  });
}

template <class A>
void ref_log_softmax(RefCall<A>& c) {
  const std::vector<A>& x = c.in[0].v;
  std::vector<A>& out = c.make(0, c.in[0].dims);
  each_line(c.in[0].dims, c.integer(0), [&](size_t first, size_t stride, size_t n) {
    const A top = line_max(x, first, stride, n);
    A sum(0);
    for (size_t i = 0; i < n; ++i) sum += exp(x[first + i * stride] - top);
    for (size_t i = 0; i < n; ++i) out[first + i * stride] = x[first + i * stride] - top - log(sum);
  });
}

template <class A>
void ref_softmax_backward(RefCall<A>& c) {
  const std::vector<A>& g = c.in[0].v;
  const std::vector<A>& y = c.in[1].v;
  std::vector<A>& out = c.make(0, c.in[0].dims);
  each_line(c.in[0].dims, c.integer(0), [&](size_t first, size_t stride, size_t n) {
    A sum(0);
    for (size_t i = 0; i < n; ++i) sum += g[first + i * stride] * y[first + i * stride];
    for (size_t i = 0; i < n; ++i)
      out[first + i * stride] = y[first + i * stride] * (g[first + i * stride] - sum);
  });
}

template <class A>
void ref_log_softmax_backward(RefCall<A>& c) {
  const std::vector<A>& g = c.in[0].v;
  const std::vector<A>& y = c.in[1].v;
  std::vector<A>& out = c.make(0, c.in[0].dims);
  each_line(c.in[0].dims, c.integer(0), [&](size_t first, size_t stride, size_t n) {
    A sum(0);
    for (size_t i = 0; i < n; ++i) sum += g[first + i * stride];
    for (size_t i = 0; i < n; ++i)
      out[first + i * stride] = g[first + i * stride] - exp(y[first + i * stride]) * sum;
  });
}

MILL_INSTANTIATE_REFERENCE(softmax)
MILL_INSTANTIATE_REFERENCE(log_softmax)
MILL_INSTANTIATE_REFERENCE(softmax_backward)
MILL_INSTANTIATE_REFERENCE(log_softmax_backward)

}  // namespace mill_test
