// Numbers that the reference implementations compute with: one template runs exactly (long double),
// naively (rounding to the tested type after every operation), and on integers. The formats are
// written out here a second time, from IEEE 754 and the OCP FP8 specification, so that a mistake in
// the engine's own conversions shows.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "millrace/types.h"

namespace mill_test {

// A binary floating format of at most 16 bits.
struct SmallFormat {
  int exponent_bits;
  int fraction_bits;
  bool has_infinity;  // false: the code after the largest finite value is the only NaN (E4M3)

  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
};

inline constexpr SmallFormat kF16{5, 10, true};
inline constexpr SmallFormat kBf16{8, 7, true};
inline constexpr SmallFormat kE4m3{4, 3, false};
inline constexpr SmallFormat kE5m2{5, 2, true};

inline double decode_small(uint32_t code, SmallFormat f) {
  const uint32_t fraction_mask = (1u << f.fraction_bits) - 1;
  const uint32_t exponent_mask = (1u << f.exponent_bits) - 1;
  const uint32_t fraction = code & fraction_mask;
  const uint32_t exponent = (code >> f.fraction_bits) & exponent_mask;
  const bool negative = ((code >> (f.fraction_bits + f.exponent_bits)) & 1u) != 0;
  double value = 0;
  if (f.has_infinity && exponent == exponent_mask) {
    value = fraction == 0 ? HUGE_VAL : std::numeric_limits<double>::quiet_NaN();
  } else if (!f.has_infinity && exponent == exponent_mask && fraction == fraction_mask) {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<double>(fraction), 1 - f.bias() - f.fraction_bits);
  } else {
    value = std::ldexp(static_cast<double>(fraction + (1u << f.fraction_bits)),
                       static_cast<int>(exponent) - f.bias() - f.fraction_bits);
  }
  return negative ? -value : value;
}

// To nearest, ties to even; past the largest finite value: infinity, or saturation where there is
// none.
inline uint32_t encode_small(double x, SmallFormat f) {
  const uint32_t sign = std::signbit(x) ? 1u << (f.fraction_bits + f.exponent_bits) : 0u;
  const uint32_t all_exponent = ((1u << f.exponent_bits) - 1) << f.fraction_bits;
  const uint32_t all_fraction = (1u << f.fraction_bits) - 1;
  if (std::isnan(x))
    return sign | all_exponent | (f.has_infinity ? 1u << (f.fraction_bits - 1) : all_fraction);
  const double magnitude = std::fabs(x);
  const uint32_t largest = f.has_infinity ? all_exponent - 1 : (all_exponent | all_fraction) - 1;
  if (magnitude == 0) return sign;
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int lowest = 2 - f.bias();  // frexp's exponent of the smallest normal value
  const int step = (exponent < lowest ? lowest : exponent) - 1 - f.fraction_bits;
  // The default rounding mode of nearbyint is the one wanted.
  const double scaled =
      std::isinf(magnitude) ? magnitude : std::nearbyint(std::ldexp(magnitude, -step));
  if (std::ldexp(scaled, step) > decode_small(largest, f))
    return sign | (f.has_infinity ? all_exponent : largest);
  const auto units = static_cast<uint32_t>(scaled);
  const auto base = static_cast<uint32_t>(step + f.bias() + f.fraction_bits - 1);
  // A carry out of the fraction lands in the exponent, where it belongs.
  return sign | ((base << f.fraction_bits) + units);
}

inline double round_small(double x, SmallFormat f) {
  return decode_small(encode_small(x, f), f);
}

// ---- arithmetic types ---------------------------------------------------------------------------

struct Exact {
  using Carrier = long double;
  static Carrier round(Carrier x) { return x; }
};
struct F64 {
  using Carrier = double;
  static Carrier round(Carrier x) { return x; }
};
struct F32 {
  using Carrier = float;
  static Carrier round(Carrier x) { return x; }
};
struct Bf16 {
  using Carrier = float;
  static Carrier round(Carrier x) {
    return static_cast<float>(round_small(static_cast<double>(x), kBf16));
  }
};
struct F16 {
  using Carrier = float;
  static Carrier round(Carrier x) {
    return static_cast<float>(round_small(static_cast<double>(x), kF16));
  }
};
// Wraps to the tested width only at the end, which is the same for sums, differences and products.
struct Integer {
  using Carrier = int64_t;
  static Carrier round(Carrier x) { return x; }
};

template <class Format>
class Number {
 public:
  using Carrier = typename Format::Carrier;
  // Functions of integers are never asked for, but must compile.
  using Real = std::conditional_t<std::is_integral_v<Carrier>, double, Carrier>;

  Number() = default;
  template <class U>
  requires std::is_arithmetic_v<U>
  explicit Number(U x) : value_(Format::round(static_cast<Carrier>(x))) {}

  Carrier value() const { return value_; }
  Real real() const { return static_cast<Real>(value_); }

  Number operator-() const { return Number(-value_); }
  friend Number operator+(Number a, Number b) { return Number(a.value_ + b.value_); }
  friend Number operator-(Number a, Number b) { return Number(a.value_ - b.value_); }
  friend Number operator*(Number a, Number b) { return Number(a.value_ * b.value_); }
  friend Number operator/(Number a, Number b) { return Number(a.value_ / b.value_); }
  Number& operator+=(Number b) { return *this = *this + b; }
  friend bool operator<(Number a, Number b) { return a.value_ < b.value_; }
  friend bool operator<=(Number a, Number b) { return a.value_ <= b.value_; }
  friend bool operator>(Number a, Number b) { return a.value_ > b.value_; }
  friend bool operator>=(Number a, Number b) { return a.value_ >= b.value_; }
  friend bool operator==(Number a, Number b) { return a.value_ == b.value_; }
  friend bool operator!=(Number a, Number b) { return a.value_ != b.value_; }

 private:
  Carrier value_{};
};

template <class F>
Number<F> exp(Number<F> x) {
  return Number<F>(std::exp(x.real()));
}
template <class F>
Number<F> log(Number<F> x) {
  return Number<F>(std::log(x.real()));
}
template <class F>
Number<F> sqrt(Number<F> x) {
  return Number<F>(std::sqrt(x.real()));
}
template <class F>
Number<F> tanh(Number<F> x) {
  return Number<F>(std::tanh(x.real()));
}
template <class F>
Number<F> erf(Number<F> x) {
  return Number<F>(std::erf(x.real()));
}
template <class F>
Number<F> cos(Number<F> x) {
  return Number<F>(std::cos(x.real()));
}
template <class F>
Number<F> sin(Number<F> x) {
  return Number<F>(std::sin(x.real()));
}
template <class F>
Number<F> tan(Number<F> x) {
  return Number<F>(std::tan(x.real()));
}
template <class F>
Number<F> asin(Number<F> x) {
  return Number<F>(std::asin(x.real()));
}
template <class F>
Number<F> acos(Number<F> x) {
  return Number<F>(std::acos(x.real()));
}
template <class F>
Number<F> atan(Number<F> x) {
  return Number<F>(std::atan(x.real()));
}
template <class F>
Number<F> sinh(Number<F> x) {
  return Number<F>(std::sinh(x.real()));
}
template <class F>
Number<F> cosh(Number<F> x) {
  return Number<F>(std::cosh(x.real()));
}
template <class F>
Number<F> asinh(Number<F> x) {
  return Number<F>(std::asinh(x.real()));
}
template <class F>
Number<F> acosh(Number<F> x) {
  return Number<F>(std::acosh(x.real()));
}
template <class F>
Number<F> atanh(Number<F> x) {
  return Number<F>(std::atanh(x.real()));
}
template <class F>
Number<F> expm1(Number<F> x) {
  return Number<F>(std::expm1(x.real()));
}
template <class F>
Number<F> log1p(Number<F> x) {
  return Number<F>(std::log1p(x.real()));
}
template <class F>
Number<F> floor(Number<F> x) {
  return Number<F>(std::floor(x.real()));
}
template <class F>
Number<F> ceil(Number<F> x) {
  return Number<F>(std::ceil(x.real()));
}
template <class F>
Number<F> trunc(Number<F> x) {
  return Number<F>(std::trunc(x.real()));
}
template <class F>
Number<F> nearbyint(Number<F> x) {
  return Number<F>(std::nearbyint(x.real()));
}
template <class F>
Number<F> pow(Number<F> x, Number<F> y) {
  return Number<F>(std::pow(x.real(), y.real()));
}

// ---- dtypes -------------------------------------------------------------------------------------

inline bool is_float(mill_dtype d) {
  return d >= MILL_F16 && d <= MILL_F64;
}
inline bool is_complex(mill_dtype d) {
  return d == MILL_C64 || d == MILL_C128;
}
inline bool is_f8(mill_dtype d) {
  return d == MILL_F8E4M3 || d == MILL_F8E5M2;
}
inline bool is_unsigned(mill_dtype d) {
  return d == MILL_BOOL || d == MILL_U8 || d == MILL_U16 || d == MILL_U32 || d == MILL_U64;
}

inline size_t dtype_bytes(mill_dtype d) {
  switch (d) {
    case MILL_U16:
    case MILL_I16:
    case MILL_F16:
    case MILL_BF16: return 2;
    case MILL_U32:
    case MILL_I32:
    case MILL_F32: return 4;
    case MILL_U64:
    case MILL_I64:
    case MILL_F64:
    case MILL_C64: return 8;
    case MILL_C128: return 16;
    default: return 1;
  }
}

inline const char* dtype_text(mill_dtype d) {
  static constexpr const char* kNames[MILL_DTYPE_COUNT] = {
      "none", "bool", "u8",   "i8",  "u16", "i16",    "u32",    "i32", "u64",
      "i64",  "f16",  "bf16", "f32", "f64", "f8e4m3", "f8e5m2", "c64", "c128"};
  return d >= 0 && d < MILL_DTYPE_COUNT ? kNames[d] : "?";
}

// The distance from 1 to the next value.
inline double epsilon_of(mill_dtype d) {
  switch (d) {
    case MILL_F16: return 0x1p-10;
    case MILL_BF16: return 0x1p-7;
    case MILL_F32: return 0x1p-23;
    default: return 0x1p-52;
  }
}

inline double round_to(mill_dtype d, long double x) {
  switch (d) {
    case MILL_F16: return round_small(static_cast<double>(x), kF16);
    case MILL_BF16: return round_small(static_cast<double>(x), kBf16);
    case MILL_F32: return static_cast<double>(static_cast<float>(x));
    default: return static_cast<double>(x);
  }
}

// What is left of x in an integer of the dtype's width.
inline int64_t wrap_to(mill_dtype d, int64_t x) {
  switch (d) {
    case MILL_BOOL: return x != 0 ? 1 : 0;
    case MILL_U8: return static_cast<uint8_t>(x);
    case MILL_I8: return static_cast<int8_t>(x);
    case MILL_U16: return static_cast<uint16_t>(x);
    case MILL_I16: return static_cast<int16_t>(x);
    case MILL_U32: return static_cast<uint32_t>(x);
    case MILL_I32: return static_cast<int32_t>(x);
    default: return x;
  }
}

template <class T>
void store_as(void* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}
template <class T>
T load_as(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline void encode_float(mill_dtype d, double x, void* to) {
  switch (d) {
    case MILL_F16: store_as(to, static_cast<uint16_t>(encode_small(x, kF16))); break;
    case MILL_BF16: store_as(to, static_cast<uint16_t>(encode_small(x, kBf16))); break;
    case MILL_F32: store_as(to, static_cast<float>(x)); break;
    default: store_as(to, x); break;
  }
}

inline double decode_float(mill_dtype d, const void* from) {
  switch (d) {
    case MILL_F16: return decode_small(load_as<uint16_t>(from), kF16);
    case MILL_BF16: return decode_small(load_as<uint16_t>(from), kBf16);
    case MILL_F32: return static_cast<double>(load_as<float>(from));
    default: return load_as<double>(from);
  }
}

// Everything that is not a computing float travels as a small integer x: a complex element is (x,
// -x / 2).
inline void encode_integer(mill_dtype d, int64_t x, void* to) {
  switch (d) {
    case MILL_F8E4M3:
      store_as(to, static_cast<uint8_t>(encode_small(static_cast<double>(x), kE4m3)));
      return;
    case MILL_F8E5M2:
      store_as(to, static_cast<uint8_t>(encode_small(static_cast<double>(x), kE5m2)));
      return;
    case MILL_C64: {
      const float parts[2] = {static_cast<float>(x), x == 0 ? 0.0f : static_cast<float>(x) / -2};
      std::memcpy(to, parts, sizeof parts);
      return;
    }
    case MILL_C128: {
      const double parts[2] = {static_cast<double>(x), x == 0 ? 0.0 : static_cast<double>(x) / -2};
      std::memcpy(to, parts, sizeof parts);
      return;
    }
    default: break;
  }
  switch (dtype_bytes(d)) {
    case 1: store_as(to, static_cast<uint8_t>(x)); break;
    case 2: store_as(to, static_cast<uint16_t>(x)); break;
    case 4: store_as(to, static_cast<uint32_t>(x)); break;
    default: store_as(to, x); break;
  }
}

inline constexpr int64_t kNoInteger = std::numeric_limits<int64_t>::min();

inline int64_t from_parts(double real, double imaginary) {
  const bool fits = real == std::floor(real) && std::fabs(real) < 1e9 &&
                    imaginary == (real == 0 ? 0.0 : real / -2);
  return fits ? static_cast<int64_t>(real) : kNoInteger;
}

inline int64_t decode_integer(mill_dtype d, const void* from) {
  switch (d) {
    case MILL_BOOL:
    case MILL_U8: return load_as<uint8_t>(from);
    case MILL_I8: return load_as<int8_t>(from);
    case MILL_U16: return load_as<uint16_t>(from);
    case MILL_I16: return load_as<int16_t>(from);
    case MILL_U32: return load_as<uint32_t>(from);
    case MILL_I32: return load_as<int32_t>(from);
    case MILL_F8E4M3:
    case MILL_F8E5M2: {
      const double x = decode_small(load_as<uint8_t>(from), d == MILL_F8E4M3 ? kE4m3 : kE5m2);
      return x == std::floor(x) ? static_cast<int64_t>(x) : kNoInteger;
    }
    case MILL_C64: {
      const auto* parts = static_cast<const unsigned char*>(from);
      return from_parts(static_cast<double>(load_as<float>(parts)),
                        static_cast<double>(load_as<float>(parts + 4)));
    }
    case MILL_C128: {
      const auto* parts = static_cast<const unsigned char*>(from);
      return from_parts(load_as<double>(parts), load_as<double>(parts + 8));
    }
    default: return load_as<int64_t>(from);
  }
}

}  // namespace mill_test
