// Kernels of the elementary family: trigonometric, hyperbolic and rounding functions. All share one
// kernel for each dtype: there are many, and nothing that trains spends its time here.
#include "kernels/functors/elementary.h"

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/elementwise.inl"

#include "gpu/families/elementwise.h"

namespace fn = mill::functors;

using Circular = one_of<fn::Sin, fn::Cos, fn::Tan, fn::Asin, fn::Acos, fn::Atan>;
using Hyperbolic =
    one_of<fn::Sinh, fn::Cosh, fn::Asinh, fn::Acosh, fn::Atanh, fn::Erf, fn::Expm1, fn::Log1p>;
using Rounding = one_of<fn::Floor, fn::Ceil, fn::Round, fn::Trunc, fn::Reciprocal>;

template <class F, class Any>
mill_status one(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class T>() {
    // One at a time: the code of these is long, and arithmetic takes the time.
    constexpr int kWide = std::is_same_v<Any, Rounding> ? kVector<T> : 1;
    const Any any{Any::template index<F>(), 0, 0};
    return map1<T, kWide>(args, any, any, std::is_same_v<Any, Rounding> ? 1 : 20);
  });
}

#define MILL_ONE(op, F, Any)   \
  {                            \
    op, kFloatBits, {          \
      one<fn::F, Any>, nullptr \
    }                          \
  }

constexpr KernelEntry kEntries[] = {
    MILL_ONE(MILL_OP_SIN, Sin, Circular),
    MILL_ONE(MILL_OP_COS, Cos, Circular),
    MILL_ONE(MILL_OP_TAN, Tan, Circular),
    MILL_ONE(MILL_OP_ASIN, Asin, Circular),
    MILL_ONE(MILL_OP_ACOS, Acos, Circular),
    MILL_ONE(MILL_OP_ATAN, Atan, Circular),
    MILL_ONE(MILL_OP_SINH, Sinh, Hyperbolic),
    MILL_ONE(MILL_OP_COSH, Cosh, Hyperbolic),
    MILL_ONE(MILL_OP_ASINH, Asinh, Hyperbolic),
    MILL_ONE(MILL_OP_ACOSH, Acosh, Hyperbolic),
    MILL_ONE(MILL_OP_ATANH, Atanh, Hyperbolic),
    MILL_ONE(MILL_OP_ERF, Erf, Hyperbolic),
    MILL_ONE(MILL_OP_EXPM1, Expm1, Hyperbolic),
    MILL_ONE(MILL_OP_LOG1P, Log1p, Hyperbolic),
    MILL_ONE(MILL_OP_FLOOR, Floor, Rounding),
    MILL_ONE(MILL_OP_CEIL, Ceil, Rounding),
    MILL_ONE(MILL_OP_ROUND, Round, Rounding),
    MILL_ONE(MILL_OP_TRUNC, Trunc, Rounding),
    MILL_ONE(MILL_OP_RECIPROCAL, Reciprocal, Rounding),
};

#undef MILL_ONE

}  // namespace

KernelList elementary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
