// The rules about how links between devices, and pages that move by themselves, are used.
#pragma once

#include "profiler/rules/copies.h"

namespace mill::prof {

void find_detours(const RuleInput& input, std::vector<Finding>& out);    // T10: peer_copies.cpp
void find_migration(const RuleInput& input, std::vector<Finding>& out);  // T11: managed.cpp

}  // namespace mill::prof
