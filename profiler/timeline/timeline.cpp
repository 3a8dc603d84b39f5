#include "profiler/timeline/timeline.h"

#include <algorithm>
#include <utility>

#include "profiler/timeline/batches.h"
#include "profiler/timeline/rows.h"
#include "profiler/timeline/steps.h"

namespace mill::prof {

namespace {

Interval span_of(const Trace& trace) {
  const bool far = zero_is_far({trace.work.start, trace.calls.start, trace.ops.start,
                                trace.loader.start, trace.marked_steps.start, trace.ranges.start});
  Interval span{INT64_MAX, INT64_MIN};
  const auto add = [&](const auto& table, auto&& usable) {
    for (uint32_t row = 0; row < table.size(); ++row) {
      const Ns start = table.start[row];
      const Ns end = table.end[row];
      if (!possible(start, end) || (far && (start == 0 || end == 0)) || !usable(row)) continue;
      span.begin = std::min(span.begin, start);
      span.end = std::max(span.end, end);
    }
  };
  const auto all = [](uint32_t) { return true; };
  add(trace.ops, all);
  add(trace.calls, [&](uint32_t row) { return usable_call(trace.calls, row); });
  add(trace.work, [&](uint32_t row) { return usable_work(trace.work, row); });
  add(trace.copies, all);
  add(trace.syncs, all);
  add(trace.allocations, all);
  add(trace.loader, all);
  add(trace.marked_steps, all);
  add(trace.ranges, all);
  add(trace.overheads, all);
  add(trace.managed, all);
  return span.begin <= span.end ? span : Interval{};
}

// Sets of one device, not yet cut.
struct Parts {
  std::vector<Interval> kernel;
  std::vector<Interval> copy;
  std::vector<Interval> to_device;
  std::vector<Interval> to_host;
  std::vector<Interval> fill;
};

bool lies_in(const IntervalSet& analysed, Ns start, Ns end) {
  if (start < end) return analysed.overlap({start, end}) > 0;
  return analysed.end_of(start) > start;
}

void finish(DeviceView* view, Parts parts, const IntervalSet& analysed) {
  const auto cut = [&](std::vector<Interval>& intervals) {
    return IntervalSet(std::move(intervals)).intersected(analysed);
  };
  view->kernel = cut(parts.kernel);
  view->copy = cut(parts.copy);
  view->to_device = cut(parts.to_device);
  view->to_host = cut(parts.to_host);
  view->fill = cut(parts.fill);
  view->busy = view->kernel.united(view->copy).united(view->fill);
}

std::vector<DeviceView> view_devices(const Trace& trace, const IntervalSet& analysed) {
  const Work& work = trace.work;
  std::vector<DeviceView> views;
  std::vector<bool> has_view(trace.devices.size());
  for (uint32_t row = 0; row < work.size();) {
    const uint32_t device = work.device[row];
    DeviceView view;
    view.device = device;
    Parts parts;
    for (; row < work.size() && work.device[row] == device; ++row) {
      const Interval one{work.start[row], work.end[row]};
      if (!usable_work(work, row) || !lies_in(analysed, one.begin, one.end)) continue;
      view.work.push_back(row);
      switch (static_cast<WorkKind>(work.kind[row])) {
        case WorkKind::kernel:
          view.kernels.push_back(row);
          parts.kernel.push_back(one);
          break;
        case WorkKind::copy:
          view.copies.push_back(row);
          parts.copy.push_back(one);
          if (work.copy_kind[row] == static_cast<uint8_t>(CopyKind::host_to_device))
            parts.to_device.push_back(one);
          if (work.copy_kind[row] == static_cast<uint8_t>(CopyKind::device_to_host))
            parts.to_host.push_back(one);
          break;
        case WorkKind::fill: parts.fill.push_back(one); break;
        default: break;
      }
    }
    if (view.work.empty()) continue;
    has_view[device] = true;
    finish(&view, std::move(parts), analysed);
    views.push_back(std::move(view));
  }

  // A CPU device works where its ops run.
  std::vector<Parts> on_cpu(trace.devices.size());
  const Ops& ops = trace.ops;
  for (const uint32_t row : computing_ops(trace)) {
    const uint32_t device = ops.device[row];
    if (device == kNoRow || trace.devices[device].kind != DeviceKind::cpu) continue;
    if (lies_in(analysed, ops.start[row], ops.end[row]))
      on_cpu[device].kernel.push_back({ops.start[row], ops.end[row]});
  }
  for (uint32_t device = 0; device < on_cpu.size(); ++device) {
    if (on_cpu[device].kernel.empty()) continue;
    if (has_view[device]) continue;  // its source wrote its work down
    DeviceView view;
    view.device = device;
    finish(&view, std::move(on_cpu[device]), analysed);
    views.push_back(std::move(view));
  }
  std::stable_sort(views.begin(), views.end(), [](const DeviceView& a, const DeviceView& b) {
    if (a.busy.length() != b.busy.length()) return a.busy.length() > b.busy.length();
    return a.device < b.device;
  });
  return views;
}

// Steps at the beginning that are not like the rest.
uint32_t warm_up_steps(const std::vector<Step>& steps, int64_t wanted) {
  const size_t n = steps.size();
  if (wanted >= 0)
    return static_cast<uint32_t>(
        std::min<uint64_t>(static_cast<uint64_t>(wanted), n > 0 ? n - 1 : 0));
  if (n < 3) return 0;
  std::vector<Ns> lengths;
  lengths.reserve(n);
  for (const Step& step : steps) lengths.push_back(step.end - step.begin);
  const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(n / 2);
  std::nth_element(lengths.begin(), middle, lengths.end());
  const auto is_long = [&, limit = *middle + *middle / 2](const Step& step) {
    return step.end - step.begin > limit;
  };
  // A long one among many that are not is a straggler, as there are later too: half of the first
  // are to be long. Where no later one is, a third of them is no chance either, but buffers that
  // are met for the first time every few steps.
  const auto rest = steps.begin() + static_cast<std::ptrdiff_t>(n / 3);
  const size_t enough = std::any_of(rest, steps.end(), is_long) ? 2 : 3;
  size_t out = 0;
  size_t longer = 0;
  for (size_t k = 0; k < n / 3; ++k) {
    if (is_long(steps[k]) && enough * ++longer >= k + 1) out = k + 1;
  }
  return static_cast<uint32_t>(out);
}

uint32_t find_main_thread(const Trace& trace) {
  // One that copies batches ahead may launch more than the program does.
  const std::vector<bool> fills = filling_threads(trace);
  std::vector<uint64_t> launched(trace.threads.size());
  for (uint32_t row = 0; row < trace.work.size(); ++row) {
    const uint32_t call = trace.work.call[row];
    if (call != kNoRow && !fills[trace.calls.thread[call]]) ++launched[trace.calls.thread[call]];
  }
  const auto most = [](const std::vector<uint64_t>& counts) {
    const auto best = std::max_element(counts.begin(), counts.end());
    return best == counts.end() || *best == 0 ? kNoRow
                                              : static_cast<uint32_t>(best - counts.begin());
  };
  if (const uint32_t thread = most(launched); thread != kNoRow) return thread;
  std::vector<uint64_t> ran(trace.threads.size());
  for (const uint32_t thread : trace.ops.thread) ++ran[thread];
  if (const uint32_t thread = most(ran); thread != kNoRow) return thread;
  for (const uint32_t thread : trace.calls.thread) ++ran[thread];
  return most(ran);
}

}  // namespace

Timeline::Timeline(Trace trace, LinkCounts counts, const TimelineOptions& options)
    : trace_(std::move(trace)), links_(counts) {
  span_ = span_of(trace_);
  const IntervalSet recorded(trace_.recorded);
  steps_ =
      make_steps(trace_, find_host_steps(trace_, recorded, options.find_period, &step_source_));
  if (steps_.empty()) {
    step_source_ = StepSource::none;
    window_ = span_;
    analysed_ = recorded.empty() ? IntervalSet({window_}) : recorded.intersected(window_);
  } else {
    const uint32_t out = warm_up_steps(steps_, options.warm_up_steps);
    for (uint32_t k = 0; k < out; ++k) steps_[k].warm_up = true;
    window_steps_ = static_cast<uint32_t>(steps_.size()) - out;
    window_ = {steps_[out].begin, steps_.back().end};
    // Between two steps with a hole between them, nothing is known.
    std::vector<Interval> parts;
    for (size_t k = out; k < steps_.size(); ++k) {
      const Ns until = k + 1 < steps_.size() ? steps_[k + 1].begin : steps_[k].end;
      const bool whole = recorded.empty() || until <= recorded.end_of(steps_[k].end);
      parts.push_back({steps_[k].begin, whole ? until : steps_[k].end});
    }
    analysed_ = IntervalSet(std::move(parts));
  }
  devices_ = view_devices(trace_, analysed_);
  view_of_.assign(trace_.devices.size(), kNoRow);
  for (uint32_t k = 0; k < devices_.size(); ++k) view_of_[devices_[k].device] = k;
  main_thread_ = find_main_thread(trace_);

  const size_t threads = trace_.threads.size();
  ops_of_ = rows_by_thread(trace_.ops.thread, threads);
  calls_of_ = rows_by_thread(trace_.calls.thread, threads);
  for (std::vector<uint32_t>& rows : ops_of_) {
    std::erase_if(
        rows, [&](uint32_t row) { return !possible(trace_.ops.start[row], trace_.ops.end[row]); });
  }
  for (std::vector<uint32_t>& rows : calls_of_)
    std::erase_if(rows, [&](uint32_t row) { return !usable_call(trace_.calls, row); });
}

const DeviceView* Timeline::device(uint32_t device) const {
  if (device >= view_of_.size() || view_of_[device] == kNoRow) return nullptr;
  return &devices_[view_of_[device]];
}

const std::vector<uint32_t>& Timeline::calls_of(uint32_t thread) const {
  static const std::vector<uint32_t> kNone;
  return thread < calls_of_.size() ? calls_of_[thread] : kNone;
}

const std::vector<uint32_t>& Timeline::ops_of(uint32_t thread) const {
  static const std::vector<uint32_t> kNone;
  return thread < ops_of_.size() ? ops_of_[thread] : kNone;
}

uint32_t Timeline::step_at(Ns t) const {
  const auto after = std::upper_bound(steps_.begin(), steps_.end(), t,
                                      [](Ns at, const Step& step) { return at < step.begin; });
  if (after == steps_.begin() || t >= std::prev(after)->end) return kNoRow;
  return static_cast<uint32_t>(std::prev(after) - steps_.begin());
}

}  // namespace mill::prof
