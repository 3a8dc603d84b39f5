// Normalisation over channels: batch norm, group norm, their gradients, and running statistics.
#include "gpu/families/common.h"
#include "kernels/channel_view.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/rows.inl"
#include "kernels/block/channel_norm.inl"

#include "gpu/families/rows.h"
// clang-format on

using mill::kernels::ChannelPlan;
using mill::kernels::ChannelView;
using mill::kernels::kChannelOperands;

constexpr int64_t kNarrow = int64_t{1} << 32;

fast_div div_by(bool narrow, int64_t n) {
  return fast_div::by(narrow ? static_cast<uint32_t>(n) : 1);
}

channel_walk walk_of(const ChannelView& v) {
  channel_walk w{};
  w.channels = v.channels;
  w.positions = v.positions;
  w.rank = v.rank;
  w.last = v.last;
  w.narrow = v.positions < kNarrow;
  for (int k = 0; k < kChannelOperands; ++k) w.channel[k] = v.channel[k];
  for (int32_t i = 0; i < v.rank; ++i) {
    w.size[i] = v.size[i];
    w.by[i] = div_by(w.narrow, v.size[i]);
    for (int k = 0; k < kChannelOperands; ++k) w.stride[i][k] = v.stride[i][k];
  }
  return w;
}

// One element for each channel: [C] with its stride, or a dense array.
template <class S>
struct Line {
  S* data;  // may be null
  int64_t stride;

  explicit Line(const mill_kernel_tensor* t)
      : data(data_of<S>(t)), stride(t != nullptr && t->rank == 1 ? t->strides[0] : 1) {}
};

// ---- plans --------------------------------------------------------------------------------------

ChannelPlan forward_plan(const mill_kernel_args* args) {
  return mill::kernels::batch_norm_plan(args->out[0], args->in[0], nullptr);
}
ChannelPlan group_forward_plan(const mill_kernel_args* args) {
  return mill::kernels::group_norm_plan(args->in[0], args->attr[0].i);
}
ChannelPlan backward_plan(const mill_kernel_args* args) {
  const mill_kernel_tensor* dx = output(args, 0);
  return mill::kernels::batch_norm_plan(dx != nullptr ? dx : args->in[1], args->in[1], args->in[0]);
}
ChannelPlan group_backward_plan(const mill_kernel_args* args) {
  return mill::kernels::group_norm_plan(args->in[1], args->attr[0].i);
}

// How the positions of each channel are dealt out: what shape and strides decide.
template <class T>
struct Share {
  int lanes;
  int threads;
  int64_t size;  // positions of a chunk
  int64_t chunks;
  int64_t blocks;

  explicit Share(const ChannelView& v) {
    constexpr int64_t kItems = kRowItems<T>;
    lanes = 1;
    while (v.last && lanes < kWarp && lanes < v.channels) lanes *= 2;
    threads = lanes;
    while (threads < kThreads && (threads < kWarp || threads / lanes * kItems < v.positions))
      threads *= 2;
    const int64_t tiles = ceil_div(larger<int64_t>(1, v.channels), lanes);
    // No more than fill a large device several times over.
    const int64_t most = larger<int64_t>(1, 132 * 16 / tiles);
    const int64_t step = threads / lanes * kItems;
    size = ceil_div(larger<int64_t>(ceil_div(v.positions, most), 1), step) * step;
    chunks = larger<int64_t>(1, ceil_div(v.positions, size));
    blocks = tiles * chunks;
  }
};

// Few columns to a block, for there are many rows in each.
struct Columns {
  int lanes = 1;
  int threads = 1;
  Columns(int64_t columns, int64_t rows) {
    while (lanes < 8 && lanes < columns) lanes *= 2;
    if (rows < 4) {
      while (lanes < kWarp && lanes < columns) lanes *= 2;
    }
    threads = lanes;
    while (threads < kThreads && (threads < kWarp || threads / lanes * 4 < rows)) threads *= 2;
  }
};

// call.operator()<W>(units): as many neighbours at a time as all operands allow.
template <class T, class F>
mill_status with_units(const ChannelView& v, bool pointers_aligned, F&& call) {
  constexpr int kW = kVectorOf<T>;
  bool wide = pointers_aligned && (v.last || v.dense);
  wide = wide && (v.last ? v.channels : v.size[0]) % kW == 0;
  for (int k = 0; k < kChannelOperands; ++k) {
    wide = wide && (v.last || v.channels == 1 || v.channel[k] % kW == 0);
    for (int32_t i = v.last ? 0 : 1; i < v.rank; ++i)
      wide = wide && (v.size[i] == 1 || v.stride[i][k] % kW == 0);
  }
  const int64_t width = wide ? kW : 1;
  channel_units u{};
  u.count = v.positions * v.channels / width;
  u.fast = (v.last ? v.channels : v.size[0]) / width;
  u.narrow = u.count < kNarrow;
  u.by_fast = div_by(u.narrow, u.fast);
  u.by_channels = div_by(u.narrow, v.channels);
  if (wide) return call.template operator()<kW>(u);
  return call.template operator()<1>(u);
}

mill_status need_workspace(const mill_kernel_args* args, uint64_t bytes) {
  if (args->workspace_bytes >= bytes) return MILL_OK;
  return refuse(args, MILL_E_INTERNAL, "the kernel needs %llu bytes of workspace and got %llu",
                static_cast<unsigned long long>(bytes),
                static_cast<unsigned long long>(args->workspace_bytes));
}

// ---- forward ------------------------------------------------------------------------------------

// The workspace: moments of the chunks, then mean and rstd.
template <class T>
uint64_t forward_bytes(const ChannelPlan& plan) {
  using C = acc_t<T>;
  return static_cast<uint64_t>(Share<T>(plan.whole).chunks * plan.whole.channels) *
             sizeof(moments<wide_t<C>>) +
         2 * static_cast<uint64_t>(plan.whole.channels) * sizeof(C);
}

template <class T>
struct Factors {
  channel_layout<acc_t<T>> layout;
  channel_factors<T> at;
};

template <class T>
mill_status apply(const mill_kernel_args* args, const ChannelPlan& plan, const Factors<T>& f) {
  const auto* x = data_of<const T>(args->in[0]);
  auto* out = data_of<T>(args->out[0]);
  const uint64_t bytes = bytes_of(args->in[0]);
  const auto numel = static_cast<uint64_t>(args->in[0]->numel);
  return with_units<T>(plan.applied, aligned(x, 16) && aligned(out, 16),
                       [&]<int W>(const channel_units& units) {
                         return launch<channel_apply<T, kThreads, W>>(
                             args, {blocks_for(units.count), kThreads},
                             cost_of<T>(2 * bytes, 4 * numel), walk_of(plan.applied), units,
                             f.layout, f.at.mean, f.at.spread, f.at.weight, f.at.bias, x, out);
                       });
}

template <class T>
void set_parameters(Factors<T>* f, const ChannelPlan& plan, const mill_kernel_tensor* weight,
                    const mill_kernel_tensor* bias) {
  const Line<const T> w(weight);
  const Line<const T> b(bias);
  f->at.weight = w.data;
  f->at.bias = b.data;
  f->layout.weight_stride = w.stride;
  f->layout.bias_stride = b.stride;
  f->layout.per_stat = plan.per_stat;
  f->layout.params = plan.params;
}

template <class T>
mill_status normalise(const mill_kernel_args* args, const ChannelPlan& plan, double eps,
                      bool deviation) {
  using C = acc_t<T>;
  if (args->in[0]->numel == 0) return MILL_OK;
  const mill_status enough = need_workspace(args, forward_bytes<T>(plan));
  if (enough != MILL_OK) return enough;
  const Share<T> share(plan.whole);
  const int64_t stats = plan.whole.channels;
  auto* found = static_cast<moments<wide_t<C>>*>(args->workspace);
  auto* mean = reinterpret_cast<C*>(found + share.chunks * stats);
  C* rstd = mean + stats;
  const auto* x = data_of<const T>(args->in[0]);
  const auto numel = static_cast<uint64_t>(args->in[0]->numel);
  mill_status status = launch<channel_moments<T, kThreads, kRowItems<T>>>(
      args, {share.blocks, share.threads}, cost_of<T>(bytes_of(args->in[0]), 4 * numel),
      walk_of(plan.whole), share.size, share.lanes, x, found);
  if (status != MILL_OK) return status;
  const Line<C> mean_out(output(args, 1));
  const Line<C> spread_out(output(args, 2));
  const Columns columns(stats, share.chunks);
  const auto parts = static_cast<uint64_t>(share.chunks * stats);
  status = launch<channel_moments_finish<C, kThreads>>(
      args, {ceil_div(stats, columns.lanes), columns.threads},
      cost_of<T>(parts * sizeof(moments<wide_t<C>>), 8 * parts), stats, share.chunks, columns.lanes,
      deviation, static_cast<C>(eps), static_cast<const moments<wide_t<C>>*>(found), mean, rstd,
      mean_out.data, mean_out.stride, spread_out.data, spread_out.stride);
  if (status != MILL_OK) return status;
  Factors<T> factors{};
  factors.at.mean = mean;
  factors.at.spread = rstd;
  factors.layout.mean_stride = factors.layout.spread_stride = 1;
  set_parameters(&factors, plan, input(args, 1), input(args, 2));
  return apply(args, plan, factors);
}

uint64_t batch_norm_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  with_float(args->in[0]->dtype, [&]<class T>() {
    bytes = forward_bytes<T>(forward_plan(args));
    return MILL_OK;
  });
  return bytes;
}
mill_status batch_norm(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return normalise<T>(args, forward_plan(args), args->attr[0].f, false);
  });
}
uint64_t group_norm_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  with_float(args->in[0]->dtype, [&]<class T>() {
    bytes = forward_bytes<T>(group_forward_plan(args));
    return MILL_OK;
  });
  return bytes;
}
mill_status group_norm(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return normalise<T>(args, group_forward_plan(args), args->attr[1].f, true);
  });
}

// mean and spread are inputs `mean` and `mean` + 1.
template <class T>
Factors<T> given_factors(const mill_kernel_args* args, uint32_t mean) {
  using C = acc_t<T>;
  Factors<T> f{};
  const Line<const C> middle(args->in[mean]);
  const Line<const C> spread(args->in[mean + 1]);
  f.at.mean = middle.data;
  f.at.spread = spread.data;
  f.layout.mean_stride = middle.stride;
  f.layout.spread_stride = spread.stride;
  return f;
}

mill_status batch_norm_apply(const mill_kernel_args* args) {
  if (args->in[0]->numel == 0) return MILL_OK;
  return with_float(args->in[0]->dtype, [&]<class T>() {
    const ChannelPlan plan = forward_plan(args);
    Factors<T> factors = given_factors<T>(args, 1);
    factors.layout.variance = true;
    factors.layout.eps = static_cast<acc_t<T>>(args->attr[0].f);
    set_parameters(&factors, plan, input(args, 3), input(args, 4));
    return apply(args, plan, factors);
  });
}

// ---- gradient -----------------------------------------------------------------------------------

// The workspace: sums of the chunks, those of the cells where that is something else, then two
// means of each statistic.
template <class T>
struct BackwardSpace {
  uint64_t chunk_sums;
  uint64_t cell_sums;
  uint64_t stats;
  uint64_t bytes;

  BackwardSpace(const ChannelPlan& plan, bool groups) {
    const Share<T> share(plan.cells);
    chunk_sums = static_cast<uint64_t>(share.chunks * plan.cells.channels);
    cell_sums = groups && share.chunks > 1 ? static_cast<uint64_t>(plan.cells.channels) : 0;
    stats = static_cast<uint64_t>(plan.whole.channels);
    bytes = (chunk_sums + cell_sums) * sizeof(two<wide_t<acc_t<T>>>) + 2 * stats * sizeof(acc_t<T>);
  }
};

template <class T>
struct Gradient {
  using C = acc_t<T>;
  using Sums = two<wide_t<C>>;

  const mill_kernel_args* args;
  ChannelPlan plan;
  Factors<T> factors;
  C* sums;
  C* products;

  mill_status totals(int64_t n, int64_t rows, const Sums* from, Sums* to, bool parameters,
                     bool means) const {
    const Line<T> dweight(parameters ? output(args, 1) : nullptr);
    const Line<T> dbias(parameters ? output(args, 2) : nullptr);
    const Columns columns(n, rows);
    const auto pairs = static_cast<uint64_t>(n * rows);
    return launch<channel_totals<T, kThreads>>(
        args, {ceil_div(n, columns.lanes), columns.threads},
        cost_of<T>(pairs * sizeof(Sums), 2 * pairs), n, rows, columns.lanes, from, to, dweight.data,
        dweight.stride, dbias.data, dbias.stride, factors.at.weight, factors.layout.weight_stride,
        plan.whole.positions, means ? sums : nullptr, means ? products : nullptr);
  }

  mill_status groups(const Sums* cells) const {
    const int64_t stats = plan.whole.channels;
    const auto n = static_cast<uint64_t>(plan.cells.channels);
    return launch<channel_groups<T, kTeamThreads<kWarp>>>(
        args, team_shape<kWarp>(stats), cost_of<T>(n * sizeof(Sums), 4 * n), stats,
        plan.whole.positions, plan.per_stat, plan.params, factors.at.weight, cells, sums, products);
  }

  mill_status apply() const {
    const auto* g = data_of<const T>(args->in[0]);
    const auto* x = data_of<const T>(args->in[1]);
    auto* dx = data_of<T>(args->out[0]);
    const uint64_t bytes = bytes_of(args->in[1]);
    const auto numel = static_cast<uint64_t>(args->in[1]->numel);
    return with_units<T>(plan.applied, aligned(x, 16) && aligned(g, 16) && aligned(dx, 16),
                         [&]<int W>(const channel_units& units) {
                           return launch<channel_gradient<T, kThreads, W>>(
                               args, {blocks_for(units.count), kThreads},
                               cost_of<T>(3 * bytes, 8 * numel), walk_of(plan.applied), units,
                               factors.layout, factors.at.mean, factors.at.spread,
                               factors.at.weight, static_cast<const C*>(sums),
                               static_cast<const C*>(products), x, g, dx);
                         });
  }
};

template <class T>
mill_status backward_as(const mill_kernel_args* args, bool groups) {
  using C = acc_t<T>;
  using Sums = two<wide_t<C>>;
  const mill_kernel_tensor& x = *args->in[1];
  const bool dx = output(args, 0) != nullptr;
  const bool parameters = output(args, 1) != nullptr || output(args, 2) != nullptr;
  Gradient<T> k{args, groups ? group_backward_plan(args) : backward_plan(args),
                given_factors<T>(args, 3), nullptr, nullptr};
  set_parameters(&k.factors, k.plan, input(args, 2), nullptr);
  if (x.numel == 0) {  // zeros
    if (!parameters || x.dims[1] == 0) return MILL_OK;
    return k.totals(x.dims[1], 0, nullptr, nullptr, true, false);
  }
  if (!groups) {
    k.factors.layout.variance = true;
    k.factors.layout.eps = static_cast<C>(args->attr[0].f);
  }
  const BackwardSpace<T> space(k.plan, groups);
  const mill_status enough = need_workspace(args, space.bytes);
  if (enough != MILL_OK) return enough;
  const Share<T> share(k.plan.cells);
  auto* found = static_cast<Sums*>(args->workspace);
  auto* cells = found + space.chunk_sums;
  k.sums = reinterpret_cast<C*>(cells + space.cell_sums);
  k.products = k.sums + space.stats;
  const auto numel = static_cast<uint64_t>(x.numel);
  mill_status status = launch<channel_products<T, kThreads, kRowItems<T>>>(
      args, {share.blocks, share.threads}, cost_of<T>(2 * bytes_of(&x), 4 * numel),
      walk_of(k.plan.cells), k.factors.layout, share.size, share.lanes, k.factors.at.mean,
      k.factors.at.spread, data_of<const T>(&x), data_of<const T>(args->in[0]), found);
  if (status != MILL_OK) return status;
  const int64_t n = k.plan.cells.channels;
  if (!groups) {
    status = k.totals(n, share.chunks, found, nullptr, true, dx);
  } else {
    const Sums* of_cells = found;
    if (share.chunks > 1) {
      status = k.totals(n, share.chunks, found, cells, false, false);
      of_cells = cells;
    }
    if (status == MILL_OK && parameters)
      status = k.totals(k.plan.params, n / k.plan.params, of_cells, nullptr, true, false);
    if (status == MILL_OK && dx) status = k.groups(of_cells);
  }
  return status == MILL_OK && dx ? k.apply() : status;
}

template <bool Groups>
mill_status norm_backward(const mill_kernel_args* args) {
  return with_float(args->in[1]->dtype, [&]<class T>() { return backward_as<T>(args, Groups); });
}
template <bool Groups>
uint64_t backward_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  with_float(args->in[1]->dtype, [&]<class T>() {
    bytes =
        BackwardSpace<T>(Groups ? group_backward_plan(args) : backward_plan(args), Groups).bytes;
    return MILL_OK;
  });
  return bytes;
}

// ---- running statistics -------------------------------------------------------------------------

mill_status running_update(const mill_kernel_args* args) {
  const int64_t n = args->in[0]->numel;
  if (n == 0) return MILL_OK;
  const double take = args->attr[0].f;
  const auto count = static_cast<double>(args->attr[1].i);
  const double unbiased = count == 0 ? 1 : count / (count - 1);
  return with_float(args->in[0]->dtype, [&]<class C>() -> mill_status {
    if constexpr (std::is_same_v<C, acc_t<C>>) {
      return launch<running_statistics<C, kThreads>>(
          args, {blocks_for(n), kThreads},
          cost_of<C>(6 * static_cast<uint64_t>(n) * sizeof(C), 4 * static_cast<uint64_t>(n)), n,
          static_cast<C>(1 - take), static_cast<C>(take),
          static_cast<C>(take) * static_cast<C>(unbiased), data_of<const C>(args->in[0]),
          data_of<const C>(args->in[1]), data_of<const C>(args->in[2]),
          data_of<const C>(args->in[3]), data_of<C>(output(args, 0)), data_of<C>(output(args, 1)));
    } else {
      return MILL_E_UNSUPPORTED;
    }
  });
}

constexpr uint32_t kStatBits = mill::dtype_bit(MILL_F32) | mill::dtype_bit(MILL_F64);

constexpr KernelEntry kEntries[] = {
    {MILL_OP_BATCH_NORM, kFloatBits, {batch_norm, batch_norm_workspace}},
    {MILL_OP_BATCH_NORM_BACKWARD, kFloatBits, {norm_backward<false>, backward_workspace<false>}},
    {MILL_OP_BATCH_NORM_APPLY, kFloatBits, {batch_norm_apply, nullptr}},
    {MILL_OP_GROUP_NORM, kFloatBits, {group_norm, group_norm_workspace}},
    {MILL_OP_GROUP_NORM_BACKWARD, kFloatBits, {norm_backward<true>, backward_workspace<true>}},
    {MILL_OP_RUNNING_UPDATE, kStatBits, {running_update, nullptr}},
};

}  // namespace

KernelList channel_norm_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
