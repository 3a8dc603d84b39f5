// I1: a program that waits for its next batch.
#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "profiler/rules/loader_fix.h"
#include "profiler/rules/loader_times.h"
#include "profiler/rules/rule_help.h"
#include "profiler/timeline/batches.h"

namespace mill::prof {

using namespace rule;

namespace {

constexpr size_t kMostLoaders = 4;
constexpr double kSomeStarved = 0.1;
constexpr double kWorthBoth = 1.2;  // of what the fixes of several loaders gain one by one

// starved: how long workers had no processor, where that is what makes the waits; else empty.
std::string how_to(const LoaderFix& fix, const LoaderFills& fills, const std::string& starved) {
  const size_t threads = fills.workers.size();
  if (threads == 0) {
    return "No worker fills batches: they are read and decoded between the steps. Let " +
           show_number(fix.workers) + (fix.workers > 1 ? " workers do it" : " worker do it") +
           " while the device computes.";
  }
  const std::string now = std::to_string(threads) +
                          (threads > 1 ? " workers take " : " worker takes ") +
                          show_time(fills.ns / static_cast<double>(fills.count)) + " for a batch. ";
  if (!starved.empty()) {
    return now + "They had memory and nothing else to do, but no processor, for " + starved +
           " of that: ops and other programs had them all. Let ops use a thread less if batches "
           "are worth more than that.";
  }
  std::string how;
  if (fix.none) {
    how = std::string("Neither more workers nor batches further ahead would help") +
          (fix.processors > 0 && !fix.enough ? ": the program's processors are busy" : "") +
          ". Make a batch cheaper.";
  } else if (fix.deeper) {
    how = fix.depth_now > 0
              ? (fix.enough ? "They are fast enough on average, but batches are asked for in "
                              "bursts: let them work "
                            : "Let them work ") +
                    show_number(fix.depth - fix.depth_now) + " batches further ahead than now."
              : std::string("They are fast enough on average: let them work further ahead.");
  } else {
    const double most = fix.workers;
    how = "With " + show_number(fix.wanted) + " they would keep up" +
          (fix.crowded ? ", had each a processor for itself; " : "; ") +
          (most < fix.wanted ? show_number(most) + " are the most that a loader can have: "
                             : std::string("or ")) +
          "make a batch cheaper.";
  }
  if (fix.restarts > 0) {
    how += " What they had made ahead was given up " + show_count(fix.restarts) +
           (fix.restarts == 1 ? " time" : " times") +
           ", where the position or the depth was set; what is waited for then no fix saves.";
  }
  if (fix.crowded && !fix.deeper && !fix.processor_bound) {
    how += " They share " + show_number(fix.processors) +
           " processors with what else the program computes, which bounds the gain.";
  }
  if (fix.processor_bound) {
    how += " The program computes for " + show_time(fix.busy_ns) + " on each of its " +
           show_number(fix.processors) +
           " processors as it is, which bounds the gain: batches that cost less gain more.";
  }
  return now + how;
}

// input% = (loader wait + device waiting for the host + exposed copies to the device) / step, each
// instant once. A wait under a running kernel is no loss and does not count.
// several: there are other loaders that the program waits for; named: there are other loaders.
void find_slow_loader(const RuleInput& input, uint64_t number, bool several, bool named,
                      std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  const Interval window = input.timeline.window();
  const LoaderWaits waits = loader_waits(input, &number);
  if (waits.rows.empty() || window.length() == 0) return;

  IntervalSet busy;
  IntervalSet kernel;
  IntervalSet to_device;
  const DeviceView* view = nullptr;
  for (const DeviceView& one : input.timeline.devices()) {
    if (!is_accelerator(trace, one.device)) continue;
    if (view == nullptr) view = &one;
    busy = busy.united(one.busy);
    kernel = kernel.united(one.kernel);
    to_device = to_device.united(one.to_device);
  }
  std::vector<Interval> all;
  for (const auto& [thread, list] : waits.of_thread)
    all.insert(all.end(), list.begin(), list.end());
  const IntervalSet waiting(std::move(all));
  const IntervalSet exposed = waiting.minus(busy);

  // What the device still waits for after the batch is there, until its copy starts.
  std::vector<Interval> after;
  for (const Gap& gap : input.gaps) {
    const bool for_copy =
        gap.next < trace.work.size() &&
        trace.work.copy_kind[gap.next] == static_cast<uint8_t>(CopyKind::host_to_device);
    if (!for_copy || gap.causes[static_cast<size_t>(GapCause::loader)] == 0) continue;
    const Ns begin = waiting.last_end(gap.end);
    if (begin > gap.begin) after.push_back({begin, gap.end});
  }
  const IntervalSet handing = IntervalSet(std::move(after)).minus(exposed);
  // Which loader's copies they are nothing says.
  const IntervalSet copying =
      several ? IntervalSet() : to_device.minus(kernel).minus(exposed).minus(handing);
  const auto wait_ns = static_cast<double>(exposed.length());
  const auto handing_ns = static_cast<double>(handing.length());
  const auto copy_ns = static_cast<double>(copying.length());
  const double share = share_of_window(input, wait_ns + handing_ns + copy_ns);
  // Without a wait that matters the copies are all there is: T3 has them.
  if (!(share >= input.limits.i1_moderate) ||
      !(share_of_window(input, wait_ns) >= input.limits.min_saving_share))
    return;

  Finding finding;
  finding.rule = RuleId::I1;
  if (view != nullptr) finding.device = view->device;
  EvidenceList evidence;
  for (const uint32_t row : waits.rows)
    evidence.add(row, static_cast<double>(trace.loader.wait[row]), TableId::loader);
  evidence.give(finding);
  const LoaderFills fills = loader_fills(input, number);
  const uint64_t threads = fills.workers.size();
  const auto now_working = static_cast<double>(threads);
  LoaderFix fix = loader_fix(input, number, waits, fills);
  const auto length = static_cast<double>(input.timeline.analysed().length());
  // Where the program computes on the same processors that its workers need, a wait for a worker
  // that got none is time in which those processors did something else: nothing ahead saves it.
  const auto raw = static_cast<double>(waiting.length());
  const auto starved = static_cast<double>(view == nullptr ? starved_length(input, number) : 0);
  // Workers may also lose one in the middle of a batch: then all threads of the program wait for
  // processors.
  const double delay = growth(input, "run_delay_ns").value;
  const bool crowded = delay > raw && starved > kSomeStarved * raw;
  const bool no_processor =
      (starved > 0.5 * raw || (view == nullptr && crowded)) && fix.workers <= now_working;
  if (!no_processor && !fix.none) {
    finding.plan = std::move(fix.plan);
    finding.plan_lower = std::move(fix.plan_lower);
    finding.fix = fix.deeper ? Fix{"prefetch_depth",
                                   fix.depth_now > 0 ? fix.depth - fix.depth_now : now_working,
                                   of_engine(trace)}
                             : Fix{"loader_workers", fix.workers, of_engine(trace)};
  }
  const double steps = step_count(input);
  finding.facts = {{"input_share", share, Unit::ratio},
                   {"loader_wait_ns", wait_ns, Unit::ns},
                   {"loader_wait_share", share_of_window(input, wait_ns), Unit::ratio},
                   {"loader_wait_raw_ns", waits.raw_ns, Unit::ns},
                   {"handing_over_ns", handing_ns, Unit::ns},
                   {"exposed_copy_ns", copy_ns, Unit::ns},
                   {"fills", static_cast<double>(fills.count), Unit::none},
                   {"fill_ns", fills.ns, Unit::ns},
                   {"workers", now_working, Unit::none}};
  if (number != 0) finding.facts.push_back({"loader", static_cast<double>(number), Unit::none});
  if (fix.depth_now > 0) finding.facts.push_back({"batches_ahead", fix.depth_now, Unit::none});
  if (starved > 0) finding.facts.push_back({"no_processor_ns", starved, Unit::ns});
  if (no_processor && delay >= 0) finding.facts.push_back({"run_delay_ns", delay, Unit::ns});
  if (fix.processors > 0) {
    finding.facts.push_back({"processors", fix.processors, Unit::none});
    finding.facts.push_back({"processors_busy_ns", fix.busy_ns, Unit::ns});
  }
  if (view != nullptr) {
    const double use = share_of_window(input, static_cast<double>(kernel.length()));
    finding.facts.push_back({"kernel_share", use, Unit::ratio});
  }
  // Copies that waited for a batch go earlier with it, so that only kernels are in the way.
  finding.saving.upper = view == nullptr
                             ? exposed.length()
                             : std::clamp<Ns>(input.timeline.analysed().length() - kernel.length(),
                                              0, waiting.length() + copying.length());
  if (fix.processors > 0)
    finding.saving.upper = std::min(finding.saving.upper, to_ns(length - fix.busy_ns));
  estimate(input, finding);
  if (!finding.withheld && finding.severity != Severity::info)
    finding.severity = share >= input.limits.i1_high ? Severity::major : Severity::moderate;

  const auto figure = [&](double ns) { return show_time(ns / steps); };
  finding.title = no_processor
                      ? show_share(share) +
                            " of the time goes into waiting for batches whose workers had no "
                            "processor"
                      : "Input-bound: " + show_share(share) +
                            " of the time goes into getting a batch" +
                            (named ? " of loader " + std::to_string(number) : "");
  std::string split = figure(wait_ns) + " waiting for the loader";
  if (handing_ns > 0) split += ", " + figure(handing_ns) + " from the batch to its copy";
  if (copy_ns > 0) split += ", " + figure(copy_ns) + " copying with no kernel running";
  finding.advice = "Of each " + show_time(length / steps) +
                   (input.timeline.window_steps() > 0 ? " step: " : ": ") + split + ". " +
                   how_to(fix, fills, no_processor ? figure(starved) : "") + " " +
                   show_gain(input, finding);
  out.push_back(std::move(finding));
}

// While the program waits for one loader the others work ahead: with one of them mended it waits
// for another instead. numbers: of all loaders that the program takes batches from.
void say_together(const RuleInput& input, const std::set<uint64_t>& numbers, size_t first,
                  std::vector<Finding>& out) {
  if (out.size() == first || numbers.size() < 2) return;
  Plan all;
  Ns one_by_one = 0;
  std::set<uint64_t> others = numbers;
  for (size_t k = first; k < out.size(); ++k) {
    if (out[k].withheld || out[k].plan.empty()) return;
    all.merge(out[k].plan);
    one_by_one += out[k].saving.expected;
    for (const Fact& fact : out[k].facts) {
      if (std::string_view(fact.name) == "loader") others.erase(static_cast<uint64_t>(fact.value));
    }
  }
  for (const uint64_t number : others) {
    for (const auto& [thread, list] : loader_waits(input, &number).of_thread) {
      for (const Interval& one : list) all.host_time.push_back({thread, one, 0});
    }
    for (const auto& [thread, list] : loader_fills(input, number).of_thread) {
      for (const Interval& one : list) all.host_time.push_back({thread, one, 0});
    }
  }
  const Ns together = input.replay.saving(all);
  if (static_cast<double>(together) <= kWorthBoth * static_cast<double>(one_by_one)) return;
  for (size_t k = first; k < out.size(); ++k) {
    out[k].advice += " The program takes batches from " + std::to_string(numbers.size()) +
                     " loaders, and each hides behind the others: mended together they gain " +
                     show_time(static_cast<double>(together) / step_count(input)) +
                     (input.timeline.window_steps() > 0 ? " per step." : ".");
  }
}

}  // namespace

void find_input(const RuleInput& input, std::vector<Finding>& out) {
  const Loader& loader = input.timeline.trace().loader;
  std::map<uint64_t, Ns> waited;  // by loader; where the recording does not tell them apart, by 0
  for (const uint32_t row : loader_waits(input).rows)
    waited[loader.loader[row]] += wait_end(loader, row) - loader.start[row];
  std::vector<std::pair<Ns, uint64_t>> longest;
  longest.reserve(waited.size());
  for (const auto& [number, ns] : waited) longest.emplace_back(-ns, number);
  std::sort(longest.begin(), longest.end());
  if (longest.size() > kMostLoaders) longest.resize(kMostLoaders);
  const Interval window = input.timeline.window();
  std::set<uint64_t> numbers;
  for (uint32_t row = 0; row < loader.size(); ++row) {
    if (loader.kind[row] == static_cast<uint8_t>(LoaderKind::next) &&
        loader.start[row] >= window.begin && loader.start[row] < window.end)
      numbers.insert(loader.loader[row]);
  }
  const bool several = longest.size() > 1;
  const size_t first = out.size();
  for (const auto& [ns, number] : longest)
    find_slow_loader(input, number, several, several || numbers.size() > 1, out);
  say_together(input, numbers, first, out);
}

}  // namespace mill::prof
