#include "profiler/cli/view.h"

#include <charconv>
#include <cstring>
#include <exception>
#include <utility>

#include "profiler/cli/figures.h"
#include "profiler/cli/options.h"

namespace mill::cli {

namespace {

constexpr Format kFormats[] = {
    {"text", MILL_PROF_FORMAT_TEXT, ".txt", true},
    {"csv", MILL_PROF_FORMAT_CSV, ".csv", true},
    {"jsonl", MILL_PROF_FORMAT_JSON_LINES, ".jsonl", true},
    {"chrome", MILL_PROF_FORMAT_CHROME, ".json", false},
    {"html", MILL_PROF_FORMAT_HTML, ".html", false},
};

void apply(mill_prof* prof, const std::string& setting, const Error& error) {
  const size_t equals = setting.find('=');
  const std::optional<double> value =
      equals == std::string::npos ? std::nullopt
                                  : parse_figure(std::string_view(setting).substr(equals + 1));
  if (!value) {
    throw UsageError("--set is \"" + safe_text(setting) +
                     "\", NAME=VALUE can be, such as t3_min_share=2% or g1_min_gap_ns=20us");
  }
  const mill_status status = mill_prof_set(prof, setting.data(), equals, *value, error);
  if (status == MILL_E_ARG) throw UsageError(error.text());
  check(status, error);
}

struct Stream {
  Output* out;
  std::exception_ptr thrown;
  std::string begun;  // of a line, for a terminal
};

// Names in a trace can hold anything, and a terminal obeys what it is sent.
void print_piece(Stream& stream, std::string_view piece) {
  if (!stream.out->terminal()) {
    *stream.out << piece;
    return;
  }
  for (size_t end = 0; (end = piece.find('\n')) != std::string_view::npos;) {
    stream.begun += piece.substr(0, end);
    if (stream.begun.ends_with('\r')) stream.begun.pop_back();
    *stream.out << safe_text(stream.begun) << "\n";
    stream.begun.clear();
    piece.remove_prefix(end + 1);
  }
  stream.begun += piece;
}

// The library is C: what the output throws goes around it.
mill_status write_piece(void* user, const char* data, uint64_t bytes) {
  auto* stream = static_cast<Stream*>(user);
  try {
    print_piece(*stream, std::string_view(data, bytes));
    return MILL_OK;
  } catch (...) {
    stream->thrown = std::current_exception();
    return MILL_E_IO;
  }
}

std::string shown(const mill_prof_column& column, double value) {
  const std::string_view unit = column.unit ? column.unit : "";
  if (unit == "ratio") return printf_text("%.4g", value);
  return printf_text("%.10g", value);
}

}  // namespace

// ---- answers ------------------------------------------------------------------------------------

Rows::Rows(ResultHandle result, const Error& error) : result_(std::move(result)) {
  uint32_t n = 0;
  check(mill_prof_result_shape(result_.get(), &n, &rows_, error), error);
  for (uint32_t k = 0; k < n; ++k) {
    mill_prof_column column{};
    check(mill_prof_result_column(result_.get(), k, &column, error), error);
    columns_.push_back(column);
  }
}

size_t Rows::column(std::string_view name) const {
  for (size_t k = 0; k < columns_.size(); ++k) {
    if (name == columns_[k].name) return k;
  }
  throw Failure("the profiler's answer has no column \"" + std::string(name) + "\"");
}

int64_t Rows::integer(size_t column, uint64_t row) const {
  const mill_prof_column& c = columns_[column];
  if (c.type == MILL_PROF_I64) return static_cast<const int64_t*>(c.data)[row];
  if (c.type == MILL_PROF_F64) return static_cast<int64_t>(real(column, row));
  return 0;
}

double Rows::real(size_t column, uint64_t row) const {
  const mill_prof_column& c = columns_[column];
  if (c.type == MILL_PROF_F64) return static_cast<const double*>(c.data)[row];
  return c.type == MILL_PROF_I64 ? static_cast<double>(integer(column, row)) : 0;
}

std::string_view Rows::text(size_t column, uint64_t row) const {
  const mill_prof_column& c = columns_[column];
  return c.type == MILL_PROF_TEXT ? static_cast<const char* const*>(c.data)[row]
                                  : std::string_view();
}

// ---- a trace ------------------------------------------------------------------------------------

View::View(const std::string& path, const OpenOptions& options) : context_(make_context(error_)) {
  auto opts = sized<mill_prof_opts>(MILL_STRUCT_PROF_OPTS);
  opts.warm_up_steps = options.warm_up;
  mill_prof* prof = nullptr;
  if (mill_prof_open(context_.get(), path.data(), path.size(), &opts, &prof, error_) < 0) {
    const std::string text = error_.text();
    const std::string name = safe_text(path);
    throw Failure(text.find(name) == std::string::npos ? name + ": " + text : text);
  }
  prof_.reset(prof);
  for (const std::string& setting : options.settings) apply(prof, setting, error_);
  if (!options.calibration.empty()) {
    check(mill_prof_set_calibration(prof, options.calibration.data(), options.calibration.size(),
                                    error_),
          error_);
  }
  mill_prof_view* view = nullptr;
  check(mill_prof_snapshot(prof, &view, error_), error_);
  view_.reset(view);
  summary_ = sized<mill_prof_summary>(MILL_STRUCT_PROF_SUMMARY);
  check(mill_prof_view_summary(view, &summary_, error_), error_);
}

Rows View::query(const std::string& text) const {
  mill_prof_result* result = nullptr;
  check(mill_prof_query(view_.get(), text.data(), text.size(), &result, error_), error_);
  return Rows(ResultHandle(result), error_);
}

std::vector<Finding> View::findings() const {
  std::vector<Finding> out;
  for (uint32_t k = 0; k < summary_.findings; ++k) {
    auto info = sized<mill_prof_finding>(MILL_STRUCT_PROF_FINDING);
    check(mill_prof_finding_query(view_.get(), k, &info, error_), error_);
    out.push_back({info.rule, info.title, info.device, info.severity, info.withheld != 0,
                   info.saving_expected_ns});
  }
  return out;
}

void View::print(Output& out, int32_t format, const char* options) const {
  Stream stream{&out, nullptr, {}};
  const mill_status status =
      mill_prof_export(view_.get(), format, options, write_piece, &stream, error_);
  if (stream.thrown) std::rethrow_exception(stream.thrown);
  out << safe_text(stream.begun);
  check(status, error_);
}

// ---- formats ------------------------------------------------------------------------------------

const Format& find_format(std::string_view name) {
  std::vector<std::string> names;
  if (name == "json") name = "jsonl";  // a trace is JSON too, but is called chrome here
  for (const Format& format : kFormats) {
    if (name == format.name) return format;
    names.emplace_back(format.name);
  }
  throw UsageError("--format is \"" + safe_text(name) +
                   "\", text, csv, jsonl, chrome or html can be" + suggestion(name, names));
}

const Format* format_of_file(std::string_view path) {
  if (path.ends_with(".gz")) path.remove_suffix(3);
  for (const Format& format : kFormats) {
    if (path.ends_with(format.ending)) return &format;
  }
  return nullptr;
}

const Format& chosen_format(const Arguments& arguments, const std::string& file) {
  if (const auto name = arguments.value("format")) return find_format(*name);
  if (const Format* by_file = file.empty() ? nullptr : format_of_file(file)) return *by_file;
  const std::string name = file.substr(file.find_last_of('/') + 1);
  if (const size_t dot = name.find_last_of('.'); dot != std::string::npos && dot > 0) {
    throw UsageError("--output is \"" + safe_text(file) + "\", and no format has the ending \"" +
                     safe_text(name.substr(dot)) + "\": say which with --format");
  }
  return find_format("text");
}

void print_rows(Output& out, const Rows& rows, bool csv) {
  const std::vector<mill_prof_column>& columns = rows.columns();
  const auto cell = [&](size_t k, uint64_t row) -> std::string {
    switch (columns[k].type) {
      case MILL_PROF_I64: return std::to_string(rows.integer(k, row));
      case MILL_PROF_F64: {
        if (!csv) return shown(columns[k], rows.real(k, row));
        char digits[40];
        return {digits, std::to_chars(digits, digits + sizeof digits, rows.real(k, row)).ptr};
      }
      default: return std::string(rows.text(k, row));
    }
  };
  if (!csv) {
    TextTable table;
    for (const mill_prof_column& column : columns) {
      table.column(safe_text(column.name), column.type == MILL_PROF_TEXT ? TextTable::Align::left
                                                                         : TextTable::Align::right);
    }
    for (uint64_t row = 0; row < rows.size(); ++row) {
      std::vector<std::string> cells;
      for (size_t k = 0; k < columns.size(); ++k) cells.push_back(cell(k, row));
      table.row(cells);
    }
    table.print(out);
    if (rows.size() == 0) out << "(no rows)\n";
    return;
  }
  // RFC 4180.
  const auto quoted = [&](std::string text) {
    if (out.terminal()) text = safe_text(text);
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    for (size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2)
      text.insert(at, 1, '"');
    return '"' + text + '"';
  };
  for (size_t k = 0; k < columns.size(); ++k) out << (k > 0 ? "," : "") << quoted(columns[k].name);
  out << "\r\n";
  for (uint64_t row = 0; row < rows.size(); ++row) {
    for (size_t k = 0; k < columns.size(); ++k) out << (k > 0 ? "," : "") << quoted(cell(k, row));
    out << "\r\n";
  }
}

}  // namespace mill::cli
