// Functors of the binary family that are plain arithmetic.
#pragma once

#include "kernels/functors/vocabulary.h"

namespace mill::functors {

#define MILL_BINARY(Name, function)                                               \
  struct Name {                                                                   \
    template <class M>                                                            \
    MILL_FN typename M::V operator()(M, typename M::V a, typename M::V b) const { \
      return M::function(a, b);                                                   \
    }                                                                             \
  }

MILL_BINARY(Add, add);
MILL_BINARY(Sub, sub);
MILL_BINARY(Mul, mul);
MILL_BINARY(Div, div);
MILL_BINARY(Maximum, maximum);
MILL_BINARY(Minimum, minimum);

#undef MILL_BINARY

}  // namespace mill::functors
