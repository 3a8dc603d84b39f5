// A view and a query's result as the C API shows them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "millrace/profiler_plugin.h"
#include "profiler/query/query.h"
#include "profiler/session/analysis.h"

namespace mill::prof {

// Immutable once made: any number of threads may ask.
class View {
 public:
  explicit View(std::unique_ptr<const Analysis> analysis);

  const Analysis& analysis() const { return *analysis_; }
  void summary(mill_prof_summary* out) const;
  uint32_t findings() const { return static_cast<uint32_t>(analysis_->findings.size()); }
  void finding(uint32_t index, mill_prof_finding* out) const;
  uint32_t facts(uint32_t index, mill_prof_fact* out, uint32_t capacity) const;
  uint32_t evidence(uint32_t index, mill_prof_evidence* out, uint32_t capacity) const;
  // False with a sentence where the health refuses.
  bool whatif(const mill_prof_change& change, mill_prof_prediction* out, std::string* why) const;

 private:
  std::unique_ptr<const Analysis> analysis_;
  double busy_ = 0;
};

// Columns as arrays that a program of any language can read.
class Result {
 public:
  explicit Result(QueryResult result);

  uint32_t columns() const { return static_cast<uint32_t>(result_.columns.size()); }
  uint64_t rows() const { return result_.rows; }
  void column(uint32_t index, mill_prof_column* out) const;

 private:
  QueryResult result_;
  std::vector<std::vector<const char*>> texts_;  // per column
};

const char* table_text(TableId table);

}  // namespace mill::prof
