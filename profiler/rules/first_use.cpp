#include "profiler/rules/first_use.h"

#include <algorithm>
#include <unordered_map>

#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

namespace {

// A call hides a first use when it takes this much longer than its kind does otherwise; drivers
// make contexts and load modules in milliseconds to seconds, inside whatever call comes first.
constexpr double kTimesTypical = 20;
constexpr Ns kShortestFirstUse = 1000000;
// More of the call than this the device must have been idle: else the call waited for it.
constexpr double kMostBusy = 0.5;

bool may_hide_first_use(uint8_t kind) {
  switch (static_cast<CallKind>(kind)) {
    case CallKind::sync_event:
    case CallKind::sync_stream:
    case CallKind::sync_device:
    case CallKind::copy:  // blocks for the copy
    case CallKind::host_function: return false;
    default: return true;
  }
}

bool is_first_use_by_kind(uint8_t kind) {
  return kind == static_cast<uint8_t>(CallKind::module_load) ||
         kind == static_cast<uint8_t>(CallKind::create);
}

// The lower quartile of what a call of a name takes: a name's first uses may be most of its calls.
// Of one call there is no typical time.
std::unordered_map<uint32_t, Ns> typical_times(const Trace& trace) {
  std::unordered_map<uint32_t, std::vector<Ns>> times;
  for (uint32_t call = 0; call < trace.calls.size(); ++call) {
    if ((trace.calls.flags[call] & kExcluded) != 0) continue;
    times[trace.calls.name[call]].push_back(
        clip(trace.calls.start[call], trace.calls.end[call], {0, INT64_MAX}).length());
  }
  std::unordered_map<uint32_t, Ns> typical;
  for (auto& [name, list] : times) {
    if (list.size() < 2) continue;
    const auto quarter = list.begin() + static_cast<std::ptrdiff_t>((list.size() - 1) / 4);
    std::nth_element(list.begin(), quarter, list.end());
    typical[name] = *quarter;
  }
  return typical;
}

}  // namespace

void find_first_use(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  const DeviceView* view = nullptr;
  IntervalSet busy;
  for (const DeviceView& one : input.timeline.devices()) {
    if (!is_accelerator(trace, one.device)) continue;
    if (view == nullptr) view = &one;
    busy = busy.united(one.busy);
  }
  if (view == nullptr) return;

  struct Slow {
    uint32_t call;
    Ns excess;
  };
  std::vector<Slow> slow;
  const auto typical = typical_times(trace);
  for (uint32_t call = 0; call < trace.calls.size(); ++call) {
    const Ns begin = trace.calls.start[call];
    const Ns end = trace.calls.end[call];
    const uint8_t kind = trace.calls.kind[call];
    if ((trace.calls.flags[call] & kExcluded) != 0 || !may_hide_first_use(kind) ||
        !inside(begin, end, window))
      continue;
    const Ns length = end - begin;
    const auto found = typical.find(trace.calls.name[call]);
    if (found == typical.end() && !is_first_use_by_kind(kind)) continue;
    const Ns usual = found == typical.end() ? 0 : found->second;
    if (length < kShortestFirstUse ||
        static_cast<double>(length) < kTimesTypical * static_cast<double>(usual))
      continue;
    if (static_cast<double>(busy.overlap({begin, end})) > kMostBusy * static_cast<double>(length))
      continue;
    slow.push_back({call, length - usual});
  }
  std::stable_sort(slow.begin(), slow.end(),
                   [](const Slow& a, const Slow& b) { return a.excess > b.excess; });

  Finding finding;
  finding.rule = RuleId::G1;
  finding.device = view->device;
  Tally names;
  std::vector<Interval> times;
  for (const Slow& one : slow) {
    const Ns begin = trace.calls.start[one.call];
    times.push_back({begin, begin + one.excess});
    names.add(call_name(trace, one.call), static_cast<double>(one.excess));
    add_evidence(finding, TableId::calls, one.call);
    const Ns length = trace.calls.end[one.call] - begin;
    finding.plan.call_duration.emplace_back(one.call, length - one.excess);
  }
  const IntervalSet in_calls(times);
  // Loading that a tool reports outside such calls.
  const Overheads& overheads = trace.overheads;
  for (uint32_t row = 0; row < overheads.size(); ++row) {
    const Interval time{overheads.start[row], overheads.end[row]};
    if (overheads.kind[row] != static_cast<uint8_t>(OverheadKind::module_load) ||
        !inside(time.begin, time.end, window) || time.length() == 0 || in_calls.overlap(time) > 0)
      continue;
    times.push_back(time);
    names.add(trace.strings.text(overheads.name[row]), static_cast<double>(time.length()));
    add_evidence(finding, TableId::overheads, row);
    finding.plan.host_time.push_back({overheads.thread[row], time, 0});
  }
  const IntervalSet all(std::move(times));
  const auto host_ns = static_cast<double>(all.length());
  if (!(share_of_window(input, host_ns) >= input.limits.g1_min_share)) return;

  const Ns idle = all.minus(busy).length();
  finding.facts = {{"calls", static_cast<double>(finding.evidence_total), Unit::none},
                   {"host_ns", host_ns, Unit::ns},
                   {"device_idle_ns", static_cast<double>(idle), Unit::ns}};
  finding.fix = {"warm_up", 1, false};
  finding.saving.upper = all.length();
  estimate(input, finding);

  std::string list;
  size_t shown = 0;
  for (const Tally::Row& row : names.rows()) {
    if (shown++ == 5) break;
    list += (list.empty() ? "" : ", ") + std::string(row.name) + " " + show_time(row.ns);
  }
  finding.title = "First-use costs: " + show_time(host_ns) + " in " +
                  show_count(finding.evidence_total) + " calls, " +
                  show_share(share_of_window(input, host_ns)) + " of the time";
  finding.advice =
      "These calls took far longer than calls of their name usually take, while " +
      device_name(trace, finding.device) + " did nothing for " +
      show_time(static_cast<double>(idle)) + " of it: " + list +
      ". That is a driver that starts up, loads modules and grows its pools in the first call that "
      "needs them; it is paid once in a process. Do it before anything is timed, run a few steps "
      "to warm up, keep one process for many runs, and load only the modules that are used. " +
      show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace mill::prof
