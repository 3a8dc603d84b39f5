#include "profiler/cli/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mill::cli {

namespace {

// The regularised incomplete beta function by the continued fraction of DLMF 8.17.22, evaluated
// with the method of Lentz (1976), modified by Thompson and Barnett (1986).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges quickly below the mean; above it the other tail is computed.
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(b, a, 1 - x);
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x)) /
                       a;
  constexpr double kTiny = 1e-300;
  double c = 1;
  double d = 0;
  double f = 1;
  for (int k = 0; k <= 500; ++k) {
    const double m = k / 2;  // NOLINT: the whole part is meant
    const double term = k == 0       ? 1
                        : k % 2 == 0 ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
                                     : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 + term * d;
    if (std::fabs(d) < kTiny) d = kTiny;
    d = 1 / d;
    c = 1 + term / c;
    if (std::fabs(c) < kTiny) c = kTiny;
    f *= c * d;
    if (std::fabs(1 - c * d) < 1e-14) break;
  }
  return front * (f - 1);
}

// Of a |t| this large or larger.
double both_tails(double t, double freedom) {
  return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t));
}

// The t whose two tails hold `p`.
double critical(double p, double freedom) {
  double low = 0;
  double high = 1;
  while (both_tails(high, freedom) > p && high < 1e9) high *= 2;
  for (int k = 0; k < 100; ++k) {
    const double middle = (low + high) / 2;
    (both_tails(middle, freedom) > p ? low : high) = middle;
  }
  return high;
}

}  // namespace

Sample describe(std::vector<double> values) {
  Sample out;
  out.n = static_cast<double>(values.size());
  if (values.empty()) return out;
  for (const double value : values) out.mean += value / out.n;
  for (const double value : values) out.variance += (value - out.mean) * (value - out.mean);
  out.variance = values.size() > 1 ? out.variance / (out.n - 1) : 0;
  const size_t half = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(half),
                   values.end());
  out.median = values[half];
  if (values.size() % 2 == 0) {
    out.median =
        (out.median +
         *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(half))) /
        2;
  }
  return out;
}

Difference welch(const Sample& a, const Sample& b) {
  Difference out;
  out.value = out.low = out.high = b.mean - a.mean;
  if (a.n < 2 || b.n < 2) return out;
  out.tested = true;
  const double va = a.variance / a.n;
  const double vb = b.variance / b.n;
  const double error = std::sqrt(va + vb);
  // Steps of a modelled time can all be alike: then any difference is one.
  if (error <= 1e-12 * std::max(std::fabs(a.mean), std::fabs(b.mean))) {
    const bool same =
        std::fabs(out.value) <= 1e-12 * std::max(std::fabs(a.mean), std::fabs(b.mean));
    out.p = same ? 1 : 0;
    return out;
  }
  const double freedom = (va + vb) * (va + vb) / (va * va / (a.n - 1) + vb * vb / (b.n - 1));
  out.p = both_tails(out.value / error, freedom);
  const double reach = critical(0.05, freedom) * error;
  out.low = out.value - reach;
  out.high = out.value + reach;
  return out;
}

}  // namespace mill::cli
