// What a tape records, keeps, refuses and forgets.
#include <gtest/gtest.h>

#include <limits>

#include "gradient/model.h"

namespace mill_test {
namespace {

class TapeTest : public testing::Test {
 protected:
  Tensor x3() { return f64(w_, {3}, {1, 2, -3}); }
  Tensor cube(const Tensor& x) { return op::mul(w_, op::mul(w_, x, x), x); }
  bool names(const std::string& word) { return w_.message().find(word) != std::string::npos; }

  World& w_ = world();
};

using Doubles = std::vector<double>;

TEST_F(TapeTest, RecordsNothingWithoutATrackedInput) {
  Recording tape(w_);
  const Tensor x = x3();
  const Tensor y = op::sum(w_, cube(x));
  EXPECT_EQ(tape.count(), 0u);
  EXPECT_EQ(tape.backward(y), MILL_E_STATE);
}

TEST_F(TapeTest, RecordsNothingWhileItIsOff) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  tape.off();
  const Tensor y = op::sum(w_, x);
  EXPECT_EQ(tape.count(), 0u);
  tape.on();
  EXPECT_EQ(tape.backward(y), MILL_E_STATE);
}

TEST_F(TapeTest, AnExecSaysWhichTapeItRecordsOn) {
  Recording tape(w_);
  Tape found;
  w_.ok(mill_exec_get_tape(w_.exec(), found.out(), w_.error()));
  EXPECT_EQ(found.get(), tape.get());
  tape.off();
  w_.ok(mill_exec_get_tape(w_.exec(), found.out(), w_.error()));
  EXPECT_FALSE(found);
}

TEST_F(TapeTest, CountsWhatItRecords) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, cube(x));
  EXPECT_EQ(tape.count(), 3u);
}

TEST_F(TapeTest, GradientsOfWatchedTensorsStayOnTheTape) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, cube(x));
  ASSERT_EQ(tape.backward(y), MILL_OK) << w_.message();
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 27}));
}

TEST_F(TapeTest, BackwardWithoutKeepUsesTheTapeUp) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, cube(x));
  w_.ok(tape.backward(y));
  EXPECT_EQ(tape.count(), 0u);
  EXPECT_EQ(tape.backward(y), MILL_E_STATE);
}

TEST_F(TapeTest, BackwardWithKeepCanBeRepeated) {
  Recording tape(w_);
  tape.off();
  const Tensor x = x3();
  tape.watch(x);
  tape.on();
  const Tensor y = op::sum(w_, cube(x));
  tape.off();
  for (int round = 0; round < 3; ++round) {
    w_.ok(tape.backward(y, MILL_BACKWARD_KEEP));
    EXPECT_EQ(tape.count(), 3u);
    EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 27}));
  }
}

TEST_F(TapeTest, ResetForgetsOpsWatchesAndGradients) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, x);
  w_.ok(tape.backward(y, MILL_BACKWARD_KEEP));
  w_.ok(mill_tape_reset(tape.get(), w_.error()));
  EXPECT_EQ(tape.count(), 0u);
  EXPECT_EQ(tape.backward(y), MILL_E_STATE);
  const Tensor again = op::sum(w_, x);
  EXPECT_EQ(tape.count(), 0u) << "x is no longer watched";
  EXPECT_EQ(doubles(w_, x), (Doubles{1, 2, -3}));
}

TEST_F(TapeTest, NoGradientWhereNothingFlows) {
  Recording tape(w_);
  const Tensor x = x3();
  const Tensor other = x3();
  tape.watch(x);
  tape.watch(other);
  const Tensor y = op::sum(w_, x);
  w_.ok(tape.backward(y));
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_tape_gradient_of(tape.get(), other.get(), &out, w_.error()), MILL_E_STATE);
  EXPECT_EQ(out, nullptr);
}

TEST_F(TapeTest, UsesOfOneTensorAddUp) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor twice = op::add(w_, x, x);
  const Tensor y = op::sum(w_, op::mul(w_, twice, x));
  w_.ok(tape.backward(y));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{4, 8, -12}));
}

TEST_F(TapeTest, SeedIsTheGradientByTheLoss) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::mul(w_, x, x);
  EXPECT_EQ(tape.backward(y), MILL_E_SHAPE) << "three elements need a seed";
  const Tensor wrong = f64(w_, {2}, {1, 1});
  EXPECT_EQ(mill_tape_backward(tape.get(), w_.exec(), y.get(), wrong.get(), 0, w_.error()),
            MILL_E_SHAPE);
  const Tensor seed = make<float>(w_, {3}, {1, 10, 100});
  w_.ok(mill_tape_backward(tape.get(), w_.exec(), y.get(), seed.get(), 0, w_.error()));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{2, 40, -600}));
}

TEST_F(TapeTest, UnknownFlagsAreRefused) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, x);
  EXPECT_EQ(tape.backward(y, 2), MILL_E_ARG);
  EXPECT_EQ(tape.count(), 1u);
}

TEST_F(TapeTest, OnlyFloatsCanBeWatched) {
  Recording tape(w_);
  const Tensor x = make<int64_t>(w_, {2}, {1, 2});
  EXPECT_EQ(mill_tape_watch(tape.get(), x.get(), w_.error()), MILL_E_DTYPE);
}

TEST_F(TapeTest, WatchingTwiceChangesNothing) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  tape.watch(x);
  w_.ok(tape.backward(op::sum(w_, x)));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{1, 1, 1}));
}

// ---- derivatives of derivatives -----------------------------------------------------------------

TEST_F(TapeTest, FunctionalGradientsCanBeDifferentiatedAgain) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, cube(x));
  const Tensor first = tape.gradient(y, x);
  EXPECT_EQ(doubles(w_, first), (Doubles{3, 12, 27}));
  const Tensor second = tape.gradient(op::sum(w_, first), x);
  EXPECT_EQ(doubles(w_, second), (Doubles{6, 12, -18}));
  const Tensor third = tape.gradient(op::sum(w_, second), x);
  EXPECT_EQ(doubles(w_, third), (Doubles{6, 6, 6}));
}

TEST_F(TapeTest, BackwardUnderARecordingTapeCanBeDifferentiatedAgain) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::sum(w_, cube(x));
  w_.ok(tape.backward(y, MILL_BACKWARD_KEEP));
  const Tensor first = tape.gradient_of(x);
  EXPECT_EQ(doubles(w_, first), (Doubles{3, 12, 27}));
  w_.ok(tape.backward(op::sum(w_, first), MILL_BACKWARD_KEEP));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{6, 12, -18}));
}

TEST_F(TapeTest, FunctionalGradientIsNullWhereNothingDepends) {
  Recording tape(w_);
  const Tensor x = x3();
  const Tensor other = x3();
  tape.watch(x);
  tape.watch(other);
  const Tensor y = op::sum(w_, x);
  mill_tensor* const in[] = {other.get(), x.get()};
  mill_tensor* out[2] = {};
  w_.ok(mill_tape_gradient(tape.get(), w_.exec(), y.get(), nullptr, in, 2, out, w_.error()));
  const Tensor none(out[0]);
  const Tensor by_x(out[1]);
  EXPECT_FALSE(none);
  EXPECT_EQ(doubles(w_, by_x), (Doubles{1, 1, 1}));
  EXPECT_GE(tape.count(), 1u) << "the tape is kept";
}

TEST_F(TapeTest, GradientByAnIntermediateTensor) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor middle = op::mul(w_, x, x);
  const Tensor y = op::sum(w_, op::mul(w_, middle, middle));
  EXPECT_EQ(doubles(w_, tape.gradient(y, middle)), (Doubles{2, 8, 18}));
}

// ---- stale tensors ------------------------------------------------------------------------------

TEST_F(TapeTest, OverwritingASavedInputThroughAViewIsDetectedByName) {
  Recording tape(w_);
  const Tensor a = x3();
  const Tensor b = x3();
  tape.watch(a);
  const Tensor y = op::sum(w_, op::mul(w_, a, b));
  tape.off();
  const int64_t dims[] = {1};
  const int64_t strides[] = {1};
  Tensor view;
  w_.ok(mill_tensor_view(b.get(), dims, strides, 1, 2, view.out(), w_.error()));
  const Tensor value = f64(w_, {1}, {7});
  mill_tensor* out = view.get();
  w_.ok(mill_copy(w_.exec(), value.get(), &out, w_.error()));
  EXPECT_EQ(tape.backward(y), MILL_E_STALE_SAVED);
  EXPECT_TRUE(names("mul")) << w_.message();
  EXPECT_TRUE(names("input b")) << w_.message();
}

TEST_F(TapeTest, OverwritingASavedOutputIsDetectedByName) {
  Recording tape(w_);
  const Tensor a = x3();
  tape.watch(a);
  const Tensor e = op::exp(w_, a);
  const Tensor y = op::sum(w_, e);
  tape.off();
  void* data = nullptr;
  w_.ok(mill_tensor_data(e.get(), 1, &data, w_.error()));
  EXPECT_EQ(tape.backward(y), MILL_E_STALE_SAVED);
  EXPECT_TRUE(names("exp")) << w_.message();
  EXPECT_TRUE(names("output out")) << w_.message();
}

TEST_F(TapeTest, HostWritesToSavedTensorsAreDetected) {
  Recording tape(w_);
  const Tensor a = x3();
  const Tensor b = x3();
  tape.watch(a);
  const Tensor y = op::sum(w_, op::mul(w_, a, b));
  tape.off();
  const double values[] = {9, 9, 9};
  w_.ok(mill_tensor_write(w_.exec(), b.get(), values, sizeof values, w_.error()));
  EXPECT_EQ(tape.backward(y), MILL_E_STALE_SAVED);
}

TEST_F(TapeTest, ReadingASavedTensorIsNoWrite) {
  Recording tape(w_);
  const Tensor a = x3();
  tape.watch(a);
  const Tensor y = op::sum(w_, op::mul(w_, a, a));
  void* data = nullptr;
  w_.ok(mill_tensor_data(a.get(), 0, &data, w_.error()));
  EXPECT_EQ(doubles(w_, a), (Doubles{1, 2, -3}));
  EXPECT_EQ(tape.backward(y), MILL_OK) << w_.message();
}

TEST_F(TapeTest, ATensorThatBackwardDoesNotNeedMayBeOverwritten) {
  Recording tape(w_);
  const Tensor a = x3();
  const Tensor b = x3();
  tape.watch(a);
  const Tensor y = op::sum(w_, op::add(w_, a, b));
  tape.off();
  mill_tensor* out = b.get();
  w_.ok(mill_neg(w_.exec(), a.get(), &out, w_.error()));
  ASSERT_EQ(tape.backward(y), MILL_OK) << w_.message();
  EXPECT_EQ(doubles(w_, tape.gradient_of(a)), (Doubles{1, 1, 1}));
}

TEST_F(TapeTest, StaleTensorsOffTheWayBackDoNotMatter) {
  Recording tape(w_);
  const Tensor a = x3();
  const Tensor b = x3();
  tape.watch(a);
  const Tensor unused = op::mul(w_, a, b);
  const Tensor y = op::sum(w_, a);
  tape.off();
  mill_tensor* out = b.get();
  w_.ok(mill_neg(w_.exec(), b.get(), &out, w_.error()));
  EXPECT_EQ(tape.backward(y), MILL_OK) << w_.message();
}

TEST_F(TapeTest, WritingInPlaceToTrackedMemoryIsRefusedWhileRecording) {
  Recording tape(w_);
  const Tensor a = x3();
  tape.watch(a);
  const Tensor y = op::mul(w_, a, a);
  for (const Tensor* target : {&a, &y}) {
    mill_tensor* out = target->get();
    EXPECT_EQ(mill_neg(w_.exec(), target->get(), &out, w_.error()), MILL_E_STATE);
  }
  const double values[] = {9, 9, 9};
  EXPECT_EQ(mill_tensor_write(w_.exec(), a.get(), values, sizeof values, w_.error()), MILL_E_STATE);
  EXPECT_EQ(doubles(w_, a), (Doubles{1, 2, -3}));
}

TEST_F(TapeTest, AnOutputInMemoryOfTheCallersIsRecorded) {
  Recording tape(w_);
  const Tensor a = x3();
  tape.watch(a);
  const Tensor place = x3();
  mill_tensor* out = place.get();
  w_.ok(mill_mul(w_.exec(), a.get(), a.get(), &out, w_.error()));
  w_.ok(tape.backward(op::sum(w_, place)));
  EXPECT_EQ(doubles(w_, tape.gradient_of(a)), (Doubles{2, 4, -6}));
}

// ---- ways that stop a gradient ------------------------------------------------------------------

TEST_F(TapeTest, AnOpWithoutGradientFailsByName) {
  Recording tape(w_);
  const Tensor g = f64(w_, {1, 3}, {1, 2, 3});
  const Tensor x = f64(w_, {1, 3}, {1, 2, 4});
  const Tensor mean = f64(w_, {1}, {0});
  const Tensor rstd = f64(w_, {1}, {1});
  tape.watch(g);
  Tensor dx, dweight, dbias;
  w_.ok(mill_layer_norm_backward(w_.exec(), g.get(), x.get(), nullptr, mean.get(), rstd.get(), 1,
                                 dx.out(), dweight.out(), dbias.out(), w_.error()));
  EXPECT_EQ(tape.backward(op::sum(w_, dx)), MILL_E_NO_GRADIENT);
  EXPECT_TRUE(names("layer_norm_backward")) << w_.message();
}

TEST_F(TapeTest, AnOpWithoutGradientOffTheWayDoesNotMatter) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  mill_tensor* in = x.get();
  Tensor norm;
  w_.ok(mill_squared_norm(w_.exec(), &in, 1, norm.out(), w_.error()));
  EXPECT_EQ(tape.backward(op::sum(w_, x)), MILL_OK) << w_.message();
}

TEST_F(TapeTest, ThroughDetachNothingFlows) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  const Tensor y = op::mul(w_, x, x);
  Tensor constant;
  w_.ok(mill_tensor_detach(y.get(), constant.out(), w_.error()));
  const Tensor loss = op::sum(w_, op::mul(w_, constant, x));
  w_.ok(tape.backward(loss));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{1, 4, 9}));
}

TEST_F(TapeTest, AComparisonHasNoGradient) {
  Recording tape(w_);
  const Tensor x = x3();
  tape.watch(x);
  Tensor mask;
  const Tensor zero = f64(w_, {}, {0});
  w_.ok(mill_compare(w_.exec(), x.get(), zero.get(), MILL_COMPARE_GT, mask.out(), w_.error()));
  Tensor picked;
  w_.ok(mill_where(w_.exec(), mask.get(), x.get(), zero.get(), picked.out(), w_.error()));
  w_.ok(tape.backward(op::sum(w_, picked)));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{1, 1, 0}));
}

// ---- dtypes -------------------------------------------------------------------------------------

TEST_F(TapeTest, GradientsHaveTheDtypeOfTheirTensor) {
  Recording tape(w_);
  const Tensor narrow = make<float>(w_, {2}, {1, 2});
  const Tensor wide = f64(w_, {2}, {3, 5});
  tape.watch(narrow);
  tape.watch(wide);
  w_.ok(tape.backward(op::sum(w_, op::mul(w_, narrow, wide))));
  const Tensor by_narrow = tape.gradient_of(narrow);
  const Tensor by_wide = tape.gradient_of(wide);
  EXPECT_EQ(mill_tensor_dtype(by_narrow.get()), MILL_F32);
  EXPECT_EQ(values_of<float>(w_, by_narrow.get()), (std::vector<float>{3, 5}));
  EXPECT_EQ(doubles(w_, by_wide), (Doubles{1, 2}));
}

TEST_F(TapeTest, CastPassesGradientsBetweenFloats) {
  for (const mill_dtype dtype : {MILL_F16, MILL_BF16, MILL_F32}) {
    Recording tape(w_);
    const Tensor x = f64(w_, {2}, {1, 2});
    tape.watch(x);
    Tensor y;
    w_.ok(mill_cast(w_.exec(), x.get(), dtype, y.out(), w_.error()));
    w_.ok(tape.backward(op::sum(w_, op::mul(w_, y, y))));
    EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{2, 4})) << dtype_text(dtype);
  }
}

// ---- edges of the domains
// ---------------------------------------------------------------------------

TEST_F(TapeTest, EqualValuesShareTheGradientOfMaximumAndMinimum) {
  for (const bool larger : {true, false}) {
    Recording tape(w_);
    const Tensor a = f64(w_, {3}, {1, 2, 3});
    const Tensor b = f64(w_, {3}, {1, 5, 0});
    tape.watch(a);
    tape.watch(b);
    Tensor y;
    w_.ok(larger ? mill_maximum(w_.exec(), a.get(), b.get(), y.out(), w_.error())
                 : mill_minimum(w_.exec(), a.get(), b.get(), y.out(), w_.error()));
    w_.ok(tape.backward(op::sum(w_, y)));
    const Doubles by_a = larger ? Doubles{0.5, 0, 1} : Doubles{0.5, 1, 0};
    const Doubles by_b = larger ? Doubles{0.5, 1, 0} : Doubles{0.5, 0, 1};
    EXPECT_EQ(doubles(w_, tape.gradient_of(a)), by_a);
    EXPECT_EQ(doubles(w_, tape.gradient_of(b)), by_b);
  }
}

TEST_F(TapeTest, EqualValuesShareTheGradientOfMax) {
  Recording tape(w_);
  const Tensor x = f64(w_, {2, 4}, {3, 1, 3, 3, 7, 7, 0, 1});
  tape.watch(x);
  const int64_t axis = 1;
  Tensor y;
  w_.ok(mill_max(w_.exec(), x.get(), &axis, 1, 0, y.out(), w_.error()));
  w_.ok(tape.backward(op::sum(w_, y)));
  const double third = 1.0 / 3;
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{third, 0, third, third, 0.5, 0.5, 0, 0}));
}

TEST_F(TapeTest, TheGradientAtTheKinkOfReluAndAbsIsZero) {
  Recording tape(w_);
  const Tensor x = f64(w_, {4}, {0, -0.0, 2, -2});
  tape.watch(x);
  Tensor rectified, magnitude;
  w_.ok(mill_relu(w_.exec(), x.get(), rectified.out(), w_.error()));
  w_.ok(mill_abs(w_.exec(), x.get(), magnitude.out(), w_.error()));
  EXPECT_EQ(doubles(w_, tape.gradient(op::sum(w_, rectified), x)), (Doubles{0, 0, 1, 0}));
  EXPECT_EQ(doubles(w_, tape.gradient(op::sum(w_, magnitude), x)), (Doubles{0, 0, 1, -1}));
}

TEST_F(TapeTest, PowersOfZeroAndToTheZeroHaveFiniteGradients) {
  Recording tape(w_);
  const Tensor x = f64(w_, {3}, {0, 0, 3});
  const Tensor e = f64(w_, {3}, {2, 0, 0});
  tape.watch(x);
  tape.watch(e);
  Tensor y;
  w_.ok(mill_pow(w_.exec(), x.get(), e.get(), y.out(), w_.error()));
  w_.ok(tape.backward(op::sum(w_, y)));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{0, 0, 0}));
  const Doubles by_e = doubles(w_, tape.gradient_of(e));
  EXPECT_EQ(by_e[0], 0);
  EXPECT_NEAR(by_e[2], std::log(3.0), 1e-15);
}

// ---- lives --------------------------------------------------------------------------------------

TEST_F(TapeTest, APreparedCallIsRecordedLikeTheOp) {
  const Tensor x = x3();
  mill_tensor* const in[] = {x.get(), x.get()};
  PreparedCall call;
  w_.ok(mill_op_prepare(w_.exec(), MILL_OP_MUL, in, 2, nullptr, 0, call.out(), w_.error()));
  Recording tape(w_);
  tape.watch(x);
  Tensor y;
  w_.ok(mill_call_run(call.get(), w_.exec(), in, 2, y.out(), 1, w_.error()));
  EXPECT_EQ(tape.count(), 1u);
  w_.ok(tape.backward(op::sum(w_, y)));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{2, 4, -6}));
}

TEST_F(TapeTest, SavedTensorsOutliveTheirHandles) {
  Recording tape(w_);
  Tensor x = x3();
  tape.watch(x);
  Tensor y;
  {
    Tensor e = op::exp(w_, op::mul(w_, x, x));
    y = op::sum(w_, e);
  }
  w_.ok(tape.backward(y));
  const Doubles g = doubles(w_, tape.gradient_of(x));
  EXPECT_NEAR(g[1], 4 * std::exp(4.0), 1e-12 * std::exp(4.0));
}

TEST_F(TapeTest, MemoryOfTheRecordIsFreedByResetAndByRelease) {
  World w;
  const auto in_use = [&] {
    mill_memory_stats stats{};
    stats.size = sizeof stats;
    stats.type = MILL_STRUCT_MEMORY_STATS;
    w.ok(mill_memory_stats_query(w.context(), 0, &stats, w.error()));
    return stats.in_use_bytes;
  };
  const Tensor x = f64(w, {1000}, std::vector<double>(1000, 0.5));
  const uint64_t before = in_use();
  {
    Recording tape(w);
    tape.watch(x);
    op::sum(w, op::exp(w, op::exp(w, x)));
    EXPECT_GT(in_use(), before + 15000) << "two results are saved";
    w.ok(mill_tape_reset(tape.get(), w.error()));
    EXPECT_EQ(in_use(), before);
    tape.watch(x);
    op::sum(w, op::exp(w, op::exp(w, x)));
    EXPECT_GT(in_use(), before);
  }
  EXPECT_EQ(in_use(), before);
}

TEST_F(TapeTest, TwoTapesRecordApartFromEachOther) {
  const Tensor x = x3();
  Tape first, second;
  w_.ok(mill_tape_create(w_.context(), first.out(), w_.error()));
  w_.ok(mill_tape_create(w_.context(), second.out(), w_.error()));
  w_.ok(mill_tape_watch(first.get(), x.get(), w_.error()));
  w_.ok(mill_exec_set_tape(w_.exec(), first.get(), w_.error()));
  const Tensor y = op::sum(w_, op::mul(w_, x, x));
  w_.ok(mill_exec_set_tape(w_.exec(), second.get(), w_.error()));
  const Tensor other = x3();
  w_.ok(mill_tape_watch(second.get(), other.get(), w_.error()));
  const Tensor z = op::sum(w_, other);
  w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
  EXPECT_EQ(mill_tape_backward(second.get(), w_.exec(), y.get(), nullptr, 0, w_.error()),
            MILL_E_STATE);
  w_.ok(mill_tape_backward(second.get(), w_.exec(), z.get(), nullptr, 0, w_.error()));
  w_.ok(mill_tape_backward(first.get(), w_.exec(), y.get(), nullptr, 0, w_.error()));
  Tensor g;
  w_.ok(mill_tape_gradient_of(first.get(), x.get(), g.out(), w_.error()));
  EXPECT_EQ(doubles(w_, g), (Doubles{2, 4, -6}));
}

TEST_F(TapeTest, AWatchedTensorBelongsToTheTapeThatWatchedItLast) {
  const Tensor x = x3();
  Tape first, second;
  w_.ok(mill_tape_create(w_.context(), first.out(), w_.error()));
  w_.ok(mill_tape_create(w_.context(), second.out(), w_.error()));
  w_.ok(mill_tape_watch(first.get(), x.get(), w_.error()));
  w_.ok(mill_tape_watch(second.get(), x.get(), w_.error()));
  std::vector<Tensor> losses;
  for (mill_tape* tape : {first.get(), second.get()}) {
    w_.ok(mill_exec_set_tape(w_.exec(), tape, w_.error()));
    losses.push_back(op::sum(w_, op::mul(w_, x, x)));
  }
  w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
  EXPECT_EQ(mill_tape_backward(first.get(), w_.exec(), losses[0].get(), nullptr, 0, w_.error()),
            MILL_E_STATE);
  w_.ok(mill_tape_backward(second.get(), w_.exec(), losses[1].get(), nullptr, 0, w_.error()));
  Tensor g;
  w_.ok(mill_tape_gradient_of(second.get(), x.get(), g.out(), w_.error()));
  EXPECT_EQ(doubles(w_, g), (Doubles{2, 4, -6}));
}

TEST_F(TapeTest, TheHookIsForParametersNotForWatchedTensors) {
  Recording tape(w_);
  int calls = 0;
  w_.ok(mill_tape_on_gradient(
      tape.get(),
      [](void* user, mill_exec*, mill_group*, uint32_t, mill_error*) -> mill_status {
        ++*static_cast<int*>(user);
        return MILL_OK;
      },
      &calls, nullptr, w_.error()));
  const Tensor x = x3();
  tape.watch(x);
  w_.ok(tape.backward(op::sum(w_, x)));
  EXPECT_EQ(calls, 0);
}

}  // namespace
}  // namespace mill_test
