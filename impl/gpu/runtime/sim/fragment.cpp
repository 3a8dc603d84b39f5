#include "gpu/runtime/sim/fragment_fold.h"

#include <cstring>

#include "base/half.h"
#include "gpu/runtime/sim/lane.h"

namespace mill::sim {

namespace {

constexpr int kDepth = 16;
constexpr int kRows = 16;
constexpr int kCols = 8;

inline float decode_bf16(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}

// Without the branches of to_float: 2^112 moves the exponent's bias from 15 to 127, subnormals
// included.
inline float decode_f16(uint32_t bits) {
  const uint32_t magnitude = (bits & 0x7fffu) << 13;
  const uint32_t scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t value = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : scaled;
  return std::bit_cast<float>(value | (bits & 0x8000u) << 16);
}

template <bool Bf16>
inline void decode_pair(uint32_t pair, float* low, float* high) {
  if constexpr (Bf16) {
    *low = decode_bf16(pair & 0xffffu);
    *high = decode_bf16(pair >> 16);
  } else {
    *low = decode_f16(pair & 0xffffu);
    *high = decode_f16(pair >> 16);
  }
}

// A register of every x86-64 and aarch64.
using Four __attribute__((vector_size(16))) = float;

// Layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating-point type". With g = lane / 4
// and t = lane % 4, register r of a holds row g + 8 (r % 2), k = 2 t + 8 (r / 2) and the next;
// register r of b holds k = 2 t + 8 r and the next, column g; element e of c is row g + 8 (e / 2),
// column 2 t + e % 2.
template <bool Bf16>
void decode_a(const MmaFragments (&lane)[kWarp], int i, float (&a)[kRows][kDepth]) {
  for (int l = 0; l < kWarp; ++l) {
    for (int r = 0; r < 4; ++r) {
      const int row = l / 4 + 8 * (r % 2);
      const int k = 2 * (l % 4) + 8 * (r / 2);
      decode_pair<Bf16>(lane[l].a[i * 4 + r], &a[row][k], &a[row][k + 1]);
    }
  }
}

template <bool Bf16>
void decode_b(const MmaFragments (&lane)[kWarp], int j, float (&b)[kDepth][kCols]) {
  for (int l = 0; l < kWarp; ++l) {
    for (int r = 0; r < 2; ++r) {
      const int k = 2 * (l % 4) + 8 * r;
      decode_pair<Bf16>(lane[l].b[j * 2 + r], &b[k][l / 4], &b[k + 1][l / 4]);
    }
  }
}

inline Four load_four(const float* p) {
  Four x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

// `offset`: where the product's elements begin in every lane's c.
void multiply(const MmaFragments (&lane)[kWarp], int offset, const float (&a)[kRows][kDepth],
              const float (&b)[kDepth][kCols]) {
  // Rows r .. r + 3 keep their sums in eight registers.
  for (int r = 0; r < kRows; r += 4) {
    float c[4][kCols];
    for (int i = 0; i < 4; ++i) {
      for (int t = 0; t < 4; ++t) {
        const float* from = lane[(r + i) % 8 * 4 + t].c + offset + r / 8 * 2;
        c[i][2 * t] = from[0];
        c[i][2 * t + 1] = from[1];
      }
    }
    Four s00 = load_four(c[0]), s01 = load_four(c[0] + 4);
    Four s10 = load_four(c[1]), s11 = load_four(c[1] + 4);
    Four s20 = load_four(c[2]), s21 = load_four(c[2] + 4);
    Four s30 = load_four(c[3]), s31 = load_four(c[3] + 4);
    for (int k = 0; k < kDepth; ++k) {
      const Four low = load_four(b[k]);
      const Four high = load_four(b[k] + 4);
      s00 += a[r][k] * low;
      s01 += a[r][k] * high;
      s10 += a[r + 1][k] * low;
      s11 += a[r + 1][k] * high;
      s20 += a[r + 2][k] * low;
      s21 += a[r + 2][k] * high;
      s30 += a[r + 3][k] * low;
      s31 += a[r + 3][k] * high;
    }
    const Four sums[4][2] = {{s00, s01}, {s10, s11}, {s20, s21}, {s30, s31}};
    for (int i = 0; i < 4; ++i) {
      std::memcpy(c[i], sums[i], sizeof c[i]);
      for (int t = 0; t < 4; ++t) {
        float* to = lane[(r + i) % 8 * 4 + t].c + offset + r / 8 * 2;
        to[0] = c[i][2 * t];
        to[1] = c[i][2 * t + 1];
      }
    }
  }
}

template <bool Bf16>
void fold(const MmaFragments (&lane)[kWarp], int m, int n) {
  // A few columns at a time keep the frame, which lies on a lane's stack, small.
  constexpr int kTogether = 4;
  for (int first = 0; first < n; first += kTogether) {
    float b[kTogether][kDepth][kCols];
    const int count = n - first < kTogether ? n - first : kTogether;
    for (int j = 0; j < count; ++j) decode_b<Bf16>(lane, first + j, b[j]);
    for (int i = 0; i < m; ++i) {
      float a[kRows][kDepth];
      decode_a<Bf16>(lane, i, a);
      for (int j = 0; j < count; ++j) multiply(lane, (i * n + first + j) * 4, a, b[j]);
    }
  }
}

}  // namespace

void fold_mma(const unsigned char* slots, int m, int n, bool is_bf16) {
  MmaFragments lane[kWarp];
  for (int l = 0; l < kWarp; ++l) std::memcpy(&lane[l], slots + l * kSlotBytes, sizeof lane[l]);
  if (is_bf16) {
    fold<true>(lane, m, n);
  } else {
    fold<false>(lane, m, n);
  }
}

}  // namespace mill::sim
