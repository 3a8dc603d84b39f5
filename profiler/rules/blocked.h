// What the rules about copies and fills that block the host share: a group of them, and what all
// say of it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "profiler/rules/copies.h"

namespace mill::prof {

// Of such copies nothing but the fixed cost shows.
inline constexpr uint64_t kTinyCopy = 4096;

// What a group of copies or fills costs, and the changes that would mend it.
struct Blocked {
  std::vector<uint32_t> rows;
  EvidenceList evidence;
  std::vector<Interval> calls;           // cut to the window
  std::vector<Interval> on_link;         // the same
  std::unordered_set<uint64_t> buffers;  // 0: one that is not known
  double bytes = 0;
  double time = 0;        // on the device
  double call_time = 0;   // of the calls
  double host_gain = 0;   // of the formula of T1: host time that comes free ...
  double link_gain = 0;   // ... and time on the link
  uint64_t largest = 0;   // bytes
  uint64_t pageable = 0;  // copies
  uint64_t waits = 0;     // calls that wait for a copy right after it
  double shortest = 0;    // of the tiny copies that way, whatever their memory
  LinkLine line;          // of page-locked memory; where the group has two directions, of the last
  std::map<CopyKind, LinkLine> lines;  // of those that use pageable memory
  uint32_t thread = kNoRow;            // of the first
  bool many_threads = false;
  Plan plan;
  Plan plan_lower;
};

Interval cut(Interval one, Interval window);
// What every rule counts of a copy or fill; lost: how telling it is as evidence.
void add_common(const RuleInput& input, const CopyRow& copy, double lost, Blocked& group);
// The host goes on at once. What the host reads must still be there when it is used, which nothing
// in a recording shows: it is given one step.
void let_go(CopyKind kind, uint32_t call, Plan& plan);
// All of a saving lies where the calls or the copies are, and not under a kernel.
Ns most_saved(const RuleInput& input, const DeviceView& view, const Blocked& group);
// What every finding of a group says first; takes the group's plans and evidence.
void begin_finding(const RuleInput& input, const DeviceView& view, Blocked& group,
                   Finding& finding);
// The thread that asked, and who asked as a sentence of its own, "" where it is not known.
std::string threads_text(const Trace& trace, const Blocked& group);
std::string which_text(const Trace& trace, const Blocked& group);

// ---- T1: disguised.cpp --------------------------------------------------------------------------

// By row of Calls: what the thread called next, what it called inside aside.
std::vector<uint32_t> next_calls(const Timeline& timeline);
void add_disguised(const RuleInput& input, const CopyRow& copy, Ns launch_ns,
                   const std::vector<uint32_t>& next, Lines& lines, Blocked& group);
void report_disguised(const RuleInput& input, const DeviceView& view, CopyKind kind, Blocked& group,
                      std::vector<Finding>& out);

}  // namespace mill::prof
