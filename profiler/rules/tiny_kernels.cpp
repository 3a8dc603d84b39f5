// L1, its other half: kernels so short that their fixed cost is all of it. A device that runs one
// after the other is busy and gets nothing done; no graph helps, as it runs them all the same.
#include "profiler/rules/tiny_kernels.h"

#include <algorithm>
#include <map>

#include "profiler/rules/rule_help.h"

namespace mill::prof::rule {

namespace {

// Tiny kernels of one stream that follow each other.
struct Run {
  std::vector<uint32_t> rows;
};

Ns length_of(const Work& work, uint32_t row) {
  return work.end[row] - work.start[row];
}

std::vector<Run> runs_of(const RuleInput& input, const DeviceView& view) {
  const Work& work = input.timeline.trace().work;
  const Interval window = input.timeline.window();
  std::map<uint32_t, Run> open;  // by stream
  std::vector<Run> runs;
  const auto close = [&](Run& run) {
    if (run.rows.size() > 1) runs.push_back(std::move(run));
    run = {};
  };
  for (const uint32_t row : view.work) {
    if (!inside(work.start[row], work.end[row], window)) continue;
    Run& run = open[work.stream[row]];
    const bool tiny = work.kind[row] == static_cast<uint8_t>(WorkKind::kernel) &&
                      work.graph_node[row] == 0 &&
                      static_cast<double>(length_of(work, row)) < input.limits.l1_tiny_ns;
    // A step's end is no place to fuse across.
    const bool same_step =
        run.rows.empty() || input.timeline.step_at(work.start[run.rows.back()]) ==
                                input.timeline.step_at(work.start[row]);
    if (!tiny || !same_step) close(run);
    if (tiny) run.rows.push_back(row);
  }
  for (auto& [stream, run] : open) close(run);
  return runs;
}

}  // namespace

void find_tiny_kernels(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Work& work = trace.work;
  const std::vector<Run> runs = runs_of(input, view);
  double ns = 0;
  double kernels = 0;
  Finding finding;
  EvidenceList evidence;
  Tally names;
  for (const Run& run : runs) {
    const uint32_t longest = *std::max_element(
        run.rows.begin(), run.rows.end(),
        [&](uint32_t a, uint32_t b) { return length_of(work, a) < length_of(work, b); });
    size_t k = 0;
    for (const uint32_t row : run.rows) {
      const auto length = static_cast<double>(length_of(work, row));
      ns += length;
      ++kernels;
      evidence.add(row, length);
      const std::string_view op = op_name(trace, work.op[row]);
      names.add(op.empty() ? trace.strings.text(work.name[row]) : op, length);
      // One is left of each run; at worst of each two.
      if (row != longest) finding.plan.drop_work.push_back(row);
      if (k++ % 2 == 1) finding.plan_lower.drop_work.push_back(row);
    }
  }
  const double share = share_of_window(input, ns);
  if (!(share > input.limits.l1_tiny_share)) return;
  evidence.give(finding);
  const double steps = step_count(input);
  finding.rule = RuleId::L1;
  finding.device = view.device;
  finding.facts = {{"tiny_kernels_per_step", kernels / steps, Unit::none},
                   {"tiny_ns", ns, Unit::ns},
                   {"tiny_share", share, Unit::ratio},
                   {"mean_tiny_ns", ns / kernels, Unit::ns}};
  finding.fix = {"fuse", 1, false};
  finding.saving.upper = input.timeline.analysed().length();
  estimate(input, finding);
  const std::string device = device_name(trace, view.device);
  finding.title = show_number(kernels / steps) + " kernels " + per_step_text(input) + " take " +
                  show_time(ns / kernels) + " each on " + device +
                  ", most of which is the cost of having one";
  finding.advice =
      "They follow each other and fill " + show_share(share) + " of the time (" + names.text(3) +
      "), so that " + device +
      " is busy with little. Fuse those that follow each other, apply them to larger tensors at "
      "once, or leave out those that do nothing; a graph would not make them shorter. The gain is "
      "of one kernel for each series, at worst of one for each two. " +
      show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace mill::prof::rule
