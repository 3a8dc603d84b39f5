#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

// The first k of every line along the axis by what comes first, equal ones as they are.
template <class A>
void in_order(RefCall<A>& c, int64_t axis, bool descending, const int64_t* most) {
  const Operand<A>& x = c.in[0];
  const size_t along = axis_of(axis, x.dims.size());
  Dims dims = x.dims;
  if (most != nullptr) dims[along] = *most;
  std::vector<A>& out = c.make(0, dims);
  std::vector<int64_t>& index = c.make_whole(1, dims);
  std::vector<size_t> starts;
  each_line(dims, axis, [&](size_t first, size_t, size_t) { starts.push_back(first); });
  size_t line = 0;
  if (elements(dims) == 0) return;
  each_line(x.dims, axis, [&](size_t first, size_t stride, size_t n) {
    std::vector<int64_t> order;
    for (size_t i = 0; i < n; ++i) order.push_back(static_cast<int64_t>(i));
    const auto at = [&](int64_t i) { return x.v[first + static_cast<size_t>(i) * stride]; };
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return descending ? at(a) > at(b) : at(a) < at(b);
    });
    for (size_t i = 0; i < static_cast<size_t>(dims[along]); ++i) {
      out[starts[line] + i * stride] = at(order[i]);
      index[starts[line] + i * stride] = order[i];
    }
    ++line;
  });
}

}  // namespace

template <class A>
void ref_sort(RefCall<A>& c) {
  in_order(c, c.integer(0), c.integer(1) != 0, nullptr);
}

template <class A>
void ref_topk(RefCall<A>& c) {
  const int64_t k = c.integer(0);
  in_order(c, c.integer(1), c.integer(2) != 0, &k);
}

MILL_INSTANTIATE_REFERENCE(sort)
MILL_INSTANTIATE_REFERENCE(topk)

}  // namespace mill_test
