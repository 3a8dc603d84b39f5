// What the user's callbacks may do to the objects that are calling them, and what they may not.
#include "api/refusal.h"

namespace mill_test {
namespace {

struct Callbacks : testing::Test {
  mill_exec* new_exec() {
    mill_exec* out = nullptr;
    EXPECT_EQ(mill_exec_create(f.context(), 0, nullptr, &out, f.err()), MILL_OK);
    return out;
  }
  int32_t add_op(mill_custom_forward forward, void* user, const char* name) {
    mill_custom_op op{};
    op.size = sizeof op;
    op.type = MILL_STRUCT_CUSTOM_OP;
    op.name = name;
    op.n_inputs = 1;
    op.n_outputs = 1;
    op.forward = forward;
    op.user = user;
    int32_t number = 0;
    EXPECT_EQ(mill_op_register(f.context(), &op, &number, f.err()), MILL_OK) << f.message();
    return number;
  }

  Fixture f;
  Fixture other;
};

mill_status copy_and_release_exec(void*, mill_exec* exec, mill_tensor* const* in, uint32_t,
                                  mill_tensor** out, uint32_t, mill_error* err) {
  const mill_status status = mill_copy(exec, in[0], &out[0], err);
  mill_exec_release(exec);
  return status;
}

TEST_F(Callbacks, AnExecReleasedByItsCallbackEndsWithTheCall) {
  const int32_t op = add_op(&copy_and_release_exec, nullptr, "release_exec");
  mill_exec* const exec = new_exec();
  mill_tensor* const x = f.tensor({3});
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_op_invoke(exec, op, &x, 1, nullptr, 0, &out, 1, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read_all<float>(f, out), read_all<float>(f, x));
  mill_tensor_release(out);
  EXPECT_EQ(mill_exec_wait(exec, f.err()), MILL_E_BAD_HANDLE);
}

TEST_F(Callbacks, AnExecReleasedByADeleterEndsWithTheCall) {
  mill_exec* const exec = new_exec();
  float* const memory = f.zeros<float>(4);
  const int64_t dims[] = {4};
  mill_tensor* imported = nullptr;
  const auto deleter = [](void* user, void*) { mill_exec_release(static_cast<mill_exec*>(user)); };
  ASSERT_EQ(mill_tensor_import(exec, MILL_F32, dims, nullptr, 1, memory, deleter, exec, &imported,
                               f.err()),
            MILL_OK);
  mill_tensor* const x = f.tensor({3});
  mill_tensor_release(imported);
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_neg(exec, x, &out, f.err()), MILL_OK) << f.message();
  mill_tensor_release(out);
  EXPECT_EQ(mill_exec_wait(exec, f.err()), MILL_E_BAD_HANDLE);
}

mill_status give_foreign(void* user, mill_exec*, mill_tensor* const*, uint32_t, mill_tensor** out,
                         uint32_t, mill_error*) {
  out[0] = static_cast<mill_tensor*>(user);
  mill_tensor_retain(out[0]);
  return MILL_OK;
}

TEST_F(Callbacks, AForwardMayNotReturnAnotherContextsTensor) {
  const int32_t op = add_op(&give_foreign, other.tensor({3}), "foreign");
  mill_tensor* const x = f.tensor({3});
  mill_tensor* out = nullptr;
  expect_refused(f, mill_op_invoke(f.exec(), op, &x, 1, nullptr, 0, &out, 1, f.err()),
                 MILL_E_DEVICE, {"foreign", "output 0"});
  EXPECT_EQ(out, nullptr);
}

mill_status call_itself(void* user, mill_exec* exec, mill_tensor* const* in, uint32_t,
                        mill_tensor** out, uint32_t, mill_error* err) {
  return mill_op_invoke(exec, *static_cast<int32_t*>(user), in, 1, nullptr, 0, out, 1, err);
}

TEST_F(Callbacks, AnOpThatCallsItselfWithoutEndIsRefused) {
  int32_t op = 0;
  op = add_op(&call_itself, &op, "endless");
  mill_tensor* const x = f.tensor({3});
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_op_invoke(f.exec(), op, &x, 1, nullptr, 0, &out, 1, f.err()), MILL_E_STATE);
  // The callback hands the inner op's sentence on.
  EXPECT_NE(f.message().find("nested more than 64 deep"), std::string::npos) << f.message();
  EXPECT_EQ(out, nullptr);
}

// A tape over sum(a a + b b), a and b in a group.
struct HookUser {
  Fixture* f;
  mill_tape* tape;
  mill_tensor* loss;
  mill_tensor* params[2];
  void (*act)(HookUser& user, mill_exec* exec);
  mill_status got[3];
  int calls;
};

struct GradientHook : Callbacks {
  void SetUp() override {
    group = f.made<mill_group>();
    const int64_t dims[] = {2};
    ASSERT_EQ(mill_group_add(group, "a", dims, 1, nullptr, f.err()), MILL_OK);
    ASSERT_EQ(mill_group_add(group, "b", dims, 1, nullptr, f.err()), MILL_OK);
    ASSERT_EQ(mill_group_build(group, f.exec(), f.err()), MILL_OK);
    user.f = &f;
    user.tape = f.made<mill_tape>();
    for (uint32_t k = 0; k < 2; ++k) {
      ASSERT_EQ(mill_group_param(group, k, &user.params[k], f.err()), MILL_OK);
      f.own(user.params[k]);
      const float values[] = {static_cast<float>(k) + 2, static_cast<float>(k) + 3};
      ASSERT_EQ(mill_tensor_write(f.exec(), user.params[k], values, sizeof values, f.err()),
                MILL_OK);
    }
    ASSERT_EQ(mill_exec_set_tape(f.exec(), user.tape, f.err()), MILL_OK);
    // Going back, the second product comes first: the hook is then told of b, and a is still saved.
    mill_tensor* product = nullptr;
    mill_tensor* square = nullptr;
    mill_tensor* both = nullptr;
    ASSERT_EQ(mill_mul(f.exec(), user.params[0], user.params[0], &product, f.err()), MILL_OK);
    ASSERT_EQ(mill_mul(f.exec(), user.params[1], user.params[1], &square, f.err()), MILL_OK);
    ASSERT_EQ(mill_add(f.exec(), product, square, &both, f.err()), MILL_OK);
    ASSERT_EQ(mill_sum(f.exec(), both, nullptr, 0, 0, &user.loss, f.err()), MILL_OK);
    for (mill_tensor* tensor : {product, square, both, user.loss}) f.own(tensor);
    ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  }

  mill_status backward(void (*act)(HookUser& user, mill_exec* exec)) {
    user.act = act;
    const auto hook = [](void* data, mill_exec* exec, mill_group*, uint32_t,
                         mill_error*) -> mill_status {
      auto& u = *static_cast<HookUser*>(data);
      if (u.calls++ == 0) u.act(u, exec);
      return MILL_OK;
    };
    EXPECT_EQ(mill_tape_on_gradient(user.tape, hook, &user, nullptr, f.err()), MILL_OK);
    return mill_tape_backward(user.tape, f.exec(), user.loss, nullptr, 0, f.err());
  }
  std::vector<float> gradient(uint32_t index) {
    mill_tensor* out = nullptr;
    EXPECT_EQ(mill_group_gradient(group, index, &out, f.err()), MILL_OK);
    return out ? read_all<float>(f, f.own(out)) : std::vector<float>();
  }

  mill_group* group = nullptr;
  HookUser user{};
};

TEST_F(GradientHook, MayNotPullTheTapeFromUnderThePass) {
  ASSERT_EQ(backward([](HookUser& u, mill_exec* exec) {
              mill_tensor* out = nullptr;
              u.got[0] = mill_tape_reset(u.tape, nullptr);
              u.got[1] =
                  mill_tape_gradient(u.tape, exec, u.loss, nullptr, u.params, 1, &out, nullptr);
              u.got[2] = mill_tape_on_gradient(u.tape, nullptr, nullptr, nullptr, nullptr);
            }),
            MILL_OK)
      << f.message();
  for (const mill_status got : user.got) EXPECT_EQ(got, MILL_E_STATE);
  EXPECT_EQ(gradient(0), (std::vector<float>{4, 6}));
  EXPECT_EQ(gradient(1), (std::vector<float>{6, 8}));
  EXPECT_EQ(mill_tape_reset(user.tape, f.err()), MILL_OK);
}

TEST_F(GradientHook, WritingToWhatThePassStillNeedsIsFoundStale) {
  expect_refused(f, backward([](HookUser& u, mill_exec* exec) {
                   const float values[] = {9, 9};
                   for (mill_tensor* param : u.params)
                     mill_tensor_write(exec, param, values, sizeof values, nullptr);
                 }),
                 MILL_E_STALE_SAVED, {"mul", "version"});
}

TEST_F(Callbacks, WaitingForAnExecRunsDeleters) {
  int calls = 0;
  float* const memory = f.zeros<float>(4);
  const int64_t dims[] = {4};
  mill_tensor* imported = nullptr;
  const auto deleter = [](void* user, void*) { ++*static_cast<int*>(user); };
  ASSERT_EQ(mill_tensor_import(f.exec(), MILL_F32, dims, nullptr, 1, memory, deleter, &calls,
                               &imported, f.err()),
            MILL_OK);
  mill_tensor_release(imported);
  ASSERT_EQ(mill_exec_wait(f.exec(), f.err()), MILL_OK);
  EXPECT_EQ(calls, 1);
}

TEST(TapeApi, ABackwardThatIsRefusedKeepsTheGradientsOfTheOneBefore) {
  Fixture f;
  mill_tape* const tape = f.made<mill_tape>();
  mill_tensor* const x = f.tensor({2});
  mill_tensor* loss = nullptr;
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  ASSERT_EQ(mill_sum(f.exec(), x, nullptr, 0, 0, &loss, f.err()), MILL_OK);
  f.own(loss);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  ASSERT_EQ(mill_tape_backward(tape, f.exec(), loss, nullptr, MILL_BACKWARD_KEEP, f.err()),
            MILL_OK);
  expect_refused(
      f, mill_tape_backward(tape, f.exec(), loss, f.tensor({3}), MILL_BACKWARD_KEEP, f.err()),
      MILL_E_SHAPE, {"seed"});
  mill_tensor* gradient = nullptr;
  ASSERT_EQ(mill_tape_gradient_of(tape, x, &gradient, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read_all<float>(f, f.own(gradient)), (std::vector<float>{1, 1}));
}

TEST(CheckpointApi, ANegativeStepIsRefused) {
  Fixture f;
  mill_optimizer* const optimizer = f.ready_optimizer();
  const char* const path = f.path("negative.checkpoint");
  ASSERT_EQ(mill_checkpoint_save(f.exec(), path, MILL_NTS, f.built_group(), optimizer, nullptr,
                                 nullptr, f.err()),
            MILL_OK);
  // The step is the only i64 of the file, and 0.
  mill_file* file = nullptr;
  ASSERT_EQ(mill_file_open(f.context(), path, MILL_NTS, &file, f.err()), MILL_OK);
  uint64_t count = 0;
  ASSERT_EQ(mill_file_count(file, &count, f.err()), MILL_OK);
  std::vector<const char*> names(count);
  std::vector<mill_tensor*> tensors(count);
  for (uint64_t k = 0; k < count; ++k) {
    ASSERT_EQ(mill_file_name(file, k, &names[k], nullptr, f.err()), MILL_OK);
    ASSERT_EQ(mill_file_read(file, f.exec(), k, &tensors[k], f.err()), MILL_OK);
    f.own(tensors[k]);
    const int64_t minus = -1;
    if (std::string(names[k]) != "optim.step") continue;
    ASSERT_EQ(mill_tensor_write(f.exec(), tensors[k], &minus, sizeof minus, f.err()), MILL_OK);
  }
  const char* const changed = f.path("changed.checkpoint");
  const char* const key = "format";
  const char* format = nullptr;
  ASSERT_EQ(mill_file_metadata(file, "format", MILL_NTS, &format, f.err()), MILL_OK);
  ASSERT_EQ(mill_file_save(f.exec(), changed, MILL_NTS, names.data(), tensors.data(), count, &key,
                           &format, 1, f.err()),
            MILL_OK)
      << f.message();
  mill_file_release(file);
  expect_refused(f,
                 mill_checkpoint_load(f.exec(), changed, MILL_NTS, f.built_group(), optimizer,
                                      nullptr, nullptr, f.err()),
                 MILL_E_FORMAT, {"optim.step", "-1"});
}

TEST(OptimizerRanges, WhatTheComputeTypeCannotHoldIsRefused) {
  Fixture f;
  mill_group* const group = f.built_group();
  mill_optimizer* out = nullptr;
  expect_refused(
      f, mill_optimizer_create_adamw(f.exec(), group, 1e-3, 0.9, 0.999, 1e-60, 0, &out, f.err()),
      MILL_E_ARG, {"eps", "1e-60", "f32"});
  expect_refused(
      f, mill_optimizer_create_adamw(f.exec(), group, 1e300, 0.9, 0.999, 1e-8, 0, &out, f.err()),
      MILL_E_ARG, {"rate", "1e+300", "f32"});
  EXPECT_EQ(out, nullptr);
  f.random_exec();
  mill_tensor* values = nullptr;
  const int64_t dims[] = {2};
  expect_refused(
      f, mill_uniform(f.exec(), nullptr, dims, 1, MILL_F64, -1.7e308, 1.7e308, &values, f.err()),
      MILL_E_ARG, {"uniform", "low", "high"});
}

}  // namespace
}  // namespace mill_test
