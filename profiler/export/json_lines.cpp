#include "profiler/export/columns.h"
#include "profiler/export/export.h"
#include "profiler/export/writer.h"

namespace mill::prof {

namespace {

std::string_view table_text(TableId table) {
  switch (table) {
    case TableId::none: return "";
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
  }
  return "";
}

// What of a recording no table says.
void header(Writer& out, const Analysis& analysis) {
  const Trace& trace = analysis.trace();
  out.put("{\"table\":\"trace\",\"source\":");
  out.json(trace.source);
  out.put(",\"dialect\":");
  out.json(trace.dialect);
  out.put(",\"verdict\":");
  out.json(confidence_name(analysis.health.verdict));
  out.put(",\"summary\":");
  out.json(analysis.health.summary);
  out.put(",\"window\":[");
  out.integer(analysis.timeline->window().begin);
  out.put(',');
  out.integer(analysis.timeline->window().end);
  out.put("],\"window_steps\":");
  out.natural(analysis.timeline->window_steps());
  out.put(",\"joint_saving_ns\":");
  out.integer(analysis.joint_saving);
  out.put(",\"replay_error\":");
  if (analysis.replay != nullptr) {
    out.json_real(analysis.replay->error());
    out.put(",\"contradicted_orders\":");
    out.natural(analysis.replay->contradictions());
  } else {
    out.put("null");
  }
  out.put(",\"cut_off\":");
  out.put(trace.cut_off ? "true" : "false");
  out.put(",\"skipped\":");
  out.natural(trace.skipped);
  out.put(",\"unfinished\":");
  out.natural(trace.unfinished);
  out.put(",\"losses\":[");
  for (size_t k = 0; k < trace.losses.size(); ++k) {
    out.put(k > 0 ? ",{\"where\":" : "{\"where\":");
    out.json(trace.losses[k].where);
    out.put(",\"lost\":");
    out.natural(trace.losses[k].lost);
    out.put('}');
  }
  out.put("],\"notes\":[");
  for (size_t k = 0; k < trace.notes.size(); ++k) {
    if (k > 0) out.put(',');
    out.json(trace.notes[k]);
  }
  out.put("]}\n");
}

// Figures and evidence are lists of their own.
void details(Writer& out, const Finding& finding) {
  out.put(",\"figures\":{");
  for (size_t k = 0; k < finding.facts.size(); ++k) {
    if (k > 0) out.put(',');
    out.json(finding.facts[k].name);
    out.put(':');
    out.json_real(finding.facts[k].value);
  }
  out.put("},\"evidence\":[");
  for (size_t k = 0; k < finding.evidence.size(); ++k) {
    out.put(k > 0 ? ",[\"" : "[\"");
    out.put(table_text(finding.evidence[k].table));
    out.put("\",");
    out.natural(finding.evidence[k].row);
    out.put(']');
  }
  out.put(']');
}

void table(Writer& out, const Analysis& analysis, std::string_view name) {
  const std::optional<TableView> view = TableView::open(analysis, name);
  if (!view) return;
  const std::vector<Column>& columns = view->columns();
  const std::string first = "{\"table\":" + json_string(name);
  std::vector<std::string> keys;
  keys.reserve(columns.size());
  for (const Column& column : columns) keys.push_back("," + json_string(column.name) + ":");
  RowReader rows(*view);
  rows.each([&](uint32_t row) {
    out.put(first);
    for (size_t k = 0; k < columns.size(); ++k) {
      out.put(keys[k]);
      if (rows.none(k)) {
        out.put("null");
        continue;
      }
      switch (columns[k].kind) {
        case ValueKind::int64: out.integer(rows.cell(k).i); break;
        case ValueKind::uint64: out.natural(rows.cell(k).u); break;
        case ValueKind::real: out.json_real(rows.cell(k).d); break;
        case ValueKind::text: out.json(rows.text(k)); break;
      }
    }
    if (name == "findings") details(out, analysis.findings[row]);
    out.put("}\n");
    return out.ok();
  });
}

}  // namespace

bool export_json_lines(const Analysis& analysis, const Sink& sink) {
  Writer out(sink);
  header(out, analysis);
  for (const std::string_view name : TableView::names()) {
    // These two show rows of work once more.
    if (name == "kernels" || name == "transfers") continue;
    if (!out.ok()) return false;
    table(out, analysis, name);
  }
  return out.finish();
}

}  // namespace mill::prof
