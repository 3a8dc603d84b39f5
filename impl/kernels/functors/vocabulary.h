// Pointwise functors are templates over a math vocabulary M, so that a vector, a scalar and a GPU
// thread share one body.
//
//   M::V                        one value, or one vector of values
//   M::M                        the result of a comparison
//   set(double)                 a constant
//   add sub mul div neg abs     arithmetic; on integers it wraps and division goes toward zero
//   mul_add(a, b, c)            a * b + c, rounded once where the device can
//   lt le gt eq is_nan          comparisons
//   select(mask, yes, no)       element by element
//   maximum minimum             NaN if either is
//   fmod(a, b)                  C's; of integers %, which is 0 where b is
//   at_least(x, low)  at_most(x, high)   x clamped by a bound that is not NaN; a NaN x stays
//   sqrt rsqrt exp log tanh sigmoid
//   sin cos tan asin acos atan sinh cosh asinh acosh atanh erf expm1 log1p
//   floor ceil round trunc      round: to nearest, halves to even
//   normal_cdf(x)               the normal distribution
//   normal_cdf(x, &bell)        the same, and e^(-x^2/2) beside it; floating types
//   only, as the four lines above
#pragma once

#if defined(__CUDACC__) || defined(__HIPCC__)
#define MILL_FN __host__ __device__ __forceinline__
#else
// Never emitted out of line: a copy compiled for one SIMD target must not serve another.
#define MILL_FN inline __attribute__((always_inline))
#endif
