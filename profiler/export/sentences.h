// Sentences that the text report and the page share.
#pragma once

#include <cstddef>
#include <string>

#include "profiler/export/export.h"

namespace mill::prof {

// "matmul 42.1 %, compare 31.8 %": the ops whose kernels, or on a CPU whose own time, take most of
// the analysed time of the busiest device, at most n; kernels that no op asked for are called by
// their own names. Empty where nothing ran.
std::string busiest(const Analysis& analysis, size_t n);

// How much of the time was recorded; empty where all of it was.
std::string unrecorded_text(const Analysis& analysis);

// What recording cost, as far as it was measured or can be told from what an event costs; no full
// stop.
std::string own_cost_text(const Analysis& analysis);

}  // namespace mill::prof
