// sum, mean, prod, max, min, sum_to and argmax over any axes of an input of any strides.
//
// The axes are sorted by stride and merged; the innermost decides which kernel runs. Few outputs of
// many elements are cut into parts, whose number follows from the shape alone.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/rows.inl"

#include "gpu/families/rows.h"

#include "kernels/block/reduce.inl"

// ---- plan ---------------------------------------------------------------------------------------

void push(axis_list* list, int64_t size, int64_t in, int64_t out) {
  list->size[list->rank] = size;
  list->in[list->rank] = in;
  list->out[list->rank] = out;
  ++list->rank;
}
int64_t elements(const axis_list& list) {
  int64_t n = 1;
  for (int32_t i = 0; i < list.rank; ++i) n *= list.size[i];
  return n;
}

enum class Variant { plain, mean, to_dims, one_axis };

// Which of x's axes are reduced, as bits.
uint32_t reduced_axes(const mill_kernel_args* args, Variant variant) {
  const mill_kernel_tensor* x = args->in[0];
  uint32_t reduced = 0;
  if (variant == Variant::to_dims) {
    const mill_kernel_tensor* out = args->out[0];
    const int32_t missing = x->rank - out->rank;
    for (int32_t i = 0; i < x->rank; ++i) {
      if (i < missing || out->dims[i - missing] != x->dims[i]) reduced |= 1u << i;
    }
    return reduced;
  }
  if (variant == Variant::one_axis)
    return x->rank == 0 ? 0 : 1u << static_cast<uint32_t>(args->attr[0].i);
  const mill_attr& axes = args->attr[0];
  if (axes.n == 0) return (1u << x->rank) - 1;
  for (uint64_t i = 0; i < axes.n; ++i) reduced |= 1u << static_cast<const int64_t*>(axes.p)[i];
  return reduced;
}

struct Plan {
  axis_list kept;     // all of them
  axis_list reduced;  // all of them
  bool inner_reduced;
  int64_t count;  // elements that make one output
  int64_t outputs;
  int64_t parts;
  int64_t size;  // elements of a part
};

// Blocks that keep a large device busy, and elements that are worth a block.
constexpr int64_t kBusy = 512;
constexpr int64_t kPartElements = 16384;
constexpr int64_t kMostParts = 1024;
constexpr int64_t kPartRows = 64;

template <class S>
constexpr int kColumnVector = sizeof(S) == 1 ? 8 : kVectorOf<S>;

template <class S>
Plan plan_of(const mill_kernel_args* args, Variant variant) {
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* out = args->out[0];
  const uint32_t reduced = reduced_axes(args, variant);
  const bool to_dims = variant == Variant::to_dims;
  struct Axis {
    int64_t size;
    int64_t in;
    int64_t out;  // 0 where the axis is reduced
    bool reduced;
  };
  Axis axes[MILL_MAX_RANK];  // outermost first
  int32_t rank = 0;
  const bool same_rank = !to_dims && out->rank == x->rank;
  int32_t next_kept = 0;
  for (int32_t i = 0; i < x->rank; ++i) {
    const bool gone = (reduced >> i & 1u) != 0;
    const int32_t out_axis = to_dims ? i - (x->rank - out->rank) : same_rank ? i : next_kept;
    if (!gone) ++next_kept;
    if (x->dims[i] == 1) continue;
    const Axis entry = {x->dims[i], x->strides[i], gone ? 0 : out->strides[out_axis], gone};
    // A repeated axis goes outside: its elements are no neighbours.
    const auto key = [](const Axis& a) { return a.in == 0 ? INT64_MAX : a.in; };
    int32_t at = rank++;
    for (; at > 0 && key(axes[at - 1]) < key(entry); --at) axes[at] = axes[at - 1];
    axes[at] = entry;
  }
  int32_t merged = 0;
  for (int32_t i = 0; i < rank; ++i) {
    const Axis& inner = axes[i];
    if (merged > 0) {
      Axis& last = axes[merged - 1];
      if (last.reduced == inner.reduced && last.in == inner.in * inner.size &&
          last.out == inner.out * inner.size) {
        last = {last.size * inner.size, inner.in, inner.out, inner.reduced};
        continue;
      }
    }
    axes[merged++] = inner;
  }
  Plan plan{};
  for (int32_t i = 0; i < merged; ++i)
    push(axes[i].reduced ? &plan.reduced : &plan.kept, axes[i].size, axes[i].in, axes[i].out);
  plan.inner_reduced = merged == 0 || axes[merged - 1].reduced || plan.reduced.rank == 0;
  plan.count = elements(plan.reduced);
  plan.outputs = elements(plan.kept);
  if (plan.inner_reduced) {
    const int64_t wanted = ceil_div(kBusy, larger<int64_t>(1, plan.outputs));
    const int64_t possible = ceil_div(plan.count, kPartElements);
    const int64_t parts = smaller(smaller(wanted, possible), kMostParts);
    // Whole vectors of every dtype.
    plan.size = ceil_div(ceil_div(plan.count, larger<int64_t>(1, parts)), 1024) * 1024;
  } else {
    const int64_t columns = plan.kept.size[plan.kept.rank - 1];
    const int64_t lanes = plan.kept.in[plan.kept.rank - 1] == 1 ? kWarp * kColumnVector<S> : kWarp;
    const int64_t blocks = larger<int64_t>(1, plan.outputs / columns * ceil_div(columns, lanes));
    const int64_t wanted = ceil_div(kBusy, blocks);
    // Narrow tiles have more lanes for the rows.
    const int64_t rows = kPartRows * larger<int64_t>(1, lanes / columns);
    const int64_t parts = smaller(smaller(wanted, ceil_div(plan.count, rows)), kMostParts);
    plan.size = ceil_div(plan.count, larger<int64_t>(1, parts));
  }
  plan.size = larger<int64_t>(1, plan.size);
  plan.parts = larger<int64_t>(1, ceil_div(plan.count, plan.size));
  return plan;
}

template <template <class> class Op, Variant kVariant>
uint64_t reduce_workspace(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  if (x->numel == 0) return 0;
  uint64_t bytes = 0;
  with_numeric(x->dtype, [&]<class S>() {
    const Plan plan = plan_of<S>(args, kVariant);
    if (plan.parts > 1)
      bytes = static_cast<uint64_t>(plan.outputs * plan.parts) * sizeof(typename Op<S>::Total);
    return MILL_OK;
  });
  return bytes;
}

// ---- launch -------------------------------------------------------------------------------------

// Integer inputs are narrow or rare enough for scalar loads.
template <class S>
constexpr bool kVectored = !std::is_integral_v<S>;

// Threads that share a row, as a power of two.
int32_t team_bits_of(int64_t count) {
  return count <= 128 ? 3 : count <= 2048 ? 5 : 8;
}
static_assert(kThreads == 1 << 8);

// Whether every run begins at 16 bytes and holds whole vectors.
template <class S>
bool vectors_fit(const axis_list& kept, const axis_list& outer, int64_t run, const S* x) {
  constexpr int V = kVectorOf<S>;
  if (!aligned(x, 16) || (outer.rank > 0 && run % V != 0)) return false;
  for (int32_t i = 0; i < kept.rank; ++i) {
    if (kept.in[i] % V != 0) return false;
  }
  for (int32_t i = 0; i < outer.rank; ++i) {
    if (outer.in[i] % V != 0) return false;
  }
  return true;
}

template <class Op, class S>
mill_status launch_rows(const mill_kernel_args* args, const Plan& plan, double divisor,
                        const cost& c) {
  const auto* x = data_of<const S>(args->in[0]);
  auto* out = data_of<typename Op::Out>(args->out[0]);
  auto* partial = static_cast<typename Op::Total*>(args->workspace);
  row_geometry g{plan.kept,    plan.reduced, 1,         1, plan.count,
                 plan.outputs, plan.parts,   plan.size, 0, divisor};
  if (g.reduced.rank > 0) {
    const int32_t inner = --g.reduced.rank;
    g.run = g.reduced.size[inner];
    g.stride = g.reduced.in[inner];
  }
  const bool vectors = kVectored<S> && g.stride == 1 && vectors_fit(g.kept, g.reduced, g.run, x);
  g.team_bits = team_bits_of(smaller(plan.count, plan.size));
  const int64_t tasks = plan.outputs * plan.parts;
  const shape grid = g.team_bits == 3   ? team_shape<8>(tasks)
                     : g.team_bits == 5 ? team_shape<kWarp>(tasks)
                                        : team_shape<kThreads>(tasks);
  if constexpr (kVectored<S>) {
    if (vectors && g.team_bits > 3)
      return launch<reduce_rows<Op, S, kThreads, kVectorOf<S>>>(args, grid, c, g, x, out, partial);
  }
  return launch<reduce_rows<Op, S, kThreads, 1>>(args, grid, c, g, x, out, partial);
}

template <class Op, class S>
mill_status launch_columns(const mill_kernel_args* args, const Plan& plan, double divisor,
                           const cost& c) {
  const auto* x = data_of<const S>(args->in[0]);
  auto* out = data_of<typename Op::Out>(args->out[0]);
  auto* partial = static_cast<typename Op::Total*>(args->workspace);
  column_geometry g{plan.kept,  plan.reduced, 1,         1, 1,
                    plan.count, plan.parts,   plan.size, 1, divisor};
  const int32_t inner = --g.kept.rank;
  g.columns = g.kept.size[inner];
  g.in = g.kept.in[inner];
  g.out = g.kept.out[inner];
  const auto run = [&]<int W>() {
    const column_block block = column_block_of(g.columns / W, smaller(plan.count, plan.size));
    g.lanes = block.lanes;
    const int64_t tiles = ceil_div(g.columns, int64_t{block.lanes} * W);
    const shape grid{plan.outputs / g.columns * tiles * plan.parts, block.threads()};
    return launch<reduce_columns<Op, S, kThreads, W>>(args, grid, c, g, x, out, partial);
  };
  if constexpr (kVectored<S>) {
    constexpr int V = kColumnVector<S>;
    axis_list none{};
    if (g.in == 1 && g.columns % V == 0 && vectors_fit(g.kept, none, 0, x) &&
        vectors_fit(g.reduced, none, 0, x))
      return run.template operator()<V>();
  }
  return run.template operator()<1>();
}

template <template <class> class OpOf, class S>
mill_status reduce_as(const mill_kernel_args* args, Variant variant) {
  using Op = OpOf<S>;
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* out = args->out[0];
  if (out->numel == 0) return MILL_OK;
  if (x->numel == 0) {
    if constexpr (!std::is_same_v<Op, sum_of<S>> && !std::is_same_v<Op, prod_of<S>>) {
      if (variant == Variant::one_axis) {
        return refuse(args, MILL_E_SHAPE, "axis %d has no elements and the result has %lld",
                      static_cast<int>(args->attr[0].i), static_cast<long long>(out->numel));
      }
      return refuse(args, MILL_E_SHAPE, "the reduced axes have no elements and the result has %lld",
                    static_cast<long long>(out->numel));
    } else {
      axis_list kept{};
      for (int32_t i = 0; i < out->rank; ++i) push(&kept, out->dims[i], 0, out->strides[i]);
      // 0 / 0 is not a number.
      const double divisor = variant == Variant::mean ? 0 : 1;
      return launch<reduce_parts<typename Op::Parts>>(
          args, team_shape<kWarp>(out->numel), cost{bytes_of(out)}, kept, out->numel, int64_t{0},
          divisor, static_cast<const typename Op::Total*>(nullptr), out->dtype, out->data);
    }
  }
  const Plan plan = plan_of<S>(args, variant);
  const double divisor = variant == Variant::mean ? static_cast<double>(plan.count) : 1;
  const cost c = cost_of<S>(bytes_of(x) + bytes_of(out), static_cast<uint64_t>(x->numel));
  const mill_status status = plan.inner_reduced ? launch_rows<Op, S>(args, plan, divisor, c)
                                                : launch_columns<Op, S>(args, plan, divisor, c);
  if (status != MILL_OK || plan.parts == 1) return status;
  const auto partials = static_cast<uint64_t>(plan.outputs * plan.parts);
  return launch<reduce_parts<typename Op::Parts>>(
      args, team_shape<kWarp>(plan.outputs),
      cost_of<S>(partials * sizeof(typename Op::Total), partials), plan.kept, plan.outputs,
      plan.parts, divisor, static_cast<const typename Op::Total*>(args->workspace), out->dtype,
      out->data);
}

constexpr uint32_t kNumericBits = kFloatBits | mill::dtype_bit(MILL_U8) | mill::dtype_bit(MILL_I8) |
                                  mill::dtype_bit(MILL_I16) | mill::dtype_bit(MILL_I32) |
                                  mill::dtype_bit(MILL_I64);

template <template <class> class Op, Variant kVariant>
mill_status reduce(const mill_kernel_args* args) {
  const auto run = [&]<class S>() { return reduce_as<Op, S>(args, kVariant); };
  switch (args->in[0]->dtype) {
    case MILL_U8: return run.template operator()<uint8_t>();
    case MILL_I8: return run.template operator()<int8_t>();
    case MILL_I16: return run.template operator()<int16_t>();
    case MILL_I32: return run.template operator()<int32_t>();
    case MILL_I64: return run.template operator()<int64_t>();
    default: return with_float(args->in[0]->dtype, run);
  }
}

template <template <class> class Op, Variant kVariant>
constexpr mill_kernel kernel_of() {
  return {reduce<Op, kVariant>, reduce_workspace<Op, kVariant>};
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_SUM, kNumericBits, kernel_of<sum_of, Variant::plain>()},
    {MILL_OP_SUM_TO, kNumericBits, kernel_of<sum_of, Variant::to_dims>()},
    {MILL_OP_MEAN, kFloatBits, kernel_of<sum_of, Variant::mean>()},
    {MILL_OP_MAX, kNumericBits, kernel_of<max_of, Variant::plain>()},
    {MILL_OP_MIN, kNumericBits, kernel_of<min_of, Variant::plain>()},
    {MILL_OP_PROD, kNumericBits, kernel_of<prod_of, Variant::plain>()},
    {MILL_OP_ARGMAX, kNumericBits, kernel_of<argmax_of, Variant::one_axis>()},
};

}  // namespace

KernelList reduce_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
