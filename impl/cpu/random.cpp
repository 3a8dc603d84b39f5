// Random tensors from Philox4x32-10. Word i of the stream of (seed, call) is philox block i / 4,
// word i % 4; 32-bit draws take word i, 64-bit draws words 2 i and 2 i + 1. Uniform values and
// dropout masks have the same bits on every SIMD target; normal values agree to the accuracy of log
// and sqrt.
#include "cpu/rows.h"
#include "kernels/functors/philox.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// Words drawn at a time; a multiple of four times the widest vector of 64-bit lanes.
constexpr int64_t kWords = 1024;

struct Stream {
  uint64_t seed;
  uint64_t call;
};

Stream read_key(const mill_kernel_tensor* key) {
  const int64_t* words = static_cast<const int64_t*>(key->data);
  return {static_cast<uint64_t>(words[0]), static_cast<uint64_t>(words[1])};
}

// At least n of the kWords words of the stream from word `first`, a multiple of 4.
void draw(Stream stream, int64_t first, uint32_t* words, int64_t n) {
  uint64_t block = static_cast<uint64_t>(first) / 4;
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < n; i += 4, ++block) {
    const philox::Words drawn = philox::block(stream.seed, stream.call, block);
    std::memcpy(words + i, drawn.word, sizeof(drawn.word));
  }
#else
  // One counter per 64-bit lane, one vector per counter word. The multiplication reads the low
  // halves of lanes only, so the high halves may hold anything until the end.
  using D = Tag<uint64_t>;
  using D32 = Tag<uint32_t>;
  const D d;
  const D32 d32;
  constexpr int64_t kStep = kLanes<D>;
  static_assert(kWords % (8 * kStep) == 0);
  const auto multiply = [=](Vec<D> value, uint32_t factor) MILL_LAMBDA_INLINE {
    return hn::MulEven(hn::BitCast(d32, value), hn::Set(d32, factor));
  };
  const Vec<D> low_half = hn::Set(d, uint64_t{0xffffffffu});
  const Vec<D> call_low = hn::Set(d, stream.call);
  const Vec<D> call_high = hn::Set(d, stream.call >> 32);
  for (int64_t i = 0; i < n; i += 8 * kStep) {
    const Vec<D> counter_a = hn::Iota(d, block);
    const Vec<D> counter_b = hn::Iota(d, block + static_cast<uint64_t>(kStep));
    block += static_cast<uint64_t>(2 * kStep);
    Vec<D> a0 = counter_a, a1 = hn::ShiftRight<32>(counter_a), a2 = call_low, a3 = call_high;
    Vec<D> b0 = counter_b, b1 = hn::ShiftRight<32>(counter_b), b2 = call_low, b3 = call_high;
    uint32_t key0 = static_cast<uint32_t>(stream.seed);
    uint32_t key1 = static_cast<uint32_t>(stream.seed >> 32);
    for (int round = 0; round < philox::kRounds; ++round) {
      const Vec<D> k0 = hn::Set(d, uint64_t{key0});
      const Vec<D> k1 = hn::Set(d, uint64_t{key1});
      const Vec<D> pa0 = multiply(a0, philox::kMultiplier0);
      const Vec<D> pa1 = multiply(a2, philox::kMultiplier1);
      const Vec<D> pb0 = multiply(b0, philox::kMultiplier0);
      const Vec<D> pb1 = multiply(b2, philox::kMultiplier1);
      a0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(pa1), a1), k0);
      a2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(pa0), a3), k1);
      b0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(pb1), b1), k0);
      b2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(pb0), b3), k1);
      a1 = pa1;
      a3 = pa0;
      b1 = pb1;
      b3 = pb0;
      key0 += philox::kWeyl0;
      key1 += philox::kWeyl1;
    }
    const auto pair = [=](Vec<D> low, Vec<D> high) MILL_LAMBDA_INLINE {
      return hn::Or(hn::And(low, low_half), hn::ShiftLeft<32>(high));
    };
    uint64_t* to = reinterpret_cast<uint64_t*>(words + i);
    hn::StoreInterleaved2(pair(a0, a1), pair(a2, a3), d, to);
    hn::StoreInterleaved2(pair(b0, b1), pair(b2, b3), d, to + 2 * kStep);
  }
#endif
}

// body(first element, count, words) for the tiles of [0, n), `words_each` words per element.
template <class F>
void each_tile(const mill_kernel_args* args, Stream stream, int64_t n, int64_t words_each,
               F&& body) {
  const int64_t tile = kWords / words_each;
  parallel(args, ceil_div(n, tile), 8, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[kWords];
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t * tile;
      const int64_t count = smaller(tile, n - first);
      draw(stream, t * kWords, words, count * words_each);
      body(first, count, words);
    }
  });
}

// ---- uniform ------------------------------------------------------------------------------------

template <class S>
struct BitsOf {
  using type = uint16_t;
};
template <>
struct BitsOf<float> {
  using type = uint32_t;
};
template <>
struct BitsOf<double> {
  using type = uint64_t;
};

// The largest S below `high`, as its compute type.
template <class S>
Compute<S> largest_below(double high) {
  using Bits = typename BitsOf<S>::type;
  S value = stored<S>(static_cast<Compute<S>>(high));
  if (static_cast<double>(element(value)) >= high) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof(bits));
    constexpr Bits kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
    if (bits == 0 || bits == kSign) {
      bits = static_cast<Bits>(kSign | 1);
    } else {
      bits = static_cast<Bits>((bits & kSign) != 0 ? bits + 1 : bits - 1);
    }
    std::memcpy(&value, &bits, sizeof(bits));
  }
  return element(value);
}

// low + unit * range with two roundings on every target: the barrier keeps compilers from fusing
// the two steps.
template <class C>
MILL_INLINE void scale_to_range(C* values, int64_t n, C low, C range, C limit) {
  for (int64_t i = 0; i < n; ++i) values[i] *= range;
  asm volatile("" : : "r"(values) : "memory");
  for (int64_t i = 0; i < n; ++i) {
    const C value = values[i] + low;
    values[i] = value < limit ? value : limit;
  }
}

template <class S>
mill_status uniform_float(const mill_kernel_args* args, double low, double high) {
  using C = Compute<S>;
  constexpr int64_t kEach = sizeof(C) == 8 ? 2 : 1;
  const C from = static_cast<C>(low);
  const C range = static_cast<C>(high - low);
  const C limit = larger(largest_below<S>(high), from);
  S* to = static_cast<S*>(args->out[0]->data);
  each_tile(args, read_key(args->in[0]), args->out[0]->numel, kEach,
            [=](int64_t first, int64_t n, const uint32_t* words) {
              alignas(64) C values[kWords / kEach];
              if constexpr (kEach == 1) {
                for (int64_t i = 0; i < n; ++i) {
                  // Below 2^24, so a signed conversion does, which every target has.
                  values[i] = static_cast<C>(static_cast<int32_t>(words[i] >> 8)) * C(0x1p-24);
                }
              } else {
                for (int64_t i = 0; i < n; ++i) {
                  values[i] = philox::unit_double(words[2 * i], words[2 * i + 1]);
                }
              }
              scale_to_range(values, n, from, range, limit);
              write_run(values, to + first, n);
            });
  return MILL_OK;
}

// Integers up to 32 bits use all 32 bits of a word, longer ones 53 bits, in f64 arithmetic.
template <class S>
mill_status uniform_integer(const mill_kernel_args* args, double low, double high) {
  constexpr int64_t kEach = sizeof(S) == 8 ? 2 : 1;
  constexpr double kLeast =
      static_cast<double>(std::is_signed_v<S> ? S(S(1) << (8 * sizeof(S) - 1)) : S(0));
  // One past the largest value: a power of two, so exact.
  constexpr double kEnd =
      std::is_signed_v<S> ? -kLeast : static_cast<double>(S(S(1) << (8 * sizeof(S) - 1))) * 2;
  const double limit = largest_below<double>(smaller(high, kEnd));
  const double range = high - low;
  S* to = static_cast<S*>(args->out[0]->data);
  each_tile(args, read_key(args->in[0]), args->out[0]->numel, kEach,
            [=](int64_t first, int64_t n, const uint32_t* words) {
              alignas(64) double values[kWords / kEach];
              for (int64_t i = 0; i < n; ++i) {
                values[i] = kEach == 1 ? static_cast<double>(words[i]) * 0x1p-32
                                       : philox::unit_double(words[kEach * i],
                                                             words[kEach * i + kEach - 1]);
              }
              scale_to_range(values, n, low, range, larger(limit, low));
              for (int64_t i = 0; i < n; ++i) {
                const double whole = std::floor(values[i]);
                to[first + i] = static_cast<S>(whole < kLeast ? kLeast : whole);
              }
            });
  return MILL_OK;
}

mill_status uniform(const mill_kernel_args* args) {
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  const double low = args->attr[2].f;
  const double high = args->attr[3].f;
  switch (out->dtype) {
    case MILL_F32: return uniform_float<float>(args, low, high);
    case MILL_F64: return uniform_float<double>(args, low, high);
    case MILL_BF16: return uniform_float<bf16>(args, low, high);
    case MILL_F16: return uniform_float<f16>(args, low, high);
    case MILL_U8: return uniform_integer<uint8_t>(args, low, high);
    case MILL_I8: return uniform_integer<int8_t>(args, low, high);
    case MILL_U16: return uniform_integer<uint16_t>(args, low, high);
    case MILL_I16: return uniform_integer<int16_t>(args, low, high);
    case MILL_U32: return uniform_integer<uint32_t>(args, low, high);
    case MILL_I32: return uniform_integer<int32_t>(args, low, high);
    case MILL_U64: return uniform_integer<uint64_t>(args, low, high);
    case MILL_I64: return uniform_integer<int64_t>(args, low, high);
    default:
      return refuse(args, MILL_E_DTYPE,
                    "there are no uniform values of dtype number %d; use a float or integer dtype",
                    out->dtype);
  }
}

// ---- normal -------------------------------------------------------------------------------------

// Taylor coefficients of sin(x) / x and cos(x) by x^2; the last terms are below the last bit for
// |x| <= pi / 4.
template <class C>
struct Circle;
template <>
struct Circle<float> {
  static constexpr float kSin[] = {1.0f, -1.0f / 6, 1.0f / 120, -1.0f / 5040, 1.0f / 362880};
  static constexpr float kCos[] = {1.0f,        -1.0f / 2,    1.0f / 24,
                                   -1.0f / 720, 1.0f / 40320, -1.0f / 3628800};
};
template <>
struct Circle<double> {
  static constexpr double kSin[] = {1.0,
                                    -1.0 / 6,
                                    1.0 / 120,
                                    -1.0 / 5040,
                                    1.0 / 362880,
                                    -1.0 / 39916800,
                                    1.0 / 6227020800,
                                    -1.0 / 1307674368000,
                                    1.0 / 355687428096000};
  static constexpr double kCos[] = {1.0,
                                    -1.0 / 2,
                                    1.0 / 24,
                                    -1.0 / 720,
                                    1.0 / 40320,
                                    -1.0 / 3628800,
                                    1.0 / 479001600,
                                    -1.0 / 87178291200,
                                    1.0 / 20922789888000};
};

// Box and Muller (1958): two independent normal values from two uniform ones, `radius_unit` in (0,
// 1], `angle_unit` in [0, 1) as a fraction of a turn.
template <class D>
MILL_INLINE void box_muller(D d, Vec<D> radius_unit, Vec<D> angle_unit, Vec<D>* first,
                            Vec<D>* second) {
  using C = Lane<D>;
  using M = Math<D>;
  const Vec<D> radius = hn::Sqrt(hn::Mul(hn::Set(d, C(-2)), M::log(radius_unit)));
  // Quarter turns to nearest, and the rest as an angle in [-pi/4, pi/4]: exact until the
  // multiplication by pi / 2.
  const Vec<D> quarters = hn::Mul(angle_unit, hn::Set(d, C(4)));
  const Vec<D> nearest = hn::Round(quarters);
  const Vec<D> angle = hn::Mul(hn::Sub(quarters, nearest), hn::Set(d, C(1.57079632679489661923)));
  const Vec<D> square = hn::Mul(angle, angle);
  const Vec<D> sine = hn::Mul(angle, M::polynomial(square, Circle<C>::kSin));
  const Vec<D> cosine = M::polynomial(square, Circle<C>::kCos);
  // nearest is 0 .. 4: odd quarters swap the two; cosine is negative in 1 and 2, sine in 2 and 3.
  const auto is = [&](double quarter) MILL_LAMBDA_INLINE {
    return hn::Eq(nearest, hn::Set(d, static_cast<C>(quarter)));
  };
  const Mask<D> swapped = hn::Or(is(1), is(3));
  const Vec<D> x = hn::IfThenElse(swapped, sine, cosine);
  const Vec<D> y = hn::IfThenElse(swapped, cosine, sine);
  *first = hn::Mul(radius, hn::IfThenElse(hn::Or(is(1), is(2)), hn::Neg(x), x));
  *second = hn::Mul(radius, hn::IfThenElse(hn::Or(is(2), is(3)), hn::Neg(y), y));
}

template <class S>
mill_status normal_of(const mill_kernel_args* args, double mean, double deviation) {
  using C = Compute<S>;
  using D = Tag<C>;
  constexpr int64_t kEach = sizeof(C) == 8 ? 2 : 1;
  constexpr int64_t kTileElements = kWords / kEach;
  S* to = static_cast<S*>(args->out[0]->data);
  each_tile(
      args, read_key(args->in[0]), args->out[0]->numel, kEach,
      [=](int64_t first, int64_t n, const uint32_t* words) {
        const D d;
        // Whole vectors of pairs: draw() fills at least the words that they take.
        const int64_t pairs = ceil_div(ceil_div(n, 2), kLanes<D>) * kLanes<D>;
        alignas(64) C radii[kTileElements / 2];
        alignas(64) C angles[kTileElements / 2];
        alignas(64) C values[kTileElements];
        if constexpr (kEach == 1) {
          for (int64_t j = 0; j < pairs; ++j) {
            radii[j] = static_cast<C>(static_cast<int32_t>((words[2 * j] >> 8) + 1)) * C(0x1p-24);
            angles[j] = static_cast<C>(static_cast<int32_t>(words[2 * j + 1] >> 8)) * C(0x1p-24);
          }
        } else {
          for (int64_t j = 0; j < pairs; ++j) {
            const uint32_t* word = words + 4 * j;
            radii[j] = philox::unit_double(word[0], word[1]) + 0x1p-53;
            angles[j] = philox::unit_double(word[2], word[3]);
          }
        }
        const Vec<D> scale = hn::Set(d, static_cast<C>(deviation));
        const Vec<D> shift = hn::Set(d, static_cast<C>(mean));
        for (int64_t j = 0; j < pairs; j += kLanes<D>) {
          Vec<D> even;
          Vec<D> odd;
          box_muller(d, hn::LoadU(d, radii + j), hn::LoadU(d, angles + j), &even, &odd);
          hn::StoreU(hn::MulAdd(even, scale, shift), d, radii + j);
          hn::StoreU(hn::MulAdd(odd, scale, shift), d, angles + j);
        }
        for (int64_t j = 0; j < pairs; ++j) {
          values[2 * j] = radii[j];
          values[2 * j + 1] = angles[j];
        }
        write_run(values, to + first, n);
      });
  return MILL_OK;
}

mill_status normal(const mill_kernel_args* args) {
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  const double mean = args->attr[2].f;
  const double deviation = args->attr[3].f;
  switch (out->dtype) {
    case MILL_F32: return normal_of<float>(args, mean, deviation);
    case MILL_F64: return normal_of<double>(args, mean, deviation);
    case MILL_BF16: return normal_of<bf16>(args, mean, deviation);
    case MILL_F16: return normal_of<f16>(args, mean, deviation);
    default:
      return refuse(args, MILL_E_DTYPE,
                    "there are no normal values of dtype number %d; use a float dtype", out->dtype);
  }
}

// ---- dropout ------------------------------------------------------------------------------------

template <class S>
mill_status dropout(const mill_kernel_args* args) {
  using C = Compute<S>;
  const int64_t n = args->out[0]->numel;
  if (n == 0) return MILL_OK;
  const S* x = static_cast<const S*>(args->in[0]->data);
  S* to = static_cast<S*>(args->out[0]->data);
  const double p = args->attr[0].f;
  if (p > 1 - 0x1p-24) {
    // No value of 24 bits is as large.
    std::memset(to, 0, static_cast<size_t>(n) * sizeof(S));
    return MILL_OK;
  }
  // k 2^-24 >= p is k >= ceil(2^24 p), with no rounding on the way; k is the upper 24 bits of a
  // word.
  const uint32_t threshold = static_cast<uint32_t>(larger(0.0, std::ceil(p * 0x1p24))) << 8;
  const C scale = static_cast<C>(1 / (1 - p));
  each_tile(args, read_key(args->in[1]), n, 1,
            [=](int64_t first, int64_t count, const uint32_t* words) {
              alignas(64) C values[kWords];
              read_run(x + first, values, count);
              for (int64_t i = 0; i < count; ++i) {
                const C kept = values[i] * scale;
                values[i] = words[i] >= threshold ? kept : C(0);
              }
              write_run(values, to + first, count);
            });
  return MILL_OK;
}

mill_status rng_next(const mill_kernel_args* args) {
  const Stream state = read_key(args->in[0]);
  for (uint32_t k = 0; k < 2; ++k) {
    const mill_kernel_tensor* out = output(args, k);
    if (out == nullptr) continue;
    int64_t* words = static_cast<int64_t*>(out->data);
    words[0] = static_cast<int64_t>(state.seed);
    words[1] = static_cast<int64_t>(state.call + k);
  }
  return MILL_OK;
}

// uniform and normal are found by their key's dtype; what they make is the output's.
constexpr KernelEntry kEntries[] = {
    {MILL_OP_UNIFORM, bit(MILL_I64), {uniform, nullptr}},
    {MILL_OP_NORMAL, bit(MILL_I64), {normal, nullptr}},
    {MILL_OP_DROPOUT, bit(MILL_F32), {dropout<float>, nullptr}},
    {MILL_OP_DROPOUT, bit(MILL_F64), {dropout<double>, nullptr}},
    {MILL_OP_DROPOUT, bit(MILL_BF16), {dropout<bf16>, nullptr}},
    {MILL_OP_DROPOUT, bit(MILL_F16), {dropout<f16>, nullptr}},
    {MILL_OP_RNG_NEXT, bit(MILL_I64), {rng_next, nullptr}},
};

}  // namespace

KernelList random_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
