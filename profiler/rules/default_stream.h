// S4: device work that waits because some of it is on the legacy default stream.
#pragma once

#include <vector>

#include "profiler/rules/rules.h"

namespace mill::prof {

void find_default_stream(const RuleInput& input, std::vector<Finding>& out);

}  // namespace mill::prof
