// Sine and cosine where the angle is known to be small: the library's functions keep local memory
// for huge ones.

template <class C>
MILL_DEVICE C horner(C, C last) {
  return last;
}
template <class C, class... Rest>
MILL_DEVICE C horner(C x, C first, Rest... rest) {
  return fma_(x, horner(x, rest...), first);
}

// sin(x) and cos(x) for |x| <= pi / 4 by their Taylor series; the last terms are below the last
// bit.
MILL_DEVICE void small_circle(float x, float* sine, float* cosine) {
  const float z = x * x;
  *sine = x * horner(z, 1.0f, -1.0f / 6, 1.0f / 120, -1.0f / 5040, 1.0f / 362880);
  *cosine = horner(z, 1.0f, -1.0f / 2, 1.0f / 24, -1.0f / 720, 1.0f / 40320, -1.0f / 3628800);
}
MILL_DEVICE void small_circle(double x, double* sine, double* cosine) {
  const double z = x * x;
  *sine = x * horner(z, 1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800,
                     1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000);
  *cosine = horner(z, 1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800,
                   1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000);
}
