// Resizing, and its gradient, which gathers.
#include "kernels/resize_shape.h"

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/resize.inl"

#include "gpu/families/elementwise.h"
// clang-format on

using mill::kernels::resize_shape;
using mill::kernels::ResizeShape;
using mill::kernels::ResizeSpan;
using mill::kernels::ResizeTap;

// Whether neighbouring threads should have neighbouring channels.
bool channels_adjacent(const ResizeShape& r) {
  return r.in.channel == 1 && r.channels > 1;
}

template <class C>
cost resize_cost(const mill_kernel_args* args, const ResizeShape& r, int64_t cells) {
  const int64_t taps = r.axis[0].taps * r.axis[1].taps * r.axis[2].taps;
  return {bytes_of(args->in[0]) + bytes_of(args->out[0]), static_cast<uint64_t>(2 * cells * taps),
          sizeof(C) == 8 ? unit::f64 : unit::f32};
}

template <class C>
uint64_t table_bytes(const ResizeShape& r, bool backward) {
  return static_cast<uint64_t>(r.all_taps) * sizeof(ResizeTap<C>) +
         (backward ? static_cast<uint64_t>(r.all_spans) * sizeof(ResizeSpan) : 0);
}

template <class C>
mill_status fill_tables(const mill_kernel_args* args, const ResizeShape& r, ResizeTap<C>* taps,
                        ResizeSpan* spans) {
  const uint64_t bytes = table_bytes<C>(r, spans != nullptr);
  if (args->workspace_bytes < bytes) {
    return refuse(args, MILL_E_INTERNAL, "the kernel needs %llu bytes of workspace and got %llu",
                  static_cast<unsigned long long>(bytes),
                  static_cast<unsigned long long>(args->workspace_bytes));
  }
  const int64_t all = r.all_taps + (spans == nullptr ? 0 : r.all_spans);
  return launch<resize_tables<kThreads, C>>(args, shape_for(all), cost{bytes}, r, taps, spans);
}

mill_status resize(const mill_kernel_args* args) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  const ResizeShape r = resize_shape(args, x, out);
  return with_float(out.dtype, [&]<class T>() {
    using C = acc_t<T>;
    auto* taps = static_cast<ResizeTap<C>*>(args->workspace);
    const mill_status status = fill_tables<C>(args, r, taps, nullptr);
    if (status != MILL_OK) return status;
    return launch<resize_cells<T, kThreads>>(
        args, shape_for(out.numel), resize_cost<C>(args, r, out.numel), r, out.numel,
        channels_adjacent(r), static_cast<const ResizeTap<C>*>(taps), data_of<const T>(&x),
        data_of<T>(&out));
  });
}

mill_status resize_backward(const mill_kernel_args* args) {
  const mill_kernel_tensor& g = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  const ResizeShape r = resize_shape(args, out, g);
  return with_float(out.dtype, [&]<class T>() {
    using C = acc_t<T>;
    auto* taps = static_cast<ResizeTap<C>*>(args->workspace);
    auto* spans = reinterpret_cast<ResizeSpan*>(taps + r.all_taps);
    const mill_status status = fill_tables<C>(args, r, taps, spans);
    if (status != MILL_OK) return status;
    return launch<resize_gradient_cells<T, kThreads>>(
        args, shape_for(out.numel), resize_cost<C>(args, r, g.numel), r, out.numel,
        channels_adjacent(r), static_cast<const ResizeTap<C>*>(taps),
        static_cast<const ResizeSpan*>(spans), data_of<const T>(&g), data_of<T>(&out));
  });
}

uint64_t workspace_of(const mill_kernel_args* args, bool backward) {
  const mill_kernel_tensor& x = backward ? *args->out[0] : *args->in[0];
  const mill_kernel_tensor& y = backward ? *args->in[0] : *args->out[0];
  if (args->out[0]->numel == 0) return 0;
  const ResizeShape r = resize_shape(args, x, y);
  return x.dtype == MILL_F64 ? table_bytes<double>(r, backward) : table_bytes<float>(r, backward);
}
uint64_t resize_workspace(const mill_kernel_args* args) {
  return workspace_of(args, false);
}
uint64_t resize_backward_workspace(const mill_kernel_args* args) {
  return workspace_of(args, true);
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_RESIZE, kFloatBits, {resize, resize_workspace}},
    {MILL_OP_RESIZE_BACKWARD, kFloatBits, {resize_backward, resize_backward_workspace}},
};

}  // namespace

KernelList resize_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
