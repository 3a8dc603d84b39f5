#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "profiler/health/words.h"
#include "profiler/timeline/rows.h"

namespace mill::prof {

namespace {

constexpr double kOverlapMedium = 0.001;  // of device work
// Of the pieces that have one before them. Clocks of whole microseconds give the same start to a
// few.
constexpr double kStandingMedium = 0.01;
constexpr double kStandingLow = 0.2;
constexpr uint64_t kFewStarts = 16;  // too few to say how a clock runs

// from_zero: time is modelled and begins at 0, where what takes no time ends too.
template <class T>
bool impossible(const T& table, uint32_t row, bool far, bool from_zero = false) {
  const Ns start = table.start[row];
  const Ns end = table.end[row];
  if (!possible(start, end) || (start == 0 && end == 0 && !from_zero)) return true;
  return far && (start == 0 || end == 0);
}

class Times {
 public:
  Times(Trace& trace, const HealthLimits& limits, Health& health)
      : trace_(trace), limits_(limits), health_(health) {}

  uint64_t run() {
    bad_times();
    before_launch();
    overlaps();
    standing_clock();
    no_lengths();
    uint64_t excluded = bad_rows_;
    for (const uint8_t flags : trace_.work.flags) excluded += (flags & kExcluded) != 0;
    for (const uint8_t flags : trace_.calls.flags) excluded += (flags & kExcluded) != 0;
    return excluded;
  }

 private:
  void add(HealthCode code, Confidence effect, uint64_t count, uint64_t total, std::string text) {
    add_item(health_, {code, effect, count, total, std::move(text)});
  }

  bool runs_on_cpu(uint32_t op) const {
    const uint32_t device = trace_.ops.device[op];
    return device < trace_.devices.size() && trace_.devices[device].kind == DeviceKind::cpu;
  }

  void bad_times() {
    Work& work = trace_.work;
    const bool work_far = zero_is_far({work.start});
    uint64_t bad = 0;
    for (uint32_t row = 0; row < work.size(); ++row) {
      work.flags[row] &= static_cast<uint8_t>(~kExcluded);
      if (!impossible(work, row, work_far)) continue;
      work.flags[row] |= kExcluded;
      ++bad;
    }
    const auto effect_of = [&](uint64_t count, uint64_t total) {
      return share(count, total) > limits_.bad_times_low ? Confidence::low : Confidence::high;
    };
    if (bad > 0) {
      add(HealthCode::bad_times, effect_of(bad, work.size()), bad, work.size(),
          of(bad, work.size()) + " kernels and copies " + either(bad, "has", "have") +
              " impossible times (a time of 0, or an end before the start).");
    }
    Calls& calls = trace_.calls;
    const bool modelled = std::any_of(trace_.devices.begin(), trace_.devices.end(),
                                      [](const DeviceInfo& device) { return device.modelled; });
    const bool calls_far = zero_is_far({calls.start});
    uint64_t bad_calls = 0;
    for (uint32_t row = 0; row < calls.size(); ++row) {
      calls.flags[row] &= static_cast<uint8_t>(~kExcluded);
      if (!impossible(calls, row, calls_far, modelled)) continue;
      calls.flags[row] |= kExcluded;
      // One that had not returned has no end yet.
      if ((calls.flags[row] & kUnfinished) == 0) ++bad_calls;
    }
    if (bad_calls > 0) {
      add(HealthCode::bad_times, effect_of(bad_calls, calls.size()), bad_calls, calls.size(),
          of(bad_calls, calls.size()) + " host calls " + either(bad_calls, "has", "have") +
              " impossible times (a time of 0, or an end before the start).");
    }
    const Ops& ops = trace_.ops;
    bool on_cpu = false;
    uint64_t bad_ops = 0;
    for (uint32_t row = 0; row < ops.size(); ++row) {
      bad_ops += !possible(ops.start[row], ops.end[row]);
      on_cpu |= runs_on_cpu(row);
    }
    if (bad_ops > 0) {
      bad_rows_ += bad_ops;
      // On a CPU device they are the work.
      add(HealthCode::bad_times, on_cpu ? effect_of(bad_ops, ops.size()) : Confidence::high,
          bad_ops, ops.size(),
          of(bad_ops, ops.size()) + " operators " + either(bad_ops, "has", "have") +
              " impossible times (an end before the start, or a time that no clock has).");
    }
    host_times();
  }

  // What else the host did: where its times are impossible nobody uses it.
  void host_times() {
    uint64_t bad = 0;
    uint64_t all = 0;
    const auto look_at = [&](const auto& table) {
      all += table.size();
      for (uint32_t row = 0; row < table.size(); ++row)
        bad += !possible(table.start[row], table.end[row]);
    };
    look_at(trace_.loader);
    look_at(trace_.syncs);
    look_at(trace_.ranges);
    look_at(trace_.marked_steps);
    if (bad == 0) return;
    bad_rows_ += bad;
    add(HealthCode::bad_times,
        share(bad, all) > limits_.bad_times_low ? Confidence::low : Confidence::high, bad, all,
        of(bad, all) + " steps, ranges, waits and batches of a loader " +
            either(bad, "has", "have") +
            " impossible times (an end before the start, or a time that no clock has).");
  }

  void before_launch() {
    Work& work = trace_.work;
    const Calls& calls = trace_.calls;
    std::vector<uint32_t> early;
    std::vector<Ns> by;
    uint64_t usable = 0;
    for (uint32_t row = 0; row < work.size(); ++row) {
      if (work.flags[row] & kExcluded) continue;
      ++usable;
      const uint32_t call = work.call[row];
      if (call == kNoRow || (calls.flags[call] & kExcluded)) continue;
      const Ns ahead = calls.start[call] - work.start[row];
      if (ahead <= limits_.before_launch_slack) continue;
      early.push_back(row);
      by.push_back(ahead);
    }
    if (early.empty()) return;
    const auto middle = by.begin() + static_cast<std::ptrdiff_t>(by.size() / 2);
    std::nth_element(by.begin(), middle, by.end());
    const uint64_t count = early.size();
    // Where most of the work is early, the two clocks differ: leaving that work out would leave
    // nothing.
    const bool most = count > usable / 2;
    if (!most) {
      for (const uint32_t row : early) work.flags[row] |= kExcluded;
    }
    const uint64_t all = work.size();
    std::string text = of(count, all) + " kernels and copies " +
                       either(count, "starts before its", "start before their") +
                       " own launch, by " + length_text(*middle);
    if (count > 1) text += " in the middle";
    text += most ? ": the clocks of host and device differ." : ".";
    add(HealthCode::before_launch,
        share(count, all) > limits_.before_launch_low ? Confidence::low : Confidence::high, count,
        all, std::move(text));
  }

  // A graph's launch and a batched copy ask for several pieces, a kernel's launch for one.
  bool of_one_call(uint32_t call, uint32_t other) const {
    return call != kNoRow && call == other &&
           trace_.calls.kind[call] != static_cast<uint8_t>(CallKind::launch);
  }

  // f(row, its stream) for what a stream does in order: nodes of a graph may run side by side
  // wherever the runtime puts them.
  template <class F>
  void each_in_order(F&& f) const {
    const Work& work = trace_.work;
    for (uint32_t row = 0; row < work.size(); ++row) {
      const uint32_t stream = work.stream[row];
      if (stream < trace_.streams.size() && (work.flags[row] & kExcluded) == 0 &&
          work.graph_node[row] == 0)
        f(row, stream);
    }
  }

  void overlaps() {
    const Work& work = trace_.work;
    struct Last {
      Ns end = INT64_MIN;
      uint32_t call = kNoRow;
    };
    std::vector<Last> last(trace_.streams.size());
    uint64_t count = 0;
    each_in_order([&](uint32_t row, uint32_t stream) {
      Last& before = last[stream];
      const bool same_call = of_one_call(work.call[row], before.call);
      if (before.end != INT64_MIN && !same_call &&
          std::min(before.end, work.end[row]) - work.start[row] > limits_.overlap_slack)
        ++count;
      if (work.end[row] > before.end) before = {work.end[row], work.call[row]};
    });
    if (count == 0) return;
    add(HealthCode::overlap_on_stream,
        share(count, work.size()) > kOverlapMedium ? Confidence::medium : Confidence::high, count,
        work.size(),
        of(count, work.size()) + " kernels and copies " + either(count, "overlaps", "overlap") +
            " another one of the same stream.");
  }

  // The least kernel takes a microsecond.
  void no_lengths() {
    const Work& work = trace_.work;
    uint64_t count = 0;
    uint64_t all = 0;
    for (uint32_t row = 0; row < work.size(); ++row) {
      if (work.flags[row] & kExcluded) continue;
      if (work.kind[row] != static_cast<uint8_t>(WorkKind::kernel)) continue;
      ++all;
      count += work.end[row] == work.start[row];
    }
    if (all < kFewStarts || share(count, all) <= kStandingMedium) return;
    add(HealthCode::no_length,
        share(count, all) > kStandingLow ? Confidence::low : Confidence::medium, count, all,
        of(count, all) + " kernels " + either(count, "takes", "take") + " no time at all.");
  }

  // One stream does one thing after the other, so no two pieces can begin together.
  void standing_clock() {
    const Work& work = trace_.work;
    struct Last {
      Ns start = INT64_MIN;
      uint32_t call = kNoRow;
    };
    std::vector<Last> last(trace_.streams.size());
    uint64_t count = 0;
    uint64_t followed = 0;
    each_in_order([&](uint32_t row, uint32_t stream) {
      // These may take no time at all.
      if (work.kind[row] == static_cast<uint8_t>(WorkKind::host_function)) return;
      Last& before = last[stream];
      if (before.start != INT64_MIN && !of_one_call(work.call[row], before.call)) {
        ++followed;
        count += work.start[row] == before.start;
      }
      before = {work.start[row], work.call[row]};
    });
    if (count > 0) {
      const double part = share(count, followed);
      Confidence effect = Confidence::high;
      if (followed >= kFewStarts && part > kStandingMedium) effect = Confidence::medium;
      if (followed >= kFewStarts && part > kStandingLow) effect = Confidence::low;
      add(HealthCode::standing_clock, effect, count, followed,
          of(count, followed) + " kernels and copies " + either(count, "begins", "begin") +
              " at the same time as the one before on the stream: the clock is coarse, or stood "
              "still.");
    }
    // Of a CPU device: the host of a simulated one may do everything at the same modelled time. An
    // op begins with the one around it, but not with the one before it; and of three that hold each
    // other, not all three take the same time.
    const Ops& ops = trace_.ops;
    const auto fills_parent = [&](uint32_t row) {
      const uint32_t parent = ops.parent[row];
      return parent < ops.size() && ops.start[parent] == ops.start[row] &&
             ops.end[parent] == ops.end[row];
    };
    std::vector<Ns> last_inside(ops.size(), INT64_MIN);
    std::vector<Ns> last_outside(trace_.threads.size(), INT64_MIN);
    uint64_t ops_count = 0;
    uint64_t ops_followed = 0;
    for (uint32_t row = 0; row < ops.size(); ++row) {
      if (!runs_on_cpu(row)) continue;
      const uint32_t parent = ops.parent[row];
      Ns& before = parent < ops.size() ? last_inside[parent] : last_outside[ops.thread[row]];
      if (before != INT64_MIN) {
        ++ops_followed;
        ops_count += ops.start[row] == before;
      } else if (fills_parent(row) && fills_parent(parent)) {
        ++ops_followed;
        ++ops_count;
      }
      before = ops.start[row];
    }
    if (ops_followed >= kFewStarts && share(ops_count, ops_followed) > kStandingLow) {
      add(HealthCode::standing_clock, Confidence::low, ops_count, ops_followed,
          of(ops_count, ops_followed) + " operators " + either(ops_count, "begins", "begin") +
              " at the same time as the one before: the clock is coarse, or stood still.");
    }
  }

  Trace& trace_;
  const HealthLimits& limits_;
  Health& health_;
  uint64_t bad_rows_ = 0;  // of other tables than those with flags
};

}  // namespace

uint64_t examine_times(Trace& trace, const HealthLimits& limits, Health& health) {
  return Times(trace, limits, health).run();
}

}  // namespace mill::prof
