#include "profiler/rules/loader_times.h"

#include <algorithm>
#include <utility>

#include "profiler/rules/rule_help.h"
#include "profiler/timeline/batches.h"
#include "profiler/timeline/rows.h"

namespace mill::prof::rule {

LoaderWaits loader_waits(const RuleInput& input, const uint64_t* number) {
  const Loader& loader = input.timeline.trace().loader;
  const Interval window = input.timeline.window();
  const IntervalSet& analysed = input.timeline.analysed();
  const uint32_t main = input.timeline.main_thread();
  LoaderWaits waits;
  const auto take = [&](bool main_only) {
    for (uint32_t row = 0; row < loader.size(); ++row) {
      if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::next) || loader.wait[row] <= 0 ||
          (main_only && loader.thread[row] != main) ||
          (number != nullptr && loader.loader[row] != *number))
        continue;
      // One that began while nothing was recorded counts from where recording went on.
      const Interval whole = clip(loader.start[row], wait_end(loader, row), window);
      const IntervalSet seen = analysed.intersected(whole);
      if (seen.empty()) continue;
      std::vector<Interval>& times = waits.of_thread[loader.thread[row]];
      times.insert(times.end(), seen.parts().begin(), seen.parts().end());
      waits.rows.push_back(row);
      waits.raw_ns += static_cast<double>(seen.length());
    }
  };
  take(true);
  if (waits.rows.empty()) take(false);
  return waits;
}

LoaderFills loader_fills(const RuleInput& input, uint64_t number) {
  const Loader& loader = input.timeline.trace().loader;
  const Interval window = input.timeline.window();
  LoaderFills fills;
  Ns first = kLastTime;
  Ns last = kFirstTime;
  for (uint32_t row = 0; row < loader.size(); ++row) {
    if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::fill) || loader.loader[row] != number)
      continue;
    const Interval time = clip(loader.start[row], loader.end[row], window);
    if (time.length() == 0) continue;
    ++fills.count;
    fills.of_thread[loader.thread[row]].push_back(time);
    last = std::max(last, time.begin);
    first = std::min(first, time.begin);
  }
  // A thread makes one at a time, whatever a damaged file says.
  for (const auto& [thread, list] : fills.of_thread)
    fills.ns += static_cast<double>(IntervalSet(list).length());
  // A thread that asks for batches and fills them itself is no worker; nor, where loaders have no
  // numbers, is one that made a few: it is of another loader, such as that of a test between
  // epochs. What ended long before the others was of another depth.
  const std::vector<bool> for_others = filling_threads(input.timeline.trace());
  size_t most = 0;
  for (const auto& [thread, list] : fills.of_thread) most = std::max(most, list.size());
  for (const auto& [thread, list] : fills.of_thread) {
    const bool many = number != 0 || list.size() * 5 >= most;
    const bool now = number == 0 || list.back().begin >= last - (last - first) / 4;
    if (thread < for_others.size() && for_others[thread] && many && now)
      fills.workers.push_back(thread);
  }
  return fills;
}

Ns starved_length(const RuleInput& input, uint64_t number) {
  const Loader& loader = input.timeline.trace().loader;
  const uint32_t main = input.timeline.main_thread();
  const std::vector<uint32_t> makers = batch_makers(loader);
  // Per fill: when its worker had made the one before. Rows are in the order of their starts.
  std::vector<Ns> before(loader.size(), 0);
  std::map<uint32_t, Ns> last_end;
  Ns last_take = kFirstTime;
  Ns starved = 0;
  for (uint32_t row = 0; row < loader.size(); ++row) {
    if (!possible(loader.start[row], loader.end[row]) || loader.thread[row] == main) continue;
    if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::fill)) continue;
    const auto [last, first] = last_end.try_emplace(loader.thread[row], loader.start[row]);
    before[row] = last->second;
    last->second = std::max(last->second, loader.end[row]);
  }
  for (uint32_t row = 0; row < loader.size(); ++row) {
    if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::next) || loader.thread[row] != main ||
        loader.loader[row] != number || !possible(loader.start[row], loader.end[row]))
      continue;
    const Ns taken = std::exchange(last_take, loader.start[row]);
    const uint32_t fill = makers[row];
    if (taken == kFirstTime || fill == kNoRow || loader.thread[fill] == main) continue;
    const Interval wait{loader.start[row], wait_end(loader, row)};
    const Interval seen = clip(wait.begin, wait.end, input.timeline.window());
    if (seen.length() == 0 || loader.end[fill] <= wait.begin) continue;
    const Ns could = std::max(before[fill], taken);
    starved += std::clamp<Ns>(loader.start[fill] - could, 0, seen.length());
  }
  return starved;
}

}  // namespace mill::prof::rule
