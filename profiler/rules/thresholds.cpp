#include <array>
#include <cmath>

#include "profiler/rules/rules.h"

namespace mill::prof {

namespace {

#define MILL_PROF_THRESHOLD(name) \
  ThresholdInfo {                 \
#name, &Thresholds::name      \
  }
constexpr std::array kThresholds = {
    MILL_PROF_THRESHOLD(t1_cover),        MILL_PROF_THRESHOLD(t1_min_share),
    MILL_PROF_THRESHOLD(t2_min_ns),       MILL_PROF_THRESHOLD(t2_min_share),
    MILL_PROF_THRESHOLD(t2_small_bytes),  MILL_PROF_THRESHOLD(t3_min_share),
    MILL_PROF_THRESHOLD(t4_efficiency),   MILL_PROF_THRESHOLD(t4_min_bytes),
    MILL_PROF_THRESHOLD(t5_max_bytes),    MILL_PROF_THRESHOLD(t5_max_gap_ns),
    MILL_PROF_THRESHOLD(t5_min_run),      MILL_PROF_THRESHOLD(t5_min_share),
    MILL_PROF_THRESHOLD(t6_min_bytes),    MILL_PROF_THRESHOLD(t7_max_bytes),
    MILL_PROF_THRESHOLD(t7_max_delay_ns), MILL_PROF_THRESHOLD(t7_min_share),
    MILL_PROF_THRESHOLD(t7_min_per_step), MILL_PROF_THRESHOLD(t8_min_share),
    MILL_PROF_THRESHOLD(t9_min_bytes),    MILL_PROF_THRESHOLD(t10_max_delay_ns),
    MILL_PROF_THRESHOLD(t10_min_bytes),   MILL_PROF_THRESHOLD(t11_min_bytes_per_step),
    MILL_PROF_THRESHOLD(s1_min_share),    MILL_PROF_THRESHOLD(s4_min_share),
    MILL_PROF_THRESHOLD(g1_min_gap_ns),   MILL_PROF_THRESHOLD(g1_min_share),
    MILL_PROF_THRESHOLD(g2_utilisation),  MILL_PROF_THRESHOLD(g2_windows),
    MILL_PROF_THRESHOLD(l1_kernel_ns),    MILL_PROF_THRESHOLD(l1_launch_share),
    MILL_PROF_THRESHOLD(l1_tiny_ns),      MILL_PROF_THRESHOLD(l1_tiny_share),
    MILL_PROF_THRESHOLD(l2_min_share),    MILL_PROF_THRESHOLD(i1_moderate),
    MILL_PROF_THRESHOLD(i1_high),         MILL_PROF_THRESHOLD(a1_unused_share),
    MILL_PROF_THRESHOLD(o1_budget),       MILL_PROF_THRESHOLD(c1_bandwidth),
    MILL_PROF_THRESHOLD(c1_fault_share),  MILL_PROF_THRESHOLD(c1_idle_share),
    MILL_PROF_THRESHOLD(min_saving_share)};
#undef MILL_PROF_THRESHOLD

static_assert(sizeof(Thresholds) == kThresholds.size() * sizeof(double), "a limit has no name");

}  // namespace

std::span<const ThresholdInfo> threshold_list() {
  return kThresholds;
}

bool set_threshold(Thresholds& limits, std::string_view name, double value) {
  if (!std::isfinite(value) || value < 0) return false;
  for (const ThresholdInfo& info : kThresholds) {
    if (info.name == name) {
      limits.*info.value = value;
      return true;
    }
  }
  return false;
}

}  // namespace mill::prof
