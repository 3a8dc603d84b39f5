#include "profiler/timeline/steps.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "profiler/timeline/period.h"
#include "profiler/timeline/rows.h"

namespace mill::prof {

namespace {

bool was_recorded(const IntervalSet& recorded, Ns begin, Ns end) {
  return recorded.empty() || recorded.overlap({begin, end}) == end - begin;
}

// Of several loops that mark steps, the one with the most.
template <class Key>
std::vector<HostStep> largest_group(std::map<Key, std::vector<HostStep>>& groups) {
  auto best = groups.begin();
  for (auto it = groups.begin(); it != groups.end(); ++it) {
    if (it->second.size() > best->second.size()) best = it;
  }
  return best == groups.end() ? std::vector<HostStep>{} : std::move(best->second);
}

std::vector<HostStep> marked_steps(const Trace& trace, const IntervalSet& recorded) {
  const MarkedSteps& marks = trace.marked_steps;
  std::map<std::pair<uint32_t, uint32_t>, std::vector<HostStep>> groups;
  for (uint32_t row = 0; row < marks.size(); ++row) {
    const HostStep step{marks.start[row], marks.end[row], marks.number[row], marks.thread[row]};
    if (!possible(step.begin, step.end) || step.begin == step.end) continue;
    if (!was_recorded(recorded, step.begin, step.end)) continue;
    groups[{marks.thread[row], marks.exec[row]}].push_back(step);
  }
  return largest_group(groups);
}

// The number at the end of a name such as ProfilerStep#12, or `otherwise`.
int64_t trailing_number(std::string_view name, int64_t otherwise) {
  size_t digits = 0;
  while (digits < name.size() && digits < 18) {
    const char c = name[name.size() - 1 - digits];
    if (c < '0' || c > '9') break;
    ++digits;
  }
  if (digits == 0) return otherwise;
  int64_t number = 0;
  for (const char c : name.substr(name.size() - digits)) number = number * 10 + (c - '0');
  return number;
}

std::vector<HostStep> step_ranges(const Trace& trace, const IntervalSet& recorded) {
  const Ranges& ranges = trace.ranges;
  std::map<uint32_t, std::vector<HostStep>> groups;
  for (uint32_t row = 0; row < ranges.size(); ++row) {
    if (ranges.kind[row] != static_cast<uint8_t>(RangeKind::step)) continue;
    HostStep step{ranges.start[row], ranges.end[row], 0, ranges.thread[row]};
    if (!possible(step.begin, step.end) || step.begin == step.end) continue;
    if (!was_recorded(recorded, step.begin, step.end)) continue;
    std::vector<HostStep>& group = groups[ranges.thread[row]];
    step.number =
        trailing_number(trace.strings.text(ranges.name[row]), static_cast<int64_t>(group.size()));
    group.push_back(step);
  }
  return largest_group(groups);
}

struct Launch {
  Ns begin;  // of the call
  uint32_t name;
  uint32_t thread;
  uint32_t row;
  bool operator<(const Launch& other) const {
    return std::tie(begin, row) < std::tie(other.begin, other.row);
  }
};

// Kernels of the device that ran most, in the order in which they were launched.
std::vector<Launch> launches_of(const Trace& trace) {
  const Work& work = trace.work;
  const auto is_kernel = [&](uint32_t row) {
    return usable_work(work, row) && work.kind[row] == static_cast<uint8_t>(WorkKind::kernel);
  };
  std::vector<uint32_t> count(trace.devices.size());
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (is_kernel(row)) ++count[work.device[row]];
  }
  const auto busiest = std::max_element(count.begin(), count.end());
  std::vector<Launch> launches;
  if (busiest != count.end() && *busiest > 0) {
    const auto device = static_cast<uint32_t>(busiest - count.begin());
    for (uint32_t row = 0; row < work.size(); ++row) {
      if (work.device[row] != device || !is_kernel(row)) continue;
      const uint32_t call = work.call[row];
      if (call != kNoRow && usable_call(trace.calls, call)) {
        launches.push_back(
            {trace.calls.start[call], work.name[row], trace.calls.thread[call], row});
      } else {
        launches.push_back({work.start[row], work.name[row], kNoRow, row});
      }
    }
    std::sort(launches.begin(), launches.end());
    return launches;
  }
  if (!work.empty()) return launches;
  const Ops& ops = trace.ops;
  for (const uint32_t row : computing_ops(trace))
    launches.push_back({ops.start[row], ops.name[row], ops.thread[row], row});
  return launches;
}

std::vector<HostStep> periodic_steps(const Trace& trace, const IntervalSet& recorded) {
  const std::vector<Launch> launches = launches_of(trace);
  std::vector<uint32_t> names;
  names.reserve(launches.size());
  for (const Launch& one : launches) names.push_back(one.name);
  const Period period = find_period(names);
  std::vector<HostStep> steps;
  // A step lasts until the next one begins; so the last one's end is only known if more follows.
  for (size_t k = 0; k < period.count; ++k) {
    const size_t first = period.first + k * period.length;
    if (first + period.length >= launches.size()) break;
    const HostStep step{launches[first].begin, launches[first + period.length].begin,
                        static_cast<int64_t>(k), launches[first].thread};
    if (step.begin < step.end && was_recorded(recorded, step.begin, step.end))
      steps.push_back(step);
  }
  return steps;
}

// Work of other processes is no part of a step; a step that nobody knows the thread of takes all.
class SameProcess {
 public:
  SameProcess(const Trace& trace, uint32_t thread) : trace_(trace) {
    if (thread >= trace.threads.size()) return;
    process_ = trace.threads[thread].process;
    all_ = process_ == UINT64_MAX;
  }
  bool operator()(uint32_t thread) const {
    return all_ || (thread < trace_.threads.size() && trace_.threads[thread].process == process_);
  }

 private:
  const Trace& trace_;
  uint64_t process_ = 0;
  bool all_ = true;
};

// The step that an instant on the host belongs to.
size_t host_step_at(const std::vector<HostStep>& host, Ns t) {
  const auto after = std::upper_bound(host.begin(), host.end(), t,
                                      [](Ns at, const HostStep& s) { return at < s.begin; });
  if (after == host.begin() || t >= std::prev(after)->end) return host.size();
  return static_cast<size_t>(std::prev(after) - host.begin());
}

template <class T, class F>
IntervalSet set_of(const T& table, F&& wanted) {
  std::vector<Interval> intervals;
  for (uint32_t row = 0; row < table.size(); ++row) {
    const Interval one{table.start[row], table.end[row]};
    if (one.begin < one.end && possible(one.begin, one.end) && wanted(row))
      intervals.push_back(one);
  }
  return IntervalSet(std::move(intervals));
}

// Where ops of CPU devices computed. Ops inside the making of a batch are the loader's.
std::vector<Interval> computed_on_cpu(const Trace& trace, const SameProcess& same_process) {
  std::vector<bool> on_cpu(trace.devices.size());
  for (size_t k = 0; k < on_cpu.size(); ++k) on_cpu[k] = trace.devices[k].kind == DeviceKind::cpu;
  // Where a source wrote a CPU device's work down, that is what it did.
  for (uint32_t row = 0; row < trace.work.size(); ++row) {
    if (usable_work(trace.work, row)) on_cpu[trace.work.device[row]] = false;
  }
  std::vector<Interval> computed;
  if (std::find(on_cpu.begin(), on_cpu.end(), true) == on_cpu.end()) return computed;
  std::map<uint32_t, std::vector<Interval>> times;
  for (uint32_t row = 0; row < trace.loader.size(); ++row) {
    const Interval one{trace.loader.start[row], trace.loader.end[row]};
    if (possible(one.begin, one.end)) times[trace.loader.thread[row]].push_back(one);
  }
  std::map<uint32_t, IntervalSet> batches;
  for (auto& [thread, list] : times) batches[thread] = IntervalSet(std::move(list));
  const Ops& ops = trace.ops;
  for (const uint32_t row : computing_ops(trace)) {
    if (ops.device[row] == kNoRow || !on_cpu[ops.device[row]] || !same_process(ops.thread[row]))
      continue;
    const auto batch = batches.find(ops.thread[row]);
    if (batch != batches.end() && batch->second.end_of(ops.start[row]) > ops.start[row]) continue;
    computed.push_back({ops.start[row], ops.end[row]});
  }
  return computed;
}

}  // namespace

std::vector<uint32_t> computing_ops(const Trace& trace) {
  const Ops& ops = trace.ops;
  const auto counts = [&](uint32_t row) { return ops.flops[row] != 0 || ops.bytes[row] != 0; };
  std::vector<bool> has_child(ops.size());
  std::vector<bool> inside(ops.size());  // of an op that counts what it does
  for (uint32_t row = 0; row < ops.size(); ++row) {
    const uint32_t parent = ops.parent[row];  // an earlier row
    if (parent >= ops.size()) continue;
    has_child[parent] = true;
    inside[row] = inside[parent] || (counts(parent) && ops.device[parent] == ops.device[row]);
  }
  std::vector<uint32_t> computing;
  for (uint32_t row = 0; row < ops.size(); ++row) {
    if ((!has_child[row] || counts(row)) && !inside[row] && possible(ops.start[row], ops.end[row]))
      computing.push_back(row);
  }
  return computing;
}

std::vector<HostStep> find_host_steps(const Trace& trace, const IntervalSet& recorded,
                                      bool find_period, StepSource* source) {
  std::vector<HostStep> steps = marked_steps(trace, recorded);
  *source = StepSource::marks;
  if (steps.empty()) {
    steps = step_ranges(trace, recorded);
    *source = StepSource::ranges;
  }
  if (steps.empty() && find_period) {
    steps = periodic_steps(trace, recorded);
    *source = StepSource::period;
  }
  if (steps.empty()) *source = StepSource::none;
  return steps;
}

std::vector<Step> make_steps(const Trace& trace, const std::vector<HostStep>& host) {
  std::vector<Step> steps;
  if (host.empty()) return steps;
  const Work& work = trace.work;
  const Calls& calls = trace.calls;
  const SameProcess same_process(trace, host.front().thread);

  std::vector<Ns> device_end(host.size(), INT64_MIN);
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (!usable_work(work, row)) continue;
    const uint32_t call = work.call[row];
    const bool called = call != kNoRow && usable_call(calls, call);
    if (called && !same_process(calls.thread[call])) continue;
    Ns asked = work.submit[row] != 0 ? work.submit[row] : work.start[row];
    if (called) asked = calls.start[call];
    const size_t k = host_step_at(host, asked);
    if (k < host.size()) device_end[k] = std::max(device_end[k], work.end[row]);
  }
  // Of a recording that broke off, a last step with launches that were never seen to run is not
  // whole.
  size_t whole = host.size();
  if (trace.cut_off || trace.unfinished > 0) {
    for (uint32_t row = 0; row < calls.size() && whole == host.size(); ++row) {
      const auto kind = static_cast<CallKind>(calls.kind[row]);
      const bool launches = kind == CallKind::launch || kind == CallKind::graph_launch;
      if (launches && calls.work[row] == kNoRow &&
          host_step_at(host, calls.start[row]) == host.size() - 1)
        --whole;
    }
  }
  Ns last_end = INT64_MIN;
  for (size_t k = 0; k < whole; ++k) {
    Step step;
    step.begin = std::max(host[k].begin, last_end);
    step.end = std::max(host[k].end, device_end[k]);
    step.number = host[k].number;
    step.thread = host[k].thread;
    step.host_begin = host[k].begin;
    step.host_end = host[k].end;
    if (step.end <= step.begin) continue;  // it lies in the one before
    last_end = step.end;
    steps.push_back(step);
  }

  // Each part counts what no earlier part has taken.
  IntervalSet taken;
  const auto part = [&](const IntervalSet& set, Ns Step::*length) {
    const IntervalSet own = set.minus(taken);
    for (Step& step : steps) step.*length = own.overlap({step.begin, step.end});
    taken = taken.united(own);
  };
  const auto work_of = [&](WorkKind kind) {
    return set_of(work, [&](uint32_t row) {
      return work.kind[row] == static_cast<uint8_t>(kind) && usable_work(work, row);
    });
  };
  part(work_of(WorkKind::kernel).united(IntervalSet(computed_on_cpu(trace, same_process))),
       &Step::kernel);
  part(work_of(WorkKind::copy), &Step::copy);
  part(work_of(WorkKind::fill), &Step::fill);
  part(set_of(calls,
              [&](uint32_t row) {
                return usable_call(calls, row) && same_process(calls.thread[row]);
              }),
       &Step::call);
  // A batch that is made by a worker keeps nobody waiting.
  const Loader& loader = trace.loader;
  part(set_of(loader,
              [&](uint32_t row) {
                return same_process(loader.thread[row]) &&
                       (loader.kind[row] != static_cast<uint8_t>(LoaderKind::fill) ||
                        loader.thread[row] == host.front().thread);
              }),
       &Step::loader);
  const Ranges& ranges = trace.ranges;
  const IntervalSet in_ops =
      set_of(trace.ops, [&](uint32_t row) { return same_process(trace.ops.thread[row]); });
  part(in_ops.united(set_of(ranges,
                            [&](uint32_t row) {
                              return ranges.kind[row] != static_cast<uint8_t>(RangeKind::step) &&
                                     same_process(ranges.thread[row]);
                            })),
       &Step::host);
  for (Step& step : steps)
    step.other = step.end - step.begin - taken.overlap({step.begin, step.end});
  return steps;
}

}  // namespace mill::prof
