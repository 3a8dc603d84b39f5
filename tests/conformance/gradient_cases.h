// The samples of the table as gradient checks, shared by the conformance binary's `grad` mode and
// the gradient suite.
#pragma once

#include <string>
#include <vector>

#include "conformance/problem.h"

namespace mill_test {

// Why a sample cannot be compared with central differences; "" if it can.
inline std::string gradcheck_obstacle(const mill_cases::Case& c, Layout layout) {
  // f32 results are too coarse for steps of 1e-5.
  if (c.op->number == MILL_OP_CAST && c.attrs[0].i != MILL_F64) return "the result is not f64";
  // Of n > 2 equal values each gets 1/n of the gradient; central differences see 1/2 for any n.
  const bool repeats = layout == Layout::broadcast || layout == Layout::mixed;
  const bool extreme = c.op->number == MILL_OP_MAX || c.op->number == MILL_OP_MIN;
  if (extreme && repeats && c.sample == 2) return "more than two equal values";
  if (c.op->number == MILL_OP_MAX_POOL && repeats) return "equal values in a window";
  const bool order = c.op->number == MILL_OP_SORT || c.op->number == MILL_OP_TOPK;
  if (order && repeats) return "equal values change places";
  return "";
}

// Central differences take two evaluations for each element: where those are simulated or
// instrumented, the first order in the first layout is what large samples get. The gradient suite
// of a plain build checks them whole on the CPU.
inline bool gradcheck_takes_long(const mill_cases::Case& c, Layout layout, bool second) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr bool instrumented = true;
#else
  constexpr bool instrumented = false;
#endif
  constexpr size_t kMost = 1000;
  if (!instrumented && test_device() == "cpu") return false;
  if (layout == kLayouts[0] && !second) return false;
  size_t elements = 0;
  for (const Host& input : make_problem(c, MILL_F64, kLayouts[0], run_seed()).inputs) {
    elements += input.size();
  }
  return elements > kMost;
}

// Largest difference that passes.
inline double gradcheck_limit(const mill_cases::Case& c, Layout layout, bool second) {
  if (second) return 1e-5;
  // Rows of equal values have the variance 0: normalising them, a step h meets a slope of 1 /
  // sqrt(eps) and a curvature that makes an error of the order of h^2 / eps^(3/2).
  const bool repeats = layout == Layout::broadcast || layout == Layout::mixed;
  const bool norm = c.op->number == MILL_OP_LAYER_NORM || c.op->number == MILL_OP_ADD_LAYER_NORM;
  if (norm && repeats) return 1e-5;
  return 1e-6;
}

// Largest difference between analytic and numeric gradients, as mill_gradcheck defines it.
inline mill_status gradcheck_case(World& w, const mill_cases::Case& c, Layout layout, bool second,
                                  uint64_t seed, double* worst) {
  const Problem p = make_problem(c, MILL_F64, layout, seed);
  const std::vector<Placed> placed = p.place(w);
  std::vector<mill_tensor*> in;
  for (const Placed& one : placed) in.push_back(one.view.get());
  return mill_gradcheck(w.exec(), c.op->number, in.data(), static_cast<uint32_t>(in.size()),
                        p.given.data(), static_cast<uint32_t>(p.given.size()), second ? 1 : 0, 0,
                        worst, w.error());
}

}  // namespace mill_test
