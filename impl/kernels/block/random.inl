// Random tensors from Philox4x32-10, and dropout. Word i of the stream of (seed, call) is philox
// block i / 4, word i % 4; 32-bit draws take word i, 64-bit draws words 2 i and 2 i + 1. A thread
// draws what fills 16 bytes of the result: whole philox blocks. Needs circle.inl.

struct random_key {
  uint64_t seed;
  uint64_t call;
};

MILL_DEVICE random_key read_key(const int64_t* key) {
  return {static_cast<uint64_t>(key[0]), static_cast<uint64_t>(key[1])};
}

// Words of an element, elements of 16 bytes.
template <class S>
inline constexpr int kWordsEach = sizeof(S) == 8 ? 2 : 1;
template <class S>
inline constexpr int kDrawn = static_cast<int>(16 / sizeof(S));

// N words of the stream from word `group` * N.
template <int N>
MILL_DEVICE void draw(random_key key, int64_t group, uint32_t (&words)[N]) {
  static_assert(N % 4 == 0);
  MILL_UNROLL
  for (int b = 0; b < N / 4; ++b) {
    const auto block = mill::philox::block(
        key.seed, key.call, static_cast<uint64_t>(group) * (N / 4) + static_cast<uint64_t>(b));
    MILL_UNROLL
    for (int k = 0; k < 4; ++k) words[4 * b + k] = block.word[k];
  }
}

// Writes the first n of N elements; Wide: 16 bytes at a time where all N are wanted.
template <bool Wide, class S, int N>
MILL_DEVICE void put_drawn(S* to, int64_t n, const vec<S, N>& r) {
  if constexpr (Wide) {
    if (n >= N) {
      store(to, r);
      return;
    }
  }
  MILL_UNROLL
  for (int i = 0; i < N; ++i) {
    if (i < n) to[i] = r[i];
  }
}

// out from its words: f(words, result) makes the elements of 16 bytes.
template <int Threads, bool Wide, class F, class S>
MILL_KERNEL(Threads, 2)
draw_elements(Flat t, MILL_PARAM(F) f, int64_t n, const int64_t* key, S* out) {
  constexpr int N = kDrawn<S>;
  const random_key stream = read_key(key);
  const int64_t groups = (n + N - 1) / N;
  for (int64_t g = t.global_id(); g < groups; g += t.global_size()) {
    uint32_t words[N * kWordsEach<S>];
    draw(stream, g, words);
    vec<S, N> r;
    f(words, r);
    put_drawn<Wide>(out + g * N, n - g * N, r);
  }
}

// ---- uniform ------------------------------------------------------------------------------------

// low + unit * range with two roundings on every device, below `limit`.
template <class C>
MILL_DEVICE C in_range(C unit, C low, C range, C limit) {
  const C value = mul_(unit, range) + low;
  return value < limit ? value : limit;
}

template <class S>
struct uniform_float {
  acc_t<S> low;
  acc_t<S> range;
  acc_t<S> limit;

  MILL_DEVICE void operator()(const uint32_t* words, vec<S, kDrawn<S>>& r) const {
    MILL_UNROLL
    for (int i = 0; i < kDrawn<S>; ++i) {
      acc_t<S> unit;
      if constexpr (kWordsEach<S> == 2) {
        unit = mill::philox::unit_double(words[2 * i], words[2 * i + 1]);
      } else {
        unit = mill::philox::unit_float(words[i]);
      }
      r[i] = down<S>(in_range(unit, low, range, limit));
    }
  }
};

// Integers up to 32 bits use all 32 bits of a word, longer ones 53 bits, in f64 arithmetic.
template <class S>
struct uniform_integer {
  double low;
  double range;
  double limit;

  MILL_DEVICE void operator()(const uint32_t* words, vec<S, kDrawn<S>>& r) const {
    MILL_UNROLL
    for (int i = 0; i < kDrawn<S>; ++i) {
      double unit;
      if constexpr (kWordsEach<S> == 2) {
        unit = mill::philox::unit_double(words[2 * i], words[2 * i + 1]);
      } else {
        unit = static_cast<double>(words[i]) * 0x1p-32;
      }
      r[i] = whole(in_range(unit, low, range, limit));
    }
  }

 private:
  // The largest integer that is not above `value`, or the least of S.
  MILL_DEVICE static S whole(double value) {
    if constexpr (static_cast<S>(-1) > static_cast<S>(0)) {
      return value > 0 ? static_cast<S>(static_cast<uint64_t>(value)) : static_cast<S>(0);
    } else {
      constexpr int64_t kLeast =
          static_cast<int64_t>(~uint64_t{0} << (8 * static_cast<int>(sizeof(S)) - 1));
      if (value < static_cast<double>(kLeast)) return static_cast<S>(kLeast);
      const auto toward_zero = static_cast<int64_t>(value);
      return static_cast<S>(static_cast<double>(toward_zero) > value ? toward_zero - 1
                                                                     : toward_zero);
    }
  }
};

// ---- normal -------------------------------------------------------------------------------------

// Box and Muller (1958): two independent normal values from two uniform ones, radius_unit in (0, 1]
// and turn / 2^Bits, a fraction of a turn.
template <int Bits, class C, class U>
MILL_DEVICE void box_muller(C radius_unit, U turn, C* first, C* second) {
  const C radius = sqrt_(-2 * log_(radius_unit));
  // Quarter turns to nearest, 0 .. 4, and the rest as an angle in [-pi/4, pi/4]: exact until the
  // multiplication by pi / 2.
  const U quarter = static_cast<U>((turn + (U{1} << (Bits - 3))) >> (Bits - 2));
  const auto rest = static_cast<int64_t>(turn) - static_cast<int64_t>(quarter << (Bits - 2));
  constexpr C kUnit =
      static_cast<C>(1.57079632679489661923 / static_cast<double>(int64_t{1} << (Bits - 2)));
  C sine;
  C cosine;
  small_circle(static_cast<C>(rest) * kUnit, &sine, &cosine);
  // Odd quarters swap the two; cosine is negative in 1 and 2, sine in 2 and 3.
  const bool swapped = (quarter & 1) != 0;
  const C x = swapped ? sine : cosine;
  const C y = swapped ? cosine : sine;
  *first = radius * (quarter == 1 || quarter == 2 ? -x : x);
  *second = radius * (quarter == 2 || quarter == 3 ? -y : y);
}

template <class S>
struct normal_values {
  acc_t<S> mean;
  acc_t<S> deviation;

  MILL_DEVICE void operator()(const uint32_t* words, vec<S, kDrawn<S>>& r) const {
    using C = acc_t<S>;
    MILL_UNROLL
    for (int j = 0; j < kDrawn<S> / 2; ++j) {
      C even;
      C odd;
      if constexpr (kWordsEach<S> == 2) {
        const uint32_t* word = words + 4 * j;
        const uint64_t turn = ((static_cast<uint64_t>(word[3]) << 32) | word[2]) >> 11;
        box_muller<53>(mill::philox::unit_double(word[0], word[1]) + 0x1p-53, turn, &even, &odd);
      } else {
        const C unit = static_cast<C>((words[2 * j] >> 8) + 1) * static_cast<C>(0x1p-24);
        box_muller<24>(unit, words[2 * j + 1] >> 8, &even, &odd);
      }
      r[2 * j] = down<S>(fma_(even, deviation, mean));
      r[2 * j + 1] = down<S>(fma_(odd, deviation, mean));
    }
  }
};

// ---- dropout and keys ---------------------------------------------------------------------------

// An element stays where the upper 24 bits of its word reach `threshold`.
template <int Threads, bool Wide, class S>
MILL_KERNEL(Threads, 2)
dropout_elements(Flat t, int64_t n, uint32_t threshold, acc_t<S> scale, const int64_t* key,
                 const S* x, S* out) {
  constexpr int W = kDrawn<S>;
  constexpr int N = W < 4 ? 4 : W;  // a word each: at least one philox block
  const random_key stream = read_key(key);
  const int64_t groups = (n + N - 1) / N;
  for (int64_t g = t.global_id(); g < groups; g += t.global_size()) {
    uint32_t words[N];
    draw(stream, g, words);
    MILL_UNROLL
    for (int part = 0; part < N; part += W) {
      const int64_t first = g * N + part;
      vec<S, W> v;
      if (Wide && first + W <= n) {
        v = load<W>(x + first);
      } else {
        MILL_UNROLL
        for (int i = 0; i < W; ++i) {
          if (first + i < n) {
            v[i] = x[first + i];
          } else {
            v[i] = down<S>(acc_t<S>(0));
          }
        }
      }
      MILL_UNROLL
      for (int i = 0; i < W; ++i) {
        const acc_t<S> kept = up(v[i]) * scale;
        v[i] = down<S>((words[part + i] >> 8) >= threshold ? kept : acc_t<S>(0));
      }
      put_drawn<Wide>(out + first, n - first, v);
    }
  }
}

// key and next may be absent; either may be the state itself.
template <int Threads>
MILL_KERNEL(Threads, 1)
advance_key(Flat t, const int64_t* state, int64_t* key, int64_t* next) {
  if (t.global_id() != 0) return;
  const random_key now = read_key(state);
  if (key != nullptr) {
    key[0] = static_cast<int64_t>(now.seed);
    key[1] = static_cast<int64_t>(now.call);
  }
  if (next != nullptr) {
    next[0] = static_cast<int64_t>(now.seed);
    next[1] = static_cast<int64_t>(now.call + 1);
  }
}
