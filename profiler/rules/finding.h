// What a rule found: the evidence, the figures that went into its formula, what a fix would save
// and what to do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "profiler/base/intervals.h"
#include "profiler/health/health.h"
#include "profiler/replay/replay.h"

namespace mill::prof {

// Never renumbered: the C API shows them. Names as in the design notes, section 3.2.
enum class RuleId : uint8_t {
  none,
  T1,
  T2,
  T3,
  T4,
  T5,
  T6,
  T7,
  T8,
  T9,
  T10,
  T11,
  S1,
  S2,
  S3,
  S4,
  G1,
  G2,
  L1,
  L2,
  I1,
  A1,
  O1,
  C1,
  count
};
const char* rule_id_text(RuleId id);  // "T1"
const char* rule_name(RuleId id);     // "Async copy that is not async"

enum class Severity : uint8_t { info, minor, moderate, major };  // as mill_prof_severity
const char* severity_name(Severity severity);

enum class TableId : uint8_t {
  none,
  ops,
  calls,
  work,
  copies,
  syncs,
  allocations,
  loader,
  steps,
  gaps,
  overheads,
  managed
};

struct Evidence {
  TableId table = TableId::none;
  uint32_t row = 0;
};

// A figure that the formula used.
struct Fact {
  const char* name;  // "copies", "bytes_per_s", "exposed_ns"
  double value;
  Unit unit;
};

struct Saving {
  Ns lower = 0;
  Ns expected = 0;
  Ns upper = 0;  // lower <= expected <= upper
};

// Machine-readable: which knob, and its value.
struct Fix {
  const char* knob = "";  // "pinned_staging", "prefetch_depth", "defer_read", "keep_resident", ...
  double value = 0;
  bool engine_can_apply = false;
};

struct Finding {
  RuleId rule = RuleId::none;
  Severity severity = Severity::info;
  Confidence confidence = Confidence::high;
  uint32_t device = kNoRow;  // index into Trace::devices
  Interval window;
  std::string title;               // one line: what, how much
  std::string advice;              // sentences
  std::vector<Evidence> evidence;  // the most telling first, at most 1,000
  uint64_t evidence_total = 0;
  std::vector<Fact> facts;
  LinkSource link_source = LinkSource::none;  // of the figures for a link, where it uses such
  Saving saving;            // of the window; per step: divide by Timeline::window_steps()
  bool withheld = false;    // the health verdict forbids a figure: saving is 0
  uint32_t rank = 0;        // 1: the largest expected saving
  uint32_t joint_rank = 0;  // 1: what a joint replay takes first, and so on; 0: not in it
  Fix fix;
  Plan plan;        // what the expected saving replays
  Plan plan_lower;  // what the lower one does
};

// Rows by what they lost; the most telling become a finding's evidence.
class EvidenceList {
 public:
  void add(uint32_t row, double lost, TableId table = TableId::work) {
    rows_.push_back({lost, {table, row}});
  }
  void give(Finding& finding);

 private:
  struct Row {
    double lost;
    Evidence what;
  };
  std::vector<Row> rows_;
};

}  // namespace mill::prof
