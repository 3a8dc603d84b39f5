// softmax and log_softmax along one axis, and their gradients. The tensor is [outer, n, inner].
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/rows.inl"

#include "gpu/families/rows.h"

#include "kernels/block/softmax.inl"

struct Extent {
  int64_t outer;
  int64_t n;
  int64_t inner;
};

Extent extent_of(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  if (x->rank == 0) return {1, 1, 1};
  const auto axis = static_cast<int32_t>(args->attr[0].i);
  return {product(x, 0, axis), x->dims[axis], product(x, axis + 1, x->rank)};
}

// Parts of all long rows, 0 where the rows are not long.
template <class T>
int64_t parts_of(const Extent& e) {
  return e.inner == 1 && e.n > kTeamRow<T> ? ceil_div(e.n, kPartRow<T>) : 0;
}

template <bool kBackward>
uint64_t softmax_workspace(const mill_kernel_args* args) {
  const Extent e = extent_of(args);
  uint64_t bytes = 0;
  with_float(args->in[0]->dtype, [&]<class T>() {
    const uint64_t each = kBackward ? sizeof(wide_t<acc_t<T>>) : sizeof(soft_stats<acc_t<T>>);
    bytes = each * static_cast<uint64_t>(e.outer * parts_of<T>(e));
    return MILL_OK;
  });
  return bytes;
}

template <class T>
mill_status softmax_as(const mill_kernel_args* args, bool log) {
  using C = acc_t<T>;
  const mill_kernel_tensor* out_tensor = args->out[0];
  if (out_tensor->numel == 0) return MILL_OK;
  const Extent e = extent_of(args);
  const auto* x = data_of<const T>(args->in[0]);
  auto* out = data_of<T>(out_tensor);
  const auto numel = static_cast<uint64_t>(out_tensor->numel);
  const cost all = cost_of<T>(2 * bytes_of(out_tensor), 5 * numel);
  if (e.inner != 1) {
    const column_block block = column_block_of(e.inner, e.n);
    return launch<softmax_columns<T, kThreads>>(
        args, {e.outer * ceil_div(e.inner, block.lanes), block.threads()}, all, log, e.n, e.inner,
        block.lanes, x, out);
  }
  const bool vectors = rows_aligned(e.n, x) && rows_aligned(e.n, out);
  const int64_t parts = parts_of<T>(e);
  if (parts == 0) {
    return with_team<T>(e.n, vectors, [&]<int Team, int W, int Items>() {
      return launch<softmax_rows<T, Team, W, Items>>(args, team_shape<Team>(e.outer), all, log,
                                                     e.outer, static_cast<int>(e.n), x, out);
    });
  }
  auto* stats = static_cast<soft_stats<C>*>(args->workspace);
  return with_part<T>(vectors, [&]<int W>() {
    const shape grid{e.outer * parts, kPartThreads};
    const mill_status status = launch<softmax_part<T, kPartThreads, W, kRowItems<T>>>(
        args, grid, cost_of<T>(bytes_of(out_tensor), 3 * numel), e.n, parts, x, stats);
    if (status != MILL_OK) return status;
    return launch<softmax_apply<T, kPartThreads, W, kRowItems<T>>>(
        args, grid, cost_of<T>(bytes_of(out_tensor), 2 * numel), log, e.n, parts, stats, x, out);
  });
}

template <class T>
mill_status softmax_backward_as(const mill_kernel_args* args, bool log) {
  const mill_kernel_tensor* out_tensor = args->out[0];
  if (out_tensor->numel == 0) return MILL_OK;
  const Extent e = extent_of(args);
  const auto* g = data_of<const T>(args->in[0]);
  const auto* y = data_of<const T>(args->in[1]);
  auto* out = data_of<T>(out_tensor);
  const auto numel = static_cast<uint64_t>(out_tensor->numel);
  const uint64_t bytes = bytes_of(out_tensor);
  const cost all = cost_of<T>(3 * bytes, 5 * numel);
  if (e.inner != 1) {
    const column_block block = column_block_of(e.inner, e.n);
    return launch<softmax_backward_columns<T, kThreads>>(
        args, {e.outer * ceil_div(e.inner, block.lanes), block.threads()}, all, log, e.n, e.inner,
        block.lanes, g, y, out);
  }
  const bool vectors = rows_aligned(e.n, g) && rows_aligned(e.n, y) && rows_aligned(e.n, out);
  const int64_t parts = parts_of<T>(e);
  if (parts == 0) {
    return with_team<T>(e.n, vectors, [&]<int Team, int W, int Items>() {
      return launch<softmax_backward_rows<T, Team, W, Items>>(
          args, team_shape<Team>(e.outer), all, log, e.outer, static_cast<int>(e.n), g, y, out);
    });
  }
  auto* sums = static_cast<wide_t<acc_t<T>>*>(args->workspace);
  return with_part<T>(vectors, [&]<int W>() {
    const shape grid{e.outer * parts, kPartThreads};
    const mill_status status = launch<softmax_backward_part<T, kPartThreads, W, kRowItems<T>>>(
        args, grid, cost_of<T>(bytes, 2 * numel), log, e.n, parts, g, y, sums);
    if (status != MILL_OK) return status;
    return launch<softmax_backward_apply<T, kPartThreads, W, kRowItems<T>>>(
        args, grid, cost_of<T>(2 * bytes, 3 * numel), log, e.n, parts, sums, g, y, out);
  });
}

template <bool kLog>
mill_status softmax(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype, [&]<class T>() { return softmax_as<T>(args, kLog); });
}
template <bool kLog>
mill_status softmax_backward(const mill_kernel_args* args) {
  return with_float(args->in[0]->dtype,
                    [&]<class T>() { return softmax_backward_as<T>(args, kLog); });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_SOFTMAX, kFloatBits, {softmax<false>, softmax_workspace<false>}},
    {MILL_OP_LOG_SOFTMAX, kFloatBits, {softmax<true>, softmax_workspace<false>}},
    {MILL_OP_SOFTMAX_BACKWARD, kFloatBits, {softmax_backward<false>, softmax_workspace<true>}},
    {MILL_OP_LOG_SOFTMAX_BACKWARD, kFloatBits, {softmax_backward<true>, softmax_workspace<true>}},
};

}  // namespace

KernelList softmax_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
