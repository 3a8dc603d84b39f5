#include "profiler/base/intervals.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace mill::prof {

IntervalSet::IntervalSet(std::vector<Interval> intervals) {
  std::erase_if(intervals, [](const Interval& one) { return one.end <= one.begin; });
  std::sort(intervals.begin(), intervals.end(),
            [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  for (const Interval& one : intervals) {
    if (!parts_.empty() && one.begin <= parts_.back().end) {
      parts_.back().end = std::max(parts_.back().end, one.end);
    } else {
      parts_.push_back(one);
    }
  }
  measure();
}

void IntervalSet::measure() {
  before_.clear();
  before_.reserve(parts_.size());
  length_ = 0;
  for (const Interval& part : parts_) {
    before_.push_back(length_);
    length_ += part.length();
  }
}

IntervalSet IntervalSet::united(const IntervalSet& other) const {
  std::vector<Interval> all(parts_);
  all.insert(all.end(), other.parts_.begin(), other.parts_.end());
  return IntervalSet(std::move(all));
}

IntervalSet IntervalSet::intersected(const IntervalSet& other) const {
  IntervalSet out;
  size_t i = 0;
  size_t k = 0;
  while (i < parts_.size() && k < other.parts_.size()) {
    const Interval both{std::max(parts_[i].begin, other.parts_[k].begin),
                        std::min(parts_[i].end, other.parts_[k].end)};
    if (both.begin < both.end) out.parts_.push_back(both);
    if (parts_[i].end < other.parts_[k].end) {
      ++i;
    } else {
      ++k;
    }
  }
  out.measure();
  return out;
}

IntervalSet IntervalSet::intersected(Interval window) const {
  return intersected(IntervalSet({window}));
}

IntervalSet IntervalSet::complement(Interval window) const {
  IntervalSet out;
  Ns at = window.begin;
  for (const Interval& part : parts_) {
    if (part.end <= at) continue;
    if (part.begin >= window.end) break;
    if (part.begin > at) out.parts_.push_back({at, part.begin});
    at = part.end;
  }
  if (at < window.end) out.parts_.push_back({at, window.end});
  out.measure();
  return out;
}

IntervalSet IntervalSet::minus(const IntervalSet& other) const {
  if (parts_.empty()) return {};
  return intersected(other.complement({parts_.front().begin, parts_.back().end}));
}

Ns IntervalSet::overlap(Interval interval) const {
  if (interval.end <= interval.begin) return 0;
  // The length of the set before t.
  const auto until = [&](Ns t) -> Ns {
    const auto after = std::upper_bound(parts_.begin(), parts_.end(), t,
                                        [](Ns at, const Interval& p) { return at < p.begin; });
    if (after == parts_.begin()) return 0;
    const auto k = static_cast<size_t>(after - parts_.begin()) - 1;
    return before_[k] + (std::min(t, parts_[k].end) - parts_[k].begin);
  };
  return until(interval.end) - until(interval.begin);
}

Ns IntervalSet::end_of(Ns t) const {
  const auto after = std::upper_bound(parts_.begin(), parts_.end(), t,
                                      [](Ns at, const Interval& p) { return at < p.begin; });
  if (after == parts_.begin()) return t;
  return std::max(t, std::prev(after)->end);
}

Ns IntervalSet::next(Ns t) const {
  const auto found = std::upper_bound(parts_.begin(), parts_.end(), t,
                                      [](Ns at, const Interval& p) { return at < p.end; });
  return found == parts_.end() ? INT64_MAX : std::max(t, found->begin);
}

Ns IntervalSet::last_end(Ns t) const {
  const auto found = std::upper_bound(parts_.begin(), parts_.end(), t,
                                      [](Ns at, const Interval& p) { return at < p.end; });
  return found == parts_.begin() ? INT64_MIN : std::prev(found)->end;
}

}  // namespace mill::prof
