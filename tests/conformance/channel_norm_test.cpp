// What normalisation over channels promises beyond its samples, on the device under test: sizes
// that take several tiles, chunks and blocks, either order of memory, and values far from zero.
#include <gtest/gtest.h>

#include <cmath>

#include "conformance/problem.h"

namespace mill_test {
namespace {
namespace channel_norms {

using Values = std::vector<double>;
using Dims = std::vector<int64_t>;

int64_t product(const Dims& dims, size_t first = 0) {
  int64_t n = 1;
  for (size_t i = first; i < dims.size(); ++i) n *= dims[i];
  return n;
}

// Steps of 1/250 in [middle - 4, middle + 4].
Values drawn(const Dims& dims, uint64_t seed, double middle) {
  Values v(static_cast<size_t>(product(dims)));
  uint64_t state = seed * 2 + 1;
  for (double& x : v) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = middle + static_cast<double>((state >> 40) % 2001) / 250 - 4;
  }
  return v;
}

class ChannelNorm : public testing::Test {
 protected:
  Tensor tensor(const Dims& dims, const Values& values) {
    return make<float>(w_, dims, std::vector<float>(values.begin(), values.end()));
  }
  // The same values with the channels innermost in memory.
  Tensor channels_last(const Dims& dims, const Values& values) {
    const auto channels = static_cast<size_t>(dims[1]);
    const auto space = static_cast<size_t>(product(dims, 2));
    Values moved(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t n = i / (channels * space), c = i / space % channels, p = i % space;
      moved[(n * space + p) * channels + c] = values[i];
    }
    const auto rank = static_cast<int64_t>(dims.size());
    Dims there{dims[0]}, back{0, rank - 1};
    there.insert(there.end(), dims.begin() + 2, dims.end());
    there.push_back(dims[1]);
    for (int64_t i = 1; i + 1 < rank; ++i) back.push_back(i);
    const Tensor dense = tensor(there, moved);
    Tensor last;
    w_.ok(mill_permute(w_.exec(), dense.get(), back.data(), static_cast<uint32_t>(rank), last.out(),
                       w_.error()));
    return last;
  }
  void near(const Tensor& got, const Values& want, double tolerance, const char* what) {
    const std::vector<float> v = values_of<float>(w_, got.get());
    ASSERT_EQ(v.size(), want.size()) << what;
    for (size_t i = 0; i < v.size(); ++i) {
      ASSERT_NEAR(v[i], want[i], tolerance) << what << " " << i;
    }
  }

  World& w_ = world();
};

// x [batch, channels, space] with the statistics of `parts` samples and `inside` channels each.
struct Truth {
  int64_t batch, channels, space, inside;
  bool samples;  // each sample has statistics of its own
  Values x, g, weight, bias;
  Values out, mean, variance, dx, dweight, dbias;

  int64_t stat(int64_t n, int64_t c) const {
    return (samples ? n * (channels / inside) : 0) + c / inside;
  }
  template <class F>
  void each(F&& f) const {
    size_t i = 0;
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t s = 0; s < space; ++s, ++i)
          f(i, static_cast<size_t>(stat(n, c)), static_cast<size_t>(c));
      }
    }
  }
  void find(double eps) {
    const auto stats = static_cast<size_t>((samples ? batch : 1) * (channels / inside));
    const double count = static_cast<double>(x.size()) / static_cast<double>(stats);
    const auto params = static_cast<size_t>(channels);
    mean.assign(stats, 0);
    variance.assign(stats, 0);
    Values sum(stats), pull(stats);
    dweight.assign(params, 0);
    dbias.assign(params, 0);
    out.resize(x.size());
    dx.resize(x.size());
    each([&](size_t i, size_t s, size_t) { mean[s] += x[i] / count; });
    each([&](size_t i, size_t s, size_t) {
      variance[s] += (x[i] - mean[s]) * (x[i] - mean[s]) / count;
    });
    const auto normal = [&](size_t i, size_t s) {
      return (x[i] - mean[s]) / std::sqrt(variance[s] + eps);
    };
    each([&](size_t i, size_t s, size_t c) {
      out[i] = normal(i, s) * weight[c] + bias[c];
      dweight[c] += g[i] * normal(i, s);
      dbias[c] += g[i];
      sum[s] += g[i] * weight[c] / count;
      pull[s] += g[i] * weight[c] * normal(i, s) / count;
    });
    each([&](size_t i, size_t s, size_t c) {
      dx[i] = (g[i] * weight[c] - sum[s] - normal(i, s) * pull[s]) / std::sqrt(variance[s] + eps);
    });
  }
};

struct Layer {
  Dims dims;
  int64_t groups;  // 0: batch norm
  double middle;
};

// Several tiles of one channel, several vectors of channels, odd ends of both; rows of one element;
// groups of channels; far from zero.
const Layer kLayers[] = {
    {{3, 5, 50, 41}, 0, 0},   {{70, 37, 9}, 0, 0},       {{600, 130}, 0, 0},
    {{2, 3, 7, 5, 11}, 0, 0}, {{9, 1, 33, 17}, 0, 1000}, {{3, 6, 50, 41}, 2, 0},
    {{5, 12, 7}, 12, 0},      {{70, 40}, 4, 0},          {{2, 4, 65, 67}, 1, 1000},
};

TEST_F(ChannelNorm, EqualsTheDefinitionInBothOrdersOfMemory) {
  for (const Layer& k : kLayers) {
    for (const bool last : {false, true}) {
      if (last && k.groups > 0) continue;
      SCOPED_TRACE(testing::Message() << testing::PrintToString(k.dims) << " groups " << k.groups
                                      << (last ? " channels last" : ""));
      Truth t;
      t.batch = k.dims[0];
      t.channels = k.dims[1];
      t.space = product(k.dims, 2);
      t.inside = k.groups == 0 ? 1 : t.channels / k.groups;
      t.samples = k.groups > 0;
      t.x = drawn(k.dims, 1, k.middle);
      t.g = drawn(k.dims, 2, 0);
      t.weight = drawn({t.channels}, 3, 0);
      t.bias = drawn({t.channels}, 4, 0);
      t.find(0.01);
      const Tensor x = last ? channels_last(k.dims, t.x) : tensor(k.dims, t.x);
      const Tensor g = last ? channels_last(k.dims, t.g) : tensor(k.dims, t.g);
      const Tensor weight = tensor({t.channels}, t.weight);
      const Tensor bias = tensor({t.channels}, t.bias);
      Tensor out, mean, spread, dx, dweight, dbias;
      if (k.groups == 0) {
        w_.ok(mill_batch_norm(w_.exec(), x.get(), weight.get(), bias.get(), 0.01, out.out(),
                              mean.out(), spread.out(), w_.error()));
        w_.ok(mill_batch_norm_backward(w_.exec(), g.get(), x.get(), weight.get(), mean.get(),
                                       spread.get(), 0.01, dx.out(), dweight.out(), dbias.out(),
                                       w_.error()));
      } else {
        w_.ok(mill_group_norm(w_.exec(), x.get(), weight.get(), bias.get(), k.groups, 0.01,
                              out.out(), mean.out(), spread.out(), w_.error()));
        w_.ok(mill_group_norm_backward(w_.exec(), g.get(), x.get(), weight.get(), mean.get(),
                                       spread.get(), k.groups, dx.out(), dweight.out(), dbias.out(),
                                       w_.error()));
      }
      Values spreads = t.variance;
      if (k.groups > 0) {
        for (double& v : spreads) v = 1 / std::sqrt(v + 0.01);
      }
      const double far = k.middle == 0 ? 1 : 20;  // x itself is held to 6e-5 there
      near(mean, t.mean, 1e-6 + 1e-7 * k.middle, "mean");
      near(spread, spreads, 2e-5, "spread");
      near(out, t.out, 1e-5 * far, "out");
      near(dx, t.dx, 1e-4 * far, "dx");
      const auto scale = static_cast<double>(t.batch * t.space);
      near(dweight, t.dweight, 3e-6 * scale * far, "dweight");
      near(dbias, t.dbias, 1e-6 * scale, "dbias");
      if (k.groups > 0) continue;
      Tensor again;
      w_.ok(mill_batch_norm_apply(w_.exec(), x.get(), mean.get(), spread.get(), weight.get(),
                                  bias.get(), 0.01, again.out(), w_.error()));
      near(again, t.out, 1e-5 * far, "applied");
      if (!last) continue;
      int64_t strides[MILL_MAX_RANK] = {};
      uint32_t rank = 0;
      w_.ok(mill_tensor_shape(out.get(), nullptr, strides, MILL_MAX_RANK, &rank, w_.error()));
      EXPECT_EQ(strides[1], 1);
      w_.ok(mill_tensor_shape(dx.get(), nullptr, strides, MILL_MAX_RANK, &rank, w_.error()));
      EXPECT_EQ(strides[1], 1);
    }
  }
}

// A value of 1e6 with a variance of 1e-2 leaves nothing of a sum of squares in float.
TEST_F(ChannelNorm, TheVarianceFarFromZeroIsRight) {
  std::vector<float> values(4096);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i % 2 == 0 ? 1048576.0f : 1048577.0f;
  const Tensor x = make<float>(w_, {64, 1, 64}, values);
  Tensor out, mean, variance;
  w_.ok(mill_batch_norm(w_.exec(), x.get(), nullptr, nullptr, 0, out.out(), mean.out(),
                        variance.out(), w_.error()));
  EXPECT_NEAR(values_of<float>(w_, variance.get())[0], 0.25, 1e-3);
}

// One value to a channel: its variance is 0 and only the bias is left.
TEST_F(ChannelNorm, ASingleValueGivesTheBias) {
  const Tensor x = make<float>(w_, {1, 3}, {5, -7, 1e30f});
  const Tensor bias = make<float>(w_, {3}, {1, 2, 3});
  Tensor out, mean, variance;
  w_.ok(mill_batch_norm(w_.exec(), x.get(), nullptr, bias.get(), 1e-5, out.out(), mean.out(),
                        variance.out(), w_.error()));
  EXPECT_EQ(values_of<float>(w_, out.get()), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(values_of<float>(w_, variance.get()), (std::vector<float>{0, 0, 0}));
}

// The two statistics as PyTorch keeps them, in place.
TEST_F(ChannelNorm, RunningStatisticsInPlace) {
  const Tensor mean = make<float>(w_, {2}, {0, 4});
  const Tensor variance = make<float>(w_, {2}, {1, 1});
  const Tensor batch_mean = make<float>(w_, {2}, {8, 0});
  const Tensor batch_variance = make<float>(w_, {2}, {3, 6});
  mill_tensor* to[2] = {mean.get(), variance.get()};
  w_.ok(mill_running_update(w_.exec(), mean.get(), variance.get(), batch_mean.get(),
                            batch_variance.get(), 0.25, 4, &to[0], &to[1], w_.error()));
  EXPECT_EQ(to[0], mean.get());
  EXPECT_EQ(values_of<float>(w_, mean.get()), (std::vector<float>{2, 3}));
  EXPECT_EQ(values_of<float>(w_, variance.get()), (std::vector<float>{1.75, 2.75}));
}

}  // namespace channel_norms
}  // namespace
}  // namespace mill_test
