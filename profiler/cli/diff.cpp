// millrace prof diff: what changed between two recordings, and what is only noise.
#include "profiler/cli/diff.h"

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "profiler/cli/commands.h"
#include "profiler/cli/figures.h"
#include "profiler/cli/whole_file.h"

namespace mill::cli {

namespace {

constexpr Option kOptions[] = {
    {"format", 'f', "FORMAT", "text (the default) or json; without it FILE's ending decides"},
    {"output", 'o', "FILE", "write there instead of to the standard output"},
    {"top", 'n', "N", "rows of each table; 10 unless told"},
    {"warm-up", 0, "N",
     "steps at the beginning of both to leave out; found by their length unless told"},
};

constexpr const char* kNotes =
    "All figures are of one step of the analysed window. Differences are B less A, with the 95 %\n"
    "confidence interval of Welch's t test on the lengths of the steps. A difference of less than\n"
    "0.1 % is none (same), and noise where the test gives a probability of 5 % or more (rows of\n"
    "kernels and copies: 1 % or more, as there are many of them). The test takes steps to be\n"
    "independent of each other; with less than two steps on a side nothing is tested. The parts "
    "of\n"
    "a step count every instant once.\n\n"
    "Exit status: 0 whether or not anything changed, 1 where a trace cannot be read, 3 where one "
    "is too\n"
    "damaged for advice (the comparison is printed all the same).\n\n"
    "  millrace prof diff before.json.gz after.json.gz\n";

constexpr double kMatters = 0.001;  // of the larger one: a smaller difference is none

// "noise", "faster", "slower", or nothing known.
std::string verdict(const Row& row, double level) {
  if (!row.difference.tested) return "not tested";
  const double larger = std::max(row.a.mean, row.b.mean);
  if (std::fabs(row.difference.value) < kMatters * larger || row.difference.value == 0)
    return "same";
  if (!row.difference.significant(level)) return "noise";
  return row.difference.value < 0 ? "faster" : "slower";
}

std::string relative(const Row& row) {
  if (row.a.mean > 0 && row.b.mean > 0) {
    const double ratio = row.b.mean / row.a.mean;
    return ratio < 10 ? signed_share_text(ratio - 1) : printf_text("x %.3g", ratio);
  }
  return row.a.mean > 0 ? "gone" : row.b.mean > 0 ? "new" : "";
}

std::string count_of(double count) {
  return count == std::floor(count) ? printf_text("%.0f", count) : printf_text("%.1f", count);
}

TextTable times_table(const std::string& what, bool counts) {
  TextTable table;
  table.column(what, TextTable::Align::left);
  if (counts) {
    table.column("calls A", TextTable::Align::right);
    table.column("calls B", TextTable::Align::right);
  }
  for (const char* title : {"A", "B", "B - A", ""}) table.column(title, TextTable::Align::right);
  table.column("verdict", TextTable::Align::left);
  return table;
}

void add_row(TextTable& table, const Row& row, double level, bool counts) {
  std::vector<std::string> cells = {row.name};
  if (counts) {
    cells.push_back(count_of(row.count_a));
    cells.push_back(count_of(row.count_b));
  }
  cells.insert(cells.end(),
               {time_text(row.a.mean), time_text(row.b.mean),
                signed_time_text(row.difference.value), relative(row), verdict(row, level)});
  table.row(cells);
}

void print_section(Output& out, const std::string& title) {
  out << "\n" << out.paint(Colour::bold, title) << "\n";
}

void print_groups(Output& out, const std::string& title, const std::string& what,
                  const std::vector<Row>& rows, uint64_t top) {
  if (rows.empty()) return;
  print_section(out, title);
  TextTable table = times_table(what, true);
  for (const Row& row : rows) {
    if (table.rows() == top) break;
    add_row(table, row, kTableLevel, true);
  }
  table.print(out, 2);
  if (rows.size() > table.rows())
    out << "  " << count_text(rows.size() - table.rows()) << " more with smaller differences\n";
}

void print_side(Output& out, const char* name, const Profile& profile) {
  out << "  " << name << "  " << safe_text(profile.path) << ": "
      << (profile.summary.steps > 0
              ? count_text(profile.summary.steps) +
                    (profile.summary.steps == 1 ? " step" : " steps")
              : std::string("no steps found, the whole recording is compared"))
      << "\n";
  if (profile.summary.health != MILL_PROF_HIGH && !profile.health.empty())
    out << "     " << wrap_text(safe_text(profile.health), out.width(), 5, false) << "\n";
}

// What makes the two hard to compare; "" if nothing does.
std::string unlike(const Profile& a, const Profile& b) {
  if (a.modelled != b.modelled) {
    return std::string("The times of ") + (a.modelled ? "A" : "B") + " are modelled, those of " +
           (a.modelled ? "B" : "A") +
           " measured: their difference says how the two devices differ, not what a change to the "
           "program brought.";
  }
  if (a.devices == b.devices || a.devices.empty() || b.devices.empty()) return "";
  return "They are of different devices: A of " + a.devices + ", B of " + b.devices + ".";
}

void print_findings(Output& out, const std::vector<FindingRow>& findings, uint64_t top) {
  if (findings.empty()) return;
  print_section(out, "Findings");
  TextTable table;
  table.column("", TextTable::Align::left);
  table.column("rule", TextTable::Align::left);
  table.column("gain A", TextTable::Align::right);
  table.column("gain B", TextTable::Align::right);
  table.column("finding", TextTable::Align::left);
  for (const FindingRow& row : findings) {
    if (table.rows() == top) break;
    const char* fate = row.fate == Fate::gone ? "gone" : row.fate == Fate::fresh ? "new" : "kept";
    const auto gain = [&](bool there, double ns) {
      return !there ? std::string("-") : row.withheld ? std::string("withheld") : time_text(ns);
    };
    table.row({fate, row.rule, gain(row.fate != Fate::fresh, row.saving_a),
               gain(row.fate != Fate::gone, row.saving_b), row.title});
  }
  table.print(out, 2);
  if (findings.size() > table.rows())
    out << "  " << count_text(findings.size() - table.rows()) << " more\n";
}

void print_text(Output& out, const Profile& a, const Profile& b, const Comparison& c,
                uint64_t top) {
  out << out.paint(Colour::bold, "Two recordings") << "\n";
  print_side(out, "A", a);
  print_side(out, "B", b);
  if (const std::string text = unlike(a, b); !text.empty())
    out << wrap_text(safe_text(text), out.width(), 2) << "\n";
  if ((a.summary.steps > 0) != (b.summary.steps > 0)) {
    out << wrap_text(std::string("Only ") + (a.summary.steps > 0 ? "A" : "B") +
                         " has steps: one step of it is set beside all of the other.",
                     out.width(), 2)
        << "\n";
  }

  const Row& step = c.step;
  const bool steps = a.summary.steps > 0 && b.summary.steps > 0;
  print_section(out, steps ? "Step" : "Window");
  TextTable table = times_table("", false);
  add_row(table, step, kStepLevel, false);
  if (steps) {
    Row median = step;
    median.name = "step, median";
    table.row({median.name, time_text(step.a.median), time_text(step.b.median),
               signed_time_text(step.b.median - step.a.median),
               step.a.median > 0
                   ? signed_share_text((step.b.median - step.a.median) / step.a.median)
                   : "",
               ""});
    table.row({"step, spread", time_text(std::sqrt(step.a.variance)),
               time_text(std::sqrt(step.b.variance)), "", "", ""});
  }
  table.print(out, 2);
  const Difference& d = step.difference;
  const std::string text =
      !d.tested ? "Not tested: that needs two steps of each recording."
                : std::string(d.significant(kStepLevel) ? "B differs from A by "
                                                        : "No difference beyond noise: ") +
                      signed_time_text(d.value) + ", between " + signed_time_text(d.low) + " and " +
                      signed_time_text(d.high) +
                      " with 95 % confidence (Welch's t, p = " + printf_text("%.2g", d.p) + ").";
  out << wrap_text(text, out.width(), 2) << "\n";
  if (d.tested && !(a.modelled && b.modelled)) {
    out << wrap_text(
               "That is of the steps of these two recordings. In real time two runs of one program "
               "may differ by more, by what else the machine does: record each side again and "
               "compare like with like before you trust it.",
               out.width(), 2)
        << "\n";
  }

  if (!a.parts[0].empty() && !b.parts[0].empty()) {
    print_section(out, "Where a step's time went");
    TextTable parts = times_table("part", false);
    for (const Row& row : c.parts) {
      if (row.a.mean > 0 || row.b.mean > 0) add_row(parts, row, kStepLevel, false);
    }
    parts.print(out, 2);
  }
  print_groups(out, "Kernels", "kernel", c.kernels, top);
  print_groups(out, "Copies", "copy", c.copies, top);
  print_findings(out, c.findings, top);
}

void write_sample(JsonWriter& json, const char* key, const Sample& sample) {
  json.key(key).begin_object();
  json.key("mean_ns").number(sample.mean);
  json.key("median_ns").number(sample.median);
  json.key("stddev_ns").number(std::sqrt(sample.variance));
  json.key("steps").number(sample.n);
  json.end_object();
}

void write_row(JsonWriter& json, const Row& row, double level, bool counts) {
  json.begin_object().key("name").text(row.name);
  write_sample(json, "a", row.a);
  write_sample(json, "b", row.b);
  json.key("difference_ns").number(row.difference.value);
  json.key("low_ns").number(row.difference.low);
  json.key("high_ns").number(row.difference.high);
  json.key("p");
  row.difference.tested ? json.number(row.difference.p) : json.null();
  json.key("verdict").text(verdict(row, level));
  if (counts) {
    json.key("calls_a").number(row.count_a);
    json.key("calls_b").number(row.count_b);
    json.key("bytes_a").number(row.bytes_a);
    json.key("bytes_b").number(row.bytes_b);
  }
  json.end_object();
}

std::string json_text(const Profile& a, const Profile& b, const Comparison& c) {
  JsonWriter json;
  json.begin_object().key("schema").natural(1);
  json.key("test").text("Welch's t");
  for (const auto& [key, profile] : {std::pair("a", &a), std::pair("b", &b)}) {
    json.key(key).begin_object();
    json.key("path").text(profile->path);
    json.key("steps").natural(profile->summary.steps);
    json.key("health").integer(profile->summary.health);
    json.key("health_text").text(profile->health);
    json.key("devices").text(profile->devices);
    json.key("modelled").boolean(profile->modelled);
    json.end_object();
  }
  json.key("step");
  write_row(json, c.step, kStepLevel, false);
  json.key("parts").begin_array();
  for (const Row& row : c.parts) write_row(json, row, kStepLevel, false);
  json.end_array().key("kernels").begin_array();
  for (const Row& row : c.kernels) write_row(json, row, kTableLevel, true);
  json.end_array().key("copies").begin_array();
  for (const Row& row : c.copies) write_row(json, row, kTableLevel, true);
  json.end_array().key("findings").begin_array();
  for (const FindingRow& row : c.findings) {
    json.begin_object();
    json.key("state").text(row.fate == Fate::gone    ? "gone"
                           : row.fate == Fate::fresh ? "new"
                                                     : "kept");
    json.key("rule").text(row.rule);
    json.key("title").text(row.title);
    json.key("saving_a_ns").number(row.saving_a);
    json.key("saving_b_ns").number(row.saving_b);
    json.key("withheld").boolean(row.withheld);
    json.end_object();
  }
  json.end_array().end_object();
  return json.take();
}

int run(Console& console, const Arguments& arguments) {
  const std::string file = arguments.value("output", "");
  const std::string format = arguments.value(
      "format", file.ends_with(".json") || file.ends_with(".json.gz") ? "json" : "text");
  if (format != "text" && format != "json")
    throw UsageError("--format is \"" + safe_text(format) + "\", text or json can be");
  // What `prof report` writes by these endings is no comparison.
  for (const char* const other : {".html", ".csv", ".jsonl"}) {
    if (!arguments.has("format") && file.ends_with(other))
      throw UsageError(
          "--output is \"" + safe_text(file) +
          "\", a comparison is text or JSON: end it in .txt or .json, or give --format");
  }
  const uint64_t top = arguments.natural("top", 10, 1000000);
  OpenOptions options;
  options.warm_up = static_cast<uint32_t>(arguments.natural("warm-up", 0, 1000000000));
  if (arguments.has("warm-up") && options.warm_up == 0)
    throw UsageError("--warm-up is 0, at least 1 step can be left out; without it those are found");
  const Profile a = read_profile(arguments.operands()[0], options);
  const Profile b = read_profile(arguments.operands()[1], options);
  const Comparison comparison = compare(a, b);
  std::optional<WholeFile> whole;
  if (!file.empty() && file != "-") whole.emplace(file);
  Output& out = whole ? whole->out() : console.out;
  if (format == "json") {
    out << json_text(a, b, comparison);
  } else {
    print_text(out, a, b, comparison, top);
  }
  if (whole) whole->commit();
  const bool refused = a.summary.health == MILL_PROF_REFUSE || b.summary.health == MILL_PROF_REFUSE;
  return refused ? kRefused : kOk;
}

}  // namespace

Command diff_command() {
  return {"prof diff",
          "Compares two recorded traces: step times, where the time went, kernels, copies and "
          "findings, and says which differences are more than their steps' noise.",
          "A B",
          2,
          2,
          false,
          kOptions,
          kNotes,
          run};
}

}  // namespace mill::cli
