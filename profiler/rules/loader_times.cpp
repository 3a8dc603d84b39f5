#include "profiler/rules/loader_times.h"

#include <algorithm>

#include "profiler/rules/rule_help.h"
#include "profiler/timeline/rows.h"

namespace mill::prof::rule {

LoaderWaits loader_waits(const RuleInput& input) {
  const Loader& loader = input.timeline.trace().loader;
  const Interval window = input.timeline.window();
  const uint32_t main = input.timeline.main_thread();
  LoaderWaits waits;
  const auto take = [&](bool main_only) {
    for (uint32_t row = 0; row < loader.size(); ++row) {
      if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::next) || loader.wait[row] <= 0 ||
          (main_only && loader.thread[row] != main))
        continue;
      // The wait comes first; what follows it hands the batch over.
      const Ns length = Interval{loader.start[row], loader.end[row]}.length();
      const Ns until = loader.start[row] + std::min(length, loader.wait[row]);
      const Interval time = clip(loader.start[row], until, window);
      if (time.length() == 0) continue;
      waits.of_thread[loader.thread[row]].push_back(time);
      waits.rows.push_back(row);
      waits.raw_ns += static_cast<double>(time.length());
    }
  };
  take(true);
  if (waits.rows.empty()) take(false);
  return waits;
}

LoaderFills loader_fills(const RuleInput& input) {
  const Loader& loader = input.timeline.trace().loader;
  const Interval window = input.timeline.window();
  LoaderFills fills;
  for (uint32_t row = 0; row < loader.size(); ++row) {
    if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::fill)) continue;
    const Interval time = clip(loader.start[row], loader.end[row], window);
    if (time.length() == 0) continue;
    ++fills.count;
    fills.ns += static_cast<double>(time.length());
    fills.of_thread[loader.thread[row]].push_back(time);
  }
  return fills;
}

Ns starved_length(const RuleInput& input) {
  const Loader& loader = input.timeline.trace().loader;
  const uint32_t main = input.timeline.main_thread();
  struct Fill {
    Interval time;
    Ns before;  // when the worker had made the one before
  };
  std::vector<Fill> fills;
  std::vector<Interval> takes;
  std::map<uint32_t, Ns> last_end;
  // By start, as all tables are.
  for (uint32_t row = 0; row < loader.size(); ++row) {
    const Interval time{loader.start[row], loader.end[row]};
    if (!possible(time.begin, time.end)) continue;
    const uint32_t thread = loader.thread[row];
    const auto kind = static_cast<LoaderKind>(loader.kind[row]);
    if (kind == LoaderKind::next && thread == main)
      takes.push_back(
          {time.begin, time.begin + std::clamp<Ns>(loader.wait[row], 0, time.length())});
    if (kind != LoaderKind::fill || thread == main) continue;
    const auto [last, first] = last_end.try_emplace(thread, time.begin);
    fills.push_back({time, last->second});
    last->second = std::max(last->second, time.end);
  }
  std::sort(fills.begin(), fills.end(),
            [](const Fill& a, const Fill& b) { return a.time.end < b.time.end; });
  Ns starved = 0;
  for (size_t k = 1; k < takes.size(); ++k) {
    const Interval wait = takes[k];
    const Interval seen = clip(wait.begin, wait.end, input.timeline.window());
    if (seen.length() == 0) continue;
    // The batch that it waited for is the last that was done before its end.
    const auto after = std::upper_bound(fills.begin(), fills.end(), wait.end,
                                        [](Ns t, const Fill& f) { return t < f.time.end; });
    if (after == fills.begin()) continue;
    const Fill& fill = *std::prev(after);
    if (fill.time.end <= wait.begin) continue;
    const Ns could = std::max(fill.before, takes[k - 1].begin);
    starved += std::clamp<Ns>(fill.time.begin - could, 0, seen.length());
  }
  return starved;
}

}  // namespace mill::prof::rule
