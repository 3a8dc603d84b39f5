// Pooling. A task is a piece of the result over a block of channels; with the channels side by side
// in memory a block of them is taken together at every step.
#include "cpu/rows.h"
#include "kernels/pool_window.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using kernels::kPoolAxes;
using kernels::PoolAxis;
using kernels::PoolStrides;
using kernels::PoolWindow;

inline constexpr int64_t kMostLanes = 64;  // channels of a block

// The taps of one output along one axis that fall into the input, or into it and its padding.
struct Taps {
  int64_t begin, end;  // numbers of taps
  int64_t start;       // position of tap 0
  int64_t counted;     // taps in the input and its padding
};

MILL_INLINE Taps taps_of(const PoolAxis& a, int64_t out) {
  Taps t;
  t.start = out * a.stride - a.low;
  t.begin = t.start < 0 ? ceil_div(-t.start, a.dilation) : 0;
  t.end = smaller(a.kernel, ceil_div(a.in - t.start, a.dilation));
  t.counted = smaller(a.kernel, ceil_div(a.in + a.high - t.start, a.dilation));
  return t;
}

// Windows along one axis that may see an element of the input.
struct Span {
  int64_t begin, end;
};
MILL_INLINE Span windows_at(const PoolAxis& a, int64_t in) {
  const int64_t last = in + a.low;
  const int64_t first = last - (a.kernel - 1) * a.dilation;
  return {first <= 0 ? 0 : ceil_div(first, a.stride), smaller(a.out, last / a.stride + 1)};
}
// Whether a tap of window `out` falls on the element.
MILL_INLINE bool taps_on(const PoolAxis& a, int64_t out, int64_t in) {
  return a.dilation == 1 || (in + a.low - out * a.stride) % a.dilation == 0;
}

MILL_INLINE int64_t offset(const PoolStrides& s, int64_t z, int64_t y, int64_t x) {
  return z * s.space[0] + y * s.space[1] + x * s.space[2];
}

// body(batch, first channel, channels, position along the first two spatial axes) over the result's
// lines along its last axis.
template <class F>
MILL_INLINE void each_line(const mill_kernel_args* args, const PoolWindow& w, bool of_input,
                           F&& body) {
  const bool together =
      w.in.channel == 1 && w.channels > 1 && (w.out.channel == 1 || w.index.channel == 1);
  const int64_t lanes = together ? smaller(kMostLanes, w.channels) : 1;
  const int64_t blocks = ceil_div(w.channels, lanes);
  const int64_t depth = of_input ? w.axis[0].in : w.axis[0].out;
  const int64_t height = of_input ? w.axis[1].in : w.axis[1].out;
  const int64_t width = of_input ? w.axis[2].in : w.axis[2].out;
  const int64_t taps = w.axis[0].kernel * w.axis[1].kernel * w.axis[2].kernel;
  parallel(args, w.batch * blocks * depth * height, grain_of(width * lanes * taps),
           [&, lanes](int64_t begin, int64_t end) {
             for (int64_t task = begin; task < end; ++task) {
               const int64_t y = task % height;
               const int64_t z = task / height % depth;
               const int64_t block = task / height / depth % blocks;
               const int64_t first = block * lanes;
               body(task / height / depth / blocks, first, smaller(lanes, w.channels - first), z,
                    y);
             }
           });
}

// use(offset into the input, position in its plane) for every tap of an output.
template <class F>
MILL_INLINE void each_tap(const PoolWindow& w, const Taps& z, const Taps& y, const Taps& x,
                          F&& use) {
  for (int64_t i = z.begin; i < z.end; ++i) {
    const int64_t pz = z.start + i * w.axis[0].dilation;
    for (int64_t j = y.begin; j < y.end; ++j) {
      const int64_t py = y.start + j * w.axis[1].dilation;
      for (int64_t k = x.begin; k < x.end; ++k) {
        const int64_t px = x.start + k * w.axis[2].dilation;
        use(offset(w.in, pz, py, px), (pz * w.axis[1].in + py) * w.axis[2].in + px);
      }
    }
  }
}

// The tap of each lane's largest value so far, and the value. NaN beats everything, the first of
// equals stays.
template <class T>
MILL_INLINE void keep_largest(const T* v, int64_t n, int32_t tap, T* best, int32_t* taps) {
  if (tap == 0) {
    for (int64_t i = 0; i < n; ++i) {
      best[i] = v[i];
      taps[i] = 0;
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const bool wins = (v[i] > best[i]) | ((v[i] != v[i]) & (best[i] == best[i]));
    best[i] = wins ? v[i] : best[i];
    taps[i] = wins ? tap : taps[i];
  }
}

// n lanes, `step` apart in memory.
template <class S, class T>
MILL_INLINE void read_lanes(const S* from, int64_t step, int64_t n, T* to) {
  if (step == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = element(from[i]);
  } else if (step == 2) {
    for (int64_t i = 0; i < n; ++i) to[i] = element(from[2 * i]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = element(from[i * step]);
  }
}

template <class S, class V>
MILL_INLINE void write_lanes(const V* values, int64_t n, S* to, int64_t step) {
  if (step == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = stored<S>(values[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * step] = stored<S>(values[i]);
  }
}

// Outputs whose windows lie alike in the input: n of them, `step` apart there, with window `first`
// of the line along the last axis; lanes are channels, or neighbouring windows (`move` elements of
// the plane apart).
struct Lanes {
  int64_t n, step, move;
};

// Largest values and their places of some lanes. at: of the lanes' first element in the plane.
template <class S, class T>
MILL_INLINE void largest_of(const PoolWindow& w, const Taps& z, const Taps& y, const Taps& x,
                            const S* plane, const Lanes& lanes, T* best, int64_t* places) {
  int32_t taps[kMostLanes];
  T v[kMostLanes];
  int32_t tap = 0;
  each_tap(w, z, y, x, [&](int64_t at, int64_t) MILL_LAMBDA_INLINE {
    read_lanes(plane + at, lanes.step, lanes.n, v);
    keep_largest(v, lanes.n, tap++, best, taps);
  });
  if (places == nullptr) return;
  tap = 0;
  each_tap(w, z, y, x, [&](int64_t, int64_t position) MILL_LAMBDA_INLINE {
    for (int64_t i = 0; i < lanes.n; ++i) {
      places[i] = taps[i] == tap ? position + i * lanes.move : places[i];
    }
    ++tap;
  });
}

template <class S>
mill_status max_pool(const mill_kernel_args* args) {
  using T = Compute<S>;
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor* out = output(args, 0);
  const mill_kernel_tensor* index = output(args, 1);
  const mill_kernel_tensor& pooled = out != nullptr ? *out : *index;
  if (pooled.numel == 0) return MILL_OK;
  PoolWindow w = kernels::pool_window(args, x, pooled, 0);
  w.index = kernels::pool_strides(index);
  const S* from = static_cast<const S*>(x.data);
  S* to = out == nullptr ? nullptr : static_cast<S*>(out->data);
  int64_t* places = index == nullptr ? nullptr : static_cast<int64_t*>(index->data);
  each_line(args, w, false, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
    const S* plane = from + batch * w.in.batch + channel * w.in.channel;
    const Taps tz = taps_of(w.axis[0], z);
    const Taps ty = taps_of(w.axis[1], y);
    const PoolAxis& a = w.axis[2];
    for (int64_t column = 0; column < a.out;) {
      const Taps tx = taps_of(a, column);
      Lanes lanes{n, w.in.channel, 0};
      int64_t windows = 1;
      if (n == 1 && tx.begin == 0 && tx.end == a.kernel) {
        // Neighbouring windows, as long as all their taps meet the input.
        const int64_t last = (a.in - 1 - (a.kernel - 1) * a.dilation + a.low) / a.stride;
        windows = smaller(kMostLanes, smaller(a.out, last + 1) - column);
        lanes = {windows, a.stride * w.in.space[2], a.stride};
      }
      T best[kMostLanes];
      int64_t place[kMostLanes];
      largest_of(w, tz, ty, tx, plane, lanes, best, places == nullptr ? nullptr : place);
      if (to != nullptr) {
        write_lanes(
            best, lanes.n,
            to + batch * w.out.batch + channel * w.out.channel + offset(w.out, z, y, column),
            n == 1 ? w.out.space[2] : w.out.channel);
      }
      if (places != nullptr) {
        write_lanes(place, lanes.n,
                    places + batch * w.index.batch + channel * w.index.channel +
                        offset(w.index, z, y, column),
                    n == 1 ? w.index.space[2] : w.index.channel);
      }
      column += windows;
    }
  });
  return MILL_OK;
}

// What an average divides by: taps, with those in the padding or without.
MILL_INLINE int64_t divisor(const PoolWindow& w, const Taps& z, const Taps& y, const Taps& x) {
  if (w.count_padding) return z.counted * y.counted * x.counted;
  return (z.end - z.begin) * (y.end - y.begin) * (x.end - x.begin);
}

template <class S>
mill_status avg_pool(const mill_kernel_args* args) {
  using T = Compute<S>;
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  PoolWindow w = kernels::pool_window(args, x, out, 0);
  w.count_padding = args->attr[5].i != 0;
  const S* from = static_cast<const S*>(x.data);
  S* to = static_cast<S*>(out.data);
  each_line(args, w, false, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
    const S* plane = from + batch * w.in.batch + channel * w.in.channel;
    const Taps tz = taps_of(w.axis[0], z);
    const Taps ty = taps_of(w.axis[1], y);
    for (int64_t column = 0; column < w.axis[2].out; ++column) {
      const Taps tx = taps_of(w.axis[2], column);
      Wide<T> sum[kMostLanes];
      for (int64_t c = 0; c < n; ++c) sum[c] = 0;
      each_tap(w, tz, ty, tx, [&](int64_t at, int64_t) MILL_LAMBDA_INLINE {
        for (int64_t c = 0; c < n; ++c)
          sum[c] += static_cast<Wide<T>>(element(plane[at + c * w.in.channel]));
      });
      const auto count = static_cast<Wide<T>>(divisor(w, tz, ty, tx));
      S* cell = to + batch * w.out.batch + channel * w.out.channel + offset(w.out, z, y, column);
      for (int64_t c = 0; c < n; ++c)
        cell[c * w.out.channel] = stored<S>(static_cast<T>(sum[c] / count));
    }
  });
  return MILL_OK;
}

// ---- gradients ----------------------------------------------------------------------------------

// use(positions of a window) for every window that has a tap on an element of the input, in order.
template <class F>
MILL_INLINE void each_window(const PoolWindow& w, int64_t z, int64_t y, int64_t x, F&& use) {
  const Span sz = windows_at(w.axis[0], z);
  const Span sy = windows_at(w.axis[1], y);
  const Span sx = windows_at(w.axis[2], x);
  for (int64_t i = sz.begin; i < sz.end; ++i) {
    if (!taps_on(w.axis[0], i, z)) continue;
    for (int64_t j = sy.begin; j < sy.end; ++j) {
      if (!taps_on(w.axis[1], j, y)) continue;
      for (int64_t k = sx.begin; k < sx.end; ++k) {
        if (taps_on(w.axis[2], k, x)) use(i, j, k);
      }
    }
  }
}

// Sums over windows; share(batch, channel, window, place of the element, channels, sums).
template <class S, class F>
MILL_INLINE void scatter_back(const mill_kernel_args* args, const PoolWindow& w, S* to, F&& share) {
  using T = Compute<S>;
  each_line(args, w, true, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
    for (int64_t x = 0; x < w.axis[2].in; ++x) {
      T sum[kMostLanes];
      for (int64_t c = 0; c < n; ++c) sum[c] = 0;
      const int64_t place = (z * w.axis[1].in + y) * w.axis[2].in + x;
      each_window(w, z, y, x, [&](int64_t i, int64_t j, int64_t k) MILL_LAMBDA_INLINE {
        share(batch, channel, i, j, k, place, n, sum);
      });
      S* cell = to + batch * w.in.batch + channel * w.in.channel + offset(w.in, z, y, x);
      for (int64_t c = 0; c < n; ++c) cell[c * w.in.channel] = stored<S>(sum[c]);
    }
  });
}

// No element lies in two windows.
MILL_INLINE bool windows_are_apart(const PoolWindow& w) {
  for (const PoolAxis& a : w.axis) {
    if (a.out > 1 && a.stride < (a.kernel - 1) * a.dilation + 1) return false;
  }
  return true;
}

// Every element lies in a window.
MILL_INLINE bool windows_cover(const PoolWindow& w) {
  for (const PoolAxis& a : w.axis) {
    if (a.dilation != 1 || (a.out > 1 && a.stride > a.kernel) || a.low >= a.kernel) return false;
    if ((a.out - 1) * a.stride - a.low + a.kernel < a.in) return false;
  }
  return true;
}

// to[i] = from[i] where index[i] is the place, else 0.
template <class S>
MILL_INLINE void pick(const S* __restrict from, const int64_t* __restrict index, int64_t place,
                      int64_t n, S* __restrict to) {
  for (int64_t i = 0; i < n; ++i) {
    const S value = from[i];  // read in any case, so that vectors can be
    to[i] = index[i] == place ? value : S{};
  }
}

// Windows that lie apart write what they meet: each element at most once.
template <class S>
void write_back(const mill_kernel_args* args, const PoolWindow& w, const S* from,
                const int64_t* places, S* to) {
  const bool zero_first = !windows_cover(w);
  if (zero_first) {
    each_line(args, w, true, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
      S* line = to + batch * w.in.batch + channel * w.in.channel + offset(w.in, z, y, 0);
      for (int64_t x = 0; x < w.axis[2].in; ++x) {
        for (int64_t c = 0; c < n; ++c) line[x * w.in.space[2] + c * w.in.channel] = S{};
      }
    });
  }
  each_line(args, w, false, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
    S* plane = to + batch * w.in.batch + channel * w.in.channel;
    const S* cell = from + batch * w.out.batch + channel * w.out.channel + offset(w.out, z, y, 0);
    const int64_t* index =
        places + batch * w.index.batch + channel * w.index.channel + offset(w.index, z, y, 0);
    const Taps tz = taps_of(w.axis[0], z);
    const Taps ty = taps_of(w.axis[1], y);
    const bool together = n > 1 && w.in.channel == 1;
    S values[kMostLanes];
    int64_t found[kMostLanes];
    for (int64_t column = 0; column < w.axis[2].out;
         ++column, cell += w.out.space[2], index += w.index.space[2]) {
      const S* lanes = cell;
      const int64_t* at_lanes = index;
      if (together && w.out.channel != 1) {
        for (int64_t c = 0; c < n; ++c) values[c] = cell[c * w.out.channel];
        lanes = values;
      }
      if (together && w.index.channel != 1) {
        for (int64_t c = 0; c < n; ++c) found[c] = index[c * w.index.channel];
        at_lanes = found;
      }
      each_tap(w, tz, ty, taps_of(w.axis[2], column),
               [&](int64_t at, int64_t position) MILL_LAMBDA_INLINE {
                 if (together) {
                   pick(lanes, at_lanes, position, n, plane + at);
                 } else {
                   plane[at] = *index == position ? *cell : S{};
                 }
               });
    }
  });
}

template <class S>
mill_status max_pool_backward(const mill_kernel_args* args) {
  using T = Compute<S>;
  const mill_kernel_tensor& g = *args->in[0];
  const mill_kernel_tensor& index = *args->in[1];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  PoolWindow w = kernels::pool_window(args, out, g, 1);
  w.index = kernels::pool_strides(&index);
  const S* from = static_cast<const S*>(g.data);
  const int64_t* places = static_cast<const int64_t*>(index.data);
  if (windows_are_apart(w)) {
    write_back(args, w, from, places, static_cast<S*>(out.data));
    return MILL_OK;
  }
  scatter_back(args, w, static_cast<S*>(out.data),
               [=](int64_t batch, int64_t channel, int64_t i, int64_t j, int64_t k, int64_t place,
                   int64_t n, T* sum) MILL_LAMBDA_INLINE {
                 const S* cell =
                     from + batch * w.out.batch + channel * w.out.channel + offset(w.out, i, j, k);
                 const int64_t* at = places + batch * w.index.batch + channel * w.index.channel +
                                     offset(w.index, i, j, k);
                 if (w.out.channel == 1 && w.index.channel == 1) {
                   for (int64_t c = 0; c < n; ++c) {
                     sum[c] += at[c] == place ? element(cell[c]) : T{0};
                   }
                   return;
                 }
                 for (int64_t c = 0; c < n; ++c) {
                   if (at[c * w.index.channel] == place) sum[c] += element(cell[c * w.out.channel]);
                 }
               });
  return MILL_OK;
}

template <class S>
mill_status avg_pool_backward(const mill_kernel_args* args) {
  using T = Compute<S>;
  const mill_kernel_tensor& g = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  PoolWindow w = kernels::pool_window(args, out, g, 1);
  w.count_padding = args->attr[6].i != 0;
  const S* from = static_cast<const S*>(g.data);
  scatter_back(args, w, static_cast<S*>(out.data),
               [=](int64_t batch, int64_t channel, int64_t i, int64_t j, int64_t k, int64_t,
                   int64_t n, T* sum) MILL_LAMBDA_INLINE {
                 const S* cell =
                     from + batch * w.out.batch + channel * w.out.channel + offset(w.out, i, j, k);
                 const auto count = static_cast<T>(divisor(
                     w, taps_of(w.axis[0], i), taps_of(w.axis[1], j), taps_of(w.axis[2], k)));
                 for (int64_t c = 0; c < n; ++c) sum[c] += element(cell[c * w.out.channel]) / count;
               });
  return MILL_OK;
}

#define MILL_POOL_ENTRIES(dtype, S)                                             \
  {MILL_OP_MAX_POOL, bit(dtype), {max_pool<S>, nullptr}},                       \
      {MILL_OP_MAX_POOL_BACKWARD, bit(dtype), {max_pool_backward<S>, nullptr}}, \
      {MILL_OP_AVG_POOL, bit(dtype), {avg_pool<S>, nullptr}}, {                 \
    MILL_OP_AVG_POOL_BACKWARD, bit(dtype), {                                    \
      avg_pool_backward<S>, nullptr                                             \
    }                                                                           \
  }

constexpr KernelEntry kEntries[] = {
    MILL_POOL_ENTRIES(MILL_F32, float), MILL_POOL_ENTRIES(MILL_F64, double),
    MILL_POOL_ENTRIES(MILL_BF16, bf16), MILL_POOL_ENTRIES(MILL_F16, f16)};
#undef MILL_POOL_ENTRIES

}  // namespace

KernelList pool_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
