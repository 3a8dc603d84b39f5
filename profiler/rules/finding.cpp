#include "profiler/rules/finding.h"

#include <array>
#include <cstddef>

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

const char* severity_name(Severity severity) {
  switch (severity) {
    case Severity::info: return "info";
    case Severity::low: return "low";
    case Severity::medium: return "medium";
    case Severity::high: return "high";
  }
  return "";
}

}  // namespace mill::prof
