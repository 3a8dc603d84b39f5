// Runs rules on a trace that a test has built.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "profiler/builder.h"
#include "profiler/rules/figures.h"
#include "profiler/rules/rules.h"

namespace mill::prof::test {

// Of most timelines here.
inline constexpr int kSteps = 10;

class RuleCase {
 public:
  Thresholds limits;
  Health health;
  LinkModel links;
  double own_cost = -1;
  double own_cost_low = -1;

  explicit RuleCase(Trace trace, const TimelineOptions& options = {}) {
    const LinkCounts counts = link(trace);
    timeline_ = std::make_unique<Timeline>(std::move(trace), counts, options);
    replay_ = std::make_unique<Replay>(*timeline_);
  }

  const Timeline& timeline() const { return *timeline_; }
  const Replay& replay() const { return *replay_; }
  RuleInput input() {
    gaps_ = find_gaps(*timeline_, static_cast<Ns>(limits.g1_min_gap_ns));
    return {*timeline_, links, *replay_, limits, gaps_, health, own_cost, own_cost_low};
  }
  // What one family of rules finds.
  std::vector<Finding> run(RuleFunction rule) {
    std::vector<Finding> findings;
    rule(input(), findings);
    for (const Finding& finding : findings) {
      for (const Fact& one : finding.facts)
        EXPECT_STRNE(figure_meaning(finding.rule, one.name), "")
            << "what is " << one.name << " of " << rule_id_text(finding.rule) << "?";
    }
    return findings;
  }

 private:
  std::unique_ptr<Timeline> timeline_;
  std::unique_ptr<Replay> replay_;
  std::vector<Gap> gaps_;
};

inline const Finding* find_rule(const std::vector<Finding>& findings, RuleId rule) {
  for (const Finding& finding : findings) {
    if (finding.rule == rule) return &finding;
  }
  return nullptr;
}

// -1 where the finding has no such fact.
inline double fact(const Finding& finding, std::string_view name) {
  for (const Fact& one : finding.facts) {
    if (one.name == name) return one.value;
  }
  return -1;
}

inline bool says(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

}  // namespace mill::prof::test
