#include "profiler/export/sentences.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mill::prof {

namespace {

constexpr size_t kLongestName = 60;
constexpr double kLeastShare = 0.05;  // nobody looks for what takes less

using Times = std::unordered_map<uint32_t, double>;  // by name

void add_kernels(const Trace& trace, const DeviceView& view, Times& times) {
  for (const uint32_t row : view.kernels) {
    const uint32_t op = trace.work.op[row];
    const uint32_t name = op < trace.ops.size() ? trace.ops.name[op] : trace.work.name[row];
    times[name] +=
        static_cast<double>(trace.work.end[row]) - static_cast<double>(trace.work.start[row]);
  }
}

// An op's own time is what the ops inside it leave.
void add_ops(const Analysis& analysis, Times& times) {
  const Ops& ops = analysis.trace().ops;
  const IntervalSet& analysed = analysis.timeline->analysed();
  for (uint32_t row = 0; row < ops.size(); ++row) {
    if (ops.end[row] <= ops.start[row]) continue;
    const auto seen = static_cast<double>(analysed.overlap({ops.start[row], ops.end[row]}));
    times[ops.name[row]] += seen;
    if (const uint32_t parent = ops.parent[row]; parent < ops.size())
      times[ops.name[parent]] -= seen;
  }
}

}  // namespace

std::string busiest(const Analysis& analysis, size_t n) {
  const Timeline& timeline = *analysis.timeline;
  const auto all = static_cast<double>(timeline.analysed().length());
  if (timeline.devices().empty() || all <= 0) return {};
  const Trace& trace = timeline.trace();
  const DeviceView& view = timeline.devices().front();
  Times times;
  if (view.kernels.empty()) {
    add_ops(analysis, times);
  } else {
    add_kernels(trace, view, times);
  }
  std::vector<std::pair<double, uint32_t>> sorted;
  for (const auto& [name, ns] : times) sorted.emplace_back(-ns, name);
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  for (const auto& [less, name] : sorted) {
    if (n-- == 0 || -less < kLeastShare * all) break;
    const std::string_view whole = trace.strings.text(name);
    text += (text.empty() ? "" : ", ") + std::string(whole.substr(0, kLongestName)) + " " +
            show_share(-less / all);
  }
  return text;
}

std::string unrecorded_text(const Analysis& analysis) {
  if (analysis.trace().recorded.empty()) return {};
  // Recording may have begun long before the oldest record that was kept.
  const Interval span = analysis.timeline->span();
  const IntervalSet known = IntervalSet(analysis.trace().recorded).intersected(span);
  if (known.length() >= span.length()) return {};
  return "Of " + show_time(static_cast<double>(span.length())) + " only " +
         show_time(static_cast<double>(known.length())) +
         " were recorded; nothing is known of the rest.";
}

std::string own_cost_text(const Analysis& analysis) {
  const OwnCost& cost = analysis.own_cost;
  const Trace& trace = analysis.trace();
  std::string text;
  if (cost.share >= 0) {
    const std::string budget = show_share(analysis.budget);
    text = show_share(cost.share) + " of a step, ";
    if (cost.share > analysis.budget && cost.share_low >= 0 && cost.share_low <= analysis.budget) {
      text += "but steps differ too much to tell it from the budget of " + budget + ": at least " +
              show_share(cost.share_low);
    } else {
      text += "with a budget of " + budget;
      if (cost.share > analysis.budget) text += ": over the budget";
    }
  } else if (std::any_of(trace.devices.begin(), trace.devices.end(),
                         [](const DeviceInfo& one) { return one.modelled; })) {
    return "None: time is modelled, and recording takes none of it";
  } else {
    text = "Not measured: that takes steps of real time, some recorded and some not";
  }
  if (cost.event_ns < 0) return text;
  text += "; " + show_time(cost.event_ns) + " for an event";
  if (cost.share >= 0) return text;
  const double all = static_cast<double>(trace.rows()) * cost.event_ns;
  const auto length = static_cast<double>(analysis.timeline->analysed().length());
  text += ", of which there are " + show_count(trace.rows()) + ": about " + show_time(all);
  if (length > 0) text += " (" + show_share(all / length) + ")";
  return text + " in all";
}

}  // namespace mill::prof
