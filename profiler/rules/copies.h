// What the rules about transfers share: one view of a copy whatever recorded it, who asked for it,
// and the sentences that all of them use.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof {

// Times of a trace may be anything: the length is clamped, never negative.
Ns length_of(Ns start, Ns end);
// Rounded to the nearest, at most 2^61; 0 for what is negative or not a number.
Ns whole_ns(double ns);

// A copy, from its row of Work and what is linked to it.
struct CopyRow {
  uint32_t row = 0;
  Interval at;  // on the device
  Ns length = 0;
  CopyKind kind = CopyKind::unknown;
  Memory memory = Memory::unknown;  // the host's side
  uint64_t bytes = 0;
  uint64_t copies = 1;  // that the record stands for
  uint32_t call = kNoRow;
  Interval called;  // the host's call; empty: there is none
  Ns call_length = 0;
  bool async_form = false;  // false where the call is not known
  bool sync_form = false;
  bool small_upload = false;  // a synchronous form that does not block, being small
};
CopyRow copy_row(const RuleInput& input, uint32_t row);

// One copy blocks its thread although its form promises that it does not: it uses pageable memory,
// or its call lasted as long as the copy. launch_ns: a call that does not wait takes so long.
bool blocks_in_disguise(const RuleInput& input, const CopyRow& copy, Ns launch_ns);
// The thread waits for it, as the form says.
inline bool blocks_openly(const CopyRow& copy) {
  return copy.sync_form && !copy.small_upload;
}

// What a call that only hands over work takes here: the median of the launching calls in the
// window; 0 when there are none.
Ns launch_cost(const RuleInput& input);

// The lines that one device's copies need, each looked up once.
class Lines {
 public:
  Lines(const RuleInput& input, uint32_t device) : input_(input), device_(device) {}
  const LinkLine& of(CopyKind kind, Memory memory);

 private:
  const RuleInput& input_;
  uint32_t device_;
  std::vector<std::pair<std::pair<CopyKind, Memory>, LinkLine>> lines_;
};

// How many findings of one rule are told apart: each costs replays, which take long for a long
// recording.
size_t most_findings(const RuleInput& input, size_t usual);

// Length of what is analysed: the window without the holes in the recording.
double analysed_ns(const RuleInput& input);
// How many steps the window stands for: at least 1, so that totals can be divided by it.
double window_parts(const RuleInput& input);
// `ns` of the window as a text: "1.93 ms per step", or "1.93 ms" without steps.
std::string per_step(const RuleInput& input, double ns);
std::string bytes_per_step(const RuleInput& input, double bytes);

std::string device_text(const Trace& trace, uint32_t device);
std::string thread_text(const Trace& trace, uint32_t thread);
std::string stream_text(const Trace& trace, uint32_t stream);
const char* direction_text(CopyKind kind);
// "3 copies", "1 copy".
std::string copies_text(uint64_t count);
// Where a figure for a link comes from: "by calibration".
std::string source_text(const LinkLine& line);
// Who asked for the copies: up to three ops, scopes or calls with what each moved. Empty when
// nothing of it is known.
std::string askers_text(const Trace& trace, std::span<const uint32_t> rows);
// The op that made a copy's tensor, or the scope: empty when neither is known.
std::string maker_text(const Trace& trace, uint32_t row);

}  // namespace mill::prof
