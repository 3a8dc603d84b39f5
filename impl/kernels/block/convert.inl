// Conversions between all storage types, equal to those of the CPU's kernels.
//
// Rules: to nearest even; a float becomes an integer by truncation, held at the type's bounds, NaN
// becomes 0; integers wrap; anything but zero is true; a complex number loses its imaginary part on
// the way to a real type. Every value passes through a type that holds it without loss.

// ---- storage types ------------------------------------------------------------------------------

struct boolean {
  uint8_t bits;
};
struct complex64 {
  float re;
  float im;
};
struct complex128 {
  double re;
  double im;
};

#define MILL_EACH_STORAGE(X) \
  X(MILL_BOOL, boolean)      \
  X(MILL_U8, uint8_t)        \
  X(MILL_I8, int8_t)         \
  X(MILL_U16, uint16_t)      \
  X(MILL_I16, int16_t)       \
  X(MILL_U32, uint32_t)      \
  X(MILL_I32, int32_t)       \
  X(MILL_U64, uint64_t)      \
  X(MILL_I64, int64_t)       \
  X(MILL_F16, f16)           \
  X(MILL_BF16, bf16)         \
  X(MILL_F32, float)         \
  X(MILL_F64, double)        \
  X(MILL_F8E4M3, f8e4m3)     \
  X(MILL_F8E5M2, f8e5m2)     \
  X(MILL_C64, complex64)     \
  X(MILL_C128, complex128)

template <class T>
inline constexpr bool kIsF8 = std::is_same_v<T, f8e4m3> || std::is_same_v<T, f8e5m2>;
template <class T>
inline constexpr bool kIsSmallFloat = kIsF8<T> || std::is_same_v<T, f16> || std::is_same_v<T, bf16>;
template <class T>
inline constexpr bool kIsComplex = std::is_same_v<T, complex64> || std::is_same_v<T, complex128>;

// What holds every value of storage type S.
template <class S>
using middle_t =
    std::conditional_t<kIsComplex<S>, complex128,
                       std::conditional_t<kIsSmallFloat<S>, float,
                                          std::conditional_t<std::is_floating_point_v<S> ||
                                                                 std::is_same_v<S, uint64_t>,
                                                             S, int64_t>>>;

// body.operator()<S>() for the storage type of a dtype.
template <class Body>
MILL_DEVICE void with_storage(int32_t dtype, Body&& body) {
  switch (dtype) {
#define MILL_CASE(number, S) \
  case number: body.template operator()<S>(); break;
    MILL_EACH_STORAGE(MILL_CASE)
#undef MILL_CASE
    default: break;
  }
}
// The same among those that pass through C.
template <class C, class Body>
MILL_DEVICE void with_storage_of(int32_t dtype, Body&& body) {
  with_storage(dtype, [&]<class S>() {
    if constexpr (std::is_same_v<middle_t<S>, C>) body.template operator()<S>();
  });
}

// ---- small floats -------------------------------------------------------------------------------

// The 8-bit formats of OFP8, revision 1.0, and the layout that they share.
template <class S>
struct f8_layout;
template <>
struct f8_layout<f8e4m3> {
  static constexpr int mantissa = 3;
  static constexpr int bias = 7;
};
template <>
struct f8_layout<f8e5m2> {
  static constexpr int mantissa = 2;
  static constexpr int bias = 15;
};

template <class S>
MILL_DEVICE float f8_value(S v) {
  constexpr int kMantissa = f8_layout<S>::mantissa;
  constexpr int kBias = f8_layout<S>::bias;
  const uint32_t sign = (v.bits & 0x80U) << 24;
  const uint32_t rest = v.bits & 0x7fU;
  if constexpr (std::is_same_v<S, f8e4m3>) {
    if (rest == 0x7fU) return bits_as<float>(sign | 0x7fc00000U);
  } else {
    if (rest > 0x7cU) return bits_as<float>(sign | 0x7fc00000U);
    if (rest == 0x7cU) return bits_as<float>(sign | 0x7f800000U);
  }
  if ((rest >> kMantissa) == 0) {
    // Subnormals are multiples of 2^(1 - bias - mantissa), exact in f32.
    constexpr auto kUnit = static_cast<uint32_t>(128 - kBias - kMantissa) << 23;
    const float magnitude = static_cast<float>(rest) * bits_as<float>(kUnit);
    return bits_as<float>(sign | bits_as<uint32_t>(magnitude));
  }
  return bits_as<float>(sign |
                        ((rest << (23 - kMantissa)) + (static_cast<uint32_t>(127 - kBias) << 23)));
}

// For magnitudes that round to a finite value.
template <class S>
MILL_DEVICE uint32_t f8_rounded(uint32_t magnitude) {
  constexpr int kMantissa = f8_layout<S>::mantissa;
  constexpr int kBias = f8_layout<S>::bias;
  constexpr auto kLeastNormal = static_cast<uint32_t>(128 - kBias) << 23;
  if (magnitude < kLeastNormal) {
    // One unit in the last place of this addend is the result's, so the float unit does the
    // rounding.
    constexpr auto kAddend = static_cast<uint32_t>(151 - kBias - kMantissa) << 23;
    return bits_as<uint32_t>(bits_as<float>(magnitude) + bits_as<float>(kAddend)) - kAddend;
  }
  constexpr int kShift = 23 - kMantissa;
  const uint32_t even = (magnitude >> kShift) & 1U;
  const uint32_t rounded = magnitude + ((1U << (kShift - 1)) - 1U) + even;
  return (rounded >> kShift) - (static_cast<uint32_t>(127 - kBias) << kMantissa);
}

template <class S>
MILL_DEVICE S f8_of(float v) {
  const uint32_t bits = bits_as<uint32_t>(v);
  const uint32_t sign = (bits >> 24) & 0x80U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  uint32_t code = 0;
  if constexpr (std::is_same_v<S, f8e4m3>) {
    constexpr uint32_t kMost = 0x43e00000U;  // 448; this format has no infinity and saturates
    code = magnitude > 0x7f800000U ? 0x7fU : magnitude > kMost ? 0x7eU : f8_rounded<S>(magnitude);
  } else {
    constexpr uint32_t kTooLarge = 0x47700000U;  // 61440 rounds to 65536, which is infinity
    code = magnitude > 0x7f800000U  ? 0x7eU
           : magnitude >= kTooLarge ? 0x7cU
                                    : f8_rounded<S>(magnitude);
  }
  return {static_cast<uint8_t>(sign | code)};
}

// The payload of a NaN is kept as far as it fits: instructions for the conversion may not.
MILL_DEVICE float f16_value(f16 v) {
  if ((v.bits & 0x7fffU) > 0x7c00U)
    return bits_as<float>((v.bits & 0x8000U) << 16 | 0x7fc00000U | (v.bits & 0x3ffU) << 13);
  return up(v);
}
template <class S>
MILL_DEVICE S half_of(float v) {
  if (is_nan_(v)) {
    const uint32_t bits = bits_as<uint32_t>(v);
    if constexpr (std::is_same_v<S, bf16>) {
      return {static_cast<uint16_t>((bits >> 16) | 0x40U)};
    } else {
      return {static_cast<uint16_t>(((bits >> 16) & 0x8000U) | 0x7e00U | ((bits >> 13) & 0x3ffU))};
    }
  }
  return down<S>(v);
}

// ---- storage to a compute type ------------------------------------------------------------------

template <class C, class S>
MILL_DEVICE C value_of(const S& v) {
  if constexpr (std::is_same_v<C, complex128>) {
    if constexpr (kIsComplex<S>) {
      return {static_cast<double>(v.re), static_cast<double>(v.im)};
    } else {
      return {value_of<double>(v), 0.0};
    }
  } else if constexpr (std::is_same_v<S, boolean>) {
    return static_cast<C>(v.bits != 0);
  } else if constexpr (std::is_same_v<S, f16>) {
    return static_cast<C>(f16_value(v));
  } else if constexpr (std::is_same_v<S, bf16>) {
    return static_cast<C>(up(v));
  } else if constexpr (kIsF8<S>) {
    return static_cast<C>(f8_value(v));
  } else {
    return static_cast<C>(v);
  }
}

// ---- compute type to storage --------------------------------------------------------------------

// Rounds to odd: rounding the result once more, to fewer than 23 bits, is then as good as rounding
// once (Boldo and Melquiond, "When double rounding is odd", 2005).
MILL_DEVICE float odd_float(double v) {
  const auto near = static_cast<float>(v);
  if (static_cast<double>(near) == v || is_nan_(v)) return near;
  const bool away = abs_(static_cast<double>(near)) > abs_(v);
  return bits_as<float>((bits_as<uint32_t>(near) - (away ? 1U : 0U)) | 1U);
}
MILL_DEVICE float odd_float(float v) {
  return v;
}
// Eleven low bits go into one that sticks, so that the double is exact.
template <class I>
MILL_DEVICE float odd_float_of_integer(I v) {
  constexpr I kLow = 0x7ff;
  bool wide = v > (I{1} << 52);
  if constexpr (std::is_signed_v<I>) wide = wide || v < -(I{1} << 52);
  const I kept = wide && (v & kLow) != 0 ? static_cast<I>((v & ~kLow) | (kLow + 1)) : v;
  return odd_float(static_cast<double>(kept));
}

template <class I, class F>
MILL_DEVICE I saturated(F v) {
  constexpr bool kSigned = std::is_signed_v<I>;
  constexpr int kBits = static_cast<int>(sizeof(I)) * 8 - (kSigned ? 1 : 0);
  constexpr I kMost = static_cast<I>(~uint64_t{0} >> (64 - kBits));
  constexpr I kLeast = kSigned ? static_cast<I>(-kMost - 1) : I{0};
  // 2^kBits, exact in every floating type.
  constexpr F kLimit = static_cast<F>(uint64_t{1} << (kBits - 1)) * 2;
  if (is_nan_(v)) return 0;
  if (v >= kLimit) return kMost;
  if (v <= (kSigned ? -kLimit : F{0})) return kLeast;
  return static_cast<I>(v);
}

template <class S, class C>
MILL_DEVICE S storage_of(const C& v) {
  if constexpr (std::is_same_v<S, C>) {
    return v;
  } else if constexpr (std::is_same_v<C, complex128>) {
    if constexpr (std::is_same_v<S, complex64>) {
      return {static_cast<float>(v.re), static_cast<float>(v.im)};
    } else if constexpr (std::is_same_v<S, boolean>) {
      return {static_cast<uint8_t>(v.re != 0 || v.im != 0)};
    } else {
      return storage_of<S>(v.re);
    }
  } else if constexpr (std::is_same_v<S, complex64>) {
    return {static_cast<float>(v), 0.0F};
  } else if constexpr (std::is_same_v<S, complex128>) {
    return {static_cast<double>(v), 0.0};
  } else if constexpr (std::is_same_v<S, boolean>) {
    return {static_cast<uint8_t>(v != 0)};
  } else if constexpr (kIsSmallFloat<S>) {
    float narrow = 0;
    if constexpr (std::is_floating_point_v<C>) {
      narrow = odd_float(v);
    } else {
      narrow = odd_float_of_integer(v);
    }
    if constexpr (kIsF8<S>) {
      return f8_of<S>(narrow);
    } else {
      return half_of<S>(narrow);
    }
  } else if constexpr (std::is_integral_v<S> && std::is_floating_point_v<C>) {
    return saturated<S>(v);
  } else {
    return static_cast<S>(v);
  }
}
