#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_softplus(RefCall<A>& c) {
  pointwise(c, [](A x) { return log(A(1) + exp(x)); });
}

MILL_INSTANTIATE_REFERENCE(softplus)

}  // namespace mill_test
