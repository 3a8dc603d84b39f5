// Everything that is known of a recording: trace, health, steps, replay, findings. Immutable once
// made; what queries and exports read.
#pragma once

#include <memory>
#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof {

struct AnalysisOptions {
  TimelineOptions timeline;
  HealthLimits health;
  Thresholds limits;
  const LinkModel* calibration = nullptr;  // copied
  double budget = 0.01;
  uint32_t joint = 5;
};

struct Analysis {
  Health health;
  std::unique_ptr<const Timeline> timeline;
  LinkModel links;
  std::vector<Gap> gaps;
  std::unique_ptr<const Replay> replay;
  std::vector<Finding> findings;  // by rank
  Thresholds limits;
  OwnCost own_cost;
  double budget = 0.01;
  Ns joint_saving = 0;  // of the findings that have a joint rank

  const Trace& trace() const { return timeline->trace(); }
  RuleInput input() const {
    return {*timeline, links, *replay, limits, gaps, health, own_cost.share, own_cost.share_low};
  }
};

// link, examine, cut into steps, gaps, replay, rules. Throws std::bad_alloc only.
std::unique_ptr<const Analysis> analyse(Trace trace, const AnalysisOptions& options = {});

}  // namespace mill::prof
