#include "base/half.h"

#include <cmath>

namespace mill {

namespace {

// Rounds |value| to a format of `mantissa` explicit bits and exponent bias `bias`, as exponent and
// mantissa bits.
uint32_t encode_f8(float magnitude, int mantissa, int bias) {
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  exponent -= 1;  // magnitude = 1.f * 2^exponent
  const int lowest = 1 - bias;
  if (exponent < lowest) exponent = lowest;
  const float scaled = std::ldexp(magnitude, mantissa - exponent);
  const auto units =
      static_cast<uint32_t>(std::nearbyint(scaled));  // 2^mantissa = the implicit one
  const auto base = static_cast<uint32_t>(exponent + bias - 1) << mantissa;
  return base + units;  // a carry moves into the exponent by itself
}

float decode_f8(uint32_t bits, int mantissa, int bias) {
  const uint32_t exponent = bits >> mantissa;
  const uint32_t fraction = bits & ((1u << mantissa) - 1u);
  if (exponent == 0) return std::ldexp(static_cast<float>(fraction), 1 - bias - mantissa);
  return std::ldexp(static_cast<float>(fraction + (1u << mantissa)),
                    static_cast<int>(exponent) - bias - mantissa);
}

}  // namespace

float to_float(f8e4m3 value) {
  const uint32_t bits = value.bits & 0x7fu;
  const float magnitude = bits == 0x7fu ? std::nanf("") : decode_f8(bits, 3, 7);
  return (value.bits & 0x80u) != 0 ? -magnitude : magnitude;
}

float to_float(f8e5m2 value) {
  const uint32_t bits = value.bits & 0x7fu;
  float magnitude = 0;
  if (bits > 0x7cu) {
    magnitude = std::nanf("");
  } else if (bits == 0x7cu) {
    magnitude = HUGE_VALF;
  } else {
    magnitude = decode_f8(bits, 2, 15);
  }
  return (value.bits & 0x80u) != 0 ? -magnitude : magnitude;
}

f8e4m3 to_f8e4m3(float value) {
  const auto sign = static_cast<uint8_t>(std::signbit(value) ? 0x80u : 0u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return {static_cast<uint8_t>(sign | 0x7fu)};
  if (magnitude == 0) return {sign};
  const uint32_t bits = magnitude > 448.0f ? 0x7eu : encode_f8(magnitude, 3, 7);
  return {static_cast<uint8_t>(sign | bits)};
}

f8e5m2 to_f8e5m2(float value) {
  const auto sign = static_cast<uint8_t>(std::signbit(value) ? 0x80u : 0u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return {static_cast<uint8_t>(sign | 0x7eu)};
  if (magnitude == 0) return {sign};
  const uint32_t bits = magnitude >= 61440.0f ? 0x7cu : encode_f8(magnitude, 2, 15);
  return {static_cast<uint8_t>(sign | bits)};
}

}  // namespace mill
