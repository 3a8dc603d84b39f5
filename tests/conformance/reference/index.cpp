#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_gather(RefCall<A>& c) {
  const Operand<A>& x = c.in[0];
  const Operand<A>& index = c.in[1];
  const size_t axis = axis_of(c.integer(0), x.dims.size());
  Dims dims(x.dims.begin(), x.dims.begin() + static_cast<long>(axis));
  dims.insert(dims.end(), index.dims.begin(), index.dims.end());
  dims.insert(dims.end(), x.dims.begin() + static_cast<long>(axis) + 1, x.dims.end());
  const Dims strides = strides_of(x.dims);
  const Dims index_strides = strides_of(index.dims);
  std::vector<A>& out = c.make(0, dims);
  each_position(dims, [&](const Dims& at, size_t i) {
    int64_t which = 0;
    for (size_t k = 0; k < index.dims.size(); ++k) which += at[axis + k] * index_strides[k];
    int64_t from = index.i[static_cast<size_t>(which)] * strides[axis];
    for (size_t k = 0; k < x.dims.size(); ++k) {
      if (k == axis) continue;
      from += at[k < axis ? k : k + index.dims.size() - 1] * strides[k];
    }
    out[i] = x.v[static_cast<size_t>(from)];
  });
}

namespace {

// Row-major place of `at`, with the coordinate along axis replaced.
inline size_t moved(const Dims& at, const Dims& strides, size_t axis, int64_t along) {
  int64_t to = 0;
  for (size_t k = 0; k < at.size(); ++k) to += (k == axis ? along : at[k]) * strides[k];
  return static_cast<size_t>(to);
}

}  // namespace

template <class A>
void ref_gather_elements(RefCall<A>& c) {
  const Operand<A>& x = c.in[0];
  const size_t axis = axis_of(c.integer(0), x.dims.size());
  const Dims strides = strides_of(x.dims);
  std::vector<A>& out = c.make(0, c.in[1].dims);
  each_position(c.in[1].dims, [&](const Dims& at, size_t i) {
    out[i] = x.v[moved(at, strides, axis, c.in[1].i[i])];
  });
}

template <class A>
void ref_scatter_elements(RefCall<A>& c) {
  const Operand<A>& x = c.in[0];
  const size_t axis = axis_of(c.integer(0), x.dims.size());
  const Dims strides = strides_of(x.dims);
  std::vector<A>& out = c.make(0, x.dims);
  out = x.v;
  each_position(c.in[1].dims, [&](const Dims& at, size_t i) {
    A& cell = out[moved(at, strides, axis, c.in[1].i[i])];
    const A update = c.in[2].v[i];
    switch (c.integer(1)) {
      case 0: cell = update; break;
      case 1: cell += update; break;
      case 2: cell = cell * update; break;
      case 3: cell = cell > update ? cell : update; break;
      default: cell = cell < update ? cell : update; break;
    }
  });
}

MILL_INSTANTIATE_REFERENCE(gather)
MILL_INSTANTIATE_REFERENCE(gather_elements)
MILL_INSTANTIATE_REFERENCE(scatter_elements)

}  // namespace mill_test
