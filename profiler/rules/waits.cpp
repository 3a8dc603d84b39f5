// T7, S1 (and S4 by default_stream.cpp): what waiting for a device costs the device.
#include <algorithm>
#include <span>
#include <unordered_set>

#include "profiler/rules/default_stream.h"
#include "profiler/rules/host_waits.h"
#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

namespace {

// Who asked for the value: the op that made what was copied, else the op that copied it.
std::string_view reader_of(const Trace& trace, const HostWait& wait) {
  for (const uint32_t row : wait.reads) {
    const uint32_t copy = trace.work.copy[row];
    if (copy < trace.copies.size()) {
      if (const auto name = op_name(trace, trace.copies.op[copy]); !name.empty()) return name;
      const auto scope = trace.strings.text(trace.copies.scope[copy]);
      if (!scope.empty()) return scope;
    }
    if (const auto name = op_name(trace, trace.work.op[row]); !name.empty()) return name;
  }
  if (wait.call != kNoRow) {
    if (const auto name = op_name(trace, trace.calls.op[wait.call]); !name.empty()) return name;
  }
  if (wait.sync != kNoRow) return trace.strings.text(trace.syncs.scope[wait.sync]);
  return {};
}

std::string_view wait_name(const Trace& trace, const HostWait& wait) {
  if (wait.call != kNoRow) return call_name(trace, wait.call);
  return code_text("syncs", "kind", trace.syncs.kind[wait.sync]);
}

void add_wait(const HostWait& wait, EvidenceList& evidence) {
  const auto idle = static_cast<double>(wait.idle);
  if (wait.call != kNoRow) evidence.add(wait.call, idle, TableId::calls);
  if (wait.call == kNoRow && wait.sync != kNoRow) evidence.add(wait.sync, idle, TableId::syncs);
  for (const uint32_t row : wait.reads) evidence.add(row, idle);
  if (wait.gap_end != kNoRow) evidence.add(wait.gap_end, idle);
}

// How long the copy of a value takes once nobody waits for it: it then goes to page-locked memory.
class LateRead {
 public:
  LateRead(const RuleInput& input, uint32_t device)
      : trace_(input.timeline.trace()),
        line_(input.links.line(trace_, device, CopyKind::device_to_host, Memory::pinned)) {}

  // Adds what becomes of a copy to a plan; gives how much shorter it gets.
  double shorten(uint32_t row, Plan& plan) const {
    const Work& work = trace_.work;
    const double pinned = line_.time_ns(work.bytes[row]);
    if (pinned < 0 || static_cast<Memory>(work.host_memory[row]) != Memory::pageable) return 0;
    const auto length = static_cast<double>(work.end[row] - work.start[row]);
    if (!(pinned < length)) return 0;
    plan.work_duration.emplace_back(row, to_ns(pinned));
    return length - pinned;
  }
  LinkSource source() const { return line_.source; }

 private:
  const Trace& trace_;
  const LinkLine line_;
};

// From when the device ran dry in a wait to its next kernel: without the wait, copies that came
// first could have run beside kernels.
Interval without_kernel(const RuleInput& input, const HostWait& wait) {
  const Ns next = input.timeline.trace().work.start[wait.gap_end];
  const DeviceView* const view = input.timeline.device(wait.device);
  const Ns kernel = view ? view->kernel.next(next) : next;
  return {next - wait.idle, std::max(next, std::min(kernel, input.timeline.window().end))};
}

// T7: idle = first device start after the wait - device drain time is what a fix saves; the host's
// blocked time is evidence only, since the device may have had enough to do.
void find_read_back(const RuleInput& input, std::span<const HostWait> waits,
                    std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  Finding finding;
  finding.rule = RuleId::T7;
  finding.device = waits.front().device;
  EvidenceList evidence;
  Tally readers;
  std::vector<Interval> blocked;
  const LateRead late(input, finding.device);
  double link_gain = 0;
  std::unordered_set<uint32_t> seen;
  uint32_t thread_before = kNoRow;
  Ns before = 0;
  uint64_t reads = 0;
  double bytes = 0;
  double idle = 0;
  uint64_t emptied = 0;
  std::vector<Interval> empty;
  for (const HostWait& wait : waits) {
    if (!wait.is_read()) continue;
    // A copy that blocks may be followed by a call that waits for it once more.
    const bool again =
        wait.reads.empty() && wait.thread == thread_before &&
        static_cast<double>(wait.time.begin - before) <= input.limits.t7_max_delay_ns;
    thread_before = wait.thread;
    before = wait.time.end;
    uint64_t values = wait.reads.empty() && !again ? 1 : 0;
    for (const uint32_t row : wait.reads) {
      if (!seen.insert(row).second) continue;
      ++values;
      bytes += static_cast<double>(trace.work.bytes[row]);
      link_gain += late.shorten(row, finding.plan);
    }
    reads += values;
    blocked.push_back(wait.time);
    if (wait.reads.empty() && wait.sync != kNoRow)
      bytes += static_cast<double>(trace.syncs.bytes[wait.sync]);
    readers.add(reader_of(trace, wait), static_cast<double>(wait.idle));
    plan_wait(wait, finding.plan.defer, finding.plan);
    if (wait.idle == 0) continue;
    ++emptied;
    idle += static_cast<double>(wait.idle);
    empty.push_back(without_kernel(input, wait));
    add_wait(wait, evidence);
  }
  evidence.give(finding);
  if (reads == 0 || idle == 0) return;
  const auto blocked_ns = static_cast<double>(IntervalSet(std::move(blocked)).length());
  const double steps = step_count(input);
  const double per_step = static_cast<double>(reads) / steps;
  const bool often = input.timeline.window_steps() > 0 && per_step >= input.limits.t7_min_per_step;
  if (!often && !(share_of_window(input, blocked_ns) > input.limits.t7_min_share)) return;

  finding.facts = {{"reads", static_cast<double>(reads), Unit::none},
                   {"reads_per_step", per_step, Unit::none},
                   {"bytes", bytes, Unit::bytes},
                   {"blocked_ns", blocked_ns, Unit::ns},
                   {"idle_ns", idle, Unit::ns},
                   {"waits_that_emptied_the_device", static_cast<double>(emptied), Unit::none},
                   {"link_gain_ns", link_gain, Unit::ns}};
  finding.link_source = link_gain > 0 ? late.source() : LinkSource::none;
  finding.fix = {"defer_read", 1, of_engine(trace)};
  finding.saving.upper =
      to_ns(static_cast<double>(IntervalSet(std::move(empty)).length()) + link_gain);
  estimate(input, finding);

  const std::string device = device_name(trace, finding.device);
  const std::string who = readers.text(3);
  finding.title = show_number(per_step) + (per_step > 1 ? " values " : " value ") +
                  per_step_text(input) + " read back from " + device + ", which idles " +
                  show_time(idle / steps) + " meanwhile";
  finding.advice = (who.empty() ? "The program" : "Values made by " + who) +
                   std::string(who.empty() ? " asks " : ": the program asks ") + device + " for " +
                   show_bytes(bytes / static_cast<double>(reads)) + " at a time, " +
                   how_often(input, reads) + ", and waits for the answer (" +
                   show_time(blocked_ns / steps) + " " + per_step_text(input) + "). Each of " +
                   show_count(emptied) + " waits left the device without work for " +
                   show_time(idle / static_cast<double>(emptied)) +
                   ". Read the value one step late, or add it up on the device and read it once "
                   "in many steps. " +
                   show_gain(input, finding);
  out.push_back(std::move(finding));
}

// S1: only what the device idled after it had run dry in a wait counts; the length of the call
// says nothing.
void find_costly_waits(const RuleInput& input, std::span<const HostWait> waits,
                       std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  Finding finding;
  finding.rule = RuleId::S1;
  finding.device = waits.front().device;
  EvidenceList evidence;
  Tally names;
  Tally places;
  std::vector<Interval> blocked;
  uint64_t all = 0;
  uint64_t costly = 0;
  double idle = 0;
  std::vector<Interval> empty;
  for (const HostWait& wait : waits) {
    if (wait.is_read()) continue;
    ++all;
    blocked.push_back(wait.time);
    if (static_cast<double>(wait.idle) < input.limits.g1_min_gap_ns) continue;
    ++costly;
    idle += static_cast<double>(wait.idle);
    empty.push_back(without_kernel(input, wait));
    names.add(wait_name(trace, wait), static_cast<double>(wait.idle));
    if (wait.call != kNoRow)
      places.add(op_name(trace, trace.calls.op[wait.call]), static_cast<double>(wait.idle));
    add_wait(wait, evidence);
    plan_wait(wait, finding.plan.unblock, finding.plan);
  }
  evidence.give(finding);
  if (costly == 0 || !(share_of_window(input, idle) > input.limits.s1_min_share)) return;

  const auto blocked_ns = static_cast<double>(IntervalSet(std::move(blocked)).length());
  const double steps = step_count(input);
  finding.facts = {{"waits", static_cast<double>(all), Unit::none},
                   {"costly_waits", static_cast<double>(costly), Unit::none},
                   {"waits_per_step", static_cast<double>(all) / steps, Unit::none},
                   {"blocked_ns", blocked_ns, Unit::ns},
                   {"idle_ns", idle, Unit::ns}};
  finding.fix = {"event_wait", 0, false};
  finding.saving.upper = IntervalSet(std::move(empty)).length();
  estimate(input, finding);

  const std::string device = device_name(trace, finding.device);
  const std::string where = places.text(3);
  finding.title = "Waits of the host leave " + device + " idle for " + show_time(idle / steps) +
                  " " + per_step_text(input);
  finding.advice =
      names.text(3) + (where.empty() ? "" : " at " + where) + ": the host waits for " + device +
      " " + how_often(input, all) + ". " + show_count(all - costly) + " of " + show_count(all) +
      " waits cost nothing; " + show_count(costly) + " left the device without work, for " +
      show_time(idle) +
      " in total, because the host asked for more only after it had seen the end. Let the stream "
      "that uses the result wait for an event: that keeps the order and does not stop the host. " +
      show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace

void find_waits(const RuleInput& input, std::vector<Finding>& out) {
  const std::vector<HostWait> waits = host_waits(input);
  for (size_t first = 0; first < waits.size();) {
    size_t last = first;
    while (last < waits.size() && waits[last].device == waits[first].device) ++last;
    const auto of_device = std::span(waits).subspan(first, last - first);
    find_read_back(input, of_device, out);
    find_costly_waits(input, of_device, out);
    first = last;
  }
  find_default_stream(input, out);
}

}  // namespace mill::prof
