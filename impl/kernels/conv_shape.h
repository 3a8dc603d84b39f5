// Convolutions on every device: sizes and strides, and the one form that a convolution and its
// gradient by the input have in common.
#pragma once

#include <cstdint>

#include "millrace/plugin.h"

namespace mill::kernels {

inline constexpr int kConvAxes = 3;

// One spatial axis of the convolution from x to y; axes that are not there have one element and a
// kernel of one. Tap r of element o of y meets element o * stride - low + r * dilation of x.
struct ConvAxis {
  int64_t in, out, kernel, stride, low, dilation;
};

// Strides of an operand [batch, channels, spatial axes]; of the weight [channels of y, channels of
// x in a group, spatial axes].
struct ConvStrides {
  int64_t batch, channel, space[kConvAxes];
};

struct ConvShape {
  int64_t batch, groups;
  int64_t in_channels, out_channels;  // of one group
  ConvAxis axis[kConvAxes];
  ConvStrides x, y, w;
};

// One axis of a pass. Element j of `to` lies at place + j * place_step; tap t of it meets element
// first + (j * step + t * delta) * unit of `from`, which counts as 0 outside [0, size), with
// element tap + t * tap_step of the weight.
struct ConvWalk {
  int64_t n, step, taps, delta, first, unit, size;
  int64_t tap, tap_step, place, place_step;
  int64_t kernel;  // taps of the weight, those of other phases counted
};

// to[j, m] = sum over taps t and channels c of from[at(j, t), c] * w[t, c, m], for each group. w's
// batch stride is the one along m.
struct ConvPass {
  int64_t batch, groups, channels, outputs;
  ConvWalk axis[kConvAxes];
  ConvStrides from, to, w;
  int64_t from_group, to_group, w_group;  // strides
};

// Static: a copy compiled for one SIMD target must not serve another.

static inline ConvStrides conv_strides(const mill_kernel_tensor& t) {
  ConvStrides s{t.strides[0], t.strides[1], {0, 0, 0}};
  const int32_t first = kConvAxes + 2 - t.rank;
  for (int32_t i = 2; i < t.rank; ++i) s.space[first + i - 2] = t.strides[i];
  return s;
}

// From attributes as the rule left them, stride first: a stride, two paddings (all before, then all
// behind) and a dilation per axis, and the number of groups.
static inline ConvShape conv_shape(const mill_kernel_tensor& x, const mill_kernel_tensor& y,
                                   const mill_kernel_tensor& w, const mill_attr* attr) {
  ConvShape s{};
  s.batch = x.dims[0];
  s.groups = attr[3].i;
  s.in_channels = w.dims[1];
  s.out_channels = w.dims[0] / s.groups;
  s.x = conv_strides(x);
  s.y = conv_strides(y);
  s.w = conv_strides(w);
  const int32_t n = x.rank - 2;
  const auto* stride = static_cast<const int64_t*>(attr[0].p);
  const auto* padding = static_cast<const int64_t*>(attr[1].p);
  const auto* dilation = static_cast<const int64_t*>(attr[2].p);
  for (int32_t i = 0; i < kConvAxes - n; ++i) s.axis[i] = {1, 1, 1, 1, 0, 1};
  for (int32_t i = 0; i < n; ++i) {
    s.axis[kConvAxes - n + i] = {x.dims[2 + i], y.dims[2 + i], w.dims[2 + i],
                                 stride[i],     padding[i],    dilation[i]};
  }
  return s;
}

static inline int64_t conv_gcd(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// Elements of `from` between those that are met are left out.
static inline void conv_settle(ConvWalk* w) {
  if (w->n <= 1) w->step = 0;
  if (w->taps <= 1) w->delta = 0;
  w->unit = conv_gcd(w->step, w->delta);
  if (w->unit == 0) w->unit = 1;
  w->step = w->n <= 1 ? 1 : w->step / w->unit;
  w->delta = w->taps <= 1 ? 1 : w->delta / w->unit;
}

// Elements of `from` along the axis that n elements of `to` meet, those outside counted.
static inline int64_t conv_reach(const ConvWalk& w, int64_t n) {
  return w.taps == 0 || n == 0 ? 0 : (n - 1) * w.step + (w.taps - 1) * w.delta + 1;
}

static inline ConvPass conv_forward(const ConvShape& s) {
  ConvPass p{};
  p.batch = s.batch;
  p.groups = s.groups;
  p.channels = s.in_channels;
  p.outputs = s.out_channels;
  p.from = s.x;
  p.to = s.y;
  p.w = s.w;
  for (int i = 0; i < kConvAxes; ++i) {
    const ConvAxis& a = s.axis[i];
    p.axis[i] = {a.out, a.stride, a.kernel, a.dilation, -a.low, 1, a.in, 0, 1, 0, 1, a.kernel};
    conv_settle(&p.axis[i]);
  }
  p.from_group = p.channels * s.x.channel;
  p.to_group = p.outputs * s.y.channel;
  p.w_group = p.outputs * s.w.batch;
  return p;
}

// The elements of x whose place along an axis leaves the same rest on division by the stride meet
// the same taps: their gradients are a convolution of y's with those taps, a phase.
static inline int64_t conv_phases(const ConvAxis& a) {
  return a.in < a.stride ? a.in : a.stride;
}
static inline int64_t conv_phases(const ConvShape& s) {
  return conv_phases(s.axis[0]) * conv_phases(s.axis[1]) * conv_phases(s.axis[2]);
}

static inline ConvWalk conv_phase(const ConvAxis& a, int64_t phase) {
  ConvWalk w{};
  w.n = (a.in - phase + a.stride - 1) / a.stride;
  w.size = a.out;
  w.kernel = a.kernel;
  w.place = phase;
  w.place_step = a.stride;
  // Tap r meets element (phase + low - r * dilation) / stride + j of y where that division is even:
  // for every `period`-th tap, the last of them first.
  const int64_t shared = conv_gcd(a.stride, a.dilation);
  const int64_t period = a.stride / shared;
  int64_t least = 0;
  while (least < period && (phase + a.low - least * a.dilation) % a.stride != 0) ++least;
  if (least < period && least < a.kernel) {
    w.taps = (a.kernel - 1 - least) / period + 1;
    w.tap = least + (w.taps - 1) * period;
    w.first = (phase + a.low - w.tap * a.dilation) / a.stride;
  }
  w.tap_step = -period;
  w.step = 1;
  w.delta = a.dilation / shared;
  conv_settle(&w);
  return w;
}

static inline ConvPass conv_backward(const ConvShape& s, int64_t phase) {
  ConvPass p{};
  p.batch = s.batch;
  p.groups = s.groups;
  p.channels = s.out_channels;
  p.outputs = s.in_channels;
  p.from = s.y;
  p.to = s.x;
  p.w = s.w;
  p.w.batch = s.w.channel;
  p.w.channel = s.w.batch;
  for (int i = kConvAxes - 1; i >= 0; --i) {
    const int64_t phases = conv_phases(s.axis[i]);
    p.axis[i] = conv_phase(s.axis[i], phase % phases);
    phase /= phases;
  }
  p.from_group = p.channels * s.y.channel;
  p.to_group = p.outputs * s.x.channel;
  p.w_group = p.channels * s.w.batch;
  return p;
}

}  // namespace mill::kernels
