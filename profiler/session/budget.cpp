#include "profiler/session/budget.h"

#include <algorithm>
#include <cmath>

namespace mill::prof {

namespace {

struct Median {
  double value;
  double low;
  double high;
};

Median median_of(std::vector<double>& sample) {
  std::sort(sample.begin(), sample.end());
  const auto n = static_cast<double>(sample.size());
  const double half = 0.98 * std::sqrt(n);
  const auto at = [&](double place) {
    return sample[static_cast<size_t>(std::clamp(place, 0.0, n - 1))];
  };
  return {(at((n - 1) / 2) + at(n / 2)) / 2, at(n / 2 - half), at(n / 2 + half)};
}

void keep(std::vector<double>& sample, double value, size_t most) {
  if (sample.size() == most)
    sample.erase(sample.begin(), sample.begin() + static_cast<long>(most / 4));
  sample.push_back(value);
}

}  // namespace

CostEstimate estimate_cost(std::vector<double> recorded, std::vector<double> unrecorded) {
  CostEstimate out;
  constexpr size_t kLeast = 8;
  if (recorded.size() < kLeast || unrecorded.size() < kLeast) return out;
  const Median with = median_of(recorded);
  const Median without = median_of(unrecorded);
  if (!(without.low > 0)) return out;
  out.share = std::max(0.0, with.value / without.value - 1);
  out.low = std::max(0.0, with.low / without.high - 1);
  out.high = std::max(out.share, with.high / without.low - 1);
  return out;
}

BudgetController::BudgetController(double budget, Ns undisturbed)
    : budget_(budget), undisturbed_(undisturbed) {}

// Of all steps the share budget / cost may be recorded, but one in a hundred always is: an estimate
// may be wrong. Where all of them may be, one in ten still goes unrecorded, so that the figure
// stays true.
void BudgetController::begin_phase(bool record) {
  recording_ = record;
  phase_steps_ = 0;
  if (cost_.share < 0) return;
  wanted_ = cost_.share > budget_ ? std::clamp(budget_ / cost_.share, 0.01, 0.9) : 0.9;
}

void BudgetController::step(Ns begin, Ns end, bool recorded, bool mixed) {
  if (began_ < 0) began_ = begin;
  ++steps_;
  if (mixed) return;
  if (recorded) ++steps_recorded_;
  if (end > begin) {
    keep(recorded ? recorded_ : unrecorded_, static_cast<double>(end - begin), kKept);
  }
  if (recorded == recording_) ++phase_steps_;
  // Who asks comes late, by many steps if they are short: what was too much is made up for.
  if (wanted_ > 0) ahead_ += recorded ? 1 - wanted_ : -wanted_;
}

bool BudgetController::want(Ns now) {
  if (budget_ >= 1 || began_ < 0 || now - began_ < undisturbed_) return recording_;
  const bool known = wanted_ > 0;
  if (phase_steps_ < (recording_ && known ? 1 : kPhaseSteps)) return recording_;
  if (known && (recording_ ? ahead_ < 0 : ahead_ > 0)) return recording_;
  cost_ = estimate_cost(recorded_, unrecorded_);
  begin_phase(!recording_);
  return recording_;
}

double BudgetController::duty() const {
  return steps_ == 0 ? 1 : static_cast<double>(steps_recorded_) / static_cast<double>(steps_);
}

}  // namespace mill::prof
