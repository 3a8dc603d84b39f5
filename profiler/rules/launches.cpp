// L1 and L2: a host that cannot launch fast enough, and one that launches too far ahead.
#include <algorithm>

#include "profiler/rules/rule_help.h"
#include "profiler/rules/tiny_kernels.h"

namespace mill::prof {

using namespace rule;

namespace {

// Both are replaced by a node of a graph.
bool can_be_captured(uint8_t kind) {
  return kind == static_cast<uint8_t>(CallKind::launch) ||
         kind == static_cast<uint8_t>(CallKind::fill);
}

// Calls and waits that a capture does not allow, inside the window.
std::string capture_blockers(const RuleInput& input) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  uint64_t waits = 0;
  uint64_t allocations = 0;
  uint64_t blocking_copies = 0;
  for (uint32_t call = 0; call < trace.calls.size(); ++call) {
    if (!inside(trace.calls.start[call], trace.calls.end[call], window)) continue;
    switch (static_cast<CallKind>(trace.calls.kind[call])) {
      case CallKind::sync_event:
      case CallKind::sync_stream:
      case CallKind::sync_device:
      case CallKind::query: ++waits; break;
      case CallKind::allocate:
      case CallKind::free:
      case CallKind::host_allocate:
      case CallKind::host_free: ++allocations; break;
      case CallKind::copy:
        if ((trace.calls.flags[call] & kAsyncForm) == 0) ++blocking_copies;
        break;
      default: break;
    }
  }
  for (uint32_t row = 0; row < trace.allocations.size(); ++row) {
    if (trace.allocations.how[row] == static_cast<uint8_t>(AllocHow::growth) &&
        inside(trace.allocations.start[row], trace.allocations.end[row], window))
      ++allocations;
  }
  std::string text;
  const double steps = step_count(input);
  const auto add = [&](uint64_t count, const char* what) {
    if (count == 0) return;
    text += (text.empty() ? "" : ", ") + show_number(static_cast<double>(count) / steps) + what;
  };
  add(waits, " waits or queries");
  add(allocations, " allocations");
  add(blocking_copies, " blocking copies");
  if (text.empty()) return "Nothing that was recorded stands in the way of capturing it.";
  return "In the way of capturing it, " + std::string(per_step_text(input)) + ": " + text + ".";
}

void find_launch_bound(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out) {
  if (view.kernels.empty()) return;
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  std::vector<Ns> lengths;
  lengths.reserve(view.kernels.size());
  for (const uint32_t row : view.kernels)
    lengths.push_back(clip(trace.work.start[row], trace.work.end[row], window).length());
  const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>((lengths.size() - 1) / 2);
  std::nth_element(lengths.begin(), middle, lengths.end());
  const auto median = static_cast<double>(*middle);
  if (!(median < input.limits.l1_kernel_ns)) return;

  Finding finding;
  finding.rule = RuleId::L1;
  finding.device = view.device;
  const double graph_ns = std::max(0.0, input.links.graph_launch_ns_per_item);
  std::vector<Interval> times;
  EvidenceList evidence;
  Tally names;
  uint64_t launches = 0;
  uint64_t starved = 0;
  double shorter = 0;
  Ns drained = window.begin;
  for (const uint32_t row : view.work) {
    const uint32_t call = trace.work.call[row];
    const Ns before = drained;
    drained = std::max(drained, trace.work.end[row]);
    if (call >= trace.calls.size() || (trace.calls.flags[call] & kExcluded) != 0 ||
        !can_be_captured(trace.calls.kind[call]))
      continue;
    const Interval time = clip(trace.calls.start[call], trace.calls.end[call], window);
    ++launches;
    // The time in the queue, were there no latency: negative when all work had ended before the
    // call returned, that is, when the device waited for the host.
    if (before <= time.end) ++starved;
    times.push_back(time);
    const auto length = static_cast<double>(time.length());
    if (length > graph_ns) {
      shorter += length - graph_ns;
      finding.plan.call_duration.emplace_back(call, to_ns(graph_ns));
    }
    if (length > 2 * graph_ns)
      finding.plan_lower.call_duration.emplace_back(call, to_ns(2 * graph_ns));
    if (trace.work.kind[row] == static_cast<uint8_t>(WorkKind::kernel)) {
      const std::string_view op = op_name(trace, trace.work.op[row]);
      names.add(op.empty() ? trace.strings.text(trace.work.name[row]) : op);
      evidence.add(row, length);
    }
  }
  evidence.give(finding);
  if (launches == 0) return;
  const auto launch_ns = static_cast<double>(IntervalSet(std::move(times)).length());
  const double share = share_of_window(input, launch_ns);
  const double starved_share = static_cast<double>(starved) / static_cast<double>(launches);
  if (!(share > input.limits.l1_launch_share) || !(starved_share > 0.5)) return;

  const double steps = step_count(input);
  const double per_step = static_cast<double>(view.kernels.size()) / steps;
  const Ns idle = idle_length(input, view);
  finding.facts = {{"kernels_per_step", per_step, Unit::none},
                   {"median_kernel_ns", median, Unit::ns},
                   {"launch_ns", launch_ns, Unit::ns},
                   {"launch_share", share, Unit::ratio},
                   {"starved_share", starved_share, Unit::ratio},
                   {"graph_launch_ns", graph_ns, Unit::ns},
                   {"idle_ns", static_cast<double>(idle), Unit::ns}};
  finding.fix = {"graph_capture", 1, false};
  finding.saving.upper = std::min(idle, to_ns(shorter));
  estimate(input, finding);

  const std::string device = device_name(trace, view.device);
  finding.title = "Launching takes longer than running: " + show_number(per_step) + " kernels " +
                  per_step_text(input) + " with a median of " + show_time(median);
  finding.advice = "The host spends " + show_share(share) + " of the time in calls that launch (" +
                   show_time(launch_ns / static_cast<double>(launches)) + " each), and " + device +
                   " had nothing left to do at " + show_share(starved_share) +
                   " of them. Capture the step as a graph, which launches an item in about " +
                   show_time(graph_ns) + ", or fuse small kernels (the most frequent are of " +
                   names.text(3) +
                   "), which saves a launch for each one less, or give each more to do, such as a "
                   "larger batch. " +
                   capture_blockers(input) + " " + show_gain(input, finding) +
                   (finding.withheld ? "" : " The graph alone gains that.");
  out.push_back(std::move(finding));
}

// So many pieces of work in the queue make a launch wait for room: the queue of CUDA holds 1024.
constexpr int64_t kFullQueue = 1000;
constexpr double kBlockedTimes = 5;

struct QueueFull {
  std::vector<Interval> times;
  std::vector<Evidence> rows;
};

// Launches that took far longer than others of this device while the queue was about full.
void infer_full_queue(const RuleInput& input, const DeviceView& view, QueueFull& full) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  struct Launch {
    Interval time;
    uint32_t call;
  };
  std::vector<Launch> launches;
  std::vector<Ns> starts;
  std::vector<Ns> lengths;
  for (const uint32_t row : view.work) {
    const uint32_t call = trace.work.call[row];
    if (call >= trace.calls.size() || (trace.calls.flags[call] & kExcluded) != 0 ||
        !can_be_captured(trace.calls.kind[call]))
      continue;
    const Interval time = clip(trace.calls.start[call], trace.calls.end[call], window);
    launches.push_back({time, call});
    starts.push_back(trace.work.start[row]);
    lengths.push_back(time.length());
  }
  if (static_cast<int64_t>(launches.size()) <= kFullQueue) return;
  const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 2);
  std::nth_element(lengths.begin(), middle, lengths.end());
  const double usual = static_cast<double>(*middle);
  std::sort(launches.begin(), launches.end(),
            [](const Launch& a, const Launch& b) { return a.time.begin < b.time.begin; });
  std::sort(starts.begin(), starts.end());
  size_t started = 0;
  for (size_t k = 0; k < launches.size(); ++k) {
    const Interval time = launches[k].time;
    while (started < starts.size() && starts[started] <= time.begin) ++started;
    const int64_t queued = static_cast<int64_t>(k) - static_cast<int64_t>(started);
    if (queued < kFullQueue || static_cast<double>(time.length()) <= kBlockedTimes * usual)
      continue;
    full.times.push_back({time.begin + to_ns(usual), time.end});
    full.rows.push_back({TableId::calls, launches[k].call});
  }
}

// Good news in most cases: the host is ahead, so that its time does not matter.
void find_queue_full(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  QueueFull full;
  for (uint32_t row = 0; row < trace.overheads.size(); ++row) {
    if (trace.overheads.kind[row] != static_cast<uint8_t>(OverheadKind::queue_full)) continue;
    const Interval time = clip(trace.overheads.start[row], trace.overheads.end[row], window);
    if (time.length() == 0) continue;
    full.times.push_back(time);
    full.rows.push_back({TableId::overheads, row});
  }
  if (full.rows.empty()) {
    for (const DeviceView& view : input.timeline.devices()) {
      if (is_accelerator(trace, view.device)) infer_full_queue(input, view, full);
    }
  }
  const auto blocked = static_cast<double>(IntervalSet(std::move(full.times)).length());
  if (full.rows.empty() || !(share_of_window(input, blocked) > input.limits.l2_min_share)) return;
  Finding finding;
  finding.rule = RuleId::L2;
  if (!input.timeline.devices().empty()) finding.device = input.timeline.devices().front().device;
  for (const Evidence& row : full.rows) add_evidence(finding, row.table, row.row);
  finding.facts = {{"blocked_calls", static_cast<double>(full.rows.size()), Unit::none},
                   {"blocked_ns", blocked, Unit::ns},
                   {"blocked_share", share_of_window(input, blocked), Unit::ratio}};
  estimate(input, finding);
  finding.title = "The host waits for room in the command queue for " +
                  show_share(share_of_window(input, blocked)) + " of the time";
  finding.advice = show_count(full.rows.size()) + " calls waited " +
                   show_time(blocked / step_count(input)) + " " + per_step_text(input) +
                   " because the queue was full. The host is far ahead of the device, so nothing "
                   "is lost by it: what makes the program faster is on the device's side.";
  out.push_back(std::move(finding));
}

// A graph launches sooner and runs the same kernels. What one kernel in the place of many would
// save is said with it where it is more.
void tell_of_fusing(const RuleInput& input, const DeviceView& view, Finding& graph) {
  std::vector<Finding> found;
  find_tiny_kernels(input, view, found);
  if (found.empty() || graph.withheld) return;
  const Saving& fused = found.front().saving;
  if (fused.expected <= graph.saving.expected) return;
  const auto gain = [&](Ns ns) { return show_time(static_cast<double>(ns) / step_count(input)); };
  graph.advice +=
      " Most of what such kernels take is the cost of having one: fewer of them, over "
      "larger tensors, gain " +
      gain(fused.expected) + " " + per_step_text(input) + " with one for each series, " +
      gain(fused.lower) + " with one for each two.";
  graph.facts.push_back({"fused_saving_ns", static_cast<double>(fused.expected), Unit::ns});
  graph.facts.push_back({"fused_saving_lower_ns", static_cast<double>(fused.lower), Unit::ns});
}

}  // namespace

void find_launches(const RuleInput& input, std::vector<Finding>& out) {
  for (const DeviceView& view : input.timeline.devices()) {
    if (!is_accelerator(input.timeline.trace(), view.device)) continue;
    const size_t before = out.size();
    find_launch_bound(input, view, out);
    if (out.size() == before) {
      find_tiny_kernels(input, view, out);
    } else {
      tell_of_fusing(input, view, out.back());
    }
  }
  find_queue_full(input, out);
}

}  // namespace mill::prof
