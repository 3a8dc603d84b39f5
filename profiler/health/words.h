// Figures as the sentences of health/ show them, and the checks that share a verdict.
#pragma once

#include <cstdint>
#include <string>

#include "profiler/health/health.h"

namespace mill::prof {

std::string number(uint64_t value);              // 1234567 as "1,234,567"
std::string of(uint64_t count, uint64_t total);  // "12 of 1,234"
std::string length_text(Ns ns);                  // 1234567 ns as "1.2 ms"
double share(uint64_t count, uint64_t total);    // 0 where there is no total
uint64_t add_sat(uint64_t a, uint64_t b);        // UINT64_MAX where it would be more
inline const char* either(uint64_t count, const char* one, const char* many) {
  return count == 1 ? one : many;
}

// What is wrong with the times of a trace: flags rows and adds items, as examine() says. Returns
// how many rows are left out.
uint64_t examine_times(Trace& trace, const HealthLimits& limits, Health& health);

}  // namespace mill::prof
