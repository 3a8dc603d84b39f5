// A trace built by hand, brought to where rules look at it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "profiler/builder.h"
#include "profiler/rules/rule_case.h"
#include "profiler/rules/rules.h"

namespace mill::prof::test {

inline constexpr double GB = 1e9;
inline constexpr uint64_t MB = 1000000;

inline LinkLine make_line(CopyKind kind, Memory memory, double bytes_per_s, double alpha_ns = 0,
                          LinkSource source = LinkSource::calibration) {
  LinkLine out;
  out.device = LinkModel::kAnyDevice;
  out.kind = kind;
  out.memory = memory;
  out.alpha_ns = alpha_ns;
  out.bytes_per_s = bytes_per_s;
  out.source = source;
  return out;
}

// Pinned memory both ways at so many bytes a second, by calibration.
inline LinkModel pinned_links(double bytes_per_s, double alpha_ns = 0) {
  LinkModel links;
  links.add(make_line(CopyKind::host_to_device, Memory::pinned, bytes_per_s, alpha_ns));
  links.add(make_line(CopyKind::device_to_host, Memory::pinned, bytes_per_s, alpha_ns));
  return links;
}

struct Scene {
  Thresholds limits;
  LinkModel links;
  Health health;
  std::vector<Gap> gaps;
  std::unique_ptr<Timeline> timeline;
  std::unique_ptr<Replay> replay;

  explicit Scene(Builder builder, LinkModel model = {}) : links(std::move(model)) {
    const LinkCounts counts = link(builder.trace);
    TimelineOptions options;
    options.warm_up_steps = 0;
    options.find_period = false;
    timeline = std::make_unique<Timeline>(std::move(builder.trace), counts, options);
    replay = std::make_unique<Replay>(*timeline);
  }
  RuleInput input() const { return {*timeline, links, *replay, limits, gaps, health, -1, -1}; }
  std::vector<Finding> find(RuleFunction rule) const {
    std::vector<Finding> out;
    rule(input(), out);
    return out;
  }
  // The findings of one rule.
  std::vector<Finding> find(RuleFunction rule, RuleId id) const {
    std::vector<Finding> out;
    for (Finding& one : find(rule)) {
      if (one.rule == id) out.push_back(std::move(one));
    }
    return out;
  }
};

inline bool says(const Finding& finding, std::string_view text) {
  return finding.advice.find(text) != std::string::npos;
}

}  // namespace mill::prof::test
