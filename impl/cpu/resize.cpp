// Resizing, and its gradient, which gathers. Tables in the workspace say what each element is made
// from along each axis. A task is lines of the result over a block of channels; with the channels
// side by side in memory a block of them is taken together, else lines are summed over the other
// axes first and then along their own.
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

// What an element of a line sees of one axis: its taps, or as a gradient the elements that it is a
// tap of. use(position along the axis, weight)
template <class C, class F>
MILL_INLINE void each_tap(const ResizeTap<C>& tap, int32_t taps, F&& use) {
  for (int32_t k = 0; k < taps; ++k) use(tap.at[k], tap.weight[k]);
}
template <class C, class F>
MILL_INLINE void each_user(const ResizeTap<C>* table, const ResizeSpan& span, int32_t taps,
                           int64_t i, F&& use) {
  for (int64_t o = span.begin; o < span.end; ++o) {
    C weight = 0;
    for (int32_t k = 0; k < taps; ++k) weight += table[o].at[k] == i ? table[o].weight[k] : 0;
    use(o, weight);
  }
}

constexpr int64_t kLine = 1024;  // columns that are summed over the other axes at once

// A line of one channel: rows(use(offset of a row, weight)) are summed column by column first,
// where that is a run of memory, then each element of the result takes its columns. begin(x),
// end(x): the columns that element x needs, which grow with x; columns(x, use(column, weight)).
template <class C, class S, class Rows, class Begin, class End, class Columns>
MILL_INLINE void resize_line(const S* from, int64_t step, S* to, int64_t to_step, int64_t width,
                             Rows&& rows, Begin&& begin, End&& end, Columns&& columns) {
  const Tag<C> d;
  C line[kLine];
  for (int64_t x = 0; x < width;) {
    const int64_t low = begin(x);
    int64_t last = x + 1;
    while (last < width && end(last) - low <= kLine) ++last;
    const int64_t n = end(last - 1) - low;
    if (step != 1 || n > kLine) {
      // A single element: of x, n is at most the columns of one.
      C sum = 0;
      rows([&](int64_t row, C weight) {
        columns(x, [&](int64_t column, C w) {
          sum += weight * w * element(from[row + column * step]);
        });
      });
      to[x * to_step] = stored<S>(sum);
      ++x;
      continue;
    }
    for (int64_t i = 0; i < n; ++i) line[i] = 0;
    rows([&](int64_t row, C weight) MILL_LAMBDA_INLINE {
      const S* source = from + row + low;
      const auto w = hn::Set(d, weight);
      each_vector(d, n, [=, &line](int64_t i, auto part) MILL_LAMBDA_INLINE {
        const auto sum = get(d, line + i, part);
        put(d, hn::MulAdd(w, get(d, source + i, part), sum), line + i, part);
      });
    });
    for (; x < last; ++x) {
      C sum = 0;
      columns(x, [&](int64_t column, C w) { sum += w * line[column - low]; });
      to[x * to_step] = stored<S>(sum);
    }
  }
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
  each_line(args, r, false, [=](int64_t batch, int64_t channel, int64_t n, int64_t z, int64_t y) {
    const ResizeTap<C>* tx = tables.taps[2];
    const int32_t taps = r.axis[2].taps;
    const S* plane = from + batch * r.in.batch + channel * r.in.channel;
    S* line = to + batch * r.out.batch + channel * r.out.channel + z * r.out.space[0] +
              y * r.out.space[1];
    const auto rows = [&](auto&& use) MILL_LAMBDA_INLINE {
      each_tap(tables.taps[0][z], r.axis[0].taps, [&](int64_t pz, C wz) MILL_LAMBDA_INLINE {
        each_tap(tables.taps[1][y], r.axis[1].taps, [&](int64_t py, C wy) MILL_LAMBDA_INLINE {
          use(pz * r.in.space[0] + py * r.in.space[1], wz * wy);
        });
      });
    };
    if (n == 1) {
      resize_line<C>(
          plane, r.in.space[2], line, r.out.space[2], r.axis[2].out, rows,
          [=](int64_t o) { return tx[o].at[0]; }, [=](int64_t o) { return tx[o].at[taps - 1] + 1; },
          [=](int64_t o, auto&& use) MILL_LAMBDA_INLINE { each_tap(tx[o], taps, use); });
      return;
    }
    for (int64_t o = 0; o < r.axis[2].out; ++o) {
      C sum[kMostLanes] = {};
      rows([&](int64_t row, C weight) MILL_LAMBDA_INLINE {
        each_tap(tx[o], taps, [&](int64_t px, C wx) MILL_LAMBDA_INLINE {
          const S* cell = plane + row + px * r.in.space[2];
          const C w = weight * wx;
          for (int64_t c = 0; c < n; ++c) sum[c] += w * element(cell[c]);
        });
      });
      for (int64_t c = 0; c < n; ++c) line[o * r.out.space[2] + c] = stored<S>(sum[c]);
    }
  });
  return MILL_OK;
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
    const ResizeSpan* sx = tables.spans[2];
    const S* plane = from + batch * r.out.batch + channel * r.out.channel;
    S* line =
        to + batch * r.in.batch + channel * r.in.channel + z * r.in.space[0] + y * r.in.space[1];
    const auto users = [&](int axis, int64_t i, auto&& use) MILL_LAMBDA_INLINE {
      each_user(tables.taps[axis], tables.spans[axis][i], r.axis[axis].taps, i, use);
    };
    const auto rows = [&](auto&& use) MILL_LAMBDA_INLINE {
      users(0, z, [&](int64_t pz, C wz) MILL_LAMBDA_INLINE {
        users(1, y, [&](int64_t py, C wy) MILL_LAMBDA_INLINE {
          use(pz * r.out.space[0] + py * r.out.space[1], wz * wy);
        });
      });
    };
    if (n == 1) {
      resize_line<C>(
          plane, r.out.space[2], line, r.in.space[2], r.axis[2].in, rows,
          [=](int64_t i) { return sx[i].begin; },
          [=](int64_t i) { return larger(sx[i].begin, sx[i].end); },
          [&](int64_t i, auto&& use) MILL_LAMBDA_INLINE { users(2, i, use); });
      return;
    }
    for (int64_t i = 0; i < r.axis[2].in; ++i) {
      C sum[kMostLanes] = {};
      rows([&](int64_t row, C weight) MILL_LAMBDA_INLINE {
        users(2, i, [&](int64_t px, C wx) MILL_LAMBDA_INLINE {
          const S* cell = plane + row + px * r.out.space[2];
          const C w = weight * wx;
          for (int64_t c = 0; c < n; ++c) sum[c] += w * element(cell[c]);
        });
      });
      for (int64_t c = 0; c < n; ++c) line[i * r.in.space[2] + c] = stored<S>(sum[c]);
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
