// Ops that a C program adds: with a backward of their own, out of ordinary ops, and wrong ones,
// which the check must catch.
#include <gtest/gtest.h>

#include "gradient/model.h"

namespace mill_test {
namespace {

using Doubles = std::vector<double>;

extern "C" {

// y = x^3, out of the library's ops, as a C callback would be written.
static mill_status cube_forward(void*, mill_exec* exec, mill_tensor* const* in, uint32_t,
                                mill_tensor** out, uint32_t, mill_error* err) {
  mill_tensor* square = nullptr;
  mill_status status = mill_mul(exec, in[0], in[0], &square, err);
  if (status == MILL_OK) status = mill_mul(exec, square, in[0], &out[0], err);
  mill_tensor_release(square);
  return status;
}

// user points to the factor of the gradient: 3 is right.
static mill_status cube_backward(void* user, mill_exec* exec, mill_tensor* const* in, uint32_t,
                                 mill_tensor* const*, mill_tensor* const* gradients, uint32_t,
                                 const mill_bool* wanted, mill_tensor** result, mill_error* err) {
  if (!wanted[0]) return MILL_OK;
  mill_tensor* square = nullptr;
  mill_tensor* slope = nullptr;
  mill_status status = mill_mul(exec, in[0], in[0], &square, err);
  if (status == MILL_OK)
    status = mill_affine(exec, square, *static_cast<double*>(user), 0, &slope, err);
  if (status == MILL_OK) status = mill_mul(exec, gradients[0], slope, &result[0], err);
  mill_tensor_release(square);
  mill_tensor_release(slope);
  return status;
}

// Two outputs from raw memory: a + b and a * b of f64.
static mill_status pair_forward(void*, mill_exec* exec, mill_tensor* const* in, uint32_t,
                                mill_tensor** out, uint32_t, mill_error* err) {
  const int64_t n = mill_tensor_count(in[0]);
  void* data[4] = {};
  for (int k = 0; k < 2; ++k) {
    mill_status status = mill_tensor_data(in[k], 0, &data[k], err);
    if (status == MILL_OK) status = mill_tensor_create(exec, MILL_F64, &n, 1, &out[k], err);
    if (status == MILL_OK) status = mill_tensor_data(out[k], 1, &data[2 + k], err);
    if (status != MILL_OK) return status;
  }
  for (int64_t i = 0; i < n; ++i) {
    const double a = static_cast<double*>(data[0])[i];
    const double b = static_cast<double*>(data[1])[i];
    static_cast<double*>(data[2])[i] = a + b;
    static_cast<double*>(data[3])[i] = a * b;
  }
  return MILL_OK;
}

struct PairCalls {
  int calls;
  bool sum_present;
  bool product_present;
  mill_bool wanted[2];
};

static mill_status pair_backward(void* user, mill_exec* exec, mill_tensor* const* in, uint32_t,
                                 mill_tensor* const*, mill_tensor* const* gradients, uint32_t,
                                 const mill_bool* wanted, mill_tensor** result, mill_error* err) {
  auto* seen = static_cast<PairCalls*>(user);
  ++seen->calls;
  seen->sum_present = gradients[0] != NULL;
  seen->product_present = gradients[1] != NULL;
  for (int k = 0; k < 2; ++k) {
    seen->wanted[k] = wanted[k];
    if (!wanted[k]) continue;
    mill_tensor* part = nullptr;
    mill_status status = MILL_OK;
    if (gradients[1]) status = mill_mul(exec, gradients[1], in[1 - k], &part, err);
    if (status != MILL_OK) return status;
    if (gradients[0] && part) {
      status = mill_add(exec, gradients[0], part, &result[k], err);
      mill_tensor_release(part);
      if (status != MILL_OK) return status;
    } else if (gradients[0]) {
      mill_tensor_retain(gradients[0]);
      result[k] = gradients[0];
    } else {
      result[k] = part;
    }
  }
  return MILL_OK;
}

static mill_status refuse_forward(void*, mill_exec*, mill_tensor* const*, uint32_t, mill_tensor**,
                                  uint32_t, mill_error* err) {
  mill_error_set(err, MILL_E_USER - 7, "not today");
  return MILL_E_USER - 7;
}

static mill_status refuse_backward(void*, mill_exec*, mill_tensor* const*, uint32_t,
                                   mill_tensor* const*, mill_tensor* const*, uint32_t,
                                   const mill_bool*, mill_tensor**, mill_error* err) {
  mill_error_set(err, MILL_E_USER - 8, "nor tomorrow");
  return MILL_E_USER - 8;
}

static mill_status zero_backward(void*, mill_exec*, mill_tensor* const*, uint32_t,
                                 mill_tensor* const*, mill_tensor* const*, uint32_t,
                                 const mill_bool*, mill_tensor**, mill_error*) {
  return MILL_OK;
}

static mill_status misshapen_backward(void*, mill_exec* exec, mill_tensor* const*, uint32_t,
                                      mill_tensor* const*, mill_tensor* const*, uint32_t,
                                      const mill_bool*, mill_tensor** result, mill_error* err) {
  const int64_t dims[] = {1, 1, 1};
  return mill_fill(exec, dims, 3, MILL_F64, 1, &result[0], err);
}

static mill_status empty_forward(void*, mill_exec*, mill_tensor* const*, uint32_t, mill_tensor**,
                                 uint32_t, mill_error*) {
  return MILL_OK;
}

static void count_destroy(void* user) {
  ++*static_cast<int*>(user);
}

}  // extern "C"

class CustomOp : public testing::Test {
 protected:
  int32_t add(const char* name, uint32_t n_in, uint32_t n_out, mill_custom_forward forward,
              mill_custom_backward backward, void* user = nullptr,
              mill_user_destroy destroy = nullptr) {
    mill_custom_op op{};
    op.size = sizeof op;
    op.type = MILL_STRUCT_CUSTOM_OP;
    op.name = name;
    op.n_inputs = n_in;
    op.n_outputs = n_out;
    op.forward = forward;
    op.backward = backward;
    op.user = user;
    op.destroy = destroy;
    int32_t number = 0;
    w_.ok(mill_op_register(w_.context(), &op, &number, w_.error()));
    return number;
  }
  double worst(int32_t op, const std::vector<mill_tensor*>& in, bool second = false) {
    double out = 0;
    w_.ok(mill_gradcheck(w_.exec(), op, in.data(), static_cast<uint32_t>(in.size()), nullptr, 0,
                         second ? 1 : 0, 0, &out, w_.error()));
    return out;
  }
  Tensor call(int32_t op, const Tensor& x) {
    return std::move(invoke(w_, op, {x.get()}, {}, 1)[0]);
  }
  Tensor x3() { return f64(w_, {3}, {1, 2, -0.5}); }

  World w_;
  double right_ = 3;
  double wrong_ = 3.01;
};

TEST_F(CustomOp, GetsANumberFromTheCustomRangeAndIsFoundByName) {
  const int32_t op = add("cube", 1, 1, cube_forward, cube_backward, &right_);
  EXPECT_GE(op, static_cast<int32_t>(MILL_OP_CUSTOM));
  int32_t found = 0;
  w_.ok(mill_op_find(w_.context(), "cube", &found, w_.error()));
  EXPECT_EQ(found, op);
  EXPECT_EQ(doubles(w_, call(op, x3())), (Doubles{1, 8, -0.125}));
}

TEST_F(CustomOp, BackwardOfItsOwnPassesTheCheck) {
  const int32_t op = add("cube", 1, 1, cube_forward, cube_backward, &right_);
  const Tensor x = x3();
  EXPECT_LE(worst(op, {x.get()}), 1e-6);
  EXPECT_LE(worst(op, {x.get()}, true), 1e-5)
      << "its backward is made of ops, so it has derivatives too";
}

TEST_F(CustomOp, WithoutBackwardItsOpsAreDifferentiated) {
  const int32_t op = add("cube", 1, 1, cube_forward, nullptr);
  const Tensor x = x3();
  EXPECT_LE(worst(op, {x.get()}), 1e-6);
  EXPECT_LE(worst(op, {x.get()}, true), 1e-5);
  Recording tape(w_);
  tape.watch(x);
  w_.ok(tape.backward(op::sum(w_, call(op, x))));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 0.75}));
}

TEST_F(CustomOp, ASlightlyWrongBackwardIsCaught) {
  const int32_t op = add("cube", 1, 1, cube_forward, cube_backward, &wrong_);
  const Tensor x = x3();
  EXPECT_GT(worst(op, {x.get()}), 1e-3);
}

TEST_F(CustomOp, ABackwardThatForgetsAnInputIsCaught) {
  const int32_t op = add("forgetful", 1, 1, cube_forward, zero_backward);
  const Tensor x = x3();
  EXPECT_GT(worst(op, {x.get()}), 0.5);
}

TEST_F(CustomOp, GradcheckCatchesAWrongSecondDerivativeOfTheWrongBackward) {
  const int32_t op = add("cube", 1, 1, cube_forward, cube_backward, &wrong_);
  const Tensor x = x3();
  // Consistent with itself in second order: the check compares derivatives of the backward that is
  // there.
  EXPECT_LE(worst(op, {x.get()}, true), 1e-5);
}

TEST_F(CustomOp, SeveralInputsAndOutputs) {
  PairCalls seen{};
  const int32_t op = add("pair", 2, 2, pair_forward, pair_backward, &seen);
  const Tensor a = x3();
  const Tensor b = f64(w_, {3}, {5, -1, 2});
  EXPECT_LE(worst(op, {a.get(), b.get()}), 1e-6);

  Recording tape(w_);
  tape.watch(b);
  std::vector<Tensor> out = invoke(w_, op, {a.get(), b.get()}, {}, 2);
  EXPECT_EQ(doubles(w_, out[0]), (Doubles{6, 1, 1.5}));
  EXPECT_EQ(doubles(w_, out[1]), (Doubles{5, -2, -1}));
  seen = PairCalls{};
  w_.ok(tape.backward(op::sum(w_, out[1])));
  EXPECT_EQ(seen.calls, 1);
  EXPECT_FALSE(seen.sum_present) << "nothing flows into the first output";
  EXPECT_TRUE(seen.product_present);
  EXPECT_FALSE(seen.wanted[0]);
  EXPECT_TRUE(seen.wanted[1]);
  EXPECT_EQ(doubles(w_, tape.gradient_of(b)), (Doubles{1, 2, -0.5}));
}

TEST_F(CustomOp, ANullGradientIsZero) {
  const int32_t op = add("stopper", 1, 1, cube_forward, zero_backward);
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  w_.ok(tape.backward(op::sum(w_, op::add(w_, call(op, x), x))));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{1, 1, 1}));
}

TEST_F(CustomOp, StatusesOfItsCallbacksPassThrough) {
  const int32_t refuses = add("refuses", 1, 1, refuse_forward, nullptr);
  const Tensor x = x3();
  mill_tensor* in = x.get();
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_op_invoke(w_.exec(), refuses, &in, 1, nullptr, 0, &out, 1, w_.error()),
            MILL_E_USER - 7);
  EXPECT_EQ(out, nullptr);
  EXPECT_NE(w_.message().find("not today"), std::string::npos) << w_.message();

  const int32_t late = add("late", 1, 1, cube_forward, refuse_backward);
  Recording tape(w_);
  tape.watch(x);
  EXPECT_EQ(tape.backward(op::sum(w_, call(late, x))), MILL_E_USER - 8);
  EXPECT_NE(w_.message().find("nor tomorrow"), std::string::npos) << w_.message();
}

TEST_F(CustomOp, AGradientOfOtherDimsIsRefused) {
  const int32_t op = add("misshapen", 1, 1, cube_forward, misshapen_backward);
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  EXPECT_EQ(tape.backward(op::sum(w_, call(op, x))), MILL_E_SHAPE);
}

TEST_F(CustomOp, AForwardThatStoresNothingIsRefused) {
  const int32_t op = add("empty", 1, 1, empty_forward, nullptr);
  const Tensor x = x3();
  mill_tensor* in = x.get();
  mill_tensor* out = nullptr;
  EXPECT_LT(mill_op_invoke(w_.exec(), op, &in, 1, nullptr, 0, &out, 1, w_.error()), 0);
  EXPECT_EQ(out, nullptr);
}

TEST_F(CustomOp, StaleInputsAreDetected) {
  const int32_t op = add("cube", 1, 1, cube_forward, cube_backward, &right_);
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, call(op, x));
  tape.off();
  mill_tensor* out = x.get();
  w_.ok(mill_neg(w_.exec(), x.get(), &out, w_.error()));
  EXPECT_EQ(tape.backward(y), MILL_E_STALE_SAVED);
  EXPECT_NE(w_.message().find("cube"), std::string::npos) << w_.message();
}

TEST_F(CustomOp, ANameCanBeTakenOnceAndUserDataIsDestroyedOnce) {
  int destroyed = 0;
  {
    World w;
    mill_custom_op op{};
    op.size = sizeof op;
    op.type = MILL_STRUCT_CUSTOM_OP;
    op.name = "mine.cube";
    op.n_inputs = 1;
    op.n_outputs = 1;
    op.forward = cube_forward;
    op.user = &destroyed;
    op.destroy = count_destroy;
    int32_t number = 0;
    w.ok(mill_op_register(w.context(), &op, &number, w.error()));
    EXPECT_EQ(destroyed, 0);
    EXPECT_EQ(mill_op_register(w.context(), &op, &number, w.error()), MILL_E_STATE);
    EXPECT_EQ(destroyed, 1) << "the second registration failed";
  }
  EXPECT_EQ(destroyed, 2) << "the context ended";
}

}  // namespace
}  // namespace mill_test
