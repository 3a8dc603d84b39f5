#include "profiler/health/words.h"

#include <array>

namespace mill::prof {

// 1234567 as "1,234,567".
std::string number(uint64_t value) {
  std::string text = std::to_string(value);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string of(uint64_t count, uint64_t total) {
  return number(count) + " of " + number(total);
}

double share(uint64_t count, uint64_t total) {
  return total == 0 ? 0 : static_cast<double>(count) / static_cast<double>(total);
}

uint64_t add_sat(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

// 1234567 ns as "1.2 ms".
std::string length_text(Ns ns) {
  static constexpr std::array<const char*, 4> kUnits = {"ns", "us", "ms", "s"};
  size_t unit = 0;
  Ns tenths = ns > INT64_MAX / 10 ? INT64_MAX : ns * 10;
  while (tenths >= 10'000 && unit + 1 < kUnits.size()) {
    tenths /= 1000;
    ++unit;
  }
  std::string text = number(static_cast<uint64_t>(tenths / 10));
  if (tenths % 10 != 0) text += "." + std::to_string(tenths % 10);
  return text + " " + kUnits[unit];
}

}  // namespace mill::prof
