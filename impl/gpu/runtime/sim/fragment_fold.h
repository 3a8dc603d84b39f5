// The arithmetic of one warp's tensor-core operation, done once for all its lanes.
#pragma once

#include <cstdint>

namespace mill::sim {

inline constexpr int kMmaMost = 8;

// What a lane brings to fold_mma: where its registers are. c[m][n][4], a[m][4], b[n][2].
struct MmaFragments {
  float* c;
  const uint32_t* a;
  const uint32_t* b;
};

// slots: a warp's, lane i's MmaFragments at i * kSlotBytes. Adds the m by n products to every
// lane's c. No flavour instruments it, as registers are no memory.
void fold_mma(const unsigned char* slots, int m, int n, bool is_bf16);

}  // namespace mill::sim
