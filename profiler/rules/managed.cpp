// T11: pages that move between host and device while kernels wait for them. Section 3.2 of the
// design notes.
#include <algorithm>
#include <map>
#include <utility>

#include "profiler/rules/link_use.h"

namespace mill::prof {

namespace {

constexpr size_t kMostPlaces = 3;

struct Moves {
  EvidenceList evidence;
  std::vector<Interval> spans;
  std::map<std::pair<bool, uint64_t>, double> places;  // tensor or address: bytes
  double to_device = 0;                                // bytes
  double to_host = 0;
  double faults = 0;
  double thrash = 0;
};

// Pages of one allocation have many addresses: they are put together by 2 MB, the largest unit
// that moves at once.
constexpr uint64_t kPlace = uint64_t{2} << 20;

std::map<uint32_t, Moves> collect(const RuleInput& input) {
  const Managed& managed = input.timeline.trace().managed;
  const Interval window = input.timeline.window();
  std::map<uint32_t, Moves> by_device;
  for (uint32_t row = 0; row < managed.size(); ++row) {
    const Interval span{std::max(managed.start[row], window.begin),
                        std::min(managed.end[row], window.end)};
    if (managed.device[row] == kNoRow || !window.contains(managed.start[row])) continue;
    Moves& moves = by_device[managed.device[row]];
    const auto bytes = static_cast<double>(managed.bytes[row]);
    switch (static_cast<ManagedKind>(managed.kind[row])) {
      case ManagedKind::to_device: moves.to_device += bytes; break;
      case ManagedKind::to_host: moves.to_host += bytes; break;
      case ManagedKind::fault: ++moves.faults; break;
      case ManagedKind::thrash: ++moves.thrash; break;
      case ManagedKind::unknown: continue;
    }
    moves.spans.push_back(span);
    moves.evidence.add(row, static_cast<double>(span.length()), TableId::managed);
    const uint64_t tensor = managed.tensor[row];
    const uint64_t address = managed.address[row];
    if (tensor != 0 || address != 0) {
      moves.places[{tensor != 0, tensor != 0 ? tensor : address / kPlace}] += bytes;
    }
  }
  return by_device;
}

std::string places_text(const Moves& moves) {
  std::vector<std::pair<double, std::pair<bool, uint64_t>>> order;
  for (const auto& [place, bytes] : moves.places) order.emplace_back(bytes, place);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text;
  for (size_t k = 0; k < std::min(order.size(), kMostPlaces); ++k) {
    const auto& [bytes, place] = order[k];
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string name;
    if (place.first) {
      name = "tensor " + std::to_string(place.second);
    } else {
      for (uint64_t at = place.second * kPlace; at != 0; at /= 16) name += kDigits[at % 16];
      name += name.empty() ? "0x0" : "x0";
      std::reverse(name.begin(), name.end());
    }
    text += (text.empty() ? "" : ", ") + name + " (" + show_bytes(bytes) + ")";
  }
  return text;
}

// Sums of what rows say may be more than any count holds.
uint64_t whole(double sum) {
  return sum < 0x1p64 ? static_cast<uint64_t>(sum) : UINT64_MAX;
}

LinkLine line_of(Lines& lines, CopyKind kind) {
  const LinkLine& own = lines.of(kind, Memory::managed);
  return own.source != LinkSource::none ? own : lines.of(kind, Memory::pinned);
}

void report(const RuleInput& input, uint32_t device, Moves& moves, std::vector<Finding>& out) {
  const double bytes = moves.to_device + moves.to_host;
  if (!(bytes / window_parts(input) > input.limits.t11_min_bytes_per_step) && moves.thrash == 0) {
    return;
  }
  const Trace& trace = input.timeline.trace();
  const DeviceView* view = input.timeline.device(device);
  const IntervalSet moving(std::move(moves.spans));
  Lines lines(input, device);
  const LinkLine down = line_of(lines, CopyKind::host_to_device);
  const LinkLine up = line_of(lines, CopyKind::device_to_host);
  const double down_ns = moves.to_device > 0 ? down.time_ns(whole(moves.to_device)) : 0;
  const double up_ns = moves.to_host > 0 ? up.time_ns(whole(moves.to_host)) : 0;
  const bool known = down_ns >= 0 && up_ns >= 0 && bytes > 0;
  const auto stalled = static_cast<double>(moving.length());

  Finding finding;
  finding.rule = RuleId::T11;
  finding.device = device;
  finding.window = input.timeline.window();
  finding.link_source = known ? (moves.to_device > 0 ? down.source : up.source) : LinkSource::none;
  finding.fix = {"managed_prefetch", bytes / window_parts(input), false};
  finding.saving.upper = whole_ns(stalled);
  if (known && view != nullptr) {
    // Kernels take as much less as their pages would move faster, all at once at the link's rate.
    const double low_ns = (moves.to_device > 0 ? down.time_low_ns(whole(moves.to_device)) : 0) +
                          (moves.to_host > 0 ? up.time_low_ns(whole(moves.to_host)) : 0);
    const double less = std::clamp(1 - (down_ns + up_ns) / std::max(stalled, 1.0), 0.0, 1.0);
    const double less_low = std::clamp(1 - low_ns / std::max(stalled, 1.0), 0.0, 1.0);
    for (const uint32_t row : view->kernels) {
      const Interval at{trace.work.start[row], trace.work.end[row]};
      const auto hit = static_cast<double>(moving.overlap(at));
      if (!(hit > 0)) continue;
      const auto length = static_cast<double>(length_of(at.begin, at.end));
      finding.plan.work_duration.emplace_back(row, whole_ns(length - hit * less));
      finding.plan_lower.work_duration.emplace_back(row, whole_ns(length - hit * less_low));
    }
  }
  moves.evidence.give(finding);
  finding.facts = {{"to_device_bytes", moves.to_device, Unit::bytes},
                   {"to_host_bytes", moves.to_host, Unit::bytes},
                   {"fault_groups", moves.faults, Unit::none},
                   {"thrash", moves.thrash, Unit::none},
                   {"moving_ns", stalled, Unit::ns},
                   {"link_ns", known ? down_ns + up_ns : 0, Unit::ns}};
  estimate(input, finding);

  finding.title = "Pages moved by themselves: " + bytes_per_step(input, bytes) + " to and from " +
                  device_text(trace, device);
  finding.advice =
      "Managed memory moved " + bytes_per_step(input, moves.to_device) + " to " +
      device_text(trace, device) + " and " + bytes_per_step(input, moves.to_host) +
      " back, while work touched it: " + show_count(static_cast<uint64_t>(moves.faults)) +
      " groups of faults, " + show_count(static_cast<uint64_t>(moves.thrash)) +
      " reports of pages that went to and fro, " + per_step(input, stalled) + ".";
  if (const std::string places = places_text(moves); !places.empty()) {
    finding.advice += " Mostly " + places + ".";
  }
  finding.advice += " Prefetch what a step needs at its start and advise where it is mostly read; ";
  if (known) {
    finding.advice += "in one piece it takes " + per_step(input, down_ns + up_ns) + " (" +
                      source_text(moves.to_device > 0 ? down : up) + "). ";
  } else {
    finding.advice += "how long that takes is not known, as no figure for the link is. ";
  }
  finding.advice += show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace

void find_migration(const RuleInput& input, std::vector<Finding>& out) {
  for (auto& [device, moves] : collect(input)) report(input, device, moves, out);
}

}  // namespace mill::prof
