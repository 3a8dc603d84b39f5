// What the tests of the pointwise kernels share beside rows_harness.h: layouts, distances in units
// in the last place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cpu/rows_harness.h"

namespace mill::cpu::test {

// The same dims in different memory: what every pointwise kernel must take.
struct Layout {
  const char* name;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
};

inline std::vector<Layout> layouts() {
  return {
      {"empty", {0, 3}, {3, 1}},
      {"scalar", {}, {}},
      {"one", {1}, {1}},
      {"three", {3}, {1}},
      {"seventeen", {17}, {1}},
      {"thousand", {1000}, {1}},
      {"matrix", {5, 33}, {33, 1}},
      {"every second", {41}, {2}},
      {"padded rows", {6, 29}, {40, 1}},
      {"transposed", {19, 23}, {1, 19}},
      {"short rows", {50, 3}, {4, 1}},
      {"permuted", {4, 5, 7}, {1, 28, 4}},
      {"ones between", {3, 1, 9}, {9, 5, 1}},
  };
}

inline Tensor make(int32_t dtype, const Layout& layout) {
  return Tensor(dtype, layout.dims, layout.strides);
}

// Distance between a result and the true value in units in the last place of T at that value.
template <class T>
double ulps(T got, long double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : HUGE_VAL;
  const T nearest = static_cast<T>(want);
  if (got == nearest) return 0;
  if (!std::isfinite(got)) return HUGE_VAL;
  T above = std::fabs(std::isfinite(nearest) ? nearest : std::numeric_limits<T>::max());
  T below = std::nextafter(above, T{0});
  if (above == 0) above = std::numeric_limits<T>::denorm_min();
  return static_cast<double>(std::fabs(want - static_cast<long double>(got)) /
                             (static_cast<long double>(above) - static_cast<long double>(below)));
}

inline std::vector<double> values_of(const Tensor& t) {
  std::vector<double> values;
  for (int64_t i = 0; i < t.numel(); ++i) values.push_back(t[i]);
  return values;
}

}  // namespace mill::cpu::test
