#include "profiler/rules/finding.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <tuple>

namespace mill::prof {

namespace {

struct RuleText {
  const char* id;
  const char* name;
};

constexpr std::array<RuleText, static_cast<size_t>(RuleId::count)> kRules = {{
    {"", ""},
    {"T1", "Async copy that is not async"},
    {"T2", "Blocking copy"},
    {"T3", "Exposed transfer"},
    {"T4", "Slow link use"},
    {"T5", "Many small copies"},
    {"T6", "Redundant transfer"},
    {"T7", "Scalar read-back"},
    {"T8", "Serialised directions"},
    {"T9", "Fat transfer"},
    {"T10", "Peer copy through host"},
    {"T11", "Unified-memory churn"},
    {"S1", "Costly synchronisation"},
    {"S2", "Synchronous memset"},
    {"S3", "Allocation stall"},
    {"S4", "Default-stream serialisation"},
    {"G1", "GPU idle gaps with cause"},
    {"G2", "Low utilisation windows"},
    {"L1", "Launch-bound"},
    {"L2", "Queue full"},
    {"I1", "Input-bound step"},
    {"A1", "Allocator churn"},
    {"O1", "Profiler's own cost"},
    {"C1", "CPU work bound by memory"},
}};

}  // namespace

const char* rule_id_text(RuleId id) {
  const auto k = static_cast<size_t>(id);
  return k < kRules.size() ? kRules[k].id : "";
}

const char* rule_name(RuleId id) {
  const auto k = static_cast<size_t>(id);
  return k < kRules.size() ? kRules[k].name : "";
}

void EvidenceList::give(Finding& finding) {
  constexpr size_t kMost = 1000;
  const size_t n = std::min(rows_.size(), kMost);
  std::partial_sort(rows_.begin(), rows_.begin() + static_cast<std::ptrdiff_t>(n), rows_.end(),
                    [](const Row& a, const Row& b) {
                      return a.lost != b.lost ? a.lost > b.lost
                                              : std::tie(a.what.table, a.what.row) <
                                                    std::tie(b.what.table, b.what.row);
                    });
  finding.evidence.clear();
  finding.evidence.reserve(n);
  for (size_t k = 0; k < n; ++k) finding.evidence.push_back(rows_[k].what);
  finding.evidence_total = rows_.size();
}

const char* severity_name(Severity severity) {
  switch (severity) {
    case Severity::info: return "info";
    case Severity::minor: return "minor";
    case Severity::moderate: return "moderate";
    case Severity::major: return "major";
  }
  return "";
}

}  // namespace mill::prof
