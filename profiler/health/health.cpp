#include "profiler/health/health.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "profiler/health/words.h"
#include "profiler/timeline/rows.h"

namespace mill::prof {

namespace {

// Shares of launches that have no work, and of work that has no launch, that say how much the links
// are to be trusted.
constexpr double kUnlinkedMedium = 0.01;
constexpr double kUnlinkedLow = 0.2;
constexpr double kSkippedLow = 0.05;    // of all events
constexpr double kSkippedRefuse = 0.5;  // what is left is the smaller part
constexpr uint64_t kMostPlaces = 4;     // where records were lost
constexpr size_t kLongestPlace = 100;
constexpr uint64_t kMostBytes = uint64_t{1} << 50;

class Examination {
 public:
  Examination(Trace& trace, const LinkCounts& counts, const HealthLimits& limits)
      : trace_(trace), counts_(counts), limits_(limits) {}

  Health run() {
    if (trace_.rows() == 0) {
      const uint64_t elsewhere = trace_.other_clock;
      add(HealthCode::empty, Confidence::refuse, elsewhere, elsewhere,
          elsewhere == 0 ? "Nothing was recorded."
                         : "All " + number(elsewhere) +
                               " records are of devices that another clock times than the one that "
                               "was watched: a session on a simulated device sees that one only.");
      return std::move(health_);
    }
    losses();
    health_.excluded = examine_times(trace_, limits_, health_);
    sizes();
    unlinked();
    whole_recording();
    device_data();
    return std::move(health_);
  }

 private:
  void add(HealthCode code, Confidence effect, uint64_t count, uint64_t total, std::string text) {
    add_item(health_, {code, effect, count, total, std::move(text)});
  }

  void sizes() {
    uint64_t bad = 0;
    uint64_t all = 0;
    const auto look_at = [&](std::vector<uint64_t>& table) {
      all += table.size();
      for (uint64_t& bytes : table) {
        if (bytes <= kMostBytes) continue;
        bytes = 0;
        ++bad;
      }
    };
    look_at(trace_.ops.bytes);
    look_at(trace_.calls.bytes);
    look_at(trace_.work.bytes);
    look_at(trace_.copies.bytes);
    look_at(trace_.allocations.bytes);
    look_at(trace_.syncs.bytes);
    look_at(trace_.loader.bytes);
    if (bad == 0) return;
    const bool many = share(bad, all) > limits_.bad_times_low;
    add(HealthCode::bad_sizes, many ? Confidence::low : Confidence::high, bad, all,
        of(bad, all) + " sizes " + either(bad, "is", "are") +
            " above 2^50 bytes, more than any machine has, and " + either(bad, "counts", "count") +
            " as unknown.");
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
              " left out: they are of another device, which another clock times.");
    }
    // What is left is whole, only shorter.
    if (given_up > 0) {
      const uint64_t all = add_sat(trace_.rows(), given_up);
      add(HealthCode::store_full, Confidence::high, given_up, all,
          of(given_up, all) + " records " + either(given_up, "was", "were") +
              " given up because the store was full.");
    }
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
    const uint64_t shared = counts_.launches_of_one_number;
    if (shared > 0) {
      add(HealthCode::shared_numbers, effect_of(share(shared, counts_.launches)), shared,
          counts_.launches,
          of(shared, counts_.launches) +
              " launches share their correlation with another one: which of them asked for a "
              "kernel is a guess.");
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
      if (part > kSkippedRefuse) effect = Confidence::refuse;
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
    for (const uint8_t code : trace_.calls.kind) {
      const auto kind = static_cast<CallKind>(code);
      launches += asks_for_work(kind) && kind != CallKind::host_function;  // it leaves none
    }
    uint64_t on_device = 0;
    uint64_t on_cpu = 0;
    for (const uint32_t device : trace_.ops.device) {
      if (device >= trace_.devices.size()) continue;
      on_device += trace_.devices[device].kind == DeviceKind::accelerator;
      on_cpu += trace_.devices[device].kind == DeviceKind::cpu;
    }
    const char* why = trace_.has_device_clock ? "" : ", as no device was watched";
    if (launches > 0 && trace_.unfinished >= launches && trace_.work.empty()) {
      add(HealthCode::no_device_data, Confidence::refuse, launches, trace_.calls.size(),
          of(launches, trace_.calls.size()) + " host calls " + either(launches, "asks", "ask") +
              " for device work, and none of it was done when the recording ended: wait for the "
              "device before that (mill_exec_wait).");
    } else if (launches > 0) {
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
};

}  // namespace

Health examine(Trace& trace, const LinkCounts& counts, const HealthLimits& limits) {
  return Examination(trace, counts, limits).run();
}

}  // namespace mill::prof
