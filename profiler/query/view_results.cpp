// Steps, gaps, health, findings, and what rows refer to, as tables.
#include <charconv>

#include "profiler/query/view_builder.h"
#include "profiler/rules/figures.h"

namespace mill::prof {

namespace {

// Calls give(name, unit, getter) forms over a vector of structs.
template <class Row>
class Rows {
 public:
  Rows(const Analysis& analysis, std::string_view name, const std::vector<Row>& rows)
      : builder(analysis, name, static_cast<uint32_t>(rows.size())), rows_(rows.data()) {}

  template <class Get>
  void integers(const char* name, Unit unit, Get get) {
    builder.integers(name, unit, false, at(get));
  }
  // An index; none where it is kNoRow.
  template <class Get>
  void links(const char* name, Unit unit, Get get) {
    builder.integers(name, unit, true, [rows = rows_, get](uint32_t row) {
      const uint32_t link = get(rows[row]);
      return link == kNoRow ? int64_t{-1} : int64_t{link};
    });
  }
  template <class Get>
  void naturals(const char* name, Unit unit, Get get) {
    builder.naturals(name, unit, at(get));
  }
  template <class Get>
  void reals(const char* name, Unit unit, Get get) {
    builder.reals(name, unit, at(get));
  }
  template <class Get>
  void texts(const char* name, Get get) {
    builder.texts(name,
                  [rows = rows_, get](uint32_t row) { return std::string_view(get(rows[row])); });
  }
  template <class Get>
  auto at(Get get) const {
    return [rows = rows_, get](uint32_t row) { return get(rows[row]); };
  }

  ViewBuilder builder;

 private:
  const Row* rows_;
};

TableView steps(const Analysis& analysis) {
  Rows<Step> rows(analysis, "steps", analysis.timeline->steps());
  const auto start = [](const Step& s) { return s.begin; };
  const auto end = [](const Step& s) { return s.end; };
  rows.integers("start", Unit::ns, start);
  rows.integers("end", Unit::ns, end);
  rows.integers("number", Unit::none, [](const Step& s) { return s.number; });
  rows.links("thread", Unit::thread, [](const Step& s) { return s.thread; });
  rows.integers("warm_up", Unit::none, [](const Step& s) { return s.warm_up; });
  rows.integers("kernel_ns", Unit::ns, [](const Step& s) { return s.kernel; });
  rows.integers("copy_ns", Unit::ns, [](const Step& s) { return s.copy; });
  rows.integers("fill_ns", Unit::ns, [](const Step& s) { return s.fill; });
  rows.integers("call_ns", Unit::ns, [](const Step& s) { return s.call; });
  rows.integers("loader_ns", Unit::ns, [](const Step& s) { return s.loader; });
  rows.integers("host_ns", Unit::ns, [](const Step& s) { return s.host; });
  rows.integers("other_ns", Unit::ns, [](const Step& s) { return s.other; });
  rows.builder.duration(rows.at(start), rows.at(end));
  rows.builder.thread_number(rows.at([](const Step& s) { return s.thread; }));
  return rows.builder.take();
}

constexpr const char* kCauseColumns[] = {
    "profiler_ns",   "module_load_ns", "allocation_ns", "sync_ns",    "copy_wait_ns", "loader_ns",
    "queue_full_ns", "launch_ns",      "latency_ns",    "host_op_ns", "unknown_ns"};
static_assert(std::size(kCauseColumns) == kGapCauses);

TableView gaps(const Analysis& analysis) {
  Rows<Gap> rows(analysis, "gaps", analysis.gaps);
  const Timeline* timeline = analysis.timeline.get();
  const auto start = [](const Gap& g) { return g.begin; };
  const auto end = [](const Gap& g) { return g.end; };
  const auto device = [](const Gap& g) { return g.device; };
  rows.integers("start", Unit::ns, start);
  rows.integers("end", Unit::ns, end);
  rows.links("device", Unit::device, device);
  rows.links("step_index", Unit::none, [](const Gap& g) { return g.step; });
  rows.builder.integers("step_number", Unit::none, true,
                        rows.at([timeline](const Gap& g) -> int64_t {
                          const auto& all = timeline->steps();
                          return g.step < all.size() ? all[g.step].number : -1;
                        }));
  rows.links("next", Unit::row, [](const Gap& g) { return g.next; });
  rows.links("op", Unit::row, [](const Gap& g) { return g.op; });
  for (int cause = 0; cause < kGapCauses; ++cause)
    rows.integers(kCauseColumns[cause], Unit::ns,
                  [cause](const Gap& g) { return g.causes[cause]; });
  rows.texts("cause", [](const Gap& g) {  // the largest
    int largest = 0;
    for (int k = 1; k < kGapCauses; ++k) {
      if (g.causes[k] > g.causes[largest]) largest = k;
    }
    return gap_cause_name(static_cast<GapCause>(largest));
  });
  rows.builder.duration(rows.at(start), rows.at(end));
  const Trace* trace = &analysis.trace();
  rows.builder.interned("op_name", rows.at([trace](const Gap& g) -> uint32_t {
    return g.op < trace->ops.size() ? trace->ops.name[g.op] : 0;
  }));
  rows.builder.interned("next_name", rows.at([trace](const Gap& g) -> uint32_t {
    return g.next < trace->work.size() ? trace->work.name[g.next] : 0;
  }));
  rows.builder.device_name(rows.at(device));
  return rows.builder.take();
}

TableView health(const Analysis& analysis) {
  Rows<HealthItem> rows(analysis, "health", analysis.health.items);
  rows.texts("code", [](const HealthItem& h) { return health_code_name(h.code); });
  rows.texts("effect", [](const HealthItem& h) { return confidence_name(h.effect); });
  rows.naturals("affected", Unit::none, [](const HealthItem& h) { return h.count; });
  rows.naturals("total", Unit::none, [](const HealthItem& h) { return h.total; });
  rows.texts("text", [](const HealthItem& h) -> const std::string& { return h.text; });
  return rows.builder.take();
}

std::string facts_text(const Finding& finding) {
  std::string text;
  for (const Fact& fact : finding.facts) {
    char number[40];
    if (!text.empty()) text += "; ";
    text += fact.name;
    text += '=';
    text.append(number, std::to_chars(number, number + sizeof number, fact.value).ptr);
  }
  return text;
}

TableView findings(const Analysis& analysis) {
  Rows<Finding> rows(analysis, "findings", analysis.findings);
  const auto start = [](const Finding& f) { return f.window.begin; };
  const auto end = [](const Finding& f) { return f.window.end; };
  const auto device = [](const Finding& f) { return f.device; };
  rows.integers("rank", Unit::none, [](const Finding& f) { return f.rank; });
  rows.texts("rule", [](const Finding& f) { return rule_id_text(f.rule); });
  rows.texts("rule_name", [](const Finding& f) { return rule_name(f.rule); });
  rows.texts("severity", [](const Finding& f) { return severity_name(f.severity); });
  rows.texts("confidence", [](const Finding& f) { return confidence_name(f.confidence); });
  rows.links("device", Unit::device, device);
  rows.integers("start", Unit::ns, start);
  rows.integers("end", Unit::ns, end);
  rows.texts("title", [](const Finding& f) -> const std::string& { return f.title; });
  rows.texts("advice", [](const Finding& f) -> const std::string& { return f.advice; });
  rows.integers("saving_lower_ns", Unit::ns, [](const Finding& f) { return f.saving.lower; });
  rows.integers("saving_expected_ns", Unit::ns, [](const Finding& f) { return f.saving.expected; });
  rows.integers("saving_upper_ns", Unit::ns, [](const Finding& f) { return f.saving.upper; });
  rows.integers("withheld", Unit::none, [](const Finding& f) { return f.withheld; });
  rows.integers("joint_rank", Unit::none, [](const Finding& f) { return f.joint_rank; });
  rows.naturals("evidence_total", Unit::none, [](const Finding& f) { return f.evidence_total; });
  rows.texts("link_source", [](const Finding& f) { return link_source_name(f.link_source); });
  rows.texts("fix_knob", [](const Finding& f) { return f.fix.knob; });
  rows.reals("fix_value", Unit::none, [](const Finding& f) { return f.fix.value; });
  rows.integers("engine_can_apply", Unit::none,
                [](const Finding& f) { return f.fix.engine_can_apply; });
  auto composed = std::make_shared<std::vector<std::string>>();
  for (const Finding& finding : analysis.findings) composed->push_back(facts_text(finding));
  rows.builder.texts("facts",
                     [composed](uint32_t row) -> std::string_view { return (*composed)[row]; });
  rows.builder.duration(rows.at(start), rows.at(end));
  rows.builder.device_name(rows.at(device));
  return rows.builder.take();
}

// One row per figure of a finding.
TableView figures(const Analysis& analysis) {
  struct Figure {
    const Finding* of;
    const Fact* fact;
  };
  auto list = std::make_shared<std::vector<Figure>>();
  for (const Finding& finding : analysis.findings) {
    for (const Fact& fact : finding.facts) list->push_back({&finding, &fact});
  }
  ViewBuilder builder(analysis, "figures", static_cast<uint32_t>(list->size()));
  builder.integers("rank", Unit::none, false,
                   [list](uint32_t row) { return (*list)[row].of->rank; });
  builder.texts("rule", [list](uint32_t row) { return rule_id_text((*list)[row].of->rule); });
  builder.texts("name", [list](uint32_t row) { return (*list)[row].fact->name; });
  builder.reals("value", Unit::none, [list](uint32_t row) { return (*list)[row].fact->value; });
  builder.texts("unit", [list](uint32_t row) { return unit_text((*list)[row].fact->unit); });
  builder.texts("meaning", [list](uint32_t row) {
    const Figure& figure = (*list)[row];
    return figure_meaning(figure.of->rule, figure.fact->name);
  });
  return builder.take();
}

TableView devices(const Analysis& analysis) {
  Rows<DeviceInfo> rows(analysis, "devices", analysis.trace().devices);
  using D = DeviceInfo;
  rows.naturals("number", Unit::none, [](const D& d) { return d.number; });
  rows.texts("name", [](const D& d) -> const std::string& { return d.name; });
  rows.texts("description", [](const D& d) -> const std::string& { return d.description; });
  rows.texts("kind", [](const D& d) {
    if (d.kind == DeviceKind::cpu) return "cpu";
    return d.kind == DeviceKind::accelerator ? "accelerator" : "";
  });
  rows.integers("modelled", Unit::none, [](const D& d) { return d.modelled; });
  rows.integers("copy_engines", Unit::none, [](const D& d) { return d.copy_engines; });
  rows.integers("host_threads", Unit::none, [](const D& d) { return d.host_threads; });
  rows.naturals("memory_bytes", Unit::bytes, [](const D& d) { return d.memory_bytes; });
  rows.reals("memory_bytes_per_s", Unit::none, [](const D& d) { return d.memory_bytes_per_s; });
  rows.reals("to_device_bytes_per_s", Unit::none,
             [](const D& d) { return d.to_device_bytes_per_s; });
  rows.reals("to_host_bytes_per_s", Unit::none, [](const D& d) { return d.to_host_bytes_per_s; });
  rows.reals("peer_bytes_per_s", Unit::none, [](const D& d) { return d.peer_bytes_per_s; });
  rows.integers("link_generation", Unit::none, [](const D& d) { return d.link_generation; });
  rows.integers("link_generation_max", Unit::none,
                [](const D& d) { return d.link_generation_max; });
  rows.integers("link_width", Unit::none, [](const D& d) { return d.link_width; });
  rows.integers("link_width_max", Unit::none, [](const D& d) { return d.link_width_max; });
  return rows.builder.take();
}

TableView threads(const Analysis& analysis) {
  Rows<ThreadInfo> rows(analysis, "threads", analysis.trace().threads);
  rows.naturals("process", Unit::none, [](const ThreadInfo& t) { return t.process; });
  rows.naturals("number", Unit::none, [](const ThreadInfo& t) { return t.number; });
  rows.texts("name", [](const ThreadInfo& t) -> const std::string& { return t.name; });
  return rows.builder.take();
}

TableView streams(const Analysis& analysis) {
  Rows<StreamInfo> rows(analysis, "streams", analysis.trace().streams);
  const auto device = [](const StreamInfo& s) { return s.device; };
  rows.links("device", Unit::device, device);
  rows.naturals("number", Unit::none, [](const StreamInfo& s) { return s.number; });
  rows.texts("name", [](const StreamInfo& s) -> const std::string& { return s.name; });
  rows.integers("legacy_default", Unit::none, [](const StreamInfo& s) { return s.legacy_default; });
  rows.builder.device_name(rows.at(device));
  return rows.builder.take();
}

TableView links(const Analysis& analysis) {
  Rows<LinkLine> rows(analysis, "links", analysis.links.lines());
  rows.builder.integers(
      "device_number", Unit::none, true, rows.at([](const LinkLine& l) -> int64_t {
        return l.device == LinkModel::kAnyDevice ? -1 : ViewBuilder::clamped(l.device);
      }));
  rows.texts("kind", [](const LinkLine& l) {
    return code_text("work", "copy_kind", static_cast<uint32_t>(l.kind));
  });
  rows.texts("memory", [](const LinkLine& l) {
    return code_text("work", "host_memory", static_cast<uint32_t>(l.memory));
  });
  rows.reals("alpha_ns", Unit::ns, [](const LinkLine& l) { return l.alpha_ns; });
  rows.reals("bytes_per_s", Unit::none, [](const LinkLine& l) { return l.bytes_per_s; });
  rows.reals("bytes_per_s_low", Unit::none, [](const LinkLine& l) { return l.bytes_per_s_low; });
  rows.texts("source", [](const LinkLine& l) { return link_source_name(l.source); });
  rows.integers("copies", Unit::none, [](const LinkLine& l) { return l.copies; });
  return rows.builder.take();
}

}  // namespace

std::optional<TableView> open_result(const Analysis& analysis, std::string_view name) {
  if (name == "steps") return steps(analysis);
  if (name == "gaps") return gaps(analysis);
  if (name == "health") return health(analysis);
  if (name == "findings") return findings(analysis);
  if (name == "figures") return figures(analysis);
  if (name == "devices") return devices(analysis);
  if (name == "threads") return threads(analysis);
  if (name == "streams") return streams(analysis);
  if (name == "links") return links(analysis);
  return std::nullopt;
}

}  // namespace mill::prof
