#include <algorithm>

#include "profiler/rules/rules.h"

namespace mill::prof {

namespace {

// Shares of the window from which on a saving is worth so much attention.
constexpr double kHighShare = 0.10;
constexpr double kMediumShare = 0.03;
constexpr double kTrustedReplay = 0.05;  // section 3.1 of the design notes

}  // namespace

void estimate(const RuleInput& input, Finding& finding) {
  const Interval window = input.timeline.window();
  const auto length = static_cast<double>(input.timeline.analysed().length());
  if (finding.window.length() == 0) finding.window = window;

  finding.confidence = std::max(finding.confidence, input.health.verdict);
  if (!(input.replay.error() <= kTrustedReplay))
    finding.confidence = std::max(finding.confidence, Confidence::low);

  // Advice may say what was seen in a bad recording, but not what a fix is worth.
  if (input.health.verdict >= Confidence::low) {
    finding.saving = {};
    finding.withheld = true;
    finding.severity = finding.plan.empty() ? Severity::info : Severity::minor;
    return;
  }

  Saving& saving = finding.saving;
  saving.upper = std::clamp<Ns>(saving.upper, 0, input.timeline.analysed().length());
  if (!finding.plan.empty()) {
    saving.expected = input.replay.saving(finding.plan);
    saving.lower =
        finding.plan_lower.empty() ? saving.expected : input.replay.saving(finding.plan_lower);
  }
  saving.expected = std::clamp<Ns>(saving.expected, 0, saving.upper);
  saving.lower = std::clamp<Ns>(saving.lower, 0, saving.expected);

  const double share = length > 0 ? static_cast<double>(saving.expected) / length : 0;
  if (saving.expected == 0 || share < input.limits.min_saving_share) {
    finding.severity = Severity::info;
  } else if (share < kMediumShare) {
    finding.severity = Severity::minor;
  } else {
    finding.severity = share < kHighShare ? Severity::moderate : Severity::major;
  }
}

}  // namespace mill::prof
