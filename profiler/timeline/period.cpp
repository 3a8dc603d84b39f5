#include "profiler/timeline/period.h"

#include <algorithm>
#include <vector>

namespace mill::prof {

namespace {

// z[i]: how many elements from i on equal those from 0 on. (Gusfield, Algorithms on Strings, Trees
// and Sequences, 1.4.)
std::vector<size_t> z_values(std::span<const uint32_t> s) {
  std::vector<size_t> z(s.size());
  size_t left = 0;
  size_t right = 0;
  for (size_t i = 1; i < s.size(); ++i) {
    if (i < right) z[i] = std::min(right - i, z[i - left]);
    while (i + z[i] < s.size() && s[z[i]] == s[i + z[i]]) ++z[i];
    if (i + z[i] > right) {
      left = i;
      right = i + z[i];
    }
  }
  return z;
}

// For every distance p: the longest run of i around a probe with names[i] == names[i + p].
class Probe {
 public:
  Probe(std::span<const uint32_t> names, size_t at) : size_(names.size()), at_(at) {
    ahead_ = z_values(names.subspan(at));
    std::vector<uint32_t> reversed(names.rend() - static_cast<std::ptrdiff_t>(at), names.rend());
    reversed.push_back(UINT32_MAX);  // no name is that
    reversed.insert(reversed.end(), names.rbegin(), names.rend());
    behind_ = z_values(reversed);
  }

  struct Run {
    size_t first;
    size_t end;  // of what repeats, the last period included
    size_t length() const { return end - first; }
  };
  Run run(size_t p) const {
    if (at_ + p >= size_) return {at_, at_};
    const size_t right = ahead_[p];
    const size_t left = std::min(behind_[at_ + 1 + size_ - at_ - p], at_);
    return left + right == 0 ? Run{at_, at_} : Run{at_ - left, at_ + right + p};
  }

 private:
  size_t size_;
  size_t at_;
  std::vector<size_t> ahead_;
  std::vector<size_t> behind_;
};

}  // namespace

Period find_period(std::span<const uint32_t> names) {
  const size_t n = names.size();
  if (n < 6) return {};
  // What repeats three times over half of the names matches itself one period later over a third
  // of them, and every third holds one of these.
  Period best;
  for (const size_t at : {n / 4, n / 2, n - n / 4}) {
    const Probe probe(names, at);  // one at a time: it takes several times the memory of the names
    const size_t limit = best.length != 0 ? best.length - 1 : n / 3;
    for (size_t p = 2; p <= limit; ++p) {
      const auto run = probe.run(p);
      if (run.length() < std::max(3 * p, (n + 1) / 2)) continue;
      const auto same = probe.run(1);
      if (same.first <= run.first && same.end >= run.end) continue;
      best = {run.first, p, run.length() / p};
      break;
    }
  }
  return best;
}

}  // namespace mill::prof
