// What the trace says of an op that has run.
#pragma once

#include "dispatch/exec.h"
#include "dispatch/op_rules.h"

namespace mill {

OpFacts op_facts(const OpCall& call, mill_tensor* const* out);
// Numbers for the trace, given on first use.
uint64_t trace_id(mill_context& context, Storage& storage);

}  // namespace mill
