// What the passes of attention share: operands with any strides, tiles of products on the register
// kernel of the matrix product, and which keys a query sees. Included by attention.cpp only, once
// per SIMD target.
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// Queries and keys of a tile: a tile of scores is 16 KiB of f32.
inline constexpr int64_t kTileQueries = 64;
inline constexpr int64_t kTileKeys = 64;
// A row of a copy that is read by rows starts this far after its last element, so that the rows of
// a panel do not all fall on one cache set.
inline constexpr int64_t kRowGap = 16;

template <class T>
inline constexpr int64_t kPanel = gemm::kCols<T>;
template <class T>
inline constexpr int64_t kVector = gemm::kLanes<T>;

MILL_INLINE int64_t padded(int64_t n, int64_t unit) {
  return ceil_div(n, unit) * unit;
}

// Rows of one head.
template <class S>
struct Rows {
  const S* data;
  int64_t row, col;  // strides
  int64_t width;

  MILL_INLINE const S* at(int64_t r) const { return data + r * row; }
};

template <class S>
MILL_INLINE Rows<S> rows_of(const mill_kernel_tensor& t, int64_t batch, int64_t head) {
  return {static_cast<const S*>(t.data) + batch * t.strides[0] + head * t.strides[1], t.strides[2],
          t.strides[3], t.dims[3]};
}

// Whether the register kernel can read these rows where they lie, as its right operand.
template <class S, class T>
MILL_INLINE bool lies_ready(const Rows<S>& x) {
  return std::is_same_v<S, T> && x.col == 1 && x.width % kVector<T> == 0;
}

// Rows [first, first + n) in T, `pitch` apart, gaps up to a whole vector zero.
template <class S, class T>
void copy_rows(const Rows<S>& x, int64_t first, int64_t n, T factor, T* to, int64_t pitch) {
  const Tag<T> d;
  const Vec<Tag<T>> scale = hn::Set(d, factor);
  const int64_t whole = padded(x.width, kVector<T>);
  for (int64_t r = 0; r < n; ++r) {
    const S* from = x.at(first + r);
    T* row = to + r * pitch;
    if (x.col == 1) {
      each_vector(d, x.width, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
        put(d, hn::Mul(get(d, from + i, part), scale), row + i, part);
      });
    } else {
      for (int64_t i = 0; i < x.width; ++i) row[i] = element(from[i * x.col]) * factor;
    }
    for (int64_t i = x.width; i < whole; ++i) row[i] = 0;
  }
}

// Rows [first, first + n) as the columns of a right operand: panels of width rows by kPanel
// columns. Columns past n hold anything.
template <class S, class T>
void pack_columns(const Rows<S>& x, int64_t first, int64_t n, T* to) {
  for (int64_t c = 0; c < n; c += kPanel<T>) {
    gemm::pack_b(x.at(first + c), x.col, x.row, x.width, smaller(kPanel<T>, n - c),
                 to + c * x.width);
  }
}

// A right operand: `depth` rows, in panels of kPanel columns that lie panel_step apart.
template <class T>
struct RightSide {
  const T* data;
  int64_t row;
  int64_t panel_step;
};

// out (+)= left right; left has `rows` rows of `depth`. Whole vectors of out are written: the last
// one of a row may pass `cols`.
template <class T>
void multiply(int64_t rows, int64_t cols, int64_t depth, const T* left, int64_t left_row,
              const RightSide<T>& right, T* out, int64_t out_row, bool add) {
  const int64_t panels = ceil_div(rows, gemm::kRows);
  for (int64_t c = 0; c < cols; c += kPanel<T>) {
    const int64_t vectors = ceil_div(smaller(kPanel<T>, cols - c), kVector<T>);
    const T* from = right.data + c / kPanel<T> * right.panel_step;
    int64_t r = 0;
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t height = rows / panels + (p < rows % panels ? 1 : 0);
      gemm::kTileKernels<T>[vectors - 1][height - 1](depth, left + r * left_row, left_row, from,
                                                     right.row, out + r * out_row + c, out_row, add,
                                                     nullptr);
      r += height;
    }
  }
}

template <class T>
MILL_INLINE void scale_row(T* row, int64_t n, T factor) {
  const Tag<T> d;
  const Vec<Tag<T>> f = hn::Set(d, factor);
  each_vector(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    put(d, hn::Mul(get(d, row + i, part), f), row + i, part);
  });
}

// ---- which keys count ---------------------------------------------------------------------------

// A mask or bias of one head: strides are 0 along what it is broadcast.
template <class S>
struct Spread {
  const S* data;  // NULL: none
  int64_t query, key;
};

template <class S>
MILL_INLINE Spread<S> spread_of(const mill_kernel_tensor* t, int64_t batch, int64_t head) {
  if (t == nullptr) return {nullptr, 0, 0};
  const int64_t at[4] = {batch, head, 0, 0};
  int64_t steps[4] = {0, 0, 0, 0};
  int64_t offset = 0;
  for (int32_t i = 0; i < t->rank; ++i) {
    const int32_t axis = 4 - t->rank + i;
    steps[axis] = t->dims[i] == 1 ? 0 : t->strides[i];
    offset += steps[axis] * at[axis];
  }
  return {static_cast<const S*>(t->data) + offset, steps[2], steps[3]};
}

// What one head's scores are made of.
template <class S>
struct Sight {
  Spread<uint8_t> mask;
  Spread<S> bias;
  int64_t keys;  // of the sequence, that count
  bool causal;
  int64_t offset;

  // Keys that a query may see.
  MILL_INLINE int64_t end(int64_t query) const {
    return causal ? smaller(keys, larger<int64_t>(0, query + offset + 1)) : keys;
  }
  // The first query that may see a key.
  MILL_INLINE int64_t first_query(int64_t key) const {
    return causal ? larger<int64_t>(0, key - offset) : 0;
  }
};

// Adds the bias to n scores of a query from `key` on, and takes out what the mask hides.
template <class S, class T>
MILL_INLINE void edit_scores(const Sight<S>& sight, int64_t query, int64_t key, int64_t n,
                             T* scores) {
  if (sight.bias.data != nullptr) {
    const S* bias = sight.bias.data + query * sight.bias.query + key * sight.bias.key;
    for (int64_t c = 0; c < n; ++c) scores[c] += static_cast<T>(element(bias[c * sight.bias.key]));
  }
  if (sight.mask.data != nullptr) {
    const uint8_t* mask = sight.mask.data + query * sight.mask.query + key * sight.mask.key;
    const T hidden = -static_cast<T>(__builtin_huge_val());
    for (int64_t c = 0; c < n; ++c)
      if (mask[c * sight.mask.key] == 0) scores[c] = hidden;
  }
}

// The same for n queries from `query` on and one key.
template <class S, class T>
MILL_INLINE void edit_column(const Sight<S>& sight, int64_t query, int64_t key, int64_t n,
                             T* scores) {
  if (sight.bias.data != nullptr) {
    const S* bias = sight.bias.data + query * sight.bias.query + key * sight.bias.key;
    for (int64_t r = 0; r < n; ++r)
      scores[r] += static_cast<T>(element(bias[r * sight.bias.query]));
  }
  if (sight.mask.data != nullptr) {
    const uint8_t* mask = sight.mask.data + query * sight.mask.query + key * sight.mask.key;
    const T hidden = -static_cast<T>(__builtin_huge_val());
    for (int64_t r = 0; r < n; ++r)
      if (mask[r * sight.mask.query] == 0) scores[r] = hidden;
  }
}

// ---- memory -------------------------------------------------------------------------------------

// Pieces of a task's workspace, each at a cache line's start.
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

// ---- the launch ---------------------------------------------------------------------------------

// Sizes and operands that both passes have in common.
struct Shape {
  int64_t batch, heads, key_heads, queries, keys, width, value_width;
  int64_t group;  // heads that share one of the keys
};

Shape shape_of(const mill_kernel_tensor& q, const mill_kernel_tensor& k,
               const mill_kernel_tensor& v) {
  Shape s{q.dims[0], q.dims[1], k.dims[1], q.dims[2], k.dims[2], q.dims[3], v.dims[3], 1};
  if (s.key_heads > 0) s.group = s.heads / s.key_heads;
  return s;
}

template <class S>
Sight<S> sight_of(const mill_kernel_args* args, uint32_t mask, int64_t keys, int64_t batch,
                  int64_t head) {
  const mill_kernel_tensor* lengths = input(args, mask + 2);
  int64_t seen = keys;
  if (lengths != nullptr) {
    // Rows that are no vectors have a stride of their own.
    mill_kernel_tensor one = *lengths;
    seen = read_index(&one, batch * one.strides[0]);
  }
  return {spread_of<uint8_t>(input(args, mask), batch, head),
          spread_of<S>(input(args, mask + 1), batch, head), seen, args->attr[0].i != 0,
          args->attr[1].i};
}

mill_status check_lengths(const mill_kernel_args* args, const mill_kernel_tensor* lengths,
                          int64_t keys) {
  if (lengths == nullptr) return MILL_OK;
  for (int64_t b = 0; b < lengths->dims[0]; ++b) {
    const int64_t n = read_index(lengths, b * lengths->strides[0]);
    if (n >= 0 && n <= keys) continue;
    return refuse(args, MILL_E_INDEX, "length %lld at position %lld is outside [0, %lld)",
                  static_cast<long long>(n), static_cast<long long>(b),
                  static_cast<long long>(keys + 1));
  }
  return MILL_OK;
}

int64_t slots_of(const mill_kernel_args* args, int64_t tasks) {
  const int64_t threads = args->host == nullptr ? 1 : static_cast<int64_t>(args->host->threads);
  return larger<int64_t>(1, smaller(tasks, threads));
}

// Multiply-adds that repay waking a thread.
constexpr double kThreadWork = 1 << 19;

// body(task, its slot's piece of the workspace) for all tasks, each slot on a thread.
template <class T, class F>
mill_status each_task(const mill_kernel_args* args, int64_t tasks, double work, int64_t piece,
                      F&& body) {
  const int64_t slots = slots_of(args, tasks);
  const uint64_t needed = static_cast<uint64_t>(slots * piece) * sizeof(T);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  T* memory = static_cast<T*>(args->workspace);
  parallel(args, slots, work < kThreadWork ? slots : 1, [=](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      for (int64_t task = tasks * slot / slots; task < tasks * (slot + 1) / slots; ++task)
        body(task, memory + slot * piece);
    }
  });
  return MILL_OK;
}

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
