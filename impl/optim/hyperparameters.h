// What may be asked of an optimizer. Each function throws MILL_E_ARG with the value and the rule.
#pragma once

#include <cstdint>

#include "optim/optimizer.h"

namespace mill::optim {

void require_fraction(double value, const char* name, int32_t argument);  // [0, 1)
void require_share(double value, const char* name, int32_t argument);     // [0, 1]
void require_not_negative(double value, const char* name, int32_t argument);
void require_count(int64_t value, const char* name, int32_t argument);  // not negative
// What a step computes in: beyond f32's range a rate is infinite and an eps is 0, and both end in
// NaN.
void require_representable(double value, int32_t dtype, const char* name, int32_t argument);

void check_options(const mill_optimizer::Options& options, int32_t dtype);
void check_schedule(const mill_optimizer::Schedule& schedule);

}  // namespace mill::optim
