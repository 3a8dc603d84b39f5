// What an element of a resized tensor sees of the input, on every device: positions and weights
// along each axis, which tables hold, so that modes and transforms matter to those who fill them
// alone.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/functors/vocabulary.h"
#include "kernels/pool_window.h"
#include "millrace/ops.h"

namespace mill::kernels {

inline constexpr int kResizeAxes = kPoolAxes;
inline constexpr int kResizeTaps = 4;

struct ResizeAxis {
  int64_t in, out;
  double scale;
  double length;  // of the result, which scales need not make whole
  double cubic;
  int32_t mode, transform, rounding;
  int32_t taps;
  bool exclude_outside;
};

// The elements that one of the result's along an axis is made from, and their weights.
template <class C>
struct ResizeTap {
  int64_t at[kResizeTaps];
  C weight[kResizeTaps];
};
// The elements of the result that an element may be part of.
struct ResizeSpan {
  int64_t begin, end;
};

struct ResizeShape {
  int64_t batch, channels;
  ResizeAxis axis[kResizeAxes];
  PoolStrides in, out;
  int64_t taps[kResizeAxes];   // where an axis begins in the table of taps
  int64_t spans[kResizeAxes];  // the same of spans
  int64_t all_taps, all_spans;
};

MILL_FN double resize_position(const ResizeAxis& a, int64_t o) {
  const auto at = static_cast<double>(o);
  double x = 0;
  switch (a.transform) {
    case MILL_RESIZE_PYTORCH_HALF_PIXEL: x = a.out > 1 ? (at + 0.5) / a.scale - 0.5 : 0; break;
    case MILL_RESIZE_ALIGN_CORNERS:
      x = a.length <= 1 ? 0 : at * static_cast<double>(a.in - 1) / (a.length - 1);
      break;
    case MILL_RESIZE_ASYMMETRIC: x = at / a.scale; break;
    case MILL_RESIZE_HALF_PIXEL_SYMMETRIC: {
      const auto in = static_cast<double>(a.in);
      x = in / 2 * (1 - static_cast<double>(a.out) / (a.scale * in)) + ((at + 0.5) / a.scale - 0.5);
      break;
    }
    case MILL_RESIZE_TF_HALF_PIXEL_FOR_NN: x = (at + 0.5) / a.scale; break;
    default: x = (at + 0.5) / a.scale - 0.5; break;
  }
  // Scales that do not fit the sizes lead anywhere; from here on all is the edge.
  constexpr double kBeyond = 8;
  if (!(x > -kBeyond)) return -kBeyond;
  return x > static_cast<double>(a.in) + kBeyond ? static_cast<double>(a.in) + kBeyond : x;
}

// Position of the first tap, which may lie outside.
MILL_FN int64_t resize_first(const ResizeAxis& a, double x) {
  double at = x;
  if (a.mode == MILL_RESIZE_NEAREST) {
    switch (a.rounding) {
      case MILL_RESIZE_ROUND_PREFER_CEIL: at = x + 0.5; break;
      case MILL_RESIZE_ROUND_PREFER_FLOOR: return -static_cast<int64_t>(floor(0.5 - x));
      case MILL_RESIZE_CEIL: return -static_cast<int64_t>(floor(-x));
      default: break;
    }
  }
  return static_cast<int64_t>(floor(at)) - (a.mode == MILL_RESIZE_CUBIC ? 1 : 0);
}

MILL_FN int64_t resize_clamp(const ResizeAxis& a, int64_t i) {
  return i < 0 ? 0 : i >= a.in ? a.in - 1 : i;
}

// The cubic convolution kernel (Keys, 1981) at distances up to 1, and from there to 2.
MILL_FN double resize_near(double c, double d) {
  return ((c + 2) * d - (c + 3)) * d * d + 1;
}
MILL_FN double resize_far(double c, double d) {
  return ((c * d - 5 * c) * d + 8 * c) * d - 4 * c;
}

template <class C>
MILL_FN ResizeTap<C> resize_tap(const ResizeAxis& a, int64_t o) {
  const double x = resize_position(a, o);
  const int64_t first = resize_first(a, x);
  const double t = x - floor(x);
  double weight[kResizeTaps] = {1, 0, 0, 0};
  if (a.mode == MILL_RESIZE_LINEAR && a.taps > 1) {
    weight[0] = 1 - t;
    weight[1] = t;
  } else if (a.mode == MILL_RESIZE_CUBIC && a.taps > 1) {
    weight[0] = resize_far(a.cubic, t + 1);
    weight[1] = resize_near(a.cubic, t);
    weight[2] = resize_near(a.cubic, 1 - t);
    weight[3] = resize_far(a.cubic, 2 - t);
    if (a.exclude_outside) {
      double sum = 0;
      for (int k = 0; k < kResizeTaps; ++k) {
        if (first + k < 0 || first + k >= a.in) weight[k] = 0;
        sum += weight[k];
      }
      for (int k = 0; k < kResizeTaps; ++k) weight[k] = sum == 0 ? 0 : weight[k] / sum;
    }
  }
  ResizeTap<C> tap;
  for (int k = 0; k < kResizeTaps; ++k) {
    tap.at[k] = resize_clamp(a, first + k);
    tap.weight[k] = static_cast<C>(weight[k]);
  }
  return tap;
}

// Positions grow with o: what touches i is one span.
MILL_FN int64_t resize_from(const ResizeAxis& a, int64_t i, int32_t tap, bool past) {
  int64_t low = 0;
  int64_t high = a.out;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    const int64_t at = resize_clamp(a, resize_first(a, resize_position(a, middle)) + tap);
    if (past ? at > i : at >= i) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}
MILL_FN ResizeSpan resize_span(const ResizeAxis& a, int64_t i) {
  return {resize_from(a, i, a.taps - 1, false), resize_from(a, i, 0, true)};
}

// Static: a copy compiled for one SIMD target must not serve another. x: the tensor with the dims
// before, y: after. Attributes from 1 on: scales, mode, transform, rounding, cubic,
// exclude_outside.
static inline ResizeShape resize_shape(const mill_kernel_args* args, const mill_kernel_tensor& x,
                                       const mill_kernel_tensor& y) {
  ResizeShape r{};
  r.batch = x.dims[0];
  r.channels = x.dims[1];
  r.in = pool_strides(&x);
  r.out = pool_strides(&y);
  const int32_t n = x.rank - 2;
  const auto* scales = args->attr[1].n == 0 ? nullptr : static_cast<const double*>(args->attr[1].p);
  for (int32_t i = 0; i < kResizeAxes; ++i) {
    const int32_t axis = i - (kResizeAxes - n);
    ResizeAxis& a = r.axis[i];
    a.in = axis < 0 ? 1 : x.dims[2 + axis];
    a.out = axis < 0 ? 1 : y.dims[2 + axis];
    const auto in = static_cast<double>(a.in);
    const auto out = static_cast<double>(a.out);
    a.scale = axis < 0 || scales == nullptr ? out / in : scales[axis];
    a.length = axis < 0 || scales == nullptr ? out : scales[axis] * in;
    a.mode = static_cast<int32_t>(args->attr[2].i);
    a.transform = static_cast<int32_t>(args->attr[3].i);
    a.rounding = static_cast<int32_t>(args->attr[4].i);
    a.cubic = args->attr[5].f;
    a.exclude_outside = args->attr[6].i != 0;
    a.taps = a.mode == MILL_RESIZE_NEAREST ? 1 : a.mode == MILL_RESIZE_LINEAR ? 2 : kResizeTaps;
    if (axis < 0) {
      a.mode = MILL_RESIZE_NEAREST;
      a.transform = MILL_RESIZE_ASYMMETRIC;
      a.taps = 1;
    }
    r.taps[i] = r.all_taps;
    r.spans[i] = r.all_spans;
    r.all_taps += a.out;
    r.all_spans += a.in;
  }
  return r;
}

}  // namespace mill::kernels
