// Attention in tiles, and its gradient, which computes the scores anew. The gradient sums in an
// order that the shapes alone decide: a block has its keys (or queries) to itself.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/ids.inl"
#include "kernels/block/rows.inl"
#include "kernels/block/attention.inl"

#include "gpu/families/rows.h"
// clang-format on

// Queries (keys) of a tile are 16 times Each, columns of a chunk 16 times Columns: what 48 KiB of
// shared memory and the registers of 256 threads hold. Gradients keep two tiles of scores, so that
// wide heads are cut into chunks of 64.
template <class T, bool kGradient, class F>
mill_status with_tile([[maybe_unused]] int64_t width, F&& call) {
  if constexpr (sizeof(acc_t<T>) == 8) {
    return call.template operator()<2, 4>();
  } else if constexpr (kGradient) {
    return call.template operator()<4, 4>();
  } else if (width <= 64) {
    return call.template operator()<4, 4>();
  } else {
    return call.template operator()<4, 8>();
  }
}

attention_strides strides_of(const mill_kernel_tensor* t) {
  if (t == nullptr) return {0, 0, 0, 0};
  return {t->strides[0], t->strides[1], t->strides[2], t->rank > 3 ? t->strides[3] : 0};
}

// Of what is broadcast to [batch, heads, queries, keys].
attention_strides spread_of(const mill_kernel_tensor* t) {
  int64_t steps[4] = {0, 0, 0, 0};
  for (int32_t i = 0; t != nullptr && i < t->rank; ++i)
    steps[4 - t->rank + i] = t->dims[i] == 1 ? 0 : t->strides[i];
  return {steps[0], steps[1], steps[2], steps[3]};
}

attention_geometry geometry_of(const mill_kernel_args* args, uint32_t first, uint32_t mask) {
  const mill_kernel_tensor& q = *args->in[first];
  const mill_kernel_tensor& k = *args->in[first + 1];
  const mill_kernel_tensor& v = *args->in[first + 2];
  const mill_kernel_tensor* lengths = input(args, mask + 2);
  attention_geometry g{};
  g.heads = q.dims[1];
  g.key_heads = k.dims[1];
  g.group = g.key_heads > 0 ? g.heads / g.key_heads : 1;
  g.queries = q.dims[2];
  g.keys = k.dims[2];
  g.width = q.dims[3];
  g.value_width = v.dims[3];
  g.causal = args->attr[0].i != 0;
  g.offset = args->attr[1].i;
  g.scale = args->attr[2].f;
  g.op = first == 0 ? MILL_OP_ATTENTION : MILL_OP_ATTENTION_BACKWARD;
  g.lengths_argument = static_cast<int32_t>(mask + 2);
  if (lengths != nullptr) {
    g.index_dtype = lengths->dtype;
    g.lengths_step = lengths->strides[0];
  }
  g.q = strides_of(&q);
  g.k = strides_of(&k);
  g.v = strides_of(&v);
  g.mask = spread_of(input(args, mask));
  g.bias = spread_of(input(args, mask + 1));
  return g;
}

const void* lengths_of(const mill_kernel_args* args, uint32_t at) {
  const mill_kernel_tensor* t = input(args, at);
  return t == nullptr ? nullptr : t->data;
}

mill_status check_lengths_dtype(const mill_kernel_args* args, uint32_t at) {
  const mill_kernel_tensor* t = input(args, at);
  return t == nullptr ? MILL_OK : check_index_dtype(args, t, "lengths");
}

// Multiply-adds of products over this many columns each.
template <class T>
cost cost_of_scores(const mill_kernel_args* args, const attention_geometry& g, int64_t batch,
                    int64_t columns) {
  uint64_t bytes = 0;
  for (uint32_t k = 0; k < args->n_in; ++k) bytes += bytes_of(args->in[k]);
  for (uint32_t k = 0; k < args->n_out; ++k) bytes += bytes_of(args->out[k]);
  const int64_t scores = batch * g.heads * g.queries * g.keys / (g.causal ? 2 : 1);
  return cost_of<T>(bytes, 2 * static_cast<uint64_t>(scores) * static_cast<uint64_t>(columns));
}

template <class T>
mill_status forward_as(const mill_kernel_args* args) {
  const mill_kernel_tensor* out = args->out[0];
  attention_geometry g = geometry_of(args, 0, 3);
  const int64_t batch = args->in[0]->dims[0];
  if (batch * g.heads * g.queries == 0) return MILL_OK;
  g.first = strides_of(out);
  g.second = strides_of(output(args, 1));
  const cost c = cost_of_scores<T>(args, g, batch, g.width + g.value_width);
  return with_tile<T, false>(g.value_width, [&]<int Each, int Columns>() {
    using Shared = attention_shared<T, Each, Columns>;
    g.tiles = ceil_div(g.queries, Shared::kSize);
    g.chunks = larger<int64_t>(1, ceil_div(g.value_width, Shared::kWide));
    return launch<attention_forward<T, Each, Columns>>(
        args, {batch * g.heads * g.tiles * g.chunks, kAttentionThreads}, c, g,
        data_of<const T>(args->in[0]), data_of<const T>(args->in[1]), data_of<const T>(args->in[2]),
        data_of<const uint8_t>(input(args, 3)), data_of<const T>(input(args, 4)),
        lengths_of(args, 5), data_of<T>(out), data_of<acc_t<T>>(output(args, 1)), faults_of(args));
  });
}

mill_status attention(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 5);
  if (status != MILL_OK) return status;
  return with_float(args->in[0]->dtype, [&]<class T>() { return forward_as<T>(args); });
}

// ---- gradients ----------------------------------------------------------------------------------

uint64_t backward_workspace(const mill_kernel_args* args) {
  const mill_kernel_tensor* lse = args->in[5];
  return bytes_of(lse);
}

template <class T>
mill_status backward_as(const mill_kernel_args* args) {
  using C = acc_t<T>;
  attention_geometry g = geometry_of(args, 1, 7);
  const int64_t batch = args->in[1]->dims[0];
  g.g = strides_of(args->in[0]);
  g.y = strides_of(args->in[4]);
  const auto* arriving = data_of<const T>(args->in[0]);
  const auto* q = data_of<const T>(args->in[1]);
  const auto* k = data_of<const T>(args->in[2]);
  const auto* v = data_of<const T>(args->in[3]);
  const auto* lse = data_of<const C>(args->in[5]);
  const auto* mask = data_of<const uint8_t>(input(args, 7));
  const auto* bias = data_of<const T>(input(args, 8));
  const void* lengths = lengths_of(args, 9);
  const mill_kernel_tensor* dq = output(args, 0);
  const mill_kernel_tensor* dk = output(args, 1);
  const mill_kernel_tensor* dv = output(args, 2);
  const mill_kernel_tensor* dscores = output(args, 3);
  auto* delta = static_cast<C*>(args->workspace);
  const int64_t rows = batch * g.heads * g.queries;
  if (rows > 0) {
    constexpr int kDeltaThreads = 256;
    g.second = strides_of(input(args, 6));
    const mill_status status = launch<attention_delta<T, kDeltaThreads>>(
        args, {ceil_div(rows, kDeltaThreads / kWarp), kDeltaThreads},
        cost_of<T>(2 * bytes_of(args->in[0]), 2 * static_cast<uint64_t>(args->in[0]->numel)), g,
        rows, arriving, data_of<const T>(args->in[4]), data_of<const C>(input(args, 6)), delta);
    if (status != MILL_OK) return status;
  }
  g.first = strides_of(args->in[5]);
  const int64_t width = larger(g.width, g.value_width);
  if ((dk != nullptr || dv != nullptr) && batch * g.key_heads * g.keys > 0) {
    const mill_status status = with_tile<T, true>(width, [&]<int Each, int Columns>() {
      using Shared = attention_shared<T, Each, Columns>;
      g.tiles = ceil_div(g.keys, Shared::kSize);
      g.chunks = larger<int64_t>(1, ceil_div(width, Shared::kWide));
      return launch<attention_gradient_keys<T, Each, Columns>>(
          args, {batch * g.key_heads * g.tiles * g.chunks, kAttentionThreads},
          cost_of_scores<T>(args, g, batch, 2 * (g.width + g.value_width)), g, q, k, v, arriving,
          lse, delta, mask, bias, lengths, strides_of(dk), strides_of(dv), data_of<T>(dk),
          data_of<T>(dv), faults_of(args));
    });
    if (status != MILL_OK) return status;
  }
  if ((dq == nullptr && dscores == nullptr) || rows == 0) return MILL_OK;
  g.dscores = strides_of(dscores);
  return with_tile<T, true>(g.width, [&]<int Each, int Columns>() {
    using Shared = attention_shared<T, Each, Columns>;
    g.tiles = ceil_div(g.queries, Shared::kSize);
    g.chunks = larger<int64_t>(1, ceil_div(g.width, Shared::kWide));
    return launch<attention_gradient_queries<T, Each, Columns>>(
        args, {batch * g.heads * g.tiles * g.chunks, kAttentionThreads},
        cost_of_scores<T>(args, g, batch, 2 * g.width + g.value_width), g, q, k, v, arriving, lse,
        delta, mask, bias, lengths, strides_of(dq), data_of<T>(dq), data_of<T>(dscores),
        faults_of(args));
  });
}

mill_status attention_backward(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 9);
  if (status != MILL_OK) return status;
  return with_float(args->in[0]->dtype, [&]<class T>() { return backward_as<T>(args); });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_ATTENTION, kFloatBits, {attention, nullptr}},
    {MILL_OP_ATTENTION_BACKWARD, kFloatBits, {attention_backward, backward_workspace}},
};

}  // namespace

KernelList attention_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
