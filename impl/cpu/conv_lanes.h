// Convolution in many groups of few channels, depthwise above all: the lanes of a vector are
// groups. Included by conv.cpp only, once per SIMD target.
#pragma once

#include "cpu/conv_box.h"

namespace mill::cpu::MILL_TARGET {
namespace {

inline constexpr int64_t kLaneElements = 32 * 1024;

// Groups fill more of a vector than the outputs of a group would.
template <class T>
MILL_INLINE bool lanes_pay(const ConvPass& p) {
  return p.groups > 1 && p.outputs < kVector<T> && p.channels <= 64 && p.outputs < p.groups;
}

template <class S>
class LanePass {
  using T = gemm::Sum<S>;
  static constexpr int64_t kLane = kVector<T>;
  // Positions whose sums stay in registers.
  static constexpr int64_t kCells = 8;

 public:
  LanePass(const ConvPass& p, int64_t threads) : p_(p) {
    blocks_ = ceil_div(p.groups, kLane);
    taps_ = p.axis[0].taps * p.axis[1].taps * p.axis[2].taps;
    cut_ = cut_fields(p, p.channels * kLane, kLaneElements, ceil_div(threads, blocks_), kCells);
    items_ = blocks_ * cut_.boxes();
    slots_ = smaller(threads, items_);
  }

  struct Memory {
    T* weights;
    T* fields;
    T* sums;
  };
  Memory carve(Carver* from) const {
    return {from->take<T>(blocks_ * weight_elements()), from->take<T>(slots_ * field_elements()),
            from->take<T>(slots_ * cut_.cells() * kLane)};
  }

  void run(const mill_kernel_args* args, Carver* memory, const S* from, const S* w, const S* bias,
           int64_t bias_step, S* to) const {
    const Memory m = carve(memory);
    parallel(args, blocks_, ceil_div(kParallelElements, larger<int64_t>(1, weight_elements())),
             [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
               for (int64_t i = begin; i < end; ++i) pack(i, w, m.weights + i * weight_elements());
             });
    parallel(args, slots_, 1, [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
      for (int64_t slot = begin; slot < end; ++slot) {
        const Span items = span_of(items_, slots_, slot);
        for (int64_t item = items.begin; item < items.end; ++item) {
          compute(item, from, m.weights, bias, bias_step, to, m.fields + slot * field_elements(),
                  m.sums + slot * cut_.cells() * kLane);
        }
      }
    });
  }

 private:
  int64_t weight_elements() const { return p_.outputs * p_.channels * taps_ * kLane; }
  int64_t field_elements() const { return p_.channels * cut_.field_cells(p_) * kLane + kSlack<T>; }
  MILL_INLINE int64_t lanes_of(int64_t block) const {
    return smaller(kLane, p_.groups - block * kLane);
  }

  // A vector for each output, channel and tap; lanes without a group hold 0.
  void pack(int64_t block, const S* w, T* to) const {
    const int64_t lanes = lanes_of(block);
    clear(to, weight_elements());
    for (int64_t m = 0; m < p_.outputs; ++m) {
      for (int64_t c = 0; c < p_.channels; ++c) {
        const S* from = w + block * kLane * p_.w_group + m * p_.w.batch + c * p_.w.channel;
        for (int64_t t = 0; t < taps_; ++t, to += kLane) {
          const int64_t offset = tap_offset(p_, t);
          for (int64_t i = 0; i < lanes; ++i) to[i] = gemm::widen(from[i * p_.w_group + offset]);
        }
      }
    }
  }

  void compute(int64_t item, const S* from, const T* weights, const S* bias, int64_t bias_step,
               S* to, T* field, T* sums) const {
    // All groups of a box before the next one: channels may be neighbours in memory.
    const int64_t block = item % blocks_;
    const int64_t first = block * kLane;
    const int64_t lanes = lanes_of(block);
    const Box box = cut_.box(item / blocks_);
    const Reach reach = reach_of(p_, box.n + 1);
    const int64_t size = box.n[0] * reach.cells() * kLane;
    if (taps_ > 0) {
      for (int64_t c = 0; c < p_.channels; ++c) {
        fetch_field(p_, box, from + first * p_.from_group + c * p_.from.channel, p_.from_group,
                    lanes, kLane, field + c * size);
      }
    }
    const Runs runs = runs_of(p_, box);
    const int64_t count = runs.count();
    const T* w = weights + block * weight_elements();
    for (int64_t m = 0; m < p_.outputs; ++m, w += p_.channels * taps_ * kLane) {
      T* sum = sums;
      for (int64_t i = 0; i < count; ++i) {
        const T* at = field + runs.cell(i) * kLane;
        int64_t x = 0;
        for (; x + kCells <= runs.length; x += kCells, sum += kCells * kLane) {
          add_taps<kCells>(reach, at + x * runs.step * kLane, runs.step, size, w, sum);
        }
        for (; x < runs.length; ++x, sum += kLane) {
          add_taps<1>(reach, at + x * runs.step * kLane, runs.step, size, w, sum);
        }
      }
      MILL_ALIGN T wide[kPanel<T>] = {};
      for (int64_t i = 0; bias != nullptr && i < lanes; ++i) {
        wide[i] = gemm::widen(bias[((first + i) * p_.outputs + m) * bias_step]);
      }
      store_box(box, sums, kLane, lanes, wide,
                destination(p_, to + first * p_.to_group + m * p_.to.channel, p_.to_group));
    }
  }

  // The sums of `Cells` positions, `step` cells apart. size: of a channel's field.
  template <int64_t Cells>
  void add_taps(const Reach& reach, const T* field, int64_t step, int64_t size, const T* w,
                T* to) const {
    gemm::Vec<T> sums[Cells];
    MILL_UNROLL
    for (int64_t i = 0; i < Cells; ++i) sums[i] = gemm::zero<T>();
    for (int64_t c = 0; c < p_.channels; ++c, field += size) {
      const T* plane = field;
      for (int64_t z = 0; z < p_.axis[0].taps; ++z) {
        const T* line = plane;
        for (int64_t y = 0; y < p_.axis[1].taps; ++y) {
          const T* at = line;
          for (int64_t x = 0; x < p_.axis[2].taps; ++x, w += kLane) {
            const gemm::Vec<T> weight = gemm::load(w);
            MILL_UNROLL
            for (int64_t i = 0; i < Cells; ++i) {
              sums[i] = gemm::mul_add(gemm::load(at + i * step * kLane), weight, sums[i]);
            }
            at += p_.axis[2].delta * kLane;
          }
          line += p_.axis[1].delta * reach.n[2] * kLane;
        }
        plane += p_.axis[0].delta * reach.n[1] * reach.n[2] * kLane;
      }
    }
    MILL_UNROLL
    for (int64_t i = 0; i < Cells; ++i) gemm::store(sums[i], to + i * kLane);
  }

  ConvPass p_;
  Cut cut_;
  int64_t blocks_, taps_, items_, slots_;
};

// The gradient by the weight: one vector of sums for each output, channel and tap.
template <class S>
class LaneWeights {
  using T = gemm::Sum<S>;
  static constexpr int64_t kLane = kVector<T>;

 public:
  LaneWeights(const ConvPass& p, int64_t threads) : p_(p), result_(result_pass(p)) {
    blocks_ = ceil_div(p.groups, kLane);
    taps_ = p.axis[0].taps * p.axis[1].taps * p.axis[2].taps;
    cut_ = cut_fields(p, (p.channels + p.outputs) * kLane, kLaneElements,
                      ceil_div(threads, blocks_), 1);
    parts_ = smaller(cut_.boxes(), ceil_div(threads, blocks_));
    slots_ = smaller(threads, blocks_ * parts_);
  }

  struct Memory {
    T* fields;
    T* results;
    T* sums;
  };
  Memory carve(Carver* from) const {
    return {from->take<T>(slots_ * field_elements()), from->take<T>(slots_ * result_elements()),
            from->take<T>(blocks_ * parts_ * sum_elements())};
  }

  void run(const mill_kernel_args* args, Carver* memory, const S* x, const S* g, S* to) const {
    const Memory m = carve(memory);
    parallel(args, slots_, 1, [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
      for (int64_t slot = begin; slot < end; ++slot) {
        const Span items = span_of(blocks_ * parts_, slots_, slot);
        for (int64_t item = items.begin; item < items.end; ++item) {
          T* sums = m.sums + item * sum_elements();
          clear(sums, sum_elements());
          const Span boxes = span_of(cut_.boxes(), parts_, item % parts_);
          for (int64_t i = boxes.begin; i < boxes.end; ++i) {
            add_box(item / parts_, cut_.box(i), x, g, m.fields + slot * field_elements(),
                    m.results + slot * result_elements(), sums);
          }
        }
      }
    });
    for (int64_t block = 0; block < blocks_; ++block) {
      finish(block, m.sums + block * parts_ * sum_elements(), to);
    }
  }

 private:
  int64_t field_elements() const { return p_.channels * cut_.field_cells(p_) * kLane + kSlack<T>; }
  int64_t result_elements() const { return p_.outputs * cut_.cells() * kLane + kSlack<T>; }
  int64_t sum_elements() const { return p_.outputs * p_.channels * taps_ * kLane; }
  MILL_INLINE int64_t lanes_of(int64_t block) const {
    return smaller(kLane, p_.groups - block * kLane);
  }

  void add_box(int64_t block, const Box& box, const S* x, const S* g, T* field, T* result,
               T* sums) const {
    const int64_t first = block * kLane;
    const int64_t lanes = lanes_of(block);
    const Reach reach = reach_of(p_, box.n + 1);
    const int64_t size = box.n[0] * reach.cells() * kLane;
    const int64_t cells = box.cells() * kLane;
    for (int64_t c = 0; c < p_.channels; ++c) {
      fetch_field(p_, box, x + first * p_.from_group + c * p_.from.channel, p_.from_group, lanes,
                  kLane, field + c * size);
    }
    for (int64_t m = 0; m < p_.outputs; ++m) {
      fetch_field(result_, box, g + first * p_.to_group + m * p_.to.channel, p_.to_group, lanes,
                  kLane, result + m * cells);
    }
    const Runs runs = runs_of(p_, box);
    for (int64_t m = 0; m < p_.outputs; ++m) {
      for (int64_t c = 0; c < p_.channels; ++c) {
        for (int64_t t = 0; t < taps_; ++t, sums += kLane) {
          const int64_t tx = t % p_.axis[2].taps;
          const int64_t ty = t / p_.axis[2].taps % p_.axis[1].taps;
          const int64_t tz = t / p_.axis[2].taps / p_.axis[1].taps;
          const int64_t cell =
              (tz * p_.axis[0].delta * reach.n[1] + ty * p_.axis[1].delta) * reach.n[2] +
              tx * p_.axis[2].delta;
          add_products(runs, field + c * size + cell * kLane, result + m * cells, sums);
        }
      }
    }
  }

  // Four sums, so that an addition need not wait for the one before.
  static void add_products(const Runs& runs, const T* field, const T* result, T* sums) {
    constexpr int64_t kSums = 4;
    gemm::Vec<T> sum[kSums] = {gemm::load(sums), gemm::zero<T>(), gemm::zero<T>(), gemm::zero<T>()};
    const int64_t count = runs.count();
    const int64_t step = runs.step * kLane;
    for (int64_t i = 0; i < count; ++i) {
      const T* at = field + runs.cell(i) * kLane;
      int64_t x = 0;
      for (; x + kSums <= runs.length; x += kSums, at += kSums * step, result += kSums * kLane) {
        MILL_UNROLL
        for (int64_t j = 0; j < kSums; ++j) {
          sum[j] = gemm::mul_add(gemm::load(at + j * step), gemm::load(result + j * kLane), sum[j]);
        }
      }
      for (; x < runs.length; ++x, at += step, result += kLane) {
        sum[0] = gemm::mul_add(gemm::load(at), gemm::load(result), sum[0]);
      }
    }
    gemm::store(gemm::plus(gemm::plus(sum[0], sum[1]), gemm::plus(sum[2], sum[3])), sums);
  }

  // Adds the parts in order.
  void finish(int64_t block, const T* sums, S* to) const {
    const int64_t lanes = lanes_of(block);
    for (int64_t m = 0; m < p_.outputs; ++m) {
      for (int64_t c = 0; c < p_.channels; ++c) {
        S* at = to + block * kLane * p_.w_group + m * p_.w.batch + c * p_.w.channel;
        for (int64_t t = 0; t < taps_; ++t, sums += kLane) {
          const int64_t offset = tap_offset(p_, t);
          for (int64_t i = 0; i < lanes; ++i) {
            T sum = sums[i];
            for (int64_t part = 1; part < parts_; ++part) sum += sums[part * sum_elements() + i];
            gemm::narrow(sum, at + i * p_.w_group + offset);
          }
        }
      }
    }
  }

  ConvPass p_;
  ConvPass result_;
  Cut cut_;
  int64_t blocks_, taps_, parts_, slots_;
};

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
