// Curves of memory over time: of allocator events, and of counters.
#include <algorithm>
#include <map>
#include <utility>

#include "profiler/export/html_summary.h"

namespace mill::prof::html {

namespace {

constexpr size_t kMostCurves = 48;

struct Point {
  int64_t time = 0;
  double value = 0;
};

// At most `most` points: of each stretch of time the first, the least, the greatest and the last
// value, in order, so that no peak is lost.
std::vector<Point> thinned(const std::vector<Point>& points, uint32_t most) {
  if (points.size() <= most || most < 8) return points;
  const int64_t begin = points.front().time;
  const uint64_t stretches = most / 4;
  const uint64_t width = static_cast<uint64_t>(points.back().time - begin) / stretches + 1;
  std::vector<Point> out;
  for (size_t from = 0; from < points.size();) {
    const uint64_t stretch = static_cast<uint64_t>(points[from].time - begin) / width;
    size_t to = from;
    size_t least = from;
    size_t greatest = from;
    while (to < points.size() &&
           static_cast<uint64_t>(points[to].time - begin) / width == stretch) {
      if (points[to].value < points[least].value) least = to;
      if (points[to].value > points[greatest].value) greatest = to;
      ++to;
    }
    size_t before = SIZE_MAX;
    for (const size_t k : {from, std::min(least, greatest), std::max(least, greatest), to - 1}) {
      if (k != before) out.push_back(points[k]);
      before = k;
    }
    from = to;
  }
  return out;
}

struct Curve {
  uint32_t device = kNoRow;
  std::string name;
  bool relative = false;  // to what was allocated before the recording
  bool bytes = true;
  uint64_t events = 0;
  std::vector<Point> points;
};

std::vector<Curve> allocation_curves(const Trace& trace, const Scene& scene) {
  const Allocations& rows = trace.allocations;
  std::map<uint32_t, Curve> curves;
  for (uint32_t r = 0; r < rows.size(); ++r) {
    const auto kind = static_cast<AllocKind>(rows.kind[r]);
    if (kind == AllocKind::unknown) continue;
    const uint32_t device = rows.device[r] < trace.devices.size() ? rows.device[r] : kNoRow;
    Curve& curve = curves[device];
    const double before = curve.points.empty() ? 0 : curve.points.back().value;
    const auto bytes = static_cast<double>(rows.bytes[r]);
    curve.points.push_back({std::clamp<int64_t>(scene.since_origin(rows.start[r]), 0, scene.length),
                            kind == AllocKind::allocate ? before + bytes : before - bytes});
  }
  std::vector<Curve> list;
  for (auto& [device, curve] : curves) {
    curve.device = device;
    curve.name = "allocated";
    curve.events = curve.points.size();
    // What was freed more than allocated was there before.
    double least = 0;
    for (const Point& point : curve.points) least = std::min(least, point.value);
    curve.relative = true;
    for (Point& point : curve.points) point.value -= least;
    curve.points.insert(curve.points.begin(), Point{0, -least});
    list.push_back(std::move(curve));
  }
  return list;
}

std::vector<Curve> counter_curves(const Trace& trace, const Scene& scene) {
  const Counters& rows = trace.counters;
  std::map<std::pair<uint32_t, uint32_t>, Curve> curves;
  for (uint32_t r = 0; r < rows.size(); ++r) {
    const uint32_t device = rows.device[r] < trace.devices.size() ? rows.device[r] : kNoRow;
    const std::pair key{device, rows.name[r]};
    Curve& curve = curves[key];
    curve.points.push_back(
        {std::clamp<int64_t>(scene.since_origin(rows.time[r]), 0, scene.length), rows.value[r]});
  }
  std::vector<Curve> list;
  for (auto& [key, curve] : curves) {
    curve.device = key.first;
    curve.name = clip(trace.strings.text(key.second), 80);
    curve.bytes = curve.name.ends_with("bytes");
    curve.events = curve.points.size();
    list.push_back(std::move(curve));
  }
  return list;
}

}  // namespace

void write_memory(Json& json, const Analysis& analysis, const Scene& scene, const Limits& limits) {
  std::vector<Curve> curves = allocation_curves(analysis.trace(), scene);
  for (Curve& curve : counter_curves(analysis.trace(), scene)) curves.push_back(std::move(curve));
  const size_t shown = std::min(curves.size(), kMostCurves);
  json.count("more_curves", curves.size() - shown);
  curves.resize(shown);
  json.key("memory").begin_array();
  for (Curve& curve : curves) {
    std::stable_sort(curve.points.begin(), curve.points.end(),
                     [](const Point& a, const Point& b) { return a.time < b.time; });
    const std::vector<Point> points = thinned(curve.points, limits.points);
    json.begin_object().text("name", curve.name).flag("relative", curve.relative);
    json.flag("bytes", curve.bytes).count("events", curve.events);
    if (curve.device != kNoRow) json.count("device", curve.device);
    json.key("times").begin_array();
    for (const Point& point : points) json.integer(point.time);
    json.end_array().key("values").begin_array();
    for (const Point& point : points) json.number(point.value);
    json.end_array().end_object();
  }
  json.end_array();
}

}  // namespace mill::prof::html
