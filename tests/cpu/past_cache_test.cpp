// Large results take another way to memory than small ones; the values must be the same bits.
#include <algorithm>
#include <functional>

#include "cpu/rows_harness.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(unary)
MILL_TEST_TARGETS(binary)
MILL_TEST_TARGETS(softmax)
MILL_TEST_TARGETS(norm)

// Odd, so that rows begin at every alignment; 40 MB in all, more than kPastCacheBytes of
// impl/cpu/past_cache.h.
constexpr int64_t kWidth = 1027;
constexpr int64_t kRows = 10211;
constexpr int64_t kSlice = 500;

void fill_quickly(Tensor& t, uint32_t seed) {
  float* values = t.data<float>();
  uint32_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < t.numel(); ++i) {
    state = state * 1664525u + 1013904223u;
    values[i] = static_cast<float>(state >> 8) * 0x1p-22f - 2;
  }
}

Tensor rows_of(Tensor& t, int64_t first, int64_t rows) {
  Tensor slice(MILL_F32, {rows, kWidth});
  std::memcpy(slice.data<float>(), t.data<float>() + first * kWidth,
              static_cast<size_t>(rows * kWidth) * sizeof(float));
  return slice;
}

using Run = std::function<Launch(const std::vector<const Tensor*>& in, Tensor* out)>;

// The whole at once and in slices.
void expect_same(const std::string& where, const Run& run, std::vector<Tensor>& in) {
  Tensor whole(MILL_F32, {kRows, kWidth});
  std::vector<const Tensor*> inputs;
  for (const Tensor& t : in) inputs.push_back(&t);
  ASSERT_EQ(run(inputs, &whole).status, MILL_OK) << where;
  ASSERT_TRUE(whole.guards_hold()) << where;
  for (int64_t first = 0; first < kRows; first += kSlice) {
    const int64_t rows = std::min(kSlice, kRows - first);
    std::vector<Tensor> slices;
    for (Tensor& t : in) slices.push_back(rows_of(t, first, rows));
    std::vector<const Tensor*> slice_inputs;
    for (const Tensor& t : slices) slice_inputs.push_back(&t);
    Tensor out(MILL_F32, {rows, kWidth});
    ASSERT_EQ(run(slice_inputs, &out).status, MILL_OK) << where;
    ASSERT_TRUE(rows_of(whole, first, rows).same_bits(out)) << where << " from row " << first;
  }
  // In place, where an input may be overwritten.
  Tensor same = in[0];
  inputs[0] = &same;
  if (run(inputs, &same).status == MILL_OK) {
    EXPECT_TRUE(same.same_bits(whole)) << where << " in place";
  }
}

std::vector<Tensor> inputs_of(int count) {
  std::vector<Tensor> in;
  for (int k = 0; k < count; ++k) {
    in.emplace_back(MILL_F32, std::vector<int64_t>{kRows, kWidth});
    fill_quickly(in.back(), static_cast<uint32_t>(k + 1));
  }
  return in;
}

TEST(PastCache, PointwiseResultsAreTheSameBits) {
  std::vector<Tensor> one = inputs_of(1);
  for (const Target& target : unary_targets()) {
    expect_same(
        label(target, MILL_F32, "gelu"),
        [&](const auto& in, Tensor* out) {
          return launch(target.list, MILL_OP_GELU, in, {out}, {int_attr(1)}, 2);
        },
        one);
  }
  std::vector<Tensor> two = inputs_of(2);
  for (const Target& target : binary_targets()) {
    expect_same(
        label(target, MILL_F32, "mul"),
        [&](const auto& in, Tensor* out) {
          return launch(target.list, MILL_OP_MUL, in, {out}, {}, 2);
        },
        two);
  }
}

TEST(PastCache, RowResultsAreTheSameBits) {
  std::vector<Tensor> one = inputs_of(1);
  std::vector<Tensor> two = inputs_of(2);
  for (const Target& target : softmax_targets()) {
    for (const int32_t op : {MILL_OP_SOFTMAX, MILL_OP_LOG_SOFTMAX}) {
      expect_same(
          label(target, MILL_F32, "softmax"),
          [&](const auto& in, Tensor* out) {
            return launch(target.list, op, in, {out}, {int_attr(1)}, 2);
          },
          one);
    }
    expect_same(
        label(target, MILL_F32, "softmax_backward"),
        [&](const auto& in, Tensor* out) {
          return launch(target.list, MILL_OP_SOFTMAX_BACKWARD, in, {out}, {int_attr(1)}, 2);
        },
        two);
  }
}

TEST(PastCache, LayerNormResultsAreTheSameBits) {
  std::vector<Tensor> two = inputs_of(2);
  for (const Target& target : norm_targets()) {
    Tensor weight(MILL_F32, {kWidth});
    Tensor bias(MILL_F32, {kWidth});
    fill_quickly(weight, 7);
    fill_quickly(bias, 8);
    // Forward on the second input, then the gradient by it; with and without parameters.
    for (const bool parameters : {true, false}) {
      const Tensor* const w = parameters ? &weight : nullptr;
      const Tensor* const b = parameters ? &bias : nullptr;
      expect_same(
          label(target, MILL_F32, "layer_norm"),
          [&](const auto& in, Tensor* out) {
            const int64_t rows = in[0]->dim(0);
            Tensor normal(MILL_F32, {rows, kWidth});
            Tensor mean(MILL_F32, {rows});
            Tensor rstd(MILL_F32, {rows});
            const Launch forward =
                launch(target.list, MILL_OP_LAYER_NORM, {in[1], w, b}, {&normal, &mean, &rstd},
                       {int_attr(1), float_attr(1e-5)}, 2);
            if (forward.status != MILL_OK) return forward;
            return launch(target.list, MILL_OP_LAYER_NORM_BACKWARD,
                          {&normal, in[1], w, &mean, &rstd}, {out, nullptr, nullptr}, {int_attr(1)},
                          2);
          },
          two);
    }
  }
}

}  // namespace
}  // namespace mill::cpu::test
