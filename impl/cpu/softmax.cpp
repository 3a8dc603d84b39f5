// softmax and log_softmax along one axis, and their gradients. The tensor is [outer, n, inner]:
// with inner 1 a row is contiguous and stays in the first-level cache between its passes, else
// vectors run along inner and a tile of columns does.
#include "cpu/past_cache.h"
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

struct Extent {
  int64_t outer;
  int64_t n;
  int64_t inner;
};

Extent extent_of(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  if (x->rank == 0) return {1, 1, 1};
  const int32_t axis = static_cast<int32_t>(args->attr[0].i);
  return {product(x, 0, axis), x->dims[axis], product(x, axis + 1, x->rank)};
}

// ---- contiguous rows ----------------------------------------------------------------------------

// Rows of two-byte elements keep their exponentials in f32: on the stack up to this length, else in
// the workspace, which has room for one row of each of kSlots tasks.
constexpr int64_t kStackRow = 1024;
constexpr int64_t kSlots = 16;

template <class S>
inline constexpr bool kStaged = sizeof(S) == 2;

template <class S>
uint64_t softmax_workspace(const mill_kernel_args* args) {
  const Extent e = extent_of(args);
  if (!kStaged<S> || e.inner != 1 || e.n <= kStackRow) return 0;
  return static_cast<uint64_t>(smaller(e.outer, kSlots)) * static_cast<uint64_t>(e.n) *
         sizeof(float);
}

// `exponentials` may be the result row itself.
template <class S>
void softmax_row(const S* x, S* out, Compute<S>* exponentials, int64_t n) {
  using C = Compute<S>;
  const Tag<C> d;
  const Vec<Tag<C>> top = hn::Set(d, largest(d, x, n));
  const auto sum = sum_terms(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    prefetch(x + i, n * static_cast<int64_t>(sizeof(S)));  // the next row
    const Vec<Tag<C>> e = exp_below_zero(d, hn::Sub(get(d, x + i, part), top));
    put(d, e, exponentials + i, part);
    return e;
  });
  const Vec<Tag<C>> scale = hn::Set(d, static_cast<C>(1 / sum));
  each_vector(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    put(d, hn::Mul(get(d, exponentials + i, part), scale), out + i, part);
  });
}

template <class S>
void log_softmax_row(const S* x, S* out, int64_t n) {
  using C = Compute<S>;
  const Tag<C> d;
  const Vec<Tag<C>> top = hn::Set(d, largest(d, x, n));
  const auto sum = sum_terms(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    prefetch(x + i, n * static_cast<int64_t>(sizeof(S)));  // the next row
    return exp_below_zero(d, hn::Sub(get(d, x + i, part), top));
  });
  const Vec<Tag<C>> log_sum = hn::Set(d, static_cast<C>(std::log(static_cast<double>(sum))));
  each_vector(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    put(d, hn::Sub(hn::Sub(get(d, x + i, part), top), log_sum), out + i, part);
  });
}

// ---- columns ------------------------------------------------------------------------------------

constexpr int64_t kColumns = 512;  // at most; narrower where that gives every thread a tile
constexpr int64_t kBlockRows =
    64;  // rows that are summed in the compute type before the wide one takes over

// totals += sums; sums = 0
template <class C>
MILL_INLINE void flush(C* sums, Wide<C>* totals, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    totals[j] += sums[j];
    sums[j] = 0;
  }
}

// One tile of `columns` columns of n rows that are `inner` elements apart.
template <class S, bool kLog>
void softmax_columns(const S* x, S* out, int64_t n, int64_t inner, int64_t columns) {
  using C = Compute<S>;
  const Tag<C> d;
  C tops[kColumns];
  C sums[kColumns];
  Wide<C> totals[kColumns];
  const C lowest = -static_cast<C>(__builtin_huge_val());
  for (int64_t j = 0; j < columns; ++j) {
    tops[j] = lowest;
    sums[j] = 0;
    totals[j] = 0;
  }
  C* const top = tops;
  C* const sum = sums;
  for (int64_t k = 0; k < n; ++k) {
    const S* row = x + k * inner;
    each_vector(d, columns, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
      // A NaN poisons the sum below, so it need not survive here.
      put(d, hn::Max(get(d, top + j, part), get(d, row + j, part)), top + j, part);
    });
  }
  for (int64_t k = 0; k < n; ++k) {
    const S* row = x + k * inner;
    S* to = out + k * inner;
    each_vector(d, columns, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
      const Vec<Tag<C>> e =
          exp_below_zero(d, hn::Sub(get(d, row + j, part), get(d, top + j, part)));
      if constexpr (!kLog && !kStaged<S>) put(d, e, to + j, part);
      put(d, hn::Add(get(d, sum + j, part), e), sum + j, part);
    });
    if ((k + 1) % kBlockRows == 0) flush(sums, totals, columns);
  }
  flush(sums, totals, columns);
  for (int64_t j = 0; j < columns; ++j) sums[j] = static_cast<C>(totals[j]);
  each_vector(d, columns, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
    const Vec<Tag<C>> total = get(d, sum + j, part);
    put(d, kLog ? Math<Tag<C>>::log(total) : hn::Div(hn::Set(d, C(1)), total), sum + j, part);
  });
  for (int64_t k = 0; k < n; ++k) {
    const S* row = x + k * inner;
    S* to = out + k * inner;
    each_vector(d, columns, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
      const Vec<Tag<C>> s = get(d, sum + j, part);
      Vec<Tag<C>> result;
      if constexpr (kLog) {
        result = hn::Sub(hn::Sub(get(d, row + j, part), get(d, top + j, part)), s);
      } else if constexpr (kStaged<S>) {
        result =
            hn::Mul(exp_below_zero(d, hn::Sub(get(d, row + j, part), get(d, top + j, part))), s);
      } else {
        result = hn::Mul(get(d, to + j, part), s);
      }
      put(d, result, to + j, part);
    });
  }
}

// body(first element, columns) for the column tiles of a tensor whose inner extent is not 1.
template <class F>
MILL_INLINE void each_column_tile(const mill_kernel_args* args, Extent e, F&& body) {
  // Short columns stay in the first-level cache if the tile is narrow; long ones want long
  // contiguous pieces.
  const int64_t fitting =
      e.n <= 64 ? 128 : smaller(kColumns, ceil_div(ceil_div(e.inner, 4), 64) * 64);
  const int64_t width = smaller(e.inner, fitting);
  const int64_t tiles = ceil_div(e.inner, width);
  parallel(args, e.outer * tiles, grain_of(e.n * width), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % tiles * width;
      body(task / tiles * e.n * e.inner + first, smaller(width, e.inner - first));
    }
  });
}

// ---- launch -------------------------------------------------------------------------------------

template <class S, bool kLog>
mill_status softmax(const mill_kernel_args* args) {
  const int64_t numel = args->out[0]->numel;
  if (numel == 0) return MILL_OK;
  const Extent e = extent_of(args);
  const S* x = static_cast<const S*>(args->in[0]->data);
  S* out = static_cast<S*>(args->out[0]->data);
  if (e.inner != 1) {
    each_column_tile(args, e, [=](int64_t at, int64_t columns) {
      softmax_columns<S, kLog>(x + at, out + at, e.n, e.inner, columns);
    });
    return MILL_OK;
  }
  if constexpr (kLog) {
    parallel(args, e.outer, grain_of(e.n), [=](int64_t begin, int64_t end) {
      OutRows<S> rows(e.outer, e.n);
      for (int64_t r = begin; r < end; ++r) {
        log_softmax_row(x + r * e.n, rows.at(out + r * e.n), e.n);
        rows.done(out + r * e.n);
      }
    });
  } else if constexpr (!kStaged<S>) {
    parallel(args, e.outer, grain_of(e.n), [=](int64_t begin, int64_t end) {
      OutRows<S> rows(e.outer, e.n);
      for (int64_t r = begin; r < end; ++r) {
        S* const row = rows.at(out + r * e.n);
        softmax_row(x + r * e.n, row, row, e.n);
        rows.done(out + r * e.n);
      }
    });
  } else if (e.n <= kStackRow) {
    parallel(args, e.outer, grain_of(e.n), [=](int64_t begin, int64_t end) {
      float stage[kStackRow];
      for (int64_t r = begin; r < end; ++r) softmax_row(x + r * e.n, out + r * e.n, stage, e.n);
    });
  } else {
    const uint64_t needed = softmax_workspace<S>(args);
    if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
    float* stage = static_cast<float*>(args->workspace);
    const int64_t slots = smaller(e.outer, kSlots);
    parallel(args, slots, 1, [=](int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) {
        for (int64_t r = e.outer * slot / slots; r < e.outer * (slot + 1) / slots; ++r) {
          softmax_row(x + r * e.n, out + r * e.n, stage + slot * e.n, e.n);
        }
      }
    });
  }
  return MILL_OK;
}

// ---- gradients ----------------------------------------------------------------------------------

// What is summed over the axis, and what follows from it: y (g - sum(g y)) or g - e^y sum(g).
template <bool kLog, class V>
MILL_INLINE V gradient_term(V g, V y) {
  return kLog ? g : hn::Mul(g, y);
}
template <bool kLog, class D>
MILL_INLINE Vec<D> gradient_value(Vec<D> g, Vec<D> y, Vec<D> sum) {
  return kLog ? hn::NegMulAdd(Math<D>::exp(y), sum, g) : hn::Mul(y, hn::Sub(g, sum));
}

template <class S, bool kLog>
void gradient_row(const S* g, const S* y, S* out, int64_t n) {
  using C = Compute<S>;
  const Tag<C> d;
  const auto sum = sum_terms(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    return gradient_term<kLog>(get(d, g + i, part), get(d, y + i, part));
  });
  const Vec<Tag<C>> total = hn::Set(d, static_cast<C>(sum));
  each_vector(d, n, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    put(d, gradient_value<kLog, Tag<C>>(get(d, g + i, part), get(d, y + i, part), total), out + i,
        part);
  });
}

template <class S, bool kLog>
void gradient_columns(const S* g, const S* y, S* out, int64_t n, int64_t inner, int64_t columns) {
  using C = Compute<S>;
  const Tag<C> d;
  C sums[kColumns];
  Wide<C> totals[kColumns];
  for (int64_t j = 0; j < columns; ++j) {
    sums[j] = 0;
    totals[j] = 0;
  }
  C* const sum = sums;
  for (int64_t k = 0; k < n; ++k) {
    const int64_t at = k * inner;
    each_vector(d, columns, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
      const auto term = gradient_term<kLog>(get(d, g + at + j, part), get(d, y + at + j, part));
      put(d, hn::Add(get(d, sum + j, part), term), sum + j, part);
    });
    if ((k + 1) % kBlockRows == 0) flush(sums, totals, columns);
  }
  flush(sums, totals, columns);
  for (int64_t j = 0; j < columns; ++j) sums[j] = static_cast<C>(totals[j]);
  for (int64_t at = 0; at < n * inner; at += inner) {
    each_vector(d, columns, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
      put(d,
          gradient_value<kLog, Tag<C>>(get(d, g + at + j, part), get(d, y + at + j, part),
                                       get(d, sum + j, part)),
          out + at + j, part);
    });
  }
}

template <class S, bool kLog>
mill_status softmax_backward(const mill_kernel_args* args) {
  if (args->out[0]->numel == 0) return MILL_OK;
  const Extent e = extent_of(args);
  const S* g = static_cast<const S*>(args->in[0]->data);
  const S* y = static_cast<const S*>(args->in[1]->data);
  S* out = static_cast<S*>(args->out[0]->data);
  if (e.inner == 1) {
    parallel(args, e.outer, grain_of(e.n), [=](int64_t begin, int64_t end) {
      OutRows<S> rows(e.outer, e.n);
      for (int64_t r = begin; r < end; ++r) {
        gradient_row<S, kLog>(g + r * e.n, y + r * e.n, rows.at(out + r * e.n), e.n);
        rows.done(out + r * e.n);
      }
    });
  } else {
    each_column_tile(args, e, [=](int64_t at, int64_t columns) {
      gradient_columns<S, kLog>(g + at, y + at, out + at, e.n, e.inner, columns);
    });
  }
  return MILL_OK;
}

#define MILL_SOFTMAX_ENTRIES(dtype, S)                                                 \
  {MILL_OP_SOFTMAX, bit(dtype), {softmax<S, false>, softmax_workspace<S>}},            \
      {MILL_OP_LOG_SOFTMAX, bit(dtype), {softmax<S, true>, nullptr}},                  \
      {MILL_OP_SOFTMAX_BACKWARD, bit(dtype), {softmax_backward<S, false>, nullptr}}, { \
    MILL_OP_LOG_SOFTMAX_BACKWARD, bit(dtype), {                                        \
      softmax_backward<S, true>, nullptr                                               \
    }                                                                                  \
  }

constexpr KernelEntry kEntries[] = {
    MILL_SOFTMAX_ENTRIES(MILL_F32, float), MILL_SOFTMAX_ENTRIES(MILL_F64, double),
    MILL_SOFTMAX_ENTRIES(MILL_BF16, bf16), MILL_SOFTMAX_ENTRIES(MILL_F16, f16)};
#undef MILL_SOFTMAX_ENTRIES

}  // namespace

KernelList softmax_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
