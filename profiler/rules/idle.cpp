// G1 and G2: where a device stood idle, and why. They explain; what a fix saves is told by the
// rule that knows the fix, so that no time is promised twice.
#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "profiler/rules/first_use.h"
#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

namespace {

constexpr double kMainOp = 0.1;  // of the idle time that went by in an op: it is named

// The rule that tells what to do about a cause.
const char* rule_of(GapCause cause, bool has_steps) {
  switch (cause) {
    case GapCause::profiler: return "O1";
    case GapCause::module_load: return "first-use costs";
    case GapCause::allocation: return has_steps ? "S3" : "first-use costs";
    case GapCause::sync: return "S1, T7";
    case GapCause::copy_wait: return "T1, T2, T3";
    case GapCause::loader: return "I1";
    case GapCause::queue_full: return "L2";
    case GapCause::launch:
    case GapCause::latency: return "L1";
    default: return "";
  }
}

constexpr std::array<const char*, kGapCauses> kCauseFacts = {
    "profiler_ns",   "module_load_ns", "allocation_ns", "sync_ns",    "copy_wait_ns", "loader_ns",
    "queue_full_ns", "launch_ns",      "latency_ns",    "host_op_ns", "unknown_ns"};

void find_gap_causes(const RuleInput& input, const DeviceView& view,
                     const std::vector<uint32_t>& gaps, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  std::array<Ns, kGapCauses> causes{};
  Ns total = 0;
  Tally ops;
  for (const uint32_t k : gaps) {
    const Gap& gap = input.gaps[k];
    total += gap.end - gap.begin;
    for (size_t cause = 0; cause < causes.size(); ++cause) causes[cause] += gap.causes[cause];
    ops.add(op_name(trace, gap.op), static_cast<double>(gap.op_ns));
  }
  const auto idle = static_cast<double>(total);
  if (!(share_of_window(input, idle) >= input.limits.g1_min_share)) return;

  Finding finding;
  finding.rule = RuleId::G1;
  finding.device = view.device;
  finding.facts = {{"gaps", static_cast<double>(gaps.size()), Unit::none},
                   {"idle_ns", idle, Unit::ns},
                   {"idle_share", share_of_window(input, idle), Unit::ratio}};
  std::vector<size_t> order(causes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return causes[a] > causes[b]; });
  std::string list;
  const bool has_steps = input.timeline.window_steps() > 0;
  for (const size_t cause : order) {
    const auto ns = static_cast<double>(causes[cause]);
    finding.facts.push_back({kCauseFacts[cause], ns, Unit::ns});
    if (causes[cause] <= 0 || cause == static_cast<size_t>(GapCause::unknown)) continue;
    const auto which = static_cast<GapCause>(cause);
    list += (list.empty() ? "" : ", ") + std::string(gap_cause_name(which)) + " " +
            show_time(ns / step_count(input));
    if (const std::string_view rule = rule_of(which, has_steps); !rule.empty())
      list.append(" (see ").append(rule).append(")");
  }
  std::vector<uint32_t> longest = gaps;
  const auto most =
      longest.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(1000, longest.size()));
  std::partial_sort(longest.begin(), most, longest.end(), [&](uint32_t a, uint32_t b) {
    const Ns length_a = input.gaps[a].end - input.gaps[a].begin;
    const Ns length_b = input.gaps[b].end - input.gaps[b].begin;
    return length_a != length_b ? length_a > length_b : a < b;
  });
  for (auto gap = longest.begin(); gap != most; ++gap) add_evidence(finding, TableId::gaps, *gap);
  finding.evidence_total = gaps.size();
  finding.saving.upper = total;
  estimate(input, finding);

  const auto unknown = static_cast<double>(causes[static_cast<size_t>(GapCause::unknown)]);
  std::string in_ops;
  for (const Tally::Row& row : ops.rows()) {
    if (row.name.empty() || row.ns < kMainOp * idle) continue;
    in_ops += (in_ops.empty() ? "" : ", ") + show_share(row.ns / idle) + " of it went by in " +
              std::string(row.name) + " (" + show_count(row.count) + ")";
  }
  const std::string device = device_name(trace, view.device);
  finding.title = device + " was idle " + show_share(share_of_window(input, idle)) +
                  " of the time, in " + show_count(gaps.size()) + " gaps";
  finding.advice = "Causes " + std::string(per_step_text(input)) +
                   ", the largest first: " + (list.empty() ? "none found" : list) + "; " +
                   show_share(unknown / idle) + " of the idle time could not be explained." +
                   (in_ops.empty() ? "" : " On the host " + in_ops + ".") +
                   " The rules named with a cause say what removing it would gain.";
  out.push_back(std::move(finding));
}

// Union, not sum: two streams that are each busy 60 % of the time are not 120 %.
void find_low_windows(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  const Ns parts = to_ns(std::clamp(input.limits.g2_windows, 1.0, 100000.0));
  const Ns size = window.length() / parts + (window.length() % parts != 0 ? 1 : 0);
  if (size <= 0) return;
  struct Low {
    Interval time;
    Ns busy;
    Ns known;
  };
  std::vector<Low> low;
  double all = 0;
  double worst = 1;
  for (Ns k = 0; k < parts; ++k) {
    const Ns begin = window.begin + k * size;
    if (begin >= window.end) break;
    const Interval part{begin, window.end - begin < size ? window.end : begin + size};
    const Ns known = input.timeline.analysed().overlap(part);
    if (known == 0) continue;
    const Ns busy = view.busy.overlap(part);
    const double use = static_cast<double>(busy) / static_cast<double>(known);
    if (!(use < input.limits.g2_utilisation)) continue;
    worst = std::min(worst, use);
    all += static_cast<double>(known);
    if (!low.empty() && low.back().time.end == part.begin) {
      low.back().time.end = part.end;
      low.back().busy += busy;
      low.back().known += known;
    } else {
      low.push_back({part, busy, known});
    }
  }
  if (low.empty()) return;

  Finding finding;
  finding.rule = RuleId::G2;
  finding.device = view.device;
  finding.facts = {{"stretches", static_cast<double>(low.size()), Unit::none},
                   {"low_ns", all, Unit::ns},
                   {"low_share", share_of_window(input, all), Unit::ratio},
                   {"worst_utilisation", worst, Unit::ratio}};
  const auto longest = std::max_element(low.begin(), low.end(), [](const Low& a, const Low& b) {
    return a.time.length() < b.time.length();
  });
  finding.window = longest->time;
  uint32_t last_step = kNoRow;
  for (const Low& one : low) {
    const uint32_t first = input.timeline.step_at(one.time.begin);
    const uint32_t last = input.timeline.step_at(one.time.end - 1);
    if (first == kNoRow) continue;
    for (uint32_t step = first; step <= (last == kNoRow ? first : last); ++step) {
      if (step != last_step) add_evidence(finding, TableId::steps, step);
      last_step = step;
    }
  }
  estimate(input, finding);

  const Ns origin = input.timeline.span().begin;
  std::string list;
  for (size_t k = 0; k < low.size() && k < 5; ++k) {
    const Low& one = low[k];
    list += (k > 0 ? ", " : "") + show_time(static_cast<double>(one.time.begin - origin)) + " to " +
            show_time(static_cast<double>(one.time.end - origin)) + " (" +
            show_share(static_cast<double>(one.busy) / static_cast<double>(one.known)) + " busy";
    if (const uint32_t step = input.timeline.step_at(one.time.begin); step != kNoRow)
      list += ", step " + std::to_string(input.timeline.steps()[step].number);
    list += ")";
  }
  if (low.size() > 5) list += " and " + show_count(low.size() - 5) + " more";
  finding.title = device_name(trace, view.device) + " was less than " +
                  show_share(input.limits.g2_utilisation) + " busy in " +
                  show_share(share_of_window(input, all)) + " of the time";
  finding.advice =
      "From the start of the recording: " + list + ". Why it was idle there is under G1.";
  out.push_back(std::move(finding));
}

}  // namespace

void find_idle(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  find_first_use(input, out);
  std::map<uint32_t, std::vector<uint32_t>> gaps;
  for (uint32_t k = 0; k < input.gaps.size(); ++k) gaps[input.gaps[k].device].push_back(k);
  for (const DeviceView& view : input.timeline.devices()) {
    if (!is_accelerator(trace, view.device)) continue;
    if (const auto found = gaps.find(view.device); found != gaps.end())
      find_gap_causes(input, view, found->second, out);
    find_low_windows(input, view, out);
  }
}

}  // namespace mill::prof
