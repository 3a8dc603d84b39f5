#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

// The window that the attributes from `at` on describe, for x and weight of these dims.
struct Window {
  Dims stride, low, high, dilation;
  int64_t groups;
};

template <class A>
Window window_of(const RefCall<A>& c, size_t axes, size_t at) {
  Window w;
  const auto filled = [&](size_t k, int64_t usual) {
    const Dims given = c.ints(k);
    return given.empty() ? Dims(axes, usual) : given;
  };
  w.stride = filled(at, 1);
  Dims padding = filled(at + 1, 0);
  if (padding.size() == axes) padding.insert(padding.end(), padding.begin(), padding.end());
  const auto half = padding.begin() + static_cast<std::ptrdiff_t>(axes);
  w.low.assign(padding.begin(), half);
  w.high.assign(half, padding.end());
  w.dilation = filled(at + 2, 1);
  w.groups = c.integer(at + 3);
  return w;
}

// use(index in x, index in the weight, index in y) for every product of the convolution, y's
// elements in order and the products of each in the order of the weight.
template <class Use>
void each_product(const Window& w, const Dims& x, const Dims& weight, const Dims& y, Use&& use) {
  const int64_t outputs = weight[0] / w.groups;
  each_position(y, [&](const Dims& to, size_t y_index) {
    each_position(Dims(weight.begin() + 1, weight.end()), [&](const Dims& tap, size_t) {
      const int64_t channel = to[1] / outputs * weight[1] + tap[0];
      int64_t x_index = to[0] * x[1] + channel;
      int64_t w_index = to[1] * weight[1] + tap[0];
      bool inside = true;
      for (size_t i = 0; i < w.stride.size(); ++i) {
        const int64_t place = to[2 + i] * w.stride[i] - w.low[i] + tap[1 + i] * w.dilation[i];
        inside = inside && place >= 0 && place < x[2 + i];
        x_index = x_index * x[2 + i] + place;
        w_index = w_index * weight[2 + i] + tap[1 + i];
      }
      if (inside) use(static_cast<size_t>(x_index), static_cast<size_t>(w_index), y_index);
    });
  });
}

template <class A>
void add_bias(const Operand<A>& bias, const Dims& dims, std::vector<A>& out) {
  if (!bias.present) return;
  each_position(dims,
                [&](const Dims& at, size_t i) { out[i] += bias.v[static_cast<size_t>(at[1])]; });
}

}  // namespace

template <class A>
void ref_conv(RefCall<A>& c) {
  const Dims& x = c.in[0].dims;
  const Dims& weight = c.in[1].dims;
  const Window w = window_of(c, x.size() - 2, 0);
  Dims y = {x[0], weight[0]};
  for (size_t i = 0; i < w.stride.size(); ++i) {
    const int64_t reach = (weight[2 + i] - 1) * w.dilation[i] + 1;
    y.push_back((x[2 + i] + w.low[i] + w.high[i] - reach) / w.stride[i] + 1);
  }
  std::vector<A>& out = c.make(0, y);
  each_product(w, x, weight, y, [&](size_t from, size_t tap, size_t to) {
    out[to] += c.in[0].v[from] * c.in[1].v[tap];
  });
  add_bias(c.in[2], y, out);
}

template <class A>
void ref_conv_input_gradient(RefCall<A>& c) {
  const Dims x = c.ints(0);
  const Window w = window_of(c, x.size() - 2, 1);
  std::vector<A>& out = c.make(0, x);
  each_product(w, x, c.in[1].dims, c.in[0].dims, [&](size_t to, size_t tap, size_t from) {
    out[to] += c.in[0].v[from] * c.in[1].v[tap];
  });
}

template <class A>
void ref_conv_weight_gradient(RefCall<A>& c) {
  const Dims weight = c.ints(0);
  const Window w = window_of(c, weight.size() - 2, 1);
  std::vector<A>& out = c.make(0, weight);
  each_product(w, c.in[1].dims, weight, c.in[0].dims, [&](size_t from, size_t tap, size_t g) {
    out[tap] += c.in[0].v[g] * c.in[1].v[from];
  });
}

template <class A>
void ref_conv_transpose(RefCall<A>& c) {
  const Dims& x = c.in[0].dims;
  const Dims& weight = c.in[1].dims;
  const Window w = window_of(c, x.size() - 2, 0);
  const Dims extra = c.ints(4);
  Dims y = {x[0], weight[1] * w.groups};
  for (size_t i = 0; i < w.stride.size(); ++i) {
    const int64_t reach = (weight[2 + i] - 1) * w.dilation[i] + 1;
    y.push_back((x[2 + i] - 1) * w.stride[i] - w.low[i] - w.high[i] + reach +
                (extra.empty() ? 0 : extra[i]));
  }
  std::vector<A>& out = c.make(0, y);
  each_product(w, y, weight, x, [&](size_t to, size_t tap, size_t from) {
    out[to] += c.in[0].v[from] * c.in[1].v[tap];
  });
  add_bias(c.in[2], y, out);
}

MILL_INSTANTIATE_REFERENCE(conv)
MILL_INSTANTIATE_REFERENCE(conv_input_gradient)
MILL_INSTANTIATE_REFERENCE(conv_weight_gradient)
MILL_INSTANTIATE_REFERENCE(conv_transpose)

}  // namespace mill_test
