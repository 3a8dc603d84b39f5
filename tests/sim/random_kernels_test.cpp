// Random kernels against the stream's definition, bit for bit where every device must agree.
#include <cmath>

#include "kernels/functors/philox.h"
#include "sim/kernel_harness.h"

namespace mill::sim::test {
namespace {

using cpu::test::dtype_attr;
using cpu::test::epsilon_of;
using cpu::test::float_attr;
using cpu::test::float_dtypes;
using cpu::test::ints_attr;

constexpr int64_t kSeed = -0x123456789abcdef;
constexpr int64_t kCall = 0x7000000123456;

Tensor key_of(int64_t seed, int64_t call) {
  Tensor key(MILL_I64, {2});
  key.data<int64_t>()[0] = seed;
  key.data<int64_t>()[1] = call;
  return key;
}
uint32_t word(int64_t i) {
  return philox::block(static_cast<uint64_t>(kSeed), static_cast<uint64_t>(kCall),
                       static_cast<uint64_t>(i / 4))
      .word[i % 4];
}
uint64_t bits53(int64_t i) {
  return ((static_cast<uint64_t>(word(2 * i + 1)) << 32) | word(2 * i)) >> 11;
}

std::vector<int64_t> counts() {
  return {1, 2, 3, 7, 15, 16, 17, 33, 4099};
}

TEST(UniformKernel, HasTheBitsOfTheStreamInEveryFloatDtype) {
  Bench bench;
  const Tensor key = key_of(kSeed, kCall);
  for (const int32_t dtype : float_dtypes()) {
    for (const int64_t n : counts()) {
      for (const uint64_t shift : {0, 1}) {
        Tensor got(dtype, {n});
        const Launch result =
            bench.run(MILL_OP_UNIFORM, {&key}, {&got},
                      {ints_attr({n}), dtype_attr(dtype), float_attr(-2), float_attr(0.7)}, shift);
        ASSERT_EQ(result.status, MILL_OK) << result.text;
        Tensor want(dtype, {n});
        for (int64_t i = 0; i < n; ++i) {
          if (dtype == MILL_F64) {
            volatile double scaled = static_cast<double>(bits53(i)) * 0x1p-53 * (0.7 - -2);
            want.set(i, scaled + -2);
          } else {
            volatile float scaled =
                static_cast<float>(word(i) >> 8) * 0x1p-24f * static_cast<float>(0.7 - -2);
            want.set(i, static_cast<double>(scaled + -2.0f));
          }
        }
        // f16 has no 0.7: what rounds to the value above it becomes the one below.
        for (int64_t i = 0; i < n; ++i) {
          if (want[i] >= 0.7) want.set(i, want[i] - epsilon_of(dtype));
        }
        EXPECT_TRUE(got.same_bits(want)) << "dtype " << dtype << ", n " << n << ", shift " << shift;
      }
    }
  }
}

TEST(UniformKernel, StaysBelowTheUpperEndInTwoByteDtypes) {
  Bench bench;
  const Tensor key = key_of(kSeed, kCall);
  for (const int32_t dtype : {MILL_BF16, MILL_F16}) {
    const int64_t n = 20000;
    Tensor got(dtype, {n});
    ASSERT_EQ(bench
                  .run(MILL_OP_UNIFORM, {&key}, {&got},
                       {ints_attr({n}), dtype_attr(dtype), float_attr(0), float_attr(1)})
                  .status,
              MILL_OK);
    double most = 0;
    for (int64_t i = 0; i < n; ++i) most = std::max(most, got[i]);
    // The largest value below 1: without the limit 1 in 256 (bf16) would round to 1.
    EXPECT_EQ(most, 1 - epsilon_of(dtype));
  }
}

TEST(UniformKernel, DrawsIntegersFromWholeWords) {
  Bench bench;
  const Tensor key = key_of(kSeed, kCall);
  for (const int32_t dtype : {MILL_U8, MILL_I8, MILL_I32, MILL_I64}) {
    for (const int64_t n : counts()) {
      Tensor got(dtype, {n});
      const double low = dtype == MILL_U8 ? 0 : -100;
      ASSERT_EQ(bench
                    .run(MILL_OP_UNIFORM, {&key}, {&got},
                         {ints_attr({n}), dtype_attr(dtype), float_attr(low), float_attr(100)})
                    .status,
                MILL_OK);
      for (int64_t i = 0; i < n; ++i) {
        const double unit = dtype == MILL_I64 ? static_cast<double>(bits53(i)) * 0x1p-53
                                              : static_cast<double>(word(i)) * 0x1p-32;
        volatile double scaled = unit * (100 - low);
        ASSERT_EQ(got[i], std::floor(scaled + low)) << "dtype " << dtype << ", element " << i;
      }
    }
  }
}

TEST(NormalKernel, FollowsBoxAndMuller) {
  Bench bench;
  const Tensor key = key_of(kSeed, kCall);
  constexpr long double kTurn = 2 * 3.14159265358979323846L;
  for (const int32_t dtype : float_dtypes()) {
    for (const int64_t n : counts()) {
      for (const uint64_t shift : {0, 1}) {
        Tensor got(dtype, {n});
        const Launch result =
            bench.run(MILL_OP_NORMAL, {&key}, {&got},
                      {ints_attr({n}), dtype_attr(dtype), float_attr(-2), float_attr(3)}, shift);
        ASSERT_EQ(result.status, MILL_OK) << result.text;
        const double unit = dtype == MILL_F64 ? 0x1p-53 : 0x1p-24;
        for (int64_t i = 0; i < n; ++i) {
          const int64_t even = i - i % 2;
          const bool wide = dtype == MILL_F64;
          const double radius_unit = wide ? static_cast<double>(bits53(even) + 1) * 0x1p-53
                                          : static_cast<double>((word(even) >> 8) + 1) * 0x1p-24;
          const double turn = wide ? static_cast<double>(bits53(even + 1)) * 0x1p-53
                                   : static_cast<double>(word(even + 1) >> 8) * 0x1p-24;
          const long double radius =
              std::sqrt(-2 * std::log(static_cast<long double>(radius_unit)));
          const long double angle = kTurn * turn;
          const auto want = static_cast<double>(
              -2 + 3 * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
          ASSERT_NEAR(got[i], want, 1.01 * epsilon_of(dtype) * std::abs(want) + 32 * unit)
              << "dtype " << dtype << ", element " << i;
        }
      }
    }
  }
}

TEST(DropoutKernel, KeepsWhatTheStreamSays) {
  Bench bench;
  const Tensor key = key_of(kSeed, kCall);
  for (const int32_t dtype : float_dtypes()) {
    for (const double p : {0.0, 0.25, 0.9, 1.0}) {
      for (const int64_t n : counts()) {
        for (const uint64_t shift : {0, 1}) {
          Tensor x(dtype, {n});
          x.fill(4, 1, 2);
          const Tensor before = x;
          const Launch result =
              bench.run(MILL_OP_DROPOUT, {&x, &key}, {&x}, {float_attr(p)}, shift);
          ASSERT_EQ(result.status, MILL_OK) << result.text;
          for (int64_t i = 0; i < n; ++i) {
            const bool kept = static_cast<double>(word(i) >> 8) * 0x1p-24 >= p;
            const double want = kept ? before[i] / (1 - p) : 0;
            ASSERT_NEAR(x[i], want, 2.5 * epsilon_of(dtype) * want)
                << "dtype " << dtype << ", p " << p << ", element " << i;
          }
        }
      }
    }
  }
}

TEST(RngNextKernel, CountsTheCallInPlace) {
  Bench bench;
  Tensor state = key_of(11, 5);
  Tensor key(MILL_I64, {2});
  ASSERT_EQ(bench.run(MILL_OP_RNG_NEXT, {&state}, {&key, &state}).status, MILL_OK);
  EXPECT_TRUE(key.same_bits(key_of(11, 5)));
  EXPECT_TRUE(state.same_bits(key_of(11, 6)));
  ASSERT_EQ(bench.run(MILL_OP_RNG_NEXT, {&state}, {nullptr, &key}).status, MILL_OK);
  EXPECT_TRUE(key.same_bits(key_of(11, 7)));
}

}  // namespace
}  // namespace mill::sim::test
