// What attention promises beyond its samples, on the device under test: rows that see nothing, keys
// that do not count, joined parts, shared heads, layouts, and memory that grows with the sequence.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "conformance/problem.h"

namespace mill_test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Attended {
  Tensor out, lse;
};

class Attention : public testing::Test {
 protected:
  static std::vector<float> noise(int64_t n, uint64_t seed) {
    std::vector<float> out(static_cast<size_t>(n));
    for (float& x : out) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      x = static_cast<float>(static_cast<double>(seed >> 33) / (uint64_t{1} << 30) - 1);
    }
    return out;
  }
  Tensor random(const Dims& dims, uint64_t seed) {
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    return make<float>(w_, dims, noise(n, seed));
  }
  Attended attend(const Tensor& q, const Tensor& k, const Tensor& v, mill_tensor* mask = nullptr,
                  mill_tensor* bias = nullptr, mill_tensor* lengths = nullptr, bool causal = false,
                  int64_t offset = 0) {
    Attended a;
    w_.ok(mill_attention(w_.exec(), q.get(), k.get(), v.get(), mask, bias, lengths, causal, offset,
                         0, a.out.out(), a.lse.out(), w_.error()));
    return a;
  }

  World& w_ = world();
};

TEST_F(Attention, AQueryThatSeesNothingGivesZeroAndNoGradient) {
  const Tensor q = random({1, 1, 3, 4}, 1);
  const Tensor k = random({1, 1, 5, 4}, 2);
  const Tensor v = random({1, 1, 5, 4}, 3);
  // Query 0 sees no key, query 1 sees key 0.
  const Attended a = attend(q, k, v, nullptr, nullptr, nullptr, true, -1);
  const std::vector<float> out = values_of<float>(w_, a.out.get());
  const std::vector<float> lse = values_of<float>(w_, a.lse.get());
  const std::vector<float> value = values_of<float>(w_, v.get());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(out[i], 0.0f);
    EXPECT_EQ(out[4 + i], value[i]);
  }
  EXPECT_EQ(lse[0], -kInfinity);
  EXPECT_TRUE(std::isfinite(lse[1]));
  const Tensor g = random({1, 1, 3, 4}, 4);
  Tensor dq, dk, dv, dscores;
  w_.ok(mill_attention_backward(w_.exec(), g.get(), q.get(), k.get(), v.get(), a.out.get(),
                                a.lse.get(), nullptr, nullptr, nullptr, nullptr, 1, -1, 0, 0,
                                dq.out(), dk.out(), dv.out(), dscores.out(), w_.error()));
  const std::vector<float> slope = values_of<float>(w_, dq.get());
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(slope[i], 0.0f);
  for (const Tensor* t : {&dq, &dk, &dv})
    for (const float x : values_of<float>(w_, t->get())) EXPECT_TRUE(std::isfinite(x));
}

TEST_F(Attention, KeysBeyondTheLengthAreNeverRead) {
  const Tensor q = random({2, 1, 3, 4}, 1);
  std::vector<float> keys = noise(2 * 70 * 4, 2);
  std::vector<float> values = noise(2 * 70 * 4, 3);
  const Tensor k = make<float>(w_, {2, 1, 70, 4}, keys);
  const Tensor v = make<float>(w_, {2, 1, 70, 4}, values);
  const Tensor lengths = make<int32_t>(w_, {2}, {66, 0});
  const Attended good = attend(q, k, v, nullptr, nullptr, lengths.get());
  for (size_t i = 66 * 4; i < keys.size(); ++i)
    keys[i] = values[i] = std::numeric_limits<float>::quiet_NaN();
  const Tensor bad_k = make<float>(w_, {2, 1, 70, 4}, keys);
  const Tensor bad_v = make<float>(w_, {2, 1, 70, 4}, values);
  const Attended a = attend(q, bad_k, bad_v, nullptr, nullptr, lengths.get());
  EXPECT_EQ(values_of<float>(w_, a.out.get()), values_of<float>(w_, good.out.get()));
  const Tensor g = random({2, 1, 3, 4}, 4);
  Tensor dq, dk, dv, dscores;
  w_.ok(mill_attention_backward(w_.exec(), g.get(), q.get(), bad_k.get(), bad_v.get(), a.out.get(),
                                a.lse.get(), nullptr, nullptr, nullptr, lengths.get(), 0, 0, 0, 0,
                                dq.out(), dk.out(), dv.out(), dscores.out(), w_.error()));
  for (const Tensor* t : {&dq, &dk, &dv})
    for (const float x : values_of<float>(w_, t->get())) EXPECT_TRUE(std::isfinite(x));
  const std::vector<float> slope = values_of<float>(w_, dv.get());
  for (size_t i = 66 * 4; i < slope.size(); ++i) EXPECT_EQ(slope[i], 0.0f);
}

TEST_F(Attention, PartsOfTheKeysJoinByTheirLogsumexp) {
  const Tensor q = random({1, 2, 5, 8}, 1);
  const std::vector<float> keys = noise(2 * 90 * 8, 2);
  const std::vector<float> values = noise(2 * 90 * 8, 3);
  const Tensor k = make<float>(w_, {1, 2, 90, 8}, keys);
  const Tensor v = make<float>(w_, {1, 2, 90, 8}, values);
  const Attended whole = attend(q, k, v);
  const int64_t ends[3] = {0, 31, 90};
  std::vector<std::vector<float>> out, lse;
  for (int part = 0; part < 2; ++part) {
    Tensor some_k, some_v;
    w_.ok(
        mill_slice(w_.exec(), k.get(), 2, ends[part], ends[part + 1], 1, some_k.out(), w_.error()));
    w_.ok(
        mill_slice(w_.exec(), v.get(), 2, ends[part], ends[part + 1], 1, some_v.out(), w_.error()));
    const Attended a = attend(q, some_k, some_v);
    out.push_back(values_of<float>(w_, a.out.get()));
    lse.push_back(values_of<float>(w_, a.lse.get()));
  }
  const std::vector<float> want = values_of<float>(w_, whole.out.get());
  for (size_t i = 0; i < want.size(); ++i) {
    const double a = std::exp(static_cast<double>(lse[0][i / 8]));
    const double b = std::exp(static_cast<double>(lse[1][i / 8]));
    const double joined =
        (a * static_cast<double>(out[0][i]) + b * static_cast<double>(out[1][i])) / (a + b);
    EXPECT_NEAR(joined, static_cast<double>(want[i]), 1e-6);
  }
}

TEST_F(Attention, TheResultHasTheOrderOfTheQueries) {
  // [batch, length, heads, width] as it comes from a linear layer, seen with the heads first.
  const Tensor flat = random({2, 7, 3, 4}, 1);
  const int64_t order[4] = {0, 2, 1, 3};
  Tensor x;
  w_.ok(mill_permute(w_.exec(), flat.get(), order, 4, x.out(), w_.error()));
  const Attended a = attend(x, x, x);
  int64_t strides[4] = {};
  uint32_t rank = 0;
  w_.ok(mill_tensor_shape(a.out.get(), nullptr, strides, 4, &rank, w_.error()));
  const std::vector<int64_t> want = {84, 4, 12, 1};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(strides[i], want[i]);
}

TEST_F(Attention, LengthsOutsideTheSequenceAreRefusedByValue) {
  const Tensor q = random({2, 1, 3, 4}, 1);
  for (const int64_t bad : {int64_t{4}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    const Tensor lengths = make<int64_t>(w_, {2}, {3, bad});
    mill_tensor* out = nullptr;
    mill_tensor* lse = nullptr;
    EXPECT_EQ(w_.about_values(mill_attention(w_.exec(), q.get(), q.get(), q.get(), nullptr, nullptr,
                                             lengths.get(), 0, 0, 0, &out, &lse, w_.error())),
              MILL_E_INDEX);
    if (w_.asynchronous()) {
      mill_tensor_release(std::exchange(out, nullptr));
      mill_tensor_release(std::exchange(lse, nullptr));
    }
    EXPECT_EQ(out, nullptr);
    EXPECT_NE(w_.message().find(std::to_string(bad)), std::string::npos) << w_.message();
  }
}

// Scores of 640 keys would be 64 times those of 80; what is allocated grows eightfold.
TEST_F(Attention, MemoryGrowsWithTheSequenceAndNotWithItsSquare) {
  std::vector<uint64_t> peaks;
  for (const int64_t n : {80, 640}) {
    const Tensor q = random({1, 1, n, 8}, 1);
    const Attended a = attend(q, q, q, nullptr, nullptr, nullptr, true);
    Tensor dq, dk, dv, dscores;
    w_.ok(mill_memory_reset_peak(w_.context(), w_.device(), w_.error()));
    mill_memory_stats before = {};
    before.size = sizeof before;
    before.type = MILL_STRUCT_MEMORY_STATS;
    mill_memory_stats after = before;
    w_.ok(mill_memory_stats_query(w_.context(), w_.device(), &before, w_.error()));
    w_.ok(mill_attention_backward(w_.exec(), q.get(), q.get(), q.get(), q.get(), a.out.get(),
                                  a.lse.get(), nullptr, nullptr, nullptr, nullptr, 1, 0, 0, 0,
                                  dq.out(), dk.out(), dv.out(), dscores.out(), w_.error()));
    w_.ok(mill_exec_wait(w_.exec(), w_.error()));
    w_.ok(mill_memory_stats_query(w_.context(), w_.device(), &after, w_.error()));
    peaks.push_back(after.in_use_peak - before.in_use_bytes);
  }
  EXPECT_LT(peaks[1], 12 * peaks[0]) << peaks[0] << " and " << peaks[1];
}

}  // namespace
}  // namespace mill_test
