// What the ways of convolving share: boxes of the result, the part of an operand that a box meets
// as a field with the channels innermost, and the way back from finished sums to the result's type
// and strides. Included by conv.cpp only, once per SIMD target.
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/rows.h"
#include "kernels/conv_shape.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using kernels::conv_reach;
using kernels::ConvPass;
using kernels::ConvStrides;
using kernels::ConvWalk;
using kernels::kConvAxes;

template <class T>
inline constexpr int64_t kVector = gemm::kLanes<T>;
template <class T>
inline constexpr int64_t kPanel = gemm::kCols<T>;  // columns of the register kernel
// Elements that a partial vector may spill past the end of a field.
template <class T>
inline constexpr int64_t kSlack = kPanel<T>;

// ---- boxes --------------------------------------------------------------------------------------

// Positions of the result: along the batch, then along each spatial axis.
struct Box {
  int64_t at[1 + kConvAxes], n[1 + kConvAxes];

  MILL_INLINE int64_t cells() const { return n[0] * n[1] * n[2] * n[3]; }
};

// Elements of `from` that a box meets along each spatial axis, those outside counted.
struct Reach {
  int64_t n[kConvAxes];

  MILL_INLINE int64_t cells() const { return n[0] * n[1] * n[2]; }
};

MILL_INLINE Reach reach_of(const ConvPass& p, const int64_t* spatial) {
  Reach r;
  for (int i = 0; i < kConvAxes; ++i) r.n[i] = conv_reach(p.axis[i], spatial[i]);
  return r;
}

// How the result is cut into boxes of one size, those at the ends smaller.
struct Cut {
  int64_t whole[1 + kConvAxes], size[1 + kConvAxes], count[1 + kConvAxes];

  MILL_INLINE int64_t boxes() const { return count[0] * count[1] * count[2] * count[3]; }
  // Of the largest box.
  MILL_INLINE int64_t cells() const { return size[0] * size[1] * size[2] * size[3]; }
  MILL_INLINE int64_t field_cells(const ConvPass& p) const {
    return size[0] * reach_of(p, size + 1).cells();
  }
  Box box(int64_t index) const {
    Box b{};
    for (int i = kConvAxes; i >= 0; --i) {
      b.at[i] = index % count[i] * size[i];
      b.n[i] = smaller(size[i], whole[i] - b.at[i]);
      index /= count[i];
    }
    return b;
  }
};

// At most `cells` positions to a box: whole lines where they fit, then whole planes, then whole
// images. Lines are cut at multiples of `unit`.
static inline Cut cut_into(const ConvPass& p, int64_t cells, int64_t unit) {
  Cut c;
  c.whole[0] = p.batch;
  for (int i = 0; i < kConvAxes; ++i) c.whole[1 + i] = p.axis[i].n;
  int64_t left = larger<int64_t>(cells, 1);
  bool whole = true;
  for (int i = kConvAxes; i >= 0; --i) {
    int64_t size = whole ? smaller(c.whole[i], left) : 1;
    whole = size == c.whole[i];
    if (!whole && i == kConvAxes && size > unit) size = size / unit * unit;
    // Boxes of about the same size.
    if (!whole && i != kConvAxes) size = ceil_div(c.whole[i], ceil_div(c.whole[i], size));
    c.size[i] = size;
    c.count[i] = ceil_div(c.whole[i], size);
    left /= size;
  }
  return c;
}

// The same, boxes so small that a field of `width` elements each has no more than `elements`, and
// that there are `wanted` of them if the result is large enough.
static inline Cut cut_fields(const ConvPass& p, int64_t width, int64_t elements, int64_t wanted,
                             int64_t unit) {
  constexpr int64_t kMostCells = 2048;
  constexpr int64_t kFewCells = 112;
  int64_t all = p.batch;
  for (const ConvWalk& axis : p.axis) all *= axis.n;
  int64_t cells = smaller(kMostCells, larger(kFewCells, ceil_div(all, wanted)));
  for (;;) {
    const Cut c = cut_into(p, cells, unit);
    if (c.field_cells(p) * width <= elements || cells <= 2 * unit) return c;
    cells = cells * 3 / 4;
  }
}

// The result itself as an operand that is met element by element.
static inline ConvPass result_pass(const ConvPass& p) {
  ConvPass result = p;
  result.from = p.to;
  for (ConvWalk& w : result.axis) {
    w.size = w.n;
    w.taps = w.delta = w.step = w.unit = 1;
    w.first = 0;
  }
  return result;
}

// ---- fields -------------------------------------------------------------------------------------

template <class T>
MILL_INLINE void clear(T* to, int64_t n) {
  std::memset(static_cast<void*>(to), 0, static_cast<size_t>(n) * sizeof(T));
}

// n positions, `step` apart, of `width` channels to[position * pitch + channel]. A vector more than
// the last channel may be written.
template <class S, class T>
void fetch_cells(const S* from, int64_t channel, int64_t step, int64_t n, int64_t width,
                 int64_t pitch, T* to) {
  constexpr int64_t kLane = kVector<T>;
  constexpr int64_t kColumns = 64;
  if (channel == 1 || width == 1) {
    if (step == width && pitch == width) {
      gemm::copy_row(from, n * width, to);
    } else {
      for (int64_t i = 0; i < n; ++i) gemm::copy_row(from + i * step, width, to + i * pitch);
    }
    return;
  }
  if (step < 1 || step > 4) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t c = 0; c < width; ++c) {
        to[i * pitch + c] = gemm::widen(from[i * step + c * channel]);
      }
    }
    return;
  }
  // Vectors of channels, the partial one first: what it writes past the last channel is the start
  // of the next position, which is still to come.
  const int64_t vectors = ceil_div(width, kLane);
  for (int64_t i = 0; i < vectors; ++i) {
    const int64_t c = (i == 0 ? vectors - 1 : i - 1) * kLane;
    const S* rows[kLane];
    for (int64_t r = 0; r < kLane; ++r) rows[r] = from + smaller(c + r, width - 1) * channel;
    if (step == 1) {
      gemm::transpose_rows(rows, n, to + c, pitch);
      continue;
    }
    MILL_ALIGN T columns[kColumns * kLane];
    const int64_t each = (kColumns - 1) / step + 1;
    for (int64_t at = 0; at < n; at += each) {
      const int64_t count = smaller(each, n - at);
      gemm::transpose_rows(rows, (count - 1) * step + 1, columns, kLane);
      for (int64_t j = 0; j < count; ++j) {
        gemm::store(gemm::load(columns + j * step * kLane), to + (at + j) * pitch + c);
      }
      for (int64_t r = 0; r < kLane; ++r) rows[r] += count * step;
    }
  }
}

// The field of a box: what it meets of `width` channels, to[batch][reach][pitch].
template <class S, class T>
void fetch_field(const ConvPass& p, const Box& box, const S* from, int64_t channel, int64_t width,
                 int64_t pitch, T* to) {
  const Reach r = reach_of(p, box.n + 1);
  const ConvWalk& x = p.axis[2];
  const int64_t start = x.first + box.at[3] * x.step * x.unit;
  int64_t low = start < 0 ? ceil_div(-start, x.unit) : 0;
  int64_t high = start < x.size ? (x.size - 1 - start) / x.unit + 1 : 0;
  low = smaller(low, r.n[2]);
  high = larger(low, smaller(high, r.n[2]));
  const auto place = [&](int axis, int64_t i) MILL_LAMBDA_INLINE {
    const ConvWalk& w = p.axis[axis];
    return w.first + (box.at[1 + axis] * w.step + i) * w.unit;
  };
  const auto outside = [&](int axis, int64_t at)
                           MILL_LAMBDA_INLINE { return at < 0 || at >= p.axis[axis].size; };
  const int64_t line = r.n[2] * pitch;
  for (int64_t n = 0; n < box.n[0]; ++n) {
    for (int64_t i = 0; i < r.n[0]; ++i) {
      const int64_t z = place(0, i);
      for (int64_t j = 0; j < r.n[1]; ++j, to += line) {
        const int64_t y = place(1, j);
        if (high == low || outside(0, z) || outside(1, y)) {
          clear(to, line);
          continue;
        }
        clear(to, low * pitch);
        fetch_cells(from + (box.at[0] + n) * p.from.batch + z * p.from.space[0] +
                        y * p.from.space[1] + (start + low * x.unit) * p.from.space[2],
                    channel, x.unit * p.from.space[2], high - low, width, pitch, to + low * pitch);
        clear(to + high * pitch, line - high * pitch);
      }
    }
  }
}

// Positions of a box that follow each other in a field at one distance: runs of `length`, `step`
// cells apart.
struct Runs {
  int64_t length, step;
  int64_t n[kConvAxes];      // runs along the batch and the first two axes
  int64_t cells[kConvAxes];  // from one to the next

  int64_t count() const { return n[0] * n[1] * n[2]; }
  // Cell of run i's first element.
  MILL_INLINE int64_t cell(int64_t i) const {
    const int64_t y = i % n[2];
    i /= n[2];
    return i / n[1] * cells[0] + i % n[1] * cells[1] + y * cells[2];
  }
};

static inline Runs runs_of(const ConvPass& p, const Box& box) {
  const Reach r = reach_of(p, box.n + 1);
  Runs runs{box.n[3],
            p.axis[2].step,
            {box.n[0], box.n[1], box.n[2]},
            {r.cells(), r.n[1] * r.n[2] * p.axis[0].step, r.n[2] * p.axis[1].step}};
  for (int i = kConvAxes - 1; i >= 0; --i) {
    if (runs.length == 1) runs.step = runs.cells[i];
    if (runs.n[i] != 1 && runs.cells[i] != runs.length * runs.step) break;
    runs.length *= runs.n[i];
    runs.n[i] = 1;
  }
  return runs;
}

// Offset in the weight of tap `t`, counted over all axes.
MILL_INLINE int64_t tap_offset(const ConvPass& p, int64_t t) {
  int64_t offset = 0;
  for (int i = kConvAxes - 1; i >= 0; --i) {
    const ConvWalk& w = p.axis[i];
    offset += (w.tap + t % w.taps * w.tap_step) * p.w.space[i];
    t /= w.taps;
  }
  return offset;
}

// ---- results ------------------------------------------------------------------------------------

// Where a box of the result goes: an element per position and channel.
template <class S>
struct Destination {
  S* data;
  int64_t channel;              // stride
  int64_t step[1 + kConvAxes];  // strides of positions
};

template <class S>
MILL_INLINE Destination<S> destination(const ConvPass& p, S* data, int64_t channel) {
  Destination<S> d{data, channel, {p.to.batch, 0, 0, 0}};
  for (int i = 0; i < kConvAxes; ++i) {
    d.data += p.axis[i].place * p.to.space[i];
    d.step[1 + i] = p.axis[i].place_step * p.to.space[i];
  }
  return d;
}

// The first position of a box, and its runs of positions at one distance.
template <class S>
struct Lines {
  S* first;
  int64_t length, step;
  int64_t n[kConvAxes];  // runs along the batch and the first two axes
};

template <class S>
MILL_INLINE Lines<S> lines_of(const Box& box, const Destination<S>& d) {
  Lines<S> l{d.data + box.at[0] * d.step[0] + box.at[1] * d.step[1] + box.at[2] * d.step[2] +
                 box.at[3] * d.step[3],
             box.n[3],
             d.step[3],
             {box.n[0], box.n[1], box.n[2]}};
  for (int i = kConvAxes - 1; i >= 0; --i) {
    if (l.length == 1) l.step = d.step[i];
    if (l.n[i] != 1 && d.step[i] != l.length * l.step) break;
    l.length *= l.n[i];
    l.n[i] = 1;
  }
  return l;
}

// n positions with adjacent channels, bias added. bias holds whole vectors.
template <class S, class T>
void store_rows(const T* sums, int64_t pitch, int64_t n, int64_t width, const T* bias, S* to,
                int64_t step) {
  for (int64_t i = 0; i < n; ++i, sums += pitch, to += step) {
    int64_t c = 0;
    for (; c + kVector<T> <= width; c += kVector<T>) {
      gemm::store(gemm::plus(gemm::load(sums + c), gemm::load(bias + c)), to + c);
    }
    if (c < width) {
      gemm::store_some(gemm::plus(gemm::load(sums + c), gemm::load(bias + c)), width - c, to + c);
    }
  }
}

// n adjacent positions, channels `channel` apart.
template <class S, class T>
void store_columns(const T* sums, int64_t pitch, int64_t n, int64_t width, const T* bias, S* to,
                   int64_t channel) {
  constexpr int64_t kLane = kVector<T>;
  MILL_ALIGN T columns[kPanel<T> * kLane];
  for (int64_t i = 0; i < n; i += kLane) {
    const T* rows[kLane];
    for (int64_t r = 0; r < kLane; ++r) rows[r] = sums + smaller(i + r, n - 1) * pitch;
    gemm::transpose_rows(rows, width, columns, kLane);
    for (int64_t c = 0; c < width; ++c) {
      const auto value = gemm::plus(gemm::load(columns + c * kLane), gemm::splat(bias[c]));
      S* at = to + c * channel + i;
      if (i + kLane <= n) {
        gemm::store(value, at);
      } else {
        gemm::store_some(value, n - i, at);
      }
    }
  }
}

// Sums [position][pitch] of a box, `width` <= kPanel channels each, with the bias.
template <class S, class T>
void store_box(const Box& box, const T* sums, int64_t pitch, int64_t width, const T* bias,
               const Destination<S>& d) {
  const Lines<S> l = lines_of(box, d);
  const int64_t length = l.length;
  const int64_t step = l.step;
  for (int64_t i = 0; i < l.n[0]; ++i) {
    for (int64_t j = 0; j < l.n[1]; ++j) {
      for (int64_t k = 0; k < l.n[2]; ++k, sums += length * pitch) {
        S* to = l.first + i * d.step[0] + j * d.step[1] + k * d.step[2];
        if (d.channel == 1) {
          store_rows(sums, pitch, length, width, bias, to, step);
        } else if (step == 1) {
          store_columns(sums, pitch, length, width, bias, to, d.channel);
        } else {
          for (int64_t c = 0; c < width; ++c) {
            for (int64_t x = 0; x < length; ++x) {
              gemm::narrow(sums[x * pitch + c] + bias[c], to + c * d.channel + x * step);
            }
          }
        }
      }
    }
  }
}

// ---- memory and threads -------------------------------------------------------------------------

// Carves pieces, each aligned to a cache line, out of the workspace; without one it only counts.
class Carver {
 public:
  explicit Carver(void* memory) : base_(static_cast<unsigned char*>(memory)) {}

  template <class T>
  T* take(int64_t elements) {
    unsigned char* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (static_cast<uint64_t>(elements) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  uint64_t used() const { return used_; }

 private:
  unsigned char* base_;
  uint64_t used_ = 0;
};

struct Span {
  int64_t begin, end;
};
// Part `index` of n items dealt to `parts`.
MILL_INLINE Span span_of(int64_t n, int64_t parts, int64_t index) {
  const int64_t length = n / parts;
  const int64_t longer = n % parts;
  const int64_t begin = index * length + smaller(index, longer);
  return {begin, begin + length + (index < longer ? 1 : 0)};
}

MILL_INLINE int64_t thread_count(const mill_kernel_args* args) {
  return args->host == nullptr ? 1 : larger<int64_t>(1, static_cast<int64_t>(args->host->threads));
}

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
