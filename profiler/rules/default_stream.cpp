#include "profiler/rules/default_stream.h"

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>

#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

namespace {

constexpr Ns kNever = std::numeric_limits<Ns>::min();

// Of the streams of one kind, default or not: what was seen last.
struct Side {
  Ns end = kNever;        // the latest end so far
  uint32_t row = kNoRow;  // whose it is
};

struct StreamState {
  Ns end = kNever;
  Ns submitted = kNever;  // of its last piece
};

// When streams were told to wait for events: such a wait explains a delay by itself.
class EventWaits {
 public:
  explicit EventWaits(const Trace& trace) {
    for (uint32_t k = 0; k < trace.calls.size(); ++k) {
      if (trace.calls.kind[k] == static_cast<uint8_t>(CallKind::event_wait))
        times_[trace.calls.stream[k]].push_back(trace.calls.start[k]);
    }
    for (auto& [stream, times] : times_) std::sort(times.begin(), times.end());
  }
  bool any(uint32_t stream, Ns after, Ns until) const {
    return in(stream, after, until) || in(kNoRow, after, until);
  }

 private:
  bool in(uint32_t stream, Ns after, Ns until) const {
    const auto found = times_.find(stream);
    if (found == times_.end()) return false;
    const auto next = std::upper_bound(found->second.begin(), found->second.end(), after);
    return next != found->second.end() && *next <= until;
  }
  std::unordered_map<uint32_t, std::vector<Ns>> times_;
};

// When the work could have started, for all that its own stream and its call say.
Ns asked(const Trace& trace, uint32_t row) {
  const uint32_t call = trace.work.call[row];
  if (call < trace.calls.size() && (trace.calls.flags[call] & kExcluded) == 0)
    return std::min(trace.calls.end[call], trace.work.start[row]);
  return trace.work.submit[row] > 0 ? trace.work.submit[row] : trace.work.start[row];
}

bool is_kernel(const Trace& trace, uint32_t row) {
  return trace.work.kind[row] == static_cast<uint8_t>(WorkKind::kernel);
}

void of_device(const RuleInput& input, const DeviceView& view, const EventWaits& events,
               std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  Finding finding;
  finding.rule = RuleId::S4;
  finding.device = view.device;
  Side sides[2];  // other streams, default streams
  std::map<uint32_t, StreamState> streams;
  std::vector<Interval> delays;
  EvidenceList evidence;
  Tally names;
  uint64_t delayed = 0;
  for (const uint32_t row : view.work) {
    const uint32_t stream = trace.work.stream[row];
    const bool is_default = stream < trace.streams.size() && trace.streams[stream].legacy_default;
    const Ns start = trace.work.start[row];
    StreamState& own = streams[stream];
    const Ns submitted = asked(trace, row);
    const Ns ready = std::max(own.end, submitted);
    const Side& other = sides[is_default ? 0 : 1];
    // It started only after the other side was done, though its own stream was free before that.
    if (other.row != kNoRow && other.end > ready && start >= other.end &&
        !events.any(stream, own.submitted, submitted)) {
      const Interval delay = clip(ready, other.end, window);
      if (delay.length() > 0) {
        ++delayed;
        delays.push_back(delay);
        evidence.add(row, static_cast<double>(delay.length()));
        for (const uint32_t freed : {row, other.row}) {
          finding.plan.free_stream.push_back(freed);
          // Kernels that each fill the device gain nothing from running at the same time.
          if (!is_kernel(trace, row) || !is_kernel(trace, other.row))
            finding.plan_lower.free_stream.push_back(freed);
          const uint32_t name = trace.work.stream[freed];
          if (name < trace.streams.size() && trace.streams[name].legacy_default)
            names.add(trace.strings.text(trace.work.name[freed]),
                      static_cast<double>(delay.length()));
        }
      }
    }
    own.end = std::max(own.end, trace.work.end[row]);
    own.submitted = submitted;
    Side& side = sides[is_default ? 1 : 0];
    if (side.row == kNoRow || trace.work.end[row] > side.end) side = {trace.work.end[row], row};
  }
  evidence.give(finding);
  const auto delay_ns = static_cast<double>(IntervalSet(std::move(delays)).length());
  if (delayed == 0 || !(share_of_window(input, delay_ns) > input.limits.s4_min_share)) return;

  const bool kernels_only = finding.plan_lower.free_stream.empty();
  const double steps = step_count(input);
  finding.facts = {{"delayed", static_cast<double>(delayed), Unit::none},
                   {"delay_ns", delay_ns, Unit::ns},
                   {"streams", static_cast<double>(streams.size()), Unit::none}};
  finding.fix = {"nonblocking_stream", 1, false};
  finding.saving.upper = to_ns(delay_ns);
  estimate(input, finding);
  if (kernels_only) finding.saving.lower = 0;

  const std::string device = device_name(trace, finding.device);
  finding.title = "The default stream of " + device + " holds up other streams for " +
                  show_time(delay_ns / steps) + " " + per_step_text(input);
  std::string list;
  for (const auto& [stream, state] : streams) {
    if (stream >= trace.streams.size() || streams.size() > 8) continue;
    const StreamInfo& info = trace.streams[stream];
    list += (list.empty() ? "" : ", ") +
            (info.name.empty() ? std::to_string(info.number) : info.name) +
            (info.legacy_default ? " (default)" : "");
  }
  finding.advice = show_count(delayed) + " pieces of work on " + device +
                   " were ready but waited for the other side of the default stream, which runs "
                   "alone: nothing of another blocking stream overlaps it" +
                   (list.empty() ? "" : " (streams " + list + ")") + ". " +
                   (names.text(3).empty() ? "" : "On it: " + names.text(3) + ". ") +
                   "Give that work a stream of its own, and create the streams so that they do "
                   "not wait for the default stream. " +
                   show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace

void find_default_stream(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const bool any = std::any_of(trace.streams.begin(), trace.streams.end(),
                               [](const StreamInfo& stream) { return stream.legacy_default; });
  if (!any) return;
  const EventWaits events(trace);
  for (const DeviceView& view : input.timeline.devices()) {
    if (is_accelerator(trace, view.device)) of_device(input, view, events, out);
  }
}

}  // namespace mill::prof
