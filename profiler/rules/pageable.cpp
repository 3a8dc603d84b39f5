// T1: async copies that are not. T2: blocking copies. S2: blocking fills. Section 3.2 of the design
// notes.
#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>
#include <utility>

#include "profiler/rules/copies.h"

namespace mill::prof {

namespace {

// A thread fills one buffer while the device reads the other.
constexpr uint64_t kPoolBuffers = 2;
// Calls of the runtime may be recorded with a few calls of the driver inside.
constexpr size_t kMostInside = 8;

// What a group of copies or fills costs, and the changes that would mend it.
struct Blocked {
  std::vector<uint32_t> rows;
  EvidenceList evidence;
  std::vector<Interval> calls;    // cut to the window
  std::vector<Interval> on_link;  // the same
  std::unordered_set<uint64_t> buffers;
  double bytes = 0;
  double time = 0;        // on the device
  double call_time = 0;   // of the calls
  double host_gain = 0;   // of the formula of T1: host time that comes free ...
  double link_gain = 0;   // ... and time on the link
  uint64_t largest = 0;   // bytes
  uint64_t pageable = 0;  // copies
  uint64_t waits = 0;     // calls that wait for a copy right after it
  LinkLine line;          // of page-locked memory
  uint32_t device = kNoRow;
  uint32_t thread = kNoRow;  // of the first
  bool many_threads = false;
  Plan plan;
  Plan plan_lower;
};

Interval cut(Interval one, Interval window) {
  return {std::max(one.begin, window.begin), std::min(one.end, window.end)};
}

void add_common(const RuleInput& input, const DeviceView& view, const CopyRow& copy, double lost,
                Blocked& group) {
  const Interval window = input.timeline.window();
  const uint32_t thread = input.timeline.trace().calls.thread[copy.call];
  if (group.rows.empty()) group.thread = thread;
  group.many_threads |= thread != group.thread;
  group.device = view.device;
  group.rows.push_back(copy.row);
  group.evidence.add(copy.row, lost);
  group.calls.push_back(cut(copy.called, window));
  group.on_link.push_back(cut(copy.at, window));
  group.bytes += static_cast<double>(copy.bytes);
  group.time += static_cast<double>(copy.length);
  group.call_time += static_cast<double>(copy.call_length);
  group.largest = std::max(group.largest, copy.bytes);
}

// The host goes on at once. What the host reads must still be there when it is used, which nothing
// in a recording shows: it is given one step.
void let_go(CopyKind kind, uint32_t call, Plan& plan) {
  (kind == CopyKind::device_to_host ? plan.defer : plan.unblock).push_back(call);
}

// All of a saving lies where the calls or the copies are, and not under a kernel.
Ns most_saved(const RuleInput& input, const DeviceView& view, const Blocked& group) {
  std::vector<Interval> all = group.calls;
  all.insert(all.end(), group.on_link.begin(), group.on_link.end());
  const Ns free = input.timeline.analysed().length() - view.kernel.length();
  return std::min(IntervalSet(std::move(all)).length(), std::max<Ns>(free, 0));
}

std::string threads_text(const Trace& trace, const Blocked& group) {
  return group.many_threads ? "the thread that made it" : thread_text(trace, group.thread);
}

std::string which_text(const Trace& trace, const Blocked& group) {
  const std::string askers = askers_text(trace, group.rows);
  return askers.empty() ? "" : " Asked for by " + askers + ".";
}

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
           " each) only the fixed cost counts: they took " + show_time(group.time / n) +
           " each, from page-locked memory it is " + show_time(pinned.alpha_ns) + " (" +
           source_text(pinned) + "); one larger copy for all of them saves more.";
  }
  return " They ran at " + show_rate(rate) + "; page-locked memory reaches " +
         show_rate(pinned.bytes_per_s) + " on this link (" + source_text(pinned) + ").";
}

// ---- T1 -----------------------------------------------------------------------------------------

// By row of Calls: what the thread called next, what it called inside aside.
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

void add_disguised(const RuleInput& input, const DeviceView& view, const CopyRow& copy,
                   Ns launch_ns, uint32_t wait, Lines& lines, Blocked& group) {
  group.line = lines.of(copy.kind, Memory::pinned);
  const double pinned = group.line.time_ns(copy.bytes);
  const double length = static_cast<double>(copy.length);
  const double link = pinned >= 0 ? std::max(0.0, length - pinned) : 0;
  double host = static_cast<double>(std::max<Ns>(0, copy.call_length - launch_ns));
  if (wait != kNoRow) {
    const Calls& calls = input.timeline.trace().calls;
    const Interval waited = cut({calls.start[wait], calls.end[wait]}, input.timeline.window());
    group.calls.push_back(waited);
    ++group.waits;
    host += static_cast<double>(waited.length());
    let_go(copy.kind, wait, group.plan);
    let_go(copy.kind, wait, group.plan_lower);
  }
  add_common(input, view, copy, std::max(host, link), group);
  group.host_gain += host;
  group.link_gain += link;
  group.pageable += copy.memory == Memory::pageable ? 1 : 0;
  const uint64_t pointer = input.timeline.trace().work.host_pointer[copy.row];
  if (pointer != 0 && group.buffers.size() < kPoolBuffers) group.buffers.insert(pointer);

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
    const double low = group.line.time_low_ns(copy.bytes);
    group.plan_lower.work_duration.emplace_back(copy.row, whole_ns(std::min(length, low)));
  }
}

void report_disguised(const RuleInput& input, const DeviceView& view, CopyKind kind, Blocked& group,
                      std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const auto n = static_cast<double>(group.rows.size());
  const uint64_t buffers =
      group.buffers.size() == 1 ? 1 : std::min<uint64_t>(kPoolBuffers, group.rows.size());
  const double pin =
      static_cast<double>(buffers) * pin_cost(input.links, static_cast<double>(group.largest));
  const double gain = group.host_gain + group.link_gain;
  if (!(gain > pin) || gain < input.limits.t1_min_share * analysed_ns(input)) return;
  // The pool is page-locked before the steps begin; at worst that falls into the window.
  for (uint64_t k = 0; k < buffers; ++k) {
    group.plan_lower.before_ask[k].second += whole_ns(pin / static_cast<double>(buffers));
  }
  const double each = gain / n;
  const double break_even = std::ceil(pin / each);
  const Ns exposed = IntervalSet(group.on_link).minus(view.kernel).length();
  const double rate = group.time > 0 ? group.bytes / group.time * 1e9 : 0;

  Finding finding;
  finding.rule = RuleId::T1;
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.link_source = group.line.source;
  finding.saving.upper = most_saved(input, view, group);
  finding.plan = std::move(group.plan);
  finding.plan_lower = std::move(group.plan_lower);
  finding.fix = {"pinned_staging", static_cast<double>(buffers),
                 kind == CopyKind::host_to_device && of_engine(trace)};
  group.evidence.give(finding);
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
                   {"break_even_uses", break_even, Unit::none},
                   {"largest_bytes", static_cast<double>(group.largest), Unit::bytes}};
  estimate(input, finding);

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

// ---- T2 and S2 ----------------------------------------------------------------------------------

// Time with no kernel from each call to the first kernel that starts after it, of each call no more
// than the call took: the host was late by no more than that.
Ns idle_meanwhile(const RuleInput& input, const DeviceView& view, const Blocked& group) {
  const Work& work = input.timeline.trace().work;
  const Interval window = input.timeline.window();
  std::vector<Interval> calls = group.calls;
  std::sort(calls.begin(), calls.end(),
            [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  Ns idle = 0;
  Ns seen = window.begin;  // up to here idle time has been given to a call
  size_t next = 0;
  for (const Interval& call : calls) {
    if (call.end <= call.begin) continue;
    while (next < view.kernels.size() && work.start[view.kernels[next]] < call.end) ++next;
    const Ns until = next < view.kernels.size()
                         ? std::min(work.start[view.kernels[next]], window.end)
                         : call.end;
    const Interval part{std::max(call.begin, seen), until};
    if (part.end <= part.begin) continue;
    idle += std::min(part.length() - view.kernel.overlap(part), call.length());
    seen = part.end;
  }
  return idle;
}

void add_open(const RuleInput& input, const DeviceView& view, const CopyRow& copy, Lines* lines,
              Blocked& group) {
  add_common(input, view, copy, static_cast<double>(copy.call_length), group);
  let_go(copy.kind, copy.call, group.plan);
  let_go(copy.kind, copy.call, group.plan_lower);
  if (lines == nullptr || copy.memory != Memory::pageable) return;
  // Only a copy of page-locked memory can be asynchronous.
  ++group.pageable;
  group.line = lines->of(copy.kind, Memory::pinned);
  const double pinned = group.line.time_ns(copy.bytes);
  if (pinned < 0) return;
  const double length = static_cast<double>(copy.length);
  group.plan.work_duration.emplace_back(copy.row, whole_ns(std::min(length, pinned)));
  const double low = group.line.time_low_ns(copy.bytes);
  group.plan_lower.work_duration.emplace_back(copy.row, whole_ns(std::min(length, low)));
}

// What both have in common; false: below the threshold.
bool start_open(const RuleInput& input, const DeviceView& view, Blocked& group, Finding& finding,
                double* blocked, double* idle) {
  if (group.rows.empty()) return false;
  double sum = 0;
  for (const Interval& call : group.calls) sum += static_cast<double>(call.length());
  const double step = static_cast<double>(input.timeline.step_length());
  const double limit = std::max(input.limits.t2_min_ns, input.limits.t2_min_share * step);
  if (!(sum / window_parts(input) > limit)) return false;
  *blocked = sum;
  *idle = static_cast<double>(idle_meanwhile(input, view, group));
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.link_source = group.line.source;
  finding.saving.upper = most_saved(input, view, group);
  finding.plan = std::move(group.plan);
  finding.plan_lower = std::move(group.plan_lower);
  group.evidence.give(finding);
  finding.facts = {{"calls", static_cast<double>(group.rows.size()), Unit::none},
                   {"bytes", group.bytes, Unit::bytes},
                   {"blocked_ns", *blocked, Unit::ns},
                   {"idle_ns", *idle, Unit::ns},
                   {"copy_ns", group.time, Unit::ns},
                   {"pageable", static_cast<double>(group.pageable), Unit::none}};
  estimate(input, finding);
  return true;
}

// Whether the device had nothing to do meanwhile, and what follows from it.
std::string idle_text(const RuleInput& input, Finding& finding, double idle) {
  if (!finding.withheld && finding.saving.expected == 0) {
    finding.severity = Severity::info;
    return idle > 0 ? " The device had no kernel to run for " + per_step(input, idle) +
                          " of that or right after it, but other waits would take the place of "
                          "these: no gain to be expected."
                    : " The device was busy all the while, so there is no gain in changing it.";
  }
  return " The device had no kernel to run for " + per_step(input, idle) +
         " of that or right after it.";
}

void report_open_copies(const RuleInput& input, const DeviceView& view, Blocked& group,
                        std::vector<Finding>& out) {
  Finding finding;
  finding.rule = RuleId::T2;
  double blocked = 0;
  double idle = 0;
  if (!start_open(input, view, group, finding, &blocked, &idle)) return;
  finding.fix = {"async_copy", static_cast<double>(group.rows.size()), false};
  const Trace& trace = input.timeline.trace();
  const uint64_t n = group.rows.size();
  finding.title = show_count(n) + " blocking " + (n == 1 ? "copy" : "copies") + ", " +
                  show_bytes(group.bytes) + ", held the host for " + per_step(input, blocked);
  finding.advice = show_count(n) + " synchronous " + (n == 1 ? "copy" : "copies") + " (" +
                   show_bytes(group.bytes) + ") held " + threads_text(trace, group) + " for " +
                   per_step(input, blocked) + "." + which_text(trace, group) +
                   idle_text(input, finding, idle) +
                   " Copy asynchronously on the stream of the kernels that need it and wait only "
                   "where the host first uses the value";
  finding.advice += group.pageable > 0 ? "; for that the " + show_count(group.pageable) +
                                             " that use pageable memory need page-locked buffers."
                                       : ".";
  if (group.line.source != LinkSource::none) {
    finding.advice += " Page-locked memory reaches " + show_rate(group.line.bytes_per_s) +
                      " on this link (" + source_text(group.line) + ").";
  }
  finding.advice += " " + show_gain(input, finding);
  out.push_back(std::move(finding));
}

void report_open_fills(const RuleInput& input, const DeviceView& view, Blocked& group,
                       std::vector<Finding>& out) {
  Finding finding;
  finding.rule = RuleId::S2;
  double blocked = 0;
  double idle = 0;
  if (!start_open(input, view, group, finding, &blocked, &idle)) return;
  finding.fix = {"async_fill", static_cast<double>(group.rows.size()), false};
  const Trace& trace = input.timeline.trace();
  const uint64_t n = group.rows.size();
  finding.title = show_count(n) + " blocking " + (n == 1 ? "fill" : "fills") +
                  " of host memory, held the host for " + per_step(input, blocked);
  finding.advice = show_count(n) + " synchronous " + (n == 1 ? "fill" : "fills") + " (" +
                   show_bytes(group.bytes) + ") of page-locked or managed memory held " +
                   threads_text(trace, group) + " for " + per_step(input, blocked) + "." +
                   which_text(trace, group) + idle_text(input, finding, idle) +
                   " Use the asynchronous form on the stream of the work that needs it, or fill "
                   "the memory on the host. " +
                   show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace

void find_pageable(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Ns launch_ns = launch_cost(input);
  const std::vector<uint32_t> next = next_calls(input.timeline);
  for (const DeviceView& view : input.timeline.devices()) {
    Lines lines(input, view.device);
    std::map<CopyKind, Blocked> disguised;
    Blocked open;
    Blocked fills;
    for (const uint32_t row : view.copies) {
      const CopyRow copy = copy_row(input, row);
      if (copy.kind != CopyKind::host_to_device && copy.kind != CopyKind::device_to_host) continue;
      if (copy.call == kNoRow) continue;
      // A value that the host waits for costs the wait, wherever it is put: T7.
      if (copy.kind == CopyKind::device_to_host &&
          static_cast<double>(copy.bytes) <= input.limits.t7_max_bytes)
        continue;
      if (blocks_in_disguise(input, copy, launch_ns)) {
        add_disguised(input, view, copy, launch_ns, wait_after(trace, copy, next), lines,
                      disguised[copy.kind]);
      } else if (blocks_openly(copy)) {
        add_open(input, view, copy, &lines, open);
      }
    }
    for (const uint32_t row : view.work) {
      if (static_cast<WorkKind>(trace.work.kind[row]) != WorkKind::fill) continue;
      const CopyRow fill = copy_row(input, row);
      const bool of_host = fill.memory == Memory::pinned || fill.memory == Memory::managed;
      if (fill.sync_form && of_host) add_open(input, view, fill, nullptr, fills);
    }
    for (auto& [kind, group] : disguised) report_disguised(input, view, kind, group, out);
    report_open_copies(input, view, open, out);
    report_open_fills(input, view, fills, out);
  }
}

}  // namespace mill::prof
