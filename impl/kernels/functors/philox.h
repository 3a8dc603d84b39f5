// Philox4x32-10: the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel Random
// Numbers: As Easy as 1, 2, 3" (SC 2011). Every device draws from it, so that element i of call k
// is the same number everywhere.
//
// Everything is static: a copy with internal linkage per file lets the same header be compiled for
// several instruction sets in one program.
#pragma once

#include <cstdint>

#if defined(__CUDACC__) || defined(__HIPCC__)
#define MILL_PHILOX_FN static __host__ __device__ inline
#else
#define MILL_PHILOX_FN static inline
#endif

namespace mill::philox {

struct Words {
  uint32_t word[4];
};

static constexpr uint32_t kMultiplier0 = 0xD2511F53u;
static constexpr uint32_t kMultiplier1 = 0xCD9E8D57u;
static constexpr uint32_t kWeyl0 = 0x9E3779B9u;
static constexpr uint32_t kWeyl1 = 0xBB67AE85u;
static constexpr int kRounds = 10;

// The bijection itself: counter and key words, least significant first.
MILL_PHILOX_FN Words philox4x32(Words counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kMultiplier0) * counter.word[0];
    const uint64_t product1 = static_cast<uint64_t>(kMultiplier1) * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0,
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1,
                static_cast<uint32_t>(product0)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

// Words of block `index` of call `call`: the engine's counter layout.
MILL_PHILOX_FN Words block(uint64_t seed, uint64_t call, uint64_t index) {
  return philox4x32({{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                      static_cast<uint32_t>(call), static_cast<uint32_t>(call >> 32)}},
                    static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// 24 and 53 bits: both results are exact multiples of 2^-24 or 2^-53 in [0, 1).
MILL_PHILOX_FN float unit_float(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

MILL_PHILOX_FN double unit_double(uint32_t low, uint32_t high) {
  const uint64_t bits = (static_cast<uint64_t>(high) << 32) | low;
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace mill::philox

#undef MILL_PHILOX_FN
