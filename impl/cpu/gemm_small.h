// Products that would spend more time packing than multiplying: a few elements, and few rows
// against a matrix that is read once. Included by kernels of products only, once per SIMD target.
#pragma once

#include "cpu/gemm_block.h"

namespace mill::cpu::MILL_TARGET {
namespace {
namespace gemm {

template <class S, class T = Sum<S>>
MILL_INLINE void put(const Product<S>& p, int64_t i, int64_t j, T sum) {
  if (p.bias != nullptr) sum += widen(p.bias[i * p.bias_row + j * p.bias_col]);
  S* at = p.out + i * p.out_row + j * p.out_col;
  narrow(p.add ? widen(*at) + sum : sum, at);
}

template <class S>
void scalar_product(const Product<S>& p) {
  using T = Sum<S>;
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      const S* a = p.a + i * p.a_row;
      const S* b = p.b + j * p.b_col;
      T sum = 0;
      for (int64_t k = 0; k < p.k; ++k) sum += widen(a[k * p.a_col]) * widen(b[k * p.b_row]);
      put(p, i, j, sum);
    }
  }
}

// All R rows of A and C columns of B, which lie along k.
template <class S, int R, int C>
MILL_INLINE void dots(const Product<S>& p, int64_t j) {
  using T = Sum<S>;
  Vec<T> sums[R][C];
  MILL_UNROLL
  for (int r = 0; r < R; ++r) {
    MILL_UNROLL
    for (int c = 0; c < C; ++c) sums[r][c] = zero<T>();
  }
  const S* a = p.a;
  const S* b = p.b + j * p.b_col;
  int64_t k = 0;
  for (; k + kLanes<T> <= p.k; k += kLanes<T>) {
    Vec<T> row[R];
    MILL_UNROLL
    for (int r = 0; r < R; ++r) row[r] = load(a + r * p.a_row + k);
    MILL_UNROLL
    for (int c = 0; c < C; ++c) {
      const Vec<T> column = load(b + c * p.b_col + k);
      MILL_UNROLL
      for (int r = 0; r < R; ++r) sums[r][c] = mul_add(row[r], column, sums[r][c]);
    }
  }
  MILL_UNROLL
  for (int r = 0; r < R; ++r) {
    MILL_UNROLL
    for (int c = 0; c < C; ++c) {
      T sum = sum_of(sums[r][c]);
      for (int64_t rest = k; rest < p.k; ++rest) {
        sum += widen(a[r * p.a_row + rest]) * widen(b[c * p.b_col + rest]);
      }
      put(p, r, j + c, sum);
    }
  }
}

// Accumulators that leave registers for the operands.
inline constexpr int kDotSums = kRows > 8 ? 24 : 12;
inline constexpr int64_t kMaxDotRows = kRows > 8 ? 8 : 4;

template <class S, int R>
void dot_rows(const Product<S>& p) {
  constexpr int kColumns = kDotSums / R < 4 ? kDotSums / R : 4;
  int64_t j = 0;
  for (; j + kColumns <= p.n; j += kColumns) dots<S, R, kColumns>(p, j);
  for (; j < p.n; ++j) dots<S, R, 1>(p, j);
}

// a_col == 1, b_row == 1, m <= kMaxDotRows.
template <class S>
void dot_product(const Product<S>& p) {
  switch (p.m) {
    case 1: return dot_rows<S, 1>(p);
    case 2: return dot_rows<S, 2>(p);
    case 3: return dot_rows<S, 3>(p);
    case 4: return dot_rows<S, 4>(p);
    default: break;
  }
  if constexpr (kMaxDotRows > 4) {
    switch (p.m) {
      case 5: return dot_rows<S, 5>(p);
      case 6: return dot_rows<S, 6>(p);
      case 7: return dot_rows<S, 7>(p);
      default: return dot_rows<S, 8>(p);
    }
  }
}

// One row times a matrix whose rows are contiguous: a page of the result at a time stays in the
// first- level cache while eight rows of B stream past it. b_col == 1, m == 1.
template <class S>
void row_product(const Product<S>& p) {
  using T = Sum<S>;
  constexpr int64_t kPage = static_cast<int64_t>(4096 / sizeof(T));
  constexpr int kStep = 8;
  MILL_ALIGN T sums[kPage];
  for (int64_t col = 0; col < p.n; col += kPage) {
    const int64_t cols = min_of(kPage, p.n - col);
    for (int64_t j = 0; j < cols; ++j) sums[j] = 0;
    int64_t k = 0;
    const S* b = p.b + col;
    for (; k + kStep <= p.k; k += kStep, b += kStep * p.b_row) {
      T a[kStep];
      for (int s = 0; s < kStep; ++s) a[s] = widen(p.a[(k + s) * p.a_col]);
      int64_t j = 0;
      for (; j + kLanes<T> <= cols; j += kLanes<T>) {
        Vec<T> sum = load(sums + j);
        MILL_UNROLL
        for (int s = 0; s < kStep; ++s) {
          sum = mul_add(splat(a[s]), load(b + s * p.b_row + j), sum);
        }
        store(sum, sums + j);
      }
      for (; j < cols; ++j) {
        for (int s = 0; s < kStep; ++s) sums[j] += a[s] * widen(b[s * p.b_row + j]);
      }
    }
    for (; k < p.k; ++k, b += p.b_row) {
      const T a = widen(p.a[k * p.a_col]);
      for (int64_t j = 0; j < cols; ++j) sums[j] += a * widen(b[j]);
    }
    for (int64_t j = 0; j < cols; ++j) put(p, 0, col + j, sums[j]);
  }
}

// The product with its rows and columns exchanged.
template <class S>
Product<S> transposed(const Product<S>& p) {
  return {p.n,     p.m,   p.k,       p.b,       p.b_col, p.b_row,    p.a,        p.a_col,
          p.a_row, p.out, p.out_col, p.out_row, p.bias,  p.bias_col, p.bias_row, p.add};
}

}  // namespace gemm
}  // namespace
}  // namespace mill::cpu::MILL_TARGET
