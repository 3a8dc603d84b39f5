#include "cpu/rows_harness.h"
#include "kernels/functors/philox.h"

namespace mill::cpu::test {
namespace {

MILL_TEST_TARGETS(random)

constexpr int64_t kSeed = 0x0123456789abcdef;
constexpr int64_t kCall = 0x1122334455;

Tensor key(int64_t seed = kSeed, int64_t call = kCall) {
  Tensor t(MILL_I64, {2});
  t.data<int64_t>()[0] = seed;
  t.data<int64_t>()[1] = call;
  return t;
}

uint32_t word(int64_t i, int64_t seed = kSeed, int64_t call = kCall) {
  return philox::block(static_cast<uint64_t>(seed), static_cast<uint64_t>(call),
                       static_cast<uint64_t>(i) / 4)
      .word[i % 4];
}

double unit53(int64_t i) {
  return philox::unit_double(word(2 * i), word(2 * i + 1));
}

std::vector<mill_attr> range_attrs(int32_t dtype, double low, double high) {
  return {{}, dtype_attr(dtype), float_attr(low), float_attr(high)};
}

TEST(Philox, GivesThePublishedWords) {
  const philox::Words zero = philox::philox4x32({{0, 0, 0, 0}}, 0, 0);
  const uint32_t want_zero[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const philox::Words ones = philox::philox4x32({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
                                                0xffffffff, 0xffffffff);
  const uint32_t want_ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  const philox::Words pi = philox::philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
                                              0xa4093822, 0x299f31d0);
  const uint32_t want_pi[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(zero.word[i], want_zero[i]);
    EXPECT_EQ(ones.word[i], want_ones[i]);
    EXPECT_EQ(pi.word[i], want_pi[i]);
  }
}

TEST(Uniform, IsTheScalarStreamOnEveryTarget) {
  for (const Target& target : random_targets()) {
    for (const int64_t n : {0, 1, 3, 4, 63, 1023, 1025, 5000}) {
      Tensor k = key();
      Tensor out(MILL_F32, {n});
      ASSERT_EQ(
          launch(target.list, MILL_OP_UNIFORM, {&k}, {&out}, range_attrs(MILL_F32, -2, 3)).status,
          MILL_OK);
      for (int64_t i = 0; i < n; ++i) {
        // volatile: two roundings, whatever this file is compiled with.
        volatile float product = philox::unit_float(word(i)) * 5.0f;
        ASSERT_EQ(out.data<float>()[i], product + -2.0f) << target.name << " element " << i;
      }
    }
  }
}

TEST(Uniform, DoublesTakeTwoWords) {
  for (const Target& target : random_targets()) {
    Tensor k = key();
    Tensor out(MILL_F64, {1031});
    ASSERT_EQ(
        launch(target.list, MILL_OP_UNIFORM, {&k}, {&out}, range_attrs(MILL_F64, 0, 1)).status,
        MILL_OK);
    for (int64_t i = 0; i < out.numel(); ++i)
      ASSERT_EQ(out[i], unit53(i)) << target.name << " element " << i;
  }
}

TEST(Uniform, StaysBelowHigh) {
  for (const Target& target : random_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      const std::pair<double, double> ranges[] = {{0, 1},     {-1, 0},    {1, 1.01},
                                                  {100, 101}, {-3, -2.9}, {0, 1e-30}};
      for (const auto& [low, high] : ranges) {
        if (dtype == MILL_F16 && high == 1e-30) continue;
        Tensor k = key();
        Tensor out(dtype, {20000});
        ASSERT_EQ(launch(target.list, MILL_OP_UNIFORM, {&k}, {&out}, range_attrs(dtype, low, high))
                      .status,
                  MILL_OK);
        for (int64_t i = 0; i < out.numel(); ++i) {
          ASSERT_LT(out[i], high) << label(target, dtype);
          ASSERT_GE(out[i], low - std::abs(low) * epsilon_of(dtype)) << label(target, dtype);
        }
      }
    }
  }
}

TEST(Uniform, IntegersAreTheFloorAndReachBothEnds) {
  for (const Target& target : random_targets()) {
    for (const int32_t dtype : {MILL_U8, MILL_I8, MILL_I16, MILL_I32, MILL_I64}) {
      Tensor k = key();
      Tensor out(dtype, {4000});
      const double low = dtype == MILL_U8 ? 3 : -4;
      ASSERT_EQ(launch(target.list, MILL_OP_UNIFORM, {&k}, {&out}, range_attrs(dtype, low, low + 7))
                    .status,
                MILL_OK);
      std::vector<int> seen(7);
      for (int64_t i = 0; i < out.numel(); ++i) {
        const double u = dtype == MILL_I64 ? unit53(i) : static_cast<double>(word(i)) * 0x1p-32;
        ASSERT_EQ(out[i], std::floor(low + u * 7)) << label(target, dtype) << " element " << i;
        ++seen[static_cast<size_t>(out[i] - low)];
      }
      for (const int count : seen) EXPECT_GT(count, 450) << label(target, dtype);
    }
    Tensor k = key();
    Tensor bytes(MILL_U8, {20000});
    ASSERT_EQ(
        launch(target.list, MILL_OP_UNIFORM, {&k}, {&bytes}, range_attrs(MILL_U8, 0, 256)).status,
        MILL_OK);
    double most = 0;
    for (int64_t i = 0; i < bytes.numel(); ++i) most = std::max(most, bytes[i]);
    EXPECT_EQ(most, 255);
  }
}

TEST(Uniform, RefusesADtypeItCannotMake) {
  for (const Target& target : random_targets()) {
    Tensor k = key();
    Tensor out(MILL_BOOL, {4});
    const Launch result =
        launch(target.list, MILL_OP_UNIFORM, {&k}, {&out}, range_attrs(MILL_BOOL, 0, 1));
    EXPECT_EQ(result.status, MILL_E_DTYPE);
    EXPECT_NE(result.text.find("uniform"), std::string::npos);
    EXPECT_TRUE(out.untouched());
  }
}

TEST(Uniform, DoesNotDependOnThreadsAndDiffersByCallAndSeed) {
  for (const Target& target : random_targets()) {
    for (const int32_t op : {MILL_OP_UNIFORM, MILL_OP_NORMAL}) {
      Tensor k = key();
      Tensor one(MILL_F32, {50001});
      Tensor three = one;
      Tensor other = one;
      ASSERT_EQ(launch(target.list, op, {&k}, {&one}, range_attrs(MILL_F32, 0, 1)).status, MILL_OK);
      ASSERT_EQ(launch(target.list, op, {&k}, {&three}, range_attrs(MILL_F32, 0, 1), 3).status,
                MILL_OK);
      EXPECT_TRUE(one.same_bits(three));
      Tensor k2 = key(kSeed, kCall + 1);
      ASSERT_EQ(launch(target.list, op, {&k2}, {&other}, range_attrs(MILL_F32, 0, 1)).status,
                MILL_OK);
      EXPECT_FALSE(one.same_bits(other));
      Tensor k3 = key(kSeed + (int64_t{1} << 40), kCall);
      Tensor third = one;
      ASSERT_EQ(launch(target.list, op, {&k3}, {&third}, range_attrs(MILL_F32, 0, 1)).status,
                MILL_OK);
      EXPECT_FALSE(one.same_bits(third));
    }
  }
}

TEST(Normal, IsBoxMullerOnTheStream) {
  for (const Target& target : random_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const int64_t n : {0, 1, 2, 7, 1000, 4099}) {
        Tensor k = key();
        Tensor out(dtype, {n});
        ASSERT_EQ(
            launch(target.list, MILL_OP_NORMAL, {&k}, {&out}, range_attrs(dtype, 0.5, 2)).status,
            MILL_OK);
        for (int64_t i = 0; i < n; ++i) {
          const int64_t even = i / 2 * 2;
          const bool wide = dtype == MILL_F64;
          const double u1 = wide ? unit53(even) + 0x1p-53 : ((word(even) >> 8) + 1) * 0x1p-24;
          const double u2 = wide ? unit53(even + 1) : (word(even + 1) >> 8) * 0x1p-24;
          const double radius = std::sqrt(-2 * std::log(u1));
          const double turn = 2 * M_PI * u2;
          const double want = 0.5 + 2 * radius * (i % 2 == 0 ? std::cos(turn) : std::sin(turn));
          const double unit = epsilon_of(dtype) * (dtype == MILL_F32 || wide ? 1 : 1.01);
          ASSERT_TRUE(close(out[i], want, 4 * unit, 16 * (wide ? 0x1p-53 : 0x1p-24) * 2))
              << label(target, dtype) << " element " << i << ": " << out[i] << " for " << want;
        }
      }
    }
  }
}

TEST(Normal, HasTheMomentsOfTheNormalDistribution) {
  for (const Target& target : random_targets()) {
    Tensor k = key();
    Tensor out(MILL_F32, {200000});
    ASSERT_EQ(launch(target.list, MILL_OP_NORMAL, {&k}, {&out}, range_attrs(MILL_F32, 0, 1)).status,
              MILL_OK);
    double moment[5] = {};
    for (int64_t i = 0; i < out.numel(); ++i) {
      double power = 1;
      for (double& m : moment) {
        m += power / static_cast<double>(out.numel());
        power *= out[i];
      }
    }
    EXPECT_NEAR(moment[1], 0, 0.01);
    EXPECT_NEAR(moment[2], 1, 0.015);
    EXPECT_NEAR(moment[3], 0, 0.04);
    EXPECT_NEAR(moment[4], 3, 0.1);
  }
}

TEST(Dropout, DropsBelowPAndScalesTheRest) {
  for (const Target& target : random_targets()) {
    for (const int32_t dtype : float_dtypes()) {
      for (const double p : {0.0, 0.25, 0.5, 0.9, 1.0}) {
        for (const int64_t n : {0, 1, 5, 1024, 3001}) {
          Tensor k = key();
          Tensor x(dtype, {n});
          x.fill(1, 0.5, 2);
          if (n > 10) x.set(n - 1, NAN);
          Tensor out(dtype, {n});
          ASSERT_EQ(launch(target.list, MILL_OP_DROPOUT, {&x, &k}, {&out}, {float_attr(p)}).status,
                    MILL_OK);
          for (int64_t i = 0; i < n; ++i) {
            const bool kept = static_cast<double>(philox::unit_float(word(i))) >= p;
            const double want = kept ? x[i] * (1 / (1 - p)) : 0;
            ASSERT_TRUE(close(out[i], want, 2 * epsilon_of(dtype), 0))
                << label(target, dtype) << " " << i;
          }
          Tensor in_place = x;
          ASSERT_EQ(
              launch(target.list, MILL_OP_DROPOUT, {&in_place, &k}, {&in_place}, {float_attr(p)}, 3)
                  .status,
              MILL_OK);
          ASSERT_TRUE(in_place.same_bits(out)) << label(target, dtype);
        }
      }
    }
  }
}

TEST(RngNext, CopiesTheKeyAndCountsTheCall) {
  for (const Target& target : random_targets()) {
    Tensor state = key(-5, std::numeric_limits<int64_t>::max());
    Tensor out(MILL_I64, {2});
    ASSERT_EQ(launch(target.list, MILL_OP_RNG_NEXT, {&state}, {&out, &state}).status, MILL_OK);
    EXPECT_EQ(out.data<int64_t>()[0], -5);
    EXPECT_EQ(out.data<int64_t>()[1], std::numeric_limits<int64_t>::max());
    EXPECT_EQ(state.data<int64_t>()[0], -5);
    EXPECT_EQ(state.data<int64_t>()[1], std::numeric_limits<int64_t>::min());
  }
}

}  // namespace
}  // namespace mill::cpu::test
