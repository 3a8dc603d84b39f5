#include "profiler/rules/rules.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace mill::prof {

namespace {

constexpr std::array<RuleFunction, 12> kRuleFunctions = {
    find_pageable,    find_exposed, find_slow_links, find_small, find_redundant, find_waits,
    find_allocations, find_idle,    find_launches,   find_input, find_overhead,  find_cpu};

// Each candidate of each joint rank costs one replay.
constexpr size_t kJointCandidates = 16;
constexpr size_t kJointCandidatesLarge = 6;
constexpr uint64_t kLargeTrace = 1000000;  // rows

// The k-th is the one that adds the most to what those before it save together: savings overlap,
// so the second largest alone may add nothing.
void give_joint_ranks(const RuleInput& input, uint32_t joint, std::vector<Finding>& findings) {
  const Trace& trace = input.timeline.trace();
  const uint64_t rows = uint64_t{trace.work.size()} + trace.calls.size() + trace.ops.size();
  const size_t most = rows > kLargeTrace ? kJointCandidatesLarge : kJointCandidates;
  std::vector<Finding*> candidates;
  for (Finding& finding : findings) {
    if (candidates.size() == most) break;
    if (finding.plan.empty() || finding.withheld || finding.severity == Severity::info) continue;
    candidates.push_back(&finding);
  }

  Plan chosen;
  Ns saved = 0;
  for (uint32_t rank = 1; rank <= joint && !candidates.empty(); ++rank) {
    size_t best = candidates.size();
    Ns best_saved = saved;
    for (size_t k = 0; k < candidates.size(); ++k) {
      Ns together = candidates[k]->saving.expected;
      if (rank > 1) {
        Plan plan = chosen;
        plan.merge(candidates[k]->plan);
        together = input.replay.saving(plan);
      }
      if (together > best_saved) {
        best_saved = together;
        best = k;
      }
    }
    if (best == candidates.size()) return;
    Finding* finding = candidates[best];
    finding->joint_rank = rank;
    chosen.merge(finding->plan);
    // A rule's own bound may have cut what the replay of the first one gave.
    saved = rank == 1 ? std::max(best_saved, input.replay.saving(chosen)) : best_saved;
    candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(best));
  }
}

}  // namespace

std::span<const RuleFunction> rule_functions() {
  return kRuleFunctions;
}

namespace {

// " (see S1, T7)": what no finding is about is not to be seen.
void drop_references(const std::vector<Finding>& findings, std::string& text) {
  static constexpr std::string_view kBegin = " (see ";
  static constexpr std::string_view kRest =
      " The rules named with a cause say what removing it would gain.";
  bool any = false;
  bool left = false;
  for (size_t at = text.find(kBegin); at != std::string::npos; at = text.find(kBegin, at)) {
    const size_t first = at + kBegin.size();
    const size_t end = text.find(')', first);
    if (end == std::string::npos) break;
    any = true;
    std::string kept;
    for (size_t from = first; from < end;) {
      const size_t to = std::min(end, text.find(", ", from));
      const std::string name = text.substr(from, to - from);
      // Not every one is the name of a rule: first-use costs.
      const bool there =
          name.size() > 3 || std::any_of(findings.begin(), findings.end(), [&](const Finding& one) {
            return name == rule_id_text(one.rule);
          });
      if (there) kept += (kept.empty() ? "" : ", ") + name;
      from = to + 2;
    }
    left = left || !kept.empty();
    const std::string now = kept.empty() ? "" : std::string(kBegin) + kept + ")";
    text.replace(at, end + 1 - at, now);
    at += now.size();
  }
  if (const size_t at = text.find(kRest); any && !left && at != std::string::npos)
    text.erase(at, kRest.size());
}

}  // namespace

std::vector<Finding> run_rules(const RuleInput& input, uint32_t joint) {
  std::vector<Finding> findings;
  if (input.health.verdict == Confidence::refuse) return findings;
  for (const RuleFunction rule : rule_functions()) rule(input, findings);

  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return std::make_tuple(-a.saving.expected, -a.saving.upper, a.rule) <
           std::make_tuple(-b.saving.expected, -b.saving.upper, b.rule);
  });
  for (Finding& finding : findings) drop_references(findings, finding.advice);
  uint32_t rank = 0;
  for (Finding& finding : findings) finding.rank = ++rank;
  give_joint_ranks(input, joint, findings);
  return findings;
}

Ns joint_saving(const RuleInput& input, const std::vector<Finding>& findings, uint32_t k) {
  Plan plan;
  bool any = false;
  for (const Finding& finding : findings) {
    if (finding.joint_rank == 0 || finding.joint_rank > k || finding.withheld) continue;
    plan.merge(finding.plan);
    any = true;
  }
  return any ? std::max<Ns>(0, input.replay.saving(plan)) : 0;
}

}  // namespace mill::prof
