// O1: what the recording itself costs.
#include <algorithm>

#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

void find_overhead(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  Finding finding;
  finding.rule = RuleId::O1;
  std::vector<Interval> times;
  for (uint32_t row = 0; row < trace.overheads.size(); ++row) {
    if (trace.overheads.kind[row] != static_cast<uint8_t>(OverheadKind::profiler)) continue;
    const Interval time = clip(trace.overheads.start[row], trace.overheads.end[row], window);
    if (time.length() == 0) continue;
    times.push_back(time);
    add_evidence(finding, TableId::overheads, row);
    finding.plan.host_time.push_back({trace.overheads.thread[row], time, 0});
  }
  const Ns recorded = IntervalSet(std::move(times)).length();
  const double recorded_share = share_of_window(input, static_cast<double>(recorded));
  const bool measured = input.own_cost >= 0;
  const double share = measured ? input.own_cost : recorded_share;
  if (!(share > input.limits.o1_budget)) return;

  // The share is of a step that is not recorded; what was analysed was.
  const auto of_recorded = [&](double more) {
    return more / (1 + more) * static_cast<double>(input.timeline.analysed().length());
  };
  const double cost_ns = measured ? of_recorded(share) : static_cast<double>(recorded);
  finding.facts = {{"cost_share", share, Unit::ratio},
                   {"cost_ns", cost_ns, Unit::ns},
                   {"recorded_ns", static_cast<double>(recorded), Unit::ns},
                   {"budget_share", input.limits.o1_budget, Unit::ratio}};
  finding.fix = {"tier_down", 1, false};
  finding.saving.upper = to_ns(cost_ns);
  if (measured) {
    // The figure comes from steps with and without recording: no replay knows better.
    finding.plan = {};
    finding.saving.expected = to_ns(cost_ns);
    const double low = input.own_cost_low >= 0 ? std::min(input.own_cost_low, share) : share;
    finding.saving.lower = to_ns(of_recorded(low));
  }
  estimate(input, finding);
  // Steps differ anyway: what may as well be within the budget is no more than a note.
  const bool sure =
      !measured || input.own_cost_low < 0 || input.own_cost_low > input.limits.o1_budget;
  if (!sure) finding.severity = Severity::info;
  finding.title = std::string(sure ? "Recording costs " : "Recording may cost ") +
                  show_share(share) + " of the time, more than the budget of " +
                  show_share(input.limits.o1_budget);
  finding.advice =
      std::string(measured ? "Steps with and without recording differ by that much. "
                           : "The tool reports that much work of its own. ") +
      std::string(sure ? "" : "So few steps cannot tell that from what the budget allows. ") +
      "Record less: a lower tier, fewer kinds of records, or only some of the steps; "
      "shorter times in this report are uncertain by as much. " +
      show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace mill::prof
