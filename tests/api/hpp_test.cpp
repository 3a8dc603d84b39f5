// The C++ wrapper: what it adds to the C ABI, which is ownership, exceptions and the shape of a
// call.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "millrace/millrace.hpp"

namespace mr = millrace;

namespace {

static_assert(!std::is_copy_constructible_v<mr::Tensor> && !std::is_copy_assignable_v<mr::Tensor>);
static_assert(std::is_nothrow_move_constructible_v<mr::Tensor>);
static_assert(std::is_nothrow_move_assignable_v<mr::Tensor>);

class Hpp : public testing::Test {
 protected:
  // Every handle made in a test is gone at its end, so nothing is in use.
  void TearDown() override { EXPECT_EQ(context_.memory().in_use_bytes, 0u); }

  mr::Tensor floats(const mr::Dims& dims, const std::vector<float>& values) {
    return mr::Tensor::from(exec_, dims, values);
  }

  mr::Context context_ = mr::Context::create();
  mr::Exec exec_ = mr::Exec::create(context_);
};

TEST_F(Hpp, AnErrorCarriesStatusArgumentAndSentence) {
  const mr::Tensor a = mr::fill(exec_, {2, 3}, 1);
  const mr::Tensor b = mr::fill(exec_, {4, 5}, 1);
  try {
    mr::matmul(exec_, a, b);
    FAIL() << "matmul of [2, 3] and [4, 5] succeeded";
  } catch (const mr::Error& error) {
    EXPECT_EQ(error.status(), MILL_E_SHAPE);
    EXPECT_NE(std::string(error.what()).find("matmul"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find('3'), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find('4'), std::string::npos) << error.what();
  }
}

TEST_F(Hpp, AnErrorOfAnEmptyHandleNamesTheArgument) {
  const mr::Tensor a = mr::fill(exec_, {2}, 1);
  try {
    mr::add(exec_, a, mr::Tensor());
    FAIL() << "add with an empty handle succeeded";
  } catch (const mr::Error& error) {
    EXPECT_EQ(error.status(), MILL_E_ARG);
    EXPECT_EQ(error.argument(), 1);
  }
}

TEST_F(Hpp, MovingLeavesAnEmptyHandleAndReleasesWhatWasThere) {
  mr::Tensor a = mr::fill(exec_, {1024}, 1);
  mr::Tensor b = mr::fill(exec_, {1024}, 2);
  const mill_tensor* kept = a.get();
  const uint64_t both = context_.memory().in_use_bytes;
  b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT: the state after a move is the point
  EXPECT_EQ(b.get(), kept);
  EXPECT_LT(context_.memory().in_use_bytes, both);
  mr::Tensor& alias = b;
  b = std::move(alias);
  EXPECT_EQ(b.get(), kept);
}

TEST_F(Hpp, ASharedHandleOutlivesTheFirst) {
  mr::Tensor a = floats({2}, {3, 4});
  const mr::Tensor b = a.share();
  a.reset();
  EXPECT_EQ(b.read<float>(exec_), (std::vector<float>{3, 4}));
}

TEST_F(Hpp, ValuesDimsAndDtypesGoBothWays) {
  const std::vector<int64_t> values = {1, -2, 3, -4, 5, -6};
  mr::Tensor a = mr::Tensor::from(exec_, {2, 3}, values);
  EXPECT_EQ(a.dtype(), MILL_I64);
  EXPECT_EQ(a.rank(), 2u);
  EXPECT_EQ(a.dim(-1), 3);
  EXPECT_EQ(a.dims().data()[0], 2);
  EXPECT_EQ(a.read<int64_t>(exec_), values);
  EXPECT_THROW(a.read<float>(exec_), std::invalid_argument);
  EXPECT_EQ(a.view({3, 2}, {1, 3}).read<int64_t>(exec_),
            (std::vector<int64_t>{1, -4, -2, 5, 3, -6}));
  EXPECT_THROW(a.view({3, 2}, {1}), std::invalid_argument);
  a.write(exec_, std::vector<int64_t>(6, 9));
  EXPECT_EQ(a.read<int64_t>(exec_), std::vector<int64_t>(6, 9));
}

TEST_F(Hpp, AFutureHoldsTheValuesOfItsMoment) {
  mr::Tensor a = floats({2}, {1, 2});
  const mr::Future future = a.read_async(exec_);
  a.write(exec_, std::vector<float>{7, 8});
  EXPECT_TRUE(future.wait());
  EXPECT_EQ(future.data<float>()[1], 2);
}

TEST_F(Hpp, TooManyDimsReachTheLibrarysCheck) {
  EXPECT_THROW(mr::fill(exec_, {1, 1, 1, 1, 1, 1, 1, 1, 1}, 0), mr::Error);
  EXPECT_THROW(mr::fill(exec_, std::vector<int64_t>(20, 1), 0), mr::Error);
}

TEST_F(Hpp, CallGivesAllOutputsOfAnOp) {
  const mr::Tensor x = floats({1, 4}, {1, 2, 3, 4});
  const auto outputs = mr::call<mill_layer_norm>(exec_, x, nullptr, nullptr, 1, 0.0);
  static_assert(outputs.size() == 3);
  EXPECT_FLOAT_EQ(static_cast<float>(outputs[1].item(exec_)), 2.5f);
  EXPECT_EQ(outputs[0].read<float>(exec_),
            mr::layer_norm(exec_, x, {}, {}, 1, 0).read<float>(exec_));
}

TEST_F(Hpp, ListsOptionalInputsAndBooleansReachTheOp) {
  const mr::Tensor a = floats({1, 2}, {1, 2});
  const mr::Tensor b = floats({1, 2}, {3, 4});
  EXPECT_EQ(mr::concat(exec_, {a.get(), b.get()}).read<float>(exec_),
            (std::vector<float>{1, 2, 3, 4}));
  EXPECT_FLOAT_EQ(static_cast<float>(mr::linear(exec_, a, b).item(exec_)), 11);
  EXPECT_EQ(mr::sum(exec_, a, {1}, true).rank(), 2u);
  EXPECT_EQ(mr::sum(exec_, a, {1}, false).rank(), 1u);
  EXPECT_EQ(mr::sum(exec_, a).rank(), 0u);
}

TEST_F(Hpp, ARecordingPutsBackTheTapeFromBefore) {
  const mr::Tape outer = mr::Tape::create(context_);
  const mr::Tape inner = mr::Tape::create(context_);
  const mr::Recording first(exec_, outer);
  { const mr::Recording second(exec_, inner); }
  mill_tape* now = nullptr;
  ASSERT_EQ(mill_exec_get_tape(exec_.get(), &now, nullptr), MILL_OK);
  EXPECT_EQ(mr::Tape::adopt(now).get(), outer.get());
}

TEST_F(Hpp, ATapeGivesGradientsOfWatchedTensors) {
  const mr::Tensor x = floats({3}, {1, 2, 3});
  mr::Tape tape = mr::Tape::create(context_);
  tape.watch(x);
  mr::Tensor loss;
  {
    const mr::Recording recording(exec_, tape);
    loss = mr::sum(exec_, mr::mul(exec_, x, x));
  }
  tape.backward(exec_, loss);
  EXPECT_EQ(tape.gradient_of(x).read<float>(exec_), (std::vector<float>{2, 4, 6}));
}

TEST_F(Hpp, TrainsAndACheckpointBringsEverythingBack) {
  mr::Generator generator = mr::Generator::create(exec_, 3);
  exec_.set_generator(generator);
  const mr::Tensor inputs = mr::uniform(exec_, {32, 4});
  const mr::Tensor answers = mr::sum(exec_, inputs, {1}, true);
  mr::Loader loader =
      mr::Loader::create(context_, {inputs.get(), answers.get()}, 8, MILL_LOADER_SHUFFLE, 5);
  mr::Group group = mr::Group::create(context_);
  group.add("w", {1, 4});
  group.build(exec_);
  group.init(exec_, 0, MILL_INIT_XAVIER, 1);
  mr::Optimizer adamw = mr::Optimizer::adamw(exec_, group, 0.1);
  mr::Tape tape = mr::Tape::create(context_);
  const mr::Tensor w = group.param(0);
  EXPECT_FALSE(group.gradient(0));

  const auto epoch = [&] {
    std::array<mr::Tensor, 2> batch;
    double last = 0;
    while (loader.next(exec_, batch)) {
      mr::Tensor loss;
      {
        const mr::Recording recording(exec_, tape);
        const mr::Tensor off = mr::sub(exec_, mr::linear(exec_, batch[0], w), batch[1]);
        loss = mr::mean(exec_, mr::mul(exec_, off, off));
      }
      tape.backward(exec_, loss);
      EXPECT_TRUE(group.gradient(0));
      adamw.step(exec_);
      last = loss.item(exec_);
    }
    EXPECT_FALSE(batch[0]);
    return last;
  };
  const double before = epoch();
  const std::string path = testing::TempDir() + "mill_hpp_checkpoint.safetensors";
  mr::save_checkpoint(exec_, path, group, adamw, generator, loader);
  const int64_t steps = adamw.steps();
  double first = 0;
  for (int k = 0; k < 20; ++k) first = epoch();
  EXPECT_LT(first, before / 2);
  mr::load_checkpoint(exec_, path, group, adamw, generator, loader);
  EXPECT_EQ(adamw.steps(), steps);
  double second = 0;
  for (int k = 0; k < 20; ++k) second = epoch();
  EXPECT_EQ(first, second);

  const mr::File file = mr::File::open(context_, path);
  EXPECT_EQ(file.names()[0], "param.w");
  EXPECT_EQ(file.read(exec_, "param.w").dim(1), 4);
  EXPECT_THROW(file.read(exec_, "param.absent"), mr::Error);
  std::filesystem::remove(path);
  exec_.set_generator(mr::Generator());
}

TEST_F(Hpp, TotalsPerOpCountCalls) {
  context_.trace(MILL_TRACE_OP_STATS);
  const mr::Tensor a = mr::fill(exec_, {4}, 1);
  for (int k = 0; k < 3; ++k) mr::exp(exec_, a);
  context_.trace(0);
  uint64_t calls = 0;
  for (const mill_trace_op_row& row : context_.op_stats()) {
    if (row.op == MILL_OP_EXP) calls = row.calls;
  }
  EXPECT_EQ(calls, 3u);
}

}  // namespace
