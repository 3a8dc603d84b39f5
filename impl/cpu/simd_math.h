// Elementary functions on vectors, f32 and f64: Math<D> is the math vocabulary of kernels/functors/
// for the lanes of tag D. Results do not depend on the number of lanes, so a one-element call gives
// the same bits as a long one.
//
// Errors, in units in the last place of the correct result (tests/cpu/unary_test.cpp checks them):
// exp, log, tanh below 1.5, sigmoid 2.5, rsqrt 1.5; expm1 and log1p 4; normal_cdf 6 above -3 and 30
// in the far tail.
// All handle infinities, NaN, signed zero and subnormals. Polynomials were fitted for this file
// with Remez' algorithm (or Chebyshev interpolation) in 45-digit arithmetic.
#pragma once

#include "cpu/normal_table.h"
#include "cpu/simd.h"

namespace mill::cpu::MILL_TARGET {

// Constants of a floating type.
template <class T>
struct MathConstants;

template <>
struct MathConstants<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23;
  static constexpr int kBias = 127;
  static constexpr float kRounder =
      0x1.8p23f;  // adding it rounds to an integer, found in the low bits
  static constexpr float kInvLn2 = 1.44269504088896341f;
  static constexpr float kLn2High = 0x1.62e4p-1f;  // 15 bits: its products with exponents are exact
  static constexpr float kLn2Low = 1.42860682030941723e-6f;
  static constexpr float kExpMax = 89.0f;
  static constexpr float kExpMin = -104.0f;
  static constexpr float kSplitter = 4097.0f;
  // (e^r - 1 - r) / r^2 on |r| <= ln(2)/2
  static constexpr float kExp[] = {0.5f, 0.166665182f, 0.041666206f, 0.00836894661f,
                                   0.00139505859f};
  // (log((1 + s) / (1 - s)) / s - 2) / s^2 by z = s^2, for arguments of log in [sqrt(1/2), sqrt(2)]
  static constexpr float kLog[] = {0.666666627f, 0.400003433f, 0.285367876f, 0.235932902f};
  // (tanh(x) / x - 1) / x^2 by z = x^2, for |x| <= 0.625
  static constexpr float kTanh[] = {-0.333333313f, 0.133332089f,    -0.053947106f,
                                    0.0217021238f, -0.00818002131f, 0.00214468525f};
  // e^(t^2/2) Phi(-t) / (1 - u) by u = t / (t + k), for 0 <= t <= kTailEnd
  static constexpr float kTailCenter = 2.5f;
  static constexpr float kTailEnd = 14.5f;
  static constexpr float kTail[] = {0.5f,          -0.49735558f,   0.0677812472f,  0.117764905f,
                                    0.013980804f,  -0.0194259174f, -0.0655912682f, 0.105874948f,
                                    -0.172033861f, 0.184114501f,   -0.0925935581f, 0.0170575771f};
};

template <>
struct MathConstants<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr int kBias = 1023;
  static constexpr double kRounder = 0x1.8p52;
  static constexpr double kInvLn2 = 1.44269504088896340735992468100189214;
  static constexpr double kLn2High = 0x1.62e42fefap-1;  // 36 bits
  static constexpr double kLn2Low = 1.6465949582897081281e-12;
  static constexpr double kExpMax = 710.0;
  static constexpr double kExpMin = -746.0;
  static constexpr double kSplitter = 134217729.0;
  static constexpr double kExp[] = {
      0.50000000000000122,   0.16666666666666699,    0.04166666666651498,   0.008333333333307066,
      0.0013888888947185224, 0.00019841269917709732, 2.4801489723354021e-5, 2.7557215993047343e-6,
      2.7631371255856548e-7, 2.5117962636328874e-8};
  static constexpr double kLog[] = {0.66666666666666663, 0.40000000000006364, 0.28571428569024077,
                                    0.2222222265844708,  0.18181774603105907, 0.15387141398581883,
                                    0.13248903814637775, 0.13262892668692006};
  static constexpr double kTanh[] = {
      -0.33333333333333315,   0.13333333333330044,    -0.053968253966180053,
      0.021869488471214386,   -0.0088632343427470367, 0.0035921142275533347,
      -0.0014557270528375793, 0.00058945523911145558, -0.00023701835003558225,
      9.1565504082651415e-5,  -3.0190288924628496e-5, 6.0422033596921898e-6};
  static constexpr double kTailCenter = 3.0;
  static constexpr double kTailEnd = 39.0;
  static constexpr double kTail[] = {0.5,
                                     -0.69682684120430016,
                                     0.35634631759187252,
                                     0.069038952734279693,
                                     -0.086729457468717797,
                                     -0.03930443430061719,
                                     0.013489739542482788,
                                     0.019570316789684072,
                                     0.0059393834946185678,
                                     -0.0046094512804169888,
                                     -0.00026612817220299185,
                                     -0.021890007418108204,
                                     0.068470753851852875,
                                     -0.18177673094109614,
                                     0.3864785151350546,
                                     -0.62516976462017237,
                                     0.74935730954320912,
                                     -0.59486309144927985,
                                     0.17291935400653929,
                                     0.26561733763862433,
                                     -0.45117428204303789,
                                     0.35511945889495949,
                                     -0.16539698384047563,
                                     0.043720379870525558,
                                     -0.0050798862233941708};
};

template <class D>
struct Math {
  using Type = Lane<D>;
  using V = Vec<D>;
  using M = Mask<D>;
  using C = MathConstants<Type>;
  using Bits = typename C::Bits;
  using DBits = hn::Rebind<Bits, D>;

  static MILL_INLINE V set(double value) { return hn::Set(D(), static_cast<Type>(value)); }
  static MILL_INLINE V zero() { return hn::Zero(D()); }
  static MILL_INLINE V add(V a, V b) { return hn::Add(a, b); }
  static MILL_INLINE V sub(V a, V b) { return hn::Sub(a, b); }
  static MILL_INLINE V mul(V a, V b) { return hn::Mul(a, b); }
  static MILL_INLINE V div(V a, V b) { return hn::Div(a, b); }
  static MILL_INLINE V neg(V a) { return hn::Neg(a); }
  static MILL_INLINE V abs(V a) { return hn::Abs(a); }
  static MILL_INLINE V sqrt(V a) { return hn::Sqrt(a); }
  static MILL_INLINE V rsqrt(V a) { return hn::Div(set(1), hn::Sqrt(a)); }
  // a * b + c, c - a * b; rounded once where the target has it
  static MILL_INLINE V mul_add(V a, V b, V c) { return hn::MulAdd(a, b, c); }
  static MILL_INLINE V neg_mul_add(V a, V b, V c) { return hn::NegMulAdd(a, b, c); }

  static MILL_INLINE M lt(V a, V b) { return hn::Lt(a, b); }
  static MILL_INLINE M le(V a, V b) { return hn::Le(a, b); }
  static MILL_INLINE M gt(V a, V b) { return hn::Gt(a, b); }
  static MILL_INLINE M eq(V a, V b) { return hn::Eq(a, b); }
  static MILL_INLINE M is_nan(V a) { return hn::IsNaN(a); }
  static MILL_INLINE V select(M mask, V yes, V no) { return hn::IfThenElse(mask, yes, no); }
  static MILL_INLINE V with_sign_of(V magnitude, V sign) { return hn::CopySign(magnitude, sign); }

  // NaN if either is.
  static MILL_INLINE V maximum(V a, V b) {
    return select(is_nan(a), a,
                  select(hn::Gt(a, b), a, b));  // a comparison with a NaN b is false and takes b
  }
  static MILL_INLINE V minimum(V a, V b) {
    return select(is_nan(a), a, select(hn::Lt(a, b), a, b));
  }

  // Where an operand is NaN, vector instructions give the second one or NaN; Highway's scalar code
  // may lose it.
  static MILL_INLINE V at_least(V x, V low) {
#if HWY_TARGET == HWY_SCALAR
    return select(hn::Lt(x, low), low, x);
#else
    return hn::Max(low, x);
#endif
  }
  static MILL_INLINE V at_most(V x, V high) {
#if HWY_TARGET == HWY_SCALAR
    return select(hn::Gt(x, high), high, x);
#else
    return hn::Min(high, x);
#endif
  }

  // c[0] + c[1] x + c[2] x^2 + ...
  template <size_t N>
  static MILL_INLINE V polynomial(V x, const Type (&c)[N]) {
    V sum = hn::Set(D(), c[N - 1]);
    for (size_t i = N - 1; i-- > 0;) sum = hn::MulAdd(sum, x, hn::Set(D(), c[i]));
    return sum;
  }

  // e^x for x in [-131, 0] (f64: [-886, 0]), NaN kept; subnormal results are rounded once.
  static MILL_INLINE V exp_nonpositive(V x) {
    const Reduced reduced = exp_reduce(x);
    if constexpr (kScales) return scale(reduced.value, reduced.power);
    // The power of two is made 2^kLift too large, so that it is normal, and taken back by an exact
    // constant.
    const hn::Vec<DBits> power = hn::ShiftLeft<C::kMantissa>(
        hn::Add(exponent_of(reduced), hn::Set(DBits(), Bits{kLift + C::kBias})));
    return hn::Mul(hn::Mul(reduced.value, hn::BitCast(D(), power)), hn::Set(D(), lift_back()));
  }

  static MILL_INLINE V exp(V x) {
    const Reduced reduced = exp_reduce(at_least(at_most(x, set(C::kExpMax)), set(C::kExpMin)));
    if constexpr (kScales) return scale(reduced.value, reduced.power);
    // Two factors, each normal: 2^(n/2) and 2^(n - n/2). n is biased to be positive for the shift.
    constexpr Bits kEven = Bits{4} * C::kBias + 4;
    const hn::Vec<DBits> biased = hn::Add(exponent_of(reduced), hn::Set(DBits(), kEven));
    const hn::Vec<DBits> half = hn::ShiftRight<1>(biased);
    const hn::Vec<DBits> rest = hn::Sub(biased, half);
    const hn::Vec<DBits> bias = hn::Set(DBits(), kEven / 2 - Bits{C::kBias});
    const V first = hn::BitCast(D(), hn::ShiftLeft<C::kMantissa>(hn::Sub(half, bias)));
    const V second = hn::BitCast(D(), hn::ShiftLeft<C::kMantissa>(hn::Sub(rest, bias)));
    return hn::Mul(hn::Mul(reduced.value, first), second);
  }

  // As fdlibm's log: x = 2^k (1 + f), log(1 + f) = f - (f^2/2 - s (f^2/2 + R)), s = f / (2 + f).
  static MILL_INLINE V log(V x) {
    const M tiny = hn::Lt(x, set(smallest_normal()));
    const V scaled = select(tiny, hn::Mul(x, set(two_to_mantissa_plus_two())), x);
    // Subtracting sqrt(1/2)'s bits puts the split between exponents there.
    const hn::Vec<DBits> root =
        hn::Set(DBits(), std::bit_cast<Bits>(static_cast<Type>(0.70710678118654752440)));
    const hn::Vec<DBits> offset = hn::Sub(hn::BitCast(DBits(), scaled), root);
    // The exponent as a floating number without a conversion: it is or'ed into the rounder's low
    // bits.
    const hn::Vec<DBits> lifted = hn::ShiftRight<C::kMantissa>(
        hn::Add(offset, hn::Set(DBits(), Bits{C::kBias} << C::kMantissa)));
    V k = hn::Sub(
        hn::BitCast(D(), hn::Or(lifted, hn::Set(DBits(), std::bit_cast<Bits>(C::kRounder)))),
        hn::Set(D(), C::kRounder + static_cast<Type>(C::kBias)));
    k = select(tiny, hn::Sub(k, set(C::kMantissa + 2)), k);
    const hn::Vec<DBits> fraction =
        hn::And(offset, hn::Set(DBits(), (Bits{1} << C::kMantissa) - 1));
    const V m = hn::BitCast(D(), hn::Add(fraction, root));

    const V f = hn::Sub(m, set(1));
    const V s = hn::Div(f, hn::Add(f, set(2)));
    const V z = hn::Mul(s, s);
    const V r = hn::Mul(z, polynomial(z, C::kLog));
    const V half_square = hn::Mul(set(0.5), hn::Mul(f, f));
    const V small = hn::MulAdd(s, hn::Add(half_square, r), hn::Mul(k, hn::Set(D(), C::kLn2Low)));
    V result = hn::MulAdd(k, hn::Set(D(), C::kLn2High), hn::Sub(f, hn::Sub(half_square, small)));
    result = select(hn::Eq(x, set(infinity())), x, result);
    result = select(hn::Eq(x, zero()), set(-infinity()), result);
    // Not (x >= 0): negative or NaN.
    return select(hn::Ge(x, zero()), result, hn::Set(D(), quiet_nan()));
  }

  // a / b for b in [1, 2]. A division of 512 bits holds up its port for as long as a dozen
  // products: a reciprocal of 14 bits, a Newton step, and the quotient mended by what is left of a.
  static MILL_INLINE V quotient(V a, V b) {
#if HWY_TARGET <= HWY_AVX3
    if constexpr (sizeof(Type) == 4) {
      const V rough = hn::ApproximateReciprocal(b);
      const V r = hn::MulAdd(rough, hn::NegMulAdd(b, rough, set(1)), rough);
      const V q = hn::Mul(a, r);
      return hn::MulAdd(hn::NegMulAdd(q, b, a), r, q);
    }
#endif
    return hn::Div(a, b);
  }

  // Odd polynomial near 0, else 1 - 2 / (e^2|x| + 1) written with the exponential of a negative
  // number.
  static MILL_INLINE V tanh(V x) {
    const V t = hn::Abs(x);
    const V z = hn::Mul(x, x);
    const V near = hn::MulAdd(hn::Mul(t, z), polynomial(z, C::kTanh), t);
    const V limited = at_most(t, set(30));
    const V e = exp_nonpositive(hn::Mul(limited, set(-2)));
    const V far = hn::Sub(set(1), quotient(hn::Add(e, e), hn::Add(e, set(1))));
    return with_sign_of(select(hn::Lt(t, set(0.625)), near, far), x);
  }

  // e^-|x| keeps both ends from overflowing.
  static MILL_INLINE V sigmoid(V x) {
    const V t = hn::Abs(x);
    const V limited = at_most(t, set(-C::kExpMin));
    const V e = exp_nonpositive(hn::Neg(limited));
    return quotient(select(hn::Lt(x, zero()), e, set(1)), hn::Add(e, set(1)));
  }

  // e^x - 1 = (u - 1) x / log(u) with u the rounded e^x, whose rounding then cancels (Higham,
  // Accuracy and Stability of Numerical Algorithms, 1.14.1).
  static MILL_INLINE V expm1(V x) {
    const V u = exp(x);
    const V above = hn::Sub(u, set(1));
    const V value = hn::Div(hn::Mul(above, x), log(u));
    // e^x is 1, 0 or infinity: nothing is left to divide by.
    const V whole = select(hn::Eq(u, zero()), set(-1), select(hn::Eq(above, zero()), x, above));
    const M plain = hn::Or(hn::Eq(above, zero()), hn::Eq(above, u));
    return select(hn::Or(plain, hn::Eq(u, zero())), whole, value);
  }

  // log(1 + x) = x log(u) / (u - 1) with u the rounded 1 + x (Goldberg, 1991, theorem 4).
  static MILL_INLINE V log1p(V x) {
    const V u = hn::Add(set(1), x);
    const V above = hn::Sub(u, set(1));
    const V value = hn::Div(hn::Mul(x, log(u)), above);
    return select(hn::Eq(above, zero()), x, select(hn::Eq(u, above), log(u), value));
  }

  static MILL_INLINE V floor(V x) {
    return hn::Floor(x);
  }
  static MILL_INLINE V ceil(V x) {
    return hn::Ceil(x);
  }
  static MILL_INLINE V round(V x) {
    return hn::Round(x);
  }
  static MILL_INLINE V trunc(V x) {
    return hn::Trunc(x);
  }

  // The C library's, lane by lane: nothing that trains spends its time in them, and it rounds
  // nearly all results correctly. Not std::sin: an inline function compiled for one SIMD target
  // must not serve another.
#define MILL_BY_LANE(name)                                 \
  static MILL_INLINE V name(V x) {                         \
    return each_lane(                                      \
        x, [](float v) { return __builtin_##name##f(v); }, \
        [](double v) { return __builtin_##name(v); });     \
  }
  MILL_BY_LANE(sin)
  MILL_BY_LANE(cos)
  MILL_BY_LANE(tan)
  MILL_BY_LANE(asin)
  MILL_BY_LANE(acos)
  MILL_BY_LANE(atan)
  MILL_BY_LANE(sinh)
  MILL_BY_LANE(cosh)
  MILL_BY_LANE(asinh)
  MILL_BY_LANE(acosh)
  MILL_BY_LANE(atanh)
  MILL_BY_LANE(erf)
#undef MILL_BY_LANE
  // x - q y with q = trunc(x / y), which one rounding leaves exact where q is small: the rest is a
  // multiple of the last bits and no larger than y. A quotient that was rounded up to q makes it
  // one y too small.
  static MILL_INLINE V fmod(V x, V y) {
#if HWY_NATIVE_FMA
    const V quotient = hn::Trunc(hn::Div(x, y));
    const M plain =
        hn::And(hn::Lt(hn::Abs(quotient), hn::Set(D(), static_cast<Type>(kSmallQuotient))),
                hn::Lt(hn::Abs(y), set(infinity())));
    if (hn::AllTrue(D(), plain)) [[likely]] {
      const V rest = hn::NegMulAdd(quotient, y, x);
      const V toward = with_sign_of(hn::Abs(y), x);
      const M past = hn::Lt(hn::Mul(with_sign_of(set(1), rest), with_sign_of(set(1), x)), zero());
      const M moved = hn::And(past, hn::Ne(rest, zero()));
      return with_sign_of(select(moved, hn::Add(rest, toward), rest), x);
    }
#endif
    alignas(64) Type a[kLanes<D>];
    alignas(64) Type b[kLanes<D>];
    hn::Store(x, D(), a);
    hn::Store(y, D(), b);
    for (size_t i = 0; i < static_cast<size_t>(kLanes<D>); ++i) {
      if constexpr (sizeof(Type) == 4) {
        a[i] = __builtin_fmodf(a[i], b[i]);
      } else {
        a[i] = __builtin_fmod(a[i], b[i]);
      }
    }
    return hn::Load(D(), a);
  }

  // Phi(x), the standard normal distribution, and *bell = e^(-x^2/2). The tail is a polynomial in t
  // / (t + k) times the bell, after Shepherd and Laframboise (Math. Comp. 36, 1981), so it keeps
  // its relative accuracy.
  static MILL_INLINE V normal_cdf(V x, V* bell) {
    const V t = hn::Abs(x);
    const V limited = at_most(t, hn::Set(D(), C::kTailEnd));
    const V square = hn::Mul(limited, limited);
    const V rest = square_rest(limited, square);
    const V e = exp_nonpositive(hn::Mul(square, set(-0.5)));
    *bell = hn::MulAdd(hn::Mul(e, rest), set(-0.5), e);
    const V center = hn::Set(D(), C::kTailCenter);
    const V u = hn::Div(limited, hn::Add(limited, center));
    const V tail = hn::Mul(*bell, hn::Mul(polynomial(u, C::kTail), hn::Sub(set(1), u)));
    return select(hn::Lt(x, zero()), tail, hn::Sub(set(1), tail));
  }

  // Phi(x) alone. Where a register holds a table's column it is read off the table, which takes
  // half as many instructions as the way by the bell; only the far tail still goes that way.
  static MILL_INLINE V normal_cdf(V x) {
    V bell;
    if constexpr (!kLooksUp) {
      return normal_cdf(x, &bell);
    } else {
      const V t = at_most(hn::Abs(x), hn::Set(D(), kNormalEnd));
      const V shifted = hn::MulAdd(t, hn::Set(D(), kNormalPerStep), hn::Set(D(), C::kRounder));
      const V middle = hn::Sub(shifted, hn::Set(D(), C::kRounder));
      const V s = hn::NegMulAdd(middle, hn::Set(D(), kNormalStep), t);
      V tail = look_up(kNormalTail[6], shifted);
      for (int power = 5; power >= 0; --power)
        tail = hn::MulAdd(tail, s, look_up(kNormalTail[power], shifted));
      const V phi = select(hn::Lt(x, zero()), tail, hn::Sub(set(1), tail));
      const M far = hn::Lt(x, hn::Set(D(), -kNormalEnd));
      if (HWY_LIKELY(hn::AllFalse(D(), far))) return phi;
      return select(far, normal_cdf(x, &bell), phi);
    }
  }

 private:
#if HWY_TARGET == HWY_AVX3
  static constexpr bool kLooksUp = sizeof(Type) == 4;
  // table[low five bits of shifted]
  template <class Vector>
  static MILL_INLINE Vector look_up(const float (&table)[32], Vector shifted) {
    if constexpr (sizeof(Vector) == 64) {
      return Vector{_mm512_permutex2var_ps(_mm512_load_ps(table), _mm512_castps_si512(shifted.raw),
                                           _mm512_load_ps(table + 16))};
    } else {
      const hn::RebindToSigned<D> di;
      return hn::GatherIndex(D(), table, hn::And(hn::BitCast(di, shifted), hn::Set(di, 31)));
    }
  }
#else
  static constexpr bool kLooksUp = false;
  static MILL_INLINE V look_up(const float (&)[32], V shifted) {
    return shifted;
  }
#endif

  template <class Single, class Double>
  static MILL_INLINE V each_lane(V x, Single single, Double twice) {
    alignas(64) Type lanes[kLanes<D>];
    hn::Store(x, D(), lanes);
    for (Type& lane : lanes) {
      if constexpr (sizeof(Type) == 4) {
        lane = single(lane);
      } else {
        lane = twice(lane);
      }
    }
    return hn::Load(D(), lanes);
  }

  static constexpr int64_t kSmallQuotient = int64_t{1} << (C::kMantissa - 2);

  struct Reduced {
    V value;    // e^r, x = n ln 2 + r
    V power;    // n
    V shifted;  // n + kRounder
  };
  // n in two's complement
  static MILL_INLINE hn::Vec<DBits> exponent_of(const Reduced& reduced) {
    return hn::Sub(hn::BitCast(DBits(), reduced.shifted),
                   hn::Set(DBits(), std::bit_cast<Bits>(C::kRounder)));
  }

  // value * 2^n in one instruction, rounded once: the same bits as the way around it.
#if HWY_TARGET == HWY_AVX3
  static constexpr bool kScales = sizeof(V) == 64;
  template <class Vector>
  static MILL_INLINE Vector scale(Vector value, Vector power) {
    if constexpr (sizeof(Vector) != 64) {
      return value;
    } else if constexpr (sizeof(Type) == 4) {
      return Vector{_mm512_scalef_ps(value.raw, power.raw)};
    } else {
      return Vector{_mm512_scalef_pd(value.raw, power.raw)};
    }
  }
#else
  static constexpr bool kScales = false;
  static MILL_INLINE V scale(V value, V) {
    return value;
  }
#endif

  static constexpr Bits kLift = sizeof(Type) == 4 ? 64 : 256;

  static constexpr Type lift_back() {
    return sizeof(Type) == 4 ? Type(0x1p-64) : static_cast<Type>(0x1p-256);
  }
  static constexpr double smallest_normal() {
    return sizeof(Type) == 4 ? 0x1p-126 : 0x1p-1022;
  }
  static constexpr double two_to_mantissa_plus_two() {
    return sizeof(Type) == 4 ? 0x1p25 : 0x1p54;
  }
  static constexpr double infinity() {
    return __builtin_huge_val();
  }
  static constexpr Type quiet_nan() {
    return static_cast<Type>(__builtin_nan(""));
  }

  static MILL_INLINE Reduced exp_reduce(V x) {
    const V rounder = hn::Set(D(), C::kRounder);
    const V shifted = hn::MulAdd(x, hn::Set(D(), C::kInvLn2), rounder);
    const V n = hn::Sub(shifted, rounder);
    V r = hn::NegMulAdd(n, hn::Set(D(), C::kLn2High), x);
    r = hn::NegMulAdd(n, hn::Set(D(), C::kLn2Low), r);
    const V value = hn::Add(set(1), hn::MulAdd(hn::Mul(r, r), polynomial(r, C::kExp), r));
    return {value, n, shifted};
  }

  // x * x - square exactly, square being the rounded product (Dekker's splitting where there is no
  // fused product).
  static MILL_INLINE V square_rest(V x, V square) {
#if HWY_NATIVE_FMA
    return hn::MulSub(x, x, square);
#else
    const V scaled = hn::Mul(x, hn::Set(D(), C::kSplitter));
    const V high = hn::Sub(scaled, hn::Sub(scaled, x));
    const V low = hn::Sub(x, high);
    const V cross = hn::Mul(hn::Add(high, high), low);
    return hn::Add(hn::Add(hn::Sub(hn::Mul(high, high), square), cross), hn::Mul(low, low));
#endif
  }
};

}  // namespace mill::cpu::MILL_TARGET
