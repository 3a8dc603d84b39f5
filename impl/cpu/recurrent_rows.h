// What the passes of recurrent networks share: packed weights, products of a group of rows with
// them on the register kernel of the matrix product, and how rows are dealt to threads. Rows of the
// batch do not meet, so that a thread takes its rows through all time. Included by recurrent.cpp
// only, once per SIMD target.
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/rows.h"
#include "kernels/functors/recurrent.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using functors::Recurrent;

// Units that a block of the passes computes at a time: a vector of each gate forward, a panel's
// columns backward.
template <class T>
inline constexpr int64_t kVector = gemm::kLanes<T>;
template <class T>
inline constexpr int64_t kPanel = gemm::kCols<T>;
// Rows that go through time together: their states stay in the second-level cache.
inline constexpr int64_t kMostRows = 64;

MILL_INLINE int64_t padded(int64_t n, int64_t unit) {
  return ceil_div(n, unit) * unit;
}

// Pieces of workspace, each at a cache line's start.
template <class T>
struct Carver {
  T* at;  // NULL while sizes are only added up
  int64_t used;

  MILL_INLINE T* take(int64_t count) {
    T* piece = at == nullptr ? nullptr : at + used;
    used += padded(count, 16);
    return piece;
  }
};

// out (+)= left right (+ bias) for `rows` rows; right has `depth` rows of `vectors` vectors, kPanel
// apart. Whole vectors of out are written.
template <class T>
void multiply(int64_t rows, int64_t vectors, int64_t depth, const T* left, int64_t left_row,
              const T* right, T* out, int64_t out_row, bool add, const T* bias) {
  const int64_t panels = ceil_div(rows, gemm::kRows);
  for (int64_t k = 0; k < depth; k += gemm::kDepth) {
    const int64_t part = smaller<int64_t>(gemm::kDepth, depth - k);
    int64_t r = 0;
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t height = rows / panels + (p < rows % panels ? 1 : 0);
      gemm::kTileKernels<T>[vectors - 1][height - 1](
          part, left + r * left_row + k, left_row, right + k * kPanel<T>, kPanel<T>,
          out + r * out_row, out_row, add || k > 0, k + part == depth ? bias : nullptr);
      r += height;
    }
  }
}

// ---- sizes --------------------------------------------------------------------------------------

struct Extent {
  int64_t steps, batch, units;
  int64_t rows;  // of a task, at most
  int64_t tasks;
  int64_t slots;  // threads that have tasks
};

Extent extent_of(const mill_kernel_args* args, const mill_kernel_tensor& steps, int64_t units) {
  Extent e{steps.dims[0], steps.dims[1], units, 0, 0, 0};
  const int64_t threads = args->host == nullptr ? 1 : static_cast<int64_t>(args->host->threads);
  e.slots = larger<int64_t>(1, smaller(threads, e.batch));
  e.tasks = e.slots * larger<int64_t>(1, ceil_div(e.batch, kMostRows * e.slots));
  e.rows = larger<int64_t>(1, ceil_div(e.batch, e.tasks));
  return e;
}

// Multiply-adds that repay waking a thread.
constexpr double kThreadWork = 1 << 19;

// body(first row, rows, the slot's piece of workspace) for all rows.
template <class T, class F>
void each_task(const mill_kernel_args* args, const Extent& e, double work, T* memory, int64_t piece,
               F&& body) {
  parallel(args, e.slots, work < kThreadWork ? e.slots : 1, [=](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      for (int64_t task = e.tasks * slot / e.slots; task < e.tasks * (slot + 1) / e.slots; ++task) {
        const int64_t first = e.batch * task / e.tasks;
        const int64_t rows = e.batch * (task + 1) / e.tasks - first;
        if (rows > 0) body(first, rows, memory + slot * piece);
      }
    }
  });
}

template <class S>
MILL_INLINE const S* values_of(const mill_kernel_args* args, uint32_t k) {
  const mill_kernel_tensor* t = input(args, k);
  return t == nullptr ? nullptr : static_cast<const S*>(t->data);
}
template <class S>
MILL_INLINE S* results_of(const mill_kernel_args* args, uint32_t k) {
  const mill_kernel_tensor* t = output(args, k);
  return t == nullptr ? nullptr : static_cast<S*>(t->data);
}

// ---- which steps count --------------------------------------------------------------------------

mill_status check_lengths(const mill_kernel_args* args, const mill_kernel_tensor* lengths,
                          int64_t steps) {
  if (lengths == nullptr) return MILL_OK;
  return check_indices(args, lengths, steps + 1, nullptr, "length");
}

// The order of time: a sequence that runs backward begins where its time is below its length.
struct Clock {
  const mill_kernel_tensor* lengths;
  int64_t steps;
  bool reverse;

  MILL_INLINE int64_t time(int64_t step) const { return reverse ? steps - 1 - step : step; }
  MILL_INLINE bool counts(int64_t row, int64_t time) const {
    return lengths == nullptr || time < read_index(lengths, row);
  }
  // Where the step before this one left its results, or -1: the sequence begins here.
  MILL_INLINE int64_t before(int64_t row, int64_t time) const {
    const int64_t at = reverse ? time + 1 : time - 1;
    return at >= 0 && at < steps && counts(row, at) ? at : -1;
  }
};

// ---- rows ---------------------------------------------------------------------------------------

// A row of n elements of a possible tensor in T; zeros where there is none.
template <class S, class T>
MILL_INLINE void read_row(const S* from, int64_t n, int64_t whole, T* to) {
  const Tag<T> d;
  if (from == nullptr) n = 0;
  each_vector(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    put(d, get(d, from + i, part), to + i, part);
  });
  for (int64_t i = n; i < whole; ++i) to[i] = 0;
}
template <class S, class T>
MILL_INLINE void write_row(const T* from, int64_t n, S* to) {
  const Tag<T> d;
  if (to == nullptr) return;
  each_vector(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    put(d, get(d, from + i, part), to + i, part);
  });
}
template <class S>
MILL_INLINE void clear_row(S* to, int64_t n) {
  if (to != nullptr) std::memset(static_cast<void*>(to), 0, static_cast<size_t>(n) * sizeof(S));
}

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
