#include "profiler/session/analysis.h"

#include <cmath>
#include <utility>

namespace mill::prof {

namespace {

constexpr uint32_t kFewSteps = 3;  // with fewer, one that is unlike the others cannot be told

}  // namespace

std::unique_ptr<const Analysis> analyse(Trace trace, const AnalysisOptions& options) {
  auto analysis = std::make_unique<Analysis>();
  analysis->limits = options.limits;
  analysis->own_cost = trace.own_cost;
  analysis->budget = options.budget;

  const LinkCounts counts = link(trace);
  analysis->health = examine(trace, counts, options.health);
  analysis->links = LinkModel::of(trace, options.calibration);
  analysis->timeline = std::make_unique<const Timeline>(std::move(trace), counts, options.timeline);

  const Timeline& timeline = *analysis->timeline;
  if (timeline.window_steps() == 0 && !timeline.trace().work.empty()) {
    HealthItem item;
    item.code = HealthCode::no_steps;
    item.text =
        "No steps were marked or found, so figures are of the whole recording, its start "
        "included.";
    add_item(analysis->health, std::move(item));
  }
  if (const uint32_t steps = timeline.window_steps(); steps > 0 && steps < kFewSteps) {
    HealthItem item;
    item.code = HealthCode::few_steps;
    item.effect = Confidence::medium;
    item.count = steps;
    item.text = steps == 1
                    ? "Figures are of one step, and nothing tells whether others are like it."
                    : "Figures are of 2 steps: too few to tell what is usual.";
    add_item(analysis->health, std::move(item));
  }
  const double shortest = options.limits.g1_min_gap_ns;
  analysis->gaps =
      find_gaps(timeline, shortest < 9e18 ? static_cast<Ns>(std::ceil(shortest)) : INT64_MAX);
  analysis->replay = std::make_unique<const Replay>(timeline);
  analysis->findings = run_rules(analysis->input(), options.joint);
  analysis->joint_saving = joint_saving(analysis->input(), analysis->findings, options.joint);
  return analysis;
}

}  // namespace mill::prof
