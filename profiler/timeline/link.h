// Joins the tables of a trace: which call asked for a piece of device work, which op made the call,
// which op an op of a backward pass differentiates.
#pragma once

#include <cstdint>

#include "profiler/timeline/trace.h"

namespace mill::prof {

struct LinkCounts {
  uint64_t launches = 0;                // calls that ask for device work
  uint64_t launches_without_work = 0;   // not those under way when the recording ended
  uint64_t launches_of_one_number = 0;  // whose correlation another launch has too
  uint64_t work = 0;
  uint64_t work_without_call = 0;  // only counted where the source has calls at all
  uint64_t work_without_op = 0;
};

// Sorts every table by start (Work by device first) and fills all columns of Unit::row. Call ->
// work by (device where known, correlation); call -> op by instance, else by the innermost op on
// the call's thread that encloses the call's start; copy -> work by the call whose start lies
// inside the copy's interval on its thread. Links that the source has filled itself are forgotten.
// Afterwards times lie within +-(2^62 - 1), devices and streams are valid or kNoRow, threads are
// valid, and so is the device of Work: what had none gets a thread or a device named "unknown ...".
LinkCounts link(Trace& trace);

}  // namespace mill::prof
