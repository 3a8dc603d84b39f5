// What the page shows besides single events: everything but the timeline, as one JSON object.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/export/html_events.h"
#include "profiler/export/html_text.h"

namespace mill::prof::html {

// How much of lists: less where a page must be small.
struct Limits {
  uint32_t findings = 500;   // the first by rank
  uint32_t evidence = 1000;  // of each finding
  uint32_t table_rows = 500;
  uint32_t points = 4000;  // of a curve of memory
  uint32_t text = 2000;    // bytes of a name
};

struct Verdict {
  std::string headline;  // what to do, or that there is nothing to do
  std::string tone;      // "bad", "warn", "good", "refuse"
};
Verdict verdict(const Analysis& analysis);

// The name of the recording, as the title says it.
std::string recording_name(const Trace& trace);

// Appends members to an open object.
void write_overview(Json& json, const Analysis& analysis, const Scene& scene);
void write_findings(Json& json, const Analysis& analysis, const Scene& scene, const Limits& limits);
void write_tables(Json& json, const Analysis& analysis, const Limits& limits);
void write_memory(Json& json, const Analysis& analysis, const Scene& scene, const Limits& limits);

// The analysed steps, as columns.
std::vector<Column> step_columns(const Analysis& analysis, const Scene& scene);

}  // namespace mill::prof::html
