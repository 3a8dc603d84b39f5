#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_reshape(RefCall<A>& c) {
  Dims dims = c.ints(0);
  int64_t known = 1;
  for (const int64_t d : dims) known *= d == -1 ? 1 : d;
  for (int64_t& d : dims) {
    if (d == -1) d = static_cast<int64_t>(c.in[0].size()) / known;
  }
  c.make(0, dims) = c.in[0].v;
}

template <class A>
void ref_permute(RefCall<A>& c) {
  const Dims axes = c.ints(0);
  const Dims strides = strides_of(c.in[0].dims);
  Dims dims;
  for (const int64_t axis : axes) dims.push_back(c.in[0].dims[axis_of(axis, axes.size())]);
  std::vector<A>& out = c.make(0, dims);
  each_position(dims, [&](const Dims& at, size_t i) {
    int64_t from = 0;
    for (size_t k = 0; k < at.size(); ++k) from += at[k] * strides[axis_of(axes[k], axes.size())];
    out[i] = c.in[0].v[static_cast<size_t>(from)];
  });
}

template <class A>
void ref_slice(RefCall<A>& c) {
  const Dims& dims = c.in[0].dims;
  const size_t axis = axis_of(c.integer(0), dims.size());
  const int64_t size = dims[axis];
  const auto bound = [size](int64_t at) {
    return std::min(std::max<int64_t>(at < 0 ? at + size : at, 0), size);
  };
  const int64_t start = bound(c.integer(1));
  const int64_t stop = bound(c.integer(2));
  const int64_t step = c.integer(3);
  Dims chosen;
  for (int64_t i = start; i < stop; i += step) chosen.push_back(i);
  Dims out_dims = dims;
  out_dims[axis] = static_cast<int64_t>(chosen.size());
  const Dims strides = strides_of(dims);
  std::vector<A>& out = c.make(0, out_dims);
  each_position(out_dims, [&](const Dims& at, size_t i) {
    int64_t from = 0;
    for (size_t k = 0; k < at.size(); ++k)
      from += (k == axis ? chosen[static_cast<size_t>(at[k])] : at[k]) * strides[k];
    out[i] = c.in[0].v[static_cast<size_t>(from)];
  });
}

template <class A>
void ref_expand(RefCall<A>& c) {
  Dims dims = c.ints(0);
  const size_t shift = dims.size() - c.in[0].dims.size();
  for (size_t i = shift; i < dims.size(); ++i) {
    if (dims[i] == -1) dims[i] = c.in[0].dims[i - shift];
  }
  std::vector<A>& out = c.make(0, dims);
  each_position(dims, [&](const Dims& at, size_t i) {
    out[i] = c.in[0].v[broadcast_index(at, c.in[0].dims)];
  });
}

template <class A>
void ref_concat(RefCall<A>& c) {
  Dims dims = c.in[0].dims;
  const size_t axis = axis_of(c.integer(0), dims.size());
  dims[axis] = 0;
  for (const Operand<A>& x : c.in) dims[axis] += x.dims[axis];
  const Dims strides = strides_of(dims);
  std::vector<A>& out = c.make(0, dims);
  int64_t before = 0;
  for (const Operand<A>& x : c.in) {
    each_position(x.dims, [&](const Dims& at, size_t i) {
      int64_t to = 0;
      for (size_t k = 0; k < at.size(); ++k) to += (at[k] + (k == axis ? before : 0)) * strides[k];
      out[static_cast<size_t>(to)] = x.v[i];
    });
    before += x.dims[axis];
  }
}

template <class A>
void ref_slice_backward(RefCall<A>& c) {
  const Dims dims = c.ints(0);
  const size_t axis = axis_of(c.integer(1), dims.size());
  const Dims strides = strides_of(dims);
  std::vector<A>& out = c.make(0, dims);
  each_position(c.in[0].dims, [&](const Dims& at, size_t i) {
    int64_t to = 0;
    for (size_t k = 0; k < at.size(); ++k) {
      to += (k == axis ? c.integer(2) + at[k] * c.integer(3) : at[k]) * strides[k];
    }
    out[static_cast<size_t>(to)] = c.in[0].v[i];
  });
}

template <class A>
void ref_pad(RefCall<A>& c) {
  const Operand<A>& x = c.in[0];
  const size_t axis = axis_of(c.integer(0), x.dims.size());
  const int64_t low = c.integer(1);
  const int64_t n = x.dims[axis];
  Dims dims = x.dims;
  dims[axis] += low + c.integer(2);
  const Dims strides = strides_of(x.dims);
  std::vector<A>& out = c.make(0, dims);
  each_position(dims, [&](const Dims& at, size_t i) {
    int64_t from = at[axis] - low;
    if (c.integer(3) == 1) from = from < 0 ? -from : from >= n ? 2 * (n - 1) - from : from;
    if (c.integer(3) == 2) from = std::clamp<int64_t>(from, 0, n - 1);
    if (c.integer(3) == 3) from = (from + n) % n;
    if (from < 0 || from >= n) {
      out[i] = A(c.real(4));
      return;
    }
    int64_t place = from * strides[axis];
    for (size_t k = 0; k < at.size(); ++k) place += k == axis ? 0 : at[k] * strides[k];
    out[i] = x.v[static_cast<size_t>(place)];
  });
}

MILL_INSTANTIATE_REFERENCE(pad)
MILL_INSTANTIATE_REFERENCE(reshape)
MILL_INSTANTIATE_REFERENCE(permute)
MILL_INSTANTIATE_REFERENCE(slice)
MILL_INSTANTIATE_REFERENCE(expand)
MILL_INSTANTIATE_REFERENCE(concat)
MILL_INSTANTIATE_REFERENCE(slice_backward)

}  // namespace mill_test
