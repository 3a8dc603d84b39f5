// C1: a CPU that waits for its memory, for the system's, or for work.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "profiler/rules/loader_times.h"
#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

namespace {

// A minor fault enters the kernel and clears a page of 4 KiB: 0.1 to 0.5 us on x86 servers, as
// lmbench's lat_pagefault measures it. A major one reads from storage: some 50 us on flash.
constexpr double kMinorFault = 250;
constexpr double kMajorFault = 50000;
constexpr size_t kMostNamed = 3;  // ops
// From this share of a step on an op that is bound by memory is worth more than a note.
constexpr double kLargeOp = 0.30;
// So much above what the memory gives the data came out of a cache.
constexpr double kFromCache = 1.1;
// Any memory gives more than this: an op that moves less does not wait for it.
constexpr double kSlowestMemory = 2e9;

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

// The ops of one name. Those that run side by side share the memory, so time counts once.
struct Group {
  std::vector<uint32_t> rows;
  double ns = 0;
  double bytes = 0;
  double rate() const { return bytes / ns * 1e9; }
};

double time_of(const Ops& ops, const std::vector<const std::vector<uint32_t>*>& lists) {
  std::vector<Interval> times;
  for (const std::vector<uint32_t>* rows : lists) {
    for (const uint32_t op : *rows) times.push_back({ops.start[op], ops.end[op]});
  }
  return static_cast<double>(IntervalSet(std::move(times)).length());
}

// By name; those that only call others left out.
std::map<uint32_t, Group> groups_of(const RuleInput& input) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  const Ops& ops = trace.ops;
  std::vector<bool> has_inner(ops.size(), false);
  for (uint32_t op = 0; op < ops.size(); ++op) {
    if (ops.parent[op] < ops.size()) has_inner[ops.parent[op]] = true;
  }
  std::map<uint32_t, Group> groups;
  for (uint32_t op = 0; op < ops.size(); ++op) {
    if (has_inner[op] || ops.bytes[op] == 0 || !runs_on_cpu(trace, op) ||
        ops.kind[op] == static_cast<uint8_t>(OpKind::backward_pass) ||
        !inside(ops.start[op], ops.end[op], window) || ops.end[op] <= ops.start[op])
      continue;
    Group& group = groups[ops.name[op]];
    group.rows.push_back(op);
    group.bytes += static_cast<double>(ops.bytes[op]);
  }
  for (auto& [name, group] : groups) group.ns = time_of(ops, {&group.rows});
  return groups;
}

void add_ops(const Trace& trace, const Group& group, EvidenceList& evidence) {
  for (const uint32_t op : group.rows) {
    const auto length = static_cast<double>(trace.ops.end[op] - trace.ops.start[op]);
    evidence.add(op, length, TableId::ops);
  }
}

// Without a figure for the memory nothing can be said of ops that move much; that is what is said.
void tell_unknown(const RuleInput& input, const std::map<uint32_t, Group>& groups,
                  std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  std::vector<std::pair<uint32_t, const Group*>> fast;
  std::vector<const std::vector<uint32_t>*> rows;
  double bytes = 0;
  for (const auto& [name, group] : groups) {
    if (!(group.rate() >= input.limits.c1_bandwidth * kSlowestMemory)) continue;
    fast.emplace_back(name, &group);
    rows.push_back(&group.rows);
    bytes += group.bytes;
  }
  const double ns = time_of(trace.ops, rows);
  if (!(share_of_window(input, ns) >= kLargeOp)) return;
  std::stable_sort(fast.begin(), fast.end(),
                   [](const auto& a, const auto& b) { return a.second->ns > b.second->ns; });
  Finding finding;
  finding.rule = RuleId::C1;
  finding.device = cpu_device(trace);
  double calls = 0;
  std::string list;
  EvidenceList evidence;
  for (size_t k = 0; k < fast.size(); ++k) {
    const auto& [name, group] = fast[k];
    calls += static_cast<double>(group->rows.size());
    add_ops(trace, *group, evidence);
    if (k >= kMostNamed) continue;
    list += (k > 0 ? ", " : "") + std::string(trace.strings.text(name)) + " at " +
            show_rate(group->rate());
  }
  evidence.give(finding);
  finding.facts = {{"calls", calls, Unit::none},
                   {"bytes", bytes, Unit::bytes},
                   {"time_ns", ns, Unit::ns},
                   {"share", share_of_window(input, ns), Unit::ratio}};
  finding.fix = {"calibrate", 0, false};
  estimate(input, finding);
  finding.title = "Whether ops wait for the memory is not known: its speed was not measured";
  finding.advice = "Ops that move much take " + show_share(share_of_window(input, ns)) +
                   " of the time (" + list + (fast.size() > kMostNamed ? ", ..." : "") +
                   "). How near that is to what the memory gives, nothing in the recording says. "
                   "`millrace prof calibrate` on this machine measures it; a figure can also be "
                   "given as stream_bytes_per_s.";
  out.push_back(std::move(finding));
}

void find_memory_bound(const RuleInput& input, std::vector<Finding>& out) {
  const double stream = input.links.stream_bytes_per_s;
  const Trace& trace = input.timeline.trace();
  const std::map<uint32_t, Group> groups = groups_of(input);
  if (!(stream > 0)) {
    tell_unknown(input, groups, out);
    return;
  }
  for (const auto& [name, group] : groups) {
    const double rate = group.rate();
    const double share = share_of_window(input, group.ns);
    if (!(rate >= input.limits.c1_bandwidth * stream) || rate > kFromCache * stream ||
        !(share >= input.limits.min_saving_share))
      continue;
    Finding finding;
    finding.rule = RuleId::C1;
    finding.device = cpu_device(trace);
    EvidenceList evidence;
    add_ops(trace, group, evidence);
    evidence.give(finding);
    finding.facts = {{"calls", static_cast<double>(group.rows.size()), Unit::none},
                     {"bytes", group.bytes, Unit::bytes},
                     {"time_ns", group.ns, Unit::ns},
                     {"bytes_per_s", rate, Unit::none},
                     {"stream_bytes_per_s", stream, Unit::none},
                     {"share", share, Unit::ratio}};
    finding.fix = {"fuse", 0, false};
    finding.saving.upper = to_ns(group.ns);
    estimate(input, finding);
    if (!finding.withheld && share > kLargeOp) finding.severity = Severity::minor;
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

uint32_t pool_threads(const Trace& trace) {
  const uint32_t device = cpu_device(trace);
  return device == kNoRow ? 0 : trace.devices[device].host_threads;
}

void find_faults(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Ns window = input.timeline.window().length();
  if (window == 0) return;
  // In the holes of a recording pages fault too.
  const double part =
      static_cast<double>(input.timeline.analysed().length()) / static_cast<double>(window);
  const double minor = part * std::max(0.0, growth(input, "minor_faults").value);
  const double major = part * std::max(0.0, growth(input, "major_faults").value);
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
  const auto [used, span] = growth(input, "cpu_time_ns");
  // Values from a small part of the window say nothing of the rest.
  if (threads <= 1 || used < 0 || span <= 0 || span < input.timeline.window().length() / 2) return;
  // A thread that waits for a processor is not idle.
  const double delayed = std::max(0.0, growth(input, "run_delay_ns").value);
  // Nor is one that has nothing to do until a worker has made the batch: I1 has that.
  const double waited = share_of_window(input, loader_waits(input, nullptr).raw_ns);
  const double idle = 1 - (used + delayed) / (static_cast<double>(span) * threads) -
                      waited * (threads - 1) / threads;
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
