// Resizing, and its gradient, which gathers. Tables in the workspace say what each element is made
// from along each axis. A task is lines of the result over a block of channels; with the channels
// side by side in memory a block of them is taken together, else a block of columns.
#include "cpu/rows.h"
#include "kernels/resize_shape.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using kernels::kResizeAxes;
using kernels::PoolStrides;
using kernels::ResizeShape;
using kernels::ResizeSpan;
using kernels::ResizeTap;

constexpr int64_t kMostLanes = 64;

template <class C>
struct Tables {
  const ResizeTap<C>* taps[kResizeAxes];
  const ResizeSpan* spans[kResizeAxes];
};

template <class C>
uint64_t table_bytes(const ResizeShape& r, bool backward) {
  return static_cast<uint64_t>(r.all_taps) * sizeof(ResizeTap<C>) +
         (backward ? static_cast<uint64_t>(r.all_spans) * sizeof(ResizeSpan) : 0);
}

template <class C>
Tables<C> fill_tables(const mill_kernel_args* args, const ResizeShape& r, bool backward) {
  auto* taps = static_cast<ResizeTap<C>*>(args->workspace);
  auto* spans = reinterpret_cast<ResizeSpan*>(taps + r.all_taps);
  Tables<C> tables;
  for (int i = 0; i < kResizeAxes; ++i) {
    tables.taps[i] = taps + r.taps[i];
    tables.spans[i] = spans + r.spans[i];
    for (int64_t o = 0; o < r.axis[i].out; ++o)
      taps[r.taps[i] + o] = kernels::resize_tap<C>(r.axis[i], o);
    if (!backward) continue;
    for (int64_t k = 0; k < r.axis[i].in; ++k)
      spans[r.spans[i] + k] = kernels::resize_span(r.axis[i], k);
  }
  return tables;
}

// body(batch, first channel, channels, z, y) over the lines of the tensor that is written.
template <class F>
MILL_INLINE void each_line(const mill_kernel_args* args, const ResizeShape& r, bool backward,
                           F&& body) {
  const bool together = r.in.channel == 1 && r.out.channel == 1 && r.channels > 1;
  const int64_t lanes = together ? smaller(kMostLanes, r.channels) : 1;
  const int64_t blocks = ceil_div(r.channels, lanes);
  const auto size = [&](int i) { return backward ? r.axis[i].in : r.axis[i].out; };
  const int64_t depth = size(0);
  const int64_t height = size(1);
  const int64_t taps = r.axis[0].taps * r.axis[1].taps * r.axis[2].taps;
  parallel(args, r.batch * blocks * depth * height, grain_of(size(2) * lanes * taps),
           [&, lanes](int64_t begin, int64_t end) {
             for (int64_t task = begin; task < end; ++task) {
               const int64_t line = task / height;
               const int64_t first = line / depth % blocks * lanes;
               body(line / depth / blocks, first, smaller(lanes, r.channels - first), line % depth,
                    task % height);
             }
           });
}

template <class S>
mill_status resize(const mill_kernel_args* args) {
  using C = Compute<S>;
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  const ResizeShape r = kernels::resize_shape(args, x, out);
  const uint64_t needed = table_bytes<C>(r, false);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  const Tables<C> tables = fill_tables<C>(args, r, false);
  const S* from = static_cast<const S*>(x.data);
  S* to = static_cast<S*>(out.data);
  const int64_t width = r.axis[2].out;
  each_line(args, r, false, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
    const ResizeTap<C>& tz = tables.taps[0][z];
    const ResizeTap<C>& ty = tables.taps[1][y];
    const S* plane = from + batch * r.in.batch + channel * r.in.channel;
    S* line = to + batch * r.out.batch + channel * r.out.channel + z * r.out.space[0] +
              y * r.out.space[1];
    const bool together = n > 1;
    for (int64_t column = 0; column < width;) {
      const int64_t items = together ? n : smaller(kMostLanes, width - column);
      C sum[kMostLanes] = {};
      const ResizeTap<C>* tx = tables.taps[2] + column;
      for (int32_t a = 0; a < r.axis[0].taps; ++a) {
        for (int32_t b = 0; b < r.axis[1].taps; ++b) {
          const S* row = plane + tz.at[a] * r.in.space[0] + ty.at[b] * r.in.space[1];
          const C weight = tz.weight[a] * ty.weight[b];
          for (int32_t k = 0; k < r.axis[2].taps; ++k) {
            if (together) {
              const S* cell = row + tx->at[k] * r.in.space[2];
              const C w = weight * tx->weight[k];
              for (int64_t c = 0; c < items; ++c) sum[c] += w * element(cell[c]);
            } else {
              for (int64_t c = 0; c < items; ++c)
                sum[c] += weight * tx[c].weight[k] * element(row[tx[c].at[k] * r.in.space[2]]);
            }
          }
        }
      }
      const int64_t step = together ? 1 : r.out.space[2];
      for (int64_t c = 0; c < items; ++c)
        line[column * r.out.space[2] + c * step] = stored<S>(sum[c]);
      column += together ? 1 : items;
    }
  });
  return MILL_OK;
}

// How much of element i goes to the one whose taps these are.
template <class C>
MILL_INLINE C share_of(const ResizeTap<C>& tap, int32_t taps, int64_t i) {
  C sum = 0;
  for (int32_t k = 0; k < taps; ++k) sum += tap.at[k] == i ? tap.weight[k] : 0;
  return sum;
}

template <class S>
mill_status resize_backward(const mill_kernel_args* args) {
  using C = Compute<S>;
  const mill_kernel_tensor& g = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  const ResizeShape r = kernels::resize_shape(args, out, g);
  const uint64_t needed = table_bytes<C>(r, true);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  const Tables<C> tables = fill_tables<C>(args, r, true);
  const S* from = static_cast<const S*>(g.data);
  S* to = static_cast<S*>(out.data);
  each_line(args, r, true, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
    const ResizeSpan sz = tables.spans[0][z];
    const ResizeSpan sy = tables.spans[1][y];
    const S* plane = from + batch * r.out.batch + channel * r.out.channel;
    for (int64_t x = 0; x < r.axis[2].in; ++x) {
      const ResizeSpan sx = tables.spans[2][x];
      C sum[kMostLanes] = {};
      for (int64_t a = sz.begin; a < sz.end; ++a) {
        const C wz = share_of(tables.taps[0][a], r.axis[0].taps, z);
        for (int64_t b = sy.begin; b < sy.end; ++b) {
          const C wy = wz * share_of(tables.taps[1][b], r.axis[1].taps, y);
          const S* row = plane + a * r.out.space[0] + b * r.out.space[1];
          for (int64_t k = sx.begin; k < sx.end; ++k) {
            const C w = wy * share_of(tables.taps[2][k], r.axis[2].taps, x);
            const S* cell = row + k * r.out.space[2];
            for (int64_t c = 0; c < n; ++c) sum[c] += w * element(cell[c * r.out.channel]);
          }
        }
      }
      S* cell = to + batch * r.in.batch + channel * r.in.channel + z * r.in.space[0] +
                y * r.in.space[1] + x * r.in.space[2];
      for (int64_t c = 0; c < n; ++c) cell[c * r.in.channel] = stored<S>(sum[c]);
    }
  });
  return MILL_OK;
}

template <class S>
uint64_t resize_workspace(const mill_kernel_args* args) {
  if (args->out[0]->numel == 0) return 0;
  return table_bytes<Compute<S>>(kernels::resize_shape(args, *args->in[0], *args->out[0]), false);
}
template <class S>
uint64_t resize_backward_workspace(const mill_kernel_args* args) {
  if (args->out[0]->numel == 0) return 0;
  return table_bytes<Compute<S>>(kernels::resize_shape(args, *args->out[0], *args->in[0]), true);
}

#define MILL_RESIZE_ENTRIES(dtype, S)                               \
  {MILL_OP_RESIZE, bit(dtype), {resize<S>, resize_workspace<S>}}, { \
    MILL_OP_RESIZE_BACKWARD, bit(dtype), {                          \
      resize_backward<S>, resize_backward_workspace<S>              \
    }                                                               \
  }

constexpr KernelEntry kEntries[] = {
    MILL_RESIZE_ENTRIES(MILL_F32, float), MILL_RESIZE_ENTRIES(MILL_F64, double),
    MILL_RESIZE_ENTRIES(MILL_BF16, bf16), MILL_RESIZE_ENTRIES(MILL_F16, f16)};
#undef MILL_RESIZE_ENTRIES

}  // namespace

KernelList resize_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
