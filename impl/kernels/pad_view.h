// What pad copies, on every device: up to three parts of the output along the axis, each with the
// part of the input that belongs there, as views.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "millrace/plugin.h"

namespace mill::kernels {

// mill_pad_modes, which the kernels' headers do not see.
enum PadMode { kPadConstant, kPadReflect, kPadEdge, kPadWrap };

struct PadPart {
  mill_kernel_tensor to;
  mill_kernel_tensor from;
};
inline constexpr int kMostPadParts = 3;

// Static: a copy compiled for one SIMD target must not serve another.

// `count` indices of t from `start` on, `step` apart, which may be negative or 0.
static inline mill_kernel_tensor pad_window(const mill_kernel_tensor& t, int32_t axis,
                                            int64_t start, int64_t step, int64_t count) {
  mill_kernel_tensor view = t;
  view.data = static_cast<char*>(t.data) + start * t.strides[axis] * dtype_size(t.dtype);
  view.numel = t.numel / t.dims[axis] * count;
  view.dims[axis] = count;
  view.strides[axis] = t.strides[axis] * step;
  return view;
}

// Fills parts and returns how many there are; none is empty. The output has elements and the
// arguments were checked.
static inline int pad_parts(const mill_kernel_args* args, PadPart (&parts)[kMostPadParts]) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  const auto axis = static_cast<int32_t>(args->attr[0].i);
  const int64_t low = args->attr[1].i;
  const int64_t high = args->attr[2].i;
  const int64_t mode = args->attr[3].i;
  const int64_t n = x.dims[axis];
  int count = 0;
  const auto add = [&](int64_t to, int64_t from, int64_t step, int64_t size) {
    if (size <= 0 || x.numel == 0) return;
    parts[count++] = {pad_window(out, axis, to, 1, size), pad_window(x, axis, from, step, size)};
  };
  const int64_t first = low < 0 ? -low : 0;  // of x that stays
  const int64_t end = high < 0 ? n + high : n;
  const int64_t at = low < 0 ? 0 : low;
  add(at, first, 1, end - first);
  if (mode == kPadReflect) {
    add(0, low, -1, low);
    add(low + n, n - 2, -1, high);
  } else if (mode == kPadEdge) {
    add(0, 0, 0, low);
    add(low + n, n - 1, 0, high);
  } else if (mode == kPadWrap) {
    add(0, n - low, 1, low);
    add(low + n, 0, 1, high);
  }
  return count;
}

}  // namespace mill::kernels
