// Copies of matrix blocks in the order in which tile_kernel reads them, converted to the type that
// it computes in, and the way back: from finished tiles to the output's type and strides. Included
// by matmul.cpp only, once per SIMD target.
#pragma once

#include "cpu/gemm_kernel.h"

namespace mill::cpu::MILL_TARGET {
namespace {
namespace gemm {

template <class S, class T = Sum<S>>
MILL_INLINE void copy_row(const S* from, int64_t count, T* to) {
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) store(load(from + i), to + i);
  for (; i < count; ++i) to[i] = widen(from[i]);
}

template <class S, class T = Sum<S>>
void transpose_rows(const S* const* rows, int64_t count, T* to, int64_t to_row) {
  constexpr int64_t kLane = kLanes<T>;
  constexpr int64_t kStep = static_cast<int64_t>(16 / sizeof(T));
  int64_t c = 0;
  if constexpr (kNarrow<S>) {
    MILL_ALIGN T wide[kLane * kLane];
    const T* wide_rows[kLane];
    for (int64_t r = 0; r < kLane; ++r) wide_rows[r] = wide + r * kLane;
    for (; c + kLane <= count; c += kLane) {
      for (int64_t r = 0; r < kLane; ++r) store(load(rows[r] + c), wide + r * kLane);
      for (int64_t i = 0; i < kLane; i += kStep) {
        transpose_block(wide_rows, i, to + (c + i) * to_row, to_row);
      }
    }
  } else {
    for (; c + kStep <= count; c += kStep) transpose_block(rows, c, to + c * to_row, to_row);
  }
  for (; c < count; ++c) {
    for (int64_t r = 0; r < kLane; ++r) to[c * to_row + r] = widen(rows[r][c]);
  }
}

// rows x depth elements of A; row r of the copy starts at to + r * kPackedRow.
template <class S, class T = Sum<S>>
void pack_a(const S* a, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t depth, T* to) {
  if (k_stride == 1 || depth == 1) {
    for (int64_t r = 0; r < rows; ++r) copy_row(a + r * row_stride, depth, to + r * kPackedRow);
  } else if (row_stride == 1) {
    const S* sources[kLanes<T>];
    for (int64_t k = 0; k < depth; k += kLanes<T>) {
      // Past the end the last row is repeated: what it leaves in the copy's gap is never read.
      for (int64_t i = 0; i < kLanes<T>; ++i) sources[i] = a + min_of(k + i, depth - 1) * k_stride;
      transpose_rows(sources, rows, to + k, kPackedRow);
    }
  } else {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < depth; ++k) {
        to[r * kPackedRow + k] = widen(a[r * row_stride + k * k_stride]);
      }
    }
  }
}

// depth x cols elements of B, cols <= kCols; row k of the copy starts at to + k * kCols. Columns
// past `cols` hold anything: they meet only columns of the result that are thrown away.
template <class S, class T = Sum<S>>
void pack_b(const S* b, int64_t k_stride, int64_t col_stride, int64_t depth, int64_t cols, T* to) {
  if (col_stride == 1 && cols == kCols<T>) {
    for (int64_t k = 0; k < depth; ++k) {
      MILL_UNROLL
      for (int v = 0; v < kVecs; ++v) {
        __builtin_prefetch(b + (k + 16) * k_stride + v * kLanes<T>);
        store(load(b + k * k_stride + v * kLanes<T>), to + k * kCols<T> + v * kLanes<T>);
      }
    }
  } else if (k_stride == 1 && depth > 1) {
    const S* sources[kLanes<T>];
    for (int64_t j = 0; j < cols; j += kLanes<T>) {
      for (int64_t i = 0; i < kLanes<T>; ++i) sources[i] = b + min_of(j + i, cols - 1) * col_stride;
      transpose_rows(sources, depth, to + j, kCols<T>);
    }
  } else if (col_stride == 1) {
    for (int64_t k = 0; k < depth; ++k) {
      const S* from = b + k * k_stride;
      T* row = to + k * kCols<T>;
      int64_t j = 0;
      for (; j + kLanes<T> <= cols; j += kLanes<T>) store(load(from + j), row + j);
      if (j < cols) store(load_some(from + j, cols - j), row + j);
    }
  } else {
    const int64_t width = round_up(cols, kLanes<T>);
    for (int64_t k = 0; k < depth; ++k) {
      T* row = to + k * kCols<T>;
      const S* from = b + k * k_stride;
      for (int64_t j = 0; j < cols; ++j) row[j] = widen(from[j * col_stride]);
      for (int64_t j = cols; j < width; ++j) row[j] = 0;
    }
  }
}

// out (+)= tile, rounded once.
template <class S, class T = Sum<S>>
void unpack(const T* tile, int64_t tile_row, int64_t rows, int64_t cols, S* out, int64_t row_stride,
            int64_t col_stride, bool add) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* from = tile + r * tile_row;
    S* to = out + r * row_stride;
    int64_t j = 0;
    if (col_stride == 1) {
      for (; j + kLanes<T> <= cols; j += kLanes<T>) {
        const Vec<T> value = load(from + j);
        store(add ? plus(load(to + j), value) : value, to + j);
      }
      if (j < cols) {
        const int64_t rest = cols - j;
        const Vec<T> value = load_some(from + j, rest);
        store_some(add ? plus(load_some(to + j, rest), value) : value, rest, to + j);
        j = cols;
      }
    }
    for (; j < cols; ++j) {
      S* at = to + j * col_stride;
      narrow(add ? widen(*at) + from[j] : from[j], at);
    }
  }
}

}  // namespace gemm
}  // namespace
}  // namespace mill::cpu::MILL_TARGET
