#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
RefFunction<A> find_reference(mill_cases::Reference reference) {
  static constexpr RefFunction<A> kTable[] = {
#define MILL_REFERENCE(name) &ref_##name<A>,
#include "conformance/cases.gen.inc"
#undef MILL_REFERENCE
  };
  static_assert(std::size(kTable) == static_cast<size_t>(mill_cases::Reference::count));
  return kTable[static_cast<size_t>(reference)];
}

template RefFunction<Number<Exact>> find_reference(mill_cases::Reference);
template RefFunction<Number<F64>> find_reference(mill_cases::Reference);
template RefFunction<Number<F32>> find_reference(mill_cases::Reference);
template RefFunction<Number<Bf16>> find_reference(mill_cases::Reference);
template RefFunction<Number<F16>> find_reference(mill_cases::Reference);
template RefFunction<Number<Integer>> find_reference(mill_cases::Reference);

}  // namespace mill_test
