// What an export wrote.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "profiler/export/export.h"

namespace mill::prof::test {

template <class Export>
std::string written(Export&& run) {
  std::string all;
  const Sink sink = [&](std::string_view piece) {
    all += piece;
    return true;
  };
  run(sink);
  return all;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return lines;
}

// Linked, without rules and replay.
inline Analysis bare_analysis(Trace trace) {
  Analysis analysis;
  const LinkCounts counts = link(trace);
  analysis.timeline = std::make_unique<const Timeline>(std::move(trace), counts);
  return analysis;
}

// Names that break carelessly written exports.
inline constexpr std::string_view kHostile =
    "a \"quoted\", \\back\\ \n\t\r\x01\x1b[31m </script> \xE2\x82\xAC \xC3\x28 \xFF tail";

}  // namespace mill::prof::test
