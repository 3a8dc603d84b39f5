// Optimizer kernels over lists of tensors, as the ops do not launch them, and the norm of a list.
#include <cmath>

#include "sim/kernel_harness.h"
//
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/rows.inl"
//
#include "kernels/block/circle.inl"
//
#include "kernels/block/optim.inl"
//
#include "gpu/families/adamw.h"

using cpu::test::epsilon_of;
using sim::test::Bench;
using sim::test::Launch;
using sim::test::Tensor;

struct Weights {
  Tensor param;
  Tensor grad;
  Tensor m;
  Tensor v;
  Tensor master;
};

Weights weights_of(int32_t dtype, int64_t n, uint64_t seed) {
  Weights w{Tensor(dtype, {n}), Tensor(dtype, {n}), Tensor(MILL_F32, {n}), Tensor(MILL_F32, {n}),
            Tensor(MILL_F32, {n})};
  w.param.fill(seed);
  w.grad.fill(seed + 1);
  w.m.fill(seed + 2);
  w.v.fill(seed + 3, 0, 1);
  w.master.fill(seed + 4);
  return w;
}

constexpr adamw_options kOptions = {0.9, 0.999, 1e-8, 0.01, false, false};
constexpr double kRate = 0.01;
constexpr double kClip = 0.5;
constexpr int64_t kStep = 3;

// One tensor's update in f64, from `p`.
void expect_updated(const Weights& before, const Tensor& p, const Tensor& p_out,
                    const Weights& after) {
  for (int64_t i = 0; i < p.numel(); ++i) {
    const double g = before.grad[i] * kClip;
    const double m = 0.9 * before.m[i] + 0.1 * g;
    const double v = 0.999 * before.v[i] + 0.001 * g * g;
    const double root = std::sqrt(v / (1 - std::pow(0.999, kStep))) + 1e-8;
    const double want = p[i] * (1 - kRate * 0.01) - kRate / (1 - std::pow(0.9, kStep)) * m / root;
    ASSERT_NEAR(after.m[i], m, 1e-6);
    ASSERT_NEAR(after.v[i], v, 1e-6);
    ASSERT_NEAR(p_out[i], want, 1.01 * epsilon_of(p_out.dtype()) * std::abs(want) + 2e-6)
        << "element " << i << " of " << p.numel();
  }
}

template <bool Master>
void run_list(const std::vector<int64_t>& sizes, uint64_t shift) {
  Bench bench;
  std::vector<Weights> list;
  std::vector<adamw_tensor<bf16>> tensors;
  for (size_t k = 0; k < sizes.size(); ++k) {
    list.push_back(weights_of(MILL_BF16, sizes[k], 10 * k + 1));
    const Weights& w = list.back();
    auto* param = reinterpret_cast<bf16*>(bench.put(w.param, 2 * shift));
    auto* grad = reinterpret_cast<bf16*>(bench.put(w.grad, 2 * shift));
    auto* m = reinterpret_cast<float*>(bench.put(w.m, 4 * shift));
    auto* v = reinterpret_cast<float*>(bench.put(w.v, 4 * shift));
    auto* master = reinterpret_cast<float*>(bench.put(w.master, 4 * shift));
    float* used = Master ? master : nullptr;
    tensors.push_back({{param}, {grad}, {m}, {v}, {used}, {param}, {m}, {v}, {used}, sizes[k], 0});
  }
  const auto* rate = bench.put(Tensor::of(MILL_F32, {1}, {kRate}));
  Tensor step(MILL_I64, {1});
  step.set(0, kStep);
  const auto* counter = reinterpret_cast<const int64_t*>(bench.put(step));
  const auto* clip = bench.put(Tensor::of(MILL_F32, {1}, {kClip}));
  const mill_kernel_args args = bench.launch_args();
  ASSERT_EQ(
      adamw_list<Master>(&args, kOptions, {rate, counter, clip}, tensors.data(), tensors.size()),
      MILL_OK)
      << args.error->text;
  for (size_t k = 0; k < sizes.size(); ++k) {
    Weights after = list[k];
    bench.get(5 * k, &after.param);
    bench.get(5 * k + 2, &after.m);
    bench.get(5 * k + 3, &after.v);
    bench.get(5 * k + 4, &after.master);
    if constexpr (Master) {
      expect_updated(list[k], list[k].master, after.master, after);
      for (int64_t i = 0; i < sizes[k]; ++i) {
        const float rounded = to_float(to_bf16(static_cast<float>(after.master[i])));
        ASSERT_EQ(after.param[i], static_cast<double>(rounded));
      }
    } else {
      expect_updated(list[k], list[k].param, after.param, after);
      EXPECT_TRUE(after.master.same_bits(list[k].master));
    }
  }
  bench.clear();
}

// More tensors than a table holds, empty ones among them and at its end, and one of several blocks.
std::vector<int64_t> sizes_of_a_list() {
  std::vector<int64_t> sizes;
  for (int64_t k = 0; k < 45; ++k)
    sizes.push_back(k == 7 || k == 31 || k == 44 ? 0 : 8 * k + k % 3);
  sizes[3] = 70001;
  return sizes;
}

TEST(AdamwKernel, UpdatesAListOfTensorsInAFewLaunches) {
  run_list<false>(sizes_of_a_list(), 0);
  run_list<false>({5, 1000}, 1);
}

TEST(AdamwKernel, UpdatesMasterWeightsAndRoundsTheirCopy) {
  run_list<true>(sizes_of_a_list(), 0);
  run_list<true>({5, 1000}, 1);
}

TEST(SquaredNormKernel, AddsUpTensorsOfMixedDtypes) {
  Bench bench;
  const int32_t dtypes[] = {MILL_F32, MILL_BF16, MILL_F16, MILL_F64};
  for (const std::vector<int64_t>& sizes : std::vector<std::vector<int64_t>>{
           {0}, {0, 3, 0}, {100000, 7, 33001}, {3000000}, std::vector<int64_t>(64, 100)}) {
    for (const uint64_t shift : {0, 1}) {
      std::vector<Tensor> tensors;
      std::vector<const Tensor*> in;
      long double want = 0;
      for (size_t k = 0; k < sizes.size(); ++k) {
        tensors.emplace_back(dtypes[k % 4], std::vector<int64_t>{sizes[k]});
        tensors.back().fill(k + 1, 0.5, 2);
        for (int64_t i = 0; i < sizes[k]; ++i) {
          const long double x = tensors.back()[i];
          want += x * x;
        }
      }
      for (const Tensor& t : tensors) in.push_back(&t);
      Tensor out(MILL_F32, {1});
      const Launch result = bench.run(MILL_OP_SQUARED_NORM, in, {&out}, {}, shift);
      ASSERT_EQ(result.status, MILL_OK) << result.text;
      EXPECT_NEAR(out[0], static_cast<double>(want), 8 * 0x1p-24 * static_cast<double>(want));
    }
  }
}

}  // namespace
}  // namespace MILL_FLAVOUR
