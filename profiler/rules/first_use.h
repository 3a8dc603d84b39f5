// G1, the part that happens once: contexts, modules and pools that are made when first needed.
#pragma once

#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof {

void find_first_use(const RuleInput& input, std::vector<Finding>& out);

}  // namespace mill::prof
