// Pooling over windows, and its gradients, which gather.
#include "gpu/families/common.h"
#include "kernels/pool_window.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/pool.inl"

#include "gpu/families/elementwise.h"
// clang-format on

using mill::kernels::pool_strides;
using mill::kernels::pool_window;
using mill::kernels::PoolWindow;

// Whether neighbouring threads should have neighbouring channels.
bool channels_adjacent(const PoolWindow& w) {
  return w.in.channel == 1 && w.channels > 1;
}

template <class T>
cost pool_cost(const mill_kernel_args* args, const PoolWindow& w, int64_t windows) {
  uint64_t bytes = 0;
  for (uint32_t k = 0; k < args->n_in; ++k) bytes += bytes_of(args->in[k]);
  for (uint32_t k = 0; k < args->n_out; ++k) bytes += bytes_of(args->out[k]);
  const int64_t taps = w.axis[0].kernel * w.axis[1].kernel * w.axis[2].kernel;
  return {bytes, static_cast<uint64_t>(windows) * static_cast<uint64_t>(taps),
          sizeof(acc_t<T>) == 8 ? unit::f64 : unit::f32};
}

mill_status max_pool(const mill_kernel_args* args) {
  const mill_kernel_tensor* out = output(args, 0);
  const mill_kernel_tensor* index = output(args, 1);
  const mill_kernel_tensor& pooled = out != nullptr ? *out : *index;
  if (pooled.numel == 0) return MILL_OK;
  PoolWindow w = pool_window(args, *args->in[0], pooled, 0);
  w.index = pool_strides(index);
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return launch<max_pool_cells<T, kThreads>>(args, shape_for(pooled.numel),
                                               pool_cost<T>(args, w, pooled.numel), w, pooled.numel,
                                               channels_adjacent(w), data_of<const T>(args->in[0]),
                                               data_of<T>(out), data_of<int64_t>(index));
  });
}

mill_status avg_pool(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  PoolWindow w = pool_window(args, *args->in[0], out, 0);
  w.count_padding = args->attr[5].i != 0;
  return with_float(out.dtype, [&]<class T>() {
    return launch<avg_pool_cells<T, kThreads>>(
        args, shape_for(out.numel), pool_cost<T>(args, w, out.numel), w, out.numel,
        channels_adjacent(w), data_of<const T>(args->in[0]), data_of<T>(&out));
  });
}

mill_status backward(const mill_kernel_args* args, bool average) {
  const mill_kernel_tensor& g = *args->in[0];
  const mill_kernel_tensor* index = average ? nullptr : args->in[1];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  PoolWindow w = pool_window(args, out, g, 1);
  w.index = pool_strides(index);
  w.count_padding = average && args->attr[6].i != 0;
  return with_float(out.dtype, [&]<class T>() {
    return launch<pool_gradient_cells<T, kThreads>>(
        args, shape_for(out.numel), pool_cost<T>(args, w, g.numel), w, out.numel,
        channels_adjacent(w), data_of<const T>(&g), data_of<const int64_t>(index),
        data_of<T>(&out));
  });
}

mill_status max_pool_backward(const mill_kernel_args* args) {
  return backward(args, false);
}
mill_status avg_pool_backward(const mill_kernel_args* args) {
  return backward(args, true);
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_MAX_POOL, kFloatBits, {max_pool, nullptr}},
    {MILL_OP_MAX_POOL_BACKWARD, kFloatBits, {max_pool_backward, nullptr}},
    {MILL_OP_AVG_POOL, kFloatBits, {avg_pool, nullptr}},
    {MILL_OP_AVG_POOL_BACKWARD, kFloatBits, {avg_pool_backward, nullptr}},
};

}  // namespace

KernelList pool_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
