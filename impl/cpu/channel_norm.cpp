// Normalisation over channels: batch norm (Ioffe and Szegedy, 2015) and group norm (Wu and He,
// 2018). A pass over x finds the moments of each statistic, chunks in parallel and joined in order;
// a second one applies them. The gradient has the same two passes: sums of g and of g xhat, then
// dx. Both norms are one plan.
#include "cpu/channel_apply.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using Plan = kernels::ChannelPlan;

template <class S>
S* at_of(const mill_kernel_tensor* t) {
  return t == nullptr ? nullptr : static_cast<S*>(t->data);
}

// One element for each channel or statistic, in row-major order: [C] may have any stride.
template <class S>
struct Line {
  S* data;  // may be null
  int64_t stride;

  explicit Line(const mill_kernel_tensor* t)
      : data(at_of<S>(t)), stride(t != nullptr && t->rank == 1 ? t->strides[0] : 1) {}
  S& operator[](int64_t i) const { return data[i * stride]; }
};

// ---- workspace ----------------------------------------------------------------------------------

// Wide values: two for each chunk and cell. Then arrays of C: mean, rstd and two sums of each
// statistic, weight and bias of each parameter.
template <class S>
struct Workspace {
  using C = Compute<S>;
  using W = Wide<C>;

  ChannelChunks chunks;
  int64_t cells;
  uint64_t bytes;
  W* first = nullptr;
  W* second = nullptr;
  C* mean = nullptr;
  C* rstd = nullptr;
  C* sums = nullptr;
  C* products = nullptr;
  C* weight = nullptr;
  C* bias = nullptr;

  // Chunks of the view that is summed over; without one the statistics are given.
  Workspace(const Plan& plan, const ChannelView* summed)
      : chunks(summed == nullptr ? ChannelChunks{0, 0} : channel_chunks(*summed)),
        cells(summed == nullptr ? 0 : summed->channels),
        bytes(static_cast<uint64_t>(2 * chunks.count * cells) * sizeof(W) +
              static_cast<uint64_t>(4 * plan.whole.channels + 2 * plan.params) * sizeof(C)) {}

  mill_status take(const mill_kernel_args* args, const Plan& plan) {
    if (args->workspace_bytes < bytes) return refuse_workspace(args, bytes);
    first = static_cast<W*>(args->workspace);
    second = first + chunks.count * cells;
    mean = reinterpret_cast<C*>(second + chunks.count * cells);
    rstd = mean + plan.whole.channels;
    sums = rstd + plan.whole.channels;
    products = sums + plan.whole.channels;
    weight = products + plan.whole.channels;
    bias = weight + plan.params;
    return MILL_OK;
  }
  void parameters(const Plan& plan, const mill_kernel_tensor* w, const mill_kernel_tensor* b) {
    const Line<const S> from(w);
    const Line<const S> shift(b);
    for (int64_t i = 0; i < plan.params; ++i) {
      weight[i] = from.data == nullptr ? C(1) : static_cast<C>(element(from[i]));
      bias[i] = shift.data == nullptr ? C(0) : static_cast<C>(element(shift[i]));
    }
  }
};

template <class C>
C rstd_of(double variance, double eps) {
  return static_cast<C>(1 / std::sqrt(variance + eps));
}

// ---- forward ------------------------------------------------------------------------------------

template <class S>
void normalise(const mill_kernel_args* args, const Plan& plan, const Workspace<S>& ws, const S* x,
               S* out) {
  using C = Compute<S>;
  using V = Vec<Tag<C>>;
  const Factors<C, 2, 2> factors = {
      {ws.mean, ws.rstd, ws.weight, ws.bias}, plan.per_stat, plan.params};
  apply_channels<S, false>(args, plan.applied, x, nullptr, out, factors,
                           [](V value, V, const V* f) MILL_LAMBDA_INLINE {
                             return hn::MulAdd(hn::Mul(hn::Sub(value, f[0]), f[1]), f[2], f[3]);
                           });
}

// Mean and, of batch norm, variance, of group norm the reciprocal deviation, to the results.
template <class S>
void finish_moments(const mill_kernel_args* args, const Plan& plan, const Workspace<S>& ws,
                    double eps, bool deviation) {
  using C = Compute<S>;
  using W = Wide<C>;
  const Line<C> mean_out(output(args, 1));
  const Line<C> spread_out(output(args, 2));
  const int64_t n = plan.whole.channels;
  const int64_t positions = plan.whole.positions;
  parallel(args, n, grain_of(4 * ws.chunks.count), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      W mean = ws.first[s];
      W squares = ws.second[s];
      int64_t have = smaller(ws.chunks.size, positions);
      for (int64_t k = 1; k < ws.chunks.count; ++k) {
        const int64_t more = smaller(ws.chunks.size, positions - have);
        join_moments<W>(&mean, &squares, static_cast<W>(have), ws.first[k * n + s],
                        ws.second[k * n + s], static_cast<W>(more));
        have += more;
      }
      const W variance = larger<W>(0, squares) / static_cast<W>(positions);
      ws.mean[s] = static_cast<C>(mean);
      ws.rstd[s] = rstd_of<C>(variance, eps);
      // A NaN is no larger than 0 and stays one all the same.
      if (squares != squares) ws.rstd[s] = static_cast<C>(squares);
      if (mean_out.data != nullptr) mean_out[s] = ws.mean[s];
      if (spread_out.data == nullptr) continue;
      spread_out[s] = deviation            ? ws.rstd[s]
                      : squares != squares ? static_cast<C>(squares)
                                           : static_cast<C>(variance);
    }
  });
}

template <class S>
mill_status norm_forward(const mill_kernel_args* args, const Plan& plan, double eps,
                         bool deviation) {
  if (args->in[0]->numel == 0) return MILL_OK;
  Workspace<S> ws(plan, &plan.whole);
  const mill_status status = ws.take(args, plan);
  if (status != MILL_OK) return status;
  const S* x = at_of<const S>(args->in[0]);
  channel_moments(args, plan.whole, ws.chunks, x, ws.first, ws.second);
  ws.parameters(plan, input(args, 1), input(args, 2));
  finish_moments<S>(args, plan, ws, eps, deviation);
  normalise<S>(args, plan, ws, x, at_of<S>(args->out[0]));
  return MILL_OK;
}

Plan forward_plan(const mill_kernel_args* args) {
  return kernels::batch_norm_plan(args->out[0], args->in[0], nullptr);
}
Plan group_forward_plan(const mill_kernel_args* args) {
  return kernels::group_norm_plan(args->in[0], args->attr[0].i);
}

template <class S>
uint64_t batch_norm_workspace(const mill_kernel_args* args) {
  const Plan plan = forward_plan(args);
  return Workspace<S>(plan, &plan.whole).bytes;
}
template <class S>
mill_status batch_norm(const mill_kernel_args* args) {
  return norm_forward<S>(args, forward_plan(args), args->attr[0].f, false);
}
template <class S>
uint64_t group_norm_workspace(const mill_kernel_args* args) {
  const Plan plan = group_forward_plan(args);
  return Workspace<S>(plan, &plan.whole).bytes;
}
template <class S>
mill_status group_norm(const mill_kernel_args* args) {
  return norm_forward<S>(args, group_forward_plan(args), args->attr[1].f, true);
}

template <class S>
uint64_t batch_norm_apply_workspace(const mill_kernel_args* args) {
  return Workspace<S>(forward_plan(args), nullptr).bytes;
}
template <class S>
mill_status batch_norm_apply(const mill_kernel_args* args) {
  using C = Compute<S>;
  if (args->in[0]->numel == 0) return MILL_OK;
  const Plan plan = forward_plan(args);
  Workspace<S> ws(plan, nullptr);
  const mill_status status = ws.take(args, plan);
  if (status != MILL_OK) return status;
  const Line<const C> mean(args->in[1]);
  const Line<const C> variance(args->in[2]);
  for (int64_t c = 0; c < plan.params; ++c) {
    ws.mean[c] = mean[c];
    ws.rstd[c] = rstd_of<C>(variance[c], args->attr[0].f);
  }
  ws.parameters(plan, input(args, 3), input(args, 4));
  normalise<S>(args, plan, ws, at_of<const S>(args->in[0]), at_of<S>(args->out[0]));
  return MILL_OK;
}

// ---- gradient -----------------------------------------------------------------------------------
// dx = rstd (gw - mean(gw) - xhat mean(gw xhat)) with gw = g weight; dweight = sum of g xhat, dbias
// = sum of g.

template <class S>
mill_status norm_backward(const mill_kernel_args* args, const Plan& plan, Workspace<S>& ws) {
  using C = Compute<S>;
  using W = Wide<C>;
  using V = Vec<Tag<C>>;
  const S* g = at_of<const S>(args->in[0]);
  const S* x = at_of<const S>(args->in[1]);
  const Line<S> dweight(output(args, 1));
  const Line<S> dbias(output(args, 2));
  channel_products(args, plan.cells, ws.chunks, x, g, ws.mean, ws.rstd, plan.per_stat, ws.first,
                   ws.second);
  const int64_t cells = plan.cells.channels;
  parallel(args, cells, grain_of(2 * ws.chunks.count), [&](int64_t begin, int64_t end) {
    for (int64_t k = 1; k < ws.chunks.count; ++k) {
      for (int64_t c = begin; c < end; ++c) {
        ws.first[c] += ws.first[k * cells + c];
        ws.second[c] += ws.second[k * cells + c];
      }
    }
  });
  parallel(args, plan.params, grain_of(2 * cells / plan.params), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      W sum = 0;
      W product = 0;
      for (int64_t c = p; c < cells; c += plan.params) {
        sum += ws.first[c];
        product += ws.second[c];
      }
      if (dweight.data != nullptr) dweight[p] = stored<S>(static_cast<C>(product));
      if (dbias.data != nullptr) dbias[p] = stored<S>(static_cast<C>(sum));
    }
  });
  if (output(args, 0) == nullptr) return MILL_OK;
  const auto count = static_cast<W>(plan.whole.positions);
  parallel(args, plan.whole.channels, grain_of(2 * plan.per_stat), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      W sum = 0;
      W product = 0;
      for (int64_t c = s * plan.per_stat; c < (s + 1) * plan.per_stat; ++c) {
        const auto weight = static_cast<W>(ws.weight[c % plan.params]);
        sum += ws.first[c] * weight;
        product += ws.second[c] * weight;
      }
      ws.sums[s] = static_cast<C>(sum / count);
      ws.products[s] = static_cast<C>(product / count);
    }
  });
  const Factors<C, 4, 1> factors = {
      {ws.mean, ws.rstd, ws.sums, ws.products, ws.weight}, plan.per_stat, plan.params};
  apply_channels<S, true>(args, plan.applied, x, g, at_of<S>(args->out[0]), factors,
                          [](V value, V gradient, const V* f) MILL_LAMBDA_INLINE {
                            const V normal = hn::Mul(hn::Sub(value, f[0]), f[1]);
                            const V weighted = hn::MulSub(gradient, f[4], f[2]);
                            return hn::Mul(hn::NegMulAdd(normal, f[3], weighted), f[1]);
                          });
  return MILL_OK;
}

// Nothing to sum up: zeros for the parameters.
template <class S>
void zero_parameters(const mill_kernel_args* args, int64_t params) {
  for (uint32_t k = 1; k <= 2; ++k) {
    const Line<S> to(output(args, k));
    for (int64_t i = 0; to.data != nullptr && i < params; ++i) to[i] = stored<S>(0.0f);
  }
}

Plan backward_plan(const mill_kernel_args* args) {
  const mill_kernel_tensor* dx = output(args, 0);
  return kernels::batch_norm_plan(dx == nullptr ? args->in[1] : dx, args->in[1], args->in[0]);
}
Plan group_backward_plan(const mill_kernel_args* args) {
  return kernels::group_norm_plan(args->in[1], args->attr[0].i);
}

template <class S>
uint64_t batch_norm_backward_workspace(const mill_kernel_args* args) {
  const Plan plan = backward_plan(args);
  return Workspace<S>(plan, &plan.cells).bytes;
}
template <class S>
uint64_t group_norm_backward_workspace(const mill_kernel_args* args) {
  const Plan plan = group_backward_plan(args);
  return Workspace<S>(plan, &plan.cells).bytes;
}

template <class S, bool kGroups>
mill_status norm_backward(const mill_kernel_args* args) {
  using C = Compute<S>;
  const mill_kernel_tensor& x = *args->in[1];
  if (x.numel == 0) {
    zero_parameters<S>(args, x.dims[1]);
    return MILL_OK;
  }
  const Plan plan = kGroups ? group_backward_plan(args) : backward_plan(args);
  Workspace<S> ws(plan, &plan.cells);
  const mill_status status = ws.take(args, plan);
  if (status != MILL_OK) return status;
  ws.parameters(plan, input(args, 2), nullptr);
  const Line<const C> mean(args->in[3]);
  const Line<const C> spread(args->in[4]);
  for (int64_t s = 0; s < plan.whole.channels; ++s) {
    ws.mean[s] = mean[s];
    ws.rstd[s] = kGroups ? spread[s] : rstd_of<C>(spread[s], args->attr[0].f);
  }
  return norm_backward<S>(args, plan, ws);
}

// ---- running statistics -------------------------------------------------------------------------

template <class T>
mill_status running_update(const mill_kernel_args* args) {
  const Tag<T> d;
  const auto take = static_cast<T>(args->attr[0].f);
  const int64_t count = args->attr[1].i;
  const T unbiased =
      count == 0 ? T(1)
                 : static_cast<T>(static_cast<double>(count) / static_cast<double>(count - 1));
  for (uint32_t k = 0; k < 2; ++k) {
    const T* from = at_of<const T>(args->in[k]);
    const T* batch = at_of<const T>(args->in[k + 2]);
    T* to = at_of<T>(output(args, k));
    if (to == nullptr) continue;
    const auto share = hn::Set(d, k == 0 ? take : take * unbiased);
    const auto kept = hn::Set(d, static_cast<T>(1 - args->attr[0].f));
    each_vector(d, args->in[k]->numel, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
      put(d, hn::MulAdd(get(d, batch + i, part), share, hn::Mul(get(d, from + i, part), kept)),
          to + i, part);
    });
  }
  return MILL_OK;
}

#define MILL_CHANNEL_ENTRIES(dtype, S)                                              \
  {MILL_OP_BATCH_NORM, bit(dtype), {batch_norm<S>, batch_norm_workspace<S>}},       \
      {MILL_OP_BATCH_NORM_BACKWARD,                                                 \
       bit(dtype),                                                                  \
       {norm_backward<S, false>, batch_norm_backward_workspace<S>}},                \
      {MILL_OP_BATCH_NORM_APPLY,                                                    \
       bit(dtype),                                                                  \
       {batch_norm_apply<S>, batch_norm_apply_workspace<S>}},                       \
      {MILL_OP_GROUP_NORM, bit(dtype), {group_norm<S>, group_norm_workspace<S>}}, { \
    MILL_OP_GROUP_NORM_BACKWARD, bit(dtype), {                                      \
      norm_backward<S, true>, group_norm_backward_workspace<S>                      \
    }                                                                               \
  }

constexpr KernelEntry kEntries[] = {
    MILL_CHANNEL_ENTRIES(MILL_F32, float),
    MILL_CHANNEL_ENTRIES(MILL_F64, double),
    MILL_CHANNEL_ENTRIES(MILL_BF16, bf16),
    MILL_CHANNEL_ENTRIES(MILL_F16, f16),
    {MILL_OP_RUNNING_UPDATE, bit(MILL_F32), {running_update<float>, nullptr}},
    {MILL_OP_RUNNING_UPDATE, bit(MILL_F64), {running_update<double>, nullptr}}};
#undef MILL_CHANNEL_ENTRIES

}  // namespace

KernelList channel_norm_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
