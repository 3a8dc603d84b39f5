// Views, arithmetic, statistics and parts of networks that are sequences of ops: against their
// formulas, and their gradients against differences, on the device under test.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "conformance/problem.h"

namespace mill_test {
namespace {
namespace composed {

using Values = std::vector<double>;

Values drawn(size_t n, uint64_t seed) {
  Random random(seed);
  Values v(n);
  for (double& x : v) x = random.between(-2, 2);
  return v;
}

class Composed : public testing::Test {
 protected:
  using Function = std::function<void(mill_tensor* x, mill_tensor** out)>;

  Tensor tensor(const Dims& dims, const Values& values) { return make<double>(w_, dims, values); }
  Dims dims_of(const Tensor& x) {
    Dims dims(static_cast<size_t>(mill_tensor_rank(x.get())));
    for (size_t i = 0; i < dims.size(); ++i)
      dims[i] = mill_tensor_dim(x.get(), static_cast<int32_t>(i));
    return dims;
  }
  void near(const Tensor& got, const Dims& dims, const Values& want, double tolerance = 1e-12) {
    EXPECT_EQ(dims_of(got), dims);
    const Values v = values_of<double>(w_, got.get());
    ASSERT_EQ(v.size(), want.size());
    for (size_t i = 0; i < v.size(); ++i) {
      if (v[i] == want[i] || (std::isnan(v[i]) && std::isnan(want[i]))) continue;
      EXPECT_NEAR(v[i], want[i], tolerance * (1 + std::fabs(want[i]))) << i;
    }
  }

  // Sum of the results, each with a weight of its own.
  double weighed(const Dims& dims, const Values& x, const Function& f) {
    const Tensor in = tensor(dims, x);
    Tensor out;
    f(in.get(), out.out());
    const Values y = values_of<double>(w_, out.get());
    const Values weights = drawn(y.size(), 77);
    return std::inner_product(y.begin(), y.end(), weights.begin(), 0.0);
  }
  Values gradient(const Dims& dims, const Values& x, const Function& f) {
    Tape tape;
    w_.ok(mill_tape_create(w_.context(), tape.out(), w_.error()));
    const Tensor in = tensor(dims, x);
    w_.ok(mill_tape_watch(tape.get(), in.get(), w_.error()));
    w_.ok(mill_exec_set_tape(w_.exec(), tape.get(), w_.error()));
    Tensor out, by;
    f(in.get(), out.out());
    w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
    const Dims size = dims_of(out);
    const Tensor seed = tensor(size, drawn(static_cast<size_t>(count_of(size)), 77));
    w_.ok(mill_tape_backward(tape.get(), w_.exec(), out.get(), seed.get(), 0, w_.error()));
    w_.ok(mill_tape_gradient_of(tape.get(), in.get(), by.out(), w_.error()));
    return values_of<double>(w_, by.get());
  }
  void differentiable(const Dims& dims, const Values& x, const Function& f) {
    constexpr double kStep = 1e-6;
    const Values got = gradient(dims, x, f);
    ASSERT_EQ(got.size(), x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      Values at = x;
      at[i] = x[i] + kStep;
      const double above = weighed(dims, at, f);
      at[i] = x[i] - kStep;
      const double want = (above - weighed(dims, at, f)) / (2 * kStep);
      EXPECT_NEAR(got[i], want, 1e-7 * (1 + std::fabs(want))) << i;
    }
  }

  World& w_ = world();
};

// ---- views and joins ----------------------------------------------------------------------------

TEST_F(Composed, ViewsKeepTheElements) {
  const Values x = drawn(24, 1);
  const Tensor t = tensor({2, 1, 3, 4}, x);
  Tensor out;
  const int64_t one = 1, minus[] = {-1, 0};
  w_.ok(mill_squeeze(w_.exec(), t.get(), &one, 1, out.out(), w_.error()));
  near(out, {2, 3, 4}, x);
  w_.ok(mill_squeeze(w_.exec(), t.get(), nullptr, 0, out.out(), w_.error()));
  near(out, {2, 3, 4}, x);
  w_.ok(mill_unsqueeze(w_.exec(), t.get(), minus, 2, out.out(), w_.error()));
  near(out, {1, 2, 1, 3, 4, 1}, x);
  w_.ok(mill_flatten(w_.exec(), t.get(), 1, -2, out.out(), w_.error()));
  near(out, {2, 3, 4}, x);
  w_.ok(mill_flatten(w_.exec(), t.get(), 0, -1, out.out(), w_.error()));
  near(out, {24}, x);
  w_.ok(mill_transpose(w_.exec(), t.get(), 0, -1, out.out(), w_.error()));
  Values turned;
  for (int64_t d = 0; d < 4; ++d) {
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t a = 0; a < 2; ++a) turned.push_back(x[static_cast<size_t>((a * 3 + c) * 4 + d)]);
    }
  }
  near(out, {4, 1, 3, 2}, turned);
  const Tensor single = tensor({}, {7});
  w_.ok(mill_flatten(w_.exec(), single.get(), 0, 0, out.out(), w_.error()));
  near(out, {1}, {7});
  w_.ok(mill_transpose(w_.exec(), single.get(), 0, -1, out.out(), w_.error()));
  near(out, {}, {7});
  const Tensor empty = tensor({0, 1, 5}, {});
  w_.ok(mill_squeeze(w_.exec(), empty.get(), nullptr, 0, out.out(), w_.error()));
  near(out, {0, 5}, {});
  w_.ok(mill_flatten(w_.exec(), empty.get(), 0, 2, out.out(), w_.error()));
  near(out, {0}, {});
}

TEST_F(Composed, PartsAndStacksAreEachOthersInverse) {
  const Values x = drawn(30, 2);
  const Tensor t = tensor({3, 10}, x);
  const int64_t sizes[] = {4, 0, 6};
  const Tensor last = tensor({3, 6}, Values(18, 0));
  mill_tensor* outs[3] = {nullptr, nullptr, last.get()};
  w_.ok(mill_split(w_.exec(), t.get(), sizes, 3, 1, outs, w_.error()));
  const Tensor first(outs[0]), none(outs[1]);
  EXPECT_EQ(outs[2], last.get());
  Values left, right;
  for (size_t i = 0; i < x.size(); ++i) (i % 10 < 4 ? left : right).push_back(x[i]);
  near(first, {3, 4}, left);
  near(none, {3, 0}, {});
  near(last, {3, 6}, right);

  const int64_t each[] = {1, 1, 1};
  mill_tensor* rows[3] = {};
  w_.ok(mill_split(w_.exec(), t.get(), each, 3, 0, rows, w_.error()));
  const Tensor a(rows[0]), b(rows[1]), c(rows[2]);
  Tensor lines[3], out;
  mill_tensor* handles[3];
  const int64_t zero = 0;
  for (int k = 0; k < 3; ++k) {
    w_.ok(mill_squeeze(w_.exec(), rows[k], &zero, 1, lines[k].out(), w_.error()));
    handles[k] = lines[k].get();
  }
  w_.ok(mill_stack(w_.exec(), handles, 3, 0, out.out(), w_.error()));
  near(out, {3, 10}, x);
  w_.ok(mill_stack(w_.exec(), handles, 3, -1, out.out(), w_.error()));
  Values turned;
  for (size_t i = 0; i < 10; ++i) {
    for (size_t k = 0; k < 3; ++k) turned.push_back(x[k * 10 + i]);
  }
  near(out, {10, 3}, turned);
}

TEST_F(Composed, GradientsOfViewsAndJoins) {
  differentiable({2, 3}, drawn(6, 3), [&](auto x, auto out) {
    Tensor turned, deep;
    const int64_t one = 1;
    w_.ok(mill_transpose(w_.exec(), x, 0, 1, turned.out(), w_.error()));
    w_.ok(mill_unsqueeze(w_.exec(), turned.get(), &one, 1, deep.out(), w_.error()));
    mill_tensor* const both[] = {deep.get(), deep.get()};
    w_.ok(mill_stack(w_.exec(), both, 2, 2, out, w_.error()));
  });
  differentiable({5, 2}, drawn(10, 4), [&](auto x, auto out) {
    const int64_t sizes[] = {2, 3};
    mill_tensor* parts[2] = {};
    w_.ok(mill_split(w_.exec(), x, sizes, 2, 0, parts, w_.error()));
    const Tensor a(parts[0]), b(parts[1]);
    w_.ok(mill_flatten(w_.exec(), b.get(), 0, 1, out, w_.error()));
  });
}

// ---- arithmetic and statistics ------------------------------------------------------------------

TEST_F(Composed, ArithmeticBroadcasts) {
  const Values x = drawn(6, 5), y = drawn(6, 6), z = drawn(3, 7);
  const Tensor a = tensor({2, 3}, x), b = tensor({2, 3}, y), c = tensor({3}, z);
  Values mixed, added, filled;
  for (size_t i = 0; i < 6; ++i) {
    mixed.push_back(x[i] + z[i % 3] * (y[i] - x[i]));
    added.push_back(x[i] - 0.25 * y[i] * z[i % 3]);
    filled.push_back(i / 3 == 1 ? -9 : x[i]);
  }
  Tensor out;
  w_.ok(mill_lerp(w_.exec(), a.get(), b.get(), c.get(), out.out(), w_.error()));
  near(out, {2, 3}, mixed);
  w_.ok(mill_addcmul(w_.exec(), a.get(), b.get(), c.get(), -0.25, out.out(), w_.error()));
  near(out, {2, 3}, added);
  const Tensor bytes = make<uint8_t>(w_, {2, 1}, {0, 1});
  Tensor mask;
  w_.ok(mill_cast(w_.exec(), bytes.get(), MILL_BOOL, mask.out(), w_.error()));
  w_.ok(mill_masked_fill(w_.exec(), a.get(), mask.get(), -9, out.out(), w_.error()));
  near(out, {2, 3}, filled);
  differentiable({3}, z, [&](auto v, auto to) {
    w_.ok(mill_lerp(w_.exec(), a.get(), b.get(), v, to, w_.error()));
  });
  differentiable({2, 3}, x, [&](auto v, auto to) {
    w_.ok(mill_lerp(w_.exec(), v, b.get(), c.get(), to, w_.error()));
  });
  differentiable({3}, z, [&](auto v, auto to) {
    w_.ok(mill_addcmul(w_.exec(), a.get(), b.get(), v, 3, to, w_.error()));
  });
  differentiable({2, 3}, x, [&](auto v, auto to) {
    w_.ok(mill_masked_fill(w_.exec(), v, mask.get(), 1, to, w_.error()));
  });
}

// Of x [2, 3, 4] over its outer axes, or over all.
struct Lines {
  explicit Lines(const Values& x, bool all) : lines(all ? 1 : 3) {
    for (size_t i = 0; i < x.size(); ++i) lines[all ? 0 : i / 4 % 3].push_back(x[i]);
  }
  template <class F>
  Values each(F&& f) const {
    Values out;
    for (const Values& line : lines) out.push_back(f(line));
    return out;
  }
  std::vector<Values> lines;
};

TEST_F(Composed, Statistics) {
  const Values x = drawn(24, 8);
  const Tensor t = tensor({2, 3, 4}, x);
  const int64_t axes[] = {0, -1};
  for (const bool all : {false, true}) {
    const Lines lines(x, all);
    const uint32_t n = all ? 0 : 2;
    for (const mill_bool keep : {0, 1}) {
      const Dims dims = all ? (keep ? Dims{1, 1, 1} : Dims{}) : (keep ? Dims{1, 3, 1} : Dims{3});
      Tensor out;
      for (const double correction : {0.0, 1.0}) {
        w_.ok(mill_var(w_.exec(), t.get(), axes, n, correction, keep, out.out(), w_.error()));
        near(out, dims, lines.each([&](const Values& v) {
          const auto count = static_cast<double>(v.size());
          const double mean = std::accumulate(v.begin(), v.end(), 0.0) / count;
          double sum = 0;
          for (const double e : v) sum += (e - mean) * (e - mean);
          return sum / (count - correction);
        }));
      }
      for (const double p : {1.0, 2.0, 3.0, 0.5}) {
        w_.ok(mill_vector_norm(w_.exec(), t.get(), p, axes, n, keep, out.out(), w_.error()));
        near(out, dims, lines.each([&](const Values& v) {
          double sum = 0;
          for (const double e : v) sum += std::pow(std::fabs(e), p);
          return std::pow(sum, 1 / p);
        }));
      }
      w_.ok(mill_logsumexp(w_.exec(), t.get(), axes, n, keep, out.out(), w_.error()));
      near(out, dims, lines.each([](const Values& v) {
        double sum = 0;
        for (const double e : v) sum += std::exp(e);
        return std::log(sum);
      }));
    }
  }
  differentiable({2, 3, 4}, x, [&](auto v, auto to) {
    w_.ok(mill_var(w_.exec(), v, axes, 2, 1, 0, to, w_.error()));
  });
  for (const double p : {2.0, 3.0}) {
    differentiable({2, 3, 4}, x, [&](auto v, auto to) {
      w_.ok(mill_vector_norm(w_.exec(), v, p, axes, 2, 0, to, w_.error()));
    });
  }
  differentiable({2, 3, 4}, x, [&](auto v, auto to) {
    w_.ok(mill_logsumexp(w_.exec(), v, axes, 2, 0, to, w_.error()));
  });
}

TEST_F(Composed, StatisticsAtTheirEdges) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const int64_t last = 1;
  Tensor out;
  const Tensor t = tensor({5, 2}, {1000, 1000, -infinity, -infinity, infinity, 1, 0, 0, -3, 0});
  w_.ok(mill_logsumexp(w_.exec(), t.get(), &last, 1, 0, out.out(), w_.error()));
  near(out, {5},
       {1000 + std::log(2), -infinity, infinity, std::log(2), std::log(1 + std::exp(-3))});
  const Tensor v = tensor({3, 2}, {3, -4, 0, 0, 0, -2});
  w_.ok(mill_vector_norm(w_.exec(), v.get(), infinity, &last, 1, 0, out.out(), w_.error()));
  near(out, {3}, {4, 0, 2});
  w_.ok(mill_vector_norm(w_.exec(), v.get(), -infinity, &last, 1, 0, out.out(), w_.error()));
  near(out, {3}, {3, 0, 0});
  w_.ok(mill_vector_norm(w_.exec(), v.get(), 0, &last, 1, 0, out.out(), w_.error()));
  near(out, {3}, {2, 0, 1});
  w_.ok(mill_vector_norm(w_.exec(), v.get(), 2, &last, 1, 0, out.out(), w_.error()));
  near(out, {3}, {5, 0, 2});
  for (const double p : {2.0, 3.0}) {
    const Values slope = gradient({3, 2}, {3, -4, 0, 0, 0, -2}, [&](auto x, auto to) {
      w_.ok(mill_vector_norm(w_.exec(), x, p, &last, 1, 0, to, w_.error()));
    });
    for (const double g : slope) EXPECT_TRUE(std::isfinite(g));
    EXPECT_EQ(slope[2], 0);
    EXPECT_EQ(slope[3], 0);
  }
  const Tensor one = tensor({2, 1}, {4, 5});
  w_.ok(mill_var(w_.exec(), one.get(), &last, 1, 1, 0, out.out(), w_.error()));
  near(out, {2}, {nan, nan});
  const Tensor none = tensor({0, 2}, {});
  w_.ok(mill_var(w_.exec(), none.get(), &last, 1, 0, 0, out.out(), w_.error()));
  near(out, {0}, {});
  // 300^2 is beyond f16.
  const Tensor half = make<float>(w_, {2}, {300, 400});
  Tensor small, length;
  w_.ok(mill_cast(w_.exec(), half.get(), MILL_F16, small.out(), w_.error()));
  w_.ok(mill_vector_norm(w_.exec(), small.get(), 2, nullptr, 0, 0, length.out(), w_.error()));
  EXPECT_EQ(mill_tensor_dtype(length.get()), MILL_F16);
  w_.ok(mill_cast(w_.exec(), length.get(), MILL_F64, out.out(), w_.error()));
  near(out, {}, {500});
}

// ---- parts of networks --------------------------------------------------------------------------

TEST_F(Composed, BagsOfRows) {
  const Values table = drawn(12, 9), factors = drawn(5, 10);
  const Tensor weight = tensor({4, 3}, table), scale = tensor({5}, factors);
  const Tensor ids = make<int32_t>(w_, {5}, {3, 0, 0, 2, 3});
  const Tensor offsets = make<int64_t>(w_, {5}, {0, 2, 2, 3, 5});  // of 2, 0, 1, 2 and 0 ids
  const std::vector<std::vector<size_t>> bags = {{0, 1}, {}, {2}, {3, 4}, {}};
  const std::vector<size_t> id = {3, 0, 0, 2, 3};
  for (const int64_t mode : {MILL_BAG_SUM, MILL_BAG_MEAN}) {
    for (const bool scaled : {false, true}) {
      Values want;
      for (const auto& bag : bags) {
        for (size_t column = 0; column < 3; ++column) {
          double sum = 0;
          for (const size_t k : bag) sum += (scaled ? factors[k] : 1) * table[id[k] * 3 + column];
          want.push_back(
              mode == MILL_BAG_MEAN && !bag.empty() ? sum / static_cast<double>(bag.size()) : sum);
        }
      }
      Tensor out;
      w_.ok(mill_embedding_bag(w_.exec(), weight.get(), ids.get(), offsets.get(),
                               scaled ? scale.get() : nullptr, mode, out.out(), w_.error()));
      near(out, {5, 3}, want, 1e-7);  // counts are taken in f32
    }
  }
  differentiable({4, 3}, table, [&](auto x, auto to) {
    w_.ok(mill_embedding_bag(w_.exec(), x, ids.get(), offsets.get(), scale.get(), MILL_BAG_MEAN, to,
                             w_.error()));
  });
  differentiable({5}, factors, [&](auto x, auto to) {
    w_.ok(mill_embedding_bag(w_.exec(), weight.get(), ids.get(), offsets.get(), x, MILL_BAG_SUM, to,
                             w_.error()));
  });
  const Tensor no_ids = make<int64_t>(w_, {0}, {}), two_empty = make<int64_t>(w_, {2}, {0, 0});
  Tensor out;
  w_.ok(mill_embedding_bag(w_.exec(), weight.get(), no_ids.get(), two_empty.get(), nullptr,
                           MILL_BAG_MEAN, out.out(), w_.error()));
  near(out, {2, 3}, Values(6, 0));
  const Tensor late = make<int64_t>(w_, {2}, {1, 2});
  Tensor refused;
  EXPECT_EQ(w_.about_values(mill_embedding_bag(w_.exec(), weight.get(), ids.get(), late.get(),
                                               nullptr, MILL_BAG_SUM, refused.out(), w_.error())),
            MILL_E_INDEX);
}

TEST_F(Composed, WholeSamplesDrop) {
  Generator generator;
  w_.ok(mill_generator_create(w_.exec(), 5, generator.out(), w_.error()));
  w_.ok(mill_exec_set_generator(w_.exec(), generator.get(), w_.error()));
  constexpr size_t kSamples = 400;
  const Values x(kSamples * 6, 3);
  const Tensor t = tensor({static_cast<int64_t>(kSamples), 2, 3}, x);
  Tensor out;
  w_.ok(mill_drop_path(w_.exec(), t.get(), 0.25, out.out(), w_.error()));
  const Values got = values_of<double>(w_, out.get());
  size_t kept = 0;
  for (size_t i = 0; i < kSamples; ++i) {
    kept += got[i * 6] != 0;
    for (size_t j = 0; j < 6; ++j) EXPECT_EQ(got[i * 6 + j], got[i * 6] == 0 ? 0 : 4);
  }
  EXPECT_NEAR(static_cast<double>(kept), 300, 5 * std::sqrt(kSamples * 0.25 * 0.75));
  w_.ok(mill_drop_path(w_.exec(), t.get(), 0, out.out(), w_.error()));
  near(out, {static_cast<int64_t>(kSamples), 2, 3}, x);
  w_.ok(mill_drop_path(w_.exec(), t.get(), 1, out.out(), w_.error()));
  near(out, {static_cast<int64_t>(kSamples), 2, 3}, Values(kSamples * 6, 0));
  w_.ok(mill_exec_set_generator(w_.exec(), nullptr, w_.error()));
}

TEST_F(Composed, LinearBiasesOfAttention) {
  // Six heads: those of four, and every second of eight.
  const Values slopes = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
  Tensor out;
  w_.ok(mill_alibi_bias(w_.exec(), 6, 3, 5, MILL_F64, out.out(), w_.error()));
  Values want;
  for (const double slope : slopes) {
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 5; ++j) want.push_back(-slope * std::abs(i + 2 - j));
    }
  }
  near(out, {6, 3, 5}, want);
  w_.ok(mill_alibi_bias(w_.exec(), 1, 1, 2, MILL_F64, out.out(), w_.error()));
  near(out, {1, 1, 2}, {-1.0 / 256, 0});
}

TEST_F(Composed, ScaledProductsOfSmallDtypes) {
  // Exact in f8e4m3: a few multiples of 1/4.
  const std::vector<float> a = {0.25f, -1.5f, 2, 3.5f, -0.75f, 1}, b = {1, 0.5f, -2, 1.25f, 4, -3};
  const Tensor wide_a = make<float>(w_, {2, 3}, a), wide_b = make<float>(w_, {3, 2}, b);
  Tensor small_a, small_b, out;
  w_.ok(mill_cast(w_.exec(), wide_a.get(), MILL_F8E4M3, small_a.out(), w_.error()));
  w_.ok(mill_cast(w_.exec(), wide_b.get(), MILL_F8E5M2, small_b.out(), w_.error()));
  const Tensor rows = make<float>(w_, {2, 1}, {0.5f, 3}), all = make<float>(w_, {}, {0.125f});
  w_.ok(mill_scaled_matmul(w_.exec(), small_a.get(), small_b.get(), rows.get(), all.get(), MILL_F64,
                           out.out(), w_.error()));
  Values want;
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 2; ++j) {
      double sum = 0;
      for (size_t k = 0; k < 3; ++k) sum += static_cast<double>(a[i * 3 + k]) * b[k * 2 + j];
      want.push_back(sum * (i == 0 ? 0.5 : 3) * 0.125);
    }
  }
  near(out, {2, 2}, want, 1e-6);
  differentiable({2, 1}, {0.5, 3}, [&](auto x, auto to) {
    const Tensor left = tensor({2, 3}, {0.25, -1.5, 2, 3.5, -0.75, 1});
    w_.ok(mill_scaled_matmul(w_.exec(), left.get(), wide_b.get(), x, nullptr, MILL_F64, to,
                             w_.error()));
  });
}

// ---- linear_cross_entropy -----------------------------------------------------------------------

class LinearLoss : public Composed {
 protected:
  static constexpr int64_t kRows = 7, kIn = 3, kClasses = 5;

  void loss(int64_t part, int64_t reduction, double smoothing, bool bias, mill_tensor* const* in,
            mill_tensor** out) {
    w_.ok(mill_linear_cross_entropy(w_.exec(), in[0], in[1], bias ? in[2] : nullptr, in[3],
                                    reduction, smoothing, -1, part, out, w_.error()));
  }
  // The loss, and the gradients by x, weight and bias.
  std::vector<Values> all(int64_t part, int64_t reduction, double smoothing, bool bias) {
    Tape tape;
    w_.ok(mill_tape_create(w_.context(), tape.out(), w_.error()));
    const Tensor x = tensor({kRows, kIn}, drawn(kRows * kIn, 11));
    const Tensor weight = tensor({kClasses, kIn}, drawn(kClasses * kIn, 12));
    const Tensor b = tensor({kClasses}, drawn(kClasses, 13));
    const Tensor labels = make<int64_t>(w_, {kRows}, {0, 4, -1, 2, 2, -1, 3});
    mill_tensor* const in[] = {x.get(), weight.get(), b.get(), labels.get()};
    for (int k = 0; k < (bias ? 3 : 2); ++k) w_.ok(mill_tape_watch(tape.get(), in[k], w_.error()));
    w_.ok(mill_exec_set_tape(w_.exec(), tape.get(), w_.error()));
    Tensor out;
    loss(part, reduction, smoothing, bias, in, out.out());
    w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
    std::vector<Values> found = {values_of<double>(w_, out.get())};
    Tensor seed;
    if (reduction == MILL_REDUCE_NONE) seed = tensor({kRows}, drawn(kRows, 14));
    w_.ok(mill_tape_backward(tape.get(), w_.exec(), out.get(), seed.get(), 0, w_.error()));
    for (int k = 0; k < (bias ? 3 : 2); ++k) {
      Tensor by;
      w_.ok(mill_tape_gradient_of(tape.get(), in[k], by.out(), w_.error()));
      found.push_back(values_of<double>(w_, by.get()));
    }
    return found;
  }
};

TEST_F(LinearLoss, PartsEqualTheWhole) {
  for (const int64_t reduction : {MILL_REDUCE_MEAN, MILL_REDUCE_SUM, MILL_REDUCE_NONE}) {
    for (const double smoothing : {0.0, 0.2}) {
      for (const bool bias : {false, true}) {
        const std::vector<Values> whole = all(0, reduction, smoothing, bias);
        for (const int64_t part : {1, 2, 6}) {
          const std::vector<Values> parts = all(part, reduction, smoothing, bias);
          for (size_t k = 0; k < whole.size(); ++k) {
            ASSERT_EQ(parts[k].size(), whole[k].size());
            for (size_t i = 0; i < whole[k].size(); ++i)
              EXPECT_NEAR(parts[k][i], whole[k][i], 1e-12) << "result " << k << ", " << i;
          }
        }
      }
    }
  }
}

TEST_F(LinearLoss, HoldsThePartsLogitsOnly) {
  constexpr int64_t kMany = 256, kWide = 2048;
  const Tensor x = make<float>(w_, {kMany, 4}, std::vector<float>(kMany * 4, 0.5f));
  const Tensor weight = make<float>(w_, {kWide, 4}, std::vector<float>(kWide * 4, 0.25f));
  const Tensor labels = make<int64_t>(w_, {kMany}, std::vector<int64_t>(kMany, 3));
  const auto peak = [&](int64_t part) {
    Tape tape;
    w_.ok(mill_tape_create(w_.context(), tape.out(), w_.error()));
    w_.ok(mill_tape_watch(tape.get(), weight.get(), w_.error()));
    mill_memory_stats stats{};
    stats.size = sizeof stats;
    stats.type = MILL_STRUCT_MEMORY_STATS;
    w_.ok(mill_exec_wait(w_.exec(), w_.error()));
    w_.ok(mill_memory_reset_peak(w_.context(), w_.device(), w_.error()));
    w_.ok(mill_memory_stats_query(w_.context(), w_.device(), &stats, w_.error()));
    const uint64_t before = stats.in_use_bytes;
    w_.ok(mill_exec_set_tape(w_.exec(), tape.get(), w_.error()));
    Tensor out;
    w_.ok(mill_linear_cross_entropy(w_.exec(), x.get(), weight.get(), nullptr, labels.get(),
                                    MILL_REDUCE_MEAN, 0, -100, part, out.out(), w_.error()));
    w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
    w_.ok(mill_tape_backward(tape.get(), w_.exec(), out.get(), nullptr, 0, w_.error()));
    w_.ok(mill_exec_wait(w_.exec(), w_.error()));
    EXPECT_NEAR(values_of<float>(w_, out.get())[0], std::log(static_cast<double>(kWide)), 1e-4);
    w_.ok(mill_memory_stats_query(w_.context(), w_.device(), &stats, w_.error()));
    return stats.in_use_peak - before;
  };
  peak(0);  // what stays behind for later calls is there now
  const uint64_t logits = kMany * kWide * sizeof(float);
  EXPECT_GT(peak(0), logits);
  EXPECT_LT(peak(32), logits / 2);
}

}  // namespace composed
}  // namespace
}  // namespace mill_test
