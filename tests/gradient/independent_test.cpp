// Gradients checked without mill_gradcheck: central differences written here, and formulas worked
// out by hand.
#include <gtest/gtest.h>

#include <algorithm>

#include "gradient/model.h"

namespace mill_test {
namespace {

struct Input {
  Dims dims;
  std::vector<double> values;
};

using Function = std::function<Tensor(World&, const std::vector<Tensor>&)>;

std::vector<Tensor> tensors(World& w, const std::vector<Input>& inputs) {
  std::vector<Tensor> out;
  for (const Input& in : inputs) out.push_back(f64(w, in.dims, in.values));
  return out;
}

// Differences of a scalar function by all elements of all inputs.
std::vector<std::vector<double>> numeric(World& w, std::vector<Input> inputs, const Function& f) {
  std::vector<std::vector<double>> out;
  for (Input& in : inputs) {
    out.emplace_back();
    for (double& x : in.values) {
      const double kept = x;
      const double h = 1e-5;
      x = kept + h;
      const double above = item(w, f(w, tensors(w, inputs)).get());
      x = kept - h;
      const double below = item(w, f(w, tensors(w, inputs)).get());
      x = kept;
      out.back().push_back((above - below) / (2 * h));
    }
  }
  return out;
}

std::vector<std::vector<double>> analytic(World& w, const std::vector<Input>& inputs,
                                          const Function& f) {
  Recording tape(w);
  const std::vector<Tensor> in = tensors(w, inputs);
  for (const Tensor& x : in) tape.watch(x);
  const Tensor y = f(w, in);
  w.ok(tape.backward(y));
  std::vector<std::vector<double>> out;
  for (const Tensor& x : in) out.push_back(doubles(w, tape.gradient_of(x)));
  return out;
}

void expect_close(const std::vector<double>& have, const std::vector<double>& want,
                  double tolerance) {
  ASSERT_EQ(have.size(), want.size());
  for (size_t i = 0; i < have.size(); ++i) {
    EXPECT_NEAR(have[i], want[i],
                tolerance * std::max({1.0, std::fabs(have[i]), std::fabs(want[i])}))
        << "element " << i;
  }
}

void expect_agreement(const std::vector<Input>& inputs, const Function& f) {
  World& w = world();
  const auto want = numeric(w, inputs, f);
  const auto have = analytic(w, inputs, f);
  for (size_t k = 0; k < want.size(); ++k) {
    SCOPED_TRACE("input " + std::to_string(k));
    expect_close(have[k], want[k], 1e-7);
  }
}

Input drawn(uint64_t seed, const Dims& dims, double low = -1, double high = 1) {
  return {dims, random_values(seed, static_cast<size_t>(count_of(dims)), low, high)};
}

TEST(IndependentGradient, BroadcastProductAndQuotient) {
  expect_agreement({drawn(1, {4, 1, 5}), drawn(2, {3, 1}), drawn(3, {5}, 0.5, 2)},
                   [](World& w, const std::vector<Tensor>& in) {
                     return op::sum(w, op::div(w, op::mul(w, in[0], in[1]), in[2]));
                   });
}

TEST(IndependentGradient, MatmulOfTransposedViewsAndBatches) {
  expect_agreement(
      {drawn(4, {2, 1, 4, 3}), drawn(5, {5, 4, 2})}, [](World& w, const std::vector<Tensor>& in) {
        const Tensor product = op::matmul(w, op::permute(w, in[0], {0, 1, 3, 2}), in[1]);
        return op::sum(w, op::tanh(w, product));
      });
}

TEST(IndependentGradient, MatmulOfAVectorAndABatch) {
  expect_agreement({drawn(20, {3}), drawn(21, {5, 3, 2})},
                   [](World& w, const std::vector<Tensor>& in) {
                     return op::sum(w, op::tanh(w, op::matmul(w, in[0], in[1])));
                   });
  expect_agreement({drawn(22, {5, 2, 3}), drawn(23, {3})},
                   [](World& w, const std::vector<Tensor>& in) {
                     return op::sum(w, op::tanh(w, op::matmul(w, in[0], in[1])));
                   });
  expect_agreement({drawn(24, {3}), drawn(25, {3})}, [](World& w, const std::vector<Tensor>& in) {
    return op::tanh(w, op::matmul(w, in[0], in[1]));
  });
}

TEST(IndependentGradient, MatmulOfABatchAndOneMatrix) {
  expect_agreement({drawn(26, {4, 1, 2, 3}), drawn(27, {3, 2})},
                   [](World& w, const std::vector<Tensor>& in) {
                     return op::sum(w, op::tanh(w, op::matmul(w, in[0], in[1])));
                   });
  expect_agreement({drawn(28, {2, 3}), drawn(29, {4, 3, 2})},
                   [](World& w, const std::vector<Tensor>& in) {
                     return op::sum(w, op::tanh(w, op::matmul(w, in[0], in[1])));
                   });
}

TEST(IndependentGradient, LinearOfAVectorAndOfABatch) {
  for (const Dims& dims : {Dims{3}, Dims{2, 4, 3}}) {
    expect_agreement({drawn(30, dims), drawn(31, {5, 3}), drawn(32, {5})},
                     [](World& w, const std::vector<Tensor>& in) {
                       return op::sum(w, op::tanh(w, op::linear(w, in[0], in[1], in[2])));
                     });
  }
}

TEST(IndependentGradient, SoftmaxOfASliceUsedTwice) {
  expect_agreement({drawn(6, {5, 7})}, [](World& w, const std::vector<Tensor>& in) {
    const Tensor part = op::slice(w, in[0], 1, 1, 7, 2);
    const Tensor p = op::softmax(w, part);
    return op::sum(w, op::mul(w, p, op::mul(w, p, part)));
  });
}

TEST(IndependentGradient, LayerNormAndGelu) {
  expect_agreement({drawn(7, {3, 6}), drawn(8, {6}), drawn(9, {6})},
                   [](World& w, const std::vector<Tensor>& in) {
                     const Tensor y = op::gelu(w, op::layer_norm(w, in[0], in[1], in[2]));
                     return op::sum(w, op::mul(w, y, y));
                   });
}

TEST(IndependentGradient, MatmulByHand) {
  World& w = world();
  // y = sum(G * (A B)) has the gradients G B^T and A^T G.
  const Input a = drawn(10, {3, 4});
  const Input b = drawn(11, {4, 2});
  const Input g = drawn(12, {3, 2});
  const auto have = analytic(w, {a, b}, [&](World& in, const std::vector<Tensor>& x) {
    return op::sum(in, op::mul(in, op::matmul(in, x[0], x[1]), f64(in, g.dims, g.values)));
  });
  std::vector<double> by_a(12, 0);
  std::vector<double> by_b(8, 0);
  for (size_t i = 0; i < 3; ++i) {
    for (size_t k = 0; k < 4; ++k) {
      for (size_t j = 0; j < 2; ++j) {
        by_a[i * 4 + k] += g.values[i * 2 + j] * b.values[k * 2 + j];
        by_b[k * 2 + j] += a.values[i * 4 + k] * g.values[i * 2 + j];
      }
    }
  }
  expect_close(have[0], by_a, 1e-14);
  expect_close(have[1], by_b, 1e-14);
}

TEST(IndependentGradient, CrossEntropyByHand) {
  World& w = world();
  const Input logits = drawn(13, {4, 5}, -3, 3);
  const std::vector<int64_t> labels = {3, 0, 4, 3};
  const auto have = analytic(w, {logits}, [&](World& in, const std::vector<Tensor>& x) {
    return op::cross_entropy(in, x[0], make<int64_t>(in, {4}, labels));
  });
  std::vector<double> want(20);
  for (size_t r = 0; r < 4; ++r) {
    double sum = 0;
    for (size_t k = 0; k < 5; ++k) sum += std::exp(logits.values[r * 5 + k]);
    for (size_t k = 0; k < 5; ++k) {
      const double target = static_cast<int64_t>(k) == labels[r] ? 1 : 0;
      want[r * 5 + k] = (std::exp(logits.values[r * 5 + k]) / sum - target) / 4;
    }
  }
  expect_close(have[0], want, 1e-14);
}

TEST(IndependentGradient, EmbeddingAddsRowsThatAppearTwice) {
  World& w = world();
  const auto have = analytic(w, {drawn(14, {4, 2})}, [](World& in, const std::vector<Tensor>& x) {
    return op::sum(in, op::embedding(in, x[0], make<int64_t>(in, {3}, {1, 3, 1})));
  });
  EXPECT_EQ(have[0], (std::vector<double>{0, 0, 2, 2, 0, 0, 1, 1}));
}

// Embedding of three characters, layer norm, two layers, cross entropy: the shape of the language
// model sample.
class SmallModel {
 public:
  static constexpr int64_t kSymbols = 11;
  static std::vector<NamedDims> parameters() {
    return {{"table", {kSymbols, 4}}, {"norm.weight", {12}}, {"norm.bias", {12}},
            {"in.weight", {8, 12}},   {"in.bias", {8}},      {"out.weight", {kSymbols, 8}},
            {"out.bias", {kSymbols}}};
  }
  static Tensor loss(World& w, const Parameters& p) {
    const Tensor ids =
        make<int64_t>(w, {6, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 1, 1, 4, 0, 4});
    const Tensor labels = make<int64_t>(w, {6}, {3, 6, 9, 1, 2, 10});
    const Tensor x = op::reshape(w, op::embedding(w, p[0], ids), {6, 12});
    const Tensor hidden = op::gelu(w, op::linear(w, op::layer_norm(w, x, p[1], p[2]), p[3], p[4]));
    return op::cross_entropy(w, op::linear(w, hidden, p[5], p[6]), labels);
  }
};

TEST(IndependentGradient, TwoLayerNetworkOverEveryParameter) {
  World& w = world();
  Parameters p(w, MILL_F64, SmallModel::parameters());
  {
    Recording tape(w);
    const Tensor loss = SmallModel::loss(w, p);
    w.ok(tape.backward(loss));
  }
  for (uint32_t k = 0; k < p.count(); ++k) {
    const std::vector<double> have = p.gradient(k);
    std::vector<double> values = p.values(k);
    for (size_t i = 0; i < values.size(); ++i) {
      const double kept = values[i];
      const double h = 1e-5;
      values[i] = kept + h;
      p.set(k, values);
      const double above = item(w, SmallModel::loss(w, p).get());
      values[i] = kept - h;
      p.set(k, values);
      const double below = item(w, SmallModel::loss(w, p).get());
      values[i] = kept;
      p.set(k, values);
      EXPECT_NEAR(have[i], (above - below) / (2 * h), 1e-8)
          << "parameter " << k << " element " << i;
    }
  }
}

TEST(IndependentGradient, TheNetworkInF32FollowsTheOneInF64) {
  World& w = world();
  Parameters wide(w, MILL_F64, SmallModel::parameters());
  Parameters narrow(w, MILL_F32, SmallModel::parameters());
  for (uint32_t k = 0; k < wide.count(); ++k) wide.set(k, narrow.values(k));
  for (const Parameters* p : {&wide, &narrow}) {
    Recording tape(w);
    const Tensor loss = SmallModel::loss(w, *p);
    w.ok(tape.backward(loss));
  }
  for (uint32_t k = 0; k < wide.count(); ++k)
    expect_close(narrow.gradient(k), wide.gradient(k), 2e-6);
}

}  // namespace
}  // namespace mill_test
