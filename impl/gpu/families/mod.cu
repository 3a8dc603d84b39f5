// What division leaves.
#include "kernels/functors/mod.h"

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/zero_divisor.inl"

#include "gpu/families/elementwise.h"
#include "gpu/families/zero_divisor.h"
// clang-format on

namespace fn = mill::functors;

using Any = one_of<fn::Remainder, fn::Fmod>;

template <class F>
mill_status rest(const mill_kernel_args* args, int32_t op) {
  const Any any{Any::index<F>(), 0, 0};
  const mill_status status = refuse_zeros(args, op);
  if (status != MILL_OK) return status;
  return with_numeric(args->in[0]->dtype, [&]<class T>() {
    return map2 < T, sizeof(T) == 8 ? 1 : 2 > (args, any, any, 30);
  });
}

mill_status remainder(const mill_kernel_args* args) {
  return rest<fn::Remainder>(args, MILL_OP_REMAINDER);
}
mill_status fmod(const mill_kernel_args* args) {
  return rest<fn::Fmod>(args, MILL_OP_FMOD);
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_REMAINDER, kFloatBits | kIntegerBits, {remainder, nullptr}},
    {MILL_OP_FMOD, kFloatBits | kIntegerBits, {fmod, nullptr}},
};

}  // namespace

KernelList mod_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
