// Sums by name, kind and cause, of the analysed window.
#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <unordered_map>

#include "profiler/export/html_summary.h"

namespace mill::prof::html {

namespace {

// Of tables with rows for each device: as many as hundreds of devices have.
constexpr size_t kMostRows = 5000;

// A length inside the window, never negative.
Ns clipped(Interval window, Ns start, Ns end) {
  return Interval{std::max(start, window.begin), std::min(end, window.end)}.length();
}

struct NamedSum {
  uint32_t name = 0;
  uint64_t count = 0;
  double total = 0;
  double self = 0;
  double device = 0;
  Ns shortest = INT64_MAX;
  Ns longest = 0;
};

std::vector<NamedSum> by_total(std::unordered_map<uint32_t, NamedSum>& sums) {
  std::vector<NamedSum> list;
  for (auto& [name, sum] : sums) {
    sum.name = name;
    list.push_back(sum);
  }
  std::sort(list.begin(), list.end(), [](const NamedSum& a, const NamedSum& b) {
    return a.total != b.total ? a.total > b.total : a.name < b.name;
  });
  return list;
}

void write_kernels(Json& json, const Analysis& analysis, const Limits& limits) {
  const Timeline& timeline = *analysis.timeline;
  const Work& work = timeline.trace().work;
  std::unordered_map<uint32_t, NamedSum> sums;
  for (const DeviceView& device : timeline.devices()) {
    for (const uint32_t row : device.kernels) {
      const Ns length = clipped(timeline.window(), work.start[row], work.end[row]);
      NamedSum& sum = sums[work.name[row]];
      ++sum.count;
      sum.total += static_cast<double>(length);
      sum.shortest = std::min(sum.shortest, length);
      sum.longest = std::max(sum.longest, length);
    }
  }
  const std::vector<NamedSum> list = by_total(sums);
  json.count("kernel_names", list.size()).key("kernels").begin_array();
  for (size_t k = 0; k < std::min<size_t>(list.size(), limits.table_rows); ++k) {
    const NamedSum& sum = list[k];
    json.begin_array().text(clip(timeline.trace().strings.text(sum.name), limits.text));
    json.count(sum.count).number(sum.total).number(sum.total / static_cast<double>(sum.count));
    json.integer(sum.shortest).integer(sum.longest).end_array();
  }
  json.end_array();
}

void write_ops(Json& json, const Analysis& analysis, const Limits& limits) {
  const Timeline& timeline = *analysis.timeline;
  const Trace& trace = timeline.trace();
  const Ops& ops = trace.ops;
  const Interval window = timeline.window();
  std::vector<double> inside(ops.size(), 0);  // time of the ops that ran in each
  for (uint32_t r = 0; r < ops.size(); ++r) {
    if (ops.parent[r] < ops.size()) {
      inside[ops.parent[r]] += static_cast<double>(clipped(window, ops.start[r], ops.end[r]));
    }
  }
  std::unordered_map<uint32_t, NamedSum> sums;
  for (uint32_t r = 0; r < ops.size(); ++r) {
    const Ns length = clipped(window, ops.start[r], ops.end[r]);
    if (length == 0 && !window.contains(ops.start[r])) continue;
    NamedSum& sum = sums[ops.name[r]];
    ++sum.count;
    // An op inside another of its name is in that one's time already.
    const bool recursive = ops.parent[r] < ops.size() && ops.name[ops.parent[r]] == ops.name[r];
    if (!recursive) sum.total += static_cast<double>(length);
    sum.self += std::max(static_cast<double>(length) - inside[r], 0.0);
  }
  for (const DeviceView& device : timeline.devices()) {
    for (const uint32_t row : device.work) {
      const uint32_t op = trace.work.op[row];
      if (op >= ops.size()) continue;
      const Ns length = clipped(window, trace.work.start[row], trace.work.end[row]);
      sums[ops.name[op]].device += static_cast<double>(length);
    }
  }
  const std::vector<NamedSum> list = by_total(sums);
  json.count("op_names", list.size()).key("ops").begin_array();
  for (size_t k = 0; k < std::min<size_t>(list.size(), limits.table_rows); ++k) {
    const NamedSum& sum = list[k];
    json.begin_array().text(clip(trace.strings.text(sum.name), limits.text)).count(sum.count);
    json.number(sum.total).number(sum.self).number(sum.device).end_array();
  }
  json.end_array();
}

void write_copies(Json& json, const Analysis& analysis) {
  struct Sum {
    uint64_t count = 0;
    double bytes = 0;
    double time = 0;
    double hidden = 0;    // under kernels
    double expected = 0;  // by the link model
    bool modelled = true;
    LinkSource source = LinkSource::none;
  };
  const Timeline& timeline = *analysis.timeline;
  const Trace& trace = timeline.trace();
  const Work& work = trace.work;
  std::map<std::tuple<uint32_t, uint8_t, uint8_t>, std::pair<Sum, LinkLine>> sums;
  for (const DeviceView& device : timeline.devices()) {
    for (const uint32_t row : device.copies) {
      const auto key = std::tuple{device.device, work.copy_kind[row], work.host_memory[row]};
      const auto [found, added] = sums.try_emplace(key);
      auto& [sum, line] = found->second;
      if (added) {
        line = analysis.links.line(trace, device.device, static_cast<CopyKind>(work.copy_kind[row]),
                                   static_cast<Memory>(work.host_memory[row]));
        sum.source = line.source;
      }
      const Interval part = {std::max(work.start[row], timeline.window().begin),
                             std::min(work.end[row], timeline.window().end)};
      sum.count += std::max<uint32_t>(work.copies[row], 1);
      sum.bytes += static_cast<double>(work.bytes[row]);
      sum.time += static_cast<double>(part.length());
      sum.hidden += static_cast<double>(device.kernel.overlap(part));
      const double expected = line.time_ns(work.bytes[row]);
      sum.modelled = sum.modelled && expected >= 0;
      sum.expected += expected;
    }
  }
  json.key("copies").begin_array();
  size_t rows = 0;
  for (const auto& [key, value] : sums) {
    if (++rows > kMostRows) break;
    const Sum& sum = value.first;
    const auto& [device, kind, memory] = key;
    json.begin_array().count(device).text(code_text("work", "copy_kind", kind));
    json.text(code_text("work", "host_memory", memory)).count(sum.count).number(sum.bytes);
    json.number(sum.time).number(sum.modelled ? sum.expected : -1).number(sum.hidden);
    json.text(link_source_name(sum.source)).end_array();
  }
  json.end_array();
}

void write_gaps(Json& json, const Analysis& analysis) {
  struct Sum {
    uint64_t count = 0;  // gaps that have some of it
    uint64_t main = 0;   // ... most of all causes
    double total = 0;
    Ns longest = 0;
  };
  std::map<std::pair<uint32_t, int>, Sum> sums;
  for (const Gap& gap : analysis.gaps) {
    const auto most =
        static_cast<int>(std::max_element(gap.causes, gap.causes + kGapCauses) - gap.causes);
    for (int cause = 0; cause < kGapCauses; ++cause) {
      if (gap.causes[cause] <= 0) continue;
      Sum& sum = sums[{gap.device, cause}];
      ++sum.count;
      sum.main += cause == most ? 1 : 0;
      sum.total += static_cast<double>(gap.causes[cause]);
      sum.longest = std::max(sum.longest, gap.causes[cause]);
    }
  }
  json.number("gap_threshold", analysis.limits.g1_min_gap_ns).key("gaps").begin_array();
  size_t rows = 0;
  for (const auto& [key, sum] : sums) {
    if (++rows > kMostRows) break;
    json.begin_array().count(key.first).count(static_cast<uint64_t>(key.second));
    json.text(gap_cause_name(static_cast<GapCause>(key.second))).count(sum.count);
    json.count(sum.main).number(sum.total).integer(sum.longest).end_array();
  }
  json.end_array();
}

}  // namespace

void write_tables(Json& json, const Analysis& analysis, const Limits& limits) {
  write_kernels(json, analysis, limits);
  write_ops(json, analysis, limits);
  write_copies(json, analysis);
  write_gaps(json, analysis);
}

}  // namespace mill::prof::html
