// T10: what goes from device to device by way of the host, or slower than their link allows.
// Section 3.2 of the design notes.
#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "profiler/rules/link_use.h"

namespace mill::prof {

namespace {

constexpr int kLookBack = 16;  // candidates for one arrival
constexpr size_t kMostPairs = 8;

using Pair = std::pair<uint32_t, uint32_t>;  // indices of devices: from, to

struct Leg {
  CopyRow copy;
  bool used = false;
};

struct Detour {
  EvidenceList evidence;
  std::vector<Interval> spans;
  double detours = 0;
  double slow = 0;  // direct copies below the link's rate
  double bytes = 0;
  double time = 0;
  double direct = 0;  // what direct copies at the link's rate would take
  LinkLine line;
  Plan plan;
  Plan plan_lower;
};

Ns cost_of(const CopyRow& up, const CopyRow& down) {
  return std::max(up.length, down.length);
}

class Detours {
 public:
  explicit Detours(const RuleInput& input) : input_(input), trace_(input.timeline.trace()) {}

  void look() {
    const IndexByBytes departures = departed();
    for (const DeviceView& view : input_.timeline.devices()) {
      for (const uint32_t row : view.copies) {
        const CopyRow copy = copy_row(input_, row);
        if (static_cast<double>(copy.bytes) < input_.limits.t10_min_bytes) continue;
        if (copy.kind == CopyKind::host_to_device) arrive(view.device, copy, departures);
        if (copy.kind == CopyKind::peer) direct(view.device, copy);
      }
    }
  }

  void report(std::vector<Finding>& out) {
    std::vector<std::pair<const Pair, Detour>*> order;
    for (auto& one : found_) order.push_back(&one);
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return a->second.time - a->second.direct > b->second.time - b->second.direct;
    });
    const size_t most = std::min(order.size(), most_findings(input_, kMostPairs));
    for (size_t k = 0; k < most; ++k) {
      const size_t more = k + 1 == most ? order.size() - most : 0;
      report(order[k]->first, order[k]->second, more, out);
    }
  }

 private:
  using IndexByBytes = std::unordered_map<uint64_t, std::vector<size_t>>;

  // By end, as arrivals look for the last one that ended before them.
  IndexByBytes departed() {
    for (const DeviceView& view : input_.timeline.devices()) {
      for (const uint32_t row : view.copies) {
        const CopyRow copy = copy_row(input_, row);
        if (copy.kind != CopyKind::device_to_host ||
            static_cast<double>(copy.bytes) < input_.limits.t10_min_bytes) {
          continue;
        }
        legs_.push_back({copy, false});
      }
    }
    std::stable_sort(legs_.begin(), legs_.end(),
                     [](const Leg& a, const Leg& b) { return a.copy.at.end < b.copy.at.end; });
    IndexByBytes index;
    for (size_t k = 0; k < legs_.size(); ++k) index[legs_[k].copy.bytes].push_back(k);
    return index;
  }

  void arrive(uint32_t device, const CopyRow& down, const IndexByBytes& departures) {
    const auto same = departures.find(down.bytes);
    if (same == departures.end()) return;
    const std::vector<size_t>& list = same->second;
    auto at = std::upper_bound(list.begin(), list.end(), down.at.begin,
                               [&](Ns t, size_t k) { return t < legs_[k].copy.at.end; });
    for (int tries = 0; tries < kLookBack && at != list.begin(); ++tries) {
      Leg& leg = legs_[*--at];
      const Ns delay = length_of(leg.copy.at.end, down.at.begin);
      if (static_cast<double>(delay) > input_.limits.t10_max_delay_ns) return;
      const uint32_t from = trace_.work.device[leg.copy.row];
      if (leg.used || from == device || !may_be_same(leg.copy, down)) continue;
      leg.used = true;
      add_detour({from, device}, leg.copy, down);
      return;
    }
  }

  // Where both say which host memory they used, it must be the same.
  bool may_be_same(const CopyRow& up, const CopyRow& down) const {
    const uint64_t a = trace_.work.host_pointer[up.row];
    const uint64_t b = trace_.work.host_pointer[down.row];
    return a == 0 || b == 0 || a == b;
  }

  void add_detour(Pair pair, const CopyRow& up, const CopyRow& down) {
    Detour& detour = found_[pair];
    detour.line = line_of(pair);
    const double rated = detour.line.time_ns(up.bytes);
    const auto legs = static_cast<double>(cost_of(up, down));
    const double direct = rated >= 0 ? std::min(rated, legs) : legs;
    ++detour.detours;
    detour.bytes += static_cast<double>(up.bytes);
    detour.time += static_cast<double>(up.length) + static_cast<double>(down.length);
    detour.direct += direct;
    detour.evidence.add(down.row, static_cast<double>(down.length));
    detour.evidence.add(up.row, static_cast<double>(up.length));
    add_span({up.at.begin, down.at.end}, detour);
    // The first leg becomes the whole copy: it waits for what made the data, and what waited for it
    // still does. The second is not made.
    detour.plan.work_duration.emplace_back(up.row, whole_ns(direct));
    detour.plan.drop_work.push_back(down.row);
    const double low = rated >= 0 ? std::min(detour.line.time_low_ns(up.bytes), legs) : legs;
    detour.plan_lower.work_duration.emplace_back(up.row, whole_ns(low));
    detour.plan_lower.work_duration.emplace_back(down.row, 0);
  }

  void direct(uint32_t device, const CopyRow& copy) {
    const uint32_t to = trace_.work.peer[copy.row];
    const Pair pair{device, to};
    linked_.insert(pair);
    const LinkLine line = line_of(pair);
    const double moving = static_cast<double>(copy.length) - line.alpha_ns;
    if (line.source == LinkSource::none || !(line.bytes_per_s > 0) || moving <= 0) return;
    const double rate = static_cast<double>(copy.bytes) / moving * 1e9;
    if (rate >= input_.limits.t4_efficiency * line.bytes_per_s) return;
    Detour& detour = found_[pair];
    detour.line = line;
    const auto length = static_cast<double>(copy.length);
    const double rated = line.time_ns(copy.bytes);
    ++detour.slow;
    detour.bytes += static_cast<double>(copy.bytes);
    detour.time += length;
    detour.direct += rated;
    detour.evidence.add(copy.row, length - rated);
    add_span(copy.at, detour);
    detour.plan.work_duration.emplace_back(copy.row, whole_ns(rated));
    detour.plan_lower.work_duration.emplace_back(
        copy.row, whole_ns(std::min(length, line.time_low_ns(copy.bytes))));
  }

  // A line for copies between devices, else what the device says of its link to others.
  LinkLine line_of(Pair pair) const {
    LinkLine line = input_.links.line(trace_, pair.first, CopyKind::peer, Memory::device);
    if (line.source == LinkSource::none && pair.first < trace_.devices.size() &&
        trace_.devices[pair.first].peer_bytes_per_s > 0) {
      line.kind = CopyKind::peer;
      line.bytes_per_s = trace_.devices[pair.first].peer_bytes_per_s;
      line.source = LinkSource::device;
    }
    return line;
  }

  void add_span(Interval span, Detour& detour) const {
    const Interval window = input_.timeline.window();
    detour.spans.push_back({std::max(span.begin, window.begin), std::min(span.end, window.end)});
  }

  void report(Pair pair, Detour& detour, size_t more, std::vector<Finding>& out) const {
    const double span = static_cast<double>(IntervalSet(detour.spans).length());
    Finding finding;
    finding.rule = RuleId::T10;
    finding.device = pair.first;
    finding.window = input_.timeline.window();
    finding.link_source = detour.line.source;
    finding.saving.upper = whole_ns(span - detour.direct);
    finding.plan = std::move(detour.plan);
    finding.plan_lower = std::move(detour.plan_lower);
    finding.fix = {"peer_copy", detour.detours + detour.slow, false};
    detour.evidence.give(finding);
    finding.facts = {{"copies_by_host", detour.detours, Unit::none},
                     {"slow_peer_copies", detour.slow, Unit::none},
                     {"bytes", detour.bytes, Unit::bytes},
                     {"copy_ns", detour.time, Unit::ns},
                     {"direct_ns", detour.direct, Unit::ns},
                     {"peer_bytes_per_s", detour.line.bytes_per_s, Unit::none}};
    estimate(input_, finding);

    const std::string between =
        device_text(trace_, pair.first) + " to " + device_text(trace_, pair.second);
    const bool rated = detour.line.bytes_per_s > 0;
    const auto detours = static_cast<uint64_t>(detour.detours);
    const auto slow = static_cast<uint64_t>(detour.slow);
    std::string what;
    if (detours > 0) {
      what = show_count(detours) + (detours == 1 ? " transfer" : " transfers") +
             " by way of host memory";
    }
    if (slow > 0) {
      what += (what.empty() ? "" : " and ") + show_count(slow) + " slow direct " +
              (slow == 1 ? "copy" : "copies");
    }
    finding.title = what + " from " + between + ", " + show_bytes(detour.bytes);
    finding.advice = what + " from " + between + " moved " + show_bytes(detour.bytes) + " in " +
                     per_step(input_, detour.time) + " of copy time. ";
    if (rated) {
      finding.advice += "The link between them is known to reach " +
                        show_rate(detour.line.bytes_per_s) + " (" + source_text(detour.line) +
                        "). ";
    } else {
      finding.advice +=
          "Whether a link joins them is not in the recording; a direct copy is taken to last as "
          "long as the longer of the two that it replaces. ";
    }
    finding.advice +=
        linked_.contains(pair)
            ? "Direct copies between the two were seen, so peer access works. "
            : "No direct copy between the two was seen: enable peer access where the devices "
              "allow it. ";
    finding.advice += detours > 0 ? "Copy from device to device directly. "
                                  : "Check that peer access is enabled and which link is used. ";
    if (more > 0) {
      finding.advice += show_count(more) + " more pairs of devices, which lose less, are like it. ";
    }
    finding.advice += show_gain(input_, finding);
    out.push_back(std::move(finding));
  }

  const RuleInput& input_;
  const Trace& trace_;
  std::vector<Leg> legs_;
  std::map<Pair, Detour> found_;
  std::set<Pair> linked_;
};

}  // namespace

void find_detours(const RuleInput& input, std::vector<Finding>& out) {
  Detours detours(input);
  detours.look();
  detours.report(out);
}

}  // namespace mill::prof
