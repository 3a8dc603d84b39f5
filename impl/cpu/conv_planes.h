// Convolution into a few channels: the lanes of a vector are neighbouring positions. A channel of
// the field is a plane in which every tap of all positions lies at one distance, so that planes are
// rows of the right operand as they are, and outputs the rows of the left one. Included by conv.cpp
// only, once per SIMD target.
#pragma once

#include "cpu/conv_box.h"

namespace mill::cpu::MILL_TARGET {
namespace {

inline constexpr int64_t kMostProducts = 256;

template <class T>
MILL_INLINE bool planes_pay(const ConvPass& p) {
  bool steps = true;
  int64_t products = p.channels;
  for (const ConvWalk& w : p.axis) {
    steps = steps && (w.n <= 1 || w.step == 1) && w.taps > 0;
    products *= w.taps;
  }
  if (!steps || p.channels == 0 || p.outputs > 4 || p.axis[2].n < kVector<T> / 2) return false;
  return products / larger(p.channels, p.axis[2].taps) <= kMostProducts;
}

template <class S>
class PlanePass {
  using T = gemm::Sum<S>;

 public:
  PlanePass(const ConvPass& p, int64_t threads) : p_(p) {
    const int64_t taps = p.axis[0].taps * p.axis[1].taps * p.axis[2].taps;
    // The depth of a product runs over channels, or over the taps of a line.
    deep_ = p.channels >= p.axis[2].taps;
    depth_ = deep_ ? p.channels : p.axis[2].taps;
    calls_ = taps * p.channels / depth_;
    cut_ = cut_fields(p, p.channels, kPlaneElements, ceil_div(threads, p.groups), kPanel<T>);
    items_ = p.groups * cut_.boxes();
    slots_ = smaller(threads, items_);
    const Reach most = reach_of(p, cut_.size + 1);
    plane_ = ceil_div(most.cells(), kVector<T>) * kVector<T> + kRead;
  }

  struct Memory {
    T* weights;
    T* zeros;  // of a position that lies outside
    T* fields;
    T* sums;
  };
  Memory carve(Carver* from) const {
    return {from->take<T>(p_.groups * weight_elements()), from->take<T>(p_.channels),
            from->take<T>(slots_ * field_elements()), from->take<T>(slots_ * sum_elements())};
  }

  void run(const mill_kernel_args* args, Carver* memory, const S* from, const S* w, const S* bias,
           int64_t bias_step, S* to) const {
    const Memory m = carve(memory);
    for (int64_t group = 0; group < p_.groups; ++group) {
      pack(w + group * p_.w_group, m.weights + group * weight_elements());
    }
    clear(m.zeros, p_.channels);
    parallel(args, slots_, 1, [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
      for (int64_t slot = begin; slot < end; ++slot) {
        const Span items = span_of(items_, slots_, slot);
        for (int64_t item = items.begin; item < items.end; ++item) {
          compute(item, from, m, bias, bias_step, to, m.fields + slot * field_elements(),
                  m.sums + slot * sum_elements());
        }
      }
    });
  }

 private:
  static constexpr int64_t kPlaneElements = 64 * 1024;
  static constexpr int64_t kRead = 8 * kVector<T>;  // past a plane's last position
#if defined(__AVX512F__) || defined(__aarch64__)
  static constexpr int kSums[4] = {8, 8, 6, 4};  // vectors of a row that stay in registers
#else
  static constexpr int kSums[4] = {6, 4, 3, 2};
#endif

  int64_t weight_elements() const {
    return calls_ * p_.outputs * depth_;
  }
  int64_t field_elements() const {
    return p_.channels * plane_ + kRead;
  }
  int64_t sum_elements() const {
    return p_.outputs * (plane_ + kRead);
  }

  // Tap and channel that a product begins with.
  MILL_INLINE int64_t tap_of(int64_t call) const {
    return deep_ ? call : call % (calls_ / p_.channels) * p_.axis[2].taps;
  }
  MILL_INLINE int64_t channel_of(int64_t call) const {
    return deep_ ? 0 : call / (calls_ / p_.channels);
  }

  // Rows of outputs for each product.
  void pack(const S* w, T* to) const {
    for (int64_t call = 0; call < calls_; ++call) {
      const int64_t tap = tap_of(call);
      for (int64_t m = 0; m < p_.outputs; ++m) {
        const S* row = w + m * p_.w.batch + channel_of(call) * p_.w.channel;
        for (int64_t k = 0; k < depth_; ++k) {
          *to++ = gemm::widen(
              row[deep_ ? tap_offset(p_, tap) + k * p_.w.channel : tap_offset(p_, tap + k)]);
        }
      }
    }
  }

  // What a box meets of one image, channel by channel.
  void fetch(const Box& box, const Reach& r, int64_t image, const S* from, const T* zeros,
             T* to) const {
    const ConvWalk& x = p_.axis[2];
    const int64_t start = x.first + box.at[3] * x.unit;
    int64_t low = start < 0 ? ceil_div(-start, x.unit) : 0;
    int64_t high = start < x.size ? (x.size - 1 - start) / x.unit + 1 : 0;
    low = smaller(low, r.n[2]);
    high = larger(low, smaller(high, r.n[2]));
    const auto place = [&](int axis, int64_t i) MILL_LAMBDA_INLINE {
      const ConvWalk& w = p_.axis[axis];
      const int64_t at = w.first + (box.at[1 + axis] + i) * w.unit;
      return at < 0 || at >= w.size ? int64_t{-1} : at;
    };
    const int64_t step = x.unit * p_.from.space[2];
    clear(to, p_.channels * plane_);
    for (int64_t i = 0; i < r.n[0]; ++i) {
      const int64_t z = place(0, i);
      for (int64_t j = 0; j < r.n[1]; ++j, to += r.n[2]) {
        const int64_t y = place(1, j);
        if (high == low || z < 0 || y < 0) continue;
        fetch_line(from + image * p_.from.batch + z * p_.from.space[0] + y * p_.from.space[1] +
                       (start + low * x.unit) * p_.from.space[2],
                   step, high - low, zeros, to + low);
      }
    }
  }

  // Zeros may be written for a vector past the last element: what lies there is padding, or is
  // still to come.
  void fetch_line(const S* from, int64_t step, int64_t n, const T* zeros, T* to) const {
    if (step == 1) {
      for (int64_t c = 0; c < p_.channels; ++c, from += p_.from.channel, to += plane_) {
        int64_t i = 0;
        for (; i + kVector<T> <= n; i += kVector<T>) gemm::store(gemm::load(from + i), to + i);
        if (i < n) gemm::store(gemm::load_some(from + i, n - i), to + i);
      }
    } else if (p_.from.channel == 1) {
      const S* const outside = reinterpret_cast<const S*>(zeros);
      for (int64_t i = 0; i < n; i += kVector<T>) {
        const S* rows[kVector<T>];
        for (int64_t v = 0; v < kVector<T>; ++v)
          rows[v] = i + v < n ? from + (i + v) * step : outside;
        gemm::transpose_rows(rows, p_.channels, to + i, plane_);
      }
    } else {
      for (int64_t c = 0; c < p_.channels; ++c) {
        for (int64_t i = 0; i < n; ++i) {
          to[c * plane_ + i] = gemm::widen(from[c * p_.from.channel + i * step]);
        }
      }
    }
  }

  void compute(int64_t item, const S* from, const Memory& m, const S* bias, int64_t bias_step,
               S* to, T* field, T* sums) const {
    const int64_t group = item / cut_.boxes();
    const Box box = cut_.box(item % cut_.boxes());
    const Reach r = reach_of(p_, box.n + 1);
    const T* const w = m.weights + group * weight_elements();
    // Positions of the box, with those between its lines.
    const int64_t length = ((box.n[1] - 1) * r.n[1] + box.n[2] - 1) * r.n[2] + box.n[3];
    const int64_t sum_row = plane_ + kRead;
    int64_t at[kMostProducts];
    for (int64_t i = 0; i < calls_; ++i) at[i] = cell_of(r, i);
    for (int64_t image = box.at[0]; image < box.at[0] + box.n[0]; ++image) {
      fetch(box, r, image, from + group * p_.from_group, m.zeros, field);
      switch (p_.outputs) {
        case 1: multiply<1>(length, at, w, field, sums, sum_row); break;
        case 2: multiply<2>(length, at, w, field, sums, sum_row); break;
        case 3: multiply<3>(length, at, w, field, sums, sum_row); break;
        default: multiply<4>(length, at, w, field, sums, sum_row); break;
      }
      for (int64_t k = 0; k < p_.outputs; ++k) {
        const int64_t output = group * p_.outputs + k;
        const T add = bias == nullptr ? T{0} : gemm::widen(bias[output * bias_step]);
        store(box, r, image, sums + k * sum_row, add, to + group * p_.to_group + k * p_.to.channel);
      }
    }
  }

  // Where a product's right operand begins for the first position.
  MILL_INLINE int64_t cell_of(const Reach& r, int64_t call) const {
    int64_t tap = tap_of(call);
    const int64_t x = tap % p_.axis[2].taps * p_.axis[2].delta;
    tap /= p_.axis[2].taps;
    const int64_t y = tap % p_.axis[1].taps * p_.axis[1].delta;
    const int64_t z = tap / p_.axis[1].taps * p_.axis[0].delta;
    return channel_of(call) * plane_ + (z * r.n[1] + y) * r.n[2] + x;
  }

  template <int Rows>
  void multiply(int64_t length, const int64_t* at, const T* w, const T* field, T* sums,
                int64_t sum_row) const {
    constexpr int kMost = kSums[Rows - 1];
    int64_t j = 0;
    for (; j + (kMost - 1) * kVector<T> < length; j += kMost * kVector<T>) {
      add_products<Rows, kMost>(at, w, field + j, sums + j, sum_row);
    }
    for (; j < length; j += 2 * kVector<T>) {
      add_products<Rows, 2>(at, w, field + j, sums + j, sum_row);
    }
  }

  template <int Rows, int Vectors>
  void add_products(const int64_t* at, const T* w, const T* field, T* sums, int64_t sum_row) const {
    const int64_t b_row = deep_ ? plane_ : p_.axis[2].delta;
    gemm::Vec<T> sum[Rows][Vectors];
    MILL_UNROLL
    for (int m = 0; m < Rows; ++m) {
      MILL_UNROLL
      for (int v = 0; v < Vectors; ++v) sum[m][v] = gemm::zero<T>();
    }
    for (int64_t call = 0; call < calls_; ++call, w += Rows * depth_) {
      const T* b = field + at[call];
      for (int64_t k = 0; k < depth_; ++k, b += b_row) {
        gemm::Vec<T> column[Vectors];
        MILL_UNROLL
        for (int v = 0; v < Vectors; ++v) column[v] = gemm::load(b + v * kVector<T>);
        MILL_UNROLL
        for (int m = 0; m < Rows; ++m) {
          const gemm::Vec<T> weight = gemm::splat(w[m * depth_ + k]);
          MILL_UNROLL
          for (int v = 0; v < Vectors; ++v) {
            sum[m][v] = gemm::mul_add(weight, column[v], sum[m][v]);
          }
        }
      }
    }
    MILL_UNROLL
    for (int m = 0; m < Rows; ++m) {
      MILL_UNROLL
      for (int v = 0; v < Vectors; ++v) gemm::store(sum[m][v], sums + m * sum_row + v * kVector<T>);
    }
  }

  void store(const Box& box, const Reach& r, int64_t image, const T* sums, T add, S* to) const {
    const Destination<S> d = destination(p_, to, p_.to.channel);
    S* const origin = d.data + image * d.step[0] + box.at[1] * d.step[1] + box.at[2] * d.step[2] +
                      box.at[3] * d.step[3];
    for (int64_t z = 0; z < box.n[1]; ++z) {
      for (int64_t y = 0; y < box.n[2]; ++y) {
        const T* from = sums + (z * r.n[1] + y) * r.n[2];
        S* line = origin + z * d.step[1] + y * d.step[2];
        int64_t x = 0;
        if (d.step[3] == 1) {
          const auto all = gemm::splat(add);
          for (; x + kVector<T> <= box.n[3]; x += kVector<T>) {
            gemm::store(gemm::plus(gemm::load(from + x), all), line + x);
          }
        }
        for (; x < box.n[3]; ++x) gemm::narrow(from[x] + add, line + x * d.step[3]);
      }
    }
  }

  ConvPass p_;
  Cut cut_;
  int64_t depth_, calls_, plane_, items_, slots_;
  bool deep_;
};

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
