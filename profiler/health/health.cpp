#include "profiler/health/health.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "profiler/timeline/rows.h"

namespace mill::prof {

namespace {

// Shares of launches that have no work, and of work that has no launch, that say how much the links
// are to be trusted.
constexpr double kUnlinkedMedium = 0.01;
constexpr double kUnlinkedLow = 0.2;
constexpr double kOverlapMedium = 0.001;  // of device work
constexpr double kSkippedLow = 0.05;      // of all events
constexpr uint64_t kMostPlaces = 4;       // where records were lost
constexpr size_t kLongestPlace = 100;

// 1234567 as "1,234,567".
std::string number(uint64_t value) {
  std::string text = std::to_string(value);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string of(uint64_t count, uint64_t total) {
  return number(count) + " of " + number(total);
}

const char* either(uint64_t count, const char* one, const char* many) {
  return count == 1 ? one : many;
}

double share(uint64_t count, uint64_t total) {
  return total == 0 ? 0 : static_cast<double>(count) / static_cast<double>(total);
}

uint64_t add_sat(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

// 1234567 ns as "1.2 ms".
std::string length_text(Ns ns) {
  static constexpr std::array<const char*, 4> kUnits = {"ns", "us", "ms", "s"};
  size_t unit = 0;
  Ns tenths = ns > INT64_MAX / 10 ? INT64_MAX : ns * 10;
  while (tenths >= 10'000 && unit + 1 < kUnits.size()) {
    tenths /= 1000;
    ++unit;
  }
  std::string text = number(static_cast<uint64_t>(tenths / 10));
  if (tenths % 10 != 0) text += "." + std::to_string(tenths % 10);
  return text + " " + kUnits[unit];
}

bool asks_for_work(uint8_t kind) {
  switch (static_cast<CallKind>(kind)) {
    case CallKind::launch:
    case CallKind::copy:
    case CallKind::fill:
    case CallKind::graph_launch: return true;
    default: return false;
  }
}

template <class T>
bool impossible(const T& table, uint32_t row, bool far) {
  const Ns start = table.start[row];
  const Ns end = table.end[row];
  if (!possible(start, end) || (start == 0 && end == 0)) return true;
  return far && (start == 0 || end == 0);
}

class Examination {
 public:
  Examination(Trace& trace, const LinkCounts& counts, const HealthLimits& limits)
      : trace_(trace), counts_(counts), limits_(limits) {}

  Health run() {
    if (trace_.rows() == 0) {
      add(HealthCode::empty, Confidence::refuse, 0, 0, "Nothing was recorded.");
      return std::move(health_);
    }
    losses();
    bad_times();
    before_launch();
    overlaps();
    unlinked();
    whole_recording();
    device_data();
    for (const uint8_t flags : trace_.work.flags) health_.excluded += (flags & kExcluded) != 0;
    for (const uint8_t flags : trace_.calls.flags) health_.excluded += (flags & kExcluded) != 0;
    health_.excluded += bad_ops_;
    return std::move(health_);
  }

 private:
  void add(HealthCode code, Confidence effect, uint64_t count, uint64_t total, std::string text) {
    add_item(health_, {code, effect, count, total, std::move(text)});
  }

  void losses() {
    uint64_t lost = 0;
    uint64_t given_up = 0;
    uint64_t other_clock = trace_.other_clock;
    std::string where;
    uint64_t named = 0;
    uint64_t unnamed = 0;
    for (const Loss& loss : trace_.losses) {
      if (loss.lost == 0) continue;
      if (loss.where == "store") {
        given_up = add_sat(given_up, loss.lost);
      } else if (loss.where == "other clock") {
        other_clock = add_sat(other_clock, loss.lost);
      } else {
        lost = add_sat(lost, loss.lost);
        // A file may name any number of places, at any length.
        if (named < kMostPlaces && loss.where.size() <= kLongestPlace) {
          where += (named++ > 0 ? ", " : "") + loss.where;
        } else {
          ++unnamed;
        }
      }
    }
    if (unnamed > 0)
      where += (named > 0 ? " and " : "") + number(unnamed) + (named > 0 ? " more" : " places");
    const auto effect_of = [&](double part) {
      if (part > limits_.lost_refuse) return Confidence::refuse;
      return part > limits_.lost_medium ? Confidence::medium : Confidence::high;
    };
    if (lost > 0) {
      const uint64_t all = add_sat(trace_.rows(), lost);
      add(HealthCode::lost_records, effect_of(share(lost, all)), lost, all,
          of(lost, all) + " records " + either(lost, "was", "were") + " lost (" + where + ").");
    }
    // What is left is whole: they are of another device.
    if (other_clock > 0) {
      const uint64_t all = add_sat(trace_.rows(), other_clock);
      add(HealthCode::mixed_clocks, Confidence::high, other_clock, all,
          of(other_clock, all) + " records " + either(other_clock, "was", "were") +
              " left out because another clock had timed them.");
    }
    // What is left is whole, only shorter.
    if (given_up > 0) {
      const uint64_t all = add_sat(trace_.rows(), given_up);
      add(HealthCode::store_full, Confidence::high, given_up, all,
          of(given_up, all) + " records " + either(given_up, "was", "were") +
              " given up because the store was full.");
    }
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
    const bool calls_far = zero_is_far({calls.start});
    uint64_t bad_calls = 0;
    for (uint32_t row = 0; row < calls.size(); ++row) {
      calls.flags[row] &= static_cast<uint8_t>(~kExcluded);
      if (!impossible(calls, row, calls_far)) continue;
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
    for (uint32_t row = 0; row < ops.size(); ++row) {
      bad_ops_ += !possible(ops.start[row], ops.end[row]);
      on_cpu |= ops.device[row] < trace_.devices.size() &&
                trace_.devices[ops.device[row]].kind == DeviceKind::cpu;
    }
    if (bad_ops_ > 0) {
      // On a CPU device they are the work.
      add(HealthCode::bad_times, on_cpu ? effect_of(bad_ops_, ops.size()) : Confidence::high,
          bad_ops_, ops.size(),
          of(bad_ops_, ops.size()) + " operators " + either(bad_ops_, "has", "have") +
              " impossible times (an end before the start, or a time that no clock has).");
    }
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

  void overlaps() {
    const Work& work = trace_.work;
    struct Last {
      Ns end = INT64_MIN;
      uint32_t call = kNoRow;
    };
    std::vector<Last> last(trace_.streams.size());
    uint64_t count = 0;
    for (uint32_t row = 0; row < work.size(); ++row) {
      const uint32_t stream = work.stream[row];
      if (stream >= last.size() || (work.flags[row] & kExcluded)) continue;
      // Nodes of a graph may run side by side wherever the runtime puts them.
      if (work.graph_node[row] != 0) continue;
      Last& before = last[stream];
      const bool same_call = work.call[row] != kNoRow && work.call[row] == before.call;
      if (before.end != INT64_MIN && !same_call &&
          std::min(before.end, work.end[row]) - work.start[row] > limits_.overlap_slack)
        ++count;
      if (work.end[row] > before.end) before = {work.end[row], work.call[row]};
    }
    if (count == 0) return;
    add(HealthCode::overlap_on_stream,
        share(count, work.size()) > kOverlapMedium ? Confidence::medium : Confidence::high, count,
        work.size(),
        of(count, work.size()) + " kernels and copies " + either(count, "overlaps", "overlap") +
            " another one of the same stream.");
  }

  void unlinked() {
    const auto effect_of = [](double part) {
      if (part > kUnlinkedLow) return Confidence::low;
      return part > kUnlinkedMedium ? Confidence::medium : Confidence::high;
    };
    const uint64_t launches = counts_.launches_without_work;
    if (launches > 0) {
      add(HealthCode::launch_without_work, effect_of(share(launches, counts_.launches)), launches,
          counts_.launches,
          of(launches, counts_.launches) + " launches " + either(launches, "has", "have") +
              " no device work on record.");
    }
    const uint64_t work = counts_.work_without_call;
    if (work > 0) {
      add(HealthCode::work_without_launch, effect_of(share(work, counts_.work)), work, counts_.work,
          of(work, counts_.work) + " kernels and copies " + either(work, "has", "have") +
              " no launch on record.");
    }
  }

  void whole_recording() {
    if (trace_.whole_graphs) {
      uint64_t graphs = 0;
      for (const uint8_t kind : trace_.calls.kind)
        graphs += kind == static_cast<uint8_t>(CallKind::graph_launch);
      add(HealthCode::whole_graphs, Confidence::medium, graphs, trace_.calls.size(),
          "Graphs were recorded as a whole, so nothing is said of the kernels in the " +
              of(graphs, trace_.calls.size()) + " calls that launch one.");
    }
    if (trace_.cut_off) {
      add(HealthCode::cut_off, Confidence::medium, trace_.rows(), 0,
          "The file ends in the middle; " + number(trace_.rows()) + " records came before that.");
    }
    if (trace_.skipped > 0) {
      const uint64_t all = add_sat(trace_.rows(), trace_.skipped);
      const double part = share(trace_.skipped, all);
      Confidence effect = Confidence::high;
      if (part > limits_.lost_medium) effect = Confidence::medium;
      if (part > kSkippedLow) effect = Confidence::low;
      add(HealthCode::skipped_events, effect, trace_.skipped, all,
          of(trace_.skipped, all) + " events could not be read.");
    }
    if (trace_.unfinished > 0) {
      const uint64_t all = add_sat(trace_.work.size(), trace_.unfinished);
      add(HealthCode::unfinished,
          share(trace_.unfinished, all) > kUnlinkedMedium ? Confidence::medium : Confidence::high,
          trace_.unfinished, all,
          of(trace_.unfinished, all) + " kernels and copies " +
              either(trace_.unfinished, "was", "were") +
              " still under way when the recording ended.");
    }
  }

  void device_data() {
    uint64_t usable = 0;
    for (const uint8_t flags : trace_.work.flags) usable += (flags & kExcluded) == 0;
    if (usable > 0) return;
    uint64_t launches = 0;
    for (const uint8_t kind : trace_.calls.kind) launches += asks_for_work(kind);
    uint64_t on_device = 0;
    uint64_t on_cpu = 0;
    for (const uint32_t device : trace_.ops.device) {
      if (device >= trace_.devices.size()) continue;
      on_device += trace_.devices[device].kind == DeviceKind::accelerator;
      on_cpu += trace_.devices[device].kind == DeviceKind::cpu;
    }
    const char* why = trace_.has_device_clock ? "" : ", as no device was watched";
    if (launches > 0) {
      add(HealthCode::no_device_data, Confidence::refuse, launches, trace_.calls.size(),
          of(launches, trace_.calls.size()) + " host calls " + either(launches, "asks", "ask") +
              " for device work, and not one kernel or copy is on record" + why + ".");
    } else if (on_device > 0) {
      add(HealthCode::no_device_data, Confidence::refuse, on_device, trace_.ops.size(),
          of(on_device, trace_.ops.size()) +
              " operators ran on a device, and not one kernel or copy is on record" + why + ".");
    } else if (!trace_.work.empty()) {
      add(HealthCode::no_device_data, Confidence::refuse, trace_.work.size(), trace_.work.size(),
          "Not one of " + number(trace_.work.size()) + " kernels and copies has possible times.");
    } else if (on_cpu == 0) {
      add(HealthCode::no_device_data, Confidence::low, 0, trace_.rows(),
          "Not one of " + number(trace_.rows()) + " records says what a device did" + why + ".");
    }
  }

  Trace& trace_;
  const LinkCounts& counts_;
  const HealthLimits& limits_;
  Health health_;
  uint64_t bad_ops_ = 0;
};

}  // namespace

const char* confidence_name(Confidence confidence) {
  switch (confidence) {
    case Confidence::high: return "high";
    case Confidence::medium: return "medium";
    case Confidence::low: return "low";
    case Confidence::refuse: return "refuse";
  }
  return "";
}

const char* health_code_name(HealthCode code) {
  static constexpr std::array kNames = {"ok",
                                        "empty",
                                        "lost records",
                                        "store full",
                                        "bad times",
                                        "before launch",
                                        "stream overlap",
                                        "launch without work",
                                        "work without launch",
                                        "whole graphs",
                                        "cut off",
                                        "skipped events",
                                        "no device data",
                                        "no steps",
                                        "unfinished",
                                        "mixed clocks"};
  const auto k = static_cast<size_t>(code);
  return k < kNames.size() ? kNames[k] : "";
}

Health examine(Trace& trace, const LinkCounts& counts, const HealthLimits& limits) {
  return Examination(trace, counts, limits).run();
}

void add_item(Health& health, HealthItem item) {
  health.verdict = std::max(health.verdict, item.effect);
  const auto at = std::upper_bound(
      health.items.begin(), health.items.end(), item,
      [](const HealthItem& a, const HealthItem& b) { return a.effect > b.effect; });
  health.items.insert(at, std::move(item));
  if (health.verdict == Confidence::high) {
    health.summary.clear();
    return;
  }
  const std::string& worst = health.items.front().text;
  health.summary =
      health.verdict == Confidence::refuse
          ? "No advice: " + worst
          : std::string("Confidence is ") + confidence_name(health.verdict) + ": " + worst;
}

}  // namespace mill::prof
