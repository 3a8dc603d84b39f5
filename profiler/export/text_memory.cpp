#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "profiler/export/text_sections.h"

namespace mill::prof {

namespace {

std::string or_unknown(std::string_view text, const char* what) {
  return text.empty() ? std::string("unknown ") + what : std::string(text);
}

struct Copied {
  uint64_t count = 0;
  double bytes = 0;
  double time = 0;
  double modelled = 0;  // what the link model says; negative: nothing
};

}  // namespace

void text_copies(Page& page, const Analysis& analysis, const TextOptions& options) {
  const Trace& trace = analysis.trace();
  using Key = std::tuple<uint32_t, uint8_t, uint8_t>;
  std::map<Key, Copied> kinds;
  std::map<Key, LinkLine> lines;
  for (const DeviceView& view : analysis.timeline->devices()) {
    for (const uint32_t row : view.copies) {
      const Key key{view.device, trace.work.copy_kind[row], trace.work.host_memory[row]};
      auto line = lines.find(key);
      if (line == lines.end()) {
        line = lines
                   .emplace(key, analysis.links.line(trace, view.device,
                                                     static_cast<CopyKind>(std::get<1>(key)),
                                                     static_cast<Memory>(std::get<2>(key))))
                   .first;
      }
      Copied& kind = kinds[key];
      ++kind.count;
      kind.bytes += static_cast<double>(trace.work.bytes[row]);
      kind.time += length_of(trace.work.start[row], trace.work.end[row]);
      const double modelled = line->second.time_ns(trace.work.bytes[row]);
      if (modelled < 0 || kind.modelled < 0) {
        kind.modelled = -1;
      } else {
        kind.modelled += modelled;
      }
    }
  }
  if (kinds.empty()) return;
  std::vector<std::pair<Key, Copied>> rows(kinds.begin(), kinds.end());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.second.time > b.second.time; });
  if (rows.size() > options.rows) rows.resize(options.rows);
  page.heading(
      "Copies by kind; \"expected\" is what this kind of memory gives copies of these sizes");
  TextTable table({"time", "bytes", "copies", "rate", "expected", "kind"});
  for (const auto& [key, kind] : rows) {
    const auto [device, copy_kind, memory] = key;
    std::string name = or_unknown(code_text("work", "copy_kind", copy_kind), "direction");
    name += ", " + or_unknown(code_text("work", "host_memory", memory), "memory");
    if (trace.devices.size() > 1 && device < trace.devices.size())
      name += ", " + (trace.devices[device].name.empty() ? std::to_string(device)
                                                         : trace.devices[device].name);
    const LinkLine& line = lines.at(key);
    if (line.source != LinkSource::none)
      name += " (by: " + std::string(link_source_name(line.source)) + ")";
    table.row({show_time(kind.time), show_bytes(kind.bytes), show_count(kind.count),
               kind.time > 0 ? show_rate(kind.bytes * 1e9 / kind.time) : "unknown",
               kind.modelled > 0 ? show_rate(kind.bytes * 1e9 / kind.modelled) : "unknown", name});
  }
  table.print(page);
}

void text_gaps(Page& page, const Analysis& analysis, const TextOptions& options) {
  const Trace& trace = analysis.trace();
  const Timeline& timeline = *analysis.timeline;
  const std::vector<Gap>& gaps = analysis.gaps;
  if (gaps.empty()) return;
  double causes[kGapCauses] = {};
  uint64_t counts[kGapCauses] = {};
  double listed = 0;
  std::vector<uint32_t> devices;
  for (const Gap& gap : gaps) {
    for (int k = 0; k < kGapCauses; ++k) {
      causes[k] += static_cast<double>(gap.causes[k]);
      if (gap.causes[k] > 0) ++counts[k];
    }
    listed += length_of(gap.begin, gap.end);
    if (devices.empty() || devices.back() != gap.device) devices.push_back(gap.device);
  }
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  double idle = 0;
  for (const uint32_t device : devices) {
    if (const DeviceView* view = timeline.device(device); view != nullptr)
      idle += static_cast<double>(timeline.analysed().minus(view->busy).length());
  }
  idle = std::max(idle, listed);
  const double whole =
      static_cast<double>(timeline.analysed().length()) * static_cast<double>(devices.size());

  page.heading("Why " +
               (devices.size() == 1 ? std::string("the device")
                                    : count_of(devices.size(), "device", "devices")) +
               " stood idle: " + show_time(idle) + ", " + show_share(whole > 0 ? idle / whole : 0) +
               " of the time");
  TextTable table({"time", "of idle", "gaps", "cause"});
  std::vector<int> order(kGapCauses);
  for (int k = 0; k < kGapCauses; ++k) order[static_cast<size_t>(k)] = k;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return causes[a] > causes[b]; });
  for (const int k : order) {
    if (causes[k] <= 0) continue;
    table.row({show_time(causes[k]), show_share(causes[k] / idle), show_count(counts[k]),
               gap_cause_name(static_cast<GapCause>(k))});
  }
  if (idle > listed) {
    table.row(
        {show_time(idle - listed), show_share((idle - listed) / idle), "",
         "in gaps shorter than " + show_time(analysis.limits.g1_min_gap_ns) + ", and at the ends"});
  }
  table.row({show_time(idle), show_share(1), show_count(gaps.size()), "in all"});
  table.print(page);

  std::vector<uint32_t> longest(gaps.size());
  for (size_t k = 0; k < longest.size(); ++k) longest[k] = static_cast<uint32_t>(k);
  const size_t shown = std::min<size_t>(gaps.size(), std::min<uint32_t>(options.rows, 5));
  std::partial_sort(longest.begin(), longest.begin() + static_cast<std::ptrdiff_t>(shown),
                    longest.end(), [&](uint32_t a, uint32_t b) {
                      const double x = length_of(gaps[a].begin, gaps[a].end);
                      const double y = length_of(gaps[b].begin, gaps[b].end);
                      return x != y ? x > y : a < b;
                    });
  if (shown == 0) return;
  page.blank();
  page.line("The longest of " + count_of(gaps.size(), "gap", "gaps"));
  TextTable list({"length", "after", "step", "cause and what came next"});
  for (size_t k = 0; k < shown; ++k) {
    const Gap& gap = gaps[longest[k]];
    const auto* largest = std::max_element(std::begin(gap.causes), std::end(gap.causes));
    std::string text = gap_cause_name(static_cast<GapCause>(largest - std::begin(gap.causes)));
    if (gap.op < trace.ops.size())
      text += " " + std::string(trace.strings.text(trace.ops.name[gap.op]));
    if (gap.next < trace.work.size())
      text += ", then " + std::string(trace.strings.text(trace.work.name[gap.next]));
    list.row({show_time(length_of(gap.begin, gap.end)),
              show_time(length_of(timeline.window().begin, gap.begin)),
              gap.step < timeline.steps().size() ? std::to_string(timeline.steps()[gap.step].number)
                                                 : std::string("-"),
              text});
  }
  list.print(page);
}

void text_allocations(Page& page, const Analysis& analysis, const TextOptions& options) {
  const Trace& trace = analysis.trace();
  const Interval window = analysis.timeline->window();
  struct Row {
    uint64_t count = 0;
    double bytes = 0;
    double time = 0;
  };
  std::unordered_map<std::string, Row> kinds;
  const auto add = [&](Row& row, uint64_t bytes, Ns start, Ns end) {
    ++row.count;
    row.bytes += static_cast<double>(bytes);
    row.time += length_of(start, end);
  };
  // Few combinations, many events: their texts are made once.
  std::map<std::tuple<uint8_t, uint8_t, uint8_t>, std::string> texts;
  const Allocations& events = trace.allocations;
  for (uint32_t row = 0; row < events.size(); ++row) {
    if (!window.contains(events.start[row])) continue;
    std::string& text = texts[{events.kind[row], events.how[row], events.memory[row]}];
    if (text.empty()) {
      text = or_unknown(code_text("allocations", "kind", events.kind[row]), "event");
      for (const std::string_view part : {code_text("allocations", "how", events.how[row]),
                                          code_text("allocations", "memory", events.memory[row])}) {
        if (!part.empty()) text += ", " + std::string(part);
      }
    }
    add(kinds[text], events.bytes[row], events.start[row], events.end[row]);
  }
  std::unordered_map<uint32_t, Row> calls;
  for (uint32_t row = 0; row < trace.calls.size(); ++row) {
    const auto kind = static_cast<CallKind>(trace.calls.kind[row]);
    if (kind != CallKind::allocate && kind != CallKind::free && kind != CallKind::host_allocate &&
        kind != CallKind::host_free)
      continue;
    if ((trace.calls.flags[row] & kExcluded) != 0 || !window.contains(trace.calls.start[row]))
      continue;
    add(calls[trace.calls.name[row]], trace.calls.bytes[row], trace.calls.start[row],
        trace.calls.end[row]);
  }
  std::vector<std::pair<std::string, Row>> rows(kinds.begin(), kinds.end());
  for (const auto& [name, row] : calls)
    rows.emplace_back("call of " + std::string(trace.strings.text(name)), row);
  if (rows.empty()) return;
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.second.time != b.second.time ? a.second.time > b.second.time : a.first < b.first;
  });
  if (rows.size() > options.rows) rows.resize(options.rows);
  page.heading("Memory taken and given back");
  TextTable table({"time", "bytes", "times", "what"});
  for (const auto& [name, row] : rows) {
    table.row({row.time > 0 ? show_time(row.time) : "-",
               row.bytes > 0 ? show_bytes(row.bytes) : "-", show_count(row.count), name});
  }
  table.print(page);
}

}  // namespace mill::prof
