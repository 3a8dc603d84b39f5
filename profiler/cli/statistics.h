// Whether two samples differ by more than their spread.
#pragma once

#include <vector>

namespace mill::cli {

struct Sample {
  double mean = 0;
  double median = 0;
  double variance = 0;  // n - 1
  double n = 0;
};
Sample describe(std::vector<double> values);

// The t test of Welch, "The generalization of 'Student's' problem when several different population
// variances are involved" (1947): means of samples whose variances may differ.
struct Difference {
  double value = 0;  // mean of b - mean of a
  double low = 0;    // 95 % confidence interval
  double high = 0;
  double p = 1;
  bool tested = false;  // both have at least two values
  bool significant(double level) const { return tested && p < level; }
};
Difference welch(const Sample& a, const Sample& b);

}  // namespace mill::cli
