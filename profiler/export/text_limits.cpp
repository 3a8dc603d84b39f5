// What the profiler took for itself, and what it does not know.
#include <string>
#include <vector>

#include "profiler/export/sentences.h"
#include "profiler/export/text_sections.h"

namespace mill::prof {

void text_cost(Page& page, const Analysis& analysis) {
  page.heading("What profiling cost");
  std::string text = own_cost_text(analysis);
  const Overheads& overheads = analysis.trace().overheads;
  std::vector<Interval> own;
  for (uint32_t row = 0; row < overheads.size(); ++row) {
    if (overheads.kind[row] != static_cast<uint8_t>(OverheadKind::profiler)) continue;
    own.push_back({overheads.start[row], overheads.end[row]});
  }
  if (!own.empty()) {
    const IntervalSet set = IntervalSet(std::move(own)).intersected(analysis.timeline->window());
    text += "; " + show_time(static_cast<double>(set.length())) +
            " on record as the profiler's own work";
  }
  page.paragraph("  ", 2, text + ".");
}

void text_unknown(Page& page, const Analysis& analysis) {
  const Trace& trace = analysis.trace();
  const Timeline& timeline = *analysis.timeline;
  std::vector<std::string> items;
  const auto add = [&](std::string text) { items.push_back(std::move(text)); };
  if (const std::string rest = unrecorded_text(analysis); !rest.empty()) add(rest);
  if (!trace.has_device_clock && !trace.on_cpu_only())
    add("No device was watched: what it did and when is not known.");
  const LinkCounts& counts = timeline.links();
  if (counts.work_without_op > 0) {
    add(show_count(counts.work_without_op) + " of " +
        count_of(counts.work, "kernel or copy", "kernels and copies") +
        " belong to no operator on record.");
  }
  if (trace.calls.empty() && !trace.work.empty())
    add("Host calls were not recorded: what asked for kernels and copies is not known.");
  if (trace.ops.empty()) add("No operators were recorded.");
  bool slow_links = false;
  for (const DeviceView& view : timeline.devices()) slow_links |= !view.copies.empty();
  if (slow_links && analysis.links.lines().empty()) {
    add("What the link can do is not known; `millrace prof calibrate` measures it.");
  }
  if (timeline.window_steps() == 0)
    add("Where steps begin is not known: nothing is said per step, start-up is part of all.");
  double unexplained = 0;
  for (const Gap& gap : analysis.gaps)
    unexplained += static_cast<double>(gap.causes[static_cast<int>(GapCause::unknown)]);
  if (unexplained > 0) add(show_time(unexplained) + " of idle device time could not be explained.");
  for (size_t k = 0; k < trace.notes.size() && k < 8; ++k) add(trace.notes[k]);
  if (trace.notes.size() > 8)
    add("And " + show_count(trace.notes.size() - 8) + " more notes on the recording.");
  if (items.empty()) return;
  page.heading("What is not known");
  for (const std::string& item : items) page.paragraph("  - ", 4, item);
}

}  // namespace mill::prof
