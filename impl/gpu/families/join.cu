// Kernels of the join family: concat, the gradient of slice and pad, all as copies into a part of
// the output.
#include "gpu/families/common.h"
#include "kernels/pad_view.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/convert.inl"
#include "kernels/block/copy.inl"

#include "gpu/families/elementwise.h"
#include "gpu/families/copy.h"
// clang-format on

// The `count` indices start, start + step, ... of `whole` along axis.
mill_kernel_tensor window(const mill_kernel_tensor& whole, int32_t axis, int64_t start,
                          int64_t step, int64_t count) {
  mill_kernel_tensor view = whole;
  view.numel = whole.numel / whole.dims[axis] * count;
  if (view.numel == 0) return view;
  view.data =
      static_cast<char*>(whole.data) + start * whole.strides[axis] * mill::dtype_size(whole.dtype);
  view.dims[axis] = count;
  view.strides[axis] = whole.strides[axis] * step;
  return view;
}

mill_status concat(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  int64_t axis = args->attr[0].i;
  if (axis < 0) axis += out.rank;
  if (axis < 0 || axis >= out.rank) {
    return refuse(args, MILL_E_ARG, "axis is %lld, must be -%d to %d",
                  static_cast<long long>(args->attr[0].i), out.rank, out.rank - 1);
  }
  if (out.numel == 0) return MILL_OK;
  const auto along = static_cast<int32_t>(axis);
  int64_t start = 0;
  for (uint32_t k = 0; k < args->n_in; ++k) {
    const mill_kernel_tensor& in = *args->in[k];
    const mill_status status = copy_tensor(args, window(out, along, start, 1, in.dims[along]), in);
    if (status != MILL_OK) return status;
    start += in.dims[along];
  }
  return MILL_OK;
}

mill_status slice_backward(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& g = *args->in[0];
  int64_t axis = args->attr[1].i;
  if (axis < 0) axis += out.rank;
  const int64_t start = args->attr[2].i;
  const int64_t step = args->attr[3].i;
  // Written so that no product can overflow.
  const bool inside =
      axis >= 0 && axis < out.rank && start >= 0 && step > 0 &&
      (g.dims[axis] == 0 ||
       (start < out.dims[axis] && g.dims[axis] - 1 <= (out.dims[axis] - 1 - start) / step));
  if (!inside) {
    return refuse(args, MILL_E_ARG, "axis %lld, start %lld, step %lld lead outside the output",
                  static_cast<long long>(args->attr[1].i), static_cast<long long>(start),
                  static_cast<long long>(step));
  }
  if (out.numel == 0) return MILL_OK;
  const auto along = static_cast<int32_t>(axis);
  const int64_t count = g.dims[along];
  if (step != 1 || count == 0) {
    const mill_status status = fill_tensor(args, out, 0);
    if (status != MILL_OK || count == 0) return status;
  } else {
    // Only what the gradient does not cover.
    const int64_t end = start + count;
    mill_status status = fill_tensor(args, window(out, along, 0, 1, start), 0);
    if (status == MILL_OK)
      status = fill_tensor(args, window(out, along, end, 1, out.dims[along] - end), 0);
    if (status != MILL_OK) return status;
  }
  return copy_tensor(args, window(out, along, start, step, count), g);
}

mill_status pad(const mill_kernel_args* args) {
  namespace kernels = mill::kernels;
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  kernels::PadPart parts[kernels::kMostPadParts];
  const int n = kernels::pad_parts(args, parts);
  if (args->attr[3].i == kernels::kPadConstant) {
    // Only what the copy below does not cover.
    const auto axis = static_cast<int32_t>(args->attr[0].i);
    const int64_t size = out.dims[axis];
    const int64_t low = smaller(size, larger<int64_t>(0, args->attr[1].i));
    const int64_t high = n == 0 ? low : low + parts[0].to.dims[axis];
    mill_status status = fill_tensor(args, window(out, axis, 0, 1, low), args->attr[4].f);
    if (status == MILL_OK)
      status = fill_tensor(args, window(out, axis, high, 1, size - high), args->attr[4].f);
    if (status != MILL_OK) return status;
  }
  for (int k = 0; k < n; ++k) {
    const mill_status status = copy_tensor(args, parts[k].to, parts[k].from);
    if (status != MILL_OK) return status;
  }
  return MILL_OK;
}

constexpr uint32_t kAny = (1U << MILL_DTYPE_COUNT) - 2U;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_CONCAT, kAny, {concat, nullptr}},
    {MILL_OP_SLICE_BACKWARD, kAny, {slice_backward, nullptr}},
    {MILL_OP_PAD, kAny, {pad, nullptr}},
};

}  // namespace

KernelList join_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
