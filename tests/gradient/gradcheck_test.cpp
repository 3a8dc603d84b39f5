// Every op with a gradient, on every sample of its row and in every layout, against central
// differences in f64; second derivatives where the row says that they exist.
#include <gtest/gtest.h>

#include "conformance/gradient_cases.h"

namespace mill_test {
namespace {

using mill_cases::Case;
using mill_cases::Gradient;

struct Point {
  const Case* c;
  Layout layout;
  bool second;
};

void PrintTo(const Point& point, std::ostream* os) {
  *os << point.c->op->name << " \"" << point.c->text << "\" " << layout_name(point.layout)
      << (point.second ? " second order" : "");
}

std::vector<Point> points() {
  std::vector<Point> out;
  for (const Case& c : mill_cases::cases) {
    if (c.op->gradient != Gradient::yes) continue;
    for (const Layout layout : kLayouts) {
      if (!layout_applies(c, layout) || !gradcheck_obstacle(c, layout).empty()) continue;
      for (const bool second : {false, true}) {
        if (second && !c.op->smooth) continue;
        if (!gradcheck_takes_long(c, layout, second)) out.push_back({&c, layout, second});
      }
    }
  }
  return out;
}

std::string point_name(const testing::TestParamInfo<Point>& info) {
  const Point& p = info.param;
  return std::string(p.c->op->name) + "_" + std::to_string(p.c->sample) + "_" +
         layout_name(p.layout) + (p.second ? "_second" : "");
}

class Gradcheck : public testing::TestWithParam<Point> {};

TEST_P(Gradcheck, AnalyticAndNumericGradientsAgree) {
  World& w = world();
  const Point& p = GetParam();
  double worst = HUGE_VAL;
  ASSERT_EQ(gradcheck_case(w, *p.c, p.layout, p.second, run_seed(), &worst), MILL_OK)
      << w.message();
  EXPECT_LE(worst, gradcheck_limit(*p.c, p.layout, p.second)) << "MILL_TEST_SEED=" << run_seed();
}

INSTANTIATE_TEST_SUITE_P(Ops, Gradcheck, testing::ValuesIn(points()), point_name);

// ---- every dtype
// -------------------------------------------------------------------------------------

struct Narrow {
  const Case* c;
  mill_dtype dtype;
};

void PrintTo(const Narrow& point, std::ostream* os) {
  *os << point.c->op->name << " \"" << point.c->text << "\" " << dtype_text(point.dtype);
}

std::vector<Narrow> narrow_points() {
  std::vector<Narrow> out;
  for (const Case& c : mill_cases::cases) {
    if (c.op->gradient != Gradient::yes) continue;
    for (const mill_dtype dtype : {MILL_F64, MILL_F32, MILL_BF16, MILL_F16})
      out.push_back({&c, dtype});
  }
  return out;
}

std::string narrow_name(const testing::TestParamInfo<Narrow>& info) {
  return std::string(info.param.c->op->name) + "_" + std::to_string(info.param.c->sample) + "_" +
         dtype_text(info.param.dtype);
}

class EveryDtype : public testing::TestWithParam<Narrow> {
 protected:
  using Gradients =
      std::vector<std::vector<Host>>;  // by output, by input; empty where nothing flows

  // The tested and the statistics' dtype as they are, or f64 in place of both, with the same
  // values.
  static Host widened(const Host& host, bool wide) {
    Host out = host;
    if (wide && is_float(host.dtype)) out.dtype = MILL_F64;
    return out;
  }

  Gradients run(const Problem& p, bool wide) {
    std::vector<Placed> placed;
    std::vector<mill_tensor*> in;
    for (size_t k = 0; k < p.inputs.size(); ++k) {
      placed.push_back(p.present[k]
                           ? place_host(w_, widened(p.inputs[k], wide), Layout::contiguous, 0)
                           : Placed{});
      in.push_back(placed.back().view.get());
    }
    Tape tape;
    w_.ok(mill_tape_create(w_.context(), tape.out(), w_.error()));
    std::vector<mill_tensor*> watched;
    for (size_t k = 0; k < in.size(); ++k) {
      if (!in[k] || !is_float(mill_tensor_dtype(in[k]))) continue;
      w_.ok(mill_tape_watch(tape.get(), in[k], w_.error()));
      watched.push_back(in[k]);
    }
    w_.ok(mill_exec_set_tape(w_.exec(), tape.get(), w_.error()));
    const std::vector<Tensor> out = invoke(w_, p.c->op->number, in, p.given, p.c->op->n_outputs);
    w_.ok(mill_exec_set_tape(w_.exec(), nullptr, w_.error()));
    Gradients all;
    for (size_t k = 0; k < out.size(); ++k) {
      all.emplace_back();
      if (!is_float(mill_tensor_dtype(out[k].get()))) continue;
      all.back() = by_inputs(tape.get(), out[k].get(), watched, 31 + k);
    }
    return all;
  }

  std::vector<Host> by_inputs(mill_tape* tape, mill_tensor* y,
                              const std::vector<mill_tensor*>& watched, uint64_t seed) {
    Random random(seed);
    Host host;
    host.dtype = mill_tensor_dtype(y);
    host.dims = dims_of(y);
    for (size_t i = 0; i < host.size(); ++i) {
      host.f.push_back(round_small(random.between(0.5, 1.5), kBf16));  // the same in all four
    }
    const Placed start = place_host(w_, host, Layout::contiguous, 0);
    std::vector<mill_tensor*> raw(watched.size(), nullptr);
    w_.ok(mill_tape_gradient(tape, w_.exec(), y, start.view.get(), watched.data(),
                             static_cast<uint32_t>(watched.size()), raw.data(), w_.error()));
    std::vector<Host> out;
    for (size_t k = 0; k < raw.size(); ++k) {
      const Tensor gradient(raw[k]);
      out.emplace_back();
      if (!gradient) continue;
      EXPECT_EQ(dims_of(gradient.get()), dims_of(watched[k])) << "input " << k;
      EXPECT_EQ(mill_tensor_dtype(gradient.get()), mill_tensor_dtype(watched[k])) << "input " << k;
      out.back() = read_host(w_, gradient.get());
    }
    return out;
  }

  World& w_ = world();
};

// Gradients have the dims and dtype of their input, and in each dtype they are those of f64 to a
// few units in the last place of the gradient as a whole. Sixteen, because rules of several ops
// round after each; and of 1 at least, the size of the terms, which cancel in some.
TEST_P(EveryDtype, GradientsAreThoseOfF64) {
  const Case& c = *GetParam().c;
  const Problem p = make_problem(c, GetParam().dtype, Layout::contiguous, run_seed());
  const Gradients have = run(p, false);
  const Gradients want = run(p, true);
  for (size_t k = 0; k < want.size(); ++k) {
    ASSERT_EQ(have[k].size(), want[k].size());
    for (size_t j = 0; j < want[k].size(); ++j) {
      ASSERT_EQ(have[k][j].f.size(), want[k][j].f.size());
      double error = 0;
      double size = 0;
      for (size_t i = 0; i < want[k][j].f.size(); ++i) {
        error += (have[k][j].f[i] - want[k][j].f[i]) * (have[k][j].f[i] - want[k][j].f[i]);
        size += want[k][j].f[i] * want[k][j].f[i];
      }
      EXPECT_LE(std::sqrt(error), 16 * epsilon_of(GetParam().dtype) * std::fmax(std::sqrt(size), 1))
          << "output " << k << " by input " << j << ", size " << std::sqrt(size);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, EveryDtype, testing::ValuesIn(narrow_points()), narrow_name);

class WithoutGradient : public testing::TestWithParam<const Case*> {};

std::vector<const Case*> cases_with(Gradient gradient) {
  std::vector<const Case*> out;
  for (const Case& c : mill_cases::cases) {
    if (c.op->gradient == gradient && c.sample == 0) out.push_back(&c);
  }
  return out;
}

std::string op_name(const testing::TestParamInfo<const Case*>& info) {
  return info.param->op->name;
}

// By a tape rather than mill_gradcheck, which wants f64: some take no f64.
TEST_P(WithoutGradient, BackwardFailsByName) {
  World& w = world();
  const Case& c = *GetParam();
  const Problem p = make_problem(c, tested_dtypes(c).front(), Layout::contiguous, run_seed());
  const std::vector<Placed> placed = p.place(w);
  Tape tape;
  w.ok(mill_tape_create(w.context(), tape.out(), w.error()));
  std::vector<mill_tensor*> in;
  std::vector<mill_tensor*> watched;
  for (const Placed& one : placed) {
    in.push_back(one.view.get());
    if (!in.back() || !is_float(mill_tensor_dtype(in.back()))) continue;
    w.ok(mill_tape_watch(tape.get(), in.back(), w.error()));
    watched.push_back(in.back());
  }
  w.ok(mill_exec_set_tape(w.exec(), tape.get(), w.error()));
  const std::vector<Tensor> out = invoke(w, c.op->number, in, p.given, c.op->n_outputs);
  w.ok(mill_exec_set_tape(w.exec(), nullptr, w.error()));
  std::vector<mill_tensor*> gradients(watched.size(), nullptr);
  EXPECT_EQ(mill_tape_gradient(tape.get(), w.exec(), out[0].get(), nullptr, watched.data(),
                               static_cast<uint32_t>(watched.size()), gradients.data(), w.error()),
            MILL_E_NO_GRADIENT);
  EXPECT_NE(w.message().find(c.op->name), std::string::npos) << w.message();
}

INSTANTIATE_TEST_SUITE_P(Ops, WithoutGradient, testing::ValuesIn(cases_with(Gradient::no)),
                         op_name);

class ZeroGradient : public testing::TestWithParam<const Case*> {};

TEST_P(ZeroGradient, NothingFlows) {
  World& w = world();
  double worst = HUGE_VAL;
  ASSERT_EQ(gradcheck_case(w, *GetParam(), Layout::contiguous, false, run_seed(), &worst), MILL_OK)
      << w.message();
  // Numeric gradients are zero too, as steps of 1e-5 cross no edge of the domain.
  EXPECT_EQ(worst, 0);
}

std::vector<const Case*> zero_with_inputs() {
  std::vector<const Case*> out;
  for (const Case* c : cases_with(Gradient::zero)) {
    if (c->n_inputs > 0) out.push_back(c);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Ops, ZeroGradient, testing::ValuesIn(zero_with_inputs()), op_name);

}  // namespace
}  // namespace mill_test
