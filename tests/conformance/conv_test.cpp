// Convolutions beyond their samples, on the device under test: sizes that reach every way of
// computing them. Operands are small whole numbers, so every order of summing gives the same bits.
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>

#include "conformance/problem.h"

namespace mill_test {
namespace {

struct Layer {
  int64_t batch, channels, outputs, groups;
  Dims size, kernel, stride, padding, dilation;  // per spatial axis; padding before and behind
};

std::string text_of(const Layer& l) {
  std::string text = "batch " + std::to_string(l.batch) + " channels " +
                     std::to_string(l.channels) + " outputs " + std::to_string(l.outputs) +
                     " groups " + std::to_string(l.groups);
  const auto add = [&](const char* name, const Dims& dims) {
    text += std::string(" ") + name;
    for (int64_t n : dims) text += " " + std::to_string(n);
  };
  add("size", l.size);
  add("kernel", l.kernel);
  add("stride", l.stride);
  add("padding", l.padding);
  add("dilation", l.dilation);
  return text;
}

int64_t product(const Dims& dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

Dims joined(int64_t a, int64_t b, const Dims& rest) {
  Dims dims{a, b};
  dims.insert(dims.end(), rest.begin(), rest.end());
  return dims;
}

Dims results(const Layer& l) {
  Dims out;
  for (size_t i = 0; i < l.size.size(); ++i) {
    const int64_t reach = (l.kernel[i] - 1) * l.dilation[i] + 1;
    out.push_back((l.size[i] + l.padding[i] + l.padding[l.size.size() + i] - reach) / l.stride[i] +
                  1);
  }
  return out;
}

void step(Dims* at, const Dims& dims) {
  for (size_t i = dims.size(); i-- > 0;) {
    if (++(*at)[i] < dims[i]) return;
    (*at)[i] = 0;
  }
}

struct Values {
  std::vector<float> x, w, y;
};

// use(place in x's plane, place in y's plane, place in the kernel) for all that meet.
template <class Use>
void each_meeting(const Layer& l, Use&& use) {
  const Dims out = results(l);
  const size_t axes = l.size.size();
  Dims o(axes, 0);
  for (int64_t oi = 0; oi < product(out); ++oi, step(&o, out)) {
    Dims r(axes, 0);
    for (int64_t ri = 0; ri < product(l.kernel); ++ri, step(&r, l.kernel)) {
      int64_t place = 0;
      bool inside = true;
      for (size_t i = 0; i < axes; ++i) {
        const int64_t at = o[i] * l.stride[i] - l.padding[i] + r[i] * l.dilation[i];
        inside = inside && at >= 0 && at < l.size[i];
        place = place * l.size[i] + at;
      }
      if (inside) use(place, oi, ri);
    }
  }
}

// From the definition: y = conv(x, w); and the gradients dx and dw that `g` at y leaves.
Values from_definition(const Layer& l, const Values& in) {
  const int64_t in_plane = product(l.size), out_plane = product(results(l));
  const int64_t taps = product(l.kernel);
  const int64_t c_each = l.channels / l.groups, k_each = l.outputs / l.groups;
  Values made{std::vector<float>(in.x.size()), std::vector<float>(in.w.size()),
              std::vector<float>(in.y.size())};
  each_meeting(l, [&](int64_t xi, int64_t yi, int64_t ri) {
    for (int64_t n = 0; n < l.batch; ++n) {
      for (int64_t k = 0; k < l.outputs; ++k) {
        for (int64_t c = 0; c < c_each; ++c) {
          const auto x =
              static_cast<size_t>((n * l.channels + k / k_each * c_each + c) * in_plane + xi);
          const auto y = static_cast<size_t>((n * l.outputs + k) * out_plane + yi);
          const auto w = static_cast<size_t>((k * c_each + c) * taps + ri);
          made.y[y] += in.x[x] * in.w[w];
          made.x[x] += in.y[y] * in.w[w];
          made.w[w] += in.y[y] * in.x[x];
        }
      }
    }
  });
  return made;
}

class Conv : public testing::Test {
 protected:
  // The same values with the channels innermost.
  Tensor channels_last(const Tensor& x, size_t rank) {
    std::vector<int64_t> there{0}, back{0, static_cast<int64_t>(rank) - 1};
    for (size_t i = 2; i < rank; ++i) there.push_back(static_cast<int64_t>(i));
    there.push_back(1);
    for (size_t i = 1; i + 1 < rank; ++i) back.push_back(static_cast<int64_t>(i));
    const auto n = static_cast<uint32_t>(rank);
    Tensor turned, dense, out;
    w_.ok(mill_permute(w_.exec(), x.get(), there.data(), n, turned.out(), w_.error()));
    w_.ok(mill_contiguous(w_.exec(), turned.get(), dense.out(), w_.error()));
    w_.ok(mill_permute(w_.exec(), dense.get(), back.data(), n, out.out(), w_.error()));
    return out;
  }

  void expect(const Layer& l, bool last) {
    SCOPED_TRACE(text_of(l) + (last ? ", channels last" : ""));
    const Dims x_dims = joined(l.batch, l.channels, l.size);
    const Dims w_dims = joined(l.outputs, l.channels / l.groups, l.kernel);
    const Dims y_dims = joined(l.batch, l.outputs, results(l));
    Values in{draw(x_dims), draw(w_dims), draw(y_dims)};
    const Values want = from_definition(l, in);
    Tensor x = make<float>(w_, x_dims, in.x);
    Tensor w = make<float>(w_, w_dims, in.w);
    Tensor g = make<float>(w_, y_dims, in.y);
    if (last) {
      x = channels_last(x, x_dims.size());
      w = channels_last(w, w_dims.size());
      g = channels_last(g, y_dims.size());
    }
    const auto n = static_cast<uint32_t>(l.size.size());
    const auto rank = n + 2;
    Tensor y, dx, dw;
    w_.ok(mill_conv(w_.exec(), x.get(), w.get(), nullptr, l.stride.data(), n, l.padding.data(),
                    2 * n, l.dilation.data(), n, l.groups, y.out(), w_.error()));
    w_.ok(mill_conv_input_gradient(w_.exec(), g.get(), w.get(), x_dims.data(), rank,
                                   l.stride.data(), n, l.padding.data(), 2 * n, l.dilation.data(),
                                   n, l.groups, dx.out(), w_.error()));
    w_.ok(mill_conv_weight_gradient(w_.exec(), g.get(), x.get(), w_dims.data(), rank,
                                    l.stride.data(), n, l.padding.data(), 2 * n, l.dilation.data(),
                                    n, l.groups, dw.out(), w_.error()));
    EXPECT_TRUE(values_of<float>(w_, y.get()) == want.y) << "the result differs";
    EXPECT_TRUE(values_of<float>(w_, dx.get()) == want.x) << "the gradient by x differs";
    EXPECT_TRUE(values_of<float>(w_, dw.get()) == want.w) << "the gradient by the weight differs";
  }

  std::vector<float> draw(const Dims& dims) {
    std::vector<float> values(static_cast<size_t>(product(dims)));
    for (float& v : values) v = static_cast<float>(static_cast<int>(random_() % 5) - 2);
    return values;
  }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  World& w_ = world();
  std::mt19937_64 random_{20261123};
};

TEST_F(Conv, LayersOfKnownNetworks) {
  const Layer layers[] = {
      {1, 3, 34, 1, {21, 23}, {7, 7}, {2, 2}, {3, 3, 3, 3}, {1, 1}},   // the stem of a ResNet
      {2, 48, 40, 1, {9, 8}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},    // its blocks
      {1, 40, 72, 1, {9, 9}, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},    // between its stages
      {2, 33, 130, 1, {6, 7}, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},   // one tap
      {2, 24, 36, 1, {9, 8}, {1, 1}, {2, 2}, {0, 0, 0, 0}, {1, 1}},    // its shortcut
      {2, 37, 37, 37, {9, 10}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},  // depthwise
      {1, 12, 24, 12, {9, 10}, {5, 5}, {2, 2}, {2, 2, 2, 2}, {1, 1}},  // twice as many
      {1, 40, 80, 4, {8, 8}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},    // groups
      {1, 16, 24, 1, {300}, {9}, {1}, {24, 0}, {3}},                   // causal, dilated
      {1, 20, 12, 1, {4, 6, 7}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, {1, 1, 1}},
      {1, 300, 18, 1, {5, 5}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},  // blocks of channels
      {1, 8, 8, 1, {40, 30}, {11, 1}, {1, 1}, {5, 0, 5, 0}, {1, 1}},  // a tall kernel
      {1, 1, 1, 1, {70, 90}, {5, 5}, {1, 1}, {2, 2, 2, 2}, {1, 1}},   // one channel
  };
  for (const Layer& l : layers) {
    expect(l, false);
    expect(l, true);
  }
}

// Where there is one channel, both orders have the same values; the result keeps to what was meant.
TEST_F(Conv, OneChannelThatWasLastStaysLast) {
  const Tensor image = make<float>(w_, {2, 5, 4, 1}, draw({2, 5, 4, 1}));
  const Tensor w = make<float>(w_, {3, 1, 3, 3}, draw({3, 1, 3, 3}));
  const int64_t last[4] = {0, 3, 1, 2};
  Tensor x, y;
  w_.ok(mill_permute(w_.exec(), image.get(), last, 4, x.out(), w_.error()));
  int64_t strides[4] = {};
  uint32_t rank = 0;
  const auto stride_of_channels = [&](const Tensor& from) {
    w_.ok(mill_conv(w_.exec(), from.get(), w.get(), nullptr, nullptr, 0, nullptr, 0, nullptr, 0, 1,
                    y.out(), w_.error()));
    w_.ok(mill_tensor_shape(y.get(), nullptr, strides, 4, &rank, w_.error()));
    return strides[1];
  };
  EXPECT_EQ(stride_of_channels(x), 1);
  EXPECT_EQ(stride_of_channels(make<float>(w_, {2, 1, 5, 4}, draw({2, 1, 5, 4}))), 3 * 2);
}

TEST_F(Conv, LayersDrawnAtRandom) {
  for (int i = 0; i < 100; ++i) {
    Layer l{};
    const auto axes = static_cast<size_t>(between(1, 3));
    l.batch = between(1, 3);
    l.groups = between(0, 2) == 0 ? between(1, 20) : 1;
    l.channels = l.groups * between(1, l.groups == 1 ? 40 : 5);
    l.outputs = l.groups * between(1, l.groups == 1 ? 40 : 5);
    l.padding.resize(2 * axes);
    for (size_t a = 0; a < axes; ++a) {
      l.kernel.push_back(between(1, axes == 3 ? 3 : 5));
      l.stride.push_back(between(1, 4));
      l.dilation.push_back(between(1, 3));
      l.padding[a] = between(0, 4);
      l.padding[axes + a] = between(0, 4);
      const int64_t least =
          (l.kernel[a] - 1) * l.dilation[a] + 1 - l.padding[a] - l.padding[axes + a];
      l.size.push_back(std::max<int64_t>(1, least) + between(0, axes == 3 ? 4 : 9));
    }
    expect(l, between(0, 1) == 1);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace mill_test
