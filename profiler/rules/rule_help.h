// What the rules share: shares of the window, evidence, names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof::rule {

// Cut to a window, so that lengths and sums of disjoint ones cannot overflow whatever a row says.
inline Interval clip(Ns begin, Ns end, const Interval& window) {
  const Interval cut{begin > window.begin ? begin : window.begin,
                     end < window.end ? end : window.end};
  return cut.begin < cut.end ? cut : Interval{cut.begin, cut.begin};
}
inline bool inside(Ns begin, Ns end, const Interval& window) {
  return begin >= window.begin && begin <= end && end <= window.end;
}
// Clamped; NaN is 0.
Ns to_ns(double ns);
double share_of_window(const RuleInput& input, double ns);
// Steps of the window, 1 where there are none: what sums are divided by.
double step_count(const RuleInput& input);
// "per step" or "in all".
const char* per_step_text(const RuleInput& input);
// "2.5 times per step", "once per step"; of what is rarer, "once in 59 steps"; without steps "3
// times in all".
std::string how_often(const RuleInput& input, uint64_t count);
// "3" or "2.5".
std::string show_number(double value);

// False for the host's own CPU: it does not idle between launches.
bool is_accelerator(const Trace& trace, uint32_t device);
std::string device_name(const Trace& trace, uint32_t device);
std::string thread_name(const Trace& trace, uint32_t thread);
// Time of the window in which the device did nothing.
Ns idle_length(const RuleInput& input, const DeviceView& view);

// How much a counter that only grows has grown between its first and last value in the window; what
// came before, such as all that a start touches, is not the window's. Negative: unknown.
struct Growth {
  double value = -1;
  Ns span = 0;
};
Growth growth(const RuleInput& input, std::string_view counter);
// The last value of a counter in the recording, 0 where it has none.
double last_count(const Trace& trace, std::string_view counter);

// Keeps the first thousand and counts all: where none tells more than another, or they are in
// order.
void add_evidence(Finding& finding, TableId table, uint32_t row);

// How often, and for how long, something with a name happened.
class Tally {
 public:
  void add(std::string_view name, double ns = 0);
  struct Row {
    std::string_view name;  // of the trace's Strings
    uint64_t count = 0;
    double ns = 0;
  };
  // The longest first; of the same time, the most frequent.
  std::vector<Row> rows() const;
  // "conv2d (3), item (2) and 4 others"; "" when empty.
  std::string text(size_t most) const;

 private:
  std::unordered_map<std::string_view, Row> rows_;
};

// The name of an op, or "" for kNoRow.
std::string_view op_name(const Trace& trace, uint32_t op);
std::string_view call_name(const Trace& trace, uint32_t call);

// The host's time in calls of a device's runtime that a fix gives back: their own length plus the
// device's idleness from the last end to what starts next, never more than the device was idle.
Ns upper_of_calls(const RuleInput& input, const DeviceView* view, std::vector<Interval> calls);

}  // namespace mill::prof::rule
