// Tapes that keep no more than they are given.
#include <gtest/gtest.h>

#include "gradient/net.h"

namespace mill_test {
namespace {

using Doubles = std::vector<double>;

class BudgetTest : public testing::Test {
 protected:
  struct Plan {
    mill_tape_plan_summary summary{};
    std::vector<mill_tape_plan_row> rows;
  };
  Plan plan(Recording& tape) {
    Plan out;
    out.summary.size = sizeof out.summary;
    out.summary.type = MILL_STRUCT_TAPE_PLAN;
    out.rows.resize(500);
    uint32_t n = 0;
    const mill_status status =
        mill_tape_plan(tape.get(), out.rows.data(), 500, &n, &out.summary, w_.error());
    EXPECT_EQ(status, MILL_OK) << w_.message();
    out.rows.resize(n);
    return out;
  }
  mill_status set(Recording& tape, uint64_t bytes) {
    return mill_tape_set_budget(tape.get(), bytes, w_.error());
  }
  // What a forward keeps without a budget.
  uint64_t all(uint32_t blocks, int64_t rows, int64_t width) {
    Net net(w_, blocks, rows, width);
    Recording tape(w_);
    const Tensor loss(net.forward(false));
    return plan(tape).summary.kept_bytes;
  }

  World& w_ = world();
};

TEST_F(BudgetTest, GradientsHaveTheSameBitsWhateverTheBudget) {
  const uint64_t whole = all(4, 8, 16);
  ASSERT_GT(whole, 0u);
  Net::Bits without;
  uint64_t runs_before = 0;
  for (const uint64_t bytes : {uint64_t{0}, whole, whole / 2, whole / 4, uint64_t{1}}) {
    SCOPED_TRACE(bytes);
    Net net(w_, 4, 8, 16);
    Recording tape(w_);
    w_.ok(set(tape, bytes));
    // Twice: the second backward adds, and memory of the record is used again.
    for (int round = 0; round < 2; ++round) {
      const Tensor loss(net.forward(false));
      const Plan before = plan(tape);
      EXPECT_EQ(before.summary.budget_bytes, bytes);
      uint64_t kept = 0, again = 0;
      for (const mill_tape_plan_row& row : before.rows) {
        kept += row.kept;
        again += row.again;
      }
      EXPECT_EQ(kept, before.summary.kept_bytes);
      if (bytes == 0) {
        EXPECT_EQ(kept, whole);
      }
      if (bytes >= whole / 4 && bytes > 0) {
        EXPECT_TRUE(before.summary.met);
        EXPECT_LE(before.summary.kept_bytes, bytes);
        EXPECT_LE(before.summary.kept_peak, bytes);
      }
      if (bytes != 0 && bytes < whole) {
        EXPECT_GT(again, 0u);
      }
      w_.ok(tape.backward(loss));
      const Plan after = plan(tape);
      EXPECT_TRUE(after.rows.empty());
      EXPECT_EQ(after.summary.kept_bytes, 0u);
      EXPECT_EQ(after.summary.evicted_bytes, before.summary.evicted_bytes);
      EXPECT_GE(after.summary.ops_again, runs_before) << "less memory takes more time";
      if (round == 1) runs_before = after.summary.ops_again;
      if (bytes == 1) {
        EXPECT_GT(after.summary.ops_again, 0u);
      }
    }
    const Net::Bits bits = net.gradients();
    if (bytes == 0) {
      without = bits;
      continue;
    }
    for (const auto& one : bits) EXPECT_FALSE(one.empty());
    EXPECT_EQ(bits, without);
  }
}

TEST_F(BudgetTest, PeakMemoryFalls) {
  const uint64_t whole = all(12, 64, 64);
  uint64_t peaks[3];
  uint64_t runs[3];
  const uint64_t budgets[3] = {0, whole / 2, whole / 8};
  for (int k = 0; k < 3; ++k) {
    Net net(w_, 12, 64, 64);
    Recording tape(w_);
    w_.ok(set(tape, budgets[k]));
    w_.ok(tape.backward(Tensor(net.forward(false))));
    peaks[k] = peak_of(w_, [&] {
      const Tensor loss(net.forward(false));
      w_.ok(tape.backward(loss));
    });
    runs[k] = plan(tape).summary.ops_again;
  }
  EXPECT_LT(peaks[1], peaks[0] * 3 / 4);
  EXPECT_LT(peaks[2], peaks[0] * 4 / 10);
  EXPECT_GT(runs[2], runs[1]);
  // What is cheap for its size goes first, and each restoration runs an op once.
  EXPECT_LT(runs[1], 12u * 7 * 2);
}

TEST_F(BudgetTest, ViewsAreMadeAgainWithWhatTheyView) {
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}}) {
    Recording tape(w_);
    w_.ok(set(tape, bytes));
    const Tensor x = f64(w_, {2, 3}, {1, 2, 3, 4, 5, 6});
    tape.watch(x);
    Tensor y;
    {
      const Tensor square = op::mul(w_, x, x);
      const Tensor across = op::permute(w_, square, {1, 0});
      const Tensor flat = op::reshape(w_, op::slice(w_, square, 1, 0, 2, 1), {4});
      y = op::add(w_, op::sum(w_, op::mul(w_, across, across)),
                  op::sum(w_, op::mul(w_, flat, flat)));
    }
    w_.ok(tape.backward(y));
    EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{8, 64, 108, 512, 1000, 864}));
  }
}

TEST_F(BudgetTest, BackwardWithKeepLeavesTheBudgetMet) {
  Recording tape(w_);
  w_.ok(set(tape, 64));
  const Tensor x = f64(w_, {3}, {1, 2, -3});
  tape.watch(x);
  Tensor y;
  {
    const Tensor square = op::mul(w_, x, x);
    y = op::sum(w_, op::mul(w_, op::mul(w_, square, x), square));
  }
  tape.off();
  for (int round = 0; round < 3; ++round) {
    w_.ok(tape.backward(y, MILL_BACKWARD_KEEP));
    EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{5, 80, 405}));
    EXPECT_LE(plan(tape).summary.kept_bytes, 64u);
  }
}

TEST_F(BudgetTest, DerivativesOfDerivativesFlowThroughRestoredValues) {
  Recording tape(w_);
  w_.ok(set(tape, 1));
  const Tensor x = f64(w_, {3}, {1, 2, -3});
  tape.watch(x);
  Tensor y;
  {
    const Tensor square = op::mul(w_, x, x);
    y = op::sum(w_, op::mul(w_, square, square));
  }
  const Tensor first = tape.gradient(y, x);
  EXPECT_EQ(doubles(w_, first), (Doubles{4, 32, -108}));
  const Tensor second = tape.gradient(op::sum(w_, first), x);
  EXPECT_EQ(doubles(w_, second), (Doubles{12, 48, 108}));
  const Tensor third = tape.gradient(op::sum(w_, second), x);
  EXPECT_EQ(doubles(w_, third), (Doubles{24, 48, -72}));
}

TEST_F(BudgetTest, WhatRunsAgainFromAnOverwrittenTensorIsStale) {
  Recording tape(w_);
  w_.ok(set(tape, 1));
  const Tensor x = f64(w_, {2}, {1, 2});
  const Tensor data = f64(w_, {2}, {3, 4});
  tape.watch(x);
  Tensor y;
  {
    // The sum needs nothing of data; running it again does.
    const Tensor moved = op::add(w_, x, data);
    y = op::sum(w_, op::mul(w_, moved, moved));
  }
  tape.off();
  const double other[] = {7, 7};
  w_.ok(mill_tensor_write(w_.exec(), data.get(), other, sizeof other, w_.error()));
  EXPECT_EQ(tape.backward(y), MILL_E_STALE_SAVED);
  EXPECT_NE(w_.message().find("add"), std::string::npos) << w_.message();
  EXPECT_NE(w_.message().find("version"), std::string::npos) << w_.message();
}

TEST_F(BudgetTest, WhatMustBeKeptIsSaid) {
  Recording tape(w_);
  w_.ok(set(tape, 8));
  mill_custom_op custom{};
  custom.size = sizeof custom;
  custom.type = MILL_STRUCT_CUSTOM_OP;
  custom.name = "budget.twice";
  custom.n_inputs = 1;
  custom.n_outputs = 1;
  custom.forward = [](void*, mill_exec* exec, mill_tensor* const* in, uint32_t, mill_tensor** out,
                      uint32_t, mill_error* err) { return mill_add(exec, in[0], in[0], out, err); };
  custom.backward = [](void*, mill_exec* exec, mill_tensor* const*, uint32_t, mill_tensor* const*,
                       mill_tensor* const* gradients, uint32_t, const mill_bool*, mill_tensor** out,
                       mill_error* err) {
    return mill_add(exec, gradients[0], gradients[0], out, err);
  };
  int32_t number = 0;
  const mill_status registered = mill_op_register(w_.context(), &custom, &number, w_.error());
  ASSERT_EQ(registered, MILL_OK) << w_.message();
  const Tensor x = f64(w_, {4}, {1, 2, 3, 4});
  tape.watch(x);
  Tensor y;
  {
    mill_tensor* in = x.get();
    Tensor twice;
    w_.ok(mill_op_invoke(w_.exec(), number, &in, 1, nullptr, 0, twice.out(), 1, w_.error()));
    y = op::sum(w_, op::mul(w_, twice, twice));
  }
  const Plan said = plan(tape);
  EXPECT_FALSE(said.summary.met);
  EXPECT_GE(said.summary.least_bytes, 32u);
  EXPECT_GE(said.summary.kept_bytes, 32u);
  w_.ok(tape.backward(y));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{8, 16, 24, 32}));
}

TEST_F(BudgetTest, HooksWin) {
  Recording tape(w_);
  w_.ok(set(tape, 1));
  int packs = 0;
  w_.ok(mill_tape_on_saved(
      tape.get(),
      [](void* user, mill_exec* exec, mill_tensor* tensor, void** out, mill_error* err) {
        ++*static_cast<int*>(user);
        mill_tensor* copy = nullptr;
        const mill_status status = mill_copy(exec, tensor, &copy, err);
        *out = copy;
        return status;
      },
      [](void*, mill_exec* exec, void* packed, mill_tensor** out, mill_error* err) {
        return mill_copy(exec, static_cast<mill_tensor*>(packed), out, err);
      },
      [](void*, void* packed) { mill_tensor_release(static_cast<mill_tensor*>(packed)); }, &packs,
      nullptr, w_.error()));
  const Tensor x = f64(w_, {3}, {1, 2, -3});
  tape.watch(x);
  Tensor y;
  {
    const Tensor square = op::mul(w_, x, x);
    w_.ok(mill_tape_on_saved(tape.get(), nullptr, nullptr, nullptr, nullptr, nullptr, w_.error()));
    y = op::sum(w_, op::mul(w_, square, square));
  }
  w_.ok(tape.backward(y));
  EXPECT_EQ(packs, 1);
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{4, 32, -108}));
  EXPECT_EQ(plan(tape).summary.ops_again, 0u) << "what the hooks had cannot be made again";
}

TEST_F(BudgetTest, SegmentsAndABudgetGoTogether) {
  Net::Bits bits[2];
  for (const bool both : {false, true}) {
    Net net(w_, 3, 4, 8);
    Recording tape(w_);
    w_.ok(set(tape, both ? 1 : 0));
    const Tensor loss(net.forward(both));
    w_.ok(tape.backward(loss));
    bits[both ? 1 : 0] = net.gradients();
  }
  EXPECT_EQ(bits[0], bits[1]);
}

TEST_F(BudgetTest, BeginsAndEndsWithAnEmptyTape) {
  Recording tape(w_);
  const Tensor x = f64(w_, {3}, {1, 2, -3});
  tape.watch(x);
  Tensor y = op::mul(w_, x, x);
  EXPECT_EQ(set(tape, 100), MILL_E_STATE);
  w_.ok(mill_tape_reset(tape.get(), w_.error()));
  w_.ok(set(tape, 100));
  tape.watch(x);
  y = op::mul(w_, x, x);
  w_.ok(set(tape, 1000));
  EXPECT_EQ(set(tape, 0), MILL_E_STATE);
}

TEST_F(BudgetTest, ThePlanIsTheSameEachTime) {
  const uint64_t whole = all(3, 8, 16);
  std::vector<mill_tape_plan_row> first;
  for (int round = 0; round < 2; ++round) {
    Net net(w_, 3, 8, 16);
    Recording tape(w_);
    w_.ok(set(tape, whole / 3));
    const Tensor loss(net.forward(false));
    const Plan now = plan(tape);
    EXPECT_FALSE(now.rows.empty());
    if (round == 0) first = now.rows;
    ASSERT_EQ(now.rows.size(), first.size());
    for (size_t k = 0; k < first.size(); ++k) {
      EXPECT_EQ(now.rows[k].op, first[k].op);
      EXPECT_EQ(now.rows[k].kept, first[k].kept);
      EXPECT_EQ(now.rows[k].again, first[k].again);
    }
  }
}

}  // namespace
}  // namespace mill_test
