// What a reference implementation gets and gives. Each is a naive loop, a template on the
// arithmetic type, written from the op's row and from nothing of the engine: in long double it is
// the truth, in a type that rounds after every operation it is the naive implementation that the
// tolerance is a factor on.
#pragma once

#include <algorithm>
#include <vector>

#include "conformance/cases.h"
#include "conformance/numbers.h"

namespace mill_test {

using Dims = std::vector<int64_t>;

inline int64_t elements(const Dims& dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

// An input in row-major order: i for indices, keys and conditions, v for what is computed with.
template <class A>
struct Operand {
  bool present = false;
  Dims dims;
  std::vector<A> v;
  std::vector<int64_t> i;

  size_t size() const { return static_cast<size_t>(elements(dims)); }
};

template <class A>
struct Result {
  bool present = false;
  bool whole = false;  // the values are in i
  Dims dims;
  std::vector<A> v;
  std::vector<int64_t> i;
};

template <class A>
struct RefCall {
  std::vector<Operand<A>> in;
  std::vector<Result<A>> out;
  std::vector<mill_attr> attrs;
  mill_dtype dtype;        // of the output
  mill_dtype input_dtype;  // of input 0

  int64_t integer(size_t k) const { return attrs[k].i; }
  double real(size_t k) const { return attrs[k].f; }
  Dims ints(size_t k) const {
    const auto* p = static_cast<const int64_t*>(attrs[k].p);
    return Dims(p, p + attrs[k].n);
  }

  // Output k with these dims, all zero.
  std::vector<A>& make(size_t k, const Dims& dims) {
    out[k].present = true;
    out[k].dims = dims;
    out[k].v.assign(static_cast<size_t>(elements(dims)), A(0));
    return out[k].v;
  }
  std::vector<int64_t>& make_whole(size_t k, const Dims& dims) {
    out[k].present = true;
    out[k].whole = true;
    out[k].dims = dims;
    out[k].i.assign(static_cast<size_t>(elements(dims)), 0);
    return out[k].i;
  }
};

template <class A>
using RefFunction = void (*)(RefCall<A>&);

// The implementation of a reference by its number.
template <class A>
RefFunction<A> find_reference(mill_cases::Reference reference);

// ---- positions
// -----------------------------------------------------------------------------------------------------

inline Dims strides_of(const Dims& dims) {
  Dims strides(dims.size());
  int64_t step = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = step;
    step *= dims[i];
  }
  return strides;
}

// Row-major index of the element of a tensor with `dims` that broadcasts to position `at` of one
// with more axes.
inline size_t broadcast_index(const Dims& at, const Dims& dims) {
  const size_t shift = at.size() - dims.size();
  int64_t index = 0;
  for (size_t i = 0; i < dims.size(); ++i) {
    index = index * dims[i] + (dims[i] == 1 ? 0 : at[shift + i]);
  }
  return static_cast<size_t>(index);
}

// use(position, row-major index) for every element.
template <class Use>
void each_position(const Dims& dims, Use&& use) {
  const int64_t n = elements(dims);
  Dims at(dims.size(), 0);
  for (int64_t index = 0; index < n; ++index) {
    use(static_cast<const Dims&>(at), static_cast<size_t>(index));
    for (size_t axis = dims.size(); axis-- > 0;) {
      if (++at[axis] < dims[axis]) break;
      at[axis] = 0;
    }
  }
}

inline Dims broadcast_dims(const Dims& a, const Dims& b) {
  Dims out(std::max(a.size(), b.size()), 1);
  for (const Dims* d : {&a, &b}) {
    for (size_t i = 0; i < d->size(); ++i) {
      int64_t& slot = out[out.size() - d->size() + i];
      if ((*d)[i] != 1) slot = (*d)[i];
    }
  }
  return out;
}

inline size_t axis_of(int64_t axis, size_t rank) {
  return static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis);
}

template <class A, class F>
void pointwise(RefCall<A>& c, F&& f) {
  std::vector<A>& out = c.make(0, c.in[0].dims);
  for (size_t i = 0; i < out.size(); ++i) out[i] = f(c.in[0].v[i]);
}

template <class A, class F>
void pointwise2(RefCall<A>& c, F&& f) {
  const Operand<A>& a = c.in[0];
  const Operand<A>& b = c.in[1];
  std::vector<A>& out = c.make(0, broadcast_dims(a.dims, b.dims));
  each_position(c.out[0].dims, [&](const Dims& at, size_t i) {
    out[i] = f(a.v[broadcast_index(at, a.dims)], b.v[broadcast_index(at, b.dims)]);
  });
}

// The lines along one axis: use(index of the first element, stride, length). A scalar is one line
// of one element.
template <class Use>
void each_line(const Dims& dims, int64_t axis, Use&& use) {
  if (dims.empty()) {
    use(size_t{0}, size_t{1}, size_t{1});
    return;
  }
  const size_t k = axis_of(axis, dims.size());
  const auto stride = static_cast<size_t>(strides_of(dims)[k]);
  Dims outer = dims;
  outer[k] = dims[k] == 0 ? 0 : 1;
  const Dims strides = strides_of(dims);
  each_position(outer, [&](const Dims& at, size_t) {
    int64_t first = 0;
    for (size_t i = 0; i < at.size(); ++i) first += at[i] * strides[i];
    use(static_cast<size_t>(first), stride, static_cast<size_t>(dims[k]));
  });
}

// The reference functions of all families.
#define MILL_REFERENCE(name) \
  template <class A>         \
  void ref_##name(RefCall<A>& c);
#include "conformance/cases.gen.inc"
#undef MILL_REFERENCE

#define MILL_INSTANTIATE_REFERENCE(name)             \
  template void ref_##name(RefCall<Number<Exact>>&); \
  template void ref_##name(RefCall<Number<F64>>&);   \
  template void ref_##name(RefCall<Number<F32>>&);   \
  template void ref_##name(RefCall<Number<Bf16>>&);  \
  template void ref_##name(RefCall<Number<F16>>&);   \
  template void ref_##name(RefCall<Number<Integer>>&);

}  // namespace mill_test
