// The sections of the text report, in order.
#pragma once

#include "profiler/export/export.h"
#include "profiler/export/text_page.h"

namespace mill::prof {

// text.cpp
void text_header(Page& page, const Analysis& analysis);
void text_health(Page& page, const Analysis& analysis);
void text_findings(Page& page, const Analysis& analysis, const TextOptions& options);

// text_time.cpp
void text_step_time(Page& page, const Analysis& analysis);
void text_ops(Page& page, const Analysis& analysis, const TextOptions& options);
void text_kernels(Page& page, const Analysis& analysis, const TextOptions& options);
void text_threads(Page& page, const Analysis& analysis, const TextOptions& options);

// text_memory.cpp
void text_copies(Page& page, const Analysis& analysis, const TextOptions& options);
void text_gaps(Page& page, const Analysis& analysis, const TextOptions& options);
void text_allocations(Page& page, const Analysis& analysis, const TextOptions& options);

// text_limits.cpp
void text_cost(Page& page, const Analysis& analysis);
void text_unknown(Page& page, const Analysis& analysis);

// Of a row that may hold any times: never negative, never an overflow.
inline double length_of(Ns start, Ns end) {
  return end > start
             ? static_cast<double>(static_cast<uint64_t>(end) - static_cast<uint64_t>(start))
             : 0;
}
// "1 copy", "12 copies".
inline std::string count_of(uint64_t count, std::string_view one, std::string_view many) {
  return show_count(count) + " " + std::string(count == 1 ? one : many);
}

}  // namespace mill::prof
