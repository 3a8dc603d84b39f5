// Gradients of an op against central differences.
#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace mill {

// Largest |analytic - numeric| / max(1, |analytic|, |numeric|) over all elements of all floating
// inputs, which must be f64. second: of a combination of the gradients instead of the outputs.
double gradcheck(Exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
                 const mill_attr* attrs, uint32_t n_attrs, bool second, double step);

}  // namespace mill
