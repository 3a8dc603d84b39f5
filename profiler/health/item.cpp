#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "profiler/health/health.h"

namespace mill::prof {

const char* confidence_name(Confidence confidence) {
  switch (confidence) {
    case Confidence::high: return "high";
    case Confidence::medium: return "medium";
    case Confidence::low: return "low";
    case Confidence::refuse: return "refuse";
  }
  return "";
}

const char* health_code_name(HealthCode code) {
  static constexpr std::array kNames = {"ok",
                                        "empty",
                                        "lost records",
                                        "store full",
                                        "bad times",
                                        "before launch",
                                        "stream overlap",
                                        "launch without work",
                                        "work without launch",
                                        "whole graphs",
                                        "cut off",
                                        "skipped events",
                                        "no device data",
                                        "no steps",
                                        "unfinished",
                                        "mixed clocks",
                                        "shared numbers",
                                        "standing clock",
                                        "few steps",
                                        "no length",
                                        "bad sizes"};
  const auto k = static_cast<size_t>(code);
  return k < kNames.size() ? kNames[k] : "";
}

void add_item(Health& health, HealthItem item) {
  health.verdict = std::max(health.verdict, item.effect);
  const auto at = std::upper_bound(
      health.items.begin(), health.items.end(), item,
      [](const HealthItem& a, const HealthItem& b) { return a.effect > b.effect; });
  health.items.insert(at, std::move(item));
  if (health.verdict == Confidence::high) {
    health.summary.clear();
    return;
  }
  const std::string& worst = health.items.front().text;
  health.summary =
      health.verdict == Confidence::refuse
          ? "No advice: " + worst
          : std::string("Confidence is ") + confidence_name(health.verdict) + ": " + worst;
}

}  // namespace mill::prof
