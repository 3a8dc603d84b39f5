// An analysis of a trace built by hand, without rules: what queries read.
#pragma once

#include <memory>
#include <utility>

#include "profiler/session/analysis.h"

namespace mill::prof::test {

inline Analysis analysis_of(Trace trace) {
  Analysis analysis;
  const LinkCounts counts = link(trace);
  analysis.timeline = std::make_unique<const Timeline>(std::move(trace), counts);
  return analysis;
}

}  // namespace mill::prof::test
