// Kernels of the join family: concat, the gradient of slice and pad, all as copies into a part of
// the output.
#include <stdio.h>

#include "cpu/copy.h"
#include "cpu/kernels.h"
#include "kernels/pad_view.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

// The indices start, start + step, ... of `whole` along axis, with part's dims.
mill_kernel_tensor window(const mill_kernel_tensor& whole, const mill_kernel_tensor& part,
                          int32_t axis, int64_t start, int64_t step) {
  mill_kernel_tensor view = whole;
  view.data =
      static_cast<char*>(whole.data) + start * whole.strides[axis] * dtype_size(whole.dtype);
  view.dims[axis] = part.dims[axis];
  view.strides[axis] = whole.strides[axis] * step;
  view.numel = part.numel;
  return view;
}

mill_status concat(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  int64_t axis = args->attr[0].i;
  if (axis < 0) axis += out.rank;
  if (axis < 0 || axis >= out.rank) {
    snprintf(args->error->text, sizeof(args->error->text), "axis is %lld, must be -%d to %d",
             static_cast<long long>(args->attr[0].i), out.rank, out.rank - 1);
    return MILL_E_ARG;
  }
  if (out.numel == 0) return MILL_OK;
  int64_t start = 0;
  for (uint32_t k = 0; k < args->n_in; ++k) {
    const mill_kernel_tensor& in = *args->in[k];
    if (in.numel != 0)
      copy_tensor(window(out, in, static_cast<int32_t>(axis), start, 1), in, args->host);
    start += in.dims[axis];
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
    snprintf(args->error->text, sizeof(args->error->text),
             "axis %lld, start %lld, step %lld lead outside the output",
             static_cast<long long>(args->attr[1].i), static_cast<long long>(start),
             static_cast<long long>(step));
    return MILL_E_ARG;
  }
  alignas(16) const char zero[16] = {};
  fill_output(args, zero);
  if (g.numel != 0)
    copy_tensor(window(out, g, static_cast<int32_t>(axis), start, step), g, args->host);
  return MILL_OK;
}

mill_status pad(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  kernels::PadPart parts[kernels::kMostPadParts];
  const int n = kernels::pad_parts(args, parts);
  if (args->attr[3].i == kernels::kPadConstant) {
    const double value = args->attr[4].f;
    alignas(16) char element[16] = {};
    any_writer<double>(out.dtype)(&value, 1, element, 1);
    fill_output(args, element);
  }
  for (int k = 0; k < n; ++k) copy_tensor(parts[k].to, parts[k].from, args->host);
  return MILL_OK;
}

constexpr uint32_t kAny = (1u << MILL_DTYPE_COUNT) - 2u;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_CONCAT, kAny, {&concat, nullptr}},
    {MILL_OP_SLICE_BACKWARD, kAny, {&slice_backward, nullptr}},
    {MILL_OP_PAD, kAny, {&pad, nullptr}},
};

}  // namespace

KernelList join_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
