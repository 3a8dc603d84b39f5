#include "profiler/timeline/batches.h"

#include <algorithm>
#include <tuple>

#include "profiler/timeline/rows.h"

namespace mill::prof {

namespace {

// Ordered so that those of one batch are together; where nobody numbered them, all are.
struct Fill {
  uint64_t loader;
  uint64_t batch;
  Ns end;
  uint32_t thread;
  uint32_t row;
  bool operator<(const Fill& other) const {
    return std::tie(loader, batch, end, thread, row) <
           std::tie(other.loader, other.batch, other.end, other.thread, other.row);
  }
};

}  // namespace

std::vector<bool> filling_threads(const Trace& trace) {
  std::vector<bool> fills(trace.threads.size());
  const Loader& loader = trace.loader;
  const auto mark = [&](LoaderKind kind, bool on) {
    for (uint32_t row = 0; row < loader.size(); ++row) {
      if (loader.kind[row] == static_cast<uint8_t>(kind) && loader.thread[row] < fills.size())
        fills[loader.thread[row]] = on;
    }
  };
  mark(LoaderKind::fill, true);
  mark(LoaderKind::next, false);
  return fills;
}

Ns wait_end(const Loader& loader, uint32_t row) {
  const Ns length = std::max<Ns>(0, loader.end[row] - loader.start[row]);
  return loader.start[row] + std::clamp<Ns>(loader.wait[row], 0, length);
}

std::vector<uint32_t> batch_makers(const Loader& loader) {
  std::vector<Fill> fills;
  for (uint32_t row = 0; row < loader.size(); ++row) {
    if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::fill) ||
        !possible(loader.start[row], loader.end[row]))
      continue;
    const uint64_t number = loader.loader[row];
    fills.push_back(
        {number, number == 0 ? 0 : loader.batch[row], loader.end[row], loader.thread[row], row});
  }
  std::sort(fills.begin(), fills.end());
  std::vector<uint32_t> makers(loader.size(), kNoRow);
  for (uint32_t row = 0; row < loader.size() && !fills.empty(); ++row) {
    if (loader.kind[row] != static_cast<uint8_t>(LoaderKind::next) ||
        !possible(loader.start[row], loader.end[row]))
      continue;
    const uint64_t number = loader.loader[row];
    const uint64_t batch = number == 0 ? 0 : loader.batch[row];
    // A batch is made again where the position was set, so that it may have more than one.
    const Fill last{number, batch, wait_end(loader, row), UINT32_MAX, UINT32_MAX};
    const auto after = std::upper_bound(fills.begin(), fills.end(), last);
    if (after == fills.begin()) continue;
    const Fill& fill = *std::prev(after);
    if (fill.loader == number && fill.batch == batch) makers[row] = fill.row;
  }
  return makers;
}

}  // namespace mill::prof
