// Whether a trace can be trusted, before anybody gives advice from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "profiler/timeline/link.h"
#include "profiler/timeline/trace.h"

namespace mill::prof {

enum class Confidence : uint8_t { high, medium, low, refuse };
const char* confidence_name(Confidence confidence);

// Never renumbered: the C API shows them.
enum class HealthCode : uint8_t {
  ok,
  empty,              // nothing was recorded
  lost_records,       // rings or buffers were full
  store_full,         // the oldest records were given up
  bad_times,          // start 0, end before start, end 0
  before_launch,      // device work that starts before its own call
  overlap_on_stream,  // two pieces of one stream at the same time
  launch_without_work,
  work_without_launch,
  whole_graphs,    // graph launches hide their nodes
  cut_off,         // the file ends in the middle
  skipped_events,  // events that could not be read
  no_device_data,  // calls that launch, or a device in use, and not one piece of device work
  no_steps,
  unfinished,
  mixed_clocks,    // records of another clock were left out
  shared_numbers,  // launches of one correlation: which of them asked for what is a guess
  standing_clock,  // pieces of one stream, or ops of one thread, that all begin at the same time
  few_steps,
  no_length,  // kernels that take no time
  bad_sizes   // more bytes than any machine has
};
const char* health_code_name(HealthCode code);

struct HealthItem {
  HealthCode code = HealthCode::ok;
  Confidence effect = Confidence::high;  // what this item alone makes of the verdict
  uint64_t count = 0;
  uint64_t total = 0;  // of how many; 0: no such figure
  std::string text;    // one sentence with both figures
};

struct Health {
  Confidence verdict = Confidence::high;  // the worst effect
  std::vector<HealthItem> items;          // worst first; empty: nothing to say
  uint64_t excluded = 0;  // rows left out: flagged kExcluded, or impossible in other tables
  // One sentence: "No advice: ..." where the verdict is refuse, else what limits the trust.
  std::string summary;
};

// Limits of section 3.1 of the design notes; each can be configured.
struct HealthLimits {
  double lost_medium = 0.001;  // of all records
  double lost_refuse = 0.05;
  double bad_times_low = 0.01;    // of device work
  Ns before_launch_slack = 2000;  // ns
  double before_launch_low = 0.001;
  Ns overlap_slack = 1000;  // ns
};

// Takes a linked trace; flags impossible rows of Work and Calls as kExcluded and counts them to the
// record. Impossible are: an end before the start, a time that is 0 where the others are far from 0
// (zero_is_far in timeline/rows.h), both times 0, times no clock has, and work that starts before
// its own launch; where most of the work does that, the clocks differ, and it stays in. Rows
// of other tables whose times are not possible() are counted: nobody uses those. Sizes above 2^50
// bytes are set to 0, unknown. Losses are told
// apart by Loss::where: "store" and "other clock" have codes of their own. Steps are not known yet,
// so no_steps and few_steps are added by the caller.
Health examine(Trace& trace, const LinkCounts& counts, const HealthLimits& limits = {});

// Adds an item and worsens the verdict as its effect says.
void add_item(Health& health, HealthItem item);

}  // namespace mill::prof
