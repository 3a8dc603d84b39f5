// T3: copies that no kernel hides. T8: two directions that take turns. Section 3.2 of the design
// notes.
#include <algorithm>
#include <set>
#include <utility>

#include "profiler/rules/copies.h"

namespace mill::prof {

namespace {

struct Directions {
  std::vector<uint32_t> up;        // rows of Work: to the device
  std::vector<uint32_t> down;      // to the host
  std::vector<uint32_t> pageable;  // of either direction, and in neither of the above
  double up_bytes = 0;
  double down_bytes = 0;
  uint64_t largest_up = 0;
};

Directions directions_of(const RuleInput& input, const DeviceView& view) {
  Directions out;
  for (const uint32_t row : view.copies) {
    const CopyRow copy = copy_row(input, row);
    // Nothing goes ahead from pageable memory, since the host is needed to move it: T1 comes first.
    if (copy.memory == Memory::pageable) {
      if (copy.kind == CopyKind::host_to_device || copy.kind == CopyKind::device_to_host)
        out.pageable.push_back(row);
      continue;
    }
    if (copy.kind == CopyKind::host_to_device) {
      out.up.push_back(row);
      out.up_bytes += static_cast<double>(copy.bytes);
      out.largest_up = std::max(out.largest_up, copy.bytes);
    } else if (copy.kind == CopyKind::device_to_host) {
      out.down.push_back(row);
      out.down_bytes += static_cast<double>(copy.bytes);
    }
  }
  return out;
}

// Goes ahead on a stream of its own; the host does not stand still for it.
void add_prefetch(const RuleInput& input, const Directions& rows, uint32_t depth, Plan& plan) {
  const Trace& trace = input.timeline.trace();
  for (const uint32_t row : rows.up) {
    plan.prefetch.emplace_back(row, depth);
    if (const uint32_t call = trace.work.call[row]; call != kNoRow) plan.unblock.push_back(call);
  }
}

// What comes after it no longer waits for it; the host uses the value one step later.
void add_own_stream(const RuleInput& input, const Directions& rows, Plan& plan) {
  const Trace& trace = input.timeline.trace();
  for (const uint32_t row : rows.down) {
    plan.own_stream.push_back(row);
    if (const uint32_t call = trace.work.call[row]; call != kNoRow) plan.defer.push_back(call);
  }
}

void by_exposed_time(const RuleInput& input, const IntervalSet& exposed,
                     const std::vector<uint32_t>& rows, EvidenceList& evidence) {
  const Work& work = input.timeline.trace().work;
  for (const uint32_t row : rows) {
    const Ns seen = exposed.overlap({work.start[row], work.end[row]});
    if (seen > 0) evidence.add(row, static_cast<double>(seen));
  }
}

IntervalSet times_of(const RuleInput& input, const std::vector<uint32_t>& rows) {
  const Work& work = input.timeline.trace().work;
  const Interval window = input.timeline.window();
  std::vector<Interval> times;
  times.reserve(rows.size());
  for (const uint32_t row : rows)
    times.push_back({std::max(work.start[row], window.begin), std::min(work.end[row], window.end)});
  return IntervalSet(std::move(times));
}

void find_unhidden(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out) {
  const Directions rows = directions_of(input, view);
  const IntervalSet to_device = times_of(input, rows.up);
  const IntervalSet to_host = times_of(input, rows.down);
  const IntervalSet copies = to_device.united(to_host);
  const IntervalSet exposed = copies.minus(view.kernel);
  const double window = analysed_ns(input);
  const auto length = static_cast<double>(exposed.length());
  if (!(length > input.limits.t3_min_share * window)) return;
  const auto up = static_cast<double>(to_device.minus(view.kernel).length());
  const auto down = static_cast<double>(to_host.minus(view.kernel).length());

  Finding finding;
  finding.rule = RuleId::T3;
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.saving.upper = std::min<Ns>(
      exposed.length(), std::max<Ns>(0, input.timeline.analysed().length() - view.kernel.length()));
  // At worst what goes to the host stays where it is, and nothing goes ahead by more than a step.
  add_prefetch(input, rows, 1, finding.plan);
  finding.plan_lower = finding.plan;
  add_own_stream(input, rows, finding.plan);
  // The engine's own loader is what sends batches ahead.
  const Trace& trace = input.timeline.trace();
  finding.fix = rows.up.empty()
                    ? Fix{"copy_streams", 2, false}
                    : Fix{"prefetch_depth", 1, of_engine(trace) && !trace.loader.empty()};
  EvidenceList evidence;
  by_exposed_time(input, exposed, rows.up, evidence);
  by_exposed_time(input, exposed, rows.down, evidence);
  evidence.give(finding);
  const double extra = input.timeline.window_steps() > 0 ? rows.up_bytes / window_parts(input)
                                                         : static_cast<double>(rows.largest_up);
  finding.facts = {{"copies", static_cast<double>(rows.up.size() + rows.down.size()), Unit::none},
                   {"bytes_to_device", rows.up_bytes, Unit::bytes},
                   {"bytes_to_host", rows.down_bytes, Unit::bytes},
                   {"copy_ns", static_cast<double>(copies.length()), Unit::ns},
                   {"kernel_ns", static_cast<double>(view.kernel.length()), Unit::ns},
                   {"hidden_ns", static_cast<double>(copies.length()) - length, Unit::ns},
                   {"exposed_ns", length, Unit::ns},
                   {"exposed_to_device_ns", up, Unit::ns},
                   {"exposed_to_host_ns", down, Unit::ns},
                   {"exposed_share", window > 0 ? length / window : 0, Unit::ratio},
                   {"extra_bytes", extra, Unit::bytes}};
  // What is exposed beside it, so that nobody takes this for all of the link's time.
  const auto pageable =
      static_cast<double>(times_of(input, rows.pageable).minus(view.kernel).length());
  if (!rows.pageable.empty()) finding.facts.push_back({"exposed_pageable_ns", pageable, Unit::ns});
  estimate(input, finding);

  double deeper = 0;
  if (!finding.withheld && !rows.up.empty()) {
    Plan two;
    add_prefetch(input, rows, 2, two);
    add_own_stream(input, rows, two);
    const auto most = static_cast<double>(finding.saving.upper);
    const auto with_two = std::min(static_cast<double>(input.replay.saving(two)), most);
    deeper = std::max(0.0, with_two - static_cast<double>(finding.saving.expected));
    finding.facts.push_back({"two_steps_ahead_adds_ns", deeper, Unit::ns});
  }

  const bool steps = input.timeline.window_steps() > 0;
  const std::string device = device_text(trace, view.device);
  finding.title = per_step(input, length) + " of copies on " + device +
                  " with no kernel running (" + show_share(length / std::max(window, 1.0)) + ")";
  std::string& text = finding.advice;
  text = show_time(length / window_parts(input)) + " of every " +
         show_time(window / window_parts(input)) + (steps ? " step" : " that were recorded") +
         " (" + show_share(length / std::max(window, 1.0)) + ") is copy time on " + device +
         " with no kernel running: " + per_step(input, up) + " to the device, " +
         per_step(input, down) + " to the host.";
  if (pageable > 0) {
    text += " Copies of pageable memory, " + per_step(input, pageable) +
            " more, are left out: they cannot go ahead.";
  }
  if (!rows.up.empty()) {
    text += std::string(" Prefetching one ") + (steps ? "step" : "copy") +
            " ahead on a separate stream needs " + show_bytes(extra) + " of device memory";
    if (!finding.withheld) {
      text +=
          " and would leave " +
          per_step(input, std::max(0.0, length - static_cast<double>(finding.saving.expected))) +
          " exposed";
    }
    text += "; the copies must come from page-locked memory.";
  }
  if (!rows.down.empty()) {
    text += " Copy to the host on another stream and read the value one step later.";
  }
  text += " " + show_gain(input, finding);
  if (!finding.withheld && !rows.up.empty()) {
    text += std::string(" Two ") + (steps ? "steps" : "copies") + " ahead (" +
            show_bytes(2 * extra) + ") adds " + per_step(input, deeper) + ".";
  }
  out.push_back(std::move(finding));
}

std::string streams_text(const Trace& trace, const std::vector<uint32_t>& rows) {
  std::set<uint32_t> streams;
  for (const uint32_t row : rows) streams.insert(trace.work.stream[row]);
  constexpr size_t kMost = 4;
  std::string text;
  size_t k = 0;
  for (const uint32_t stream : streams) {
    if (++k > kMost) break;
    text += (k > 1 ? ", " : "") + stream_text(trace, stream);
  }
  if (streams.size() > kMost) text += " and " + show_count(streams.size() - kMost) + " more";
  return text;
}

void find_taking_turns(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const uint32_t engines = trace.devices[view.device].copy_engines;
  if (engines == 1) return;
  const Directions rows = directions_of(input, view);
  const IntervalSet to_device = times_of(input, rows.up);
  const IntervalSet to_host = times_of(input, rows.down);
  const Ns shorter = std::min(to_device.length(), to_host.length());
  if (!(static_cast<double>(shorter) > input.limits.t8_min_share * analysed_ns(input))) return;
  if (!view.to_device.intersected(view.to_host).empty()) return;

  Finding finding;
  finding.rule = RuleId::T8;
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.saving.upper = shorter;
  for (const uint32_t row : rows.down) finding.plan.own_stream.push_back(row);
  finding.fix = {"copy_streams", 2, false};
  EvidenceList evidence;
  for (const std::vector<uint32_t>* side : {&rows.up, &rows.down}) {
    for (const uint32_t row : *side) {
      evidence.add(row, static_cast<double>(length_of(trace.work.start[row], trace.work.end[row])));
    }
  }
  evidence.give(finding);
  finding.facts = {{"to_device_ns", static_cast<double>(to_device.length()), Unit::ns},
                   {"to_host_ns", static_cast<double>(to_host.length()), Unit::ns},
                   {"copy_engines", static_cast<double>(engines), Unit::none},
                   {"bytes_to_device", rows.up_bytes, Unit::bytes},
                   {"bytes_to_host", rows.down_bytes, Unit::bytes}};
  estimate(input, finding);

  finding.title =
      "Copies to and from " + device_text(trace, view.device) + " never ran at the same time";
  finding.advice = per_step(input, static_cast<double>(to_device.length())) + " of copies to " +
                   device_text(trace, view.device) + " (" + streams_text(trace, rows.up) +
                   ") and " + per_step(input, static_cast<double>(to_host.length())) + " back (" +
                   streams_text(trace, rows.down) + ") took turns. ";
  finding.advice += engines == 0
                        ? "How many copy engines the device has is not in the recording; two are "
                          "usual, one for each direction. "
                        : "The device has " + show_count(engines) +
                              " copy engines, so both directions can run at once. ";
  finding.advice += "Give each direction a stream of its own. " + show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace

void find_exposed(const RuleInput& input, std::vector<Finding>& out) {
  for (const DeviceView& view : input.timeline.devices()) {
    find_unhidden(input, view, out);
    find_taking_turns(input, view, out);
  }
}

}  // namespace mill::prof
