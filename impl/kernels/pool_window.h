// The windows of pooling on every device: sizes, strides and what an output sees of the input.
#pragma once

#include <cstdint>

#include "millrace/plugin.h"

namespace mill::kernels {

inline constexpr int kPoolAxes = 3;

// One spatial axis; axes that are not there have one element and a kernel of one.
struct PoolAxis {
  int64_t in, out, kernel, stride, low, high, dilation;
};

// Offsets of an operand [batch, channels, spatial axes].
struct PoolStrides {
  int64_t batch, channel, space[kPoolAxes];
};

struct PoolWindow {
  int64_t batch, channels;
  PoolAxis axis[kPoolAxes];
  PoolStrides in, out, index;
  bool count_padding;
};

// Static: a copy compiled for one SIMD target must not serve another.

static inline PoolStrides pool_strides(const mill_kernel_tensor* t) {
  PoolStrides s{0, 0, {0, 0, 0}};
  if (t == nullptr) return s;
  s.batch = t->strides[0];
  s.channel = t->strides[1];
  const int32_t first = kPoolAxes + 2 - t->rank;
  for (int32_t i = 2; i < t->rank; ++i) s.space[first + i - 2] = t->strides[i];
  return s;
}

// From the tensor with x's dims, the one with the result's, and the attributes from `at` on:
// kernel, stride, padding and dilation as the rule left them, a value per axis, padding two.
static inline PoolWindow pool_window(const mill_kernel_args* args, const mill_kernel_tensor& in,
                                     const mill_kernel_tensor& out, uint32_t at) {
  PoolWindow w{};
  w.batch = in.dims[0];
  w.channels = in.dims[1];
  w.in = pool_strides(&in);
  w.out = pool_strides(&out);
  const int32_t n = in.rank - 2;
  const auto* kernel = static_cast<const int64_t*>(args->attr[at].p);
  const auto* stride = static_cast<const int64_t*>(args->attr[at + 1].p);
  const auto* padding = static_cast<const int64_t*>(args->attr[at + 2].p);
  const auto* dilation = static_cast<const int64_t*>(args->attr[at + 3].p);
  for (int32_t i = 0; i < kPoolAxes - n; ++i) w.axis[i] = {1, 1, 1, 1, 0, 0, 1};
  for (int32_t i = 0; i < n; ++i) {
    w.axis[kPoolAxes - n + i] = {in.dims[2 + i], out.dims[2 + i], kernel[i],  stride[i],
                                 padding[i],     padding[n + i],  dilation[i]};
  }
  return w;
}

}  // namespace mill::kernels
