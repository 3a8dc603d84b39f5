// What link() does before it joins anything.
#pragma once

#include "profiler/timeline/trace.h"

namespace mill::prof {

// Every time between kFirstTime and kLastTime, recorded spans too, every link empty, every device,
// stream and thread one that exists, or none where there may be none.
void make_safe(Trace& trace);

// Sorts the tables of a safe trace. Rows that start together have an order of their own where
// anything tells them apart, so that the order in which a source wrote them changes nothing.
void sort_tables(Trace& trace);

}  // namespace mill::prof
