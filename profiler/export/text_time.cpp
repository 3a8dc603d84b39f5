#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

#include "profiler/export/chrome_lanes.h"
#include "profiler/export/text_sections.h"

namespace mill::prof {

namespace {

struct Part {
  const char* name;
  double ns = 0;
};

void bars(Page& page, const std::vector<Part>& parts, double whole) {
  constexpr size_t kBefore = 32;  // two spaces, name, time, share
  for (const Part& part : parts) {
    if (part.ns <= 0) continue;
    const double share = whole > 0 ? part.ns / whole : 0;
    std::string text = "  " + std::string(part.name);
    text.resize(12, ' ');
    const auto column = [&](const std::string& figure, size_t width) {
      text.append(figure.size() < width ? width - figure.size() : 1, ' ');
      text += figure;
    };
    column(show_time(part.ns), 10);
    column(show_share(share), 9);
    const auto room = static_cast<double>(std::min<size_t>(page.width() - kBefore - 1, 50));
    const double length = std::clamp(share, 0.0, 1.0) * room + 0.5;
    text += "  " + std::string(static_cast<size_t>(length), '#');
    page.line(text);
  }
}

// A CPU device has no kernels: its ops are what computes.
const char* compute_name(const Trace& trace) {
  return trace.work.empty() ? "ops" : "kernel";
}

void step_parts(Page& page, const Timeline& timeline) {
  std::vector<Part> parts = {{compute_name(timeline.trace())},
                             {"copy"},
                             {"fill"},
                             {"call"},
                             {"loader"},
                             {"host"},
                             {"other"}};
  double whole = 0;
  uint64_t count = 0;
  for (const Step& step : timeline.steps()) {
    if (step.warm_up) continue;
    ++count;
    whole += length_of(step.begin, step.end);
    const Ns times[] = {step.kernel, step.copy, step.fill, step.call,
                        step.loader, step.host, step.other};
    for (size_t k = 0; k < parts.size(); ++k) parts[k].ns += static_cast<double>(times[k]);
  }
  if (count == 0) return;
  for (Part& part : parts) part.ns /= static_cast<double>(count);
  whole /= static_cast<double>(count);
  page.heading("Where the time of a step goes: the mean of " + count_of(count, "step", "steps") +
               ", " + show_time(whole));
  page.paragraph(
      "  ", 2,
      "Each instant counts once, for the first of these that holds: the device computes "
      "(" +
          std::string(compute_name(timeline.trace())) +
          "), copies, fills; the host is inside a call of the device's runtime, waits for "
          "the loader, is in another op or range; nothing is on record (other).");
  bars(page, parts, whole);
}

// Without steps: each device's own time.
void device_parts(Page& page, const Analysis& analysis) {
  const Timeline& timeline = *analysis.timeline;
  const double whole = static_cast<double>(timeline.analysed().length());
  for (const DeviceView& view : timeline.devices()) {
    const std::string name = view.device < analysis.trace().devices.size()
                                 ? analysis.trace().devices[view.device].name
                                 : std::string();
    page.heading("Where the time goes on " + (name.empty() ? "the device" : name) + ": " +
                 show_time(whole) + " in all");
    const IntervalSet copy = view.copy.minus(view.kernel);
    const IntervalSet fill = view.fill.minus(view.kernel).minus(view.copy);
    const IntervalSet idle = timeline.analysed().minus(view.busy);
    bars(page,
         {{compute_name(analysis.trace()), static_cast<double>(view.kernel.length())},
          {"copy", static_cast<double>(copy.length())},
          {"fill", static_cast<double>(fill.length())},
          {"idle", static_cast<double>(idle.length())}},
         whole);
  }
}

struct Total {
  uint32_t name = 0;
  uint64_t count = 0;
  double time = 0;
  double self = 0;
  double longest = 0;
};

class Totals {
 public:
  Total& of(uint32_t name) {
    const auto [place, added] = places_.try_emplace(name, totals_.size());
    if (added) totals_.push_back({.name = name});
    return totals_[place->second];
  }
  // The n with the most of `figure`.
  std::vector<Total> top(size_t n, double Total::*figure) {
    const size_t kept = std::min(n, totals_.size());
    std::partial_sort(totals_.begin(), totals_.begin() + static_cast<std::ptrdiff_t>(kept),
                      totals_.end(), [&](const Total& a, const Total& b) {
                        return a.*figure != b.*figure ? a.*figure > b.*figure : a.name < b.name;
                      });
    return {totals_.begin(), totals_.begin() + static_cast<std::ptrdiff_t>(kept)};
  }
  size_t size() const { return totals_.size(); }

 private:
  std::unordered_map<uint32_t, size_t> places_;
  std::vector<Total> totals_;
};

std::string name_text(const Trace& trace, uint32_t name) {
  const std::string_view text = trace.strings.text(name);
  return text.empty() ? "(no name)" : std::string(text);
}

std::string shown_of(size_t shown, size_t all) {
  return shown < all ? " (" + show_count(shown) + " of " + show_count(all) + ")" : "";
}

}  // namespace

void text_step_time(Page& page, const Analysis& analysis) {
  const Timeline& timeline = *analysis.timeline;
  if (timeline.window_steps() > 0) {
    step_parts(page, timeline);
  } else {
    device_parts(page, analysis);
  }
}

void text_ops(Page& page, const Analysis& analysis, const TextOptions& options) {
  const Trace& trace = analysis.trace();
  const Ops& ops = trace.ops;
  const Interval window = analysis.timeline->window();
  std::vector<double> inner(ops.size());
  for (uint32_t row = 0; row < ops.size(); ++row) {
    if (ops.parent[row] < ops.size())
      inner[ops.parent[row]] += length_of(ops.start[row], ops.end[row]);
  }
  Totals totals;
  double all = 0;
  for (uint32_t row = 0; row < ops.size(); ++row) {
    if (!window.contains(ops.start[row])) continue;
    const double length = length_of(ops.start[row], ops.end[row]);
    Total& total = totals.of(ops.name[row]);
    ++total.count;
    total.time += length;
    total.self += std::max(0.0, length - inner[row]);
    all += std::max(0.0, length - inner[row]);
  }
  if (totals.size() == 0) return;
  const std::vector<Total> top = totals.top(options.rows, &Total::self);
  page.heading("Operators by their own time on the host, and its share of all operators'" +
               shown_of(top.size(), totals.size()));
  TextTable table({"own time", "share", "with inner", "calls", "mean", "name"});
  for (const Total& one : top) {
    table.row({show_time(one.self), show_share(all > 0 ? one.self / all : 0), show_time(one.time),
               show_count(one.count), show_time(one.time / static_cast<double>(one.count)),
               name_text(trace, one.name)});
  }
  table.print(page);
}

void text_kernels(Page& page, const Analysis& analysis, const TextOptions& options) {
  const Trace& trace = analysis.trace();
  Totals totals;
  double all = 0;
  for (const DeviceView& view : analysis.timeline->devices()) {
    for (const uint32_t row : view.kernels) {
      const double length = length_of(trace.work.start[row], trace.work.end[row]);
      Total& total = totals.of(trace.work.name[row]);
      ++total.count;
      total.time += length;
      total.longest = std::max(total.longest, length);
      all += length;
    }
  }
  if (totals.size() == 0) return;
  const std::vector<Total> top = totals.top(options.rows, &Total::time);
  page.heading("Kernels by time, and its share of all kernels'" +
               shown_of(top.size(), totals.size()));
  TextTable table({"time", "share", "calls", "mean", "longest", "name"});
  for (const Total& one : top) {
    table.row({show_time(one.time), show_share(all > 0 ? one.time / all : 0), show_count(one.count),
               show_time(one.time / static_cast<double>(one.count)), show_time(one.longest),
               name_text(trace, one.name)});
  }
  table.print(page);
}

void text_threads(Page& page, const Analysis& analysis, const TextOptions& options) {
  const Trace& trace = analysis.trace();
  const Timeline& timeline = *analysis.timeline;
  const Interval window = timeline.window();
  struct Row {
    uint32_t thread;
    uint64_t ops = 0;
    uint64_t calls = 0;
    double in_ops = 0;
    double in_calls = 0;
  };
  std::vector<Row> rows;
  const auto covered = [&](const auto& table, const std::vector<uint32_t>& all, uint64_t* count) {
    std::vector<Interval> parts;
    for (const uint32_t row : all) {
      const Interval part{std::max(table.start[row], window.begin),
                          std::min(table.end[row], window.end)};
      if (part.end < part.begin) continue;
      ++*count;
      parts.push_back(part);
    }
    return static_cast<double>(IntervalSet(std::move(parts)).length());
  };
  for (uint32_t thread = 0; thread < trace.threads.size(); ++thread) {
    Row row{.thread = thread};
    row.in_ops = covered(trace.ops, timeline.ops_of(thread), &row.ops);
    row.in_calls = covered(trace.calls, timeline.calls_of(thread), &row.calls);
    if (row.ops + row.calls > 0) rows.push_back(row);
  }
  if (rows.empty()) return;
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    const double x = std::max(a.in_ops, a.in_calls);
    const double y = std::max(b.in_ops, b.in_calls);
    return x != y ? x > y : a.thread < b.thread;
  });
  const size_t shown = std::min<size_t>(rows.size(), options.rows);
  page.heading("Host threads" + shown_of(shown, rows.size()));
  TextTable table({"in ops", "ops", "in calls", "calls", "name"});
  for (size_t k = 0; k < shown; ++k) {
    const ThreadInfo& info = trace.threads[rows[k].thread];
    std::string name = thread_text(info);
    if (rows[k].thread == timeline.main_thread()) name += ", launches most";
    table.row({show_time(rows[k].in_ops), show_count(rows[k].ops), show_time(rows[k].in_calls),
               show_count(rows[k].calls), name});
  }
  table.print(page);
}

}  // namespace mill::prof
