// Where a position meets few channels, the products with neighbouring taps are too short to pay one
// by one: here all that a position meets is copied into one row, a patch. Included by conv.cpp
// only, once per SIMD target.
#pragma once

#include "cpu/conv_panels.h"

namespace mill::cpu::MILL_TARGET {
namespace {

template <int Vectors, class T>
MILL_INLINE void copy_stretches(const T* from, const int64_t* at, int64_t stretches, int64_t length,
                                T* to) {
  // A vector may spill into the next stretch or patch, which is written later.
  for (int64_t s = 0; s < stretches; ++s) {
    for (int v = 0; v < Vectors; ++v) {
      gemm::store(gemm::load(from + at[s] + v * kVector<T>), to + s * length + v * kVector<T>);
    }
  }
}

// The patches of a box's positions in order, `depth` elements each: tap by tap, channels innermost.
template <class T>
void make_patches(const ConvPass& p, const Depths& depths, const Box& box, const T* field, T* to) {
  const Runs runs = runs_of(p, box);
  const Reach reach = reach_of(p, box.n + 1);
  const int64_t stretches = depths.stretches();
  const int64_t length = depths.stretch();
  const int64_t depth = stretches * length;
  int64_t at[kMostStretches];
  for (int64_t s = 0; s < stretches; ++s) at[s] = stretch_cell(p, depths, reach, s) * p.channels;
  const int64_t count = runs.count();
  const int64_t step = runs.step * p.channels;
  const int64_t vectors = ceil_div(length, kVector<T>);
  for (int64_t i = 0; i < count; ++i) {
    const T* from = field + runs.cell(i) * p.channels;
    for (int64_t x = 0; x < runs.length; ++x, from += step, to += depth) {
      if (vectors == 1) {
        copy_stretches<1>(from, at, stretches, length, to);
      } else if (vectors == 2) {
        copy_stretches<2>(from, at, stretches, length, to);
      } else {
        copy_stretches<3>(from, at, stretches, length, to);
      }
    }
  }
}

// The gradient by the weight with taps and channels as rows and outputs as columns: dw[t, c, k] =
// sum over positions of patch[position, t, c] g[position, k].
template <class S>
class PatchWeights {
  using T = gemm::Sum<S>;

 public:
  PatchWeights(const ConvPass& p, int64_t threads) : p_(p), result_(result_pass(p)), depths_(p) {
    depth_ = depths_.all_taps() * p.channels;
    panels_ = ceil_div(p.outputs, kPanel<T>);
    cut_ = cut_into(p, gemm::kDepth, gemm::kDepth);
    while (cut_.field_cells(p) * p.channels > kFieldElements && cut_.cells() > 64) {
      cut_ = cut_into(p, cut_.cells() * 3 / 4, gemm::kDepth);
    }
    parts_ = smaller(cut_.boxes(), ceil_div(threads, p.groups));
    slots_ = smaller(threads, p.groups * parts_);
  }
  // The other way would leave most of a panel's columns empty.
  bool pays() const {
    return fits_patch<T>(depths_) && depths_.stretch() < kPanel<T> && p_.outputs >= kVector<T>;
  }

  struct Memory {
    T *fields, *patches, *lefts, *rights, *sums;
  };
  Memory carve(Carver* from) const {
    return {from->take<T>(slots_ * field_elements()), from->take<T>(slots_ * patch_elements()),
            from->take<T>(slots_ * left_elements()), from->take<T>(slots_ * right_elements()),
            from->take<T>(p_.groups * parts_ * sum_elements())};
  }

  void run(const mill_kernel_args* args, Carver* memory, const S* x, const S* g, S* to) const {
    const Memory m = carve(memory);
    parallel(args, slots_, 1, [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
      for (int64_t slot = begin; slot < end; ++slot) {
        const Span items = span_of(p_.groups * parts_, slots_, slot);
        const Memory own{m.fields + slot * field_elements(), m.patches + slot * patch_elements(),
                         m.lefts + slot * left_elements(), m.rights + slot * right_elements(),
                         nullptr};
        for (int64_t item = items.begin; item < items.end; ++item) {
          const Span boxes = span_of(cut_.boxes(), parts_, item % parts_);
          for (int64_t i = boxes.begin; i < boxes.end; ++i) {
            add_box(item / parts_, cut_.box(i), x, g, i > boxes.begin, own,
                    m.sums + item * sum_elements());
          }
        }
      }
    });
    for (int64_t group = 0; group < p_.groups; ++group) {
      finish(group, m.sums + group * parts_ * sum_elements(), to);
    }
  }

 private:
  int64_t field_elements() const { return cut_.field_cells(p_) * p_.channels + kSlack<T>; }
  int64_t patch_elements() const { return cut_.cells() * depth_ + kSlack<T>; }
  int64_t left_elements() const { return depth_ * gemm::kPackedRow + kSlack<T>; }
  int64_t right_elements() const { return cut_.cells() * kPanel<T> + kSlack<T>; }
  int64_t sum_elements() const { return panels_ * depth_ * kPanel<T>; }

  void add_box(int64_t group, const Box& box, const S* x, const S* g, bool add, const Memory& m,
               T* sums) const {
    const int64_t cells = box.cells();
    fetch_field(p_, box, x + group * p_.from_group, p_.from.channel, p_.channels, p_.channels,
                m.fields);
    if (p_.channels == 1) {
      pack_planes(box, m.fields, m.lefts);
    } else {
      make_patches(p_, depths_, box, m.fields, m.patches);
      gemm::pack_a(m.patches, 1, depth_, depth_, cells, m.lefts);
    }
    const Lines<const S> lines = lines_of(
        box, Destination<const S>{g + group * p_.to_group,
                                  p_.to.channel,
                                  {p_.to.batch, p_.to.space[0], p_.to.space[1], p_.to.space[2]}});
    const int64_t tiles = ceil_div(depth_, gemm::kRows);
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t first = panel * kPanel<T>;
      const int64_t cols = smaller(kPanel<T>, p_.outputs - first);
      const T* b = m.rights;
      int64_t b_row = kPanel<T>;
      bool in_place = false;
      if constexpr (std::is_same_v<S, T>) {
        // Whole vectors at one distance are read where they are.
        in_place = p_.to.channel == 1 && cols % kVector<T> == 0 && lines.length == cells;
        if (in_place) {
          b = lines.first + first;
          b_row = lines.step;
        }
      }
      if (!in_place) {
        fetch_field(result_, box, g + group * p_.to_group + first * p_.to.channel, p_.to.channel,
                    cols, kPanel<T>, m.rights);
      }
      const T* a = m.lefts;
      T* to = sums + panel * depth_ * kPanel<T>;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t height = depth_ / tiles + (tile < depth_ % tiles ? 1 : 0);
        gemm::kTileKernels<T>[ceil_div(cols, kVector<T>) - 1][height - 1](
            cells, a, gemm::kPackedRow, b, b_row, to, kPanel<T>, add, nullptr);
        a += height * gemm::kPackedRow;
        to += height * kPanel<T>;
      }
    }
  }

  // One channel: each tap's row is the field, moved.
  void pack_planes(const Box& box, const T* field, T* to) const {
    const Runs runs = runs_of(p_, box);
    const Reach reach = reach_of(p_, box.n + 1);
    Depths taps = depths_;
    taps.joined = false;
    const int64_t count = runs.count();
    for (int64_t d = 0; d < depth_; ++d, to += gemm::kPackedRow) {
      const T* from = field + stretch_cell(p_, taps, reach, d);
      T* row = to;
      for (int64_t i = 0; i < count; ++i, row += runs.length) {
        const T* at = from + runs.cell(i);
        if (runs.step == 1) {
          gemm::copy_row(at, runs.length, row);
        } else {
          for (int64_t x = 0; x < runs.length; ++x) row[x] = at[x * runs.step];
        }
      }
    }
  }

  // Adds the parts in order.
  void finish(int64_t group, const T* sums, S* to) const {
    for (int64_t d = 0; d < depth_; ++d) {
      S* const tap = to + group * p_.w_group + tap_offset(p_, d / p_.channels) +
                     d % p_.channels * p_.w.channel;
      for (int64_t k = 0; k < p_.outputs; ++k) {
        const int64_t at = (k / kPanel<T> * depth_ + d) * kPanel<T> + k % kPanel<T>;
        T sum = sums[at];
        for (int64_t i = 1; i < parts_; ++i) sum += sums[i * sum_elements() + at];
        gemm::narrow(sum, tap + k * p_.w.batch);
      }
    }
  }

  ConvPass p_;
  ConvPass result_;
  Depths depths_;
  Cut cut_;
  int64_t depth_, panels_, parts_, slots_;
};

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
