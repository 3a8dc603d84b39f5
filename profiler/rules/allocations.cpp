// S3 and A1: memory that is taken from, or given back to, a device or the system while steps run.
#include <algorithm>
#include <map>

#include "profiler/rules/rule_help.h"

namespace mill::prof {

using namespace rule;

namespace {

bool asks_for_memory(uint8_t kind) {
  return kind == static_cast<uint8_t>(CallKind::allocate) ||
         kind == static_cast<uint8_t>(CallKind::free) ||
         kind == static_cast<uint8_t>(CallKind::host_allocate) ||
         kind == static_cast<uint8_t>(CallKind::host_free);
}

bool is_growth(uint8_t how) {
  return how == static_cast<uint8_t>(AllocHow::growth) ||
         how == static_cast<uint8_t>(AllocHow::reclaim);
}

struct Stalls {
  std::vector<uint32_t> calls;
  std::vector<uint32_t> growths;        // rows of Allocations
  std::vector<uint32_t> growths_alone;  // ... without a call of the runtime inside
};

Stalls stalls_of(const RuleInput& input) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  Stalls stalls;
  // One step alone is the one that warms up.
  if (input.timeline.steps().size() == 1) return stalls;
  std::vector<std::vector<Interval>> calls_of(trace.threads.size());
  for (uint32_t thread = 0; thread < trace.threads.size(); ++thread) {
    for (const uint32_t call : input.timeline.calls_of(thread)) {
      if (!asks_for_memory(trace.calls.kind[call]) || (trace.calls.flags[call] & kExcluded) != 0 ||
          !inside(trace.calls.start[call], trace.calls.end[call], window))
        continue;
      stalls.calls.push_back(call);
      calls_of[thread].push_back({trace.calls.start[call], trace.calls.end[call]});
    }
  }
  const Allocations& allocations = trace.allocations;
  for (uint32_t row = 0; row < allocations.size(); ++row) {
    const Ns start = allocations.start[row];
    const Ns end = allocations.end[row];
    if (!is_growth(allocations.how[row]) || !inside(start, end, window)) continue;
    stalls.growths.push_back(row);
    const uint32_t thread = allocations.thread[row];
    bool has_call = false;
    if (thread < calls_of.size()) {
      // One that begins inside; or, as a record may be stamped when it is over, one that ends
      // there.
      const std::vector<Interval>& calls = calls_of[thread];
      const auto next = std::lower_bound(calls.begin(), calls.end(), start,
                                         [](const Interval& call, Ns t) { return call.begin < t; });
      has_call = (next != calls.end() && next->begin <= end) ||
                 (next != calls.begin() && std::prev(next)->end >= start);
    }
    if (!has_call) stalls.growths_alone.push_back(row);
  }
  return stalls;
}

void find_stalls(const RuleInput& input, const Stalls& stalls, std::vector<Finding>& out) {
  if (stalls.calls.empty() && stalls.growths_alone.empty()) return;
  const Trace& trace = input.timeline.trace();
  Finding finding;
  finding.rule = RuleId::S3;
  EvidenceList evidence;
  Tally names;
  Tally places;
  std::map<uint64_t, uint64_t> sizes;
  std::vector<Interval> times;
  double bytes = 0;
  double host_ns = 0;
  uint64_t allocations = 0;
  const DeviceView* view = nullptr;
  const auto count_size = [&](uint64_t size) {
    if (size == 0) return;
    ++sizes[size];
    bytes += static_cast<double>(size);
  };
  for (const uint32_t call : stalls.calls) {
    const Interval time{trace.calls.start[call], trace.calls.end[call]};
    times.push_back(time);
    host_ns += static_cast<double>(time.length());
    names.add(call_name(trace, call), static_cast<double>(time.length()));
    if (const auto op = op_name(trace, trace.calls.op[call]); !op.empty())
      places.add(op, static_cast<double>(time.length()));
    const uint8_t kind = trace.calls.kind[call];
    if (kind == static_cast<uint8_t>(CallKind::allocate) ||
        kind == static_cast<uint8_t>(CallKind::host_allocate)) {
      ++allocations;
      count_size(trace.calls.bytes[call]);
    }
    if (view == nullptr) view = input.timeline.device(trace.calls.device[call]);
    evidence.add(call, static_cast<double>(time.length()), TableId::calls);
    finding.plan.drop_call.push_back(call);
    finding.plan.unblock.push_back(call);
    // The allocator could still have to ask for a part of it: the call stays, but takes no time of
    // its own, and what it waits for it still waits for.
    finding.plan_lower.call_duration.emplace_back(call, 0);
  }
  for (const uint32_t row : stalls.growths_alone) {
    const Interval time{trace.allocations.start[row], trace.allocations.end[row]};
    times.push_back(time);
    host_ns += static_cast<double>(time.length());
    ++allocations;
    const auto how = code_text("allocations", "how", trace.allocations.how[row]);
    names.add(how, static_cast<double>(time.length()));
    if (const auto op = op_name(trace, trace.allocations.op[row]); !op.empty())
      places.add(op, static_cast<double>(time.length()));
    count_size(trace.allocations.bytes[row]);
    if (view == nullptr) view = input.timeline.device(trace.allocations.device[row]);
    evidence.add(row, static_cast<double>(time.length()), TableId::allocations);
    const Plan::HostTime gone{trace.allocations.thread[row], time, 0};
    finding.plan.host_time.push_back(gone);
    finding.plan_lower.host_time.push_back(gone);
  }
  evidence.give(finding);
  if (view == nullptr && !input.timeline.devices().empty())
    view = &input.timeline.devices().front();
  if (view != nullptr) finding.device = view->device;

  const double steps = step_count(input);
  const auto events = static_cast<double>(stalls.calls.size() + stalls.growths_alone.size());
  finding.facts = {{"calls", events, Unit::none},
                   {"calls_per_step", events / steps, Unit::none},
                   {"allocations", static_cast<double>(allocations), Unit::none},
                   {"bytes", bytes, Unit::bytes},
                   {"host_ns", host_ns, Unit::ns},
                   {"growths", static_cast<double>(stalls.growths.size()), Unit::none}};
  // What few steps ask for adds up; what every step asks for comes back in between.
  const double largest = sizes.empty() ? 0 : static_cast<double>(sizes.rbegin()->first);
  const double pool =
      std::max(largest, static_cast<double>(allocations) < steps ? bytes : bytes / steps);
  finding.fix = {"pool_warm_up", pool, false};
  finding.saving.upper = upper_of_calls(input, view, std::move(times));
  estimate(input, finding);

  std::string size_text;
  uint32_t shown = 0;
  for (auto size = sizes.rbegin(); size != sizes.rend() && shown < 4; ++size, ++shown) {
    size_text += (shown > 0 ? ", " : "") + show_count(size->second) + " of " +
                 show_bytes(static_cast<double>(size->first));
  }
  if (sizes.size() > shown) size_text += ", ...";
  uint64_t reclaims = 0;
  for (const uint32_t row : stalls.growths) {
    if (trace.allocations.how[row] == static_cast<uint8_t>(AllocHow::reclaim)) ++reclaims;
  }
  std::string state;
  if (!stalls.growths.empty()) {
    state = " The allocator had nothing that fitted " + show_count(stalls.growths.size()) +
            (stalls.growths.size() == 1 ? " time" : " times") +
            (reclaims > 0 ? ", " + show_count(reclaims) +
                                " of them only after it had given cached memory back, which is "
                                "what a fragmented or too small pool looks like"
                          : "") +
            ".";
  }
  const std::string where = places.text(3);
  finding.title = "Memory is allocated or freed " +
                  how_often(input, stalls.calls.size() + stalls.growths_alone.size()) +
                  ", inside running steps";
  finding.advice =
      names.text(4) + (where.empty() ? "" : " at " + where) + ": " + show_count(allocations) +
      (allocations == 1 ? " allocation" : " allocations") + " inside steps after warm-up" +
      (size_text.empty() ? "" : " (" + size_text + ")") + " took the host " +
      show_time(host_ns / steps) + " " + per_step_text(input) +
      ", and a free or an allocation of the runtime also waits until the device is empty." + state +
      " Keep memory in a pool, warm it up" +
      (pool > 0 ? " with at least " + show_bytes(pool) : "") + " before the first step" +
      (where.empty() ? ", and find the shape that changes from step to step. "
                     : ", or fix the shape that changes at " + where + ". ") +
      show_gain(input, finding);
  out.push_back(std::move(finding));
}

// The last value of a counter inside the window, by device; -1 where there is none.
std::map<uint32_t, double> last_values(const RuleInput& input, std::string_view name) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  std::map<uint32_t, double> values;
  const uint32_t id = trace.strings.find(name);
  if (id == UINT32_MAX) return values;
  for (uint32_t row = 0; row < trace.counters.size(); ++row) {
    if (trace.counters.name[row] == id && trace.counters.time[row] <= window.end)
      values[trace.counters.device[row]] = trace.counters.value[row];
  }
  return values;
}

// A1 has no saving of its own: the time is S3's, the memory is no time.
void find_churn(const RuleInput& input, const Stalls& stalls, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const double steps = step_count(input);
  std::map<uint32_t, uint64_t> mallocs;
  std::map<uint32_t, std::vector<uint32_t>> rows;
  if (input.timeline.window_steps() > 0) {
    for (const uint32_t row : stalls.growths) {
      const uint32_t device = trace.allocations.device[row];
      ++mallocs[device];
      rows[device].push_back(row);
    }
  }
  const auto reserved = last_values(input, "reserved_bytes");
  const auto used = last_values(input, "used_bytes");
  std::map<uint32_t, double> unused;
  for (const auto& [device, bytes] : reserved) {
    const auto in_use = used.find(device);
    if (in_use == used.end() || !(bytes > 0) || !(in_use->second >= 0)) continue;
    const double share = (bytes - in_use->second) / bytes;
    if (share > input.limits.a1_unused_share) unused[device] = share;
    if (share > input.limits.a1_unused_share) mallocs.try_emplace(device, 0);
  }
  for (const auto& [device, count] : mallocs) {
    Finding finding;
    finding.rule = RuleId::A1;
    finding.device = device;
    const auto share = unused.find(device);
    const double per_step = static_cast<double>(count) / steps;
    finding.facts.push_back({"device_allocations_per_step", per_step, Unit::none});
    std::string sentences;
    if (count > 0) {
      for (const uint32_t row : rows[device]) add_evidence(finding, TableId::allocations, row);
      sentences = "The allocator asks for new memory " + how_often(input, count) +
                  " after warm-up, though a step that repeats needs no more than "
                  "the step before (what that costs is under S3). Keep what is freed, or give the "
                  "shapes that change an upper limit. ";
    }
    if (share != unused.end()) {
      const double bytes = reserved.at(device);
      const double idle_bytes = bytes * share->second;
      finding.facts.push_back({"reserved_bytes", bytes, Unit::bytes});
      finding.facts.push_back({"unused_bytes", idle_bytes, Unit::bytes});
      finding.facts.push_back({"unused_share", share->second, Unit::ratio});
      sentences += show_bytes(idle_bytes) + " of " + show_bytes(bytes) +
                   " that the allocator holds are not in use (" + show_share(share->second) +
                   "): trim the pool after the largest step, or allocate long-lived memory first.";
    }
    finding.fix = {share != unused.end() ? "pool_trim" : "pool_warm_up", 0, false};
    estimate(input, finding);
    const std::string name =
        device == kNoRow ? std::string("the host") : device_name(trace, device);
    finding.title =
        count > 0 ? "The allocator of " + name + " asks for memory " + how_often(input, count)
                  : show_share(share->second) + " of the memory held on " + name + " is not in use";
    finding.advice = std::move(sentences);
    out.push_back(std::move(finding));
  }
}

}  // namespace

void find_allocations(const RuleInput& input, std::vector<Finding>& out) {
  Stalls stalls;
  // Without steps there is no telling warm-up from what repeats.
  if (input.timeline.window_steps() > 0) stalls = stalls_of(input);
  find_stalls(input, stalls, out);
  find_churn(input, stalls, out);
}

}  // namespace mill::prof
