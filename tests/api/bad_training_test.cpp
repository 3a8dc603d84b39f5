// Groups, optimizers, tapes, loaders and the trace, given what they must refuse.
#include <limits>

#include "api/refusal.h"

namespace mill_test {
namespace {

using BadGroup = BadInput;
using BadOptimizer = BadInput;
using BadTape = BadInput;
using BadLoader = BadInput;
using BadTrace = BadInput;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST_F(BadGroup, IsBuiltOnceAndHoldsItsNames) {
  mill_group* group = nullptr;
  expect_refused(f, mill_group_create(f.context(), MILL_I32, &group, f.err()), MILL_E_DTYPE,
                 {"i32"});
  expect_refused(f, mill_group_create(f.context(), 77, &group, f.err()), MILL_E_ARG,
                 {"dtype is 77"});
  EXPECT_EQ(group, nullptr);
  group = f.made<mill_group>();
  const int64_t dims[] = {2, 3};
  const int64_t negative[] = {2, -3};
  const int64_t huge[] = {INT64_MAX / 8};
  expect_refused(f, mill_group_build(group, f.exec(), f.err()), MILL_E_STATE, {"empty"});
  expect_refused(f, mill_group_add(group, "", dims, 2, nullptr, f.err()), MILL_E_ARG, {"name"});
  expect_refused(f, mill_group_add(group, "w", negative, 2, nullptr, f.err()), MILL_E_SHAPE,
                 {"-3"});
  expect_refused(f, mill_group_add(group, "w", f.zeros<int64_t>(9), 9, nullptr, f.err()),
                 MILL_E_SHAPE, {"9", "8"});
  ASSERT_EQ(mill_group_add(group, "w", dims, 2, nullptr, f.err()), MILL_OK);
  ASSERT_EQ(mill_group_add(group, "big", huge, 1, nullptr, f.err()), MILL_OK) << f.message();
  expect_refused(f, mill_group_add(group, "bigger", huge, 1, nullptr, f.err()), MILL_E_SHAPE,
                 {"9223372036854775807"});
  expect_refused(f, mill_group_add(group, "w", dims, 2, nullptr, f.err()), MILL_E_STATE,
                 {"\"w\"", "0"});
  expect_refused(f, mill_group_build(group, f.exec(), f.err()), MILL_E_MEMORY, {});
  group = f.made<mill_group>();
  expect_refused(f, mill_group_add_buffer(group, "", f.tensor(), f.err()), MILL_E_ARG, {"name"});
  expect_refused(f, mill_group_add_buffer(group, "s", other.tensor(), f.err()), MILL_E_DEVICE,
                 {"context"});
  ASSERT_EQ(mill_group_add_buffer(group, "s", f.tensor(), f.err()), MILL_OK) << f.message();
  expect_refused(f, mill_group_add_buffer(group, "s", f.tensor(), f.err()), MILL_E_STATE,
                 {"\"s\""});
  ASSERT_EQ(mill_group_add(group, "w", dims, 2, nullptr, f.err()), MILL_OK);
  mill_tensor* tensor = nullptr;
  expect_refused(f, mill_group_param(group, 0, &tensor, f.err()), MILL_E_STATE, {"not built"});
  expect_refused(f, mill_group_gradient(group, 0, &tensor, f.err()), MILL_E_STATE, {"not built"});
  expect_refused(f, mill_group_init(group, f.exec(), 0, MILL_INIT_CONSTANT, 1, f.err()),
                 MILL_E_STATE, {"not built"});
  expect_refused(f, mill_group_build(group, other.exec(), f.err()), MILL_E_DEVICE, {"context"});
  ASSERT_EQ(mill_group_build(group, f.exec(), f.err()), MILL_OK);
  expect_refused(f, mill_group_build(group, f.exec(), f.err()), MILL_E_STATE, {"built"});
  expect_refused(f, mill_group_add(group, "v", dims, 2, nullptr, f.err()), MILL_E_STATE, {"built"});
  expect_refused(f, mill_group_param(group, 1, &tensor, f.err()), MILL_E_ARG, {"index is 1"});
  EXPECT_EQ(tensor, nullptr);
  uint32_t index = 5;
  expect_refused(f, mill_group_find(group, "v", &index, f.err()), MILL_E_ARG, {"\"v\""});
  const char* name = "";
  expect_refused(f, mill_group_name(group, 4, &name, f.err()), MILL_E_ARG, {"index is 4"});
  EXPECT_EQ(name, nullptr);
  expect_refused(f, mill_group_init(group, f.exec(), 0, 5, 1, f.err()), MILL_E_ARG, {"kind is 5"});
  expect_refused(f, mill_group_init(group, f.exec(), 0, -1, 1, f.err()), MILL_E_ARG,
                 {"kind is -1"});
  expect_refused(f, mill_group_init(group, f.exec(), 1, MILL_INIT_CONSTANT, 1, f.err()), MILL_E_ARG,
                 {"index is 1"});
  expect_refused(f, mill_group_init(group, f.exec(), 0, MILL_INIT_CONSTANT, kNaN, f.err()),
                 MILL_E_ARG, {"a is"});
  expect_refused(f, mill_group_init(group, f.exec(), 0, MILL_INIT_NORMAL, kInf, f.err()),
                 MILL_E_ARG, {"a is"});
  expect_refused(f, mill_group_init(group, f.exec(), 0, MILL_INIT_KAIMING, 1, f.err()),
                 MILL_E_STATE, {"generator"});
}

TEST_F(BadOptimizer, RefusesHyperparametersThatAreNone) {
  mill_group* const group = f.built_group();
  mill_optimizer* out = nullptr;
  const uint64_t before = f.unexplained();
  struct Sgd {
    double rate, momentum, decay;
    mill_bool nesterov;
    const char* word;
  };
  for (const Sgd& s :
       {Sgd{kNaN, 0, 0, 0, "rate"}, Sgd{-1, 0, 0, 0, "rate"}, Sgd{kInf, 0, 0, 0, "rate"},
        Sgd{0.1, 1, 0, 0, "momentum"}, Sgd{0.1, -0.1, 0, 0, "momentum"},
        Sgd{0.1, kNaN, 0, 0, "momentum"}, Sgd{0.1, 0, -1, 0, "weight_decay"},
        Sgd{0.1, 0, kNaN, 0, "weight_decay"}, Sgd{0.1, 0, 0, 1, "nesterov"}}) {
    expect_refused(f,
                   mill_optimizer_create_sgd(f.exec(), group, s.rate, s.momentum, s.decay,
                                             s.nesterov, &out, f.err()),
                   MILL_E_ARG, {"mill_optimizer_create_sgd", s.word});
    EXPECT_EQ(out, nullptr);
  }
  struct Adam {
    double rate, beta1, beta2, eps, decay;
    const char* word;
  };
  for (const Adam& a : {Adam{kNaN, .9, .99, 1e-8, 0, "rate"}, Adam{-1, .9, .99, 1e-8, 0, "rate"},
                        Adam{.1, 1, .99, 1e-8, 0, "beta1"}, Adam{.1, kNaN, .99, 1e-8, 0, "beta1"},
                        Adam{.1, .9, 1, 1e-8, 0, "beta2"}, Adam{.1, .9, -1, 1e-8, 0, "beta2"},
                        Adam{.1, .9, .99, 0, 0, "eps"}, Adam{.1, .9, .99, kNaN, 0, "eps"},
                        Adam{.1, .9, .99, 1e-8, -1, "weight_decay"},
                        Adam{.1, .9, .99, 1e-8, kNaN, "weight_decay"}}) {
    expect_refused(f,
                   mill_optimizer_create_adamw(f.exec(), group, a.rate, a.beta1, a.beta2, a.eps,
                                               a.decay, &out, f.err()),
                   MILL_E_ARG, {a.word});
    EXPECT_EQ(out, nullptr);
  }
  expect_refused(
      f, mill_optimizer_create_sgd(f.exec(), f.made<mill_group>(), 0.1, 0, 0, 0, &out, f.err()),
      MILL_E_STATE, {"not built"});
  expect_refused(f, mill_optimizer_create_sgd(other.exec(), group, 0.1, 0, 0, 0, &out, f.err()),
                 MILL_E_DEVICE, {});
  EXPECT_EQ(out, nullptr);
  EXPECT_EQ(f.unexplained(), before);
  mill_optimizer* const good = f.made<mill_optimizer>();
  expect_refused(f, mill_optimizer_set_rate(good, f.exec(), kNaN, f.err()), MILL_E_ARG, {"rate"});
  expect_refused(f, mill_optimizer_set_rate(good, f.exec(), -0.1, f.err()), MILL_E_ARG,
                 {"rate is -0.1"});
  expect_refused(f, mill_optimizer_set_clip_norm(good, kNaN, f.err()), MILL_E_ARG, {"max_norm"});
  expect_refused(f, mill_optimizer_set_clip_norm(good, -1, f.err()), MILL_E_ARG,
                 {"max_norm is -1"});
  expect_refused(f, mill_optimizer_set_schedule(good, 2, 0, 10, 0, f.err()), MILL_E_ARG,
                 {"shape is 2"});
  expect_refused(f, mill_optimizer_set_schedule(good, 1, -1, 10, 0, f.err()), MILL_E_ARG,
                 {"warmup is -1"});
  expect_refused(f, mill_optimizer_set_schedule(good, 1, 10, 10, 0, f.err()), MILL_E_ARG,
                 {"total is 10", "10"});
  expect_refused(f, mill_optimizer_set_schedule(good, 1, 1, 10, 1.5, f.err()), MILL_E_ARG,
                 {"floor is 1.5"});
  expect_refused(f, mill_optimizer_set_schedule(good, 1, 1, 10, kNaN, f.err()), MILL_E_ARG,
                 {"floor"});
  expect_refused(f, mill_optimizer_set_schedule(good, 0, 0, -1, 0, f.err()), MILL_E_ARG, {"total"});
  mill_tensor* norm = nullptr;
  expect_refused(f, mill_optimizer_norm(good, &norm, f.err()), MILL_E_STATE, {"clipping"});
  EXPECT_EQ(norm, nullptr);
  expect_refused(f, mill_optimizer_step(good, other.exec(), f.err()), MILL_E_DEVICE, {});
  int64_t steps = -1;
  ASSERT_EQ(mill_optimizer_steps(good, &steps, f.err()), MILL_OK);
  EXPECT_EQ(steps, 0);
}

TEST_F(BadTape, BackwardRefusesWhatItCannotDo) {
  mill_tape* const tape = f.made<mill_tape>();
  mill_tensor* const x = f.tensor({2, 3});
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  expect_refused(f, mill_tape_watch(tape, f.ids({2}), f.err()), MILL_E_DTYPE, {"i64"});
  expect_refused(f, mill_tape_watch(tape, other.tensor({2}), f.err()), MILL_E_DEVICE, {"context"});
  expect_refused(f, mill_tape_backward(tape, f.exec(), f.tensor({1}), nullptr, 0, f.err()),
                 MILL_E_STATE, {"not on this tape"});
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_mul(f.exec(), x, x, y, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  expect_refused(f, mill_tape_backward(tape, f.exec(), *y, nullptr, 0, f.err()), MILL_E_SHAPE,
                 {"[2, 3]", "seed"});
  expect_refused(f, mill_tape_backward(tape, f.exec(), *y, f.tensor({3, 2}), 0, f.err()),
                 MILL_E_SHAPE, {"[3, 2]", "[2, 3]"});
  expect_refused(f, mill_tape_backward(tape, f.exec(), *y, f.tensor({2, 3}), 6, f.err()),
                 MILL_E_ARG, {"flags is 6"});
  expect_refused(f, mill_tape_backward(tape, other.exec(), *y, nullptr, 0, f.err()), MILL_E_DEVICE,
                 {});
  mill_tensor* gradient = nullptr;
  expect_refused(f, mill_tape_gradient_of(tape, x, &gradient, f.err()), MILL_E_STATE, {"gradient"});
  EXPECT_EQ(gradient, nullptr);
  // After all of that the tape still holds what it recorded.
  ASSERT_EQ(mill_tape_backward(tape, f.exec(), *y, f.tensor({2, 3}, MILL_F32, 1), 0, f.err()),
            MILL_OK)
      << f.message();
  ASSERT_EQ(mill_tape_gradient_of(tape, x, &gradient, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, gradient), std::vector<float>(6, 1.0f));
  mill_tensor_release(gradient);
  expect_refused(f, mill_tape_backward(tape, f.exec(), *y, f.tensor({2, 3}), 0, f.err()),
                 MILL_E_STATE, {});
}

TEST_F(BadTape, StaleSavedTensorsAreNamed) {
  mill_tape* const tape = f.made<mill_tape>();
  mill_tensor* const x = f.tensor({2, 3});
  mill_tensor* const factor = f.tensor({2, 3});
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_mul(f.exec(), x, factor, y, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  const float data[6] = {};
  // Through a view, whose writes count for the base.
  mill_tensor* const part = view(f, factor, {1}, {1}, 2);
  ASSERT_EQ(mill_tensor_write(f.exec(), part, data, 4, f.err()), MILL_OK);
  expect_refused(
      f, mill_tape_backward(tape, f.exec(), *y, f.tensor({2, 3}), MILL_BACKWARD_KEEP, f.err()),
      MILL_E_STALE_SAVED, {"backward", "mul", "b", "version"});
}

TEST_F(BadTape, SegmentsRefuseWhatTheyCannotRun) {
  const auto square = [](void*, mill_exec* exec, mill_tensor* const* in, uint32_t,
                         mill_tensor** out, uint32_t,
                         mill_error* err) { return mill_mul(exec, in[0], in[0], out, err); };
  const auto nothing = [](void*, mill_exec*, mill_tensor* const*, uint32_t, mill_tensor**, uint32_t,
                          mill_error*) -> mill_status { return MILL_OK; };
  int destroys = 0;
  const auto count = [](void* user) { ++*static_cast<int*>(user); };
  mill_tensor* const x = f.tensor({2, 3});
  mill_tensor* out[9] = {};
  mill_exec* const e = f.exec();
  expect_refused(f, mill_tape_checkpoint(e, nullptr, &destroys, count, &x, 1, out, 1, f.err()),
                 MILL_E_ARG, {"fn"});
  expect_refused(f, mill_tape_checkpoint(e, square, &destroys, count, &x, 1, out, 0, f.err()),
                 MILL_E_ARG, {"n_outputs is 0", "8"});
  expect_refused(f, mill_tape_checkpoint(e, square, &destroys, count, &x, 1, out, 9, f.err()),
                 MILL_E_ARG, {"n_outputs is 9", "8"});
  expect_refused(f, mill_tape_checkpoint(e, square, &destroys, count, &x, 65, out, 1, f.err()),
                 MILL_E_ARG, {"n_inputs is 65", "64"});
  mill_tensor* const foreign = other.tensor({2, 3});
  expect_refused(f, mill_tape_checkpoint(e, square, &destroys, count, &foreign, 1, out, 1, f.err()),
                 MILL_E_DEVICE, {"inputs"});
  expect_refused(f, mill_tape_checkpoint(e, nothing, &destroys, count, &x, 1, out, 1, f.err()),
                 MILL_E_STATE, {"output 0", "1"});
  EXPECT_EQ(destroys, 6);
  EXPECT_EQ(out[0], nullptr);
  ASSERT_EQ(mill_tape_checkpoint(e, square, &destroys, count, &x, 1, out, 1, f.err()), MILL_OK);
  mill_tensor_release(out[0]);
  EXPECT_EQ(destroys, 7);
}

// Inside a segment the tape of its exec is not for resetting, nor for other ops.
TEST_F(BadTape, ASegmentMayNotTouchTheTapesAroundIt) {
  struct User {
    mill_tape* tape;
    mill_status got[4];
  } user{f.made<mill_tape>(), {}};
  mill_tensor* const x = f.tensor({2, 3});
  ASSERT_EQ(mill_tape_watch(user.tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), user.tape, f.err()), MILL_OK);
  const auto segment = [](void* data, mill_exec* exec, mill_tensor* const* in, uint32_t,
                          mill_tensor** out, uint32_t, mill_error* err) {
    auto& u = *static_cast<User*>(data);
    mill_tape* own = nullptr;
    u.got[0] = mill_tape_reset(u.tape, nullptr);
    mill_exec_get_tape(exec, &own, nullptr);
    u.got[1] = own != u.tape ? mill_tape_reset(own, nullptr) : MILL_OK;
    u.got[2] = mill_tape_watch(own, in[0], nullptr);
    mill_exec_set_tape(exec, u.tape, nullptr);
    mill_tensor* made = nullptr;
    u.got[3] = mill_mul(exec, in[0], in[0], &made, nullptr);
    mill_exec_set_tape(exec, own, nullptr);
    mill_tape_release(own);
    return mill_mul(exec, in[0], in[0], out, err);
  };
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_tape_checkpoint(f.exec(), segment, &user, nullptr, &x, 1, y, 1, f.err()), MILL_OK)
      << f.message();
  for (const mill_status got : user.got) EXPECT_EQ(got, MILL_E_STATE);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  ASSERT_EQ(mill_tape_backward(user.tape, f.exec(), *y, f.tensor({2, 3}, MILL_F32, 1), 0, f.err()),
            MILL_OK)
      << f.message();
}

TEST_F(BadTape, BudgetsAndPlansRefuseWhatTheyCannotSay) {
  mill_tape* const tape = f.recorded_tape();
  expect_refused(f, mill_tape_set_budget(tape, 64, f.err()), MILL_E_STATE, {"64", "2 ops"});
  uint32_t n = 7;
  expect_refused(f, mill_tape_plan(tape, nullptr, 3, &n, nullptr, f.err()), MILL_E_ARG,
                 {"rows", "3"});
  EXPECT_EQ(n, 0u);
  EXPECT_EQ(mill_tape_plan(tape, nullptr, 0, &n, nullptr, f.err()),
            n > 0 ? MILL_INCOMPLETE : MILL_OK);
  expect_refused(f,
                 mill_tape_on_saved(
                     tape,
                     [](void*, mill_exec*, mill_tensor*, void**, mill_error*) -> mill_status {
                       return MILL_OK;
                     },
                     nullptr, nullptr, nullptr, nullptr, f.err()),
                 MILL_E_ARG, {"unpack"});
}

TEST_F(BadTape, AnOpWithoutAGradientIsNamed) {
  mill_tape* const tape = f.made<mill_tape>();
  mill_tensor* const x = f.tensor({2, 3});
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_squared_norm(f.exec(), &x, 1, y, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  expect_refused(f, mill_tape_backward(tape, f.exec(), *y, nullptr, MILL_BACKWARD_KEEP, f.err()),
                 MILL_E_NO_GRADIENT, {"squared_norm"});
}

TEST_F(BadLoader, RefusesDatasetsAndOptions) {
  mill_tensor* const rows4 = f.tensor({4, 2});
  mill_tensor* const rows5 = f.tensor({5});
  mill_tensor* const scalar = f.tensor({});
  mill_loader* out = nullptr;
  const auto create = [&](std::vector<mill_tensor*> columns, auto&& change) {
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    change(opts);
    out = nullptr;
    const mill_status status = mill_loader_create(
        f.context(), columns.data(), static_cast<uint32_t>(columns.size()), &opts, &out, f.err());
    EXPECT_EQ(out, nullptr);
    return status;
  };
  const auto plain = [](mill_loader_opts&) {};
  expect_refused(f, create({}, plain), MILL_E_ARG, {"n is 0"});
  expect_refused(f, create(std::vector<mill_tensor*>(65, rows4), plain), MILL_E_ARG,
                 {"n is 65", "64"});
  expect_refused(f, create({scalar}, plain), MILL_E_SHAPE, {"columns[0]"});
  expect_refused(f, create({rows4, rows5}, plain), MILL_E_SHAPE, {"5", "4"});
  expect_refused(f, create({other.tensor({4})}, plain), MILL_E_DEVICE, {"columns[0]"});
  expect_refused(f, create({rows4}, [](auto& o) { o.batch = -1; }), MILL_E_ARG, {"batch is -1"});
  expect_refused(f, create({rows4}, [](auto& o) { o.flags = 8; }), MILL_E_ARG, {"flags is 8"});
  expect_refused(f, create({rows4}, [](auto& o) { o.prefetch = 65; }), MILL_E_ARG,
                 {"prefetch is 65", "64"});
  expect_refused(f, create({rows4}, [](auto& o) { o.workers = 65; }), MILL_E_ARG,
                 {"workers is 65", "64"});
  expect_refused(f, create({rows4}, [](auto& o) { o.device = 9; }), MILL_E_ARG,
                 {"device is 9", "1"});
  mill_loader* const loader = f.made<mill_loader>();
  expect_refused(f, mill_loader_set_transform(loader, 1, MILL_F32, 1, 0, f.err()), MILL_E_ARG,
                 {"column is 1"});
  expect_refused(f, mill_loader_set_transform(loader, 0, 44, 1, 0, f.err()), MILL_E_ARG, {"44"});
  expect_refused(f, mill_loader_set_transform(loader, 0, MILL_F32, kNaN, 0, f.err()), MILL_E_ARG,
                 {"scale"});
  expect_refused(f, mill_loader_set_transform(loader, 0, MILL_F32, 1, kInf, f.err()), MILL_E_ARG,
                 {"shift"});
  expect_refused(f, mill_loader_set_transform(loader, 0, MILL_C64, 1, 0, f.err()), MILL_E_DTYPE,
                 {"c64"});
  expect_refused(f, mill_loader_set_position(loader, 0, 0, -1, f.err()), MILL_E_ARG, {"-1"});
  expect_refused(f, mill_loader_set_position(loader, 0, 0, 3, f.err()), MILL_E_ARG, {"3", "2"});
  mill_tensor* batch[2] = {rows4, rows5};
  expect_refused(f, mill_loader_next(loader, f.exec(), batch, 2, f.err()), MILL_E_ARG,
                 {"n is 2", "1"});
  EXPECT_EQ(batch[0], nullptr);
  EXPECT_EQ(batch[1], nullptr);
  expect_refused(f, mill_loader_next(loader, other.exec(), batch, 1, f.err()), MILL_E_DEVICE, {});
  int64_t at = -1;
  ASSERT_EQ(mill_loader_get_position(loader, nullptr, nullptr, &at, f.err()), MILL_OK);
  EXPECT_EQ(at, 0);
  ASSERT_EQ(mill_loader_next(loader, f.exec(), batch, 1, f.err()), MILL_OK) << f.message();
  mill_tensor_release(batch[0]);
  expect_refused(f, mill_loader_set_transform(loader, 0, MILL_F64, 1, 0, f.err()), MILL_E_STATE,
                 {"batch"});
}

TEST_F(BadTrace, MasksNamesAndScopes) {
  expect_refused(f, mill_trace_set_mask(f.context(), 1024, f.err()), MILL_E_ARG, {"0x400"});
  expect_refused(f, mill_trace_set_mask(f.context(), UINT64_MAX, f.err()), MILL_E_ARG, {});
  uint64_t mask = 9;
  ASSERT_EQ(mill_trace_get_mask(f.context(), &mask, f.err()), MILL_OK);
  EXPECT_EQ(mask, 0u);
  expect_refused(f, mill_trace_scope_end(f.exec(), f.err()), MILL_E_STATE, {});
  expect_refused(f, mill_trace_scope_begin(f.exec(), "", MILL_NTS, f.err()), MILL_E_ARG, {});
  expect_refused(f, mill_trace_scope_begin(f.exec(), "x", 0, f.err()), MILL_E_ARG, {});
  const std::string name(1001, 'n');
  expect_refused(f, mill_trace_scope_begin(f.exec(), name.c_str(), name.size(), f.err()),
                 MILL_E_ARG, {"1001", "1000"});
  ASSERT_EQ(mill_trace_set_mask(f.context(), MILL_TRACE_SCOPES, f.err()), MILL_OK);
  expect_refused(f, mill_trace_mark(f.exec(), name.c_str(), name.size(), f.err()), MILL_E_ARG,
                 {"1001"});
  expect_refused(f, mill_trace_mark(f.exec(), "", MILL_NTS, f.err()), MILL_E_ARG, {});
  for (int k = 0; k < 64; ++k)
    ASSERT_EQ(mill_trace_scope_begin(f.exec(), "s", 1, f.err()), MILL_OK);
  expect_refused(f, mill_trace_scope_begin(f.exec(), "s", 1, f.err()), MILL_E_STATE, {"64"});
  for (int k = 0; k < 64; ++k) ASSERT_EQ(mill_trace_scope_end(f.exec(), f.err()), MILL_OK);
  char text[4] = {};
  expect_refused(f, mill_trace_string(f.context(), 4000000, text, 4, nullptr, f.err()), MILL_E_ARG,
                 {"4000000"});
  mill_trace_writer* const writer = f.made<mill_trace_writer>();
  expect_refused(f, mill_trace_writer_append(writer, nullptr, 3, f.err()), MILL_E_ARG,
                 {"records", "3"});
  ASSERT_EQ(mill_trace_writer_finish(writer, f.err()), MILL_OK);
  expect_refused(f, mill_trace_writer_finish(writer, f.err()), MILL_E_STATE, {});
  expect_refused(f, mill_trace_writer_append(writer, nullptr, 0, f.err()), MILL_E_STATE, {});
  mill_trace_writer* out = nullptr;
  expect_refused(
      f, mill_trace_writer_open(f.context(), "/nonexistent/x.json", MILL_NTS, &out, f.err()),
      MILL_E_IO, {"/nonexistent/x.json"});
  EXPECT_EQ(out, nullptr);
  expect_refused(f, mill_trace_writer_open(f.context(), "", MILL_NTS, &out, f.err()), MILL_E_ARG,
                 {});
  expect_refused(f, mill_memory_trim(f.context(), 1, nullptr, f.err()), MILL_E_ARG,
                 {"device is 1"});
}

}  // namespace
}  // namespace mill_test
