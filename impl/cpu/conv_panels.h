// Convolution as products of a field by packed weights, and its gradient by the weight, on the
// register kernel of the matrix product. A row of the left operand is a position of the result: in
// the field the channels of neighbouring taps along the last axis follow each other, so the kernel
// reads it where it lies and no patch is ever copied. Included by conv.cpp only, once per SIMD
// target.
#pragma once

#include "cpu/conv_box.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// Elements of a field: with packed weights and sums it fits the second-level cache.
inline constexpr int64_t kFieldElements = 96 * 1024;

// How the channels of a pass and the taps along its axes become depths of products. Within a block
// of channels there is a stretch of `depth` for each tap along the first two axes, or all three.
struct Depths {
  int64_t channels, block, blocks;
  int64_t taps[kConvAxes];
  bool joined;  // the taps along the last axis follow each other in the field

  explicit Depths(const ConvPass& p) {
    channels = p.channels;
    for (int i = 0; i < kConvAxes; ++i) taps[i] = p.axis[i].taps;
    joined = taps[2] <= 1 || p.axis[2].delta == 1;
    const int64_t most =
        larger<int64_t>(16, gemm::kDepth / larger<int64_t>(1, joined ? taps[2] : 1));
    blocks = larger<int64_t>(1, ceil_div(channels, most));
    block = smaller(channels, ceil_div(ceil_div(channels, blocks), 16) * 16);
    blocks = block == 0 ? 0 : ceil_div(channels, block);
  }
  int64_t all_taps() const { return taps[0] * taps[1] * taps[2]; }
  int64_t stretches() const { return taps[0] * taps[1] * (joined ? 1 : taps[2]); }
  // Of one block of all channels.
  int64_t stretch() const { return channels * (joined ? taps[2] : 1); }
  MILL_INLINE int64_t width(int64_t b) const { return smaller(block, channels - b * block); }
};

// Cell of a field that stretch `s` of the first position starts with.
MILL_INLINE int64_t stretch_cell(const ConvPass& p, const Depths& d, const Reach& r, int64_t s) {
  int64_t x = 0;
  if (!d.joined) {
    x = s % d.taps[2] * p.axis[2].delta;
    s /= d.taps[2];
  }
  const int64_t y = s % d.taps[1] * p.axis[1].delta;
  const int64_t z = s / d.taps[1] * p.axis[0].delta;
  return (z * r.n[1] + y) * r.n[2] + x;
}

// Whether products by single stretches are so short that copies of all that a position meets pay
// (conv_patches.h).
inline constexpr int64_t kMostStretches = 64;
template <class T>
MILL_INLINE bool fits_patch(const Depths& d) {
  constexpr int64_t kMostDepth = 384;
  return d.blocks == 1 && d.stretches() <= kMostStretches && d.stretch() <= 3 * kVector<T> &&
         d.stretches() * d.stretch() <= kMostDepth;
}
template <class T>
void make_patches(const ConvPass& p, const Depths& depths, const Box& box, const T* field, T* to);

// ---- the pass -----------------------------------------------------------------------------------

template <class S>
class PanelPass {
  using T = gemm::Sum<S>;

 public:
  PanelPass(const ConvPass& p, int64_t threads) : p_(p), depths_(p) {
    panels_ = ceil_div(p.outputs, kPanel<T>);
    depth_ = depths_.all_taps() * p.channels;
    patched_ = depth_ > 0 && depths_.stretches() > 1 && fits_patch<T>(depths_);
    cut_ = cut_fields(p, larger<int64_t>(1, p.channels + (patched_ ? depth_ : 0)), kFieldElements,
                      ceil_div(threads, p.groups), gemm::kRows);
    // Where there are fewer boxes than threads, the panels are dealt out too.
    parts_ = smaller(panels_, ceil_div(threads, larger<int64_t>(1, p.groups * cut_.boxes())));
    items_ = p.groups * cut_.boxes() * parts_;
    slots_ = smaller(threads, items_);
  }

  struct Memory {
    T* weights;
    T* fields;
    T* patches;
    T* sums;
  };
  Memory carve(Carver* from) const {
    return {from->take<T>(p_.groups * panels_ * depth_ * kPanel<T>),
            from->take<T>(slots_ * field_elements()), from->take<T>(slots_ * patch_elements()),
            from->take<T>(slots_ * sum_elements())};
  }

  void run(const mill_kernel_args* args, Carver* memory, const S* from, const S* w, const S* bias,
           int64_t bias_step, S* to) const {
    const Memory m = carve(memory);
    if (depth_ > 0) {
      parallel(args, p_.groups * panels_, ceil_div(kParallelElements, depth_ * kPanel<T>),
               [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
                 for (int64_t i = begin; i < end; ++i) pack(i, w, m.weights);
               });
    }
    parallel(args, slots_, 1, [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
      for (int64_t slot = begin; slot < end; ++slot) {
        const Span items = span_of(items_, slots_, slot);
        for (int64_t item = items.begin; item < items.end; ++item) {
          compute(item, from, m.weights, bias, bias_step, to, m.fields + slot * field_elements(),
                  m.patches + slot * patch_elements(), m.sums + slot * sum_elements());
        }
      }
    });
  }

 private:
  int64_t field_elements() const { return cut_.field_cells(p_) * p_.channels + kSlack<T>; }
  int64_t patch_elements() const { return patched_ ? cut_.cells() * depth_ + kSlack<T> : 0; }
  int64_t sum_elements() const { return cut_.cells() * kPanel<T>; }

  // Weights of one panel of outputs: block by block, tap by tap, a row of kPanel for each channel.
  void pack(int64_t index, const S* w, T* weights) const {
    const int64_t first = index % panels_ * kPanel<T>;
    const int64_t cols = smaller(kPanel<T>, p_.outputs - first);
    const int64_t row = p_.w.batch;
    const int64_t channel = p_.w.channel;
    const int64_t taps = depths_.all_taps();
    const S* from = w + index / panels_ * p_.w_group + first * row;
    T* to = weights + index * depth_ * kPanel<T>;
    const ConvWalk* axis = p_.axis;
    const int64_t kernel = axis[0].kernel * axis[1].kernel * axis[2].kernel;
    constexpr int64_t kMostTaps = 64;
    const bool dense = kernel <= kMostTaps && p_.w.space[2] == 1 &&
                       p_.w.space[1] == axis[2].kernel &&
                       p_.w.space[0] == axis[1].kernel * axis[2].kernel;
    if (taps > 1 && channel != 1 && dense) {
      // The taps of a channel lie together: they are turned around at once.
      MILL_ALIGN T turned[kMostTaps * kPanel<T>];
      int64_t offsets[kMostTaps];
      for (int64_t t = 0; t < taps; ++t) offsets[t] = tap_offset(p_, t);
      for (int64_t b = 0; b < depths_.blocks; ++b) {
        const int64_t width = depths_.width(b);
        for (int64_t c = 0; c < width; ++c) {
          gemm::pack_b(from + (b * depths_.block + c) * channel, 1, row, kernel, cols, turned);
          for (int64_t t = 0; t < taps; ++t) {
            const T* source = turned + offsets[t] * kPanel<T>;
            T* target = to + (t * width + c) * kPanel<T>;
            for (int64_t v = 0; v < kPanel<T>; v += kVector<T>) {
              gemm::store(gemm::load(source + v), target + v);
            }
          }
        }
        to += taps * width * kPanel<T>;
      }
      return;
    }
    for (int64_t b = 0; b < depths_.blocks; ++b) {
      const int64_t width = depths_.width(b);
      for (int64_t t = 0; t < taps; ++t) {
        gemm::pack_b(from + tap_offset(p_, t) + b * depths_.block * channel, channel, row, width,
                     cols, to);
        to += width * kPanel<T>;
      }
    }
  }

  void compute(int64_t item, const S* from, const T* weights, const S* bias, int64_t bias_step,
               S* to, T* field, T* patches, T* sums) const {
    const Span panels = span_of(panels_, parts_, item % parts_);
    const int64_t group = item / parts_ / cut_.boxes();
    const Box box = cut_.box(item / parts_ % cut_.boxes());
    const Reach reach = reach_of(p_, box.n + 1);
    const int64_t cells = box.n[0] * reach.cells();
    if (depth_ > 0) {
      for (int64_t b = 0; b < depths_.blocks; ++b) {
        const int64_t channel = b * depths_.block;
        fetch_field(p_, box, from + group * p_.from_group + channel * p_.from.channel,
                    p_.from.channel, depths_.width(b), depths_.width(b), field + channel * cells);
      }
    } else {
      clear(sums, box.cells() * kPanel<T>);
    }
    if (patched_) make_patches(p_, depths_, box, field, patches);
    // Patches follow each other.
    const Runs runs = patched_ ? Runs{box.cells(), 1, {1, 1, 1}, {0, 0, 0}} : runs_of(p_, box);
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const int64_t first = panel * kPanel<T>;
      const int64_t cols = smaller(kPanel<T>, p_.outputs - first);
      const int64_t output = group * p_.outputs + first;
      MILL_ALIGN T wide[kPanel<T>] = {};
      for (int64_t i = 0; bias != nullptr && i < cols; ++i) {
        wide[i] = gemm::widen(bias[(output + i) * bias_step]);
      }
      const Destination<S> d =
          destination(p_, to + group * p_.to_group + first * p_.to.channel, p_.to.channel);
      const Products products{runs, ceil_div(cols, kVector<T>), reach};
      const T* b = weights + (group * panels_ + panel) * depth_ * kPanel<T>;
      const T* a = patched_ ? patches : field;
      if constexpr (std::is_same_v<S, T>) {
        // Whole vectors at one distance are finished where they belong.
        const Lines<S> lines = lines_of(box, d);
        if (d.channel == 1 && cols % kVector<T> == 0 && depth_ > 0 && lines.length == box.cells()) {
          add_up(products, a, cells, b, lines.first, lines.step, bias == nullptr ? nullptr : wide);
          continue;
        }
      }
      if (depth_ > 0) add_up(products, a, cells, b, sums, kPanel<T>, nullptr);
      store_box(box, sums, kPanel<T>, cols, wide, d);
    }
  }

  struct Products {
    const Runs& runs;
    int64_t vectors;
    const Reach& reach;
  };

  // to[position][..] = the sums of one panel over the whole depth.
  void add_up(const Products& p, const T* a, int64_t cells, const T* b, T* to, int64_t to_row,
              const T* bias) const {
    if (patched_) {
      multiply(p.runs, a, depth_, depth_, b, p.vectors, to, to_row, false, bias);
      return;
    }
    bool add = false;
    for (int64_t block = 0; block < depths_.blocks; ++block) {
      const int64_t width = depths_.width(block);
      const T* from = a + block * depths_.block * cells;
      const int64_t depth = width * (depths_.joined ? depths_.taps[2] : 1);
      for (int64_t s = 0; s < depths_.stretches(); ++s, b += depth * kPanel<T>) {
        const bool last = block + 1 == depths_.blocks && s + 1 == depths_.stretches();
        multiply(p.runs, from + stretch_cell(p_, depths_, p.reach, s) * width, width, depth, b,
                 p.vectors, to, to_row, add, last ? bias : nullptr);
        add = true;
      }
    }
  }

  // to[position][..] = or += the products of one stretch, for all positions of a box.
  static void multiply(const Runs& runs, const T* a, int64_t width, int64_t depth, const T* b,
                       int64_t vectors, T* to, int64_t to_row, bool add, const T* bias) {
    const int64_t tiles = ceil_div(runs.length, gemm::kRows);
    const int64_t a_row = runs.step * width;
    const int64_t count = runs.count();
    for (int64_t i = 0; i < count; ++i) {
      const T* row = a + runs.cell(i) * width;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t height = runs.length / tiles + (tile < runs.length % tiles ? 1 : 0);
        gemm::kTileKernels<T>[vectors - 1][height - 1](depth, row, a_row, b, kPanel<T>, to, to_row,
                                                       add, bias);
        row += height * a_row;
        to += height * to_row;
      }
    }
  }

  ConvPass p_;
  Depths depths_;
  Cut cut_;
  int64_t panels_, parts_, items_, slots_, depth_;
  bool patched_;
};

// ---- the gradient by the weight -----------------------------------------------------------------

// dw[k, c, t] = sum over positions of g[position, k] x[at(position, t), c]: the left operand is g
// with positions as its depth, the right one copied from x's field for each panel of channels.
template <class S>
class PanelWeights {
  using T = gemm::Sum<S>;

 public:
  PanelWeights(const ConvPass& p, int64_t threads) : p_(p) {
    constexpr int64_t kMostSums = 1 << 20;
    constexpr int64_t kMostChannels = 256;
    const int64_t per_channel = larger<int64_t>(1, p.outputs * Depths(p).all_taps());
    int64_t most = smaller(kMostChannels, kMostSums / per_channel);
    // With few boxes of positions, threads share the channels.
    cut_ = cut_into(p, gemm::kDepth, gemm::kDepth);
    const int64_t wanted = ceil_div(threads, p.groups);
    if (cut_.boxes() < 4 * wanted) most = smaller(most, ceil_div(p.channels, wanted));
    most = larger<int64_t>(1, most / kPanel<T>) * kPanel<T>;
    chunks_ = ceil_div(p.channels, most);
    // No thread gets a chunk more than another.
    if (chunks_ > 1) chunks_ = ceil_div(chunks_, wanted) * wanted;
    chunk_ = smaller(p.channels, ceil_div(ceil_div(p.channels, chunks_), kPanel<T>) * kPanel<T>);
    chunks_ = ceil_div(p.channels, chunk_);
    while (cut_.field_cells(p) * chunk_ > 2 * kFieldElements && cut_.cells() > 64) {
      cut_ = cut_into(p, cut_.cells() * 3 / 4, gemm::kDepth);
    }
    items_ = p.groups * chunks_;
    parts_ = larger<int64_t>(1, smaller(threads / items_, cut_.boxes()));
    slots_ = parts_ > 1 ? items_ * parts_ : smaller(threads, items_);
    ConvPass one = p;
    one.channels = chunk_;
    columns_ = chunk_ * (Depths(one).joined ? p.axis[2].taps : 1);
    joined_ = Depths(one).joined;
  }

  struct Memory {
    T* fields;
    T* lefts;
    T* rights;
    T* sums;
  };
  Memory carve(Carver* from) const {
    return {from->take<T>(slots_ * field_elements()), from->take<T>(slots_ * left_elements()),
            from->take<T>(slots_ * right_elements()), from->take<T>(slots_ * sum_elements())};
  }

  void run(const mill_kernel_args* args, Carver* memory, const S* x, const S* g, S* to) const {
    const Memory m = carve(memory);
    parallel(args, slots_, 1, [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
      for (int64_t slot = begin; slot < end; ++slot) {
        const Span items =
            parts_ > 1 ? Span{slot / parts_, slot / parts_ + 1} : span_of(items_, slots_, slot);
        const Span boxes = span_of(cut_.boxes(), parts_, slot % parts_);
        T* sums = m.sums + slot * sum_elements();
        for (int64_t item = items.begin; item < items.end; ++item) {
          for (int64_t i = boxes.begin; i < boxes.end; ++i) {
            add_box(item, cut_.box(i), x, g, i > boxes.begin, m.fields + slot * field_elements(),
                    m.lefts + slot * left_elements(), m.rights + slot * right_elements(), sums);
          }
          if (parts_ == 1) finish(item, {0, p_.outputs}, sums, to);
        }
      }
    });
    if (parts_ == 1) return;
    // Items may be fewer than threads, outputs seldom are.
    const int64_t of_output = larger<int64_t>(1, stretches() * columns_ * parts_);
    parallel(args, items_ * p_.outputs, ceil_div(kParallelElements, of_output),
             [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
               while (begin < end) {
                 const int64_t item = begin / p_.outputs;
                 const int64_t first = begin % p_.outputs;
                 const int64_t last = smaller(p_.outputs, first + end - begin);
                 finish(item, {first, last}, m.sums + item * parts_ * sum_elements(), to);
                 begin += last - first;
               }
             });
  }

 private:
  int64_t stretches() const {
    return p_.axis[0].taps * p_.axis[1].taps * (joined_ ? 1 : p_.axis[2].taps);
  }
  int64_t panels() const { return ceil_div(columns_, kPanel<T>); }
  int64_t field_elements() const { return cut_.field_cells(p_) * chunk_ + kSlack<T>; }
  int64_t left_elements() const { return p_.outputs * gemm::kPackedRow + kSlack<T>; }
  int64_t right_elements() const { return cut_.cells() * kPanel<T>; }
  int64_t sum_elements() const { return stretches() * panels() * p_.outputs * kPanel<T>; }

  MILL_INLINE int64_t width_of(int64_t item) const {
    return smaller(chunk_, p_.channels - item % chunks_ * chunk_);
  }

  // g of a box as rows of channels, positions along them.
  void pack_left(int64_t group, const Box& box, const S* g, T* to) const {
    const S* from = g + group * p_.to_group + box.at[0] * p_.to.batch;
    for (int i = 0; i < kConvAxes; ++i) from += box.at[1 + i] * p_.to.space[i];
    int64_t n[1 + kConvAxes];
    for (int i = 0; i <= kConvAxes; ++i) n[i] = box.n[i];
    const int64_t steps[1 + kConvAxes] = {p_.to.batch, p_.to.space[0], p_.to.space[1],
                                          p_.to.space[2]};
    int64_t step = steps[3];
    int64_t length = n[3];
    for (int i = kConvAxes - 1; i >= 0; --i) {
      if (length == 1) step = steps[i];
      if (n[i] != 1 && steps[i] != length * step) break;
      length *= n[i];
      n[i] = 1;
    }
    for (int64_t i = 0; i < n[0]; ++i) {
      for (int64_t j = 0; j < n[1]; ++j) {
        for (int64_t k = 0; k < n[2]; ++k, to += length) {
          gemm::pack_a(from + i * steps[0] + j * steps[1] + k * steps[2], p_.to.channel, step,
                       p_.outputs, length, to);
        }
      }
    }
  }

  void add_box(int64_t item, const Box& box, const S* x, const S* g, bool add, T* field, T* left,
               T* right, T* sums) const {
    const int64_t group = item / chunks_;
    const int64_t width = width_of(item);
    const int64_t first = item % chunks_ * chunk_;
    fetch_field(p_, box, x + group * p_.from_group + first * p_.from.channel, p_.from.channel,
                width, width, field);
    pack_left(group, box, g, left);
    const Runs runs = runs_of(p_, box);
    const Reach reach = reach_of(p_, box.n + 1);
    Depths depths(p_);
    depths.joined = joined_;
    const int64_t columns = width * (joined_ ? p_.axis[2].taps : 1);
    const int64_t tiles = ceil_div(p_.outputs, gemm::kRows);
    const int64_t cells = box.cells();
    const int64_t count = runs.count();
    for (int64_t s = 0; s < stretches(); ++s) {
      const T* at = field + stretch_cell(p_, depths, reach, s) * width;
      for (int64_t panel = 0; panel < ceil_div(columns, kPanel<T>); ++panel) {
        const int64_t vectors =
            ceil_div(smaller(kPanel<T>, columns - panel * kPanel<T>), kVector<T>);
        T* row = right;
        for (int64_t i = 0; i < count; ++i) {
          const T* source = at + runs.cell(i) * width + panel * kPanel<T>;
          if (vectors == 1) {
            copy_lines<1>(source, runs.step * width, runs.length, row);
          } else {
            copy_lines<gemm::kVecs>(source, runs.step * width, runs.length, row);
          }
          row += runs.length * kPanel<T>;
        }
        T* to = sums + (s * panels() + panel) * p_.outputs * kPanel<T>;
        const T* a = left;
        for (int64_t tile = 0; tile < tiles; ++tile) {
          const int64_t height = p_.outputs / tiles + (tile < p_.outputs % tiles ? 1 : 0);
          gemm::kTileKernels<T>[vectors - 1][height - 1](cells, a, gemm::kPackedRow, right,
                                                         kPanel<T>, to, kPanel<T>, add, nullptr);
          a += height * gemm::kPackedRow;
          to += height * kPanel<T>;
        }
      }
    }
  }

  template <int Vectors>
  static MILL_INLINE void copy_lines(const T* from, int64_t step, int64_t n, T* to) {
    for (int64_t i = 0; i < n; ++i) {
      for (int v = 0; v < Vectors; ++v) {
        gemm::store(gemm::load(from + i * step + v * kVector<T>),
                    to + i * kPanel<T> + v * kVector<T>);
      }
    }
  }

  // Adds the parts in order and writes an item's weights of some outputs.
  void finish(int64_t item, Span outputs, const T* sums, S* to) const {
    const int64_t width = width_of(item);
    const int64_t first = item % chunks_ * chunk_;
    S* const data = to + item / chunks_ * p_.w_group + first * p_.w.channel;
    const int64_t inner = joined_ ? p_.axis[2].taps : 1;
    for (int64_t s = 0; s < stretches(); ++s) {
      for (int64_t t = 0; t < inner; ++t) {
        S* const tap = data + tap_offset(p_, s * inner + t);
        for (int64_t k = outputs.begin; k < outputs.end; ++k) {
          for (int64_t c = 0; c < width; ++c) {
            const int64_t column = t * width + c;
            const int64_t at = ((s * panels() + column / kPanel<T>)*p_.outputs + k) * kPanel<T> +
                               column % kPanel<T>;
            T sum = sums[at];
            for (int64_t i = 1; i < parts_; ++i) sum += sums[i * sum_elements() + at];
            gemm::narrow(sum, tap + k * p_.w.batch + c * p_.w.channel);
          }
        }
      }
    }
  }

  ConvPass p_;
  Cut cut_;
  int64_t chunk_, chunks_, items_, parts_, slots_, columns_;
  bool joined_;
};

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
