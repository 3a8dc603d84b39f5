// What a recording would have taken with something changed.
#pragma once

#include <string>
#include <vector>

#include "profiler/cli/view.h"

namespace mill::cli {

// "findings=1,2;to_device=50GB/s;pinned;prefetch=2;kernels=2x;no-loader-wait".
struct WhatIf {
  mill_prof_change change{};
  std::vector<uint32_t> findings;  // numbers from 0
  bool all_findings = false;
  std::vector<std::string> parts;  // as they were given
};
// Throws UsageError.
WhatIf parse_whatif(const std::string& text);

// False where the health of the recording forbids it.
bool print_whatif(Output& out, const View& view, WhatIf what, bool json);

}  // namespace mill::cli
