#include "profiler/rules/loader_fix.h"

#include <algorithm>
#include <cmath>

#include "profiler/rules/loader_queue.h"
#include "profiler/rules/rule_help.h"
#include "profiler/timeline/batches.h"

namespace mill::prof::rule {

namespace {

constexpr uint32_t kMostWorkers = 64;  // mill_loader_set_prefetch takes no more
constexpr double kMostWanted = 1024;
constexpr double kRunsAtAll = 0.05;  // of a processor

class Fixer {
 public:
  Fixer(const RuleInput& input, uint64_t number, const LoaderWaits& waits, const LoaderFills& fills)
      : input_(input),
        trace_(input.timeline.trace()),
        number_(number),
        waits_(waits),
        fills_(fills),
        length_(static_cast<double>(input.timeline.analysed().length())) {
    for (const auto& [thread, list] : waits.of_thread) raw_ += IntervalSet(list).length();
  }

  LoaderFix run() {
    count_processors();
    split_cpu_time();
    const auto now = static_cast<double>(fills_.workers.size());
    const double rest = std::max(1.0, length_ - static_cast<double>(raw_));
    const double work = fills_.count > 0 ? fills_.ns : static_cast<double>(raw_);
    // Enough to make a batch in the rest of a step; 1 where the loader has none.
    fix_.wanted = std::clamp(std::ceil(work / rest), 1.0, kMostWanted);
    fix_.workers = of_engine(trace_) ? std::min<double>(fix_.wanted, kMostWorkers) : fix_.wanted;
    fix_.enough = now > 0 && fix_.wanted <= now;
    LoaderQueue queue(trace_, input_.timeline.window(), number_, fills_.workers);
    if (queue.known() && !queue.rows().empty()) {
      queue.set_pace(input_.replay.run(without_waits()).span);
      by_queue(queue);
    } else {
      fix_.deeper = now > 0 && fix_.workers <= now;
      fix_.depth = now;
      by_rates();
    }
    return std::move(fix_);
  }

 private:
  void count_processors() {
    const double processors = last_count(trace_, "processors");
    const Growth used = growth(input_, "cpu_time_ns");
    // Values from a small part of the window say nothing of the rest.
    if (!(processors >= 1) || used.value < 0 || used.span < input_.timeline.window().length() / 2)
      return;
    cpu_ns_ = used.value / static_cast<double>(used.span) * length_;
    fix_.processors = processors;
    fix_.busy_ns = std::min(length_, cpu_ns_ / processors);
  }

  // Of the program's CPU time, as much goes to making batches as that may have taken at most.
  void split_cpu_time() {
    making_ = fills_.ns > 0 ? fills_.ns : static_cast<double>(raw_);
    if (fix_.processors == 0 || making_ <= 0) return;
    of_making_ = std::min(1.0, cpu_ns_ / making_);
    others_ = (cpu_ns_ - of_making_ * making_) / std::max(1.0, length_);
  }

  // How many workers find a processor, beside what else the program computes.
  uint32_t most_workers() const {
    const auto now = static_cast<uint32_t>(fills_.workers.size());
    if (of_making_ <= 0) return kMostWorkers;
    // One that has a processor for a part of the time counts; busy_ns bounds what it gains.
    const double most = std::ceil((fix_.processors - others_) / of_making_ - 0.01);
    return std::max({now, 1u, static_cast<uint32_t>(std::clamp<double>(most, 1, kMostWorkers))});
  }

  // While more threads want to run than there are processors, each gets its share of them.
  double crowding(uint32_t workers) const {
    if (of_making_ <= 0) return 1;
    const double program = others_ > kRunsAtAll ? std::max(1.0, std::ceil(others_)) : 0;
    return std::max(1.0, (of_making_ * workers + program) / fix_.processors);
  }

  Plan without_waits() const {
    Plan plan;
    for (const auto& [thread, list] : waits_.of_thread) {
      for (const Interval& one : list) plan.host_time.push_back({thread, one, 0});
    }
    add_fills(plan);
    return plan;
  }

  // What workers hold back is in the waits.
  void add_fills(Plan& plan) const {
    for (const auto& [thread, list] : fills_.of_thread) {
      if (waits_.of_thread.count(thread) != 0) continue;
      for (const Interval& one : list) plan.host_time.push_back({thread, one, 0});
    }
  }

  void by_queue(const LoaderQueue& queue) {
    const auto now = static_cast<uint32_t>(fills_.workers.size());
    const double crowded = now > 0 ? crowding(now) : 1;
    const QueueFix fixed =
        fix_queue(queue, now, std::max(now, most_workers()),
                  [&](uint32_t workers) { return std::max(1.0, crowding(workers) / crowded); });
    fix_.deeper = fixed.deeper;
    fix_.none = fixed.none;
    fix_.restarts = queue.restarts();
    fix_.enough = now > 0 && queue.enough_workers() <= now;
    fix_.depth_now = queue.depth();
    fix_.depth = fixed.depth;
    if (fixed.none) {
      fix_.workers = now;
      return;
    }
    fix_.crowded = crowding(fixed.workers) > 1;
    if (fixed.deeper) {
      fix_.workers = now;
    } else {
      fix_.workers = fixed.workers;
      fix_.wanted = fixed.workers < kMostWorkers
                        ? fix_.workers
                        : std::clamp(queue.enough_workers(), fix_.workers, kMostWanted);
    }
    const std::vector<Ns> recorded = queue.recorded();
    add_waits(queue, recorded, fixed.waits, fix_.plan, &fix_.processor_bound);
    add_waits(queue, recorded, fixed.waits_lower, fix_.plan_lower, nullptr);
    add_fills(fix_.plan);
    add_fills(fix_.plan_lower);
  }

  // What the processors do not allow is taken off each wait alike.
  void add_waits(const LoaderQueue& queue, const std::vector<Ns>& recorded,
                 const std::vector<Ns>& wanted, Plan& plan, bool* bound) const {
    const Loader& loader = trace_.loader;
    const Interval window = input_.timeline.window();
    double gain = 0;
    for (size_t k = 0; k < wanted.size(); ++k) gain += static_cast<double>(recorded[k] - wanted[k]);
    double part = 1;
    if (fix_.processors > 0 && gain > length_ - fix_.busy_ns) {
      part = std::max(0.0, length_ - fix_.busy_ns) / gain;
      if (bound != nullptr) *bound = true;
    }
    double owed = 0;  // of waits that become longer and have no length here to become it
    for (size_t k = 0; k < wanted.size(); ++k) {
      const uint32_t row = queue.rows()[k];
      const double less = part * static_cast<double>(recorded[k] - wanted[k]) - owed;
      owed = std::max(0.0, -less);
      if (waits_.of_thread.count(loader.thread[row]) == 0) continue;
      const Interval seen = clip(loader.start[row], wait_end(loader, row), window);
      if (seen.length() == 0) continue;
      owed = 0;
      const double left = static_cast<double>(seen.length()) - less;
      plan.host_time.push_back({loader.thread[row], seen, to_ns(std::round(std::max(0.0, left)))});
    }
  }

  // Without numbers nobody knows which batch was when: workers make them so much faster together,
  // and what the program's own thread fills is part of its wait.
  void by_rates() {
    const auto now = static_cast<double>(fills_.workers.size());
    const double share_of_each = std::min(1.0, now / fix_.workers);
    for (const auto& [thread, list] : fills_.of_thread) {
      if (waits_.of_thread.count(thread) != 0) continue;
      for (const Interval& one : list) {
        const double shorter = static_cast<double>(one.length()) * share_of_each;
        fix_.plan.host_time.push_back({thread, one, to_ns(std::round(shorter))});
      }
    }
    // One batch ahead by one worker: a wait shrinks by what else a step has to do.
    const auto raw = static_cast<double>(raw_);
    const double left = raw > 0 ? std::clamp((raw - (length_ - raw)) / raw, 0.0, 1.0) : 0;
    for (const auto& [thread, list] : waits_.of_thread) {
      const IntervalSet times(list);
      for (const Interval& part : times.parts()) {
        fix_.plan.host_time.push_back({thread, part, 0});
        fix_.plan_lower.host_time.push_back(
            {thread, part, to_ns(std::round(static_cast<double>(part.length()) * left))});
      }
    }
  }

  const RuleInput& input_;
  const Trace& trace_;
  const uint64_t number_;
  const LoaderWaits& waits_;
  const LoaderFills& fills_;
  const double length_;
  Ns raw_ = 0;
  double cpu_ns_ = 0;
  double making_ = 0;     // of all workers together
  double of_making_ = 0;  // how much of a processor making a batch takes; 0: nobody knows
  double others_ = 0;     // processors that the rest of the program takes, on average
  LoaderFix fix_;
};

}  // namespace

LoaderFix loader_fix(const RuleInput& input, uint64_t number, const LoaderWaits& waits,
                     const LoaderFills& fills) {
  return Fixer(input, number, waits, fills).run();
}

}  // namespace mill::prof::rule
