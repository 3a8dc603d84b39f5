// What `millrace prof calibrate` measures.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "profiler/cli/handles.h"

namespace mill::cli {

// How long a copy took, best first.
enum class Timing : uint8_t {
  timeline,  // the device's own record of the copy
  events,    // two events around it
  host       // the host's clock around the call and a wait
};
const char* timing_name(Timing timing);

struct Point {
  uint64_t bytes = 0;
  std::vector<double> ns;  // sorted
};

// Copies of one direction from or to one kind of host memory.
struct Series {
  bool to_device = false;
  bool pinned = false;
  Timing timing = Timing::host;
  std::vector<Point> points;
  std::string missing;  // why there are no points
};

// t(b) = alpha + b / beta.
struct LineFit {
  double alpha_ns = 0;
  double bytes_per_s = 0;      // 0: nothing was measured
  double bytes_per_s_low = 0;  // the 10th percentile of the large copies' rates
  uint32_t copies = 0;
};
LineFit fit_line(const std::vector<Point>& points);
// The value at place q (n - 1) of sorted ones; 0 of none.
double quantile(const std::vector<double>& sorted, double q);

struct BothWays {
  double to_device_bytes_per_s = 0;  // while the other direction was busy too; 0: not reached
  double to_host_bytes_per_s = 0;
  std::string missing;
};

struct LinkFigures {
  std::string device;
  std::string description;
  bool modelled = false;
  std::vector<Series> series;
  BothWays both;
  double pin_ns = -1;  // -1: not measured
  double pin_ns_per_byte = -1;
  double host_copy_bytes_per_s = 0;  // of a device whose model has one; 0: ask the real host
};

struct HostFigures {
  double copy_bytes_per_s = 0;
  double triad_bytes_per_s = 0;
  uint64_t triad_bytes = 0;  // of each of the three arrays
  uint32_t threads = 0;
};

struct CalibrationLimits {
  uint64_t largest = uint64_t{256} << 20;  // copy
  uint32_t repeats = 15;
  double seconds = 0.4;  // of repeats of one point, once there are three
};

// progress: what is measured now, for people.
using Progress = std::function<void(const std::string& what)>;
LinkFigures measure_link(const std::string& device, const CalibrationLimits& limits,
                         const Progress& progress);
HostFigures measure_host(bool quick, uint64_t memory_bytes, uint32_t threads, uint64_t cache_bytes);

}  // namespace mill::cli
