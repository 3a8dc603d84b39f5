// C1: a CPU that waits for its memory, for the system's, or for work.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

namespace {

// A minor fault enters the kernel and clears a page of 4 KiB: 0.1 to 0.5 us on x86 servers, as
// lmbench's lat_pagefault measures it. A major one reads from storage: some 50 us on flash.
constexpr double kMinorFault = 250;
constexpr double kMajorFault = 50000;
// From this share of a step on an op that is bound by memory is worth more than a note.
constexpr double kLargeOp = 0.30;

// Where ops run: the row of a CPU in Trace::devices, kNoRow: there is none, so where a source
// names no device the host is meant.
uint32_t cpu_device(const Trace& trace) {
  for (uint32_t k = 0; k < trace.devices.size(); ++k) {
    if (trace.devices[k].kind == DeviceKind::cpu) return k;
  }
  return kNoRow;
}

bool runs_on_cpu(const Trace& trace, uint32_t op) {
  const uint32_t device = trace.ops.device[op];
  if (device < trace.devices.size()) return trace.devices[device].kind == DeviceKind::cpu;
  return trace.work.empty();
}

void find_memory_bound(const RuleInput& input, std::vector<Finding>& out) {
  const double stream = input.links.stream_bytes_per_s;
  if (!(stream > 0)) return;  // nothing to compare with
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  const Ops& ops = trace.ops;
  std::vector<bool> has_inner(ops.size(), false);
  for (uint32_t op = 0; op < ops.size(); ++op) {
    if (ops.parent[op] < ops.size()) has_inner[ops.parent[op]] = true;
  }
  struct Group {
    std::vector<uint32_t> rows;
    double ns = 0;
    double bytes = 0;
  };
  std::map<uint32_t, Group> groups;
  for (uint32_t op = 0; op < ops.size(); ++op) {
    if (has_inner[op] || ops.bytes[op] == 0 || !runs_on_cpu(trace, op) ||
        ops.kind[op] == static_cast<uint8_t>(OpKind::backward_pass) ||
        !inside(ops.start[op], ops.end[op], window) || ops.end[op] <= ops.start[op])
      continue;
    Group& group = groups[ops.name[op]];
    group.rows.push_back(op);
    group.ns += static_cast<double>(ops.end[op] - ops.start[op]);
    group.bytes += static_cast<double>(ops.bytes[op]);
  }
  for (const auto& [name, group] : groups) {
    const double rate = group.bytes / group.ns * 1e9;
    const double share = share_of_window(input, group.ns);
    if (!(rate >= input.limits.c1_bandwidth * stream) || !(share >= input.limits.min_saving_share))
      continue;
    Finding finding;
    finding.rule = RuleId::C1;
    finding.device = cpu_device(trace);
    for (const uint32_t op : group.rows) add_evidence(finding, TableId::ops, op);
    finding.facts = {{"calls", static_cast<double>(group.rows.size()), Unit::none},
                     {"bytes", group.bytes, Unit::bytes},
                     {"time_ns", group.ns, Unit::ns},
                     {"bytes_per_s", rate, Unit::none},
                     {"stream_bytes_per_s", stream, Unit::none},
                     {"share", share, Unit::ratio}};
    finding.fix = {"fuse", 0, false};
    finding.saving.upper = to_ns(group.ns);
    estimate(input, finding);
    if (!finding.withheld && share > kLargeOp) finding.severity = Severity::low;
    const std::string op(trace.strings.text(name));
    finding.title = op + " runs at the speed of memory: " + show_rate(rate) + ", " +
                    show_share(share) + " of the time";
    finding.advice = show_count(group.rows.size()) + " calls of " + op + " move " +
                     show_bytes(group.bytes) + " at " + show_rate(rate) + " of " +
                     show_rate(stream) +
                     " that the memory gives, so faster arithmetic would not help. Fuse it with "
                     "the op before or after, so that the data passes once; write over an input "
                     "that is not needed again; or work in pieces that fit the cache.";
    out.push_back(std::move(finding));
  }
}

// How much a counter that only grows has grown in the window; negative: unknown.
double growth(const RuleInput& input, std::string_view name) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  const uint32_t id = trace.strings.find(name);
  if (id == UINT32_MAX) return -1;
  const Counters& counters = trace.counters;
  uint32_t first = kNoRow;
  uint32_t last = kNoRow;
  for (uint32_t row = 0; row < counters.size(); ++row) {
    if (counters.name[row] != id || counters.time[row] > window.end) continue;
    if (first == kNoRow || counters.time[row] <= window.begin) first = row;
    last = row;
  }
  if (first == last) return -1;
  const double grown = counters.value[last] - counters.value[first];
  return grown >= 0 && grown <= 1e18 ? grown : -1;
}

uint32_t pool_threads(const Trace& trace) {
  const uint32_t device = cpu_device(trace);
  return device == kNoRow ? 0 : trace.devices[device].host_threads;
}

void find_faults(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const double minor = std::max(0.0, growth(input, "minor_faults"));
  const double major = std::max(0.0, growth(input, "major_faults"));
  const double all_ns = minor * kMinorFault + major * kMajorFault;
  // Threads of a pool fault side by side.
  const double threads = std::max<uint32_t>(1, pool_threads(trace));
  const double spread_ns = all_ns / threads;
  if (!(share_of_window(input, spread_ns) > input.limits.c1_fault_share)) return;
  Finding finding;
  finding.rule = RuleId::C1;
  finding.device = cpu_device(trace);
  finding.facts = {{"minor_faults", minor, Unit::none},
                   {"major_faults", major, Unit::none},
                   {"fault_ns", all_ns, Unit::ns},
                   {"threads", threads, Unit::none},
                   {"fault_share", share_of_window(input, spread_ns), Unit::ratio}};
  finding.fix = {"reuse_buffers", 1, false};
  finding.saving.upper = to_ns(all_ns);
  finding.saving.expected = to_ns(spread_ns);
  finding.saving.lower = to_ns(spread_ns / 2);
  estimate(input, finding);
  const double steps = step_count(input);
  finding.title =
      "Page faults take about " + show_share(share_of_window(input, spread_ns)) + " of the time";
  finding.advice = show_number(minor / steps) + " minor and " + show_number(major / steps) +
                   " major page faults " + per_step_text(input) + ", at a typical " +
                   show_time(kMinorFault) + " and " + show_time(kMajorFault) +
                   " each: memory is taken from the system, cleared, and given back again and "
                   "again. Keep buffers from step to step, or let the allocator keep what is "
                   "freed. " +
                   show_gain(input, finding);
  out.push_back(std::move(finding));
}

void find_idle_pool(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  // A host that feeds an accelerator may well rest.
  if (!trace.work.empty()) return;
  const uint32_t threads = pool_threads(trace);
  const double used = growth(input, "cpu_time_ns");
  const auto window = static_cast<double>(input.timeline.window().length());
  if (threads == 0 || used < 0 || !(window > 0)) return;
  const double idle = 1 - used / (window * threads);
  if (!(idle > input.limits.c1_idle_share)) return;
  Finding finding;
  finding.rule = RuleId::C1;
  finding.device = cpu_device(trace);
  finding.facts = {{"threads", static_cast<double>(threads), Unit::none},
                   {"cpu_time_ns", used, Unit::ns},
                   {"idle_share", idle, Unit::ratio}};
  finding.fix = {"chunk", 0, false};
  estimate(input, finding);
  finding.title = "The pool of " + std::to_string(threads) + " threads is idle " +
                  show_share(idle) + " of the time";
  finding.advice = "Of the time that " + std::to_string(threads) +
                   " threads have, the program used " + show_share(1 - idle) +
                   ". Ops that are too small to share out, or code between ops, leave the others "
                   "waiting: use larger batches, or fewer threads.";
  out.push_back(std::move(finding));
}

}  // namespace

void find_cpu(const RuleInput& input, std::vector<Finding>& out) {
  find_memory_bound(input, out);
  find_faults(input, out);
  find_idle_pool(input, out);
}

}  // namespace mill::prof
