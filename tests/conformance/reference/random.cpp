// Philox4x32-10 from Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3"
// (SC 2011), with the counter {i / 4, call} and the key {seed} that random.h promises. 64-bit
// results take two words each.
#include <array>
#include <numbers>

#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t call, uint64_t index) {
  std::array<uint32_t, 4> x{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                            static_cast<uint32_t>(call), static_cast<uint32_t>(call >> 32)};
  auto k0 = static_cast<uint32_t>(seed);
  auto k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * x[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

// Word i of the stream of a key tensor {seed, call}.
class Stream {
 public:
  explicit Stream(const std::vector<int64_t>& key)
      : seed_(static_cast<uint64_t>(key[0])), call_(static_cast<uint64_t>(key[1])) {}
  uint32_t word(uint64_t i) const { return philox(seed_, call_, i / 4)[i % 4]; }
  uint32_t word24(uint64_t i) const { return word(i) >> 8; }
  uint64_t word53(uint64_t i) const {
    return ((static_cast<uint64_t>(word(2 * i + 1)) << 32) | word(2 * i)) >> 11;
  }

 private:
  uint64_t seed_;
  uint64_t call_;
};

}  // namespace

template <class A>
void ref_uniform(RefCall<A>& c) {
  const Stream stream(c.in[0].i);
  const Dims dims = c.ints(0);
  const double low = c.real(2);
  const double high = c.real(3);
  if (!is_float(c.dtype)) {
    std::vector<int64_t>& out = c.make_whole(0, dims);
    const bool wide = dtype_bytes(c.dtype) == 8;
    for (size_t i = 0; i < out.size(); ++i) {
      const double unit = wide ? static_cast<double>(stream.word53(i)) * 0x1p-53
                               : static_cast<double>(stream.word(i)) * 0x1p-32;
      out[i] = static_cast<int64_t>(std::floor(low + unit * (high - low)));
    }
    return;
  }
  std::vector<A>& out = c.make(0, dims);
  for (size_t i = 0; i < out.size(); ++i) {
    const long double unit = c.dtype == MILL_F64
                                 ? static_cast<long double>(stream.word53(i)) * 0x1p-53L
                                 : static_cast<long double>(stream.word24(i)) * 0x1p-24L;
    out[i] = A(low) + A(unit) * A(high - low);
  }
}

template <class A>
void ref_normal(RefCall<A>& c) {
  const Stream stream(c.in[0].i);
  std::vector<A>& out = c.make(0, c.ints(0));
  const A mean(c.real(2));
  const A deviation(c.real(3));
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t even = i - i % 2;
    long double radius_unit = 0;
    long double angle_unit = 0;
    if (c.dtype == MILL_F64) {
      radius_unit = static_cast<long double>(stream.word53(even) + 1) * 0x1p-53L;
      angle_unit = static_cast<long double>(stream.word53(even + 1)) * 0x1p-53L;
    } else {
      radius_unit = static_cast<long double>(stream.word24(even) + 1) * 0x1p-24L;
      angle_unit = static_cast<long double>(stream.word24(even + 1)) * 0x1p-24L;
    }
    const A radius = sqrt(A(-2) * log(A(radius_unit)));
    const A angle = A(2 * std::numbers::pi_v<long double>) * A(angle_unit);
    out[i] = mean + deviation * (radius * (i % 2 == 0 ? cos(angle) : sin(angle)));
  }
}

template <class A>
void ref_dropout(RefCall<A>& c) {
  const Stream stream(c.in[1].i);
  const double p = c.real(0);
  std::vector<A>& out = c.make(0, c.in[0].dims);
  for (size_t i = 0; i < out.size(); ++i) {
    const bool kept = static_cast<double>(stream.word24(i)) * 0x1p-24 >= p;
    out[i] = kept ? c.in[0].v[i] / (A(1) - A(p)) : A(0);
  }
}

template <class A>
void ref_rng_next(RefCall<A>& c) {
  c.make_whole(0, {2}) = c.in[0].i;
  c.make_whole(1, {2}) = {c.in[0].i[0], c.in[0].i[1] + 1};
}

MILL_INSTANTIATE_REFERENCE(uniform)
MILL_INSTANTIATE_REFERENCE(normal)
MILL_INSTANTIATE_REFERENCE(dropout)
MILL_INSTANTIATE_REFERENCE(rng_next)

}  // namespace mill_test
