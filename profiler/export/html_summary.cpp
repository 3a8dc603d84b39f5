#include "profiler/export/html_summary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "profiler/export/sentences.h"

namespace mill::prof::html {

namespace {

const char* step_source_text(StepSource source) {
  switch (source) {
    case StepSource::marks: return "marked by the program";
    case StepSource::ranges: return "from ranges";
    case StepSource::period: return "from a period in the launched kernels";
    default: return "";
  }
}

double share(Ns part, Ns whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

void write_devices(Json& json, const Analysis& analysis) {
  const Timeline& timeline = *analysis.timeline;
  json.key("devices").begin_array();
  const Trace& trace = timeline.trace();
  const auto named = [](const auto& list) { return std::min<size_t>(list.size(), kMostNamed); };
  for (uint32_t index = 0; index < named(trace.devices); ++index) {
    const DeviceInfo& device = trace.devices[index];
    json.begin_object().text("name", clip(device.name, 200)).count("number", device.number);
    json.text("description", clip(device.description, 400)).flag("modelled", device.modelled);
    json.flag("cpu", device.kind == DeviceKind::cpu);
    json.count("memory_bytes", device.memory_bytes).count("copy_engines", device.copy_engines);
    if (const DeviceView* view = timeline.device(index); view != nullptr) {
      json.integer("busy", view->busy.length()).integer("kernel", view->kernel.length());
      json.integer("copy", view->copy.length()).integer("fill", view->fill.length());
      json.integer("copy_alone", view->copy.minus(view->kernel).length());
    }
    json.end_object();
  }
  json.end_array().count("more_devices", trace.devices.size() - named(trace.devices));
  json.key("streams").begin_array();
  for (const StreamInfo& stream : std::span(trace.streams).first(named(trace.streams))) {
    json.begin_object().count("number", stream.number).text("name", clip(stream.name, 100));
    json.flag("legacy_default", stream.legacy_default).end_object();
  }
  json.end_array().key("threads").begin_array();
  for (const ThreadInfo& thread : std::span(trace.threads).first(named(trace.threads))) {
    json.begin_object().count("process", thread.process).count("number", thread.number);
    json.text("name", clip(thread.name, 100)).end_object();
  }
  json.end_array();
}

// The average over the steps of the window; without steps, the window by what the busiest device
// did.
void write_average(Json& json, const Timeline& timeline) {
  struct Part {
    const char* name;
    Ns Step::*field;
  };
  static constexpr std::array<Part, 7> kParts = {{{"kernel", &Step::kernel},
                                                  {"copy", &Step::copy},
                                                  {"fill", &Step::fill},
                                                  {"call", &Step::call},
                                                  {"loader", &Step::loader},
                                                  {"host", &Step::host},
                                                  {"other", &Step::other}}};
  json.key("average").begin_object();
  if (timeline.window_steps() > 0) {
    std::array<double, kParts.size()> sums = {};
    double steps = 0;
    double length = 0;
    for (const Step& step : timeline.steps()) {
      if (step.warm_up || step.begin < timeline.window().begin ||
          step.end > timeline.window().end) {
        continue;
      }
      for (size_t k = 0; k < kParts.size(); ++k) {
        sums[k] += static_cast<double>(step.*kParts[k].field);
      }
      length += static_cast<double>(step.end) - static_cast<double>(step.begin);
      ++steps;
    }
    steps = std::max(steps, 1.0);
    json.number("steps", steps).number("length", length / steps).key("parts").begin_object();
    for (size_t k = 0; k < kParts.size(); ++k) json.number(kParts[k].name, sums[k] / steps);
    json.end_object();
  } else {
    const Ns length = timeline.analysed().length();
    json.integer("steps", 0).integer("length", length).key("parts").begin_object();
    if (!timeline.devices().empty()) {
      const DeviceView& view = timeline.devices().front();
      const Ns kernel = view.kernel.length();
      const Ns copy = view.copy.minus(view.kernel).length();
      json.integer("kernel", kernel).integer("copy", copy);
      json.integer("fill", std::max<Ns>(view.busy.length() - kernel - copy, 0));
      json.integer("idle", std::max<Ns>(length - view.busy.length(), 0));
    }
    json.end_object();
  }
  json.end_object();
}

void write_health(Json& json, const Analysis& analysis) {
  const Health& health = analysis.health;
  json.key("health").begin_object().text("verdict", confidence_name(health.verdict));
  json.text("summary", clip(health.summary, 4000)).count("excluded", health.excluded);
  json.key("items").begin_array();
  for (const HealthItem& item : health.items) {
    json.begin_object().text("code", health_code_name(item.code));
    json.text("effect", confidence_name(item.effect)).count("count", item.count);
    json.count("total", item.total).text("text", clip(item.text, 2000)).end_object();
  }
  json.end_array().end_object();
}

void write_cost(Json& json, const Analysis& analysis) {
  const Trace& trace = analysis.trace();
  json.key("cost").begin_object();
  json.number("share", analysis.own_cost.share).number("event_ns", analysis.own_cost.event_ns);
  json.number("budget", analysis.budget).text("text", own_cost_text(analysis) + ".");
  json.key("overheads").begin_array();
  struct Sum {
    uint64_t count = 0;
    double total = 0;
  };
  std::array<Sum, 256> sums;
  const Overheads& overheads = trace.overheads;
  for (uint32_t r = 0; r < overheads.size(); ++r) {
    Sum& sum = sums[overheads.kind[r]];
    ++sum.count;
    const double length =
        static_cast<double>(overheads.end[r]) - static_cast<double>(overheads.start[r]);
    sum.total += std::max(length, 0.0);
  }
  for (uint32_t kind = 0; kind < sums.size(); ++kind) {
    if (sums[kind].count == 0) continue;
    const std::string_view name = code_text("overheads", "kind", kind);
    json.begin_object().text("name", name.empty() ? "of unknown kind" : name);
    json.count("count", sums[kind].count).number("total", sums[kind].total).end_object();
  }
  json.end_array().end_object();
}

// What nobody may take from this report, in sentences.
void write_unknown(Json& json, const Analysis& analysis) {
  const Timeline& timeline = *analysis.timeline;
  const Trace& trace = analysis.trace();
  const LinkCounts& links = timeline.links();
  json.key("unknown").begin_array();
  const auto say = [&](const std::string& text) { json.text(text); };
  if (trace.on_cpu_only()) {
    say("The program used the CPU only: what ran is what its threads did.");
  } else if (!trace.has_device_clock) {
    say("No device was watched: the recording has events of the host only.");
  }
  if (timeline.window_steps() == 0) {
    say("No steps were found, so figures are for the whole recording and not for a step.");
  } else if (timeline.step_source() == StepSource::period) {
    say("The program marked no steps: they were found by the period of its kernels.");
  }
  if (trace.skipped > 0) {
    say(show_count(trace.skipped) + " events could not be read and are missing.");
  }
  for (const Loss& loss : trace.losses) {
    if (loss.lost > 0) {
      say(show_count(loss.lost) + " records were lost (" + clip(loss.where, 200) + ").");
    }
  }
  if (links.work_without_call > 0) {
    say(show_count(links.work_without_call) + " of " + show_count(links.work) +
        " pieces of device work have no call that asked for them.");
  }
  if (links.work_without_op > 0) {
    say(show_count(links.work_without_op) + " of " + show_count(links.work) +
        " pieces of device work belong to no op.");
  }
  // Sums over devices need not fit into 64 bits.
  double idle = 0;
  double unexplained = 0;
  for (const Gap& gap : analysis.gaps) {
    idle += static_cast<double>(Interval{gap.begin, gap.end}.length());
    unexplained += static_cast<double>(gap.causes[static_cast<int>(GapCause::unknown)]);
  }
  if (unexplained > 0) {
    say(show_time(unexplained) + " of " + show_time(idle) + " of idle device time (" +
        show_share(unexplained / idle) + ") could not be explained.");
  }
  if (trace.whole_graphs) {
    say("Graphs were recorded as a whole: what ran inside them is not known.");
  }
  if (const std::string rest = unrecorded_text(analysis); !rest.empty()) say(rest);
  if (analysis.replay != nullptr && analysis.replay->error() > 0.05) {
    say("Replaying the unchanged recording misses its length by " +
        show_share(analysis.replay->error()) + ", so every saving is of low confidence.");
  }
  for (const std::string& note : trace.notes) say(clip(note, 1000));
  json.end_array();
}

void write_links(Json& json, const LinkModel& model) {
  json.key("links").begin_array();
  for (const LinkLine& line : model.lines()) {
    json.begin_object();
    if (line.device == LinkModel::kAnyDevice) {
      json.text("device", "any");
    } else {
      json.text("device", std::to_string(line.device));
    }
    json.text("kind", code_text("work", "copy_kind", static_cast<uint32_t>(line.kind)));
    json.text("memory", code_text("work", "host_memory", static_cast<uint32_t>(line.memory)));
    json.number("alpha", line.alpha_ns).number("rate", line.bytes_per_s);
    json.text("source", link_source_name(line.source)).count("copies", line.copies).end_object();
  }
  json.end_array();
}

}  // namespace

std::string recording_name(const Trace& trace) {
  const size_t slash = trace.source.find_last_of("/\\");
  const std::string name =
      slash == std::string::npos ? trace.source : trace.source.substr(slash + 1);
  return clip(name.empty() ? "recording" : name, 120);
}

Verdict verdict(const Analysis& analysis) {
  const Timeline& timeline = *analysis.timeline;
  if (analysis.health.verdict == Confidence::refuse) {
    return {clip(analysis.health.summary, 2000), "refuse"};
  }
  const std::string of = timeline.window_steps() > 0 ? "step" : "recording";
  const Finding* first = nullptr;
  for (const Finding& finding : analysis.findings) {
    if (finding.severity == Severity::info) continue;
    if (first == nullptr || finding.rank < first->rank) first = &finding;
  }
  if (first == nullptr) {
    if (analysis.health.verdict == Confidence::low)
      return {
          "Nothing was found that is worth changing; but " + clip(analysis.health.summary, 2000),
          "warn"};
    if (timeline.devices().empty()) return {"Nothing was found: no device did any work.", "warn"};
    const double busy =
        share(timeline.devices().front().busy.length(), timeline.analysed().length());
    const char* const whole = timeline.window_steps() > 0 ? "a step" : "the recording";
    const std::string most = busiest(analysis, 3);
    return {
        clip("Nothing was found that is worth changing: the device was busy " + show_share(busy) +
                 " of " + whole + (most.empty() ? "." : ", by " + most + "."),
             500),
        busy < 0.5 ? "warn" : "good"};
  }
  std::string text = clip(first->title, 500);
  while (!text.empty() && text.back() == '.') text.pop_back();
  const double steps = std::max<uint32_t>(timeline.window_steps(), 1);
  const double expected = static_cast<double>(first->saving.expected) / steps;
  if (first->withheld) {
    text += ". What fixing it would save is withheld, because the recording cannot be trusted.";
  } else if (first->saving.expected > 0) {
    text += ". Fixing it would save about " + show_time(expected) + " of each " + of + " (" +
            show_share(share(first->saving.expected, timeline.analysed().length())) + ").";
  } else {
    text += ".";
  }
  return {text, first->severity == Severity::major ? "bad" : "warn"};
}

void write_overview(Json& json, const Analysis& analysis, const Scene& scene) {
  const Timeline& timeline = *analysis.timeline;
  const Trace& trace = analysis.trace();
  const Verdict words = verdict(analysis);
  json.text("headline", words.headline).text("tone", words.tone);
  json.text("source", clip(trace.source, 1000)).text("dialect", trace.dialect);
  json.text("origin", std::to_string(scene.origin)).integer("span", scene.length);
  json.key("window").begin_array();
  json.integer(scene.since_origin(timeline.window().begin));
  json.integer(scene.since_origin(timeline.window().end)).end_array();
  json.integer("window_length", timeline.analysed().length());
  json.count("step_count", timeline.steps().size()).count("window_steps", timeline.window_steps());
  json.text("step_source", step_source_text(timeline.step_source()));
  json.integer("step_length", timeline.step_length());
  json.count("main_thread", timeline.main_thread());
  json.count("rows", trace.rows());
  if (analysis.replay != nullptr) {
    json.number("replay_error", analysis.replay->error());
    json.count("contradicted", analysis.replay->contradictions());
  }
  json.integer("joint_saving", analysis.joint_saving);
  write_devices(json, analysis);
  write_average(json, timeline);
  write_health(json, analysis);
  write_cost(json, analysis);
  write_unknown(json, analysis);
  write_links(json, analysis.links);
}

std::vector<Column> step_columns(const Analysis& analysis, const Scene& scene) {
  struct Field {
    const char* name;
    Ns Step::*field;
  };
  static constexpr std::array<Field, 7> kFields = {{{"kernel", &Step::kernel},
                                                    {"copy", &Step::copy},
                                                    {"fill", &Step::fill},
                                                    {"call", &Step::call},
                                                    {"loader", &Step::loader},
                                                    {"host", &Step::host},
                                                    {"other", &Step::other}}};
  const std::vector<Step>& steps = analysis.timeline->steps();
  std::vector<Column> columns;
  std::vector<int64_t> values(steps.size());
  const auto add = [&](const char* name, Unit unit, bool ascending, auto&& get) {
    for (size_t k = 0; k < steps.size(); ++k) values[k] = get(steps[k]);
    columns.push_back(pack_integers(name, unit, values, ascending));
    columns.back().core = true;
  };
  add("start", Unit::ns, true, [&](const Step& step) { return scene.since_origin(step.begin); });
  add("length", Unit::ns, false, [](const Step& step) {
    return Interval{step.begin, step.end}.length();
  });
  add("number", Unit::none, true, [](const Step& step) { return step.number; });
  add("warm_up", Unit::none, false, [](const Step& step) { return int64_t{step.warm_up}; });
  for (const Field& field : kFields) {
    add(field.name, Unit::ns, false, [&](const Step& step) { return step.*field.field; });
  }
  return columns;
}

}  // namespace mill::prof::html
