// One thread's part of a matrix product, cut into blocks that fit the caches. Included by
// matmul.cpp only, once per SIMD target.
#pragma once

#include "cpu/gemm_pack.h"

namespace mill::cpu::MILL_TARGET {
namespace {
namespace gemm {

// out[m, n] (+)= a[m, k] b[k, n] (+ bias[n]). k > 0; strides in elements.
template <class S>
struct Product {
  int64_t m, n, k;
  const S* a;
  int64_t a_row, a_col;
  const S* b;
  int64_t b_row, b_col;
  S* out;
  int64_t out_row, out_col;
  const S* bias;               // NULL: none
  int64_t bias_row, bias_col;  // one of them is 0: columns and rows may have changed places
  bool add;
};

// How many elements of Sum<S> the blocks of one thread take. A function of the sizes only.
struct BlockSizes {
  int64_t depth;  // of one block
  int64_t cols;   // of one block of B
  int64_t rows;   // of one stretch of the output, narrow types only
  int64_t a, b, sums;
};

// Measured on Sapphire Rapids: below these sizes a copy costs more than its order saves.
inline constexpr int64_t kInPlaceRows = 128;
inline constexpr int64_t kInPlaceCols = 512;

// B is read where it lies when too few rows use it to repay a copy.
template <class S>
constexpr bool reads_b_in_place(int64_t m, int64_t b_col) {
  return !kNarrow<S> && b_col == 1 && m <= kInPlaceRows;
}

// The same for rows of a, unless they lie so that a panel of them fights for one set of the cache.
template <class S>
constexpr bool reads_a_in_place(int64_t n, int64_t a_row, int64_t a_col) {
  return !kNarrow<S> && a_col == 1 && n <= kInPlaceCols &&
         (static_cast<uint64_t>(a_row) * sizeof(S)) % 4096 != 0;
}

template <class S>
BlockSizes block_sizes(int64_t m, int64_t n, int64_t k, int64_t b_col) {
  using T = Sum<S>;
  BlockSizes sizes{};
  const int64_t depth_blocks = ceil_div(k, kDepth);
  sizes.depth = depth_blocks == 1 ? k : round_up(ceil_div(k, depth_blocks), 8);
  const bool keeps_sums = kNarrow<S> && depth_blocks > 1;
  // Sums of narrow types wait in a buffer of T until all of k is in: at most 1008 x 512 of them.
  sizes.rows = keeps_sums ? min_of(m, 6 * kBlockRows) : m;
  const int64_t width = round_up(n, kCols<T>);
  sizes.cols = min_of(width, keeps_sums ? 512 : kBlockCols<T>);
  sizes.a = min_of(sizes.rows, kBlockRows) * kPackedRow;
  sizes.b = sizes.depth * (reads_b_in_place<S>(m, b_col) ? kCols<T> : sizes.cols);
  sizes.sums = keeps_sums ? sizes.rows * sizes.cols : 0;
  return sizes;
}

template <class S>
uint64_t block_bytes(int64_t m, int64_t n, int64_t k, int64_t b_col) {
  const BlockSizes sizes = block_sizes<S>(m, n, k, b_col);
  return static_cast<uint64_t>(round_up(sizes.a, 16) + round_up(sizes.b, 16) + sizes.sums) *
         sizeof(Sum<S>);
}

template <class S>
class BlockedProduct {
  using T = Sum<S>;

 public:
  BlockedProduct(const Product<S>& p, T* work)
      : p_(p), sizes_(block_sizes<S>(p.m, p.n, p.k, p.b_col)) {
    packed_a_ = work;
    packed_b_ = packed_a_ + round_up(sizes_.a, 16);
    sums_ = sizes_.sums > 0 ? packed_b_ + round_up(sizes_.b, 16) : nullptr;
  }

  void run() {
    for (int64_t row = 0; row < p_.m; row += sizes_.rows) {
      const int64_t rows = min_of(sizes_.rows, p_.m - row);
      for (int64_t col = 0; col < p_.n; col += sizes_.cols) {
        const int64_t cols = min_of(sizes_.cols, p_.n - col);
        for (int64_t k = 0; k < p_.k; k += sizes_.depth) {
          multiply(row, rows, col, cols, k, min_of(sizes_.depth, p_.k - k));
        }
        if (sums_ != nullptr) {
          unpack<S>(sums_, sizes_.cols, rows, cols, out(row, col), p_.out_row, p_.out_col, p_.add);
        }
      }
    }
  }

 private:
  S* out(int64_t row, int64_t col) const { return p_.out + row * p_.out_row + col * p_.out_col; }

  // Rows are dealt to as many panels as needed so that their sizes differ by one at most: 64 rows
  // are 13 + 13 + 13 + 13 + 12, not 4 * 14 + 8.
  void multiply(int64_t row, int64_t rows, int64_t col, int64_t cols, int64_t k, int64_t depth) {
    const int64_t panels = ceil_div(rows, kRows);
    const int64_t base = rows / panels;
    const int64_t longer = rows % panels;
    const bool in_place = reads_b_in_place<S>(p_.m, p_.b_col);
    for (int64_t block = 0; block < panels; block += kBlockPanels) {
      const int64_t end = min_of(block + kBlockPanels, panels);
      const int64_t top = block * base + min_of(block, longer);
      const int64_t bottom = end * base + min_of(end, longer);
      const S* a_source = p_.a + (row + top) * p_.a_row + k * p_.a_col;
      const T* a = packed_a_;
      int64_t a_row = kPackedRow;
      bool a_in_place = false;
      if constexpr (!kNarrow<S>) {
        a_in_place = reads_a_in_place<S>(p_.n, p_.a_row, p_.a_col);
        if (a_in_place) {
          a = a_source;
          a_row = p_.a_row;
        }
      }
      if (!a_in_place) pack_a(a_source, p_.a_row, p_.a_col, bottom - top, depth, packed_a_);
      for (int64_t j = 0; j < cols; j += kCols<T>) {
        const int64_t width = min_of(kCols<T>, cols - j);
        const S* source = p_.b + k * p_.b_row + (col + j) * p_.b_col;
        const T* b = packed_b_ + (in_place ? 0 : j * depth);
        int64_t b_row = kCols<T>;
        bool read_in_place = false;
        if constexpr (!kNarrow<S>) {
          read_in_place = in_place && width % kLanes<T> == 0;
          if (read_in_place) {
            b = source;
            b_row = p_.b_row;
          }
        }
        // Packed just before its first use, a panel is still in the first-level cache.
        if (!read_in_place && (block == 0 || in_place)) {
          pack_b(source, p_.b_row, p_.b_col, depth, width, const_cast<T*>(b));
        }
        for (int64_t panel = block, r = top; panel < end; ++panel) {
          const int64_t height = base + (panel < longer ? 1 : 0);
          tile(a + (r - top) * a_row, a_row, b, b_row, row, r, height, col, j, width, k, depth);
          r += height;
        }
      }
    }
  }

  void tile(const T* a, int64_t a_row, const T* b, int64_t b_row, int64_t row, int64_t r,
            int64_t height, int64_t col, int64_t j, int64_t width, int64_t k, int64_t depth) {
    const int64_t vecs = ceil_div(width, kLanes<T>);
    const TileKernel<T> kernel = kTileKernels<T>[vecs - 1][height - 1];
    const bool first = k == 0;
    const bool bias = p_.bias != nullptr && k + depth == p_.k;
    const bool column_bias = bias && p_.bias_row != 0;
    const T* row_bias = nullptr;
    MILL_ALIGN T wide_bias[kCols<T>] = {};  // compilers cannot see that it is filled
    if (bias && !column_bias) row_bias = wide_row_bias(col + j, width, vecs, wide_bias);

    if (sums_ != nullptr) {
      T* to = sums_ + r * sizes_.cols + j;
      kernel(depth, a, a_row, b, b_row, to, sizes_.cols, !first, row_bias);
      if (column_bias) add_column_bias(row + r, to, sizes_.cols, height, width);
      return;
    }
    S* to = out(row + r, col + j);
    if constexpr (!kNarrow<S>) {
      if (p_.out_col == 1 && width == vecs * kLanes<T> && !column_bias) {
        kernel(depth, a, a_row, b, b_row, to, p_.out_row, p_.add || !first, row_bias);
        return;
      }
    }
    MILL_ALIGN T tile[kRows * kCols<T>];
    kernel(depth, a, a_row, b, b_row, tile, kCols<T>, false, row_bias);
    if (column_bias) add_column_bias(row + r, tile, kCols<T>, height, width);
    unpack<S>(tile, kCols<T>, height, width, to, p_.out_row, p_.out_col, p_.add || !first);
  }

  const T* wide_row_bias(int64_t col, int64_t width, int64_t vecs, T* wide) const {
    const S* from = p_.bias + col * p_.bias_col;
    if constexpr (!kNarrow<S>) {
      if (p_.bias_col == 1 && width == vecs * kLanes<T>) return from;
    }
    for (int64_t i = 0; i < vecs * kLanes<T>; ++i) {
      wide[i] = i < width ? widen(from[i * p_.bias_col]) : T{0};
    }
    return wide;
  }

  void add_column_bias(int64_t row, T* tile, int64_t tile_row, int64_t height,
                       int64_t width) const {
    for (int64_t r = 0; r < height; ++r) {
      const T value = widen(p_.bias[(row + r) * p_.bias_row]);
      for (int64_t j = 0; j < width; ++j) tile[r * tile_row + j] += value;
    }
  }

  const Product<S>& p_;
  const BlockSizes sizes_;
  T* packed_a_;
  T* packed_b_;
  T* sums_;
};

}  // namespace gemm
}  // namespace
}  // namespace mill::cpu::MILL_TARGET
