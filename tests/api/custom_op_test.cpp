// Custom ops: what the header promises, and callbacks that keep no promise of theirs.
#include "api/refusal.h"

namespace mill_test {
namespace {

struct User {
  int destroyed = 0;
  mill_status answer = MILL_OK;
  void* store = nullptr;  // what to leave in the outputs instead of a tensor
  int backward_calls = 0;
};
// The context ends before what its ops' destroy functions are given.
struct CustomOpApi : testing::Test {
  User user;
  Fixture f;
};

void destroy_user(void* user) {
  static_cast<User*>(user)->destroyed += 1;
}

mill_status square(void* user, mill_exec* exec, mill_tensor* const* in, uint32_t, mill_tensor** out,
                   uint32_t n_out, mill_error* err) {
  auto* u = static_cast<User*>(user);
  if (u->answer != MILL_OK) {
    mill_error_set(err, u->answer, "the user's reason");
    return u->answer;
  }
  if (u->store) {
    for (uint32_t k = 0; k < n_out; ++k) out[k] = static_cast<mill_tensor*>(u->store);
    return MILL_OK;
  }
  mill_status status = MILL_OK;
  for (uint32_t k = 0; k < n_out && status == MILL_OK; ++k)
    status = mill_mul(exec, in[0], in[0], &out[k], err);
  return status;
}

mill_status square_backward(void* user, mill_exec* exec, mill_tensor* const* in, uint32_t,
                            mill_tensor* const*, mill_tensor* const* g, uint32_t,
                            const mill_bool* wanted, mill_tensor** out, mill_error* err) {
  auto* u = static_cast<User*>(user);
  u->backward_calls += 1;
  if (u->store) {
    out[0] = static_cast<mill_tensor*>(u->store);
    return MILL_OK;
  }
  if (!wanted[0]) return MILL_OK;
  mill_tensor* product = nullptr;
  mill_status status = mill_mul(exec, in[0], g[0], &product, err);
  if (status == MILL_OK) status = mill_affine(exec, product, 2, 0, &out[0], err);
  mill_tensor_release(product);
  return status;
}

mill_custom_op describe(User& user, const char* name, bool with_backward, uint32_t n_outputs = 1) {
  mill_custom_op op{};
  op.size = sizeof op;
  op.type = MILL_STRUCT_CUSTOM_OP;
  op.name = name;
  op.n_inputs = 1;
  op.n_outputs = n_outputs;
  op.forward = square;
  op.backward = with_backward ? square_backward : nullptr;
  op.user = &user;
  op.destroy = destroy_user;
  return op;
}

int32_t add_op(Fixture& f, const mill_custom_op& op) {
  int32_t number = 0;
  EXPECT_EQ(mill_op_register(f.context(), &op, &number, f.err()), MILL_OK) << f.message();
  EXPECT_GE(number, MILL_OP_CUSTOM);
  return number;
}

TEST_F(CustomOpApi, ComputesAndHasAGradientWithAndWithoutBackward) {
  for (const bool with_backward : {true, false}) {
    const int32_t op =
        add_op(f, describe(user, with_backward ? "test.with" : "test.without", with_backward));
    mill_tensor* const x = f.tensor({2}, MILL_F64, 3);
    mill_tape* const tape = f.made<mill_tape>();
    ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
    ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
    mill_tensor** const y = f.slot<mill_tensor>();
    ASSERT_EQ(mill_op_invoke(f.exec(), op, &x, 1, nullptr, 0, y, 1, f.err()), MILL_OK)
        << f.message();
    ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
    EXPECT_EQ(read_all<double>(f, *y), std::vector<double>(2, 9));
    ASSERT_EQ(mill_tape_backward(tape, f.exec(), *y, f.tensor({2}, MILL_F64, 1), 0, f.err()),
              MILL_OK)
        << f.message();
    mill_tensor** const g = f.slot<mill_tensor>();
    ASSERT_EQ(mill_tape_gradient_of(tape, x, g, f.err()), MILL_OK) << f.message();
    EXPECT_EQ(read_all<double>(f, *g), std::vector<double>(2, 6));
    double worst = 1;
    ASSERT_EQ(mill_gradcheck(f.exec(), op, &x, 1, nullptr, 0, 1, 0, &worst, f.err()), MILL_OK)
        << f.message();
    EXPECT_LT(worst, 1e-6);
  }
  EXPECT_GE(user.backward_calls, 1);
}

TEST_F(CustomOpApi, FailuresPassThroughWithTheUsersReason) {
  const int32_t op = add_op(f, describe(user, "test.fails", true));
  mill_tensor* const x = f.tensor();
  mill_tensor* out = nullptr;
  for (const mill_status status : {-1000, -1999, -1234, static_cast<int>(MILL_E_SHAPE)}) {
    user.answer = status;
    EXPECT_EQ(mill_op_invoke(f.exec(), op, &x, 1, nullptr, 0, &out, 1, f.err()), status);
    EXPECT_EQ(mill_error_status(f.err()), status);
    EXPECT_NE(f.message().find("the user's reason"), std::string::npos) << f.message();
    EXPECT_NE(f.message().find("test.fails"), std::string::npos) << f.message();
    EXPECT_EQ(out, nullptr);
  }
}

TEST_F(CustomOpApi, WhatIsNoTensorIsRefusedAndNotReleased) {
  const int32_t op = add_op(f, describe(user, "test.garbage", true, 3));
  const int32_t one = add_op(f, describe(user, "test.garbage1", true, 1));
  mill_tensor* const x = f.tensor();
  user.store = garbage_handle();
  mill_tensor* out[3] = {};
  expect_refused(f, mill_op_invoke(f.exec(), op, &x, 1, nullptr, 0, out, 3, f.err()), MILL_E_STATE,
                 {"output 0"});
  EXPECT_TRUE(!out[0] && !out[1] && !out[2]);
  user.store = nullptr;
  mill_tape* const tape = f.made<mill_tape>();
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_op_invoke(f.exec(), one, &x, 1, nullptr, 0, y, 1, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  user.store = garbage_handle();
  expect_refused(f, mill_tape_backward(tape, f.exec(), *y, f.tensor(), 0, f.err()),
                 MILL_E_BAD_HANDLE, {"input 0"});
}

mill_status changes_the_tape(void* user, mill_exec* exec, mill_tensor* const* in, uint32_t,
                             mill_tensor** out, uint32_t, mill_error* err) {
  const mill_status status = mill_exec_set_tape(exec, static_cast<mill_tape*>(user), err);
  if (status != MILL_OK) return status;
  return mill_mul(exec, in[0], in[0], out, err);
}

// The exec has its own tape again afterwards, and every tape the references that it should.
TEST_F(CustomOpApi, ACallbackMaySetAnotherTapeForItself) {
  for (const bool to_none : {true, false}) {
    for (const bool with_backward : {true, false}) {
      mill_tape* const inner = to_none ? nullptr : f.made<mill_tape>();
      mill_custom_op op = describe(user, "", with_backward);
      const std::string name =
          std::string("test.tape") + (to_none ? "0" : "1") + (with_backward ? "b" : "n");
      op.name = name.c_str();
      op.forward = changes_the_tape;
      op.destroy = nullptr;
      op.user = inner;
      const int32_t number = add_op(f, op);
      mill_tape* const outer = f.made<mill_tape>();
      mill_tensor* const x = f.tensor();
      ASSERT_EQ(mill_tape_watch(outer, x, f.err()), MILL_OK);
      ASSERT_EQ(mill_exec_set_tape(f.exec(), outer, f.err()), MILL_OK);
      mill_tensor** const y = f.slot<mill_tensor>();
      ASSERT_EQ(mill_op_invoke(f.exec(), number, &x, 1, nullptr, 0, y, 1, f.err()), MILL_OK)
          << f.message();
      mill_tape* found = nullptr;
      ASSERT_EQ(mill_exec_get_tape(f.exec(), &found, f.err()), MILL_OK);
      EXPECT_EQ(found, outer);
      mill_tape_release(found);
      ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
      uint64_t nodes = 0;
      EXPECT_EQ(mill_tape_count(outer, &nodes, f.err()), MILL_OK) << "still alive: " << f.message();
      if (inner) {
        EXPECT_EQ(mill_tape_count(inner, &nodes, f.err()), MILL_OK);
      }
    }
  }
}

TEST_F(CustomOpApi, RegistrationIsRefusedWithOneDestroy) {
  add_op(f, describe(user, "test.taken", false));
  int32_t number = 5;
  int refused = 0;
  const auto refuse = [&](const mill_custom_op& op, mill_status want, const char* word) {
    number = 5;
    expect_refused(f, mill_op_register(f.context(), &op, &number, f.err()), want, {word});
    EXPECT_EQ(number, 0);
    EXPECT_EQ(user.destroyed, ++refused);
  };
  refuse(describe(user, "test.taken", false), MILL_E_STATE, "test.taken");
  refuse(describe(user, "add", false), MILL_E_STATE, "add");
  refuse(describe(user, "", false), MILL_E_ARG, "empty");
  refuse(describe(user, "two words", false), MILL_E_ARG, "two words");
  refuse(describe(user, "test.many", false, 9), MILL_E_ARG, "9 outputs");
  mill_custom_op op = describe(user, "test.new", false);
  op.forward = nullptr;
  refuse(op, MILL_E_ARG, "forward");
  op = describe(user, nullptr, false);
  refuse(op, MILL_E_ARG, "name");
  op = describe(user, "test.new", false);
  op.n_inputs = 0;
  refuse(op, MILL_E_ARG, "0 inputs");
}

TEST(CustomOpLife, DestroyRunsOnceWhenTheContextEnds) {
  User user;
  {
    Fixture f;
    add_op(f, describe(user, "test.life", false));
    EXPECT_EQ(user.destroyed, 0);
  }
  EXPECT_EQ(user.destroyed, 1);
}

}  // namespace
}  // namespace mill_test
