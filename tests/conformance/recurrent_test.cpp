// What recurrent networks promise beyond the samples of their ops, on the device under test: more
// units and rows than a block has, and layers that equal their cells taken one by one.
#include <gtest/gtest.h>

#include <cmath>

#include "conformance/problem.h"

namespace mill_test {
namespace {
namespace recurrences {

using Values = std::vector<double>;
using Lengths = std::vector<int64_t>;

enum Kind { kLstm, kGru, kRnn };
constexpr int64_t kGates[] = {4, 3, 1};

Values drawn(size_t n, uint64_t seed) {
  Values v(n);
  uint64_t state = seed * 2 + 1;
  for (double& x : v) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<double>((state >> 40) % 2001) / 2000 - 0.5;
  }
  return v;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

// One layer and direction, from the definition.
struct Layer {
  int64_t inputs, units;
  Values w_ih, w_hh, b_ih, b_hh;

  Layer(int64_t gates, int64_t in, int64_t h, uint64_t seed)
      : inputs(in),
        units(h),
        w_ih(drawn(static_cast<size_t>(gates * h * in), seed)),
        w_hh(drawn(static_cast<size_t>(gates * h * h), seed + 1)),
        b_ih(drawn(static_cast<size_t>(gates * h), seed + 2)),
        b_hh(drawn(static_cast<size_t>(gates * h), seed + 3)) {}

  static double product(const Values& w, const Values& b, int64_t row, const double* x, int64_t n) {
    double sum = b[static_cast<size_t>(row)];
    for (int64_t i = 0; i < n; ++i) sum += w[static_cast<size_t>(row * n + i)] * x[i];
    return sum;
  }
  void step(Kind kind, const double* x, Values& h, Values& c) const {
    Values next(h.size());
    for (int64_t u = 0; u < units; ++u) {
      double a[4] = {}, p[4] = {};
      for (int64_t k = 0; k < kGates[kind]; ++k) {
        a[k] = product(w_ih, b_ih, k * units + u, x, inputs);
        p[k] = product(w_hh, b_hh, k * units + u, h.data(), units);
      }
      const auto at = static_cast<size_t>(u);
      if (kind == kLstm) {
        c[at] = sigmoid(a[1] + p[1]) * c[at] + sigmoid(a[0] + p[0]) * std::tanh(a[2] + p[2]);
        next[at] = sigmoid(a[3] + p[3]) * std::tanh(c[at]);
      } else if (kind == kGru) {
        const double z = sigmoid(a[1] + p[1]);
        const double n = std::tanh(a[2] + sigmoid(a[0] + p[0]) * p[2]);
        next[at] = (1 - z) * n + z * h[at];
      } else {
        next[at] = std::tanh(a[0] + p[0]);
      }
    }
    h = next;
  }
};

class Recurrent : public testing::Test {
 protected:
  Tensor tensor(const std::vector<int64_t>& dims, const Values& values) {
    return make<float>(w_, dims, std::vector<float>(values.begin(), values.end()));
  }
  void near(const Tensor& got, const Values& want, const char* what) {
    const std::vector<float> v = values_of<float>(w_, got.get());
    ASSERT_EQ(v.size(), want.size()) << what;
    for (size_t i = 0; i < v.size(); ++i) ASSERT_NEAR(v[i], want[i], 2e-5) << what << " " << i;
  }
  struct Results {
    Tensor y, h, c;
  };
  mill_status run(Kind kind, const Tensor& x, const std::vector<mill_tensor*>& weights,
                  mill_tensor* h0, mill_tensor* c0, mill_tensor* lengths, bool both,
                  bool batch_first, Results& to) {
    const auto n = static_cast<uint32_t>(weights.size());
    switch (kind) {
      case kLstm:
        return mill_lstm(w_.exec(), x.get(), weights.data(), n, h0, c0, lengths, both, batch_first,
                         0, to.y.out(), to.h.out(), to.c.out(), w_.error());
      case kGru:
        return mill_gru(w_.exec(), x.get(), weights.data(), n, h0, lengths, both, batch_first, 0,
                        to.y.out(), to.h.out(), w_.error());
      default:
        return mill_rnn(w_.exec(), x.get(), weights.data(), n, h0, lengths, 0, both, batch_first, 0,
                        to.y.out(), to.h.out(), w_.error());
    }
  }

  World& w_ = world();
};

// Two layers in both directions with sequences of several lengths.
TEST_F(Recurrent, LayersAndDirectionsEqualTheDefinition) {
  const int64_t steps = 5, batch = 3, inputs = 7, units = 19;
  const Lengths ends = {5, 0, 3};
  for (const Kind kind : {kLstm, kGru, kRnn}) {
    SCOPED_TRACE(static_cast<int>(kind));
    std::vector<Layer> layers;
    std::vector<Tensor> held;
    std::vector<mill_tensor*> weights;
    for (uint64_t k = 0; k < 4; ++k) {
      const int64_t rows = kGates[kind] * units;
      const int64_t in = k < 2 ? inputs : 2 * units;
      const Layer& one = layers.emplace_back(kGates[kind], in, units, 10 * k);
      held.push_back(tensor({rows, in}, one.w_ih));
      held.push_back(tensor({rows, units}, one.w_hh));
      held.push_back(tensor({rows}, one.b_ih));
      held.push_back(tensor({rows}, one.b_hh));
    }
    for (const Tensor& one : held) weights.push_back(one.get());
    const Values x = drawn(static_cast<size_t>(steps * batch * inputs), 100);
    const Values h0 = drawn(static_cast<size_t>(4 * batch * units), 101);
    const Values c0 = drawn(static_cast<size_t>(4 * batch * units), 102);

    Values from = x, h_n = h0, c_n = c0;
    for (size_t layer = 0; layer < 2; ++layer) {
      const auto in = static_cast<size_t>(layer == 0 ? inputs : 2 * units);
      Values to(static_cast<size_t>(steps * batch * 2 * units));
      for (size_t way = 0; way < 2; ++way) {
        for (size_t b = 0; b < 3; ++b) {
          const size_t state = ((2 * layer + way) * 3 + b) * 19;
          Values h(h0.begin() + static_cast<std::ptrdiff_t>(state),
                   h0.begin() + static_cast<std::ptrdiff_t>(state + 19));
          Values c(c0.begin() + static_cast<std::ptrdiff_t>(state),
                   c0.begin() + static_cast<std::ptrdiff_t>(state + 19));
          const auto end = static_cast<size_t>(ends[b]);
          for (size_t n = 0; n < end; ++n) {
            const size_t t = way == 0 ? n : end - 1 - n;
            layers[2 * layer + way].step(kind, from.data() + (t * 3 + b) * in, h, c);
            for (size_t u = 0; u < 19; ++u) to[((t * 3 + b) * 2 + way) * 19 + u] = h[u];
          }
          std::copy(h.begin(), h.end(), h_n.begin() + static_cast<std::ptrdiff_t>(state));
          std::copy(c.begin(), c.end(), c_n.begin() + static_cast<std::ptrdiff_t>(state));
        }
      }
      from = to;
    }

    const Tensor lengths = make<int64_t>(w_, {batch}, ends);
    const Tensor start = tensor({4, batch, units}, h0);
    const Tensor cells = tensor({4, batch, units}, c0);
    Results r;
    w_.ok(run(kind, tensor({steps, batch, inputs}, x), weights, start.get(), cells.get(),
              lengths.get(), true, false, r));
    near(r.y, from, "y");
    near(r.h, h_n, "h_n");
    if (kind == kLstm) near(r.c, c_n, "c_n");

    // The batch first is the same.
    const int64_t axes[3] = {1, 0, 2};
    const Tensor given = tensor({steps, batch, inputs}, x);
    Tensor turned, back;
    w_.ok(mill_permute(w_.exec(), given.get(), axes, 3, turned.out(), w_.error()));
    Results other;
    w_.ok(run(kind, turned, weights, start.get(), cells.get(), lengths.get(), true, true, other));
    w_.ok(mill_permute(w_.exec(), other.y.get(), axes, 3, back.out(), w_.error()));
    near(back, from, "y with the batch first");
  }
}

// A sequence has the bits of its cells one after the other, and rows do not see one another.
TEST_F(Recurrent, ASequenceHasTheBitsOfItsCells) {
  const int64_t steps = 4, batch = 70, units = 37;
  const Tensor gates =
      tensor({steps, batch, 4 * units}, drawn(static_cast<size_t>(steps * batch * 4 * units), 1));
  const Tensor weights =
      tensor({4 * units, units}, drawn(static_cast<size_t>(4 * units * units), 2));
  const auto run = [&](mill_tensor* of, mill_tensor* h0, mill_tensor* c0, Tensor(&out)[5]) {
    w_.ok(mill_lstm_sequence(w_.exec(), of, weights.get(), nullptr, h0, c0, nullptr, 0,
                             out[0].out(), out[1].out(), out[2].out(), out[3].out(), out[4].out(),
                             w_.error()));
  };
  Tensor whole[5];
  run(gates.get(), nullptr, nullptr, whole);
  Tensor h, c;
  for (int64_t t = 0; t < steps; ++t) {
    Tensor one, cell[5], y;
    w_.ok(mill_slice(w_.exec(), gates.get(), 0, t, t + 1, 1, one.out(), w_.error()));
    run(one.get(), h.get(), c.get(), cell);
    w_.ok(mill_slice(w_.exec(), whole[0].get(), 0, t, t + 1, 1, y.out(), w_.error()));
    EXPECT_EQ(values_of<float>(w_, cell[0].get()), values_of<float>(w_, y.get())) << "step " << t;
    h = std::move(cell[1]);
    c = std::move(cell[2]);
  }
  EXPECT_EQ(values_of<float>(w_, h.get()), values_of<float>(w_, whole[1].get()));
  EXPECT_EQ(values_of<float>(w_, c.get()), values_of<float>(w_, whole[2].get()));
}

TEST_F(Recurrent, NoStepsLeaveTheStates) {
  const Values start = drawn(6, 3);
  const Tensor h0 = tensor({2, 3}, start);
  const Tensor gates = tensor({0, 2, 9}, {});
  const Tensor weights = tensor({9, 3}, drawn(27, 4));
  Tensor y, last, kept;
  w_.ok(mill_gru_sequence(w_.exec(), gates.get(), weights.get(), nullptr, h0.get(), nullptr, 0, 1,
                          y.out(), last.out(), kept.out(), w_.error()));
  near(last, start, "h_last");
  EXPECT_EQ(values_of<float>(w_, y.get()).size(), 0u);
}

TEST_F(Recurrent, NoStepsHandTheGradientToTheStates) {
  const Values start = drawn(6, 3);
  const std::vector<float> arriving = {1, -2, 3, 5, -7, 11};
  for (const Kind kind : {kLstm, kGru, kRnn}) {
    for (const mill_bool reverse : {0, 1}) {
      for (const mill_bool before : {0, 1}) {
        if (before != 0 && kind != kGru) continue;
        const int64_t rows = 3 * kGates[kind];
        const Tensor gates = tensor({0, 2, rows}, {});
        const Tensor weights = tensor({rows, 3}, drawn(static_cast<size_t>(rows * 3), 4));
        const Tensor bias = tensor({rows}, drawn(static_cast<size_t>(rows), 5));
        const Tensor h0 = tensor({2, 3}, start);
        const Tensor seed = make<float>(w_, {2, 3}, arriving);
        mill_tensor* const watched[] = {gates.get(), weights.get(), bias.get(), h0.get()};
        Tape tape;
        w_.ok(mill_tape_create(w_.context(), tape.out(), w_.error()));
        for (mill_tensor* x : watched) w_.ok(mill_tape_watch(tape.get(), x, w_.error()));
        w_.ok(mill_exec_set_tape(w_.exec(), tape.get(), w_.error()));
        Tensor y, h, c, kept, cells;
        if (kind == kLstm) {
          w_.ok(mill_lstm_sequence(w_.exec(), gates.get(), weights.get(), bias.get(), h0.get(),
                                   nullptr, nullptr, reverse, y.out(), h.out(), c.out(), kept.out(),
                                   cells.out(), w_.error()));
        } else if (kind == kGru) {
          w_.ok(mill_gru_sequence(w_.exec(), gates.get(), weights.get(), bias.get(), h0.get(),
                                  nullptr, reverse, before, y.out(), h.out(), kept.out(),
                                  w_.error()));
        } else {
          w_.ok(mill_rnn_sequence(w_.exec(), gates.get(), weights.get(), bias.get(), h0.get(),
                                  nullptr, reverse, 0, y.out(), h.out(), w_.error()));
        }
        w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
        w_.ok(mill_tape_backward(tape.get(), w_.exec(), h.get(), seed.get(), 0, w_.error()));
        for (mill_tensor* x : watched) {
          Tensor by;
          w_.ok(mill_tape_gradient_of(tape.get(), x, by.out(), w_.error()));
          const std::vector<float> got = values_of<float>(w_, by.get());
          EXPECT_EQ(got, x == h0.get() ? arriving : std::vector<float>(got.size(), 0));
        }
      }
    }
  }
}

}  // namespace recurrences
}  // namespace
}  // namespace mill_test
