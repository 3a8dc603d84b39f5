// Findings with their evidence.
#include <algorithm>

#include "profiler/export/html_summary.h"
#include "profiler/rules/figures.h"

namespace mill::prof::html {

namespace {

struct Place {
  Ns begin = 0;
  Ns end = 0;
  std::string label;
  bool known = false;
};

template <class T>
Place place_in(const T& table, uint32_t row) {
  if (row >= table.size()) return {};
  return {table.start[row], table.end[row], {}, true};
}

std::string_view or_unknown(std::string_view text) {
  return text.empty() ? "unknown" : text;
}

Place work_place(const Trace& trace, uint32_t row) {
  const Work& work = trace.work;
  Place place = place_in(work, row);
  if (!place.known) return place;
  if (work.kind[row] == static_cast<uint8_t>(WorkKind::copy)) {
    place.label =
        "copy, " + std::string(or_unknown(code_text("work", "copy_kind", work.copy_kind[row])));
    const std::string_view memory = code_text("work", "host_memory", work.host_memory[row]);
    if (!memory.empty()) place.label += ", " + std::string(memory);
  } else {
    place.label = trace.strings.text(work.name[row]);
    if (place.label.empty()) place.label = or_unknown(code_text("work", "kind", work.kind[row]));
  }
  if (work.bytes[row] > 0) {
    place.label += ", " + show_bytes(static_cast<double>(work.bytes[row]));
  }
  return place;
}

Place table_place(const Trace& trace, const Evidence& evidence) {
  const uint32_t row = evidence.row;
  const auto named = [&](const auto& table) {
    Place place = place_in(table, row);
    if (place.known) place.label = trace.strings.text(table.name[row]);
    return place;
  };
  const auto sized = [&](const auto& table, const char* what) {
    Place place = place_in(table, row);
    if (place.known) {
      place.label = what;
      if (table.bytes[row] > 0) {
        place.label += ", " + show_bytes(static_cast<double>(table.bytes[row]));
      }
    }
    return place;
  };
  switch (evidence.table) {
    case TableId::ops: return named(trace.ops);
    case TableId::calls: return named(trace.calls);
    case TableId::work: return work_place(trace, row);
    case TableId::copies: return sized(trace.copies, "copy request");
    case TableId::syncs: return sized(trace.syncs, "wait");
    case TableId::allocations: {
      const bool freed = row < trace.allocations.size() &&
                         trace.allocations.kind[row] == static_cast<uint8_t>(AllocKind::free);
      return sized(trace.allocations, freed ? "memory given back" : "allocation");
    }
    case TableId::loader: return sized(trace.loader, "loader");
    case TableId::overheads: return named(trace.overheads);
    case TableId::managed: return sized(trace.managed, "managed pages");
    default: return {};
  }
}

Place place_of(const Analysis& analysis, const Evidence& evidence) {
  if (evidence.table == TableId::steps) {
    const std::vector<Step>& steps = analysis.timeline->steps();
    if (evidence.row >= steps.size()) return {};
    const Step& step = steps[evidence.row];
    return {step.begin, step.end, "step " + std::to_string(step.number), true};
  }
  if (evidence.table == TableId::gaps) {
    if (evidence.row >= analysis.gaps.size()) return {};
    const Gap& gap = analysis.gaps[evidence.row];
    const auto cause = std::max_element(gap.causes, gap.causes + kGapCauses) - gap.causes;
    return {gap.begin, gap.end,
            std::string("idle, mostly ") + gap_cause_name(static_cast<GapCause>(cause)), true};
  }
  return table_place(analysis.trace(), evidence);
}

const char* table_name(TableId id) {
  switch (id) {
    case TableId::ops: return "ops";
    case TableId::calls: return "calls";
    case TableId::work: return "work";
    case TableId::copies: return "copies";
    case TableId::syncs: return "syncs";
    case TableId::allocations: return "allocations";
    case TableId::loader: return "loader";
    case TableId::steps: return "steps";
    case TableId::gaps: return "gaps";
    case TableId::overheads: return "overheads";
    case TableId::managed: return "managed";
    default: return "";
  }
}

// [table, row in the page or -1, start, length, label]
void write_evidence(Json& json, const Analysis& analysis, const Scene& scene,
                    const Finding& finding, uint32_t limit) {
  json.count("evidence_total", std::max<uint64_t>(finding.evidence_total, finding.evidence.size()));
  json.key("evidence").begin_array();
  uint32_t written = 0;
  for (const Evidence& evidence : finding.evidence) {
    if (written == limit) break;
    const Place place = place_of(analysis, evidence);
    if (!place.known) continue;
    int64_t kept = -1;
    const Events* events = scene.table(evidence.table);
    if (events != nullptr && evidence.row < events->kept_as.size() &&
        events->kept_as[evidence.row] != kNoRow) {
      kept = events->kept_as[evidence.row];
    }
    std::string label = clip(place.label, 160);
    const uint32_t step = analysis.timeline->step_at(place.begin);
    if (step != kNoRow && evidence.table != TableId::steps) {
      label += ", step " + std::to_string(analysis.timeline->steps()[step].number);
    }
    const int64_t begin = scene.since_origin(place.begin);
    json.begin_array().text(table_name(evidence.table)).integer(kept).integer(begin);
    json.integer(std::max<int64_t>(scene.since_origin(place.end) - begin, 0));
    json.text(label).end_array();
    ++written;
  }
  json.end_array();
}

void write_finding(Json& json, const Analysis& analysis, const Scene& scene, const Finding& finding,
                   const Limits& limits) {
  json.begin_object().text("rule", rule_id_text(finding.rule));
  json.text("rule_name", rule_name(finding.rule));
  json.text("severity", severity_name(finding.severity));
  json.text("confidence", confidence_name(finding.confidence));
  const Trace& trace = analysis.trace();
  if (finding.device < trace.devices.size()) json.count("device", finding.device);
  json.text("title", clip(finding.title, 1000)).text("advice", clip(finding.advice, 4000));
  json.count("rank", finding.rank).count("joint_rank", finding.joint_rank);
  json.flag("withheld", finding.withheld);
  json.key("saving").begin_array().integer(finding.saving.lower);
  json.integer(finding.saving.expected).integer(finding.saving.upper).end_array();
  if (finding.link_source != LinkSource::none) {
    json.text("link_source", link_source_name(finding.link_source));
  }
  json.text("knob", finding.fix.knob).number("knob_value", finding.fix.value);
  json.flag("can_apply", finding.fix.engine_can_apply);
  json.key("facts").begin_array();
  for (const Fact& fact : finding.facts) {
    json.begin_array().text(fact.name).number(fact.value);
    json.count(static_cast<uint64_t>(fact.unit));
    json.text(figure_meaning(finding.rule, fact.name)).end_array();
  }
  json.end_array();
  write_evidence(json, analysis, scene, finding, limits.evidence);
  json.end_object();
}

}  // namespace

void write_findings(Json& json, const Analysis& analysis, const Scene& scene,
                    const Limits& limits) {
  const size_t shown = std::min<size_t>(analysis.findings.size(), limits.findings);
  json.count("more_findings", analysis.findings.size() - shown);
  json.key("findings").begin_array();
  for (size_t k = 0; k < shown; ++k) {
    write_finding(json, analysis, scene, analysis.findings[k], limits);
  }
  json.end_array();
}

}  // namespace mill::prof::html
