// The rules about transfers that carry more than is needed.
#pragma once

#include "profiler/rules/copies.h"

namespace mill::prof {

void find_fat(const RuleInput& input, const DeviceView& view,
              std::vector<Finding>& out);  // T9: fat.cpp

}  // namespace mill::prof
