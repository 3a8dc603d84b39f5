// A recording as the library's profiler sees it, and the answers to questions about it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/cli/handles.h"
#include "profiler/cli/options.h"
#include "profiler/cli/output.h"

namespace mill::cli {

// The columns of an answer, while it is held.
class Rows {
 public:
  Rows(ResultHandle result, const Error& error);

  uint64_t size() const { return rows_; }
  const std::vector<mill_prof_column>& columns() const { return columns_; }
  size_t column(std::string_view name) const;  // throws Failure where there is none
  int64_t integer(size_t column, uint64_t row) const;
  double real(size_t column, uint64_t row) const;
  std::string_view text(size_t column, uint64_t row) const;

 private:
  ResultHandle result_;
  std::vector<mill_prof_column> columns_;
  uint64_t rows_ = 0;
};

struct Finding {
  std::string rule;
  std::string title;
  uint32_t device = 0;
  int32_t severity = 0;
  bool withheld = false;
  int64_t saving_ns = 0;  // expected, of the window
};

struct OpenOptions {
  uint32_t warm_up = 0;               // 0: found
  std::vector<std::string> settings;  // "NAME=VALUE"
  std::string calibration;            // a file; "": none
};

// One trace, opened and analysed. Throws Failure, UsageError for a setting.
class View {
 public:
  View(const std::string& path, const OpenOptions& options);

  const mill_prof_summary& summary() const { return summary_; }
  bool refused() const { return summary_.health == MILL_PROF_REFUSE; }
  mill_prof_view* handle() const { return view_.get(); }
  const Error& error() const { return error_; }

  Rows query(const std::string& text) const;
  std::vector<Finding> findings() const;
  // options may be NULL.
  void print(Output& out, int32_t format, const char* options) const;
  // Steps of the window, at least 1: what a figure of the window is divided by.
  uint32_t steps() const { return summary_.steps > 0 ? summary_.steps : 1; }
  const char* per_step() const { return summary_.steps > 0 ? " per step" : ""; }

 private:
  Error error_;
  ContextHandle context_;
  ProfHandle prof_;
  ViewHandle view_;
  mill_prof_summary summary_{};
};

struct Format {
  const char* name;
  int32_t number;      // MILL_PROF_FORMAT_...
  const char* ending;  // of a file's name
  bool for_terminals;
};
// Throws UsageError for an unknown name.
const Format& find_format(std::string_view name);
// By the file's ending; NULL where it says nothing.
const Format* format_of_file(std::string_view path);
// What --format says, else what the file's name ends in, else text. Throws UsageError for an ending
// that says something else.
const Format& chosen_format(const Arguments& arguments, const std::string& file);

// The whole report, or one table of it; file "": to `out`.
void write_report(const View& view, const Format& format, const std::string& file,
                  const std::string& table, uint64_t top, Output& out);

// The answer as an aligned table, or as CSV.
void print_rows(Output& out, const Rows& rows, bool csv);

}  // namespace mill::cli
