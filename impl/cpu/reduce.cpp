// sum, mean, prod, max, min, sum_to and argmax over any axes of an input of any strides.
//
// The axes are sorted by stride and merged; the innermost decides. If it is reduced, each output is
// a sum of rows; if it is kept, whole rows are added to each other, eight at a time. Long
// reductions are cut into chunks whose size depends on the shape alone, and the chunks' partial
// results are combined in order: a result does not depend on the number of threads.
#include "cpu/reduce_loops.h"
#include "cpu/reduce_plan.h"
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// ---- launch -------------------------------------------------------------------------------------

uint64_t workspace_of(const mill_kernel_args* args, bool to_dims) {
  const mill_kernel_tensor* x = args->in[0];
  if (x->numel <= kParallelElements || args->out[0]->numel == 0) return 0;
  const Plan plan = make_plan(x, args->out[0], reduced_axes(args, to_dims), to_dims);
  int64_t partials = 0;
  if (plan.inner_reduced) {
    const RowChunks chunks = row_chunks(plan);
    if (chunks.chunks > 1) partials = plan.outer * chunks.chunks;
  } else {
    const ColumnParts parts = column_parts(plan);
    if (parts.parts > 1)
      partials = plan.outer * parts.tiles * parts.parts * smaller(kColumns, plan.inner.size);
  }
  return static_cast<uint64_t>(partials) * sizeof(double);
}
uint64_t reduce_workspace(const mill_kernel_args* args) {
  return workspace_of(args, false);
}
uint64_t sum_to_workspace(const mill_kernel_args* args) {
  return workspace_of(args, true);
}

// Row-major and dense, or of one element.
bool is_dense(const mill_kernel_tensor* t) {
  int64_t stride = 1;
  for (int32_t i = t->rank - 1; i >= 0; --i) {
    if (t->dims[i] != 1 && t->strides[i] != stride) return false;
    stride *= t->dims[i];
  }
  return true;
}

enum class Variant { plain, mean, to_dims };

// One body for sum, mean and sum_to, so that the loops exist once.
template <class Op, class S>
mill_status reduce_as(const mill_kernel_args* args, Variant variant) {
  using C = typename Accumulate<S>::type;
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  if (x->numel == 0) {
    if constexpr (std::is_same_v<Op, Max> || std::is_same_v<Op, Min>) {
      return refuse(args, MILL_E_SHAPE, "the reduced axes have no elements and the result has %lld",
                    static_cast<long long>(out->numel));
    }
    C nothing = Op::template identity<C>();
    if (variant == Variant::mean) nothing = static_cast<C>(__builtin_nan(""));
    Axes all = {};
    all.rank = out->rank;
    for (int32_t i = 0; i < out->rank; ++i) all.axis[i] = {out->dims[i], 0, out->strides[i]};
    Walk walk(all, 0);
    for (int64_t i = 0; i < out->numel; ++i, walk.next())
      static_cast<S*>(out->data)[walk.out] = stored<S>(nothing);
    return MILL_OK;
  }
  const bool mean = variant == Variant::mean;
  // Small and everyday: all of a dense tensor.
  constexpr int64_t kSmall = 4096;
  if (out->numel == 1 && x->numel <= kSmall && is_dense(x)) {
    const auto total = reduce_run<Op>(static_cast<const S*>(x->data), x->numel);
    S* to = static_cast<S*>(out->data);
    if constexpr (kIsFloat<S>) {
      using T = std::remove_const_t<decltype(total)>;
      *to = stored<S>(static_cast<C>(mean ? total / static_cast<T>(x->numel) : total));
    } else {
      *to = stored<S>(total);
    }
    return MILL_OK;
  }
  const bool to_dims = variant == Variant::to_dims;
  const uint64_t needed = workspace_of(args, to_dims);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  const Plan plan = make_plan(x, out, reduced_axes(args, to_dims), to_dims);
  const double divisor = mean ? static_cast<double>(plan.count) : 1;
  if (plan.inner_reduced) {
    reduce_rows<Op, S>(args, plan, divisor);
  } else {
    reduce_columns<Op, S>(args, plan, divisor);
  }
  return MILL_OK;
}

template <class Op, class S, Variant kVariant>
mill_status reduce(const mill_kernel_args* args) {
  return reduce_as<Op, S>(args, kVariant);
}

// ---- argmax -------------------------------------------------------------------------------------

// Index of the first largest of n >= 1 contiguous elements; the first NaN wins.
template <class S>
int64_t argmax_run(const S* x, int64_t n) {
  using C = typename Accumulate<S>::type;
  constexpr int64_t kGroup = 512;
  constexpr int64_t kShort = 32;
  if (n <= kShort) {
    C best = element(x[0]);
    int64_t index = 0;
    for (int64_t i = 1; i < n && best == best; ++i) {
      const C value = element(x[i]);
      if (!(value <= best)) {
        best = value;
        index = i;
      }
    }
    return index;
  }
  int64_t group = 0;
  C best = Max::identity<C>();
  for (int64_t begin = 0; begin < n; begin += kGroup) {
    const C here = reduce_run<Max>(x + begin, smaller(kGroup, n - begin));
    if (here > best || here != here) {
      best = here;
      group = begin;
      if (here != here) break;
    }
  }
  // Nothing exceeds -infinity in a row of them: the first one is found in the first group.
  for (int64_t i = group; i < n; ++i) {
    const C value = element(x[i]);
    if (value == best || value != value) return i;
  }
  return group;
}

template <class S>
mill_status argmax(const mill_kernel_args* args) {
  using C = typename Accumulate<S>::type;
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  const int32_t axis = static_cast<int32_t>(args->attr[0].i);
  const int64_t n = x->rank == 0 ? 1 : x->dims[axis];
  if (n == 0) {
    return refuse(args, MILL_E_SHAPE, "axis %d has no elements and the result has %lld", axis,
                  static_cast<long long>(out->numel));
  }
  const S* from = static_cast<const S*>(x->data);
  int64_t* to = static_cast<int64_t*>(out->data);
  if (x->numel == 1) {
    *to = 0;
    return MILL_OK;
  }
  const uint32_t reduced = x->rank == 0 ? 0 : 1u << axis;
  const Plan plan = make_plan(x, out, reduced, false);
  const int64_t stride = x->strides[axis];
  if (plan.inner_reduced || n == 1) {
    // The plan's kept axes do not say where a kept inner axis of an axis of one element is; walk
    // all of them.
    Axes kept = plan.kept;
    if (!plan.inner_reduced) kept.axis[kept.rank++] = plan.inner;
    parallel(args, plan.outputs, grain_of(n), [&](int64_t begin, int64_t end) {
      Walk walk(kept, begin);
      for (int64_t i = begin; i < end; ++i, walk.next()) {
        const S* row = from + walk.in;
        if (stride == 1) {
          to[walk.out] = argmax_run(row, n);
          continue;
        }
        C best = element(row[0]);
        int64_t index = 0;
        for (int64_t k = 1; k < n && best == best; ++k) {
          const C value = element(row[k * stride]);
          if (value > best || value != value) {
            best = value;
            index = k;
          }
        }
        to[walk.out] = index;
      }
    });
    return MILL_OK;
  }
  constexpr int64_t kArgColumns = 256;
  const int64_t tiles = ceil_div(plan.inner.size, kArgColumns);
  parallel(args, plan.outer * tiles, grain_of(n * smaller(kArgColumns, plan.inner.size)),
           [&](int64_t begin, int64_t end) {
             C best[kArgColumns];
             int64_t index[kArgColumns];
             for (int64_t task = begin; task < end; ++task) {
               const Walk walk(plan.kept, task / tiles);
               const int64_t first = task % tiles * kArgColumns;
               const int64_t columns = smaller(kArgColumns, plan.inner.size - first);
               const S* row = from + walk.in + first * plan.inner.in;
               for (int64_t j = 0; j < columns; ++j) {
                 best[j] = element(row[j * plan.inner.in]);
                 index[j] = 0;
               }
               for (int64_t k = 1; k < n; ++k) {
                 row += stride;
                 for (int64_t j = 0; j < columns; ++j) {
                   const C value = element(row[j * plan.inner.in]);
                   const bool better =
                       (value > best[j]) | ((value != value) & (best[j] == best[j]));
                   best[j] = better ? value : best[j];
                   index[j] = better ? k : index[j];
                 }
               }
               int64_t* result = to + walk.out + first * plan.inner.out;
               for (int64_t j = 0; j < columns; ++j) result[j * plan.inner.out] = index[j];
             }
           });
  return MILL_OK;
}

#define MILL_REDUCE_NUMERIC(X) \
  X(MILL_F32, float)           \
  X(MILL_F64, double)          \
  X(MILL_BF16, bf16)           \
  X(MILL_F16, f16)             \
  X(MILL_U8, uint8_t)          \
  X(MILL_I8, int8_t)           \
  X(MILL_I16, int16_t)         \
  X(MILL_I32, int32_t)         \
  X(MILL_I64, int64_t)
#define MILL_REDUCE_ENTRIES(dtype, S)                                                     \
  {MILL_OP_SUM, bit(dtype), {reduce<Sum, S, Variant::plain>, reduce_workspace}},          \
      {MILL_OP_SUM_TO, bit(dtype), {reduce<Sum, S, Variant::to_dims>, sum_to_workspace}}, \
      {MILL_OP_MAX, bit(dtype), {reduce<Max, S, Variant::plain>, reduce_workspace}},      \
      {MILL_OP_MIN, bit(dtype), {reduce<Min, S, Variant::plain>, reduce_workspace}},      \
      {MILL_OP_PROD, bit(dtype), {reduce<Prod, S, Variant::plain>, reduce_workspace}},    \
      {MILL_OP_ARGMAX, bit(dtype), {argmax<S>, nullptr}},
#define MILL_MEAN_ENTRY(dtype, S)                     \
  {                                                   \
    MILL_OP_MEAN, bit(dtype), {                       \
      reduce<Sum, S, Variant::mean>, reduce_workspace \
    }                                                 \
  }

constexpr KernelEntry kEntries[] = {
    MILL_REDUCE_NUMERIC(MILL_REDUCE_ENTRIES)  //
    MILL_MEAN_ENTRY(MILL_F32, float),
    MILL_MEAN_ENTRY(MILL_F64, double),
    MILL_MEAN_ENTRY(MILL_BF16, bf16),
    MILL_MEAN_ENTRY(MILL_F16, f16),
};
#undef MILL_MEAN_ENTRY
#undef MILL_REDUCE_ENTRIES
#undef MILL_REDUCE_NUMERIC

}  // namespace

KernelList reduce_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
