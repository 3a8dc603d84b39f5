// Sets of time: what profiles are made of. Sums of durations count what overlaps twice; a set
// counts every instant once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mill::prof {

using Ns = int64_t;

// [begin, end); empty unless begin < end.
struct Interval {
  Ns begin = 0;
  Ns end = 0;
  Ns length() const { return end > begin ? end - begin : 0; }
  bool contains(Ns t) const { return t >= begin && t < end; }
  friend bool operator==(const Interval&, const Interval&) = default;
};

// Disjoint, not adjacent, in order.
class IntervalSet {
 public:
  IntervalSet() = default;
  // The union. The intervals may overlap and come in any order; empty ones are left out.
  explicit IntervalSet(std::vector<Interval> intervals);

  // Sum of lengths. Lengths that together exceed int64 are the caller's to avoid.
  Ns length() const { return length_; }
  bool empty() const { return parts_.empty(); }
  std::span<const Interval> parts() const { return parts_; }

  IntervalSet united(const IntervalSet& other) const;
  IntervalSet intersected(const IntervalSet& other) const;
  IntervalSet intersected(Interval window) const;
  // What is in this set and not in the other.
  IntervalSet minus(const IntervalSet& other) const;
  // What is in `window` and not in this set.
  IntervalSet complement(Interval window) const;

  // Length of the part of the set inside an interval: O(log parts).
  Ns overlap(Interval interval) const;
  // The end of the part that holds t, or t.
  Ns end_of(Ns t) const;
  // The first instant of the set at or after t; INT64_MAX if there is none.
  Ns next(Ns t) const;
  // The last end at or before t; INT64_MIN if there is none.
  Ns last_end(Ns t) const;

 private:
  void measure();
  std::vector<Interval> parts_;
  std::vector<Ns> before_;  // length of the parts before each
  Ns length_ = 0;
};

}  // namespace mill::prof
