// T4: copies that are slower than their link allows. Section 3.2 of the design notes.
#include "profiler/rules/link_use.h"

#include <algorithm>
#include <utility>

namespace mill::prof {

namespace {

// A copy counts as hampered by the other direction when it runs beside it for so much of its time.
constexpr double kBothWays = 0.5;
constexpr double kMany = 0.5;  // a cause of so many of the slow copies is named as seen

struct Slow {
  std::vector<uint32_t> rows;
  EvidenceList evidence;
  LinkLine line;
  double bytes = 0;
  double time = 0;      // of the slow copies
  double expected = 0;  // by the model
  double pageable = 0;  // copies
  double both_ways = 0;
  double beside = 0;  // ns with the other direction busy
  uint64_t seen = 0;  // copies of the size, slow or not
  Plan plan;
  Plan plan_lower;
};

// The line of the copy's own kind of memory; for what is not known to be pageable, that of
// page-locked memory else.
const LinkLine& line_for(Lines& lines, const CopyRow& copy) {
  const LinkLine& own = lines.of(copy.kind, copy.memory);
  if (own.source != LinkSource::none) return own;
  return lines.of(copy.kind, Memory::pinned);
}

void add_copy(const CopyRow& copy, const LinkLine& line, const IntervalSet& other, Slow& slow) {
  slow.line = line;
  const auto length = static_cast<double>(copy.length);
  const double expected = line.time_ns(copy.bytes);
  const double low = line.time_low_ns(copy.bytes);
  const auto beside = static_cast<double>(other.overlap(copy.at));
  const bool both_ways = beside >= kBothWays * length;
  slow.rows.push_back(copy.row);
  slow.evidence.add(copy.row, length - expected);
  slow.bytes += static_cast<double>(copy.bytes);
  slow.time += length;
  slow.expected += expected;
  slow.pageable += copy.memory == Memory::pageable ? 1 : 0;
  slow.both_ways += both_ways ? 1 : 0;
  slow.beside += beside;
  slow.plan.work_duration.emplace_back(copy.row, whole_ns(expected));
  // Two directions at once may share what the host's memory can give: at worst those stay.
  const double worst = both_ways ? length : std::min(length, low);
  slow.plan_lower.work_duration.emplace_back(copy.row, whole_ns(worst));
}

// In the order of the design notes; what the recording cannot tell is said to be open.
std::string causes_text(const RuleInput& input, const DeviceView& view, const Slow& slow) {
  const DeviceInfo& info = input.timeline.trace().devices[view.device];
  const auto n = static_cast<double>(slow.rows.size());
  std::string seen;
  std::string open;
  const auto add = [](std::string& list, const std::string& cause) {
    if (!list.empty()) list += "; ";
    list += cause;
  };
  if (slow.pageable > 0) {
    add(seen, show_count(static_cast<uint64_t>(slow.pageable)) + " use pageable memory");
  }
  add(open, "a thread or buffer on another NUMA node than the device");
  const bool narrow = info.link_width > 0 && info.link_width < info.link_width_max;
  const bool old = info.link_generation > 0 && info.link_generation < info.link_generation_max;
  if (narrow || old) {
    add(seen, "the link runs at generation " + std::to_string(info.link_generation) + " x" +
                  std::to_string(info.link_width) + " of generation " +
                  std::to_string(info.link_generation_max) + " x" +
                  std::to_string(info.link_width_max));
  } else if (info.link_width == 0 || info.link_generation == 0) {
    add(open, "a link below its highest generation or width");
  }
  if (slow.both_ways >= kMany * n) {
    add(seen, show_count(static_cast<uint64_t>(slow.both_ways)) +
                  " ran beside copies in the other direction (" +
                  show_share(slow.beside / slow.time) + " of their time)");
  }
  add(open, "throttling, or other devices on the same link");
  std::string text;
  if (!seen.empty()) text = " Causes that it shows: " + seen + ".";
  return text + " The recording cannot tell: " + open + ".";
}

void report(const RuleInput& input, const DeviceView& view, CopyKind kind, Slow& slow,
            std::vector<Finding>& out) {
  const double lost = slow.time - slow.expected;
  if (slow.rows.empty() || !(lost > 0)) return;
  const Trace& trace = input.timeline.trace();
  const double rate = slow.bytes / slow.time * 1e9;
  const double expected_rate = slow.bytes / slow.expected * 1e9;
  Finding finding;
  finding.rule = RuleId::T4;
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.link_source = slow.line.source;
  finding.saving.upper = whole_ns(lost);
  finding.plan = std::move(slow.plan);
  finding.plan_lower = std::move(slow.plan_lower);
  finding.fix = {"link_rate", expected_rate, false};
  slow.evidence.give(finding);
  finding.facts = {{"copies", static_cast<double>(slow.rows.size()), Unit::none},
                   {"copies_seen", static_cast<double>(slow.seen), Unit::none},
                   {"bytes", slow.bytes, Unit::bytes},
                   {"copy_ns", slow.time, Unit::ns},
                   {"model_ns", slow.expected, Unit::ns},
                   {"lost_ns", lost, Unit::ns},
                   {"bytes_per_s", rate, Unit::none},
                   {"model_bytes_per_s", slow.line.bytes_per_s, Unit::none},
                   {"model_alpha_ns", slow.line.alpha_ns, Unit::ns},
                   {"pageable_copies", slow.pageable, Unit::none},
                   {"both_directions", slow.both_ways, Unit::none},
                   {"beside_other_direction_ns", slow.beside, Unit::ns}};
  estimate(input, finding);

  const uint64_t n = slow.rows.size();
  const std::string askers = askers_text(trace, slow.rows);
  finding.title = copies_text(n) + " " + direction_text(kind) + " ran at " + show_rate(rate) +
                  " of " + show_rate(expected_rate);
  finding.advice = show_count(n) + " of " + show_count(slow.seen) + " large " +
                   direction_text(kind) + " copies on " + device_text(trace, view.device) + " (" +
                   show_bytes(slow.bytes) + ") ran at " + show_rate(rate) + "; " +
                   show_rate(expected_rate) + " was to be expected (" + source_text(slow.line) +
                   "). That lost " + per_step(input, lost) + " of time on the link.";
  if (!askers.empty()) finding.advice += " Asked for by " + askers + ".";
  finding.advice += causes_text(input, view, slow) + " " + show_gain(input, finding);
  out.push_back(std::move(finding));
}

void find_slow(const RuleInput& input, const DeviceView& view, Ns launch_ns,
               std::vector<Finding>& out) {
  Lines lines(input, view.device);
  Slow up;
  Slow down;
  for (const uint32_t row : view.copies) {
    const CopyRow copy = copy_row(input, row);
    const bool is_up = copy.kind == CopyKind::host_to_device;
    if (!is_up && copy.kind != CopyKind::device_to_host) continue;
    if (static_cast<double>(copy.bytes) < input.limits.t4_min_bytes || copy.length <= 0) continue;
    // T1 and T2 blame the memory: then only a figure for pageable memory that was measured apart
    // from this recording can say that the link is slow too.
    if (copy.memory == Memory::pageable &&
        (blocks_in_disguise(input, copy, launch_ns) || blocks_openly(copy))) {
      const LinkSource source = lines.of(copy.kind, Memory::pageable).source;
      if (source != LinkSource::calibration && source != LinkSource::user) continue;
    }
    const LinkLine& line = line_for(lines, copy);
    if (line.source == LinkSource::none || !(line.bytes_per_s > 0)) continue;
    Slow& slow = is_up ? up : down;
    ++slow.seen;
    const double moving = static_cast<double>(copy.length) - line.alpha_ns;
    const double rate = moving > 0 ? static_cast<double>(copy.bytes) / moving * 1e9 : 0;
    if (moving <= 0 || rate >= input.limits.t4_efficiency * line.bytes_per_s) continue;
    add_copy(copy, line, is_up ? view.to_host : view.to_device, slow);
  }
  report(input, view, CopyKind::host_to_device, up, out);
  report(input, view, CopyKind::device_to_host, down, out);
}

}  // namespace

void find_slow_links(const RuleInput& input, std::vector<Finding>& out) {
  const Ns launch_ns = launch_cost(input);
  for (const DeviceView& view : input.timeline.devices()) find_slow(input, view, launch_ns, out);
  find_detours(input, out);
  find_migration(input, out);
}

}  // namespace mill::prof
