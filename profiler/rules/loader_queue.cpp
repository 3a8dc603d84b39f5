#include "profiler/rules/loader_queue.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "profiler/timeline/batches.h"
#include "profiler/timeline/rows.h"

namespace mill::prof::rule {

namespace {

constexpr double kMostUnknown = 0.1;  // of the waiting: above that a queue is not known
constexpr double kNearly = 0.05;      // of the waiting: not worth a longer queue or more workers
constexpr double kMostLeft = 0.5;     // of the waiting: more is left, and other fixes are looked at
constexpr double kWorthMoreWorkers = 0.8;
constexpr double kSlower = 1.25;     // more workers share memory and processors
constexpr uint32_t kMostAhead = 64;  // mill_loader_set_prefetch takes no more

// Whether all of it was recorded.
bool seen(const Trace& trace, Interval time) {
  if (trace.recorded.empty() || time.end <= time.begin) return true;
  return std::any_of(trace.recorded.begin(), trace.recorded.end(), [&](const Interval& span) {
    return span.begin <= time.begin && time.end <= span.end;
  });
}

Ns times(Ns length, double factor) {
  return static_cast<Ns>(std::llround(static_cast<double>(length) * factor));
}

}  // namespace

LoaderQueue::LoaderQueue(const Trace& trace, Interval window, uint64_t number,
                         const std::vector<uint32_t>& workers) {
  if (number == 0) return;
  find_takes(trace, number, workers);
  const auto asked_before = [](const Take& take, Ns t) { return take.asked < t; };
  const auto position = [&](Ns t) {
    return static_cast<uint32_t>(std::lower_bound(takes_.begin(), takes_.end(), t, asked_before) -
                                 takes_.begin());
  };
  first_ = position(window.begin);
  last_ = std::max(first_, position(window.end));
  rows_ = {rows_.begin() + first_, rows_.begin() + last_};
  if (first_ == last_) return;
  Ns waited = 0;
  Ns unknown = 0;
  Ns between_made = 0;
  uint32_t back = 0;
  for (uint32_t k = first_; k < last_; ++k) {
    const Take& take = takes_[k];
    // Batches that were taken while nothing was recorded were not given up.
    const bool unseen = k > 0 && !seen(trace, {takes_[k - 1].given, take.asked});
    restarts_ += take.first == k && k > first_ && !unseen;
    back += k > first_ && take.batch <= takes_[k - 1].batch;
    const Ns next = k + 1 < takes_.size() ? takes_[k + 1].asked : window.end;
    const Ns between = std::max<Ns>(0, std::min(next, window.end) - take.given);
    between_ += between;
    if (take.made) {
      making_ += take.done - take.begun;
      between_made += between;
    }
    waited += take.given - take.asked;
    if (makers_[k] == kNoRow && !take.made) unknown += take.given - take.asked;
  }
  lead_ = takes_[first_].asked - window.begin;
  enough_ = static_cast<double>(making_) / static_cast<double>(std::max<Ns>(between_made, 1));
  if (2 * back > last_ - first_) return;  // it has no numbers
  known_ = static_cast<double>(unknown) <= kMostUnknown * static_cast<double>(waited);
  if (workers.empty()) return;
  for (Take& take : takes_) take.fixed = take.begun < takes_[0].asked;
  find_depth();
}

void LoaderQueue::set_pace(Ns window) {
  if (between_ > 0)
    pace_ = std::max(1.0, static_cast<double>(window - lead_) / static_cast<double>(between_));
}

void LoaderQueue::find_takes(const Trace& trace, uint64_t number,
                             const std::vector<uint32_t>& workers) {
  const Loader& loader = trace.loader;
  const std::vector<uint32_t> of_row = batch_makers(loader);
  for (uint32_t row = 0; row < loader.size(); ++row) {
    if (loader.kind[row] == static_cast<uint8_t>(LoaderKind::next) &&
        loader.loader[row] == number && possible(loader.start[row], loader.end[row]))
      rows_.push_back(row);
  }
  std::stable_sort(rows_.begin(), rows_.end(),
                   [&](uint32_t a, uint32_t b) { return loader.start[a] < loader.start[b]; });
  for (const uint32_t row : rows_) {
    Take take;
    take.asked = loader.start[row];
    take.given = wait_end(loader, row);
    take.batch = loader.batch[row];
    const auto at = static_cast<uint32_t>(takes_.size());
    const bool goes_on = at > 0 && take.batch == takes_.back().batch + 1;
    take.first = goes_on ? takes_.back().first : at;
    const uint32_t fill = of_row[row];
    const uint32_t thread = fill == kNoRow ? kNoRow : loader.thread[fill];
    // What workers of another depth made stays as it was. A thread that makes its own batches may
    // say no more than how long that took.
    take.made = thread != kNoRow && (workers.empty() || std::find(workers.begin(), workers.end(),
                                                                  thread) != workers.end());
    if (take.made) {
      take.begun = loader.start[fill];
      take.done = loader.end[fill];
    } else if (workers.empty()) {
      take.made = true;
      take.begun = take.asked;
      take.done = take.given;
    }
    if (!goes_on && at > 0) {
      const Ns before = takes_.back().given;
      take.set = take.made ? std::clamp(take.begun, before, std::max(before, take.asked)) : before;
    }
    takes_.push_back(take);
    makers_.push_back(thread);
  }
}

// A batch that is begun while batch j is the last that was asked for is n - j ahead.
void LoaderQueue::find_depth() {
  for (uint32_t k = first_; k < last_; ++k) {
    const Take& take = takes_[k];
    if (!take.made) continue;
    const auto run = takes_.begin() + take.first;
    const auto after = std::upper_bound(run, takes_.begin() + k, take.begun,
                                        [](Ns t, const Take& one) { return t < one.asked; });
    // Before anything is asked for, all the memory is free: for depth + 1 of them.
    const auto asked = static_cast<uint32_t>(std::max<std::ptrdiff_t>(1, after - run));
    depth_ = std::max(depth_, k - take.first + 1 - asked);
  }
  depth_ = std::max<uint32_t>(depth_, 1);
  std::map<uint32_t, Ns> free;  // by thread: when it had made the one before
  for (uint32_t k = 0; k < last_; ++k) {
    Take& take = takes_[k];
    if (!take.made) continue;
    const auto [last, fresh] = free.try_emplace(makers_[k], take.begun);
    // Where the position was set, what had been made ahead is of no use: everything begins anew.
    Ns could = std::max(last->second, takes_[take.first].set);
    if (k > take.first + depth_) could = std::max(could, takes_[k - depth_].asked);
    take.lag = std::max<Ns>(0, take.begun - could);
    last->second = std::max(last->second, take.done);
  }
}

std::vector<Ns> LoaderQueue::recorded() const {
  std::vector<Ns> out;
  for (uint32_t k = first_; k < last_; ++k) out.push_back(takes_[k].given - takes_[k].asked);
  return out;
}

std::vector<Ns> LoaderQueue::waits(uint32_t workers, uint32_t depth, double slower) const {
  workers = std::max<uint32_t>(workers, 1);
  depth = std::max(depth, workers);
  std::vector<Ns> out;
  if (first_ == last_) return out;
  const Ns begin = takes_[0].asked;
  std::vector<Ns> asked(last_);
  std::vector<Ns> free(workers, begin);
  Ns now = begin;  // the program has had its last batch and done what came after
  Ns set = begin;  // the position
  for (uint32_t k = 0; k < last_; ++k) {
    const Take& take = takes_[k];
    if (k > 0) now += times(take.asked - takes_[k - 1].given, pace_);
    if (take.first == k && k > 0) set = now - (take.asked - take.set);
    asked[k] = now;
    const Ns was = take.given - take.asked;
    if (!take.made) {
      if (k >= first_) out.push_back(was);
      now += was;
      continue;
    }
    Ns& own = free[take.batch % workers];
    Ns done = take.done;
    if (!take.fixed) {
      Ns could = std::max(own, set);
      if (k > take.first + depth) could = std::max(could, asked[k - depth]);
      done = could + take.lag + times(take.done - take.begun, slower);
    }
    own = std::max(own, done);
    // What it took the program to notice that a batch was there, it takes again.
    const Ns late = std::max<Ns>(0, take.given - std::max(take.asked, take.done));
    const Ns wait = done > now ? done - now + (was > 0 ? std::min(late, was) : 0) : 0;
    if (k >= first_) out.push_back(wait);
    now += wait;
  }
  return out;
}

QueueFix fix_queue(const LoaderQueue& queue, uint32_t workers, uint32_t most_workers,
                   const std::function<double(uint32_t)>& slower) {
  struct Choice {
    uint32_t workers;
    uint32_t depth;
    std::vector<Ns> waits;
    Ns total;
  };
  const uint32_t depth = queue.depth();
  const auto choice = [&](uint32_t w, uint32_t d) {
    Choice one{w, std::max({d, w, 2u}), {}, 0};
    one.waits = queue.waits(one.workers, one.depth, slower(one.workers));
    one.total = std::accumulate(one.waits.begin(), one.waits.end(), Ns{0});
    return one;
  };
  // The least that is nearly as good as the most.
  const auto least = [&](uint32_t low, uint32_t high, Ns now, const auto& at) {
    Choice best = at(high);
    const Ns enough = best.total + times(now, kNearly);
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      Choice one = at(middle);
      if (one.total <= enough) {
        high = middle;
        best = std::move(one);
      } else {
        low = middle + 1;
      }
    }
    return best;
  };
  const std::vector<Ns> recorded = queue.recorded();
  const Ns now = std::accumulate(recorded.begin(), recorded.end(), Ns{0});
  QueueFix fix;
  Choice chosen{workers, depth, recorded, now};
  const double enough = queue.enough_workers();
  // A queue that is longer fills once; only makers that are faster than the program fill it again.
  if (workers >= enough && depth < kMostAhead) {
    chosen = least(std::max(depth + 1, 2u), kMostAhead, now,
                   [&](uint32_t d) { return choice(workers, d); });
    fix.deeper = true;
  }
  if (workers < most_workers && (!fix.deeper || chosen.total > times(now, kMostLeft))) {
    const auto from = static_cast<uint32_t>(std::clamp<double>(enough, workers + 1, most_workers));
    Choice more = least(from, most_workers, now, [&](uint32_t w) { return choice(w, depth); });
    if (!fix.deeper || static_cast<double>(now - more.total) * kWorthMoreWorkers >
                           static_cast<double>(now - chosen.total)) {
      chosen = std::move(more);
      fix.deeper = false;
    }
  }
  fix.none = chosen.total >= now;
  fix.workers = chosen.workers;
  fix.depth = chosen.depth;
  fix.waits = std::move(chosen.waits);
  fix.waits_lower =
      fix.none ? fix.waits : queue.waits(fix.workers, fix.depth, kSlower * slower(fix.workers));
  return fix;
}

}  // namespace mill::prof::rule
