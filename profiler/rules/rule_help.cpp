#include "profiler/rules/rule_help.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

namespace mill::prof::rule {

namespace {
constexpr size_t kMaxEvidence = 1000;
}  // namespace

Ns to_ns(double ns) {
  constexpr double kMost = 9.2e18;
  if (std::isnan(ns)) return 0;
  return static_cast<Ns>(std::clamp(ns, -kMost, kMost));
}

double share_of_window(const RuleInput& input, double ns) {
  const Ns length = input.timeline.analysed().length();
  return length > 0 ? ns / static_cast<double>(length) : 0;
}

double step_count(const RuleInput& input) {
  return std::max<uint32_t>(1, input.timeline.window_steps());
}

const char* per_step_text(const RuleInput& input) {
  return input.timeline.window_steps() > 0 ? "per step" : "in all";
}

std::string how_often(const RuleInput& input, uint64_t count) {
  const uint32_t steps = input.timeline.window_steps();
  if (steps > 0 && count >= steps) {
    const std::string number = show_number(static_cast<double>(count) / steps);
    return number == "1" ? "once per step" : number + " times per step";
  }
  const std::string times = count == 1 ? "once" : show_count(count) + " times";
  return times + (steps > 0 ? " in " + show_count(steps) + " steps" : " in all");
}

std::string show_number(double value) {
  std::array<char, 64> text{};
  const double size = std::fabs(value);
  const bool small = size > 0 && size < 0.095;  // would read as 0, or as no more than one digit
  const bool whole = std::fabs(value - std::round(value)) < 0.05;
  std::snprintf(text.data(), text.size(), small ? "%.1g" : whole ? "%.0f" : "%.1f", value);
  return text.data();
}

bool is_accelerator(const Trace& trace, uint32_t device) {
  return device < trace.devices.size() && trace.devices[device].kind != DeviceKind::cpu;
}

std::string device_name(const Trace& trace, uint32_t device) {
  if (device >= trace.devices.size()) return "the device";
  const DeviceInfo& info = trace.devices[device];
  return info.name.empty() ? "device " + std::to_string(info.number) : info.name;
}

std::string thread_name(const Trace& trace, uint32_t thread) {
  if (thread >= trace.threads.size()) return "a thread";
  const ThreadInfo& info = trace.threads[thread];
  return info.name.empty() ? "thread " + std::to_string(info.number) : "thread " + info.name;
}

Ns idle_length(const RuleInput& input, const DeviceView& view) {
  return input.timeline.analysed().minus(view.busy).length();
}

void add_evidence(Finding& finding, TableId table, uint32_t row) {
  ++finding.evidence_total;
  if (finding.evidence.size() < kMaxEvidence) finding.evidence.push_back({table, row});
}

void Tally::add(std::string_view name, double ns) {
  Row& row = rows_[name];
  row.name = name;
  ++row.count;
  row.ns += ns;
}

std::vector<Tally::Row> Tally::rows() const {
  std::vector<Row> rows;
  rows.reserve(rows_.size());
  for (const auto& [name, row] : rows_) rows.push_back(row);
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    if (a.ns != b.ns) return a.ns > b.ns;
    return a.count != b.count ? a.count > b.count : a.name < b.name;
  });
  return rows;
}

std::string Tally::text(size_t most) const {
  std::vector<Row> named;
  for (Row& row : rows()) {
    if (!row.name.empty()) named.push_back(row);
  }
  std::string text;
  const size_t shown = std::min(most, named.size());
  for (size_t k = 0; k < shown; ++k) {
    if (k > 0) text += k + 1 == shown && shown == named.size() ? " and " : ", ";
    text.append(named[k].name).append(" (").append(show_count(named[k].count)).append(")");
  }
  if (const size_t rest = named.size() - shown; rest > 0)
    text += " and " + show_count(rest) + (rest == 1 ? " other" : " others");
  return text;
}

std::string_view op_name(const Trace& trace, uint32_t op) {
  return op < trace.ops.size() ? trace.strings.text(trace.ops.name[op]) : std::string_view();
}

std::string_view call_name(const Trace& trace, uint32_t call) {
  return call < trace.calls.size() ? trace.strings.text(trace.calls.name[call])
                                   : std::string_view();
}

Ns upper_of_calls(const RuleInput& input, const DeviceView* view, std::vector<Interval> calls) {
  const Interval window = input.timeline.window();
  for (Interval& call : calls) call = clip(call.begin, call.end, window);
  if (view != nullptr) {
    // Up to the next start the device has nothing to do because of the call.
    for (Interval& call : calls) {
      if (view->busy.overlap({call.end, call.end + 1}) > 0) continue;
      call.end = std::min(view->busy.next(call.end), window.end);
    }
  }
  const Ns length = IntervalSet(std::move(calls)).length();
  return view != nullptr ? std::min(length, idle_length(input, *view)) : length;
}

Growth growth(const RuleInput& input, std::string_view name) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  const uint32_t id = trace.strings.find(name);
  if (id == UINT32_MAX) return {};
  const Counters& counters = trace.counters;
  uint32_t first = kNoRow;
  uint32_t last = kNoRow;
  for (uint32_t row = 0; row < counters.size(); ++row) {
    if (counters.name[row] != id || counters.time[row] < window.begin ||
        counters.time[row] > window.end)
      continue;
    if (first == kNoRow) first = row;
    last = row;
  }
  if (first == last) return {};
  const double grown = counters.value[last] - counters.value[first];
  if (!(grown >= 0 && grown <= 1e18)) return {};
  return {grown, counters.time[last] - counters.time[first]};
}

double last_count(const Trace& trace, std::string_view counter) {
  const uint32_t id = trace.strings.find(counter);
  if (id == UINT32_MAX) return 0;
  for (size_t row = trace.counters.size(); row-- > 0;) {
    if (trace.counters.name[row] == id) return trace.counters.value[row];
  }
  return 0;
}

}  // namespace mill::prof::rule
