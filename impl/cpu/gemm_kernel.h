// The innermost loops of the matrix product: sizes of the block of accumulators that stays in
// registers, and its kernels.
// Included by kernels of products only, once per SIMD target. The scheme (packed panels, three
// cache blocks, register tile) follows Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication", ACM TOMS 34(3), 2008, and Van Zee and van de Geijn, "BLIS", ACM TOMS 41(3),
// 2015.
#pragma once

#include "cpu/gemm_vec.h"

namespace mill::cpu::MILL_TARGET {

// The tiles' kernels, which matmul.cpp holds for all families: [vectors - 1][rows - 1]. They set,
// or with `add` add to, out[r][0..cols) the product of rows of packed A with vectors of columns of
// B. bias: NULL, or vectors that are added last.
template <class T>
using TileKernel = void (*)(int64_t depth, const T* a, int64_t a_row, const T* b, int64_t b_row,
                            T* out, int64_t out_row, bool add, const T* bias);

namespace gemm_tiles {
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kRows = 14;
#else
inline constexpr int kRows = 6;
#endif
inline constexpr int kVecs = 2;
extern const TileKernel<float> kFloat[kVecs][kRows];
extern const TileKernel<double> kDouble[kVecs][kRows];
}  // namespace gemm_tiles

namespace {
namespace gemm {

// Rows of the register tile; its columns are two vectors. 32 registers hold 28 accumulators, two
// vectors of B and one element of A; 16 hold 12, 2 and 1.
inline constexpr int kRows = gemm_tiles::kRows;
inline constexpr int kVecs = gemm_tiles::kVecs;
template <class T>
inline constexpr int64_t kCols = kVecs* kLanes<T>;

// Depth of a block: a panel of B (kDepth x kCols, 32 KiB with AVX-512) stays in the first-level
// cache.
inline constexpr int64_t kDepth = 384;
// A row of packed A starts this far after the one before; not a power of two, so that the rows of a
// panel do not fall on the same cache sets.
inline constexpr int64_t kPackedRow = kDepth + 16;
// Packed A (12 panels: 270 KiB of f32 with AVX-512) and packed B (1.2 MiB) fit the second-level
// cache together.
inline constexpr int64_t kBlockPanels = 12;
inline constexpr int64_t kBlockRows = kBlockPanels * kRows;
template <class T>
inline constexpr int64_t kBlockCols = static_cast<int64_t>(3072 / sizeof(T));

constexpr int64_t min_of(int64_t a, int64_t b) {
  return a < b ? a : b;
}
constexpr int64_t max_of(int64_t a, int64_t b) {
  return a > b ? a : b;
}
constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

template <class T>
inline constexpr const TileKernel<T> (&kTileKernels)[kVecs][kRows] = gemm_tiles::kFloat;
template <>
inline constexpr const TileKernel<double> (&kTileKernels<double>)[kVecs][kRows] =
    gemm_tiles::kDouble;

}  // namespace gemm
}  // namespace
}  // namespace mill::cpu::MILL_TARGET
