// The kernels of the matrix product's tiles, one for each number of rows and vectors. Included by
// matmul.cpp only, once per SIMD target: other families take them from its tables.
#pragma once

#include "cpu/gemm_kernel.h"

namespace mill::cpu::MILL_TARGET {
namespace {
namespace gemm {

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

}  // namespace gemm
}  // namespace

namespace gemm_tiles {

#if defined(__AVX512F__) || defined(__aarch64__)
#define MILL_TILES(T, V)                                                                       \
  {                                                                                            \
    gemm::tile_kernel<T, 1, V>, gemm::tile_kernel<T, 2, V>, gemm::tile_kernel<T, 3, V>,        \
        gemm::tile_kernel<T, 4, V>, gemm::tile_kernel<T, 5, V>, gemm::tile_kernel<T, 6, V>,    \
        gemm::tile_kernel<T, 7, V>, gemm::tile_kernel<T, 8, V>, gemm::tile_kernel<T, 9, V>,    \
        gemm::tile_kernel<T, 10, V>, gemm::tile_kernel<T, 11, V>, gemm::tile_kernel<T, 12, V>, \
        gemm::tile_kernel<T, 13, V>, gemm::tile_kernel<T, 14, V>                               \
  }
#else
#define MILL_TILES(T, V)                                                                   \
  {                                                                                        \
    gemm::tile_kernel<T, 1, V>, gemm::tile_kernel<T, 2, V>, gemm::tile_kernel<T, 3, V>,    \
        gemm::tile_kernel<T, 4, V>, gemm::tile_kernel<T, 5, V>, gemm::tile_kernel<T, 6, V> \
  }
#endif
const TileKernel<float> kFloat[kVecs][kRows] = {MILL_TILES(float, 1), MILL_TILES(float, 2)};
const TileKernel<double> kDouble[kVecs][kRows] = {MILL_TILES(double, 1), MILL_TILES(double, 2)};
#undef MILL_TILES

}  // namespace gemm_tiles
}  // namespace mill::cpu::MILL_TARGET
