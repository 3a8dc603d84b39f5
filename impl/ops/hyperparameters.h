// What the rules of the updates ask of their attributes.
#pragma once

#include <cmath>

#include "ops/rules.h"

namespace mill::ops {

inline void expect_fraction(const OpCall& call, uint32_t k) {
  const double value = call.real(k);
  if (!(value >= 0 && value < 1))
    fail(MILL_E_ARG, "%s is %g, it must be in [0, 1)", call.row.attrs[k].name, value);
}

inline void expect_not_negative(const OpCall& call, uint32_t k) {
  const double value = call.real(k);
  if (!(value >= 0) || !std::isfinite(value)) {
    fail(MILL_E_ARG, "%s is %g, it must be finite and not negative", call.row.attrs[k].name, value);
  }
}

}  // namespace mill::ops
