#include <algorithm>
#include <cmath>

#include "profiler/cli/calibrate.h"

namespace mill::cli {

const char* timing_name(Timing timing) {
  switch (timing) {
    case Timing::timeline: return "the device's records";
    case Timing::events: return "events";
    case Timing::host: return "the host's clock";
  }
  return "";
}

double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0;
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(place);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (place - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

// Least squares of relative errors, sum of ((alpha + b / beta - t) / t)^2 over the medians, so that
// a copy of 1 KB counts as much as one of 256 MB.
LineFit fit_line(const std::vector<Point>& points) {
  LineFit fit;
  double w = 0;
  double wb = 0;
  double wbb = 0;
  double wt = 0;
  double wbt = 0;
  std::vector<double> large;
  for (const Point& point : points) {
    const double t = quantile(point.ns, 0.5);
    if (t <= 0) continue;
    const auto b = static_cast<double>(point.bytes);
    const double weight = 1 / (t * t);
    w += weight;
    wb += weight * b;
    wbb += weight * b * b;
    wt += weight * t;
    wbt += weight * b * t;
    fit.copies += static_cast<uint32_t>(point.ns.size());
  }
  const double determinant = w * wbb - wb * wb;
  if (!(determinant > 0)) return {};
  double slope = (w * wbt - wb * wt) / determinant;
  double alpha = (wbb * wt - wb * wbt) / determinant;
  if (alpha < 0) {  // the best line through the origin
    alpha = 0;
    slope = wbt / wbb;
  }
  if (!(slope > 0) || !std::isfinite(slope)) return {};
  fit.alpha_ns = alpha;
  fit.bytes_per_s = 1e9 / slope;
  for (const Point& point : points) {
    if (point.bytes < uint64_t{1} << 20) continue;
    for (const double t : point.ns) {
      if (t > alpha) large.push_back(static_cast<double>(point.bytes) * 1e9 / (t - alpha));
    }
  }
  std::sort(large.begin(), large.end());
  fit.bytes_per_s_low =
      large.empty() ? fit.bytes_per_s : std::min(quantile(large, 0.1), fit.bytes_per_s);
  return fit;
}

}  // namespace mill::cli
