#pragma once

#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof::rule {

// Series of kernels of one stream, each shorter than l1_tiny_ns, that fill more than l1_tiny_share
// of the time.
void find_tiny_kernels(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out);

}  // namespace mill::prof::rule
