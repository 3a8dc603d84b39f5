#include "profiler/cli/whatif.h"

#include <cmath>

#include "profiler/cli/figures.h"
#include "profiler/cli/options.h"

namespace mill::cli {

namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t k = 0; k <= text.size(); ++k) {
    if (k < text.size() && text[k] != at) continue;
    std::string part = text.substr(begin, k - begin);
    const size_t first = part.find_first_not_of(' ');
    part = first == std::string::npos ? ""
                                      : part.substr(first, part.find_last_not_of(' ') - first + 1);
    if (!part.empty()) out.push_back(part);
    begin = k + 1;
  }
  return out;
}

constexpr double kLeastRate = 1e6;  // no link between a host and a device is slower

double need_figure(const std::string& part, const std::string& value) {
  const std::optional<double> figure = parse_figure(value);
  if (!figure || *figure <= 0) {
    throw UsageError("--what-if has \"" + safe_text(part) +
                     "\"; a number above 0 must follow, such as 50GB/s or 2x");
  }
  return *figure;
}

// "50" might be anything.
double need_rate(const std::string& part, const std::string& value) {
  const double rate = need_figure(part, value);
  if (value.find_first_not_of("0123456789.+-eE_ ") == std::string::npos && rate < kLeastRate) {
    throw UsageError("--what-if has \"" + safe_text(part) + "\", which is " +
                     printf_text("%g", rate) + " bytes a second; say 50GB/s");
  }
  return rate;
}

void parse_findings(WhatIf& what, const std::string& part, const std::string& value) {
  if (value == "all") {
    what.all_findings = true;
    return;
  }
  const std::vector<std::string> numbers = split(value, ',');
  if (numbers.empty())
    throw UsageError("--what-if has \"" + safe_text(part) + "\"; numbers or \"all\" must follow");
  for (const std::string& one : numbers) {
    const std::optional<uint64_t> number = parse_natural(one);
    if (!number || *number == 0 || *number > UINT32_MAX) {
      throw UsageError("--what-if has \"" + safe_text(part) +
                       "\"; findings are numbered from 1, as the report shows them");
    }
    what.findings.push_back(static_cast<uint32_t>(*number - 1));
  }
}

}  // namespace

WhatIf parse_whatif(const std::string& text) {
  static constexpr struct {
    const char* name;
    double mill_prof_change::*field;
  } kFigures[] = {{"to_device", &mill_prof_change::to_device_bytes_per_s},
                  {"to_host", &mill_prof_change::to_host_bytes_per_s},
                  {"kernels", &mill_prof_change::kernel_speed},
                  {"launches", &mill_prof_change::launch_speed},
                  {"flops", &mill_prof_change::flops_ratio},
                  {"bandwidth", &mill_prof_change::memory_bandwidth_ratio}};
  WhatIf what;
  what.change = sized<mill_prof_change>(MILL_STRUCT_PROF_CHANGE);
  what.parts = split(text, ';');
  for (const std::string& part : what.parts) {
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    bool known = false;
    for (const auto& figure : kFigures) {
      if (name != figure.name) continue;
      what.change.*figure.field =
          name.starts_with("to_") ? need_rate(part, value) : need_figure(part, value);
      known = true;
    }
    if (known) continue;
    if (name == "findings" && equals != std::string::npos) {
      parse_findings(what, part, value);
    } else if (name == "prefetch") {
      const std::optional<uint64_t> depth = parse_natural(value);
      if (!depth || *depth == 0 || *depth > 64)
        throw UsageError("--what-if has \"" + safe_text(part) + "\"; 1 to 64 steps can be");
      what.change.prefetch_depth = static_cast<uint32_t>(*depth);
    } else if (part == "pinned") {
      what.change.pinned = 1;
    } else if (part == "no-loader-wait") {
      what.change.no_loader_wait = 1;
    } else {
      const std::vector<std::string> names = {
          "findings=", "to_device=", "to_host=",  "kernels=", "launches=",
          "flops=",    "bandwidth=", "prefetch=", "pinned",   "no-loader-wait"};
      const std::string meant = suggestion(equals == std::string::npos ? name : name + "=", names);
      std::string all;
      for (const std::string& one : names) all += (all.empty() ? "; it knows " : ", ") + one;
      throw UsageError("--what-if knows no \"" + safe_text(part) + "\"" +
                       (meant.empty() ? all : meant));
    }
  }
  if (what.parts.empty()) throw UsageError("--what-if names no change");
  return what;
}

bool print_whatif(Output& out, const View& view, WhatIf what, bool json) {
  if (view.refused()) return false;
  const mill_prof_summary& summary = view.summary();
  if (what.all_findings) {
    what.findings.clear();
    for (uint32_t k = 0; k < summary.findings; ++k) what.findings.push_back(k);
  }
  for (const uint32_t number : what.findings) {
    if (number >= summary.findings) {
      throw UsageError(printf_text("--what-if asks for finding %llu, the report has %u",
                                   static_cast<unsigned long long>(number) + 1, summary.findings));
    }
  }
  what.change.findings = what.findings.data();
  what.change.n_findings = static_cast<uint32_t>(what.findings.size());
  auto prediction = sized<mill_prof_prediction>(MILL_STRUCT_PROF_PREDICTION);
  const mill_status status =
      mill_prof_whatif(view.handle(), &what.change, &prediction, view.error());
  if (status == MILL_E_STATE) return false;
  check(status, view.error());

  const double steps = view.steps();
  const double before = static_cast<double>(prediction.before_ns) / steps;
  const double after = static_cast<double>(prediction.after_ns) / steps;
  const double measured = static_cast<double>(prediction.measured_ns) / steps;
  if (json) {
    JsonWriter writer;
    writer.begin_object().key("changes").begin_array();
    for (const std::string& part : what.parts) writer.text(part);
    writer.end_array();
    writer.key("steps").natural(summary.steps);
    writer.key("measured_ns").integer(prediction.measured_ns);
    writer.key("before_ns").integer(prediction.before_ns);
    writer.key("after_ns").integer(prediction.after_ns);
    writer.key("replay_error").number(prediction.replay_error);
    writer.end_object();
    out << writer.take();
    return true;
  }
  out << out.paint(Colour::bold, "What if") << "\n";
  for (const std::string& part : what.parts) {
    out << "  " << safe_text(part) << "\n";
    if (!part.starts_with("findings")) continue;
    const std::vector<Finding> findings = view.findings();
    for (const uint32_t number : what.findings)
      out << "    "
          << fit_text(safe_text(std::to_string(number + 1) + ". " + findings[number].title),
                      out.width() - 4)
          << "\n";
  }
  const std::string each = view.per_step();
  out << "\n  before  " << time_text(before) << each << " (replayed; measured "
      << time_text(measured) << ", off by " << share_text(std::fabs(prediction.replay_error))
      << ")\n  after   " << time_text(after) << each
      << (after > before ? "\n  costs   " : "\n  saves   ") << time_text(std::fabs(before - after))
      << each;
  if (before > 0 && after > 0)
    out << " (" << share_text(std::fabs(before - after) / before) << "), "
        << printf_text("%.2f times as fast", before / after);
  out << "\n";
  if (std::fabs(prediction.replay_error) > 0.05)
    out << "\n  Of low confidence: re-timing the recording as it was is off by more than 5 %.\n";
  return true;
}

}  // namespace mill::cli
