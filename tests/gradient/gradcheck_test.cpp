// Every op with a gradient, on every sample of its row and in every layout, against central
// differences in f64; second derivatives where the row says that they exist.
#include <gtest/gtest.h>

#include "conformance/gradient_cases.h"

namespace mill_test {
namespace {

using mill_cases::Case;
using mill_cases::Gradient;

constexpr double kFirstOrder = 1e-6;
constexpr double kSecondOrder = 1e-5;

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
      out.push_back({&c, layout, false});
      if (c.op->smooth) out.push_back({&c, layout, true});
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
  EXPECT_LE(worst, p.second ? kSecondOrder : kFirstOrder) << "MILL_TEST_SEED=" << run_seed();
}

INSTANTIATE_TEST_SUITE_P(Ops, Gradcheck, testing::ValuesIn(points()), point_name);

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

TEST_P(WithoutGradient, BackwardFailsByName) {
  World& w = world();
  double worst = 0;
  EXPECT_EQ(gradcheck_case(w, *GetParam(), Layout::contiguous, false, run_seed(), &worst),
            MILL_E_NO_GRADIENT);
  EXPECT_NE(w.message().find(GetParam()->op->name), std::string::npos) << w.message();
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
