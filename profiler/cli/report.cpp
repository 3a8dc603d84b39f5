// millrace prof report: analyses a trace and prints or saves what was found.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "profiler/cli/commands.h"
#include "profiler/cli/figures.h"
#include "profiler/cli/view.h"
#include "profiler/cli/whatif.h"
#include "profiler/cli/whole_file.h"

namespace mill::cli {

namespace {

constexpr Option kOptions[] = {
    {"format", 'f', "FORMAT",
     "text (the default), csv, jsonl (one JSON object a line; of --what-if one in all), chrome (a "
     "trace, opens in "
     "ui.perfetto.dev) or "
     "html; "
     "without it FILE's ending decides"},
    {"output", 'o', "FILE",
     "write there instead of to the standard output; it appears whole or not at all, and "
     "compressed where it ends in .gz"},
    {"table", 't', "TABLE", "only this table: an aligned text, or csv"},
    {"query", 'q', "TEXT",
     "answer a question: \"select name, count, sum(duration_ns) from kernels group by name order "
     "by "
     "-sum(duration_ns)\"; \"tables\" and \"columns TABLE\" list what there is"},
    {"what-if", 'w', "CHANGES",
     "re-time the recording with changes, such as \"findings=1,2\" or "
     "\"pinned;prefetch=2;kernels=2x\""},
    {"top", 'n', "N",
     "findings, and rows of each table, in a text; 10 unless told; with --table all of its rows"},
    {"set", 's', "NAME=VALUE", "a threshold of a rule, or a figure of the link; may be repeated"},
    {"calibration", 'c', "FILE", "the link's figures, as `millrace prof calibrate` wrote them"},
    {"warm-up", 0, "N", "steps at the beginning to leave out; found by their length unless told"},
};

constexpr const char* kNotes =
    "TRACE is a file of Chrome trace events, gzip or not, as `millrace prof run`, PyTorch's "
    "profiler\n"
    "or Chrome write them.\n\n"
    "Changes for --what-if, separated by ';':\n"
    "  findings=1,2        fix these findings; findings=all\n"
    "  pinned              copies use page-locked memory\n"
    "  prefetch=N          copies to the device go ahead by N steps\n"
    "  to_device=RATE      the link's rate, such as 50GB/s; to_host=RATE\n"
    "  kernels=2x          kernels take half as long; launches=2x the host's launches\n"
    "  flops=R bandwidth=R another device: its rates as multiples of this one's\n"
    "  no-loader-wait      batches are always there\n\n"
    "Exit status: 0, 1 where the trace cannot be read, 2 for wrong usage, 3 where the recording is "
    "so\n"
    "damaged that there is no advice (the report is printed all the same and says why).\n\n"
    "  millrace prof report trace.json.gz\n"
    "  millrace prof report trace.json.gz -o report.html\n"
    "  millrace prof report trace.json -q \"select * from gaps order by -duration_ns limit 5\"\n";

int say_refused(Console& console, const View& view) {
  console.out.flush();
  const std::string why = view.summary().health_text ? view.summary().health_text : "";
  console.err << "millrace: "
              << safe_text(why.empty() ? "the recording is too damaged for advice" : why) << "\n";
  return kRefused;
}

void need_table(const View& view, const std::string& table) {
  const Rows rows = view.query("tables");
  std::vector<std::string> names;
  std::string list;
  for (uint64_t row = 0; row < rows.size(); ++row) {
    names.emplace_back(rows.text(0, row));
    if (names.back() == table) return;
    list += (row > 0 ? ", " : "") + names.back();
  }
  throw UsageError("--table is \"" + safe_text(table) + "\", there are " + list +
                   suggestion(table, names));
}

int run(Console& console, const Arguments& arguments) {
  std::string file = arguments.value("output", "");
  if (file == "-") file.clear();
  const Format& format = chosen_format(arguments, file);
  const bool csv = format.number == MILL_PROF_FORMAT_CSV;
  const bool text = format.number == MILL_PROF_FORMAT_TEXT;
  const auto table = arguments.value("table");
  const auto query = arguments.value("query");
  const auto what_if = arguments.value("what-if");
  if ((table ? 1 : 0) + (query ? 1 : 0) + (what_if ? 1 : 0) > 1)
    throw UsageError("only one of --table, --query and --what-if can be asked at a time");
  if ((table || query) && !csv && !text)
    throw UsageError("--table and --query go with --format text or csv");
  if (what_if && !text && format.number != MILL_PROF_FORMAT_JSON_LINES)
    throw UsageError("--what-if goes with --format text or jsonl");
  if (file.empty() && !format.for_terminals && console.out.terminal())
    throw UsageError(std::string(format.name) + " is not for a terminal; give a file with -o");
  const uint64_t top = arguments.natural("top", 10, 1000000);
  OpenOptions options;
  options.warm_up = static_cast<uint32_t>(arguments.natural("warm-up", 0, 1000000000));
  if (arguments.has("warm-up") && options.warm_up == 0)
    throw UsageError("--warm-up is 0, at least 1 step can be left out; without it those are found");
  options.settings = arguments.values("set");
  options.calibration = arguments.value("calibration", "");
  WhatIf what;
  if (what_if) what = parse_whatif(*what_if);

  const View view(arguments.operands().front(), options);
  if (table) need_table(view, *table);
  bool answered = true;
  if (what_if || query || (table && text)) {
    std::optional<WholeFile> whole;
    if (!file.empty()) whole.emplace(file);
    Output& out = whole ? whole->out() : console.out;
    if (what_if) {
      answered = print_whatif(out, view, std::move(what), !text);
    } else if (query) {
      print_rows(out, view.query(*query), csv);
    } else {
      const std::string limit = arguments.has("top") ? " limit " + std::to_string(top) : "";
      print_rows(out, view.query("select * from \"" + *table + "\"" + limit), false);
    }
    if (whole && answered) whole->commit();
  } else {
    write_report(view, format, file, table.value_or("findings"), top, console.out);
  }
  return view.refused() || !answered ? say_refused(console, view) : kOk;
}

}  // namespace

void write_report(const View& view, const Format& format, const std::string& file,
                  const std::string& table, uint64_t top, Output& out) {
  std::string options;
  if (format.number == MILL_PROF_FORMAT_TEXT) {
    const auto rows = static_cast<unsigned long long>(top);
    options =
        printf_text("width=%u,findings=%llu,rows=%llu",
                    file.empty() ? std::clamp(out.width(), 40u, 1000u) : kUsualWidth, rows, rows);
  } else if (format.number == MILL_PROF_FORMAT_CSV) {
    options = "table=" + table;
  }
  const char* given = options.empty() ? nullptr : options.c_str();
  if (file.empty()) {
    view.print(out, format.number, given);
    return;
  }
  WholeFile whole(file);
  view.print(whole.out(), format.number, given);
  whole.commit();
}

Command report_command() {
  return {
      "prof report",
      "Analyses a recorded trace: whether it can be trusted, where the time went, what held the "
      "program back and what fixing it would save.",
      "TRACE",
      1,
      1,
      false,
      kOptions,
      kNotes,
      run};
}

}  // namespace mill::cli
