// What leaves the profiler: text, CSV, JSON lines, Chrome JSON, HTML.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "profiler/session/analysis.h"

namespace mill::prof {

// Takes the next piece; false stops the export, which then says so.
using Sink = std::function<bool(std::string_view piece)>;

struct TextOptions {
  uint32_t width = 100;
  uint32_t findings = 10;
  uint32_t rows = 10;  // of each table
};

// Health, the steps, where the time went, findings with advice, the largest kernels, copies and
// gaps, the profiler's own cost.
bool export_text(const Analysis& analysis, const TextOptions& options, const Sink& sink);
// One table, RFC 4180, a header line; codes and strings as text. table: a name of for_each_table,
// or "steps", "gaps", "health", "findings". False with nothing written for an unknown name.
bool export_csv(const Analysis& analysis, std::string_view table, const Sink& sink);
// Every row of every table, one JSON object per line with "table" first.
bool export_json_lines(const Analysis& analysis, const Sink& sink);
// Chrome trace events, sorted by start, with flows call -> work; opens in Perfetto; import reads it
// back without loss of times, links and names.
bool export_chrome(const Analysis& analysis, const Sink& sink);

struct HtmlOptions {
  uint64_t max_bytes = 20000000;  // small events are merged until the file fits
  std::string_view title;
};
bool export_html(const Analysis& analysis, const HtmlOptions& options, const Sink& sink);

}  // namespace mill::prof
