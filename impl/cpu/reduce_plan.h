// The shape of a reduction: axes sorted by stride and merged, and the walk over their elements.
#pragma once

#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {  // a part of reduce.cpp, which alone includes it

struct Axis {
  int64_t size;
  int64_t in;   // strides in elements
  int64_t out;  // 0 where the axis is reduced
};

struct Axes {
  Axis axis[MILL_MAX_RANK];  // outermost first
  int32_t rank;
};

struct Plan {
  Axes kept;     // without `inner`
  Axes reduced;  // without `inner`
  Axis inner;
  bool inner_reduced;
  int64_t outer;    // product of kept
  int64_t rows;     // product of reduced
  int64_t count;    // elements that make one output
  int64_t outputs;  // number of outputs
};

// Offsets of the elements of some axes in row-major order, from a given one on.
class Walk {
 public:
  __attribute__((noinline)) Walk(const Axes& axes, int64_t first) : axes_(&axes) {
    for (int32_t i = axes.rank - 1; i >= 0; --i) {
      const Axis& axis = axes.axis[i];
      index_[i] = first % axis.size;
      first /= axis.size;
      in += index_[i] * axis.in;
      out += index_[i] * axis.out;
    }
  }

  void next() {
    for (int32_t i = axes_->rank - 1; i >= 0; --i) {
      const Axis& axis = axes_->axis[i];
      in += axis.in;
      out += axis.out;
      if (++index_[i] < axis.size) return;
      in -= axis.size * axis.in;
      out -= axis.size * axis.out;
      index_[i] = 0;
    }
  }

  int64_t in = 0;
  int64_t out = 0;

 private:
  const Axes* axes_;
  int64_t index_[MILL_MAX_RANK];
};

// Which of x's axes are reduced, as bits.
uint32_t reduced_axes(const mill_kernel_args* args, bool to_dims) {
  const mill_kernel_tensor* x = args->in[0];
  uint32_t reduced = 0;
  if (to_dims) {
    const mill_kernel_tensor* out = args->out[0];
    const int32_t missing = x->rank - out->rank;
    for (int32_t i = 0; i < x->rank; ++i) {
      if (i < missing || out->dims[i - missing] != x->dims[i]) reduced |= 1u << i;
    }
    return reduced;
  }
  const mill_attr& axes = args->attr[0];
  if (axes.n == 0) return (1u << x->rank) - 1;
  for (uint64_t i = 0; i < axes.n; ++i) reduced |= 1u << static_cast<const int64_t*>(axes.p)[i];
  return reduced;
}

Plan make_plan(const mill_kernel_tensor* x, const mill_kernel_tensor* out, uint32_t reduced,
               bool to_dims) {
  struct Sorted {
    Axis axis;
    bool reduced;
  };
  Sorted sorted[MILL_MAX_RANK];  // outermost first
  int32_t rank = 0;
  Plan plan = {};
  plan.count = 1;
  const bool same_rank = !to_dims && out->rank == x->rank;
  const int32_t missing = x->rank - out->rank;
  int32_t next_kept = 0;
  for (int32_t i = 0; i < x->rank; ++i) {
    const bool is_reduced = (reduced >> i & 1u) != 0;
    if (is_reduced) plan.count *= x->dims[i];
    const int32_t out_axis = to_dims ? i - missing : same_rank ? i : next_kept;
    if (!is_reduced) ++next_kept;
    if (x->dims[i] == 1) continue;
    const Sorted entry = {{x->dims[i], x->strides[i], is_reduced ? 0 : out->strides[out_axis]},
                          is_reduced};
    // A repeated axis goes outside: its elements are no neighbours.
    const auto key = [](const Axis& a) { return a.in == 0 ? INT64_MAX : a.in; };
    int32_t at = rank++;
    for (; at > 0 && key(sorted[at - 1].axis) < key(entry.axis); --at) sorted[at] = sorted[at - 1];
    sorted[at] = entry;
  }
  // Merge neighbours that are one axis in both tensors.
  int32_t merged = 0;
  for (int32_t i = 0; i < rank; ++i) {
    const Sorted& inner = sorted[i];
    if (merged > 0) {
      Sorted& last = sorted[merged - 1];
      if (last.reduced == inner.reduced && last.axis.in == inner.axis.in * inner.axis.size &&
          last.axis.out == inner.axis.out * inner.axis.size) {
        last.axis = {last.axis.size * inner.axis.size, inner.axis.in, inner.axis.out};
        continue;
      }
    }
    sorted[merged++] = inner;
  }
  plan.outer = 1;
  plan.rows = 1;
  plan.inner = {1, 1, 1};
  plan.inner_reduced = true;
  for (int32_t i = 0; i < merged; ++i) {
    if (i == merged - 1) {
      plan.inner = sorted[i].axis;
      plan.inner_reduced = sorted[i].reduced;
    } else if (sorted[i].reduced) {
      plan.reduced.axis[plan.reduced.rank++] = sorted[i].axis;
      plan.rows *= sorted[i].axis.size;
    } else {
      plan.kept.axis[plan.kept.rank++] = sorted[i].axis;
      plan.outer *= sorted[i].axis.size;
    }
  }
  plan.outputs = plan.inner_reduced ? plan.outer : plan.outer * plan.inner.size;
  return plan;
}

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
