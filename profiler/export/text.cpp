#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "profiler/export/export.h"
#include "profiler/export/sentences.h"
#include "profiler/export/text_sections.h"

namespace mill::prof {

namespace {

constexpr size_t kMaxDevices = 8;
constexpr size_t kMaxHealthItems = 12;

std::string short_name(const DeviceInfo& device) {
  return device.name.empty() ? "device " + std::to_string(device.number) : device.name;
}

std::string device_text(const DeviceInfo& device) {
  std::string text = short_name(device);
  if (!device.description.empty()) text += " (" + device.description + ")";
  if (device.modelled && device.description.find("simulated") == std::string::npos)
    text += ", simulated";
  if (device.memory_bytes > 0)
    text += ", " + show_bytes(static_cast<double>(device.memory_bytes)) + " of memory";
  if (device.copy_engines > 0)
    text += ", " + count_of(device.copy_engines, "copy engine", "copy engines");
  if (device.link_generation > 0) {
    text += ", PCIe " + std::to_string(device.link_generation);
    if (device.link_width > 0) text += " x" + std::to_string(device.link_width);
  }
  return text;
}

// What sets a knob that the engine owns; docs/profiler.md has the list.
const char* knob_call(std::string_view knob) {
  if (knob == "pinned_staging") return "mill_exec_set_staging";
  if (knob == "defer_read") return "mill_exec_set_late_reads";
  return "mill_loader_set_prefetch";
}

const char* step_source_text(StepSource source) {
  switch (source) {
    case StepSource::marks: return "as the program marked them";
    case StepSource::ranges: return "from ranges that the program named as steps";
    case StepSource::period: return "found by what repeats, where they begin is arbitrary";
    case StepSource::none: break;
  }
  return "none";
}

std::string fact_text(const Fact& fact) {
  std::string name(fact.name);
  std::string value;
  if (name.ends_with("_per_s")) {
    value = fact.unit == Unit::flops
                ? show_count(fact.value > 0 && fact.value < 1e18 ? static_cast<uint64_t>(fact.value)
                                                                 : 0)
                : show_rate(fact.value);
    name.resize(name.size() - std::string_view("_per_s").size());
    if (name.ends_with("bytes")) name.resize(name.size() - std::string_view("bytes").size());
  } else if (fact.unit == Unit::ns) {
    value = show_time(fact.value);
    if (name.ends_with("_ns")) name.resize(name.size() - 3);
  } else if (fact.unit == Unit::bytes) {
    value = show_bytes(fact.value);
  } else if (fact.unit == Unit::ratio) {
    value = show_share(fact.value);
  } else if (fact.value >= 0 && fact.value < 1e18 && fact.value == std::floor(fact.value)) {
    value = show_count(static_cast<uint64_t>(fact.value));
  } else {
    char text[40];
    std::snprintf(text, sizeof text, "%.3g", fact.value);
    value = text;
  }
  std::replace(name.begin(), name.end(), '_', ' ');
  while (!name.empty() && name.back() == ' ') name.pop_back();
  if (name.empty()) name = "rate";
  return name + " " + value;
}

std::string saving_text(const Analysis& analysis, const Finding& finding) {
  if (finding.withheld) return "saving withheld: the recording cannot be trusted that far";
  if (finding.saving.upper <= 0) return "no saving by itself";
  const uint32_t steps = analysis.timeline->window_steps();
  const double parts = steps > 0 ? steps : 1;
  const auto figure = [&](Ns ns) { return show_time(static_cast<double>(ns) / parts); };
  const auto whole = static_cast<double>(analysis.timeline->step_length());
  const std::string of = show_time(whole) + (steps > 0 ? " per step" : "");
  if (finding.saving.expected <= 0)
    return "no saving by itself; at most " + figure(finding.saving.upper) + " of " + of;
  std::string text = "saves " + figure(finding.saving.expected) + " of " + of;
  if (whole > 0)
    text += " (" + show_share(static_cast<double>(finding.saving.expected) / parts / whole) + ")";
  return text + ", between " + figure(finding.saving.lower) + " and " +
         figure(finding.saving.upper);
}

// The gain stands above it already.
std::string without_gain(const Analysis& analysis, const Finding& finding) {
  std::string advice = finding.advice;
  if (analysis.replay == nullptr) return advice;
  const std::string gain = show_gain(analysis.input(), finding);
  if (advice.ends_with(gain)) advice.resize(advice.size() - gain.size());
  while (advice.ends_with(' ')) advice.pop_back();
  return advice;
}

void finding(Page& page, const Analysis& analysis, size_t place) {
  const Finding& one = analysis.findings[place];
  constexpr size_t kIndent = 7;
  const std::string gap(kIndent, ' ');
  std::string rank = std::to_string(one.rank > 0 ? one.rank : place + 1);
  rank.append(rank.size() < 3 ? 3 - rank.size() : 1, ' ');
  std::string rule = rule_id_text(one.rule);
  rule.append(rule.size() < 4 ? 4 - rule.size() : 1, ' ');
  page.blank();
  page.paragraph(rank + rule, kIndent, saving_text(analysis, one));
  page.paragraph(gap, kIndent, one.title);
  if (const std::string advice = without_gain(analysis, one); !advice.empty())
    page.paragraph(gap, kIndent, advice);
  std::string facts;
  for (const Fact& fact : one.facts) {
    // A cause that took no time, a rate that nobody knows.
    const bool nothing = fact.unit == Unit::ns || std::string_view(fact.name).ends_with("_per_s");
    if (nothing && fact.value == 0) continue;
    facts += (facts.empty() ? "" : "; ") + fact_text(fact);
  }
  if (!facts.empty()) page.paragraph(gap + "Figures of the window: ", kIndent + 2, facts + ".");
  std::string trust = "Confidence " + std::string(confidence_name(one.confidence)) + ", severity " +
                      severity_name(one.severity);
  if (one.link_source != LinkSource::none) trust += "; link speed: " + show_source(one.link_source);
  if (one.device < analysis.trace().devices.size() && analysis.trace().devices.size() > 1)
    trust += "; on " + short_name(analysis.trace().devices[one.device]);
  if (one.evidence_total > 0)
    trust += "; " + count_of(one.evidence_total, "piece", "pieces") + " of evidence";
  page.paragraph(gap, kIndent, trust + ".");
  if (one.fix.knob != nullptr && one.fix.knob[0] != 0 && one.fix.engine_can_apply) {
    char value[40];
    std::snprintf(value, sizeof value, "%.6g", one.fix.value);
    page.paragraph(gap, kIndent,
                   std::string("Millrace can apply it: ") + one.fix.knob + " = " + value + ", by " +
                       knob_call(one.fix.knob) + "; mill_prof_try measures what it brings.");
  }
}

// "findings 1 to 3", "findings 1, 3 and 4".
std::string list_text(std::vector<uint32_t> ranks) {
  std::sort(ranks.begin(), ranks.end());
  if (ranks.size() == 1) return "Finding " + std::to_string(ranks[0]) + " alone";
  std::string text = "Findings ";
  if (ranks.back() - ranks.front() + 1 == ranks.size()) {
    text += std::to_string(ranks.front()) + (ranks.size() == 2 ? " and " : " to ") +
            std::to_string(ranks.back());
  } else {
    for (size_t k = 0; k < ranks.size(); ++k) {
      if (k > 0) text += k + 1 == ranks.size() ? " and " : ", ";
      text += std::to_string(ranks[k]);
    }
  }
  return text + " together";
}

void joint(Page& page, const Analysis& analysis) {
  std::vector<uint32_t> ranks;
  double sum = 0;
  for (const Finding& one : analysis.findings) {
    if (one.joint_rank == 0) continue;
    ranks.push_back(one.rank);
    sum += static_cast<double>(one.saving.expected);
  }
  if (ranks.size() > 1) {
    const uint32_t steps = analysis.timeline->window_steps();
    const double parts = steps > 0 ? steps : 1;
    const double saved = static_cast<double>(analysis.joint_saving) / parts;
    const auto whole = static_cast<double>(analysis.timeline->step_length());
    std::string text = list_text(ranks) + ": " + show_time(saved) + (steps > 0 ? " per step" : "");
    if (whole > 0) text += " (" + show_share(saved / whole) + ")";
    const double apart = sum / parts;
    text += std::fabs(apart - saved) <= 0.005 * apart
                ? ", as much as one by one."
                : "; one by one they add up to " + show_time(apart) + ".";
    page.blank();
    page.paragraph("", 0, text);
  }
  if (analysis.replay == nullptr) return;
  const double error = analysis.replay->error();
  std::string text =
      "Savings come from re-timing the recording. Re-timed unchanged it takes " +
      show_time(static_cast<double>(analysis.replay->replayed())) + ", the recording took " +
      show_time(static_cast<double>(analysis.replay->measured())) + ": an error of " +
      show_share(error) + (error > 0.05 ? ", too much to rely on the figures." : ".");
  if (const uint64_t against = analysis.replay->contradictions(); against > 0)
    text += " The recorded times contradict " + show_count(against) +
            (against == 1 ? " order" : " orders") +
            " that streams, events and waits imply; re-timing leaves them out.";
  page.blank();
  page.paragraph("", 0, text);
}

}  // namespace

void text_header(Page& page, const Analysis& analysis) {
  const Trace& trace = analysis.trace();
  const Timeline& timeline = *analysis.timeline;
  constexpr size_t kIndent = 10;
  const std::string name = trace.source.substr(trace.source.find_last_of('/') + 1);
  page.paragraph("Profile   ", kIndent,
                 (name.empty() ? "(no name)" : name) +
                     (trace.dialect.empty() ? "" : " (" + trace.dialect + ")"));
  for (size_t k = 0; k < trace.devices.size() && k < kMaxDevices; ++k) {
    page.paragraph(k == 0 ? "Devices   " : "          ", kIndent, device_text(trace.devices[k]));
  }
  if (trace.devices.size() > kMaxDevices)
    page.line("          and " + show_count(trace.devices.size() - kMaxDevices) + " more");
  if (trace.devices.empty()) page.line("Devices   none on record");

  uint64_t kernels = 0;
  uint64_t copies = 0;
  for (const uint8_t kind : trace.work.kind) {
    if (kind == static_cast<uint8_t>(WorkKind::kernel)) ++kernels;
    if (kind == static_cast<uint8_t>(WorkKind::copy)) ++copies;
  }
  const bool modelled = std::any_of(trace.devices.begin(), trace.devices.end(),
                                    [](const DeviceInfo& device) { return device.modelled; });
  std::string recorded = show_time(length_of(timeline.span().begin, timeline.span().end)) +
                         (modelled ? " of modelled time: " : ": ") +
                         count_of(trace.rows(), "event", "events") + ", of them " +
                         count_of(trace.ops.size(), "op", "ops");
  // The ops of a CPU device are its kernels: it has no calls that ask for them.
  if (trace.calls.size() + kernels + copies > 0) {
    recorded += ", " + count_of(trace.calls.size(), "call", "calls") + ", " +
                count_of(kernels, "kernel", "kernels") + ", " + count_of(copies, "copy", "copies");
  }
  page.paragraph("Recorded  ", kIndent, recorded);
  std::string steps;
  if (timeline.window_steps() > 0) {
    const size_t all = timeline.steps().size();
    steps = count_of(all, "step", "steps") + ", " + step_source_text(timeline.step_source());
    if (all > timeline.window_steps()) {
      steps += "; the first " + show_count(all - timeline.window_steps()) + " left out as warm-up";
    }
    steps += "; " + show_time(static_cast<double>(timeline.step_length())) + " each";
  } else {
    steps = "none marked or found: figures are of the whole recording";
  }
  page.paragraph("Steps     ", kIndent, steps);
}

void text_health(Page& page, const Analysis& analysis) {
  const Health& health = analysis.health;
  page.heading("HEALTH: " + std::string(confidence_name(health.verdict)));
  const bool said = !health.items.empty() && health.items.front().text == health.summary;
  if (!health.summary.empty() && !said) page.paragraph("  ", 2, health.summary);
  if (health.items.empty() && health.summary.empty())
    page.line("  Nothing speaks against this recording.");
  for (size_t k = 0; k < health.items.size() && k < kMaxHealthItems; ++k) {
    const HealthItem& item = health.items[k];
    std::string text = item.text.empty() ? health_code_name(item.code) : item.text;
    if (item.effect != Confidence::high)
      text += " (" + std::string(confidence_name(item.effect)) + ")";
    page.paragraph("  - ", 4, text);
  }
  if (health.items.size() > kMaxHealthItems)
    page.line("  - and " + show_count(health.items.size() - kMaxHealthItems) + " more");
  if (health.excluded > 0) {
    page.paragraph("  - ", 4,
                   count_of(health.excluded, "event", "events") +
                       " with impossible times left out of every figure below.");
  }
}

void text_findings(Page& page, const Analysis& analysis, const TextOptions& options) {
  const std::vector<Finding>& findings = analysis.findings;
  page.heading("Findings, by what a fix would save");
  if (findings.empty()) {
    page.blank();
    const Confidence trust = analysis.health.verdict;
    page.paragraph("  ", 2,
                   trust == Confidence::refuse
                       ? "None: no advice is given from a recording that cannot be trusted."
                   : trust == Confidence::low
                       ? "None; but this recording cannot be trusted, so that says little."
                       : "None: no rule found anything that is worth changing.");
    return;
  }
  const bool all_info = std::all_of(findings.begin(), findings.end(), [](const Finding& one) {
    return one.severity == Severity::info;
  });
  if (all_info) {
    const std::string most = busiest(analysis, 3);
    page.blank();
    page.paragraph("  ", 2,
                   "No rule found anything that is worth changing." +
                       (most.empty() ? std::string()
                                     : " Most of the time goes to " + most +
                                           ": whether that work is needed no recording tells."));
  }
  const size_t shown = std::min<size_t>(findings.size(), options.findings);
  for (size_t k = 0; k < shown && page.ok(); ++k) finding(page, analysis, k);
  if (shown < findings.size() && shown > 0) {
    page.blank();
    page.line("and " + show_count(findings.size() - shown) + " more that save less");
  }
  joint(page, analysis);
}

bool export_text(const Analysis& analysis, const TextOptions& options, const Sink& sink) {
  Page page(sink, options.width);
  text_header(page, analysis);
  text_health(page, analysis);
  text_step_time(page, analysis);
  text_findings(page, analysis, options);
  text_ops(page, analysis, options);
  text_kernels(page, analysis, options);
  text_copies(page, analysis, options);
  text_gaps(page, analysis, options);
  text_allocations(page, analysis, options);
  text_threads(page, analysis, options);
  text_cost(page, analysis);
  text_unknown(page, analysis);
  return page.finish();
}

}  // namespace mill::prof
