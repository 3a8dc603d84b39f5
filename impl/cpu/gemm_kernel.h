// The innermost loops of the matrix product: a block of accumulators that stays in registers.
// Included by kernels of products only, once per SIMD target. The scheme (packed panels, three
// cache blocks, register tile) follows Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication", ACM TOMS 34(3), 2008, and Van Zee and van de Geijn, "BLIS", ACM TOMS 41(3),
// 2015.
#pragma once

#include "cpu/gemm_vec.h"

namespace mill::cpu::MILL_TARGET {
namespace {
namespace gemm {

// Rows of the register tile; its columns are two vectors. 32 registers hold 28 accumulators, two
// vectors of B and one element of A; 16 hold 12, 2 and 1.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kRows = 14;
#else
inline constexpr int kRows = 6;
#endif
inline constexpr int kVecs = 2;
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

// out[r][0..cols) = or += the product of R rows of packed A with V vectors of columns of B. bias:
// NULL, or V vectors that are added last.
template <class T, int R, int V>
__attribute__((noinline)) void tile_kernel(int64_t depth, const T* __restrict__ a, int64_t a_row,
                                           const T* __restrict__ b, int64_t b_row,
                                           T* __restrict__ out, int64_t out_row, bool add,
                                           const T* bias) {
  Vec<T> sum[R][V];
  MILL_UNROLL
  for (int r = 0; r < R; ++r) {
    MILL_UNROLL
    for (int v = 0; v < V; ++v) sum[r][v] = zero<T>();
  }
  // The output's rows are far apart, which no hardware prefetcher expects.
  for (const T *to = out, *end = out + R * out_row; to < end; to += out_row) {
    for (int v = 0; v < V; ++v) __builtin_prefetch(to + v * kLanes<T>, 1);
    asm("" : "+r"(to));
  }
  // One pointer for every four rows; x86 adds once, twice or three times a stride by itself.
  constexpr int kGroups = (R + 3) / 4;
  const T* rows[kGroups];
  MILL_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    rows[g] = a + 4 * g * a_row;
    asm("" : "+r"(rows[g]));
  }
  int64_t a_row3 = 3 * a_row;
  asm("" : "+r"(a_row), "+r"(a_row3));
  const auto step = [&](int at) __attribute__((always_inline)) {
    Vec<T> column[V];
    MILL_UNROLL
    for (int v = 0; v < V; ++v) column[v] = load(b + v * kLanes<T>);
    MILL_UNROLL
    for (int r = 0; r < R; ++r) {
      const int64_t offset = r % 4 == 3 ? a_row3 : (r % 4) * a_row;
      const Vec<T> row = splat(rows[r / 4][offset + at]);
      MILL_UNROLL
      for (int v = 0; v < V; ++v) sum[r][v] = mul_add(row, column[v], sum[r][v]);
    }
    b += b_row;
  };
  int64_t k = depth;
  for (; k >= 4; k -= 4) {
    step(0);
    step(1);
    step(2);
    step(3);
    MILL_UNROLL
    for (int g = 0; g < kGroups; ++g) rows[g] += 4;
  }
  for (; k > 0; --k) {
    step(0);
    MILL_UNROLL
    for (int g = 0; g < kGroups; ++g) ++rows[g];
  }
  if (bias != nullptr) {
    MILL_UNROLL
    for (int r = 0; r < R; ++r) {
      MILL_UNROLL
      for (int v = 0; v < V; ++v) {
        sum[r][v] = plus(sum[r][v], load(bias + v * kLanes<T>));
      }
    }
  }
  if (add) {
    MILL_UNROLL
    for (int r = 0; r < R; ++r) {
      MILL_UNROLL
      for (int v = 0; v < V; ++v) {
        sum[r][v] = plus(load(out + r * out_row + v * kLanes<T>), sum[r][v]);
      }
    }
  }
  MILL_UNROLL
  for (int r = 0; r < R; ++r) {
    MILL_UNROLL
    for (int v = 0; v < V; ++v) store(sum[r][v], out + r * out_row + v * kLanes<T>);
  }
}

template <class T>
using TileKernel = void (*)(int64_t, const T*, int64_t, const T*, int64_t, T*, int64_t, bool,
                            const T*);

// [vectors - 1][rows - 1]
template <class T>
inline constexpr TileKernel<T> kTileKernels[kVecs][kRows] = {
#if defined(__AVX512F__) || defined(__aarch64__)
    {tile_kernel<T, 1, 1>, tile_kernel<T, 2, 1>, tile_kernel<T, 3, 1>, tile_kernel<T, 4, 1>,
     tile_kernel<T, 5, 1>, tile_kernel<T, 6, 1>, tile_kernel<T, 7, 1>, tile_kernel<T, 8, 1>,
     tile_kernel<T, 9, 1>, tile_kernel<T, 10, 1>, tile_kernel<T, 11, 1>, tile_kernel<T, 12, 1>,
     tile_kernel<T, 13, 1>, tile_kernel<T, 14, 1>},
    {tile_kernel<T, 1, 2>, tile_kernel<T, 2, 2>, tile_kernel<T, 3, 2>, tile_kernel<T, 4, 2>,
     tile_kernel<T, 5, 2>, tile_kernel<T, 6, 2>, tile_kernel<T, 7, 2>, tile_kernel<T, 8, 2>,
     tile_kernel<T, 9, 2>, tile_kernel<T, 10, 2>, tile_kernel<T, 11, 2>, tile_kernel<T, 12, 2>,
     tile_kernel<T, 13, 2>, tile_kernel<T, 14, 2>},
#else
    {tile_kernel<T, 1, 1>, tile_kernel<T, 2, 1>, tile_kernel<T, 3, 1>, tile_kernel<T, 4, 1>,
     tile_kernel<T, 5, 1>, tile_kernel<T, 6, 1>},
    {tile_kernel<T, 1, 2>, tile_kernel<T, 2, 2>, tile_kernel<T, 3, 2>, tile_kernel<T, 4, 2>,
     tile_kernel<T, 5, 2>, tile_kernel<T, 6, 2>},
#endif
};

}  // namespace gemm
}  // namespace
}  // namespace mill::cpu::MILL_TARGET
