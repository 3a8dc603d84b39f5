// The part of a Chrome trace before its events.
#pragma once

#include "profiler/export/writer.h"
#include "profiler/timeline/trace.h"

namespace mill::prof {

// Up to the bracket that opens the list of events.
void chrome_header(Writer& out, const Trace& trace, Ns base);

}  // namespace mill::prof
