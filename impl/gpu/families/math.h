// The math vocabulary of kernels/functors for one GPU thread, over the functions of vocabulary.h,
// which includes this file at its end.
#pragma once

#include "kernels/functors/int_math.h"

namespace MILL_FLAVOUR {

// Floating types: f32 and f64.
template <class T>
struct Math {
  using V = T;
  using M = bool;

  MILL_DEVICE static T set(double value) { return static_cast<T>(value); }
  MILL_DEVICE static T add(T a, T b) { return a + b; }
  MILL_DEVICE static T sub(T a, T b) { return a - b; }
  MILL_DEVICE static T mul(T a, T b) { return a * b; }
  MILL_DEVICE static T div(T a, T b) { return a / b; }
  MILL_DEVICE static T neg(T a) { return -a; }
  MILL_DEVICE static T abs(T a) { return abs_(a); }
  MILL_DEVICE static T mul_add(T a, T b, T c) { return fma_(a, b, c); }
  MILL_DEVICE static bool lt(T a, T b) { return a < b; }
  MILL_DEVICE static bool le(T a, T b) { return a <= b; }
  MILL_DEVICE static bool gt(T a, T b) { return a > b; }
  MILL_DEVICE static bool eq(T a, T b) { return a == b; }
  MILL_DEVICE static bool is_nan(T a) { return is_nan_(a); }
  MILL_DEVICE static T select(bool mask, T yes, T no) { return mask ? yes : no; }
  // NaN if either is.
  MILL_DEVICE static T maximum(T a, T b) { return a > b || is_nan_(a) ? a : b; }
  MILL_DEVICE static T minimum(T a, T b) { return a < b || is_nan_(a) ? a : b; }
  // A NaN x stays.
  MILL_DEVICE static T at_least(T x, T low) { return x < low ? low : x; }
  MILL_DEVICE static T at_most(T x, T high) { return x > high ? high : x; }
  MILL_DEVICE static T sqrt(T x) { return sqrt_(x); }
  MILL_DEVICE static T rsqrt(T x) { return rsqrt_(x); }
  MILL_DEVICE static T exp(T x) { return exp_(x); }
  MILL_DEVICE static T log(T x) { return log_(x); }
  MILL_DEVICE static T tanh(T x) { return tanh_(x); }
  MILL_DEVICE static T sin(T x) { return sin_(x); }
  MILL_DEVICE static T cos(T x) { return cos_(x); }
  MILL_DEVICE static T tan(T x) { return tan_(x); }
  MILL_DEVICE static T asin(T x) { return asin_(x); }
  MILL_DEVICE static T acos(T x) { return acos_(x); }
  MILL_DEVICE static T atan(T x) { return atan_(x); }
  MILL_DEVICE static T sinh(T x) { return sinh_(x); }
  MILL_DEVICE static T cosh(T x) { return cosh_(x); }
  MILL_DEVICE static T asinh(T x) { return asinh_(x); }
  MILL_DEVICE static T acosh(T x) { return acosh_(x); }
  MILL_DEVICE static T atanh(T x) { return atanh_(x); }
  MILL_DEVICE static T erf(T x) { return erf_(x); }
  MILL_DEVICE static T expm1(T x) { return expm1_(x); }
  MILL_DEVICE static T log1p(T x) { return log1p_(x); }
  MILL_DEVICE static T floor(T x) { return floor_(x); }
  MILL_DEVICE static T ceil(T x) { return ceil_(x); }
  MILL_DEVICE static T round(T x) { return round_(x); }
  MILL_DEVICE static T trunc(T x) { return trunc_(x); }
  MILL_DEVICE static T fmod(T x, T y) { return fmod_(x, y); }
  // e^-|x| keeps both ends from overflowing.
  MILL_DEVICE static T sigmoid(T x) {
    const T e = exp_(-abs_(x));
    return (x < 0 ? e : static_cast<T>(1)) / (e + 1);
  }
  // Phi(x) = erfc(-x / sqrt 2) / 2 keeps its relative accuracy in the lower tail.
  MILL_DEVICE static T normal_cdf(T x) {
    return static_cast<T>(0.5) * erfc_(x * static_cast<T>(-0.70710678118654752440));
  }
  MILL_DEVICE static T normal_cdf(T x, T* bell) {
    *bell = exp_(x * x * static_cast<T>(-0.5));
    return normal_cdf(x);
  }
};

using mill::functors::IntMath;

// The math vocabulary for elements of T.
template <class T>
using math_of = std::conditional_t<std::is_integral_v<T>, IntMath<T>, Math<acc_t<T>>>;

}  // namespace MILL_FLAVOUR
