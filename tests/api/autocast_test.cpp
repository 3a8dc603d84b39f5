// Autocast: which dtypes each op works in, that everything else stays as it was, and what is
// refused. How trainings come out: tests/gradient/mixed_precision_test.cpp.
#include <functional>
#include <limits>

#include "api/refusal.h"

namespace mill_test {
namespace {

struct Autocast : testing::Test {
  void on(mill_dtype dtype) {
    ASSERT_EQ(mill_exec_set_autocast(f.exec(), dtype, f.err()), MILL_OK) << f.message();
  }
  mill_tensor* of(std::initializer_list<int64_t> dims, mill_dtype dtype) {
    return f.tensor(dims, dtype, 0.5);
  }
  // The result dtype of op(x), where the first output counts.
  mill_dtype dtype_of(int32_t op, std::initializer_list<mill_tensor*> in, uint32_t n_out = 1) {
    mill_tensor* out[MILL_MAX_OP_OUTPUTS] = {};
    const std::vector<mill_tensor*> inputs = in;
    EXPECT_EQ(mill_op_invoke(f.exec(), op, inputs.data(), static_cast<uint32_t>(inputs.size()),
                             nullptr, 0, out, n_out, f.err()),
              MILL_OK)
        << f.message();
    const mill_dtype dtype = out[0] ? mill_tensor_dtype(out[0]) : MILL_DTYPE_NONE;
    for (uint32_t k = 0; k < n_out; ++k) mill_tensor_release(out[k]);
    return dtype;
  }
  uint32_t flags_of(int32_t op) {
    mill_op_schema schema{};
    schema.size = sizeof schema;
    schema.type = MILL_STRUCT_OP_SCHEMA;
    EXPECT_EQ(mill_op_query(f.context(), op, &schema, f.err()), MILL_OK) << f.message();
    return schema.flags;
  }

  Fixture f;
};

constexpr int32_t kHighUnary[] = {MILL_OP_EXP,     MILL_OP_LOG,         MILL_OP_RSQRT,
                                  MILL_OP_SUM,     MILL_OP_MEAN,        MILL_OP_SOFTPLUS,
                                  MILL_OP_SOFTMAX, MILL_OP_LOG_SOFTMAX, MILL_OP_LAYER_NORM};
constexpr mill_dtype kHalves[] = {MILL_BF16, MILL_F16};

TEST_F(Autocast, MatrixProductsWorkInTheLowDtype) {
  for (const mill_dtype low : kHalves) {
    on(low);
    for (const mill_dtype given : {MILL_F32, MILL_F16, MILL_BF16}) {
      EXPECT_EQ(dtype_of(MILL_OP_MATMUL, {of({2, 3}, given), of({3, 4}, MILL_F32)}), low);
      EXPECT_EQ(
          dtype_of(MILL_OP_LINEAR, {of({2, 3}, MILL_F32), of({4, 3}, given), of({4}, MILL_F32)}),
          low);
      EXPECT_EQ(dtype_of(MILL_OP_LINEAR, {of({2, 3}, given), of({4, 3}, given), nullptr}), low);
    }
    EXPECT_EQ(flags_of(MILL_OP_MATMUL) & MILL_OP_AUTOCAST_LOW, uint32_t{MILL_OP_AUTOCAST_LOW});
  }
}

TEST_F(Autocast, OpsThatLoseIn16BitsWorkInF32) {
  for (const mill_dtype low : kHalves) {
    on(low);
    for (const mill_dtype given : {MILL_F32, MILL_F16, MILL_BF16}) {
      mill_tensor* const x = of({2, 3}, given);
      for (const int32_t op : kHighUnary) {
        const bool norm = op == MILL_OP_LAYER_NORM;
        EXPECT_EQ(norm ? dtype_of(op, {x, of({3}, given), nullptr}, 3) : dtype_of(op, {x}),
                  MILL_F32)
            << "op " << op;
        EXPECT_NE(flags_of(op) & MILL_OP_AUTOCAST_HIGH, 0u) << "op " << op;
      }
      EXPECT_EQ(dtype_of(MILL_OP_POW, {x, of({2, 3}, low)}), MILL_F32);
      EXPECT_EQ(dtype_of(MILL_OP_CROSS_ENTROPY, {x, f.ids({2})}, 2), MILL_F32);
    }
    mill_tensor* out = nullptr;
    ASSERT_EQ(mill_sum(f.exec(), f.ids({4}), nullptr, 0, 0, &out, f.err()), MILL_OK);
    EXPECT_EQ(mill_tensor_dtype(f.own(out)), MILL_I64);
  }
}

TEST_F(Autocast, AllOtherOpsTakeWhatTheyAreHanded) {
  for (const mill_dtype low : kHalves) {
    on(low);
    for (const mill_dtype given : {MILL_F64, MILL_F32, MILL_F16, MILL_BF16}) {
      mill_tensor* const x = of({2, 3}, given);
      for (const int32_t op : {MILL_OP_NEG, MILL_OP_RELU, MILL_OP_TANH, MILL_OP_GELU, MILL_OP_SQRT,
                               MILL_OP_AFFINE, MILL_OP_MAX})
        EXPECT_EQ(dtype_of(op, {x}), given) << "op " << op;
      EXPECT_EQ(dtype_of(MILL_OP_ADD, {x, of({3}, given)}), given);
      EXPECT_EQ(dtype_of(MILL_OP_EMBEDDING, {x, f.ids({4})}), given);
    }
    EXPECT_EQ(dtype_of(MILL_OP_ADD, {of({2, 3}, low), of({3}, MILL_F32)}), MILL_F32);
  }
  EXPECT_EQ(flags_of(MILL_OP_ADD) & (MILL_OP_AUTOCAST_LOW | MILL_OP_AUTOCAST_HIGH), 0u);
}

TEST_F(Autocast, F64IsLeftAlone) {
  on(MILL_BF16);
  const std::vector<double> fine = {1 + 0x1p-40, 2};
  mill_tensor* const a = upload<double>(f, {1, 2}, fine);
  mill_tensor* const b = of({2, 1}, MILL_F64);
  mill_tensor* out = nullptr;
  ASSERT_EQ(mill_matmul(f.exec(), a, b, &out, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read_all<double>(f, f.own(out))[0], 1.5 + 0x1p-41);
  // Beside f64 the f32 input promotes; on its way through bf16 it would lose 0x1p-20.
  mill_tensor* const narrow = upload<float>(f, {1, 2}, {1 + 0x1p-20f, 2});
  out = nullptr;
  ASSERT_EQ(mill_matmul(f.exec(), narrow, b, &out, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(mill_tensor_dtype(f.own(out)), MILL_F64);
  EXPECT_EQ(read_all<double>(f, out)[0], 1.5 + 0x1p-21);
  EXPECT_EQ(dtype_of(MILL_OP_EXP, {of({3}, MILL_F64)}), MILL_F64);
  EXPECT_EQ(dtype_of(MILL_OP_POW, {of({3}, MILL_F64), of({3}, MILL_BF16)}), MILL_F64);
}

TEST_F(Autocast, IsWhatCastsByHandGive) {
  std::vector<float> left;
  std::vector<float> right;
  for (int k = 0; k < 35; ++k) {
    left.push_back(static_cast<float>(k % 11) * 0.37f - 1.3f);
    right.push_back(1.7f - static_cast<float>(k % 13) * 0.29f);
  }
  mill_tensor* const a = upload<float>(f, {5, 7}, left);
  mill_tensor* const b = upload<float>(f, {7, 5}, right);
  for (const mill_dtype low : kHalves) {
    mill_tensor* slots[5] = {};
    ASSERT_EQ(mill_cast(f.exec(), a, low, &slots[0], f.err()), MILL_OK);
    ASSERT_EQ(mill_cast(f.exec(), b, low, &slots[1], f.err()), MILL_OK);
    ASSERT_EQ(mill_matmul(f.exec(), slots[0], slots[1], &slots[2], f.err()), MILL_OK);
    on(low);
    ASSERT_EQ(mill_matmul(f.exec(), a, b, &slots[3], f.err()), MILL_OK);
    // The short way of pointwise ops, and the long one.
    ASSERT_EQ(mill_exp(f.exec(), slots[0], &slots[4], f.err()), MILL_OK);
    on(MILL_DTYPE_NONE);
    mill_tensor* wide = nullptr;
    mill_tensor* by_hand = nullptr;
    ASSERT_EQ(mill_cast(f.exec(), slots[0], MILL_F32, &wide, f.err()), MILL_OK);
    ASSERT_EQ(mill_exp(f.exec(), wide, &by_hand, f.err()), MILL_OK);
    EXPECT_EQ(read_all<float>(f, f.own(by_hand)), read_all<float>(f, slots[4]));
    f.own(wide);
    unsigned char bytes[2][50];
    for (int k = 0; k < 2; ++k) {
      ASSERT_EQ(mill_tensor_read(f.exec(), slots[2 + k], bytes[k], 50, f.err()), MILL_OK);
    }
    EXPECT_EQ(std::vector<unsigned char>(bytes[0], bytes[0] + 50),
              std::vector<unsigned char>(bytes[1], bytes[1] + 50));
    for (mill_tensor* slot : slots) f.own(slot);
  }
}

TEST_F(Autocast, OffIsAsIfItHadNeverBeenOn) {
  on(MILL_F16);
  on(MILL_DTYPE_NONE);
  EXPECT_EQ(dtype_of(MILL_OP_MATMUL, {of({2, 3}, MILL_F32), of({3, 4}, MILL_F32)}), MILL_F32);
  EXPECT_EQ(dtype_of(MILL_OP_EXP, {of({2, 3}, MILL_F16)}), MILL_F16);
  EXPECT_EQ(dtype_of(MILL_OP_SOFTMAX, {of({2, 3}, MILL_BF16)}), MILL_BF16);
}

TEST_F(Autocast, APreparedCallFollowsTheExecThatRunsIt) {
  mill_tensor* const in[] = {of({2, 3}, MILL_F32), of({3, 4}, MILL_F32)};
  mill_call* calls[2] = {};
  ASSERT_EQ(mill_op_prepare(f.exec(), MILL_OP_MATMUL, in, 2, nullptr, 0, &calls[0], f.err()),
            MILL_OK);
  on(MILL_BF16);
  ASSERT_EQ(mill_op_prepare(f.exec(), MILL_OP_MATMUL, in, 2, nullptr, 0, &calls[1], f.err()),
            MILL_OK);
  for (const mill_dtype mode : {MILL_BF16, MILL_DTYPE_NONE, MILL_F16, MILL_BF16}) {
    on(mode);
    for (mill_call* const call : calls) {
      mill_tensor* out = nullptr;
      ASSERT_EQ(mill_call_run(call, f.exec(), in, 2, &out, 1, f.err()), MILL_OK) << f.message();
      EXPECT_EQ(mill_tensor_dtype(f.own(out)), mode == MILL_DTYPE_NONE ? MILL_F32 : mode);
    }
  }
  for (mill_call* const call : calls) mill_call_release(call);
}

TEST_F(Autocast, AGivenOutputHasTheDtypeOfTheResult) {
  on(MILL_BF16);
  mill_tensor* const a = of({2, 3}, MILL_F32);
  mill_tensor* const b = of({3, 2}, MILL_F32);
  mill_tensor* good = of({2, 2}, MILL_BF16);
  mill_tensor* bad = of({2, 2}, MILL_F32);
  EXPECT_EQ(mill_matmul(f.exec(), a, b, &good, f.err()), MILL_OK) << f.message();
  expect_refused(f, mill_matmul(f.exec(), a, b, &bad, f.err()), MILL_E_DTYPE, {"f32", "bf16"});
}

TEST_F(Autocast, RefusesOtherDtypesAndStaysAsItWas) {
  on(MILL_F16);
  for (const mill_dtype dtype : {MILL_F32, MILL_F64, MILL_I64, MILL_F8E4M3, MILL_BOOL, MILL_C64}) {
    expect_refused(f, mill_exec_set_autocast(f.exec(), dtype, f.err()), MILL_E_DTYPE,
                   {"autocast", "f16", "bf16"});
  }
  expect_refused(f, mill_exec_set_autocast(f.exec(), -1, f.err()), MILL_E_ARG, {"-1"});
  expect_refused(f, mill_exec_set_autocast(f.exec(), 99, f.err()), MILL_E_ARG, {"99"});
  EXPECT_EQ(dtype_of(MILL_OP_MATMUL, {of({2, 3}, MILL_F32), of({3, 4}, MILL_F32)}), MILL_F16);
}

using BadLossScale = BadInput;

TEST_F(BadLossScale, OutsideItsRangesIsRefused) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  mill_optimizer* const optimizer = f.made<mill_optimizer>();
  const auto set = [&](double initial, double growth, double backoff, int64_t interval) {
    return mill_optimizer_set_loss_scale(optimizer, f.exec(), initial, growth, backoff, interval,
                                         f.err());
  };
  mill_tensor* scale = nullptr;
  const auto off = [&] {
    expect_refused(f, mill_optimizer_loss_scale(optimizer, &scale, f.err()), MILL_E_STATE,
                   {"loss scaling is off"});
    EXPECT_EQ(scale, nullptr);
  };
  off();
  for (const double initial : {-1.0, kNaN, kInf, 0x1p25, 0x1p-25})
    expect_refused(f, set(initial, 2, 0.5, 10), MILL_E_ARG, {"initial"});
  for (const double growth : {0.5, kNaN, kInf, -2.0})
    expect_refused(f, set(1024, growth, 0.5, 10), MILL_E_ARG, {"growth"});
  for (const double backoff : {0.0, 1.0, kNaN, -0.5})
    expect_refused(f, set(1024, 2, backoff, 10), MILL_E_ARG, {"backoff"});
  for (const int64_t interval : {int64_t{0}, int64_t{-5}, INT64_MIN})
    expect_refused(f, set(1024, 2, 0.5, interval), MILL_E_ARG, {"interval"});
  off();
  expect_refused(f,
                 mill_optimizer_set_loss_scale(optimizer, other.exec(), 1024, 2, 0.5, 10, f.err()),
                 MILL_E_DEVICE, {"optimizer"});
  ASSERT_EQ(set(1024, 2, 0.5, 10), MILL_OK) << f.message();
  ASSERT_EQ(mill_optimizer_loss_scale(optimizer, &scale, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, f.own(scale)), std::vector<float>{1024});
  EXPECT_EQ(mill_tensor_rank(scale), 0u);
  // Anew, in the same tensor; then off, whatever the others say.
  ASSERT_EQ(set(64, 2, 0.5, 10), MILL_OK);
  EXPECT_EQ(read_all<float>(f, scale), std::vector<float>{64});
  ASSERT_EQ(set(0, kNaN, kNaN, -1), MILL_OK);
  scale = nullptr;
  off();
}

TEST_F(BadLossScale, TheOpRefusesBadAttributesAndShapes) {
  mill_tensor* const two = f.tensor({2});
  mill_tensor* const stat = f.stat();
  mill_tensor* const count = f.ids({1});
  const auto update = [&](mill_tensor* scale, double growth, double backoff, int64_t interval,
                          double max_norm) {
    mill_tensor* out[5] = {};
    const mill_status status =
        mill_scaler_update(f.exec(), stat, scale, count, count, growth, backoff, interval, max_norm,
                           &out[0], &out[1], &out[2], &out[3], &out[4], f.err());
    for (mill_tensor* one : out) mill_tensor_release(one);
    return status;
  };
  expect_refused(f, update(two, 2, 0.5, 10, 0), MILL_E_SHAPE, {"scale", "one element"});
  expect_refused(f, update(stat, 0.9, 0.5, 10, 0), MILL_E_ARG, {"growth"});
  expect_refused(f, update(stat, 2, 1, 10, 0), MILL_E_ARG, {"backoff"});
  expect_refused(f, update(stat, 2, 0.5, 0, 0), MILL_E_ARG, {"interval"});
  expect_refused(f, update(stat, 2, 0.5, 10, -1), MILL_E_ARG, {"max_norm"});
  EXPECT_EQ(update(stat, 2, 0.5, 10, 0), MILL_OK) << f.message();
}

}  // namespace
}  // namespace mill_test
