#include "profiler/plugin/view.h"

#include <algorithm>
#include <utility>

namespace mill::prof {

namespace {

const char* step_source_text(StepSource source) {
  switch (source) {
    case StepSource::marks: return "marks";
    case StepSource::ranges: return "ranges";
    case StepSource::period: return "period";
    case StepSource::none: break;
  }
  return "none";
}

}  // namespace

const char* table_text(TableId table) {
  switch (table) {
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
    case TableId::none: break;
  }
  return "";
}

View::View(std::unique_ptr<const Analysis> analysis) : analysis_(std::move(analysis)) {
  const Timeline& timeline = *analysis_->timeline;
  const Ns length = timeline.analysed().length();
  for (const DeviceView& device : timeline.devices()) {
    if (length > 0) {
      busy_ =
          std::max(busy_, static_cast<double>(device.busy.length()) / static_cast<double>(length));
    }
  }
}

void View::summary(mill_prof_summary* out) const {
  const Analysis& a = *analysis_;
  const Timeline& timeline = *a.timeline;
  out->health = static_cast<int32_t>(a.health.verdict);
  out->steps = timeline.window_steps();
  out->findings = findings();
  for (const Finding& finding : a.findings)
    out->above_info += finding.severity > Severity::info ? 1u : 0u;
  out->health_text = a.health.summary.c_str();
  out->step_source = step_source_text(timeline.step_source());
  out->window_begin_ns = timeline.window().begin;
  out->window_end_ns = timeline.window().end;
  out->step_ns = timeline.step_length();
  out->busy_share = busy_;
  out->replay_error = a.replay->error();
  out->joint_saving_ns = a.joint_saving;
  out->records = timeline.trace().rows();
  // What was given up or is of another clock was not lost.
  for (const Loss& loss : timeline.trace().losses) {
    if (loss.where != "store" && loss.where != "other clock") out->lost += loss.lost;
  }
  out->excluded = a.health.excluded;
}

void View::finding(uint32_t index, mill_prof_finding* out) const {
  const Finding& f = analysis_->findings[index];
  const Trace& trace = analysis_->trace();
  out->rule = rule_id_text(f.rule);
  out->title = f.title.c_str();
  out->advice = f.advice.c_str();
  out->link_source = f.link_source == LinkSource::none ? "" : link_source_name(f.link_source);
  out->fix = f.fix.knob;
  out->can_apply = f.fix.engine_can_apply;
  out->fix_value = f.fix.value;
  out->severity = static_cast<int32_t>(f.severity);
  out->confidence = static_cast<int32_t>(f.confidence);
  out->device = f.device < trace.devices.size()
                    ? static_cast<uint32_t>(trace.devices[f.device].number)
                    : UINT32_MAX;
  out->joint_rank = f.joint_rank;
  out->withheld = f.withheld;
  out->facts = static_cast<uint32_t>(f.facts.size());
  out->saving_lower_ns = f.saving.lower;
  out->saving_expected_ns = f.saving.expected;
  out->saving_upper_ns = f.saving.upper;
  out->evidence = f.evidence_total;
}

uint32_t View::facts(uint32_t index, mill_prof_fact* out, uint32_t capacity) const {
  const std::vector<Fact>& facts = analysis_->findings[index].facts;
  const auto n = static_cast<uint32_t>(facts.size());
  for (uint32_t k = 0; k < std::min(n, capacity); ++k)
    out[k] = {facts[k].name, unit_text(facts[k].unit), facts[k].value};
  return n;
}

uint32_t View::evidence(uint32_t index, mill_prof_evidence* out, uint32_t capacity) const {
  const std::vector<Evidence>& rows = analysis_->findings[index].evidence;
  const auto n = static_cast<uint32_t>(rows.size());
  for (uint32_t k = 0; k < std::min(n, capacity); ++k)
    out[k] = {table_text(rows[k].table), rows[k].row};
  return n;
}

bool View::whatif(const mill_prof_change& change, mill_prof_prediction* out,
                  std::string* why) const {
  const Analysis& a = *analysis_;
  if (a.health.verdict == Confidence::refuse) {
    *why = a.health.summary;
    return false;
  }
  WhatIf what;
  what.to_device_bytes_per_s = change.to_device_bytes_per_s;
  what.to_host_bytes_per_s = change.to_host_bytes_per_s;
  what.pinned = change.pinned != 0;
  what.prefetch_depth = change.prefetch_depth;
  what.kernel_speed = change.kernel_speed;
  what.launch_speed = change.launch_speed;
  what.no_loader_wait = change.no_loader_wait != 0;
  what.other_device = change.flops_ratio > 0 || change.memory_bandwidth_ratio > 0;
  if (change.flops_ratio > 0) what.flops_ratio = change.flops_ratio;
  if (change.memory_bandwidth_ratio > 0)
    what.memory_bandwidth_ratio = change.memory_bandwidth_ratio;
  Plan plan = plan_of(what, *a.timeline, a.links);
  std::vector<bool> taken(a.findings.size());
  for (uint32_t k = 0; k < change.n_findings; ++k) {
    const uint32_t index = change.findings[k];
    if (!taken[index]) plan.merge(a.findings[index].plan);
    taken[index] = true;
  }
  out->before_ns = a.replay->replayed();
  out->after_ns = a.replay->run(plan).span;
  out->measured_ns = a.replay->measured();
  out->replay_error = a.replay->error();
  return true;
}

Result::Result(QueryResult result) : result_(std::move(result)) {
  texts_.resize(result_.columns.size());
  for (size_t k = 0; k < texts_.size(); ++k) {
    QueryResult::Column& column = result_.columns[k];
    if (column.kind == ValueKind::text) {
      texts_[k].reserve(column.cells.size());
      for (uint64_t row = 0; row < result_.rows; ++row)
        texts_[k].push_back(result_.text(k, row).data());
    } else if (column.kind == ValueKind::uint64) {
      // The C API has one kind of integer: what does not fit becomes the largest that does.
      for (Cell& cell : column.cells)
        cell.i = static_cast<int64_t>(std::min<uint64_t>(cell.u, INT64_MAX));
    }
  }
}

void Result::column(uint32_t index, mill_prof_column* out) const {
  const QueryResult::Column& column = result_.columns[index];
  *out = {};
  out->name = column.name.c_str();
  out->unit = unit_text(column.unit);
  out->rows = result_.rows;
  static_assert(sizeof(Cell) == 8);
  if (column.kind == ValueKind::text) {
    out->type = MILL_PROF_TEXT;
    out->data = texts_[index].data();
  } else {
    out->type = column.kind == ValueKind::real ? MILL_PROF_F64 : MILL_PROF_I64;
    out->data = column.cells.data();
  }
}

}  // namespace mill::prof
