// I1: a program that waits for its next batch.
#include <algorithm>
#include <cmath>

#include "profiler/rules/loader_times.h"
#include "profiler/rules/rule_help.h"
#include "profiler/timeline/batches.h"

namespace mill::prof {

using namespace rule;

namespace {

constexpr size_t kMostLoaders = 4;
constexpr double kMostWorkers = 64;  // mill_loader_set_prefetch takes no more

// input% = (loader wait + device waiting for the host + exposed copies to the device) / step, each
// instant once. A wait under a running kernel is no loss and does not count.
// several: there are other loaders that the program waits for.
void find_slow_loader(const RuleInput& input, uint64_t number, bool several,
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
  // Enough workers to make a batch in the rest of a step; 1 where the loader has none.
  const auto length = static_cast<double>(input.timeline.analysed().length());
  const auto raw = static_cast<double>(waiting.length());
  const double rest = std::max(1.0, length - raw);
  const double work = fills.count > 0 ? fills.ns : raw;
  const double enough = std::clamp(std::ceil(work / rest), 1.0, 1024.0);
  const double workers = of_engine(trace) ? std::min(enough, kMostWorkers) : enough;
  // So many together make batches so much faster; what the program's own thread fills is part of
  // its wait.
  const double share_of_each = std::min(1.0, now_working / workers);
  for (const auto& [thread, list] : fills.of_thread) {
    if (waits.of_thread.count(thread) != 0) continue;
    for (const Interval& one : list) {
      const double now = static_cast<double>(one.length()) * share_of_each;
      finding.plan.host_time.push_back({thread, one, to_ns(std::round(now))});
    }
  }
  // Where the program computes on the same processors that its workers need, a wait for a worker
  // that got none is time in which those processors did something else: nothing ahead saves it.
  const auto starved = static_cast<double>(view == nullptr ? starved_length(input, number) : 0);
  const bool no_processor = starved > 0.5 * raw && workers <= now_working;
  // One batch ahead by one worker: a wait shrinks by what else a step has to do.
  const double left = raw > 0 ? std::clamp((raw - (length - raw)) / raw, 0.0, 1.0) : 0;
  for (const auto& [thread, list] : waits.of_thread) {
    const IntervalSet times(list);
    for (const Interval& part : times.parts()) {
      finding.plan.host_time.push_back({thread, part, 0});
      finding.plan_lower.host_time.push_back(
          {thread, part, to_ns(std::round(static_cast<double>(part.length()) * left))});
    }
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
  if (starved > 0) finding.facts.push_back({"no_processor_ns", starved, Unit::ns});
  if (view != nullptr) {
    const double use = share_of_window(input, static_cast<double>(kernel.length()));
    finding.facts.push_back({"kernel_share", use, Unit::ratio});
  }
  // Workers that are fast enough on average were only caught without a batch in hand.
  finding.fix = threads > 0 && workers <= now_working
                    ? Fix{"prefetch_depth", now_working, of_engine(trace)}
                    : Fix{"loader_workers", workers, of_engine(trace)};
  if (no_processor) {
    finding.fix = {};
    finding.plan = {};
    finding.plan_lower = {};
  }
  // Copies that waited for a batch go earlier with it, so that only kernels are in the way.
  finding.saving.upper = view == nullptr
                             ? exposed.length()
                             : std::clamp<Ns>(input.timeline.analysed().length() - kernel.length(),
                                              0, waiting.length() + copying.length());
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
                            (several ? " of loader " + std::to_string(number) : "");
  std::string split = figure(wait_ns) + " waiting for the loader";
  if (handing_ns > 0) split += ", " + figure(handing_ns) + " from the batch to its copy";
  if (copy_ns > 0) split += ", " + figure(copy_ns) + " copying with no kernel running";
  std::string how;
  if (threads == 0) {
    how = "No worker fills batches: they are read and decoded between the steps. Let " +
          show_number(workers) + (workers > 1 ? " workers do it" : " worker do it") +
          " while the device computes.";
  } else {
    how =
        show_number(now_working) + (threads > 1 ? " workers take " : " worker takes ") +
        show_time(fills.ns / static_cast<double>(fills.count)) + " for a batch. " +
        (workers > now_working
             ? "With " + show_number(enough) + " they would keep up; " +
                   (workers < enough
                        ? show_number(workers) + " are the most that a loader can have: "
                        : std::string("or ")) +
                   "make a batch cheaper."
         : no_processor
             ? "They had memory and nothing else to do, but no processor, for " + figure(starved) +
                   " of that: ops and other programs had them all. Let ops use a thread less if "
                   "batches are worth more than that."
             : "They are fast enough on average: let them work further ahead.");
  }
  finding.advice = "Of each " + show_time(length / steps) +
                   (input.timeline.window_steps() > 0 ? " step: " : ": ") + split + ". " + how +
                   " " + show_gain(input, finding);
  out.push_back(std::move(finding));
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
  for (const auto& [ns, number] : longest) find_slow_loader(input, number, longest.size() > 1, out);
}

}  // namespace mill::prof
