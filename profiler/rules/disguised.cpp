// T1: async copies that are not. Section 3.2 of the design notes.
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "profiler/rules/blocked.h"

namespace mill::prof {

namespace {

// A thread fills one buffer while the device reads the other.
constexpr uint64_t kPoolBuffers = 2;
// Calls of the runtime may be recorded with a few calls of the driver inside.
constexpr size_t kMostInside = 8;

// The tensor that most of the copies are of; "" where there is none.
std::string same_tensor_text(const Trace& trace, const Blocked& group) {
  std::unordered_map<uint64_t, uint64_t> counts;
  for (const uint32_t row : group.rows) ++counts[trace.work.storage[row]];
  counts.erase(0);  // not known
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
        return a.second != b.second ? a.second < b.second : a.first > b.first;
      });
  if (most == counts.end() || most->second < 3 || most->second * 10 < group.rows.size() * 9)
    return "";
  return " " + (most->second == group.rows.size() ? std::string("All") : show_count(most->second)) +
         " of them are of one tensor (storage " + show_count(most->first) +
         "): where the program can do without it in every step, copying it less often saves more "
         "than any faster copy.";
}

bool knows_fixed_cost(const LinkLine& line) {
  return line.alpha_ns > 0 || line.source == LinkSource::user ||
         line.source == LinkSource::calibration;
}

// How fast the copies are, and how fast page-locked memory would make them.
std::string speed_text(const RuleInput& input, const Blocked& group) {
  const auto n = static_cast<double>(group.rows.size());
  const double rate = group.time > 0 ? group.bytes / group.time * 1e9 : 0;
  const LinkLine& pinned = group.line;
  if (pinned.source == LinkSource::none || !(pinned.bytes_per_s > 0)) {
    return " They ran at " + show_rate(rate) +
           "; how fast page-locked memory is on this link is not in the recording, so what a "
           "faster copy would add is not in the expected gain. `millrace prof calibrate` on that "
           "machine measures it.";
  }
  if (group.bytes / n < input.limits.t5_max_bytes) {
    return " Of copies this small (" + show_bytes(group.bytes / n) +
           " each) only the fixed cost counts: they took " + show_time(group.time / n) + " each, " +
           (knows_fixed_cost(pinned)
                ? "from page-locked memory it is " + show_time(pinned.alpha_ns) + " (" +
                      source_text(pinned) + ")"
                : "and what it is from page-locked memory is not known") +
           "; one larger copy for all of them saves more.";
  }
  return " They ran at " + show_rate(rate) + "; page-locked memory reaches " +
         show_rate(pinned.bytes_per_s) + " on this link (" + source_text(pinned) + ").";
}

// Frameworks wait for a pageable copy right after it, since its memory may be gone by then: that
// wait goes with the reason for it. kNoRow: there is none.
uint32_t wait_after(const Trace& trace, const CopyRow& copy, const std::vector<uint32_t>& next) {
  const uint32_t call = next[copy.call];
  if (copy.memory != Memory::pageable || call == kNoRow) return kNoRow;
  const auto kind = static_cast<CallKind>(trace.calls.kind[call]);
  if (kind == CallKind::sync_device) return call;
  if (kind != CallKind::sync_stream && kind != CallKind::sync_event) return kNoRow;
  const uint32_t stream = trace.calls.stream[call];
  const bool same = stream == kNoRow || stream == trace.work.stream[copy.row];
  return same ? call : kNoRow;
}

// How much page-locking a buffer costs, once.
double pin_cost(const LinkModel& links, double bytes) {
  return links.pin_ns + links.pin_ns_per_byte * bytes;
}

}  // namespace

std::vector<uint32_t> next_calls(const Timeline& timeline) {
  const Calls& calls = timeline.trace().calls;
  std::vector<uint32_t> next(calls.size(), kNoRow);
  for (uint32_t thread = 0; thread < timeline.trace().threads.size(); ++thread) {
    const std::vector<uint32_t>& rows = timeline.calls_of(thread);
    for (size_t k = 0; k + 1 < rows.size(); ++k) {
      size_t after = k + 1;
      while (after < rows.size() && calls.end[rows[after]] <= calls.end[rows[k]] &&
             after - k <= kMostInside) {
        ++after;
      }
      if (after < rows.size()) next[rows[k]] = rows[after];
    }
  }
  return next;
}

void add_disguised(const RuleInput& input, const CopyRow& copy, Ns launch_ns,
                   const std::vector<uint32_t>& next, Lines& lines, Blocked& group) {
  group.line = lines.of(copy.kind, Memory::pinned);
  // Without a figure for the fixed cost a copy takes no less than the shortest that there was.
  const bool tiny = copy.bytes <= kTinyCopy;
  const double least = tiny && !knows_fixed_cost(group.line) ? group.shortest : 0;
  const double by_line = group.line.time_ns(copy.bytes);
  const double pinned = by_line < 0 ? by_line : std::max(by_line, least);
  const double length = static_cast<double>(copy.length);
  const double link = pinned >= 0 ? std::max(0.0, length - pinned) : 0;
  double host = static_cast<double>(std::max<Ns>(0, copy.call_length - launch_ns));
  const uint32_t wait = wait_after(input.timeline.trace(), copy, next);
  if (wait != kNoRow) {
    const Calls& calls = input.timeline.trace().calls;
    const Interval waited = cut({calls.start[wait], calls.end[wait]}, input.timeline.window());
    group.calls.push_back(waited);
    ++group.waits;
    host += static_cast<double>(waited.length());
    let_go(copy.kind, wait, group.plan);
    let_go(copy.kind, wait, group.plan_lower);
  }
  add_common(input, copy, std::max(host, link), group);
  group.host_gain += host;
  group.link_gain += link;
  group.pageable += copy.memory == Memory::pageable ? 1 : 0;
  const uint64_t pointer = input.timeline.trace().work.host_pointer[copy.row];
  if (group.buffers.size() < kPoolBuffers) group.buffers.insert(pointer);

  let_go(copy.kind, copy.call, group.plan);
  group.plan.call_duration.emplace_back(copy.call, std::min(launch_ns, copy.call_length));
  // At worst the data must be brought into the page-locked buffer by the same thread. Millrace's
  // own fix, the staging ring, always does that.
  let_go(copy.kind, copy.call, group.plan_lower);
  // A copy from pageable memory went through page-locked memory of the driver: moving it there took
  // no longer than the copy.
  const double by_rate =
      static_cast<double>(copy.bytes) / std::max(input.links.host_copy_bytes_per_s, 1.0) * 1e9;
  const double moved = copy.memory == Memory::pageable ? std::min(by_rate, length) : by_rate;
  group.plan_lower.call_duration.emplace_back(copy.call, std::min(launch_ns, copy.call_length));
  group.plan_lower.before_ask.emplace_back(copy.call, whole_ns(moved));
  if (copy.kind == CopyKind::host_to_device && of_engine(input.timeline.trace()))
    group.plan.before_ask.emplace_back(copy.call, whole_ns(moved));
  if (pinned >= 0) {
    group.plan.work_duration.emplace_back(copy.row, whole_ns(std::min(length, pinned)));
    const double low = std::max(group.line.time_low_ns(copy.bytes), least);
    group.plan_lower.work_duration.emplace_back(copy.row, whole_ns(std::min(length, low)));
  }
}

void report_disguised(const RuleInput& input, const DeviceView& view, CopyKind kind, Blocked& group,
                      std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const auto n = static_cast<double>(group.rows.size());
  const bool one = group.buffers.size() == 1 && group.buffers.count(0) == 0;
  const uint64_t buffers = one ? 1 : std::min<uint64_t>(kPoolBuffers, group.rows.size());
  const double pin =
      static_cast<double>(buffers) * pin_cost(input.links, static_cast<double>(group.largest));
  const double gain = group.host_gain + group.link_gain;
  if (!(gain > pin) || gain < input.limits.t1_min_share * analysed_ns(input)) return;
  // The pool is page-locked before the steps begin; at worst that falls into the window.
  for (uint64_t k = 0; k < buffers; ++k) {
    group.plan_lower.before_ask[k].second += whole_ns(pin / static_cast<double>(buffers));
  }
  const Ns exposed = IntervalSet(group.on_link).minus(view.kernel).length();
  const double rate = group.time > 0 ? group.bytes / group.time * 1e9 : 0;

  Finding finding;
  finding.rule = RuleId::T1;
  begin_finding(input, view, group, finding);
  finding.fix = {"pinned_staging", static_cast<double>(buffers),
                 kind == CopyKind::host_to_device && of_engine(trace)};
  finding.facts = {{"copies", n, Unit::none},
                   {"bytes", group.bytes, Unit::bytes},
                   {"pageable_copies", static_cast<double>(group.pageable), Unit::none},
                   {"copy_ns", group.time, Unit::ns},
                   {"call_ns", group.call_time, Unit::ns},
                   {"waits_after", static_cast<double>(group.waits), Unit::none},
                   {"exposed_ns", static_cast<double>(exposed), Unit::ns},
                   {"host_gain_ns", group.host_gain, Unit::ns},
                   {"link_gain_ns", group.link_gain, Unit::ns},
                   {"bytes_per_s", rate, Unit::none},
                   {"pinned_bytes_per_s", group.line.bytes_per_s, Unit::none},
                   {"pinned_alpha_ns", group.line.alpha_ns, Unit::ns},
                   {"pin_ns", pin, Unit::ns},
                   {"largest_bytes", static_cast<double>(group.largest), Unit::bytes}};
  estimate(input, finding);
  // By what a step gains; where nobody can say that, by what the host and the link do.
  const auto expected = static_cast<double>(finding.saving.expected);
  const double break_even = std::ceil(pin * n / (expected > 0 ? expected : gain));
  finding.facts.push_back({"break_even_uses", break_even, Unit::none});

  const char* direction = direction_text(kind);
  finding.title = copies_text(group.rows.size()) + " " + direction + " in async form, " +
                  show_bytes(group.bytes) + ", blocked the host for " +
                  per_step(input, group.call_time);
  const char* verb = kind == CopyKind::device_to_host ? "write to" : "read from";
  std::string& text = finding.advice;
  text = show_count(group.rows.size()) + " asynchronous " + direction + " " +
         (group.rows.size() == 1 ? "copy" : "copies") + " (" + show_bytes(group.bytes) + ") ";
  if (group.pageable == group.rows.size()) {
    text += std::string(verb) + " ordinary pageable memory, so each one stopped " +
            threads_text(trace, group) + " until nearly all of it was done.";
  } else {
    text += "kept " + threads_text(trace, group) + " inside the call for as long as they took; " +
            show_count(group.pageable) + " of them " + verb + " ordinary pageable memory.";
  }
  if (group.waits > 0) {
    text += " " + show_count(group.waits) + (group.waits == 1 ? " was" : " were") +
            " followed at once by a call that waits for it; with page-locked memory and a copy "
            "that does not block (non_blocking in PyTorch) that wait goes too.";
  }
  text += which_text(trace, group);
  text += same_tensor_text(trace, group);
  text += speed_text(input, group);
  text += " No kernel ran during " + per_step(input, static_cast<double>(exposed)) +
          " of these copies. Keep " + show_count(buffers) + " page-locked " +
          (buffers == 1 ? "buffer" : "buffers") + " of " +
          show_bytes(static_cast<double>(group.largest)) +
          " and reuse them as a staging pool; do not page-lock per call (worth it from " +
          show_count(static_cast<uint64_t>(break_even)) + (break_even == 1 ? " use" : " uses") +
          " on, there were " + show_count(group.rows.size()) + "). " + show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace mill::prof
