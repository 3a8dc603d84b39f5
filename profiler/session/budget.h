// Keeps a session's cost below a budget: records some steps and not others, compares their lengths,
// and records no larger share of the steps than the budget allows.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/base/intervals.h"

namespace mill::prof {

struct CostEstimate {
  double share = -1;  // (recorded - not recorded) / not recorded, by medians; -1: not known yet
  double low = -1;    // 95 % interval
  double high = -1;
};

// Of two samples of step lengths: the medians' ratio, its interval by the order statistics of both
// (Conover, Practical Nonparametric Statistics, 3.2: a median lies between the places
// n/2 -+ 1.96 sqrt(n)/2 of the sorted sample). Needs 8 of each.
CostEstimate estimate_cost(std::vector<double> recorded, std::vector<double> unrecorded);

// Told every finished step, answers whether to record from now on. Not thread safe.
class BudgetController {
 public:
  // budget: share of a step; 1 or more: always record. A session that is not longer than
  // `undisturbed` has no unrecorded steps.
  BudgetController(double budget, Ns undisturbed);

  // A step of [begin, end) was marked. recorded: all of it was; mixed: only a part.
  void step(Ns begin, Ns end, bool recorded, bool mixed);
  // What should be recorded at `now`; asked after steps were told.
  bool want(Ns now);

  CostEstimate cost() const { return cost_; }
  double duty() const;  // share of the steps told that were recorded

 private:
  void begin_phase(bool record);

  static constexpr uint32_t kPhaseSteps = 8;
  static constexpr size_t kKept = 512;

  const double budget_;
  const Ns undisturbed_;
  Ns began_ = -1;
  bool recording_ = true;
  uint32_t phase_steps_ = 0;  // whole steps in this phase
  double wanted_ = 0;         // share of the steps to record; 0 until the cost is known
  double ahead_ = 0;          // steps recorded beyond that share
  std::vector<double> recorded_;
  std::vector<double> unrecorded_;
  uint64_t steps_recorded_ = 0;
  uint64_t steps_ = 0;
  CostEstimate cost_;
};

}  // namespace mill::prof
