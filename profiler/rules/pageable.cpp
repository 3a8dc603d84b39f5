// T2: blocking copies. S2: blocking fills. Section 3.2 of the design notes. Here too: which copies
// are those of T1 (disguised.cpp), and what the three share.
#include <algorithm>
#include <map>
#include <utility>

#include "profiler/rules/blocked.h"

namespace mill::prof {

// ---- what T1, T2 and S2 share -------------------------------------------------------------------

Interval cut(Interval one, Interval window) {
  return {std::max(one.begin, window.begin), std::min(one.end, window.end)};
}

void add_common(const RuleInput& input, const CopyRow& copy, double lost, Blocked& group) {
  const Interval window = input.timeline.window();
  const uint32_t thread = input.timeline.trace().calls.thread[copy.call];
  if (group.rows.empty()) group.thread = thread;
  group.many_threads |= thread != group.thread;
  group.rows.push_back(copy.row);
  group.evidence.add(copy.row, lost);
  group.calls.push_back(cut(copy.called, window));
  group.on_link.push_back(cut(copy.at, window));
  group.bytes += static_cast<double>(copy.bytes);
  group.time += static_cast<double>(copy.length);
  group.call_time += static_cast<double>(copy.call_length);
  group.largest = std::max(group.largest, copy.bytes);
}

void let_go(CopyKind kind, uint32_t call, Plan& plan) {
  (kind == CopyKind::device_to_host ? plan.defer : plan.unblock).push_back(call);
}

Ns most_saved(const RuleInput& input, const DeviceView& view, const Blocked& group) {
  std::vector<Interval> all = group.calls;
  all.insert(all.end(), group.on_link.begin(), group.on_link.end());
  const Ns free = input.timeline.analysed().length() - view.kernel.length();
  return std::min(IntervalSet(std::move(all)).length(), std::max<Ns>(free, 0));
}

void begin_finding(const RuleInput& input, const DeviceView& view, Blocked& group,
                   Finding& finding) {
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.link_source = group.line.source;
  finding.saving.upper = most_saved(input, view, group);
  finding.plan = std::move(group.plan);
  finding.plan_lower = std::move(group.plan_lower);
  group.evidence.give(finding);
}

std::string threads_text(const Trace& trace, const Blocked& group) {
  return group.many_threads ? "the thread that made it" : thread_text(trace, group.thread);
}

std::string which_text(const Trace& trace, const Blocked& group) {
  const std::string askers = askers_text(trace, group.rows);
  return askers.empty() ? "" : " Asked for by " + askers + ".";
}

namespace {

// ---- T2 and S2 ----------------------------------------------------------------------------------

// Of the tiny copies that way, where they are most of all.
double shortest_of_many(const Work& work, const DeviceView& view, CopyKind kind) {
  size_t all = 0;
  size_t tiny = 0;
  Ns shortest = INT64_MAX;
  for (const uint32_t row : view.copies) {
    if (work.copy_kind[row] != static_cast<uint8_t>(kind)) continue;
    ++all;
    if (work.bytes[row] > kTinyCopy) continue;
    ++tiny;
    shortest = std::min(shortest, work.end[row] - work.start[row]);
  }
  return 2 * tiny > all ? static_cast<double>(std::max<Ns>(shortest, 0)) : 0;
}

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

void add_open(const RuleInput& input, const CopyRow& copy, Lines* lines, Blocked& group) {
  add_common(input, copy, static_cast<double>(copy.call_length), group);
  let_go(copy.kind, copy.call, group.plan);
  let_go(copy.kind, copy.call, group.plan_lower);
  if (lines == nullptr || copy.memory != Memory::pageable) return;
  // Only a copy of page-locked memory can be asynchronous.
  ++group.pageable;
  group.line = lines->of(copy.kind, Memory::pinned);
  group.lines[copy.kind] = group.line;
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
  begin_finding(input, view, group, finding);
  finding.facts = {{"calls", static_cast<double>(group.rows.size()), Unit::none},
                   {"bytes", group.bytes, Unit::bytes},
                   {"blocked_ns", *blocked, Unit::ns},
                   {"idle_ns", *idle, Unit::ns},
                   {finding.rule == RuleId::S2 ? "fill_ns" : "copy_ns", group.time, Unit::ns}};
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
  finding.facts.push_back({"pageable_copies", static_cast<double>(group.pageable), Unit::none});
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
  for (const auto& [kind, line] : group.lines) {
    if (line.source == LinkSource::none || line.bytes_per_s <= 0) continue;
    finding.advice += std::string(" Page-locked memory reaches ") + show_rate(line.bytes_per_s) +
                      (kind == CopyKind::device_to_host ? " to the host (" : " to the device (") +
                      source_text(line) + ").";
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
    for (const auto kind : {CopyKind::host_to_device, CopyKind::device_to_host})
      disguised[kind].shortest = shortest_of_many(trace.work, view, kind);
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
        add_disguised(input, copy, launch_ns, next, lines, disguised[copy.kind]);
      } else if (blocks_openly(copy)) {
        add_open(input, copy, &lines, open);
      }
    }
    for (const uint32_t row : view.work) {
      if (static_cast<WorkKind>(trace.work.kind[row]) != WorkKind::fill) continue;
      const CopyRow fill = copy_row(input, row);
      const bool of_host = fill.memory == Memory::pinned || fill.memory == Memory::managed;
      if (fill.sync_form && of_host) add_open(input, fill, nullptr, fills);
    }
    for (auto& [kind, group] : disguised) report_disguised(input, view, kind, group, out);
    report_open_copies(input, view, open, out);
    report_open_fills(input, view, fills, out);
  }
}

}  // namespace mill::prof
