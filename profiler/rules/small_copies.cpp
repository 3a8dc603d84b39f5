// T5: many small copies in a row that could be one. Section 3.2 of the design notes.
#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "profiler/rules/copies.h"

namespace mill::prof {

namespace {

struct Run {
  std::vector<uint32_t> rows;
  uint64_t copies = 0;
  double bytes = 0;
  double time = 0;
  Interval span;  // from the first call or copy to the last
  Ns last_end = std::numeric_limits<Ns>::min();
  Memory memory = Memory::unknown;
};

// Those with the most copies are looked at one by one.
constexpr size_t kMostLanes = 8;

// Copies of one direction on one stream.
struct Lane {
  CopyKind kind = CopyKind::unknown;
  uint32_t stream = kNoRow;
  Run open;
  std::vector<Run> runs;  // long enough
  double copies = 0;      // in runs
};

void close_run(const RuleInput& input, Lane& lane) {
  if (static_cast<double>(lane.open.copies) >= input.limits.t5_min_run && !lane.open.rows.empty()) {
    lane.copies += static_cast<double>(lane.open.copies);
    lane.runs.push_back(std::move(lane.open));
  }
  lane.open = {};
}

void add_copy(const RuleInput& input, const CopyRow& copy, Lane& lane) {
  // A record that stands for several copies has their bytes together.
  const double each = static_cast<double>(copy.bytes) / static_cast<double>(copy.copies);
  if (!(each < input.limits.t5_max_bytes)) return close_run(input, lane);
  Run& run = lane.open;
  if (!run.rows.empty() &&
      static_cast<double>(length_of(run.last_end, copy.at.begin)) >= input.limits.t5_max_gap_ns) {
    close_run(input, lane);
  }
  Interval span = copy.at;
  if (copy.called.end > copy.called.begin) {
    span = {std::min(span.begin, copy.called.begin), std::max(span.end, copy.called.end)};
  }
  if (run.rows.empty()) {
    run.span = span;
    run.memory = copy.memory;
  }
  run.span = {std::min(run.span.begin, span.begin), std::max(run.span.end, span.end)};
  run.rows.push_back(copy.row);
  run.copies += copy.copies;
  run.bytes += static_cast<double>(copy.bytes);
  run.time += static_cast<double>(copy.length);
  run.last_end = std::max(run.last_end, copy.at.end);
}

struct Packed {
  double alpha = 0;  // of each copy
  double one = 0;    // duration of a copy of the run's bytes
};

// Without a figure for the link: the smallest copy is nearly all fixed cost, and the rest of each
// copy's time stays.
Packed pack(const Trace& trace, const Run& run, const LinkLine& line) {
  const auto n = static_cast<double>(run.copies);
  if (line.source != LinkSource::none && line.bytes_per_s > 0) {
    return {line.alpha_ns, line.alpha_ns + run.bytes / line.bytes_per_s * 1e9};
  }
  double least = run.time / n;
  for (const uint32_t row : run.rows) {
    const double copies = std::max<double>(trace.work.copies[row], 1);
    const Ns length = length_of(trace.work.start[row], trace.work.end[row]);
    least = std::min(least, static_cast<double>(length) / copies);
  }
  return {least, std::max(least, run.time - (n - 1) * least)};
}

// One lane, or what is left over: several, of any direction.
void report(const RuleInput& input, const DeviceView& view, std::span<const Lane> lanes,
            Lines& lines, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const double host_rate = std::max(input.links.host_copy_bytes_per_s, 1.0);
  Finding finding;
  EvidenceList evidence;
  std::vector<uint32_t> rows;
  std::vector<Interval> spans;
  LinkLine line;
  double copies = 0;
  double bytes = 0;
  double time = 0;
  double fixed = 0;
  double single = 0;
  double packing = 0;
  double longest = 0;
  size_t runs = 0;
  const auto add_run = [&](CopyKind kind, const Run& run) {
    ++runs;
    line = lines.of(kind, run.memory);
    const Packed packed = pack(trace, run, line);
    const double pack_ns = run.bytes / host_rate * 1e9;
    copies += static_cast<double>(run.copies);
    bytes += run.bytes;
    time += run.time;
    fixed += packed.alpha * static_cast<double>(run.copies);
    single += std::min(packed.one, run.time);
    packing += pack_ns;
    longest = std::max(longest, run.bytes);
    spans.push_back({std::max(run.span.begin, input.timeline.window().begin),
                     std::min(run.span.end, input.timeline.window().end)});
    // The first copy of the run becomes the one copy, and its call packs.
    const uint32_t first = run.rows.front();
    const uint32_t call = trace.work.call[first];
    finding.plan.work_duration.emplace_back(first, whole_ns(std::min(packed.one, run.time)));
    finding.plan_lower.work_duration.emplace_back(first, whole_ns(run.time));
    if (call != kNoRow) {
      finding.plan.before_ask.emplace_back(call, whole_ns(pack_ns));
      finding.plan_lower.before_ask.emplace_back(call, whole_ns(pack_ns));
    }
    for (const uint32_t row : run.rows) {
      rows.push_back(row);
      evidence.add(row, static_cast<double>(length_of(trace.work.start[row], trace.work.end[row])));
      if (row == first) continue;
      finding.plan.drop_work.push_back(row);
      finding.plan_lower.drop_work.push_back(row);
    }
  };
  for (const Lane& lane : lanes) {
    for (const Run& run : lane.runs) add_run(lane.kind, run);
  }
  if (runs == 0 || !(fixed > input.limits.t5_min_share * analysed_ns(input))) return;

  finding.rule = RuleId::T5;
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.link_source = line.source;
  const double most = static_cast<double>(IntervalSet(spans).length()) - single;
  finding.saving.upper = whole_ns(most);
  finding.fix = {"pack_copies", longest, false};
  evidence.give(finding);
  finding.facts = {{"copies", copies, Unit::none},
                   {"runs", static_cast<double>(runs), Unit::none},
                   {"bytes", bytes, Unit::bytes},
                   {"copy_ns", time, Unit::ns},
                   {"fixed_ns", fixed, Unit::ns},
                   {"alpha_ns", copies > 0 ? fixed / copies : 0, Unit::ns},
                   {"link_bytes_per_s", line.bytes_per_s, Unit::none},
                   {"packed_ns", single, Unit::ns},
                   {"packing_ns", packing, Unit::ns}};
  estimate(input, finding);

  const std::string askers = askers_text(trace, rows);
  const std::string direction =
      lanes.size() == 1 ? std::string(direction_text(lanes[0].kind)) + " " : "";
  const std::string streams = lanes.size() == 1
                                  ? stream_text(trace, lanes[0].stream)
                                  : show_count(lanes.size()) + " more streams or directions";
  const std::string where =
      direction + "copies on " + streams + " of " + device_text(trace, view.device);
  const std::string in_runs = " in " + show_count(runs) + (runs == 1 ? " run" : " runs");
  const auto count = static_cast<uint64_t>(copies);
  finding.title = show_count(count) + " small " + direction + "copies" + in_runs +
                  " cost the link " + per_step(input, fixed) +
                  " only for being many, and the host their calls";
  finding.advice = show_count(count) + " small " + where + " followed each other" + in_runs + ": " +
                   show_bytes(bytes) + " in " + show_time(time) + ", " +
                   show_bytes(bytes / copies) + " each. Whatever its size, a copy costs " +
                   show_time(fixed / copies) + " (" +
                   (line.source != LinkSource::none && line.bytes_per_s > 0
                        ? source_text(line)
                        : std::string("by the shortest of them; no figure for the link is known")) +
                   ").";
  if (!askers.empty()) finding.advice += " Asked for by " + askers + ".";
  finding.advice += " Pack each run into one buffer of up to " + show_bytes(longest) +
                    " and copy that, or use a batched copy; packing costs the host " +
                    per_step(input, packing) + ". " + show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace

void find_small(const RuleInput& input, std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  for (const DeviceView& view : input.timeline.devices()) {
    Lines lines(input, view.device);
    std::map<std::pair<CopyKind, uint32_t>, Lane> lanes;
    for (const uint32_t row : view.copies) {
      const CopyRow copy = copy_row(input, row);
      if (copy.kind == CopyKind::unknown || copy.kind == CopyKind::host_to_host) continue;
      add_copy(input, copy, lanes[{copy.kind, trace.work.stream[row]}]);
    }
    std::vector<Lane> found;
    for (auto& [key, lane] : lanes) {
      close_run(input, lane);
      if (lane.runs.empty()) continue;
      lane.kind = key.first;
      lane.stream = key.second;
      found.push_back(std::move(lane));
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const Lane& a, const Lane& b) { return a.copies > b.copies; });
    const std::span<const Lane> all(found);
    const size_t alone = std::min(all.size(), most_findings(input, kMostLanes));
    for (size_t k = 0; k < alone; ++k) report(input, view, all.subspan(k, 1), lines, out);
    if (all.size() > alone) report(input, view, all.subspan(alone), lines, out);
  }
}

}  // namespace mill::prof
