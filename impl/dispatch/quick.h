// The short way through an invocation, for the most common call by far: a pointwise op on dense
// tensors of one shape and dtype, with defaults, whose result is new and which nobody records. It
// runs the same kernel on the same memory.
#pragma once

#include <cstdint>

#include "dispatch/op_rules.h"

namespace mill {

// False if the call is not of that kind: nothing has happened then.
bool run_quick(Exec& exec, const OpRow& row, mill_tensor* const* in, uint32_t n_in,
               uint32_t n_attrs, mill_tensor** out);

}  // namespace mill
