// The loops of a reduction: sums, products and extremes of rows where the innermost axis is
// reduced, of columns where it is kept.
#pragma once

#include "cpu/reduce_plan.h"
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {  // a part of reduce.cpp, which alone includes it

// ---- operations ---------------------------------------------------------------------------------

template <class S>
struct Accumulate {  // what elements of S are reduced in
  using type = int64_t;
};
template <>
struct Accumulate<float> {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};
template <>
struct Accumulate<bf16> {
  using type = float;
};
template <>
struct Accumulate<f16> {
  using type = float;
};

template <class S>
constexpr bool kIsFloat = !std::is_same_v<typename Accumulate<S>::type, int64_t>;

struct Sum {
  template <class C>
  using Total = Wide<C>;
  template <class C>
  static MILL_INLINE C identity() {
    return 0;
  }
  template <class C>
  static MILL_INLINE C both(C a, C b) {
    if constexpr (std::is_same_v<C, int64_t>) {
      // Integers wrap.
      return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    } else {
      return a + b;
    }
  }
  template <class D>
  static MILL_INLINE Vec<D> both(D, Vec<D> a, Vec<D> b) {
    return hn::Add(a, b);
  }
};

struct Max {
  template <class C>
  using Total = C;
  template <class C>
  static MILL_INLINE C identity() {
    if constexpr (std::is_same_v<C, int64_t>) {
      return INT64_MIN;
    } else {
      return -static_cast<C>(__builtin_huge_val());
    }
  }
  // A NaN in b is taken, one in a stays.
  template <class C>
  static MILL_INLINE C both(C a, C b) {
    if constexpr (std::is_same_v<C, int64_t>) {
      return b > a ? b : a;
    } else {
      return !(b <= a) && a == a ? b : a;
    }
  }
  template <class D>
  static MILL_INLINE Vec<D> both(D, Vec<D> a, Vec<D> b) {
    return hn::IfThenElse(hn::Or(hn::Gt(b, a), hn::IsNaN(b)), b, a);
  }
  // Where there is no NaN.
  template <class V>
  static MILL_INLINE V pick(V a, V b) {
    return hn::Max(a, b);
  }
  template <class D>
  static MILL_INLINE Lane<D> across(D d, Vec<D> v) {
    return lanes_max(d, v);
  }
};

struct Min {
  template <class C>
  using Total = C;
  template <class C>
  static MILL_INLINE C identity() {
    if constexpr (std::is_same_v<C, int64_t>) {
      return INT64_MAX;
    } else {
      return static_cast<C>(__builtin_huge_val());
    }
  }
  // As Max.
  template <class C>
  static MILL_INLINE C both(C a, C b) {
    if constexpr (std::is_same_v<C, int64_t>) {
      return b < a ? b : a;
    } else {
      return !(b >= a) && a == a ? b : a;
    }
  }
  template <class D>
  static MILL_INLINE Vec<D> both(D, Vec<D> a, Vec<D> b) {
    return hn::IfThenElse(hn::Or(hn::Lt(b, a), hn::IsNaN(b)), b, a);
  }
  template <class V>
  static MILL_INLINE V pick(V a, V b) {
    return hn::Min(a, b);
  }
  template <class D>
  static MILL_INLINE Lane<D> across(D d, Vec<D> v) {
    return hn::GetLane(hn::MinOfLanes(d, v));
  }
};

struct Prod {
  template <class C>
  using Total = Wide<C>;
  template <class C>
  static MILL_INLINE C identity() {
    return 1;
  }
  template <class C>
  static MILL_INLINE C both(C a, C b) {
    if constexpr (std::is_same_v<C, int64_t>) {
      return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    } else {
      return a * b;
    }
  }
  template <class D>
  static MILL_INLINE Vec<D> both(D, Vec<D> a, Vec<D> b) {
    return hn::Mul(a, b);
  }
};

template <class Op, class C>
using Total = typename Op::template Total<C>;

// n contiguous elements as one value.
template <class Op, class S>
__attribute__((noinline)) Total<Op, typename Accumulate<S>::type> reduce_run(const S* x,
                                                                             int64_t n) {
  using C = typename Accumulate<S>::type;
  if constexpr (!kIsFloat<S>) {
    C total = Op::template identity<C>();
    for (int64_t i = 0; i < n; ++i) total = Op::template both<C>(total, element(x[i]));
    return total;
  } else if constexpr (std::is_same_v<Op, Sum>) {
    const Tag<C> d;
    return sum_terms(d, n,
                     [=](int64_t i, auto part) MILL_LAMBDA_INLINE { return get(d, x + i, part); });
  } else if constexpr (std::is_same_v<Op, Prod>) {
    // In the wide type: products leave the range of the narrow one early.
    Wide<C> a = 1;
    Wide<C> b = 1;
    int64_t i = 0;
    for (; i + 2 <= n; i += 2) {
      a *= static_cast<Wide<C>>(element(x[i]));
      b *= static_cast<Wide<C>>(element(x[i + 1]));
    }
    return i < n ? a * b * static_cast<Wide<C>>(element(x[i])) : a * b;
  } else {
    const Tag<C> d;
    using V = Vec<Tag<C>>;
    constexpr int64_t kStep = kLanes<Tag<C>>;
    // The plain comparison loses NaN, so those are looked for beside it: that keeps its chain of
    // dependences short.
    const V low = hn::Set(d, Op::template identity<C>());
    V a = low;
    V b = low;
    V c = low;
    V e = low;
    auto nan = hn::IsNaN(low);
    int64_t i = 0;
    for (; i + 4 * kStep <= n; i += 4 * kStep) {
      const V x0 = get(d, x + i, Full{});
      const V x1 = get(d, x + i + kStep, Full{});
      const V x2 = get(d, x + i + 2 * kStep, Full{});
      const V x3 = get(d, x + i + 3 * kStep, Full{});
      nan = hn::Or(
          nan, hn::Or(hn::Or(hn::IsNaN(x0), hn::IsNaN(x1)), hn::Or(hn::IsNaN(x2), hn::IsNaN(x3))));
      a = Op::pick(a, x0);
      b = Op::pick(b, x1);
      c = Op::pick(c, x2);
      e = Op::pick(e, x3);
    }
    for (; i + kStep <= n; i += kStep) {
      const V x0 = get(d, x + i, Full{});
      nan = hn::Or(nan, hn::IsNaN(x0));
      a = Op::pick(a, x0);
    }
    if (i < n) {
      const Part part{n - i};
      const V x0 = keep(d, get(d, x + i, part), part, low);
      nan = hn::Or(nan, hn::IsNaN(x0));
      b = Op::pick(b, x0);
    }
    if (!hn::AllFalse(d, nan)) return static_cast<C>(__builtin_nan(""));
    return Op::across(d, Op::pick(Op::pick(a, b), Op::pick(c, e)));
  }
}

// n elements `stride` apart as one value.
template <class Op, class S>
Total<Op, typename Accumulate<S>::type> reduce_row(const S* x, int64_t stride, int64_t n) {
  using C = typename Accumulate<S>::type;
  using T = Total<Op, C>;
  if (stride == 1) return reduce_run<Op>(x, n);
  T total = Op::template identity<T>();
  constexpr int64_t kStridedBlock = 128;
  for (int64_t begin = 0; begin < n; begin += kStridedBlock) {
    const int64_t end = smaller(begin + kStridedBlock, n);
    C a = Op::template identity<C>();
    C b = a;
    int64_t i = begin;
    for (; i + 2 <= end; i += 2) {
      a = Op::template both<C>(a, element(x[i * stride]));
      b = Op::template both<C>(b, element(x[(i + 1) * stride]));
    }
    if (i < end) a = Op::template both<C>(a, element(x[i * stride]));
    total = Op::template both<T>(total, static_cast<T>(Op::template both<C>(a, b)));
  }
  return total;
}

// ---- inner axis reduced -------------------------------------------------------------------------

// A row is cut into segments of this many elements, and about as many elements make a chunk.
constexpr int64_t kSegment = 32768;

struct RowChunks {
  int64_t segments;  // of one row
  int64_t items;     // row segments per chunk
  int64_t chunks;    // per output; 1 = no partial results
};

RowChunks row_chunks(const Plan& plan) {
  RowChunks chunks;
  chunks.segments = ceil_div(plan.inner.size, kSegment);
  chunks.items = ceil_div(kSegment, smaller(plan.inner.size, kSegment));
  chunks.chunks = ceil_div(plan.rows * chunks.segments, chunks.items);
  // Enough outputs keep all threads busy without partial results.
  if (plan.outer >= 64) chunks = {chunks.segments, plan.rows * chunks.segments, 1};
  return chunks;
}

template <class Op, class S>
Total<Op, typename Accumulate<S>::type> reduce_items(const Plan& plan, const S* x, int64_t segments,
                                                     int64_t begin, int64_t end) {
  using T = Total<Op, typename Accumulate<S>::type>;
  T total = Op::template identity<T>();
  if (begin >= end) return total;
  Walk row(plan.reduced, begin / segments);
  int64_t segment = begin % segments;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t first = segment * kSegment;
    const int64_t n = smaller(kSegment, plan.inner.size - first);
    const T part = reduce_row<Op>(x + row.in + first * plan.inner.in, plan.inner.in, n);
    total = Op::template both<T>(total, part);
    if (++segment == segments) {
      segment = 0;
      row.next();
    }
  }
  return total;
}

template <class Op, class S>
void reduce_rows(const mill_kernel_args* args, const Plan& plan, double divisor) {
  using T = Total<Op, typename Accumulate<S>::type>;
  const S* x = static_cast<const S*>(args->in[0]->data);
  S* out = static_cast<S*>(args->out[0]->data);
  const RowChunks chunks = row_chunks(plan);
  const auto finish = [&](T total) MILL_LAMBDA_INLINE {
    if constexpr (kIsFloat<S>) {
      return stored<S>(static_cast<typename Accumulate<S>::type>(
          divisor == 1 ? total : total / static_cast<T>(divisor)));
    } else {
      return stored<S>(total);
    }
  };
  if (chunks.chunks == 1) {
    const bool one_row = plan.rows == 1 && chunks.segments == 1;
    parallel(args, plan.outer, grain_of(plan.count), [&](int64_t begin, int64_t end) {
      Walk kept(plan.kept, begin);
      if (one_row) {
        for (int64_t i = begin; i < end; ++i, kept.next()) {
          out[kept.out] = finish(reduce_row<Op>(x + kept.in, plan.inner.in, plan.inner.size));
        }
        return;
      }
      for (int64_t i = begin; i < end; ++i, kept.next()) {
        out[kept.out] = finish(
            reduce_items<Op>(plan, x + kept.in, chunks.segments, 0, plan.rows * chunks.segments));
      }
    });
    return;
  }
  T* partial = static_cast<T*>(args->workspace);
  parallel(args, plan.outer * chunks.chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Walk kept(plan.kept, task / chunks.chunks);
      const int64_t first = task % chunks.chunks * chunks.items;
      const int64_t last = smaller(first + chunks.items, plan.rows * chunks.segments);
      partial[task] = reduce_items<Op>(plan, x + kept.in, chunks.segments, first, last);
    }
  });
  Walk kept(plan.kept, 0);
  for (int64_t i = 0; i < plan.outer; ++i, kept.next()) {
    T total = partial[i * chunks.chunks];
    for (int64_t k = 1; k < chunks.chunks; ++k)
      total = Op::template both<T>(total, partial[i * chunks.chunks + k]);
    out[kept.out] = finish(total);
  }
}

// ---- inner axis kept ----------------------------------------------------------------------------

constexpr int64_t kColumns = 512;  // columns of a task; their totals stay in the first-level cache
constexpr int64_t kBlockRows =
    512;  // rows added up in the compute type before the wide one takes over

struct ColumnParts {
  int64_t tiles;  // of columns
  int64_t rows;   // of one part
  int64_t parts;  // 1 = no partial results
};

ColumnParts column_parts(const Plan& plan) {
  ColumnParts parts;
  parts.tiles = ceil_div(plan.inner.size, kColumns);
  // Enough column tiles keep all threads busy without partial results.
  const int64_t wanted = ceil_div(64, plan.outer * parts.tiles);
  const int64_t possible =
      ceil_div(plan.rows * smaller(kColumns, plan.inner.size), 2 * kParallelElements);
  parts.rows = ceil_div(plan.rows, smaller(wanted, possible));
  parts.parts = ceil_div(plan.rows, parts.rows);
  return parts;
}

// totals[j] = op(totals[j], x[j]) for rows of n contiguous elements.
template <class Op, class S, class C>
__attribute__((noinline)) void add_row(const S* x, int64_t stride, C* totals, int64_t n) {
  if (stride == 1) {
    if constexpr (kIsFloat<S>) {
      const Tag<C> d;
      each_vector(d, n, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
        put(d, Op::both(d, get(d, totals + j, part), get(d, x + j, part)), totals + j, part);
      });
    } else {
      for (int64_t j = 0; j < n; ++j) totals[j] = Op::template both<C>(totals[j], element(x[j]));
    }
    return;
  }
  for (int64_t j = 0; j < n; ++j)
    totals[j] = Op::template both<C>(totals[j], element(x[j * stride]));
}

// The same with eight rows, combined pairwise.
template <class Op, class S, class C>
__attribute__((noinline)) void add_eight_rows(const S* const* rows, C* totals, int64_t n) {
  const Tag<C> d;
  each_vector(d, n, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
    const auto a = Op::both(d, get(d, rows[0] + j, part), get(d, rows[1] + j, part));
    const auto b = Op::both(d, get(d, rows[2] + j, part), get(d, rows[3] + j, part));
    const auto c = Op::both(d, get(d, rows[4] + j, part), get(d, rows[5] + j, part));
    const auto e = Op::both(d, get(d, rows[6] + j, part), get(d, rows[7] + j, part));
    const auto sum = Op::both(d, Op::both(d, a, b), Op::both(d, c, e));
    put(d, Op::both(d, get(d, totals + j, part), sum), totals + j, part);
  });
}

// How many narrow dense rows are taken as one wide row, which is folded at the end.
template <class S>
int64_t fold_of(const Plan& plan, int64_t n) {
  const bool dense = plan.inner.in == 1 && plan.reduced.rank == 1 && plan.reduced.axis[0].in == n;
  return kIsFloat<S> && dense && n <= kColumns / 8 ? kColumns / 4 / n : 1;
}

// Rows [begin, end) of n columns from x on, into totals.
template <class Op, class S, class C>
void reduce_block(const Plan& plan, const S* x, int64_t begin, int64_t end, int64_t fold, C* totals,
                  int64_t n) {
  for (int64_t j = 0; j < n; ++j) totals[j] = Op::template identity<C>();
  if (begin >= end) return;
  int64_t row = begin;
  if constexpr (kIsFloat<S>) {
    if (plan.inner.in == 1) {
      if (fold > 1 && end - begin >= 8 * fold) {
        C wide[kColumns / 4];
        const int64_t width = fold * n;
        for (int64_t j = 0; j < width; ++j) wide[j] = Op::template identity<C>();
        const S* from = x + begin * n;
        for (; row + 8 * fold <= end; row += 8 * fold, from += 8 * width) {
          const S* const rows[8] = {from,
                                    from + width,
                                    from + 2 * width,
                                    from + 3 * width,
                                    from + 4 * width,
                                    from + 5 * width,
                                    from + 6 * width,
                                    from + 7 * width};
          add_eight_rows<Op>(rows, wide, width);
        }
        for (int64_t k = 0; k < fold; ++k) add_row<Op>(wide + k * n, 1, totals, n);
      }
      Walk walk(plan.reduced, row);
      for (; row + 8 <= end; row += 8) {
        const S* rows[8];
        for (const S*& r : rows) {
          r = x + walk.in;
          walk.next();
        }
        add_eight_rows<Op>(rows, totals, n);
      }
    }
  }
  if (row == end) return;
  Walk walk(plan.reduced, row);
  for (; row < end; ++row, walk.next()) add_row<Op>(x + walk.in, plan.inner.in, totals, n);
}

// The same for any number of rows.
template <class Op, class S, class T>
void reduce_column_rows(const Plan& plan, const S* x, int64_t begin, int64_t end, T* totals,
                        int64_t n) {
  using C = typename Accumulate<S>::type;
  C block[kColumns];
  const int64_t fold = fold_of<S>(plan, n);
  const int64_t rows = kBlockRows * fold;
  reduce_block<Op>(plan, x, begin, smaller(begin + rows, end), fold, block, n);
  for (int64_t j = 0; j < n; ++j) totals[j] = static_cast<T>(block[j]);
  for (int64_t row = begin + rows; row < end; row += rows) {
    reduce_block<Op>(plan, x, row, smaller(row + rows, end), fold, block, n);
    for (int64_t j = 0; j < n; ++j)
      totals[j] = Op::template both<T>(totals[j], static_cast<T>(block[j]));
  }
}

template <class Op, class S, class T>
__attribute__((noinline)) void write_columns(const T* totals, double divisor, S* out,
                                             int64_t stride, int64_t n) {
  using C = typename Accumulate<S>::type;
  if constexpr (kIsFloat<S>) {
    C values[kColumns];
    if (divisor == 1) {
      for (int64_t j = 0; j < n; ++j) values[j] = static_cast<C>(totals[j]);
    } else {
      for (int64_t j = 0; j < n; ++j)
        values[j] = static_cast<C>(totals[j] / static_cast<T>(divisor));
    }
    if (stride == 1) {
      write_run(values, out, n);
    } else {
      for (int64_t j = 0; j < n; ++j) out[j * stride] = stored<S>(values[j]);
    }
  } else {
    for (int64_t j = 0; j < n; ++j) out[j * stride] = stored<S>(totals[j]);
  }
}

template <class Op, class S>
void reduce_columns(const mill_kernel_args* args, const Plan& plan, double divisor) {
  using T = Total<Op, typename Accumulate<S>::type>;
  const S* x = static_cast<const S*>(args->in[0]->data);
  S* out = static_cast<S*>(args->out[0]->data);
  const ColumnParts parts = column_parts(plan);
  const int64_t tiles = plan.outer * parts.tiles;
  const int64_t width = smaller(kColumns, plan.inner.size);
  const auto write = [&](const T* totals, int64_t tile) {
    const Walk kept(plan.kept, tile / parts.tiles);
    const int64_t first = tile % parts.tiles * kColumns;
    write_columns<Op>(totals, divisor, out + kept.out + first * plan.inner.out, plan.inner.out,
                      smaller(kColumns, plan.inner.size - first));
  };
  T* partial = static_cast<T*>(args->workspace);
  parallel(args, tiles * parts.parts, grain_of(width * parts.rows),
           [&](int64_t begin, int64_t end) {
             T totals[kColumns];
             for (int64_t task = begin; task < end; ++task) {
               const int64_t tile = task / parts.parts;
               const int64_t row = task % parts.parts * parts.rows;
               const int64_t first = tile % parts.tiles * kColumns;
               const Walk kept(plan.kept, tile / parts.tiles);
               reduce_column_rows<Op>(plan, x + kept.in + first * plan.inner.in, row,
                                      smaller(row + parts.rows, plan.rows),
                                      parts.parts == 1 ? totals : partial + task * width,
                                      smaller(kColumns, plan.inner.size - first));
               if (parts.parts == 1) write(totals, tile);
             }
           });
  if (parts.parts == 1) return;
  // Few and narrow enough for one thread.
  for (int64_t tile = 0; tile < tiles; ++tile) {
    T* totals = partial + tile * parts.parts * width;
    for (int64_t k = 1; k < parts.parts; ++k) {
      const T* more = totals + k * width;
      for (int64_t j = 0; j < width; ++j) totals[j] = Op::template both<T>(totals[j], more[j]);
    }
    write(totals, tile);
  }
}

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
